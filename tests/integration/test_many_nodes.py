"""`Nodes` on each kind of scheduler, and on a cluster as one future of a list."""

from __future__ import annotations

import operator

import dask
import pytest
from clusters import on_cluster
from distributed import Client, Future, futures_of

import daskcache as dc
from daskcache.errors import NodeFailed
from daskcache.testing.assertions import scheduler_tasks

COLLECT = {"daskcache.errors": "collect"}


@pytest.fixture
def made(runs):
    """Decorated functions that note their calls."""

    def number(i):
        runs.note("number")
        if i < 0:
            raise ValueError("no cells")
        return i

    def total(values):
        runs.note("total")
        return [type(values).__name__, sum(values)]

    return {
        "number": dc.delayed(number, target="number/{i}.json"),
        "total": dc.delayed(total, target="total/{key}.json"),
    }


@pytest.fixture
def client(local_client):
    with on_cluster(local_client) as client:
        yield client


# ---- anywhere ------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["dask.compute", "nodes.compute", "dc.compute", "persist", "plan"])
def test_each_verb(anywhere, made, runs, verb):
    """Each gives the values in order, runs what is left once, and nothing the second time."""
    nodes = made["number"].map([3, 1, 2, 3])
    compute = {
        "dask.compute": lambda: dask.compute(nodes)[0],
        "nodes.compute": nodes.compute,
        "dc.compute": lambda: dc.compute(nodes)[0],
        "persist": lambda: dask.persist(nodes)[0].compute(),
        "plan": lambda: list(dc.plan(nodes).compute()),
    }[verb]
    assert compute() == [3, 1, 2, 3]
    assert runs.take() == ["number"] * 3
    assert compute() == [3, 1, 2, 3]
    assert runs.take() == []


def test_as_an_argument(anywhere, made, runs):
    """A decorated function gets a list, from members that run and from those that are complete."""
    nodes = made["number"].map(range(4))
    nodes[2].compute()
    assert made["total"](nodes).compute() == ["list", 6]
    assert runs.take() == ["number"] * 4 + ["total"]


def test_composed_with_plain_dask(anywhere, made, runs):
    """A plain Dask function gets a list; finished nodes do not run again."""
    nodes = made["number"].map(range(4))
    composed = dask.delayed(sum)(nodes)
    nested = dask.delayed(operator.itemgetter(1))([nodes, nodes[1:]])
    assert dask.compute(composed, nested, nodes, nodes[3]) == (6, [1, 2, 3], [0, 1, 2, 3], 3)
    runs.clear()
    assert composed.compute() == 6
    assert runs.take() == []


@pytest.mark.parametrize("verb", ["dask.compute", "nodes.compute", "dc.compute", "persist"])
def test_failures_stand_in_the_list(anywhere, made, verb):
    """With the setting `errors: collect` each failed member is a `NodeFailed`, and the others run."""
    nodes = made["number"].map([1, -1, 2])
    with dask.config.set(COLLECT):
        compute = {
            "dask.compute": lambda: dask.compute(nodes)[0],
            "nodes.compute": nodes.compute,
            "dc.compute": lambda: dc.compute(nodes)[0],
            "persist": lambda: dask.persist(nodes)[0].compute(),
        }[verb]
        values = compute()
    assert (values[0], values[2]) == (1, 2)
    assert isinstance(values[1], NodeFailed)
    assert nodes.states == ["complete", "failed", "complete"]


def test_a_failure_is_raised(anywhere, made):
    """Without the setting, the error is the function's."""
    with pytest.raises(ValueError, match="no cells"):
        dask.compute(made["number"].map([1, -1]))


# ---- on a cluster --------------------------------------------------------------------------------


def test_one_future_of_a_list(client, made, runs):
    """`Client.compute` gives one future; so it does for nodes that are complete."""
    nodes = made["number"].map(range(3))
    for ran in (["number"] * 3, []):
        future = client.compute(nodes)
        assert isinstance(future, Future)
        assert future.result() == [0, 1, 2]
        assert runs.take() == ran


def test_several_futures(client, made):
    """Of several collections each has a future, of a list or of a value."""
    nodes = made["number"].map(range(3))
    assert client.gather(client.compute([nodes, nodes[1], made["number"](7)])) == [[0, 1, 2], 1, 7]


def test_failures_in_futures(client, made):
    """A list has stand-ins for errors, and the future of a single node holds the error."""
    nodes = made["number"].map([1, -1])
    with dask.config.set(COLLECT):
        together, alone = client.compute([nodes, nodes[1]])
        values = together.result()
        assert values[0] == 1
        assert isinstance(values[1], NodeFailed)
        assert isinstance(alone.exception(), ValueError)
        assert isinstance(client.compute(nodes).result()[1], NodeFailed)


def test_persisted_on_a_cluster(client, made, runs):
    """Persisted nodes have a future each, stay upstream of others, and are read by other clients."""
    nodes = client.persist(made["number"].map(range(3)))
    assert isinstance(nodes, dc.Nodes)
    assert len(futures_of(nodes)) == 3
    assert made["total"](nodes).compute() == ["list", 3]
    assert client.compute(nodes).result() == [0, 1, 2]
    assert runs.take() == ["number"] * 3 + ["total"]
    client.publish_dataset(numbers=nodes)
    try:
        with Client(client.scheduler.address, set_as_default=False) as other:
            assert other.compute(other.get_dataset("numbers")).result() == [0, 1, 2]
    finally:
        client.unpublish_dataset("numbers")


def test_finished_nodes_send_no_tasks(client, made):
    """`nodes.compute` reads what is complete here."""
    nodes = made["number"].map(range(3))
    nodes.compute()
    with scheduler_tasks(client) as sent:
        assert nodes.compute() == [0, 1, 2]
        assert sent() == []
        assert dask.compute(nodes) == ([0, 1, 2],)
        assert len(sent()) == len(nodes) + 1  # they are loaded, and listed


def test_inside_what_dask_does_not_look_into(client, made):
    """Nodes inside of an object that is sent arrive as plain lazy values, which compute."""
    nodes = made["number"].map(range(3))

    def compute(holder):
        return dask.compute(holder.nodes, scheduler="sync")[0]

    assert client.submit(compute, Holder(nodes), pure=False).result() == [0, 1, 2]


class Holder:
    def __init__(self, nodes):
        self.nodes = nodes
