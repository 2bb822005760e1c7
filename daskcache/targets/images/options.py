"""Checks of the options of targets for images.

Constructors run them, so a wrong option raises when a function is decorated.  Each check returns the
option in its standard form.
"""

from __future__ import annotations

import math
import re
from numbers import Real

from ...errors import GraphError
from .metadata import SPATIAL, STACKED, UNKNOWN
from .units import METRES, canonical_unit


def wrong(name, given, expected):
    return GraphError(f"a target of images got {name}={given!r}", expected=expected)


def one_of(name, given, allowed):
    if given not in allowed:
        raise wrong(name, given, " or ".join(map(repr, allowed)))
    return given


def checked_axes(axes):
    if axes is None:
        return None
    known = isinstance(axes, str) and re.fullmatch(f"[{STACKED}{UNKNOWN}]*YXS?", axes)
    if not known or any(axes.count(axis) > 1 for axis in STACKED):
        raise wrong("axes", axes, "letters of T, Z, C and Q, then YX or YXS")
    return axes


def checked_sizes(sizes):
    if sizes is None:
        return None
    forms = "a number, (Y, X), (Z, Y, X), or a dict with keys Z, Y, X"
    by_axis = sizes
    if not isinstance(sizes, dict):
        along = (sizes, sizes) if isinstance(sizes, Real) else _items("pixel_size", sizes, forms)
        if not 2 <= len(along) <= len(SPATIAL):
            raise wrong("pixel_size", sizes, forms)
        by_axis = dict(zip(SPATIAL[-len(along) :], along, strict=True))
    if not set(by_axis) <= set(SPATIAL):
        raise wrong("pixel_size", sizes, forms)
    if not all(_is_number(size) and math.isfinite(size) and size > 0 for size in by_axis.values()):
        raise wrong("pixel_size", sizes, "positive numbers")
    return {axis: float(by_axis[axis]) for axis in SPATIAL if axis in by_axis}


def checked_unit(unit, sizes):
    if not sizes:
        if unit is not None:
            raise wrong("unit", unit, "a pixel_size with it")
        return None
    found = canonical_unit(unit or "µm")
    if found not in METRES:
        raise wrong("unit", unit, ", ".join(METRES))
    return found


def checked_channels(channels):
    if channels is None:
        return None
    names = _items("channels", channels, "a tuple of names")
    if isinstance(channels, str) or not all(isinstance(c, str) and c and c.isprintable() for c in names):
        raise wrong("channels", channels, "a tuple of names")
    return names


def checked_like(like):
    if like is not None and not (isinstance(like, str) and like.isidentifier()):
        raise wrong("like", like, "the name of a parameter of the function")
    return like


def checked_tile(tile):
    if tile is None:
        return None
    expected = "two multiples of 16, e.g. (256, 256)"
    sides = _items("tile", tile, expected)
    if len(sides) != 2 or not all(isinstance(n, int) and n > 0 and n % 16 == 0 for n in sides):
        raise wrong("tile", tile, expected)
    return sides


def _items(name, given, expected):
    try:
        return tuple(given)
    except TypeError:
        raise wrong(name, given, expected) from None


def _is_number(size):
    return isinstance(size, Real) and not isinstance(size, bool)
