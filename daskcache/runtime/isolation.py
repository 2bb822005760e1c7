"""A node's body in a process of its own, for what would block its worker: ``delayed(isolate=True)``.

The child gets function and arguments through its standard input and sends back result or exception.
It ends when its standard input closes, so it does not outlive the process that started it; a body that
holds the interpreter's lock can't see that, and is killed by the system, where that is Linux.
"""

from __future__ import annotations

import ctypes
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from typing import Any

import cloudpickle
import dask.config

from ..calls.state import running
from ..errors import ProcessDied
from ..hashing import algorithms
from ..storage.roots import Root
from .body import body
from .code_check import check_code
from .log_records import described
from .work import Work

#: Kinds of messages from the child.
_LOGGED, _RETURNED, _RAISED = "logged", "returned", "raised"

_CHILD = (
    "import sys; sys.path[:] = {path!r}; from daskcache.runtime.isolation import serve; serve({pid})"
)


def call_isolated(work: Work, args: tuple, kwargs: dict) -> Any:
    """Call a node's function in a child process.

    Raises
    ------
    Exception
        Whatever the function raises, with the child's traceback as a note.
    CodeMismatch
        If the child imports another version of the code than this process has.
    ProcessDied
        If the child ends without a result: it was killed, or crashed.
    """
    command = _CHILD.format(path=[os.path.abspath(p) for p in sys.path], pid=os.getpid())
    child = subprocess.Popen(
        [sys.executable, "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    token = running.set(work)
    try:
        _send_request(child.stdin, work, args, kwargs)
        kind, content = _answer(child.stdout)
    except (BrokenPipeError, EOFError, pickle.UnpicklingError):
        raise _died(work, child.wait()) from None
    finally:
        running.reset(token)
        _end(child)
    if kind == _RETURNED:
        return content
    error, story = content
    error.add_note(f"in the child process:\n{story}")
    raise error


def _end(child):
    child.kill()
    child.wait()
    child.stdout.close()
    with suppress(BrokenPipeError):  # what it did not read is lost
        child.stdin.close()


def _send_request(stream, work, args, kwargs):
    levels = {
        name: logger.level
        for name, logger in logging.root.manager.loggerDict.items()
        if isinstance(logger, logging.Logger) and logger.level
    }
    # what the call doesn't need may be large, or belong to this process
    bare = work._replace(values=(), inputs=(), described={}, previous=(), elsewhere=None)
    head = {"config": dask.config.config, "levels": levels, "level": logging.root.level}
    cloudpickle.dump((head, bare, args, kwargs), stream, protocol=5)
    stream.flush()


def _answer(stream):
    while True:
        kind, content = pickle.load(stream)
        if kind != _LOGGED:
            return kind, content
        record = logging.makeLogRecord(content)
        logging.getLogger(record.name).handle(record)


def _died(work, status):
    how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    return ProcessDied(
        f"the process that ran {work.spec.name}() ended without a result",
        node=work.title,
        got=how,
        hint="look for messages of the system (out of memory?) and of the function itself",
    )


# ---- in the child --------------------------------------------------------------------------------


def serve(parent: int) -> None:
    """Run one call, as the child of `parent`."""
    _die_with(parent)
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the function prints is no answer
    head, work, args, kwargs = pickle.load(requests)
    threading.Thread(target=_end_with, args=(requests,), daemon=True).start()
    dask.config.update(dask.config.config, head["config"], priority="new")
    sender = _Sender(answers)
    _send_logs(sender, head)
    try:
        sender.send(_RETURNED, _result(work, args, kwargs))
    except BaseException as error:  # noqa: BLE001 - it is raised where the result is waited for
        sender.send(_RAISED, (_travelling(error), traceback.format_exc()))
    os._exit(0)  # threads of the function don't keep it


def _result(work, args, kwargs):
    algorithms.use(work.algorithm)
    if work.paths:
        check_code(
            Root(work.root), work.code, work.spec
        )  # files may have changed since the parent began
    return body(work, args, kwargs)


class _Sender:
    """Sends messages to the parent, from whatever thread."""

    def __init__(self, stream):
        self._stream = stream
        self._guard = threading.Lock()

    def send(self, kind, content):
        data = cloudpickle.dumps((kind, content), protocol=5)
        with self._guard:
            self._stream.write(data)
            self._stream.flush()


def _travelling(error):
    """An exception, or, if it doesn't pickle, one that says what it was."""
    try:
        pickle.loads(cloudpickle.dumps(error))
    except Exception as obstacle:  # noqa: BLE001 - whatever its class does
        return RuntimeError(f"{type(error).__name__}: {error} (it can't be pickled: {obstacle})")
    return error


def _send_logs(sender, head):
    class Handler(logging.Handler):
        def emit(self, record):
            told = described(record)
            del told["origin"]  # the parent's, for who receives it
            sender.send(_LOGGED, told)

    logging.root.addHandler(Handler())
    logging.root.setLevel(head["level"])
    for name, level in head["levels"].items():
        logging.getLogger(name).setLevel(level)


def _end_with(stream):
    """End when the parent closes its end of a pipe, or is gone."""
    stream.read(1)
    os._exit(1)


def _die_with(parent):
    """On Linux, be killed when the thread that started this process ends."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent and sys.platform != "win32":
        os._exit(1)  # it was gone already
