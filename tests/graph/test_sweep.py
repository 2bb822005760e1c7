"""`sweep`: the nodes of all combinations, the folders in which they lie, and the table of results."""

from __future__ import annotations

import functools
import itertools
import json
import operator
import pickle
import random
from pathlib import Path
from types import SimpleNamespace

import cloudpickle
import dask
import numpy as np
import pandas as pd
import pytest

import daskcache as dc
from daskcache.calls.variants import current_variant
from daskcache.errors import GraphError, NotANode, TargetCollision, UnsafePath
from daskcache.graph import function as function_module
from daskcache.graph import sweep as sweep_module


@pytest.fixture
def steps(runs):
    """Steps that note their runs: load(n), smooth(loaded, sigma) and score(smoothed, threshold)."""

    def load(n):
        runs.note("load")
        return n

    def smooth(loaded, sigma):
        runs.note("smooth")
        return loaded * sigma

    def score(smoothed, threshold):
        runs.note("score")
        return smoothed + threshold

    return SimpleNamespace(
        load=dc.delayed(load, target="loaded/{n}.json"),
        smooth=dc.delayed(smooth, target="smoothed/{loaded.stem}.json"),
        score=dc.delayed(score, target="scores/{smoothed.stem}.json"),
    )


@pytest.fixture
def pipeline(steps):
    """A function that makes the last node."""

    def pipeline(sigma, threshold=0):
        return steps.score(steps.smooth(steps.load(5), sigma), threshold)

    return pipeline


# ---- folders ---------------------------------------------------------------------------------------


def test_steps_lie_in_the_folders_of_what_they_depend_on(pipeline, runs, files):
    """What several combinations share runs once, and is stored once."""
    scores = dc.sweep(pipeline, sigma=[1, 2], threshold=[10, 20])
    assert scores.compute() == [15, 25, 20, 30]
    assert sorted(runs.names()) == ["load"] + ["score"] * 4 + ["smooth"] * 2
    assert files() == [
        "shared/loaded/5.json",
        "sigma=1,threshold=10/scores/5.json",
        "sigma=1,threshold=20/scores/5.json",
        "sigma=1/smoothed/5.json",
        "sigma=2,threshold=10/scores/5.json",
        "sigma=2,threshold=20/scores/5.json",
        "sigma=2/smoothed/5.json",
    ]
    assert dc.plan(dc.sweep(pipeline, sigma=[1, 2], threshold=[10, 20])).left == 0


def test_a_sweep_may_grow(pipeline, runs, files):
    """More values, and more parameters, leave what is there in its place."""
    dc.sweep(pipeline, sigma=[1, 2]).compute()
    before = files()
    runs.clear()
    assert dc.sweep(pipeline, sigma=[0, 2, 1]).compute() == [0, 10, 5]
    assert runs.take() == ["score", "smooth"]
    before += ["sigma=0/scores/5.json", "sigma=0/smoothed/5.json"]
    assert files() == sorted(before)
    scores = dc.sweep(pipeline, sigma=[1, 2], threshold=[10, 20])
    assert dc.plan(scores).counts["run"] == 4
    scores.compute()
    assert set(runs.take()) == {"score"}


def test_values_that_make_no_difference_share_a_folder(steps, runs, files):
    """The first one names it."""

    def clipped(sigma):
        return steps.smooth(steps.load(5), min(sigma, 2))

    assert dc.sweep(clipped, sigma=[1, 2, 3]).compute() == [5, 10, 10]
    assert runs.names().count("smooth") == 2
    assert files() == ["shared/loaded/5.json", "sigma=1/smoothed/5.json", "sigma=2/smoothed/5.json"]


def test_a_parameter_that_only_some_combinations_use(steps, runs, files):
    """The others lie in the folder without it."""

    def pipeline(method, sigma):
        loaded = steps.load(5)
        return steps.smooth(loaded, sigma) if method == "smooth" else steps.score(loaded, 1)

    found = dc.sweep(pipeline, method=["smooth", "plain"], sigma=[1, 2])
    assert found.compute() == [5, 10, 6, 6]
    assert runs.names().count("score") == 1
    assert files()[:3] == [
        "method=plain/scores/5.json",
        "method=smooth,sigma=1/smoothed/5.json",
        "method=smooth,sigma=2/smoothed/5.json",
    ]


def test_one_value_does_not_tell_what_depends_on_it(pipeline, runs, files):
    """All lies in its folder; what is needed there of another sweep is copied."""
    dc.sweep(pipeline, sigma=[1, 2]).compute()
    runs.clear()
    alone = dc.sweep(pipeline, sigma=[1], threshold=[7])
    assert alone.compute() == [12]
    assert runs.take() == ["score"]
    assert "sigma=1,threshold=7/scores/5.json" in files()


def test_what_the_base_holds_is_used_and_not_changed(pipeline, steps, runs, root, files):
    """Results of the same key are used, those of another key stay."""
    pipeline(sigma=2).compute()
    before = {path: (root / path).read_text() for path in files()}
    runs.clear()
    assert dc.sweep(pipeline, sigma=[1, 2]).compute() == [5, 10]
    assert runs.take() == ["score", "smooth"]
    assert files() == sorted([*before, "sigma=1/scores/5.json", "sigma=1/smoothed/5.json"])

    smooth = dc.delayed(steps.smooth._spec.func, target="smoothed/5.json")
    load = dc.delayed(steps.load._spec.func, target="loaded/5.json")
    other = dc.sweep(lambda sigma: smooth(load(7), sigma), sigma=[1, 2])
    assert other.compute() == [7, 14]
    assert {path: (root / path).read_text() for path in before} == before


def test_a_sweep_with_the_base_in_one_verb(pipeline, runs):
    """What the base makes is not made again."""
    assert dc.compute(dc.sweep(pipeline, sigma=[1, 2]), pipeline(sigma=2)) == ([5, 10], 10)
    assert sorted(runs.names()) == ["load", "score", "score", "smooth", "smooth"]


def test_within_a_variant(pipeline, steps, files):
    """Its name stands before those of the combinations, whether a block or the configuration has it."""
    with dc.variant("a"):
        dc.sweep(pipeline, sigma=[1, 2]).compute()
        assert Path(steps.load(3).dc.path).parts[-3:] == ("a", "loaded", "3.json")
    assert {path.partition("/")[0] for path in files()} == {"a,shared", "a,sigma=1", "a,sigma=2"}
    with dask.config.set({"daskcache.variant": "b"}):
        (path, _) = dc.sweep(pipeline, sigma=[1, 2]).paths
    assert "/b,sigma=1/" in path


def test_blocks_within_the_pipeline(steps, files):
    """They replace the variant of the combination, as any inner block does."""
    outside = steps.load(1)

    def pipeline(sigma):
        with dc.variant(None):
            base = steps.load(2)
        with dc.variant("mine"):
            mine = steps.load(3)
        return [steps.smooth(each, sigma) for each in (outside, base, mine)]

    assert dc.sweep(pipeline, sigma=[1, 2]).compute() == [1, 2, 3, 2, 4, 6]
    loaded = [path for path in files() if "loaded" in path]
    assert loaded == ["loaded/1.json", "loaded/2.json", "mine/loaded/3.json"]


@pytest.mark.parametrize(
    "compose", [operator.neg, dask.delayed(abs), lambda x: dask.delayed(sum)([x, 1])]
)
def test_plain_dask_in_between(compose, steps, runs, files):
    """Nodes before it are shared, too."""

    @dc.delayed(target="scaled/{key}.json")
    def scale(number, sigma):
        return number * sigma

    first, second = dc.sweep(lambda sigma: scale(compose(steps.load(5)), sigma), sigma=[1, 2]).compute()
    assert second == 2 * first
    assert runs.names() == ["load"]
    assert [path for path in files() if "loaded" in path] == ["shared/loaded/5.json"]


def test_impure_steps_are_not_shared(steps, runs):
    """Each combination has its own, and what follows from it."""

    @dc.delayed(pure=False)
    def now():
        return 5

    def note(n):
        runs.note("noted")
        return n

    noted = dc.delayed(note, target="noted.json")
    smooth = dc.delayed(steps.smooth._spec.func, target="smooth.json")
    assert dc.sweep(lambda sigma: smooth(noted(now()), sigma), sigma=[1, 2]).compute() == [5, 10]
    assert runs.names().count("noted") == 2


def test_a_pipeline_that_is_never_the_same(steps):
    """A key that the first calls did not make lies in the folder of its combination."""
    numbers = itertools.count()

    def pipeline(sigma):
        return steps.load(next(numbers))

    found = dc.sweep(pipeline, sigma=[1, 2])
    assert [Path(path).parts[-3:] for path in found.paths] == [
        ("sigma=1", "loaded", "2.json"),
        ("sigma=2", "loaded", "3.json"),
    ]


def test_two_nodes_of_a_combination_on_one_target(steps):
    """That is a collision, as it is without a sweep."""

    def pipeline(sigma):
        loaded = steps.load(5)
        return [steps.smooth(loaded, sigma), steps.smooth(loaded, sigma + 1)]

    with pytest.raises(TargetCollision):
        dc.sweep(pipeline, sigma=[1, 2, 3]).compute()


def test_a_target_in_a_database_is_refused():
    @dc.delayed(target="results.db::rows")
    def rows(n):
        return n

    with pytest.raises(GraphError, match="in a database") as caught:
        dc.sweep(rows, n=[1, 2])
    assert caught.value.__notes__ == ["in the combination n=1 of a sweep"]


def test_flows_make_each_node_once(pipeline, runs, files):
    """The nodes of the first calls are not made."""

    @dc.flow
    def best():
        return dc.sweep(pipeline, sigma=[1, 2])

    assert best() == [5, 10]
    assert sorted(runs.names()) == ["load", "score", "score", "smooth", "smooth"]
    assert len(files()) == 5


@pytest.mark.parametrize("sigma", [[1, 2], [3, 1], [4], [1]])
def test_a_corrected_step_is_corrected_in_later_sweeps(sigma, pipeline, runs, root):
    """Wherever they have its place, and in other variants."""
    dc.sweep(pipeline, sigma=[1, 2]).compute()
    (root / "shared/loaded/5.json").write_text("100")
    dc.adopt(dc.Node(pipeline_start(dc.sweep(pipeline, sigma=[1, 2])[0])))
    expected = [100 * each for each in sigma]
    assert dc.sweep(pipeline, sigma=sigma).compute() == expected
    with dc.variant("a"):
        assert dc.sweep(pipeline, sigma=sigma).compute() == expected
    assert runs.names().count("load") == 1


def pipeline_start(node):
    """The recipe of the first step before a score."""
    return node._recipe.upstream[0].upstream[0]


# ---- calls of the pipeline -------------------------------------------------------------------------


def test_the_pipeline_is_called_twice_for_each_combination(steps):
    """In the order of the product, with the values as they were given."""
    calls = []

    def pipeline(**parameters):
        calls.append(tuple(parameters.items()))
        return steps.load(str(parameters))

    values = {"b": (1, "x"), "a": range(2)}
    dc.sweep(pipeline, **values)
    expected = [(("b", b), ("a", a)) for b in values["b"] for a in values["a"]]
    assert calls == [*expected, *expected]


def test_each_combination_is_a_variant(steps):
    """Programs that make nodes elsewhere, such as Prefect's tasks, get its name."""
    names = []

    def pipeline(a, b):
        names.append(current_variant())
        return steps.load(1)

    dc.sweep(pipeline, a=[1], b=[2, "x"])
    assert names == ["a=1,b=2", "a=1,b=x"] * 2
    assert current_variant() is None


def test_building_is_linear(steps, monkeypatch):
    """Each node is made twice, and each key and each set of combinations is looked at once."""
    made, looked, placed = [], [], []
    places = sweep_module._Places
    make_recipe, matters, folder = function_module.make_recipe, places._matters, places._folder
    monkeypatch.setattr(places, "_folder", lambda *a: placed.append(a) or folder(*a))
    monkeypatch.setattr(function_module, "make_recipe", lambda *a: made.append(a) or make_recipe(*a))
    monkeypatch.setattr(sweep_module._Places, "_matters", lambda *a: looked.append(a[1]) or matters(*a))

    def pipeline(a, b):
        return [steps.score(steps.smooth(steps.load(n), a), b) for n in range(3)]

    nodes = dc.sweep(pipeline, a=range(10), b=range(20))
    assert len(nodes) == 600
    assert len(made) == 2 * 9 * 200
    assert len(looked) == len(set(looked)) == 1 + 10 + 200
    assert len(placed) == 3 * (1 + 10 + 200)


def test_an_error_in_the_pipeline_names_the_combination(steps):
    def pipeline(sigma):
        return steps.load(1 // sigma)

    with pytest.raises(ZeroDivisionError) as caught:
        dc.sweep(pipeline, sigma=[1, 0])
    assert caught.value.__notes__ == ["in the combination sigma=0 of a sweep"]
    assert steps.load(3).dc.path.endswith("root/loaded/3.json")  # the block has ended


def test_a_decorated_function_and_a_partial_are_pipelines(steps):
    assert dc.sweep(steps.load, n=[1, 2]).compute() == [1, 2]
    assert dc.sweep(functools.partial(steps.smooth, steps.load(1)), sigma=[3]).compute() == [3]


OUTPUTS = {
    "node": (lambda a, b: a, 1, None),
    "list": (lambda a, b: [a, b], 2, None),
    "tuple": (lambda a, b: (b,), 1, None),
    "Nodes": (lambda a, b: dc.Nodes([a, b]), 2, None),
    "dict": (lambda a, b: {"x": a, 7: [a, b]}, 3, ["x", 7, 7]),
}


@pytest.mark.parametrize(("output", "count", "names"), OUTPUTS.values(), ids=OUTPUTS)
def test_what_a_pipeline_may_return(output, count, names, steps):
    nodes = dc.sweep(lambda n: output(steps.load(n), steps.load(n + 5)), n=[1, 2])
    assert type(nodes) is dc.Nodes
    assert nodes.fields["n"] == [1] * count + [2] * count
    assert nodes.fields.get("output") == (names and names * 2)


@pytest.mark.parametrize(
    ("output", "got"),
    [
        (lambda node: None, "got: None"),
        (lambda node: [], r"got: \[\]"),
        (lambda node: 3, "got: 3"),
        (lambda node: [node, 3], "a list with 3"),
        (lambda node: [[node]], "a list with "),
        (lambda node: {}, r"got: \{\}"),
        (lambda node: {"a": node, "b": 3}, "got: 3"),
        (lambda node: {(1, 2): node}, r"the key \(1, 2\)"),
        (lambda node: node + 1, "Delayed"),
        (lambda node: {node.dc.key}, r"got: \{"),
    ],
)
def test_what_a_pipeline_must_not_return(output, got, steps):
    with pytest.raises(NotANode, match=got) as caught:
        dc.sweep(lambda n: output(steps.load(n)), n=[1, 2])
    assert caught.value.__notes__ == ["in the combination n=1 of a sweep"]


# ---- values and their names ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        ([1, 2], [1, 2]),
        ((True, 0.5, "x y", -1e-05), [True, 0.5, "x y", -1e-05]),
        (range(3), [0, 1, 2]),
        (np.array([0.5, 1.5]), [0.5, 1.5]),
        (pd.Series([4, 5]), [4, 5]),
        (np.float64([0.5]), [0.5]),
        ([np.int64(3)], [3]),
        ({"low": [1, 2], "high": None}, ["low", "high"]),
        (iter([1, 2]), [1, 2]),
    ],
)
def test_values(values, fields):
    """Columns have the values as they are in Python, or their names; folders have their names."""

    @dc.delayed(target="{key}.json")
    def made(value):
        return 1

    nodes = dc.sweep(made, value=values)
    assert nodes.fields == {"value": fields}
    assert list(map(type, nodes.fields["value"])) == list(map(type, fields))
    assert [Path(path).parts[-2] for path in nodes.paths] == [f"value={field}" for field in fields]


def test_named_values_reach_the_pipeline():
    @dc.delayed(target="{key}.json")
    def total(weights):
        return sum(weights)

    assert dc.sweep(total, weights={"low": [1, 2], "high": [5]}).compute() == [3, 5]


@pytest.mark.parametrize(
    ("values", "error", "told"),
    [
        ([], GraphError, "the parameter n has no values"),
        ({}, GraphError, "the parameter n has no values"),
        ("abc", GraphError, "which is one text"),
        (Path("a"), GraphError, "which is one text or path"),
        (3, GraphError, "which is one value"),
        ({1, 2}, GraphError, "which is a set"),
        (itertools.count(), GraphError, "which is endless"),
        (pd.DataFrame({"a": [1]}), GraphError, "which is an array or a frame"),
        (np.array(3.0), GraphError, "which is one value"),
        (np.eye(2), UnsafePath, "a list has no name"),
        ([None], UnsafePath, "a NoneType has no name"),
        ([object()], UnsafePath, "a object has no name"),
        (["a/b"], UnsafePath, "not the name of one folder"),
        (["a,m=2"], UnsafePath, "a comma stands between parameters"),
        (["a."], UnsafePath, "ends with a dot"),
        (["a\n"], UnsafePath, "control characters"),
        (["x" * 300], UnsafePath, "bytes"),
        ({None: 1}, UnsafePath, "a NoneType has no name"),
        ([1, 2, 1], GraphError, "two values of n are equal(.|\n)*'n=1' and 'n=1'"),
        (["a", "A"], GraphError, "or have one name(.|\n)*'n=a' and 'n=A'"),
        ({"1": 0, 1: 1}, GraphError, "two values of n are equal"),
        ([1, 1.0], GraphError, "two values of n are equal(.|\n)*'n=1' and 'n=1.0'"),
        ([0.5, 1, True], GraphError, "two values of n are equal(.|\n)*'n=1' and 'n=True'"),
    ],
)
def test_values_that_are_refused(values, error, told, runs):
    """Before the pipeline is called."""
    with pytest.raises(error, match=told):
        dc.sweep(lambda n: runs.note("called"), n=values)
    assert runs.names() == []


def _takes_n(n):
    raise AssertionError("was called")


@pytest.mark.parametrize(
    ("pipeline", "parameters", "told"),
    [
        (_takes_n, {}, "needs a parameter"),
        (3, {"n": [1]}, "needs a function(.|\n)*got: 3"),
        (dc.delayed(abs)(-1), {"n": [1]}, "needs a function(.|\n)*Node"),
        (_takes_n, {"nn": [1]}, "_takes_n.. has no parameter 'nn'(.|\n)*did you mean 'n'"),
        (dc.delayed(_takes_n), {"m": [1]}, "_takes_n.. has no parameter 'm'"),
        (lambda n, m: n, {"n": [1]}, "missing a required argument: 'm'(.|\n)*functools.partial"),
        (lambda n, /: n, {"n": [1]}, "positional"),
        (lambda **p: p, {"state": [1]}, "can't be called 'state'"),
        (lambda **p: p, {"target": [1]}, "can't be called 'target'"),
        (lambda **p: p, {"output": [1]}, "can't be called 'output'"),
    ],
)
def test_calls_that_are_refused(pipeline, parameters, told):
    with pytest.raises(GraphError, match=told):
        dc.sweep(pipeline, **parameters)


def test_names_that_are_too_long_together(steps):
    values = {f"parameter_{i}": ["x" * 30] for i in range(10)}
    with pytest.raises(UnsafePath, match="name of a combination"):
        dc.sweep(lambda **p: steps.load(1), **values)


def test_sweeps_within_sweeps_and_bodies_are_refused(pipeline, steps):
    with pytest.raises(GraphError, match="pipeline of another one"):
        dc.sweep(lambda threshold: dc.sweep(pipeline, sigma=[1]), threshold=[1])

    @dc.delayed(save=False)
    def body():
        return dc.sweep(pipeline, sigma=[1])

    with pytest.raises(GraphError, match="within the body"):
        body().compute()


# ---- fields ----------------------------------------------------------------------------------------


def test_selecting_by_parameters(pipeline):
    scores = dc.sweep(pipeline, sigma=[0.5, 2], threshold=[10, 20])
    assert scores.where(sigma=0.5).fields == {"sigma": [0.5, 0.5], "threshold": [10, 20]}
    assert scores.where(sigma=2.0, threshold=[20]).compute() == [30]
    assert list(scores.group_by("sigma")) == [0.5, 2]
    assert scores.to_frame()["threshold"].tolist() == [10, 20, 10, 20]
    with pytest.raises(GraphError, match=r"no node has sigma=3(.|\n)*one of 0.5, 2"):
        scores.where(sigma=3)


def test_values_of_several_types_have_an_order(steps):
    nodes = dc.sweep(steps.load, n=["b", 10, "a2", 9.5, "a10"])
    assert list(nodes.group_by("n")) == [9.5, 10, "a2", "a10", "b"]


def test_gather(pipeline, runs):
    """What is made of the members has the parameters on which they agree, for its path, too."""

    @dc.delayed(target="total/{scores.sigma}.json")
    def total(scores):
        return sum(scores)

    scores = dc.sweep(pipeline, sigma=[1, 2], threshold=[10, 20])
    totals = total.gather(scores, "sigma")
    assert totals.compute() == [40, 50]
    assert totals.fields == {"sigma": [1, 2]}
    assert [Path(path).name for path in totals.paths] == ["1.json", "2.json"]


@pytest.mark.parametrize("compose", [lambda x: x, dask.delayed(abs)])
def test_one_node_of_several_combinations_has_what_they_agree_on(compose, steps):
    """As an argument, it does not have the field of the combination that came first."""

    def pipeline(sigma, threshold):
        smoothed = steps.smooth(steps.load(5), sigma)
        return {"smoothed": smoothed, "score": steps.score(smoothed, threshold)}

    made = dc.delayed(sum, target="{key}.json")
    group = dc.sweep(pipeline, sigma=[1, 2], threshold=[1, 2, 3]).where(output="smoothed", sigma=2)
    node = made([compose(each) for each in group])
    assert node.compute() == 30
    assert dc.Nodes([node]).fields == {"sigma": [2], "output": ["smoothed"]}


@pytest.fixture
def wells(tmp_path, monkeypatch):
    """Two files of one plate."""
    monkeypatch.chdir(tmp_path)
    Path("raw").mkdir()
    for name in ("P1_1", "P1_2"):
        Path(f"raw/{name}.txt").write_text(name)
    return dc.sources("raw/{plate}_{site:d}.txt")


@dc.delayed(target="size/{text.plate}_{text.site}.json")
def size(text, factor):
    return len(text) * factor


def test_fields_of_files_stay(wells):
    """They stand after the parameters; a parameter may be called like a field with equal values."""
    sizes = dc.sweep(lambda factor: size.map(wells, factor=factor), factor=[1, 2])
    assert sizes.fields == {
        "factor": [1, 1, 2, 2],
        "plate": ["P1"] * 4,
        "site": [1, 2, 1, 2],
    }
    by_site = dc.sweep(lambda site: size(wells[site - 1], 1), site=[1, 2])
    assert by_site.fields == {"site": [1, 2], "plate": ["P1"] * 2}
    with pytest.raises(GraphError, match=r"expected: site=3(.|\n)*got: 1, as the files"):
        dc.sweep(lambda site: size(wells[0], site), site=[3])


def test_nodes_keep_their_parameters_when_they_travel(pipeline):
    """By pickle, and when they are persisted."""
    scores = dc.sweep(pipeline, sigma=[1, 2])
    for copied in (pickle.loads(cloudpickle.dumps(scores)), *dask.persist(scores)):
        assert copied.fields == {"sigma": [1, 2]}
        assert copied.where(sigma=2).compute() == [10]
        assert copied.paths == scores.paths
    nodes = [pickle.loads(cloudpickle.dumps(node)) for node in scores]
    assert dc.Nodes(nodes).fields == {"sigma": [1, 2]}


def test_persisted_nodes_can_be_returned(runs):
    """Their values are held, and not computed again."""

    def held(n):
        runs.note("held")
        return n

    node = dc.delayed(held, save=False)(5).persist()
    runs.clear()
    found = dc.sweep(lambda n: [node], n=[1, 2])
    assert found.fields == {"n": [1, 2]}
    assert found.compute() == [5, 5]
    assert runs.names() == []


# ---- the table -------------------------------------------------------------------------------------


def compared(nodes):
    """The table as a list of rows, after all that can be computed was."""
    dc.compute(nodes, errors="collect")
    frame = nodes.compare()
    return frame.columns.tolist(), frame.values.tolist()


def node_of(function, **options):
    return dc.delayed(function, **{"target": "{funcname}/{key}.json", **options})


def test_a_row_for_each_combination(pipeline):
    columns, rows = compared(dc.sweep(pipeline, sigma=[2, 1], threshold=[0.5]))
    assert columns == ["sigma", "threshold", "state", "score"]
    assert rows == [[2, 0.5, "complete", 10.5], [1, 0.5, "complete", 5.5]]


def test_the_best_is_found_in_one_line(pipeline):
    scores = dc.sweep(pipeline, sigma=[1, 3, 2], threshold=[0.5, 0.25])
    scores.compute()
    table = scores.compare()
    best = scores.where(**table.loc[table["score"].idxmax(), ["sigma", "threshold"]])
    assert best.fields == {"sigma": [3], "threshold": [0.5]}


def test_what_has_not_run_has_its_state():
    def inverse(n):
        return 1 / n

    nodes = dc.sweep(node_of(inverse), n=[1, 0, 2])
    assert compared(nodes[:2])[1][0] == [1, "complete", 1.0]
    frame = nodes.compare()
    assert frame["state"].tolist() == ["complete", "failed", "missing"]
    assert frame["inverse"].isna().tolist() == [False, True, True]
    assert nodes[2:].compare().columns.tolist() == ["n", "state"]


def test_a_corrected_result_is_told(pipeline):
    scores = dc.sweep(pipeline, sigma=[1, 2])
    scores.compute()
    Path(scores.paths[1]).write_text("100")
    dc.adopt(scores[1])
    assert compared(scores)[1] == [[1, "complete", 5], [2, "adopted", 100]]


def test_numbers_of_dicts_and_tables():
    """Other things have no column."""

    def facts(n):
        return {"count": n, "kind": "cell", "ok": True, "list": [1], "state": 3, "n": 0}

    columns, rows = compared(dc.sweep(node_of(facts), n=[1]))
    assert columns == ["n", "state", "count", "kind", "ok", "facts.state", "facts.n"]
    assert rows == [[1, "complete", 1, "cell", True, 3, 0]]

    def table(n, length):
        return pd.DataFrame({"count": [n] * length, "mean": [0.5] * length})

    make = node_of(table, target="{funcname}/{key}.csv")
    columns, rows = compared(dc.sweep(make, n=[1], length=[1, 2]))
    assert columns == ["n", "length", "state", "count", "mean"]
    assert rows[0] == [1, 1, "complete", 1, 0.5]
    assert np.isnan(rows[1][3])

    def scalars(n):
        return {"ok": np.bool_(n), "mean": np.array(0.5)}

    columns, rows = compared(dc.sweep(node_of(scalars, target="{key}.pkl"), n=[1]))
    assert columns == ["n", "state", "ok", "mean"]
    assert rows == [[1, "complete", True, 0.5]]


def test_several_results_of_a_combination():
    """They have the names of their outputs, or of their functions, with numbers where needed."""

    def area(n):
        return {"mean": n, "sum": 2 * n}

    def count(n):
        return 3 * n

    area, count = node_of(area), node_of(count)
    columns, rows = compared(dc.sweep(lambda n: {"a": area(n), "c": count(n)}, n=[1, 2]))
    assert columns == ["n", "state", "a.mean", "a.sum", "c"]
    assert rows[1] == [2, "complete", 2, 4, 6]
    columns, rows = compared(dc.sweep(lambda n: [count(n), area(n), count(n + 1)], n=[1]))
    assert columns == ["n", "state", "count_0", "area.mean", "area.sum", "count_1"]
    assert rows == [[1, "complete", 3, 1, 2, 6]]
    columns, _ = compared(dc.sweep(lambda n: {"n": count(n)}, n=[1]))
    assert columns == ["n", "state", "n.result"]
    columns, rows = compared(dc.sweep(lambda n: {"a.sum": count(n), "a": area(n)}, n=[1]))
    assert columns == ["n", "state", "a.sum", "a.mean", "a.sum_"]
    assert rows == [[1, "complete", 3, 1, 2]]


def test_large_results_are_not_read(monkeypatch, steps):
    def image(n):
        return list(range(n))

    nodes = dc.sweep(lambda n: {"image": node_of(image)(n), "load": steps.load(n)}, n=[1000])
    dc.compute(nodes)
    loaded = []
    entry = type(dc.plan(nodes)[0].entry)
    load = entry.load
    monkeypatch.setattr(entry, "load", lambda self, *a: loaded.append(self) or load(self, *a))
    with dask.config.set({"daskcache.inline": "1 kiB"}):
        assert nodes.compare().columns.tolist() == ["n", "state", "load"]
    assert len(loaded) == 1


def test_files_have_rows_of_their_own(wells):
    sizes = dc.sweep(lambda factor: size.map(wells, factor=factor), factor=[1, 2])
    columns, rows = compared(sizes)
    assert columns == ["factor", "plate", "site", "state", "size"]
    assert rows[-1] == [2, "P1", 2, "complete", 8]
    assert len(rows) == 4
    assert sizes.compare().groupby("factor")["size"].mean().tolist() == [4, 8]


def test_nodes_without_fields():
    assert compared(dc.Nodes())[1] == []
    columns, rows = compared(dc.Nodes([node_of(abs)(-1), node_of(divmod)(7, 2)]))
    assert columns == ["state", "abs"]
    assert rows == [["complete", 1]]


# ---- removing the losers ---------------------------------------------------------------------------


def test_losers_are_pruned(pipeline, runs, files):
    """What the best combination needs stays, with what all share."""
    scores = dc.sweep(pipeline, sigma=[1, 2], threshold=[10, 20])
    scores.compute()
    best = scores.where(sigma=2, threshold=20)
    kept = ["shared/loaded/5.json", "sigma=2,threshold=20/scores/5.json", "sigma=2/smoothed/5.json"]
    found = dc.prune(best)
    assert sorted(each.target for each in found.going) == sorted(set(files()) - set(kept))
    dc.prune(best, yes=True)
    assert files() == sorted(kept)
    runs.clear()
    assert best.compute() == [30]
    assert scores.where(sigma=2, threshold=10).compute() == [20]
    assert runs.take() == ["score"]


def test_corrected_losers_stay_and_are_named(pipeline, root):
    scores = dc.sweep(pipeline, sigma=[1, 2])
    scores.compute()
    (root / "sigma=1/smoothed/5.json").write_text("50")
    dc.adopt(dc.Node(scores[0]._recipe.upstream[0]))
    found = dc.prune(scores.where(sigma=2), yes=True)
    assert {each.target: each.reason for each in found.staying} == {
        "sigma=1/smoothed/5.json": "was adopted"
    }
    assert json.loads((root / "sigma=1/smoothed/5.json").read_text()) == 50
    assert not (root / "sigma=1/scores").exists() or not list((root / "sigma=1/scores").iterdir())


def test_the_base_stays_if_it_is_given(pipeline, files):
    """All that is still needed has to be given, as for any graph."""
    pipeline(sigma=7).compute()
    base = files()
    scores = dc.sweep(pipeline, sigma=[1, 2])
    scores.compute()
    best = scores.where(sigma=2)
    assert set(base[1:]) <= {each.target for each in dc.prune(best).going}
    assert not set(base) & {each.target for each in dc.prune(best, pipeline(sigma=7)).going}


def test_the_best_becomes_the_base(pipeline, runs, files):
    """Its results are copied, and all of the sweep can go."""
    dc.sweep(pipeline, sigma=[1, 2]).compute()
    runs.clear()
    base = pipeline(sigma=2)
    dc.prune(base, yes=True)
    assert base.compute() == 10
    assert runs.names() == []
    dc.prune(base, yes=True)
    assert not [path for path in files() if path.startswith(("shared/", "sigma="))]


# ---- at random -------------------------------------------------------------------------------------


class Model:
    """A pipeline of five steps that use some of three parameters, and what it gives without a graph."""

    def __init__(self, runs, seed):
        self.random = chance = random.Random(seed)
        self.parameters = {name: list(range(chance.randint(1, 3))) for name in "abc"}
        #: For each step, its parameters, the step before it, and whether plain Dask lies between them.
        self.shape = [
            (
                chance.sample("abc", chance.randint(0, 2)),
                chance.choice([None, *range(number)]),
                chance.random() < 0.3,
            )
            for number in range(5)
        ]
        #: How many values of a parameter next to each other make no difference.
        self.alike = chance.choice([1, 1, 2, 3])

        def step(before, number, used):
            runs.note(f"{number} {before} {used}")
            return [number, before, used]

        self.step = dc.delayed(step, target="{number}.json")

    def pipeline(self, **values):
        made = []
        for number, (names, before, is_composed) in enumerate(self.shape):
            given = 0 if before is None else made[before]
            given = dask.delayed(list)(given) if is_composed and before is not None else given
            made.append(self.step(given, number, self.used(names, values)))
        return made

    def direct(self, **values):
        found = []
        for number, (names, before, _) in enumerate(self.shape):
            found.append([number, 0 if before is None else found[before], self.used(names, values)])
        return found

    def used(self, names, values):
        return [values[name] // self.alike for name in names]

    def rows(self):
        for values in itertools.product(*self.parameters.values()):
            yield from self.direct(**dict(zip(self.parameters, values, strict=True)))


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.filterwarnings("ignore::daskcache.errors.DaskcacheWarning")
def test_any_pipeline(seed, runs, root, files):
    """Values are right, nothing runs twice or lies in two places, and the base's files stay."""
    model = Model(runs, seed)
    at_base = {name: model.random.choice(values) for name, values in model.parameters.items()}
    dc.compute(model.pipeline(**at_base)[: model.random.randint(1, 5)])
    base = {path: (root / path).stat().st_mtime_ns for path in files()}
    nodes = dc.sweep(model.pipeline, **model.parameters)
    assert nodes.compute() == list(model.rows())
    assert len(runs.names()) == len(set(runs.names())) == len(files())
    for position in model.random.sample(range(len(nodes)), 3):  # any part of it finds its results
        assert dc.plan(nodes[[position]]).left == 0
    for _ in range(2):
        grown = model.random.choice(list(model.parameters))
        model.parameters[grown].insert(model.random.randint(0, 1), len(model.parameters[grown]))
        nodes = dc.sweep(model.pipeline, **model.parameters)
        assert nodes.compute() == list(model.rows())
        assert dc.plan(nodes).left == 0
        if model.alike == 1:
            assert len(runs.names()) == len(set(runs.names()))
    assert {path: (root / path).stat().st_mtime_ns for path in base} == base
