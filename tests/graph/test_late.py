"""Stand-ins of nodes in composed graphs, before they are planned: keys, tasks and lazy layers."""

from __future__ import annotations

import pickle

import dask
import pytest
from dask.base import tokenize

import daskcache as dc
from daskcache.errors import GraphError
from daskcache.graph.late import LateKey, LateTask, RecipeLayer, late_annotations, late_tasks, lazy_graph


@dc.delayed(target="first/{i}.json")
def first(i):
    return i


@dc.delayed(target="second/{x.stem}.json")
def second(x):
    return x + 1


@pytest.fixture
def node():
    """A node that is made from two others, one of them inside plain Dask."""
    total = dc.delayed(lambda a, b: a + b, target="total.json", version=1)
    return total(second(first(1)), dask.delayed(abs)(first(2)))


def late_key(node):
    return LateKey(node.key, node._recipe)


def test_a_key_is_the_text_that_the_graph_refers_to(node):
    """Outside of a send it pickles as that."""
    key = late_key(node)
    assert key == node.key
    assert {key: 1}[node.key] == 1
    assert pickle.loads(pickle.dumps(key)) == node.key
    assert type(pickle.loads(pickle.dumps(key))) is str


def test_there_is_a_task_for_each_node_and_each_plain_task(node):
    """The value under its own key; one entry for each node; Dask's tasks as they are."""
    key = late_key(node)
    tasks = late_tasks(node._recipe, key)
    late = {k.recipe.name for k in tasks if isinstance(k, LateKey) and not k.is_value}
    assert late == {"first", "second", "lambda"}
    assert isinstance(tasks[key], LateTask)
    plain = [task for k, task in tasks.items() if not isinstance(k, LateKey)]
    assert [task.func for task in plain] == [abs]
    assert all(dependency in tasks for task in tasks.values() for dependency in task.dependencies)


def test_a_task_is_planned_when_it_is_asked(node):
    """It computes; of a finished node it needs nothing."""
    key = late_key(first(1))
    task = LateTask(key)
    assert len(task.dependencies) == 1
    first(1).compute()
    finished = LateTask(key)
    assert finished.dependencies == frozenset()
    assert finished() == 1


def test_tasks_of_one_node_are_one_to_dask(node):
    """Whatever was planned since; those of others are not."""
    one, other = late_key(first(1)), late_key(first(2))
    before = tokenize(LateTask(one))
    first(1).compute()
    assert tokenize(LateTask(one)) == before != tokenize(LateTask(other))


def test_a_pickled_task_is_the_planned_one(node):
    """What unpickles it needs no planner."""
    first(1).compute()
    sent = pickle.loads(pickle.dumps(LateTask(late_key(first(1)))))
    assert not isinstance(sent, LateTask)
    assert sent() == 1


def test_annotations_are_those_of_the_nodes():
    """Of a value that is only read, neither resources nor retries."""
    with dask.annotate(priority=3, retries=2):
        node = first(1)
    key = late_key(node)
    (entry,) = (k for k in late_tasks(node._recipe, key) if k != key)
    found = late_annotations({key: None, entry: None})
    assert (found["priority"](key), found["priority"](entry)) == (3, 3)
    assert (found["retries"](key), found["retries"](entry)) == (None, 2)


def test_a_layer_gives_the_value_under_the_nodes_own_key(node):
    key = late_key(node)
    layer = lazy_graph([key]).layers[key]
    assert isinstance(layer, RecipeLayer)
    assert layer.get_output_keys() == {key}
    assert (key in layer, "other" in layer) == (True, False)
    assert dask.get(dict(layer), key) == 4
    assert list(layer) == [key]  # finished by now: no task but the one that reads


def test_a_layer_cannot_wait_for_something_else(node):
    key = late_key(node)
    layer = RecipeLayer(node._recipe, key)
    with pytest.raises(GraphError, match="wait for something else"):
        layer.clone({key}, seed=1, bind_to="other")
