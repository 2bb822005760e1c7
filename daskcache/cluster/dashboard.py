"""The scheduler's collector of events, and its dashboard page, which `dashboard_page` draws.

The page shows by function what ran, was skipped, failed and is left, the estimated end, failures and
running nodes.  Its path is ``/daskcache``, or ``/individual-daskcache`` as a pane for JupyterLab's Dask
extension.  `attaching` adds it at a client's first verb.  Config ``distributed.scheduler.preload``, or
``dask scheduler --preload daskcache.cluster.dashboard``, adds it from the start.  A running scheduler
gets the page alone by ``client.run_on_scheduler(daskcache.cluster.dashboard.register)``.
"""

from __future__ import annotations

import logging
import pickle
import sys
from collections import deque
from collections.abc import Mapping
from typing import Any

from distributed import Scheduler, SchedulerPlugin
from distributed.metrics import time

from ..calls.task_keys import TO_DO
from ..events import COLLECTOR, FAILED, MAX_EVENTS, TOPIC, NodeEvent, event_of, messages_in
from ..runtime.failing import in_brief
from .node_tasks import node_of
from .tally import Tally

logger = logging.getLogger("daskcache.dashboard")


#: Characters of an exception's text that are kept.
_MAX_ERROR = 300


class EventCollector(SchedulerPlugin):
    """Keep the newest events for `daskcache.history`, and add up all events and the tasks that are left.

    Attributes
    ----------
    events : deque of dict
        The newest events, at most `daskcache.events.MAX_EVENTS`.
    arrivals : deque of float
        For each of these events, the scheduler's time at which it came, in seconds since 1970.
    tally : Tally
        The sums of all events by function, and what is left.
    is_attached : bool
        True if `daskcache.attach` added the collector; `daskcache.detach` removes it only then.
    """

    name = COLLECTOR

    def __init__(self):
        self.events: deque[dict] = deque(maxlen=MAX_EVENTS)
        self.arrivals: deque[float] = deque(maxlen=MAX_EVENTS)
        self.tally = Tally()
        self.is_attached = False
        self._tasks: Mapping[Any, Any] = {}

    async def start(self, scheduler: Scheduler) -> None:
        self.follow(scheduler)

    def follow(self, scheduler: Scheduler) -> None:
        """Note which tasks are left, from now on."""
        self._tasks = scheduler.tasks
        for key, task in self._tasks.items():
            if task.state in TO_DO:
                self._expect(key)

    def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        if finish in TO_DO:
            if start not in TO_DO:
                self._expect(key)
        elif start in TO_DO:
            self.tally.forget(key)
        if finish == "erred":
            self._note_error(key)

    def _expect(self, key):
        node = node_of(self._tasks[key])
        if node is not None:
            self.tally.expect(key, node.function, node.recorded)

    def _note_error(self, key):
        """Note the error of a task whose worker could not tell it, such as one that died."""
        task = self._tasks[key]
        node = node_of(task) if task.exception_blame is task else None
        if node is None:
            return
        by_scheduler = task.exception_text is None and isinstance(task.exception, bytes)
        if by_scheduler or not self.tally.has_failed(node.function, node.target or node.work.key):
            text = in_brief(pickle.loads(task.exception)) if by_scheduler else str(task.exception_text)
            event = NodeEvent(
                time(),
                FAILED,
                node.function,
                node.title,
                node.work.key,
                node.target,
                worker=next(iter(task.erred_on or ()), ""),
                error=text.replace(key, node.title)[:_MAX_ERROR],
            )
            self.tally.add(event)

    def log_event(self, topic: str, msg: Any) -> None:
        if topic != TOPIC:
            return
        for message in messages_in(msg):
            event = event_of(message)
            if event is not None:
                self.events.append(message)
                self.arrivals.append(time())
                self.tally.add(event)


def register(dask_scheduler: Scheduler) -> bool:
    """Collect a scheduler's events, and add the page to its dashboard.

    A collector or page that is there already stays, with its numbers.

    Parameters
    ----------
    dask_scheduler : distributed.Scheduler

    Returns
    -------
    bool
        True if there is a page; False on a scheduler without a dashboard, or if Dask refuses the page.
    """
    collector: Any = dask_scheduler.plugins.get(COLLECTOR)
    if collector is None:
        collector = EventCollector()
        collector.follow(dask_scheduler)
        dask_scheduler.add_plugin(collector)
    if "bokeh" not in sys.modules:  # a scheduler with a dashboard has imported it
        return False
    try:
        from .dashboard_page import add_page

        return add_page(dask_scheduler, collector.tally)
    except Exception as error:  # noqa: BLE001 - undocumented parts of Dask, which may change
        logger.info("no page on the dashboard: %s: %s", type(error).__name__, error)
        return False


def unregister(dask_scheduler: Scheduler) -> None:
    """Remove the collector and the page that `register` added.

    Parameters
    ----------
    dask_scheduler : distributed.Scheduler
    """
    if dask_scheduler.plugins.pop(COLLECTOR, None) is None:
        return
    try:
        from .dashboard_page import remove_page

        remove_page(dask_scheduler)
    except (ImportError, AttributeError, LookupError, TypeError, ValueError) as error:
        logger.info("the page stays on the dashboard: %s: %s", type(error).__name__, error)


def dask_setup(scheduler: Scheduler) -> None:
    """Register the collector and the page on a scheduler that preloads this module."""
    register(scheduler)
