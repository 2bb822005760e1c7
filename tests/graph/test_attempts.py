"""What a verb knows of the tasks that this process has sent: their numbers, and which are pending."""

from __future__ import annotations

import gc
from types import SimpleNamespace

import pytest

from daskcache.graph import attempts
from daskcache.graph.attempts import Attempts, Evidence, MakingTask


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
def client(monkeypatch):
    """The process's only client; nothing was sent before."""
    client = Client()
    monkeypatch.setattr(attempts, "live_clients", lambda: [client])
    for name, value in (("_sent", {}), ("_newest", {}), ("_verbs", []), ("_limit", attempts._FEW)):
        monkeypatch.setattr(attempts, name, value)
    return client


def making(name="node", attempt=0):
    """A task that makes a node, of a verb that rests on nothing."""
    key = f"{name}-{attempt}" if attempt else name
    return MakingTask(key, name, attempt, Evidence((name,), (), ()), gives_value=False)


def send(*tasks, futures=("future",)):
    """A verb sends tasks; return its builder, which keeps the verb alive, and its attempts."""
    builder = Builder()
    verb = Attempts(builder)
    verb.send(tasks, frozenset(futures))
    return builder, verb


@pytest.mark.parametrize(
    ("status", "number"),
    [("pending", 0), ("finished", 1), ("error", 1), ("cancelled", 1), (None, 0)],
)
def test_an_attempt_that_is_over_has_a_successor(client, status, number):
    """While it runs the key is shared; once the scheduler has forgotten it, the key is free again."""
    send(making())
    if status is not None:
        client.has("future", status)
    assert Attempts(Builder()).number("node") == number
    assert Attempts(Builder()).number("other") == 0


def test_numbers_go_on(client):
    send(making(attempt=4))
    client.has("future", "finished")
    assert Attempts(Builder()).number("node") == 5


def test_a_task_is_pending_as_long_as_one_of_its_futures_is(client):
    send(making(), futures=("one", "two"))
    client.has("one", "finished")
    client.has("two", "pending")
    assert Attempts(Builder()).number("node") == 0
    client.has("two", "finished")
    assert Attempts(Builder()).number("node") == 1


def test_what_is_pending_is_shared_with_all_that_it_was_sent_with(client):
    builder, _ = send(making())
    client.has("future", "pending")
    earlier = Attempts(Builder()).under_way(making().evidence)
    assert earlier.task == making()
    assert earlier.tasks is builder.tasks
    client.has("future", "finished")
    assert Attempts(Builder()).under_way(making().evidence) is None


def test_a_verb_that_failed_shares_nothing(client):
    """Its futures look pending for as long as a traceback holds them."""
    _, verb = send(making())
    client.has("future", "pending")
    verb.take_back()
    assert Attempts(Builder()).under_way(making().evidence) is None


def test_a_verb_lets_go_of_those_that_are_over(client):
    """A graph must not stay in memory because a later one could have shared it."""
    builder, verb = send(making())
    client.has("future", "finished")
    Attempts(Builder())
    assert attempts._verbs == [verb]  # its builder may be sent again
    del builder
    gc.collect()
    Attempts(Builder())
    assert (attempts._verbs, attempts._newest) == ([], {})


def test_a_value_that_failed_gets_another_key(client):
    """Under the old one the scheduler would return the old error."""
    verb = Attempts(Builder())
    client.has("value", "finished")
    assert verb.value_key("value") == "value"
    client.has("value", "error")
    assert verb.value_key("value").startswith("value-")
    assert verb.value_key("value") != verb.value_key("value")


def test_only_attempts_without_a_future_are_forgotten(client, monkeypatch):
    """However many were sent."""
    monkeypatch.setattr(attempts, "_MAX_REMEMBERED", 1)
    monkeypatch.setattr(attempts, "_most", 1)
    send(making("kept"), futures=("alive",))
    client.has("alive", "error")
    send(making("gone"), futures=("released",))
    send(making("new"))
    assert set(attempts._sent) == {"kept", "new"}
    assert attempts._most == 2


def test_without_a_client_nothing_is_remembered(monkeypatch):
    monkeypatch.setattr(attempts, "live_clients", list)
    monkeypatch.setattr(attempts, "_sent", {})
    send(making())
    assert attempts._sent == {}
    assert Attempts(Builder()).number("node") == 0
