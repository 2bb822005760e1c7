"""A look at a value: a small picture of an image or figure, first rows of a table, the start of a text.

`prefect.recording` shows these beside the tasks that made them.  `thumbnail` looks at stored results,
and `housekeeping.array_differences` makes pictures of differences.
"""

from __future__ import annotations

import io
import os
import reprlib
import sys
from pathlib import Path
from typing import Any, NamedTuple

from dask.utils import format_bytes

from ..errors import require
from ..printable import printable, printable_lines
from .figures import drawn, is_figure

#: Pixels on the longer side of a picture, at most.
PIXELS = 256
#: Pixels along each axis of a picture, at least: smaller arrays are matrices, or lists of points.
SMALLEST = 8
#: Pixels on the longer side of a figure, at most: its texts stay readable.
FIGURE_PIXELS = 800
#: Suffixes of files that are shown as a picture, and the bytes of such a file, at most.
PICTURES, LARGEST = (".png", ".jpg", ".jpeg"), 2**24
#: Names of a folder's files, at most.
NAMES = 20
#: Rows and columns of a table, at most.
ROWS, COLUMNS = 10, 20
#: Characters of a text, and of a cell.
CHARACTERS, CELL = 1_000, 100
#: Percentiles of the pixels that are shown black and white: a few hot pixels leave the rest visible.
DARKEST, BRIGHTEST = 0.5, 99.8


class Preview(NamedTuple):
    """A look at a value: what it is, and a picture, rows or a text of it."""

    #: What the value is, for example ``uint16 array, 3 × 512 × 512``.
    summary: str
    #: A PNG file, if `kind` does not say otherwise.
    picture: bytes | None = None
    #: The first rows, cells as texts, by the name of their column.
    rows: list[dict[str, str]] | None = None
    text: str | None = None
    #: Media type of the picture.
    kind: str = "image/png"


def preview(value: Any) -> Preview:
    """Return a look at a value.

    Parameters
    ----------
    value : object
        An array is shown as a picture if it has two axes of at least eight pixels: the last two are rows
        and columns, or the two before a last one of 3 or 4 values of uint8.  Of other axes the middle is
        shown.  Grey values run from the 0.5th to the 99.8th percentile.  A pandas data frame is shown by
        its first ten rows.  A Matplotlib figure, and the path of a PNG or JPEG file, are shown as a
        picture; the path of a folder by the names of its files; anything else as text.

    Returns
    -------
    Preview

    Examples
    --------
    >>> from daskcache.targets.preview import preview
    >>> preview({"cells": 17}).text
    "{'cells': 17}"
    """
    numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
    if numpy is not None and isinstance(value, numpy.ndarray):
        size = " × ".join(map(str, value.shape)) or "no axes"
        summary = f"{value.dtype} array, {size}"
        plane = _plane(numpy, value)
        if plane is not None:
            return Preview(summary, picture=png(plane))
        return Preview(summary, text=start(numpy.array2string(value, threshold=50)))
    if pandas is not None and isinstance(value, pandas.DataFrame):
        summary = f"table, {len(value):,} rows × {len(value.columns)} columns"
        return Preview(summary, rows=_first_rows(value))
    if is_figure(value):
        return Preview("figure", picture=smaller(io.BytesIO(drawn(value, ".png"))))
    if isinstance(value, Path) and value.exists():
        return _preview_of_path(value)
    return Preview(type(value).__name__, text=start(_text_of(value)))


def _preview_of_path(path):
    if path.is_dir():
        names = sorted(os.listdir(path))
        more = [f"and {len(names) - NAMES} more"] if len(names) > NAMES else []
        return Preview(f"folder, {len(names)} entries", text=start("\n".join(names[:NAMES] + more)))
    size = path.stat().st_size
    summary = f"{path.suffix or 'file'}, {format_bytes(size)}"
    if path.suffix.lower() in PICTURES and size <= LARGEST:
        return Preview(summary, picture=smaller(path))
    return Preview(summary, text=start(str(path)))


def smaller(file: Any) -> bytes:
    """Return a picture in a file as PNG, reduced to the size of a preview."""
    image = require("PIL.Image", "image").open(file)
    image.thumbnail((FIGURE_PIXELS, FIGURE_PIXELS))
    reduced = io.BytesIO()
    image.save(reduced, "PNG")
    return reduced.getvalue()


def _plane(numpy, array):
    """Return a plane of an image as uint8, with its colours if it has any; None for other arrays."""
    is_colour = array.ndim >= 3 and array.shape[-1] in (3, 4) and array.dtype == numpy.uint8
    spatial = 3 if is_colour else 2
    if array.ndim < spatial or not array.size or array.dtype.kind not in "biufc":
        return None
    if min(array.shape[array.ndim - spatial :][:2]) < SMALLEST:
        return None
    plane = array[tuple(length // 2 for length in array.shape[:-spatial])]
    step = -(-max(plane.shape[:2]) // PIXELS)
    plane = plane[::step, ::step]
    return plane if is_colour else grey(numpy, plane)


def grey(numpy: Any, plane: Any, percentile: float = DARKEST) -> Any:
    """Return a plane as uint8, from dark to bright; all pixels below a percentile are black."""
    values = numpy.abs(plane) if plane.dtype.kind == "c" else plane
    values = values.astype("f8")
    finite = values[numpy.isfinite(values)]
    if not finite.size:
        return numpy.zeros(values.shape, "u1")
    darkest, brightest = numpy.percentile(finite, (percentile, BRIGHTEST))
    if darkest == brightest:  # most pixels are equal, as in a mask with few cells
        darkest, brightest = finite.min(), finite.max()
    scaled = (values - darkest) / ((brightest - darkest) or 1)
    return (numpy.nan_to_num(scaled).clip(0, 1) * 255).astype("u1")


def png(plane: Any) -> bytes:
    """Return a plane of uint8, grey or in colours, as a PNG file."""
    import imageio.v3

    return imageio.v3.imwrite("<bytes>", plane, extension=".png")


def _first_rows(frame):
    part = frame.iloc[:ROWS, :COLUMNS]
    names = [_cell(name) for name in part.columns]
    if len(set(names)) < len(names):
        names = [f"{name} ({position})" for position, name in enumerate(names)]
    rows = part.itertuples(index=False, name=None)
    return [dict(zip(names, map(_cell, row), strict=True)) for row in rows]


def _cell(value):
    return printable(str(value)[:CELL])


def _text_of(value):
    return value if isinstance(value, str) else _SHORT.repr(value)


def start(text: str) -> str:
    """Return the first characters of a text, printable."""
    return printable_lines(text if len(text) <= CHARACTERS else f"{text[:CHARACTERS]} …")


#: Makes texts of values of any size, and of values whose own `repr` fails.
_SHORT = reprlib.Repr()
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = _SHORT.maxset = 50
_SHORT.maxstring = _SHORT.maxother = 200
