"""Two clients with one graph: one scheduler runs it once; with two, one result wins, or one waits."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from operator import add
from pathlib import Path

import dask
import pytest
from clusters import on_cluster, small_cluster
from distributed import Client, Variable, get_client

import daskcache as dc
from daskcache.graph import attempts
from daskcache.storage.commit import Commit
from daskcache.testing.assertions import scheduler_tasks

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


LATER = {
    "node": lambda parts, total: total,
    "value": lambda parts, total: dask.delayed(add)(parts[0], sum(range(1, WIDE))),
    "list": lambda parts, total: dask.delayed(sum)(parts),
    "operator": lambda parts, total: parts[0] + sum(range(1, WIDE)),
    "after both": lambda parts, total: dask.delayed(max)([dask.delayed(sum)(parts), total]),
}


@pytest.mark.parametrize("later", LATER)
@pytest.mark.parametrize("end", ["wait", "drop"])
def test_what_is_under_way_for_its_value_is_not_run_again(local_client, runs, later, end):
    """What follows from it waits for it, node or composed, even if nobody wants the value any more."""
    parts, total = graph(runs)
    futures = local_client.compute(parts)
    _wait_until(lambda: len(runs.names()) >= 2)
    last = local_client.compute(LATER[later](parts, total))
    if end == "drop":
        del futures
    assert last.result() == sum(range(WIDE))
    found = runs.take()
    assert len(found) == len(set(found))
    assert set(ONCE) - {"add_up"} <= {*found, *(f"slow {i}" for i in range(1, WIDE))}


@pytest.mark.parametrize("kept", [False, True])
def test_nothing_that_a_composed_graph_needs_gets_lost(local_client, runs, kept):
    """It is right whether what it shares was not received yet, or is dropped as it is planned."""

    def make(i):
        runs.note(str(i))
        return i

    makes = dc.delayed(make, target="{i}.json", version=1)
    after = dc.delayed(lambda x: x + 1, target="after/{x.stem}.json", version=1)
    with Client(local_client.scheduler.address, set_as_default=False) as second:
        for i in range(0, 40, 2):
            first, other = makes(i), makes(i + 1)
            futures = local_client.compute([first, other])
            last = second.compute(dask.delayed(sum)([first, after(other)]))
            if not kept:
                del futures
            assert last.result() == 2 * i + 2
    found = runs.take()
    assert set(found) == set(map(str, range(40)))
    if kept:  # of the others the entry is needed, which a graph that is sent task by task makes anew
        assert all(found.count(str(i)) == 1 for i in range(0, 40, 2))


def test_a_requested_node_has_one_task(local_client, runs):
    """For entry and value, unless another node of the verb needs the entry."""
    parts, total = graph(runs, seconds=0)
    with on_cluster(local_client):
        with scheduler_tasks(local_client) as tasks:
            assert dask.compute(*parts[2:]) == tuple(range(2, WIDE))
            assert len(tasks()) == WIDE - 2
        with scheduler_tasks(local_client) as tasks:
            assert dask.compute(parts[0], total) == (0, sum(range(WIDE)))
            assert len(tasks()) == 4  # of both new parts the entry; of one its value; the total
    assert runs.take() == ONCE


def test_published_data_are_no_other_program(local_client, runs):
    """Nor are variables, clients in tasks, and clients that are closed."""
    (part, *_), _ = graph(runs, seconds=0)
    Client(local_client.scheduler.address, set_as_default=False).close()
    assert local_client.submit(lambda: get_client().submit(int).result()).result() == 0
    try:
        local_client.publish_dataset(local_client.submit(int), name="something")
        Variable("something", local_client).set(1)
        with on_cluster(local_client), scheduler_tasks(local_client) as tasks:
            assert dask.compute(part) == (0,)
            assert len(tasks()) == 1
    finally:
        local_client.unpublish_dataset("something")
        Variable("something", local_client).delete()


def test_a_failure_is_shared_and_tried_again(local_client, runs, tmp_path):
    """What waits for a value that can't be made fails as it does; the next verb tries anew."""
    go, mended = tmp_path / "go", tmp_path / "mended"

    def fragile():
        runs.note("fragile")
        while not go.exists():
            time.sleep(0.01)
        if not mended.exists():
            raise OSError("not yet")
        return 1

    node = dc.delayed(fragile, target="fragile.json", version=1)()
    after = dc.delayed(lambda x: x + 1, target="after.json", version=1)(node)
    first = local_client.compute(node)
    _wait_until(lambda: runs.names())
    second = local_client.compute(after)
    go.touch()
    for future in (first, second):
        with pytest.raises(OSError, match="not yet"):
            future.result()
    assert runs.take() == ["fragile"]
    mended.touch()
    assert local_client.gather(local_client.compute([node, after])) == [1, 2]
    assert runs.take() == ["fragile"]


CELLS = """
import os, time
import daskcache as dc
from daskcache.testing import RunCounter

runs = RunCounter({counter!r})

@dc.delayed(target="{{i}}.json")
def slow(i):
    runs.note(f"slow {{i}}")
    while not os.path.exists({gate!r}):
        time.sleep(0.01)
    return i

@dc.delayed(target="sum.json")
def add_up(values):
    runs.note("add_up")
    return sum(values)
"""

NOTEBOOK = """
import sys, dask
from distributed import Client, LocalCluster

root, cells, verb, *address = sys.argv[1:]
exec(compile(open(cells).read(), "cell", "exec"))
if not address:
    address = [LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)]
with Client(address[0]) as client, dask.config.set({"daskcache.root": root}):
    parts = [slow(i) for i in range(4)]
    futures = client.compute(parts if verb == "parts" else [add_up(parts)])
    print(client.scheduler.address, flush=True)
    print(sum(client.gather(futures)), flush=True)
    sys.stdin.readline()
"""


@pytest.mark.timeout(180)
@pytest.mark.parametrize("verbs", [("parts", "total"), ("total", "parts"), ("parts", "parts")], ids=str)
def test_another_program_needs_what_is_under_way_in_another_form(tmp_path, runs, verbs):
    """One program asks for values, another for what follows from them: each node runs once."""
    cells, gate = tmp_path / "cells.py", tmp_path / "gate"
    cells.write_text(CELLS.format(counter=str(runs.path), gate=str(gate)))
    programs, address = [], []
    try:
        for verb in verbs:
            command = [
                sys.executable,
                "-c",
                NOTEBOOK,
                str(tmp_path / "root"),
                str(cells),
                verb,
                *address,
            ]
            programs.append(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            address = [programs[-1].stdout.readline().strip()]
            _wait_until(lambda: runs.names())
        time.sleep(0.5)  # in which a worker that is free would begin
        gate.touch()
        assert [program.stdout.readline() for program in programs] == ["6\n", "6\n"]
        for program in reversed(programs):
            program.communicate("\n", timeout=60)
    finally:
        gate.touch()
        for program in programs:
            program.kill()
            program.wait()
    after = ["add_up"] if "total" in verbs else []
    assert runs.take() == sorted([*after, *(f"slow {i}" for i in range(4))])


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
    run = Commit.run

    def wait_and_run(commit):
        if commit.target == "b.json":
            begun.set()
            assert go.wait(30)
        return run(commit)

    monkeypatch.setattr(Commit, "run", wait_and_run)
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
import dask, test_two_clients as program
with dask.config.set({{"daskcache.root": {root!r}, "daskcache.lease": "1s", "scheduler": "sync"}}):
    dask.compute(program.slow(True, {started!r}))
"""


@dc.delayed(target="slow.json", version=1, ignore=("for_ever", "started"))
def slow(for_ever, started):
    if for_ever:
        Path(started).touch()
        time.sleep(100)
    return 7


@pytest.mark.timeout(120)
def test_a_holder_that_is_killed(tmp_path, root):
    """Its lease expires, and who waited runs the node."""
    started = tmp_path / "started"
    program = textwrap.dedent(KILLED).format(started=str(started), root=str(root))
    process = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parent)
    try:
        _wait_until(started.exists)
        node = slow(False, str(started))
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
    assert sorted(set(names)) == ["_first", "_second", "_total-result"]
    assert names.count("_first") == names.count("_second") == nodes // 4
    assert len(keys) == nodes // 2 + 1


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


_LETTING_GO = """
import gc, time, weakref
import daskcache as dc
from distributed import Client

class Box:
    content = 3

if __name__ == "__main__":
    with Client(n_workers=1, threads_per_worker=1, dashboard_address=":0") as client:
        look = dc.delayed(lambda box: box.content, target="{key}.json", version=1)
        box = Box()
        held = weakref.ref(box)
        assert client.compute(look(box)).result() == 3
        del box
        deadline = time.monotonic() + 30  # threads of Dask may hold it for some moments more
        while held() is not None and time.monotonic() < deadline:
            assert client.compute(look(Box)).result() == 3
            gc.collect()
        print(held())
"""


def test_graphs_that_are_over_are_let_go(tmp_path):
    """Verbs let go of what the ones before have sent, arguments included."""
    (tmp_path / "program.py").write_text(_LETTING_GO)
    command = [sys.executable, "program.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "None\n", done.stdout + done.stderr


def test_attempts_with_a_future_are_not_forgotten(local_client, monkeypatch, tmp_path):
    """However many nodes were sent: else the scheduler's old error would pass for a new one."""
    monkeypatch.setattr(attempts.SUBMISSIONS, "_max_remembered", 1)
    monkeypatch.setattr(attempts.SUBMISSIONS, "_most", 1)
    number = dc.delayed(lambda i: i, target="numbers/{i}.json", version=1)
    there = dc.delayed(lambda path: 1 // Path(path).exists(), target="there.json", version=1)
    node = dc.delayed(lambda x: x, target="after.json", version=1)(there(str(tmp_path / "flag")))
    failed = local_client.compute(node)
    with pytest.raises(ZeroDivisionError):
        failed.result()
    (tmp_path / "flag").touch()
    for i in range(1, 4):
        assert local_client.compute(number(i)).result() == i
    assert local_client.compute(node).result() == 1
