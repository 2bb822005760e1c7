"""The corrections of a root as a set: list them, pack them into an archive, apply them to another root.

A correction is a result that a user edited and adopted.  `adoption` and `planning.corrections` decide
about single ones, `transfer` moves the files, and `cli.corrections` has the commands.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import TargetMissing
from ..planning.states import ADOPTED, COMPLETE, MISSING
from ..storage import files, trash
from ..storage.record import Record, RecordName, collision_form
from ..storage.records import Acceptances, RecordStore
from ..storage.roots import Root
from .archive import Packed
from .exporting import export
from .importing import IMPORTED, LEFT_OUT, THERE, Imported, import_chosen, is_in_the_way
from .listing import Listed, listed, resolved
from .verify import check

#: State of an edit that a command adopted: the program that makes the target takes it in.
NOTED = "noted"
#: Outcomes of `apply`, besides those of imports: in place of the function's result, and not applied.
APPLIED, EDITED_HERE = "applied", "left out: what is there is not as its function made it"
IN_THE_WAY = "left out: another file or folder is in the way"
NO_CORRECTION = "left out: not a correction"


@dataclass(frozen=True)
class Correction:
    """A target that holds, or held, what a user made."""

    #: Path from the root.
    target: str
    #: "adopted", "missing", "modified" (edited again), "corrupt", or "noted" (adopted by a command; the
    #: program that makes the target takes it in when it plans next).
    state: str
    #: Name of the user who adopted it; None if the node did so (``on_modified="adopt"``).
    by: str | None
    #: Time of the adoption (UTC); None if the node adopted it.
    when: str | None
    #: Module and qualified name of the function.
    function: str
    #: The arguments of the recipe that it was made for, as texts.
    arguments: dict[str, str]
    #: Key of that recipe.
    key: str
    #: Keys of other recipes for which it was kept.
    kept_for: tuple[str, ...] = ()
    #: Path, from the root, of the file in a folder of corrections that it is a copy of, or None.
    file: str | None = None


class _Records(NamedTuple):
    """The records of a correction, all with the same content."""

    #: That of the recipe that it was made for.
    own: Record
    #: Those of other recipes, for which it was kept.
    kept: list[Record]
    #: The name of the record that a user decided on last.
    latest: RecordName


def _records(item: Listed) -> _Records:
    same = {name: r for name, r in item.records.items() if name.file_hash == item.name.file_hash}
    own = next((record for record in same.values() if record.edited and not record.kept), item.record)
    latest = max(same, key=lambda name: ((same[name].kept or {}).get("when") or "", name.adopted))
    return _Records(own, [record for record in same.values() if record.key != own.key], latest)


def corrections(root: Root, matches: Callable[[str], bool] = lambda path: True) -> list[Correction]:
    """List the corrections in a root, by path; `matches` chooses targets by their paths."""
    notes = Acceptances(root)
    found = [_correction(item, notes) for item in listed(root) if matches(item.path)]
    return [correction for correction in found if correction is not None]


def _correction(item: Listed, notes: Acceptances) -> Correction | None:
    note = notes.get(item.name.target_id) or {}
    if "content" in note and item.state not in (MISSING, ADOPTED):
        return _described(item, NOTED, note, item.record)
    if not item.is_adopted:
        return None
    own, kept, _ = _records(item)
    return _described(item, item.state, own.edited or {}, own, tuple(record.key for record in kept))


def _described(item, state, told, record: Record, kept_for=()):
    arguments = {name: resolved(brief, record) for name, (brief, *_) in record.arguments.items()}
    by, when = told.get("by"), told.get("when")
    origin = record.taken_from if state != NOTED else None
    return Correction(
        item.path, state, by, when, record.function, arguments, record.key, kept_for, origin
    )


# ---- to another root ------------------------------------------------------------------------------


def export_corrections(
    root: Root, archive: str, matches: Callable[[str], bool] = lambda path: True
) -> tuple[list[str], list[str]]:
    """Pack the adopted results of a root, without anything else, for `apply`.

    A correction that was kept for other recipes goes with the recipe that a user decided on last.

    Returns
    -------
    packed, left_out : list of str
        Paths of targets.  Left out are tables of databases, and corrections that are not as they were
        adopted.

    Raises
    ------
    TargetMissing
        If the root has no correction that can be packed.
    StorageError, TargetCorrupt
        As `exporting.export` does.
    """
    found = corrections(root, matches)
    packed = [c.target for c in found if c.state == ADOPTED and files.place_of(c.target).has_files]
    if not packed:
        raise TargetMissing(
            "there is no correction to pack",
            target=root.path,
            expected="adopted results in files or folders",
            got=", ".join(sorted({c.state for c in found})) or "none",
            hint="'dask cache corrections' lists them; 'dask cache adopt' takes in what was edited",
        )
    records = {item.path: _records(item).latest for item in listed(root) if item.path in packed}
    export(root, archive, packed, alone=records)
    return packed, [c.target for c in found if c.target not in packed]


def apply(root: Root, archive: str, trust_pickles: bool = False) -> list[Imported]:
    """Put the corrections in an archive in the places of the same targets of a root.

    A result that a function made goes to the trash.  What a user made stays: edits, corrections and
    files without a record.  A correction counts for the recipe that it was made for, or was kept
    for last.  For others, `on_modified` decides, as after any change of a recipe.

    Parameters
    ----------
    root : Root
        Made if it does not exist.
    archive : str
        Path of a file that `export_corrections` or `exporting.export` wrote.
    trust_pickles : bool
        See `importing.import_archive`.

    Returns
    -------
    list of Imported
        The outcomes: "applied", or the reason why not.

    Raises
    ------
    StorageError, UnsafePath, TargetCorrupt, ForeignTarget
        As `importing.import_archive` does.  What was applied before stays.
    """
    store = RecordStore(root)

    def decide(packed: list[Packed]) -> dict[str, str]:
        recorded = {collision_form(item.path): item for item in listed(root)}
        return {item.path: _outcome(store, item, recorded, trust_pickles) for item in packed}

    def put_in_place(item: Packed, take_in: Callable[[], None]) -> str:
        before = store.with_target(item.name.target_id)
        if not _make_way(store, item, before):
            return EDITED_HERE
        take_in()
        for name in before:  # another record of this recipe would stand for its result, too
            if name.key == item.name.key and name.file_hash != item.name.file_hash:
                store.remove(name)
        return APPLIED

    return import_chosen(root, archive, decide, put_in_place)


def _outcome(store, item: Packed, recorded, trust_pickles):
    if not item.name.adopted or not item.files:
        return NO_CORRECTION
    if not (item.harmless or trust_pickles):
        return LEFT_OUT
    if is_in_the_way(store.root, item, recorded):
        return IN_THE_WAY
    found = check(store, item.path, [item.name, *store.with_target(item.name.target_id)])
    if found.name is not None and found.name.file_hash == item.name.file_hash:
        return THERE
    return IMPORTED if found.state in (COMPLETE, MISSING) else EDITED_HERE


def _make_way(store: RecordStore, item: Packed, before: list[RecordName]) -> bool:
    """Move the function's result to the trash; return False if a user's file is there by now."""
    root, location = store.root, store.root.absolute(item.path)
    if not os.path.lexists(location):
        return True
    kept = trash.keep(root, location, item.path, "replaced by a correction")
    if files.hash_if_there(kept) in [name.file_hash for name in before if not store.is_adopted(name)]:
        return True
    files.put_new(root, kept, item.path)  # it was edited just now
    return False
