"""The order, groups and overviews of many paths and values, for `sources` and `graph.nodes`."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from typing import Any

from ..printable import printable

Columns = dict[str, list[str | int]]


def in_order(value: str | int) -> Any:
    """Return a sort key for a path or a field's value, in which numbers count as numbers."""
    if isinstance(value, int):
        return value
    names = value.split("/")
    pieces = [[int(p) if p.isdigit() else p for p in re.split("([0-9]+)", name)] for name in names]
    return pieces, value


def grouped(columns: Sequence[Sequence[str | int]]) -> dict[Any, list[int]]:
    """Return the positions of each value in order, or of each tuple of values of several columns."""
    first, *others = columns
    groups: dict[Any, list[int]] = {}
    for i, key in enumerate(zip(*columns, strict=True) if others else first):
        groups.setdefault(key, []).append(i)
    order = sorted(groups, key=lambda key: list(map(in_order, key if others else (key,))))
    return {key: groups[key] for key in order}


def as_text(path: str, count: int, left_out: Sequence[str], columns: Columns) -> str:
    """Return a line with the number of files, and of different values of each field."""
    counts = [f"{name}: {len(set(values))}" for name, values in columns.items()]
    return f"<Sources {path!r}: {', '.join([_headline(count, left_out), *counts])}>"


def as_html(path: str, count: int, left_out: Sequence[str], columns: Columns) -> str:
    """Return a table with the values of each field."""
    rows = "".join(_row(name, sorted(set(values), key=in_order)) for name, values in columns.items())
    head = "<tr><th>field</th><th>values</th><th></th></tr>"
    table = f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>" if rows else ""
    names = f"<p>left out: {_some(left_out, 3)}</p>" if left_out else ""
    return f"<div>{_escaped(f'{path}: {_headline(count, left_out)}')}{table}{names}</div>"


def _row(name, values):
    return f"<tr><td>{_escaped(name)}</td><td>{len(values)}</td><td>{_some(values, 8)}</td></tr>"


def _headline(count, left_out):
    left = f" ({len(left_out)} left out)" if left_out else ""
    return f"{count} file{'' if count == 1 else 's'}{left}"


def _some(values: Iterable, most: int):
    values = list(values)
    more = f", … and {len(values) - most} more" if len(values) > most else ""
    return _escaped(", ".join(map(str, values[:most])) + more)


def _escaped(text):
    return html.escape(printable(text))
