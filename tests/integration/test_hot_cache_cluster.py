"""The hot cache on distributed workers: bounded by their memory, and giving way to other things."""

from __future__ import annotations

import time

import dask
import numpy as np
import pytest
from clusters import on_cluster
from distributed import Client, LocalCluster

import daskcache as dc
from daskcache.runtime import hot_cache

MIB = 2**20


@pytest.fixture
def worker(monkeypatch):
    """The one worker of a cluster in this process, with a memory limit of 50 MiB; verbs go there."""
    monkeypatch.setattr(hot_cache, "cache", hot_cache.HotCache())
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, memory_limit=None, dashboard_address=":0"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
        on_cluster(client),
    ):
        (worker,) = (each for each in cluster.workers.values())
        worker.memory_manager.memory_limit = 50 * MIB
        worker.monitor.get_process_memory = lambda: 10 * MIB
        yield worker


def array(i):
    return np.full(MIB // 8, float(i))


def first(x):
    return float(x[0])


def test_a_share_of_the_workers_memory(worker):
    """A fifth of it, by default."""
    nodes = [dc.delayed(array, target="{i}.npy")(i) for i in range(15)]
    ends = [dc.delayed(first, target="{key}.json")(node) for node in nodes]
    assert dask.compute(*ends) == tuple(map(float, range(15)))
    assert hot_cache.cache.nbytes == 10 * MIB


def test_it_gives_way_when_memory_is_scarce(worker):
    """By itself, when other things take the memory: by as much as the process is above its target."""
    nodes = [dc.delayed(array, target="{i}.npy")(i) for i in range(8)]
    dask.compute(*[dc.delayed(first, target="{key}.json")(node) for node in nodes])
    assert hot_cache.cache.nbytes == 8 * MIB
    manager = worker.memory_manager
    target = int(manager.memory_target_fraction * 50 * MIB)
    worker.monitor.get_process_memory = lambda: target + 3 * MIB - (8 * MIB - hot_cache.cache.nbytes)
    _wait_until(lambda: hot_cache.cache.nbytes == 5 * MIB)
    worker.monitor.get_process_memory = lambda: target + 100 * MIB
    _wait_until(lambda: hot_cache.cache.nbytes == 0)
    more = dc.delayed(array, target="{i}.npy")(20)
    assert dask.compute(dc.delayed(first, target="20.json")(more)) == (20.0,)
    assert hot_cache.cache.nbytes == 0


def test_values_for_the_client_can_be_changed(worker):
    """What is shared are the inputs of functions; a value that is asked for is one's own.

    As long as the scheduler of this process knows the task that loaded it, it has the same object.
    """
    node = dc.delayed(array, target="{i}.npy")(1)
    for _ in range(2):
        (value,) = dask.compute(node)
        value += 1
        _wait_until(lambda: not worker.state.tasks)
    total = dask.delayed(lambda x: x.__iadd__(1)[0])(node)
    for _ in range(2):
        assert total.compute() == 2.0
        _wait_until(lambda: not worker.state.tasks)


def _wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
