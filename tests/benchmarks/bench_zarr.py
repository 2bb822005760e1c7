"""What a node adds to a Zarr write, scheduler included: ``python tests/benchmarks/bench_zarr.py``.

What hashing and committing alone add is in ``bench_formats.py``.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

import dask
import numpy as np
import zarr

from daskcache import ZarrTarget, delayed
from daskcache.targets.zarr.values import default_chunks

MIB = 2**20


def image(mebibytes=64):
    """An uint16 image with the noise of a camera."""
    rng = np.random.default_rng(0)
    side = int((mebibytes * MIB / 2) ** 0.5)
    rows = 400 * np.sin(np.arange(side) / 90)
    return (1000 + rows + rows[:, None] + rng.normal(0, 12, (side, side))).astype("u2")


def zarr_overhead(repeats=25, mebibytes=64):
    """Seconds of a plain Zarr write, of a node that returns the same, and their ratio.

    Both write the same chunks with the same codecs, turn by turn; medians.
    """
    value = image(mebibytes)
    folder = Path(tempfile.mkdtemp())
    times = {"plain": [], "node": []}
    try:
        with dask.config.set({"daskcache.root": str(folder / "root"), "scheduler": "sync"}):
            for number in range(repeats):
                times["plain"].append(_timed(write_plainly, value, folder / f"{number}.zarr"))
                times["node"].append(_timed(_write_as_node, value, number))
    finally:
        shutil.rmtree(folder)
    plain, node = (median(times[name][1:]) for name in ("plain", "node"))
    return {"plain": plain, "node": node, "ratio": node / plain, "MB/s": value.nbytes / node / 1e6}


def _timed(function, *args):
    started = time.perf_counter()
    function(*args)
    return time.perf_counter() - started


def write_plainly(value, path):
    """What a `ZarrTarget` writes, by Zarr alone."""
    codec = zarr.codecs.BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle", typesize=2)
    stored = zarr.create_array(
        path,
        shape=value.shape,
        dtype=value.dtype,
        chunks=default_chunks(value.shape, value.dtype.itemsize),
        compressors=codec,
        config={"write_empty_chunks": True},
    )
    stored[...] = value


def _write_as_node(value, number):
    @delayed(store=ZarrTarget, target=f"{number}.zarr", version=number)
    def result():
        return value

    dask.persist(_unread(result()))


@delayed(save=False)
def _unread(result: ZarrTarget):
    """Needs the result to be there, but doesn't load it."""


if __name__ == "__main__":
    print({name: round(figure, 4) for name, figure in zarr_overhead().items()})
