"""Sums of node events by function, for the page that `dashboard_page` draws.

`dashboard.EventCollector` adds the events.  The memory needed does not grow with their number.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..events import FAILED, RAN, NodeEvent

#: Largest number of functions with separate sums.  Further ones share the sums of `OTHERS`.
MAX_FUNCTIONS = 500
OTHERS = "(others)"


@dataclass
class Sums:
    """Sums over the events of one function's nodes."""

    #: Nodes that did not run because there was a result: loaded, skipped, copied, or found complete.
    hits: int = 0
    #: Nodes that ran.
    misses: int = 0
    #: Nodes that failed.
    failures: int = 0
    #: Run time, in seconds.
    seconds: float = 0.0
    #: Size of the targets that were written, in bytes.
    written: int = 0
    #: Recorded run time of the hits, in seconds.
    saved: float = 0.0

    def add(self, event: NodeEvent) -> None:
        if event.outcome == FAILED:
            self.failures += event.nodes
        elif event.outcome == RAN:
            self.misses += event.nodes
            self.seconds += event.seconds
            self.written += event.bytes
        else:
            self.hits += event.nodes
            self.saved += event.saved


class Tally:
    """The sums of all functions.

    Attributes
    ----------
    functions : dict of str to Sums
        The sums by function name.
    """

    def __init__(self):
        self.functions: dict[str, Sums] = {}

    def add(self, event: NodeEvent) -> None:
        name = event.function
        if name not in self.functions and len(self.functions) >= MAX_FUNCTIONS:
            name = OTHERS
        self.functions.setdefault(name, Sums()).add(event)

    @property
    def total(self) -> Sums:
        """The sums over all functions."""
        total = Sums()
        for sums in self.functions.values():
            for field, value in vars(sums).items():
                setattr(total, field, getattr(total, field) + value)
        return total
