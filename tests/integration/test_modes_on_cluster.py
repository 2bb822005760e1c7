"""Flows in the mode "dask" on a cluster."""

from __future__ import annotations

import time

import dask
import numpy as np
import pytest
from clusters import on_cluster

import daskcache as dc
from daskcache.testing.assertions import scheduler_tasks


def test_a_flow_on_a_cluster(cluster, runs, files):
    """Values are those of any mode, all that is made is stored, and a second run schedules nothing."""

    @dc.task(target="a/{n}.npy", retries=2)
    def make(n):
        runs.note("make")
        return np.arange(n)

    @dc.task(target="b/{array.stem}.json")
    def total(array, more=()):
        runs.note("total")
        return int(array.sum()) + sum(more)

    @dc.flow
    def run():
        for n in range(12):
            make(100 + n)  # nobody waits for these
        arrays = [make(n) for n in range(4)]
        totals = total.map(arrays)
        last = total.submit(make.submit(20), more=[totals[3]])
        return {"arrays": arrays[3], "totals": totals.result(), "last": last}

    def check(found):
        assert np.array_equal(found["arrays"], np.arange(3))
        assert (found["totals"], found["last"]) == ([0, 0, 1, 3], 193)

    check(run())
    assert len(files()) == 22
    assert len(runs.names()) == 22
    check(run())
    assert len(runs.names()) == 22


def test_a_finished_flow_schedules_nothing(local_client, runs):
    """Nodes that are returned are read in this process; the others are not looked at twice."""

    @dc.task(target="c/{n}.json")
    def make(n):
        return n

    @dc.flow
    def run():
        return [make(n) for n in range(20)]

    with on_cluster(local_client):
        assert run() == list(range(20))
        with scheduler_tasks(local_client) as tasks:
            assert run() == list(range(20))
        assert tasks() == []


def test_what_is_submitted_is_under_way_at_once(cluster, runs):
    """Before anybody asks for a result."""

    @dc.task
    def note(n):
        runs.note("note")
        return n

    future = note.submit(1)
    deadline = time.monotonic() + 30
    while not runs.names() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert runs.names() == ["note"]
    future.wait(timeout=30)
    assert future.result(timeout=30) == 1


def test_a_failure_on_a_cluster(cluster):
    """It is the function's own error, for who asks for the result, and else for the flow's caller."""

    @dc.task
    def fail(n):
        raise KeyError(n)

    @dc.flow
    def seen():
        future = fail.submit(1)
        future.wait()
        with pytest.raises(KeyError):
            future.result()
        return "seen"

    @dc.flow
    def unseen():
        fail.submit(2)

    assert seen() == "seen"
    with pytest.raises(KeyError):
        unseen()


def test_targets_at_addresses_come_from_workers(cluster, tmp_path):
    """A target that a worker filled is a file, and its handle is small."""

    @dc.task
    def make(folder, n):
        target = dc.ImageTarget.from_path(f"{folder}/a.tif")
        target.set_data(np.full((200, 200), n, "u2"))
        return target

    made = dask.compute(*[make(str(tmp_path / "out"), n) for n in range(3)])
    assert [int(target.get_data().max()) for target in made] == [0, 1, 2]
    assert len(list((tmp_path / "out").iterdir())) == 3
