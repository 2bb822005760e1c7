"""Every verb of Dask on a finished graph of 1,000 nodes: only loads reach the scheduler."""

from __future__ import annotations

import dask
import pytest
from distributed import wait

import daskcache as dc
from daskcache.testing.assertions import RunCounter, scheduler_tasks

CHAINS = 333
MANY = 10


class Graph:
    """333 chains of three nodes, and one node that takes the ends of all: 1,000 nodes."""

    def __init__(self, root, counter):
        def load(i):
            counter.note("load")
            return i

        def scale(x):
            counter.note("scale")
            return x * 2

        def shift(x):
            counter.note("shift")
            return x + 1

        def total(values):
            counter.note("total")
            return sum(values)

        with dask.config.set({"daskcache.root": str(root)}):
            load, scale, shift, total = map(dc.delayed, (load, scale, shift, total))
            self.ends = [shift(scale(load(i))) for i in range(CHAINS)]
            self.total = total(self.ends)

    def requested(self, shape):
        """What is asked for, and its value."""
        nodes = [self.total, *self.ends[: MANY - 1]]
        values = [sum(2 * i + 1 for i in range(CHAINS)), *(2 * i + 1 for i in range(MANY - 1))]
        if shape == "one":
            return nodes[0], values[0]
        if shape == "dict":
            return _as_dict(nodes), _as_dict(values)
        return nodes, values  # "many" or "list"


def _as_dict(items):
    return {"total": items[0], "ends": list(items[1:-1]), "nested": {"last": [items[-1]]}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A function that builds the graph anew; all of it was computed before."""
    base = tmp_path_factory.mktemp("finished")
    counter = RunCounter(base / "runs")
    graph = Graph(base / "root", counter)
    with dask.config.set(scheduler="sync"):
        graph.total.compute()
    assert len(counter.take()) == 3 * CHAINS + 1

    def build():
        return Graph(base / "root", counter), counter

    return build


# A verb may put as many tasks on the scheduler as nodes are requested.  Where a verb takes single
# values only, so that a list or dict goes through `dask.delayed`, Dask has one task more, which
# assembles that container.  Each function below returns how many of those there are.


def node_compute(client, shape, requested):
    if shape == "one":
        return requested.compute(), 0
    if shape == "many":
        return [node.compute() for node in requested], 0
    return dask.delayed(requested).compute(), 1


def node_persist(client, shape, requested):
    if shape == "one":
        return requested.persist(), 0
    if shape == "many":
        return [node.persist() for node in requested], 0
    return dask.delayed(requested).persist(), 1


def dask_compute(client, shape, requested):
    if shape == "many":
        return list(dask.compute(*requested)), 0
    return dask.compute(requested)[0], 0


def dask_persist(client, shape, requested):
    if shape == "many":
        return list(dask.persist(*requested)), 0
    return dask.persist(requested)[0], 0


def client_compute(client, shape, requested):
    if shape == "list":
        return client.compute([requested])[0].result(), 1
    return client.gather(client.compute(requested)), int(shape == "dict")


def client_persist(client, shape, requested):
    if shape in ("list", "dict"):
        return client.persist(dask.delayed(requested)), 1
    return client.persist(requested), 0


COMPUTE = [node_compute, dask_compute, client_compute]
PERSIST = [node_persist, dask_persist, client_persist]
SHAPES = ["one", "many", "list", "dict"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("verb", COMPUTE + PERSIST, ids=lambda verb: verb.__name__)
def test_a_verb_on_finished_nodes_only_loads_what_is_requested(cluster, finished, verb, shape):
    """One task at most for each requested node, no call of a user function, and the right value."""
    graph, runs = finished()
    requested, expected = graph.requested(shape)
    with scheduler_tasks(cluster) as tasks:
        value, containers = verb(cluster, shape, requested)
        wait(value)
        nodes = 1 if shape == "one" else MANY
        assert len(tasks()) <= nodes + containers
    assert dask.compute(value)[0] == expected
    assert runs.take() == []


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("verb", PERSIST, ids=lambda verb: verb.__name__)
def test_persisted_nodes_can_be_used_again(cluster, finished, verb, shape):
    """What persist returns is computed twice and composed further, without a user function."""
    graph, runs = finished()
    requested, expected = graph.requested(shape)
    persisted, _ = verb(cluster, shape, requested)
    assert dask.compute(persisted)[0] == expected
    assert dask.compute(persisted)[0] == expected
    assert dask.delayed(repr)(persisted).compute() == repr(expected)
    assert runs.take() == []


@pytest.mark.parametrize("verb", PERSIST, ids=lambda verb: verb.__name__)
def test_a_persisted_node_is_upstream_of_further_nodes(cluster, finished, tmp_path, verb):
    """A node made from a persisted one has the key it always has, and runs on its value."""
    graph, runs = finished()
    requested, expected = graph.requested("one")
    persisted, _ = verb(cluster, "one", requested)

    def negate(x):
        runs.note("negate")
        return -x

    with dask.config.set({"daskcache.root": str(tmp_path / "root")}):
        after, plain = dc.delayed(negate)(persisted), dc.delayed(negate)(requested)
    assert after.dc.key == plain.dc.key
    assert after.compute() == -expected
    assert plain.compute() == -expected
    assert runs.take() == ["negate"]


@pytest.mark.parametrize("scheduler", ["sync", "threads", "processes"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "verb",
    [node_compute, node_persist, dask_compute, dask_persist],
    ids=lambda verb: verb.__name__,
)
def test_a_verb_gives_the_same_answer_on_every_scheduler(finished, verb, shape, scheduler):
    """Without a cluster, too, finished nodes are read and no user function is called."""
    graph, runs = finished()
    requested, expected = graph.requested(shape)
    with dask.config.set(scheduler=scheduler):
        value, _ = verb(None, shape, requested)
        assert dask.compute(value)[0] == expected
    assert runs.take() == []


@pytest.mark.parametrize("scheduler", ["sync", "threads", "processes"])
def test_a_cold_run_gives_the_same_answer_on_every_scheduler(tmp_path, runs, scheduler):
    """Each of the 1,000 functions is called once, and the values are right."""
    graph = Graph(tmp_path / "root", runs)
    requested, expected = graph.requested("list")
    with dask.config.set(scheduler=scheduler):
        assert dask.compute(requested)[0] == expected
    assert len(runs.take()) == 3 * CHAINS + 1


def test_a_cold_run_gives_the_same_answer_on_a_cluster(cluster, tmp_path, runs):
    """Workers write below the client's root, wherever they themselves were started."""
    graph = Graph(tmp_path / "root", runs)
    requested, expected = graph.requested("list")
    assert dask.compute(requested)[0] == expected
    assert len(runs.take()) == 3 * CHAINS + 1
    assert graph.total.dc.state == "complete"
    assert graph.total.dc.path.startswith(str(tmp_path / "root"))


def test_computing_one_finished_node_in_the_client_needs_no_task(cluster, finished):
    """`node.compute` and `daskcache.compute` read what is complete in the calling process."""
    graph, runs = finished()
    with scheduler_tasks(cluster) as tasks:
        value = graph.total.compute()
        values = dc.compute(graph.total, *graph.ends[:MANY])
    assert tasks() == []
    assert values == (value, *(2 * i + 1 for i in range(MANY)))
    assert runs.take() == []


def test_the_counter_counts_the_tasks_of_plain_dask(cluster):
    """A control: each plain Dask task counts once, also those that others depend on."""

    def double(x):
        return 2 * x

    def add_up(values):
        return sum(values)

    plain = [dask.delayed(double)(dask.delayed(double)(i)) for i in range(5)]
    with scheduler_tasks(cluster) as tasks:
        assert dask.delayed(add_up)(plain).compute() == 40
    assert sum(key.startswith("double-") for key in tasks()) == 10
    assert sum(key.startswith("add_up-") for key in tasks()) == 1
    with scheduler_tasks(cluster) as tasks:
        cluster.gather(cluster.compute(plain))
    assert len(tasks()) == 10


def test_the_counter_counts_the_tasks_of_missing_nodes(cluster, tmp_path, runs):
    """A control: a node that has to run is on the scheduler; a finished one is not."""
    graph = Graph(tmp_path / "root", runs)
    with scheduler_tasks(cluster) as tasks:
        assert graph.total.compute() == sum(2 * i + 1 for i in range(CHAINS))
    assert len(set(tasks())) == 3 * CHAINS + 1  # a task for each node
    assert len(runs.take()) == 3 * CHAINS + 1
