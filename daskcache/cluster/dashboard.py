"""The scheduler's collector of events, and its dashboard page, which `dashboard_page` draws.

The page shows hits and misses by function, bytes written, time saved and running nodes.  Its path is
``/daskcache``, or ``/individual-daskcache`` as a pane for JupyterLab's Dask extension.  `attaching` adds
it at a client's first verb.  ``dask scheduler --preload daskcache.cluster.dashboard``, or config
``distributed.scheduler.preload``, adds it from the start.  A running scheduler gets the page alone by
``client.run_on_scheduler(daskcache.cluster.dashboard.register)``.
"""

from __future__ import annotations

import logging
import sys
from collections import deque
from typing import Any

from distributed import Scheduler, SchedulerPlugin

from ..events import COLLECTOR, MAX_EVENTS, TOPIC, event_of, messages_in
from .tally import Tally

logger = logging.getLogger("daskcache.dashboard")


class EventCollector(SchedulerPlugin):
    """Keep the newest events for `daskcache.history`, and add up all events.

    Attributes
    ----------
    events : deque of dict
        The newest events, at most `daskcache.events.MAX_EVENTS`.
    tally : Tally
        The sums of all events by function.
    is_attached : bool
        True if `daskcache.attach` added the collector; `daskcache.detach` removes it only then.
    """

    name = COLLECTOR

    def __init__(self):
        self.events: deque[dict] = deque(maxlen=MAX_EVENTS)
        self.tally = Tally()
        self.is_attached = False

    def log_event(self, topic: str, msg: Any) -> None:
        if topic != TOPIC:
            return
        for message in messages_in(msg):
            event = event_of(message)
            if event is not None:
                self.events.append(message)
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
