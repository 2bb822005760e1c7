"""Numbers of nodes by function over the life of a scheduler, for the page that `dashboard_page` draws.

`dashboard.EventCollector` adds events and the tasks that are left.  The memory needed does not grow with
the number of events.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from ..events import COPIED, FAILED, RAN, SKIPPED, NodeEvent
from ..monitor.rows import FunctionCounts, Row, total_of
from ..printable import printable
from .node_tasks import RunningNode

#: Largest number of functions with separate sums.  Further ones share the sums of `OTHERS`.
MAX_FUNCTIONS = 500
OTHERS = "(others)"

#: Largest number of failures that are kept, the newest ones.
MAX_FAILURES = 1000


@dataclass
class Sums(FunctionCounts):
    """The nodes of one function.

    Skipped are also nodes that were loaded or that a plan found complete.
    """

    #: Size of the targets that were written, in bytes.
    written: int = 0
    #: Recorded run time that was not needed again, in seconds.
    saved: float = 0.0

    def add(self, event: NodeEvent) -> None:
        """Add the nodes of an event that did not fail."""
        if event.outcome == RAN:
            self.ran += event.nodes
            self.seconds += event.seconds
            self.timed += event.nodes
            self.written += event.bytes
            return
        name = COPIED if event.outcome == COPIED else SKIPPED
        setattr(self, name, getattr(self, name) + event.nodes)
        self.saved += event.saved


class Tally:
    """The nodes of all functions: what happened, what is left, and what failed.

    Attributes
    ----------
    functions : dict of str to Sums
        The sums by function name.
    failures : dict
        The events of nodes that failed, and have not succeeded since; the newest is the last one.
    """

    def __init__(self) -> None:
        self.functions: dict[str, Sums] = {}
        self.failures: dict[tuple[str, str], NodeEvent] = {}
        #: By the key of each task that is left, the name of its sums and the recorded seconds.
        self._left: dict[str, tuple[str, float | None]] = {}
        #: Monotonic time at which something was left again, and the run time until then.
        self._began = 0.0
        self._seconds_before = 0.0

    def add(self, event: NodeEvent) -> None:
        """Add an event.  A target that holds a result has not failed any more."""
        sums = self.functions[self._name(event.function)]
        identity = event.function, event.target or event.key
        had_failed = self.failures.pop(identity, None) is not None
        if event.outcome == FAILED:
            self.failures[identity] = event
            if not had_failed:
                sums.failed += event.nodes
                if len(self.failures) > MAX_FAILURES:
                    del self.failures[next(iter(self.failures))]
            return
        sums.failed -= had_failed
        sums.add(event)

    def has_failed(self, function: str, target: str) -> bool:
        """Return True if a failure of the node at a target is kept."""
        return (function, target) in self.failures

    def expect(
        self, task_key: str, function: str, seconds: float | None, now: float | None = None
    ) -> None:
        """Add a task that is to make a node.

        Parameters
        ----------
        task_key, function : str
        seconds : float or None
            Recorded run time.
        now : float, optional
            Monotonic time.  Default: the present one.
        """
        if task_key in self._left:
            return
        if not self._left:
            self._began = time.monotonic() if now is None else now
            self._seconds_before = self.total.seconds
        name = self._name(function)
        self._left[task_key] = name, seconds
        self.functions[name].add_left(seconds)

    def forget(self, task_key: str) -> None:
        """Note that a task is not left any more."""
        name, seconds = self._left.pop(task_key, (None, None))
        if name is not None:
            self.functions[name].add_left(seconds, -1)

    def _name(self, function):
        """Return the name of a function's sums, which are there from now on."""
        if function not in self.functions and len(self.functions) >= MAX_FUNCTIONS:
            function = OTHERS
        self.functions.setdefault(function, Sums())
        return function

    def elapsed(self, now: float | None = None) -> float:
        """Return the seconds since something was left again."""
        return (time.monotonic() if now is None else now) - self._began

    def rows(self, running: Iterable[RunningNode], now: float | None = None) -> list[Row]:
        """Return a row for each function, with estimates as `monitor` makes them for a verb."""
        spent: dict[str, float] = {}
        done = self.total.seconds - self._seconds_before
        for node in running:
            name, expected = self._left.get(node.task_key, (None, None))
            if name is None:
                continue
            if expected is None:
                expected = self.functions[name].typical() or 0.0
            seconds = node.seconds or 0.0
            done += seconds
            spent[name] = spent.get(name, 0.0) + min(seconds, expected)
        elapsed = self.elapsed(now)
        rate = done / elapsed if elapsed > 0 else None
        return [
            Row(printable(name), sums, sums.seconds_left(rate, spent.get(name, 0.0)), [])
            for name, sums in self.functions.items()
        ]

    @property
    def total(self) -> Sums:
        """The sums over all functions."""
        return total_of(Sums(), self.functions.values())
