"""Memory of workers stays flat along a chain of cached nodes."""

import resource
import shutil
import time

import dask
import numpy as np
import pytest
from distributed import Client, LocalCluster

import daskcache as dc


def make(number, mebibytes) -> np.ndarray:
    return np.full(mebibytes * 2**17, number, dtype=np.float64)


def mean(array) -> float:
    return float(array.mean())


def mean_of_all(means) -> float:
    return sum(means) / len(means)


def centre(array, mean) -> np.ndarray:
    return array - mean


def increment(array, step) -> np.ndarray:
    return array + step


def chains(delayed, arrays, mebibytes):
    """Chains of 12 nodes over `arrays` arrays; in the middle, each needs something of all the others."""
    made, middle, add, measured = (delayed(f) for f in (make, centre, increment, mean))
    first = [made(number, mebibytes) for number in range(arrays)]
    for step in range(4):
        first = [add(array, step) for array in first]
    overall = delayed(mean_of_all)([measured(array) for array in first])
    second = [middle(array, overall) for array in first]
    for step in range(5):
        second = [add(array, step) for array in second]
    return [measured(array) for array in second]


def computed(delayed, arrays, mebibytes, limit):
    """Results of the chains on two workers; what was spilled; how often one paused; the highest RSS."""
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(memory_limit=limit, **options) as cluster, Client(cluster) as client:
        started = time.monotonic()
        results = client.gather(client.compute(chains(delayed, arrays, mebibytes)))
        seconds = time.monotonic() - started
        told = [message for worker in cluster.scheduler.workers for message in client.get_events(worker)]
        return results, {
            "spills": sum(client.run(spills).values()),
            "pauses": sum(message.get("status") == "paused" for _, message in told),
            "highest RSS in MiB": max(client.run(highest_rss).values()),
            "seconds": round(seconds),
        }


def spills(dask_worker):
    return int(dask_worker.data.cumulative_metrics["disk-write", "count"])


def highest_rss():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def test_chains_need_little_memory(root, full):
    """Chains over more arrays than fit into memory neither spill nor pause; plain Dask's spill."""
    size = (40, 64, "1 GiB") if full else (40, 16, "400 MiB")
    expected, plain = computed(dask.delayed, *size)
    try:
        results, cached = computed(dc.delayed, *size)
    finally:
        shutil.rmtree(root)  # gigabytes
    print("plain Dask:", plain, "daskcache:", cached)
    assert results == pytest.approx(expected)
    assert plain["spills"] > 0
    assert (cached["spills"], cached["pauses"]) == (0, 0)
