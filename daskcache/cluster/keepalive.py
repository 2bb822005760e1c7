"""Workers stay alive while a task keeps them from saying that they are.

A task that holds the interpreter's lock (the GIL) stops its worker's heartbeat, and after
``distributed.scheduler.worker-ttl`` the scheduler takes the worker for dead: it restarts it and runs the
task again, and again, until it gives up.  So somebody else says that the worker is there: its nanny,
which sees the process (`KeepAlivePlugin`), or, where there is none, the scheduler itself, as long as the
worker has a task to run and its connection stands (`KeepAliveTimer`).  A process that dies is noticed at
once all the same, by its nanny or by its connection.

Either stops after ``daskcache.keepalive.max-block``: a worker that hangs is found in the end.
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

#: The longest time between two looks, in seconds.
_LONGEST_PERIOD = 30.0


def cluster_config(tcp_timeout: str = "1 hour") -> dict[str, Any]:
    """Configuration for a cluster that one starts oneself, which then needs no more to stay alive.

    Workers are never taken for dead because they are silent, only because their connections break; and
    connections don't break because a worker is silent for less than `tcp_timeout`.

    Parameters
    ----------
    tcp_timeout : str
        How long data may wait for a worker that is blocked.

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
    """Seconds between two looks, for a scheduler that wants a heartbeat in each `ttl` seconds."""
    return min(ttl / 5, _LONGEST_PERIOD)


def configured_ttl() -> float | None:
    """The time after which schedulers with this process's configuration take workers for dead."""
    return parse_timedelta(dask.config.get("distributed.scheduler.worker-ttl"))


class KeepAlivePlugin(NannyPlugin):
    """Sends heartbeats for a worker that can't.

    Parameters
    ----------
    period : float
        Seconds between two looks at the worker.
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
    """What a nanny knows of its worker, which has another address whenever it was restarted."""

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
        """Begin with a new worker."""
        if self.question is not None:
            self.question.cancel()
        self.address, self.question = address, None
        self.answered = time.monotonic()

    async def _answers(self):
        """Whether the worker answers within a period.  One question at a time: it may take hours."""
        if self.question is None:
            self.question = asyncio.create_task(_ask(self.nanny, self.address))
        done, _ = await asyncio.wait([self.question], timeout=self.period)
        if not done:
            return False
        question, self.question = self.question, None
        return question.result()

    async def _heartbeat(self):
        """Repeat the worker's last heartbeat, without what is counted up from one to the next."""
        if self.metrics is None:
            answer = await self.nanny.scheduler.run_function(
                function=dumps(metrics_of), args=dumps((self.address,)), kwargs=dumps({})
            )
            self.metrics = answer["result"] if answer["status"] == "OK" else {}
        if self.metrics:
            answer = await self.nanny.scheduler.heartbeat_worker(
                address=self.address, metrics=self.metrics
            )
            if answer["status"] == "missing":  # the scheduler has given it up: there is no more to say
                self.metrics = {}


async def _ask(nanny, address):
    try:
        await nanny.rpc(address).echo(data=None)
    except (TimeoutError, OSError):
        return False
    return True


def metrics_of(address: str, dask_scheduler: Any = None) -> dict[str, Any]:
    """The metrics of a worker's last heartbeat; empty if the scheduler doesn't know the worker."""
    worker = dask_scheduler.workers.get(address)
    if worker is None:
        return {}
    metrics = dict(worker.metrics)
    metrics["bandwidth"] = {**metrics["bandwidth"], "workers": {}, "types": {}}
    metrics["digests_total_since_heartbeat"] = {}
    return metrics


class KeepAliveTimer:
    """Refreshes, on the scheduler, when workers without a nanny were last seen.

    It also takes over the scheduler's own timer for that: in a cluster within one process, a task that
    blocks the worker blocks the scheduler, too, whose first act afterwards must not be to look for
    workers that were silent.

    Parameters
    ----------
    scheduler : distributed.Scheduler
    max_block : float
        Seconds without a heartbeat after which a worker counts as hung.
    """

    def __init__(self, scheduler: Any, max_block: float):
        self._scheduler = scheduler
        self._max_block = max_block
        #: Per address: when it was really seen last, and what was put in place of that.
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
            if worker.last_seen != put:
                seen = worker.last_seen
            if now - seen < self._max_block:
                worker.last_seen = now
                refreshed[address] = seen, now
            else:
                refreshed[address] = seen, worker.last_seen
        self._refreshed = refreshed
