"""Progress in a notebook: one output that is updated, and holds the summary in the end.

`watch` makes the display.  It is HTML with inline styles, which untrusted and saved notebooks show, too.
"""

from __future__ import annotations

import html
from typing import Any

from .lines import HEADS, cells_of, ending
from .rows import Row


class NotebookDisplay:
    """An output of the cell that runs."""

    def __init__(self) -> None:
        self._handle: Any = None
        self._last = ""

    def open(self) -> None:
        """Do nothing: prints are outputs of their own."""

    def show(self, rows: list[Row], elapsed: float) -> None:
        """Show the rows in place of those before."""
        self._last = _table(rows)
        last = ending(rows, elapsed)
        self._put(f"{self._last}<div>{html.escape(last)}</div>", last)

    def erase(self) -> None:
        """Do nothing: nothing is printed over an output."""

    def close(self, summary: str) -> None:
        """Show the summary, with the rows folded away."""
        text = html.escape(summary)
        folded = f"<details><summary>{text}</summary>{self._last}</details>" if self._last else text
        self._put(folded, summary)

    def _put(self, content, text):
        from IPython.display import display

        bundle = {"text/html": f'<div style="{_STYLE}">{content}</div>', "text/plain": text}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


_STYLE = "color: inherit; font-variant-numeric: tabular-nums"


def _table(rows):
    lines = []
    for row in rows:
        cells = cells_of(row).items()
        lines.append(
            "".join(f'<td style="{_cell(head)}">{html.escape(cell)}</td>' for head, cell in cells)
        )
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<table style="border-collapse: collapse; color: inherit">{body}</table>'


def _cell(head):
    align = "left" if head in (HEADS[0], HEADS[-1]) else "right"
    return f"text-align: {align}; padding: 1px 12px 1px 0; color: inherit; background: none"
