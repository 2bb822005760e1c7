"""Building blocks of tables: cells, numbers, and rows of cells as text or HTML.

`tables` and `reports` use them, and the commands of ``dask cache`` use `text_table`.
"""

from __future__ import annotations

from collections.abc import Sequence

from dask.utils import format_bytes, format_time

from ... import pages
from ...printable import printable

#: Number of nodes listed one by one; the others are only in the summary by function.
MAX_ROWS = 30
#: Number of lines in a page, those that are folded included.
MOST_ROWS = 130

#: Colours of actions in pictures, which are readable on white and in print without colour.
COLORS = {
    "run": "#d95f02",
    "decide": "#b58900",
    "blocked": "#c2185b",
    "load": "#1f78b4",
    "skip": "#7f8c8d",
}


def text_table(cells: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Return rows of cells as text with aligned columns; the first row is the head.

    Parameters
    ----------
    cells : sequence of rows
    width : int, optional
        Columns of the terminal.  In a wider table, long cells take several lines.
    """
    shown = [row if "".join(row).isprintable() else list(map(printable, row)) for row in cells]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    if width is not None:
        room = width - 2 * len(widths) + 1
        if sum(widths) > room:
            return _folded(shown, _narrowed(widths, room))
    form = "  ".join(f"%-{width}s" for width in widths)
    lines = [(form % tuple(row)).rstrip() for row in shown]
    lines.insert(1, "  ".join("─" * width for width in widths))
    return "\n".join(lines)


#: Columns of a terminal below which no cell of a table is narrowed.
_LEAST = 10


def _narrowed(widths, room):
    """Return widths that fit, the widest narrowed most, and those of names in the first column least."""
    found = list(widths)
    for columns in (range(1, len(found)), range(len(found))):
        while sum(found) > room:
            widest = max(columns, key=found.__getitem__, default=0)
            if found[widest] <= _LEAST:
                break
            found[widest] -= 1
    return found


def _folded(rows, widths):
    import io

    from rich import box  # only needed in terminals
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for head, width in zip(rows[0], widths, strict=True):
        table.add_column(Text(head), overflow="fold", width=width)
    for row in rows[1:]:
        table.add_row(*map(Text, row))
    total = sum(widths) + 2 * len(widths)
    console = Console(file=io.StringIO(), width=total, color_system=None, force_terminal=False)
    console.print(table)
    text = console.file.getvalue()
    return "\n".join(line.rstrip() for line in text.splitlines())


def html_page(
    title: str,
    headline: str,
    tables: Sequence[Sequence[Sequence[str]]],
    max_rows: int,
    where: str = "to_frame()",
) -> str:
    """Return tables as HTML below a headline.

    Tables without rows are left out, and long ones end after `max_rows`, with `where` all rows are.
    """
    shown = [(rows[: max_rows + 1], len(rows) - 1 - max_rows, where) for rows in tables if len(rows) > 1]
    return pages.render("tables", title=title, headline=headline, tables=shown)


def short(text, length=90):
    return text if len(text) <= length else f"{text[: length - 1]}…"


def both_ends(text: str, length: int = 90) -> str:
    """Shorten a text in its middle: a reason may begin with a long path."""
    return text if len(text) <= length else f"{text[: length // 2]}…{text[length // 2 + 1 - length :]}"


def count_nodes(count):
    return f"{count} node{'' if count == 1 else 's'}"


def as_time(seconds):
    return format_time(seconds) if seconds else "·"


def as_size(nbytes):
    return format_bytes(nbytes) if nbytes else "·"
