"""Building blocks of tables: cells, numbers, and rows of cells as text or HTML.

`tables` and `reports` use them, and the commands of ``dask cache`` use `text_table`.
"""

from __future__ import annotations

import html

from dask.utils import format_bytes, format_time

from ...printable import printable

#: Number of nodes listed one by one; the others are only in the summary by function.
MAX_ROWS = 30

#: Colours of actions, which are readable on white and in print without colour.
COLORS = {
    "run": "#d95f02",
    "decide": "#b58900",
    "blocked": "#c2185b",
    "load": "#1f78b4",
    "skip": "#7f8c8d",
}
_BADGES = COLORS | {"differs": "#d95f02", "failed": "#d95f02", "skipped": "#7f8c8d"}


def text_table(cells: list[list[str]]) -> str:
    """Return rows of cells as text with aligned columns; the first row is the head."""
    cells = [list(map(printable, row)) for row in cells]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)) for r in cells]
    lines.insert(1, "  ".join("─" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


class Badge(str):
    """An action or outcome that HTML tables show in its colour."""


def html_table(cells):
    style = 'style="text-align: left; padding: 2px 10px"'
    head = "".join(f"<th {style}>{_html_cell(cell)}</th>" for cell in cells[0])
    body = "".join(
        "<tr>" + "".join(f"<td {style}>{_html_cell(cell)}</td>" for cell in row) + "</tr>"
        for row in cells[1:]
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _html_cell(cell):
    text = html.escape(printable(cell))
    if isinstance(cell, Badge):
        return f'<span style="color: {_BADGES[cell]}; font-weight: bold">{text}</span>'
    return text


def short(text, length=90):
    return text if len(text) <= length else f"{text[: length - 1]}…"


def count_nodes(count):
    return f"{count} node{'' if count == 1 else 's'}"


def as_time(seconds):
    return format_time(seconds) if seconds else "·"


def as_size(nbytes):
    return format_bytes(nbytes) if nbytes else "·"
