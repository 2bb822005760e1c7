"""Adoption: what it tells of the results that follow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from levels import after, correct, edit, level, plus_one, run

import daskcache as dc


def adopted(root, path):
    return run("adopt", path, "--root", str(root))[1]


def test_adopt_tells_what_runs_again(root):
    """Directly and further on."""
    dc.delayed(plus_one, target="last/{x.stem}.json")(after(level(1))).compute()
    edit(level(1))
    output = adopted(root, "levels/1.json")
    assert "levels/1.json is adopted\n" in output
    assert "    runs again: after/1.json\n" in output
    assert "    runs again if its inputs come out different: last/1.json\n" in output


def test_adopt_tells_that_nothing_runs_again(root):
    """An image that was saved again holds the same data; a last result has nothing after it."""
    mask = dc.delayed(lambda: np.eye(9, dtype=bool), target="m.tif")()
    dc.compute(dc.delayed(np.sum, target="sum.json")(mask), level(1))
    tifffile.imwrite(mask.dc.path, np.eye(9, dtype="u1") * 255)
    edit(level(1))
    output = adopted(root, "m.tif")
    assert "holds the data that" in output
    assert "nothing runs again" in output
    assert "no recorded result was made from it" in adopted(root, "levels/1.json")


def test_a_correction_further_on_is_told(root):
    """It would have to run again, so the user decides."""
    dc.compute(after(level(1)))
    correct(after(level(1)))
    edit(level(1))
    output = adopted(root, "levels/1.json")
    assert "so it waits for your decision: after/1.json" in output
    assert "runs again" not in output


def test_adopt_in_python_tells_the_same(root):
    """It is the number of nodes, and its text tells what follows."""
    last = after(level(1))
    dc.compute(last, level(2))
    edit(level(1))
    told = dc.adopt(level(1), level(2))
    assert told == 1
    changed = "holds other data than level_of() made; diff shows them"
    assert told.consequences == {"levels/1.json": [changed, "runs again: after/1.json"]}
    assert str(told).splitlines()[0] == "1 adopted"
    assert last.compute() == 8
    again = dc.adopt(level(1))
    assert (again, str(again)) == (0, "0 adopted")


def test_a_second_correction_is_compared_with_the_first(root):
    """What counts is the data that a result was made from, not what the function had made."""
    dc.compute(after(level(1)))
    edit(level(1))
    dc.adopt(level(1))
    after(level(1)).compute()
    edit(level(1), "10")  # as the function has it
    told = dc.adopt(level(1)).consequences["levels/1.json"]
    assert told == ["holds the data that level_of() made", "runs again: after/1.json"]
    assert after(level(1)).compute() == 11


def test_results_of_one_call_are_told_to_run(root):
    """Their data are known together only."""
    pair = dc.delayed(lambda: (1, 2), target=("a.json", "b.json"))()
    dc.delayed(sum, target="sum.json")(pair).compute()
    Path(pair.dc.path[1]).write_text("5")
    told = dc.adopt(pair).consequences
    assert told["b.json"][1:] == ["runs again: sum.json"]


def test_adopt_tells_how_the_data_differ_if_that_is_known(root):
    """The trash has the function's result, so nothing needs to run for that."""
    mask = dc.delayed(lambda: np.eye(9, dtype=bool), target="m.tif")()
    mask.compute()
    path = Path(mask.dc.path)
    dc.invalidate(mask)
    tifffile.imwrite(path, np.zeros((9, 9), "u1"))
    assert "9 of 81 elements differ" in adopted(root, "m.tif")
    assert "9 of 81 elements differ" in str(dc.adopt(mask))


def test_adopt_of_a_file_without_a_result(root):
    """A file that was put there replaces nothing."""
    path = Path(level(1).dc.path)
    path.parent.mkdir(parents=True)
    path.write_text("3")
    assert "there was no result before" in adopted(root, "levels/1.json")
    assert "level_of() had made no result before" in str(dc.adopt(level(1)))
