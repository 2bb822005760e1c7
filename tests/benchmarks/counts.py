"""What can be counted, and is the same on every machine: system calls, bytes, modules."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass

from .graphs import graphs_of, in_root, planned
from .scenes import folder, root

#: Nodes, of which a program with this many is compared with one of `FEWER`.
MANY, FEWER = 1_200, 200

COLD = """
import dask
import daskcache as dc

def make(i):
    return i

cached = dc.delayed(make, target="make/{{i:07d}}.json")
dask.compute(*[cached(i) for i in range({nodes})], scheduler="sync")
"""

PLAN = """
import daskcache as dc

def make(i):
    return i

cached = dc.delayed(make, target="make/{{i:07d}}.json")
dc.plan(*[cached(i) for i in range({nodes})])
"""


@dataclass(frozen=True)
class Count:
    """Something that was counted, and the most that CI lets it be."""

    name: str
    found: float
    most: float
    aim: float | None = None

    @property
    def ok(self) -> bool:
        """Whether it is no more than it was."""
        return self.found <= self.most


def all_counts() -> list[Count]:
    """Count everything."""
    cold, plan, files = system_calls_a_node()
    return [
        Count("system calls of a cold node", cold, 25, 25),
        Count("system calls of a complete node's plan", plan, 2.2),
        Count("files and folders of a complete node", files, 2.2),
        *bytes_a_task(),
        Count("modules of daskcache that importing it and delayed loads", modules(), 54),
        Count("modules of daskcache that a cold node loads", modules(COLD.format(nodes=1)), 99),
    ]


def system_calls_a_node() -> tuple[float, float, float]:
    """Return the calls of a cold node and of a complete node's plan, and the files that it leaves."""
    calls: dict[tuple[str, int], int] = {}
    files = {}
    for nodes in (FEWER, MANY):
        with folder() as path:
            calls["cold", nodes] = traced(COLD.format(nodes=nodes), path)
            files[nodes] = sum(1 + len(names) for _, _, names in os.walk(path))
            calls["plan", nodes] = traced(PLAN.format(nodes=nodes), path)
    each = {kind: (calls[kind, MANY] - calls[kind, FEWER]) / (MANY - FEWER) for kind in ("cold", "plan")}
    return each["cold"], each["plan"], (files[MANY] - files[FEWER]) / (MANY - FEWER)


def traced(program: str, path: str) -> int:
    """Return how many system calls a program makes, but those of chance; its root is `path`."""
    if shutil.which("strace") is None:
        raise SystemExit("strace is needed to count system calls: apt-get install strace")
    with folder() as place:
        summary = f"{place}/summary"
        subprocess.run(
            ["strace", "-f", "-c", "-o", summary, sys.executable, "-c", program],
            env={**in_root(path), "PYTHONHASHSEED": "0"},
            check=True,
        )
        with open(summary) as file:
            return sum(in_summary(file.read()).values())


#: These depend on how threads meet and how memory is given back, not on what a node does.
OF_CHANCE = {"futex", "mmap", "munmap", "brk", "madvise", "mprotect", "sched_yield", "mremap"}


def in_summary(text: str) -> Counter[str]:
    """Return the calls, by name, of a summary of strace's."""
    found: Counter[str] = Counter()
    for line in text.splitlines():
        row = re.fullmatch(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)(?:\s+\d+)?\s+(\w+)\s*", line)
        if row and row[2] != "total" and row[2] not in OF_CHANCE:
            found[row[2]] += int(row[1])
    return found


def bytes_a_task() -> list[Count]:
    """Return the pickled bytes of a task, by the form of the graph."""
    most = {"a summary": 200, "all requested": 170, "a chain": 235, "roots over a chain": 235}
    tasks = 4_000
    with root():
        return [
            Count(f"bytes of a task to a scheduler: {name}", pickled(ours, tasks), most[name], 250)
            for name, (ours, _) in graphs_of(tasks).items()
        ]


def pickled(collections, tasks: int) -> float:
    """Return the size of one task of a graph on its way."""
    return len(pickle.dumps(planned(collections))) / tasks


def modules(program: str = "from daskcache import delayed") -> int:
    """Return how many modules of daskcache a program loads."""
    show = "import sys; print(sum(name.partition('.')[0] == 'daskcache' for name in sys.modules))"
    with folder() as path:
        done = subprocess.run(
            [sys.executable, "-c", f"{program}\n{show}"],
            env=in_root(path),
            check=True,
            capture_output=True,
            text=True,
        )
    return int(done.stdout)
