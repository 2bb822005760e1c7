"""Sums of events, by function."""

from daskcache.cluster.tally import MAX_FUNCTIONS, OTHERS, Sums, Tally
from daskcache.events import NodeEvent


def test_sums_are_by_function():
    """What ran is a miss, what did not have to is a hit; time saved is that of the hits."""
    tally = Tally()
    tally.add(NodeEvent(0.0, "ran", "smooth", seconds=2.0, bytes=10))
    tally.add(NodeEvent(0.0, "ran", "smooth", seconds=1.0, bytes=5))
    for outcome in ("loaded", "skipped", "copied"):
        tally.add(NodeEvent(0.0, outcome, "smooth", seconds=0.1, bytes=7, saved=4.0))
    tally.add(NodeEvent(0.0, "complete", "load", saved=30.0, nodes=6))
    tally.add(NodeEvent(0.0, "failed", "load"))
    assert tally.functions == {
        "smooth": Sums(hits=3, misses=2, seconds=3.0, written=15, saved=12.0),
        "load": Sums(hits=6, failures=1, saved=30.0),
    }
    assert tally.total == Sums(9, 2, 1, 3.0, 15, 42.0)


def test_a_tally_does_not_grow_without_end():
    """Beyond a number of functions, further ones are added up together."""
    tally = Tally()
    for number in range(MAX_FUNCTIONS + 100):
        tally.add(NodeEvent(0.0, "ran", f"f{number}"))
    assert len(tally.functions) == MAX_FUNCTIONS + 1
    assert tally.functions[OTHERS].misses == 100
    assert tally.total.misses == MAX_FUNCTIONS + 100
