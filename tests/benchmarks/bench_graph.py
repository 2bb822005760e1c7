"""Performance bars of graphs on their way to a scheduler, measured side by side with `dask.delayed`.

    python tests/benchmarks/bench_graph.py [--roots 1000] [--tasks 50000] [--only NAME]

Prints a row for each bar and, at the end, one line of JSON with all figures.  It judges nothing by
its exit code: timings depend on the machine, ratios less so.
"""

from __future__ import annotations

import argparse
import json

import dask
from bench import (
    PEER_SMALLER,
    Row,
    best,
    cached_collect,
    cached_make,
    cached_step,
    chain,
    dask_collect,
    dask_make,
    dask_step,
    root,
    run,
    side_by_side,
)
from dask._task_spec import convert_legacy_graph
from dask.base import collections_to_expr
from dask.order import order
from distributed.protocol import pickle

import daskcache as dc


def end(x, i):
    return x


cached_end = dc.delayed(end, target="end/{i:05d}.pkl")
dask_end = dask.delayed(end)


def planned(collections):
    """What one verb does with its collections before it sends them."""
    return collections_to_expr(collections).finalize_compute().optimize()


def sent(collections):
    """The bytes that a client sends for a verb."""
    return pickle.dumps(planned(collections))


def arrived(pickled):
    """What a scheduler does with them: unpickle, cull and order."""
    expression = pickle.loads(pickled)
    tasks = convert_legacy_graph(expression.__dask_graph__())
    wanted = list(expression.__dask_keys__())
    order({key: tasks[key] for key in reachable(tasks, wanted)})
    return tasks


def reachable(tasks, keys):
    found = set()
    stack = list(dask.core.flatten(keys))
    while stack:
        key = stack.pop()
        if key not in found:
            found.add(key)
            stack += tasks[key].dependencies
    return found


# ---- many roots over a chain ------------------------------------------------------------------------


def fan(make, step, last, roots):
    """As many roots over a chain that is as long."""
    node = chain(make, step, roots)
    return [last(node, i) for i in range(roots)]


def direct_fan(options):
    """The roots in one `dask.compute`: seconds to plan them, and their pickled size."""
    with root():
        ours, peer, note = fans(options.roots)
        seconds, peer_seconds = side_by_side(lambda: planned(ours), lambda: planned(peer))
        size, peer_size = len(sent(ours)) / 1e6, len(sent(peer)) / 1e6
    name = "roots over a chain"
    yield Row(f"plan: {name}", *("s", seconds, "dask.delayed", peer_seconds, 1, "measured", note))
    yield Row(f"pickled: {name}", *("MB", size, "dask.delayed", peer_size, 1, "measured", note))


def fans(roots):
    fewer = max(roots // PEER_SMALLER, 1)
    ours = fan(cached_make, cached_step, cached_end, roots)
    peer = fan(dask_make, dask_step, dask_end, fewer)
    return ours, peer, f"{roots:,} roots over {roots:,} links; the peer {fewer:,} over {fewer:,}"


# ---- many tasks -------------------------------------------------------------------------------------


def wide(make, step, collect, tasks):
    """A wide graph with a summary."""
    return [collect([make(i) for i in range(tasks - 2)])]


def requested(make, step, collect, tasks):
    """Nodes that are all requested: two tasks each."""
    return [make(i) for i in range(tasks // 2)]


def long(make, step, collect, tasks):
    """A chain."""
    return [chain(make, step, tasks - 1)]


def to_scheduler(options):
    """Pickle, unpickle, cull and order many tasks; and their pickled size."""
    tasks = options.tasks
    fewer = max(tasks // PEER_SMALLER, 1)
    with root():
        for build in (wide, requested, long):
            ours = planned(build(cached_make, cached_step, cached_collect, tasks))
            peer = planned(build(dask_make, dask_step, dask_collect, fewer))
            pickled, peer_pickled = pickle.dumps(ours), pickle.dumps(peer)
            count = len(arrived(pickled))
            peer_count = len(arrived(peer_pickled))
            seconds = best(lambda: arrived(pickle.dumps(ours)))  # noqa: B023
            peer_seconds = best(lambda: arrived(pickle.dumps(peer)))  # noqa: B023
            note = f"{count:,} tasks; the peer {peer_count:,}"
            each, peer_each = seconds / count * 1e6, peer_seconds / peer_count * 1e6
            yield Row(
                f"to the scheduler: {build.__name__}",
                *("µs/task", each, "dask.delayed", peer_each, 50, "measured", note),
            )
            yield Row(
                f"pickled: {build.__name__}",
                *("B/task", len(pickled) / count, "dask.delayed", len(peer_pickled) / peer_count),
                *(250, "measured", note),
            )


# ---- the table --------------------------------------------------------------------------------------

BENCHMARKS = {function.__name__: function for function in (direct_fan, to_scheduler)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--roots", type=int, default=1000, help="number of roots, and of links")
    parser.add_argument("--tasks", type=int, default=50_000, help="size of the large graphs")
    parser.add_argument("--only", choices=BENCHMARKS, help="one benchmark")
    options = parser.parse_args()
    figures = run({name: (each, options) for name, each in BENCHMARKS.items()}, options.only)
    print(json.dumps({"roots": options.roots, "tasks": options.tasks, "rows": figures}))


if __name__ == "__main__":
    main()
