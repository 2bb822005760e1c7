"""Metadata in TIFF files, and what each kind of file can hold.

Metadata stand in resolution tags, ImageJ's description, OME-XML, and daskcache's note.  The first three
are for other programs, and can't always restore an image exactly.  The note, JSON in a private tag of
the first page, adds the rest: the dtype, axes of length 1, sizes to the last digit.  If another program
changed the metadata, only the note's axes, shape and dtype count.  `pixels` has the pixels.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import uuid
from collections.abc import Iterator
from typing import Any, BinaryIO

from ...errors import LazyModule
from .metadata import SAME, STACKED, UNKNOWN, Described, ImageMetadata, channel_count, known_axes
from .ome_xml import own_image
from .units import METRES, canonical_unit, check_unit, known_names, known_size, short
from .whole import check_whole

tifffile = LazyModule("tifffile", "image")

PLAIN, IMAGEJ, OME = "plain", "imagej", "ome"

#: Dtypes that ImageJ's own files can have.
IN_IMAGEJ = {"u1", "u2", "f4"}
_NOT_IN_OME = {"u8", "i8", "f2"}
#: Bytes that the 32-bit offsets of classic TIFF reach, and bytes to leave for the metadata of a file and
#: of each page (tags, and what deflate adds to pixels that it can't shrink).
_CLASSIC, _OF_FILE, _OF_PAGE = 2**32, 2**25, 2**10

#: Tag in the range that TIFF 6.0 leaves to anyone's use.
_NOTE_TAG = 65321
_ASCII = 2
_NO_UNIT, _INCH, _CENTIMETRE = 1, 2, 3
#: Dots per inch that many programs write by default: those of screens.  ImageJ, too, takes 72 for an
#: image without a scale.
_SCREEN_DPI = 72, 96
#: Range of pixels per unit that a fraction of 32-bit numbers holds precisely.
_RESOLUTIONS = 1e-4, 4e9
_IMAGEJ_UNITS = {"µm": "micron", "Å": "angstrom"}
_OME_UNITS = {"inch": "in", None: "pixel"}


@dataclasses.dataclass(frozen=True)
class Note:
    """The facts that a reader needs to restore an array exactly."""

    #: Names of the dtypes of the array, and of the pixels in the file.
    dtype: str
    stored: str
    metadata: ImageMetadata
    shape: tuple[int, ...]


#: Dtypes of arrays that may be stored in another dtype.
_NARROWED = {"bool", *(f"{kind}int{bits}" for kind in ("", "u") for bits in (8, 16, 32, 64))}


def obstacle(kind, dtype, shape, metadata):
    """Return the part of an image that a kind of file can't hold, in a few words, or None."""
    name = dtype.str[1:]
    if kind == PLAIN:
        return None
    if name in _NOT_IN_OME if kind == OME else name not in IN_IMAGEJ:
        return f"dtype {dtype}"
    if stack_letters(metadata.axes, kind) is None:
        return f"stacks with the axes {metadata.axes!r}"
    if kind == OME and not _quotes_fit() and any('"' in name for name in metadata.channels):
        return "quotes in names of channels with this tifffile (it needs 2026.2.24)"
    if kind == IMAGEJ and metadata.axes.endswith("S") and name != "u1":
        return f"colours of dtype {dtype}"
    if kind == IMAGEJ and shape[-1] == 1:  # which tifffile takes for a sample
        return "images of width 1"
    if kind == IMAGEJ and needs_bigtiff(shape, dtype):
        return "files of 4 GiB and more"
    return None


def needs_bigtiff(shape: tuple[int, ...], dtype: Any) -> bool:
    """Return True if a file of such pixels could exceed 4 GiB, and so needs BigTIFF.

    The size before compression decides, as noise does not shrink.  ImageJ's own files can't be BigTIFF.
    """
    pages = math.prod(shape[:-2])
    return math.prod(shape) * dtype.itemsize + _OF_FILE + _OF_PAGE * pages > _CLASSIC


def _quotes_fit():
    """Return True if this tifffile writes valid OME-XML for names with quotes."""
    version = tifffile.__version__
    return tuple(map(int, version.split(".")[:3])) >= (2026, 2, 24)


# ---- writing metadata ---------------------------------------------------------------------------


def arguments(kind: str, note: Note, identity: str) -> dict[str, Any]:
    """Return the keyword arguments of `tifffile.imwrite` for an image's metadata.

    Parameters
    ----------
    kind : str
        Kind of file: `PLAIN`, `IMAGEJ` or `OME`.
    note : Note
        Metadata, shape and dtypes of the image.
    identity : str
        32 hex digits for the UUID of an OME file.  They depend on the image only, so that equal images
        give equal files.  Other kinds of file ignore them.
    """
    metadata = note.metadata
    found: dict[str, Any] = {"software": False, "metadata": {"axes": metadata.axes}}
    if kind != PLAIN:
        found[kind] = True
        letters = stack_letters(metadata.axes, kind) or ""
        found["metadata"]["axes"] = letters + metadata.axes[len(letters) :]
    resolution = _resolution(metadata, kind)
    if resolution is not None:
        found["resolution"], found["resolutionunit"] = resolution
    if kind == IMAGEJ:
        scaled = resolution is not None
        found["metadata"] |= _for_imagej(metadata, scaled, found["metadata"]["axes"], note.shape)
    if kind == OME:
        found["metadata"] |= _for_ome(metadata, identity)
    # a plain file without metadata restores its array without a note
    if kind != PLAIN or note.dtype != note.stored or not metadata.is_empty:
        found["extratags"] = [note_tag(note)]
    return found


def note_tag(note: Note) -> tuple[int, int, int, str, bool]:
    """Return a note as an item of the ``extratags`` of `tifffile.imwrite`."""
    return _NOTE_TAG, _ASCII, 0, json.dumps(dataclasses.asdict(note), sort_keys=True), True


def stack_letters(axes: str, kind: str) -> str | None:
    """Return the axes along which planes are stacked, with letters of T, Z and C for unknown ones.

    For example, ``"QQYX"`` gives ``"TZ"``.

    Parameters
    ----------
    axes : str
        All axes of the image.
    kind : str
        Kind of file: `IMAGEJ` or `OME`.

    Returns
    -------
    str or None
        None if the kind of file can't hold such a stack.  ImageJ has the order TZC only, OME any order.
    """
    stacked = axes[: axes.index("Y")]
    for letters in _orders(len(stacked), kind):
        if all(axis in (UNKNOWN, letter) for axis, letter in zip(stacked, letters, strict=True)):
            return letters
    return None


def _orders(length, kind) -> Iterator[str]:
    """Yield letters for a stack of `length` axes, the likeliest first."""
    if length == 1:
        yield "Z"
    yield from map("".join, itertools.combinations(STACKED, length))
    if kind == OME:
        yield from map("".join, itertools.permutations(STACKED, length))


def _resolution(metadata, kind):
    """Return pixels per unit along X and Y, and the unit, or None if resolution tags can't hold them."""
    sizes = [metadata.pixel_size.get(axis) for axis in "XY"]
    if None in sizes:
        return None
    unit, scale = _NO_UNIT, 1.0
    if kind != IMAGEJ and metadata.unit is not None:
        unit, scale = _CENTIMETRE, METRES[metadata.unit] / METRES["cm"]
    resolutions = tuple(1 / (size * scale) for size in sizes)
    low, high = _RESOLUTIONS
    return (resolutions, unit) if all(low < r < high for r in resolutions) else None


def _for_imagej(metadata, scaled, letters, shape):
    found: dict[str, Any] = {}
    if scaled and metadata.unit is not None:
        found["unit"] = _IMAGEJ_UNITS.get(metadata.unit, metadata.unit)
    if scaled and "Z" in metadata.pixel_size:
        found["spacing"] = metadata.pixel_size["Z"]
    if metadata.channels:  # a label for each plane, in the order TZC
        stacked = shape[: letters.index("Y")]
        before = math.prod(stacked[: letters.index("C")])
        found["Labels"] = list(metadata.channels) * before
    return found


def _for_ome(metadata, identity):
    found = {"UUID": f"urn:uuid:{uuid.UUID(identity)}", "Creator": "daskcache"}
    for axis, size in metadata.pixel_size.items():
        found[f"PhysicalSize{axis}"] = size
        found[f"PhysicalSize{axis}Unit"] = _OME_UNITS.get(metadata.unit, metadata.unit)
    if metadata.channels:
        found["Channel"] = {"Name": list(metadata.channels)}
    return found


# ---- reading metadata ---------------------------------------------------------------------------


def described_in(file: str | BinaryIO) -> Described:
    """Return metadata and shape of the image in a TIFF file, given by its path or open."""
    with tifffile.TiffFile(file) as tif:
        check_whole(tif, file if isinstance(file, str) else tif.filename)
        found, note = stated(tif), note_of(tif)
    if note is None:
        return found
    if _contradicts(found.metadata, note.metadata):  # another program changed the metadata
        return Described(dataclasses.replace(found.metadata, axes=note.metadata.axes), note.shape)
    return Described(note.metadata, note.shape)


def note_of(tif: Any) -> Note | None:
    """Return the note in a file, or None if it has none that fits its pixels."""
    tag, series = tif.pages.first.tags.get(_NOTE_TAG), tif.series[0]
    if tag is None:
        return None
    try:
        read = json.loads(tag.value)
        told = read["metadata"]
        sizes = {axis: float(size) for axis, size in told["pixel_size"].items()}
        metadata = ImageMetadata(str(told["axes"]), sizes, told["unit"], tuple(told["channels"]))
        note = Note(str(read["dtype"]), str(read["stored"]), metadata, tuple(map(int, read["shape"])))
    except (ValueError, TypeError, KeyError, AttributeError):  # the tag of another program
        return None
    # another program may have kept the tag but changed the pixels
    fits = (
        note.stored == series.dtype.name
        and math.prod(note.shape) == math.prod(series.shape)
        and len(metadata.axes) == len(note.shape)
        and (note.dtype == note.stored or note.dtype in _NARROWED)
        and metadata.unit in (None, *METRES)
        and all(0 < size < math.inf for size in sizes.values())
    )
    return note if fits else None


def _contradicts(stated, noted):
    """Return True if metadata in the places that other programs know differ from the note.

    Facts that are only in the note are not a contradiction.
    """
    if stated.channels and stated.channels != noted.channels:
        return True
    for axis, size in stated.pixel_size.items():
        ours = noted.pixel_size.get(axis)
        units = stated.unit, noted.unit
        if ours is None or (None in units and units != (None, None)):
            return True
        if None not in units:  # compare in metres: other programs may use another unit
            size, ours = size * METRES.get(stated.unit, math.nan), ours * METRES[noted.unit]
        if not math.isclose(size, ours, rel_tol=SAME):
            return True
    return False


def stated(tif: Any) -> Described:
    """Return the metadata in the places that other programs know, with the shape."""
    series = tif.series[0]
    axes = known_axes(series.axes)
    metadata = ImageMetadata(axes)
    if tif.is_ome:
        image = own_image(tif.ome_metadata, tif.filename)
        metadata = image.metadata(axes) if image is not None else metadata
    elif tif.is_imagej:
        metadata = _from_imagej(axes, tif)
    if not metadata.pixel_size and not tif.is_imagej:
        metadata = dataclasses.replace(metadata, **_from_tags(tif))
    return Described(metadata, tuple(series.shape))


def _from_tags(tif):
    """Return fields of `ImageMetadata` from resolution tags.

    The tags are per inch or centimetre, and sizes are converted to µm.  Without a unit, they stay
    unchanged.
    """
    tags = tif.pages.first.tags
    values = [tags.get(f"{axis}Resolution") for axis in "YX"]
    if None in values or not all(all(tag.value) for tag in values):
        return {}
    y, x = (tag.value[0] / tag.value[1] for tag in values)
    unit = tags.get("ResolutionUnit")
    unit = int(unit.value) if unit is not None else _INCH  # the default of TIFF 6.0
    if (y, x) == (1, 1) or (y == x and _is_of_screen(y, unit)):
        return {}  # no scale
    if unit == _NO_UNIT:
        return {"pixel_size": {"Y": short(1 / y), "X": short(1 / x)}}
    per_unit = METRES["inch" if unit == _INCH else "cm"] / METRES["µm"]
    return {"pixel_size": {"Y": short(per_unit / y), "X": short(per_unit / x)}, "unit": "µm"}


def _is_of_screen(resolution, unit):
    dpi = resolution * {_INCH: 1, _CENTIMETRE: 2.54}.get(unit, math.nan)
    return any(math.isclose(dpi, usual, rel_tol=1e-3) for usual in _SCREEN_DPI)


def _from_imagej(axes, tif):
    told = tif.imagej_metadata or {}
    unit = canonical_unit(str(told.get("unit", "")))
    sizes = {}
    # without a unit in the description, the resolution tags may have one
    if unit is None:
        sizes = _from_tags(tif)
        unit, sizes = sizes.get("unit"), sizes.get("pixel_size", {})
    else:
        tags = tif.pages.first.tags
        for axis in "YX":
            tag = tags.get(f"{axis}Resolution")
            if tag is not None and all(tag.value):
                sizes[axis] = short(tag.value[1] / tag.value[0])
    spacing = told.get("spacing")
    if "Z" in axes and sizes and spacing:
        size = known_size(abs(spacing) if isinstance(spacing, (int, float)) else spacing, tif.filename)
        sizes |= {"Z": size} if size else {}
    if sizes:
        check_unit(unit, tif.filename)
    return ImageMetadata(axes, sizes, unit if sizes else None, _imagej_channels(told, tif))


def _imagej_channels(told, tif):
    """Return the names of channels from the labels of planes.

    The result is empty unless the same labels repeat for each group of channels.
    """
    labels, series = told.get("Labels") or [], tif.series[0]
    count = channel_count(series.axes, series.shape)
    if not count or len(labels) % count:
        return ()
    names = tuple(map(str, labels[:count]))
    return known_names(names, tif.filename) if list(names) * (len(labels) // count) == labels else ()
