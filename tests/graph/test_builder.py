"""The tasks for a plan's decisions, without a client, a scheduler or a file."""

from __future__ import annotations

from types import SimpleNamespace

import dask
import pytest

import daskcache as dc
from daskcache.graph.attempts import Submissions
from daskcache.graph.builder import GraphBuilder, Sharing
from daskcache.planning.states import (
    BLOCKED,
    COMPLETE,
    DECIDE,
    LOAD,
    MISSING,
    MODIFIED,
    RUN,
    STALE,
    PlannedNode,
)
from daskcache.runtime.held import Failure
from daskcache.runtime.node import load_finished, load_value, run_and_load, run_node
from daskcache.storage.record import RecordName


@dc.delayed(target="number/{i}.json", version=1)
def number(i):
    return i


@dc.delayed(target="double/{x.stem}.json", version=1)
def double(x):
    return 2 * x


class Plan:
    """A planner that has decided already."""

    collect, verb = False, "verb"

    def __init__(self, *nodes, is_empty=True):
        self.nodes = {node.recipe.identity: node for node in nodes}
        self.written = 0
        self.is_empty = is_empty

    def request(self, recipe):
        return self.nodes[recipe.identity]

    def request_all(self, recipes):
        return [self.request(recipe) for recipe in recipes]

    def check(self):
        pass

    def write_down(self):
        self.written += 1

    def store(self, root):
        return SimpleNamespace(
            is_empty=self.is_empty, read=lambda name: SimpleNamespace(is_adopted=False)
        )


class Needs:
    """It notes for which nodes roots and code are needed."""

    def __init__(self):
        self.roots, self.codes = [], []

    def root_id(self, recipe):
        self.roots.append(recipe.root)
        return "id"

    def keep_code(self, recipe):
        self.codes.append(recipe.name)


class Client:
    """A client with the states of its futures."""

    def __init__(self):
        self.futures = {}


@pytest.fixture(autouse=True)
def nowhere():
    """A root that does not exist, and stays so."""
    with dask.config.set({"daskcache.root": "/does/not/exist"}):
        yield


def planned(node, action, state=MISSING, parents=(), records=()):
    found = PlannedNode(node._recipe, list(parents))
    found.action, found.state, found.records = action, state, records
    return found


def record(node, data_hash="data"):
    return RecordName(node._recipe.key, "target", "trace", data_hash, "file", 2, 3, 4)


def chain(first=RUN, second=RUN, **kwargs):
    """A plan for a node and the one that it is made from, and both."""
    made = number(1)
    before = planned(made, first, COMPLETE if first == LOAD else MISSING)
    if first == LOAD:
        before.records, before.data_hash = (record(made),), "data"
    after = planned(double(made), second, parents=[before], **kwargs)
    return before, after


def built(*nodes, sharing=None, submissions=None, **kwargs):
    """A builder with the tasks for the values of the last node."""
    builder = GraphBuilder(Plan(*nodes, **kwargs), Needs(), submissions or Submissions(list))
    requested = builder.plan([nodes[-1].recipe])
    builder.add_requested(requested, sharing or Sharing())
    return builder, builder.requested_value(nodes[-1].recipe)


def functions(builder):
    return {task.func for task in builder.tasks.values()}


def test_a_new_node_has_an_entry_task_and_a_value_task():
    """The handle of the input comes from the task upstream, and roots and code are asked for."""
    builder, value = built(*chain())
    task = builder.tasks[value]
    assert task.func is load_value
    (entry_key,) = task.dependencies
    entry = builder.tasks[entry_key]
    assert entry.func is run_node
    (before,) = entry.dependencies
    assert builder.tasks[before].func is run_node
    assert len(builder.tasks) == 3
    work = entry.args[0]
    assert (work.inputs, work.root_id) == ((0,), "id")
    assert builder._needs.codes == ["number", "double"]


def test_a_result_task_does_both_where_no_other_program_is():
    """It makes the node and gives the value; its inputs still have entry tasks."""
    builder, value = built(*chain(), sharing=Sharing(is_alone=True))
    assert builder.tasks[value].func is run_and_load
    assert len(builder.tasks) == 2
    assert functions(builder) == {run_node, run_and_load}


def test_an_entry_that_is_needed_rules_out_a_result_task():
    """A requested node upstream of another one has an entry task."""
    before, after = chain()
    builder = GraphBuilder(Plan(before, after), Needs(), Submissions(list))
    builder.add_requested(builder.plan([before.recipe, after.recipe]), Sharing(is_alone=True))
    assert builder.tasks[builder.requested_value(before.recipe)].func is load_value
    assert builder.tasks[builder.requested_value(after.recipe)].func is run_and_load


def test_result_tasks_of_other_programs_are_shared():
    """A scheduler says that some are unfinished: they take the place of the entry tasks."""
    nodes = chain()
    builder, _ = built(*nodes)
    theirs = {key for key in builder.result_tasks if "double" in key}
    assert len(builder.result_tasks) == 2
    builder.add_requested(builder.plan([nodes[-1].recipe]), Sharing(unfinished=theirs))
    assert {builder.requested_value(nodes[-1].recipe)} == theirs
    assert functions(builder) == {run_node, run_and_load}


def test_a_finished_node_has_no_task_that_makes_it():
    """Its entry is among the arguments of the task that needs it, and nothing is needed of workers."""
    before, after = chain(first=LOAD)
    builder, value = built(before, after)
    (entry_key,) = builder.tasks[value].dependencies
    entry = builder.tasks[entry_key]
    assert entry.dependencies == frozenset()
    assert entry.args[0].inputs[0].data_hash == "data"
    complete = planned(number(1), LOAD, COMPLETE, records=(record(number(1)),))
    builder, value = built(complete)
    assert [task.func for task in builder.tasks.values()] == [load_finished]
    assert builder._needs.roots == []


@pytest.mark.parametrize(("is_empty", "verb"), [(True, ""), (False, "verb")])
def test_a_worker_decides_by_the_records_of_the_plan(is_empty, verb):
    """It compares them with the inputs' data, and looks elsewhere if the root holds anything."""
    was_made = (record(double(number(1))),)
    nodes = chain(second=DECIDE, state=STALE, records=was_made)
    builder, value = built(*nodes, is_empty=is_empty)
    (entry_key,) = builder.tasks[value].dependencies
    work = builder.tasks[entry_key].args[0]
    assert work.previous == was_made
    assert not work.outdated
    assert work.verb == verb


def test_keys_say_what_a_task_does():
    """Another record, another input or another root gives another key, the same ones the same key."""
    keys = [
        built(*chain(records=records, first=first))[1]
        for records in ((None,), (record(double(number(1))),))
        for first in (RUN, LOAD)
    ]
    assert len(set(keys)) == 4
    assert built(*chain(records=(None,)))[1] == keys[0]


def test_a_blocked_node_has_its_failure_as_value():
    """That is so with errors="collect"; else planning raised."""
    blocked = planned(number(1), BLOCKED, MODIFIED)
    builder, value = built(blocked)
    task = builder.tasks[value]
    assert (task.func, type(task.args[0])) == (load_value, Failure)


def test_pending_work_is_shared():
    """The second verb has the tasks of the first one; when they are over, keys of its own."""
    client = Client()
    submissions = Submissions(lambda: [client])
    first, value = built(*chain(), submissions=submissions)
    client.futures[value] = SimpleNamespace(status="pending")
    second, again = built(*chain(), submissions=submissions)
    assert again == value
    assert all(second.tasks[key] is first.tasks[key] for key in first.tasks if key != value)
    client.futures[value] = SimpleNamespace(status="finished")
    third, anew = built(*chain(), submissions=submissions)
    assert anew != value
    assert not third.tasks.keys() & first.tasks.keys()


def test_pending_work_is_shared_though_its_input_is_finished_by_now():
    """The plan found another state, which the pending task explains."""
    client = Client()
    submissions = Submissions(lambda: [client])
    first, value = built(*chain(), submissions=submissions)
    client.futures[value] = SimpleNamespace(status="pending")
    second, _ = built(*chain(first=LOAD), submissions=submissions)
    assert first.tasks.keys() - {value} <= second.tasks.keys()


def test_a_verb_that_fails_takes_back_its_tasks():
    """No later verb waits for them."""

    class Full(Needs):
        def keep_code(self, recipe):
            if recipe.name == "double":
                raise OSError("the disk is full")

    client = Client()
    submissions = Submissions(lambda: [client])
    other, (before, after) = planned(number(2), RUN), chain()
    builder = GraphBuilder(Plan(other, before, after), Full(), submissions)
    requested = builder.plan([other.recipe, after.recipe])
    with pytest.raises(OSError, match="full"), builder.noting_failure():
        builder.add_requested(requested, Sharing())
    assert builder.failed
    assert submissions.sent
    assert (submissions.verbs, submissions.newest) == ([], {})
