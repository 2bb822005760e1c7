"""Progress in a terminal: lines that are drawn again and again, and at the end a summary.

`watch` makes the display.  rich lays out the lines; it is imported when a verb is first shown.

The cursor rests above the lines, on an empty one.  So what a log handler, C code or another process
prints takes the place of the lines, and nothing of it is lost.  Prints of this process erase them first.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from typing import Any

from .lines import HEADS, cells_of, ending
from .rows import Row
from .settings import is_terminal

#: Rows that are shown at most; those of functions that are done go first.
_MAX_ROWS = 20

#: Erase from the cursor to the end of the screen.
_ERASE = "\r\x1b[J"


class TerminalDisplay:
    """Lines at the bottom of a terminal.

    Parameters
    ----------
    stream : text file
        The terminal.
    """

    def __init__(self, stream: Any):
        from rich import table, text  # noqa: F401 - the first drawing need not wait for them
        from rich.console import Console

        self._terminal = Console(file=stream)  # it knows the size
        self._console = Console(file=stream, highlight=False, emoji=False, markup=False)
        self._stream = stream
        self._lock = threading.RLock()
        self._height = 0
        #: True while the cursor is not at the beginning of a line, because a user's line has no end yet.
        self._is_in_line = False
        self._proxies: dict[str, Any] = {}
        _displays.add(self)

    def open(self) -> None:
        """Let prints of this process erase the lines."""
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if is_terminal(stream):
                self._proxies[name] = proxy = _Proxy(stream, self)
                setattr(sys, name, proxy)

    def show(self, rows: list[Row], elapsed: float) -> None:
        """Draw the lines in place of those before."""
        text = self._text(_most_telling(rows, min(_MAX_ROWS, self._terminal.height - 4)), rows, elapsed)
        lines = ["", *text.rstrip("\n").split("\n")]
        with self._lock:
            if self._is_in_line:
                return
            self._height = len(lines)
            up = f"\r\x1b[{len(lines) - 1}A"
            self._stream.write(_ERASE + "\n".join(lines) + up)
            self._stream.flush()

    def _text(self, shown, rows, elapsed):
        from rich.table import Table
        from rich.text import Text

        self._fit()
        table = Table.grid(padding=(0, 2), pad_edge=False)
        for head in HEADS:
            right = head not in ("function", "now")
            table.add_column(
                no_wrap=True,
                overflow="ellipsis",
                justify="right" if right else "left",
                ratio=1 if head == "now" else None,
                max_width=self._console.width // 4 if head == "function" else None,
            )
        table.expand = True
        for row in shown:
            cells = cells_of(row)
            table.add_row(
                *(Text(cell, _STYLES.get(head, "") if cell else "") for head, cell in cells.items())
            )
        with self._console.capture() as captured:
            self._console.print(table)
            hidden = len(rows) - len(shown)
            more = f"… and {hidden} more functions; " if hidden else ""
            last = Text(more + ending(rows, elapsed), "bold")
            self._console.print(last, no_wrap=True, overflow="ellipsis")
        return captured.get()

    def _fit(self):
        """Lay out for the terminal as it is now, without the last column, at which some wrap."""
        self._console.width = max(self._terminal.width - 1, 1)

    def erase(self) -> None:
        """Erase the lines."""
        with self._lock:
            if self._height:
                self._height = 0
                self._stream.write(_ERASE)
                self._stream.flush()

    def close(self, summary: str) -> None:
        """Show the summary, if there is one, in place of the lines, and leave prints alone."""
        for name, proxy in self._proxies.items():
            if getattr(sys, name) is proxy:  # else a function has put another one there
                setattr(sys, name, proxy._stream)
        with self._lock:
            self.erase()
            start = "\n" if self._is_in_line else ""
            with self._console.capture() as captured:
                self._fit()
                if summary:
                    self._console.print(summary)
            self._stream.write(start + captured.get())
            self._stream.flush()

    def pass_on(self, stream: Any, text: str) -> int:
        """Write a user's text in place of the lines, which come back when its last line has an end."""
        with self._lock:
            self.erase()
            written = stream.write(text)
            if text:
                self._is_in_line = not text.endswith("\n")
        return written


#: Colours of cells, by the head of their column.
_STYLES = {"skipped": "dim", "failed": "red", "now": "dim"}

_displays: weakref.WeakSet[TerminalDisplay] = weakref.WeakSet()


class _Proxy:
    """A stream that erases the lines before it writes."""

    def __init__(self, stream, display):
        self._stream = stream
        self._display = display

    def write(self, text):
        return self._display.pass_on(self._stream, text)

    def writelines(self, lines):
        self.write("".join(lines))

    def __getattr__(self, name):
        return getattr(self._stream, name)


def _forget_locks():
    """Replace the locks in a forked process, where the thread that had them is gone."""
    for display in list(_displays):
        display._lock = threading.RLock()
        display._height = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)


def _most_telling(rows, limit):
    """Return at most `limit` rows, in order: of functions that run, then that have nodes left."""
    limit = max(limit, 1)
    if len(rows) <= limit:
        return rows
    ranked = sorted(rows, key=lambda row: (not row.running, not row.counts.left, not row.counts.failed))
    chosen = {id(row) for row in ranked[:limit]}
    return [row for row in rows if id(row) in chosen]
