"""Numbers of nodes by function: what happened, what is left, when it ends, and what failed."""

import pytest

from daskcache.cluster.node_tasks import RunningNode
from daskcache.cluster.tally import MAX_FAILURES, MAX_FUNCTIONS, OTHERS, Sums, Tally
from daskcache.events import NodeEvent


def failed(number, error="ValueError: no cells", function="segment"):
    return NodeEvent(0.0, "failed", function, key=f"key{number}", target=f"{number}.npy", error=error)


def ran(number, seconds=1.0, function="segment"):
    return NodeEvent(0.0, "ran", function, key="new", target=f"{number}.npy", seconds=seconds)


def test_sums_are_by_function():
    """What did not have to run was skipped, or copied; time saved is that of both."""
    tally = Tally()
    tally.add(NodeEvent(0.0, "ran", "smooth", seconds=2.0, bytes=10))
    tally.add(NodeEvent(0.0, "ran", "smooth", seconds=1.0, bytes=5))
    for outcome in ("loaded", "skipped", "copied"):
        tally.add(NodeEvent(0.0, outcome, "smooth", seconds=0.1, bytes=7, saved=4.0))
    tally.add(NodeEvent(0.0, "complete", "load", saved=30.0, nodes=6))
    tally.add(NodeEvent(0.0, "failed", "load"))
    assert tally.functions == {
        "smooth": Sums(ran=2, copied=1, skipped=2, seconds=3.0, timed=2, written=15, saved=12.0),
        "load": Sums(skipped=6, failed=1, saved=30.0),
    }
    total = Sums(ran=2, copied=1, skipped=8, failed=1, seconds=3.0, timed=2, written=15, saved=42.0)
    assert tally.total == total


def test_a_tally_does_not_grow_without_end():
    """Beyond a number of functions, others are added up together; old failures are only counted."""
    tally = Tally()
    for number in range(MAX_FUNCTIONS + 100):
        tally.add(NodeEvent(0.0, "ran", f"f{number}"))
    assert len(tally.functions) == MAX_FUNCTIONS + 1
    assert tally.functions[OTHERS].ran == 100
    assert tally.total.ran == MAX_FUNCTIONS + 100
    for number in range(MAX_FAILURES + 100):
        tally.add(failed(number))
    assert len(tally.failures) == MAX_FAILURES
    assert tally.failures["segment", f"{MAX_FAILURES + 99}.npy"] == failed(MAX_FAILURES + 99)
    assert tally.total.failed == MAX_FAILURES + 100


def test_a_target_fails_once_and_until_it_holds_a_result():
    """A second failure takes the place of the first; a success under any key ends it."""
    tally = Tally()
    tally.add(failed(1))
    tally.add(failed(2))
    tally.add(failed(1, "KeyError: 3"))
    assert [event.error for event in tally.failures.values()] == ["ValueError: no cells", "KeyError: 3"]
    assert tally.total.failed == 2
    tally.add(ran(1))
    tally.add(ran(3))
    assert list(tally.failures) == [("segment", "2.npy")]
    assert (tally.total.failed, tally.total.ran) == (1, 2)


def test_the_end_is_estimated_from_recorded_times():
    """As in the progress of verbs: work that is left, by the work that is done in a second."""
    tally = Tally()
    tally.add(ran(0, 100.0))  # of an earlier verb, which tells nothing about the present rate
    for number in range(4):
        tally.expect(f"task{number}", "segment", 10.0, now=50.0)
    (row,) = tally.rows([], 50.0)
    assert (row.function, row.counts.left, row.seconds_left) == ("segment", 4, None)
    tally.add(ran(1, 10.0))
    tally.forget("task1")
    running = [
        RunningNode("task2", 5.0, "segment(2.npy)", "tcp://a"),
        RunningNode("task3", None, "segment(3.npy)", "tcp://a"),
        RunningNode("others", 9.0, "f(x)", "tcp://a"),
    ]
    (row,) = tally.rows(running, 60.0)
    assert row.counts.left == 3
    assert row.seconds_left == pytest.approx((30 - 5) / (15 / 10))
    assert tally.elapsed(60.0) == 10.0
    for number in (2, 3, 0, 0):
        tally.forget(f"task{number}")
    assert tally.rows([], 61.0)[0].seconds_left == 0.0


def test_nodes_without_a_record_take_as_long_as_others():
    """Also those that ran for an earlier verb."""
    tally = Tally()
    tally.expect("a", "segment", None, now=0.0)
    tally.expect("a", "segment", None, now=0.0)
    tally.expect("b", "segment", None, now=0.0)
    assert tally.rows([RunningNode("a", 1.0, "", "")], 2.0)[0].seconds_left is None
    tally.add(ran(1, 8.0))
    tally.forget("a")
    assert tally.rows([], 8.0)[0].seconds_left == pytest.approx(8.0)
    running = [RunningNode("b", 2.0, "", "")]
    assert tally.rows(running, 8.0)[0].seconds_left == pytest.approx((8 - 2) / (10 / 8))
    assert tally.functions["segment"].left == 1
