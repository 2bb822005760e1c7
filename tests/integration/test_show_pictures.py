"""`dask cache show` in a terminal: pictures by half blocks, in the colours of the image."""

from __future__ import annotations

import subprocess
import sys

import dask
import numpy as np
import pyte
import pytest
from terminals import Terminal

import daskcache as dc

PROGRAM = """
import sys
from daskcache.housekeeping.cli.main import cache
cache(["show", *sys.argv[1:]])
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    """The command, beside a root with an image: the left half is red, the right half blue."""
    monkeypatch.chdir(tmp_path)
    pixels = np.zeros((60, 160, 3), "uint8")
    pixels[:, :80, 0] = pixels[:, 80:, 2] = 255
    with dask.config.set({"daskcache.root": str(tmp_path)}):
        dc.delayed(lambda: pixels, target="a.png")().compute(scheduler="sync")
    path = tmp_path / "show.py"
    path.write_text(PROGRAM)
    return path


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_picture_fits_the_terminal(program, columns):
    terminal = Terminal(program, columns, "a.png")
    lines = terminal.finish()
    drawn = [line for line in lines if line.startswith("▀")]
    width = min(columns, 80)
    assert {len(line) for line in drawn} == {width}
    assert len(drawn) == round(width * 60 / 160 / 2)
    assert "a.png: complete" in lines[len(drawn)]


def test_colours_are_those_of_the_image(program):
    terminal = Terminal(program, 80, "a.png")
    terminal.finish()
    screen = pyte.Screen(80, 40)
    pyte.Stream(screen).feed(terminal.raw)
    left, right = screen.buffer[3][5], screen.buffer[3][75]
    assert (left.fg, left.bg) == ("ff0000",) * 2
    assert (right.fg, right.bg) == ("0000ff",) * 2


@pytest.mark.parametrize("variable", [None, "NO_COLOR"])
def test_there_is_none_where_it_can_not_be_seen(program, variable, monkeypatch):
    """In a pipe, and where a user wants no colours."""
    if variable is None:
        output = subprocess.check_output([sys.executable, str(program), "a.png"], cwd=program.parent)
        assert b"\x1b" not in output
        assert output.startswith(b"a.png: complete")
        return
    monkeypatch.setenv(variable, "1")
    assert not any("▀" in line for line in Terminal(program, 80, "a.png").finish())
