"""Images in TIFF files as targets.

`options` checks the options.  `pixels` prepares the pixels, `tiff` reads and writes the metadata.
`source` has images as inputs.
"""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Sequence
from typing import Literal

from ...aliases import names_of
from ...errors import FormatLimit, LazyModule, require
from ..arrays import check_array, check_decoded
from ..base import BytesTarget
from ..resource import DecodesInParts, Metadata
from . import ome_files, pixels, tiff
from .metadata import Described, TakesOver, fits, hash_with
from .options import (
    checked_axes,
    checked_channels,
    checked_like,
    checked_sizes,
    checked_tile,
    checked_unit,
    one_of,
)
from .tiff import IMAGEJ, IN_IMAGEJ, OME, PLAIN, Note
from .whole import check_whole

np = LazyModule("numpy", "image")
tifffile = LazyModule("tifffile", "image")

__getattr__ = names_of(__name__, "targets.images.source")

# Dtypes that come back from TIFF unchanged; tests/targets/test_registry.py proves it for each.
_DTYPES = {"b1", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", "c8", "c16"}
#: Bytes of pixels above which a file is made on disk, not in memory.
_LARGE = 2**24


class ImageTarget(TakesOver, DecodesInParts, BytesTarget, Metadata):
    """An array of at least two dimensions in a TIFF file that any viewer opens.

    An array of uint8 or uint16 whose last axis has length 3 or 4 is an RGB(A) image.  It is a stack
    instead if `axes` says so, or if an input of the same shape is a stack.  A ``(3, H, W)`` array is a
    stack of three grey planes.  Boolean masks are stored as 0 and 255.  64-bit integers are stored in
    the smallest of uint8 … int32 that holds their values, if one does.  Both come back unchanged.

    A result inherits axes, pixel sizes and channel names from the node's direct inputs, unless they are
    given here.  Inputs with such metadata are e.g. an `ImageSource`, or a node with an `ImageTarget`.
    An axis inherits from the input's axis of the same length, in a projection, too.  If several axes
    have this length and other sizes, it inherits nothing, with a warning.  Facts on which two inputs
    disagree are left out.  `like` names an input whose axes the result has.  If a function scales the
    image or exchanges axes but keeps the shape, give the metadata of its results here.  Metadata in a
    file count as part of its data.

    Parameters
    ----------
    path : str
        Path template ending in ``.tif``, ``.tiff``, ``.ome.tif`` or ``.ome.tiff``.
    compression : str or None
        ``"zlib"`` (default), ``"zstd"`` (stock ImageJ doesn't read it), or None for uncompressed pixels,
        which `open` maps into memory.  All are lossless.
    format : str, optional
        ``"ome"`` (OME-TIFF; default for ``.ome.tif``), ``"imagej"`` (hyperstack), or ``"plain"``.  By
        default, ImageJ's format for an image with metadata that it can hold, else plain TIFF.  Both open
        in any viewer, but in plain TIFF other programs find the pixel size along X and Y only.
    axes : str, optional
        A letter for each axis: any of T, Z, C, or Q for unknown, then YX, or YXS for colours.
    pixel_size : float, tuple or dict, optional
        Pixel size in `unit`: a number for Y and X, a tuple (Y, X) or (Z, Y, X), or a dict by axis.
        ``{}`` for unknown sizes.
    unit : str, optional
        Unit of `pixel_size`: ``"µm"`` (default), ``"nm"``, ``"mm"`` …
    channels : tuple of str, optional
        Names along the axis C.  ``()`` for unknown names.
    like : str, optional
        Name of the parameter whose image has the axes of the result, in the same order.
    tile : tuple of int, optional
        Rows and columns of tiles, multiples of 16.  Parts of large images are read faster from tiles.
        Stock ImageJ doesn't open tiled files.

    Raises
    ------
    GraphError
        If an option has a value that is not listed here.
    TargetCorrupt
        When reading a file with fewer planes than its metadata declare, such as a file cut short.
    FormatLimit
        When saving anything but an array of at least two dimensions, or a dtype that TIFF would change.
        When saving an array that does not fit `axes`, `pixel_size`, `channels` or `format`.  When
        reading an image larger than config ``daskcache.max-decoded``.

    Notes
    -----
    Files are written with `tifffile <https://github.com/cgohlke/tifffile>`_, on two threads from 8 MiB
    of pixels.  By default, pixels are deflated (compression 8) in strips, without a predictor, by `ISA-L
    <https://github.com/intel/isa-l>`_ where it is installed.  ImageJ before 1.53v (October 2022) ignores
    predictors, and shows other pixels.  ImageJ has no 64-bit floats.  Equal images give equal bytes.
    Images of 4 GiB and more, before compression, are written as BigTIFF.

    Examples
    --------
    >>> @dc.delayed(target=dc.ImageTarget("mask.tif", axes="YX", pixel_size=0.2, unit="µm"))
    ... def mask(image):
    ...     return image > 1
    >>> node = mask(np.arange(4).reshape(2, 2))
    >>> node.compute()
    array([[False, False],
           [ True,  True]])
    >>> node.dc.target.read_metadata().pixel_size
    {'X': 0.2, 'Y': 0.2}
    """

    exact = True
    _addressed = "daskcache.targets.addressed.formats:AddressedImage"
    address_fields = {"metadata": None, "resolution": None, "imagej": True, "data_hash": None}  # noqa: RUF012

    def __init__(
        self,
        path: str | os.PathLike[str],
        compression: Literal["zlib", "zstd"] | None = "zlib",
        *,
        format: Literal["ome", "imagej", "plain"] | None = None,
        axes: str | None = None,
        pixel_size: float | Sequence[float] | dict[str, float] | None = None,
        unit: str | None = None,
        channels: tuple[str, ...] | list[str] | None = None,
        tile: Sequence[int] | None = None,
        like: str | None = None,
    ):
        super().__init__(path)
        self.compression = one_of("compression", compression, ("zlib", "zstd", None))
        self.format = one_of("format", format, (OME, IMAGEJ, PLAIN, None))
        self.axes = checked_axes(axes)
        self.pixel_size = checked_sizes(pixel_size)
        self.unit = checked_unit(unit, self.pixel_size)
        self.channels = checked_channels(channels)
        self.tile = checked_tile(tile)
        self.like = checked_like(like)

    # -- values -------------------------------------------------------------------------------------

    def encode(self, value):
        file = io.BytesIO()
        self._write(value, file)
        return [file.getbuffer()]

    def is_large(self, value):
        return getattr(value, "nbytes", 0) > _LARGE

    def write(self, value, path):
        if not self.is_large(value):
            return super().write(value, path)
        with open(path, "xb") as file:
            self._write(value, file)
        return None

    def _write(self, value, file):
        self._check(value)
        metadata = self._metadata_of(value)
        kind, dtype = self._stored(value, metadata)
        note = Note(value.dtype.name, dtype.name, metadata, value.shape)
        in_colour = metadata.axes.endswith("S")
        pages = pixels.Pages(value, dtype, in_colour, kind == PLAIN)
        tifffile.imwrite(
            file,
            **self._pixels(pages),
            shape=value.shape,
            dtype=dtype,
            photometric="rgb" if in_colour else "minisblack",
            bigtiff=tiff.needs_bigtiff(value.shape, dtype),
            **tiff.arguments(kind, note, self.hash(value) if kind == OME else ""),
        )

    def _pixels(self, pages):
        """Return the arguments of `tifffile.imwrite` for the pixels and how they are compressed.

        tifffile takes tiles as arrays and encodes them.  Strips are encoded here, as it takes them in
        their encoded form, too.  Pixels of large images that have to be converted are so in pieces.
        """
        if self.compression is None:
            # tile by tile, uncompressed stacks would have other bytes: other pointers to equal sizes
            if self.tile or not self.is_large(pages.array) or pages.are_as_stored:
                return {"data": pages.as_stored(), "tile": self.tile}
            return {"data": pages.encoded(pages.rows_of(pixels.PIECE), np.ndarray.tobytes)}
        if self.tile:
            in_pieces = self.is_large(pages.array) and not pages.are_as_stored
            return {
                "data": pages.tiles(self.tile) if in_pieces else pages.as_stored(),
                "tile": self.tile,
                "maxworkers": pixels.THREADS,
                "buffersize": pixels.at_once(pages.nbytes),
                **pixels.by_tifffile(self.compression),
            }
        rows = pages.rows_of_strips()
        strips = pages.encoded(rows, pixels.encoder(self.compression))
        return {"data": strips, "rowsperstrip": rows, **pixels.by_tifffile(self.compression)}

    def _decode(self, file):
        if ome_files.is_spread(self.path, file):
            raise FormatLimit(
                f"{self.path} is one of several files that an OME-TIFF image is spread over",
                expected="an image in one file",
                hint="save the image as one file",
            )
        file.seek(0)
        with tifffile.TiffFile(file) as tif:
            check_whole(tif, self.path)
            check_decoded(tif.series[0].nbytes, self.path)
            return pixels.restored(tif, tiff.note_of(tif))

    def open(self, path):
        """Open the image in the file `path` lazily, with the dtype and shape that `read` returns.

        Parameters
        ----------
        path : str
            The file or folder.

        Returns
        -------
        numpy.memmap, zarr.Array or dask.array.Array
            A read-only memory map of an uncompressed image.  Else a read-only Zarr array (needs zarr),
            which decodes only the requested parts.  A Dask array if the file has another dtype, or a
            compressed file another shape.
        """
        with tifffile.TiffFile(path) as tif:
            check_whole(tif, path)
            note = tiff.note_of(tif)
            contiguous = tif.series[0].dataoffset is not None
        if contiguous:
            array = tifffile.memmap(path, mode="r")
        else:
            store = tifffile.imread(path, aszarr=True, level=0)
            array = require("zarr", "zarr").open_array(store, mode="r")
        return array if note is None else _as_noted(array, note)

    def hash(self, value):
        """Return the hash of the array, with the metadata of the file if it has any.

        Parameters
        ----------
        value : array_like
            The image.

        Returns
        -------
        str
            32 hex digits.
        """
        self._check(value)
        return hash_with(value, self._metadata_of(value))

    # -- metadata -----------------------------------------------------------------------------------

    def heritage(self, file):
        return tiff.described_in(file)

    def heritage_of(self, value):
        # the file of a subclass may have other metadata
        return Described(self._metadata_of(value), value.shape) if type(self) is ImageTarget else None

    def hash_read(self, value, path):
        return hash_with(value, self.read_metadata(path))

    def counted_options(self):
        told = {name: getattr(self, name) for name in ("axes", "pixel_size", "unit", "channels", "like")}
        return {name: option for name, option in told.items() if option is not None}

    def _gives_sizes(self):
        return self.pixel_size is not None

    def _metadata_of(self, value):
        if self.axes is not None and not fits(self.axes, value):
            raise self.limit(
                value,
                f"an array of {value.dtype}, shape {value.shape}, can't have the axes {self.axes!r}",
                "give a letter for each axis; S is for 3 or 4 samples of uint8 or uint16",
            )
        found = super()._metadata_of(value)
        if self.pixel_size is not None:
            found = dataclasses.replace(found, pixel_size=self.pixel_size, unit=self.unit)
        missing = [axis for axis in found.pixel_size if axis not in found.axes]
        if missing:
            raise self.limit(
                value,
                f"pixel_size names the axis {missing[0]}, and the image has the axes {found.axes!r}",
                "name its axes, e.g. axes='ZYX'",
            )
        self._check_channels(value, found, "CYX")
        return found

    # -- how it is stored ---------------------------------------------------------------------------

    def _check(self, value):
        check_array(self, value, "it")
        if value.ndim < 2 or value.size == 0:
            raise self.limit(
                value, f"an array of shape {value.shape} is not an image", "use a path that ends in .npy"
            )
        if value.dtype.str[1:] not in _DTYPES or value.dtype.byteorder == ">":
            raise self.limit(
                value,
                f"TIFF would not give back the dtype {value.dtype}",
                "convert it (uint16, int32, float32 …), or use a path that ends in .npy",
            )

    def _stored(self, value, metadata):
        """Return the kind of file and the dtype of the pixels to store in it."""
        asked = self.format or (OME if self.path.lower().endswith((".ome.tif", ".ome.tiff")) else None)
        # neither OME nor ImageJ has 64-bit integers, and ImageJ lacks some other dtypes
        narrow = value.dtype.itemsize == 8 or (asked == IMAGEJ and value.dtype.str[1:] not in IN_IMAGEJ)
        dtype = pixels.stored_dtype(value, narrow)
        if asked is None:
            plain = metadata.is_empty or tiff.obstacle(IMAGEJ, dtype, value.shape, metadata)
            return PLAIN if plain else IMAGEJ, dtype
        missing = tiff.obstacle(asked, dtype, value.shape, metadata)
        if missing:
            raise self.limit(
                value,
                f"the format {asked!r} has no {missing}",
                "use format='plain' and a path that ends in .tif, or one that ends in .npy",
            )
        return asked, dtype


def _as_noted(array, note):
    """Return a lazily read array with the dtype and shape of the array that was stored."""
    if note.dtype == note.stored:
        if array.shape == note.shape:
            return array
        if hasattr(array, "reshape"):  # a memory map
            return array.reshape(note.shape)
    import dask.array

    return dask.array.from_array(array).reshape(note.shape).astype(note.dtype)
