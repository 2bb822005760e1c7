"""Planning: each state and action, made by a real situation, and what the verbs do about it."""

from __future__ import annotations

import json
import os
import re
import shutil
import unicodedata
import warnings
from pathlib import Path

import dask
import numpy as np
import pytest

import daskcache as dc
from daskcache.errors import (
    ArgumentChanged,
    DaskcacheWarning,
    ForeignTarget,
    NodeFailed,
    NotANode,
    TargetCollision,
    TargetCorrupt,
    TargetMissing,
    TargetModified,
)


@pytest.fixture
def chain(runs):
    """Three nodes in a row: first(n) -> second(.., factor) -> third."""

    def make(n=1, factor=2, **options):
        @dc.delayed(target="first.json", **options)
        def first(n):
            runs.note("first")
            return n

        @dc.delayed(target="second.json", **options)
        def second(x, factor):
            runs.note("second")
            return x * factor

        @dc.delayed(target="third.json", **options)
        def third(x):
            runs.note("third")
            return x + 1

        one = first(n)
        two = second(one, factor)
        return one, two, third(two)

    return make


def states(*nodes, **kwargs):
    """Per function: state and action in the plan of these nodes."""
    plan = dc.plan(*nodes, **kwargs)
    return {p.recipe.name: (p.state, p.action) for p in plan}


def reasons(node):
    (planned,) = [p for p in dc.plan(node) if p.requested]
    return "; ".join(planned.reasons)


def edit(path, text="[0]"):
    """Edit a file as a person would: other content, another time."""
    Path(path).write_text(text)
    found = os.stat(path)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 10**9))


def damage(path):
    """Flip a bit; size and mtime stay."""
    found = os.stat(path)
    data = bytearray(Path(path).read_bytes())
    data[len(data) // 2] ^= 1
    Path(path).write_bytes(data)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


# ---- states and actions --------------------------------------------------------------------------


def test_missing_nodes_run(chain, root):
    """Before anything ran, all nodes are missing and will run; planning creates nothing."""
    assert states(chain()[2]) == dict.fromkeys(("first", "second", "third"), ("missing", "run"))
    assert "never computed" in reasons(chain()[2])
    assert not root.exists()


def test_finished_nodes_are_loaded_or_skipped(chain, runs):
    """After a run, the requested node is loaded and all before it are skipped."""
    chain()[2].compute()
    assert runs.take() == ["first", "second", "third"]
    assert states(chain()[2]) == {
        "first": ("complete", "skip"),
        "second": ("complete", "skip"),
        "third": ("complete", "load"),
    }
    assert reasons(chain()[2]) == ""
    assert chain()[2].compute() == 3
    assert runs.take() == []


def test_a_changed_argument_reruns_what_follows(chain, runs):
    """Another argument makes its node stale and what follows to be decided; nothing before it runs."""
    chain()[2].compute()
    runs.clear()
    node = chain(factor=5)[2]
    assert states(node) == {
        "first": ("complete", "load"),
        "second": ("stale", "run"),
        "third": ("stale", "decide"),
    }
    assert node.compute() == 6
    assert runs.take() == ["second", "third"]


def test_deleted_intermediates_cost_nothing(chain, runs, root):
    """Deleted upstream targets are not made again while nothing needs them."""
    chain()[2].compute()
    runs.clear()
    (root / "first.json").unlink()
    (root / "second.json").unlink()
    assert states(chain()[2]) == {
        "first": ("missing", "skip"),
        "second": ("missing", "skip"),
        "third": ("complete", "load"),
    }
    assert chain()[2].compute() == 3
    assert runs.take() == []
    assert "deleted" in chain()[0].dc.why()


def test_a_deleted_target_is_made_again_when_it_is_needed(chain, runs, root):
    """A deleted target that is asked for reruns, with what it needs and nothing else."""
    chain()[2].compute()
    runs.clear()
    (root / "second.json").unlink()
    assert chain()[1].compute() == 2
    assert runs.take() == ["second"]
    assert states(chain()[2])["third"] == ("complete", "load")


def test_an_edited_target_is_an_error_by_default(chain, root):
    """A target that was edited by hand is `modified`: an error before anything runs."""
    three = chain()[2]
    three.compute()
    edit(root / "third.json", "[0]\n")
    assert three.dc.state == "modified"
    assert "edited" in three.dc.why()
    plan = dc.plan(three)
    assert (plan.counts["blocked"], plan.nodes[-1].state) == (1, "modified")
    with pytest.raises(TargetModified, match=r"third\.json"):
        plan.compute()
    with pytest.raises(TargetModified, match="on_modified"):
        three.compute()
    assert (root / "third.json").read_text() == "[0]\n"


def test_an_edited_intermediate_makes_what_follows_stale(chain, root):
    """A hand-edited upstream target is never passed over in silence."""
    _, two, three = chain()
    three.compute()
    edit(root / "second.json", "55\n")
    assert two.dc.state == "modified"
    assert three.dc.state in ("stale", "pending")
    with pytest.raises(TargetModified, match=r"second\.json"):
        three.compute()


@pytest.mark.parametrize("how", ["adopt", "recompute"])
def test_an_edit_is_seen_through_a_deleted_intermediate(runs, root, how):
    """What follows an edited target reruns, though a result between them was deleted."""

    @dc.delayed(target="edited.json", on_modified=how)
    def edited():
        runs.note("edited")
        return 1

    @dc.delayed(target="{name}.json")
    def step(x, name):
        runs.note(name)
        return x + 1

    def last():
        return step(step(step(edited(), "near"), "deleted"), "last")

    assert last().compute() == 4
    runs.clear()
    (root / "deleted.json").unlink()
    edit(root / "edited.json", "5")
    assert states(last())["edited"][0] == ("adopted" if how == "adopt" else "modified")
    if how == "adopt":
        assert last().compute() == 8
        assert runs.names() == ["near", "deleted", "last"]
    else:
        assert last().compute() == 4
        assert runs.names() == ["edited"]  # it came out as before, and so would what was deleted
        assert json.loads((root / "edited.json").read_text()) == 1


def test_taking_turns_at_an_intermediate_target_costs_nothing(runs):
    """What follows a node stays complete when another recipe's result takes that node's target."""

    @dc.delayed(target="first.json")
    def first(n):
        runs.note(f"first {n}")
        return n

    @dc.delayed(target="last-{key}.json")
    def last(x):
        runs.note("last")
        return x + 1

    assert [last(first(n)).compute() for n in (1, 2)] == [2, 3]
    runs.clear()
    assert [last(first(n)).compute() for n in (1, 2)] == [2, 3]
    assert runs.names() == []
    with pytest.warns(DaskcacheWarning, match="take turns"):
        assert first(1).compute() == 1
    assert runs.names() == ["first 1"]


def test_taking_turns_at_many_targets_is_said_once():
    """With the count, when they run; a plan only shows that they will."""

    @dc.delayed(target="{n}.json", version=1)
    def scaled(n, factor):
        return n * factor

    def compute(factor):
        return dc.compute([scaled(n, factor) for n in range(4)])

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compute(1), compute(2)
        assert dc.plan([scaled(n, 1) for n in range(4)]).counts["run"] == 4
        assert dc.status(scaled(1, 1)) == "stale"
    with pytest.warns(
        DaskcacheWarning, match=r"take turns at 4 targets, e\.g\. .*0\.json, and"
    ) as caught:
        assert compute(1) == ([0, 1, 2, 3],)
    assert len(caught) == 1


def test_on_modified_recompute_keeps_the_edited_file(chain, root, runs):
    """With on_modified="recompute", the node reruns and the edited file is in the trash."""
    chain(on_modified="recompute")[2].compute()
    runs.clear()
    edit(root / "third.json", '["precious"]')
    node = chain(on_modified="recompute")[2]
    assert states(node)["third"] == ("modified", "run")
    with pytest.warns(DaskcacheWarning, match="kept as"):
        assert node.compute() == 3
    assert runs.take() == ["third"]
    (kept,) = (root / ".daskcache" / "trash").glob("*/third.json")
    assert kept.read_text() == '["precious"]'
    assert states(node)["third"] == ("complete", "load")


def test_an_edit_that_keeps_the_size_is_seen(chain, root):
    """An edit that leaves the size unchanged is `modified`, by its mtime."""
    node = chain()[2]
    node.compute()
    edit(root / "third.json", "9\n")
    assert (root / "third.json").stat().st_size == 2
    assert node.dc.state == "modified"


def test_a_touched_target_is_complete(chain, root, runs):
    """A file with another mtime and the same bytes is complete."""
    chain()[2].compute()
    runs.clear()
    os.utime(root / "third.json")
    assert chain()[2].dc.state == "complete"
    assert chain()[2].compute() == 3
    assert runs.take() == []


def test_a_touched_target_of_many_recipes(root):
    """It completes each node that has made it, or whose equal code has made it of equal data."""

    def one():
        return 1

    def step(x):
        return x + 1

    def first(i):
        return dc.delayed(one, target=f"first-{i}.json", version=i)()

    def last(i, version):
        return dc.delayed(step, target="last.json", version=version)(first(i))

    versions = range(4)
    for version in versions:
        (root / "last.json").unlink(missing_ok=True)
        last(1, version).compute()
    os.utime(root / "last.json", (0, 0))
    assert {last(1, version).dc.state for version in versions} == {"complete"}
    first(2).compute()
    assert {last(2, version).dc.state for version in versions} == {"complete"}
    assert last(2, 4).dc.state == "stale"


def test_damage_is_found_when_loading(chain, root):
    """Flipped bits behind an unchanged size and mtime raise TargetCorrupt: never a wrong value."""
    node = chain()[2]
    node.compute()
    damage(root / "third.json")
    with pytest.raises(TargetCorrupt, match=r"third\.json") as caught:
        node.dc.load()
    assert caught.value.expected.startswith("xxh3_128:")
    assert caught.value.got != caught.value.expected


def test_check_content_finds_damage_while_planning(chain, root, runs):
    """With check="content", damage is state `corrupt`, and the node reruns."""
    node = chain(check="content")[2]
    node.compute()
    runs.clear()
    assert states(node)["third"] == ("complete", "load")
    damage(root / "third.json")
    assert states(node)["third"] == ("corrupt", "run")
    assert "damaged" in reasons(node)
    assert node.compute() == 3
    assert runs.take() == ["third"]
    assert (root / "third.json").read_text() == "3\n"


@pytest.mark.parametrize("cut", [0, 1])
def test_a_target_cut_short_is_never_a_value(chain, root, cut):
    """An emptied or shortened target is never a value: an error, or made again if it can't be read."""
    node = chain()[2]
    node.compute()
    path = root / "third.json"
    path.write_bytes(path.read_bytes()[:cut])
    assert node.dc.state == ("corrupt" if cut == 0 else "modified")
    with pytest.raises((TargetMissing, TargetModified)):
        node.dc.load()
    with pytest.raises(TargetModified) if cut else pytest.warns(DaskcacheWarning, match="kept as"):
        assert node.compute() == 3


def test_a_foreign_file_is_an_error(chain, root, runs):
    """A file that daskcache did not write is never overwritten: an error before anything runs."""
    root.mkdir()
    (root / "third.json").write_text("mine")
    node = chain()[2]
    assert node.dc.state == "foreign"
    assert [planned.action for planned in dc.plan(node)] == ["skip", "skip", "blocked"]
    with pytest.raises(ForeignTarget, match=r"third\.json"):
        node.compute()
    with pytest.raises(ForeignTarget):
        dask.compute(node)
    assert runs.take() == []
    assert (root / "third.json").read_text() == "mine"


def test_a_folder_at_the_target_is_foreign(chain, root):
    """A user's folder where a target belongs stays, even if it is empty."""
    (root / "third.json").mkdir(parents=True)
    node = chain()[2]
    assert node.dc.state == "foreign"
    with pytest.raises(ForeignTarget):
        node.compute()
    assert (root / "third.json").is_dir()


def test_a_foreign_upstream_file_stops_the_plan(chain, root, runs):
    """A foreign file in the way of a node that has to run stops everything before it starts."""
    root.mkdir()
    (root / "first.json").write_text("mine")
    with pytest.raises(ForeignTarget, match=r"first\.json"):
        chain()[2].compute()
    assert runs.take() == []


def test_check_exists_takes_any_file(chain, root, runs):
    """With check="exists", a file that is there counts, whoever made it."""
    root.mkdir()
    (root / "third.json").write_text("77")
    node = chain(check="exists")[2]
    assert states(node)["third"] == ("complete", "load")
    assert node.compute() == 77
    assert runs.take() == []


def test_check_exists_still_runs_what_is_missing(chain, runs):
    """With check="exists", a file that is not there is made."""
    assert chain(check="exists")[2].compute() == 3
    assert runs.take() == ["first", "second", "third"]
    assert chain(n=9, check="exists")[2].compute() == 3
    assert runs.take() == []


def test_failures_are_recorded_and_rerun(root, runs):
    """A failure under errors="collect" is state `failed`; the node reruns next time."""
    broken = root.parent / "broken"
    broken.touch()

    @dc.delayed(target="{n}.json")
    def risky(n):
        runs.note(f"risky {n}")
        if n == 2 and broken.exists():
            raise ValueError("two is bad")
        return n

    @dc.delayed(target="after-{x.stem}.json")
    def after(x):
        runs.note("after")
        return x * 10

    nodes = [after(risky(n)) for n in (1, 2, 3)]
    one, two, three = dc.compute(*nodes, errors="collect")
    assert (one, three) == (10, 30)
    assert isinstance(two, NodeFailed)
    assert isinstance(two.__cause__, ValueError)
    assert "two is bad" in str(two)
    assert "risky" in str(two)
    runs.clear()
    assert states(nodes[1])["risky"] == ("failed", "run")
    assert "failed" in risky(2).dc.why()
    broken.unlink()
    assert nodes[1].compute() == 20
    assert runs.take() == ["after", "risky 2"]
    assert risky(2).dc.state == "complete"
    assert states(nodes[1])["risky"] == ("complete", "skip")


def test_without_collect_the_first_failure_is_raised(root):
    """errors="raise" raises what the function raised; the failure is remembered, too."""

    @dc.delayed(target="f.json")
    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail().compute()
    assert fail().dc.state == "failed"
    with pytest.raises(ValueError, match="errors"):
        dc.plan(fail(), errors="ignore")


def test_collect_works_in_a_shown_plan():
    """`dc.plan(..., errors="collect").compute()` goes on past failures too."""

    @dc.delayed
    def invert(n):
        return 1 / n

    good, bad = dc.plan(invert(2), invert(0), errors="collect").compute()
    assert good == 0.5
    assert isinstance(bad.__cause__, ZeroDivisionError)


# ---- reasons -------------------------------------------------------------------------------------


def test_reasons_name_the_argument(define, runs):
    """A changed argument shows as `name: old -> new`; added and removed ones by name."""
    one = define("import daskcache\n@daskcache.delayed(target='d.json')\ndef f(x, sigma): return 1")
    one.f(1, sigma=1).compute()
    assert reasons(one.f(1, sigma=2)) == "sigma: 1 -> 2"
    assert reasons(one.f(2, sigma=2)) == "x: 1 -> 2; sigma: 1 -> 2"
    two = define("import daskcache\n@daskcache.delayed(target='d.json')\ndef f(x, size): return 1")
    assert "sigma: removed" in reasons(two.f(1, size=1))
    assert "size: added" in reasons(two.f(1, size=1))


def test_reasons_name_the_changed_code(define):
    """Edited code shows as a change of the function's code."""
    source = "import daskcache\n@daskcache.delayed(target='c.json')\ndef f(x): return x + {}"
    define(source.format(1)).f(1).compute()
    node = define(source.format(2)).f(1)
    assert node.dc.state == "stale"
    assert "code of f() changed" in reasons(node)
    assert node.compute() == 3


def test_reasons_name_the_changed_source(tmp_path, monkeypatch):
    """A source with other content shows by its path; another source by both."""

    @dc.delayed(target="sum.json")
    def total(array):
        return int(array.sum())

    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.arange(3))
    np.save("b.npy", np.arange(4))
    source = dc.NumpySource("a.npy")
    assert total(source).compute() == 3
    np.save("a.npy", np.arange(5))
    assert reasons(total(source)) == "a.npy: content changed"
    assert re.fullmatch("source: .*a.npy -> .*b.npy", reasons(total(dc.NumpySource("b.npy"))))
    assert total(source).compute() == 10


def test_reasons_name_the_changed_upstream_node(chain):
    """What follows a changed node says which node it was."""
    chain()[2].compute()
    assert "second(second.json)" in reasons(chain(factor=3)[2])


def test_a_recomputed_upstream_with_other_data_makes_what_follows_stale(root, runs):
    """If an upstream node reran by itself and holds other data now, what follows is stale."""
    value = root.parent / "value"
    value.write_text("1")

    @dc.delayed(target="read.json", version=1)
    def read():
        return int(value.read_text())

    @dc.delayed(target="next.json")
    def follow(x):
        runs.note("follow")
        return x + 1

    assert follow(read()).compute() == 2
    value.write_text("5")
    assert dc.compute(read(), force=True) == (5,)
    node = follow(read())
    assert node.dc.state == "stale"
    assert "other data" in reasons(node)
    assert node.compute() == 6
    assert runs.take() == ["follow", "follow"]


# ---- force ---------------------------------------------------------------------------------------


def test_force_reruns_everything(chain, runs):
    """force=True reruns the whole graph."""
    node = chain()[2]
    node.compute()
    runs.clear()
    assert states(node, force=True) == {
        "first": ("complete", "run"),
        "second": ("pending", "run"),
        "third": ("pending", "run"),
    }
    assert dc.compute(node, force=True) == (3,)
    assert runs.take() == ["first", "second", "third"]


def test_force_of_one_node_reruns_it_and_decides_what_follows(chain, runs):
    """force=[node] reruns that node; what follows runs only if its data changed."""
    _, two, three = chain()
    three.compute()
    runs.clear()
    assert states(three, force=[two]) == {
        "first": ("complete", "load"),
        "second": ("complete", "run"),
        "third": ("pending", "decide"),
    }
    assert (
        "forced" in {p.recipe.name: " ".join(p.reasons) for p in dc.plan(three, force=[two])}["second"]
    )
    assert dc.compute(three, force=[two]) == (3,)
    assert runs.take() == ["second"]
    assert dc.compute(three, force=two) == (3,)
    assert runs.take() == ["second"]


def test_force_of_what_is_no_node_is_refused(chain):
    """force= takes nodes."""
    with pytest.raises(NotANode):
        dc.plan(chain()[2], force=["second"])


# ---- early cutoff --------------------------------------------------------------------------------


def test_early_cutoff(root, runs):
    """If upstream reran and holds the same data, what follows is not rerun."""

    def make(shift):
        @dc.delayed(target="parity.json")
        def parity(n):
            runs.note("parity")
            return (n + shift) % 2

        @dc.delayed(target="slow.json")
        def slow(x):
            runs.note("slow")
            return x

        return slow(parity(1))

    assert make(0).compute() == 1
    runs.clear()
    assert states(make(2)) == {"parity": ("stale", "run"), "slow": ("stale", "decide")}
    assert make(2).compute() == 1
    assert runs.take() == ["parity"]
    assert states(make(2)) == {"parity": ("complete", "skip"), "slow": ("complete", "load")}
    assert make(3).compute() == 0
    assert runs.take() == ["parity", "slow"]


def test_early_cutoff_with_keys_in_the_paths(runs):
    """Early cutoff works with default targets, whose paths change with the key."""

    def make(shift):
        @dc.delayed
        def parity(n):
            runs.note("parity")
            return (n + shift) % 2

        @dc.delayed(target="slow.json")
        def slow(x):
            runs.note("slow")
            return x

        return slow(parity(1))

    make(0).compute()
    runs.clear()
    assert make(2).compute() == 1
    assert runs.take() == ["parity"]


# ---- moving things -------------------------------------------------------------------------------


@pytest.mark.parametrize("copy_file", [shutil.copyfile, shutil.copy2])
def test_a_copied_root_stays_complete(chain, runs, root, tmp_path, copy_file):
    """A root copied elsewhere, with or without its times, is complete there: nothing reruns."""
    chain()[2].compute()
    runs.clear()
    shutil.copytree(root, tmp_path / "copy", copy_function=copy_file)
    shutil.rmtree(root)
    with dask.config.set({"daskcache.root": str(tmp_path / "copy")}):
        assert states(chain()[2]) == {
            "first": ("complete", "skip"),
            "second": ("complete", "skip"),
            "third": ("complete", "load"),
        }
        assert chain()[2].compute() == 3
        (tmp_path / "copy" / "third.json").unlink()
        assert chain()[2].compute() == 3
    assert runs.take() == ["third"]


def test_a_moved_root_stays_complete(chain, runs, root, tmp_path):
    """A root that was moved is complete at its new place."""
    chain()[2].compute()
    runs.clear()
    root.rename(tmp_path / "moved")
    with dask.config.set({"daskcache.root": str(tmp_path / "moved")}):
        assert chain()[2].compute() == 3
    assert runs.take() == []


def test_one_recipe_in_two_roots_is_two_results(runs, root, tmp_path):
    """The same node made under two roots is stored in both, in one verb too."""

    @dc.delayed(target="one.json")
    def one():
        return 1

    here = one()
    with dask.config.set({"daskcache.root": str(tmp_path / "other")}):
        there = one()
    assert dask.compute(here, there) == (1, 1)
    assert (root / "one.json").exists()
    assert (tmp_path / "other" / "one.json").exists()


def test_the_same_recipe_at_another_target_is_copied(runs, root):
    """A changed target path makes a copy of the result; the function doesn't run again."""

    def make(path):
        @dc.delayed(target=path)
        def square(n):
            runs.note("square")
            return n * n

        return square(4)

    make("old/{n}.json").compute()
    runs.clear()
    node = make("new/{n}.json")
    assert "copied from old/4.json" in reasons(node)
    assert node.compute() == 16
    assert runs.take() == []
    assert (root / "old" / "4.json").read_text() == (root / "new" / "4.json").read_text()
    assert node.dc.state == "complete"
    assert make("old/{n}.json").dc.state == "complete"


def test_what_follows_a_copied_node_is_not_rerun(runs):
    """Renaming an upstream target leaves what follows complete."""

    def make(path):
        @dc.delayed(target=path)
        def square(n):
            runs.note("square")
            return n * n

        @dc.delayed(target="after.json")
        def after(x):
            runs.note("after")
            return x + 1

        return after(square(4))

    make("old.json").compute()
    runs.clear()
    assert make("new.json").compute() == 17
    assert runs.take() == []


# ---- collisions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a", "a"),
        ("image", "Image"),
        ("straße", "STRASSE"),
        (unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")),
    ],
)
def test_two_nodes_on_one_target_collide(runs, first, second):
    """Two nodes whose paths are one, on some file system at least, raise before anything runs."""

    @dc.delayed(target="{name}.json")
    def save(name, value):
        runs.note("save")
        return value

    nodes = save(first, 1), save(second, 2)
    plan = dc.plan(*nodes)
    assert plan.counts["blocked"] == 1
    for verb in (plan.compute, dc.plan(*nodes).compute, lambda: dask.compute(*nodes)):
        with pytest.raises(TargetCollision) as caught:
            verb()
        assert all(node.dc.key in str(caught.value) for node in nodes)
    assert runs.take() == []


def test_a_target_inside_another_target_collides(runs):
    """A target whose folder is another node's target raises before anything runs."""
    outer = dc.delayed(lambda: runs.note("outer"), target="folder.pkl")()
    inner = dc.delayed(lambda: runs.note("inner"), target="folder.pkl/inner.json")()
    with pytest.raises(TargetCollision):
        dask.compute(outer, inner)
    assert runs.take() == []


def test_a_collision_deep_in_the_graph_is_found(chain, runs):
    """Two unequal nodes of one path collide wherever they are in the graph."""
    with pytest.raises(TargetCollision, match=r"first\.json"):
        dask.compute(chain(n=1)[2], chain(n=2)[0])
    assert runs.take() == []


def test_a_collision_of_nodes_that_are_not_needed_is_an_error(chain, runs):
    """With check="exists", nothing before a file that is there is needed; it collides all the same."""
    third, other = chain(check="exists")[2], chain(n=2, check="exists")[0]
    third.compute()
    runs.take()
    plan = dc.plan(other, third)
    assert plan.counts["blocked"] == 1
    for verb in (plan.compute, lambda: dask.compute(other, third)):
        with pytest.raises(TargetCollision, match=r"first\.json"):
            verb()
    assert runs.take() == []


def test_equal_nodes_do_not_collide(runs):
    """Two equal calls are one node: it runs once."""

    @dc.delayed(target="{n}.json")
    def square(n):
        runs.note("square")
        return n * n

    assert dask.compute(square(3), square(3)) == (9, 9)
    assert runs.take() == ["square"]


# ---- plans ---------------------------------------------------------------------------------------


def test_a_plan_computes_exactly_what_it_showed(chain, runs):
    """`plan.compute()` runs what the plan said, with its force, and returns the values."""
    one, two, three = chain()
    three.compute()
    runs.clear()
    plan = dc.plan(three, two, force=[one])
    assert plan.counts == {"run": 1, "decide": 2, "blocked": 0, "load": 0, "skip": 0}
    assert len(plan) == len(list(plan)) == 3
    assert plan.compute() == (3, 2)
    assert runs.take() == ["first"]


def test_a_plan_is_frozen(chain, runs, root):
    """What happens on disk after planning doesn't change what a plan says."""
    plan = dc.plan(chain()[2])
    before = [(p.state, p.action, list(p.reasons)) for p in plan]
    chain()[2].compute()
    assert [(p.state, p.action, list(p.reasons)) for p in plan] == before
    runs.clear()
    assert plan.compute() == (3,)
    assert runs.take() == []  # each node looks again before it runs


def test_a_planned_load_whose_file_vanished_is_a_typed_error(chain, root):
    """A target that vanished after planning raises TargetMissing, which says to compute again."""
    chain()[2].compute()
    plan = dc.plan(chain()[2])
    (root / "third.json").unlink()
    with pytest.raises(TargetMissing, match="compute again"):
        plan.compute()


def test_a_plan_takes_nested_nodes(chain):
    """`dc.plan` takes lists, tuples and dicts of nodes; each counts once."""
    one, two, three = chain()
    assert len(dc.plan([one, (two,)], {"x": three}, {one})) == 3
    with pytest.raises(NotANode):
        dc.plan()
    with pytest.raises(NotANode):
        dc.plan([])
    with pytest.raises(NotANode):
        dc.plan(one, 5)


def test_dc_plan_refuses_what_holds_no_node():
    """`dc.plan` of a plain Dask value raises NotANode: there is nothing to say about it."""
    with pytest.raises(NotANode):
        dc.plan(dask.delayed(1))


def test_planning_reads_only(chain, root):
    """Neither planning nor asking for states changes anything on disk."""
    chain()[2].compute()
    (root / "first.json").unlink()
    before = {p: p.stat().st_mtime_ns for p in sorted(root.rglob("*"))}
    dc.plan(chain(factor=7)[2])
    chain(factor=7)[2].dc.why()
    chain()[2].dc.state
    assert {p: p.stat().st_mtime_ns for p in sorted(root.rglob("*"))} == before


def test_estimates_come_from_records(chain, runs):
    """A plan estimates seconds and bytes from recorded runs; unknown functions have none."""
    fresh = dc.plan(chain()[2])
    assert [fresh.estimate(p) for p in fresh] == [None, None, None]
    assert fresh.seconds == 0
    chain()[2].compute()
    plan = dc.plan(chain()[2], force=True)
    assert all(plan.estimate(p) >= 0 for p in plan)
    assert [p.nbytes for p in plan] == [2, 2, 2]
    assert plan.seconds == pytest.approx(sum(p.seconds for p in plan))


# ---- verbs ---------------------------------------------------------------------------------------


def test_every_verb_skips_finished_work(chain, runs):
    """node.compute, dask.compute, dc.compute, persist and composed graphs all skip what is done."""
    chain()[2].compute()
    runs.clear()
    assert chain()[2].compute() == 3
    assert dask.compute(chain()[2], [chain()[1]]) == (3, [2])
    assert dc.compute(chain()[2]) == (3,)
    assert dask.persist(chain()[2])[0].compute() == 3
    assert (chain()[2] + 1).compute() == 4
    assert dask.delayed(sum)([chain()[0], chain()[1]]).compute() == 3
    assert runs.take() == []


def test_a_finished_node_makes_no_task(chain):
    """`node.compute()` and `dc.compute` of a complete node use no scheduler at all."""
    chain()[2].compute()

    def never(dsk, keys, **kwargs):
        raise AssertionError("a task was scheduled")

    assert chain()[2].compute(scheduler=never) == 3
    assert dc.compute(chain()[2], chain()[1], scheduler=never) == (3, 2)
    with pytest.raises(AssertionError, match="scheduled"):
        chain(factor=9)[2].compute(scheduler=never)


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_schedulers_agree(chain, runs, scheduler):
    """The same graph gives the same values, running each node once."""
    nodes = chain()
    assert dask.compute(*nodes, scheduler=scheduler) == (1, 2, 3)
    assert runs.take() == ["first", "second", "third"]


def test_a_graph_that_was_only_looked_at_does_not_freeze_the_next_verb(chain, root, runs):
    """Reading `node.dask` to look at it leaves the next verb free to see what changed since."""
    node = chain()[2]
    node.compute()
    runs.clear()
    graph = node.dask
    (root / "third.json").unlink()
    assert dask.compute(node) == (3,)
    assert runs.take() == ["third"]
    assert len(graph) > 0


def test_a_composed_graph_looks_anew_each_time(chain, root, runs):
    """Computing a composed value again sees a target that was deleted in between."""
    composed = chain()[2] + 1
    assert composed.compute() == 4
    assert composed.compute() == 4
    runs.clear()
    (root / "third.json").unlink()
    assert composed.compute() == 4
    assert runs.take() == ["third"]


def test_after_an_error_the_next_verb_looks_anew(chain, root):
    """Mending what an error complained about and computing again works at once."""
    node = chain()[2]
    node.compute()
    edit(root / "third.json", "[0]\n")
    try:
        dask.compute(node)
    except TargetModified:
        (root / "third.json").unlink()
        assert dask.compute(node) == (3,)
    else:
        pytest.fail("the edit was not noticed")


def test_a_source_that_changed_after_the_call(tmp_path):
    """A source edited between the call and the verb raises: the key would be wrong."""

    @dc.delayed
    def total(array):
        return int(array.sum())

    path = tmp_path / "a.npy"
    np.save(path, np.arange(3))
    node = total(dc.NumpySource(path))
    np.save(path, np.arange(4))
    with pytest.raises(ArgumentChanged, match=r"a\.npy"):
        node.compute()


def test_building_and_planning_a_long_chain():
    """A chain of thousands of nodes plans and computes without recursion limits."""

    @dc.delayed(save=False)
    def step(x):
        return x + 1

    node = step(0)
    for _ in range(3000):
        node = step(node)
    assert len(dc.plan(node)) == 3001
    assert node.compute() == 3001


def test_a_deleted_parent_beside_an_uncached_one_costs_nothing(runs, root):
    """A complete node stays so when a file that was taken in is deleted beside a parent without one."""

    @dc.delayed(save=False)
    def held():
        return 1

    @dc.delayed(target="stored.json", check="exists")
    def stored():
        return 2

    @dc.delayed(target="after.json")
    def after(one, two):
        runs.note("after")
        return one + two

    node = after(held(), stored())
    root.mkdir()
    (root / "stored.json").write_text("2")
    assert node.compute() == 3
    (root / "stored.json").unlink()
    assert str(node.dc.why()) == ""
    assert node.compute() == 3
    assert runs.names() == ["after"]


def test_tables_do_not_crowd_a_folder(root):
    """They lie in a file: the warning comes with the first file past the limit, and for files only."""
    save = dc.delayed(lambda name: name, target="{name}", store=dc.PickleTarget, version=1)
    table = dc.delayed(lambda n: n, target="results.db::t{n}", version=1)
    with dask.config.set({"daskcache.folder-warning": 3}):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            dc.plan([table(n) for n in range(10)], [save(f"{n}.pkl") for n in range(3)])
        with pytest.warns(DaskcacheWarning, match="more than 3 targets"):
            dc.plan([save(f"{n}.pkl") for n in range(3)], table(1), save("last.pkl"))


def test_a_crowded_folder_is_warned_of(root):
    """A template that puts very many targets into one folder is named when it is planned, once."""
    plain = dc.delayed(lambda i: i, target="all/{i}.json", label="number {i}")
    divided = dc.delayed(lambda i, ten: i, target="by ten/{ten}/{i}.json")
    with dask.config.set({"daskcache.folder-warning": 20}):
        with pytest.warns(DaskcacheWarning, match="more than 20 targets") as caught:
            dc.plan([plain(i) for i in range(30)])
        (warning,) = caught
        assert f"{root}/all, the last one that of number 20:" in str(warning.message)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            dc.plan([plain(i) for i in range(20)])
            dc.plan([divided(i, i // 10) for i in range(30)])
    with dask.config.set({"daskcache.folder-warning": None}), warnings.catch_warnings():
        warnings.simplefilter("error")
        dc.plan([plain(i) for i in range(30)])


def failures(*nodes):
    """The errors that stand for nodes under errors="collect"."""
    return [value.message for value in dc.compute(*nodes, errors="collect")]


def test_what_stands_for_a_blocked_node_names_the_error_that_would_be_raised(chain, root):
    """Also for a node downstream, and for one that takes the blocked one inside a plain Dask value."""

    @dc.delayed(target="total.json")
    def total(values):
        return sum(values)

    one, two, three = chain()
    above = total(dask.delayed(list)([one]))
    root.mkdir()
    Path(root / "first.json").write_text("[1]")
    said = failures(one, two, three, above)
    assert [text.partition(":")[0] for text in said] == ["ForeignTarget"] * 4
    (root / "first.json").unlink()
    three.compute()
    edit(root / "first.json")
    (root / "second.json").unlink()
    (root / "third.json").unlink()
    assert [text.partition(":")[0] for text in failures(one, three)] == ["TargetModified"] * 2


def test_of_two_kinds_of_files_in_the_way_each_node_names_its_own(root):
    """One node's target was edited, another's is foreign."""

    @dc.delayed(target="{name}.json")
    def make(name):
        return name

    make("a").compute()
    edit(root / "a.json")
    edit(root / "b.json")
    said = failures(make("a"), make("b"))
    assert [text.partition(":")[0] for text in said] == ["TargetModified", "ForeignTarget"]


def test_a_complete_node_before_a_blocked_one_is_not_loaded(root):
    """Its only consumer can't run, so nobody needs its value; another consumer may."""

    @dc.delayed(target="{name}.json")
    def make(name):
        return name

    @dc.delayed(target="sums/{name}.json")
    def add(name, x, y=""):
        return x + y

    make("a").compute()
    edit(root / "b.json")
    both, one = add("both", make("a"), make("b")), add("one", make("a"))

    def actions(*nodes):
        return {p.recipe.paths[0]: p.action for p in dc.plan(*nodes, errors="collect")}

    blocked = {"b.json": "blocked", "sums/both.json": "blocked"}
    assert actions(both) == {"a.json": "skip", **blocked}
    assert (
        actions(one, both) == actions(both, one) == {"a.json": "load", "sums/one.json": "run", **blocked}
    )
    assert actions(make("a"), both) == {"a.json": "load", **blocked}
