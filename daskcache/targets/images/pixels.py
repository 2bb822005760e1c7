"""Pixels in TIFF files: the dtypes to store, their strips and tiles, and the way back to the array.

`target` writes and reads files with these functions.  `tiff` has the metadata.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from ...errors import LazyModule

np = LazyModule("numpy", "image")
tifffile = LazyModule("tifffile", "image")

#: Threads that encode pixels, and bytes of pixels above which a second one saves more than it takes.
THREADS, _WORTH_A_THREAD = min(2, os.cpu_count() or 1), 2**23
#: Bytes of uncompressed pixels to convert at once.
PIECE = 2**20
#: Bytes of a strip before compression: the most, and the least if a page is cut for two threads.
_STRIP, _SMALLEST_STRIP = 2**20, 2**16
#: Levels of deflate.  In libdeflate, which tifffile uses, the fastest makes smaller files of raw images
#: than zlib's default level, and up to a quarter larger ones of labels and masks.  ISA-L takes a third
#: of its time for raw images, a seventh for smoothed floats, and makes files of the same size; those of
#: labels and masks, which are small, are up to 1.7 times as large.
_LIBDEFLATE_LEVEL, _ISAL_LEVEL = 1, 2
#: Names that TIFF's tags have for compressions.
_TAGGED = {"zlib": "ADOBE_DEFLATE", "zstd": "ZSTD"}


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


class Pages:
    """The pages of a file for an array, in pieces: views that are converted when they are written.

    Parameters
    ----------
    array : numpy.ndarray
        The image.
    dtype : numpy.dtype
        Dtype of the pixels in the file.
    in_colour : bool
        Whether the last axis has the samples of a colour.
    is_plain : bool
        Whether the file is plain TIFF.  There, tifffile takes a stack of grey images of width 1 for one
        image, with a row for each of them.
    """

    def __init__(self, array: Any, dtype: Any, in_colour: bool, is_plain: bool):
        self.array, self.dtype = array, dtype
        sides = 3 if in_colour else 2
        while is_plain and not in_colour and array.ndim > sides and array.shape[-1] == 1:
            array = array[..., 0]
        self._pages, self._sides = array, sides
        self._height = array.shape[-sides]
        self._row_nbytes = math.prod(array.shape[1 - sides :]) * dtype.itemsize

    @property
    def are_as_stored(self) -> bool:
        """Whether the array's own memory is what is stored."""
        return self.array.dtype == self.dtype and self.array.flags.c_contiguous

    @property
    def nbytes(self) -> int:
        """Bytes of all pages, before compression."""
        return self.array.size * self.dtype.itemsize

    def as_stored(self) -> Any:
        """Return all pixels as they are stored."""
        return as_stored(self.array, self.dtype)

    def rows_of(self, nbytes: int) -> int:
        """Return the number of rows that have `nbytes`."""
        return math.ceil(nbytes / self._row_nbytes)

    def rows_of_strips(self) -> int:
        """Return the rows of a strip: two strips a page for two threads, unless they are too small."""
        half = self._height * self._row_nbytes // 2
        return self.rows_of(min(_STRIP, max(half, _SMALLEST_STRIP)))

    def encoded(self, rows: int, encode: Callable[[Any], bytes]) -> Iterator[bytes]:
        """Yield strips of `rows` rows as they are stored, in their order."""

        def encode_strip(strip):
            return encode(as_stored(strip, self.dtype))

        strips = (page[first : first + rows] for page in self for first in range(0, self._height, rows))
        if self.nbytes < _WORTH_A_THREAD:
            yield from map(encode_strip, strips)
            return
        count = max(THREADS, at_once(self.nbytes) // _STRIP)
        with ThreadPoolExecutor(THREADS) as threads:
            while batch := list(itertools.islice(strips, count)):
                yield from threads.map(encode_strip, batch)

    def tiles(self, tile: tuple[int, int]) -> Iterator[Any]:
        """Yield tiles of each page; those at an edge may be smaller."""
        height, width = tile
        for page in self:
            for y, x in itertools.product(
                range(0, page.shape[0], height), range(0, page.shape[1], width)
            ):
                yield as_stored(page[y : y + height, x : x + width], self.dtype)

    def __iter__(self) -> Iterator[Any]:
        stacked = self._pages.shape[: self._pages.ndim - self._sides]
        return (self._pages[place] for place in np.ndindex(stacked))


def by_tifffile(compression: str) -> dict[str, Any]:
    """Return the arguments of `tifffile.imwrite` for a compression."""
    level = {"compressionargs": {"level": _LIBDEFLATE_LEVEL}} if compression == "zlib" else {}
    return {"compression": compression, **level}


def encoder(compression: str) -> Callable[[Any], bytes]:
    """Return the function that encodes the pixels of a strip."""
    if compression == "zlib" and (isal_zlib := _isal()) is not None:
        return partial(isal_zlib.compress, level=_ISAL_LEVEL)
    number = tifffile.COMPRESSION[_TAGGED[compression]]
    return partial(
        tifffile.TIFF.COMPRESSORS[number], **by_tifffile(compression).get("compressionargs", {})
    )


def _isal():
    """Return ISA-L's deflate, or None: there is none for some machines."""
    try:
        from isal import isal_zlib
    except ImportError:
        return None
    return isal_zlib


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
