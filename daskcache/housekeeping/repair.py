"""Repair of a root: move damaged targets to the trash, and clear up after dead writers.

``dask cache verify --repair`` runs it on the findings of `verify`.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ..planning.states import CORRUPT
from ..storage import files, trash, trust
from ..storage.atomic import refused_below
from ..storage.documents import PATH, known_fields
from ..storage.record import RecordName
from ..storage.records import RecordStore
from ..storage.roots import Root, parsed
from ..storage.verified_folders import mend_manifest
from .listing import listed
from .verify import Checked


def repair(root: Root, checked: list[Checked], min_age: float) -> Iterator[str]:
    """Move damaged targets to the trash, so that they are made again, and clear up after dead writers.

    Edited and adopted targets stay where they are.  Damaged targets and parts of results go to the
    trash.  Only useless metadata is deleted: the intents of commits that put nothing in place, parts of
    metadata, leases of dead workers, and manifests that no record names.

    Parameters
    ----------
    root : Root
    checked : list of Checked
        The findings of `daskcache.housekeeping.verify.verify`.
    min_age : float
        Seconds.  Metadata and parts that changed since then stay.  They may belong to a running writer,
        perhaps on another machine.

    Yields
    ------
    str
        One line for each action.

    Raises
    ------
    StorageError
        If the file system refuses.
    """
    before = time.time() - min_age
    with refused_below(root.path):
        yield from _mend_targets(root, checked)
        yield from _clear_parts(root, before)
        yield from _settle_intents(root, before)
        yield from _clear_metadata(root, before)


def _mend_targets(root, checked):
    store = RecordStore(root)
    for item in checked:
        if item.state == CORRUPT and any(map(store.is_adopted, item.names)):
            yield (
                f"{item.path} was adopted, so it stays: put a copy of it back, or compute it again "
                f"after 'dask cache release {item.path}'"
            )
        elif item.state == CORRUPT:
            yield _set_aside(root, item)
        elif item.name is not None:
            if item.stamp != item.name.stamp:
                store.refresh(store.foresee(item.name._replace(mtime_ns=item.stamp.mtime_ns), item.name))
                yield f"{item.path} was copied or touched: its record has the new time"
            if mend_manifest(root, root.absolute(item.path), item.name.file_hash):
                yield f"{item.path}: the list of its files was lost, and is there again"


def _set_aside(root, item):
    if files.stamp(root.absolute(item.path)) != item.stamp:
        return f"{item.path} changed meanwhile and stays as it is"
    hashes = [name.file_hash for name in item.names]
    kept = trash.keep_damaged(root, item.path, *hashes, seen=item.stamp)
    if kept is None:
        return f"{item.path} was mended or replaced meanwhile and stays as it is"
    return f"{item.path} is damaged: moved to {kept}; it is made again when it is needed"


# ---- what dead writers left ---------------------------------------------------------------------

_FOLDER_FOR_ONE = re.compile(r"[0-9a-f]{16}\Z")


def _clear_parts(root: Root, before: float) -> Iterator[str]:
    """Clear the parts of results that did not change since `before`.

    Parts are made by `storage.files.part_path`, or lie in a folder made by `part_folder`.
    """
    for name in sorted(files.names_in(root.parts)):
        path = f"{root.parts}/{name}"
        if _last_change(path) >= before:
            continue
        if not _FOLDER_FOR_ONE.match(name) or os.path.islink(path):
            yield _clear_part(root, path)
            continue
        for inner in sorted(files.names_in(path)):
            yield _clear_part(root, f"{path}/{inner}")
        if not files.names_in(path):
            os.rmdir(path)


def _clear_part(root, part):
    displaced = _name_if_displaced(part)
    # A part with a second link was put in place as a target; the link here is left over.
    if displaced is None and os.path.isfile(part) and os.lstat(part).st_nlink > 1:
        os.unlink(part)
        return f"{part} was left by a commit that was cut short: removed, its file is in place"
    if displaced is None:
        kept = trash.keep(root, part, os.path.relpath(part, root.path), "part of a dead writer")
        return f"{part} was left by a writer that is gone: moved to {kept}"
    place = _place_of(root, displaced) or os.path.relpath(part, root.path)
    kept = trash.keep(root, part, place, "displaced by a dead writer")
    return f"{part} may have been in the place of {displaced}: moved to {kept}"


def _name_if_displaced(part):
    """Return the name of the target that a part may have been, if its name says so."""
    name = part.rpartition("/")[2].removesuffix(".aside")
    if not name.endswith(files.DISPLACED):
        return None
    return re.sub(r"\A[0-9a-f]{16}-", "", name.removesuffix(files.DISPLACED))


def _place_of(root, name):
    """Return the path of the only recorded target with this file name, else None."""
    places = [item.path for item in listed(root) if item.path.rpartition("/")[2] == name]
    return places[0] if len(places) == 1 else None


@dataclass(frozen=True)
class _Intent:
    """The field of an intent that is needed to finish a commit, whatever else is in it."""

    target: Annotated[str, PATH]


def _settle_intents(root: Root, before: float) -> Iterator[str]:
    """Finish commits whose target is in place but whose intent never became a record.

    Other old intents are deleted.
    """
    for file in sorted(files.names_in(root.intents)):
        intent = f"{root.intents}/{file}"
        name = RecordName.parse(files.intended_name(file), trust.seal_key())
        if name is None or _last_change(intent) >= before:
            continue
        try:
            path = known_fields(_Intent, parsed(Path(intent).read_bytes()))["target"]
        except FileNotFoundError:  # its writer finished it just now
            continue
        except ValueError:  # its writer did not finish it
            path = ""
        location = root.absolute(path) if path else ""
        if path and files.stamp(location) == name.stamp and files.file_hash(location) == name.file_hash:
            files.promote_intent(root, intent, name.file_name(), name.shard)
            yield f"{path}: its commit was cut short, and is finished now"
        else:
            files.discard(intent)
            yield f"{path or file}: a commit of it was cut short before anything was in place"


def _clear_metadata(root: Root, before: float) -> Iterator[str]:
    """Delete unfinished metadata, leases that were not renewed, and manifests that no record names."""
    manifests = list(Path(root.manifests).rglob("*.json"))
    # Records are listed after the manifests: a commit writes its manifest before its record.
    known = {name.file_hash for name in RecordStore(root).all()}
    lost = [path for path in manifests if path.stem not in known]
    for folder, pattern in ((root.metadata, "*"), (root.manifests, "**/*"), (root.code, "**/*")):
        lost += Path(folder).glob(f"{pattern}.part")
    lost += [Path(root.leases, name) for name in files.names_in(root.leases)]
    for path in sorted(lost):
        if _last_change(str(path)) < before:
            files.discard(str(path))
            yield f"{path} is of no use any more: removed"


def _last_change(path: str) -> float:
    """Return the time of the last change to a file, or to a folder and anything in it, in seconds.

    A move counts as a change.
    """
    below = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in ["", *names]]
    try:
        found = [os.lstat(each) for each in (path, *below)]
    except FileNotFoundError:  # a process is working there just now
        return math.inf
    return max(max(each.st_mtime, each.st_ctime) for each in found)
