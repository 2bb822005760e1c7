"""Annotations of creation, of composition and of the verb, as a scheduler sees them."""

from __future__ import annotations

import gc
import operator
import time
from types import SimpleNamespace

import dask
import pytest
from clusters import on_cluster
from distributed import wait

import daskcache as dc

#: A resource that no worker has: what needs it waits, with all that follows, and can be looked at.
NOWHERE = {"resources": {"NOWHERE": 1}}


@pytest.fixture
def made(runs):
    """Decorated functions that note their calls."""

    def first(i):
        runs.note("first")
        return i

    def second(x):
        runs.note("second")
        return 2 * x

    def third(x):
        runs.note("third")
        return -x

    def flaky(x):
        runs.note("flaky")
        if len(runs.names()) < 3:
            raise ValueError("not yet")
        return x

    return SimpleNamespace(
        first=dc.delayed(first, target="first/{i}.json"),
        second=dc.delayed(second),
        third=dc.delayed(third),
        flaky=dc.delayed(flaky),
    )


@pytest.fixture
def client(local_client):
    with on_cluster(local_client) as client:
        yield client


def keys_on(client):
    return client.run_on_scheduler(lambda dask_scheduler: [str(key) for key in dask_scheduler.tasks])


@pytest.fixture
def seen(client):
    """What the scheduler knows of each task of this test: annotations, and what it makes of them."""
    gc.collect()
    before = set(keys_on(client))

    def look(dask_scheduler):
        return {
            str(ts.key): {
                "annotations": dict(ts.annotations or {}),
                "resources": dict(ts.resource_restrictions or {}),
                "workers": set(ts.worker_restrictions or ()),
                "retries": ts.retries,
                "priority": -ts.priority[0],
            }
            for ts in dask_scheduler.tasks.values()
        }

    def seen():
        deadline = time.monotonic() + 20
        while not (found := {k: v for k, v in client.run_on_scheduler(look).items() if k not in before}):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return found

    return seen


def of(name, found, value=None):
    """What is known of tasks of a function: of its values, its runs, or (None) of both."""
    return [
        known
        for key, known in found.items()
        if key.startswith(f"{name}-") and value in (None, "-value-" in key)
    ]


def values_of(kind, tasks):
    return [task[kind] for task in tasks]


@pytest.fixture
def chain(made):
    """A chain of three; the first waits for what no worker has, the second is annotated."""
    with dask.annotate(**NOWHERE):
        first = made.first(1)
    with dask.annotate(priority=7, retries=2, resources={"NOWHERE": 2}, mark="here"):
        second = made.second(first)
    return SimpleNamespace(first=first, second=second, third=made.third(second))


def directly(chain):
    """The nodes as they are."""
    return [chain.second, chain.third]


def composed(chain):
    """Plain Dask over the nodes."""
    return [dask.delayed(operator.pos)(chain.third), chain.second + 0]


def in_a_list(chain):
    """One plain Dask value of a list of nodes."""
    return [dask.delayed([chain.second, chain.third])]


def mixed(chain):
    """A node and plain Dask over another."""
    return [chain.third, dask.delayed(operator.pos)(chain.second)]


shapes = pytest.mark.parametrize(
    "shape", [directly, composed, in_a_list, mixed], ids=lambda shape: shape.__name__
)


# ---- of creation -----------------------------------------------------------------------------------


@shapes
def test_annotations_of_creation_reach_the_nodes_own_tasks(client, chain, runs, shape, seen):
    """Each run has what its node was made with, and no other task has."""
    futures = client.compute(shape(chain))
    found = seen()
    assert values_of("resources", of("first", found)) == [{"NOWHERE": 1}]
    assert values_of("resources", of("second", found, value=False)) == [{"NOWHERE": 2}]
    assert values_of("retries", of("second", found, value=False)) == [2]
    marked = {key for key, known in found.items() if known["annotations"].get("mark") == "here"}
    assert marked
    assert all(key.startswith("second-") for key in marked)
    assert marked == {key for key, known in found.items() if known["priority"] == 7}
    others = [known for key, known in found.items() if not key.startswith(("first-", "second-"))]
    assert others
    assert all(known["annotations"] == {} for known in others)
    assert all(not known["resources"] and not known["retries"] for known in others)
    del futures
    assert runs.take() == []


@shapes
def test_the_task_of_a_value_needs_no_resources(client, chain, shape, seen):
    """To load what has run is no run: no resources and no retries, but the priority of its node."""
    futures = client.compute(shape(chain))
    loads = of("second", seen(), value=True)
    assert all(not known["resources"] and not known["retries"] for known in loads)
    assert all(known["priority"] == 7 for known in loads)
    del futures


@shapes
def test_loads_of_finished_nodes_need_no_resources(client, chain, runs, shape, seen):
    """What is complete loads without the resources that it was annotated with."""
    dask.compute(chain.third, scheduler="sync")
    assert runs.take() == ["first", "second", "third"]
    futures = client.compute(shape(chain))
    client.gather(futures)
    found = seen()
    assert not of("first", found)
    assert all(not known["resources"] and not known["retries"] for known in found.values())
    assert all("resources" not in known["annotations"] for known in found.values())
    assert runs.take() == []


def test_a_node_after_finished_ones_needs_its_own_resources_only(client, made, runs, seen):
    """Annotations of ancestors that don't run reach no task."""
    with dask.annotate(**NOWHERE, mark="here"):
        first = made.first(1)
    dask.compute(first, scheduler="sync")
    runs.take()
    future = client.compute(made.second(first))
    assert future.result() == 2
    assert all(known["annotations"] == {} for known in seen().values())
    assert runs.take() == ["second"]


def test_annotations_in_force_at_the_verb_are_not_those_of_creation(client, chain, made, seen):
    """A node made outside of the context does not take the resources of one made inside."""
    future = client.compute(chain.third)
    found = seen()
    assert values_of("annotations", of("third", found)) == [{}]
    del future


def test_nested_annotations_of_creation(client, made, seen):
    """Contexts within contexts add up, the inner one counts."""
    with dask.annotate(mark="outer", kind="kept", **NOWHERE), dask.annotate(mark="inner"):
        node = made.first(1)
    future = client.compute(node)
    (annotations,) = values_of("annotations", of("first", seen(), value=False))
    assert annotations == {"mark": "inner", "kind": "kept", **NOWHERE}
    del future


def test_annotations_are_no_part_of_the_key(made):
    """The same call with and without annotations is the same node."""
    with dask.annotate(priority=3, resources={"GPU": 1}):
        annotated = made.first(1)
    assert annotated.dc.key == made.first(1).dc.key


@pytest.mark.parametrize("shape", [directly, mixed], ids=lambda shape: shape.__name__)
def test_persisted_nodes_are_annotated(client, chain, shape, seen):
    """`persist` sends the annotations of creation as `compute` does."""
    persisted = dask.persist(*shape(chain))
    found = seen()
    assert values_of("resources", of("second", found, value=False)) == [{"NOWHERE": 2}]
    assert all(not known["annotations"] for known in of("third", found))
    del persisted


def test_retries_of_creation_are_made(client, made, runs):
    """A node made with retries runs again when it fails."""
    with dask.annotate(retries=2):
        node = made.flaky(1)
    assert client.compute(node + 1).result() == 2
    assert runs.take() == ["flaky"] * 3


def test_the_worker_of_creation_is_the_one_that_runs(client):
    """A node made with `workers` runs there; that can be a function of the key, as in Dask."""

    def where():
        from distributed import get_worker

        return get_worker().address

    addresses = list(client.scheduler_info()["workers"])
    for address in addresses:
        for workers in ([address], lambda key, address=address: [address]):
            node = dc.delayed(where, save=False)
            with dask.annotate(workers=workers, allow_other_workers=False):
                call = node()
            assert client.compute(call).result() == address
            assert client.compute(dask.delayed(str)(call)).result() == address


# ---- of composition --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "compose",
    [
        lambda node: dask.delayed(operator.pos)(node),
        lambda node: dask.delayed(sum)([node, 1]),
        lambda node: node + 1,
        lambda node: dask.delayed(dict)(x=node),
    ],
    ids=["call", "list", "operator", "keyword"],
)
def test_annotations_of_composition_reach_the_composed_task(client, made, compose, seen):
    """They are on the plain tasks, and not on those of the nodes."""
    with dask.annotate(**NOWHERE):
        node = made.first(1)
    node = made.second(node)
    with dask.annotate(mark="composed", priority=5):
        value = compose(node)
    future = client.compute(value)
    found = seen()
    assert found[value.key]["annotations"] == {"mark": "composed", "priority": 5}
    nodes = of("first", found) + of("second", found)
    assert all("mark" not in known["annotations"] for known in nodes)
    assert all(known["priority"] == 0 for known in nodes)
    del future


def test_resources_of_composition_hold_the_composed_task_only(client, made, runs, seen):
    """Nodes run; the plain task that was annotated with a resource waits for it."""
    node = made.second(made.first(1))
    with dask.annotate(**NOWHERE):
        composed = dask.delayed(operator.pos)(node)
    future = client.compute(composed)
    wait(client.compute(node), timeout=30)
    assert future.status == "pending"
    assert runs.take() == ["first", "second"]
    assert seen()[composed.key]["resources"] == {"NOWHERE": 1}
    del future


def test_annotations_of_a_plain_value_before_a_node(client, made, seen):
    """A plain Dask value that is the argument of a node keeps its annotations, and to itself."""
    with dask.annotate(**NOWHERE, mark="plain"):
        plain = dask.delayed(operator.neg)(1)
    future = client.compute(made.second(plain))
    found = seen()
    assert found[plain.key]["annotations"] == {"mark": "plain", **NOWHERE}
    assert values_of("annotations", of("second", found)) == [{}]
    del future


# ---- of the verb -----------------------------------------------------------------------------------

VERBS = {
    "compute": lambda client, value: client.compute(value),
    "persist": lambda client, value: client.persist(value),
    "dask.persist": lambda client, value: dask.persist(value)[0],
    "node.persist": lambda client, value: value.persist(),
}
verbs = pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS.keys())


@verbs
@pytest.mark.parametrize("compose", [lambda n: n, lambda n: n + 0], ids=["node", "composed"])
def test_annotations_of_the_verb_reach_all_its_tasks(client, made, verb, compose, seen):
    """A priority at the verb is that of all tasks it sends, as in Dask."""
    with dask.annotate(**NOWHERE):
        first = made.first(1)
    value = compose(made.second(first))
    with dask.annotate(priority=9, mark="verb"):
        held = verb(client, value)
    found = seen()
    assert of("first", found)
    assert of("second", found)
    assert {known["priority"] for known in found.values()} == {9}
    assert {known["annotations"].get("mark") for known in found.values()} == {"verb"}
    assert values_of("resources", of("first", found)) == [{"NOWHERE": 1}]
    del held


def test_what_a_verb_and_creation_both_set(client, made, seen):
    """Which of the two counts is as with plain Dask."""
    with dask.annotate(priority=3, **NOWHERE):
        node, plain = made.first(1), dask.delayed(operator.neg)(1)
    with dask.annotate(priority=9):
        futures = client.compute([node, plain])
    found = seen()
    assert {known["priority"] for known in of("first", found)} == {found[plain.key]["priority"]}
    del futures


def test_arguments_of_the_verb(client, made, seen):
    """`client.compute(node, priority=…, retries=…, resources=…)` annotates what it sends to run."""
    node = made.second(made.first(1))
    future = client.compute(node, priority=4, retries=3, **NOWHERE)
    found = seen()
    running = of("first", found, value=False) + of("second", found, value=False)
    assert len(running) == 2
    assert values_of("resources", running) == [{"NOWHERE": 1}] * 2
    assert values_of("retries", running) == [3] * 2
    assert {known["priority"] for known in found.values()} == {4}
    del future


def test_retries_of_the_verb_are_made(client, made, runs):
    """`client.compute(node, retries=2)` runs a failing node again."""
    assert client.compute(made.flaky(1), retries=2).result() == 1
    assert runs.take() == ["flaky"] * 3


def test_workers_of_the_verb(client):
    """`client.compute(node, workers=…)` runs the node there, and all before it."""

    @dc.delayed(save=False)
    def where(before):
        from distributed import get_worker

        return [*before, get_worker().address]

    for address in client.scheduler_info()["workers"]:
        assert client.compute(where(where([])), workers=[address]).result() == [address] * 2
        assert client.compute(where(where([]))[:], workers=address).result() == [address] * 2


def test_a_verb_without_annotations_after_one_with(client, made, seen):
    """Annotations of one verb are not those of the next over the same node."""
    with dask.annotate(**NOWHERE):
        first = made.first(1)
    node = made.second(first)
    with dask.annotate(mark="one"):
        future = client.compute(node)
    assert {known["annotations"].get("mark") for known in seen().values()} == {"one"}
    sent = set(seen())
    del future
    deadline = time.monotonic() + 20
    while sent & set(keys_on(client)):
        gc.collect()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    future = client.compute(node)
    assert {known["annotations"].get("mark") for known in seen().values()} == {None}
    del future
