"""Memory that arrays take while they are read and written: little more than the arrays themselves."""

from __future__ import annotations

import tracemalloc
from functools import partial

import numpy as np
import pytest

import daskcache as dc
from daskcache.runtime import store
from daskcache.storage.roots import Root

_PLANE = np.random.default_rng(0).poisson(100, (1, 1024, 1024))
#: Images that are larger than what is decoded or written in memory.
IMAGES = {
    "uint16": np.tile(_PLANE, (9, 1, 1)).astype("uint16"),
    "int64": np.tile(_PLANE, (5, 1, 1)),
    "bool": np.tile(_PLANE > 110, (18, 1, 1)),
    "a plane of int64, stored as int32": np.tile(_PLANE[0] - 2**20, (2, 3)),
    "a plane of bool": np.tile(_PLANE[0] > 110, (5, 4)),
}
TARGETS = {
    "npy": partial(dc.NumpyTarget, "x.npy"),
    "uncompressed": partial(dc.ImageTarget, "x.tif", compression=None),
    "zlib": partial(dc.ImageTarget, "x.tif"),
    "ome": partial(dc.ImageTarget, "x.ome.tif", pixel_size=1.0),
    "tiles": partial(dc.ImageTarget, "x.tif", tile=(256, 256)),
}


def peak_of(function):
    """Return what a function returns, and the bytes that it held at most."""
    tracemalloc.start()
    try:
        result = function()
        return result, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("kind", TARGETS)
def test_peaks(tmp_path, image, kind):
    """Written, at most 0.3 of the array; read, at most 1.2 or, compressed, 1.3 with the array."""
    array = IMAGES[image]
    target = TARGETS[kind]().at(str(tmp_path / TARGETS[kind]().path))
    target.write(np.zeros((1, 64, 64), array.dtype), str(tmp_path / "imports"))
    written, peak = peak_of(lambda: written_part(tmp_path, target, array))
    assert peak <= 0.3 * array.nbytes
    path = written.part.path
    read, peak = peak_of(lambda: target.read_verified(path, lambda found: None))
    assert (read.dtype, read.shape) == (array.dtype, array.shape)
    assert np.array_equal(read, array)
    assert peak <= (1.2 if kind in ("npy", "uncompressed") else 1.3) * array.nbytes


def written_part(folder, target, array):
    """Write an array as the result of a node."""
    root = Root(str(folder / "root"))
    root.create()
    return store._part_of_value(root, None, target, "x.tif", array)
