"""The row of a function in a display of progress: numbers of nodes, names, and the time that is left.

`counts` and `cluster.tally` make rows, and `lines` makes texts of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar


@dataclass
class FunctionCounts:
    """The nodes of one function, by what happened to them."""

    ran: int = 0
    copied: int = 0
    skipped: int = 0
    failed: int = 0
    blocked: int = 0
    unneeded: int = 0
    left: int = 0
    #: Run time of the nodes that ran, in seconds, and the number of those whose run time is known.
    seconds: float = 0.0
    timed: int = 0
    #: Recorded run time of the nodes that are left, in seconds, and the number without a record.
    recorded: float = 0.0
    unrecorded: int = 0

    def add_left(self, recorded: float | None, number: int = 1) -> None:
        """Add nodes that are left, each with this run time in seconds; take them away if negative."""
        self.left += number
        if recorded is None:
            self.unrecorded += number
        else:
            self.recorded += number * recorded

    def typical(self) -> float | None:
        """Return the mean run time of the nodes that ran in seconds, or None if nothing tells."""
        return self.seconds / self.timed if self.timed else None

    def work_left(self) -> float | None:
        """Return the run time of the nodes that are left in seconds, or None if nothing tells."""
        if not self.unrecorded:
            return self.recorded
        typical = self.typical()
        return None if typical is None else self.recorded + self.unrecorded * typical

    def seconds_left(self, rate: float | None, spent: float, late: float = 0.0) -> float | None:
        """Estimate the seconds until the last node is done; None if nothing tells.

        Parameters
        ----------
        rate : float or None
            Run time, of all functions, that is done in a second of the clock.
        spent : float
            Run time that is already done of the nodes that run now, in seconds.
        late : float
            Seconds since these numbers were right.
        """
        if not self.left:
            return 0.0
        work = self.work_left()
        return None if work is None or not rate else max((work - spent) / rate - late, 0.0)


C = TypeVar("C", bound=FunctionCounts)


def total_of(total: C, counts: Iterable[C]) -> C:
    """Add each field of the counts to `total`, and return it."""
    for each in counts:
        for field, value in vars(each).items():
            setattr(total, field, getattr(total, field) + value)
    return total


def in_one_line(counts: FunctionCounts, notes: Mapping[str, str]) -> str:
    """Return the numbers of nodes as text, with a note after some of them.

    Examples
    --------
    >>> in_one_line(FunctionCounts(ran=4, skipped=1000), {"skipped": " (2 h saved)"})
    '4 ran, 1,000 skipped (2 h saved)'
    """
    parts = [f"{counts.ran:,} ran"]
    for name in ("copied", "skipped", "blocked", "left", "failed"):
        if number := getattr(counts, name):
            parts.append(f"{number:,} {name}{notes.get(name, '')}")
    return ", ".join(parts)


def time_saved(seconds: float) -> str:
    """Return the note on skipped nodes, or "" for less than a tenth of a second."""
    return f" ({duration(seconds)} saved)" if seconds >= _WORTH_SAYING else ""


#: Seconds of saved run time from which on a text names them.
_WORTH_SAYING = 0.1


class Row(NamedTuple):
    """The line of one function."""

    function: str
    counts: FunctionCounts
    #: Estimated seconds until its last node is done, or None.
    seconds_left: float | None
    #: Names of the nodes that run now.
    running: list[str]


def name_of(node: Any) -> str:
    """Return the display name of a recipe or `Work`: its label, the path of its target, or title."""
    return node.label or ", ".join(node.paths) or node.title


def seconds_left(rows: Iterable[Row]) -> tuple[float | None, bool]:
    """Return the estimated seconds until the end, and whether some functions have no estimate."""
    known = [row.seconds_left for row in rows if row.counts.left]
    found = [seconds for seconds in known if seconds is not None]
    return (sum(found) if found else None), len(found) < len(known)


def duration(seconds: float) -> str:
    """Return a time span as text with its two largest units.

    Examples
    --------
    >>> [duration(s) for s in (0.31, 3.2, 41, 200, 4320, 190_000)]
    ['0.3 s', '3.2 s', '41 s', '3 min 20 s', '1 h 12 min', '2 d 5 h']
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    size, name, part, part_name = next(unit for unit in _UNITS if whole >= unit[0])
    rest = whole % size // part
    return f"{whole // size} {name} {rest} {part_name}" if rest else f"{whole // size} {name}"


#: For each unit of time its size in seconds and its name, and those of the next smaller one.
_UNITS = ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
