"""What happened at a root, told by its records, notes of failures and trash.

`cli.reports` has the command.  `daskcache.history` tells the events of processes that run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..storage import trash
from ..storage.roots import Root
from .failures import failures_of
from .listing import Listed, listed, signature

MADE, ADOPTED, KEPT, FAILED, TRASHED = "made", "adopted", "kept", "failed", "to the trash"


class Moment(NamedTuple):
    """Something that happened to a target.  The fields are documented for JSON."""

    #: Time (UTC), as ``2024-01-31T23:59:59Z``; empty if not known.
    when: str
    #: One of "made", "adopted", "kept", "failed" and "to the trash".
    event: str
    #: Path from the root.
    target: str
    #: Empty in the trash.
    function: str
    #: Run time of the function; 0 if it did not run.
    seconds: float
    #: Who, where or why.
    detail: str


def history_of(root: Root, matches: Callable[[str], bool]) -> list[Moment]:
    """Return what happened to the targets whose paths match, oldest first.

    A result that was replaced is told only if it is in the trash.
    """
    moments = [m for item in listed(root) if matches(item.path) for m in _of_target(item)]
    for note in failures_of(root):
        for path in filter(matches, note.targets):
            moments.append(Moment(note.when, FAILED, path, note.function, 0.0, note.error))
    for thing in filter(lambda thing: matches(thing.target), trash.listed(root)):
        moments.append(Moment(thing.when, TRASHED, thing.target, "", 0.0, thing.reason))
    return sorted(moments)


def _of_target(item: Listed) -> Iterator[Moment]:
    for record in item.records.values():
        about = item.path, record.function
        if record.kept is not None:
            yield Moment(record.kept.get("when") or record.created, KEPT, *about, 0.0, _by(record.kept))
        elif record.edited is not None:
            when = record.edited.get("when") or record.created
            yield Moment(when, ADOPTED, *about, 0.0, _by(record.edited))
        else:
            yield Moment(record.created, MADE, *about, record.seconds, f"on {record.host}")


def _by(told):
    return signature({"by": told.get("by")})
