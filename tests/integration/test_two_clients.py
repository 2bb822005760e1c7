"""Two clients with one graph: one scheduler runs it once; with two, one result wins, or one waits."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import dask
import pytest
from clusters import on_cluster, small_cluster
from distributed import Client

import daskcache as dc
from daskcache import storing
from daskcache.testing import scheduler_tasks

WIDE = 12


def graph(runs, seconds=0.3):
    """Slow nodes, and one that adds them up."""

    def slow(i):
        runs.note(f"slow {i}")
        time.sleep(seconds)
        return i

    def add_up(values):
        runs.note("add_up")
        return sum(values)

    parts = [dc.delayed(slow, target="{i}.json", version=1)(i) for i in range(WIDE)]
    return parts, dc.delayed(add_up, target="sum.json", version=1)(parts)


ONCE = sorted(["add_up", *(f"slow {i}" for i in range(WIDE))])


def test_one_scheduler(local_client, runs):
    """What the first is computing, the second waits for: keys are the same."""
    with Client(local_client.scheduler.address, set_as_default=False) as second:
        parts, total = graph(runs)
        first_future = local_client.compute(total)
        _wait_until(lambda: len(runs.names()) >= 2)
        parts, total = graph(runs)
        assert second.compute(total).result() == first_future.result()
        assert second.gather(second.compute(parts)) == list(range(WIDE))
    assert runs.take() == ONCE


def test_values_that_are_asked_for_and_used(local_client, runs):
    """A node that is under way for its value is not run again for what follows from it."""
    parts, total = graph(runs)
    futures = local_client.compute(parts)
    _wait_until(lambda: len(runs.names()) >= 2)
    assert local_client.compute(total).result() == sum(range(WIDE))
    local_client.gather(futures)
    assert runs.take() == ONCE


@pytest.mark.parametrize("stale", [False, True])
def test_what_runs_is_shared_when_its_inputs_are_finished(local_client, runs, tmp_path, stale, caplog):
    """A node under way is not run again because the plan finds what it is made from complete by now."""

    def quick(n):
        runs.note("quick")
        return n

    def slow(x, folder):
        runs.note("slow")
        while not (folder / "go").exists():
            time.sleep(0.01)
        return x + 1

    def after(x):
        runs.note("after")
        return x + 1

    go = tmp_path / "go"

    def nodes(n):
        middle = dc.delayed(slow, target="slow.json", version=1, ignore="folder")
        one = middle(dc.delayed(quick, target="quick.json", version=1)(n), tmp_path)
        return one, dc.delayed(after, target="after.json", version=1)(one)

    if stale:
        go.touch()
        local_client.compute(nodes(0)[1]).result()
        go.unlink()
        runs.clear()
    one = local_client.compute(nodes(1)[0])
    _wait_until(lambda: "slow" in runs.names())
    both = local_client.compute(nodes(1))
    time.sleep(0.5)  # in which the worker that is free would begin
    go.touch()
    assert [one.result(), *local_client.gather(both)] == [2, 2, 3]
    assert sorted(runs.names()) == ["after", "quick", "slow"]
    assert "run_spec" not in caplog.text


def test_what_is_half_committed_is_shared(runs, monkeypatch):
    """A node of two targets keeps its task while only one of them is in place."""
    begun, go = threading.Event(), threading.Event()
    commit = storing._commit

    def commit_and_wait(*args):
        position = args[4]
        if position == 1:
            begun.set()
            assert go.wait(30)
        return commit(*args)

    monkeypatch.setattr(storing, "_commit", commit_and_wait)
    pair = dc.delayed(lambda n: (n, -n), target=("a.json", "b.json"), version=1)
    threads = {"processes": False, "n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}
    with Client(**threads) as client, scheduler_tasks(client) as tasks:
        first = client.compute(pair(1))
        assert begun.wait(30)
        second = client.compute(pair(1))
        go.set()
        assert first.result() == second.result() == (1, -1)
        assert len([key for key in tasks() if "value" not in key]) == 1


@pytest.mark.timeout(180)
@pytest.mark.parametrize("lease", [None, "5s"])
def test_two_schedulers(local_client, runs, tmp_path, root, lease):
    """Nothing is lost, and each node has one winner; with leases each runs once."""
    settings = {"daskcache.lease": lease}
    with small_cluster() as other, dask.config.set(settings):
        for client in (local_client, other):
            client.run(dask.config.set, settings)
        try:
            _, total = graph(runs)
            futures = [client.compute(total) for client in (local_client, other)]
            assert [future.result() for future in futures] == [sum(range(WIDE))] * 2
        finally:
            local_client.run(dask.config.set, {"daskcache.lease": None})
    assert total.dc.state == "complete"
    assert len(list((root / ".daskcache" / "records").rglob("*.json"))) == WIDE + 1
    for folder in ("intents", "parts", "leases", "trash"):
        assert list((root / ".daskcache" / folder).glob("*")) == []
    if lease is not None:
        assert runs.take() == ONCE
    else:
        assert set(runs.take()) == set(ONCE)


KILLED = """
import os, sys, time, dask, daskcache as dc

def slow():
    open({started!r}, "w").close()
    time.sleep(100)

with dask.config.set({{"daskcache.root": {root!r}, "daskcache.lease": "1s", "scheduler": "sync"}}):
    dask.compute(dc.delayed(slow, target="slow.json", version=1)())
"""


@pytest.mark.timeout(120)
def test_a_holder_that_is_killed(tmp_path, root):
    """Its lease expires, and who waited runs the node."""
    started = tmp_path / "started"
    program = textwrap.dedent(KILLED).format(started=str(started), root=str(root))
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        _wait_until(started.exists)
        node = dc.delayed(lambda: 7, target="slow.json", version=1)()
        with dask.config.set({"daskcache.lease": "1s"}):
            from threading import Timer

            Timer(2.5, process.kill).start()
            before = time.monotonic()
            assert dask.compute(node, scheduler="sync") == (7,)
            assert time.monotonic() - before > 2.5
    finally:
        process.kill()
        process.wait()


def test_only_the_incomplete_and_the_loads_they_need(local_client, full):
    """Of a half-finished graph, what is done is neither sent nor loaded, unless something needs it."""
    nodes = 10_000 if full else 1_000
    with on_cluster(local_client):
        first = [_first(i) for i in range(nodes // 2)]
        second = [_second(node, i) for i, node in enumerate(first)]
        done = [*first[: nodes // 4], *second[: nodes // 4]]
        dask.compute(*done, scheduler="sync")
        with scheduler_tasks(local_client) as tasks:
            total = dask.compute(_total(second))
            keys = tasks()
        with scheduler_tasks(local_client) as tasks:
            loaded = local_client.gather(local_client.compute(second[:10]))
            loads = tasks()
    assert loaded == list(range(1, 11))
    assert len(loads) == 10
    assert all(key.startswith("_second-value-") for key in loads)
    assert total == (sum(range(nodes // 2)) + nodes // 2,)
    names = [key.rpartition("-")[0].rpartition("-")[0] for key in keys]
    assert sorted(set(names)) == ["_first", "_second", "_total", "_total-value"]
    assert names.count("_first") == names.count("_second") == nodes // 4
    assert len(keys) == nodes // 2 + 2


@dc.delayed(target="first/{i}.json")
def _first(i):
    return i


@dc.delayed(target="second/{i}.json")
def _second(x, i):
    return x + 1


@dc.delayed(target="total.json")
def _total(values):
    return sum(values)


def _wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def test_graphs_that_are_over_are_let_go(local_client):
    """A verb lets go of what the one before has sent, arguments included."""

    class Box:
        content = 3

    look = dc.delayed(lambda box: box.content, target="{key}.json", version=1)
    box = Box()
    held = weakref.ref(box)
    assert local_client.compute(look(box)).result() == 3
    del box
    assert local_client.compute(look(Box)).result() == 3
    gc.collect()
    assert held() is None
