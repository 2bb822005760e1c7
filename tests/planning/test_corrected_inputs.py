"""What follows from a correction, while results between them are missing or overwritten.

A correction changes the data of a node and not its key.  So equal keys upstream don't mean equal data.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import NamedTuple

import dask
import pytest
from click.testing import CliRunner

import daskcache as dc
from daskcache.errors import TargetModified
from daskcache.housekeeping.cli.main import cache
from daskcache.planning.planner import Planner
from daskcache.testing.assertions import count_runs

ROOT = Path("root")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder of its own, with a root in it."""
    monkeypatch.chdir(tmp_path)
    with dask.config.set({"daskcache.root": "root", "scheduler": "sync"}):
        yield


pytestmark = pytest.mark.filterwarnings("ignore:two recipes take turns", "ignore:.*results are kept")


def clean(numbers):
    return [n * 10 for n in numbers]


def segment(cleaned, threshold):
    return [n for n in cleaned if n > threshold]


def measure(mask):
    return sum(mask)


class Steps(NamedTuple):
    clean: dc.Node
    mask: dc.Node
    total: dc.Node


def steps(variant=None, threshold=15, mask_target="masks/a.json"):
    with dc.variant(variant):
        cleaned = dc.delayed(clean, target="clean/a.json")([1, 2, 3])
        mask = dc.delayed(segment, target=mask_target)(cleaned, threshold)
        return Steps(cleaned, mask, dc.delayed(measure, target="total/a.json")(mask))


def correct(node, value):
    Path(node.dc.path).write_text(json.dumps(value))
    assert node.dc.adopt()


def delete():
    """Delete the intermediate result."""
    (ROOT / "masks/a.json").unlink()


def overwrite():
    """Make another recipe's result at its target."""
    steps(threshold=25).mask.compute()


LOST = pytest.mark.parametrize("lose", [delete, overwrite])


@LOST
def test_a_correction_made_since_counts(lose):
    dc.compute(*steps())
    lose()
    correct(steps().clean, [100, 200])
    assert steps().total.dc.state in ("stale", "pending")
    assert "root cause: clean(clean/a.json): adopted by" in str(dc.why(steps().total))
    assert steps().total.compute() == 300


@LOST
def test_a_correction_released_since_counts(lose):
    """Although its function has made the result again, so that nothing else tells."""
    dc.compute(*steps())
    correct(steps().clean, [100, 200])
    assert dc.compute(*steps()) == ([100, 200], [100, 200], 300)
    lose()
    dc.release(steps().clean)
    steps().clean.compute()
    assert steps().total.compute() == 50


@LOST
def test_another_correction_made_since_counts(lose):
    dc.compute(*steps())
    correct(steps().clean, [100, 200])
    dc.compute(*steps())
    lose()
    correct(steps().clean, [100, 300])
    assert steps().total.compute() == 400


@LOST
@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_nothing_runs_after_a_correction_that_was_there(lose, scheduler):
    """Intermediate results that are missing are not made again, as for results of functions."""
    dc.compute(*steps())
    correct(steps().clean, [100, 200])
    dc.compute(*steps(), scheduler=scheduler)
    lose()
    with count_runs() as runs:
        assert steps().total.compute(scheduler=scheduler) == 300
    assert runs() == {}
    assert dc.plan(steps().total).left == 0


@pytest.mark.parametrize("is_computed", [True, False])
def test_a_variant_does_not_use_what_the_base_made_before(is_computed):
    """The base itself was not computed since the correction."""
    dc.compute(*steps())
    correct(steps().clean, [100, 200])
    if is_computed:
        dc.compute(*steps())
    assert steps("v").total.compute() == 300
    assert dc.compute(*steps("v")) == ([100, 200], [100, 200], 300)


def test_a_variant_does_not_use_what_a_released_correction_gave():
    dc.compute(*steps())
    correct(steps().clean, [100, 200])
    dc.compute(*steps())
    dc.release(steps().clean)
    steps().clean.compute()
    assert steps("v").total.compute() == 50


def test_uncached_steps_between():
    """They hold no data to compare, either."""
    dc.compute(*steps(mask_target=None))
    correct(steps().clean, [100, 200])
    assert steps(mask_target=None).total.compute() == 300
    dc.release(steps().clean)
    steps().clean.compute()
    assert steps(mask_target=None).total.compute() == 50


# ---- adopted while inputs are missing ------------------------------------------------------------


def test_a_correction_of_missing_input_is_asked_about():
    """The mask was corrected without its input, which a person corrects afterwards."""
    dc.compute(*steps())
    (ROOT / "clean/a.json").unlink()
    for record in Path("root/.daskcache/records").rglob("*.json"):
        if json.loads(record.read_text())["target"] == "clean/a.json":
            record.unlink()  # as after `prune`
    correct(steps().mask, [7])
    steps().clean.compute()
    correct(steps().clean, [100, 200])
    assert steps().mask.dc.state == "adopted"
    with pytest.raises(TargetModified, match="clean"):
        steps().total.compute()
    dc.keep(steps().mask)
    assert steps().total.compute() == 7


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_input_that_is_made_again_asks_nothing(scheduler):
    dc.compute(*steps())
    (ROOT / "clean/a.json").unlink()
    correct(steps().mask, [7])
    assert dc.compute(*steps(), scheduler=scheduler) == ([10, 20, 30], [7], 7)
    record = steps().mask.dc.record
    assert record["upstream"][0]["target"] == "clean/a.json"
    assert "kept" not in record


@pytest.mark.parametrize("is_taken_in_first", [True, False])
def test_input_that_is_being_computed_asks_nothing(is_taken_in_first):
    """It may depend on corrections, such as files that were adopted before they were first seen."""
    node = steps()
    for each, value in ((node.clean, [100, 200]), (node.mask, [7])):
        Path(each.dc.path).parent.mkdir(parents=True)
        Path(each.dc.path).write_text(json.dumps(value))
        assert CliRunner().invoke(cache, ["adopt", each.dc.path]).exit_code == 0
    if is_taken_in_first:
        node.clean.compute()
    planner = Planner(running=[node.clean._recipe])
    planner.look(node.mask._recipe)
    planner.write_down()
    assert dc.compute(*steps()) == ([100, 200], [7], 7)


def test_a_variant_uses_a_correction_made_while_its_input_was_missing():
    dc.compute(*steps())
    (ROOT / "clean/a.json").unlink()
    correct(steps().mask, [7])
    dc.compute(*steps())
    assert steps("v").total.compute() == 7
    assert not (ROOT / "v").exists()


# ---- corrections of the same recipe at another place ---------------------------------------------


@pytest.mark.parametrize("first", ["total", "all"])
def test_a_stale_result_is_replaced_by_a_correction_for_its_recipe(first):
    """Whether the verb asks for it or for what follows, and so in the next verb."""
    for variant in (None, "v"):
        dc.compute(*steps(variant, threshold=25))
    dc.compute(*steps("v"))
    correct(steps("v").mask, [7])
    nodes = [steps().total] if first == "total" else steps()
    assert dc.compute(*nodes)[-1] == 7
    assert dc.compute(*steps()) == ([10, 20, 30], [7], 7)


# ---- deleted corrections -------------------------------------------------------------------------


@pytest.fixture
def chain():
    """A corrected result that was deleted, what was made from it, and from that."""
    one = dc.delayed(lambda: 1, target="one.json", version=1)()
    ten = dc.delayed(lambda x: x * 10, target="ten.json", version=1)(one)
    more = dc.delayed(lambda x: x + 1, target="more.json", version=1)(ten)
    dc.compute(more)
    (ROOT / "one.json").write_text("5")
    one.dc.adopt()
    assert dc.compute(one, ten, more) == (5, 50, 51)
    (ROOT / "one.json").unlink()
    return one, ten, more


def left(plan):
    return plan.counts["run"], plan.counts["decide"]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_what_follows_from_a_deleted_correction_is_made_with_it(chain, order):
    """One verb never gives what the function makes beside what was made from the correction."""
    one, ten, more = chain
    wanted = [chain[place] for place in order]
    assert left(dc.plan(*wanted)) == (1, 2)
    got = dc.compute(*wanted)
    assert [got[order.index(place)] for place in range(3)] == [1, 10, 11]
    assert dc.compute(one, ten, more) == (1, 10, 11)


def test_a_deleted_correction_costs_nothing_where_it_is_not_needed(chain):
    """As any other result: what was made from it is complete while nothing else is made in its place."""
    _, _, more = chain
    assert dc.plan(more).left == 0
    assert dc.compute(more) == (51,)


def test_inputs_of_what_runs_are_made_with_it(chain):
    """Also those that nobody asked for."""
    one, ten, _ = chain
    total = dc.delayed(lambda a, b: (a, b), target="total.json", version=1)(one, ten)
    assert left(dc.plan(total)) == (2, 1)
    assert dc.compute(total) == ((1, 10),)


def test_corrections_below_a_deleted_one_stay(chain):
    """What a person made of a result is never replaced, whatever happens above it."""
    one, ten, more = chain
    (ROOT / "ten.json").write_text("70")
    ten.dc.adopt()
    with pytest.raises(TargetModified, match="ten"):
        dc.compute(one, ten, more)
    assert json.loads((ROOT / "ten.json").read_text()) == 70
