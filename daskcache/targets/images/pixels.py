"""Pixels in TIFF files: the dtypes to store, their strips and tiles, and the way back to the array.

`target` writes and reads files with these functions.  `tiff` has the metadata.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ...errors import LazyModule

np = LazyModule("numpy", "image")

#: Threads that encode pixels.
THREADS = min(2, os.cpu_count() or 1)
#: Bytes of uncompressed pixels to convert at once.
PIECE = 2**20


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


def strips(array: Any, axes: str, rows: int) -> Iterator[Any]:
    """Yield views of `rows` rows of each plane: the strips of a file."""
    for plane in _planes(array, axes):
        for first in range(0, len(plane), rows):
            yield plane[first : first + rows]


def tiles(array: Any, axes: str, tile: tuple[int, int]) -> Iterator[Any]:
    """Yield views of the tiles of each plane; those at an edge may be smaller."""
    height, width = tile
    for plane in _planes(array, axes):
        for y, x in itertools.product(range(0, plane.shape[0], height), range(0, plane.shape[1], width)):
            yield plane[y : y + height, x : x + width]


def _planes(array, axes):
    stacked = array.shape[: axes.index("Y")]
    return (array[place] for place in np.ndindex(stacked))


def encoded(
    strips: Iterator[Any], dtype: Any, encode: Callable[[Any], bytes], count: int
) -> Iterator[bytes]:
    """Yield strips as they are stored, in their order; `count` at once are encoded, on threads."""
    with ThreadPoolExecutor(THREADS) as threads:
        while batch := list(itertools.islice(strips, count)):
            yield from threads.map(lambda strip: encode(as_stored(strip, dtype)), batch)


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
    for place, page in zip(np.ndindex(stacked), series.pages, strict=True):
        _read(page, array[place], np.dtype(note.stored), options)
    return array


def _read(page, plane, stored, options):
    """Read a page into a plane of another dtype, so that no second plane is in memory."""
    if plane.itemsize == stored.itemsize:  # e.g. a mask
        pixels = page.asarray(out=plane.view(stored), **options).reshape(plane.shape)
        if plane.dtype == bool:
            np.not_equal(pixels, 0, out=plane)
    elif page.is_final:
        _read_uncompressed(page, plane.reshape(-1))
    else:
        page.asarray(out=plane, **options)  # converts each strip or tile


def _read_uncompressed(page, pixels):
    dtype = page.dtype.newbyteorder(page.parent.byteorder)
    file = page.parent.filehandle
    file.seek(page.dataoffsets[0])
    count = PIECE // dtype.itemsize
    for first in range(0, pixels.size, count):
        piece = pixels[first : first + count]
        np.copyto(piece, file.read_array(dtype, piece.size), casting="safe")
