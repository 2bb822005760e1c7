"""A page on the scheduler's dashboard: hits and misses by function, bytes written, time saved, runs.

It comes with the plugins at the first verb (`daskcache.attach`).  `dask scheduler --preload
daskcache.dashboard` has it from the start, as has config ``distributed.scheduler.preload``; a scheduler
that is running gets it alone by ``client.run_on_scheduler(daskcache.dashboard.register)``.  The page is
``/daskcache`` and, as a pane for JupyterLab's Dask extension, ``/individual-daskcache``.
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
    """Remembers the newest events for `daskcache.history`, and adds all of them up.

    Attributes
    ----------
    events : deque of dict
    tally : Tally
    is_attached : bool
        Whether it came with the plugins of `daskcache.attach`, and goes with them.
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
    """Collect a scheduler's events, and show them on its dashboard.

    What is there already stays, with its numbers.

    Parameters
    ----------
    dask_scheduler : distributed.Scheduler

    Returns
    -------
    bool
        Whether there is a page: not on a scheduler without a dashboard.
    """
    collector: Any = dask_scheduler.plugins.get(COLLECTOR)
    if collector is None:
        collector = EventCollector()
        dask_scheduler.add_plugin(collector)
    if "bokeh" not in sys.modules:  # then this scheduler has no dashboard
        return False
    try:
        from .dashboard_page import add_page

        return add_page(dask_scheduler, collector.tally)
    except Exception as error:  # noqa: BLE001 - insides of Dask, which nobody promises to keep
        logger.info("no page on the dashboard: %s: %s", type(error).__name__, error)
        return False


def unregister(dask_scheduler: Scheduler) -> None:
    """Take back what `register` did.

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
    """What ``--preload daskcache.dashboard`` calls."""
    register(scheduler)
