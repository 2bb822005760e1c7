"""Images as inputs: TIFF, and all other formats that imageio reads.

`ome_files` reads images that are spread over several files, and `tiff` the metadata.  `target` has
images as results.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

from ...errors import FormatLimit, GraphError, SourceUnreadable, require
from ...storage.source_hashes import source_error
from ..arrays import check_decoded
from ..png import is_of_16_bit_colours, pixels_of
from ..resource import DecodesInParts, Metadata
from ..source import Source
from ..unreadable import reading
from . import ome_files, tiff
from .metadata import ImageMetadata
from .series import describe_series, read_series
from .target import ImageTarget


class ImageSource(DecodesInParts, Source, Metadata):
    """An existing image file: TIFF, or any other format that imageio reads (PNG, JPEG …).

    A decorated function receives the image as an array.

    An OME-TIFF image that is spread over several files is one source.  Any of the files can name it, and
    all of them are read and count.  They must be in one folder, under the names in their OME-XML.

    Parameters
    ----------
    path : str or os.PathLike
        The file.  A relative path is taken from the current folder.
    metadata : dict, optional
        Metadata for `get_metadata` to return.  They are not read from the file; `read_metadata` reads
        the file's metadata.
    resolution : sequence of float, optional
        Pixels per centimetre along X and Y.
    series : int, optional
        Number, from 0, of the image in a TIFF file with several, such as the positions or scenes of a
        microscope.  Default: the first.
    level : int, optional
        Level of a pyramid in a TIFF file.  Level 0, the default, is the full size.  Pixel sizes are
        those of the level.

    Raises
    ------
    GraphError
        If the metadata are not a dict, `series` or `level` are not numbers from 0, or the file is not
        TIFF by its name.
    SourceMissing
        When the source is used and one of the image's files does not exist.
    UnsafePath
        When the source is used and the image is spread over several folders.
    FormatLimit
        When the image is read and exceeds config ``daskcache.max-decoded``, or `series` or `level` are
        given for an image that is spread over several files.
    SourceUnreadable
        When the image is read and can't be decoded, has no such series or level, or lacks planes that
        its metadata declare, for example because the file was cut short.

    Examples
    --------
    >>> dc.ImageTarget("cells.tif").write(np.eye(2, dtype="uint8"), "cells.tif")
    >>> dc.ImageSource("cells.tif").get_data()
    array([[1, 0],
           [0, 1]], dtype=uint8)
    """

    format = ImageTarget
    address_fields = {"metadata": None, "resolution": None}  # noqa: RUF012

    def __init__(
        self,
        path: str | os.PathLike[str],
        metadata: dict[str, Any] | None = None,
        resolution: Sequence[float] | None = None,
        series: int | None = None,
        level: int | None = None,
    ):
        super().__init__(path)
        if not (metadata is None or isinstance(metadata, dict)):
            raise GraphError(
                "an ImageSource takes a path, and metadata as a dict",
                expected="metadata={...}, or none",
                got=repr(metadata)[:100],
                hint="daskcache.cpr.ImageSource takes CPR's location, name and ext",
            )
        self.metadata = metadata
        self.resolution = resolution
        self.series = self._checked_number("series", series)
        self.level = self._checked_number("level", level)

    def _checked_number(self, name, number):
        if number is None or (type(number) is int and number >= 0 and ome_files.is_tiff(self.path)):
            return number
        raise GraphError(
            f"{name}= chooses an image in a TIFF file",
            expected="a number from 0, and a path with the suffix of a TIFF file",
            got=f"{name}={number!r} for {self.filename}",
        )

    @property
    def _is_part(self):
        """True if not the first series at full size is wanted."""
        return bool(self.series or self.level)

    def __daskcache_options__(self):
        names = "metadata", "resolution", "series", "level"
        given = {name: getattr(self, name) for name in names}
        return {name: value for name, value in given.items() if value is not None}

    def content_hash(self):
        return ome_files.content_hash(self.path)

    def verify(self, expected):
        self._compare(ome_files.fresh_hash(self.path), expected)

    def _read(self, verify):
        if not ome_files.is_tiff(self.path):
            return super()._read(verify)
        self._check_one_file()
        return ome_files.read(self.path, self.decode_file, verify)

    def _check_one_file(self):
        if self._is_part and ome_files.files_at(self.path) is not None:
            raise FormatLimit(
                f"the image of {self.path} is spread over several files, whose series can't be chosen",
                hint="save it as one file, or take a FileSource and read it with tifffile",
            )

    def _decode(self, file):
        if self._is_part:
            return read_series(file, self.path, self.series or 0, self.level or 0)
        if ome_files.is_tiff(self.path):
            return self.format(self.path).decode_file(file)
        iio = require("imageio.v3", "image")
        suffix = self.suffix.lower()
        data = file.read()
        if is_of_16_bit_colours(data):
            return pixels_of(data, self.path)
        content = {"uri": data, "extension": suffix, "plugin": _reader_of(suffix)}
        found = iio.improps(**content)
        check_decoded(math.prod(found.shape) * found.dtype.itemsize, self.path)
        return iio.imread(**content)

    def read_metadata(self) -> ImageMetadata:
        """Read axes, pixel sizes and channel names of a TIFF file.

        They come from OME-XML, ImageJ's description or resolution tags.  No pixels are decoded.
        Resolution tags are per inch or centimetre; their sizes are converted to µm.

        Returns
        -------
        ImageMetadata
            The file's metadata; empty fields are unknown.

        Raises
        ------
        FormatLimit
            If the file is not a TIFF file by its name.
        SourceUnreadable
            If it can't be decoded.
        SourceMissing, StorageError
            If the file can't be read.
        """
        if not ome_files.is_tiff(self.path):
            raise FormatLimit(
                f"only the metadata of TIFF files can be read, not that of {self.path}",
                hint="read it with imageio.v3.immeta(path)",
            )
        return self._described().metadata

    def heritage(self):
        try:
            return self._described() if ome_files.is_tiff(self.path) else None
        except SourceUnreadable:
            return None  # not an error here: the function reads the file, perhaps in another way

    def _described(self):
        self._check_one_file()
        files = ome_files.files_at(self.path)
        try:
            with reading(self):
                if self._is_part:
                    return describe_series(self.path, self.series or 0, self.level or 0)
                return tiff.described_in(self.path) if files is None else files.describe()
        except OSError as error:
            raise source_error(error, self.path) from error


def _reader_of(suffix):
    """Return imageio's first reader of a format, or None for the first one that is installed.

    If imageio may choose, it tries all its other readers on a broken file.  Then the value could depend
    on the packages that are installed, and OpenCV's reader prints its errors.
    """
    formats = require("imageio.config", "image").known_extensions.get(suffix, ())
    return "pillow" if any(each.priority[0] == "pillow" for each in formats) else None
