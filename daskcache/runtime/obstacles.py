"""Errors about files of a person where results belong, which are never replaced unasked.

`planning.planner` and `store` raise them.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import NamedTuple

from ..errors import ForeignTarget, TargetModified


class Obstacle(NamedTuple):
    """A node that can't run because of the files at its targets."""

    #: Display name of the node.
    title: str
    root: str
    #: Paths of the targets, from the root.
    paths: tuple[str, ...]
    #: Reasons, one line each.
    reasons: list[str]


def foreign(nodes: Sequence[Obstacle]) -> ForeignTarget:
    """Return the error about files that daskcache did not write."""
    return ForeignTarget(
        "files that daskcache did not write are where results belong"
        if len(nodes) > 1
        else "a file that daskcache did not write is where a result belongs",
        node=_titles(nodes),
        target=_locations(nodes),
        expected="nothing there, or a recorded target",
        got="; ".join(nodes[0].reasons),
        hint=f"move {_it(nodes)} away, change the template, or take {_it(nodes)} in: "
        f"'{_command('adopt', nodes)}', or dc.adopt(node)",
    )


def modified(nodes: Sequence[Obstacle]) -> TargetModified:
    """Return the error about results that were edited but not adopted."""
    return TargetModified(
        f"{len(nodes)} targets were edited after they were stored"
        if len(nodes) > 1
        else "a target was edited after it was stored",
        node=_titles(nodes),
        target=_locations(nodes),
        expected="the files as they were stored" if len(nodes) > 1 else "the file as it was stored",
        got="; ".join(nodes[0].reasons),
        hint=f"'{_command('adopt', nodes)}' to go on with what is there, '{_command('rm', nodes)}' to "
        'recompute it; on_modified="adopt" or "recompute" does so by itself',
    )


def corrected(nodes: Sequence[Obstacle]) -> TargetModified:
    """Return the error about adopted results that other recipes would replace."""
    stand = "they stand" if len(nodes) > 1 else "it stands"
    return TargetModified(
        f"running {len(nodes)} nodes would replace adopted results"
        if len(nodes) > 1
        else "running the node would replace an adopted result",
        node=_titles(nodes),
        target=_locations(nodes),
        expected=f"a decision about what {'persons' if len(nodes) > 1 else 'a person'} made",
        got="; ".join(nodes[0].reasons),
        hint=f"'{_command('keep', nodes)}' if {stand} for the new recipe, too; "
        f"'{_command('release', nodes)}' to recompute {_it(nodes)}; '{_command('why', nodes[:1])}' "
        'tells more; dc.keep(node), dc.release(node) and on_modified="adopt" or "recompute" decide, too',
    )


def _it(nodes):
    return "them" if len(nodes) > 1 else "it"


def _titles(nodes):
    return ", ".join(node.title for node in nodes)


def _locations(nodes):
    return ", ".join(f"{node.root}/{path}" for node in nodes for path in node.paths)


def _command(name, nodes):
    paths = [path for node in nodes for path in node.paths]
    return shlex.join(["dask", "cache", name, "--root", nodes[0].root, *paths])
