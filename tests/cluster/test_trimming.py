"""When the memory of a worker's process is trimmed."""

import threading
import time

import pytest

from daskcache.cluster import memory
from daskcache.cluster.memory import LONGEST_PERIOD, PERIOD, SLACK, Trimmer, TrimPlugin

MEBIBYTE = 2**20


class Worker:
    """As much of a worker as the trimmer looks at."""

    def __init__(self, managed=0, spilled=0):
        self.state = type("State", (), {"nbytes": managed})
        total = type("Total", (), {"memory": spilled})
        self.data = type("Data", (), {"spilled_total": total})


@pytest.fixture
def clock(monkeypatch):
    """Time in seconds, to be set."""
    now = [1000.0]
    monkeypatch.setattr(memory.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def trimmer(monkeypatch, clock):
    """A trimmer, what the process needs, and what a trim gives back and takes."""

    class Fake(Trimmer):
        rss = 100 * MEBIBYTE
        gain = 0
        cost = 0.0
        called = 0

        def trim(self):
            self.called += 1
            self.rss -= self.gain
            clock[0] += self.cost

    trimmer = Fake()
    monkeypatch.setattr(memory, "_rss", lambda: trimmer.rss)
    trimmer.worker = Worker()  # which the trimmer doesn't keep alive
    trimmer.add(trimmer.worker)
    trimmer.called = 0
    return trimmer


def test_it_trims_before_it_samples_the_base(monkeypatch):
    """What the process has freed before does not count as what it needs."""
    steps = []

    class Fake(Trimmer):
        def trim(self):
            steps.append("trim")

    monkeypatch.setattr(memory, "_rss", lambda: steps.append("sample") or 0)
    Fake().add(Worker())
    assert steps == ["trim", "sample"]


def test_it_trims_what_exceeds_base_and_managed_memory(trimmer):
    """Results that the worker holds are no reason to trim, nor is a little more than that."""
    trimmer.worker.state.nbytes = 500 * MEBIBYTE
    trimmer.rss = 600 * MEBIBYTE + SLACK
    trimmer.look()
    assert trimmer.called == 0
    trimmer.rss += 1
    trimmer.look()
    assert trimmer.called == 1


def test_spilled_results_are_not_in_memory(trimmer):
    """What was spilled does not hide what could be freed."""
    trimmer.worker.state.nbytes = 500 * MEBIBYTE
    trimmer.worker.data.spilled_total.memory = 500 * MEBIBYTE
    trimmer.rss = 100 * MEBIBYTE + SLACK + 1
    trimmer.look()
    assert trimmer.called == 1


def test_the_base_never_rises(trimmer):
    """It is the least that was seen: what is freed later than the first look counts, too."""
    trimmer.rss = 1000 * MEBIBYTE
    trimmer.look()
    assert trimmer.base == 100 * MEBIBYTE
    trimmer.rss = 50 * MEBIBYTE
    trimmer._due = 0
    trimmer.look()
    assert trimmer.base == 50 * MEBIBYTE


def test_it_backs_off_when_there_is_nothing_to_gain(trimmer, clock):
    """Each useless trim doubles the wait, up to half a minute; a useful one ends that."""
    trimmer.rss = 1000 * MEBIBYTE
    waits = []
    for _ in range(8):
        trimmer.look()
        waits.append(trimmer._due - clock[0])
        clock[0] = trimmer._due
    assert waits == [2 * PERIOD, 4 * PERIOD, 8 * PERIOD, 16 * PERIOD, 32 * PERIOD, *[LONGEST_PERIOD] * 3]
    trimmer.gain = SLACK
    trimmer.look()
    assert trimmer._due - clock[0] == PERIOD


def test_it_takes_one_percent_of_the_time(trimmer, clock):
    """After a trim that took long it rests 99 times as long."""
    trimmer.rss, trimmer.gain, trimmer.cost = 1000 * MEBIBYTE, 300 * MEBIBYTE, 2.0
    trimmer.look()
    assert trimmer._due - clock[0] == pytest.approx(198)
    trimmer.look()
    assert trimmer.called == 1


def test_one_look_at_a_time(trimmer):
    """Workers that share a process don't look twice at once."""
    trimmer.rss = 1000 * MEBIBYTE
    with trimmer._guard:
        trimmer.look()
    assert trimmer.called == 0


def test_elsewhere_than_glibc_it_does_nothing_and_says_so_once(monkeypatch, caplog):
    """No timer is started, and the log has one line about it, however many workers there are."""
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    monkeypatch.setattr(memory, "_trimmer", Trimmer())
    caplog.set_level("INFO", logger=memory.__name__)
    for _ in range(3):
        plugin, worker = TrimPlugin(), Worker()
        plugin.setup(worker)
        assert plugin._timer is None
        plugin.teardown(worker)
    assert [record.message for record in caplog.records] == [
        "memory of workers is not trimmed: the C library is not glibc"
    ]


def test_malloc_is_left_as_it_is_unless_asked(monkeypatch):
    """Only with `mallopt` are the C library's thresholds set."""
    calls = []

    class Libc:
        def malloc_trim(self, pad):
            pass

        def mallopt(self, parameter, value):
            calls.append((parameter, value))

    for given in (None, 128 * 1024):
        fake = Trimmer()
        fake.libc = Libc()
        monkeypatch.setattr(memory, "_trimmer", fake)
        monkeypatch.setattr(memory, "PeriodicCallback", lambda *args: threading.Timer(0, time.time))
        TrimPlugin(given).setup(Worker())
    assert calls == [(-1, 128 * 1024), (-3, 128 * 1024)]
