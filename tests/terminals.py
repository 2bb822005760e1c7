"""Programs in terminals for tests: what they print is drawn on a screen, as a person would see it."""

from __future__ import annotations

import os
import re
import sys

import pexpect
import pyte


class Terminal:
    """A program that runs in a terminal.

    Parameters
    ----------
    path : Path
        The program.
    columns : int
        Width of the terminal.
    *arguments : str
        Those of the program.
    """

    def __init__(self, path, columns, *arguments):
        environment = {**os.environ, "TERM": "xterm-256color", "DASK_LOGGING__DISTRIBUTED": "critical"}
        for name in ("CI", "COLUMNS", "LINES"):  # the terminal says its size itself
            environment.pop(name, None)
        self.columns = columns
        self.raw = ""
        self.child = pexpect.spawn(
            sys.executable,
            [str(path), *arguments],
            dimensions=(40, columns),
            env=environment,
            encoding="utf8",
            timeout=120,
            cwd=str(path.parent),
        )

    def wait_for(self, text):
        self.child.expect_exact(text)
        self.raw += self.child.before + self.child.after

    def finish(self):
        """Wait for the end of the program, and return the lines on the screen and above it."""
        self.child.expect(pexpect.EOF)
        self.raw += self.child.before
        self.child.close()
        return self.lines()

    def lines(self):
        screen = pyte.HistoryScreen(self.columns, 40, history=10_000)
        pyte.Stream(screen).feed(self.raw)
        above = [
            "".join(row[column].data for column in range(self.columns)) for row in screen.history.top
        ]
        return [line.rstrip() for line in [*above, *screen.display] if line.strip()]

    def frames(self):
        """The lines of each drawing, without colours."""
        drawn = [part.partition("\r\x1b[")[0] for part in self.raw.split("\x1b[J\r\n")[1:]]
        return [without_colours(frame).split("\r\n") for frame in drawn]


def without_colours(text):
    """A text without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
