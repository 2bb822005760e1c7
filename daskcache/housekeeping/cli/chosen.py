"""The recorded targets that users name in commands: by a path, a folder or a shell pattern."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import click

from ...errors import TargetMissing
from ...storage.roots import Root
from ..listing import Listed, find, listed, meant
from ..outlines import outlined

#: Paths that are named in an error.
_MAX_PATHS = 10


class Chosen(NamedTuple):
    """Targets that a command takes, and why it leaves others that a folder or pattern means."""

    taken: list[Listed]
    left: dict[str, str]


def the_one(root: Root, named: str) -> Listed:
    """Return the one recorded target that a path or pattern means; raise if it means several."""
    items = chosen(root, [named]).taken
    if len(items) > 1:
        paths = "".join(f"\n    {item.path}" for item in items[:_MAX_PATHS])
        raise click.ClickException(f"{named} means {len(items)} targets; name one of them:{paths}")
    return items[0]


def chosen(
    root: Root, named: Iterable[str], why_not: Callable[[Listed, bool], str] = lambda item, by_path: ""
) -> Chosen:
    """Return the recorded targets that paths, folders and patterns mean.

    Parameters
    ----------
    root : Root
    named : iterable of str
        From the root or from the current folder.
    why_not : callable
        Is called with a target and whether it was named by its path.  Returns why the command does not
        take it, or an empty text.

    Raises
    ------
    TargetMissing
        If a path or pattern means no target.
    click.ClickException
        If it means none that the command takes.
    """
    taken: dict[str, Listed] = {}
    left: dict[str, str] = {}
    known: set[str] = set()
    for each in named:
        item = find(root, each)
        if item is not None:
            items = [item]
        else:
            known = known or {found.path for found in outlined(root)}
            items = list(listed(root, meant(root, each, known)))
        if not items:  # an earlier listing knows it
            raise TargetMissing(
                "the record of this target can't be read any more",
                target=each,
                expected="a record that daskcache wrote",
                hint="'dask cache verify' finds what is damaged",
            )
        reasons = {found.path: why_not(found, item is not None) for found in items}
        fitting = [found for found in items if not reasons[found.path]]
        if not fitting:
            raise click.ClickException(_refusal(each, reasons))
        taken |= {found.path: found for found in fitting}
        left |= {path: reason for path, reason in reasons.items() if reason}
    return Chosen(list(taken.values()), left)


def _refusal(named, reasons):
    (path, reason), *others = reasons.items()
    return f"{path} {reason}" + (f"; {len(others)} more of {named} are not taken" if others else "")
