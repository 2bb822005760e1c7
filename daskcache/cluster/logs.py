"""Forwarding of log records from workers to the client's loggers of the same names.

`attaching` puts `LogsPlugin` on workers.  A worker sends the records of the chosen loggers as events of
the scheduler.  The client passes each record to its own logger, whose handlers decide about printing.
Configuration files stay as they are.  `runtime.body` describes records so that they can travel.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

from distributed import WorkerPlugin

from ..calls.state import running
from ..clients import worker_here
from ..runtime.body import PROCESS, described

#: Topic of the events that carry records.
TOPIC = "daskcache-logs"


class LogsPlugin(WorkerPlugin):
    """Send records of named loggers from a worker to the scheduler.

    Parameters
    ----------
    loggers : tuple of str
        Names of loggers.  Their children are included.
    level : int
        The lowest level that is sent.
    """

    def __init__(self, loggers: tuple[str, ...], level: int):
        self.loggers = loggers
        self.level = level

    def setup(self, worker: Any) -> None:
        _forwarder.add(worker, self.loggers, self.level)

    def teardown(self, worker: Any) -> None:
        _forwarder.remove(worker)


class Forwarder(logging.Handler):
    """Handler that sends the log records of a process, for all the workers in it."""

    def __init__(self):
        super().__init__()
        self._workers: dict[Any, tuple[str, ...]] = {}
        self._levels: dict[str, int] = {}
        self._guard = threading.Lock()

    def add(self, worker: Any, loggers: tuple[str, ...], level: int) -> None:
        with self._guard:
            self._workers[worker] = loggers
            for name in loggers:
                logger = logging.getLogger(name)
                self._levels.setdefault(name, logger.level)
                logger.addHandler(self)  # logging keeps a handler once, however often it is added
                logger.setLevel(level)

    def remove(self, worker: Any) -> None:
        with self._guard:
            self._workers.pop(worker, None)
            wanted = {name for names in self._workers.values() for name in names}
            for name in self._levels.keys() - wanted:
                logger = logging.getLogger(name)
                logger.removeHandler(self)
                logger.setLevel(self._levels.pop(name))

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "origin", None):  # it comes from another process
            return
        worker = worker_here() or next(iter(self._workers), None)
        if worker is None:
            return
        work = running.get()
        record.worker = worker.address
        record.node, record.key = ("", "") if work is None else (work.title, work.key)
        try:
            worker.log_event(TOPIC, described(record))
        except Exception:  # noqa: BLE001 - as logging's own handlers do
            self.handleError(record)


def receive(event: tuple[float, dict[str, Any]]) -> None:
    """Pass the worker's record in an event to this process's logger of the same name.

    The message names its node, worker and line.  Records of workers in this process are left out,
    because the logger has handled them already.
    """
    _, told = event
    if told["origin"] == PROCESS:
        return
    line = f"{os.path.basename(told['pathname'])}:{told['lineno']}"
    places = ", ".join(filter(None, [told["node"], told["worker"], line]))
    record = logging.makeLogRecord({**told, "msg": f"{told['msg']} [{places}]"})
    logging.getLogger(record.name).handle(record)


_forwarder = Forwarder()
