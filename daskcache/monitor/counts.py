"""`Counts`, the progress of one verb: what happened to its nodes, what runs now, and when it ends.

`watch` fills it with planned nodes, and `local_runs` or `cluster_runs` with outcomes.  `terminal` and
`notebook` show its rows.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from ..events import COPIED, FAILED, LOADED, RAN, SKIPPED
from ..planning.states import BLOCKED, LOAD, SKIP, PlannedNode
from ..printable import printable
from .rows import FunctionCounts, Row, in_one_line, name_of, time_saved, total_of

#: Outcomes from the weakest to the strongest.  A node that failed may run again, and one that ran may be
#: found finished by a second task.
_STRENGTH = {"unneeded": -1, FAILED: 0, SKIPPED: 1, COPIED: 2, RAN: 3, BLOCKED: 4}

#: Number of running nodes that a row names.
_MAX_NAMED = 20


class Expected(NamedTuple):
    """A node that is left when a verb begins."""

    function: str
    #: Display name: the label, or the path of the target.
    name: str
    #: Recorded run time in seconds, or None without a record.
    seconds: float | None


class Running(NamedTuple):
    """A node that runs now."""

    key: str
    #: Seconds since it began, as far as it is known.
    seconds: float


class Counts:
    """The progress of a verb.

    Attributes
    ----------
    functions : dict of str to FunctionCounts
        By function, in the order of the plan.
    saved : float
        Recorded run time that is not needed again, in seconds.
    failures : dict of str to (str, str)
        Name and error of each node that failed.
    running : list of Running
        The nodes that run now.
    updated : float
        Monotonic time at which the numbers were right.
    is_cut : bool
        True if events were lost, so that the numbers are lower bounds.
    """

    def __init__(self) -> None:
        self.functions: dict[str, FunctionCounts] = {}
        self.saved = 0.0
        self.failures: dict[str, tuple[str, str]] = {}
        self.running: list[Running] = []
        self.updated = time.monotonic()
        self.is_cut = False
        #: By identity: counts of the function, node, recorded seconds, and True if it is only read.
        self._nodes: dict[str, tuple[FunctionCounts, Any, float | None, bool]] = {}
        self._outcomes: dict[str, str] = {}
        #: Keys of recipes that the verb has at several targets.
        self._twins: set[str] = set()
        self._began: float | None = None

    # ---- what there is to do -----------------------------------------------------------------------

    def expect_planned(self, nodes: Iterable[PlannedNode]) -> None:
        """Add the nodes of a plan that are not known yet."""
        for planned in nodes:
            recipe = planned.recipe
            other = self._nodes.get(recipe.key)
            if other is None and recipe.key not in self._twins:
                self._expect_planned(recipe.key, planned)
            elif other is None or other[1] is not planned:
                self._expect_twin(planned, other)

    def _expect_twin(self, planned, other):
        """Add a node whose recipe the verb has at another target, too."""
        key = planned.recipe.key
        if other is not None:
            self._twins.add(key)
            first = self._identity(key, ", ".join(other[1].recipe.paths))
            self._nodes[first] = self._nodes.pop(key)
            if key in self._outcomes:
                self._outcomes[first] = self._outcomes.pop(key)
        identity = self._identity(key, ", ".join(planned.recipe.paths))
        if identity not in self._nodes:
            self._expect_planned(identity, planned)

    def _identity(self, key, target):
        return f"{key} {target}" if key in self._twins else key

    def _expect_planned(self, identity, planned):
        is_load = planned.is_complete and planned.action in (LOAD, SKIP)
        if not (is_load or planned.is_to_do or planned.action == BLOCKED):
            return
        counts = self.functions.setdefault(planned.recipe.name, FunctionCounts())
        seconds = planned.seconds
        self._nodes[identity] = counts, planned, seconds, is_load
        if planned.is_to_do:
            counts.add_left(seconds)
        elif planned.action == BLOCKED:
            self._outcomes[identity] = BLOCKED
            counts.blocked += 1
        else:
            self.saved += seconds or 0.0
            if planned.requested:  # it is left until its value was read, which takes no recorded time
                counts.left += 1
            else:
                self._outcomes[identity] = SKIPPED
                counts.skipped += 1

    def expect(self, key: str, node: Expected) -> None:
        """Add a node by its recipe's key, unless it is known."""
        if key not in self._nodes:
            counts = self.functions.setdefault(node.function, FunctionCounts())
            self._nodes[key] = counts, node, node.seconds, False
            counts.add_left(node.seconds)

    # ---- what happened -----------------------------------------------------------------------------

    def begin(self, since: float) -> None:
        """Note the monotonic time at which the nodes began to run, once."""
        if self._began is None:
            self._began = since

    @property
    def has_begun(self) -> bool:
        """True once nodes run."""
        return self._began is not None

    def note(
        self,
        key: str,
        target: str,
        outcome: str,
        seconds: float | None = None,
        saved: float = 0.0,
        error: str = "",
    ) -> bool:
        """Note the outcome of a node; return False for those of other verbs' nodes, which don't count.

        Parameters
        ----------
        key, target, outcome, saved, error
            Fields of `daskcache.events.NodeEvent`.
        seconds : float, optional
            Run time of the function; None if it is not known.
        """
        identity = self._identity(key, target)
        known = self._nodes.get(identity)
        if known is None:
            return False
        before = self._outcomes.get(identity)
        if outcome == LOADED:
            outcome = SKIPPED
        if before is not None and _STRENGTH[before] >= _STRENGTH[outcome]:
            return True
        counts, node, expected, is_load = known
        self._outcomes[identity] = outcome
        if before is not None:
            setattr(counts, before, getattr(counts, before) - 1)
            self.failures.pop(identity, None)
        elif is_load:
            counts.left -= 1
        else:
            counts.add_left(expected, -1)
        if outcome == RAN:
            counts.ran += 1
            if seconds is not None:
                counts.seconds += seconds
                counts.timed += 1
            return True
        setattr(counts, outcome, getattr(counts, outcome) + 1)
        if not is_load:
            self.saved += saved
        if outcome == FAILED:
            self.failures[identity] = _name(node), error
        return True

    def keep_only(self, needed: Collection[str]) -> None:
        """Leave out the nodes that are left, but that the verb's graph does not need after all.

        Parameters
        ----------
        needed : collection of str
            Keys of recipes.
        """
        for identity, (counts, _, expected, is_load) in self._nodes.items():
            if identity in self._outcomes or identity.partition(" ")[0] in needed:
                continue
            if is_load:
                self._skip(identity, counts)
            else:
                self._outcomes[identity] = "unneeded"
                counts.unneeded += 1
                counts.add_left(expected, -1)

    def _skip(self, identity, counts):
        self._outcomes[identity] = SKIPPED
        counts.skipped += 1
        counts.left -= 1

    def end(self) -> None:
        """Note that the verb succeeded: complete nodes whose values were not read were not needed."""
        for identity, (counts, _, _, is_load) in self._nodes.items():
            if is_load and identity not in self._outcomes:
                self._skip(identity, counts)
        if not any(counts.failed or counts.blocked for counts in self.functions.values()):
            self.keep_only(())  # after a failure, the others are left

    def knows(self, key: str) -> bool:
        """Return True for a key of one of the verb's recipes."""
        return key in self._nodes or key in self._twins

    def has_outcome(self, key: str, target: str) -> bool:
        """Return True if something is known of a node."""
        return self._identity(key, target) in self._outcomes

    def planned(self, key: str, target: str) -> Any:
        """Return a node, or None if it is not the verb's."""
        known = self._nodes.get(self._identity(key, target))
        return known and known[1]

    # ---- what to show ------------------------------------------------------------------------------

    def rows(self, now: float | None = None) -> list[Row]:
        """Return a row for each function."""
        now = time.monotonic() if now is None else now
        late = now - self.updated
        names: dict[str, list[str]] = {}
        spent: dict[str, float] = {}
        for key, seconds in self.running:
            known = self._nodes.get(key)
            if known is None or key in self._outcomes:
                continue
            counts, node, expected, _ = known
            function = _function(node)
            names.setdefault(function, []).append(printable(_name(node)))
            if expected is None:
                expected = counts.typical() or 0.0
            spent[function] = spent.get(function, 0.0) + min(seconds, expected)
        rate = self._rate()
        return [
            Row(
                printable(function),
                counts,
                self._seconds_left(counts, spent.get(function, 0.0), rate, late),
                names.get(function, [])[:_MAX_NAMED],
            )
            for function, counts in self.functions.items()
        ]

    def _rate(self):
        """Return the run time that is done in a second of the clock, or None if nothing tells."""
        if self._began is None or self.updated <= self._began:
            return None
        done = sum(counts.seconds for counts in self.functions.values())
        running = [seconds for key, seconds in self.running if key not in self._outcomes]
        if not done:  # when they began is known only roughly, but that they all run now is
            return len(running) or None
        return (done + sum(running)) / (self.updated - self._began)

    def _seconds_left(self, counts, spent, rate, late):
        seconds = counts.seconds_left(rate, spent, late)
        if seconds is not None:
            return seconds
        done = counts.ran + counts.copied
        if not done or counts.timed or self._began is None:
            return None
        # other processes tell no run times
        return max((self.updated - self._began) / done * counts.left - late, 0.0)

    def summary(self) -> str:
        """Return what happened in one line."""
        total = total_of(FunctionCounts(), self.functions.values())
        notes = {"skipped": time_saved(self.saved), "failed": self._failed()}
        return "at least " * self.is_cut + in_one_line(total, notes)

    def _failed(self):
        if not self.failures:
            return ""
        name, error = next(iter(self.failures.values()))
        more = len(self.failures) - 1
        rest = f", and {more:,} more; dc.failures()" if more else ""
        return f": {printable(name)} {_first_line(error)}{rest}"


def _function(node):
    return node.function if isinstance(node, Expected) else node.recipe.name


def _name(node):
    return node.name if isinstance(node, Expected) else name_of(node.recipe)


def _first_line(error):
    return printable(error.partition("\n")[0])
