"""Rows of functions: the time that is left, and time spans as texts."""

from __future__ import annotations

import pytest

from daskcache.monitor.rows import FunctionCounts, duration


def test_nodes_that_are_left_have_recorded_or_typical_times():
    """Where there is no record, the nodes that ran tell; until then nothing does."""
    counts = FunctionCounts()
    counts.add_left(5.0, 2)
    assert counts.work_left() == 10.0
    counts.add_left(None)
    assert counts.work_left() is None
    counts.seconds, counts.timed = 8.0, 4
    assert counts.work_left() == 12.0
    counts.add_left(5.0, -1)
    counts.add_left(None, -1)
    assert (counts.left, counts.work_left()) == (1, 5.0)


def test_the_end_comes_with_the_rate():
    """Two seconds of work in each second; what running nodes have done is done."""
    counts = FunctionCounts(left=4, recorded=40.0)
    assert counts.seconds_left(2.0, 10.0) == 15.0
    assert counts.seconds_left(2.0, 10.0, late=1.0) == 14.0
    assert counts.seconds_left(2.0, 10.0, late=99.0) == 0.0
    assert counts.seconds_left(None, 10.0) is None
    assert FunctionCounts().seconds_left(None, 0.0) == 0.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (3.24, "3.2 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (61, "1 min 1 s"),
        (3599.7, "1 h"),
        (4320, "1 h 12 min"),
        (86_399, "23 h 59 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations(seconds, text):
    """The two largest units, without one that is zero."""
    assert duration(seconds) == text
