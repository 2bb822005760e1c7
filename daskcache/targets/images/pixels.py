"""Pixels in TIFF files: the dtypes to store, and the way back to the array.

`target` writes and reads files with these functions.  `tiff` has the metadata.
"""

from __future__ import annotations

import math

from ...errors import LazyModule

np = LazyModule("numpy", "image")


def stored_dtype(array, narrow):
    """Return the dtype of the pixels to store: uint8 for masks, a small one for integers if `narrow`."""
    if array.dtype.kind == "b":
        return np.dtype("u1")
    if array.dtype.kind not in "ui" or not narrow:
        return array.dtype
    lowest, highest = array.min(), array.max()
    # the first dtype that holds all values and is not larger
    for dtype in map(np.dtype, ("u1", "u2", "u4", "i4")):
        limits = np.iinfo(dtype)
        if dtype.itemsize <= array.itemsize and limits.min <= lowest and highest <= limits.max:
            return dtype
    return array.dtype


def as_stored(array, dtype):
    """Return the pixels to store, in C order; masks as 0 and 255, which viewers show black and white."""
    array = np.ascontiguousarray(array)
    if array.dtype.kind == "b":
        return array.view("u1") * np.uint8(255)
    return array.astype(dtype, copy=False)


def at_once(nbytes):
    """Return the bytes of pixels to code at once: few beside all, but enough for several threads."""
    return min(max(nbytes // 32, 2**20), 2**24)


def restored(tif, note):
    """Return the array in an open file, with the dtype and shape in its note."""
    series = tif.series[0]
    options = {"buffersize": at_once(series.nbytes)}
    if note is None:
        return tif.asarray(**options)
    axes = note.metadata.axes
    stacked = note.shape[: axes.find("Y")] if "Y" in axes else ()
    if note.dtype == note.stored or math.prod(stacked) != len(series.pages):
        return tif.asarray(**options).reshape(note.shape).astype(note.dtype, copy=False)
    array = np.empty(note.shape, note.dtype)
    # plane by plane, masks in place: so the pixels and the array need not be in memory together
    for place, page in zip(np.ndindex(stacked), series.pages, strict=True):
        plane = array[place]
        if note.dtype == "bool":
            pixels = page.asarray(out=plane.view("u1"), **options).reshape(plane.shape)
            np.not_equal(pixels, 0, out=plane)
        else:
            plane[...] = page.asarray(**options).reshape(plane.shape)
    return array
