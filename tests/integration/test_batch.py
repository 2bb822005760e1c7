"""Clusters of batch systems: workers that are not there yet, or that come and go."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter

import dask
import pytest
from clusters import on_cluster
from dask_jobqueue.local import LocalCluster as JobCluster
from distributed import Client, LocalCluster

import daskcache as dc

NODES = 24


@pytest.fixture
def graph(runs):
    """A function that makes a total over nodes which take so many seconds, and the nodes."""

    def make(seconds):
        def part(i):
            runs.note(str(i))
            time.sleep(seconds)
            return i

        parts = [dc.delayed(part, target="parts/{i}.json")(i) for i in range(NODES)]
        return dc.delayed(lambda values: sum(values), target="total.json")(parts), parts

    return make


_LOGIN_NODE = """
import sys
import daskcache as dc

@dc.delayed(target="parts/{i}.json")
def part(i):
    return i

plan = dc.plan([part(i) for i in range(3)])
print(plan.left, "distributed" in sys.modules)
"""


def test_plans_need_no_cluster(tmp_path):
    """On a login node: a plan starts nothing, imports no distributed, and writes nothing."""
    done = subprocess.run(
        [sys.executable, "-c", _LOGIN_NODE], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout.split() == ["3", "False"], done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_graph_waits_for_its_workers(graph, runs):
    """What is sent before there is a worker is planned, and runs when one comes."""
    total, _ = graph(0.01)
    with (
        LocalCluster(n_workers=0, threads_per_worker=2, processes=False, dashboard_address=":0") as own,
        Client(own, set_as_default=False) as client,
        on_cluster(client),
    ):
        future = client.compute(total)
        time.sleep(0.5)
        assert future.status == "pending"
        own.scale(1)
        assert future.result(timeout=60) == sum(range(NODES))
    assert len(runs.names()) == NODES


@pytest.mark.parametrize("finished", [0, NODES - 2])
def test_an_adaptive_cluster_is_sized_by_what_is_left(graph, runs, finished):
    """Two nodes left of 24 are work for one worker; all of them for as many as there may be."""
    total, parts = graph(0.4)
    dask.compute(parts[:finished], scheduler="threads", num_workers=NODES)
    with (
        LocalCluster(n_workers=0, threads_per_worker=1, processes=False, dashboard_address=":0") as own,
        Client(own, set_as_default=False) as client,
    ):
        own.adapt(minimum=0, maximum=4, interval="50 ms", target_duration="1 s", wait_count=4)
        future = client.compute(total)
        most = 0
        while not future.done():
            most = max(most, len(own.workers))
            time.sleep(0.02)
        assert future.result() == sum(range(NODES))
        assert most in ((4,) if finished == 0 else (1, 2))
        del future
        deadline = time.monotonic() + 30
        while own.workers and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not own.workers  # nothing that is finished keeps a worker
        assert client.compute(total).result(timeout=60) == sum(range(NODES))
    assert len(runs.names()) == NODES


def test_jobs_come_and_go(graph, runs, full):
    """Jobs that dask-jobqueue starts, here as local processes, do what is left of a half-finished graph.

    In the full size their time is up long before the work is done: what they have finished counts, and
    others take their places.
    """
    total, parts = graph(0.5)
    dask.compute(parts[: 0 if full else NODES - 4], scheduler="threads", num_workers=NODES)
    settings = {
        "distributed.scheduler.allowed-failures": 100,
        "distributed.deploy.lost-worker-timeout": "1s",
    }
    with (
        dask.config.set(settings),
        JobCluster(
            cores=1,
            processes=1,
            memory="1 GB",
            worker_extra_args=["--lifetime", "5s"] if full else [],
            scheduler_options={"dashboard_address": ":0"},
        ) as jobs,
        Client(jobs, set_as_default=False) as client,
    ):
        jobs.adapt(minimum_jobs=0, maximum_jobs=2, interval="200 ms")
        assert client.compute(total).result(timeout=250) == sum(range(NODES))
        workers = dc.history(client).query("outcome == 'ran' and worker != ''")["worker"].nunique()
    assert workers > 2 if full else workers in (1, 2)
    calls = Counter(runs.names())
    assert set(calls) == {str(i) for i in range(NODES)}
    assert sum(calls.values()) <= NODES + (workers if full else 0)  # what ran when a job's time was up
