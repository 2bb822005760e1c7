"""What a verb knows of the tasks that this process has sent: their numbers, and which are pending."""

from __future__ import annotations

import gc
from types import SimpleNamespace

import pytest

from daskcache.graph.attempts import Attempts, Submissions, unfinished
from daskcache.graph.tasks import Evidence, MakingTask


class Client:
    """A client as far as attempts look at one: the states of its futures by key."""

    def __init__(self):
        self.futures = {}

    def has(self, key, status):
        self.futures[key] = SimpleNamespace(status=status)


class Builder:
    """The builder of a verb, with its tasks."""

    def __init__(self):
        self.tasks, self.annotated = {}, {}


@pytest.fixture
def client():
    """The process's only client."""
    return Client()


@pytest.fixture
def submissions(client):
    """Nothing was sent before."""
    return Submissions(lambda: [client])


def making(name="node", attempt=0):
    """A task that makes a node, of a verb that rests on nothing."""
    key = f"{name}-{attempt}" if attempt else name
    return MakingTask(key, name, attempt, Evidence((name,), (), ()), gives_value=False)


def send(submissions, *tasks, futures=("future",)):
    """A verb sends tasks; return its builder, which keeps the verb alive, and its attempts."""
    builder = Builder()
    verb = Attempts(builder, submissions)
    verb.send(tasks, frozenset(futures))
    return builder, verb


def send_with_tasks(submissions, *tasks, futures=("future",)):
    """A verb sends tasks that its graph has."""
    builder, verb = send(submissions, *tasks, futures=futures)
    builder.tasks.update({task.key: f"task of {task.key}" for task in tasks})
    return builder, verb


@pytest.mark.parametrize(
    ("status", "number"),
    [("pending", 0), ("finished", 1), ("error", 1), ("cancelled", 1), (None, 0)],
)
def test_an_attempt_that_is_over_has_a_successor(client, submissions, status, number):
    """While it runs the key is shared; once the scheduler has forgotten it, the key is free again."""
    send(submissions, making())
    if status is not None:
        client.has("future", status)
    assert Attempts(Builder(), submissions).number("node") == number
    assert Attempts(Builder(), submissions).number("other") == 0


def test_numbers_go_on(client, submissions):
    send(submissions, making(attempt=4))
    client.has("future", "finished")
    assert Attempts(Builder(), submissions).number("node") == 5


def test_a_task_is_pending_as_long_as_one_of_its_futures_is(client, submissions):
    send(submissions, making(), futures=("one", "two"))
    client.has("one", "finished")
    client.has("two", "pending")
    assert Attempts(Builder(), submissions).number("node") == 0
    client.has("two", "finished")
    assert Attempts(Builder(), submissions).number("node") == 1


def test_what_is_pending_is_shared_with_all_that_it_was_sent_with(client, submissions):
    builder, _ = send(submissions, making())
    client.has("future", "pending")
    earlier = Attempts(Builder(), submissions).under_way(making().evidence)
    assert earlier.task == making()
    assert earlier.tasks is builder.tasks
    client.has("future", "finished")
    assert Attempts(Builder(), submissions).under_way(making().evidence) is None


def test_a_verb_that_failed_shares_nothing(client, submissions):
    """Its futures look pending for as long as a traceback holds them."""
    _, verb = send(submissions, making())
    client.has("future", "pending")
    verb.take_back()
    assert Attempts(Builder(), submissions).under_way(making().evidence) is None


def test_a_verb_lets_go_of_those_that_are_over(client, submissions):
    """A graph must not stay in memory because a later one could have shared it."""
    builder, verb = send(submissions, making())
    client.has("future", "finished")
    Attempts(Builder(), submissions)
    assert submissions.verbs == [verb]  # its builder may be sent again
    del builder
    gc.collect()
    Attempts(Builder(), submissions)
    assert (submissions.verbs, submissions.newest) == ([], {})


def test_a_value_that_failed_gets_another_key(client, submissions):
    """Under the old one the scheduler would return the old error."""
    verb = Attempts(Builder(), submissions)
    client.has("value", "finished")
    assert verb.value_key("value") == "value"
    client.has("value", "error")
    assert verb.value_key("value").startswith("value-")
    assert verb.value_key("value") != verb.value_key("value")


def test_only_attempts_without_a_future_are_forgotten(client):
    """However many were sent."""
    submissions = Submissions(lambda: [client], max_remembered=1)
    send(submissions, making("kept"), futures=("alive",))
    client.has("alive", "error")
    send(submissions, making("gone"), futures=("released",))
    send(submissions, making("new"))
    assert set(submissions.sent) == {"kept", "new"}
    assert submissions._most == 2


def test_the_tasks_of_futures_are_found(client, submissions):
    """Once each, though a later verb has sent one of them again; those of other futures are left out."""
    shared = making("shared")
    client.has("one", "pending")
    send_with_tasks(submissions, shared, futures=("one",))
    send_with_tasks(submissions, making("other"), futures=("else",))
    _, last = send_with_tasks(submissions, shared, making("new"), futures=("one", "two"))
    assert submissions.tasks_for({"one"}) == [
        (last.began, "task of shared"),
        (last.began, "task of new"),
    ]


def test_a_forgotten_attempt_has_no_tasks(client):
    """Its verb may still be known for its other tasks."""
    submissions = Submissions(lambda: [client], max_remembered=1)
    send_with_tasks(submissions, making("gone"), futures=("released",))
    send_with_tasks(submissions, making("more"))
    _, last = send_with_tasks(submissions, making("new"), futures=("alive",))
    assert set(submissions.sent) == {"new"}
    assert submissions.tasks_for({"alive", "released"}) == [(last.began, "task of new")]


def test_many_verbs_are_looked_through_when_they_have_doubled(client):
    """So that a verb does not pay for all others."""
    submissions = Submissions(lambda: [client], few=2)
    client.has("pending", "pending")
    for i in range(3):
        send(submissions, making(str(i)), futures=("pending",))
    client.has("pending", "finished")
    gc.collect()
    Attempts(Builder(), submissions)
    assert len(submissions.verbs) == 3
    send(submissions, making("3"), futures=("pending",))
    Attempts(Builder(), submissions)
    assert submissions.verbs == []


def test_without_a_client_nothing_is_remembered():
    submissions = Submissions(list)
    send(submissions, making())
    assert submissions.sent == {}
    assert Attempts(Builder(), submissions).number("node") == 0


class Scheduler:
    """A client, as far as a scheduler is asked through one."""

    id = "ours"
    asynchronous = False

    def __init__(self, connected=(), states=None):
        self.client_comms = dict.fromkeys(connected)
        self.states = states
        self.scheduler = SimpleNamespace(get_task_status=lambda keys: states)

    def run_on_scheduler(self, function, *args):
        if self.states == "gone":
            raise OSError
        return function(*args, dask_scheduler=self)

    def sync(self, function, **kwargs):
        if self.states == "gone":
            raise OSError
        return function(**kwargs)


@pytest.mark.parametrize(
    ("connected", "alone"),
    [(["ours"], True), (["ours", "Client-worker-1"], True), (["ours", "theirs"], False)],
)
def test_other_programs_are_those_with_clients_of_their_own(connected, alone):
    """Clients of this process and those of tasks are none."""
    client = Scheduler(connected)
    assert Submissions(lambda: [client]).is_alone(client) is alone


def test_a_scheduler_that_cannot_be_asked_may_be_shared():
    """That holds for asynchronous clients, too; no scheduler of this process is shared."""
    waiting = Scheduler()
    waiting.asynchronous = True
    gone = Scheduler(states="gone")
    found = [Submissions(list).is_alone(client) for client in (None, gone, waiting)]
    assert found == [True, False, False]
    assert [unfinished(client, ["key"]) for client in (None, gone, waiting)] == [set()] * 3


def test_tasks_are_unfinished_until_they_are_in_memory():
    """Tasks that the scheduler does not know have no state."""
    states = {"runs": "processing", "waits": "waiting", "done": "memory", "unknown": None}
    assert unfinished(Scheduler(states=states), states) == {"runs", "waits"}
