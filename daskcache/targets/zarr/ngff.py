"""NGFF, the metadata of OME-Zarr images: axes, pixel sizes, units and channels.

An image is a group of arrays, each smaller than the one before.  The group's attributes describe them:
under ``ome`` since version 0.5, at the top level before that.  `ome` writes this metadata, `target`
reads it, also for plain Zarr sources, and `daskcache.targets.images.metadata` represents it.

Format: https://ngff.openmicroscopy.org/0.5/ and its earlier versions.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ...storage.roots import parsed
from ...storage.source_hashes import source_error
from ..images.metadata import SPATIAL, UNKNOWN, ImageMetadata
from ..images.units import check_unit, in_one_unit, known_names, known_size

#: Axes in the order that the format prescribes.
AXES = "tczyx"
_TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
#: Name of an unknown axis.  The format allows one, in the place of the channel axis.
_NO_NAME = UNKNOWN.lower()
_UNITS = {
    "pm": "picometer",
    "Å": "angstrom",
    "nm": "nanometer",
    "µm": "micrometer",
    "mm": "millimeter",
    "cm": "centimeter",
    "m": "meter",
    "inch": "inch",
}
_OUR_UNITS = {name: unit for unit, name in _UNITS.items()}
#: Colours of channels, in turn.
_COLOURS = "FF0000", "00FF00", "0000FF", "FF00FF", "00FFFF", "FFFF00"


# ---- writing ------------------------------------------------------------------------------------


def why_not(axes: str) -> str | None:
    """Return the reason why the format can't hold an array with these axes, or None.

    The letters are t, c, z, y and x, s for the samples of a colour, and q for an unknown axis.
    """
    unknown = axes.count(_NO_NAME)
    if "s" in axes:
        return "the last one is of colours, and OME-Zarr has none"
    if unknown > 1:
        return f"{unknown} of them are unknown, and OME-Zarr has at most one such axis"
    # an unknown axis takes the place of the channels
    order = sorted(axes, key=AXES.replace("c", "cq").find)
    if list(axes) != order or {"c", _NO_NAME} <= set(axes):
        return f"OME-Zarr has the order {', '.join(AXES)}, or an unknown axis in place of c"
    return None


def described_axes(axes: str, units: dict[str, str]) -> list[dict[str, str]]:
    """Return the format's description of each axis, with its type and unit where they are known."""
    told = [{"name": name, "type": _TYPES.get(name), "unit": units.get(name)} for name in axes]
    return [{key: known for key, known in axis.items() if known is not None} for axis in told]


def sizes_and_units(metadata: ImageMetadata) -> tuple[dict[str, float], dict[str, str]]:
    """Return the pixel sizes and their units, each as a dict by axis name."""
    sizes = {axis.lower(): size for axis, size in metadata.pixel_size.items()}
    unit = _UNITS.get(metadata.unit or "")
    return sizes, dict.fromkeys(sizes, unit) if unit else {}


def described_channels(names: Sequence[str]) -> dict[str, Any]:
    """Return the ``omero`` metadata: channel names, and the colours that the format asks for."""
    colours = itertools.cycle(["FFFFFF"] if len(names) == 1 else _COLOURS)
    channels = zip(names, colours, strict=False)
    return {"channels": [{"label": name, "color": colour, "active": True} for name, colour in channels]}


def with_windows(told: dict[str, Any], ranges: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Return an image's metadata with a display window for each channel, as the format asks for.

    Parameters
    ----------
    told : dict
        The attribute ``ome`` of the image's group.
    ranges : sequence of (float, float)
        Lowest and highest value to show, for each channel.
    """
    channels = [
        {**channel, "window": {"min": low, "max": high, "start": low, "end": high}}
        for channel, (low, high) in zip(told["omero"]["channels"], ranges, strict=True)
    ]
    return {**told, "omero": {**told["omero"], "channels": channels}}


def without_windows(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return an image's attributes without the channels' display windows.

    The windows follow from the values, and viewers may change them.
    """
    try:
        channels = attributes["ome"]["omero"]["channels"]
        kept = [{key: told for key, told in channel.items() if key != "window"} for channel in channels]
    except (KeyError, TypeError, AttributeError):
        return attributes
    omero = {**attributes["ome"]["omero"], "channels": kept}
    return {**attributes, "ome": {**attributes["ome"], "omero": omero}}


# ---- reading ------------------------------------------------------------------------------------


def metadata_of(
    attributes: dict[str, Any], name: str, path: str | None = None
) -> tuple[str, ImageMetadata] | None:
    """Return the metadata of an array from the attributes of its group.

    Parameters
    ----------
    attributes : dict
        Of any version of the format.
    name : str
        Name of the group for warnings.
    path : str, optional
        Path of the array within the group.  Default: the array of the image in full size.

    Returns
    -------
    tuple or None
        Path of the array, and its metadata.  None if the attributes don't describe the array, or are
        not understood.
    """
    try:
        told = attributes.get("ome", attributes)
        for image in told["multiscales"]:
            for level in image["datasets"]:
                if path in (None, level["path"]):
                    return str(level["path"]), _metadata(told, image, level, name)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return None
    return None


def of_level(folder: str) -> ImageMetadata | None:
    """Return the metadata of an array from the groups above its folder; None if it isn't in an image.

    The array ``a.zarr/b/0`` is looked up as ``0`` in the group ``a.zarr/b``, then as ``b/0`` in the
    group ``a.zarr``.

    Raises
    ------
    StorageError
        If a group can't be read.
    """
    path, group = os.path.basename(folder), os.path.dirname(folder)
    while path and (attributes := _attributes_at(group)) is not None:
        found = metadata_of(attributes, group, path)
        if found is not None:
            return found[1]
        path = f"{os.path.basename(group)}/{path}" if os.path.basename(group) else ""
        group = os.path.dirname(group)
    return None


def of_names(names: Iterable[str | None]) -> ImageMetadata:
    """Return the metadata that follows from the names of an array's dimensions: only the axes."""
    return ImageMetadata("".join(_letters(names)))


def _attributes_at(folder):
    """Return the attributes of the Zarr group in a folder; None without a group that is understood."""

    def read(name):
        path = f"{folder}/{name}"
        return parsed(Path(path).read_bytes()) if os.path.exists(path) else None

    try:
        about = read("zarr.json")
        if about is not None:
            return about.get("attributes", {}) if about.get("node_type") == "group" else None
        return (read(".zattrs") or {}) if read(".zgroup") is not None else None
    except OSError as error:
        raise source_error(error, error.filename or folder) from error
    except (ValueError, AttributeError):
        return None


def _metadata(told, image, level, name):
    axes = image.get("axes") or list(AXES)  # versions 0.1 and 0.2 have images of these axes only
    described = [axis if isinstance(axis, dict) else {"name": axis} for axis in axes]
    letters = _letters(axis.get("name") for axis in described)
    scale = [1.0] * len(letters)
    # the scale of this array comes first, then that of the whole image: they multiply
    key = "coordinateTransformations"
    for step in [*level.get(key, []), *image.get(key, [])]:
        if step["type"] == "scale":
            scale = [one * float(other) for one, other in zip(scale, step["scale"], strict=True)]
    sizes: dict[str, Any] = dict.fromkeys(SPATIAL)
    for letter, axis, size in zip(letters, described, scale, strict=True):
        unit = _OUR_UNITS.get(axis.get("unit"), axis.get("unit"))
        # a scale of 1 without a unit is what the format holds for an unknown size
        if letter in SPATIAL and (unit or size != 1) and known_size(size, name):
            sizes[letter] = size, unit
    lengths, unit = in_one_unit(sizes)
    check_unit(unit, name)
    labels = [channel.get("label") for channel in told.get("omero", {}).get("channels", [])]
    channels = known_names(labels, name) if "C" in letters else ()
    return ImageMetadata("".join(letters), lengths, unit, channels)


_WORDS = {"time": "T", "channel": "C"}


def _letters(names):
    """Return the axes' letters, as in `ImageMetadata`; one that occurs twice becomes unknown."""
    found = [str(name).lower() for name in names]
    found = [name.upper() if name in _TYPES else _WORDS.get(name, UNKNOWN) for name in found]
    return [UNKNOWN if found.count(letter) > 1 else letter for letter in found]
