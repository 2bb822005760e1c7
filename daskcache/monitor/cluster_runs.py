"""The run of a verb on a distributed cluster: its scheduler is asked from time to time.

`watch` uses it.  Asking gives all events at once, where a subscription would send each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from dask.utils import key_split

from ..calls.task_keys import node_made_by, recipe_keys_in
from ..clients import by_value
from ..events import COLLECTOR, FAILED, RAN, TOPIC
from ..runtime.failing import in_brief
from .counts import Counts, Expected, Running
from .rows import name_of

#: Seconds to wait for an answer of the scheduler.
_PATIENCE = 2.0

#: Smallest number of seconds between two questions.
_PERIOD = 0.5

#: Share of the scheduler's time that answers may take, as long as a display moves on every few seconds.
_SHARE, _LONGEST = 0.01, 3.0


class ClusterRun:
    """Learn what happens to a verb's nodes on a cluster.

    Parameters
    ----------
    client : distributed.Client
    since : float, optional
        Monotonic time at which the run began.  Default: now.
    futures : iterable of distributed.Future
        Futures whose own status counts, see `expected_of`.

    Attributes
    ----------
    on_end : callable or None
        Nobody calls it here; see `end_with`.
    is_composed : bool
        True if the graph may need fewer nodes than were planned, which its scheduler finds out.
    """

    def __init__(self, client: Any, since: float | None = None, futures: Iterable[Any] = ()):
        self.on_end: Callable[[], None] | None = None
        self.is_composed = False
        self._client = client
        self._futures = list(futures)
        self._started = time.monotonic() if since is None else since
        #: Time of the scheduler's clock at its last answer.
        self._heard: float | None = None
        self._next = 0.0
        #: For each task that runs, the time at which it was first seen to.
        self._since: dict[str, float] = {}

    def start(self) -> None:
        """Do nothing: the scheduler keeps the events."""

    def stop(self) -> None:
        """Do nothing."""

    def refresh(self, counts: Counts, at_once: bool = False) -> None:
        """Add what happened since the last time; not more often than is cheap, unless `at_once`."""
        now = time.monotonic()
        if self._client.status != "running" or (now < self._next and not at_once):
            return
        if self.is_composed and counts.has_begun:
            self.is_composed = False
            keys = self._ask(_task_keys)
            counts.keep_only({part for key in keys for part in recipe_keys_in(key)})
        # By the scheduler's clock: an answer may take longer than the one before.
        news = self._ask(_news, TOPIC, COLLECTOR, now - self._started, self._heard)
        found, processing, is_cut, self._heard, seconds = news
        self._next = time.monotonic() + min(max(_PERIOD, seconds / _SHARE), _LONGEST)
        counts.updated = now
        counts.is_cut = counts.is_cut or is_cut
        noted = [counts.note(*event) for event in found]
        self._note_futures(counts)
        self._since = {key: self._since.get(key, now) for key, is_running, _ in processing if is_running}
        counts.running = [
            Running(_name_of(key), max(seconds, now - self._since[key]))
            for key, is_running, seconds in processing
            if is_running
        ]
        if any(noted) or any(counts.knows(_name_of(key)) for key, _, _ in processing):
            counts.begin(self._started)

    def _ask(self, function, *args):
        ask = self._client._run_on_scheduler
        return self._client.sync(ask, by_value(function), *args, callback_timeout=_PATIENCE)

    def _note_futures(self, counts):
        """Note the futures of tasks that emit no events."""
        for future in self._futures:
            outcome = _OUTCOMES.get(future.status)
            if outcome == FAILED:
                counts.note(str(future.key), "", outcome, error=in_brief(future.exception()))
            elif outcome is not None:
                counts.note(str(future.key), "", outcome)


def _name_of(task_key):
    """Return the key by which `Counts` knows what a task makes."""
    made = node_made_by(task_key)
    return task_key if made is None else made[1]


#: Outcome of a future by its status.
_OUTCOMES = {"finished": RAN, "error": FAILED}


def expected_of(tasks: Iterable[Any], futures: Iterable[Any]) -> dict[str, Expected]:
    """Return the nodes that tasks make, and the futures of other tasks, by the keys that they have here.

    Parameters
    ----------
    tasks : iterable of dask._task_spec.Task
        Tasks that make nodes.
    futures : iterable of distributed.Future
    """
    found = {}
    for task in tasks:
        work = task.args[0]
        known = [name.microseconds / 1e6 for name in work.previous if name is not None]
        seconds = known[0] if known else None
        found[work.key] = Expected(work.spec.name, name_of(work), seconds)
    for future in futures:
        key = str(future.key)
        if not any(
            part in found for part in key.split("-")
        ):  # Dask's own key of a node has the recipe's
            found[key] = Expected(key_split(future.key), key, None)
    return found


def _news(topic, collector, age, heard, dask_scheduler):
    """Return new events, the workers' tasks, whether events were lost, and the time before.

    The events are those since the time `heard`, or of the last `age` seconds if it is None.  The last
    item is the number of seconds that this took.  It runs on the scheduler, maybe without daskcache.
    """
    from dask import config
    from distributed.metrics import time

    now = time()
    plugin = dask_scheduler.plugins.get(collector)
    if hasattr(plugin, "arrivals"):
        log = list(zip(plugin.arrivals, plugin.events, strict=True))
        size = plugin.events.maxlen
    else:
        log = list(dask_scheduler.get_events(topic))
        size = config.get("distributed.admin.low-level-log-length", None)
    since, first = now - age if heard is None else heard, len(log)
    while first and log[first - 1][0] >= since:
        first -= 1
    is_cut = first == 0 and size is not None and len(log) >= size
    fields = "key", "target", "outcome", "seconds", "saved", "error"
    found = []
    for _, message in log[first:]:
        for event in [message] if type(message) is dict else message:
            if event.get("key"):
                found.append([event.get(name, "") for name in fields])
    processing = []
    for worker in dask_scheduler.workers.values():
        has_few = len(worker.processing) <= worker.nthreads
        for task in worker.processing:
            seconds = worker.executing.get(task)  # as of its last heartbeat
            processing.append([str(task.key), has_few or seconds is not None, seconds or 0.0])
    return found, processing[:1000], is_cut, now, time() - now


def _task_keys(dask_scheduler):
    """Return the keys of all tasks.  It runs on the scheduler."""
    return [str(key) for key in dask_scheduler.tasks]


def end_with(futures: dict[str, Any], on_end: Callable[[], None]) -> None:
    """Replace one of a verb's futures by one that calls `on_end` when the verb releases it.

    ``Client.get`` releases its futures in the end, whatever happens.
    """
    from distributed import Future

    class LastFuture(Future):
        def release(self):
            super().release()
            if not self._cleared_by_collector:
                on_end()

        def __del__(self):
            self._cleared_by_collector = True  # the collector may run in any thread
            super().__del__()

        _cleared_by_collector = False

    for key, future in futures.items():
        futures[key] = LastFuture(key, future.client)
        break
