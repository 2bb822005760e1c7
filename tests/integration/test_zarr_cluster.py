"""Zarr results on a cluster: opened lazily by workers, and written without waiting for others."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
import zarr
from clusters import on_cluster

import daskcache as dc
from daskcache import errors
from daskcache.testing.assertions import scheduler_tasks

IMAGE = np.arange(200 * 300, dtype="u2").reshape(200, 300)


@pytest.fixture
def client(local_client):
    with on_cluster(local_client) as client:
        yield client


@dc.delayed(target="image.zarr")
def image():
    return da.from_array(IMAGE, chunks=50)


@dc.delayed(target="next.zarr")
def add_one(array: da.Array):
    return array + 1


@dc.delayed(target="corner.json")
def corner(array: zarr.Array):
    return int(array[0, 0])


@pytest.mark.timeout(120)
def test_dask_arrays_are_computed_inside_of_tasks(client):
    """None of their blocks goes to the scheduler, only the nodes' own tasks and those of the values."""
    nodes = [dc.delayed(lazily, target="lazy/{i}.zarr")(i) for i in range(6)]
    with scheduler_tasks(client) as tasks:
        values = dask.compute(*nodes)
    assert len(tasks()) <= 2 * len(nodes)
    for i, value in enumerate(values):
        np.testing.assert_array_equal(value, np.full((40, 40), i, "u2"))


def lazily(i):
    return da.full((40, 40), i, chunks=7, dtype="u2")


def test_a_chain_of_lazy_arrays(client):
    """Each worker opens what it needs; the client, what it asks for."""
    node = add_one(image())
    assert corner(node).compute() == 1
    np.testing.assert_array_equal(node.dc.load(), IMAGE + 1)


def test_dask_array_from_an_opened_result(client):
    """Its chunks are read, and verified, on the workers."""
    node = image()
    dask.compute(node)
    assert da.from_zarr(node.dc.open()).sum().compute() == IMAGE.sum()


def test_damage_is_found_by_the_worker_that_reads(client, root):
    """The typed error comes back to the client."""
    node = image()
    dask.compute(node)
    opened = da.from_zarr(node.dc.open())
    chunk = root / "image.zarr" / "c" / "1" / "1"
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"?")
    with pytest.raises(errors.TargetCorrupt, match="c/1/1"):
        opened.sum().compute()
