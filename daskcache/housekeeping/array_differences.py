"""Differences of two arrays: the elements that differ, statistics, and a picture.

`differences` calls these functions for arrays of equal shape.  They go through large arrays in pieces,
so a comparison needs little memory besides the arrays.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..errors import LazyModule
from ..targets.preview import PIXELS, SMALLEST, grey, png

np = LazyModule("numpy", "numpy")

#: Elements that are compared at once.
_PIECE = 2**20
#: Colours (RGB) of elements that are higher and lower than in the other array: orange and blue.
HIGHER, LOWER = (230, 97, 1), (33, 102, 172)
#: Strength of the colour of the smallest difference; that of the largest is 1.
_FAINTEST = 0.4


class Counted(NamedTuple):
    """How the elements of two arrays of equal shape differ."""

    #: Number of elements that differ.
    differing: int
    #: Smallest, largest and mean difference of all elements that are finite in both arrays.  None for
    #: dtypes without differences, such as texts.  Of complex numbers, the absolute difference.
    smallest: float | None
    largest: float | None
    mean: float | None


def counted(a: Any, b: Any) -> Counted:
    """Compare two arrays of equal shape; NaN equals NaN.  Differences are those of `a` minus `b`."""
    differing, finite, total = 0, 0, 0.0
    smallest, largest = math.inf, -math.inf
    is_numeric = {a.dtype.kind, b.dtype.kind} <= set("biufc")
    for left, right in _pieces(a, b):
        differing += int(np.count_nonzero(_unequal(left, right)))
        if is_numeric:
            difference = _minus(left, right)
            difference = difference[np.isfinite(difference)]
            if difference.size:
                smallest = min(smallest, float(difference.min()))
                largest = max(largest, float(difference.max()))
                finite += difference.size
                total += float(difference.sum())
    if not finite:
        return Counted(differing, None, None, None)
    return Counted(differing, smallest, largest, total / finite)


def _pieces(a: Any, b: Any) -> Iterator[tuple[Any, Any]]:
    left, right = a.reshape(-1), b.reshape(-1)
    for start in range(0, left.size, _PIECE):
        yield left[start : start + _PIECE], right[start : start + _PIECE]


def _unequal(left, right):
    """Return a mask of the elements that differ."""
    try:
        unequal = np.asarray(left != right, dtype=bool)
    except TypeError:  # no comparison of these dtypes
        unequal = np.ones(left.shape, bool)
    if left.dtype.kind in "fcmM" and right.dtype.kind in "fcmM":
        unequal = unequal & ~((left != left) & (right != right))  # NaN and NaT differ from themselves
    return unequal


def _minus(left, right):
    kinds = left.dtype.kind + right.dtype.kind
    if "c" in kinds:
        with np.errstate(invalid="ignore"):
            return np.abs(left - right)
    is_whole = set(kinds) <= set("biu")
    if is_whole and max(left.dtype.itemsize, right.dtype.itemsize) <= 4:
        exact = "i8"
    elif is_whole:  # its 64 bits, where the machine has them, hold 64-bit integers
        exact = "longdouble"
    else:
        exact = "f8"
    with np.errstate(invalid="ignore"):
        return left.astype(exact) - right.astype(exact)


# ---- pictures -------------------------------------------------------------------------------------


class Picture(NamedTuple):
    """A picture of a difference."""

    #: A PNG file.
    png: bytes
    #: Indices of the plane that is shown, along the axes before its own; empty for a single plane.
    plane: tuple[int, ...]


def picture(a: Any, b: Any) -> Picture | None:
    """Return a picture of the plane with the most differing elements.

    The plane of `b` is grey.  Elements that are higher in `a` are orange, lower ones blue.  Of elements
    that share a pixel of the picture, the one with the largest difference is shown.

    Returns
    -------
    Picture or None
        None if nothing differs, or if the arrays are not images: numbers with two axes of at least eight
        pixels, the last two or, of uint8, the two before 3 or 4 colours.
    """
    is_colour = a.ndim >= 3 and a.shape[-1] in (3, 4) and a.dtype == b.dtype == np.uint8
    last = 3 if is_colour else 2
    if a.ndim < last or not {a.dtype.kind, b.dtype.kind} <= set("biufc"):
        return None
    before = a.shape[: a.ndim - last]
    if not a.size or min(a.shape[a.ndim - last :][:2]) < SMALLEST:
        return None
    planes = np.ndindex(before)
    number, place = max(
        (int(np.count_nonzero(_unequal(a[index], b[index]))), tuple(-each for each in index))
        for index in planes
    )
    if not number:
        return None
    place = tuple(-each for each in place)
    return Picture(png(_coloured(a[place], b[place], is_colour)), place)


def _coloured(a, b, is_colour):
    """Return a plane of `b` in grey, as RGB of uint8, with the differences of `a` in colours."""
    unequal, difference = _unequal(a, b), _minus(a, b).astype("f8")
    if is_colour:
        unequal, difference, b = unequal.any(-1), np.abs(difference).max(-1), b[..., :3].mean(-1)
    difference[unequal & ~np.isfinite(difference)] = np.inf
    step = -(-max(b.shape) // PIXELS)
    higher = _highest(np.where(unequal & (difference > 0), difference, 0), step)
    lower = _highest(np.where(unequal & (difference < 0), -difference, 0), step)
    background = np.repeat(grey(np, b[::step, ::step])[..., None] * 0.6, 3, axis=-1)
    strengths = np.maximum(higher, lower)
    finite = strengths[np.isfinite(strengths) & (strengths > 0)]
    scale = np.percentile(finite, 99) if finite.size else 1.0
    strength = (_FAINTEST + (1 - _FAINTEST) * (strengths / scale).clip(0, 1))[..., None]
    colours = np.where((higher >= lower)[..., None], HIGHER, LOWER)
    mixed = background * (1 - strength) + colours * strength
    shown = np.where((strengths > 0)[..., None], mixed, background)
    return shown.astype("u1")


def _highest(plane, step):
    """Return the highest value in each square of `step` pixels, so that no small one gets lost."""
    rows, columns = (np.arange(0, length, step) for length in plane.shape)
    return np.maximum.reduceat(np.maximum.reduceat(plane, rows, axis=0), columns, axis=1)
