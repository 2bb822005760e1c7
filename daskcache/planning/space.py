"""The room that the results of a plan will take, compared with the free space of its roots.

`graph.plan.Plan` has the bytes.  `graph.builder` has a `SpaceCheck` for each verb, which warns before
anything runs.  The free space is what the file system grants this user, without reserved blocks.  Quotas
of users and projects are not known to it: no system call tells them for all file systems.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import warnings
from collections.abc import Collection, Iterable

from dask.utils import format_bytes

from ..errors import DaskcacheWarning
from ..storage.files import place_of
from . import states
from .states import PlannedNode

#: States in which a node that runs has no target that it replaces, or one that is kept in the trash.
_ADDING = frozenset({states.MISSING, states.FAILED, states.MODIFIED, states.FOREIGN})


def room_needed(nodes: Iterable[PlannedNode]) -> dict[str, int]:
    """Estimate the bytes by which each root grows when the nodes that are left run.

    The size of a result is that in its record.  Without a record, it is the mean of the recorded results
    of the function among these nodes, or 0 if there are none.  A result that replaces another one adds
    nothing in the end.  But it is written beside the other, so the largest of them counts.  Tables don't
    count.
    """
    nodes = list(nodes)
    left = [node for node in nodes if node.is_to_do and _has_files(node)]
    if not left:
        return {}
    means = _mean_sizes(nodes, {node.recipe.name for node in left if node.nbytes is None})
    adding: dict[str, float] = {}
    replacing: dict[str, float] = {}
    for node in left:
        nbytes = node.nbytes
        size = means.get(node.recipe.name, 0) if nbytes is None else nbytes
        root = node.recipe.root
        if nbytes is None or node.state in _ADDING:
            adding[root] = adding.get(root, 0) + size
        else:
            replacing[root] = max(replacing.get(root, 0), size)
    roots = {**adding, **replacing}
    return {root: round(adding.get(root, 0) + replacing.get(root, 0)) for root in roots}


def _has_files(node):
    return bool(node.recipe.paths) and place_of(node.recipe.paths[0]).has_files


def _mean_sizes(nodes, functions):
    known: dict[str, list[int]] = {}
    for node in nodes:
        nbytes = node.nbytes if node.recipe.name in functions else None
        if nbytes is not None:
            known.setdefault(node.recipe.name, []).append(nbytes)
    return {function: sum(sizes) / len(sizes) for function, sizes in known.items()}


class SpaceCheck:
    """Warn once for each root of a verb if its results may not fit on the disk."""

    #: A composed graph plans its nodes one by one: they are looked at again when so many more are known.
    GROWTH = 1.25

    def __init__(self) -> None:
        self._seen = 0
        self._free: dict[str, int | None] = {}
        self._warned: set[str] = set()

    def look(self, nodes: Collection[PlannedNode]) -> None:
        """Compare the room that the nodes need with the free space, and warn if that is less."""
        if len(nodes) < self._seen * self.GROWTH:
            return
        self._seen = len(nodes)
        for root, needed in room_needed(nodes).items():
            if root not in self._free:
                self._free[root] = free_space(root)
            free = self._free[root]
            if free is not None and needed > free and root not in self._warned:
                self._warned.add(root)
                warnings.warn(
                    f"the results may not fit on the disk: they take about {format_bytes(needed)} or "
                    f"more, and {format_bytes(free)} are free at {root}; "
                    "'dask cache gc' and 'dask cache prune' make room",
                    DaskcacheWarning,
                    stacklevel=2,
                )


def free_space(path: str) -> int | None:
    """Return the free bytes of the file system at a path that need not exist yet, None if unknown."""
    while not os.path.isdir(path) and os.path.dirname(path) != path:
        path = os.path.dirname(path)
    with contextlib.suppress(OSError):  # a root that can't be used is an error of the run itself
        return shutil.disk_usage(path).free
    return None
