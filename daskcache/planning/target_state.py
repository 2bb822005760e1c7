"""The state of a target, found by comparing its file with its records, or by reading the file.

`housekeeping` calls `state_of` for targets that it knows from their records alone.  `target_examiner`
asks the same questions about the targets of nodes, in the same order, and between them those that need a
recipe, for example whether the record is the node's own.  `look_into` reads files whose content no
record describes: edited, damaged, or written by other programs.  `corrections` uses it to check a file
before it is adopted.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from ..errors import FormatLimit, MissingExtra, StorageError, UntrustedPickle
from ..storage import files
from ..storage.record import RecordName
from ..storage.records import RecordStore
from ..storage.roots import Root
from ..storage.trust import check_runnable
from ..storage.verified_folders import kept_files
from ..targets.base import FolderFormat, Target
from ..targets.forms import as_recorded, in_form
from .states import ADOPTED, COMPLETE, CORRUPT, FOREIGN, MISSING, MODIFIED


class TargetState(NamedTuple):
    """The state of a target according to its records."""

    #: One of the states of `states` that need no recipe.
    state: str
    #: The record that describes the target's content, or None.
    name: RecordName | None
    #: Size and mtime of the target, None if it is missing.
    stamp: files.Stamp | None


def state_of(
    store: RecordStore, path: str, names: Collection[RecordName], thorough: bool = False
) -> TargetState:
    """Compare a target with its records, whatever the recipes that made it.

    Parameters
    ----------
    store : RecordStore
    path : str
        Path of the target from the root.
    names : collection of RecordName
        All records of the target.
    thorough : bool
        Hash the target even if its size and mtime are recorded, as damage can keep both.  A file that is
        not as recorded and has no newer mtime counts as damaged then, because edits leave one.

    Raises
    ------
    OSError
        If the target can't be read.
    """
    location = store.root.absolute(path)
    found = files.stamp(location)
    if found is None:
        return TargetState(MISSING, None, None)
    name = None if thorough else _believed(names, found, newest_first)
    is_plain = name is not None or _is_plain(location)
    if name is None and is_plain:
        name = described_by(names, location, found, newest_first, thorough)
    if name is not None:
        return TargetState(ADOPTED if store.is_adopted(name) else COMPLETE, name, found)
    if thorough and is_plain and _looks_damaged(location, found, names):
        return TargetState(CORRUPT, None, found)
    if not names:
        return TargetState(FOREIGN, None, found)
    from ..runtime.named import target_of  # most targets are as recorded

    before = min(names, key=newest_first)
    record = store.read(before) if is_plain else None
    target = target_of(record) if record is not None else None
    if target is None:  # only the record names its format, and is not trusted to choose it
        return TargetState(MODIFIED, None, found)
    state, _ = edited_or_damaged(target.at(location), store.root, before)
    return TargetState(state, None, found)


def newest_first(name: RecordName) -> tuple[Any, ...]:
    """Sort key for the records of one target: adopted results first, then the newest."""
    return not name.adopted, -name.mtime_ns


def described_by(
    names: Collection[RecordName],
    location: str,
    stamp: files.Stamp,
    order: Callable[[RecordName], tuple[Any, ...]],
    thorough: bool = False,
) -> RecordName | None:
    """Return the record that describes the content of a target, or None.

    A record with the target's size and mtime is believed.  If there is none, or if rivals wrote within
    one tick of the clock, the target is hashed.  It may have been copied or touched, but not edited.

    Parameters
    ----------
    names : collection of RecordName
        Records of the target.
    location : str
        Absolute path of the target.
    stamp : Stamp
        Size and mtime of the target.
    order : callable
        Sort key.  Of several records that describe the content, those with its mtime come first, then
        the first in this order.
    thorough : bool
        Hash the target in any case.
    """
    known = None if thorough else _believed(names, stamp, order)
    if known is not None:
        return known
    candidates = [name for name in names if name.size == stamp.size]
    content = files.file_hash(location) if candidates else None
    if files.stamp(location) != stamp:
        return None  # the file was replaced meanwhile, and `content` is that of the new one
    found = [name for name in candidates if name.file_hash == content]
    return min(found, key=lambda name: (name.stamp != stamp, *order(name)), default=None)


def _believed(names, stamp, order):
    """Return the record with the target's size and mtime; None if rivals wrote within one tick."""
    found = [name for name in names if name.mtime_ns == stamp.mtime_ns and name.size == stamp.size]
    if len(found) < 2:
        return found[0] if found else None
    return min(found, key=order) if len({name.file_hash for name in found}) == 1 else None


def edited_or_damaged(target: Target, root: Root, before: RecordName) -> tuple[str, str]:
    """Return the state of a target whose content no record describes, and the reason.

    An edited file can be read, a damaged one can't.  Files that run code are not read to find out.  A
    file that can't be read because a package is missing counts as edited, so that it is not replaced.

    Parameters
    ----------
    target : Target
        The target with its absolute path.
    root : Root
    before : RecordName
        The record of the result that was stored there.
    """
    edited = "was edited after it was stored"
    try:
        if target.runs_code or look_into(target, root, before.file_hash) is not None:
            return MODIFIED, edited
    except (UntrustedPickle, MissingExtra) as error:
        return MODIFIED, f"{edited}: {error.message}"
    if isinstance(target, FolderFormat):
        return CORRUPT, "is damaged: files of it are missing, or can't be read any more"
    return CORRUPT, "is damaged: it can't be read any more"


def _is_plain(location):
    """Return True for a file, folder or table.  Opening a pipe would block for ever."""
    if not files.place_of(location).has_files:
        return True
    mode = os.stat(location).st_mode
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def _looks_damaged(location, found, names):
    """Tell damage from an edit by size and mtime: an edit leaves some content and a newer mtime."""
    if found.size == 0:
        return True
    if os.path.isdir(location):  # a folder that lost its newest file has an older time than before
        return found.mtime_ns <= max((name.mtime_ns for name in names), default=-1)
    return any(found.mtime_ns == name.mtime_ns for name in names)


# ---- unrecorded content ----------------------------------------------------------------------------


class Found(NamedTuple):
    """The hashes of a file or folder with unrecorded content."""

    data_hash: str
    file_hash: str
    #: The files of a folder, None for a file; see `daskcache.storage.files.manifest_of`.
    manifest: list[tuple[str, int, str]] | None


def look_into(
    target: Target, root: Root, stored: str | None = None, form: dict[str, Any] | None = None
) -> Found | None:
    """Read and hash a target with unrecorded content.

    Parameters
    ----------
    target : Target
        The target with its absolute path.
    root : Root
        The root in which it lies.
    stored : str, optional
        File hash of the result that was stored there.  A folder that differs from it only by missing or
        empty files counts as damaged.  Its format may still read it, because Zarr reads missing chunks
        as fill values.
    form : dict, optional
        The form in which the target will be read; see `daskcache.targets.forms`.

    Returns
    -------
    Found or None
        None if the target is damaged, can't be read in its format, or changes while it is read.

    Raises
    ------
    FormatLimit
        If the target can't be read in `form`.
    UntrustedPickle
        If it is a pickle that must not be read.
    StorageError
        If the operating system refuses to read it.
    MissingExtra
        If the package that reads its format is not installed.
    """
    try:
        found = files.part_of(target.path)
        if stored is not None and _has_lost_files(found, root, stored):
            return None
        if target.runs_code:
            check_runnable(target.path, root.path)
        data_hash = _hash_in_form(target, form)
        unchanged = files.file_hash(target.path) == found.file_hash
    except (UntrustedPickle, StorageError, MissingExtra):
        raise
    except FormatLimit:
        if form is not None:
            raise
        return None
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno is None:  # raised by a library for a file that is not in its format
            return None
        raise files.storage_error(error, target.path) from error  # says nothing about the file
    except Exception:  # noqa: BLE001 (whatever a library raises on a file that is not in its format)
        return None
    return Found(data_hash, found.file_hash, found.manifest) if unchanged else None


def _hash_in_form(target, form):
    if form is None:
        return target.hash_file(target.path)
    value = in_form(target.read(target.path), form, target.path)
    return as_recorded(target, form).hash_read(value, target.path)


def _has_lost_files(found: files.Part, root: Root, stored: str) -> bool:
    known = kept_files(root.manifests, stored) if found.manifest is not None else None
    if known is None:
        return False
    # only files with content count: lost ones are missing, or were left empty
    there = {(name, size, digest) for name, size, digest in found.manifest or () if size}
    return there < {(name, size, digest) for name, (size, digest) in known.items() if size}
