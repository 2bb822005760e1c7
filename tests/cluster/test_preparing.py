"""What is done when a client sends its first graph: once, and no verb hangs or fails by it."""

import asyncio
import threading
import time

import pytest
from tornado.ioloop import IOLoop

from daskcache import cluster as workers
from daskcache.errors import DaskcacheWarning


class Client:
    """As much of a client as is looked at: an event loop in a thread, and the lock that it needs."""

    status = "running"

    def __init__(self):
        self._scheduler_identity = {"id": "first"}
        self._refcount_lock = threading.RLock()
        started = threading.Event()

        async def main():
            self.loop, self.end = IOLoop.current(), asyncio.Event()
            started.set()
            await self.end.wait()

        self.thread = threading.Thread(target=asyncio.run, args=(main(),))
        self.thread.start()
        started.wait(10)

    def close(self):
        self.loop.add_callback(self.end.set)
        self.thread.join(10)


@pytest.fixture
def client():
    client = Client()
    yield client
    client.close()


@pytest.fixture
def steps(monkeypatch):
    """The steps, of which there are none yet."""
    steps = []
    monkeypatch.setattr(workers, "STEPS", steps)
    return steps


def test_steps_are_taken_before_the_verb_goes_on(client, steps):
    """The lock, which the loop needs, is free while the verb waits, and held again afterwards."""
    done = []

    async def step(client):
        with client._refcount_lock:
            done.append(True)

    steps.append(step)
    with client._refcount_lock, client._refcount_lock:
        workers.prepare(client)
        assert done == [True]
        assert client._refcount_lock._is_owned()


def test_steps_are_taken_once_for_each_scheduler(client, steps):
    """A scheduler that was started anew is another one."""
    done = []

    async def step(client):
        done.append(client._scheduler_identity["id"])

    steps.append(step)
    workers.prepare(client)
    workers.prepare(client)
    client._scheduler_identity = {"id": "second"}
    workers.prepare(client)
    assert done == ["first", "second"]


def test_a_step_that_takes_long_goes_on_beside_the_verb(client, steps, monkeypatch):
    """A verb waits for a while only: a worker that is blocked, say, answers when it can."""
    monkeypatch.setattr(workers, "_PATIENCE", 0.05)
    gate, done = threading.Event(), threading.Event()

    async def step(client):
        while not gate.is_set():
            await asyncio.sleep(0.01)
        done.set()

    steps.append(step)
    workers.prepare(client)
    assert not done.is_set()
    gate.set()
    assert done.wait(10)


def test_the_loop_does_not_wait_for_itself(client, steps):
    """In the thread of the client's own loop the steps follow when the verb is through."""
    order, done = [], threading.Event()

    async def step(client):
        order.append("step")
        done.set()

    def verb():
        workers.prepare(client)
        order.append("verb")

    steps.append(step)
    client.loop.add_callback(verb)
    assert done.wait(10)
    assert order == ["verb", "step"]


def test_a_step_that_fails_is_a_warning(client, steps):
    """The verb goes on without it, and the other steps are taken."""
    done = []

    async def bad(client):
        raise RuntimeError("no such luck")

    async def good(client):
        done.append(True)

    steps += [bad, good]
    with pytest.warns(DaskcacheWarning, match="no such luck"):
        workers.prepare(client)
    assert done == [True]
    client.status = "closed"
    client._scheduler_identity = {"id": "second"}
    started = time.monotonic()
    workers.prepare(client)
    assert time.monotonic() - started < 5
