"""Every recorded target read again and compared with its record; and what is damaged, set aside.

Planning looks at sizes and times only, so damage that keeps both is noticed when a result is loaded, or
here.
"""

from __future__ import annotations

import json
import math
import os
import stat
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

from . import storage, trash
from .errors import DaskcacheWarning, StorageError, UnsafePath
from .records import RecordName, RecordStore
from .storage import METADATA, Root, Stamp
from .targets.template import check_path

OK, CORRUPT, MODIFIED, MISSING, UNREADABLE = "ok", "corrupt", "modified", "missing", "unreadable"
STATES = (OK, CORRUPT, MODIFIED, MISSING, UNREADABLE)


class Checked(NamedTuple):
    """What came of reading one target."""

    #: Path from the root.
    path: str
    #: "ok", "corrupt", "modified", "missing" or "unreadable" (by the operating system).
    state: str
    #: All records of the target.
    names: tuple[RecordName, ...] = ()
    #: What it looked like when it was read.
    stamp: Stamp | None = None
    #: The record whose bytes are there.
    name: RecordName | None = None
    #: What went wrong.
    note: str = ""

    @property
    def sound(self) -> bool:
        """Whether nothing is to be done: gone is not damaged, a missing target is made when needed."""
        return self.state in (OK, MISSING)


def verify(root: Root, pattern: str = "*") -> list[Checked]:
    """Read the recorded targets of a root and compare their bytes with their records.

    Parameters
    ----------
    root : Root
    pattern : str
        Of root-relative paths, as in a shell.

    Returns
    -------
    list of Checked
        By path.  A record that can't be read is "unreadable", under its own path.
    """
    claims, unreadable = _claims(root)
    found = _check_all(root, {path: names for path, names in claims.items() if fnmatch(path, pattern)})
    for _ in range(2):
        doubtful = [item for item in found.values() if not item.sound]
        if not doubtful:
            break
        now, _unreadable = _claims(root)  # somebody may have replaced them meanwhile
        again = {
            item.path: now.get(item.path, [])
            for item in doubtful
            if item.state == UNREADABLE or set(now.get(item.path, [])) != set(item.names)
        }
        found |= _check_all(root, again)
    return [found[path] for path in sorted(found)] + (sorted(unreadable) if pattern == "*" else [])


def _check_all(root, claims):
    with ThreadPoolExecutor() as pool:
        checked = pool.map(lambda path: check(root, path, claims[path]), claims)
        return dict(zip(claims, checked, strict=True))


def _claims(root):
    """The records of each target, and those that can't be read."""
    store = RecordStore(root)
    claims: dict[str, list[RecordName]] = {}
    unreadable = []
    for name in store.all():
        target = _target_in(_read_quietly(store, name))
        if target is not None:
            claims.setdefault(target, []).append(name)
        elif name in RecordStore(root).with_key(name.key):
            path = f"{METADATA}/records/{name.shard}/{name.file_name()}"
            unreadable.append(Checked(path, UNREADABLE, note="the record says no target"))
    return claims, unreadable


def counts(checked: list[Checked]) -> dict[str, int]:
    """Number of targets in each state."""
    found = Counter(item.state for item in checked)
    return {state: found[state] for state in STATES}


def check(root: Root, path: str, records: list[RecordName]) -> Checked:
    """Read one target and compare it with some records of it."""
    location, names = root.absolute(path), tuple(records)
    try:
        found = storage.stamp(location)
        if found is None:
            return Checked(path, MISSING, names)
        content = storage.file_hash(location) if _is_plain(location) else None
        unsteady = storage.stamp(location) != found
    except FileNotFoundError:
        unsteady = True
    except OSError as error:
        return Checked(path, UNREADABLE, names, note=str(error.strerror or error))
    if unsteady or found is None:
        return Checked(path, UNREADABLE, names, note="it changes while it is read")
    same = [name for name in names if (name.size, name.file_hash) == (found.size, content)]
    if same:
        newest_last = sorted(same, key=lambda name: name.stamp == found)
        return Checked(path, OK, names, found, newest_last[-1])
    state = CORRUPT if _is_damage(location, found, names) else MODIFIED
    return Checked(path, state, names, found)


def _read_quietly(store, name):
    """A record, without the warning if it can't be read: it is reported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DaskcacheWarning)
        return store.read(name)


def _target_in(record: Any) -> str | None:
    """The path that a record is about, if it is a record and the path stays in the root."""
    path = record.get("target") if isinstance(record, dict) else None
    if not isinstance(path, str):
        return None
    try:
        check_path(path, path)
    except UnsafePath:
        return None
    return path


def _is_plain(location):
    """Whether it is a file or folder: to open a pipe would wait for ever."""
    mode = os.stat(location).st_mode
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def _is_damage(location, found, names):
    """Tell damage from an edit: an edit leaves some content, and a newer time."""
    if found.size == 0:
        return True
    if os.path.isdir(location):  # when a folder's newest file is lost, the time goes back
        return found.mtime_ns <= max((name.mtime_ns for name in names), default=-1)
    return any(found.mtime_ns == name.mtime_ns for name in names)


# ---- repairing ----------------------------------------------------------------------------------


def repair(root: Root, checked: list[Checked], min_age: float) -> Iterator[str]:
    """Set damaged targets aside, so that they are made again, and clear up after dead writers.

    What was edited stays where it is.  Nothing is deleted but the intents of commits that never came to
    anything: damaged targets and the parts of dead writers go to the trash.

    Parameters
    ----------
    root : Root
    checked : list of Checked
        What `verify` found.
    min_age : float
        Seconds.  Parts and intents that changed since then may belong to a writer, perhaps on another
        machine, that is still at work.

    Yields
    ------
    str
        What was done, a line for each thing.
    """
    try:
        yield from _repair(root, checked, time.time() - min_age)
    except StorageError:
        raise
    except OSError as error:
        raise storage.storage_error(error, error.filename or root.path) from error


def _repair(root, checked, before):
    store = RecordStore(root)
    for item in checked:
        if item.state == CORRUPT:
            yield _set_aside(root, item)
        elif item.name is not None and item.stamp != item.name.stamp:
            store.refresh(item.name, item.stamp)
            yield f"{item.path} was copied or touched: its record has the new time"
    for part in _parts(root, before):
        yield _clear_part(root, part)
    yield from _settle_intents(root, before)


def _set_aside(root, item):
    if storage.stamp(root.absolute(item.path)) != item.stamp:
        return f"{item.path} changed meanwhile and stays as it is"
    kept = trash.keep_damaged(root, item.path, *[name.file_hash for name in item.names])
    if kept is None:
        return f"{item.path} was mended meanwhile and stays as it is"
    return f"{item.path} is damaged: moved to {kept}; it is made again when it is needed"


def _parts(root: Root, before: float) -> Iterator[Path]:
    """Parts of writers in the metadata, untouched for long."""
    known = [Path(root.parts, name) for name in storage.names_in(root.parts)]
    for path in [*known, *Path(root.metadata).glob("*.part"), *Path(root.code).rglob("*.part")]:
        if _last_change(path) < before:
            yield path


def _last_change(path: Path) -> float:
    """When a file, a folder, or anything in it last changed, in seconds; being moved counts."""
    below = [Path(folder, name) for folder, _, names in os.walk(path) for name in ["", *names]]
    try:
        found = [os.lstat(each) for each in (path, *below)]
    except FileNotFoundError:  # somebody is at work there
        return math.inf
    return max(max(each.st_mtime, each.st_ctime) for each in found)


def _clear_part(root, part):
    # A part may hold what a replacement displaced: a file that somebody edited.
    if part.is_file() and part.stat().st_nlink > 1:  # it is in place as well
        part.unlink()
        return f"{part} was left by a commit that was cut short: removed, its file is in place"
    kept = trash.keep(root, str(part), part.relative_to(root.path).as_posix(), "part of a dead writer")
    return f"{part} was left by a writer that is gone: moved to {kept}"


def _settle_intents(root: Root, before: float) -> Iterator[str]:
    """Finish the commits that were cut short after their last step but one; forget the others."""
    for file in sorted(os.listdir(root.intents)):
        intent = f"{root.intents}/{file}"
        name = RecordName.parse(storage.intended_name(file))
        try:
            if name is None or _last_change(Path(intent)) >= before:
                continue
            path = _target_in(_json(intent))
        except FileNotFoundError:  # its writer finished it
            continue
        location = root.absolute(path) if path else ""
        if path and storage.stamp(location) == name.stamp and _holds(location, name):
            storage.promote_intent(root, intent, name.file_name(), name.shard)
            yield f"{path}: its commit was cut short, and is finished now"
        else:
            storage.discard(intent)
            yield f"{path or file}: a commit of it was cut short before anything was in place"


def _holds(location, name):
    return storage.file_hash(location) == name.file_hash


def _json(path):
    try:
        return json.loads(Path(path).read_bytes())
    except ValueError:  # its writer did not come to the end of it
        return None
