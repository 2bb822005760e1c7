"""OME-TIFF images that are spread over several files in one folder.

All files are one input (`daskcache.ImageSource`).  Their joint content identifies it, and each plane
comes from verified bytes.  tifffile can't be used for that: it reads such an image only from files that
it opens itself, and puts zeros in place of a missing file.  `ome_xml` finds the files' names.
"""

from __future__ import annotations

import itertools
import math
import os
import struct
from collections.abc import Callable
from functools import partial
from typing import Any, BinaryIO, NamedTuple

from ...errors import DaskcacheError, LazyModule, SourceChanged, SourceMissing, SourceUnreadable
from ...hashing.encoder import hash_value
from ...storage import source_hashes
from ...storage.verified_files import CHANGED, VerifiedFile
from ..arrays import check_decoded
from ..unreadable import TIFF_SUFFIXES
from .metadata import Described, described
from .ome_xml import OMEImage, spread_image
from .whole import check_pixels

np = LazyModule("numpy", "image")
tifffile = LazyModule("tifffile", "image")

#: Fact to note on the content of a file that holds its whole image.
_ALONE = "image in one file"
#: Hashes of contents that are known to hold their whole image; planning looks them up fast.
_alone: set[str] = set()


def is_tiff(path: str) -> bool:
    """Return True if a file is TIFF by its name.  Other files hold their whole image."""
    return path.lower().endswith(TIFF_SUFFIXES)


def content_hash(path: str) -> str:
    """Return the hash of an image file's content, or the joint hash of all files of its image.

    Only files that were touched are read again.  A file with its whole image is recognised once, and the
    fact is noted with the hash of its content.

    Raises
    ------
    SourceMissing, StorageError
        If a file is missing, or can't be read.
    SourceChanged
        If the file changes while it is read.
    UnsafePath, FormatLimit
        See `daskcache.targets.images.ome_xml.spread_image`.
    """
    own = source_hashes.content_hash(path)
    if own in _alone or not is_tiff(path):
        return own
    if not source_hashes.is_noted(_ALONE, own):
        files = files_at(path)
        if files is not None:
            return files.content_hash(lambda name: source_hashes.content_hash(_beside(path, name)))
        # the note must be about the content that was looked at
        if source_hashes.content_hash(path) != own:
            raise SourceChanged(f"the source {path} changes while it is read", hint="try again")
        source_hashes.note(_ALONE, own)
    _alone.add(own)
    return own


def fresh_hash(path: str) -> str:
    """Return `content_hash` after reading all files again, whatever is remembered."""
    files = files_at(path)
    if files is None:
        return source_hashes.fresh_hash(path)
    return files.content_hash(lambda name: source_hashes.fresh_hash(_beside(path, name)))


def read(path: str, decode: Callable[[BinaryIO], Any], verify: Callable[[str], None]) -> Any:
    """Return the image in a file, or the one that is spread over this file and others.

    No byte is used that does not count in the hash.

    Parameters
    ----------
    path : str
        The file.
    decode : callable
        Takes the open file, and returns the image if the file holds the whole of it.
    verify : callable
        Takes the hash that `content_hash` returns, and raises if it is not the expected one; see
        `VerifiedFile`.
    """
    hashes: dict[str, str] = {}

    def check(name, found):
        if hashes.setdefault(name, found) != found:
            verify(CHANGED)

    def opened(name):
        return VerifiedFile(source_hashes.opened(_beside(path, name)), partial(check, name))

    def hash_of(name):
        if name not in hashes:
            with opened(name) as file:
                file.seek(0)
        return hashes[name]

    name = os.path.basename(path)
    with opened(name) as file:
        files = _files_of(path, file, opened)
        if files is None:
            verify(hash_of(name))
            file.seek(0)
            return decode(file)
    verify(files.content_hash(hash_of))
    return files.array(opened)


def files_at(path: str) -> ImageFiles | None:
    """Return the files that the image in a TIFF file is spread over, or None if it is in one file.

    Raises
    ------
    SourceMissing, StorageError, UnsafePath, FormatLimit
        As `content_hash` does.
    """
    with source_hashes.opened(path) as file:
        return _files_of(path, file, lambda name: source_hashes.opened(_beside(path, name)))


def is_spread(path: str, file: BinaryIO) -> bool:
    """Return True if an open TIFF file holds only a part of its image."""
    try:
        return _files_of(path, file, _refuse) is not None
    except DaskcacheError:  # it names other files, which is enough
        return True


def _refuse(name):
    raise SourceMissing(f"{name} is another file")


def _files_of(path, file, open_beside):
    """Return the files of an image, or None if it is in one file.

    Parameters
    ----------
    path : str
        The file that was asked for.
    file : binary file
        The same file, open.
    open_beside : callable
        Opens another file in its folder by name.
    """

    def text_of(name):
        try:
            with open_beside(name) as other:
                return _ome_text(other)
        except SourceMissing as error:
            raise _missing(path, name, "is described by another file") from error

    if not is_tiff(path) or _is_whole_stack(file):
        return None
    found = spread_image(_ome_text(file), os.path.basename(path), text_of)
    return found and ImageFiles(path, *found)


def _beside(path, name):
    return os.path.join(os.path.dirname(path), name)


def _missing(path, name, how):
    return SourceMissing(
        f"the image in {path} {how}, and {name} is missing",
        expected=f"{name} beside it, as its OME-XML says",
        got="nothing",
        hint="put it back under this name, or save the image as one file",
    )


# ---- the files of an image ----------------------------------------------------------------------


class ImageFiles(NamedTuple):
    """The files that an image is spread over."""

    #: Path of the requested file.
    path: str
    image: OMEImage
    #: Names of all files, sorted.
    names: tuple[str, ...]

    def content_hash(self, hash_of: Callable[[str], str]) -> str:
        """Return the joint hash of the files' names and content.

        Parameters
        ----------
        hash_of : callable
            Takes a file's name, returns the hash of its content.

        Raises
        ------
        SourceMissing
            If a file is missing.
        """
        hashes = []
        for name in self.names:
            try:
                hashes.append((name, hash_of(name)))
            except SourceMissing as error:
                how = f"is spread over {len(self.names)} files"
                raise _missing(self.path, name, how) from error
        return hash_value(("image files", hashes))

    def describe(self) -> Described:
        """Return the image's metadata and shape, without reading pixels."""
        with tifffile.TiffFile(self.path) as tif:
            axes, shape = _squeezed(self.image.stack(), tif.pages.first)
        return described(self.image.metadata(axes), shape)

    def array(self, opened: Callable[[str], BinaryIO]) -> Any:
        """Return the image as an array, without axes of length 1 besides Y and X.

        Parameters
        ----------
        opened : callable
            Opens a file by its name.

        Raises
        ------
        SourceUnreadable
            If the files don't hold the planes that the OME-XML names.
        FormatLimit
            If the image exceeds config ``daskcache.max-decoded``.
        """
        try:
            return _assembled(self.path, self.image.stack(), opened)
        except (ValueError, LookupError, tifffile.TiffFileError) as error:
            raise SourceUnreadable(
                f"{self.path} can't be read with the files that its OME-XML names: {error}",
                expected=f"all planes in {', '.join(self.names)}",
                hint="is a file cut short, or part of another image? To read what is there, take a "
                "FileSource and tifffile",
            ) from error


def _assembled(path, stack, opened):
    """Assemble the planes of a stack to one array, file by file."""
    total = math.prod(stack.shape)
    planes, shape = None, ()
    filled: dict[int, int] = {}
    by_file = sorted(enumerate(stack.blocks), key=_file_of)
    for name, blocks in itertools.groupby(by_file, _file_of):
        with opened(name) as file, tifffile.TiffFile(file) as tif:
            for number, position, page in _places(blocks, tif.pages, total):
                if planes is None:
                    check_decoded(total * page.nbytes, path)
                    planes = np.empty((total, *page.shape), page.dtype)
                    shape = _squeezed(stack, page)[1]
                check_pixels(tif.filehandle.size, [page], path)
                _check_alike(page, planes)
                if filled.get(position, -1) < number:  # of two places for a plane, the later counts
                    planes[position] = page.asarray()
                    filled[position] = number
    if len(filled) < total:  # tifffile would put zeros there, which look like data
        raise ValueError(f"it says where {len(filled)} planes are, of {total}")
    return planes.reshape(shape)


def _file_of(numbered):
    return numbered[1].file


def _places(blocks, pages, total):
    """Yield the number of the block, the position and the page of each plane in one file."""
    there = len(pages)
    for number, (start, name, first, count) in blocks:
        # a block without a count takes the rest of its file; none goes beyond the image
        count = min(there - first if count is None else count, total - start)
        if first + count > there:
            raise ValueError(f"{name} has {there} pages, and {first + count} are wanted")
        for i in range(count):
            yield number, start + i, pages[first + i]


def _check_alike(page, planes):
    if (page.shape, page.dtype) != (planes.shape[1:], planes.dtype):
        one, other = f"{planes.dtype}, shape {planes.shape[1:]}", f"{page.dtype}, shape {page.shape}"
        raise ValueError(f"there are planes of {one}, and of {other}")


def _squeezed(stack, page):
    """Return axes and shape of a stack of such pages, without axes of length 1 besides Y and X."""
    both = zip(stack.axes + page.axes, stack.shape + page.shape, strict=True)
    axes, shape = zip(*[(a, n) for a, n in both if n > 1 or a in "YX"], strict=True)
    return "".join(axes), shape


# ---- descriptions and indexes in files ----------------------------------------------------------

_ORDERS = {b"II": "<", b"MM": ">"}
_DESCRIPTION = 270
#: Layout by version of TIFF (42 is classic, 43 is BigTIFF).  The first item is the position of the first
#: page's offset.  The others are `struct` formats: of an offset, of the number of tags in a page, and of
#: a tag (number, type, count) without its value.
_LAYOUTS = {42: (4, "I", "H", "HHI"), 43: (8, "Q", "Q", "HHQ")}
#: Most tags, and most bytes of a description, that are read from a file that may be damaged.
_MOST_TAGS, _LONGEST = 2**12, 2**30
#: Number at byte 8 of a Micro-Manager file, which marks its index.
_INDEX = 54773648


def _ome_text(file: BinaryIO) -> bytes:
    """Read a text that may be OME-XML.

    It is the description of a TIFF file's first page, or the whole content of a text file.  tifffile
    reads descriptions, too, but then planning would import it and take far longer.
    """
    file.seek(0)
    header = file.read(16)
    file.seek(0)
    if header[:2] not in _ORDERS:
        return file.read() if b"<" in header else b""
    try:
        return _description(file, header).rstrip(b"\0 \n")
    except (struct.error, KeyError, ValueError, OverflowError):  # reading the image reports the damage
        return b""


def _description(file, header):
    order = _ORDERS[header[:2]]
    at, offset, number, start = _LAYOUTS[struct.unpack_from(f"{order}H", header, 2)[0]]
    file.seek(*struct.unpack_from(order + offset, header, at))
    (count,) = struct.unpack(order + number, file.read(struct.calcsize(number)))
    width = struct.calcsize(offset)
    tags = struct.Struct(f"{order}{start}{width}s")
    for code, _, length, value in tags.iter_unpack(file.read(tags.size * min(count, _MOST_TAGS))):
        if code == _DESCRIPTION:
            if length <= width:  # TIFF keeps a short value in the tag itself, not at an offset
                return value[:length]
            file.seek(*struct.unpack(order + offset, value))
            return file.read(min(length, _LONGEST))
    return b""


def _is_whole_stack(file):
    """Return True if the index of a Micro-Manager file lists all planes of its positions.

    OME-XML can't be used for that: it describes all positions, or names the file of another position.
    """
    file.seek(0)
    header = file.read(12)
    if header[8:] not in (struct.pack("<I", _INDEX), struct.pack(">I", _INDEX)):
        return False
    file.seek(0)
    with tifffile.TiffFile(file) as tif:
        if not tif.is_mmstack:
            return False
        summary, index = (tif.micromanager_metadata[name] for name in ("Summary", "IndexMap"))
    lengths = (index.max(axis=0) - index.min(axis=0) + 1).tolist()
    told = [int(summary.get(name, 1)) for name in ("Channels", "Slices", "Frames")]
    return all(map(int.__ge__, lengths, told))
