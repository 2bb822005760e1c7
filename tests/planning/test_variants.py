"""Variants: their nodes use what the base holds under their keys, and make the rest in their folders."""

from __future__ import annotations

import itertools
import os
import random
from pathlib import Path
from types import SimpleNamespace

import cloudpickle
import dask
import dask.array as da
import pytest

import daskcache as dc
from daskcache.errors import (
    DaskcacheWarning,
    ForeignTarget,
    GraphError,
    TargetModified,
    UnsafePath,
)


@pytest.fixture
def steps(runs):
    """Three steps, which note their runs: raw(n), scaled(n, factor) and total(n, factor, offset)."""

    def raw(n):
        runs.note("raw")
        return n

    def scale(raw, factor):
        runs.note("scale")
        return raw * factor

    def shift(scaled, offset):
        runs.note("shift")
        return scaled + offset

    return SimpleNamespace(
        raw=dc.delayed(raw, target="raw/{n}.json"),
        scale=dc.delayed(scale, target="scaled/{raw.stem}.json"),
        shift=dc.delayed(shift, target="shifted/{scaled.stem}.json"),
    )


@pytest.fixture
def pipeline(steps):
    """A function that makes the last node, and takes the name of a variant."""

    def make(variant=None, n=2, factor=10, offset=1):
        with dc.variant(variant):
            return steps.shift(steps.scale(steps.raw(n), factor), offset)

    return make


def count(runs, step):
    """How often a step has run."""
    return runs.names().count(step)


def contents(root):
    """The content of each target in the root."""
    found = [path for path in root.rglob("*") if path.is_file() and ".daskcache" not in path.parts]
    return {path.relative_to(root).as_posix(): path.read_text().strip() for path in found}


# ---- places ----------------------------------------------------------------------------------------


def test_a_variant_has_a_folder_and_no_part_in_keys(steps, root):
    base = steps.raw(1)
    with dc.variant("sigma3"):
        node = steps.raw(1)
    assert node.dc.key == base.dc.key
    assert node.dc.path == str(root / "sigma3/raw/1.json")
    assert base.dc.path == str(root / "raw/1.json")


def test_an_inner_block_replaces_the_outer_one(steps, root):
    with dc.variant("a"):
        with dc.variant("b"):
            inner = steps.raw(1)
        with dc.variant(None):
            base = steps.raw(1)
        outer = steps.raw(1)
    places = [Path(node.dc.path).relative_to(root).as_posix() for node in (inner, base, outer)]
    assert places == ["b/raw/1.json", "raw/1.json", "a/raw/1.json"]


def test_the_configuration_has_a_variant_and_a_block_wins(steps, root):
    with dask.config.set({"daskcache.variant": 3}):
        configured = steps.raw(1)
        with dc.variant("b"):
            inner = steps.raw(1)
        with dc.variant(None):
            base = steps.raw(1)
    places = [Path(node.dc.path).relative_to(root).as_posix() for node in (configured, inner, base)]
    assert places == ["3/raw/1.json", "b/raw/1.json", "raw/1.json"]


@pytest.mark.parametrize(
    "name", ["", "a/b", "..", ".daskcache", "a::b", "{data_hash}", "C:", "a\n", 1.5, True, ("a",)]
)
def test_a_name_that_is_no_folder_is_refused(name, steps):
    with pytest.raises(UnsafePath, match="variant"), dc.variant(name):
        pass
    with (
        dask.config.set({"daskcache.variant": name}),
        pytest.raises(UnsafePath, match=r"the variant .* can't be used"),
    ):
        steps.raw(1)


def test_a_target_in_a_database_is_refused():
    @dc.delayed(target="results.db::rows")
    def rows(n):
        return n

    with dc.variant("a"), pytest.raises(GraphError, match="in a database") as caught:
        rows(1)
    assert caught.value.got == "results.db::rows"
    assert "rows" in caught.value.node
    with dc.variant(None):
        rows(1)


def test_what_follows_has_the_places_of_one_template(runs, root):
    """The folder of a variant is no part of what templates take from a node's path."""

    @dc.delayed(target="{n}.json")
    def first(n):
        return n

    @dc.delayed(target="second/{first.parent}x{first.stem}.json")
    def second(first):
        runs.note("second")
        return first

    second(first(1)).compute()
    with dc.variant("a"):
        node = second(first(1))
    assert node.compute() == 1
    assert count(runs, "second") == 1
    assert node.dc.path == str(root / "second/x1.json")


def test_nodes_keep_both_places_when_they_travel(pipeline, root):
    pipeline().compute()
    node = cloudpickle.loads(cloudpickle.dumps(pipeline("a")))
    assert node.dc.path == str(root / "shifted/2.json")
    node = cloudpickle.loads(cloudpickle.dumps(pipeline("a", factor=3)))
    assert node.compute() == 7
    assert node.dc.path == str(root / "a/shifted/2.json")


# ---- what the base holds ---------------------------------------------------------------------------


def test_what_the_base_holds_is_neither_run_nor_copied(pipeline, runs, files):
    pipeline().compute()
    before = files()
    node = pipeline("a")
    plan = dc.plan(node)
    assert plan.counts == {"run": 0, "decide": 0, "blocked": 0, "load": 1, "skip": 2}
    assert [planned.recipe.paths[0] for planned in plan] == [
        "raw/2.json",
        "scaled/2.json",
        "shifted/2.json",
    ]
    assert node.compute() == 21
    assert files() == before
    assert count(runs, "raw") == count(runs, "scale") == count(runs, "shift") == 1


def test_a_variant_makes_only_what_differs(pipeline, runs, root):
    pipeline().compute()
    assert pipeline("a", offset=5).compute() == 25
    assert count(runs, "raw") == count(runs, "scale") == 1
    assert contents(root) == {
        "raw/2.json": "2",
        "scaled/2.json": "20",
        "shifted/2.json": "21",
        "a/shifted/2.json": "25",
    }
    assert dc.plan(pipeline("a", offset=5)).left == dc.plan(pipeline()).left == 0


def test_records_of_what_follows_name_the_place_that_is_used(pipeline):
    pipeline().compute()
    node = pipeline("a", offset=5)
    node.compute()
    assert node.dc.record["upstream"][0]["target"] == "scaled/2.json"
    assert node.dc.record["target"] == "a/shifted/2.json"


def test_deleted_intermediates_of_the_base_are_not_made_again(pipeline, runs, root):
    pipeline().compute()
    (root / "raw/2.json").unlink()
    (root / "scaled/2.json").unlink()
    assert pipeline("a").compute() == 21
    assert count(runs, "raw") == 1


def test_a_damaged_result_of_the_base_is_made_in_the_variant(steps, runs, root):
    steps.raw(2).compute()
    stat = (root / "raw/2.json").stat()
    (root / "raw/2.json").write_text("x")
    os.utime(root / "raw/2.json", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    with dc.variant("a"):
        node = steps.raw(2)
    assert node.compute() == 2
    assert contents(root) == {"raw/2.json": "x", "a/raw/2.json": "2"}


def test_a_base_that_was_copied_is_used(pipeline, runs, root):
    """Other mtimes cost hashing, and nothing at the base's place is recorded for a variant."""
    pipeline().compute()
    os.utime(root / "shifted/2.json", ns=(1, 1))
    records = sorted((root / ".daskcache/records").rglob("*.json"))
    assert pipeline("a").compute() == 21
    assert pipeline("a").dc.record["target"] == "shifted/2.json"
    assert sorted((root / ".daskcache/records").rglob("*.json")) == records
    assert count(runs, "shift") == 1


def test_several_results_are_used_together(runs, root):
    @dc.delayed(target=("low/{n}.json", "high/{n}.json"))
    def split(n):
        runs.note("split")
        return n - 1, n + 1

    dask.compute(*split(5))
    with dc.variant("a"):
        node = split(5)
    assert node.dc.load() == (4, 6)
    (root / "high/5.json").unlink()
    assert node.compute() == (4, 6)
    assert count(runs, "split") == 2
    assert contents(root) == {"low/5.json": "4", "a/low/5.json": "4", "a/high/5.json": "6"}


def test_paths_with_the_hash_of_the_data(runs, root):
    @dc.delayed(target="x-{data_hash}.json")
    def number(n):
        runs.note("number")
        return n

    base = number(1)
    base.compute()
    with dc.variant("a"):
        same, other = number(1), number(2)
    assert same.dc.path == base.dc.path
    assert dc.compute(same, other) == (1, 2)
    assert Path(other.dc.path).parent == root / "a"
    assert count(runs, "number") == 2


def test_default_targets_have_variants(runs, root):
    @dc.delayed
    def number(n):
        runs.note("number")
        return n

    number(1).compute()
    with dc.variant("a"):
        assert dc.compute(number(1), number(2)) == (1, 2)
    assert count(runs, "number") == 2
    assert len(list(root.glob("a/number/*.pkl"))) == 1


def test_impure_calls_have_no_place():
    @dc.delayed(pure=False)
    def number():
        return 1

    with dc.variant("a"):
        node = number()
    assert node.dc.path is None
    assert node.compute() == 1


def test_a_variant_uses_its_own_result_before_the_base_s(pipeline, runs, root):
    node = pipeline("a")
    node.compute()
    pipeline().compute()
    assert node.dc.path == str(root / "a/shifted/2.json")
    assert dc.plan(node).left == 0


# ---- a base that moves on --------------------------------------------------------------------------


def test_a_base_that_has_moved_on_is_not_used(pipeline, runs, root):
    pipeline().compute()
    pipeline(factor=3).compute()
    node = pipeline("a")
    assert node.dc.state == "missing"
    assert node.compute() == 21
    assert count(runs, "raw") == 1
    assert contents(root)["shifted/2.json"] == "7"
    assert contents(root)["a/shifted/2.json"] == "21"


def _composed(nodes):
    return dask.delayed(list)(nodes).compute()


def _each_composed(nodes):
    return list(dask.compute(*[dask.delayed(abs)(node) for node in nodes]))


def _direct_and_composed(nodes):
    return list(dask.compute(nodes[0], dask.delayed(abs)(nodes[1])))


VERBS = {
    "dc.compute": lambda nodes: list(dc.compute(*nodes)),
    "dask.compute": lambda nodes: list(dask.compute(*nodes)),
    "dc.persist": lambda nodes: [node.compute() for node in dc.persist(*nodes)],
    "plan.compute": lambda nodes: list(dc.plan(*nodes).compute()),
    "composed": _composed,
    "dc.compute composed": lambda nodes: list(dc.compute(nodes[0], dask.delayed(abs)(nodes[1]))),
    "dc.persist composed": lambda nodes: [
        each.compute() for each in dc.persist(nodes[0], dask.delayed(abs)(nodes[1]))
    ],
    "each composed": _each_composed,
    "direct and composed": _direct_and_composed,
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_base_that_moves_on_in_this_verb_is_not_used(verb, is_first, pipeline, root):
    """The order of the nodes does not matter."""
    pipeline().compute()
    node, moved = pipeline("a"), pipeline(factor=3)
    nodes = [node, moved] if is_first else [moved, node]
    assert verb(nodes) == ([21, 7] if is_first else [7, 21])
    assert contents(root)["shifted/2.json"] == "7"
    assert contents(root)["a/shifted/2.json"] == "21"


def test_a_base_that_an_array_moves_on_is_not_used(pipeline):
    pipeline().compute()
    moved = da.from_delayed(pipeline(factor=3), (), int)
    assert dask.compute(pipeline("a"), moved) == (21, 7)


def test_a_base_that_moves_on_unseen_is_an_error(pipeline):
    """Arrays are optimised by themselves, so their nodes know of no others; the next verb is right."""
    pipeline().compute()

    def verb():
        return dask.compute(pipeline(factor=3), da.from_delayed(pipeline("a"), (), int))

    with pytest.raises(TargetModified):
        verb()
    assert verb() == (7, 21)


def test_a_released_correction_of_the_base_does_not_matter_to_what_the_variant_made(steps, root, runs):
    def scaled(variant):
        with dc.variant(variant):
            return steps.scale(steps.raw(2), 10)

    def shifted():
        with dc.variant("a"):
            return steps.shift(steps.scale(steps.raw(2), 10), 1)

    shifted().compute()
    (root / "a/scaled/2.json").unlink()
    scaled(None).compute()
    (root / "scaled/2.json").write_text("50")
    dc.adopt(scaled(None))
    dc.release(scaled(None))
    runs.clear()
    assert shifted().compute() == 21
    assert runs.names() == []


def test_what_a_verb_makes_for_the_base_from_other_data_is_not_shared(pipeline, root):
    """The keys are equal, but the variant has a correction of its own before."""
    pipeline().compute()
    node = pipeline("a")
    scaled = dc.Node(node._recipe.upstream[0])
    dc.compute(scaled, force=[scaled])
    (root / "a/scaled/2.json").write_text("50")
    dc.adopt(scaled)
    assert dc.compute(pipeline("a", offset=5), pipeline(offset=5)) == (55, 25)


def test_a_forced_node_of_the_base_runs_after_a_variant_s_was_planned(steps, runs):
    """Both are inputs of one node, in whatever order."""

    @dc.delayed
    def total(values):
        return sum(values)

    base = steps.raw(1)
    base.compute()
    with dc.variant("a"):
        node = steps.raw(1)
    for inputs in ([node, base], [base, node]):
        runs.clear()
        assert dc.compute(total(inputs), force=[base]) == (2,)
        assert count(runs, "raw") >= 1


def test_what_a_verb_makes_for_the_base_is_made_once(pipeline, runs):
    """However many variants need it, and in whatever order the nodes are given."""
    nodes = [pipeline("a", offset=5), pipeline("b", offset=6), pipeline()]
    assert dc.plan(*nodes).left == 5
    assert dc.compute(*nodes) == (25, 26, 21)
    assert count(runs, "raw") == count(runs, "scale") == 1
    assert count(runs, "shift") == 3


def test_two_equal_nodes_of_base_and_variant_are_one(steps, runs, files):
    base = steps.raw(1)
    with dc.variant("a"):
        same = steps.raw(1)
    assert dc.compute(same, base, dask.delayed(abs)(same)) == (1, 1, 1)
    assert count(runs, "raw") == 1
    assert files() == ["raw/1.json"]


def test_the_base_is_not_made_for_a_variant(pipeline, root):
    """A step that only the variant needs is made there, though the base's graph has it, too."""
    pipeline().compute()
    (root / "scaled/2.json").unlink()
    assert dc.compute(pipeline(), pipeline("a", offset=5)) == (21, 25)
    assert not (root / "scaled/2.json").exists()
    assert (root / "a/scaled/2.json").exists()


# ---- decisions -------------------------------------------------------------------------------------


def test_a_correction_in_the_base_stands_for_its_own_recipe(pipeline, root):
    pipeline().compute()
    with dc.variant(None):
        scaled = pipeline().dc._recipe.upstream[0]
    node = dc.Node(scaled)
    (root / "scaled/2.json").write_text("50")
    assert dc.adopt(node) == 1
    assert pipeline("a", offset=5).compute() == 55
    assert dc.Node(pipeline("a", offset=5)._recipe.upstream[0]).dc.state == "adopted"
    assert pipeline("a", offset=5, factor=3).compute() == 11


@pytest.mark.filterwarnings("ignore:.*adopted results are kept")
def test_a_correction_that_the_base_keeps_does_not_stand_for_a_variant(steps, root):
    def scaled(variant, factor):
        with dc.variant(variant):
            return steps.scale(steps.raw(2), factor)

    scaled(None, 10).compute()
    (root / "scaled/2.json").write_text("50")
    dc.adopt(scaled(None, 10))
    dc.keep(scaled(None, 3))
    assert scaled(None, 3).compute() == 50
    assert scaled("a", 3).dc.state == "missing"
    assert scaled("a", 3).compute() == 6
    assert contents(root)["scaled/2.json"] == "50"


@pytest.mark.filterwarnings("ignore:.*adopted results are kept")
def test_a_kept_correction_is_not_copied_by_a_worker_either(steps, root):
    """The worker of a node that waits for its inputs looks for equal results elsewhere."""

    def scaled(variant, factor):
        with dc.variant(variant):
            return steps.scale(steps.raw(2), factor)

    scaled(None, 10).compute()
    (root / "scaled/2.json").write_text("50")
    dc.adopt(scaled(None, 10))
    dc.keep(scaled(None, 3))
    with dc.variant("a"):
        raw = steps.raw(2)
    assert dc.compute(scaled("a", 3), force=[raw]) == (6,)


def test_a_released_correction_is_not_used_through_what_follows(pipeline, steps, root):
    pipeline().compute()
    scaled = dc.Node(pipeline()._recipe.upstream[0])
    (root / "scaled/2.json").write_text("50")
    dc.adopt(scaled)
    assert pipeline().compute() == 51
    dc.release(scaled)
    assert pipeline("a").compute() == 21


def test_an_edit_of_the_base_is_the_base_s_matter(pipeline, root):
    pipeline().compute()
    (root / "shifted/2.json").write_text("999")
    assert pipeline("a").compute() == 21
    assert contents(root)["shifted/2.json"] == "999"
    with pytest.raises(TargetModified):
        pipeline().compute()


def test_an_edit_that_waits_to_be_adopted_is_not_used(pipeline, root):
    """Even if the content is as it was recorded, the base decides."""
    from daskcache.storage import files as storage
    from daskcache.storage import records
    from daskcache.storage.record import target_id
    from daskcache.storage.roots import Root

    pipeline().compute()
    content = storage.file_hash(str(root / "shifted/2.json"))
    records.write_acceptance(Root(str(root)), target_id("shifted/2.json"), content=content)
    assert pipeline("a").dc.path == str(root / "a/shifted/2.json")


def test_the_user_s_file_in_the_variant_comes_first(pipeline, root):
    """It is neither ignored, because the base holds a result, nor replaced."""
    pipeline().compute()
    own = root / "a/shifted/2.json"
    own.parent.mkdir(parents=True)
    own.write_text("77")
    node = pipeline("a")
    with pytest.raises(ForeignTarget):
        node.compute()
    assert dc.adopt(node) == 1
    assert (node.compute(), node.dc.state, node.dc.path) == (77, "adopted", str(own))
    assert pipeline().compute() == 21
    assert dc.release(node) == 1
    assert (node.compute(), node.dc.path) == (21, str(root / "shifted/2.json"))


DECISIONS = {
    "accept": dc.accept,
    "adopt": dc.adopt,
    "keep": dc.keep,
    "release": dc.release,
    "invalidate": dc.invalidate,
}


@pytest.mark.parametrize("decide", DECISIONS.values(), ids=DECISIONS)
def test_a_variant_does_not_decide_about_the_base_s_result(decide, pipeline, root):
    pipeline().compute()
    node = pipeline("a")
    before = contents(root)
    with pytest.raises(GraphError, match="a decision about that is the base's") as caught:
        decide(node)
    assert caught.value.target == str(root / "shifted/2.json")
    assert contents(root) == before
    assert node.compute() == 21


def test_decisions_are_about_the_variant_s_place(pipeline, root):
    pipeline().compute()
    node = pipeline("a", offset=5)
    node.compute()
    (root / "a/shifted/2.json").write_text("60")
    assert dc.adopt(node) == 1
    changed = pipeline("a", offset=6)
    with pytest.raises(TargetModified):
        changed.compute()
    assert dc.keep(changed) == 1
    assert changed.compute() == 60
    assert dc.release(changed) == 1
    dc.invalidate(changed)
    assert changed.compute() == 26
    assert contents(root)["shifted/2.json"] == "21"


def test_a_node_that_uses_the_base_s_result_can_be_looked_at(pipeline, root):
    pipeline().compute()
    node = pipeline("a")
    assert node.dc.state == dc.status(node) == "complete"
    assert node.dc.load() == node.dc.open() == 21
    assert node.dc.record["target"] == "shifted/2.json"
    assert not dc.why(node)
    assert dc.target(node).path == node.dc.path == str(root / "shifted/2.json")
    assert "shifted/2.json" in dc.plan(node).to_frame()["target"].iloc[-1]
    assert dc.plan(node, pipeline()).svg().count("<rect") == dc.plan(pipeline()).svg().count("<rect")


# ---- options ---------------------------------------------------------------------------------------


def test_a_forced_node_is_made_in_its_own_place(pipeline, runs, root):
    pipeline().compute()
    node = pipeline("a")
    assert dc.compute(node, force=[node]) == (21,)
    assert count(runs, "shift") == 2
    assert count(runs, "scale") == 1
    assert node.dc.path == str(root / "a/shifted/2.json")


def test_force_reruns_base_and_variant_in_their_places(pipeline, runs, root):
    pipeline().compute()
    assert dc.compute(pipeline(), pipeline("a"), force=True) == (21, 21)
    assert count(runs, "shift") == 3
    assert {"shifted/2.json", "a/shifted/2.json"} <= contents(root).keys()


def test_a_forced_node_of_the_base_gives_the_variant_its_new_result(runs):
    """The file is not read while it is replaced."""
    values = itertools.count()

    @dc.delayed(target="n.json", version=1)
    def number():
        return next(values)

    base = number()
    base.compute()
    with dc.variant("a"):
        node = number()
    assert dc.compute(node, base, force=[base]) == (1, 1)


def test_existing_files_of_other_recipes_do_not_pass(runs, root):
    """With check="exists", a file stands for any recipe in its own place, but not in the base's."""

    @dc.delayed(target="n.json", check="exists")
    def number(n):
        runs.note("number")
        return n

    number(1).compute()
    assert number(2).compute() == 1
    with dc.variant("a"):
        same, other = number(1), number(2)
    assert same.compute() == 1
    assert same.dc.path == str(root / "n.json")
    assert other.compute() == 2
    assert other.dc.path == str(root / "a/n.json")


def test_an_expired_result_of_the_base_is_not_used(runs, root):
    """Neither is it copied, which would make it new, nor what was made from it used."""

    @dc.delayed(target="n.json", expires="1 h")
    def number():
        runs.note("number")
        return 1

    @dc.delayed(target="after.json")
    def after(n):
        runs.note("after")
        return n + 1

    after(number()).compute()
    stat = (root / "n.json").stat()
    old = stat.st_mtime_ns - 7200 * 10**9
    os.utime(root / "n.json", ns=(old, old))
    with dc.variant("a"):
        node = after(number())
    assert dc.plan(node).left == 2
    assert node.compute() == 2
    assert count(runs, "number") == 2
    assert (root / "a/n.json").exists()


def test_a_result_that_expires_is_not_copied_to_another_target(runs):
    """A copy would count as new."""

    def number(target):
        @dc.delayed(target=target, expires="1 h", version=1)
        def number():
            runs.note("number")
            return 1

        return number()

    assert [number(target).compute() for target in ("a.json", "b.json")] == [1, 1]
    assert count(runs, "number") == 2


def test_taking_turns_names_the_cure(pipeline):
    pipeline().compute()
    pipeline(offset=5).compute()
    with pytest.warns(DaskcacheWarning, match=r'within daskcache\.variant\("…"\)'):
        pipeline().compute()


def test_flows_make_their_nodes_in_the_variant(runs, root):
    @dc.task(target="squares/{n}.json")
    def square(n):
        runs.note("square")
        return n * n

    @dc.flow
    def squares(numbers):
        return [square(n) for n in numbers]

    assert squares([1]) == [1]
    with dc.variant("a"):
        assert squares([1, 2]) == [1, 4]
        with dask.config.set({"daskcache.mode": "cache"}):
            assert square(1).get_data() == 1
            assert square(3).get_data() == 9
    assert count(runs, "square") == 3
    assert set(contents(root)) == {"squares/1.json", "a/squares/2.json", "a/squares/3.json"}


# ---- at random -------------------------------------------------------------------------------------

VARIANTS = (None, "a", "b")
FOLDERS = ("raw", "scaled", "shifted")


class Model:
    """The parameters of the base and of two variants, and an oracle for what their places hold."""

    def __init__(self, pipeline, root, runs, seed):
        self.pipeline, self.root, self.runs = pipeline, root, runs
        self.random = random.Random(seed)
        self.parameters = {name: {"factor": 1, "offset": 1} for name in VARIANTS}
        #: For each file that is there, the parameters that it was made for, as `key` returns them.
        self.holds: dict[Path, tuple] = {}
        #: The second steps' files that hold a correction.
        self.corrected: set[Path] = set()
        #: Of those whose correction was released, what it was made for, until the place is made again.
        self.released: dict[Path, tuple] = {}

    def key(self, name, position):
        factor, offset = self.parameters[name].values()
        return (2, factor, offset)[: position + 1]

    def place(self, name, position):
        return self.root / (name or "") / FOLDERS[position] / "2.json"

    def node(self, name, position=2):
        recipe = self.pipeline(name, **self.parameters[name])._recipe
        for _ in range(2 - position):
            recipe = recipe.upstream[0]
        return dc.Node(recipe)

    def held_at(self, name, position, names):
        """The place that holds a result and is used: the variant's own, or the base's; or None."""
        own, base = self.place(name, position), self.place(None, position)
        if self.holds.get(own) == self.key(name, position):
            return own
        moves_on = None in names and self.key(None, position) != self.key(name, position)
        is_held = self.holds.get(base) == self.key(name, position) and not moves_on
        return base if is_held else None

    def step(self):
        name = self.random.choice(VARIANTS)
        action = self.random.choice(["change", "delete", "correct", "force", "all", "one", "one", "one"])
        if action == "change":
            parameter = self.random.choice(["factor", "offset"])
            self.parameters[name][parameter] = self.random.randint(1, 3)
        elif action == "delete":
            place = self.place(name, self.random.randrange(3))
            if place not in self.corrected:
                place.unlink(missing_ok=True)
                self.holds.pop(place, None)
        elif action == "correct":
            self.correct(name)
        else:
            names = self.random.sample(VARIANTS, 3) if action == "all" else [name]
            self.compute(names, force=action == "force")

    def correct(self, name):
        place = self.place(name, 1)
        if self.holds.get(place) != self.key(name, 1):
            return  # it would be about another recipe, or about the base's file
        place.write_text(str(self.random.randint(1000, 10**6)))
        assert dc.adopt(self.node(name, 1)) == 1
        self.corrected.add(place)

    def compute(self, names, force):
        contested = [
            name
            for name in names
            if (place := self.place(name, 1)) in self.corrected
            and (force or self.holds[place] != self.key(name, 1))
        ]
        if contested:
            with pytest.raises(TargetModified):
                dc.compute(*map(self.node, names), force=force)
            for name in contested:
                place = self.place(name, 1)
                assert dc.release(self.node(name, 1)) == 1
                self.corrected.remove(place)
                self.released[place] = self.holds.pop(place)
        scaled = {name: self.values_of_scaled(name, names, force) for name in names}
        may_run = self.may_run(names, scaled, force)
        before = self.stamps()
        self.runs.clear()
        values = dc.compute(*map(self.node, names), force=force)
        after = self.stamps()
        for name, value in zip(names, values, strict=True):
            assert value - self.parameters[name]["offset"] in scaled[name]
        ran = self.runs.names()
        for step, names_of_step in may_run.items():
            assert ran.count(step) <= names_of_step
        changed = {
            place for place in before.keys() | after.keys() if before.get(place) != after.get(place)
        }
        for name in names:
            for position in range(3):
                if (place := self.place(name, position)) in changed:
                    changed.remove(place)
                    self.released.pop(place, None)
                    self.holds[place] = self.key(name, position)
            place, own = self.place(name, 1), 2 * self.parameters[name]["factor"]
            if (
                place.exists()
                and self.holds[place] == self.key(name, 1)
                and int(place.read_text()) != own
            ):
                self.corrected.add(place)  # copied from another place, for the same recipe
        assert not changed  # above all, a variant's verb changes nothing of the base
        self.runs.clear()
        assert dc.compute(*map(self.node, names)) == values
        assert self.runs.names() == []

    def values_of_scaled(self, name, names, force):
        """The values that the second step may have: one, if a place that is used holds it."""
        held = None if force else self.held_at(name, 1, names)
        if held is not None:
            return {int(held.read_text())}
        made_for_this = {p for p in self.corrected if self.holds[p] == self.key(name, 1)}
        copied = set() if force else {int(place.read_text()) for place in made_for_this}
        return {2 * self.parameters[name]["factor"], *copied}

    def may_run(self, names, scaled, force):
        """How often each step may run at most: not for what is held, nor for what only that needs."""
        counts = dict.fromkeys(("raw", "scale", "shift"), 0)
        for name in names:
            last = None if force else self.held_at(name, 2, names)
            places = self.place(name, 1), self.place(None, 1)
            is_released = self.key(name, 1) in map(self.released.get, places)
            if last is not None and not is_released:
                made_from = int(last.read_text()) - self.parameters[name]["offset"]
                users = {name, None} if last == self.place(None, 2) and None in names else {name}
                if all(scaled[user] == {made_from} for user in users):  # else the base replaces it now
                    continue
            counts["shift"] += 1
            if not force and self.held_at(name, 1, names):
                continue
            counts["scale"] += 1
            if force or not self.held_at(name, 0, names):
                counts["raw"] += 1
        return counts

    def stamps(self):
        found = [self.place(name, position) for name in VARIANTS for position in range(3)]
        return {place: place.stat().st_mtime_ns for place in found if place.exists()}


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.filterwarnings("ignore::daskcache.errors.DaskcacheWarning")
def test_any_steps_at_random(seed, pipeline, root, runs):
    """Values are right, nothing runs that is held, and a variant's verb changes nothing of the base."""
    model = Model(pipeline, root, runs, seed)
    for _ in range(40):
        model.step()
