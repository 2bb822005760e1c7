"""What `persist`, `optimize`, `submit` and `dask.graph_manipulation` do with nodes."""

from __future__ import annotations

import copy
import gc
import operator
import os
import pickle
import time
from types import SimpleNamespace

import cloudpickle
import dask
import pytest
from clusters import on_cluster
from dask.delayed import Delayed
from dask.graph_manipulation import bind, checkpoint, clone, wait_on
from distributed import Client, futures_of, wait

import daskcache as dc
from daskcache.testing.assertions import scheduler_tasks


@pytest.fixture
def made(runs, tmp_path):
    """Decorated functions that note their calls; `gated` waits until `open` is called."""
    gate = str(tmp_path / "gate")

    def number(i):
        runs.note("number")
        return i

    def double(x):
        runs.note("double")
        return 2 * x

    def total(values):
        runs.note("total")
        return sum(values)

    def held(i):
        runs.note("held")
        return i

    def gated(i):
        runs.note("gated")
        deadline = time.monotonic() + 60
        while not os.path.exists(gate):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return i

    def slow(i):
        time.sleep(0.3)
        runs.note("slow")
        return i

    def broken(i):
        runs.note("broken")
        raise ValueError(f"broken {i}")

    return SimpleNamespace(
        number=dc.delayed(number, target="number/{i}.json"),
        double=dc.delayed(double),
        total=dc.delayed(total),
        held=dc.delayed(held, save=False),
        gated=dc.delayed(gated, target="gated/{i}.json"),
        slow=dc.delayed(slow),
        broken=dc.delayed(broken),
        open=lambda: open(gate, "w").close(),
    )


def by_method(client, node):
    return node.persist()


def by_dask(client, node):
    return dask.persist(node)[0]


def by_dask_nested(client, node):
    return dask.persist({"nested": [node]})[0]["nested"][0]


def by_client(client, node):
    return client.persist(node)


def by_client_list(client, node):
    return client.persist([node])[0]


VERBS = [by_method, by_dask, by_dask_nested, by_client, by_client_list]
verbs = pytest.mark.parametrize("persist", VERBS, ids=lambda verb: verb.__name__)
local_verbs = pytest.mark.parametrize("persist", VERBS[:3], ids=lambda verb: verb.__name__)
local = pytest.mark.parametrize("scheduler", ["sync", "threads", "processes"])


@pytest.fixture
def client(local_client):
    with on_cluster(local_client) as client:
        yield client


@pytest.fixture
def second(client):
    """Another client of the same scheduler."""
    with Client(client.scheduler.address, set_as_default=False) as second:
        yield second


def all_done(node):
    """Wait until the futures of a persisted node are finished."""
    wait(futures_of(node))
    return node


# ---- recipe and futures ----------------------------------------------------------------------------


@verbs
def test_a_persisted_node_keeps_recipe_and_futures(client, made, runs, persist):
    """It is a node with the same key and target, and with one future, which `wait` waits for."""
    node = made.double(made.number(3))
    persisted = persist(client, node)
    assert isinstance(persisted, dc.Node)
    assert (persisted.dc.key, persisted.dc.path) == (node.dc.key, node.dc.path)
    assert repr(persisted) == repr(node)
    assert [future.client for future in futures_of(persisted)] == [client]
    done, not_done = wait(persisted)
    assert len(done) == 1
    assert not not_done
    assert futures_of(persisted)[0].result() == 6
    assert persisted.compute() == 6
    assert client.compute(persisted).result() == 6
    assert dask.compute(persisted) == (6,)
    assert runs.take() == ["double", "number"]


@verbs
def test_a_persisted_node_is_planned_as_what_it_is(client, made, runs, persist):
    """State, record, plan and `dc.compute` are about the node, as of now."""
    persisted = persist(client, made.double(made.number(3)))
    all_done(persisted)
    assert persisted.dc.state == dc.status(persisted) == "complete"
    assert str(persisted.dc.why()) == ""
    assert persisted.dc.record["key"].endswith(persisted.dc.key)
    assert dc.plan(persisted).left == 0
    assert dc.plan(made.total([persisted])).counts["run"] == 1
    assert dc.compute(persisted) == (6,)
    assert persisted.dc.load() == 6
    assert runs.take() == ["double", "number"]


@verbs
def test_a_persisted_node_is_upstream_of_others(client, made, runs, persist):
    """Nodes and plain values after it run on its value; the function itself ran once."""
    persisted = persist(client, made.number(3))
    after = made.double(persisted)
    assert after.dc.key == made.double(made.number(3)).dc.key
    assert dask.compute(after, persisted + 1, dask.delayed([persisted, after])) == (6, 4, [3, 6])
    assert client.compute(made.total([persisted, 1])).result() == 4
    assert runs.take() == ["double", "number", "total"]


@verbs
def test_running_work_is_shared(client, made, runs, persist):
    """What is made of a persisted node while it runs waits for that run."""
    persisted = persist(client, made.gated(3))
    after = client.compute(made.double(persisted))
    composed = client.compute(persisted + 1)
    again = client.compute(made.gated(3))
    anew = client.persist(made.total([made.gated(3)]))
    made.open()
    assert client.gather([after, composed, again, futures_of(anew)[0]]) == [6, 4, 3, 3]
    assert persisted.compute() == 3
    assert runs.take() == ["double", "gated", "total"]


@verbs
def test_a_persisted_node_that_is_not_cached_holds_its_value(client, made, runs, persist):
    """What has no target is in the cluster's memory: those after it use that, and don't run it again."""
    persisted = all_done(persist(client, made.held(3)))
    assert persisted.compute() == 3
    assert client.compute(persisted + 1).result() == 4
    assert client.compute(dask.delayed(operator.neg)(persisted)).result() == -3
    assert client.compute(made.double(persisted)).result() == 6
    assert client.compute(made.total([persisted, persisted + 1])).result() == 7
    assert runs.take() == ["double", "held", "total"]


@verbs
def test_a_persisted_node_outlives_its_target(client, made, runs, persist):
    """With its target deleted, the persisted value is still there; a node after it runs right."""
    persisted = all_done(persist(client, made.number(3)))
    persisted.dc.invalidate()
    assert persisted.dc.state == "missing"
    assert client.compute(persisted).result() == 3
    assert made.double(persisted).compute() == 6
    assert set(runs.take()) == {"double", "number"}


@verbs
def test_persisting_twice_runs_once(client, made, runs, persist):
    """A persisted node can be persisted again, and so can the node that it was made from."""
    node = made.gated(3)
    first = persist(client, node)
    second, third = persist(client, first), persist(client, node)
    made.open()
    assert dask.compute(first, second, third) == (3, 3, 3)
    assert {type(n) for n in (first, second, third)} == {dc.Node}
    assert runs.take() == ["gated"]


@verbs
def test_the_scheduler_forgets_what_nobody_holds(client, made, persist):
    """When the last persisted node is gone, none of its tasks is left on the scheduler."""
    persisted = all_done(persist(client, made.double(made.held(3))))
    keys = {persisted.dc.key, made.held(3).dc.key}
    assert left_on(client, keys)
    del persisted
    deadline = time.monotonic() + 20
    while left_on(client, keys):
        gc.collect()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def left_on(client, keys):
    tasks = client.run_on_scheduler(lambda dask_scheduler: [str(key) for key in dask_scheduler.tasks])
    return [task for task in tasks if any(key in task for key in keys)]


@verbs
def test_a_persisted_failure_raises_where_it_is_needed(client, made, runs, persist):
    """The error is on the future; computing the persisted node raises it."""
    persisted = all_done(persist(client, made.broken(3)))
    assert futures_of(persisted)[0].status == "error"
    with pytest.raises(ValueError, match="broken 3"):
        persisted.compute()
    with pytest.raises(ValueError, match="broken 3"):
        made.double(persisted).compute()
    assert persisted.dc.state in ("missing", "failed")


def test_many_persisted_nodes_share_what_is_upstream(client, made, runs):
    """One verb over nodes and plain values persists each, and runs what they share once."""
    first = made.number(3)
    nodes = [made.double(first), made.total([first, 1]), first + 1, dask.delayed([first])]
    persisted = dask.persist(*nodes)
    assert [type(value) for value in persisted] == [type(node) for node in nodes]
    assert dask.compute(*persisted) == (6, 4, 4, [3])
    assert runs.take() == ["double", "number", "total"]


def test_finished_nodes_persist_with_a_load_each(client, made, runs):
    """To persist what is complete takes one task a node, and one to compute it none more."""
    nodes = [made.double(made.number(i)) for i in range(5)]
    dask.compute(nodes)
    runs.take()
    with scheduler_tasks(client) as tasks:
        persisted = client.persist(nodes)
        wait(persisted)
        assert len(tasks()) == 5
    assert client.gather(client.compute(persisted)) == [0, 2, 4, 6, 8]
    assert runs.take() == []


# ---- other clients, pickles and copies -------------------------------------------------------------


@pytest.mark.parametrize("shape", ["node", "list", "composed"])
def test_published_nodes_are_found_by_another_client(client, second, made, runs, shape):
    """Another client gets node and value, without a run, though the first let go of them."""
    persisted = client.persist(made.double(made.held(3)))
    value = {"node": persisted, "list": [persisted], "composed": client.persist(persisted + 0)}[shape]
    client.publish_dataset(value, name=f"published {shape}")
    try:
        del persisted, value
        assert f"published {shape}" in second.list_datasets()
        with on_cluster(second):
            got = second.get_dataset(f"published {shape}")
            got = got[0] if shape == "list" else got
            assert isinstance(got, Delayed if shape == "composed" else dc.Node)
            assert second.compute(got).result() == 6
            assert got.compute() == 6
            assert second.compute(got + 1).result() == 7
            assert second.compute(made.total([got])).result() == 6
            assert [future.client for future in futures_of(got)] == [second]
            if shape != "composed":
                assert got.dc.key == made.double(made.held(3)).dc.key
                assert dc.plan(got).left == 0
        assert runs.take() == ["double", "held", "total"]
    finally:
        client.unpublish_dataset(f"published {shape}")


def test_nodes_that_are_not_persisted_can_be_published(client, second, made, runs):
    """Another client gets a value that computes, and keeps in the target what it computed."""
    client.publish_dataset(made.double(3), name="not persisted")
    try:
        with on_cluster(second):
            assert second.get_dataset("not persisted").compute() == 6
        assert made.double(3).dc.state == "complete"
        assert runs.take() == ["double"]
    finally:
        client.unpublish_dataset("not persisted")


@pytest.mark.parametrize(
    "again",
    [
        copy.copy,
        copy.deepcopy,
        lambda node: pickle.loads(cloudpickle.dumps(node)),
    ],
    ids=["copy", "deepcopy", "pickle"],
)
def test_persisted_nodes_can_be_copied_and_pickled(client, made, runs, again):
    """The copy has recipe and futures, and computes and composes as the original does."""
    persisted = all_done(client.persist(made.double(made.held(3))))
    twin = again(persisted)
    assert isinstance(twin, dc.Node)
    assert (twin.key, twin.dc.key) == (persisted.key, persisted.dc.key)
    assert [f.key for f in futures_of(twin)] == [f.key for f in futures_of(persisted)]
    assert client.compute(twin).result() == 6
    assert made.total([twin]).compute() == 6
    assert runs.take() == ["double", "held", "total"]


def test_a_persisted_node_from_another_client_is_upstream(client, second, made, runs):
    """Nodes made of it run on the cluster from either client; what ran is not run again."""
    persisted = all_done(client.persist(made.number(3)))
    with on_cluster(second):
        assert second.compute(made.double(persisted)).result() == 6
    assert runs.take() == ["double", "number"]


# ---- local schedulers ------------------------------------------------------------------------------


@local
@local_verbs
def test_persist_without_a_cluster_holds_the_value(made, runs, scheduler, persist):
    """On local schedulers a persisted node holds its value: no target and no run is needed again."""
    with dask.config.set(scheduler=scheduler, num_workers=2):
        for node, ran in ((made.double(made.number(3)), ["double", "number"]), (made.held(6), ["held"])):
            persisted = persist(None, node)
            assert runs.take() == ran
            assert isinstance(persisted, dc.Node)
            assert persisted.dc.key == node.dc.key
            node.dc.invalidate()
            assert dask.compute(persisted) == (6,)
            assert persisted.compute() == 6
            assert (persisted + 1).compute() == 7
            assert runs.take() == []


@local
def test_nodes_after_a_value_that_is_held(made, runs, scheduler):
    """A node after a persisted one that is not cached uses the value that it holds."""
    with dask.config.set(scheduler=scheduler, num_workers=2):
        (persisted,) = dask.persist(made.held(3))
        assert made.double(persisted).compute() == 6
        assert made.double(persisted).dc.key == made.double(made.held(3)).dc.key
    assert runs.take() == ["double", "held"]


@local
def test_persist_without_a_cluster_holds_plain_values_too(made, runs, scheduler):
    """Values composed from nodes are persisted with them, and each function runs once."""
    node = made.number(3)
    with dask.config.set(scheduler=scheduler, num_workers=2):
        persisted = dask.persist(node, node + 1, [made.double(node)])
        assert runs.take() == ["double", "number"]
        assert dask.compute(*persisted) == (3, 4, [6])
        assert runs.take() == []


# ---- optimize --------------------------------------------------------------------------------------


def test_optimized_nodes_compute_to_the_same(anywhere, made, runs):
    """`dask.optimize` gives collections of the same kinds and values; what they share runs once."""
    first = made.number(3)
    before = (made.double(first), first, first + 1, dask.delayed([first]))
    after = dask.optimize(*before)
    assert runs.take() == []
    assert [type(value) for value in after] == [type(value) for value in before]
    assert dask.compute(*after) == (6, 3, 4, [3])
    assert [value.compute() for value in after] == [6, 3, 4, [3]]
    assert runs.take() == ["double", "number"]


def test_an_optimized_node_is_still_one(anywhere, made, runs):
    """It has its key and target, can be used upstream, planned, persisted and optimized again."""
    node = made.double(made.number(3))
    (optimized,) = dask.optimize(node)
    assert (optimized.dc.key, optimized.dc.path) == (node.dc.key, node.dc.path)
    assert optimized.dc.state == "missing"
    assert dc.plan(optimized).left == 2
    assert made.total([optimized]).compute() == 6
    assert optimized.dc.state == "complete"
    assert dask.persist(*dask.optimize(optimized))[0].compute() == 6
    assert dc.compute(optimized) == (6,)
    assert runs.take() == ["double", "number", "total"]


def test_what_finished_after_optimizing_does_not_run(anywhere, made, runs):
    """A frozen graph asks for what is there by then; each node checks its own target."""
    node = made.double(made.number(3))
    (optimized,) = dask.optimize(node)
    node.compute()
    assert dask.compute(optimized) == (6,)
    assert runs.take() == ["double", "number"]


# ---- graph manipulation ----------------------------------------------------------------------------


def test_a_clone_computes_to_the_same(anywhere, made, runs):
    """Clones of nodes have keys of their own for Dask, and the values and targets of the originals."""
    node = made.double(made.number(3))
    clones = (clone(node), clone(node, omit=made.number(3)), clone([node])[0])
    for cloned in clones:
        assert isinstance(cloned, dc.Node)
        assert cloned.key != node.key
        assert (cloned.dc.key, cloned.dc.path) == (node.dc.key, node.dc.path)
        assert dask.compute(cloned, node) == (6, 6)
        assert dask.compute(made.total([cloned])) == (6,)
    assert set(runs.take()) == {"double", "number", "total"}
    anew = made.double(made.number(3))
    assert dask.compute(clone(anew), clone(anew)) == (6, 6)
    assert runs.take() == []


@pytest.mark.parametrize("plain", [False, True], ids=["node", "plain"])
def test_binding_a_node_is_refused(anywhere, made, plain):
    """`bind` can't make a cached node wait, and says what to do instead."""
    parent = made.slow(1)
    with pytest.raises(dc.errors.GraphError, match="make it an argument"):
        bind(made.double(made.number(3)), parent + 0 if plain else parent)


def test_plain_values_bound_to_nodes(anywhere, made, runs):
    """`bind` makes a plain value wait for a node."""
    assert dask.compute(bind(dask.delayed(operator.neg)(1), made.number(3))) == (-1,)
    assert runs.take() == ["number"]


def test_a_checkpoint_computes_its_nodes(anywhere, made, runs):
    """`checkpoint` runs nodes, direct and composed, each once, and gives None."""
    node = made.number(3)
    assert checkpoint(made.double(node), node + 1, [node]).compute() is None
    assert runs.take() == ["double", "number"]
    assert made.double(node).dc.state == "complete"
    assert checkpoint(made.double(node)).compute() is None
    assert runs.take() == []


def test_nodes_that_wait_for_each_other(anywhere, made, runs):
    """`wait_on` gives nodes with the same values; none is handed on before all are there."""
    nodes = [made.double(made.number(i)) for i in range(3)]
    waiting = wait_on(*nodes)
    assert all(isinstance(node, dc.Node) for node in waiting)
    assert dask.compute(*waiting) == (0, 2, 4)
    assert runs.take() == 3 * ["double"] + 3 * ["number"]
    assert dask.compute(waiting[1]) == (2,)
    assert runs.take() == []


@pytest.mark.parametrize(
    "manipulate",
    [clone, wait_on],
    ids=["clone", "wait_on"],
)
def test_nodes_that_were_computed_can_be_manipulated(anywhere, made, runs, manipulate):
    """It makes no difference whether a verb has read the node before."""
    node = made.double(made.number(3))
    assert dask.compute(node) == (6,)
    assert dask.compute(manipulate(node)) == (6,)
    node.dc.invalidate()
    assert dask.compute(manipulate(node)) == (6,)
    assert checkpoint(node).compute() is None
    assert runs.take() == ["double", "double", "number"]


# ---- nodes as arguments of submit and map ----------------------------------------------------------

# Dask hands a lazy value that it finds among the arguments of `submit` to the function as it is.


@pytest.mark.parametrize("where", ["in the task", "on the cluster"])
@pytest.mark.parametrize("state", ["missing", "complete", "persisted"])
def test_submitted_nodes_arrive_as_lazy_values(cluster, made, runs, state, where):
    """The function gets a lazy value, as with plain Dask, that computes to the node's, and is cached."""
    # what is persisted is on the cluster only
    settings = {"scheduler": "sync"} if where == "in the task" and state != "persisted" else {}

    def compute(value):
        assert isinstance(value, Delayed)
        return value.compute(**settings)

    nodes = [made.double(made.number(i)) for i in range(3)]
    if state == "complete":
        dask.compute(nodes)
    if state == "persisted":
        nodes = cluster.persist(nodes)
        wait(nodes)
    assert cluster.submit(compute, nodes[0]).result() == 0
    assert cluster.submit(compute, value=nodes[1]).result() == 2
    assert cluster.gather(cluster.map(compute, nodes, pure=False)) == [0, 2, 4]
    assert [node.dc.state for node in nodes] == ["complete"] * 3
    assert runs.take() == 3 * ["double"] + 3 * ["number"]


def test_a_future_is_what_submit_takes_for_a_node(client, made, runs):
    """`client.submit(f, client.compute(node))` gives the function the value."""
    node = made.double(made.number(3))
    assert client.submit(operator.neg, client.compute(node)).result() == -6
    (future,) = futures_of(client.persist(node))
    assert client.submit(operator.add, future, 1).result() == 7
    assert client.gather(client.map(operator.neg, client.compute([node, made.number(3)]))) == [-6, -3]
    assert runs.take() == ["double", "number"]


def test_a_future_as_an_argument_of_a_node(client, made, runs):
    """A decorated function given a future works on its value, or says that it can't."""
    future = client.compute(made.number(3))
    try:
        node = made.double(future)
    except dc.errors.DaskcacheError:
        node = made.double(client.persist(made.number(3)))
    assert node.compute() == 6


def test_scattered_nodes_come_back(client, made):
    """`scatter` and `gather` of a node give the node."""
    node = made.number(3)
    back = client.gather(client.scatter(node))
    assert back.compute() == 3
