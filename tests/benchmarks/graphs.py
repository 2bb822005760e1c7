"""Building and planning graphs, and sending them to a scheduler."""

from __future__ import annotations

import importlib.util
import os
import pickle
import resource
import subprocess
import sys
from collections.abc import Iterator

import dask
from dask._task_spec import convert_legacy_graph
from dask.base import collections_to_expr
from dask.order import order

import daskcache as dc

from .measuring import Comparison, Times, timed
from .scenes import (
    Size,
    cached_collect,
    cached_make,
    cached_step,
    chain,
    dask_collect,
    dask_make,
    dask_step,
    finished,
    folder,
    root,
    wide,
)

#: Dask copies layer maps, so that building a chain or a fan-in is quadratic with it: those graphs, and
#: those that are sent, are this much smaller than others.
SMALLER = 10


def build(size: Size) -> Iterator[Comparison]:
    """Wide graphs, chains and fan-ins are built."""
    fewer = size.nodes // SMALLER
    yield Comparison(
        "build: wide",
        {
            "daskcache": lambda: wide(cached_make, size.nodes),
            "dask.delayed": lambda: wide(dask_make, size.nodes),
        },
        *(size.nodes, 0.25),
        ceiling=2,
    )
    yield Comparison(
        "build: chain",
        {
            "daskcache": lambda: chain(cached_make, cached_step, fewer),
            "dask.delayed": lambda: chain(dask_make, dask_step, fewer),
        },
        fewer,
    )
    yield Comparison(
        "build: fan-in",
        {
            "daskcache": lambda: cached_collect(wide(cached_make, fewer)),
            "dask.delayed": lambda: dask_collect(wide(dask_make, fewer)),
        },
        fewer,
    )


FACTOR = 2.0


class Model:
    """What a call reaches: a class, its methods, and a constant."""

    power = 2

    def apply(self, value):
        return smooth(value) ** self.power


def smooth(value):
    return value * FACTOR


def four(name, place, i, sigma):
    return Model().apply(sigma) + smooth(i)


def call(size: Size) -> Iterator[Comparison]:
    """Calls with four plain arguments and a template, of a function that reaches others."""
    cached, plain = dc.delayed(four, target="{place}/{name}_{i:05d}.npy"), dask.delayed(four, pure=False)
    yield Comparison(
        "build: four arguments",
        {
            "daskcache": lambda: [cached("a", "b", i, 1.5) for i in range(size.nodes)],
            "dask.delayed": lambda: [plain("a", "b", i, 1.5) for i in range(size.nodes)],
        },
        size.nodes,
        ceiling=2,
    )


def plan_complete(size: Size) -> Iterator[Comparison]:
    """Planning nodes that are all complete takes as long as so many `os.stat` of their files."""
    with finished(size.nodes) as (nodes, paths):
        yield Comparison(
            "plan: all complete",
            {"daskcache": lambda: dc.plan(*nodes), "os.stat": lambda: [os.stat(path) for path in paths]},
            *(size.nodes, 6),
        )


SOURCE = """
FACTOR = {factor}

def helper(i):
    return i * FACTOR

def scaled(i):
    return helper(i)
"""


def plan_changed(size: Size) -> Iterator[Comparison]:
    """Planning where something is left to do, beside planning where all is complete."""
    with root() as path, folder() as modules:
        before, after = (program(modules, factor) for factor in (2, 3))
        targets = {"target": "scaled/{i:07d}.json"}
        nodes = wide(dc.delayed(before, **targets), size.nodes)
        dask.compute(*nodes, scheduler="sync")
        edited = wide(dc.delayed(after, **targets), size.nodes)
        yield Comparison(
            "plan: an edited helper of all",
            {"daskcache": lambda: dc.plan(*edited), "all complete": lambda: dc.plan(*nodes)},
            *(size.nodes, 2),
        )
        # The files go for good: each comparison before has been measured.
        partial = without_files(nodes, path, every=100)
        complete = [node for i, node in enumerate(nodes) if i % 100]
        yield Comparison(
            "plan: 1 % missing",
            {"daskcache": lambda: dc.plan(*partial), "all complete": lambda: dc.plan(*complete)},
            *(size.nodes, 1.3),
        )


def program(modules: str, factor: int):
    """Return a function of a module whose constant has been edited."""
    path = f"{modules}/v{factor}/benchmarked_program.py"
    os.makedirs(os.path.dirname(path))
    with open(path, "w") as file:
        file.write(SOURCE.format(factor=factor))
    spec = importlib.util.spec_from_file_location("benchmarked_program", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["benchmarked_program"] = module
    spec.loader.exec_module(module)
    return module.scaled


def without_files(nodes, path, every):
    """Delete the files of some nodes; return all nodes."""
    for i in range(0, len(nodes), every):
        os.remove(f"{path}/scaled/{i:07d}.json")
    return nodes


def to_scheduler(size: Size) -> Iterator[Comparison]:
    """Graphs are pickled by a client, then unpickled, culled and ordered by a scheduler."""
    tasks = size.nodes // SMALLER
    with root():
        for name, (ours, plain) in graphs_of(tasks).items():
            ours, plain = planned(ours), planned(plain)
            yield Comparison(
                f"to a scheduler: {name}",
                {
                    "daskcache": lambda: arrived(pickle.dumps(ours)),  # noqa: B023
                    "dask.delayed": lambda: arrived(pickle.dumps(plain)),  # noqa: B023
                },
                tasks,
            )


def graphs_of(tasks: int):
    """Return the ends of graphs of about so many tasks, by form: ours and Dask's."""
    return {
        "a summary": (
            [cached_collect(wide(cached_make, tasks - 2))],
            [dask_collect(wide(dask_make, tasks - 2))],
        ),
        "all requested": (wide(cached_make, tasks // 2), wide(dask_make, tasks // 2)),
        "a chain": (
            [chain(cached_make, cached_step, tasks - 1)],
            [chain(dask_make, dask_step, tasks - 1)],
        ),
        "roots over a chain": (
            roots_over_a_chain(cached_make, cached_step, tasks // 4),
            roots_over_a_chain(dask_make, dask_step, tasks // 4),
        ),
    }


def roots_over_a_chain(first, then, roots):
    """Many roots over one chain."""
    node = chain(first, then, roots)
    return [then(node, roots + i) for i in range(roots)]


def planned(collections):
    """What one verb does with its collections before it sends them."""
    return collections_to_expr(collections).finalize_compute().optimize()


def arrived(pickled: bytes):
    """What a scheduler does with a graph: unpickle, cull and order."""
    expression = pickle.loads(pickled)
    tasks = convert_legacy_graph(expression.__dask_graph__())
    found, left = set(), list(dask.core.flatten(expression.__dask_keys__()))
    while left:
        key = left.pop()
        if key not in found:
            found.add(key)
            left += tasks[key].dependencies
    order({key: tasks[key] for key in found})
    return tasks


def scale(size: Size) -> Iterator[Comparison]:
    """The largest graph is built and planned in a process of its own, beside one of a tenth."""
    if size.scale is None:
        return
    largest, tenth = size.scale, size.scale // 10
    peaks: dict[int, float] = {}
    with root(large=True) as path, root(large=True) as smaller:
        complete_in(path, largest)
        complete_in(smaller, tenth)
        yield Comparison(
            f"{largest:,} nodes, all complete: build and plan",
            {
                "daskcache": lambda: in_a_process(path, largest, peaks),
                f"{tenth:,} nodes": lambda: in_a_process(smaller, tenth, peaks),
            },
            *(largest, 11),
            note="memory and time are linear if this is 10",
        )
        print(f"memory a node: {(peaks[largest] - peaks[tenth]) / (largest - tenth):.0f} bytes")


def complete_in(path: str, nodes: int) -> None:
    """Compute nodes in a process of its own, in parts: their graph is as large as what is measured."""
    code = (
        "import dask\n"
        "from tests.benchmarks.scenes import cached_make\n"
        f"for start in range(0, {nodes}, 50_000):\n"
        f"    part = [cached_make(i) for i in range(start, min(start + 50_000, {nodes}))]\n"
        "    dask.compute(*part, scheduler='sync')\n"
    )
    subprocess.run([sys.executable, "-c", code], env=in_root(path), check=True)


def in_a_process(path: str, nodes: int, peaks: dict[int, float]) -> Times:
    """Return the times of building and planning, and note the peak of memory in bytes."""
    code = f"from tests.benchmarks.graphs import build_and_plan; build_and_plan({nodes})"
    done = subprocess.run(
        [sys.executable, "-c", code], env=in_root(path), check=True, capture_output=True, text=True
    )
    wall, cpu, peak = map(float, done.stdout.split())
    peaks[nodes] = peak
    return Times(wall, cpu)


def build_and_plan(nodes: int) -> None:
    """Print wall time, processor time, and the peak of memory in bytes."""
    times = timed(lambda: dc.plan(*wide(cached_make, nodes)))
    print(times.wall, times.cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def in_root(path: str) -> dict[str, str]:
    """Return the environment of a process whose nodes have their targets in a root."""
    return {**os.environ, "DASK_DASKCACHE__ROOT": path}
