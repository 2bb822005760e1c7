"""What happened to each node, told to whoever listens; nothing that runs knows who does.

On a distributed worker the event also goes to the scheduler, under the topic `TOPIC`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple

#: Topic of the events in a distributed scheduler's log: ``client.get_events(TOPIC)``.
TOPIC = "daskcache"


class NodeEvent(NamedTuple):
    """What happened to one node on a worker."""

    #: Name of the function.
    function: str
    #: Hash of the recipe.
    key: str
    #: "ran", "skipped" (its target was complete after all), "copied" (from another target) or "failed".
    outcome: str
    #: Run time of the function.
    seconds: float


#: Called with each event of this process.
listeners: list[Callable[[NodeEvent], None]] = []


def emit(function: str, key: str, outcome: str, seconds: float = 0.0) -> None:
    """Tell what happened."""
    event = NodeEvent(function, key, outcome, seconds)
    for listener in listeners:
        listener(event)
    if "distributed.worker" in sys.modules:
        from distributed import get_worker

        try:
            worker = get_worker()
        except ValueError:  # a task of a scheduler of this process
            return
        worker.log_event(TOPIC, event._asdict())


def worker_address() -> str | None:
    """Address of the distributed worker whose task this is, if it is one's."""
    if "distributed.worker" not in sys.modules:
        return None
    from distributed import get_worker

    try:
        return get_worker().address
    except ValueError:
        return None
