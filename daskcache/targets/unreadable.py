"""The error for an input file that its source class can't decode, with the likely cause.

Every library has its own errors for such a file, and few of them name it.  All ways to a source's data
go through `reading`: `source`, `images.source`, `runtime.work` and the Prefect adapter use it, so a
source class of another package needs no code for that.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import DaskcacheError, SourceUnreadable, TargetCorrupt

if TYPE_CHECKING:
    from .source import Source


@contextmanager
def reading(source: Source) -> Iterator[None]:
    """Within this context, an error of a format's reader becomes `SourceUnreadable`.

    Errors that don't come from the content keep their type: lack of memory, a missing package, an error
    of the system (an `OSError` with a number), and daskcache's own errors.
    """
    try:
        yield
    except TargetCorrupt as error:
        raise _unreadable(source, error, error.message) from error
    except (DaskcacheError, MemoryError, ImportError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise _unreadable(source, error, f"{type(error).__name__}: {error}") from error


def _unreadable(source, error, story):
    head = _head(source.path)
    found, hint = _likely_cause(source.path, head, error)
    name = type(source).__name__
    # libraries name the bytes in memory, not the file
    story = re.sub("<Buffer>|<bytes>", lambda _: source.path, story.partition("\n")[0][:_LONGEST])
    told = "" if source.path in story else f"the source {source.path} can't be read: "
    return SourceUnreadable(
        f"{told}{story}",
        expected=getattr(error, "expected", None) or f"{source.suffix or 'a file'} as {name} reads it",
        got=getattr(error, "got", None) or found,
        hint=getattr(error, "hint", None) or hint,
    )


_LONGEST = 300
#: Bytes that are enough to recognise a format.
_HEAD = 512


def _head(path):
    """Return the first bytes of a file, or None for a folder, a table, or a file that is gone."""
    try:
        with open(path, "rb") as file:
            return file.read(_HEAD)
    except OSError:
        return None


#: Suffixes of TIFF: microscopes and slide scanners have their own.
TIFF_SUFFIXES = (
    *(".tif", ".tiff", ".btf", ".tf2", ".tf8", ".ptif", ".ptiff", ".lsm", ".stk", ".svs", ".ndpi"),
    *(".scn", ".bif", ".zif", ".qptiff", ".qpi", ".gel"),
)

#: First bytes, name and usual suffixes of formats that are found under another suffix.
_SIGNATURES: tuple[tuple[bytes, str, tuple[str, ...]], ...] = (
    (b"II*\0", "TIFF", TIFF_SUFFIXES),
    (b"MM\0*", "TIFF", TIFF_SUFFIXES),
    (b"II+\0", "BigTIFF", TIFF_SUFFIXES),
    (b"MM\0+", "BigTIFF", TIFF_SUFFIXES),
    (b"\x89PNG\r\n\x1a\n", "PNG", (".png",)),
    (b"\xff\xd8\xff", "JPEG", (".jpg", ".jpeg")),
    (b"GIF8", "GIF", (".gif",)),
    (b"\x93NUMPY", "NumPy", (".npy",)),
    (b"PAR1", "Parquet", (".parquet",)),
    (b"PK\3\4", "a zip archive (also Excel, .npz)", (".zip", ".npz", ".xlsx")),
    (b"\x1f\x8b", "gzip", (".gz",)),
    (b"\x89HDF\r\n\x1a\n", "HDF5", (".h5", ".hdf5", ".ims", ".mat")),
    (b"%PDF", "PDF", (".pdf",)),
    (b"SQLite format 3\0", "SQLite", (".db", ".sqlite")),
    (b"\xd0\xcf\x11\xe0", "an OLE file (old Excel, .oib, .zvi)", (".xls", ".oib", ".zvi")),
    (b"ZISRAWFILE", "Zeiss CZI", (".czi",)),
    (b"\xda\xce\xbe\n", "Nikon ND2", (".nd2",)),
)

#: Packages that read formats of microscopes and other instruments, by suffix.
_READERS = {
    ".czi": "czifile or bioio-czi",
    ".nd2": "nd2",
    ".lif": "readlif",
    ".oib": "oiffile",
    ".oif": "oiffile",
    ".ims": "h5py",
    ".h5": "h5py",
    ".hdf5": "h5py",
    ".mrc": "mrcfile",
    ".dcm": "pydicom",
    ".nii": "nibabel",
    ".vsi": "bioio-bioformats",
}

_AGAIN = "copy or download it again, and compare its size with the original's"


def _likely_cause(path, head, error):
    """Return the content that the file seems to have, and a remedy, as two texts."""
    suffix = os.path.splitext(path)[1].lower()
    if head is None:
        return "other content", _AGAIN
    if not head:
        return "an empty file", _AGAIN
    if re.match(rb"\s*<(!doctype html|html)", head, re.IGNORECASE):
        return "an HTML page, perhaps a message that was saved in place of the file", _AGAIN
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer in place of the file", "git lfs pull"
    if suffix in _READERS:
        return (
            f"a format that needs a reader of its own ({_READERS[suffix]})",
            "take a FileSource, and read the path in the function; or subclass daskcache.Source, whose "
            "decode(data) returns the value",
        )
    name, suffixes = next(((n, s) for start, n, s in _SIGNATURES if head.startswith(start)), (None, ()))
    if name is not None and suffix not in suffixes:
        return (
            f"{name}, by its first bytes",
            f"give it its suffix ({suffixes[0]}), or use another source",
        )
    if isinstance(error, UnicodeDecodeError):
        is_16 = head.startswith((b"\xff\xfe", b"\xfe\xff"))
        encoding = "utf-16" if is_16 else "cp1252"
        return (
            f"text in another encoding than {error.encoding}",
            f"name the encoding, e.g. TextSource(path, encoding={encoding!r}) or "
            f"CSVSource(path, encoding={encoding!r})",
        )
    size = f"{os.path.getsize(path)} bytes"
    if name is not None:
        return f"{size} of {name} that may be cut short or damaged", _AGAIN
    return f"{size} that begin with {head[:12]!r}", f"is it of another format, or damaged? Else {_AGAIN}"
