"""Questions to a scheduler: how often they are asked, and that no event is lost between two answers."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace

import pytest
from distributed.metrics import time

from daskcache.events import COLLECTOR, TOPIC
from daskcache.monitor import cluster_runs
from daskcache.monitor.cluster_runs import ClusterRun, _news
from daskcache.monitor.counts import Counts


@pytest.fixture
def clock(monkeypatch):
    """The time in seconds, which tests set."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(cluster_runs, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


class Client:
    """A client whose scheduler takes `work` seconds for an answer, which arrives after `delay`."""

    status = "running"
    _run_on_scheduler = None

    def __init__(self, clock, work, delay):
        self.clock, self.work, self.delay = clock, work, delay
        self.asked = []

    def sync(self, *args, **kwargs):
        self.asked.append(self.clock.now)
        self.clock.now += self.delay
        return [], [], False, self.clock.now, self.work


@pytest.mark.parametrize(
    ("work", "delay", "pause"),
    [
        (0.001, 0.0, 0.5),
        (0.001, 1.5, 0.5),  # the first answer of a busy machine
        (0.02, 0.02, 2.0),
        (1.0, 1.0, 3.0),  # a display must move on
    ],
)
def test_a_scheduler_is_asked_as_often_as_its_answers_are_cheap(clock, work, delay, pause):
    client = Client(clock, work, delay)
    run = ClusterRun(client)
    run.refresh(Counts())
    answered = clock.now
    for each in (pause - 0.01, pause + 0.01):
        clock.now = answered + each
        run.refresh(Counts())
    assert client.asked == pytest.approx([100.0, answered + pause + 0.01])


def test_the_last_question_is_asked_at_once(clock):
    client = Client(clock, 1.0, 0.0)
    run = ClusterRun(client)
    run.refresh(Counts())
    run.refresh(Counts(), at_once=True)
    assert len(client.asked) == 2


def test_no_event_is_lost_between_two_answers():
    """Whatever the client believes to be the time between them, as when the second one was late."""
    collector = SimpleNamespace(arrivals=deque(maxlen=10), events=deque(maxlen=10))
    scheduler = SimpleNamespace(plugins={COLLECTOR: collector}, workers={})

    def arrive(key):
        collector.arrivals.append(time())
        collector.events.append({"key": key})

    def keys(age, heard):
        found, _, _, heard, _ = _news(TOPIC, COLLECTOR, age, heard, scheduler)
        return [key for key, *_ in found], heard

    collector.arrivals.append(time() - 60)
    collector.events.append({"key": "of an earlier verb"})
    arrive("a")
    first, heard = keys(30.0, None)
    assert first == ["a"]
    arrive("b")
    assert keys(0.0, heard)[0] == ["b"]
