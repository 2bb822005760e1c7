"""Paths of targets: checks that they are safe on every system, places of tables, and the data hash.

Target templates, records and the trash check paths here.  The place of a table is
``<database>::<table>``; `tables.databases` has the databases.
"""

from __future__ import annotations

import os
import re
import time
import uuid
from typing import NamedTuple

from ..errors import UnsafePath

#: Characters that a terminal does not show in one line, and that no path has.
UNSHOWN = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
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


def check_path(path: str, text: str) -> None:
    """Raise `UnsafePath` unless `path`, made from the template `text`, is safe below a root."""
    reason = why_unsafe(path)
    if reason is not None:
        raise UnsafePath(
            f"the template {masked(text)!r} gives the path {masked(path)!r}, {reason}",
            hint="targets are relative to the root (config daskcache.root) and stay below it",
        )


def why_unsafe(path: str) -> str | None:
    """Return the fault of a target's path as text, or None if it is safe below a root."""
    if len(path) <= 200 and _PLAINLY_SAFE.match(path) and not _RESERVED_SOMEWHERE.search(path):
        return None
    if UNSHOWN.search(path):
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
    return _why_no_place(located(path, _ANY_HASH)) if may_be_table(path) else None


def _why_no_place(path: str) -> str | None:
    """Return the fault of a table's place (relative to the root) as text, or None if it is valid."""
    database, _, table = path.partition(SEPARATOR)
    if not _IDENTIFIER.match(table) or len(table) > LONGEST_NAME:
        return (
            f"in which {table!r} is not a name for a table: up to {LONGEST_NAME} letters of ASCII, "
            "digits and underscores, no digit first (write t_{key}, not {key})"
        )
    if _KEPT.search(table):
        return f"in which {table!r} is a name for a table that was set aside"
    if "/" in database and not Table(database, table).is_file:
        return f"in which {database!r} is not a file: its name has no suffix, such as .db"
    return None


# ---- places of tables ---------------------------------------------------------------------------

#: Separates database and table in the place of a table.
SEPARATOR = "::"
#: Largest number of bytes in a table's name; PostgreSQL truncates longer names.
LONGEST_NAME = 63

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_PLACE = re.compile(r"[^:].*::[A-Za-z_{][A-Za-z0-9_{}]*\Z")  # {data_hash} may be in it
_KEPT = re.compile(r"_kept_\d{8}_\d{6}_[0-9a-f]{4}\Z")


class Table(NamedTuple):
    """Database and name of a table."""

    #: Path of a SQLite file, or name of a database.
    database: str
    name: str

    @property
    def is_file(self) -> bool:
        return "." in os.path.basename(self.database)


def is_table(path: str) -> bool:
    """Return True if a path is the place of a table, not of a file."""
    return SEPARATOR in path and _PLACE.match(os.path.basename(path)) is not None


def table_of(path: str) -> Table:
    """Parse the place of a table; drop folders before the name of a database that is not a file."""
    database, _, name = path.rpartition(SEPARATOR)
    table = Table(database, name)
    return table if table.is_file else Table(os.path.basename(database), name)


def kept_name(table: str) -> str:
    """Return a new name under which a table is set aside, cut to `LONGEST_NAME`."""
    ending = f"_kept_{time.strftime('%Y%m%d_%H%M%S', time.gmtime())}_{uuid.uuid4().hex[:4]}"
    return table[: LONGEST_NAME - len(ending)] + ending


def is_kept(table: str) -> bool:
    return _KEPT.search(table) is not None


def may_be_table(text: str) -> bool:
    """Return True for a text that names a table, perhaps by a URL, which must not be shown."""
    return SEPARATOR in text


def nested(path: str) -> str:
    """Return a path in which a table lies inside its database, as a file in its folder."""
    return path.replace(SEPARATOR, "/")


def masked(text: str) -> str:
    """Mask the user and passwords in a text that may be a URL."""
    text = re.sub(r"://.*@", "://***@", text)
    return re.sub(r"(?i)(pass\w*=)[^&:]*", r"\1***", text)
