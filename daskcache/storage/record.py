"""One record: the JSON file that says how a target was made, readable without daskcache.

The *name* of the file carries the fields that planning needs (:class:`RecordName`).  `records` lists
the records of a root, and `files` commits them; `record_check` validates their content.
"""

from __future__ import annotations

import calendar
import functools
import json
import platform
import time
import unicodedata
from typing import Any, NamedTuple

from ..hashing.encoder import short_digest, tag
from ..hashing.names import current_name
from ..hashing.ownership import package_version
from . import trust
from .files import Stamp
from .roots import FORMAT, parsed

_SUFFIX = ".json"
_FIELDS = 8
#: Ninth field in the name of an adopted result's record.
_ADOPTED = "a"
#: Takes the place of a trace: a user accepted a result while the data behind it was not known.
ANY_TRACE = "any"

_TIME = "%Y-%m-%dT%H:%M:%SZ"


class RecordName(NamedTuple):
    """The fields in the name of a record's file."""

    #: Hash of the recipe.
    key: str
    #: Hash of the target's path (16 hex digits), see `target_id`.
    target_id: str
    #: Hash of the code and of the arguments' data.
    trace: str
    #: Hash of the value in the target.
    data_hash: str
    #: Hash of the target's bytes.
    file_hash: str
    #: Size of the target in bytes.
    size: int
    #: Modification time of the target in nanoseconds.
    mtime_ns: int
    #: Run time of the function in microseconds.
    microseconds: int
    #: True if the target holds a user's edit or file, which was adopted.
    adopted: bool = False

    @classmethod
    def parse(cls, name: str, seal_key: bytes | None = None) -> RecordName | None:
        """Parse the name of a record's file; return None if it is not one.

        With a seal key, a name without a valid seal is not a record's either.
        """
        parts = name.split(".")
        suffix = parts.pop()
        if seal_key is not None:
            seal = parts.pop() if parts else ""
            if not trust.is_sealed(".".join(parts).encode(), seal, seal_key):
                return None
        adopted = parts[_FIELDS:] == [_ADOPTED]
        if adopted:
            parts.pop()
        if suffix != _SUFFIX[1:] or len(parts) != _FIELDS:
            return None
        key, target, trace, data, file, size, mtime, took = parts
        try:
            return cls(key, target, trace, data, file, int(size), int(mtime), int(took), adopted)
        except ValueError:
            return None

    def unsealed(self) -> str:
        """Return the name of the record's file without a seal: the fields and the suffix."""
        return self._joined() + _SUFFIX

    def file_name(self) -> str:
        """Return the name of the record's file; if records are sealed, with a seal before the suffix."""
        key = trust.seal_key()
        if key is None:
            return self.unsealed()
        fields = self._joined()
        return f"{fields}.{trust.seal(fields.encode(), key)}{_SUFFIX}"

    def _joined(self):
        fields = map(str, self[:_FIELDS])
        return ".".join([*fields, _ADOPTED] if self.adopted else fields)

    @property
    def stamp(self) -> Stamp:
        return Stamp(self.size, self.mtime_ns)

    @property
    def shard(self) -> str:
        return self.key[:2]


def target_id(path: str) -> str:
    """Return the short hash (16 hex digits) of a target's path from the root."""
    return short_digest(path.encode("utf-8", "surrogatepass"))


def collision_form(path: str) -> str:
    """Return the form in which paths are equal if they are one on some file system (case, Unicode)."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", path).casefold()


def record_content(name: RecordName, **facts: Any) -> bytes:
    """Return the JSON of a record, sealed if records are.

    Parameters
    ----------
    name : RecordName
        Fields of the file's name.  The content repeats the hashes, with their algorithm.
    **facts
        ``function``, ``code``, ``target`` (path from the root), ``format``, ``arguments``,
        ``upstream``, ``replaced`` …  Also ``created``, ``host`` and ``packages`` of a result made
        earlier or elsewhere; by default they are those of this process, now.
    """
    content = {
        "daskcache": FORMAT,
        **facts,
        "key": name.key,
        "trace": tag(name.trace),
        "data_hash": tag(name.data_hash),
        "file_hash": tag(name.file_hash),
        "size": name.size,
        "seconds": name.microseconds / 1e6,
    }
    content.setdefault("created", utc_now())
    content.setdefault("host", _host())
    content.setdefault("packages", package_versions())
    return _sealed(content)


def sealed_content(unsealed: bytes) -> bytes:
    """Return the JSON of a record that came without a seal, sealed if records are sealed here."""
    return _sealed(parsed(unsealed.decode("utf-8", "surrogatepass")))


def _sealed(content):
    key = trust.seal_key()
    if key is not None:
        content["seal"] = trust.seal(_as_bytes(content), key)
    return _as_bytes(content)


def _as_bytes(content):
    return json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass")


def check_seal(content):
    """Raise ValueError if records are sealed and this one has no valid seal."""
    key = trust.seal_key()
    if key is None:
        return
    found = content.pop("seal", "")
    if not trust.is_sealed(_as_bytes(content), str(found), key):
        raise ValueError("it is not sealed with the key in daskcache.key-file")


def name_classes(content):
    """Replace older names of classes in a record, by module, with their names of today."""
    for described, field in ((content, "format"), *((each, "class") for each in content["upstream"])):
        if field in described:
            described[field] = current_name(described[field])


def seconds_of(created: str) -> float:
    """Return a record's time of creation in seconds since 1970, or 0 if it can't be parsed."""
    try:
        return calendar.timegm(time.strptime(created, _TIME))
    except ValueError:
        return 0.0


def utc_now() -> str:
    """Return the current time (UTC) as a text, in the form of records."""
    return time.strftime(_TIME, time.gmtime())


@functools.cache
def _host():
    return platform.node()


@functools.cache
def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that results are most likely to depend on."""
    versions = {name: package_version(name) for name in ("dask", "numpy", "pandas", "daskcache")}
    known = {name: version for name, version in versions.items() if version}
    return {"python": platform.python_version(), **known}
