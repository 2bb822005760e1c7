"""`Nodes`: many nodes as a sequence, and as one Dask collection for every verb."""

from __future__ import annotations

import operator
import os
import pickle
from pathlib import Path

import cloudpickle
import dask
import pytest

import daskcache as dc
from daskcache.errors import GraphError, NodeFailed, NotANode, ResultError, TargetMissing
from daskcache.graph import verb
from daskcache.graph.node import Node


@pytest.fixture
def wells(tmp_path, monkeypatch):
    """Three files of two plates."""
    monkeypatch.chdir(tmp_path)
    Path("raw").mkdir()
    for name in ("P1_1", "P1_2", "P2_10"):
        Path(f"raw/{name}.txt").write_text(name)
    return dc.sources("raw/{plate}_{site:d}.txt")


@pytest.fixture
def made(runs):
    """Decorated functions that note their calls."""

    def size(text):
        runs.note("size")
        return len(text)

    def root(n):
        runs.note("root")
        if n < 0:
            raise ValueError("negative")
        return n**0.5

    def double(x):
        runs.note("double")
        return 2 * x

    return {
        "size": dc.delayed(size, target="size/{text.plate}_{text.site}.json"),
        "root": dc.delayed(root, target="root/{n}.json"),
        "double": dc.delayed(double, save=False),
    }


@dc.delayed(target="squares/{n}.json")
def square(n):
    return n * n


@dc.delayed(target="echo/{key}.json")
def echo(values):
    return [type(values).__name__, values]


# ---- a sequence ----------------------------------------------------------------------------------


def test_a_sequence():
    """Nodes are found in it by key and target, as comparing lazy values gives a lazy value."""
    nodes = square.map([1, 2, 2])
    assert len(nodes) == 3
    assert [type(node) for node in nodes] == [Node] * 3
    assert square(2) in nodes
    assert square(3) not in nodes
    assert 2 not in nodes
    assert (nodes.index(square(2)), nodes.index(square(2), 2), nodes.count(square(2))) == (1, 2, 2)
    assert [node.dc.key for node in reversed(nodes)] == [node.dc.key for node in nodes[::-1]]
    with pytest.raises(ValueError, match=r"square\(squares/5.json\).* is not among the nodes"):
        nodes.index(square(5))


def test_only_nodes_are_taken():
    """Anything else is refused, and named."""
    with pytest.raises(NotANode, match="got: 3"):
        dc.Nodes([square(1), 3])


def test_fields_paths_and_states(wells, made):
    """Each has one value for each node, in order."""
    nodes = made["size"].map(wells)
    nodes[1].compute()
    assert nodes.fields == {"plate": ["P1", "P1", "P2"], "site": [1, 2, 10]}
    assert nodes.paths == [node.dc.path for node in nodes]
    assert nodes.states == ["missing", "complete", "missing"]
    assert dc.Nodes([nodes[0], square(1)]).fields["site"] == [1, None]


def test_paths_of_all_kinds():
    """None without a target, a tuple for several, and the hash of the data where it is known."""
    hashed = dc.delayed(abs, target="{data_hash}.json")(-1)
    several = dc.delayed(divmod, target=("a.json", "b.json"))(7, 2)
    nodes = dc.Nodes([dc.delayed(abs, save=False)(1), several, hashed])
    assert nodes.paths == [None, several.dc.path, hashed.dc.path]
    nodes.compute()
    assert "{" not in nodes.paths[2]


def test_where(wells, made):
    """Fields take a value or several; a state is that of now."""
    nodes = made["size"].map(wells)
    nodes[2].compute()

    def sites(nodes):
        return nodes.fields.get("site", [])

    assert sites(nodes.where(plate="P1")) == [1, 2]
    assert sites(nodes.where(site=[10, 1])) == [1, 10]
    assert sites(nodes.where(plate="P1", site=10)) == []
    assert sites(nodes.where(state="complete")) == [10]
    assert sites(nodes.where(state=["missing", "stale"], site=2)) == [2]
    assert sites(nodes.where()) == [1, 2, 10]


def test_where_with_what_no_node_has(wells, made):
    """A slip is an error, not an empty selection: a field, a value, its type, or a state."""
    nodes = made["size"].map(wells)
    with pytest.raises(GraphError, match=r"no field 'wel'"):
        nodes.where(wel="A01")
    with pytest.raises(GraphError, match=r"no node has plate='P3'(.|\n)*'P1', 'P2'"):
        nodes.where(plate="P3")
    with pytest.raises(GraphError, match=r"site='1'(.|\n)*one of 1, 2, 10(.|\n)*'1', a str"):
        nodes.where(site="1")
    with pytest.raises(GraphError, match=r"state='faild'(.|\n)*did you mean 'failed'"):
        nodes.where(state="faild")


def test_group_by(wells, made):
    """Groups are in order, numbers as numbers; `state` is a field like others."""
    nodes = made["size"].map(reversed(wells))
    nodes[0].compute()
    assert {plate: len(group) for plate, group in nodes.group_by("plate").items()} == {"P1": 2, "P2": 1}
    assert list(nodes.group_by("site")) == [1, 2, 10]
    assert list(nodes.group_by("plate", "site")) == [("P1", 1), ("P1", 2), ("P2", 10)]
    assert [len(group) for group in nodes.group_by("state").values()] == [1, 2]
    assert nodes[:0].group_by("state") == {}


@pytest.mark.parametrize("name", ["state", "target"])
def test_fields_with_names_of_columns_are_refused(name):
    """A pattern can't have a field that a frame of nodes, or `where`, takes for something else."""
    with pytest.raises(GraphError, match=f"has a field '{name}'"):
        dc.sources(f"raw/{{{name}}}.txt")


def test_load(made):
    """It reads complete results and runs nothing; the error counts what is not there."""
    nodes = square.map([1, 2, 3])
    nodes[1].compute()
    assert nodes[1:2].load() == [4]
    with pytest.raises(TargetMissing, match=r"2 of 3 have none(.|\n)*squares/1.json(.|\n)*missing"):
        nodes.load()
    nodes.compute()
    assert nodes.load() == [1, 4, 9]


def test_to_frame(wells, made):
    """It has fields, states and targets, and positions for labels."""
    nodes = made["size"].map(wells)
    nodes[0].compute()
    frame = nodes.to_frame()
    assert list(frame.columns) == ["plate", "site", "state", "target"]
    assert frame["site"].tolist() == [1, 2, 10]
    assert frame["state"].tolist() == ["complete", "missing", "missing"]
    assert frame["target"].tolist() == ["size/P1_1.json", "size/P1_2.json", "size/P2_10.json"]


def test_a_frame_of_names_that_are_no_unicode(tmp_path, monkeypatch):
    """The dtype of texts in pandas 3 refuses names of files in Latin-1."""
    monkeypatch.chdir(tmp_path)
    for name in (b"\xc5.txt", b"b.txt"):
        Path(os.fsdecode(name)).write_text("a well")
    texts = dc.sources("{well}.txt")
    assert list(texts.to_frame()["well"]) == ["b", "\udcc5"]
    nodes = dc.delayed(len, save=False).map(texts)
    assert list(nodes.to_frame()["well"]) == ["b", "\udcc5"]
    assert len(dc.plan(nodes).to_frame()) == 2


# ---- shown ---------------------------------------------------------------------------------------


def test_shown(wells, made):
    """Text and HTML have states, targets and reasons; `repr` looks at no file."""
    nodes = made["size"].map(wells)
    nodes[0].compute()
    text, shown = str(nodes), nodes._repr_html_()
    assert text.startswith("3 nodes of size, plate: 2, site: 3; 1 complete, 2 missing\n")
    assert "3 nodes of size, plate: 2, site: 3; 1 complete, 2 missing</p>" in shown
    for part in ("size/P1_1.json", "complete", "was never computed"):
        assert part in text
        assert part in shown
    with dask.config.set({"daskcache.hash": "unknown"}):
        assert repr(nodes) == "<Nodes: 3 nodes of size, plate: 2, site: 3>"


def test_many_and_none_are_shown():
    """Long tables end in the number of nodes that are left out; no nodes are one line."""
    nodes = square.map(range(100))
    assert "… and 70 more; nodes.to_frame() has them all" in str(nodes)
    assert "and 70 more" in nodes._repr_html_()
    assert str(dc.Nodes()) == "0 nodes"
    assert "<table" not in dc.Nodes()._repr_html_()


def test_labels_and_markup_are_shown_safely():
    """A label stands before its target; nothing of either is taken for markup."""
    named = dc.delayed(abs, target="abs.json", label="<b>{funcname}")
    shown = dc.Nodes([named(-1)])._repr_html_()
    assert "&lt;b&gt;abs: abs.json" in shown
    assert "<b>abs" not in shown


# ---- verbs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["nodes", "dask", "daskcache", "plan"])
def test_computing(made, runs, by):
    """Each verb gives the values in order, and runs what is left, once."""
    nodes = made["root"].map([4, 9, 4, 16])
    nodes[0].compute()
    runs.clear()
    compute = {
        "nodes": nodes.compute,
        "dask": lambda: dask.compute(nodes)[0],
        "daskcache": lambda: dc.compute(nodes)[0],
        "plan": lambda: list(dc.plan(nodes).compute()),
    }[by]
    assert compute() == [2, 3, 2, 4]
    assert runs.take() == ["root", "root"]
    assert compute() == [2, 3, 2, 4]
    assert runs.take() == []


def test_mixed_with_other_collections(made):
    """Nodes, one of them, lists of them and plain Dask values are computed in one verb."""
    nodes = made["root"].map([4, 9])
    expected = ([2, 3], 3, {"a": [[2, 3], 2]}, 5)
    given = nodes, nodes[1], {"a": [nodes, nodes[0]]}, dask.delayed(operator.add)(2, 3)
    assert dask.compute(*given) == expected
    assert dc.compute(*given) == expected


def test_one_collection(monkeypatch):
    """Dask reads one graph, and daskcache requests all nodes from one planner at once."""
    nodes = square.map(range(50))
    nodes.compute()
    reads, requested = [], []
    planned_graph, request_all = verb.planned_graph, verb.Planner.request_all

    def counted_graph(*args, **kwargs):
        reads.append(args)
        return planned_graph(*args, **kwargs)

    def counted_request(planner, recipes):
        requested.append((planner, len(recipes)))
        return request_all(planner, recipes)

    monkeypatch.setattr(verb, "planned_graph", counted_graph)
    monkeypatch.setattr(verb.Planner, "request_all", counted_request)
    assert dask.compute(nodes)[0][-1] == 49**2
    assert len(reads) == 2  # Dask asks if there is a graph, and takes it
    assert [count for _, count in requested] == [50]


def test_no_nodes():
    """An empty selection computes, plans and is invalidated as nothing."""
    none = dc.Nodes()
    assert none.compute() == []
    assert dask.compute(none, square(2)) == ([], 4)
    assert dc.compute(none) == ([],)
    assert dc.plan(none).left == 0
    assert dc.accept(none) == 0
    assert list(dc.failures(none)) == []
    dc.invalidate(none)


def test_persisting(runs, made):
    """Persisted nodes are `Nodes` with values, and go on as inputs."""
    nodes = made["root"].map([4, 9])
    for persist in (dask.persist, dc.persist):
        (kept,) = persist(nodes)
        assert isinstance(kept, dc.Nodes)
        runs.clear()
        assert dask.compute(kept) == ([2, 3],)
        assert dask.compute(dc.Nodes([*kept, square(5)])) == ([2, 3, 25],)
        assert made["double"].map(kept).compute() == [4, 6]
        assert runs.take() == ["double", "double"]
        dc.invalidate(nodes)
        assert kept.compute() == [2, 3]


def test_what_is_not_stored_is_persisted(runs, made):
    """The values of nodes without targets live in the persisted nodes."""
    (kept,) = dask.persist(made["double"].map([1, 2]))
    runs.clear()
    assert made["double"].map(kept).compute() == [4, 8]
    assert dask.delayed(sum)(kept).compute() == 6
    assert runs.take() == ["double", "double"]


def test_optimizing():
    """Optimized nodes compute, together or one by one."""
    (nodes,) = dask.optimize(square.map([2, 3]))
    assert nodes.compute() == [4, 9]
    assert nodes[1].compute() == 9


def test_collecting_failures(made):
    """A failed member is a `NodeFailed` in the list, for each verb; it is selected by its state."""
    nodes = made["root"].map([4, -1])
    with dask.config.set({"daskcache.errors": "collect"}):
        for values in (nodes.compute(), dask.compute(nodes)[0], dc.persist(nodes)[0].compute()):
            assert values[0] == 2
            assert isinstance(values[1], NodeFailed)
    assert isinstance(dc.compute(nodes, errors="collect")[0][1], NodeFailed)
    failed = nodes.where(state="failed")
    assert [note.error for note in dc.failures(failed)] == ["ValueError: negative"]
    with pytest.raises(ValueError, match="negative"):
        dask.compute(nodes)


def test_other_verbs():
    """Verbs of single nodes give a list; those that change something take all nodes."""
    nodes = square.map([1, 2])
    assert dc.status(nodes) == ["missing", "missing"]
    assert [str(why) for why in dc.why(nodes)] == ["was never computed"] * 2
    assert dc.target(nodes) == [node.dc.target for node in nodes]
    nodes.compute()
    assert dc.compute(nodes, force=nodes) == ([1, 4],)
    assert dc.audit(nodes).ok
    Path(nodes[0].dc.path).write_text("7")
    assert dc.adopt(nodes) == 1
    assert dc.release(nodes) == 1
    dc.invalidate(nodes)
    assert nodes.states == ["missing", "missing"]


# ---- as an argument, and composed ----------------------------------------------------------------


def test_as_an_argument(made):
    """They arrive as a list, anywhere in an argument, under the key of the list."""
    nodes = square.map([1, 2])
    assert echo(nodes).compute() == ["list", [1, 4]]
    assert echo(nodes).dc.key == echo(list(nodes)).dc.key
    assert echo({"a": (nodes, 3)}).dc.key == echo({"a": (list(nodes), 3)}).dc.key
    assert echo(dc.Nodes()).dc.key == echo([]).dc.key
    assert dc.plan(echo(square.map([5, 6]))).left == 3


def test_composed(made, runs):
    """Plain Dask functions get a list; the graph plans when it is computed."""
    nodes = made["root"].map([4, 9])
    composed = dask.delayed(sum)(nodes)
    nested = dask.delayed(list)([nodes, nodes[0]])
    nodes.compute()
    runs.clear()
    assert composed.compute() == 5
    assert nested.compute() == [[2, 3], 2]
    assert runs.take() == []


def test_composing_plans_nothing(monkeypatch):
    """The graph is planned when it is computed, also after a verb has planned these nodes."""
    nodes = square.map([1, 2])
    assert dask.compute(nodes) == ([1, 4],)
    with monkeypatch.context() as patch:
        patch.setattr(verb, "planned_graph", None)
        composed = dask.delayed(sum)(nodes)
    assert composed.compute() == 5


def test_a_body_that_returns_nodes():
    """It is refused, as a single node is."""
    nodes = square.map([1, 2])

    @dc.delayed(version=1)
    def returns():
        return vars(holder)["nodes"]

    holder.nodes = nodes
    with pytest.raises(ResultError, match="lazy Dask value"):
        returns().compute()


class holder:
    """A place that no key follows."""


def test_the_result_of_a_flow():
    """A flow that returns `Nodes` gives their values."""

    @dc.flow
    def run(numbers):
        return {"squares": square.map(numbers)}

    assert run([1, 2]) == {"squares": [1, 4]}


@pytest.mark.parametrize("mode", ["dask", "cache", "function"])
def test_tasks_map_nodes(mode):
    """`task.map` goes through nodes as through a list."""
    nodes = square.map([1, 2])
    nodes.compute()
    with dask.config.set({"daskcache.mode": mode}):
        double = dc.task(lambda x: x if isinstance(x, Node) else 2 * x, save=False)
        assert len(double.map(nodes)) == 2


def test_pickled(made, runs):
    """Nodes come back as they were, with what they share, and with the values that they hold."""
    first = echo([1])
    nodes = echo.map([[first, n] for n in range(3)])
    again = pickle.loads(cloudpickle.dumps(nodes))
    assert [node.dc.key for node in again] == [node.dc.key for node in nodes]
    assert len({id(node._recipe.upstream[0]) for node in again}) == 1
    (kept,) = dask.persist(made["double"].map([3]))
    assert pickle.loads(cloudpickle.dumps(kept)).compute() == [6]
    assert runs.take() == ["double"]


def test_tokens():
    """Equal nodes have equal tokens, and Dask computes them once."""
    assert dask.base.tokenize(square.map([1, 2])) == dask.base.tokenize(square.map([1, 2]))
    assert dask.base.tokenize(square.map([1, 2])) != dask.base.tokenize(square.map([2, 1]))
