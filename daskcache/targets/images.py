"""Images: TIFF as target, and what else imageio reads as source."""

from __future__ import annotations

import io

from ..errors import require
from .base import BytesTarget, Source

# What TIFF holds and gives back as it was; tests/targets/test_images.py proves it for each.
_DTYPES = "?", "u1", "u2", "u4", "i1", "i2", "i4", "f4", "f8"


class ImageTarget(BytesTarget):
    """An array of at least two dimensions in a TIFF file that any viewer opens.

    The axes are stored as they are; a ``(3, H, W)`` stack is a stack of three grey planes.  An array
    whose last axis has length 3 or 4, of dtype uint8 or uint16, is an RGB(A) image.

    Parameters
    ----------
    path : str
        Path template ending in ``.tif`` or ``.tiff``.
    compression : str or None
        ``"zlib"`` (default; lossless, stock ImageJ reads it), ``"zstd"``, or None.

    Notes
    -----
    Written with `tifffile <https://github.com/cgohlke/tifffile>`_: one strip set per plane, horizontal
    predictor for integers, shape kept in the description.  Equal arrays give equal bytes.
    """

    exact = True

    def __init__(self, path, compression="zlib"):
        super().__init__(path)
        self.compression = compression

    def counted_options(self):
        return {}

    def encode(self, value):
        np = require("numpy", "image")
        tifffile = require("tifffile", "image")
        if type(value) not in (np.ndarray, np.memmap):
            raise self.limit(
                value,
                f"it is a {type(value).__name__}, not an array",
                "return an array, or use a path that ends in .pkl",
            )
        if value.ndim < 2 or value.size == 0:
            raise self.limit(
                value, f"an array of shape {value.shape} is no image", "use a path that ends in .npy"
            )
        if value.dtype.newbyteorder("=").str[1:] not in _NAMES or value.dtype.byteorder == ">":
            raise self.limit(
                value,
                f"TIFF would not give back the dtype {value.dtype}",
                "convert it (uint16, int32, float32 …), or use a path that ends in .npy",
            )
        file = io.BytesIO()
        tifffile.imwrite(
            file,
            np.ascontiguousarray(value),
            photometric="rgb" if _is_rgb(value) else "minisblack",
            compression=self.compression,
            compressionargs={"level": 1} if self.compression == "zlib" else None,
            predictor=2 if self.compression and value.dtype.kind in "ui" else None,
            metadata={"axes": _axes(value)},
            software=False,
        )
        return [file.getbuffer()]

    def decode(self, data):
        return require("tifffile", "image").imread(io.BytesIO(data))


class ImageSource(Source):
    """An existing image file: TIFF, or anything else that imageio reads (PNG, JPEG …)."""

    format = ImageTarget

    def decode(self, data):
        if self.suffix.lower() in (".tif", ".tiff"):
            return super().decode(data)
        iio = require("imageio.v3", "image")
        return iio.imread(data, extension=self.suffix.lower())


_NAMES = {name if name != "?" else "b1" for name in _DTYPES}


def _is_rgb(array):
    return array.ndim > 2 and array.shape[-1] in (3, 4) and array.dtype.str[1:] in ("u1", "u2")


def _axes(array):
    planes = "S" if _is_rgb(array) else ""
    leading = array.ndim - 2 - len(planes)
    return "Q" * leading + "YX" + planes
