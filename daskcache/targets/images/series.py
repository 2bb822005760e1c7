"""Images in TIFF files that hold several: series, and the levels of a pyramid.

`ImageSource(path, series=…, level=…)` reads them.  The first series at full size is read by `target`,
with daskcache's own note.
"""

from __future__ import annotations

import dataclasses
from typing import Any, BinaryIO

from ...errors import LazyModule, SourceUnreadable
from ..arrays import check_decoded
from . import pixels, tiff
from .metadata import Described, ImageMetadata, described, known_axes
from .ome_xml import numbered_image
from .whole import check_pixels, check_whole

tifffile = LazyModule("tifffile", "image")


def read_series(file: BinaryIO, path: str, series: int, level: int) -> Any:
    """Return a level of a series in an open TIFF file as an array.

    Parameters
    ----------
    file : binary file
    path : str
        Name of the file, for errors.
    series, level : int
        Numbers from 0; level 0 is the full size.

    Raises
    ------
    SourceUnreadable
        If the file has no such series or level, or lacks planes of it.
    FormatLimit
        If the image exceeds config ``daskcache.max-decoded``.
    """
    with tifffile.TiffFile(file) as tif:
        found = _chosen(tif, path, series, level)
        check_whole(tif, path)
        check_pixels(tif.filehandle.size, found.pages, path)
        if any(page is None for page in found.pages):
            raise SourceUnreadable(
                f"series {series} of {path} lacks planes that its metadata declare",
                expected=f"{len(found.pages)} planes",
                got=f"{sum(page is not None for page in found.pages)} planes",
                hint="did its writer stop early? To read what is there, take a FileSource and tifffile",
            )
        check_decoded(found.nbytes, path)
        return found.asarray(buffersize=pixels.at_once(found.nbytes))


def describe_series(path: str, series: int, level: int) -> Described:
    """Return metadata and shape of a level of a series, with pixel sizes for the size of the level."""
    with tifffile.TiffFile(path) as tif:
        found, whole = _chosen(tif, path, series, level), tif.series[series]
        metadata = _metadata(tif, whole, series)
    if level and len(found.shape) == len(whole.shape):
        lengths = zip(whole.axes, whole.shape, found.shape, strict=True)
        ratios = {axis: full / part for axis, full, part in lengths}
        sizes = {axis: size * ratios[axis] for axis, size in metadata.pixel_size.items()}
        metadata = dataclasses.replace(metadata, pixel_size=sizes)
    return described(metadata, tuple(found.shape))


def _metadata(tif, whole, series):
    if series == 0:
        return tiff.stated(tif).metadata
    axes = known_axes(whole.axes)
    image = numbered_image(tif.ome_metadata, tif.filename, series) if tif.is_ome else None
    return ImageMetadata(axes) if image is None else image.metadata(axes)


def _chosen(tif, path, series, level):
    found = _item(tif.series, series, f"{path} has no series {series}", "series")
    return _item(found.levels, level, f"series {series} of {path} has no level {level}", "levels")


def _item(items, number, message, kind):
    if number < len(items):
        return items[number]
    raise SourceUnreadable(
        message,
        expected=f"one of 0 to {len(items) - 1}" if items else "an image",
        got=f"{len(items)} {kind} in the file",
        hint=f"correct {'series' if kind == 'series' else 'level'}= of the ImageSource",
    )
