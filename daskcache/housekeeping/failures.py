"""The failures of a root: nodes that failed when they last ran, and have not succeeded since.

Workers note them (`runtime.failing`).  `cli.reports` prints them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

from .. import config
from ..calls.recipe import Recipe
from ..dataframes import frame_of
from ..graph.given import nodes_in
from ..planning.display.reports import failures_html, failures_text
from ..storage.failures import FailureNote, failed_keys, last_failure
from ..storage.records import RecordStore
from ..storage.roots import Root, local_root
from ..tracebacks import shortened


class Failures(Sequence[FailureNote]):
    """Notes of failed nodes, the newest first.  In a notebook they are shown as a table."""

    def __init__(self, notes: Sequence[FailureNote]):
        self._notes = tuple(notes)

    @overload
    def __getitem__(self, position: int) -> FailureNote: ...

    @overload
    def __getitem__(self, position: slice) -> Failures: ...

    def __getitem__(self, position):
        found = self._notes[position]
        return Failures(found) if isinstance(position, slice) else found

    def __len__(self) -> int:
        return len(self._notes)

    def to_frame(self) -> Any:
        """Return a data frame with a row for each failure, and the fields of the notes as columns.

        Returns
        -------
        pandas.DataFrame
            Texts, and lists of texts for ``targets`` and ``log``.

        Raises
        ------
        MissingExtra
            If pandas is not installed.

        Examples
        --------
        >>> dc.failures().to_frame()[["node", "error"]].empty
        True
        """
        names = [field.name for field in dataclasses.fields(FailureNote)]
        rows = [[getattr(note, name) for name in names] for note in self]
        return frame_of(rows, names)

    def __repr__(self) -> str:
        return failures_text(self)

    def _repr_html_(self) -> str:
        return failures_html(self)


@shortened
def failures(*args: Any) -> Failures:
    """Return the nodes that failed when they last ran, and have not succeeded since.

    A node is forgotten as soon as it succeeds.  Nodes without targets are not remembered.

    Parameters
    ----------
    *args : nodes, or lists, tuples, sets and dicts of them
        Look at these nodes, and at all upstream of them.  Default: all nodes of the root (config
        ``daskcache.root``).

    Returns
    -------
    Failures
        A sequence of notes, the newest first.  Each has the node, its error, the traceback, the log of
        the function, the worker and the time.

    Raises
    ------
    NotANode
        If an argument is not a node.

    Examples
    --------
    >>> @dc.delayed(target="roots/{n}.json")
    ... def root(n):
    ...     if n < 0:
    ...         raise ValueError("negative")
    ...     return n**0.5
    >>> nodes = [root(4), root(-1)]
    >>> dc.compute(*nodes, errors="collect")
    (2.0, NodeFailed(...))
    >>> failed = dc.failures(nodes)
    >>> failed[0].node, failed[0].error
    ('root(roots/-1.json)', 'ValueError: negative')
    >>> dc.plan(nodes).to_frame()["why"].tolist()
    ['', 'failed: ValueError: negative']
    """
    if not args:
        return failures_of(Root(local_root(config.get("root"))))
    wanted: dict[str, set[str]] = {}
    for recipe in _upstream([node._recipe for node in nodes_in(args)]):
        wanted.setdefault(recipe.root, set()).add(recipe.key)
    found = [
        note for root, keys in wanted.items() for note in failures_of(Root(root), keys.__contains__)
    ]
    return Failures(sorted(found, key=lambda note: note.when, reverse=True))


def failures_of(root: Root, wanted: Callable[[str], bool] = lambda key: True) -> Failures:
    """Return the failures in a root of those nodes whose keys are wanted."""
    store = RecordStore(root)
    found = [last_failure(store, key) for key in failed_keys(root) if wanted(key)]
    notes = [note for note in found if note is not None]
    return Failures(sorted(notes, key=lambda note: (note.when, note.node), reverse=True))


def _upstream(recipes: list[Recipe]) -> Iterator[Recipe]:
    """Yield recipes and all recipes that they are made from, each once."""
    stack, seen = list(recipes), set()
    while stack:
        recipe = stack.pop()
        if recipe.identity in seen:
            continue
        seen.add(recipe.identity)
        yield recipe
        stack += [item for item in recipe.upstream if isinstance(item, Recipe)]
