"""Checks of the options of `ImageTarget`.

The constructor runs them, so a wrong option raises when a function is decorated.  Each check returns the
option in its standard form.
"""

from __future__ import annotations

import math

from ...errors import GraphError
from .metadata import METRES, SPATIAL, STACKED, UNKNOWN, canonical_unit


def one_of(name, given, allowed):
    if given not in allowed:
        raise _wrong(name, given, " or ".join(map(repr, allowed)))
    return given


def checked_axes(axes):
    if axes is None:
        return None
    stacked, plane = _split(axes) if isinstance(axes, str) else ("", "")
    named = [axis for axis in stacked if axis != UNKNOWN]
    if plane != "YX" or not set(named) <= set(STACKED) or len(set(named)) < len(named):
        raise _wrong("axes", axes, "letters of T, Z, C and Q, then YX or YXS")
    return axes


def _split(axes):
    grey = axes.removesuffix("S")
    return grey[:-2], grey[-2:]


def checked_sizes(sizes):
    if sizes is None:
        return None
    if isinstance(sizes, (int, float)):
        sizes = (sizes, sizes)  # along Y and X
    if not isinstance(sizes, dict) and 2 <= len(sizes) <= len(SPATIAL):
        sizes = dict(zip(SPATIAL[-len(sizes) :], sizes, strict=True))
    if not isinstance(sizes, dict) or not set(sizes) <= set(SPATIAL):
        raise _wrong("pixel_size", sizes, "a number, (Y, X), (Z, Y, X), or a dict with keys Z, Y, X")
    sizes = {axis: float(sizes[axis]) for axis in SPATIAL if axis in sizes}
    if not all(math.isfinite(size) and size > 0 for size in sizes.values()):
        raise _wrong("pixel_size", sizes, "positive numbers")
    return sizes


def checked_unit(unit, sizes):
    if not sizes:
        if unit is not None:
            raise _wrong("unit", unit, "a pixel_size with it")
        return None
    found = canonical_unit(unit or "µm")
    if found not in METRES:
        raise _wrong("unit", unit, ", ".join(METRES))
    return found


def checked_channels(channels):
    if channels is None:
        return None
    if isinstance(channels, str) or not all(
        isinstance(c, str) and c and c.isprintable() for c in channels
    ):
        raise _wrong("channels", channels, "a tuple of names")
    return tuple(channels)


def checked_tile(tile):
    if tile is None:
        return None
    tile = tuple(tile)
    if len(tile) != 2 or not all(isinstance(n, int) and n > 0 and n % 16 == 0 for n in tile):
        raise _wrong("tile", tile, "two multiples of 16, e.g. (256, 256)")
    return tile


def _wrong(name, given, expected):
    return GraphError(f"a target of images got {name}={given!r}", expected=expected)
