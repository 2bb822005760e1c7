"""Pixels of images in TIFF files: the dtype to store, limits of each kind of file, and smoothness.

`target` uses these before it writes.  `tiff` names the kinds of file and writes the metadata.
"""

from __future__ import annotations

from ...errors import require
from .tiff import IMAGEJ, OME, PLAIN, stack_letters

#: Dtypes that ImageJ's own files can have.
IN_IMAGEJ = {"u1", "u2", "f4"}
_NOT_IN_OME = {"u8", "i8"}
#: Most bytes of pixels in an ImageJ file, whose offsets have 32 bits.
_LARGEST_IMAGEJ = 2**32 - 2**25


def narrowed(array, narrow):
    """Return the pixels to store, with masks as 0 and 255 and integers in a small dtype if `narrow`.

    Viewers show such masks as black and white.
    """
    np = require("numpy", "image")
    if array.dtype.kind == "b":
        return array.view("u1") * np.uint8(255)
    if array.dtype.kind not in "ui" or not narrow:
        return array
    lowest, highest = array.min(), array.max()
    # the first dtype that holds all values and is not larger
    for name in ("u1", "u2", "u4", "i4"):
        limits = np.iinfo(name)
        if np.dtype(name).itemsize <= array.itemsize and limits.min <= lowest and highest <= limits.max:
            return array.astype(name)
    return array


def obstacle(kind, pixels, metadata):
    """Return the part of an image that a kind of file can't hold, in a few words, or None."""
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
    """Return True if this tifffile writes valid OME-XML for names with quotes."""
    version = require("tifffile", "image").__version__
    return tuple(map(int, version.split(".")[:3])) >= (2026, 2, 24)


#: Approximate bytes in the sample of rows that decides on the predictor.
_SAMPLE = 2**16


def is_smooth(pixels, axes):
    """Return True if differences between neighbours take fewer bits than the pixels, as in most images.

    In noise they don't.  The estimate is the entropy of the bytes in a sample of rows.
    """
    np = require("numpy", "image")
    rows = pixels.reshape(-1, *pixels.shape[-2 if axes.endswith("S") else -1 :])
    step = max(pixels.nbytes // _SAMPLE, 1)
    rows = rows[step // 2 % len(rows) :: step]
    return _entropy(np.diff(rows, axis=1)) < _entropy(rows)


def _entropy(array):
    """Return the bits that each byte takes on average."""
    np = require("numpy", "image")
    counts = np.bincount(np.ascontiguousarray(array).reshape(-1).view("u1"))
    shares = counts[counts > 0] / max(counts.sum(), 1)
    return -(shares * np.log2(shares)).sum()
