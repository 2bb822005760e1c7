"""What is measured: functions, cached and plain, folders that go afterwards, sizes."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import dask
import joblib
from distributed import Client, LocalCluster

import daskcache as dc
from daskcache.storage import source_hashes


@dataclass(frozen=True)
class Size:
    """How much work there is in each comparison."""

    #: Nodes that are built, and planned.
    nodes: int
    #: Nodes that are computed.
    calls: int
    #: Images of 1024 × 1024 pixels.
    images: int
    #: Tasks of a Prefect flow.
    flow: int
    #: Nodes of the largest graph, if that is measured.
    scale: int | None
    runs: int


QUICK = Size(nodes=3_000, calls=300, images=4, flow=10, scale=None, runs=3)
STANDARD = Size(nodes=30_000, calls=3_000, images=16, flow=50, scale=None, runs=5)
FULL = Size(nodes=100_000, calls=3_000, images=16, flow=50, scale=1_000_000, runs=5)


def make(i):
    return i


def step(x, i):
    return x


def collect(values):
    return len(values)


cached_make = dc.delayed(make, target="make/{i:07d}.json")
cached_step = dc.delayed(step, target="step/{i:07d}.json")
cached_collect = dc.delayed(collect, target="collected.json")

dask_make = dask.delayed(make, pure=False)
dask_step = dask.delayed(step, pure=False)
dask_collect = dask.delayed(collect, pure=False)


def wide(function, nodes):
    """Nodes that don't depend on each other."""
    return [function(i) for i in range(nodes)]


def chain(first, then, nodes):
    """The end of a chain."""
    node = first(0)
    for i in range(1, nodes):
        node = then(node, i)
    return node


#: Where small files are written: in memory, if possible.  Without a journal, ext4 searches the longer
#: for a free inode, the more files were just deleted (``recently_deleted`` in fs/ext4/ialloc.c): up to
#: 0.7 ms.
FOR_SMALL = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()


@contextmanager
def folder(large: bool = False) -> Iterator[str]:
    """A temporary folder, for small files unless it is `large`."""
    within = tempfile.gettempdir() if large else FOR_SMALL
    path = tempfile.mkdtemp(prefix="daskcache-bench-", dir=within)
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextmanager
def root(large: bool = False) -> Iterator[str]:
    """A new root for the nodes that are made within; no hash of a source is known from before."""
    with (
        folder(large) as path,
        folder() as cache,
        dask.config.set({"daskcache.root": path, "daskcache.cache-folder": cache}),
    ):
        yield path


def let_settle(paths: list[str]) -> None:
    """Wait until files are so old that their stamps are believed, as the images of most users are.

    Linux may take two minutes to store a written page, see `daskcache.storage.source_hashes.is_settled`.
    """
    newest = max(os.stat(path).st_ctime_ns for path in paths)
    time.sleep(max(0, newest + source_hashes._storing_ns() - time.time_ns()) / 1e9 + 1)


@contextmanager
def finished(nodes: int):
    """Nodes that are complete, and the paths of their files."""
    with root() as path:
        found = wide(cached_make, nodes)
        dask.compute(*found, scheduler="sync")
        yield found, [f"{path}/make/{i:07d}.json" for i in range(nodes)]


@contextmanager
def joblib_memory():
    """`make`, remembered by joblib."""
    with folder() as path:
        yield joblib.Memory(path, verbose=0).cache(make)


@contextmanager
def cluster(workers: int = 2, **settings):
    """A LocalCluster of processes to which verbs go; yields the client."""
    quiet = {"distributed.admin.large-graph-warning-threshold": "1 GB"}
    with (
        dask.config.set({**quiet, **settings}),
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0") as local,
        Client(local) as client,
    ):
        client.run(dask.config.set, settings)
        yield client


def seconds_on_processors(client) -> float:
    """Return how long client, scheduler and workers have kept processors busy."""
    times = [os.times(), *client.run(os.times).values()]
    return sum(each.user + each.system for each in times)
