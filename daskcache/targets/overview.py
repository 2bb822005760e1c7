"""The order, groups and overviews of many paths and values, for `sources` and `graph.nodes`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from .. import pages

Columns = dict[str, list[str | float]]


def in_order(value: str | float) -> Any:
    """Return a sort key for a path or a field's value.  Numbers count as numbers, before texts."""
    if not isinstance(value, str):
        return 0, value
    names = value.split("/")
    pieces = [[int(p) if p.isdigit() else p for p in re.split("([0-9]+)", name)] for name in names]
    return 1, pieces, value


def grouped(columns: Sequence[Sequence[str | float]]) -> dict[Any, list[int]]:
    """Return the positions of each value in order, or of each tuple of values of several columns."""
    first, *others = columns
    groups: dict[Any, list[int]] = {}
    for i, key in enumerate(zip(*columns, strict=True) if others else first):
        groups.setdefault(key, []).append(i)
    order = sorted(groups, key=lambda key: list(map(in_order, key if others else (key,))))
    return {key: groups[key] for key in order}


def as_text(path: str, count: int, left_out: Sequence[str], columns: Columns) -> str:
    """Return a line with the pattern, the number of files, and of different values of each field."""
    counts = [f"{name}: {len(set(values))}" for name, values in columns.items()]
    return f"<Sources {str(pages.Link.to(path))!r}: {', '.join([_headline(count, left_out), *counts])}>"


def as_html(path: str, count: int, left_out: Sequence[str], columns: Columns) -> str:
    """Return a table with the values of each field."""
    cells = [["field", "values", "which"]]
    for name, values in columns.items():
        different = sorted(set(values), key=in_order)
        cells.append([name, str(len(different)), _some(different, 8)])
    headline = f"{pages.Link.to(path)}: {_headline(count, left_out)}"
    return pages.render("sources", headline=headline, cells=cells, left_out=_some(left_out, 3))


def _headline(count, left_out):
    left = f" ({len(left_out)} left out)" if left_out else ""
    return f"{count} file{'' if count == 1 else 's'}{left}"


def _some(values: Iterable, most: int) -> str:
    values = list(values)
    more = f", … and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(map(str, values[:most])) + more
