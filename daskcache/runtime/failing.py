"""Notes of what went wrong in a node: its exception, with the log of its function.

`node` uses it.  `storage.failures` has the files.
"""

from __future__ import annotations

import functools
import logging
import platform
import traceback
from collections import deque
from types import TracebackType

from ..calls.state import body_log
from ..clients import worker_here
from ..errors import DaskcacheError
from ..printable import printable_lines
from ..storage import failures
from ..storage.records import RecordStore
from ..storage.roots import Root
from .work import Work

#: Log records of a function that are kept while it runs, and the characters of each line.
_MAX_RECORDS, _MAX_LINE = 100, 1000
#: Characters of a traceback that are kept.
_MAX_TRACEBACK = 20_000

#: Targets whose failures this process has noted, so that a retry clears the note.
noted: set[tuple[str, str]] = set()


class remembering:
    """Within this context, an error of a node is noted in its root, with what the function logged."""

    __slots__ = "log", "token", "work"

    def __init__(self, work: Work):
        self.work = work
        self.log: deque[logging.LogRecord | str] = deque(maxlen=_MAX_RECORDS)

    def __enter__(self) -> None:
        _start_to_listen()
        self.token = body_log.set(self.log)

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        try:
            if self.work.paths and isinstance(error, Exception):
                _note(self.work, error, self.log)
        finally:
            body_log.reset(self.token)


def forget_failure(work: Work) -> None:
    """Remove the note of an earlier failure of a node that succeeded."""
    if work.failed_before or (work.root, work.key) in noted:
        failures.clear_failure(Root(work.root), work.key)
        noted.discard((work.root, work.key))


def _note(work, error, log):
    root = Root(work.root)
    try:
        root.check(work.root_id)  # a root whose disk is gone must not be made anew
        failures.write_failure(root, work.key, **_facts(work, error, log))
        noted.add((work.root, work.key))
    except (OSError, DaskcacheError) as obstacle:
        error.add_note(f"the failure can't be noted in the root: {obstacle}")


def _facts(work, error, log):
    """Return the fields of `FailureNote` that describe a failure."""
    worker = worker_here()
    known = [*work.previous, *RecordStore(Root(work.root)).with_key(work.key)]
    return {
        "node": work.title,
        "function": work.spec.qualified_name,
        "targets": list(work.paths),
        "records": [failures.record_id(name) for name in known if name is not None],
        "error": in_brief(error),
        "traceback": _traceback(error)[-_MAX_TRACEBACK:],
        "log": [_line(each) for each in log],
        "worker": worker.address if worker is not None else "",
        "host": platform.node(),
    }


def in_brief(error: BaseException) -> str:
    """Return the class and message of an exception, as in the last line of a traceback."""
    return printable_lines(f"{type(error).__name__}: {getattr(error, 'message', error)}")


def _traceback(error):
    return "".join(traceback.format_exception(type(error), error, _of_users(error.__traceback__)))


def _of_users(frames: TracebackType | None) -> TracebackType | None:
    """Return the frames from the first one that is not daskcache's, or None."""
    while frames is not None:
        if not frames.tb_frame.f_globals.get("__name__", "").startswith("daskcache."):
            return frames
        frames = frames.tb_next
    return None


def _line(record):
    if isinstance(record, str):  # what an isolated function printed
        return printable_lines(record)[:_MAX_LINE]
    try:
        text = record.getMessage()
    except Exception as error:  # noqa: BLE001 (arguments that don't fit, which `logging` only prints)
        text = f"{record.msg} ({error})"
    return printable_lines(f"{record.levelname} {record.name}: {text}")[:_MAX_LINE]


@functools.cache
def _start_to_listen():
    """Keep the log records that functions make, without a handler: those change how Python logs."""
    make = logging.getLogRecordFactory()

    @functools.wraps(make)
    def made(*args, **kwargs):
        record = make(*args, **kwargs)
        log = body_log.get()
        if log is not None:
            log.append(record)
        return record

    logging.setLogRecordFactory(made)
