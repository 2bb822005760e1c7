"""Files with pictures of plans: the suffix decides the format.

`graph` writes them for users.  Each file ends with a seal, a hash of its content.  A file without a
valid seal was made, or edited, by a user, and is never replaced.  `housekeeping.report` writes sealed
files, too.
"""

from __future__ import annotations

import os
import struct
import uuid
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from xxhash import xxh3_128_hexdigest

from ... import pages
from ...errors import ForeignTarget, MissingExtra, StorageError, UnknownFormat, require
from ...printable import printable
from .cells import count_nodes
from .graph_texts import plan_dot, plan_mermaid
from .page_looks import page_with_looks
from .svg import plan_svg
from .tables import headline

if TYPE_CHECKING:
    from ...graph.plan import Plan

#: Pixels of a PNG file for each pixel of the picture.
_SCALE = 2
#: Bytes of the chunk that ends a PNG file.
_PNG_END = 12


class Kind(NamedTuple):
    """A kind of files that later ones of the kind replace."""

    #: The kind in words, for errors.
    name: str
    #: Bytes in each file of the kind, and in no file of another kind.
    mark: bytes = b""
    #: What to do about a file that is in the way.
    hint: str = "choose another path, or move the file away"


PICTURE = Kind("picture")


class Picture:
    """A picture of a plan.  Notebooks show it, and ``os.fspath`` gives the path of its file.

    Parameters
    ----------
    plan : Plan
    path : pathlib.Path or None
        The file into which it was drawn, or None.

    Attributes
    ----------
    path : pathlib.Path or None
    """

    def __init__(self, plan: Plan, path: Path | None = None):
        self._plan = plan
        self.path = path

    def _repr_svg_(self) -> str:
        return plan_svg(self._plan)

    def _repr_html_(self) -> str:
        # as data of an image: notebooks that are not trusted show no SVG
        return pages.render("picture", alt=f"Plan: {headline(self._plan)}", svg=self._repr_svg_())

    def __fspath__(self) -> str:
        return os.fspath(self.path or "")

    def __repr__(self) -> str:
        where = f": {self.path}" if self.path else ""
        return printable(f"<Picture of {count_nodes(len(self._plan))}{where}>")


def write_picture(plan: Plan, path: str | os.PathLike[str]) -> Path:
    """Draw a plan into a file, in place of an earlier picture.

    Raises
    ------
    UnknownFormat
        If no format has the path's suffix.
    MissingExtra
        If a package for the format is not installed.
    ForeignTarget
        If a file is there that is not a picture of daskcache, or was edited.
    StorageError
        If the file can't be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise UnknownFormat(
            f"no picture has the suffix {suffix!r}" if suffix else "a picture's path needs a suffix",
            target=str(path),
            expected=", ".join(FORMATS),
            hint=f"write {Path(path).with_suffix('.svg').name!r}",
        )
    return write_sealed(path, suffix, lambda: FORMATS[suffix][0](plan))


def write_sealed(
    path: str | os.PathLike[str],
    suffix: str,
    make: Callable[[], str | bytes],
    kind: Kind = PICTURE,
    overwrite: bool = False,
) -> Path:
    """Write a file with a seal, in place of an earlier one of its kind.

    Parameters
    ----------
    path : str or path
    suffix : str
        One of `FORMATS`, which decides where the seal is.
    make : callable
        Returns the content.  It is not called if a user's file is in the way.
    kind : Kind
        What is written.
    overwrite : bool
        True to replace whatever file is there.

    Raises
    ------
    ForeignTarget
        If another file is there, or one that was edited.
    StorageError
        If the file can't be written.
    """
    path = Path(path)
    if not overwrite:
        check_free(path, suffix, kind)
    content = _sealed(make(), suffix)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        part.write_bytes(content)
        if not overwrite:
            check_free(path, suffix, kind)  # making it may have taken a while
        os.replace(part, path)
    except OSError as error:
        raise StorageError(
            f"the {kind.name} can't be written: {error.strerror}",
            target=str(path),
            hint="write it into a folder that exists and is yours",
        ) from error
    finally:
        with suppress(OSError):
            part.unlink()
    return path


def check_free(path: Path, suffix: str, kind: Kind = PICTURE) -> None:
    """Raise `ForeignTarget` if a path has something else than a file of a kind, as it was written."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"this can't be replaced: {error.strerror}", target=str(path)) from error
    if kind.mark not in content or not _is_sealed(content, suffix):
        raise ForeignTarget(
            f"a file is there that is not a {kind.name} of daskcache, or that was edited since",
            target=str(path),
            expected=f"no file, or an earlier {kind.name}",
            hint=kind.hint,
        )


def plan_png(plan: Plan) -> bytes:
    """Return the picture of a plan as a PNG file.

    Raises
    ------
    MissingExtra
        If CairoSVG is not installed, or the library Cairo is not.
    """
    try:
        cairosvg = require("cairosvg", "picture")
    except OSError as error:  # from its import: CairoSVG is there
        raise MissingExtra(
            "the library Cairo is not installed",
            hint="apt-get install libcairo2, or conda install cairo, or write '.svg'",
        ) from error
    return cairosvg.svg2png(bytestring=plan_svg(plan).encode(), scale=_SCALE)


# ---- seals ---------------------------------------------------------------------------------------


def _sealed(content: str | bytes, suffix: str) -> bytes:
    """Add the seal: a comment in the last line, or a text chunk of a PNG file."""
    if isinstance(content, str):
        content = content.encode() + b"\n"
        return content + FORMATS[suffix][1].format(_seal(content)).encode() + b"\n"
    text = b"tEXtSoftware\0" + _seal(content).encode()
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    return content[:-_PNG_END] + chunk + content[-_PNG_END:]


def _seal(content):
    return f"drawn by daskcache, xxh3_128:{xxh3_128_hexdigest(content)}"


def _is_sealed(content: bytes, suffix: str) -> bool:
    if suffix == ".png":
        start = content.rfind(b"tEXtSoftware\0") - 4
        return _sealed(content[:start] + content[-_PNG_END:], suffix) == content
    start = content.rfind(b"\n", 0, -1)
    return _sealed(content[: max(start, 0)].decode(errors="replace"), suffix) == content


#: By suffix, the function that draws a plan, and the comment that holds the seal.
FORMATS: dict[str, tuple[Callable, str]] = {
    ".svg": (plan_svg, "<!-- {} -->"),
    ".png": (plan_png, ""),
    ".html": (page_with_looks, "<!-- {} -->"),
    ".dot": (plan_dot, "// {}"),
    ".mmd": (plan_mermaid, "%% {}"),
}
