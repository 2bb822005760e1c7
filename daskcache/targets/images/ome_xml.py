"""OME-XML: metadata of images, and the files and pages that hold their planes.

An OME-TIFF file has OME-XML as the description of its first page.  It describes one or more images, each
of which may be spread over several files.  Or it only names the file that describes them.  `tiff` reads
metadata through this module, `ome_files` the planes.

Format: https://docs.openmicroscopy.org/ome-model/latest/ome-tiff/specification.html
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple
from xml.etree import ElementTree

from ...errors import FormatLimit, SourceMissing, UnsafePath
from ..resource import is_file_name
from .metadata import SPATIAL, ImageMetadata
from .units import canonical_unit, check_unit, in_one_unit, known_names, known_size


class Block(NamedTuple):
    """Consecutive planes of an image that are consecutive pages of a file."""

    #: Position of the first plane in the image.
    start: int
    #: Name of the file, and number of the first page in it.
    file: str
    page: int
    #: Number of planes; None for all further pages of the file.
    planes: int | None


class Stack(NamedTuple):
    """The stack of planes that an image consists of, and the places of the planes."""

    #: Letters and lengths of the axes along which planes are stacked, the slowest first.
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
        Names of the requested file, and of the file with the OME-XML.
    uuid : str or None
        UUID of the requested file.
    known_as : str
        Name that the OME-XML has for the requested file.

    Attributes
    ----------
    files : tuple of str
        Names of the files with the image's planes, one for each block.  A block with the UUID of the
        requested file is in `own`.
    """

    def __init__(self, pixels, own: str, described_in: str, uuid: str | None, known_as: str):
        self.pixels = pixels
        self._own = own
        self._blocks = pixels.findall("{*}TiffData")
        places = [_file_of(block, own, described_in, uuid, known_as) for block in self._blocks]
        self.files = tuple(places or [described_in])

    def metadata(self, axes: str) -> ImageMetadata:
        """Return pixel sizes and channel names of the image, given its axes."""
        sizes, unit = in_one_unit({axis: self._size(axis) for axis in SPATIAL if axis in axes})
        check_unit(unit, self._own)
        names = [channel.get("Name") for channel in self.pixels.findall("{*}Channel")]
        channels = known_names(names, self._own) if "C" in axes else ()
        return ImageMetadata(axes, sizes, unit, channels)

    def _size(self, axis):
        """Return pixel size and unit along an axis, or None."""
        told = self.pixels.get(f"PhysicalSize{axis}")
        size = told and known_size(told, self._own)
        unit = canonical_unit(self.pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        return (size, unit) if size else None

    def sizes(self) -> dict[str, int]:
        """Return the lengths of the axes X, Y, Z, C and T, as far as they are known."""
        told = {axis: self.pixels.get(f"Size{axis}", "") for axis in "XYZCT"}
        return {axis: int(size) for axis, size in told.items() if size.isdecimal()}

    def stack(self) -> Stack:
        """Return the image's axes and the places of its planes.

        Raises
        ------
        ValueError, KeyError
            If the OME-XML lacks them.
        """
        # OME names the fastest axis first, arrays the slowest
        axes = self.pixels.attrib["DimensionOrder"].removeprefix("XY")[::-1]
        samples = [int(c.get("SamplesPerPixel", 1)) for c in self.pixels.findall("{*}Channel")]
        lengths = {axis: int(self.pixels.attrib[f"Size{axis}"]) for axis in axes}
        lengths["C"] //= max(samples, default=1)  # SizeC counts samples, of which a plane holds several
        blocks = [
            self._block(element, file, lengths)
            for element, file in zip(self._blocks, self.files, strict=True)
        ]
        shape = tuple(lengths.values())
        return Stack(axes, shape, tuple(blocks or [Block(0, self.files[0], 0, None)]))

    def _block(self, element, file, lengths):
        start = 0
        # the position that the indices along all axes give, the last axis being the fastest
        for axis, length in lengths.items():
            start = start * length + int(element.get(f"First{axis}", 0))
        count = element.get("PlaneCount", "1" if "IFD" in element.attrib else None)
        return Block(start, file, int(element.get("IFD", 0)), None if count is None else int(count))


def spread_image(
    text: bytes, own: str, text_of: Callable[[str], bytes]
) -> tuple[OMEImage, tuple[str, ...]] | None:
    """Return the image that has planes in a file, and the sorted names of all its files.

    Parameters
    ----------
    text : bytes
        The description in the file.
    own : str
        Name of the file.
    text_of : callable
        Takes a file's name, returns the OME-XML in it.

    Returns
    -------
    tuple or None
        None if the image is in this one file, or the text is not OME-XML.

    Raises
    ------
    SourceMissing
        If the OME-XML describes other files, because this one was renamed.
    UnsafePath
        If it names a file in another folder.
    FormatLimit
        If the file that it refers to holds no OME-XML.
    """
    # without these words the text names no other file, and planning need not parse it
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
    images = _images(root, own, described_in, uuid)
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
    """Return the image that has planes in the file `own` with this OME-XML, else the first image.

    Without OME-XML, or without an image in it, return None.
    """
    root = _parsed(text)
    if root is None:
        return None
    images = _images(root, own, own, root.get("UUID"))
    return next((image for image in images if own in image.files), images[0] if images else None)


def numbered_image(text: str | bytes, own: str, number: int) -> OMEImage | None:
    """Return the image with a number, from 0, in the OME-XML of the file `own`, or None."""
    root = _parsed(text)
    images = [] if root is None else _images(root, own, own, root.get("UUID"))
    return images[number] if number < len(images) else None


_PIXELS = "{*}Image/{*}Pixels"


def _parsed(text):
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return None


def _images(root, own, described_in, uuid):
    told = {each.get("FileName", "") for each in root.iterfind(f"{_PIXELS}/{{*}}TiffData/{{*}}UUID")}
    # some file systems ignore case; on others, a name that differs in case is another file's
    alike = [name for name in told if name.lower() == own.lower()]
    known_as = alike[0] if len(alike) == 1 else own
    return [OMEImage(each, own, described_in, uuid, known_as) for each in root.iterfind(_PIXELS)]


def _file_of(block, own, described_in, uuid, known_as):
    """Return the name of the file that holds a block of planes.

    The requested file is recognised by its UUID or name, so it may have been renamed.
    """
    told = block.find("{*}UUID")
    if told is None:
        return described_in
    name = told.get("FileName")
    is_own = uuid is not None and (told.text or "").strip() == uuid.strip()
    return own if is_own or name in (None, known_as) else name


def _checked_name(name, own):
    if name is None or not is_file_name(name):
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
