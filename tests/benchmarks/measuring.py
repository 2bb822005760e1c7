"""Contenders that do the same work, timed in turn and compared by medians.

Both the clock on the wall and the time on processors count: other programs slow the first more than the
second.
"""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

#: Does the work, and is timed as a whole; or times a part of it itself, and returns that.
Contender = Callable[[], object]


@dataclass(frozen=True)
class Times:
    """Seconds on the wall and on processors."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Comparison:
    """Work that several do: daskcache, which stands first, and its peers."""

    name: str
    contenders: Mapping[str, Contender]
    #: How many things are done at a time; seconds are shown for each of them.
    items: int = 1
    #: The most that the ratio of wall times may be, or None.
    bar: float | None = None
    #: The most that the ratio of processor times may be, or None.
    cpu_bar: float | None = None
    #: A run of ``--quick`` fails if the ratio of processor times is above this three times, or None.
    ceiling: float | None = None
    #: Makes the ratio of the times of all contenders; without it ours is divided by the second.
    ratio: Callable[[Mapping[str, float]], float] | None = None
    #: Seconds that all processes of this work have spent on processors.
    processors: Callable[[], float] | None = None
    note: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a comparison gave: the times of each run, by contender."""

    comparison: Comparison
    times: dict[str, list[Times]]

    @property
    def wall_ratios(self) -> list[float]:
        """The ratio of wall times of each run."""
        return self._ratios("wall")

    @property
    def cpu_ratios(self) -> list[float]:
        """The ratio of processor times of each run."""
        return self._ratios("cpu")

    def _ratios(self, clock):
        ratio = self.comparison.ratio or first_by_second
        runs = zip(*self.times.values(), strict=True)
        seconds = ([getattr(times, clock) for times in run] for run in runs)
        return [ratio(dict(zip(self.times, run, strict=True))) for run in seconds]

    @property
    def wall(self) -> float:
        """The median ratio of wall times."""
        return median(self.wall_ratios)

    @property
    def cpu(self) -> float:
        """The median ratio of processor times."""
        return median(self.cpu_ratios)

    @property
    def met(self) -> bool | None:
        """Whether all bars are met; None without any."""
        pairs = [(self.wall, self.comparison.bar), (self.cpu, self.comparison.cpu_bar)]
        judged = [ratio <= bar for ratio, bar in pairs if bar is not None]
        return all(judged) if judged else None


def measure(comparison: Comparison, runs: int) -> Outcome:
    """Run all contenders in turn, as often as asked, each time beginning with the next one."""
    times: dict[str, list[Times]] = {name: [] for name in comparison.contenders}
    names = list(times)
    for run in range(runs):
        first = run % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(sample(comparison.contenders[name], comparison.processors))
    return Outcome(comparison, times)


def first_by_second(seconds: Mapping[str, float]) -> float:
    """Return the ratio of ours to the first peer's."""
    ours, peer = list(seconds.values())[:2]
    return ours / max(peer, 1e-9)


def sample(contender: Contender, processors: Callable[[], float] | None = None) -> Times:
    """Run a contender once."""
    times: list[Times] = []

    def whole():
        found = contender()
        if isinstance(found, Times):
            times.append(found)

    taken = timed(whole, processors)
    return times[0] if times else taken


def timed(work: Callable[[], object], processors: Callable[[], float] | None = None) -> Times:
    """Return what some work takes; garbage is collected before, and what it returns is freed after."""
    processors = processors or own_seconds
    gc.collect()
    busy, began = processors(), time.perf_counter()
    kept = work()
    times = Times(time.perf_counter() - began, processors() - busy)
    del kept
    return times


def own_seconds() -> float:
    """Return how long processors have worked for this process and for those it has waited for."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def is_slower(outcome: Outcome, runs: int) -> bool:
    """Return True if a comparison is above its ceiling in three measurements that agree.

    The first of them is `outcome`; one of them below the ceiling is enough.
    """
    ceiling = outcome.comparison.ceiling
    if ceiling is None or outcome.cpu <= ceiling:
        return False
    return all(measure(outcome.comparison, runs).cpu > ceiling for _ in range(2))
