"""Graphs composed of nodes and of plain Dask, on every scheduler."""

from __future__ import annotations

import dataclasses
import operator
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from dask.callbacks import Callback

import daskcache as dc
from daskcache.graph.builder import GraphBuilder
from daskcache.planning.planner import Planner


@pytest.fixture
def made(runs):
    """Decorated functions that note their calls."""

    def number(i):
        runs.note("number")
        return i

    def pair(i):
        runs.note("pair")
        return i, -i

    def words(i):
        runs.note("words")
        return ["word"] * i

    def array(i):
        runs.note("array")
        return np.arange(i)

    def table(i):
        runs.note("table")
        return pd.DataFrame({"x": [i, i + 1]})

    def total(values):
        runs.note("total")
        return int(np.asarray(values).sum())

    def total_of(**named):
        runs.note("total_of")
        return sum(named.values())

    return SimpleNamespace(
        number=dc.delayed(number),
        pair=dc.delayed(pair, nout=2),
        words=dc.delayed(words),
        array=dc.delayed(array, target="arrays/{i}.npy"),
        table=dc.delayed(table, target="tables/{i}.parquet"),
        total=dc.delayed(total),
        total_of=dc.delayed(total_of),
    )


def composed_by_dask(m):
    """A plain Dask function of a node."""
    return dask.delayed(operator.neg)(m.number(3)), -3


def composed_in_a_list(m):
    """A plain Dask function of a list of nodes."""
    return dask.delayed(sum)([m.number(i) for i in range(5)]), 10


def composed_in_a_dict(m):
    """A plain Dask function of nodes in nested dicts and tuples."""
    nested = {"a": m.number(1), "b": {"c": [m.number(2), 5], "d": (m.number(3),)}}
    return dask.delayed(lambda d: d)(nested), {"a": 1, "b": {"c": [2, 5], "d": (3,)}}


def composed_by_keyword(m):
    """A plain Dask function of nodes as keyword arguments."""
    return dask.delayed(dict)(a=m.number(1), b=[m.number(2)]), {"a": 1, "b": [2]}


def composed_in_a_dataclass(m):
    """A plain Dask function of nodes in a dataclass."""

    @dataclasses.dataclass
    class Point:
        x: object
        y: object

    point = Point(m.number(1), m.number(2))
    return dask.delayed(lambda p: (p.x, p.y))(point), (1, 2)


def container_of_nodes(m):
    """`dask.delayed` of a container, nodes and values mixed."""
    return dask.delayed([m.number(1), 2, {"three": m.number(3)}]), [1, 2, {"three": 3}]


def operators(m):
    """Arithmetic, comparison and unary operators between nodes and values."""
    a, b = m.number(7), m.number(2)
    return dask.delayed([a + b, a - 1, 2 * a, a // b, a % b, -a, a > b, a == 7, abs(-b)]), [
        *(9, 6, 14, 3, 1, -7, True, True, 2)
    ]


def items(m):
    """Items and slices of a node, by value and by node."""
    words = m.words(4)
    return dask.delayed([words[0], words[1:3], words[m.number(2)]]), ["word", ["word"] * 2, "word"]


def attributes_and_methods(m):
    """Attributes and methods of the value."""
    table = m.table(4)
    return dask.delayed([table.shape, table.x.sum(), m.words(3).count("word")]), [(2, 1), 9, 3]


def several_outputs(m):
    """A node with nout unpacks."""
    first, second = m.pair(4)
    return dask.delayed(operator.sub)(first, second), 8


def nodes_after_plain_dask(m):
    """Node, plain Dask, node, plain Dask."""
    plain = dask.delayed(operator.add)(m.number(1), m.number(2))
    return dask.delayed(operator.neg)(m.total([plain, m.number(4)])), -7


def shared_by_both(m):
    """One node used directly and through plain Dask."""
    node = m.number(3)
    return m.total([node, node + 1, dask.delayed(operator.mul)(node, 2)]), 13


def array_from_nodes(m):
    """A Dask array whose chunks are nodes."""
    chunks = [da.from_delayed(m.array(i), shape=(i,), dtype=int) for i in (3, 4)]
    return (da.concatenate(chunks) + 1).sum(), 16


def bag_from_nodes(m):
    """A bag whose partitions are nodes."""
    return db.from_delayed([m.words(1), m.words(2)]).map(len).sum(), 12


def frame_from_nodes(m):
    """A Dask data frame whose partitions are nodes."""
    meta = pd.DataFrame({"x": [0]})
    return dd.from_delayed([m.table(0), m.table(5)], meta=meta).x.sum(), 12


def node_of_an_array(m):
    """A node whose argument is a Dask array."""
    return m.total(da.arange(10, chunks=5) * 2), 90


def node_of_a_bag(m):
    """A node whose argument is a bag."""
    return m.total(db.from_sequence(range(5), npartitions=2)), 10


def node_of_a_frame(m):
    """A node whose argument is a Dask data frame."""
    return m.total(dd.from_pandas(pd.DataFrame({"x": range(4)}), npartitions=2)), 6


def node_of_a_delayed(m):
    """A node whose arguments are plain Dask values, in keywords and lists."""
    one = dask.delayed(operator.add)(0, 1)
    return m.total_of(a=one, b=dask.delayed(2), c=m.total([one, one])), 5


def node_of_an_array_of_nodes(m):
    """A node whose argument is a Dask array whose chunks are nodes."""
    return m.total(da.from_delayed(m.array(5), shape=(5,), dtype=int) + 1), 15


def xarray_from_nodes(m):
    """An xarray data array whose chunks are nodes."""
    chunks = [da.from_delayed(m.array(4), shape=(4,), dtype=int)] * 2
    return xr.DataArray(da.stack(chunks), dims=("c", "x")).max("c").sum().data, 6


def node_of_an_xarray(m):
    """A node whose argument is an xarray data array of Dask chunks."""
    chunk = da.from_delayed(m.array(4), shape=(4,), dtype=int)
    return m.total(xr.DataArray(chunk, dims="x", coords={"x": [1, 2, 3, 4]})), 6


CASES = [
    composed_by_dask,
    composed_in_a_list,
    composed_in_a_dict,
    composed_by_keyword,
    composed_in_a_dataclass,
    container_of_nodes,
    operators,
    items,
    attributes_and_methods,
    several_outputs,
    nodes_after_plain_dask,
    shared_by_both,
    array_from_nodes,
    bag_from_nodes,
    frame_from_nodes,
    node_of_an_array,
    node_of_a_bag,
    node_of_a_frame,
    node_of_a_delayed,
    node_of_an_array_of_nodes,
    xarray_from_nodes,
    node_of_an_xarray,
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_composed_graph_is_right_and_runs_once(anywhere, made, runs, case):
    """The value is right, then and again; no decorated function runs twice."""
    collection, expected = case(made)
    assert runs.take() == []
    (value,) = dask.compute(collection)
    assert value == expected
    assert runs.take() != []
    (again,) = dask.compute(collection)
    assert again == expected
    (anew,) = dask.compute(case(made)[0])
    assert anew == expected
    assert runs.take() == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_composed_graph_can_be_persisted(anywhere, made, runs, case):
    """The persisted collection computes to the right value, and runs nothing a second time."""
    collection, expected = case(made)
    (persisted,) = dask.persist(collection)
    assert dask.compute(persisted)[0] == expected
    runs.take()
    assert dask.compute(persisted)[0] == expected
    assert dask.compute(collection)[0] == expected
    assert runs.take() == []


def test_each_decorated_function_runs_once_in_a_verb(anywhere, made, runs):
    """Nodes that several collections share run once, whichever way these were composed."""
    node = made.number(3)
    collections = (
        node,
        node + 1,
        dask.delayed([node, node]),
        made.total([node, 4]),
        db.from_delayed([dask.delayed(lambda x: [x])(node)]),
    )
    assert dask.compute(*collections) == (3, 4, [3, 3], 7, [3])
    assert runs.take() == ["number", "total"]


def test_a_composed_graph_plans_when_it_is_computed(anywhere, made, runs, request):
    """A node that finished after composing does not run; one that was deleted since runs again."""
    node = made.number(3)
    composed = dask.delayed(operator.neg)(node)
    node.compute()
    runs.take()
    assert dask.compute(composed) == (-3,)
    assert runs.take() == []
    node.dc.invalidate()
    if anywhere == "cluster":
        wait_until_forgotten(request.getfixturevalue("local_client"), composed.key)
    assert dask.compute(composed) == (-3,)
    assert runs.take() == ["number"]


def wait_until_forgotten(client, key):
    """A plain task's key is Dask's own: while the scheduler has it, it does not run again."""

    def has(key, dask_scheduler=None):
        return key in dask_scheduler.tasks

    deadline = time.monotonic() + 10
    while client.run_on_scheduler(has, key):
        assert time.monotonic() < deadline


# ---- annotations ------------------------------------------------------------------------------------

ANNOTATIONS = {"resources": {"GPU": 1}, "priority": 5, "retries": 3}


@pytest.fixture
def annotated(made):
    """A chain of three nodes; the one in the middle is made with annotations."""
    first = made.number(1)
    with dask.annotate(**ANNOTATIONS):
        middle = made.words(first)
    return first, middle, made.total_of(n=middle.count("word"), m=first)


def annotations_of(graph):
    """The annotations of each task of a graph that has any."""
    found = {}
    for layer in graph.layers.values():
        for kind, value in (layer.annotations or {}).items():
            for key in layer:
                of_task = value(key) if callable(value) else value
                if of_task is not None:
                    found.setdefault(key, {})[kind] = of_task
    return found


def test_annotations_reach_the_tasks_of_their_node_only(annotated):
    """Resources, priority and retries are on the annotated node, not on those around it."""
    _, middle, last = annotated
    for collection in (middle, last):
        found = annotations_of(collection.dask)
        running = {key: value for key, value in found.items() if "resources" in value}
        assert list(running.values()) == [ANNOTATIONS]
        assert all(key.startswith("words") and middle.dc.key in key for key in found)


def test_annotations_reach_nodes_in_composed_graphs(annotated):
    """A graph composed by plain Dask carries them, too, whether or not it is annotated itself."""
    _, middle, _ = annotated
    with dask.annotate(priority=-1):
        composed = dask.delayed(len)(middle)
    culled = composed.dask.cull(set(composed.__dask_keys__()))
    found = annotations_of(culled)
    assert ANNOTATIONS in found.values()
    assert all(key.startswith(("words", "len")) for key in found)
    assert [v for k, v in found.items() if k.startswith("len")] == [{"priority": -1}]


def test_a_load_needs_no_resources(annotated, runs):
    """Resources and retries are for running; to load what is complete takes a priority at most."""
    _, middle, _ = annotated
    dask.compute(middle, scheduler="sync")
    found = annotations_of(middle.dask)
    assert list(found.values()) == [{"priority": 5}]


def test_annotations_arrive_at_the_scheduler(made, local_client):
    """What a node was annotated with when it was made is on its own task there, and no other."""
    first = made.number(1)
    with dask.annotate(mark="here", priority=7):
        middle = made.words(first)
    last = made.total_of(n=dask.delayed(len)(middle))
    future = local_client.compute(last)
    assert future.result() == 1

    def annotations(dask_scheduler):
        tasks = dask_scheduler.tasks.values()
        return {str(ts.key): dict(ts.annotations or {}) for ts in tasks}

    found = local_client.run_on_scheduler(annotations)
    marked = {key for key, value in found.items() if value.get("mark") == "here"}
    assert marked
    assert all(key.startswith("words") for key in marked)
    assert any(key.startswith("number") for key in found)


# ---- configuration ----------------------------------------------------------------------------------


def test_the_root_can_be_set_for_a_while_before_first_use(tmp_path):
    """`dask.config.set` around the first use of the package does not take its defaults away."""
    program = f"""
import dask, daskcache
with dask.config.set({{"daskcache.root": {str(tmp_path / "first")!r}}}):
    first = daskcache.delayed(int)("1")
second = daskcache.delayed(int)("2")
print(dask.compute(first, second, scheduler="sync"))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout == "(1, 2)\n"
    assert (tmp_path / "first").is_dir()
    assert (tmp_path / "working").is_dir()


@pytest.mark.parametrize("verb", [dask.compute, dc.compute])
def test_an_uncached_node_that_is_wanted_and_composed_runs_once(anywhere, runs, verb):
    """A node without a target, wanted by itself and in a container, is one task on every scheduler."""

    @dc.delayed(save=False)
    def make(i):
        runs.note("make")
        return i

    @dc.delayed(save=False)
    def double(i):
        runs.note("double")
        return 2 * i

    node = double(make(3))
    assert verb(node, dask.delayed([node, 1])) == (6, [6, 1])
    assert sorted(runs.names()) == ["double", "make"]


def test_what_is_sent_again_beside_other_nodes_keeps_its_own_plan(cluster, root):
    """While a future of a composed graph lives, other nodes sent with it are planned as of now."""

    @dc.delayed(target="{name}.json")
    def make(name, value):
        return value

    kept = dask.delayed([make("kept", 1)])
    first, other = dask.delayed([make("first", 1)]), dask.delayed([make("other", 1)])
    future, *_ = futures = cluster.compute([kept, first, other])
    assert cluster.gather(futures) == [[1], [1], [1]]
    del futures, _
    wait_until_forgotten(cluster, first.key)
    wait_until_forgotten(cluster, other.key)
    (root / "other.json").unlink()
    again = [kept, dask.delayed([make("first", 2)]), other]
    assert cluster.gather(cluster.compute(again)) == [[1], [2], [1]]
    assert future.result() == [1]
    assert (root / "other.json").exists()


def test_what_could_not_be_sent_is_planned_anew(cluster, root):
    """A composed graph whose verb failed while it was planned is not bound to that failed plan."""
    make = dc.delayed(lambda n: n, target="same.json", version=1)
    composed = dask.delayed(operator.add)(make(1), 10)
    with pytest.raises(TypeError) as failed:  # which holds the futures of the verb
        cluster.compute([make(2), composed])
    assert "two nodes claim one target" in causes(failed.value)
    assert cluster.compute(composed).result() == 11


@pytest.mark.parametrize("order", [1, -1])
def test_what_is_not_needed_stands_in_no_way(cluster, root, order):
    """A composed graph knows of nodes that it needs no more: that one was edited concerns nobody."""

    @dc.delayed(target="{name}.json")
    def make(name, value):
        return value

    finished = dc.delayed(lambda before: before + 1, target="finished.json", check="exists")
    composed = dask.delayed(sum)([finished(make("edited", 1))])
    composed.compute(scheduler="sync")
    (root / "edited.json").write_text("1000")
    here = [composed, make("a", 3), dask.delayed(sum)([make("b", 4)])][::order]
    there = [composed, make("c", 3), dask.delayed(sum)([make("d", 4)])][::order]
    assert list(dask.compute(*here, scheduler="sync")) == [2, 3, 4][::order]
    assert cluster.gather(cluster.compute(there)) == [2, 3, 4][::order]
    assert (root / "edited.json").read_text() == "1000"


@pytest.fixture
def slow(root, tmp_path):
    """Three nodes, one after the other, of which the second takes until the file ``ready`` is there."""

    def wait(before, path):
        while not os.path.exists(path):
            time.sleep(0.01)
        return before + 1

    before = dc.delayed(lambda: 1, target="before.json", version=1)()
    node = dc.delayed(wait, target="node.json")(before, str(tmp_path / "ready"))
    after = dc.delayed(lambda node: node + 1, target="after.json", version=1)(node)
    return SimpleNamespace(before=before, node=node, after=after, end=(tmp_path / "ready").touch)


@pytest.mark.parametrize("first", ["node", "after"])
def test_what_a_composed_graph_waits_for_is_in_it(cluster, slow, first):
    """In whatever order Dask asks for its tasks, while one of its nodes is under way for its value."""
    slow.before.compute()
    running = cluster.compute(slow.node)
    node, after = slow.node._recipe, slow.after._recipe
    builder = GraphBuilder(Planner())
    builder.outputs, builder.values = frozenset(["composed"]), frozenset([node.identity])
    with builder.singly():
        if first == "after":
            builder.add_entry(after)
        value = builder.add_value_under_way(node) or builder.add_value(node)
        graph = {value, builder.add_entry(node), builder.add_entry(after)}
    slow.end()
    assert running.result(timeout=30) == 2
    assert value == running.key
    assert {key for name in graph for key in builder.tasks[name].dependencies} <= graph


def test_what_was_never_sent_is_not_under_way(cluster, slow):
    """A verb that fails as its graph is pickled leaves futures, which stay as long as its error."""
    claim = dc.delayed(lambda n: n, target="claimed.json", version=1)
    slow.end()
    with pytest.raises(TypeError) as failed:
        cluster.compute([slow.node, dask.delayed(list)([claim(1), claim(2)])])
    assert "two nodes claim one target" in causes(failed.value)
    assert slow.before.compute() == 1
    composed = dask.delayed(list)([slow.node, slow.after])
    assert cluster.compute(composed).result(timeout=30) == [2, 3]


@pytest.mark.parametrize("sent", [["node", "after"], ["after"]])
def test_what_a_cluster_does_is_in_no_graph_of_this_process(cluster, root, slow, sent):
    """A composed graph that runs here is whole, though a cluster makes its nodes as well."""
    running = [cluster.compute(getattr(slow, name)) for name in sent]
    while not (root / "before.json").exists():
        time.sleep(0.01)
    with Callback(start=lambda graph: slow.end()):
        assert dask.delayed(list)([slow.node, slow.after]).compute(scheduler="sync") == [2, 3]
    assert running[-1].result(timeout=30) == 3


def causes(error):
    """The messages of an error and of all that led to it."""
    found = []
    while error is not None:
        found.append(str(error))
        error = error.__cause__ or error.__context__
    return "\n".join(found)
