"""Trimming of workers' memory: freed memory goes back to the system.  `attaching` puts it on workers.

The C library keeps much of the freed memory for later use (distributed#5971).  So the worker looks full,
spills and pauses.  glibc's ``malloc_trim`` gives the memory back, and Arrow's pool has a separate
call for it.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import sys
import threading
import time
import weakref
from typing import Any

from distributed import WorkerPlugin
from distributed.utils import offload
from tornado.ioloop import PeriodicCallback

logger = logging.getLogger(__name__)

#: Bytes above the need of the process that are not worth a trim.
SLACK = 64 * 2**20

#: Seconds between two checks, and their maximum if trims free next to nothing.
PERIOD, LONGEST_PERIOD = 0.5, 30.0

#: Seconds to wait for each second that a trim took, so that trims get at most 1 % of the time.
_REST = 99

#: Parameters of ``mallopt``, from malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


class TrimPlugin(WorkerPlugin):
    """Trim the memory of a worker's process.

    With another C library than glibc it does nothing, and logs that once.

    Parameters
    ----------
    mallopt : int, optional
        Size in bytes from which on allocations come from the system and go back to it at once.  Such
        allocations are far more expensive.
    """

    def __init__(self, mallopt: int | None = None):
        self.mallopt = mallopt
        self._timer: PeriodicCallback | None = None

    def setup(self, worker: Any) -> None:
        if _trimmer.libc is None:
            return
        if self.mallopt:  # the trim threshold alone does nothing
            for parameter in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
                _trimmer.libc.mallopt(parameter, self.mallopt)
        _trimmer.add(worker)
        self._timer = PeriodicCallback(_look, PERIOD * 1000)
        self._timer.start()

    def teardown(self, worker: Any) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None
        _trimmer.workers.discard(worker)


async def _look():
    await offload(_trimmer.look)


class Trimmer:
    """Trim a process when it holds too much free memory; one trimmer serves all its workers.

    Attributes
    ----------
    base : int
        Bytes that the process needs besides its workers' results, the smallest number ever seen.
    trims : int
        Number of trims, without those when workers were added.
    """

    def __init__(self):
        self.workers: weakref.WeakSet[Any] = weakref.WeakSet()
        self.base = 0
        self.trims = 0
        self._guard = threading.Lock()
        self._due = 0.0
        self._wait = PERIOD

    @functools.cached_property
    def libc(self) -> Any:
        """The C library if it is glibc, which can trim, else None."""
        libc = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
        if hasattr(libc, "gnu_get_libc_version") and hasattr(libc, "malloc_trim"):
            return libc
        logger.info("memory of workers is not trimmed: the C library is not glibc")
        return None

    def add(self, worker: Any) -> None:
        with self._guard:
            self.trim()  # first, so that freed memory does not count as needed
            unmanaged = _rss() - self._managed()
            self.base = min(self.base, unmanaged) if self.workers else unmanaged
            self.workers.add(worker)

    def look(self) -> None:
        """Trim if a check is due and the process holds more than `SLACK` above its need.

        After a trim that freed little, the next check comes later.
        """
        if time.monotonic() < self._due or not self._guard.acquire(blocking=False):
            return
        try:
            before = _rss()
            unmanaged = before - self._managed()
            excess = unmanaged - self.base
            self.base = min(self.base, unmanaged)
            if excess <= SLACK:
                self._wait = PERIOD
                return
            started = time.monotonic()
            self.trim()
            self.trims += 1
            took = time.monotonic() - started
            gained = before - _rss()
            self._wait = PERIOD if gained > SLACK / 8 else min(2 * self._wait, LONGEST_PERIOD)
            self._due = time.monotonic() + max(self._wait, _REST * took)
        finally:
            self._guard.release()

    def trim(self) -> None:
        """Give free memory back to the system."""
        self.libc.malloc_trim(0)
        arrow = sys.modules.get("pyarrow")
        if arrow is not None:
            arrow.default_memory_pool().release_unused()

    def _managed(self):
        """Return the bytes of results that the workers hold in memory."""
        return sum(_managed_by(worker) for worker in list(self.workers))


def _managed_by(worker):
    spilled = getattr(worker.data, "spilled_total", None)
    return worker.state.nbytes - (spilled.memory if spilled is not None else 0)


def _rss():
    import psutil

    return psutil.Process().memory_info().rss


_trimmer = Trimmer()
