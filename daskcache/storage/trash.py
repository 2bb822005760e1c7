"""The trash of a root: files and folders that were displaced or removed, and are kept.

Each item lies under its name in a separate folder, ``<root>/.daskcache/trash/<when>-<number>/``.  The
``about.json`` beside it gives its former path and the reason.  Commits, corrections and housekeeping
move items here; ``dask cache trash`` lists, empties and restores them.  Tables stay in their database.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from pathlib import Path
from typing import NamedTuple

from ..errors import ForeignTarget, StorageError, TargetMissing, UnsafePath
from . import files
from .atomic import refused
from .documents import LINE
from .paths import check_path
from .place import Stamp
from .record import TIME_FORMAT, target_id
from .records import RecordStore
from .roots import METADATA, Root, parsed

_ABOUT = "about.json"


class Trashed(NamedTuple):
    """An item in the trash."""

    #: Name of its folder in the trash: time of arrival and a random number.
    id: str
    #: Former path from the root.
    target: str
    #: Reason for its removal, in a few words.
    reason: str
    #: Time of arrival (UTC).
    when: str
    #: Current path.
    kept: str


def keep(root: Root, path: str, target: str, reason: str) -> str:
    """Move a file or folder to the trash; a table is renamed, and stays in its database.

    Parameters
    ----------
    root : Root
    path : str
        Absolute path, inside the root.
    target : str
        Path from the root of the target that it is, or was.
    reason : str
        Reason for the move, in a few words.

    Returns
    -------
    str
        Path where it is kept.

    Raises
    ------
    UnsafePath
        If it is outside the root, for example because a folder on the way is a symbolic link.
    StorageError
        If it can't be moved.
    """
    return files.place_of(path).keep(root, path, _new_folder(root, path, target, reason))


@contextlib.contextmanager
def _new_folder(root, path, target, reason):
    """Make a folder in the trash and yield a path in it; remove the folder if the move fails."""
    now = time.gmtime()
    folder = f"{root.trash}/{time.strftime('%Y%m%dT%H%M%SZ', now)}-{uuid.uuid4().hex[:8]}"
    about = {"target": target, "reason": reason, "when": time.strftime(TIME_FORMAT, now)}
    try:
        with refused(path):
            files.write_new(f"{folder}/{_ABOUT}", json.dumps(about, ensure_ascii=False).encode())
            yield f"{folder}/{target.rpartition('/')[2]}"
    except (StorageError, UnsafePath):
        with contextlib.suppress(OSError):  # something is in it
            os.unlink(f"{folder}/{_ABOUT}")
            os.rmdir(folder)
        raise


def keep_damaged(root: Root, target: str, *stored: str, seen: Stamp | None = None) -> str | None:
    """Move a target to the trash if its bytes are not those that were stored.

    Parameters
    ----------
    root : Root
    target : str
        Path from the root.
    *stored : str
        Hashes of the bytes that were stored there.
    seen : Stamp, optional
        Stamp of the target when it was found damaged.

    Returns
    -------
    str or None
        Path where it is kept, or None if another process moved or repaired it first.
    """
    path = root.absolute(target)
    if files.stamp(path) is None:
        return None
    try:
        kept = keep(root, path, target, "damaged")
    except StorageError:
        if files.stamp(path) is None:  # another process found it, too, and was faster
            return None
        raise
    # It is examined again in the trash, where no other process can replace it meanwhile.
    try:
        if seen in (None, files.stamp(kept)) and files.file_hash(kept) not in stored:
            return kept
    except OSError:  # it can't even be read
        return kept
    with contextlib.suppress(FileExistsError):  # another target is there by now
        files.put_new(root, kept, target)
    return None


def listed(root: Root) -> list[Trashed]:
    """Return the items in the trash, oldest first."""
    found = []
    for name in sorted(files.names_in(root.trash)):
        folder = f"{root.trash}/{name}"
        try:
            about = parsed(Path(folder, _ABOUT).read_bytes())
            target, reason, when = (about[field] for field in ("target", "reason", "when"))
            kept = f"{folder}/{target.rpartition('/')[2]}"
            ours = all(map(LINE.fits, (target, reason, when))) and os.path.lexists(kept)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            continue  # being made, being emptied, or foreign
        if ours and os.path.basename(kept) not in ("", ".", "..", _ABOUT):
            found.append(Trashed(name, target, reason, when, kept))
    return found


def restore(root: Root, thing: Trashed) -> str | None:
    """Put an item back at its former path.

    A target that is there now goes to the trash in turn, if it has a record.

    Returns
    -------
    str or None
        Path where the displaced target is kept, or None if the place was free.

    Raises
    ------
    UnsafePath
        If the former path in ``about.json`` can't be that of a target, for example outside the root.
    ForeignTarget
        If a file without a record is there.
    StorageError
        If the item can't be moved, or is not a target but a part that a writer left behind.
    """
    if thing.target.startswith(f"{METADATA}/"):
        raise StorageError(
            "this was no target: a writer left it before it was in place",
            target=thing.kept,
            hint="copy it from there, if it is of use",
        )
    check_path(thing.target, thing.target)
    kept = None
    try:
        files.put_new(root, thing.kept, thing.target)
    except FileExistsError:
        current = files.stamp(root.absolute(thing.target))
        known = [name.stamp for name in RecordStore(root).with_target(target_id(thing.target))]
        if current not in known:
            raise ForeignTarget(
                "something is where the restored file was",
                target=root.absolute(thing.target),
                expected="nothing there, or what daskcache stored",
                got="a file that has no record",
                hint="move it away, then restore",
            ) from None
        # Without a recorded stamp the displaced target is kept, not deleted.
        displaced = files.replace(root, thing.kept, thing.target, None)
        if displaced is not None:  # else another process removed it in the meantime
            kept = keep(root, displaced, thing.target, "replaced by restore")
    _remove(root, thing.id)
    return kept


def find(root: Root, *given: str) -> Trashed:
    """Return the newest item in the trash with one of the given ids or former paths.

    Raises
    ------
    TargetMissing
        If the trash has none.
    """
    for thing in reversed(listed(root)):
        if thing.id in given or thing.target in given:
            return thing
    raise TargetMissing(
        f"nothing of {given[0]} is in the trash", target=root.trash, hint="'dask cache trash' lists it"
    )


def aged(root: Root, older_than: float = 0.0) -> list[Trashed]:
    """Return the items that came to the trash `older_than` or more seconds ago, oldest first."""
    limit = time.strftime(TIME_FORMAT, time.gmtime(time.time() - older_than))
    return [thing for thing in listed(root) if thing.when <= limit]


def empty(root: Root, things: list[Trashed] | None = None) -> list[Trashed]:
    """Delete items in the trash for good, by default all `aged` ones; return them."""
    things = aged(root) if things is None else things
    for thing in things:
        _remove(root, thing.id)
    return things


def _remove(root, identifier):
    folder = f"{root.trash}/{identifier}"
    with refused(folder):
        files.discard(folder)
