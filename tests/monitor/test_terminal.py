"""The lines in a terminal: what they show where there is little room, and what else is printed."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
import threading

import pytest
from rich.cells import cell_len

from daskcache.monitor.rows import FunctionCounts, Row
from daskcache.monitor.terminal import TerminalDisplay


class Screen(io.StringIO):
    """A stream that passes for a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def screen(monkeypatch):
    def screen(columns, lines):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("LINES", str(lines))
        monkeypatch.setenv("TERM", "xterm")
        return Screen()

    return screen


def row(name="segment", running=(), **counts):
    return Row(name, FunctionCounts(**counts), 4320.0, list(running))


def drawn(screen, rows):
    TerminalDisplay(screen).show(rows, 12.0)
    text = screen.getvalue()
    assert text.startswith("\r\x1b[J\n")
    text = re.sub(r"\x1b\[[0-9;]*m", "", text.removeprefix("\r\x1b[J\n"))
    return text.rpartition("\r")[0].split("\n")


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_no_line_is_wider_than_the_terminal(screen, columns):
    """Names are cut, of wide letters, too: a line that wraps would not be drawn over."""
    rows = [
        row("segment" * 30, ["細胞/" * 40], ran=10**6, skipped=10**6, failed=10**6, left=10**6),
        row("細胞" * 30, ["a"], blocked=7, copied=3),
    ]
    lines = drawn(screen(columns, 30), rows)
    assert len(lines) == 3
    assert max(map(cell_len, lines)) < columns


def test_a_line_says_it_all_where_there_is_room(screen):
    """The numbers, the time and what runs."""
    first, last = drawn(
        screen(120, 30), [row(ran=12, skipped=800, failed=1, left=27, running=["a", "b"])]
    )
    words = " ".join(first.split())
    assert words == "segment 12 ran 800 skipped 1 failed 27 left 1 h 12 min a, b"
    assert last.startswith("12 s, about 1 h 12 min left, until ")


def test_many_functions_fit_the_screen(screen):
    """Those that run are shown first, then those with nodes left; the others are counted."""
    rows = [row(f"f{n}", ran=1) for n in range(10)]
    rows += [row("waits", left=1), row("runs", ["x"], left=1)]
    lines = drawn(screen(80, 8), rows)
    assert [line.split()[0] for line in lines] == ["f0", "f1", "waits", "runs", "…"]
    assert lines[-1].startswith("… and 8 more functions; 12 s")


def test_a_print_takes_the_place_of_the_lines(screen, monkeypatch):
    """They are erased first; the stream is the old one in the end."""
    stream = screen(80, 30)
    monkeypatch.setattr(sys, "stdout", stream)
    display = TerminalDisplay(stream)
    display.open()
    display.show([row(left=1)], 1.0)
    before = stream.getvalue()
    print("hello")
    assert stream.getvalue()[len(before) :] == "\r\x1b[Jhello\n"
    assert sys.stdout.encoding == stream.encoding
    display.close("1 ran")
    assert sys.stdout is stream


def test_a_line_without_an_end_is_not_drawn_over(screen, monkeypatch):
    """A user's own bar, or a prompt: the lines come back when it has ended."""
    stream = screen(80, 30)
    monkeypatch.setattr(sys, "stdout", stream)
    display = TerminalDisplay(stream)
    display.open()
    print("50 %", end="")
    before = stream.getvalue()
    display.show([row(left=1)], 1.0)
    assert stream.getvalue() == before
    print()
    display.show([row(left=1)], 1.0)
    assert len(stream.getvalue()) > len(before) + 1
    display.close("1 ran")


def test_a_stream_that_is_no_terminal_is_left_alone(screen, monkeypatch):
    """A program's output that goes to a file gets nothing of this."""
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    display = TerminalDisplay(screen(80, 30))
    before = sys.stdout
    display.open()
    assert sys.stdout is before


def test_what_a_function_redirects_stays_redirected(screen, monkeypatch):
    """A stream that was put in place while the lines were shown is not taken away."""
    monkeypatch.setattr(sys, "stdout", screen(80, 30))
    display = TerminalDisplay(sys.stdout)
    display.open()
    sys.stdout = other = io.StringIO()
    display.close("1 ran")
    assert sys.stdout is other


@pytest.mark.needs("forks")
def test_a_fork_can_print(screen, monkeypatch):
    """The thread that draws is not in the child, and may have had the lock."""
    stream = screen(80, 30)
    monkeypatch.setattr(sys, "stdout", stream)
    display = TerminalDisplay(stream)
    display.open()
    display.show([row(left=1)], 1.0)
    is_held, is_over = threading.Event(), threading.Event()

    def draw():
        with display._lock:
            is_held.set()
            is_over.wait(60)

    drawing = threading.Thread(target=draw)
    drawing.start()
    is_held.wait()
    child = os.fork()
    if not child:
        signal.alarm(5)  # ends a child that waits for the lock
        print("hello")
        os._exit(0 if stream.getvalue().endswith("hello\n") else 1)
    status = os.waitpid(child, 0)[1]
    is_over.set()
    drawing.join()
    assert status == 0
    display.close("1 ran")
