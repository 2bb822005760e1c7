"""A table that compares the results of many nodes, such as those of a sweep: `nodes.Nodes.compare`.

A row is for all nodes with equal fields, and the columns are the numbers that they hold.
"""

from __future__ import annotations

import numbers
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from dask.utils import parse_bytes

from .. import config
from ..dataframes import frame_of
from ..hashing.names import has
from ..planning.states import COMPLETE, PlannedNode
from .grid import OUTPUT

if TYPE_CHECKING:
    from .nodes import Nodes


_STATE = "state"


def comparison(nodes: Nodes, looked: Sequence[PlannedNode]) -> Any:
    """Return the table of nodes, of which `looked` has what was found of each."""
    fields = nodes.fields
    outputs = fields.pop(OUTPUT, [None] * len(nodes))
    rows: dict[tuple, list[int]] = {}
    for position in range(len(nodes)):
        rows.setdefault(tuple([column[position] for column in fields.values()]), []).append(position)
    plain = [p.recipe.name if o is None else o for o, p in zip(outputs, looked, strict=True)]
    names = _told_apart(plain, rows.values())
    found = [_numbers(planned) for planned in looked]
    columns = _Columns([*fields, _STATE], {names[i] for i, each in enumerate(found) if each})
    table = []
    for key, positions in rows.items():
        others = dict.fromkeys(looked[i].state for i in positions if looked[i].state != COMPLETE)
        row = {**dict(zip(fields, key, strict=True)), _STATE: ", ".join(others) or COMPLETE}
        for i in positions:
            row |= {columns.name(names[i], part): value for part, value in found[i].items()}
        table.append(row)
    return frame_of(table, list(dict.fromkeys(chain([*fields, _STATE], *table))))


def _told_apart(names: list, rows: Collection[list[int]]) -> list:
    """Return names of nodes, numbered where a row has one of them several times."""
    counts = [Counter(names[i] for i in row) for row in rows]
    several = {name for each in counts for name, count in each.items() if count > 1}
    numbered = list(names)
    for row in rows:
        seen: Counter[Any] = Counter()
        for i in row:
            if names[i] in several:
                numbered[i] = f"{names[i]}_{seen[names[i]]}"
                seen[names[i]] += 1
    return numbered


class _Columns:
    """The columns of results: the names of nodes, and of the parts of what they hold."""

    def __init__(self, taken: list[str], names: set):
        self._taken: set[Any] = set(taken)
        self._is_only = len(names) == 1
        self._known: dict[tuple, Any] = {}

    def name(self, name: Any, part: Any) -> Any:
        """Return the column of a part, or of the whole if `part` is None; no two have one column."""
        if (name, part) not in self._known:
            column = part if self._is_only and part is not None else name
            if column in self._taken or (part is not None and not self._is_only):
                column = f"{name}.{'result' if part is None else part}"
            while column in self._taken:
                column = f"{column}_"
            self._taken.add(column)
            self._known[name, part] = column
        return self._known[name, part]


def _numbers(planned: PlannedNode) -> dict[Any, Any]:
    """Return the numbers that a node's result holds by their names, or by None for a single one."""
    limit = parse_bytes(config.get("inline"))
    if not planned.is_complete or (planned.nbytes or 0) > limit:
        return {}  # a large result, such as an image, is not read to find no number in it
    value = _plain(planned.entry.load())
    if isinstance(value, numbers.Number):
        return {None: value}
    return dict(_parts(value))


def _parts(value: Any) -> Iterator[tuple[Any, Any]]:
    items: Iterable[tuple[Any, Any]]
    if isinstance(value, dict):
        items = value.items()
    elif has(type(value), "iloc") and has(type(value), "columns") and len(value) == 1:
        items = [(name, value[name].iloc[0]) for name in value.columns]
    else:
        return
    for name, part in items:
        part = _plain(part)
        if isinstance(part, (numbers.Number, str)):
            yield name, part


def _plain(value):
    """Return a scalar of NumPy, or an array of no dimension, as a value of Python."""
    is_scalar = has(type(value), "item") and has(type(value), "ndim") and value.ndim == 0
    return value.item() if is_scalar else value
