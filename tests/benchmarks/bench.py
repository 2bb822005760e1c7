"""Performance bars, measured side by side with `dask.delayed` and `joblib.Memory`.

    python tests/benchmarks/bench.py [--nodes 30000] [--only NAME]

Prints a row for each bar and, at the end, one line of JSON with all figures.  It judges nothing by
its exit code: timings depend on the machine, ratios less so.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import dask
import joblib
import numpy as np
import xxhash
from dask.base import collections_to_expr

import daskcache as dc
from daskcache.graph.verb import VerbLayer


def make(i):
    return i


def step(x, i):
    return x


def collect(values):
    return len(values)


cached_make = dc.delayed(make, target="make/{i:05d}.pkl")
cached_step = dc.delayed(step, target="step/{i:05d}.pkl")
cached_collect = dc.delayed(collect, target="collected.pkl")

dask_make = dask.delayed(make)
dask_step = dask.delayed(step)
dask_collect = dask.delayed(collect)

#: Dask copies layer maps, so that building a chain or a fan-in is quadratic with it: there it is
#: measured on a graph this much smaller.
PEER_SMALLER = 10

#: Seconds; what takes longer is measured once.
LONG = 10


@dataclass
class Row:
    """One bar: what was measured, in `unit`, and what that is compared with."""

    name: str
    unit: str
    measured: float
    peer_name: str
    peer: float
    #: The most that `measured` (bar_on "measured") or `measured / peer` (bar_on "ratio") may be, or
    #: the least that `peer / measured` must be (bar_on "speedup").
    bar: float
    bar_on: str
    note: str = ""

    @property
    def ratio(self) -> float:
        return self.measured / self.peer

    @property
    def ok(self) -> bool:
        if self.bar_on == "measured":
            return self.measured <= self.bar
        if self.bar_on == "ratio":
            return self.ratio <= self.bar
        return 1 / self.ratio >= self.bar

    def bar_text(self) -> str:
        if self.bar_on == "measured":
            return f"<= {self.bar:g} {self.unit}"
        if self.bar_on == "ratio":
            return f"ratio <= {self.bar:g}"
        return f"{self.bar:g} x faster"


# ---- building -----------------------------------------------------------------------------------


def build_wide(nodes):
    """A wide graph: nodes that don't depend on each other."""
    ours, peer = side_by_side(
        lambda: [cached_make(i) for i in range(nodes)],
        lambda: [dask_make(i) for i in range(nodes)],
    )
    yield per_node("build: wide", ours, peer, nodes, bar=20)


def build_chain(nodes):
    """A chain: each node takes the one before."""
    fewer = max(nodes // PEER_SMALLER, 1)
    ours, peer = side_by_side(
        lambda: chain(cached_make, cached_step, nodes), lambda: chain(dask_make, dask_step, fewer)
    )
    yield per_node("build: chain", ours, peer, nodes, bar=20, peer_nodes=fewer)


def build_fan_in(nodes):
    """A fan-in: one node that takes all others in a list."""
    fewer = max(nodes // PEER_SMALLER, 1)
    ours, peer = side_by_side(
        lambda: cached_collect([cached_make(i) for i in range(nodes - 1)]),
        lambda: dask_collect([dask_make(i) for i in range(fewer - 1)]),
    )
    yield per_node("build: fan-in", ours, peer, nodes, bar=20, peer_nodes=fewer)


def chain(first, then, nodes):
    node = first(0)
    for i in range(1, nodes):
        node = then(node, i)
    return node


# ---- keys ---------------------------------------------------------------------------------------

FACTOR = 2.0


class Model:
    """What a call reaches: a class, its methods, and a constant."""

    power = 2

    def apply(self, value):
        return smooth(value) ** self.power


def smooth(value):
    return value * FACTOR


def four(name, folder, i, sigma):
    return Model().apply(sigma) + smooth(i)


def call(nodes):
    """A call with four plain arguments and a template, of a function that reaches others."""
    cached_four = dc.delayed(four, target="{folder}/{name}_{i:05d}.npy")
    dask_four = dask.delayed(four)
    ours, peer = side_by_side(
        lambda: [cached_four("a", "b", i, 1.5) for i in range(nodes)],
        lambda: [dask_four("a", "b", i, 1.5) for i in range(nodes)],
    )
    yield per_node("a call", ours, peer, nodes, bar=15)


def hash_array(nodes):
    """The hash of an array of 1 GiB."""
    array = np.arange(2**27, dtype=float)
    ours, peer = side_by_side(
        lambda: dc.hashing.hash_value(array), lambda: xxhash.xxh3_128_digest(array), times=5
    )
    speed = f"{array.nbytes / ours / 1e9:.1f} GB/s"
    yield Row("hash 1 GiB", "s", ours, "xxhash alone", peer, 1 / 0.6, "ratio", speed)


# ---- planning and task making -------------------------------------------------------------------


def plan_missing(nodes):
    """Planning and task making for missing nodes; what verbs do before they submit."""
    with root():
        wide = [cached_make(i) for i in range(nodes)]
        fan_in = cached_collect(wide[:-1])
        fewer = max(nodes // PEER_SMALLER, 1)
        peers = [dask_make(i) for i in range(fewer)]
        dask_fan_in = dask_collect(peers[:-1])
        for name, ours, peer in [
            ("plan + tasks: missing, one summary", [fan_in], [dask_fan_in]),
            ("plan + tasks: missing, all requested", wide, peers),
        ]:
            ours, peer = side_by_side(lambda: graphs(ours), lambda: graph_of_dask(peer))  # noqa: B023
            row = per_node(name, ours, peer, nodes, bar=25, peer_nodes=fewer)
            row.peer_name = "Dask's own part"
            yield row


def graphs(nodes):
    """Plan nodes and make their tasks, as at the first read of a verb."""
    layer = VerbLayer()
    layer.expect(nodes)
    layer.add_expected()
    return layer


def graph_of_dask(collections):
    """What Dask's verbs do with the graphs before they run or submit them."""
    return collections_to_expr(collections).optimize().__dask_graph__()


def plan_complete(nodes):
    """`daskcache.plan` of requested nodes that are all complete."""
    with finished_wide(nodes) as wide, joblib_memory() as memory:
        calls = min(nodes, 3000)
        remembered = memory.cache(make)
        for i in range(calls):
            remembered(i)
        ours, peer = side_by_side(
            lambda: dc.plan(*wide),
            lambda: [remembered.check_call_in_cache(i) for i in range(calls)],
        )
        row = per_node("plan: all complete", ours, peer, nodes, bar=15, peer_nodes=calls)
        row.peer_name = "joblib check_call_in_cache"
        yield row


def compute_complete(nodes):
    """`dask.compute` of complete nodes, which reads each file, and of as many no-op nodes."""
    with finished_wide(nodes) as wide:
        peers = [dask_make(i) for i in range(nodes)]
        for scheduler in ("sync", "threads"):
            ours, peer = side_by_side(
                lambda: dask.compute(*wide, scheduler=scheduler),  # noqa: B023
                lambda: dask.compute(*peers, scheduler=scheduler),  # noqa: B023
            )
            yield Row(
                f"dask.compute: all complete, {scheduler}",
                *("s", ours, "dask.delayed no-ops", peer, 1.3, "ratio"),
            )


# ---- a cluster ----------------------------------------------------------------------------------


def cluster_again(nodes):
    """A finished graph with a summary, built and computed again, on a LocalCluster."""
    from distributed import Client, LocalCluster

    chains = nodes // 3

    def ours():
        ends = [cached_step(cached_step(cached_make(i), i), chains + i) for i in range(chains)]
        return client.compute(cached_collect(ends)).result()

    def plain():
        ends = [dask_step(dask_step(dask_make(i), i), chains + i) for i in range(chains)]
        return client.compute(dask_collect(ends)).result()

    quiet = {"distributed.admin.large-graph-warning-threshold": "1 GB"}
    with (
        dask.config.set(quiet),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
        root(),
    ):
        ends = [cached_step(cached_step(cached_make(i), i), chains + i) for i in range(chains)]
        dc.compute(cached_collect(ends), scheduler="sync")
        del ends
        again = best(ours)
        from_scratch = once(plain)
    yield Row(
        "LocalCluster: build + compute again",
        *("s", again, "dask.delayed no-ops", from_scratch, 20, "speedup"),
        note=f"{chains:,} chains of three and a summary",
    )


# ---- cold ---------------------------------------------------------------------------------------


def cold_overhead(nodes):
    """What saving a small result costs, above plain Dask, against a cold call of joblib.Memory."""
    calls = max(nodes // 10, 1)

    def ours():
        with root():
            graph = [cached_make(i) for i in range(calls)]
            return once(lambda: dask.compute(*graph, scheduler="sync"))

    def plain():
        graph = [dask_make(i) for i in range(calls)]
        return once(lambda: dask.compute(*graph, scheduler="sync"))

    def remembering():
        with joblib_memory() as memory:
            remembered = memory.cache(make)
            return once(lambda: [remembered(i) for i in range(calls)])

    found = [(ours(), plain(), remembering()) for _ in range(3)]
    cold, base, peer = map(min, zip(*found, strict=True))
    yield Row(
        "cold: small result, sync, above Dask",
        *("µs/node", (cold - base) / calls * 1e6, "joblib.Memory cold call", peer / calls * 1e6),
        *(1.0, "ratio"),
        note=f"plain Dask: {base / calls * 1e6:.0f} µs a node",
    )


# ---- import -------------------------------------------------------------------------------------


def import_time(nodes):
    """Import in fresh interpreters, median of 7."""
    statements = ("import daskcache", "from daskcache import delayed")
    peer_statement = "from dask.delayed import delayed"
    seconds: dict[str, list[float]] = {s: [] for s in (*statements, peer_statement)}
    for _ in range(7):
        for statement, times in seconds.items():
            times.append(seconds_in_fresh_interpreter(statement))
    peer = statistics.median(seconds[peer_statement])
    for statement in statements:
        ours = statistics.median(seconds[statement])
        yield Row(statement, "ms", ours * 1e3, peer_statement, peer * 1e3, 1.15, "ratio")


def seconds_in_fresh_interpreter(statement):
    code = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=os.sep
    )
    return float(done.stdout)


# ---- measuring ----------------------------------------------------------------------------------


def once(function):
    """Seconds that a call takes."""
    gc.collect()
    started = time.perf_counter()
    kept = function()
    seconds = time.perf_counter() - started
    del kept
    return seconds


def best(function, times=3):
    return min(once(function) for _ in range(times))


def side_by_side(ours, peer, times=3):
    """The best time of each, measured in turn; what takes long is measured once."""
    found = [(once(ours), once(peer))]
    while len(found) < times and sum(found[0]) < LONG:
        found.append((once(ours), once(peer)))
    return tuple(map(min, zip(*found, strict=True)))


def per_node(name, ours, peer, nodes, bar, peer_nodes=None):
    peer_each = peer / (peer_nodes or nodes) * 1e6
    note = f"the peer on {peer_nodes:,} nodes" if peer_nodes else ""
    each = ours / nodes * 1e6
    return Row(name, "µs/node", each, "dask.delayed", peer_each, bar, "measured", note)


@contextmanager
def root():
    """A new root for the nodes that are made within."""
    folder = tempfile.mkdtemp(prefix="daskcache-bench-")
    try:
        with dask.config.set({"daskcache.root": folder}):
            yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def finished_wide(nodes):
    """A wide graph that is complete."""
    with root():
        wide = [cached_make(i) for i in range(nodes)]
        dask.compute(*wide, scheduler="sync")
        yield wide


@contextmanager
def joblib_memory():
    folder = tempfile.mkdtemp(prefix="daskcache-bench-joblib-")
    try:
        yield joblib.Memory(folder, verbose=0)
    finally:
        shutil.rmtree(folder)


# ---- the table ----------------------------------------------------------------------------------

BENCHMARKS = {
    function.__name__: function
    for function in (
        build_wide,
        build_chain,
        build_fan_in,
        call,
        hash_array,
        plan_missing,
        plan_complete,
        compute_complete,
        cluster_again,
        cold_overhead,
        import_time,
    )
}

LINE = "{:<40} {:>16}  {:>46}  {:>7}  {:<16} {:<4}  {}"


def run(benchmarks, only=None):
    """Show the rows of benchmarks (functions with their argument by name); return their figures."""
    print(LINE.format("", "measured", "peer", "ratio", "bar", "", ""))
    rows = []
    for name, (benchmark, argument) in benchmarks.items():
        if only in (None, name):
            for row in benchmark(argument):
                rows.append(row)
                show(row)
    return [{**asdict(row), "ratio": row.ratio, "ok": row.ok} for row in rows]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=30_000, help="size of the graphs")
    parser.add_argument("--only", choices=BENCHMARKS, help="one benchmark")
    options = parser.parse_args()
    figures = run({name: (each, options.nodes) for name, each in BENCHMARKS.items()}, options.only)
    print(json.dumps({"nodes": options.nodes, "rows": figures}))


def show(row):
    measured = f"{row.measured:.3g} {row.unit}"
    peer = f"{row.peer_name} {row.peer:.3g} {row.unit}"
    verdict = "ok" if row.ok else "over"
    ratio = f"{row.ratio:.3g}"
    text = LINE.format(row.name, measured, peer, ratio, row.bar_text(), verdict, row.note)
    print(text, flush=True)


if __name__ == "__main__":
    main()
