"""The user's decisions about corrections: keep one for another recipe, or release it.

A correction is a result that a user edited and adopted.  It stands for the recipe that it was made for.
If the node would have to run again, the correction stays until the user decides.

`graph` and the command line call these functions.  `examiner` finds the corrections in the way.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from ..calls.recipe import Recipe
from ..errors import GraphError, MissingExtra, TargetMissing
from ..runtime.named import target_of
from ..storage import files, records, trash
from ..storage.record import RecordName, target_id
from ..storage.roots import Root
from .planner import Planner
from .states import PlannedNode
from .target_state import look_into


def check_adoptable(root: Root, path: str) -> str | None:
    """Check that a file can be read in the form of the result that it replaces.

    Nothing is checked if no record has the form, if reading the file would run code, or if the package
    that reads it is not installed.

    Returns
    -------
    str or None
        Hash of the data, if they were read.

    Raises
    ------
    FormatLimit
        If it can't be read so.  The error names dtypes and shapes, or columns.
    """
    store = records.RecordStore(root)
    for name in store.with_target(target_id(path)):
        record = store.read(name)
        if record is None or record.form is None:
            continue
        target = target_of(record)
        if target is not None and not target.runs_code:
            with contextlib.suppress(MissingExtra):
                found = look_into(target.at(root.absolute(path)), root, form=record.form)
                return found and found.data_hash
            return None
    return None


def keep(recipe: Recipe) -> bool:
    """Let a node's adopted result stand for its recipe as it is now.

    Returns
    -------
    bool
        False if there was nothing to decide, because the result was made for this recipe or is kept
        already.

    Raises
    ------
    TargetMissing
        If the node has no adopted result.
    GraphError
        If the adopted result can't be kept because it is damaged.
    """
    planned, adopted = _adopted(recipe)
    if planned.taking is not None:
        return False  # its new correction is for the recipe as it is now
    if not adopted:
        raise TargetMissing(
            "the node has no adopted result to keep",
            node=recipe.title,
            target=", ".join(recipe.paths) or None,
            expected="state adopted",
            got=f"state {planned.state}",
            hint="dc.adopt(node) takes in what you edited",
        )
    if not planned.contested:
        return False
    notes = {name.target_id: {"keep": name.file_hash} for name in adopted}
    if unsettled(recipe, notes, lambda again: not again.contested):
        raise GraphError(
            "the adopted result can't be kept",
            node=recipe.title,
            target=", ".join(map(Root(recipe.root).absolute, recipe.paths)),
            expected="the file as it was adopted",
            got="; ".join(planned.reasons),
            hint="put a copy of it back, or recompute it after dc.release(node)",
        )
    return True


def unsettled(
    recipe: Recipe, notes: dict[str, dict[str, str]], is_settled: Callable[[PlannedNode], bool]
) -> PlannedNode | None:
    """Note a user's decisions about a node's targets, and examine it again with them.

    Parameters
    ----------
    recipe : Recipe
    notes : dict
        What `records.write_acceptance` notes, by target id.
    is_settled : callable
        Returns True if the decisions are enough.  Then what follows from them is recorded.

    Returns
    -------
    PlannedNode or None
        The node as it is with the decisions if they are not enough; they are forgotten then.
    """
    root = Root(recipe.root)
    for identifier, note in notes.items():
        records.write_acceptance(root, identifier, **note)
    planner = Planner()  # a planner looks at a node once, so the notes need another one
    planned = planner.look(recipe)
    if is_settled(planned):
        planner.write_down()
        return None
    for identifier in notes:
        records.clear_acceptance(root, identifier)
    return planned


def release(recipe: Recipe) -> bool:
    """Move a node's adopted result to the trash, so that the node runs when it is needed.

    Returns
    -------
    bool
        False if the node has no adopted result.
    """
    _, adopted = _adopted(recipe)
    paths = {target_id(path): path for path in recipe.paths}
    for name in adopted:
        release_target(records.RecordStore(Root(recipe.root)), paths[name.target_id], name)
    return bool(adopted)


def release_target(store: records.RecordStore, path: str, name: RecordName) -> str | None:
    """Move an adopted result to the trash, and remove its records.

    A note of the release stays until the node has run again, because downstream results were made from
    the correction.  If it is the copy of a file in a folder of corrections, the note says so: that file
    stays, and counts as seen.

    Returns
    -------
    str or None
        Its path in the trash, or None if the file was gone.
    """
    location = store.root.absolute(path)
    kept = None
    if files.exists(location):
        kept = trash.keep(store.root, location, path, "released")
    adopted = [known for known in store.with_target(name.target_id) if store.is_adopted(known)]
    records_of_it = [record for known in adopted if (record := store.read(known)) is not None]
    seen = {record.correction["file"] for record in records_of_it if record.correction}
    for known in adopted:
        store.remove(known)
    left = [known for known in store.with_target(name.target_id) if known not in adopted]
    note = {
        "released": " ".join(sorted({known.key for known in adopted})),
        "correction": " ".join(sorted({*seen, *[known.file_hash for known in adopted]})),
        "latest": str(max((known.mtime_ns for known in left), default=0)),
    }
    records.write_acceptance(store.root, name.target_id, **note)
    return kept


def _adopted(recipe):
    """Return a node as it is now, and the records of its adopted results."""
    planner = Planner()
    planned = planner.look_or_raise(recipe)
    store = planner.store(recipe.root)
    return planned, [name for name in planned.records if name is not None and store.is_adopted(name)]
