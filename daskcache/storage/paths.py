"""Paths of targets: a check that they are safe on every system, and the data hash in them.

Target templates, records and the trash check paths here.  `tables.databases` does it for the
places of tables.
"""

from __future__ import annotations

import re

from ..errors import UnsafePath
from .tables.databases import SEPARATOR, masked, why_no_place

_UNSAFE_ANYWHERE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?\Z|.*\.part\Z|\.daskcache\Z")
# A fast check that most paths pass; the others are checked component by component.
_PLAINLY_SAFE = re.compile(r"[\w%{-](?:[\w%={}()+,-]|[./ ](?=[\w%={}()+,-]))*\Z", re.ASCII)
_RESERVED_SOMEWHERE = re.compile(
    r"(?i)(?:\A|/)(?:con|prn|aux|nul|com\d|lpt\d)(?:[./]|\Z)|\.part(?:/|\Z)|\.daskcache"
)
_LONGEST_NAME = 255 - len("..0123456789abcdef.part")  # bytes; leaves room for the name of a part

#: Placeholder in a target's path until the result's hash is known.
DATA_HASH = "{data_hash}"
_ANY_HASH = 32 * "0"


def located(path: str, data_hash: str) -> str:
    """Return `path` with the hash of its data filled in."""
    return path.replace(DATA_HASH, data_hash)


def may_be_table(text: str) -> bool:
    """Return True for a text that names a table, perhaps by a URL, which must not be shown."""
    return SEPARATOR in text


def nested(path: str) -> str:
    """Return a path in which a table lies inside its database, as a file in its folder."""
    return path.replace(SEPARATOR, "/")


def check_path(path: str, text: str) -> None:
    """Raise `UnsafePath` unless `path`, made from the template `text`, is safe below a root."""
    if len(path) > 200 or not _PLAINLY_SAFE.match(path) or _RESERVED_SOMEWHERE.search(path):
        _check_slowly(path, text)


def _check_slowly(path, text):
    reason = _why_unsafe(path)
    if reason:
        raise UnsafePath(
            f"the template {masked(text)!r} gives the path {masked(path)!r}, {reason}",
            hint="targets are relative to the root (config daskcache.root) and stay below it",
        )


def _why_unsafe(path):
    if _UNSAFE_ANYWHERE.search(path):
        return "which has control characters or lone surrogates"
    if path.startswith("~") or "\\" in path or re.match(r"[A-Za-z]:", path):
        return "which is not a portable relative path"
    if path.startswith("/"):
        return "which is absolute"
    components = path.split("/")
    if not all(components):
        return "which has an empty component"
    for component in components:
        if component in (".", ".."):
            return f"which has the component {component!r}"
        if component[-1] in ". ":
            return f"in which {component!r} ends with a dot or a space"
        if _RESERVED.match(component):
            return f"in which {component!r} is a reserved name"
        if len(located(component, _ANY_HASH).encode()) > _LONGEST_NAME:
            return f"in which a component has more than {_LONGEST_NAME} bytes"
    return why_no_place(located(path, _ANY_HASH)) if may_be_table(path) else None
