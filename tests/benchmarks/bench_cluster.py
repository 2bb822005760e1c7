"""What daskcache costs on a cluster, side by side with `dask.delayed`.

    python tests/benchmarks/bench_cluster.py [--nodes 4000] [--only NAME]

As `bench.py`, it prints a row for each bar and one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from contextlib import contextmanager

import dask
import numpy as np
from bench import Row, cached_collect, cached_make, cached_step, collect, make, once, root, run, step
from distributed import Client, LocalCluster

import daskcache as dc

#: Cold runs of ours and of plain Dask, in turn.
TIMES = 5
MIB = 2**20


def cold_requested(nodes):
    """Small results that don't depend on each other, all of them asked for."""
    yield from _cold(
        "cold: all requested",
        lambda: [cached_make(i) for i in range(nodes)],
        lambda: [dask.delayed(make, pure=False)(i) for i in range(nodes)],
        nodes,
    )


def cold_summary(nodes):
    """Chains of two with small results, and a summary of them, which is asked for."""
    plain_make, plain_step = dask.delayed(make, pure=False), dask.delayed(step, pure=False)
    yield from _cold(
        "cold: chains of two, a summary",
        lambda: [cached_collect([cached_step(cached_make(i), i) for i in range(nodes // 2)])],
        lambda: [
            dask.delayed(collect, pure=False)([plain_step(plain_make(i), i) for i in range(nodes // 2)])
        ],
        nodes,
    )


def _cold(name, ours, peer, nodes):
    found = []
    with cluster() as client:
        dask.compute(*[dask.delayed(make, pure=False)(i) for i in range(200)])
        with root():
            dask.compute(cached_make(-1))
        for _ in range(TIMES):
            with root():
                graph = ours()
                before = seconds_on_processors(client)
                wall = once(lambda: dask.compute(*graph))  # noqa: B023
                busy = seconds_on_processors(client) - before
            graph = peer()
            before = seconds_on_processors(client)
            peer_wall = once(lambda: dask.compute(*graph))  # noqa: B023
            found.append((wall, peer_wall, busy, seconds_on_processors(client) - before))
    best = [min(column) / nodes * 1e6 for column in zip(*found, strict=True)]
    yield Row(name, "µs/node", best[0], "dask.delayed", best[1], 1.3, "ratio", "LocalCluster(2)")
    yield Row(f"{name}, processor", "µs/node", best[2], "dask.delayed", best[3], 1.3, "ratio")


def handoff(nodes):
    """An array of 64 MiB from one function to the next on the same worker."""

    def watch():
        from daskcache.runtime.entry import Entry

        lend = Entry.lend

        def timed(self):
            started = time.perf_counter()
            value = lend(self)
            Entry.seconds.append(time.perf_counter() - started)
            return value

        Entry.seconds, Entry.lend = [], timed

    def seconds():
        from daskcache.runtime.entry import Entry

        return Entry.seconds

    big = dc.delayed(lambda i: np.full(64 * MIB // 2, i, "u2"), target="big/{i}.npy", version=1)
    first = dc.delayed(lambda array, i: int(array[0]), target="first/{i}.json", version=1)
    found = {}
    for share in (0.2, 0):
        with cluster(1, **{"daskcache.hot-cache": share}) as client, root():
            client.run(watch)
            dask.compute(*[first(big(i), i) for i in range(8)])
            (found[share],) = client.run(seconds).values()
    ours, peer = (sorted(found[share])[4] * 1e3 for share in (0.2, 0))
    yield Row("handoff of 64 MiB, same worker", "ms", ours, "from the file", peer, 5, "measured")


@contextmanager
def cluster(workers=2, **settings):
    """Within, verbs go to a LocalCluster of processes; yields the client."""
    quiet = {"distributed.admin.large-graph-warning-threshold": "1 GB"}
    with (
        dask.config.set({**quiet, **settings}),
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0") as local,
        Client(local) as client,
    ):
        client.run(dask.config.set, settings)
        yield client


def seconds_on_processors(client):
    """Time that client, scheduler and workers have kept processors busy: other programs don't count."""
    times = [os.times(), *client.run(os.times).values()]
    return sum(each.user + each.system for each in times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=4000, help="size of the graphs")
    parser.add_argument("--only", choices=BENCHMARKS, help="one benchmark")
    options = parser.parse_args()
    figures = run({name: (each, options.nodes) for name, each in BENCHMARKS.items()}, options.only)
    print(json.dumps({"nodes": options.nodes, "rows": figures}))


BENCHMARKS = {each.__name__: each for each in (cold_requested, cold_summary, handoff)}

if __name__ == "__main__":
    main()
