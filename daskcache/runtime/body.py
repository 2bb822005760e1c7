"""The body of a node's function: called in this process, or in a child process for ``isolate=True``.

`call` uses `body`, or `call_isolated` for functions that would block the worker.  The child runs
`serve`, which calls `body`.  It reads the function and its arguments from its standard input, and sends
back log records and the result or the exception.  It ends when its standard input closes, so it does not
outlive its parent.  A body that holds the interpreter's lock can't notice that; on Linux the system
kills it.  `cluster.logs` describes log records in the same way.
"""

from __future__ import annotations

import asyncio
import ctypes
import inspect
import io
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import cloudpickle
import dask.config
from dask.delayed import Delayed
from dask.utils import format_time

from ..calls.recipe import SCALARS
from ..calls.state import body_log, inside_body, running
from ..errors import NodeTimeout, ProcessDied, ResultError
from ..hashing import algorithms
from ..hashing.names import has
from ..printable import printable_lines
from ..storage.roots import Root
from .code_check import check_code
from .work import Work


def body(work: Work, args: tuple, kwargs: dict) -> Any:
    """Call the node's function in this process, and check what it returned.

    Raises
    ------
    Exception
        Any error of the function.
    ResultError
        If the function returned a generator, a coroutine or a lazy Dask value.
    """
    spec = work.spec
    tokens = inside_body.set(True), running.set(work)
    try:
        result = spec.func(*args, **kwargs)
        if inspect.iscoroutinefunction(spec.func):
            result = _run_coroutine(result)
    finally:
        inside_body.reset(tokens[0])
        running.reset(tokens[1])
    _check_result(work, result)
    return result


def _check_result(work, result):
    if type(result) in SCALARS:
        return
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        story, hint = "a generator, which can be read only once", "return list(...) of it"
    elif inspect.iscoroutine(result):
        result.close()
        story, hint = "a coroutine that was not awaited", "write 'async def', or await it"
    elif isinstance(result, Delayed) or has(type(result), "__daskcache_nodes__"):
        story = "a lazy Dask value"
        hint = "build the graph outside of the function, or compute the value inside"
    else:
        return
    raise ResultError(
        f"{work.spec.name}() returned {story}",
        node=work.title,
        target=", ".join(work.paths) or None,
        hint=hint,
    )


def _run_coroutine(coroutine):
    """Run a coroutine to its end, in another thread if this one has a running loop, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


# ---- isolated ------------------------------------------------------------------------------------

#: Kinds of messages from the child.
_LOGGED, _RETURNED, _RAISED = "logged", "returned", "raised"

_CHILD = "import sys; sys.path[:] = {path!r}; from daskcache.runtime.body import serve; serve({pid})"


def call_isolated(work: Work, args: tuple, kwargs: dict) -> Any:
    """Call a node's function in a child process.

    Raises
    ------
    Exception
        Any error of the function, with the child's traceback as a note.
    CodeMismatch
        If the child imports another version of the code than this process has.
    ProcessDied
        If the child ends without a result because it was killed or crashed.
    NodeTimeout
        If the function ran longer than its ``timeout``.
    """
    command = _CHILD.format(path=[os.path.abspath(p) for p in sys.path], pid=os.getpid())
    child = subprocess.Popen(
        [sys.executable, "-c", command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    printing = threading.Thread(target=_print, args=(child.stderr, body_log.get()), daemon=True)
    printing.start()
    token = running.set(work)
    clock = _Clock(work, child)
    try:
        _send_request(child.stdin, work, args, kwargs)
        kind, content = _answer(child.stdout)
    except (BrokenPipeError, EOFError, pickle.UnpicklingError):
        raise clock.error() or _died(work, child.wait()) from None
    finally:
        running.reset(token)
        clock.stop()
        _end(child)
        printing.join(_OF_GRANDCHILDREN)
    if kind == _RETURNED:
        return content
    error, story = content
    error.add_note(printable_lines(f"in the child process:\n{story}"))
    raise error


class _Clock:
    """Ends the process of a function that runs longer than its timeout, if it has one."""

    def __init__(self, work, child):
        self._work, self._is_over = work, False
        self._seconds = work.spec.options.timeout_seconds()
        self._timer = threading.Timer(self._seconds or 0, self._stop, (child,))
        if self._seconds is not None:
            self._timer.start()

    def _stop(self, child):
        self._is_over = True
        child.kill()

    def stop(self):
        self._timer.cancel()

    def error(self):
        """Return the error if the process was ended, else None."""
        if not self._is_over:
            return None
        return NodeTimeout(
            f"{self._work.spec.name}() ran longer than its timeout, so its process was ended",
            node=self._work.title,
            expected=f"at most {format_time(self._seconds)}",
            hint="give delayed() a longer timeout, or look why it takes so long",
        )


#: Seconds to wait for output of processes that the function started, and that outlive it.
_OF_GRANDCHILDREN = 1.0


def _print(stream, log):
    """Print what the child prints, line by line, and keep it in the log of the function."""
    for line in stream:
        text = line.decode(errors="replace")
        if sys.stderr is not None:
            sys.stderr.write(text)
        if log is not None:
            log.append(text.rstrip())


def _end(child):
    child.kill()
    child.wait()
    child.stdout.close()
    with suppress(BrokenPipeError):  # closing flushes data that the child did not read
        child.stdin.close()


def _send_request(stream, work, args, kwargs):
    levels = {
        name: logger.level
        for name, logger in logging.root.manager.loggerDict.items()
        if isinstance(logger, logging.Logger) and logger.level
    }
    # leave out fields that the call doesn't need: they may be large, or belong to this process
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
    os.dup2(2, 1)  # output that the function prints must not mix with the answers
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a crash must not lose what was printed before
    head, work, args, kwargs = pickle.load(requests)
    threading.Thread(target=_end_with, args=(requests,), daemon=True).start()
    dask.config.update(dask.config.config, head["config"], priority="new")
    send = _sender(answers)
    _send_logs(send, head)
    try:
        send(_RETURNED, _result(work, args, kwargs))
    except BaseException as error:  # noqa: BLE001 - the parent raises it
        send(_RAISED, (_travelling(error), traceback.format_exc()))
    sys.stdout.flush()
    os._exit(0)  # threads that the function left running must not keep the process


def _result(work, args, kwargs):
    algorithms.use(work.algorithm)
    if work.paths:
        # modules may have been edited since the parent imported them
        check_code(Root(work.root), work.code, work.spec)
    result = body(work, args, kwargs)
    from ..targets.figures import close_all  # needed in a child alone

    close_all()
    return result


def _sender(stream):
    """Return a function that sends messages to the parent, from any thread."""
    guard = threading.Lock()

    def send(kind, content):
        data = cloudpickle.dumps((kind, content), protocol=5)
        with guard:
            stream.write(data)
            stream.flush()

    return send


def _travelling(error):
    """Return an exception, or a `RuntimeError` that describes it if it can't be pickled."""
    try:
        pickle.loads(cloudpickle.dumps(error))
    except Exception as obstacle:  # noqa: BLE001 - its class may raise anything
        return RuntimeError(f"{type(error).__name__}: {error} (it can't be pickled: {obstacle})")
    return error


def _send_logs(send, head):
    class Handler(logging.Handler):
        def emit(self, record):
            told = described(record)
            del told["origin"]  # the parent forwards the record as its own
            send(_LOGGED, told)

    logging.root.addHandler(Handler())
    logging.root.setLevel(head["level"])
    for name, level in head["levels"].items():
        logging.getLogger(name).setLevel(level)


def _end_with(stream):
    """End this process when the parent closes its end of a pipe, or ends itself."""
    stream.read(1)
    os._exit(1)


def _die_with(parent):
    """Let Linux kill this process when the thread that started it ends."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent and sys.platform != "win32":
        os._exit(1)  # the parent ended before prctl was called


# ---- log records ---------------------------------------------------------------------------------

#: Random name of this process, unique across hosts.
PROCESS = uuid.uuid4().hex


def described(record: logging.LogRecord) -> dict[str, Any]:
    """Return a log record as plain data, with the name of its process as ``origin``."""
    message = record.getMessage()
    if record.exc_info and not record.exc_text:
        record.exc_text = logging.Formatter().formatException(record.exc_info)
    plain = {name: value for name, value in vars(record).items() if type(value) in _PLAIN}
    return {**plain, "msg": message, "origin": PROCESS}


#: Types of the attributes that are sent; others may hold anything, and need not be picklable.
_PLAIN = (str, int, float)
