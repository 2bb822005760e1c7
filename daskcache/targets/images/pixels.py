"""How the pixels of an image are stored in a TIFF file, and which kinds of file can hold them."""

from __future__ import annotations

from ...errors import require
from .tiff import IMAGEJ, OME, PLAIN, stack_letters

#: Dtypes that ImageJ's own files have.
IN_IMAGEJ = {"u1", "u2", "f4"}
_NOT_IN_OME = {"u8", "i8"}
#: Bytes of an ImageJ file; it has no 64-bit offsets.
_LARGEST_IMAGEJ = 2**32 - 2**25


def narrowed(array, narrow):
    """The pixels to store: masks as viewers show them, integers as small as they may be."""
    np = require("numpy", "image")
    if array.dtype.kind == "b":
        return array.view("u1") * np.uint8(255)
    if array.dtype.kind not in "ui" or not narrow:
        return array
    lowest, highest = array.min(), array.max()
    for name in ("u1", "u2", "u4", "i4"):
        limits = np.iinfo(name)
        if np.dtype(name).itemsize <= array.itemsize and limits.min <= lowest and highest <= limits.max:
            return array.astype(name)
    return array


def obstacle(kind, pixels, metadata):
    """What a kind of file can't hold of an image, in a few words; None if it holds all of it."""
    name = pixels.dtype.str[1:]
    if kind == PLAIN:
        return None
    if name in _NOT_IN_OME if kind == OME else name not in IN_IMAGEJ:
        return f"dtype {pixels.dtype}"
    if stack_letters(metadata.axes, kind) is None:
        return f"stacks with the axes {metadata.axes!r}"
    if kind == OME and not _quotes_fit() and any('"' in name for name in metadata.channels):
        return "quotes in names of channels with this tifffile (it needs 2026.2.24)"
    if kind == IMAGEJ and metadata.axes.endswith("S") and name != "u1":
        return f"colours of dtype {pixels.dtype}"
    if kind == IMAGEJ and pixels.shape[-1] == 1:  # which tifffile takes for a sample
        return "images of width 1"
    if kind == IMAGEJ and pixels.nbytes > _LARGEST_IMAGEJ:
        return "files of 4 GiB and more"
    return None


def _quotes_fit():
    """Whether tifffile's OME-XML stays XML with quotes in it."""
    version = require("tifffile", "image").__version__
    return tuple(map(int, version.split(".")[:3])) >= (2026, 2, 24)


#: Bytes that are looked at to choose a predictor.
_SAMPLE = 2**16


def is_smooth(pixels, axes):
    """Whether differences between neighbours take fewer bits than the pixels: not in noise."""
    np = require("numpy", "image")
    rows = pixels.reshape(-1, *pixels.shape[-2 if axes.endswith("S") else -1 :])
    step = max(pixels.nbytes // _SAMPLE, 1)
    rows = rows[step // 2 % len(rows) :: step]
    return _entropy(np.diff(rows, axis=1)) < _entropy(rows)


def _entropy(array):
    """Bits that each byte takes on average."""
    np = require("numpy", "image")
    counts = np.bincount(np.ascontiguousarray(array).reshape(-1).view("u1"))
    shares = counts[counts > 0] / max(counts.sum(), 1)
    return -(shares * np.log2(shares)).sum()
