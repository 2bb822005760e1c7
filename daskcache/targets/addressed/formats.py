"""CPR's formats: addressed targets that write, read and hash images, tables and arrays as CPR does.

Each class is mixed into a plain format, see `base.twin_of`.  CPR's files and JSON hold its hashes of
data, 16 hex digits of xxh3_64, so these must not change.
"""

from __future__ import annotations

import io
import warnings
from typing import Any

import xxhash

from ...errors import DaskcacheWarning, require
from ..base import CODEC_ERRORS
from ..images import tiff
from ..images.metadata import UNKNOWN, ImageMetadata
from ..images.pixels import as_stored, stored_dtype
from .base import Addressed


class AddressedArray(Addressed):
    __doc__ = Addressed.__doc__

    def hash_data(self, data):
        np = require("numpy", "numpy")
        if type(data) not in (np.ndarray, np.memmap) or data.dtype.hasobject:
            found = type(data).__name__
            raise self.limit(
                data, f"it is a {found}, not an array of numbers", "give it np.asarray(...)"
            )
        return hash_array(data)


class AddressedTable(Addressed):
    __doc__ = Addressed.__doc__

    def encode_checked(self, value):
        return [value.to_csv().encode()]

    def decode(self, data):
        return require("pandas", "table").read_csv(io.BytesIO(data), index_col=0)

    def hash_data(self, data):
        if not isinstance(data, require("pandas", "table").DataFrame):
            raise self.limit(
                data, f"it is a {type(data).__name__}, not a DataFrame", "return a DataFrame"
            )
        # values and index count; CPR's hash covers neither dtypes nor column names
        rows = require("pandas", "table").util.hash_pandas_object(data)
        return xxhash.xxh3_64(rows.values.tobytes()).hexdigest()

    def _write_checked(self, data, path, hashed):
        super()._write_checked(data, path, hashed)
        back = self.read(path)
        if list(back.columns) != list(data.columns) or list(back.dtypes) != list(data.dtypes):
            warnings.warn(
                f"{self._path_with(hashed)} holds the values, but CSV gives back other dtypes or column "
                f"names: {_names(data)} would be {_names(back)}",
                DaskcacheWarning,
                stacklevel=2,
            )


class AddressedImage(AddressedArray):
    """An addressed target for an image in a TIFF file, as in CPR; see `Addressed`.

    Parameters
    ----------
    location, name, ext, data_hash
        As for `Addressed`.
    metadata : dict, optional
        Metadata as `tifffile.imwrite` takes it.
    resolution : sequence of float, optional
        Pixels per centimetre along X and Y.  Default: 1 if there is metadata, otherwise none.
    imagej : bool
        True to write a file as ImageJ does.  Such a file can't hold masks, or labels of some integer
        dtypes, so these are stored as smaller integers.  Pixels that still don't fit are stored as plain
        TIFF.  All come back as they were.
    """

    def __init__(
        self, location, name, ext=None, metadata=None, resolution=None, imagej=True, data_hash=None
    ):
        super().__init__(location, name, ext, data_hash)
        self.metadata = metadata
        self.resolution = resolution
        self.imagej = imagej

    def describe(self):
        return super().describe() | {
            "resolution": self.resolution,
            "metadata": self.metadata,
            "imagej": self.imagej,
        }

    def _write_checked(self, data, path, hashed):
        error = None
        for pixels, imagej, noted in self._ways(data):
            try:
                content = self._encoded(data, pixels, imagej, noted)
                if hash_array(self.decode(content)) != hashed:
                    continue
            except CODEC_ERRORS as reason:
                error = error or reason
                continue
            with open(path, "xb") as file:
                file.write(content)
            return
        raise self.limit(
            data,
            f"TIFF would not give back {data.dtype} of shape {data.shape} ({error or 'other values'})",
            "convert it, correct its metadata and resolution, or use a path that ends in .npy",
        ) from error

    def _ways(self, data):
        """Yield the ways to store an image, CPR's own first; the first that works is used.

        A way is a tuple: the pixels, True for ImageJ's kind of file, and True to add a note.  The note
        tells which dtype narrowed pixels had.
        """
        imagej = self.imagej and not tiff.needs_bigtiff(data.shape, data.dtype)
        yield data, imagej, False
        if imagej:
            yield _narrowed(data), True, True
            yield data, False, False
        yield _narrowed(data), False, True

    def _encoded(self, data, pixels, imagej, noted):
        options: dict[str, Any] = {"compression": "zlib", "imagej": imagej}
        options["bigtiff"] = tiff.needs_bigtiff(pixels.shape, pixels.dtype)
        if self.metadata is not None:
            options["metadata"] = dict(self.metadata)
        if self.metadata is not None or self.resolution is not None:
            options["resolution"] = (1.0, 1.0) if self.resolution is None else tuple(self.resolution)
            options["resolutionunit"] = "CENTIMETER"
        if noted:
            axes = UNKNOWN * (data.ndim - 2) + "YX"
            note = tiff.Note(data.dtype.name, pixels.dtype.name, ImageMetadata(axes), data.shape)
            options["extratags"] = [tiff.note_tag(note)]
        if not imagej:
            colours = (
                pixels.ndim > 2 and pixels.shape[-1] in (3, 4) and pixels.dtype.str[1:] in ("u1", "u2")
            )
            options["photometric"] = "rgb" if colours else "minisblack"
        file = io.BytesIO()
        require("tifffile", "image").imwrite(file, pixels, **options)
        return file.getvalue()


def _narrowed(array):
    return as_stored(array, stored_dtype(array, True))


def hash_array(array: Any) -> str:
    """Return the hash of dtype, shape and bytes of a NumPy array, whatever its layout in memory."""
    np = require("numpy", "numpy")
    state = xxhash.xxh3_64(f"{array.dtype},{array.shape},".encode("ascii"))
    state.update(np.ascontiguousarray(array).reshape(-1).view("u1").data if array.nbytes else b"")
    return state.hexdigest()


def _names(frame):
    return ", ".join(f"{name} {dtype}" for name, dtype in frame.dtypes.items())[:200]
