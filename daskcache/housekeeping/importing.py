"""Import of results with their records from an archive, which `exporting` wrote for another root.

`archive` defines the format and checks it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..aliases import names_of
from ..errors import ForeignTarget, StorageError, TargetCorrupt
from ..storage import files as storage
from ..storage.atomic import refused_below
from ..storage.code_store import write_once
from ..storage.record import collision_form, sealed_content
from ..storage.records import RecordStore
from ..storage.roots import Root
from ..storage.verified_folders import keep_manifest, mend_manifest
from .archive import Archive, Packed
from .listing import listed
from .verify import check

__getattr__ = names_of(__name__, "housekeeping.exporting")


class Imported(NamedTuple):
    """Outcome of an import for one target."""

    path: str
    #: "imported", "record only" (its file is not in the archive), "there already", or "left out" (a
    #: pickle, or another format that may run code when it is read).  `correction_sets` has more.
    outcome: str


IMPORTED, RECORD_ONLY, THERE, LEFT_OUT = "imported", "record only", "there already", "left out"


def import_archive(root: Root, archive: str, trust_pickles: bool = False) -> list[Imported]:
    """Import the results in an archive into a root.

    The program that makes these results finds them complete afterwards.  Nothing is imported if anything
    in the archive is invalid or conflicts with other files.  Existing files are never replaced.  A
    target that exists with the same bytes stays.

    Parameters
    ----------
    root : Root
        Made if it does not exist.
    archive : str
        Path of a file that `exporting.export` wrote.
    trust_pickles : bool
        Also import formats that can run code when they are read.  Imported files belong to the current
        user, so daskcache will trust them like the user's own results.

    Returns
    -------
    list of Imported

    Raises
    ------
    StorageError
        If the file is not an archive, the disk is too small for it, or the file system refuses.
    UnsafePath
        If a member would be unpacked outside of its place.
    TargetCorrupt
        If a target or record in the archive contradicts its record.
    ForeignTarget
        If other files are in the places of the archive's targets.
    """
    return import_chosen(root, archive, lambda packed: _outcomes(root, packed, trust_pickles))


def import_chosen(
    root: Root,
    archive: str,
    decide: Callable[[list[Packed]], dict[str, str]],
    put_in_place: Callable[[Packed, Callable[[], None]], str] | None = None,
) -> list[Imported]:
    """Import results as `import_archive` does, with other decisions.

    Parameters
    ----------
    root, archive
        See `import_archive`.
    decide : callable
        Returns the outcome for each target, by path.  Files are put in place for "imported" alone.
    put_in_place : callable, optional
        Gets each target whose file is to be put in place, and a function that does so.  Returns the
        outcome.

    Returns
    -------
    list of Imported

    Raises
    ------
    StorageError, UnsafePath, TargetCorrupt, ForeignTarget
        As `import_archive` does.
    """
    with Archive(os.path.abspath(archive)) as opened:
        root.create()
        outcomes = decide(opened.packed)
        coming = [item for item in opened.packed if outcomes[item.path] == IMPORTED]
        _check_room(root, sum(item.size for item in coming), opened.path)
        parts: dict[str, storage.Part] = {}
        try:
            with refused_below(root.path):
                for item in coming:
                    _unpack(root, opened, item, parts)
                _keep_code(root, opened)
                store = RecordStore(root)
                for item in opened.packed:
                    take_in = partial(_take_in, store, item, outcomes[item.path], parts.get(item.path))
                    if item.path in parts and put_in_place is not None:
                        outcomes[item.path] = put_in_place(item, take_in)
                    else:
                        take_in()
        finally:
            for part in parts.values():
                storage.discard(part.path)
    return [Imported(path, outcome) for path, outcome in outcomes.items()]


def _outcomes(root, packed, trust_pickles):
    """Decide the outcome for each target, by path; raise if other files are in the way."""
    store = RecordStore(root)
    recorded = {collision_form(item.path): item for item in listed(root)}
    outcomes, conflicts = {}, []
    for item in packed:
        outcomes[item.path] = IMPORTED if item.files else RECORD_ONLY
        if not (item.harmless or trust_pickles):
            outcomes[item.path] = LEFT_OUT
        elif is_in_the_way(root, item, recorded):
            conflicts.append(item.path)
        elif os.path.lexists(root.absolute(item.path)):
            outcomes[item.path] = THERE
            if item.files and check(store, item.path, [item.name]).name is None:
                conflicts.append(item.path)
    if conflicts:
        raise ForeignTarget(
            f"other files are where {len(conflicts)} target(s) of the archive belong",
            target=", ".join(conflicts[:5]) + (", …" if len(conflicts) > 5 else ""),
            expected="nothing there, or the same bytes",
            got=f"other content in {root.path}",
            hint="nothing was imported; 'dask cache rm' moves results away, or import elsewhere: --root",
        )
    return outcomes


def is_in_the_way(root, item, recorded):
    """Return True if a target's path conflicts with an existing one.

    It conflicts if it leads through a file or a target, or differs from a recorded path only in case or
    Unicode form.
    """
    known = recorded.get(collision_form(item.path))
    if known is not None and known.path != item.path:
        return True
    for folder in list(Path(item.path).parents)[:-1]:
        location = root.absolute(folder.as_posix())
        if collision_form(folder.as_posix()) in recorded:
            return True
        if os.path.lexists(location) and not os.path.isdir(location):
            return True
    return False


def _check_room(root, size, archive):
    free = shutil.disk_usage(root.path).free
    if size > free:
        raise StorageError(
            "the disk is too full for the archive's targets",
            target=archive,
            expected=f"at most {free} bytes",
            got=f"{size} bytes",
            hint="free space, for example with 'dask cache gc', or import elsewhere: --root",
        )


def _unpack(root, archive: Archive, item: Packed, parts):
    """Write one target as a part, and check it against its record."""
    part = storage.part_path(root, item.path.rpartition("/")[2])
    parts[item.path] = storage.Part(part, "", item.name.stamp)
    for inner, member in item.files.items():
        path = f"{part}/{inner}" if item.is_folder else part
        if item.is_folder:
            os.makedirs(os.path.dirname(path), exist_ok=True)
        storage.write_part(path, archive.pieces(member))
        # keep the time at which it was stored: results may expire
        os.utime(path, ns=(os.stat(path).st_atime_ns, item.name.mtime_ns))
    parts[item.path] = written = storage.part_of(part)
    if written.file_hash != item.name.file_hash:
        raise TargetCorrupt(
            "a target in the archive is not what its record says",
            target=f"{archive.path}: {item.path}",
            expected=item.name.file_hash,
            got=written.file_hash,
            hint="nothing was imported; copy or export the archive again",
        )
    keep_manifest(root, written.file_hash, written.manifest)


def _keep_code(root, archive):
    for name, content in archive.code():
        write_once(f"{root.code}/{name}", content)


def _take_in(store, item: Packed, outcome, part: storage.Part | None):
    """Write a target's record and put its file in place.

    The steps are those of every commit: first the intent, then the file, then the record.
    """
    if outcome not in (IMPORTED, RECORD_ONLY, THERE):
        return
    root, name = store.root, item.name
    # a record vouches for a file by its time, too: the name gets the time of the file here
    if part is not None:
        name = name._replace(mtime_ns=part.stamp.mtime_ns)
    elif outcome == THERE:
        found = check(store, item.path, [name])
        if not item.files or found.name is None or found.stamp is None:
            return
        name = name._replace(mtime_ns=found.stamp.mtime_ns)
    if part is None and _is_recorded(store, name, outcome):
        return
    if outcome == THERE:
        mend_manifest(root, root.absolute(item.path), name.file_hash)
    intent = storage.write_intent(root, name.file_name(), sealed_content(item.content))
    if part is not None:
        try:
            storage.put_new(root, part.path, item.path)
        except FileExistsError as error:
            storage.discard(intent)
            raise ForeignTarget(
                "another program has just put a file in the place of a target of the archive",
                target=root.absolute(item.path),
                hint="import again: what was imported before it stays",
            ) from error
    storage.promote_intent(root, intent, name.file_name(), name.shard)


def _is_recorded(store, name, outcome):
    """Return True if the store has a record of the file in place or, without a file, of the recipe."""
    known = store.with_target(name.target_id)
    if outcome == THERE:
        return any(each.stamp == name.stamp for each in known)
    return any(each.key == name.key for each in known)
