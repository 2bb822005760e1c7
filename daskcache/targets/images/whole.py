"""The check that a TIFF file holds all planes that it declares.

tifffile reads the planes that are there.  Of a file that was cut short, or whose writer stopped early,
these may be the first plane alone, or planes of zeros in place of the missing ones.
`target` and `tiff` check every file that they read.
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any

from ...errors import TargetCorrupt
from .ome_xml import own_image

_DESCRIPTION = 270


def check_whole(tif: Any, path: str) -> None:
    """Raise unless a TIFF file has all planes that it declares, and all their bytes.

    Parameters
    ----------
    tif : tifffile.TiffFile
        The open file.
    path : str
        Its name for the error.

    Raises
    ------
    TargetCorrupt
        If the chain of its pages leads past its end, if its description or compressed pixels lie there,
        or if it has fewer planes than its OME-XML, ImageJ's or tifffile's description, or a microscope's
        tags declare.
    """
    if not tif.pages:
        raise _cut(path, "at least one page", "none")
    _check_description(tif, path)
    series = tif.series[0]
    # the index of a Micro-Manager file says where its planes are, not the chain of pages
    if series.kind != "mmstack":
        _check_chain(tif, path)
        by, declared = _declared(tif, series)
        there = _present(series)
        if declared > there:
            raise _cut(path, f"{declared} planes, as {by} says", f"{there} planes")
    if series.dataoffset is None:
        check_pixels(tif.filehandle.size, series.pages, path)


def check_pixels(size: int, pages: Any, path: str) -> None:
    """Raise unless the compressed pixels of pages lie within the `size` bytes of their file.

    A decoder of JPEG fills the missing rows.  tifffile itself checks pixels that are not compressed.
    """
    for page in pages:
        if page is None or page.keyframe.compression == 1:
            continue
        ends = map(int.__add__, page.dataoffsets, page.databytecounts)
        last = max(ends, default=0)
        if last > size:
            raise _cut(path, f"at least {last} bytes", f"{size} bytes")


def _check_description(tif, path):
    """Raise if the description of the first page lies past the end of the file.

    tifffile leaves such a tag out.  Then it takes images of one shape for one stack.
    """
    page, layout = tif.pages.first, tif.tiff
    tif.filehandle.seek(page.offset)
    (count,) = struct.unpack(layout.tagnoformat, tif.filehandle.read(layout.tagnosize))
    table = tif.filehandle.read(count * layout.tagsize)
    codes = {
        struct.unpack_from(f"{layout.byteorder}H", table, start)[0]
        for start in range(0, len(table), layout.tagsize)
    }
    if _DESCRIPTION in codes and _DESCRIPTION not in page.tags:
        raise _cut(path, "the description of its first page", "the end of the file before it")


def _check_chain(tif, path):
    """Raise if the last page names a next one that isn't there."""
    at = tif.pages.next_page_offset
    if at is None:  # tifffile found the pages in another way
        return
    tif.filehandle.seek(at)
    found = tif.filehandle.read(tif.tiff.offsetsize)
    if found.strip(b"\0") or len(found) < tif.tiff.offsetsize:
        raise _cut(path, "a next page", f"the end of the file after {len(tif.pages)} pages")


def _present(series):
    """Return the number of planes whose pixels are in the file."""
    if series.dataoffset is not None:  # in one piece, which need not have a page for each plane
        return math.prod(series.shape) // math.prod(series.keyframe.shape)
    return sum(page is not None for page in series.pages)


def _declared(tif, series):
    """Return the origin and number of the planes that a file declares for its first image.

    A plane is the content of a page, and each file has one.  A description that another program left in
    a file of other planes (with other rows or columns) declares nothing.
    """
    page = tif.pages.first
    sides = page.imagelength, page.imagewidth
    if page.is_shaped:
        shape = _shape_in(page.shaped_description)
        planes, rest = divmod(math.prod(shape), math.prod(page.shape))
        return "its description", planes if not rest and set(sides) <= set(shape) else 1
    if tif.is_ome:
        image = own_image(tif.ome_metadata, tif.filename)
        sizes = {} if image is None else image.sizes()
        if (sizes.get("Y"), sizes.get("X")) != sides:
            return "its OME-XML", 1
        # the samples of a colour count as channels, and are in one page
        channels = max(sizes.get("C", 1) // page.samplesperpixel, 1)
        return "its OME-XML", channels * sizes.get("Z", 1) * sizes.get("T", 1)
    if tif.is_imagej:
        images = (tif.imagej_metadata or {}).get("images", 1)
        return "ImageJ's description", images // max(page.shaped[0], 1)
    return f"its {series.kind} metadata", math.prod(series.shape) // math.prod(series.keyframe.shape)


def _shape_in(description):
    """Return the shape in a description by tifffile, which was not always JSON; or that of no array."""
    try:
        return tuple(map(int, json.loads(description)["shape"]))
    except (ValueError, TypeError, KeyError):
        return (0,)


def _cut(path, expected, got):
    return TargetCorrupt(
        f"the image {path} is not whole",
        expected=expected,
        got=got,
        hint="was it cut short, or did its writer stop early? To read the planes that are there, take a "
        "FileSource and tifffile",
    )
