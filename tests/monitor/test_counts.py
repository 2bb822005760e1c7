"""What a verb's counts say: by function, what is left, and the line at the end."""

from __future__ import annotations

import pytest

import daskcache as dc
from daskcache.monitor.counts import Counts, Expected, Running
from daskcache.monitor.lines import cells_of, ending
from daskcache.monitor.rows import seconds_left
from daskcache.planning.planner import Planner


@pytest.fixture
def segment():
    def segment(n):
        if n == 7:
            raise ValueError("no cells")
        return n

    return dc.delayed(segment, target="seg/{n:03d}.json")


def planned(*nodes, **how):
    planner = Planner(**how)
    planner.request_all([node._recipe for node in nodes])
    return planner.planned_nodes


def expecting(seconds, count=4):
    """Counts of `count` nodes of one function, of which all run at time 0."""
    counts = Counts()
    for n in range(count):
        counts.expect(str(n), Expected("segment", f"seg/{n}.npy", seconds))
    counts.begin(0.0)
    counts.updated = 0.0
    return counts


def left_at(counts, now):
    counts.updated = now
    (row,) = counts.rows(now)
    return row.seconds_left


def test_what_a_plan_has_finished_is_skipped(segment):
    """Complete nodes upstream are skipped at once; those that are asked for, when they are read."""
    total = dc.delayed(lambda values: sum(values), target="total.json")
    made = [segment(n) for n in range(3)]
    dc.compute(*made)
    counts = Counts()
    counts.expect_planned(planned(total(made), made[0]))
    assert (counts.functions["segment"].skipped, counts.functions["segment"].left) == (2, 1)
    counts.note(made[0].dc.key, "seg/000.json", "loaded")
    assert (counts.functions["segment"].skipped, counts.functions["segment"].left) == (3, 0)


def test_a_plan_may_grow(segment):
    """Nodes that come later are added, and those that are known are not counted twice."""
    counts = Counts()
    planner = Planner()
    planner.request(segment(1)._recipe)
    counts.expect_planned(planner.planned_nodes)
    planner.request(segment(2)._recipe)
    counts.expect_planned(planner.planned_nodes)
    counts.expect_planned(planner.planned_nodes)
    assert counts.functions["segment"].left == 2


def test_one_recipe_at_two_targets_is_two_nodes():
    """They share a key, so their targets tell them apart."""

    def square(n):
        return n * n

    nodes = [dc.delayed(square, target=f"{place}/{{n}}.json")(2) for place in "ab"]
    assert nodes[0].dc.key == nodes[1].dc.key
    counts = Counts()
    counts.expect_planned(planned(*nodes))
    assert counts.functions["square"].left == 2
    counts.note(nodes[0].dc.key, "a/2.json", "ran", 1.0)
    counts.note(nodes[0].dc.key, "b/2.json", "copied")
    (counted,) = counts.functions.values()
    assert (counted.ran, counted.copied, counted.left) == (1, 1, 0)


def test_outcomes_of_other_verbs_do_not_count(segment):
    """Another thread's verb emits events, too."""
    counts = expecting(1.0)
    counts.note(segment(1).dc.key, "seg/001.json", "ran", 1.0)
    assert counts.functions["segment"].left == 4


def test_a_node_counts_once():
    """One that fails, and runs when it is tried again, ran; a task that finds it changes nothing."""
    counts = expecting(1.0)
    counts.note("0", "", "failed", error="OSError: away")
    assert counts.summary() == "0 ran, 3 left, 1 failed: seg/0.npy OSError: away"
    counts.note("0", "", "ran", 1.0)
    counts.note("0", "", "skipped", 0.0, saved=1.0)
    assert counts.summary() == "1 ran, 3 left"


def test_the_summary_of_the_issue():
    """What ran, was skipped and failed, the time that was saved, and the first error."""
    counts = expecting(1.0, count=865)
    for n in range(41):
        counts.note(str(n), "", "ran", 1.0)
    for n in range(41, 864):
        counts.note(str(n), "", "skipped", 0.0, saved=4320 / 823)
    counts.note("864", "", "failed", error="ValueError: no cells\n  in plate 3")
    expected = "41 ran, 823 skipped (1 h 12 min saved), 1 failed: seg/864.npy ValueError: no cells"
    assert counts.summary() == expected


def test_of_many_failures_the_first_is_named():
    """The others are where all failures are."""
    counts = expecting(1.0, count=3)
    for n in range(3):
        counts.note(str(n), "", "failed", error=f"ValueError: {n}")
    expected = "0 ran, 3 failed: seg/0.npy ValueError: 0, and 2 more; dc.failures()"
    assert counts.summary() == expected


def test_what_others_wrote_is_shown_and_not_obeyed():
    """A name or an error may hold sequences that would clear the screen."""
    counts = Counts()
    counts.expect("k", Expected("f\x1b[2J", "a\x1b[2J", None))
    counts.running = [Running("k", 1.0)]
    assert "\x1b" not in str(cells_of(counts.rows()[0]))
    counts.note("k", "", "failed", error="ValueError: \x1b[2J")
    assert "\x1b" not in counts.summary()


def test_a_blocked_node_is_told(segment, root):
    """With collected errors, a user's file at a target keeps only its node from running."""
    (root / "seg").mkdir(parents=True)
    (root / "seg" / "001.json").write_text("1")
    counts = Counts()
    counts.expect_planned(planned(segment(1), segment(2), collect=True))
    counts.end()
    assert counts.summary() == "0 ran, 1 blocked, 1 left"


def test_nodes_that_were_not_needed_are_not_left():
    """A verb that succeeded left nothing."""
    counts = expecting(1.0)
    counts.note("0", "", "ran", 1.0)
    assert counts.summary() == "1 ran, 3 left"
    counts.end()
    assert counts.summary() == "1 ran"


def test_after_a_failure_nodes_are_left():
    """With collected errors a verb succeeds, but what needs the failed node does not run."""
    counts = expecting(1.0)
    counts.note("1", "", "failed", error="E")
    counts.end()
    assert counts.summary() == "0 ran, 3 left, 1 failed: seg/1.npy E"


def test_a_graph_that_needs_fewer_nodes(segment):
    """What it leaves out is neither left nor run; what was complete stays skipped."""
    dc.compute(segment(1))
    nodes = [segment(n) for n in (1, 2, 3)]
    counts = Counts()
    counts.expect_planned(planned(*nodes))
    counts.keep_only({nodes[1].dc.key})
    (counted,) = counts.functions.values()
    assert (counted.skipped, counted.left, counted.unneeded) == (1, 1, 1)
    counts.note(nodes[2].dc.key, "seg/003.json", "ran", 1.0)  # it was needed after all
    assert (counted.ran, counted.left, counted.unneeded) == (1, 1, 0)


def test_lost_events_are_told():
    """A scheduler keeps a number of events, and more may come between two questions."""
    counts = expecting(1.0)
    counts.note("0", "", "ran", 1.0)
    counts.is_cut = True
    counts.end()
    assert counts.summary() == "at least 1 ran"


# ---- the estimated end -----------------------------------------------------------------------------


def test_nothing_is_known_at_first():
    """Without a record or a node that ran, the end is unknown."""
    counts = expecting(None)
    assert left_at(counts, 3.0) is None
    assert cells_of(counts.rows(3.0)[0])["time"] == "?"
    assert ending(counts.rows(3.0), 3.0) == "3.0 s, end unknown"


def test_recorded_times_tell_the_end():
    """One node of 10 s ran in 10 s: of three that are left, each takes as long."""
    counts = expecting(10.0)
    counts.note("0", "", "ran", 10.0)
    assert left_at(counts, 10.0) == pytest.approx(30)


def test_nodes_that_ran_tell_for_those_without_a_record():
    """Their mean stands for the others."""
    counts = expecting(None)
    counts.note("0", "", "ran", 2.0)
    counts.note("1", "", "ran", 4.0)
    assert left_at(counts, 6.0) == pytest.approx(6)


def test_nodes_that_run_at_once_end_earlier():
    """Two workers: 2 nodes of 10 s ran in 10 s."""
    counts = expecting(10.0)
    counts.note("0", "", "ran", 10.0)
    counts.note("1", "", "ran", 10.0)
    assert left_at(counts, 10.0) == pytest.approx(10)


def test_what_runs_now_counts_by_its_time():
    """Before any node is done, two run for 5 of their 10 s: 30 s of work are left for two workers."""
    counts = expecting(10.0)
    counts.running = [Running("0", 5.0), Running("1", 5.0)]
    assert left_at(counts, 5.0) == pytest.approx(15)
    assert counts.rows(5.0)[0].running == ["seg/0.npy", "seg/1.npy"]


def test_the_first_moments_tell_how_many_run_at_once():
    """It took 2 s until two nodes were seen to run, for a moment: 40 s of work are left for two."""
    counts = expecting(10.0)
    counts.running = [Running("0", 0.01), Running("1", 0.01)]
    assert left_at(counts, 2.0) == pytest.approx(20, abs=0.1)


def test_the_end_comes_closer_between_two_answers_of_a_cluster():
    """The numbers are some moments old when they are drawn."""
    counts = expecting(10.0)
    counts.note("0", "", "ran", 10.0)
    counts.updated = 10.0
    assert counts.rows(12.0)[0].seconds_left == pytest.approx(28)


def test_without_run_times_the_clock_tells():
    """Nodes in other processes: 1 of 4 was done in 2 s."""
    counts = expecting(None)
    counts.note("0", "", "ran")
    assert left_at(counts, 2.0) == pytest.approx(6)


def test_an_end_that_is_known_in_part_says_so():
    """The estimate is a lower bound if a function has none."""
    counts = expecting(10.0)
    counts.expect("x", Expected("other", "x", None))
    counts.note("0", "", "ran", 10.0)
    counts.updated = 10.0
    rows = counts.rows(10.0)
    assert seconds_left(rows) == (pytest.approx(30), True)
    assert ending(rows, 10.0) == "10 s, 30 s or more left"


def test_a_long_time_has_an_end_by_the_clock():
    """Who leaves for lunch wants to know when."""
    counts = expecting(3600.0)
    counts.note("0", "", "ran", 3600.0)
    counts.updated = 3600.0
    assert ", about 3 h left, until " in ending(counts.rows(3600.0), 3600.0)
