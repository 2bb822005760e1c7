"""The plugin that brings the plugins proper to a worker or nanny, or says why it can't."""

import asyncio
import pickle

import cloudpickle
from distributed import NannyPlugin

from daskcache.cluster import attaching


class Part:
    def __init__(self, name):
        self.name = name

    def setup(self, server):
        server.story.append(f"{self.name} comes")

    async def teardown(self, server):
        server.story.append(f"{self.name} goes")


class Broken(Part):
    def __reduce__(self):
        return eval, ("1 / 0",)


class Nanny:
    """As much of a nanny as a guard looks at."""

    address = "tcp://somewhere"

    def __init__(self):
        self.story = []
        self.told = []

    def log_event(self, topic, message):
        self.told.append((topic, message))


def guard(*parts):
    return pickle.loads(cloudpickle.dumps(attaching._guarded(NannyPlugin, parts)))


def test_a_guard_replaces_the_one_before():
    """Nannies don't tear down what is replaced, so the next one does."""
    nanny = Nanny()

    async def main():
        first, second = guard(Part("one"), Part("two")), guard(Part("three"))
        await first.setup(nanny=nanny)
        await second.setup(nanny=nanny)
        await second.teardown(nanny=nanny)
        await second.teardown(nanny=nanny)

    asyncio.run(main())
    assert nanny.story == ["one comes", "two comes", "one goes", "two goes", "three comes", "three goes"]


def test_what_cannot_be_unpickled_is_told():
    """The nanny goes on without, and the scheduler hears why."""
    nanny = Nanny()
    asyncio.run(guard(Broken("bad")).setup(nanny=nanny))
    ((topic, message),) = nanny.told
    assert topic == attaching.TOPIC
    assert message["who"] == "the nanny tcp://somewhere"
    assert "division by zero" in message["error"]
