"""Processes that may open few files, or take little memory, as on login nodes and in containers."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.needs("limits")

_TOP = Path(__file__).parents[2]


def run(program: str, root: Path, *arguments: object) -> str:
    """Run a program with a root in a process of its own; return what it prints."""
    paths = [str(_TOP), *filter(None, [os.environ.get("PYTHONPATH")])]
    # each thread takes address space for its stack and its heap
    few = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MALLOC_ARENA_MAX"), "1")
    environment = {**os.environ, **few, "PYTHONPATH": os.pathsep.join(paths)}
    environment["DASK_DASKCACHE__ROOT"] = str(root)
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


FEW_FILES = """
    import resource, sys
    import dask, numpy as np, pandas as pd
    import daskcache as dc

    SUFFIXES = ("npy", "npz", "csv", "parquet", "json", "txt", "pkl", "tif", "zarr", "db")

    def value(suffix, i):
        array = np.arange(12).reshape(3, 4) + i
        frame = pd.DataFrame({"a": [i, i + 1]})
        return {"npy": array, "npz": {"a": array}, "csv": frame, "parquet": frame, "json": [i],
                "txt": str(i), "pkl": {i}, "tif": array.astype("u2"), "zarr": array}.get(suffix, frame)

    def made(suffix):
        target = "tables.db::t{i}" if suffix == "db" else f"{suffix}/{{i}}.{suffix}"
        return dc.delayed(lambda i: value(suffix, i), target=target)

    makers = [made(suffix) for suffix in SUFFIXES]
    count = dc.delayed(lambda values: len(values), target="count.json")
    dc.compute(*[make(0) for make in makers], scheduler="sync")  # imports what each needs
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    for scheduler in ("sync", "threads"):
        nodes = [make(i) for i in range(40) for make in makers]
        total = count(nodes)
        assert dc.compute(total, scheduler=scheduler)[0] == len(nodes)
        for node in nodes[-20:]:
            node.dc.load()
    print(dc.plan(*nodes).counts["load"])
"""


def test_64_open_files(tmp_path):
    """400 results of ten formats, in one thread and in several: no file stays open."""
    assert run(FEW_FILES, tmp_path / "root") == "400"


LITTLE_MEMORY = """
    import resource, sys
    import dask
    import daskcache as dc

    count, limit = map(int, sys.argv[1:])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    @dc.delayed(target="made/{group}/{i}.json")
    def make(group, i):
        return i

    @dc.delayed(target="total.json")
    def total(values):
        return sum(values)

    for _ in ("cold", "warm"):
        node = total([make(i // 1000, i) for i in range(count)])
        assert dc.compute(node, scheduler="sync") == (sum(range(count)),)
        del node
    print(dc.plan(total([make(i // 1000, i) for i in range(count)])).counts["load"])
"""


@pytest.mark.timeout(7200)
def test_2_gib_of_memory(tmp_path, full):
    """100,000 nodes and a summary: made, and found complete, in 2 GiB of address space."""
    count = 100_000 if full else 5_000
    assert run(LITTLE_MEMORY, tmp_path / "root", count, 2 * 2**30) == "1"
