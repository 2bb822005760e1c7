"""Records: what made each target.

A record is one JSON file per key and target, readable without daskcache.  Its *name* carries what
planning needs (:class:`RecordName`), so that a listing of names is the index: planning opens no
record, and on an object store needs no request per node.  Records lie in 256 folders, by the first
two digits of the key.

Records are written once and never changed.  There is nothing to lock and nothing to keep in step.
"""

from __future__ import annotations

import calendar
import contextlib
import functools
import getpass
import json
import os
import platform
import time
import unicodedata
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import DaskcacheWarning, StorageError
from ..hashing.encoder import short_digest, tag
from ..hashing.names import current_name
from ..hashing.ownership import package_version
from . import files as storage
from . import trust
from .atomic import refuse_link
from .files import Stamp
from .record_check import check_record, is_line
from .roots import FORMAT, METADATA, Root, parsed

_SUFFIX = ".json"
_FIELDS = 8
#: A ninth field of the name of an adopted result's record.
_ADOPTED = "a"
#: In place of a trace: a person said that a result stands while the data it rests on was not known.
ANY_TRACE = "any"

#: How often to look for who vouches for a target, while others commit; and the seconds between.
_LOOKS = 10
_PAUSE = 0.02
#: Nanoseconds in which two changes of a folder can have one time.
_TICK = 50_000_000
_TIME = "%Y-%m-%dT%H:%M:%SZ"


class RecordName(NamedTuple):
    """What the name of a record's file says."""

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
    #: Whether a person made what is in the target: an edit, or a file of theirs, that was adopted.
    adopted: bool = False

    @classmethod
    def parse(cls, name: str, seal_key: bytes | None = None) -> RecordName | None:
        """Read the name of a record's file; None for a file that is none.

        With a key to seal records with, a file whose name is not sealed is none.
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
        """Name of the record's file where records are not sealed: the fields and the suffix."""
        return self._joined() + _SUFFIX

    def file_name(self) -> str:
        """Name of the record's file: with a seal before the suffix, if records are sealed."""
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
    """Short hash of a target's root-relative path."""
    return short_digest(path.encode("utf-8", "surrogatepass"))


def collision_form(path: str) -> str:
    """The form in which two paths are one on some file system (case, Unicode composition)."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", path).casefold()


class RecordStore:
    """The records of one root, as they are when first looked at.

    A store lives for one verb (or one check on a worker); a new one sees what is new.
    """

    def __init__(self, root: Root):
        self.root = root
        self._shards: dict[str, dict[str, list[RecordName]]] = {}
        self._by_target: dict[str, list[RecordName]] | None = None
        #: Records as they are, by those that are to take their places; see `foresee`.
        self._current: dict[RecordName, RecordName] = {}
        self._is_empty: bool | None = None
        #: Records that were read, and whether they are of adopted results.
        self._read: dict[RecordName, bool] = {}

    def with_key(self, key: str) -> list[RecordName]:
        """Records of a recipe, at whichever targets."""
        return self._shard(key[:2]).get(key, [])

    def in_shard(self, shard: str) -> list[RecordName]:
        """Records in one of the folders that they are spread over."""
        return [name for names in self._shard(shard).values() for name in names]

    def is_empty(self) -> bool:
        """Whether the root had no records when this was first asked."""
        if self._is_empty is None:
            self._is_empty = not storage.names_in(self.root.records)
        return self._is_empty

    def _shard(self, shard):
        listed = self._shards.get(shard)
        if listed is None:
            listed = self._shards[shard] = self._list_shard(shard)
        return listed

    def with_target(self, identifier: str) -> list[RecordName]:
        """Records of a target, of whichever recipes, intents of cut-short commits included."""
        if self._by_target is None:
            self._by_target = {}
            for name in self.all():
                self._by_target.setdefault(name.target_id, []).append(name)
        return self._by_target.get(identifier, [])

    def is_adopted(self, name: RecordName) -> bool:
        """Whether a person made what a record is about; before names said so, only contents did."""
        if not name.adopted and name not in self._read:
            self.read(name)
        return name.adopted or self._read.get(name, False)

    def has(self, name: RecordName) -> bool:
        """Whether a record is there, unclaimed; true of what was taken as it is, without a record."""
        return not name.trace or os.path.lexists(self.path_of(name))

    def all(self) -> list[RecordName]:
        """Every record of the root, and every intent.

        Intents are listed first: one that becomes a record meanwhile is seen twice, not missed.  And
        again at the end: a record that is claimed meanwhile (see `daskcache.storage.claims`) is there.
        But records go before them: a dead writer's may say the same of a table, and be cut short.
        """
        intents, found = self.intents(), []
        for shard in storage.names_in(self.root.records):
            found += self._names_in(shard)
        return list(dict.fromkeys([*found, *intents, *self.intents()]))

    def intents(self, besides: str | None = None) -> list[RecordName]:
        """Records-to-be: of commits under way, and of commits that were cut short.

        Parameters
        ----------
        besides : str, optional
            Path of an intent to leave out: one's own.
        """
        files = [n for n in storage.names_in(self.root.intents) if f"{self.root.intents}/{n}" != besides]
        return _parsed([storage.intended_name(file) for file in files])

    def vouching(
        self, target: str, location: str, stamp: Stamp | None, key: str, besides: str | None = None
    ) -> RecordName | None:
        """The record, or somebody's intent, that says what is at a target.

        A listing can miss what is renamed while it is read (readdir(3)).  So that there is none is
        believed if nothing was renamed meanwhile, or when it has been seen often enough.

        Parameters
        ----------
        target : str
            See `target_id`.
        location : str
            Its absolute path.
        stamp : Stamp
            What is there looks like this.
        key : str
            Records of this recipe come first.
        besides : str, optional
            Path of an intent to leave out: one's own.
        """
        for _ in range(_LOOKS):
            moved = self._last_move()
            found = self._vouching(target, location, stamp, key, besides)
            if found is not None or (moved == self._last_move() and time.time_ns() - moved > _TICK):
                return found
            time.sleep(_PAUSE)
            self._shards, self._by_target = {}, None
        return None

    def _last_move(self):
        """When the intents last changed, as they do at each step of a record, claimed ones included."""
        try:
            return os.stat(self.root.intents).st_mtime_ns
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise storage.storage_error(error, self.root.intents) from error

    def _vouching(self, target, location, stamp, key, besides):
        intents = self.intents(besides)
        near = [*self.with_key(key), *intents]
        found = [name for name in near if name.target_id == target and name.stamp == stamp]
        found = found or [name for name in self.with_target(target) if name.stamp == stamp]
        if len({name.file_hash for name in found}) > 1:
            # clocks of file systems tick every few milliseconds: rivals can have equal stamps
            content = storage.file_hash(location)
            found = [name for name in found if name.file_hash == content]
        # a table's stamp is that of its rows: another recipe's result can be the same
        return min(found, key=lambda name: (name.key != key, not name.adopted), default=None)

    def read(self, name: RecordName) -> dict[str, Any] | None:
        """The content of a record; None, with a warning, if it can't be read.

        Raises
        ------
        StorageError
            If a newer daskcache wrote it.
        """
        now = self._as_it_is(name)
        for path in (self.path_of(now), *self.intents_of(now), self.path_of(now)):
            try:
                with open(path, "rb") as file:
                    content = parsed(file.read().decode("utf-8", "surrogatepass"))
                check_record(content, now.key, now.file_hash)
                _check_seal(content)
                self._read[name] = "edited" in content
                _name_classes(content)
                return content
            except FileNotFoundError:
                continue
            except StorageError:
                raise
            except (OSError, ValueError) as error:
                warnings.warn(f"can't read the record {path}: {error}", DaskcacheWarning, stacklevel=2)
                return None
        return None

    def remove(self, name: RecordName) -> None:
        """Forget a record."""
        for path in (self.path_of(name), *self.intents_of(name)):
            try:
                storage.discard(path)
            except OSError as error:
                raise storage.storage_error(error, path) from error

    def foresee(self, coming: RecordName, current: RecordName) -> RecordName:
        """Note that one record is to take the place of another, which is read until then."""
        if coming != current:
            self._current[coming] = current
        return coming

    def write(self, name: RecordName, content: bytes) -> None:
        """Add a record to those of targets that stay as they are."""
        intent = storage.write_intent(self.root, name.file_name(), content)
        storage.promote_intent(self.root, intent, name.file_name(), name.shard)
        self._current.pop(name, None)

    def refresh(self, touched: RecordName) -> None:
        """Give the record of an unchanged target, which `foresee` named, the target's new mtime."""
        before = self.path_of(touched)
        self._current.pop(touched, None)
        with contextlib.suppress(FileNotFoundError):  # another program was faster
            os.replace(before, self.path_of(touched))

    def path_of(self, name: RecordName) -> str:
        """Where a record is, unless it is an intent."""
        name = self._as_it_is(name)
        return f"{self.root.records}/{name.shard}/{name.file_name()}"

    def _as_it_is(self, name):
        while name in self._current:
            name = self._current[name]
        return name

    def intents_of(self, name: RecordName) -> list[str]:
        """Paths of intents to be this record, and of claims to what it vouches for."""
        start = name.file_name()
        return [
            f"{self.root.intents}/{n}"
            for n in storage.names_in(self.root.intents)
            if n.startswith(start)
        ]

    def _list_shard(self, shard):
        by_key: dict[str, list[RecordName]] = {}
        for name in self._names_in(shard):
            by_key.setdefault(name.key, []).append(name)
        return by_key

    def _names_in(self, shard):
        """List the records in a folder; raise `UnsafePath` if it is a link: they are removed there."""
        found = storage.names_in(f"{self.root.records}/{shard}")
        if found:
            refuse_link(self.root.path, f"{METADATA}/records/{shard}")
        return _parsed(found)


def record_content(name: RecordName, **facts: Any) -> bytes:
    """The JSON of a record.

    Parameters
    ----------
    name : RecordName
        What the file's name says; the hashes are repeated, with their algorithm, in the content.
    **facts
        ``function``, ``code``, ``target`` (path from the root), ``format``, ``arguments``,
        ``upstream``, ``replaced`` …; ``created``, ``host`` and ``packages``, unless it is made here and
        now.
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
    content.setdefault("created", _now())
    content.setdefault("host", _host())
    content.setdefault("packages", package_versions())
    return _sealed(content)


def sealed_content(unsealed: bytes) -> bytes:
    """The JSON of a record that came without a seal, with one if records are sealed here."""
    return _sealed(parsed(unsealed.decode("utf-8", "surrogatepass")))


def _sealed(content):
    key = trust.seal_key()
    if key is not None:
        content["seal"] = trust.seal(_as_bytes(content), key)
    return _as_bytes(content)


def _as_bytes(content):
    return json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _check_seal(content):
    """Raise ValueError if records are sealed, and this one isn't."""
    key = trust.seal_key()
    if key is None:
        return
    found = content.pop("seal", "")
    if not trust.is_sealed(_as_bytes(content), str(found), key):
        raise ValueError("it is not sealed with the key in daskcache.key-file")


def _name_classes(content):
    """Name the classes of a record as they are named now: older ones name them by their modules."""
    for described, field in ((content, "format"), *((each, "class") for each in content["upstream"])):
        if field in described:
            described[field] = current_name(described[field])


def seconds_of(created: str) -> float:
    """When a record says that it was created, in seconds since 1970; 0 if it doesn't."""
    try:
        return calendar.timegm(time.strptime(created, _TIME))
    except ValueError:
        return 0.0


# ---- failures -----------------------------------------------------------------------------------


def write_failure(root: Root, key: str, **facts: Any) -> None:
    """Note that a node failed (``errors="collect"``)."""
    path = _failure_path(root, key)
    refuse_link(root.path, f"{METADATA}/failures/{key[:2]}")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    storage.discard(path)
    storage.write_part(path, [json.dumps({"daskcache": FORMAT, **facts}).encode()])


def failed_keys(root: Root) -> set[str]:
    """Keys of the nodes that failed and have not been rerun since."""
    shards = storage.names_in(root.failures)
    return {
        name.removesuffix(_SUFFIX)
        for shard in shards
        for name in storage.names_in(f"{root.failures}/{shard}")
    }


def clear_failure(root: Root, key: str) -> None:
    refuse_link(root.path, f"{METADATA}/failures/{key[:2]}")
    storage.discard(_failure_path(root, key))


def _failure_path(root, key):
    return f"{root.failures}/{key[:2]}/{key}{_SUFFIX}"


# ---- acceptances --------------------------------------------------------------------------------


def write_acceptance(root: Root, target: str, **what: str) -> None:
    """Note what somebody decided about what a target holds.

    Parameters
    ----------
    root : Root
    target : str
        See `target_id`.
    **what
        ``key`` of the record of what it holds, which is right whatever changed since; ``content``, the
        hash of a file that somebody edited, or put there, and that is to be taken in; ``keep``, the
        hash of an adopted file that is to stand for another recipe; or ``released``, the keys of the
        recipes whose adopted result was given up.
    """
    clear_acceptance(root, target)
    note = {**what, "by": _user(), "when": _now()}
    storage.write_part(f"{root.accepted}/{target}{_SUFFIX}", [json.dumps(note).encode()])


class Acceptances:
    """What was accepted and not yet recorded, by target: listed now, and read when it is asked for."""

    def __init__(self, root: Root):
        self._folder = root.accepted
        self._targets = {name.removesuffix(_SUFFIX) for name in storage.names_in(root.accepted)}

    def get(self, target: str) -> dict[str, str] | None:
        """What was said of a target, or None."""
        if target not in self._targets:
            return None
        try:
            note = dict(parsed(Path(self._folder, f"{target}{_SUFFIX}").read_bytes()))
        except (OSError, ValueError, TypeError):  # somebody recorded it just now, or is writing it
            return None
        return {name: told for name, told in note.items() if is_line(told)}


def clear_acceptance(root: Root, target: str) -> None:
    storage.discard(f"{root.accepted}/{target}{_SUFFIX}")


# ---- helpers ------------------------------------------------------------------------------------


def _parsed(files):
    key = trust.seal_key()
    names = [RecordName.parse(file, key) for file in files]
    return [name for name in names if name is not None]


def _now():
    return time.strftime(_TIME, time.gmtime())


def _user():
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user without a name, in a container
        return str(os.getuid())


@functools.cache
def _host():
    return platform.node()


@functools.cache
def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that results are most likely to depend on."""
    versions = {name: package_version(name) for name in ("dask", "numpy", "pandas", "daskcache")}
    known = {name: version for name, version in versions.items() if version}
    return {"python": platform.python_version(), **known}
