"""Pictures of arrays: the first plane of an image with a scale bar, and histograms.

`thumbnail` shows them.  They read little of a large file: of a memory map every n-th pixel, of a
compressed image the first plane, or a part of it.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from dask.utils import format_bytes

from ..errors import FormatLimit, LazyModule
from .preview import BRIGHTEST, PIXELS, SMALLEST, grey, png

np = LazyModule("numpy", "numpy")

#: Bytes that are decoded for a look, at most.
LIMIT = 2**26
#: Percentile of the pixels that is black.  Many images have a background that is not 0.
DARKEST = 1
#: Pixels of the middle of a plane that is too large to be decoded as a whole.
_PART = 1024
#: Elements of a sample for statistics, and of a piece of it that is read at once.
_SAMPLE, _PIECE = 2**20, 2**14
#: Bins of a histogram; width of a bin and height of the picture, in pixels.
_BINS, _BIN, _TALL = 48, 4, 64


class Plane(NamedTuple):
    """The pixels of an image that are shown."""

    #: Grey (two axes), or colours along a third axis.
    pixels: Any
    #: What is shown of the image, in words; empty for all of it.
    said: str = ""
    #: Number of pixels of the image along an axis for each of `pixels`.
    step: int = 1


def is_image(array: Any) -> bool:
    """Return True if the last two axes of an array of numbers are rows and columns of pixels."""
    shape = array.shape[:-1] if has_colours(array) else array.shape
    is_numeric = array.dtype.kind in "biufc"
    return is_numeric and len(shape) >= 2 and min(shape[-2:]) >= SMALLEST and 0 not in shape


def has_colours(array: Any) -> bool:
    """Return True if the last axis of an array holds 3 or 4 colours of uint8."""
    return array.ndim >= 3 and array.shape[-1] in (3, 4) and array.dtype == "uint8"


def first_plane(array: Any, spatial: int, is_mapped: bool = False, factor: int = 1) -> Plane:
    """Read every n-th pixel of an array's first plane.

    Parameters
    ----------
    array : array_like
        A NumPy or Zarr array.
    spatial : int
        Number of the last axes that make a plane: 2, or 3 with colours.
    is_mapped : bool
        True if reading some pixels reads no others.
    factor : int
        Pixels of the image along an axis for each of the array, which may be a smaller copy.

    Raises
    ------
    FormatLimit
        If even the middle of the plane is too much to decode.
    """
    before = array.shape[: array.ndim - spatial]
    rows, columns = array.shape[array.ndim - spatial :][:2]
    said = [f"first of {math.prod(before):,} planes"] if math.prod(before) > 1 else []
    window: tuple[slice, ...] = (slice(0, rows), slice(0, columns))
    if not is_mapped and _decoded(array, spatial, window) > LIMIT:
        window = tuple(slice(max(0, (n - _PART) // 2), (n + _PART) // 2) for n in (rows, columns))
        said.append(f"the middle {min(_PART, rows)} × {min(_PART, columns)} pixels")
        if _decoded(array, spatial, window) > LIMIT:
            raise FormatLimit(f"a part of {format_bytes(_decoded(array, spatial, window))} is not read")
    step = -(-max(each.stop - each.start for each in window) // PIXELS)
    shown = tuple(slice(each.start, each.stop, step) for each in window)
    pixels = np.asarray(array[(*[0] * len(before), *shown)])
    if step * factor > 1:
        said.append(f"one pixel for {step * factor} × {step * factor}")
    return Plane(pixels, "; ".join(said), step * factor)


def _decoded(array, spatial, window):
    """Return the bytes that are decoded for a window: whole chunks."""
    chunks = getattr(array, "chunks", None) or (1,) * array.ndim
    nbytes = array.dtype.itemsize
    for axis, chunk in enumerate(chunks):
        position = axis - (array.ndim - spatial)
        if position < 0:
            nbytes *= chunk
        elif position < 2:
            first, last = window[position].start // chunk, -(-window[position].stop // chunk)
            nbytes *= (last - first) * chunk
        else:
            nbytes *= array.shape[axis]
    return nbytes


def picture(plane: Plane, size: float | None = None, unit: str | None = None) -> tuple[bytes, str]:
    """Return a plane as a PNG file with a scale bar, and what it shows in words.

    Grey values are stretched between the 1st and the 99.8th percentile.

    Parameters
    ----------
    plane : Plane
    size : float, optional
        Distance of two pixels of the image along a row.  Without it, there is no bar.
    unit : str, optional
        The unit of `size`.
    """
    said = [plane.said] if plane.said else []
    pixels = plane.pixels
    if pixels.dtype == "uint8" and pixels.ndim == 3:
        shown = np.array(pixels)
    else:
        shown, dark, bright = _stretched(pixels)
        said.append(f"from {dark:.4g} (black) to {bright:.4g} (white)")
    if size and unit and shown.shape[1] >= 4 * SMALLEST and shown.shape[0] >= 2 * SMALLEST:
        length = _round_length(size * plane.step * shown.shape[1] / 4)
        _draw_bar(shown, round(length / (size * plane.step)))
        said.append(f"bar: {length:g} {unit}")
    return png(shown), "; ".join(said)


def _stretched(pixels):
    values = np.abs(pixels) if pixels.dtype.kind == "c" else pixels
    values = values[..., :3] if values.ndim == 3 else values
    finite = values[np.isfinite(values)].astype("f8")
    dark, bright = np.percentile(finite, (DARKEST, BRIGHTEST)) if finite.size else (0, 0)
    if dark == bright and finite.size:  # most pixels are equal, as in a mask with few cells
        dark, bright = finite.min(), finite.max()
    return grey(np, values, DARKEST), dark, bright


def _round_length(longest):
    """Return the largest of 1, 2 and 5 times a power of ten that is not longer."""
    power = 10.0 ** math.floor(math.log10(longest))
    return next(power * factor for factor in (5, 2, 1) if power * factor <= longest * (1 + 1e-9))


def _draw_bar(shown, length):
    bottom, right = shown.shape[0] - 4, shown.shape[1] - 4
    left = right - max(length, 1)
    shown[bottom - 5 : bottom + 1, left - 1 : right + 1] = 0
    shown[bottom - 4 : bottom, left:right] = 255


# ---- numbers --------------------------------------------------------------------------------------


def statistics(array: Any) -> tuple[str, bytes | None]:
    """Return the smallest, mean and largest number of an array in words, and its histogram as PNG.

    Of large arrays, pieces at equal distances are read, and the words say so.
    """
    if array.dtype.kind not in "biuf" or not array.size:
        return "", None
    values, is_sample = _sample(array)
    finite = values[np.isfinite(values)].astype("f8")
    if not finite.size:
        return "no finite numbers", None
    told = f"min {finite.min():.4g}, mean {finite.mean():.4g}, max {finite.max():.4g}"
    if is_sample:
        told += f" (of a sample of {values.size:,})"
    if len(finite) < len(values):
        told += f", {len(values) - len(finite):,} not finite"
    return told, png(_histogram(finite)) if finite.size > 1 else None


def _sample(array):
    """Return the elements of an array, or pieces of it, and whether they are pieces."""
    flat = array.ravel(order="K")  # a view of a memory map
    if flat.size <= _SAMPLE:
        return np.asarray(flat), False
    starts = np.linspace(0, flat.size - _PIECE, _SAMPLE // _PIECE).astype(int)
    return np.concatenate([flat[start : start + _PIECE] for start in starts]), True


def _histogram(values):
    """Draw the numbers of values in equal bins, dark on white."""
    counts, _ = np.histogram(values, bins=_BINS)
    heights = np.ceil(counts / counts.max() * (_TALL - 4)).astype(int)
    rows = np.arange(_TALL)[::-1, None]
    columns = np.repeat(heights, _BIN)
    is_bar = (rows < columns) & (np.arange(_BINS * _BIN) % _BIN < _BIN - 1)
    return np.where(is_bar, 60, 255).astype("u1")
