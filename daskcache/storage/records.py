"""Records of a root: one JSON file per key and target says how the target was made.

The *name* of the file carries the fields that planning needs (:class:`RecordName`).  A listing of names
is the index: planning opens no record, and needs no request per node on an object store.  Records lie
in 256 folders, by the first two digits of the key.  They are written once and never changed, so they
need no locks.  Failures and acceptances lie beside them.  `record` has the form of one record, `commit`
writes records.  `planning.examiner` and `runtime.node` search them by trace.
"""

from __future__ import annotations

import contextlib
import functools
import getpass
import json
import os
import time
import warnings
from array import array
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from ..errors import DaskcacheWarning, StorageError
from . import files as storage
from . import trust
from .atomic import refuse_link
from .documents import LINE
from .place import FOLDER_TICK_NS, Stamp
from .record import Record, RecordName, utc_now
from .roots import METADATA, Root, parsed

_SUFFIX = ".json"
#: Number of searches for the record of a target while other writers commit, and seconds between them.
_LOOKS = 10
_PAUSE = 0.02


class RecordStore:
    """The records of one root, each folder as it was when first listed.

    A store lives for one verb, or one check on a worker.  Only a new store, or `vouching`, sees later
    changes.

    Parameters
    ----------
    root : Root
    parsed : mapping, optional
        Names of records that were parsed before, by the names of their files.
    """

    def __init__(self, root: Root, parsed: Mapping[str, RecordName] = MappingProxyType({})):
        self.root = root
        self._parsed = parsed
        self._shards: dict[str, dict[str, list[RecordName]]] = {}
        self._by_target: dict[str, list[RecordName]] | None = None
        #: Existing records, by the records that will replace them; see `foresee`.
        self._current: dict[RecordName, RecordName] = {}
        #: Records that were read: True for those of adopted results.
        self._read: dict[RecordName, bool] = {}

    def with_key(self, key: str) -> list[RecordName]:
        """Return the records of a recipe, at any targets."""
        return self._shard(key[:2]).get(key, [])

    def in_shard(self, shard: str) -> list[RecordName]:
        """Return the records in one of the 256 folders."""
        return [name for names in self._shard(shard).values() for name in names]

    @functools.cached_property
    def is_empty(self) -> bool:
        """True if the root had no records at the first look."""
        return not storage.names_in(self.root.records)

    def _shard(self, shard):
        if shard not in self._shards:
            by_key: dict[str, list[RecordName]] = {}
            for name in self._names_in(shard):
                by_key.setdefault(name.key, []).append(name)
            self._shards[shard] = by_key
        return self._shards[shard]

    def with_target(self, identifier: str) -> list[RecordName]:
        """Return the records and intents of a target, of any recipes."""
        if self._by_target is None:
            self._by_target = {}
            for name in self.all():
                self._by_target.setdefault(name.target_id, []).append(name)
        return self._by_target.get(identifier, [])

    def is_adopted(self, name: RecordName) -> bool:
        """Return True for an adopted result's record; older ones say so in their content only."""
        if not name.adopted and name not in self._read:
            self.read(name)
        return name.adopted or self._read.get(name, False)

    def note(self, adopted: Mapping[RecordName, bool]) -> None:
        """Note what earlier reads of records told, for `is_adopted`."""
        self._read.update(adopted)

    def has(self, name: RecordName) -> bool:
        """Return True for an existing, unclaimed record, or a target accepted without a record."""
        return not name.trace or os.path.lexists(self.path_of(name))

    def all(self) -> list[RecordName]:
        """Return all records of the root, followed by all intents.

        Intents are listed first, so that one that becomes a record meanwhile is seen twice, not missed.
        They are listed again at the end, to find a record that is claimed meanwhile (see
        `daskcache.storage.commit`).  Records come first in the result: a dead writer's intent may say
        the same of a table, and be truncated.
        """
        intents, found = self.intents(), []
        for shard in storage.names_in(self.root.records):
            found += self._names_in(shard)
        return list(dict.fromkeys([*found, *intents, *self.intents()]))

    def intents(self, besides: str | None = None) -> list[RecordName]:
        """Return the intents of running commits and of interrupted ones.

        Parameters
        ----------
        besides : str, optional
            Path of an intent to leave out: the caller's.
        """
        files = [n for n in storage.names_in(self.root.intents) if f"{self.root.intents}/{n}" != besides]
        return self._names([storage.intended_name(file) for file in files])

    def vouching(
        self, target: str, location: str, stamp: Stamp | None, key: str, besides: str | None = None
    ) -> RecordName | None:
        """Return the record or intent that vouches for the content at a target, or None.

        A listing can miss a file that is renamed while the folder is read (readdir(3)).  So None is
        returned only if nothing was renamed meanwhile, or after several searches.

        Parameters
        ----------
        target : str
            Id of the target, see `target_id`.
        location : str
            Absolute path of the target.
        stamp : Stamp or None
            Current stamp of the target.
        key : str
            Key whose records are preferred.
        besides : str, optional
            Path of an intent to leave out: the caller's.
        """
        for _ in range(_LOOKS):
            moved = self._last_move()
            found = self._vouching(target, location, stamp, key, besides)
            if found is not None:
                return found
            if moved == self._last_move() and time.time_ns() - moved > FOLDER_TICK_NS:
                return None
            time.sleep(_PAUSE)
            self._shards, self._by_target = {}, None
        return None

    def _last_move(self):
        """Return the mtime of the intents' folder, which changes at each step of a commit or claim."""
        with storage.refused(self.root.intents), contextlib.suppress(FileNotFoundError):
            return os.stat(self.root.intents).st_mtime_ns
        return 0

    def _vouching(self, target, location, stamp, key, besides):
        intents = self.intents(besides)
        near = [*self.with_key(key), *intents]
        found = [name for name in near if name.target_id == target and name.stamp == stamp]
        found = found or [name for name in self.with_target(target) if name.stamp == stamp]
        if len({name.file_hash for name in found}) > 1:
            # Clocks of file systems tick every few milliseconds: rivals can have equal stamps.
            content = storage.hash_if_there(location)
            found = [name for name in found if name.file_hash == content]
        # A table's stamp depends on its rows only: another recipe's result can have the same.
        return min(found, key=lambda name: (name.key != key, not name.adopted), default=None)

    def read(self, name: RecordName) -> Record | None:
        """Return the content of a record, or None if it is missing or (with a warning) unreadable.

        Raises
        ------
        StorageError
            If a newer daskcache wrote the record.
        """
        now = self.as_it_is(name)
        for path in self._places_of(now):
            try:
                record = Record.read(path, now)
            except FileNotFoundError:
                continue
            except StorageError:
                raise
            except (OSError, ValueError) as error:
                warnings.warn(f"can't read the record {path}: {error}", DaskcacheWarning, stacklevel=2)
                return None
            self._read[name] = record.is_adopted
            return record
        return None

    def _places_of(self, name):
        """Yield the paths of a record, its own twice: a commit or claim may rename it meanwhile."""
        yield self.path_of(name)
        yield from self.intents_of(name)
        yield self.path_of(name)

    def remove(self, name: RecordName) -> None:
        """Remove a record, with its intents and claims."""
        for path in (self.path_of(name), *self.intents_of(name)):
            with storage.refused(path):
                storage.discard(path)

    def foresee(self, coming: RecordName, current: RecordName) -> RecordName:
        """Note that `coming` will replace `current`, which is read until then; return `coming`."""
        if coming != current:
            self._current[coming] = current
        return coming

    def write(self, name: RecordName, content: bytes) -> None:
        """Write a record for a target that stays as it is."""
        intent = storage.write_intent(self.root, name.file_name(), content)
        storage.promote_intent(self.root, intent, name.file_name(), name.shard)
        self._current.pop(name, None)

    def refresh(self, touched: RecordName) -> None:
        """Rename an unchanged target's record to `touched` (see `foresee`), which has the new mtime."""
        before = self.path_of(touched)
        self._current.pop(touched, None)
        with contextlib.suppress(FileNotFoundError):  # another program was faster
            os.replace(before, self.path_of(touched))

    def path_of(self, name: RecordName) -> str:
        """Return the path of a record that is not an intent."""
        name = self.as_it_is(name)
        return f"{self.root.records}/{name.shard}/{name.file_name()}"

    def as_it_is(self, name: RecordName) -> RecordName:
        """Return the record that one to come will replace, see `foresee`; any other as it is."""
        while name in self._current:
            name = self._current[name]
        return name

    def intents_of(self, name: RecordName) -> list[str]:
        """Return the paths of intents of this record, and of claims on it."""
        start = name.file_name()
        return [
            f"{self.root.intents}/{n}"
            for n in storage.names_in(self.root.intents)
            if n.startswith(start)
        ]

    def _names_in(self, shard):
        """List the records in a folder; raise `UnsafePath` for a link, as records are removed there."""
        found = storage.names_in(f"{self.root.records}/{shard}")
        if found:
            refuse_link(self.root.path, f"{METADATA}/records/{shard}")
        return self._names(found)

    def _names(self, files):
        """Parse names of files; those that are no record's are left out."""
        key, known = trust.seal_key(), self._parsed
        names = (known.get(file) or RecordName.parse(file, key) for file in files)
        return [name for name in names if name is not None]


# ---- traces -------------------------------------------------------------------------------------


def with_trace(root: Root, trace: str, verb: str) -> list[RecordName]:
    """Return the records with a trace: results that equal code made from equal data, under any key.

    Records lie by key, so an index keeps the folders in which each trace occurs.  Folders that changed
    are listed again at the next verb.  If the index misses a record, a node runs needlessly.

    Parameters
    ----------
    root : Root
    trace : str
        Hash of the code and of the arguments' data.
    verb : str
        Id of the verb: changed folders are listed once per verb.
    """
    index = _indexes.get(root.path)
    if index is None or index.verb != verb:
        index = _indexes[root.path] = _Index(root, verb, index)
    store = RecordStore(root)
    names = [name for shard in index.shards_with(trace) for name in store.in_shard(shard)]
    return [name for name in names if name.trace == trace]


class _Listed(NamedTuple):
    """State of a folder of records when it was listed."""

    mtime_ns: int
    looked_at_ns: int
    #: Python's hashes of the traces in the folder.
    hashes: array[int]


class _Index:
    """The folders of a root's records in which each trace occurs, as one verb sees them."""

    def __init__(self, root: Root, verb: str, before: _Index | None):
        self.verb = verb
        known: dict[str, _Listed] = before.listed if before is not None else {}
        self.listed: dict[str, _Listed] = {
            shard: _listed(f"{root.records}/{shard}", known.get(shard))
            for shard in storage.names_in(root.records)
        }
        self._shards: dict[int, list[str]] = before._shards if before is not None else {}
        if self.listed != known:
            self._shards = {}
            for shard, listed in self.listed.items():
                only = [shard]  # which most of its traces share
                for hashed in listed.hashes:
                    first = self._shards.setdefault(hashed, only)
                    if first is not only and shard not in first:
                        self._shards[hashed] = [*first, shard]

    def shards_with(self, trace: str) -> list[str]:
        """Return the folders in which a trace may occur."""
        return self._shards.get(hash(trace), [])


#: By the path of the root: the index of the verb that looked last.
_indexes: dict[str, _Index] = {}


def _listed(folder, known):
    found = os.stat(folder).st_mtime_ns
    # Only within a tick of the clock can a later addition leave the folder's time as it was.
    if known is not None and known.mtime_ns == found and known.looked_at_ns - found > FOLDER_TICK_NS:
        return known
    now = time.time_ns()
    return _Listed(found, now, array("q", map(_trace_hash, storage.names_in(folder))))


def _trace_hash(file):
    return hash(file.split(".", 3)[2]) if file.count(".") > 3 else 0


# ---- acceptances --------------------------------------------------------------------------------


def write_acceptance(root: Root, target: str, **what: str) -> None:
    """Write a note of a user's decision about a target's content.

    Parameters
    ----------
    root : Root
    target : str
        Id of the target, see `target_id`.
    **what
        One of: ``key``, that of the record whose result is accepted whatever changed since;
        ``content``, the hash of a user's edit or file to adopt; ``keep``, the hash of an adopted file
        to keep for another recipe; ``released``, the keys of the recipes whose adopted result was
        released.  ``correction`` has the hashes of files in a folder of corrections that count as seen
        by the decision.  Those of a release do until there is a record with another mtime than
        ``latest``, that of the newest which it left.
    """
    clear_acceptance(root, target)
    note = {**what, "by": _user(), "when": utc_now()}
    storage.write_new(f"{root.accepted}/{target}{_SUFFIX}", json.dumps(note).encode())


class Acceptances:
    """Decisions of users that are not yet recorded, by target: listed at once, read on request."""

    def __init__(self, root: Root):
        self._folder = root.accepted
        self._targets = {name.removesuffix(_SUFFIX) for name in storage.names_in(root.accepted)}

    def get(self, target: str) -> dict[str, str] | None:
        """Return the decision about a target (id, see `target_id`), or None."""
        if target not in self._targets:
            return None
        try:
            note = dict(parsed(Path(self._folder, f"{target}{_SUFFIX}").read_bytes()))
        except (OSError, ValueError, TypeError):  # a process has just recorded it, or is writing it
            return None
        return {name: told for name, told in note.items() if LINE.fits(told)}


def clear_acceptance(root: Root, target: str) -> None:
    storage.discard(f"{root.accepted}/{target}{_SUFFIX}")


# ---- helpers ------------------------------------------------------------------------------------


def _user():
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user without a name, in a container
        return str(os.getuid())
