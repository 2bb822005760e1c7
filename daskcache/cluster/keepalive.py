"""Heartbeats for workers that a task blocks.  `attaching` adds them to schedulers and nannies.

A task that holds the GIL stops its worker's heartbeat.  After ``distributed.scheduler.worker-ttl`` the
scheduler restarts the worker and reruns the task, until it gives up.  So the worker's nanny, which sees
the process, sends heartbeats for it (`KeepAlivePlugin`).  Without a nanny, the scheduler refreshes the
worker while it has a task and a connection (`KeepAliveTimer`).  A dead process is still noticed at once,
by its nanny or connection.  After ``daskcache.keepalive.max-block`` both stop: a worker is hung then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import dask.config
from dask.utils import parse_timedelta
from distributed import NannyPlugin, Status
from distributed.protocol.pickle import dumps
from tornado.ioloop import PeriodicCallback

logger = logging.getLogger(__name__)

#: Longest time between two checks, in seconds.
_LONGEST_PERIOD = 30.0


def cluster_config(tcp_timeout: str = "1 hour") -> dict[str, Any]:
    """Return a configuration under which a cluster that the user starts needs no keepalive.

    The scheduler never takes a silent worker for dead, only one whose connection breaks.  A connection
    doesn't break while the worker is silent for less than `tcp_timeout`.

    Parameters
    ----------
    tcp_timeout : str
        Time that data may wait for a blocked worker, such as "1 hour".

    Returns
    -------
    dict
        Names and values for `dask.config.set`.

    Examples
    --------
    >>> with dask.config.set(cluster_config()):                     # doctest: +SKIP
    ...     cluster = LocalCluster()
    """
    return {
        "distributed.scheduler.worker-ttl": None,
        "distributed.comm.timeouts.tcp": tcp_timeout,
    }


def period_for(ttl: float) -> float:
    """Return the seconds between two checks for a scheduler with a ``worker-ttl`` of `ttl` seconds."""
    return min(ttl / 5, _LONGEST_PERIOD)


def configured_ttl() -> float | None:
    """Return the configured seconds after which schedulers take silent workers for dead, or None."""
    return parse_timedelta(dask.config.get("distributed.scheduler.worker-ttl"))


class KeepAlivePlugin(NannyPlugin):
    """Send heartbeats for a nanny's worker while the worker can't.

    Parameters
    ----------
    period : float
        Seconds between two checks of the worker.
    max_block : float
        Seconds without an answer after which the worker counts as hung.
    """

    def __init__(self, period: float, max_block: float):
        self.period = period
        self.max_block = max_block
        self._watch: asyncio.Task | None = None

    def setup(self, nanny: Any) -> None:
        self._watch = asyncio.create_task(self._keep_watching(nanny))

    def teardown(self, nanny: Any) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    async def _keep_watching(self, nanny):
        watch = _Watch(nanny, self.period, self.max_block)
        while True:
            await asyncio.sleep(self.period)
            try:
                await watch.look()
            except Exception:
                logger.exception("The nanny could not look after its worker")


class _Watch:
    """A nanny's knowledge of its worker.  A restarted worker has another address."""

    def __init__(self, nanny, period, max_block):
        self.nanny = nanny
        self.period = period
        self.max_block = max_block
        self.address = None
        self.answered = time.monotonic()
        self.question: asyncio.Task | None = None
        self.metrics: dict | None = None

    async def look(self):
        nanny = self.nanny
        if nanny.worker_address != self.address or not nanny.is_alive():
            self._forget(nanny.worker_address)
        if self.address is None or not nanny.is_alive() or await self._answers():
            self.answered = time.monotonic()
            self.metrics = None
        elif time.monotonic() - self.answered < self.max_block:
            await self._heartbeat()

    def _forget(self, address):
        """Forget the worker so far, and begin with the one at `address`."""
        if self.question is not None:
            self.question.cancel()
        self.address, self.question = address, None
        self.answered = time.monotonic()

    async def _answers(self):
        """Return True if the worker answers within a period.

        A blocked worker may take hours to answer, so only one question is open at a time.
        """
        if self.question is None:
            self.question = asyncio.create_task(_ask(self.nanny, self.address))
        done, _ = await asyncio.wait([self.question], timeout=self.period)
        if not done:
            return False
        question, self.question = self.question, None
        return question.result()

    async def _heartbeat(self):
        """Repeat the worker's last heartbeat, without the counts since the heartbeat before."""
        if self.metrics is None:
            answer = await self.nanny.scheduler.run_function(
                function=dumps(metrics_of), args=dumps((self.address,)), kwargs=dumps({})
            )
            self.metrics = answer["result"] if answer["status"] == "OK" else {}
        if self.metrics:
            answer = await self.nanny.scheduler.heartbeat_worker(
                address=self.address, metrics=self.metrics
            )
            if answer["status"] == "missing":  # the scheduler has given the worker up
                self.metrics = {}


async def _ask(nanny, address):
    try:
        await nanny.rpc(address).echo(data=None)
    except (TimeoutError, OSError):
        return False
    return True


def metrics_of(address: str, dask_scheduler: Any = None) -> dict[str, Any]:
    """Return the metrics of a worker's last heartbeat, or an empty dict for an unknown worker."""
    worker = dask_scheduler.workers.get(address)
    if worker is None:
        return {}
    # the scheduler adds these up at each heartbeat: repeated, they would count twice
    metrics = dict(worker.metrics)
    metrics["bandwidth"] = {**metrics["bandwidth"], "workers": {}, "types": {}}
    metrics["digests_total_since_heartbeat"] = {}
    return metrics


class KeepAliveTimer:
    """Refresh, on the scheduler, the times when workers without a nanny were last seen.

    It also replaces the scheduler's own timer for silent workers.  In a cluster within one process, a
    task that blocks the worker blocks the scheduler, too.  When the scheduler goes on, the times must be
    refreshed before it looks for silent workers.

    Parameters
    ----------
    scheduler : distributed.Scheduler
        A scheduler with a ``worker_ttl``.
    max_block : float
        Seconds without a heartbeat after which a worker counts as hung.
    """

    def __init__(self, scheduler: Any, max_block: float):
        self._scheduler = scheduler
        self._max_block = max_block
        #: For each address, the time when the worker was last seen, and the time put in its place.
        self._refreshed: dict[str, tuple[float, float]] = {}
        self._own_timer = scheduler.periodic_callbacks.get("worker-ttl")
        self._period = period_for(scheduler.worker_ttl)
        self._check_at = time.monotonic() + scheduler.worker_ttl
        self._timer = PeriodicCallback(self._look, self._period * 1000)

    def start(self) -> None:
        if self._own_timer is not None:
            self._own_timer.stop()
        self._timer.start()

    def stop(self) -> None:
        self._timer.stop()
        if self._own_timer is not None and self._scheduler.status == Status.running:
            self._own_timer.start()

    async def _look(self):
        self._refresh()
        if time.monotonic() >= self._check_at:
            self._check_at = time.monotonic() + self._scheduler.worker_ttl - self._period / 2
            await self._scheduler.check_worker_ttl()

    def _refresh(self):
        now = time.time()
        refreshed = {}
        for address, worker in self._scheduler.workers.items():
            if worker.nanny or not worker.processing:
                continue
            seen, put = self._refreshed.get(address, (0.0, 0.0))
            if worker.last_seen != put:  # a real heartbeat has come since
                seen = worker.last_seen
            if now - seen < self._max_block:
                worker.last_seen = now
                refreshed[address] = seen, now
            else:
                refreshed[address] = seen, worker.last_seen
        self._refreshed = refreshed
