"""Verification: read recorded targets again and compare their bytes with their records.

Planning looks at sizes and times only.  Damage that keeps both goes unnoticed until a result is loaded,
or until it is verified here.  `repair` acts on the findings; `transfer` checks targets with `check`.
"""

from __future__ import annotations

import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from ..errors import DaskcacheWarning
from ..hashing import algorithms
from ..planning.states import ADOPTED, COMPLETE, CORRUPT, MISSING, MODIFIED
from ..planning.target_state import state_of
from ..storage import files
from ..storage.record import Record, RecordName
from ..storage.records import RecordStore
from ..storage.roots import METADATA, Root
from .listing import matching

#: Not a state of a target, but the lack of one: the target or its record can't be read.
UNREADABLE = "unreadable"
STATES = (COMPLETE, ADOPTED, MISSING, MODIFIED, CORRUPT, UNREADABLE)


class Checked(NamedTuple):
    """Outcome of reading one target."""

    #: Path from the root.
    path: str
    #: One of `STATES`; for "unreadable", see `note`.
    state: str
    #: All records of the target.
    names: tuple[RecordName, ...] = ()
    #: Size and time of the target when it was read.
    stamp: files.Stamp | None = None
    #: The record that the target's bytes match.
    name: RecordName | None = None
    #: Reason why the target or its record can't be read.
    note: str = ""

    @property
    def sound(self) -> bool:
        """True if nothing is to be done.  A missing target is not damaged: it is remade when needed."""
        return self.state in (COMPLETE, ADOPTED, MISSING)


def verify(root: Root, pattern: str = "*") -> list[Checked]:
    """Read the recorded targets of a root and compare their bytes with their records.

    Parameters
    ----------
    root : Root
    pattern : str
        Path of a target or folder, or shell pattern; see `listing.matching`.

    Returns
    -------
    list of Checked
        By path.  A record that can't be read is listed as "unreadable" under its own path.  So is a
        target that was hashed with another algorithm than ``daskcache.hash``, if all its records were.
    """
    claims, unreadable = _claims(root)
    matches = matching(root, pattern)
    found = _check_all(root, {path: names for path, names in claims.items() if matches(path)})
    for _ in range(2):
        doubtful = [item for item in found.values() if not item.sound]
        if not doubtful:
            break
        now, _unreadable = _claims(root)  # a running program may have replaced them meanwhile
        again = {
            item.path: now.get(item.path, [])
            for item in doubtful
            if item.state == UNREADABLE or set(now.get(item.path, [])) != set(item.names)
        }
        found |= _check_all(root, again)
    others = [item for item in unreadable if matches(item.path)]
    return [found[path] for path in sorted(found)] + sorted(others)


def _check_all(root, claims):
    store = RecordStore(root)
    with ThreadPoolExecutor() as pool:
        checked = pool.map(lambda path: check(store, path, claims[path]), claims)
        return dict(zip(claims, checked, strict=True))


def _claims(root):
    """Return the records of each target, and the targets or records that can't be read."""
    store = RecordStore(root)
    claims: dict[str, list[RecordName]] = {}
    unreadable, hashed_otherwise = [], {}
    for name in store.all():
        record = _read_quietly(store, name)
        if record is not None and (other := other_algorithm(record)):
            told = f"hashed with {other}: set daskcache.hash to that to verify it"
            hashed_otherwise[record.target] = told
        elif record is not None:
            claims.setdefault(record.target, []).append(name)
        # a new store: the record may have been replaced or removed since `store` listed it
        elif name in RecordStore(root).with_key(name.key):
            path = f"{METADATA}/records/{name.shard}/{name.file_name()}"
            unreadable.append(Checked(path, UNREADABLE, note="the record says no target"))
    for target, note in hashed_otherwise.items():
        if target not in claims:
            unreadable.append(Checked(target, UNREADABLE, note=note))
    return claims, unreadable


def other_algorithm(record: Record) -> str | None:
    """Return the config name of a record's hash algorithm; None if it is the one in use."""
    name = record.file_hash.rpartition(":")[0]
    return None if name in ("", algorithms.algorithm()) else algorithms.configured_as(name)


def counts(checked: list[Checked]) -> dict[str, int]:
    """Number of targets in each state."""
    found = Counter(item.state for item in checked)
    return {state: found[state] for state in STATES}


def check(store: RecordStore, path: str, records: list[RecordName]) -> Checked:
    """Read one target and compare it with its records.

    Parameters
    ----------
    store : RecordStore
    path : str
        Path from the root.
    records : list of RecordName
        The target's records.

    Returns
    -------
    Checked
    """
    names = tuple(records)
    try:
        state, name, found = state_of(store, path, names, thorough=True)
        steady = files.stamp(store.root.absolute(path)) == found
    except FileNotFoundError:
        steady = False
    except OSError as error:
        return Checked(path, UNREADABLE, names, note=str(error.strerror or error))
    if not steady:
        return Checked(path, UNREADABLE, names, note="it changes while it is read")
    return Checked(path, state, names, found, name)


def _read_quietly(store, name):
    """A record, without the warning if it can't be read: it is reported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DaskcacheWarning)
        return store.read(name)
