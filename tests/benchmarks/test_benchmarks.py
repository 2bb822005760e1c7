"""How figures are made from what was measured; what is measured judges itself when it runs."""

from __future__ import annotations

import subprocess
import sys
import time

import dask
import numpy as np
import pandas as pd
import pytest
import tifffile

from . import screen
from .counts import Count, in_summary
from .guarantees import NO, YES, answer, try_peer
from .measuring import Comparison, Times, is_slower, measure, timed
from .report import seconds, spread, table, time_row


def contender(order, name, *walls):
    """A contender that takes these times, one after the other."""
    left = list(walls)

    def run():
        order.append(name)
        wall = left.pop(0)
        return Times(wall, 2 * wall)

    return run


def test_contenders_take_turns_and_are_compared_run_by_run():
    order = []
    contenders = {"ours": contender(order, "ours", 1, 2, 9), "peer": contender(order, "peer", 2, 2, 3)}
    outcome = measure(Comparison("work", contenders, bar=1), 3)
    assert order == ["ours", "peer", "peer", "ours", "ours", "peer"]
    assert outcome.wall_ratios == [0.5, 1, 3]
    assert (outcome.wall, outcome.cpu, outcome.met) == (1, 1, True)
    assert spread(outcome.wall_ratios) == "1 (0.5–3)"


def test_a_bar_that_is_missed_is_over():
    contenders = {"ours": contender([], "ours", 3), "peer": contender([], "peer", 2)}
    outcome = measure(Comparison("work", contenders, bar=2, cpu_bar=1.4), 1)
    assert not outcome.met
    assert time_row(outcome)[-1] == "over"
    assert measure(Comparison("work", {"a": lambda: None, "b": lambda: None}), 1).met is None


def test_a_ratio_may_be_of_three():
    contenders = {name: contender([], name, wall) for name, wall in (("a", 5), ("b", 2), ("c", 1))}
    comparison = Comparison(
        "work", contenders, ratio=lambda found: (found["a"] - found["c"]) / found["b"]
    )
    assert measure(comparison, 1).wall == 2


@pytest.mark.parametrize(
    ("ours", "slower"),
    [((3, 3, 3), True), ((3, 3, 1), False), ((3, 1), False), ((1,), False)],
)
def test_only_three_measurements_that_agree_are_a_regression(ours, slower):
    contenders = {"ours": contender([], "ours", *ours), "peer": contender([], "peer", 1, 1, 1)}
    comparison = Comparison("work", contenders, ceiling=2)
    assert is_slower(measure(comparison, 1), 1) is slower


def test_without_a_ceiling_nothing_is_a_regression():
    comparison = Comparison("work", {"ours": contender([], "", 9), "peer": contender([], "", 1)})
    assert not is_slower(measure(comparison, 1), 1)


def test_sleep_takes_no_processor():
    times = timed(lambda: time.sleep(0.05))
    assert times.wall >= 0.05
    assert times.cpu < times.wall


def test_a_summary_of_calls():
    text = """% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 51.31    0.000098           4        22         3 openat
 30.00    0.000050           5        10           read
  9.00    0.000010           1         9           mmap
------ ----------- ----------- --------- --------- ----------------
100.00    0.000191           4        41         3 total
"""
    assert in_summary(text) == {"openat": 22, "read": 10}


def test_a_count_is_judged():
    assert Count("calls", 50, 50).ok
    assert not Count("calls", 51, 50).ok


@pytest.mark.parametrize(
    ("value", "text"), [(2.345, "2.35 s"), (0.002, "2 ms"), (3.2e-6, "3.2 µs"), (4e-9, "4 ns")]
)
def test_seconds_as_people_read_them(value, text):
    assert seconds(value) == text


def test_a_table():
    assert table(("a", "b"), [("1", "2")]) == "| a | b |\n| - | - |\n| 1 | 2 |"


@pytest.mark.parametrize(
    ("printed", "code", "expected"),
    [
        ('{"values": ["value-0-new", "value-1-new", "value-2-new"]}', 0, YES),
        ('{"values": ["value-0-old", "value-1-new", "value-2-new"]}', 0, NO),
        ("", 0, NO),
        ("", 1, "an error"),
    ],
)
def test_the_answer_of_a_program(printed, code, expected):
    done = subprocess.CompletedProcess([], code, f"a log line\n{printed}\n", "")
    assert answer(done, "new") == expected


def test_what_is_guaranteed_is_tried():
    """An edited result is an error, for a person to decide; a script that looks for files sees none."""
    ours, script = try_peer("daskcache", kills=0), try_peer("by_hand", kills=0)
    assert (ours.helper, ours.damage) == (YES, "yes, by an error")
    assert (script.helper, script.damage) == (NO, NO)


def test_both_screens_make_the_same_files(tmp_path, root):
    """The compressed bytes are equal, too, so that neither has less to do."""
    raw, by_hand = tmp_path / "raw", tmp_path / "by hand"
    raw.mkdir()
    screen.take_images(str(raw))
    ours = dask.compute(*screen.cached_screen(str(raw)))
    theirs = dask.compute(*screen.screen_by_hand(str(raw), str(by_hand)))
    pd.testing.assert_frame_equal(ours[0], theirs[0])
    np.testing.assert_array_equal(ours[2], theirs[2])
    names = [f"{folder}/P1_{well}.tif" for folder in ("corrected", "cells") for well in screen.WELLS]
    for name in names:
        with tifffile.TiffFile(root / name) as a, tifffile.TiffFile(by_hand / name) as b:
            np.testing.assert_array_equal(a.asarray(), b.asarray())
            assert a.pages[0].compression == b.pages[0].compression == 8
            assert a.pages[0].databytecounts == b.pages[0].databytecounts, name
    tables = [f"features/P1_{well}.csv" for well in screen.WELLS]
    assert [(root / name).read_bytes() for name in tables] == [
        (by_hand / name).read_bytes() for name in tables
    ]


def test_a_small_comparison_runs_as_a_command(tmp_path):
    """The command measures one benchmark, and writes its figures."""
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", "tests.benchmarks", "--quick", "--only", "imports", "--runs", "1"]
    done = subprocess.run([*command, "--json", figures], capture_output=True, text=True)
    assert "import, and delayed" in done.stdout
    assert '"cpu_ratios"' in figures.read_text()
