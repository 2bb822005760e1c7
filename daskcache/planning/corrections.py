"""Adopted results and other recipes: a person keeps a correction, or releases it.

A correction is what a person made of a result and adopted.  It stands for the recipe that it was made
for.  When the node would run again, nothing happens to it until the person decides.
"""

from __future__ import annotations

from ..calls.recipe import Recipe
from ..errors import GraphError, TargetMissing
from ..runtime.named import target_of
from ..storage import files, records, trash
from ..storage.records import RecordName, RecordStore, target_id
from ..storage.roots import Root
from .planner import Planner
from .unrecorded import look_into


def check_adoptable(root: Root, path: str) -> None:
    """Check that a file can be read in the form of the result that it replaces, if a record knows that.

    Raises
    ------
    FormatLimit
        If it can't; naming dtypes and shapes, or columns.
    """
    store = RecordStore(root)
    for name in store.with_target(target_id(path)):
        record = store.read(name) or {}
        target = target_of(record) if "form" in record else None
        if target is not None and not target.runs_code:
            look_into(target.at(root.absolute(path)), root, form=record["form"])
            return


def keep(recipe: Recipe) -> bool:
    """Let a node's adopted result stand for its recipe as it is now.

    Returns
    -------
    bool
        False if there was nothing to decide: it was made for this recipe, or is kept already.

    Raises
    ------
    TargetMissing
        If nothing was adopted.
    GraphError
        If it can't be kept: it is damaged.
    """
    planner = Planner()
    planned = planner.look(recipe)
    adopted = _adopted(recipe, planned.records, planner)
    if not adopted:
        raise TargetMissing(
            "there is no adopted result to keep",
            node=recipe.title,
            target=", ".join(recipe.paths) or None,
            expected="state adopted",
            got=f"state {planned.state}",
            hint="dc.adopt(node) takes in what you edited",
        )
    if not planned.contested:
        return False
    root = Root(recipe.root)
    for name in adopted:
        records.write_acceptance(root, name.target_id, keep=name.file_hash)
    planner = Planner()
    if planner.look(recipe).contested:
        for name in adopted:
            records.clear_acceptance(root, name.target_id)
        raise GraphError(
            "the adopted result can't be kept",
            node=recipe.title,
            target=", ".join(map(root.absolute, recipe.paths)),
            expected="the file as it was adopted",
            got="; ".join(planned.reasons),
            hint="put a copy of it back, or recompute it after dc.release(node)",
        )
    planner.write_down()
    return True


def release(recipe: Recipe) -> bool:
    """Give up a node's adopted result: it goes to the trash, and the node runs when it is needed.

    Returns
    -------
    bool
        False if nothing was adopted.
    """
    planner = Planner()
    planned = planner.look(recipe)
    adopted = _adopted(recipe, planned.records, planner)
    paths = {target_id(path): path for path in recipe.paths}
    for name in adopted:
        release_target(RecordStore(Root(recipe.root)), paths[name.target_id], name)
    return bool(adopted)


def release_target(store: RecordStore, path: str, name: RecordName) -> str | None:
    """Move an adopted result to the trash, and forget that it was adopted.

    A note stays until the node has run again: what follows was made from the correction.

    Returns
    -------
    str or None
        Where it is kept; None if it was gone.
    """
    location = store.root.absolute(path)
    kept = None
    if files.exists(location):
        kept = trash.keep(store.root, location, path, "released")
    adopted = [known for known in store.with_target(name.target_id) if store.is_adopted(known)]
    for known in adopted:
        store.remove(known)
    keys = " ".join(sorted({known.key for known in adopted}))
    records.write_acceptance(store.root, name.target_id, released=keys)
    return kept


def _adopted(recipe, names, planner):
    store = planner.store(recipe.root)
    return [name for name in names if name is not None and store.is_adopted(name)]
