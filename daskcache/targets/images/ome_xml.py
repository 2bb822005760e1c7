"""OME-XML: what it says of an image, and in which files and pages it puts the planes.

An OME-TIFF file has it as the description of its first page.  It describes one image or several, each of
which may be spread over several files; or it only names the file that describes them.

Format: https://docs.openmicroscopy.org/ome-model/latest/ome-tiff/specification.html
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple
from xml.etree import ElementTree

from ...errors import FormatLimit, SourceMissing, UnsafePath
from .metadata import METRES, SPATIAL, ImageMetadata, canonical_unit


class Block(NamedTuple):
    """Consecutive planes of an image that are consecutive pages of a file."""

    #: Position of the first plane among those of the image.
    start: int
    file: str
    page: int
    #: Number of planes; None: all pages that the file has.
    planes: int | None


class Stack(NamedTuple):
    """Of which planes an image is a stack, and where they are."""

    axes: str
    shape: tuple[int, ...]
    blocks: tuple[Block, ...]


class OMEImage:
    """An image as OME-XML describes it.

    Parameters
    ----------
    pixels : xml.etree.ElementTree.Element
        The element ``Pixels`` of the image.
    own, described_in : str
        Names of the file that was asked for, and of the one with the OME-XML.
    uuid : str or None
        Of the file that was asked for.

    Attributes
    ----------
    files : tuple of str
        Names of the files with its planes; of the file itself, `own`.
    """

    def __init__(self, pixels, own: str, described_in: str, uuid: str | None):
        self.pixels = pixels
        self._blocks = pixels.findall("{*}TiffData")
        places = [_file_of(block, own, described_in, uuid) for block in self._blocks]
        self.files = tuple(places or [described_in])

    def metadata(self, axes: str) -> ImageMetadata:
        """Pixel sizes and channel names of the image, which has these axes."""
        given = {axis: self._size(axis) for axis in SPATIAL if axis in axes}
        sizes = {axis: size for axis, size in given.items() if size is not None}
        unit = next((unit for _, unit in sizes.values()), None)
        in_unit = {axis: converted(size, of, unit) for axis, (size, of) in sizes.items()}
        names = [channel.get("Name") for channel in self.pixels.findall("{*}Channel")]
        channels = tuple(names) if "C" in axes and all(names) else ()
        known = {axis: size for axis, size in in_unit.items() if size is not None}
        return ImageMetadata(axes, known, unit, channels)

    def _size(self, axis):
        """Size and unit along an axis, or None."""
        try:
            size = float(self.pixels.get(f"PhysicalSize{axis}", ""))
        except ValueError:
            return None
        unit = canonical_unit(self.pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        return (size, unit) if math.isfinite(size) and size > 0 else None

    def stack(self) -> Stack:
        """Where its planes are.

        Raises
        ------
        ValueError, KeyError
            If that isn't said.
        """
        axes = self.pixels.attrib["DimensionOrder"].removeprefix("XY")[::-1]
        samples = [int(c.get("SamplesPerPixel", 1)) for c in self.pixels.findall("{*}Channel")]
        lengths = {axis: int(self.pixels.attrib[f"Size{axis}"]) for axis in axes}
        lengths["C"] //= max(samples, default=1)
        blocks = [
            self._block(element, file, lengths)
            for element, file in zip(self._blocks, self.files, strict=True)
        ]
        shape = tuple(lengths.values())
        return Stack(axes, shape, tuple(blocks or [Block(0, self.files[0], 0, None)]))

    def _block(self, element, file, lengths):
        start = 0
        for axis, length in lengths.items():
            start = start * length + int(element.get(f"First{axis}", 0))
        count = element.get("PlaneCount", "1" if "IFD" in element.attrib else None)
        return Block(start, file, int(element.get("IFD", 0)), None if count is None else int(count))


def converted(size: float, of: str | None, unit: str | None) -> float | None:
    """A size in another unit; None if there is no way from one to the other."""
    if of == unit:
        return size
    if of in METRES and unit in METRES:
        return short(size * METRES[of] / METRES[unit])
    return None


def short(size: float) -> float:
    """A size without the digits that are not in a fraction of 32-bit numbers."""
    return float(f"{size:.9g}")


def spread_image(
    text: bytes, own: str, text_of: Callable[[str], bytes]
) -> tuple[OMEImage, tuple[str, ...]] | None:
    """The image of which a file has planes, and names of all files that make it up, sorted.

    Parameters
    ----------
    text : bytes
        The description in the file.
    own : str
        Name of the file.
    text_of : callable
        Gives the OME-XML that is in the file of a name.

    Returns
    -------
    tuple or None
        None if it is in this one file.

    Raises
    ------
    SourceMissing
        If the OME-XML is about other files, because this one was renamed.
    UnsafePath
        If it names a file in another folder.
    FormatLimit
        If the file that it names holds no OME-XML.
    """
    if b"FileName" not in text and b"BinaryOnly" not in text:
        return None
    root = _parsed(text)
    if root is None:
        return None
    uuid, described_in = root.get("UUID"), own
    elsewhere = root.find("{*}BinaryOnly")
    if elsewhere is not None:
        described_in = _checked_name(elsewhere.get("MetadataFile"), own)
        root = _parsed(text_of(described_in))
        if root is None:
            raise FormatLimit(
                f"{own} is described by {described_in}, which holds no OME-XML",
                expected="OME-XML, or an OME-TIFF file",
            )
    images = [OMEImage(pixels, own, described_in, uuid) for pixels in root.iterfind(_PIXELS)]
    chosen = next((image for image in images if own in image.files), None)
    if chosen is None:
        others = sorted({name for image in images for name in image.files})
        if described_in == own and len(others) < 2:
            return None  # it is alone, and was renamed
        raise _about_others(own, others)
    files = tuple(sorted({own, described_in, *chosen.files}))
    for name in files:
        _checked_name(name, own)
    return (chosen, files) if len(files) > 1 else None


def own_image(text: str | bytes, own: str) -> OMEImage | None:
    """The image of which a file with this OME-XML and name has planes; else the first one."""
    root = _parsed(text)
    if root is None:
        return None
    images = [OMEImage(pixels, own, own, root.get("UUID")) for pixels in root.iterfind(_PIXELS)]
    return next((image for image in images if own in image.files), images[0] if images else None)


_PIXELS = "{*}Image/{*}Pixels"


def _parsed(text):
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return None


def _file_of(block, own, described_in, uuid):
    """Name of the file that planes are in."""
    told = block.find("{*}UUID")
    if told is None:
        return described_in
    name = told.get("FileName")
    is_own = uuid is not None and (told.text or "").strip() == uuid.strip()
    return own if is_own or name is None or name.lower() == own.lower() else name


def _checked_name(name, own):
    if name is None or name in ("", ".", "..") or any(c in name for c in "/\\\0"):
        raise UnsafePath(
            f"the OME-XML of {own} names the file {name!r}, which is not beside it",
            expected="the name of a file in the same folder",
            hint="put the files of the image into one folder and correct their names in the OME-XML, or "
            "save the image as one file",
        )
    return name


def _about_others(own, others):
    return SourceMissing(
        f"the OME-XML of {own} is about other files",
        expected=", ".join(others[:5]) + (" …" if len(others) > 5 else ""),
        got=own,
        hint="give the file the name back that it has there, or save the image as one file",
    )
