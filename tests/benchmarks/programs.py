"""Nodes on a LocalCluster, and tasks of a Prefect flow."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial

import dask
import numpy as np
from distributed import LocalCluster

import daskcache as dc

from .measuring import Comparison, Times, timed
from .scenes import (
    Size,
    cached_collect,
    cached_make,
    cached_step,
    cluster,
    dask_collect,
    dask_make,
    dask_step,
    root,
    seconds_on_processors,
    wide,
)


def on_a_cluster(size: Size) -> Iterator[Comparison]:
    """Tiny nodes on two worker processes: cold, and again."""
    nodes = size.calls // 3
    with cluster() as client:
        processors = partial(seconds_on_processors, client)
        dask.compute(*wide(dask_make, 200))
        with root():
            dask.compute(cached_make(-1))

        def cold(build) -> Times:
            with root():
                graph = build()
                return timed(lambda: dask.compute(*graph), processors)

        def plain(build) -> Times:
            graph = build()
            return timed(lambda: dask.compute(*graph), processors)

        yield Comparison(
            "LocalCluster, cold: all requested",
            {
                "daskcache": lambda: cold(lambda: wide(cached_make, nodes)),
                "dask.delayed": lambda: plain(lambda: wide(dask_make, nodes)),
            },
            *(nodes, 1.1, 1.2),
            ceiling=8,
            processors=processors,
        )
        yield Comparison(
            "LocalCluster, cold: pairs and a summary",
            {
                "daskcache": lambda: cold(
                    lambda: pairs(cached_make, cached_step, cached_collect, nodes)
                ),
                "dask.delayed": lambda: plain(lambda: pairs(dask_make, dask_step, dask_collect, nodes)),
            },
            *(nodes, 1.1, 1.2),
            processors=processors,
        )
        with root():
            dask.compute(*pairs(cached_make, cached_step, cached_collect, nodes))
            yield Comparison(
                "LocalCluster, finished: built and computed",
                {
                    "daskcache": lambda: dask.compute(
                        *pairs(cached_make, cached_step, cached_collect, nodes)
                    ),
                    "dask.delayed": lambda: dask.compute(
                        *pairs(dask_make, dask_step, dask_collect, nodes)
                    ),
                },
                *(nodes, 0.05),
                processors=processors,
            )


def pairs(first, then, last, nodes):
    """Pairs of nodes, and a summary of them."""
    return [last([then(first(i), i) for i in range(nodes // 2)])]


def handoff(_size: Size) -> Iterator[Comparison]:
    """An array of 64 MiB goes from one function to the next on one worker: lent, or read."""
    big = dc.delayed(lambda i: np.full(2**25, i, "u2"), target="big/{i}.npy", version=1)
    first = dc.delayed(lambda array, i: int(array[0]), target="first/{i}.json", version=1)

    def lent(client) -> Times:
        with root():
            client.run(watch_lending)
            dask.compute(*[first(big(i), i) for i in range(8)])
            (seconds,) = client.run(lending_seconds).values()
        middle = sorted(seconds)[len(seconds) // 2]
        return Times(middle, middle)

    with cluster(1, **{"daskcache.hot-cache": 0.2}) as lending:

        def read() -> Times:
            with cluster(1, **{"daskcache.hot-cache": 0}) as reading:
                return lent(reading)

        yield Comparison(
            "64 MiB to the next function on its worker",
            {"daskcache": lambda: lent(lending), "from the file": read},
            note="the bar: 5 ms",
        )


def watch_lending() -> None:
    """On a worker: note how long functions wait for the values of their inputs."""
    from daskcache.runtime.entry import Entry

    if not hasattr(Entry, "benchmarked"):
        Entry.benchmarked = Entry.lend

        def lend(self):
            began = time.perf_counter()
            value = Entry.benchmarked(self)
            Entry.seconds.append(time.perf_counter() - began)
            return value

        Entry.lend = lend
    Entry.seconds = []


def lending_seconds() -> list[float]:
    """On a worker: how long they have waited."""
    from daskcache.runtime.entry import Entry

    return Entry.seconds


def skipped_in_prefect(size: Size) -> Iterator[Comparison]:
    """Complete tasks of a flow, beside Prefect's own cached tasks, on one LocalCluster."""
    import prefect
    from prefect.cache_policies import INPUTS
    from prefect.testing.utilities import prefect_test_harness
    from prefect_dask import DaskTaskRunner

    from daskcache.prefect import DaskCacheTaskRunner, flow, task

    ours = task(make_value, target="values/{i}.json")
    stock = prefect.task(make_value, cache_policy=INPUTS, persist_result=True)
    with (
        prefect_test_harness(),
        root(),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as local,
    ):
        yield Comparison(
            "Prefect: a complete task",
            {
                "daskcache": partial(skip, flow, DaskCacheTaskRunner(cluster=local), ours, size.flow),
                "Prefect": partial(
                    skip, prefect.flow, DaskTaskRunner(address=local.scheduler_address), stock, size.flow
                ),
            },
            *(size.flow, 0.05),
        )


def make_value(i):
    return i


def skip(make_flow, runner, function, count) -> Times:
    """Submit tasks twice in flows, and time the second time, when all of them are cached."""

    @make_flow(task_runner=runner)
    def submit():
        found: list[set[str]] = []

        def work():
            futures = [function.submit(i) for i in range(count)]
            for future in futures:
                future.wait()
            found.append({future.state.name for future in futures})

        return timed(work), found[0]

    submit()
    times, names = submit()
    assert names == {"Cached"}, names
    return times
