"""PNG files as targets: an array exactly, or a figure.

Which of the two a file holds, is written in the file: a text chunk marks boolean masks, and Matplotlib
has one of its own.  Other programs ignore them.  `figures` draws figures, and `images` has TIFF.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..errors import LazyModule
from ..hashing.encoder import hash_value
from ..storage.files import Part
from ..storage.verified_files import VerifiedFile
from .arrays import check_array, check_decoded
from .base import UNKNOWN, comes_back_as_it_is
from .figures import FigureTarget, is_figure
from .files import written

np = LazyModule("numpy", "image")
imagecodecs = LazyModule("imagecodecs", "image")

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Bytes of the signature and the first chunk, the header; other chunks may follow it.
_HEAD = 33
#: Text chunk of a boolean mask: keyword, zero and text.
_MASK = b"daskcache\0mask"
_TO_TIFF = "use a path that ends in .tif"


class PNGTarget(FigureTarget):
    """An image, exactly, or a Matplotlib figure in a PNG file.

    A function that returns an array gets an array back: grey or RGB(A), of uint8 or uint16, or a boolean
    mask.  Masks are stored as 0 and 255.  A function that returns a figure makes a node whose value is
    the path of the file, see `FigureTarget`.  A file that Matplotlib wrote is a figure, any other file
    is an array.

    Parameters
    ----------
    path : str
        Path template ending in ``.png``.
    dpi, bbox_inches
        For figures, see `FigureTarget`.

    Raises
    ------
    FormatLimit
        When saving an array that PNG would not give back unchanged: other dtypes, stacks, or two
        channels.  When saving anything but an array or a figure.  When reading an image larger than
        config ``daskcache.max-decoded``.

    Notes
    -----
    Arrays are encoded with `imagecodecs <https://github.com/cgohlke/imagecodecs>`_.  PNG has no pixel
    sizes or names of channels as TIFF files have, see `ImageTarget`.

    Examples
    --------
    >>> @dc.delayed(target="masks/{n}.png")
    ... def mask(n):
    ...     return np.eye(n, dtype=bool)
    >>> mask(2).compute()
    array([[ True, False],
           [False,  True]])
    """

    known_exts = (".png",)

    def write(self, value: Any, path: str) -> Part | None:
        if is_figure(value) or isinstance(value, Path):
            return super().write(value, path)
        return written(path, self._encode(value))

    def read(self, path: str) -> Any:
        with open(path, "rb") as file:
            return self._value_in(file.read(), path)

    def read_verified(self, path: str, verify: Callable[[str], None]) -> Any:
        with VerifiedFile(open(path, "rb"), verify) as file:
            return self._value_in(file.read(), path)

    def read_back(self, value: Any, path: str) -> Any:
        return value if comes_back_as_it_is(value) else UNKNOWN

    def hash(self, value: Any) -> str:
        is_file = is_figure(value) or isinstance(value, Path)
        return super().hash(value) if is_file else hash_value(value)

    def hash_part(self, part: Part) -> str:
        return self.hash_file(part.path)

    def form_of(self, value: Any) -> dict[str, Any] | None:
        return {"kind": "path"} if is_figure(value) else super().form_of(value)

    def _value_in(self, content, path):
        if any(text.startswith(b"Software\0Matplotlib") for text in _texts(content)):
            return super().read(path)
        return self._decode(content)

    def _encode(self, value):
        self._check_not_part(value)
        self._check_image(value)
        is_mask = value.dtype == bool
        pixels = np.ascontiguousarray(value).astype("u1") * 255 if is_mask else value
        try:
            content = imagecodecs.png_encode(np.ascontiguousarray(pixels))
            if is_mask:
                content = content[:_HEAD] + _chunk(b"tEXt", _MASK) + content[_HEAD:]
            same = hash_value(self._decode(content)) == hash_value(value)
        except (ValueError, RuntimeError) as error:
            raise self.limit(value, f"it can't be encoded ({error})", _TO_TIFF) from error
        if not same:
            raise self.limit(value, "it comes back as another image", _TO_TIFF)
        return content

    def _decode(self, content):
        image = pixels_of(content, self.path)
        is_mask = image.ndim == 2 and _MASK in _texts(content) and np.isin(image, (0, 255)).all()
        return image == 255 if is_mask else image

    def _check_image(self, value):
        check_array(self, value, "it")
        colours = value.shape[2:] in ((3,), (4,))
        if value.size == 0 or not (value.ndim == 2 or colours):
            raise self.limit(
                value,
                f"an array of shape {value.shape} is neither a grey nor an RGB(A) image",
                f"{_TO_TIFF}; an image with channels first needs np.moveaxis(image, 0, -1)",
            )
        kinds = ("u1", "u2") if colours else ("b1", "u1", "u2")
        if value.dtype.str[1:] not in kinds or not value.dtype.isnative:
            raise self.limit(
                value, f"PNG would not give back the dtype {value.dtype}", f"convert it, or {_TO_TIFF}"
            )


def pixels_of(content: bytes, path: str) -> Any:
    """Return the image in the content of a PNG file as an array of uint8 or uint16.

    Raises
    ------
    FormatLimit
        If it is larger than config ``daskcache.max-decoded``.
    ValueError, RuntimeError
        If it can't be decoded.
    """
    width, height, bits, samples = _header_of(content)
    check_decoded(width * height * samples * max(bits // 8, 1), path)
    return imagecodecs.png_decode(content)


def is_of_16_bit_colours(content: bytes) -> bool:
    """Return True for a PNG file with several samples of 16 bits, which Pillow reads as 8 bits."""
    if not content.startswith(_SIGNATURE):
        return False
    _, _, bits, samples = _header_of(content)
    return bits == 16 and samples > 1


def _texts(content: bytes) -> Iterator[bytes]:
    """Yield the content of the text chunks before the pixels: keyword, zero and text."""
    file = io.BytesIO(content)
    if file.read(8) != _SIGNATURE:
        return
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IDAT":
            return
        data = file.read(length)
        if kind == b"tEXt":
            yield data
        file.seek(4, io.SEEK_CUR)  # the checksum


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _header_of(content: bytes) -> tuple[int, int, int, int]:
    """Return width, height, bits of a sample, and samples of a pixel."""
    if len(content) < _HEAD or not content.startswith(_SIGNATURE):
        raise ValueError("the file is not a PNG file")
    width, height, bits, colour = struct.unpack(">IIBB", content[16:26])
    return width, height, bits, {0: 1, 2: 3, 3: 4, 4: 2, 6: 4}.get(colour, 4)
