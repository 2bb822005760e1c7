"""Selecting nodes of many by position, name, pattern or mask, for `nodes.Nodes` and `plan.Plan`.

The names of a node are its title, which is the label if it has one, and of each target the path from
the root, that path without its suffix, the file's name and the name's stem.
"""

from __future__ import annotations

import difflib
import fnmatch
import functools
import itertools
import operator
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ..calls.recipe import Recipe
from ..errors import GraphError, NoSuchNode
from ..hashing.names import has
from ..printable import printable
from ..storage.paths import nested

#: Number of names that an error shows, and that are compared with a name that no node has.
_SHOWN, _COMPARED = 3, 20_000


class Selector:
    """The positions of nodes by what selects them.

    Parameters
    ----------
    recipes : sequence of Recipe
        The recipes of the nodes.
    """

    def __init__(self, recipes: Sequence[Recipe]):
        self._recipes = recipes

    def positions(self, index: Any) -> int | list[int]:
        """Return the position that an index means, or the positions that it selects.

        Parameters
        ----------
        index : int, str, slice, or sequence of bool, int or str
            As `Nodes` takes it.

        Raises
        ------
        IndexError
            If there is no such position.
        NoSuchNode
            If a name or pattern selects no node, or a name several.
        GraphError
            If the index is something else, or a mask of another length.
        """
        if isinstance(index, str):
            return self._named(index)
        if isinstance(index, slice):
            return list(range(len(self._recipes))[index])
        try:
            return self._at(index)
        except TypeError:
            return self._listed(index)

    def _at(self, index):
        count = len(self._recipes)
        position = operator.index(index)
        if not -count <= position < count:
            raise IndexError(f"there is no node {position} among {count}")
        return position % count

    def _named(self, text):
        exact = self.names.get(text)
        if exact:
            if len({self._recipes[i].identity for i in exact}) > 1:
                raise self._ambiguous(text, exact)
            return exact[0]
        if re.search(r"[*?\[]", text):
            fits = re.compile(fnmatch.translate(text)).match
            found = {i for name, places in self.names.items() if fits(name) for i in places}
            if found:
                return sorted(found)
        raise self._unknown(text)

    @functools.cached_property
    def names(self) -> dict[str, list[int]]:
        """The positions of the nodes with each name."""
        found: dict[str, list[int]] = {}
        for i, recipe in enumerate(self._recipes):
            for name in dict.fromkeys(_names_of(recipe)):
                found.setdefault(name, []).append(i)
        return found

    def _ambiguous(self, name, positions):
        titles = [self._recipes[i].title for i in positions]
        more = f" and {len(titles) - _SHOWN} more" if len(titles) > _SHOWN else ""
        return NoSuchNode(
            f"several nodes are called {name!r}",
            expected="the name of one node",
            got=printable(", ".join(titles[:_SHOWN]) + more),
            hint=f'select one by the path of its target, or all with "*{name}*"',
        )

    def _unknown(self, name):
        known = list(itertools.islice(self.names, _COMPARED))
        near = difflib.get_close_matches(name, known, _SHOWN) or known[:_SHOWN]
        return NoSuchNode(
            f"no node fits {name!r}",
            expected="a label, the path of a target from the root, its name or stem, or a pattern of "
            "these, such as seg/*.npy",
            got=printable(f"{len(self._recipes)} nodes, with names such as {', '.join(near)}")
            if near
            else "no nodes",
        )

    def _listed(self, index):
        values = _values(index, len(self._recipes))
        if values and all(isinstance(value, bool) for value in values):
            if len(values) != len(self._recipes):
                raise GraphError(
                    "a mask has another length than the nodes that it selects from",
                    expected=f"{len(self._recipes)} values",
                    got=f"{len(values)}",
                )
            return list(itertools.compress(range(len(values)), values))
        found: list[int] = []
        for value in values:
            if not isinstance(value, str) and not has(type(value), "__index__"):
                raise _not_an_index(value)
            selected = self.positions(value)
            found += selected if isinstance(selected, list) else [selected]
        return found


def _values(index, count):
    """Return an index as a list; the values of a pandas mask in the order of their labels."""
    if not isinstance(index, Iterable):
        raise _not_an_index(index)
    if has(type(index), "sort_index") and str(index.dtype) in ("bool", "boolean"):
        index = index.sort_index()  # of a frame that was sorted, say
        if list(index.index) != list(range(count)):
            raise GraphError(
                "the labels of a mask are not the positions of the nodes",
                expected=f"labels from 0 to {count - 1}, as in nodes.to_frame()",
                got=repr(list(index.index)[:5]),
                hint="reset_index(drop=True) before the mask is made, or mask.tolist()",
            )
    return index.tolist() if has(type(index), "tolist") else list(index)


def _not_an_index(value):
    return GraphError(
        f"a {type(value).__name__} selects no nodes",
        expected="a position, slice, name or pattern, a list of these, or a mask",
        got=repr(value)[:80],
        hint='select by fields with nodes.where(well="A05")',
    )


def _names_of(recipe: Recipe) -> Iterator[str]:
    for path in recipe.paths:
        folder, slash, name = nested(path).rpartition("/")
        stem, dot, _ = name.rpartition(".")
        stem = stem if dot and stem else name
        yield from (path, f"{folder}{slash}{stem}", name, stem)
    yield recipe.title
