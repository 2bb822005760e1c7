"""One record: the JSON file that says how a target was made, readable without daskcache.

The *name* of the file carries the fields that planning needs (:class:`RecordName`).  Its content is a
:class:`Record`, checked as it is read, since any program can write such a file.  `records` lists the
records of a root, and `files` commits them.
"""

from __future__ import annotations

import calendar
import functools
import json
import math
import platform
import time
import unicodedata
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

from ..hashing.encoder import short_digest, tags, untagged
from ..hashing.names import current_name
from ..hashing.ownership import package_version
from . import trust
from .documents import COUNT, LINE, NULL, PATH, TEXT, Form, dict_of, known_fields, list_of, object_of
from .files import Stamp, hash_if_there
from .roots import FORMAT, check_format, parsed

_SUFFIX = ".json"
_FIELDS = 8
#: Ninth field in the name of an adopted result's record.
_ADOPTED = "a"
#: Takes the place of a trace: a user accepted a result while the data behind it was not known.
ANY_TRACE = "any"

#: Format of times (UTC) in records.
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


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
        fields = map(str, self[:_FIELDS])
        return ".".join([*fields, _ADOPTED] if self.adopted else fields) + _SUFFIX

    def file_name(self) -> str:
        """Return the name of the record's file; if records are sealed, with a seal before the suffix."""
        key = trust.seal_key()
        if key is None:
            return self.unsealed()
        fields = self.unsealed().removesuffix(_SUFFIX)
        return f"{fields}.{trust.seal(fields.encode(), key)}{_SUFFIX}"

    @property
    def stamp(self) -> Stamp:
        return Stamp(self.size, self.mtime_ns)

    def describes(self, location: str, found: Stamp | None) -> bool:
        """Return True if a target with this stamp is as recorded, even if it was touched or copied."""
        if found is None or found.size != self.size:
            return False
        return found == self.stamp or hash_if_there(location) == self.file_hash

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


# ---- forms of a record's fields -------------------------------------------------------------------


def _is_input(value):
    if not _TEXTS.fits(value) or "data_hash" not in value:
        return False
    return "target" not in value or ("key" in value and PATH.fits(value["target"]))


_DURATION = Form("seconds", lambda value: type(value) in (int, float) and 0 <= value < 2**63)
_ARGUMENTS = dict_of(list_of(TEXT, 2, 3))
_TEXTS = dict_of(Form("a text without NUL", lambda value: TEXT.fits(value) and "\0" not in value))
_INPUTS = list_of(Form("an input with its data_hash", _is_input))
_PATHS = list_of(PATH) | dict_of(PATH)
_LINES = dict_of(LINE)
_DECISION = dict_of(LINE | NULL)
_COLUMNS = list_of(list_of(TEXT, 2, 2))
_CATEGORIES = dict_of(Form("an object", lambda value: isinstance(value, dict)))
_CORRECTION = object_of({"size": LINE, "mtime_ns": LINE}, path=PATH, file=LINE)
_LEVELS = list_of(list_of(TEXT | NULL, 2, 2))
_SIZE = Form("a size", lambda value: type(value) is float and 0 < value < math.inf)
_IMAGE = object_of(axes=LINE, pixel_size=dict_of(_SIZE), unit=LINE | NULL, channels=list_of(TEXT))
_PATH_FORM = object_of(kind=Form("'path'", lambda value: value == "path"))
_ARRAY_FORM = object_of({"image": _IMAGE}, dtype=LINE, shape=list_of(COUNT))
_TABLE_FORM = object_of({"categories": _CATEGORIES, "index": _LEVELS, "frame": LINE}, columns=_COLUMNS)
_FORM = _ARRAY_FORM | _TABLE_FORM | _PATH_FORM


@dataclass(frozen=True, slots=True)
class Record:
    """The content of a record's file.

    Hashes of data have their algorithm before them (``xxh3_128:…``).  Other hashes are plain hex digits.
    An optional field that a record lacks is None.
    """

    #: The JSON object itself, for users and exports.  It keeps fields that this version doesn't know.
    document: dict[str, Any] = field(repr=False)
    #: Version of the form of records, see `daskcache.storage.roots.FORMAT`.
    daskcache: Annotated[int, COUNT]
    #: Module and qualified name of the function.
    function: Annotated[str, LINE]
    #: Hash of the function's code; ``.daskcache/code`` has the code.
    code: Annotated[str, LINE]
    #: Path of the target from the root.
    target: Annotated[str, PATH]
    #: Public name of the target's class, see `daskcache.hashing.names`.
    format: Annotated[str, LINE]
    #: Arguments by name: a short text and the hash, then the whole text if that is longer.
    arguments: Annotated[dict[str, list[str]], _ARGUMENTS]
    #: Inputs in the order of the function's references to them, each with its ``data_hash``.  A node's
    #: result also has ``key`` and ``target``, ``root`` if that is another one, and ``corrections``, a
    #: hash, if its data depend on results that users corrected.  A source has
    #: ``source`` (its path from the root), ``class``, and maybe ``folder``, ``options`` and ``members``
    #: (the files of a folder, each with a short hash).
    upstream: Annotated[list[dict[str, str]], _INPUTS]
    #: Hash of the recipe.
    key: Annotated[str, LINE]
    #: Hash of the code and of the arguments' data.
    trace: Annotated[str, LINE]
    #: Hash of the value in the target.
    data_hash: Annotated[str, LINE]
    #: Hash of the target's bytes.
    file_hash: Annotated[str, LINE]
    #: Size of the target in bytes.
    size: Annotated[int, COUNT]
    #: Run time of the function in seconds.
    seconds: Annotated[float, _DURATION]
    #: Time when the result was made (UTC), as ``2024-01-31T23:59:59Z``.
    created: Annotated[str, LINE]
    #: Name of the machine that made the result.
    host: Annotated[str, LINE]
    #: Versions of Python and of packages that made the result.
    packages: Annotated[dict[str, str], _LINES]
    #: Text of the target's options that count.
    options: Annotated[str | None, LINE] = None
    #: Paths of all results of the call, by position or by name, if it has several.
    results: Annotated[list[str] | dict[str, str] | None, _PATHS] = None
    #: Key of the recipe whose result this one replaced.
    replaced: Annotated[str | None, LINE] = None
    #: Key of the recipe that made the result from equal data, after an early cutoff.
    same_as: Annotated[str | None, LINE] = None
    #: Decision to accept another recipe's result: ``from`` and ``to`` (keys), ``by`` and ``when``.
    accepted: Annotated[dict[str, str | None] | None, _DECISION] = None
    #: Decision to adopt a user's edit or file: ``by``, ``when``, and the hashes of the function's own
    #: result, ``stored`` (data) and ``file`` (bytes).
    edited: Annotated[dict[str, str | None] | None, _DECISION] = None
    #: Decision to keep an adopted result for this recipe: ``from`` (key), ``by`` and ``when``.
    kept: Annotated[dict[str, str | None] | None, _DECISION] = None
    #: The user's file in the folder of corrections when the record was written: ``path`` from the root,
    #: ``file`` (hash of its bytes) and, if later changes show in them, ``size`` and ``mtime_ns``.  The
    #: target is a copy of it if the record has an ``edited`` and the same hash.
    correction: Annotated[dict[str, str] | None, _CORRECTION] = None
    #: Form of the result, see `daskcache.targets.forms`: ``dtype``, ``shape`` and maybe ``image``, or
    #: ``columns`` and maybe ``categories``, ``index`` and ``frame``; ``kind`` is "path" if the value
    #: was the target's path.
    form: Annotated[dict[str, Any] | None, _FORM] = None

    @classmethod
    def of(cls, document: Any, name: RecordName, seal_key: bytes | None = None) -> Record:
        """Check the parsed JSON of the record with this name, and return it as a record.

        Parameters
        ----------
        document : object
            The parsed JSON; older names of classes in it are replaced by their names of today.
        name : RecordName
            The content must repeat its key and file hash.
        seal_key : bytes, optional
            The content must be sealed with this key.

        Raises
        ------
        ValueError
            If a field is missing or invalid, a path is unsafe, or the seal is not valid.
        StorageError
            If a newer daskcache wrote the record.
        """
        version: Any = document.get("daskcache") if isinstance(document, dict) else None
        if COUNT.fits(version):
            check_format(version, "a record", str(document.get("target")))
        fields = known_fields(cls, document)
        if fields["key"] != name.key or untagged(fields["file_hash"]) != name.file_hash:
            raise ValueError("its name is that of another record")
        if seal_key is not None:
            _check_seal(document, seal_key)
        fields["format"] = document["format"] = current_name(fields["format"])
        for described in fields["upstream"]:
            if "class" in described:
                described["class"] = current_name(described["class"])
        return cls(document, **fields)

    @classmethod
    def read(cls, path: str, name: RecordName) -> Record:
        """Read the file of a record or intent with this name; raise as `of` does, or `OSError`."""
        with open(path, "rb") as file:
            document = parsed(file.read().decode("utf-8", "surrogatepass"))
        return cls.of(document, name, trust.seal_key())

    def facts(self, *names: str) -> dict[str, Any]:
        """Return those of the named fields that the record has, in its order, for another record."""
        return {name: value for name, value in self.document.items() if name in names}

    @property
    def is_adopted(self) -> bool:
        """True if the target holds, or held, a user's edit or file."""
        return self.edited is not None

    @property
    def taken_from(self) -> str | None:
        """Path from the root of the file in a folder of corrections of which the target is a copy."""
        if self.edited is None or self.correction is None:
            return None
        is_copy = self.correction["file"] == untagged(self.file_hash)
        return self.correction["path"] if is_copy else None

    @property
    def created_at(self) -> float:
        """Time of creation in seconds since 1970, or 0 if it can't be parsed."""
        try:
            return calendar.timegm(time.strptime(self.created, TIME_FORMAT))
        except ValueError:
            return 0.0


def _check_seal(document, key):
    found = document.pop("seal", "")
    if not trust.is_sealed(_as_bytes(document), str(found), key):
        raise ValueError("it is not sealed with the key in daskcache.key-file")


# ---- writing ------------------------------------------------------------------------------------


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
    trace, data_hash, file_hash = tags(name.trace, name.data_hash, name.file_hash)
    content = {
        "daskcache": FORMAT,
        **facts,
        "key": name.key,
        "trace": trace,
        "data_hash": data_hash,
        "file_hash": file_hash,
        "size": name.size,
        "seconds": name.microseconds / 1e6,
    }
    content.setdefault("created", utc_now())
    content.setdefault("host", platform.node())
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
    return _encoded(content).encode("utf-8", "surrogatepass")


_encoded = json.JSONEncoder(ensure_ascii=False).encode


def utc_now() -> str:
    """Return the current time (UTC) as a text, in the form of records."""
    return _utc(int(time.time()))


@functools.lru_cache(1)  # many records are made in one second
def _utc(seconds):
    return time.strftime(TIME_FORMAT, time.gmtime(seconds))


@functools.cache
def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that results are most likely to depend on."""
    versions = {name: package_version(name) for name in ("dask", "numpy", "pandas", "daskcache")}
    known = {name: version for name, version in versions.items() if version}
    return {"python": platform.python_version(), **known}
