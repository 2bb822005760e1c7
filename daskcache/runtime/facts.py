"""Facts for records, and functions that replace a record while its target stays as it is.

`store` and `node` write the facts of calls.  `planning.examiner` records targets that a person accepted,
kept or adopted.  The files of records are in `storage.records`.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..calls.describe import texts_of
from ..calls.recipe import Recipe
from ..errors import DaskcacheError
from ..hashing.encoder import tag, untagged
from ..hashing.names import public_name
from ..storage import files
from ..storage.record import ANY_TRACE, Record, RecordName, record_content
from ..storage.records import RecordStore
from .data_hashes import UNTOLD
from .entry import Entry, arrange
from .held import Deferred
from .work import FileData, Work, describe_arguments, describe_format

if TYPE_CHECKING:
    from ..storage.correction_files import CorrectionFile


def facts_of_call(work: Work, inputs: list, places: list[str], position: int) -> dict[str, Any]:
    """Return the facts for the record of one result of a call.

    Parameters
    ----------
    work : Work
    inputs : list of Entry, Held, Deferred or FileData
    places : list of str
        Paths of all results, from the root.
    position : int
        Index of the result.
    """
    facts = {
        "function": work.spec.qualified_name,
        "code": work.code,
        "target": places[position],
        **describe_format(work.spec.formats[position]),
        "arguments": describe_arguments(work.spec, work.values, work.described),
        "upstream": [describe_input(work.root, item) for item in inputs],
    }
    if work.spec.layout is not None:
        facts["results"] = arrange(places, work.spec.layout)
    previous = work.previous[position]
    if previous is not None and previous.key != work.key:
        facts["replaced"] = previous.key
    if work.correction is not None:
        facts["correction"] = work.correction.described()
    return facts


def describe_input(root: str, item: Any) -> dict[str, Any]:
    """Describe an input for a record."""
    if isinstance(item, FileData):
        return {**_describe_source(item.source, root), "data_hash": item.data_hash}
    if isinstance(item, (Entry, Deferred)):
        about = (item.key, item.root, item.place, tag(item.data_hash), item.corrections)
        return describe_result(root, *about)
    return {"data_hash": item.data_hash, **_of_corrections(item.corrections)}


def describe_result(
    root: str, key: str, its_root: str, place: str, data_hash: str, corrections: str
) -> dict[str, Any]:
    """Describe the result of another node as an input; the hash of its data is "" if it isn't known."""
    elsewhere = {} if its_root == root else {"root": its_root}
    described = {"key": key, "target": place, "data_hash": data_hash}
    return {**described, **elsewhere, **_of_corrections(corrections)}


def is_other_input(before: dict[str, str], data_hash: str, corrections: str) -> bool:
    """Return True if an input's data are not those that a record describes.

    If the one or the other hash of the data is not known (""), they are the same unless a correction
    that they depend on was made or released since, which changes no key.  What is not known of an input
    that was being computed differs from nothing.
    """
    known = untagged(before.get("data_hash", ""))
    if known and data_hash:
        return known != data_hash
    then = before.get("corrections", "")
    return then != corrections and UNTOLD not in (then, corrections)


def _of_corrections(corrections):
    return {"corrections": corrections} if corrections else {}


def _describe_source(source, root):
    """Describe a source by its path, class and options, so that it can be made again."""
    path, place = source.path, source.__daskcache_path__()
    described = {"source": files.relative(path, root), "class": public_name(type(source))}
    if place != path:
        described["folder"] = files.relative(place, root)
    with suppress(DaskcacheError):  # deleted since it was read: only explanations lack the members
        if members := source.__daskcache_members__():
            described["members"] = json.dumps(members, ensure_ascii=False)
    if options := source.__daskcache_options__():
        described["options"] = texts_of(options)[-1]
    return described


# ---- one record for another -----------------------------------------------------------------------


def record_under_new_key(store: RecordStore, name: RecordName, key: str) -> RecordName:
    """Replace a record by one under another key, and return its name: an early cutoff.

    The inputs hold the same data as before, so a run would make the same target.
    """
    renamed = name._replace(key=key)
    # if it can't be read, another worker was faster, or the record is damaged: the next verb looks
    if _write_again(store, name, renamed, _OF_RESULT, same_as=name.key) and name != renamed:
        store.remove(name)
    return renamed


_OF_TARGET = ("function", "target", "format", "options", "form", "results")
_OF_DECISIONS = ("accepted", "edited", "kept", "correction")
_OF_RUN = ("code", "arguments", "upstream", "created", "host", "packages")
_OF_RESULT = (*_OF_TARGET, *_OF_DECISIONS, *_OF_RUN)


def _write_again(store, old, new, carried, **facts) -> bool:
    """Write a record with some facts of another one; return False if that one can't be read."""
    record = store.read(old)
    if record is not None:
        store.write(new, record_content(new, **record.facts(*carried), **facts))
    return record is not None


def record_accepted(
    store: RecordStore, old: RecordName, new: RecordName, facts: dict[str, Any], note: dict
) -> None:
    """Record a target that a person accepted as the result of a recipe that did not make it.

    The new record replaces the old one; nothing happens if that can't be read.
    """
    accepted = {"from": old.key, "to": new.key, **_signature(note)}
    carried = (*_OF_TARGET, "edited")
    if _write_again(store, old, new, carried, **facts, accepted=accepted) and old != new:
        store.remove(old)


def record_kept(
    store: RecordStore, old: RecordName, new: RecordName, facts: dict[str, Any], note: dict
) -> None:
    """Record that an adopted result stands for another recipe too.

    The old record stays unless both have the same key.  So the recipe that the result was made for finds
    it complete if the user goes back to it.

    Parameters
    ----------
    store : RecordStore
    old, new : RecordName
        The present record, and the one for the other recipe.
    facts : dict
        See `facts_of_recipe`.
    note : dict
        Name of the person and time of the decision; empty if the node decides by itself
        (``on_modified="adopt"``).
    """
    carried: tuple[str, ...] = (*_OF_TARGET, "edited")
    if old.key == new.key and old.trace == ANY_TRACE:  # only the inputs of its recipe were made since
        carried += ("kept",)
    else:
        facts = {**facts, "kept": {"from": old.key, **_signature(note)}}
    if _write_again(store, old, new, carried, **facts):
        _remove_replaced(store, old, new)


def record_adopted(
    store: RecordStore,
    old: RecordName | None,
    new: RecordName,
    recipe: Recipe,
    position: int,
    inputs: list,
    note: dict,
    correction: CorrectionFile | None = None,
) -> None:
    """Record a file that a person edited, or put there, as the result of a recipe.

    Parameters
    ----------
    store : RecordStore
    old : RecordName or None
        Record of the file that daskcache had stored there.
    new : RecordName
        Record of the file that is there now.
    recipe : Recipe
    position : int
        Index of the result among those of the recipe.
    inputs : list of dict
        See `describe_input`.
    note : dict
        Name of the person and time of the adoption; empty if the node adopts by itself
        (``on_modified="adopt"``).
    correction : CorrectionFile, optional
        The file in the folder of corrections that counts as seen.
    """
    facts = facts_of_adopted(store, old, recipe, position, inputs, note, correction)
    store.write(new, record_content(new, **facts))
    if old is not None:
        _remove_replaced(store, old, new)


def facts_of_adopted(
    store: RecordStore,
    old: RecordName | None,
    recipe: Recipe,
    position: int,
    inputs: list,
    note: dict,
    correction: CorrectionFile | None,
) -> dict[str, Any]:
    """Return the facts for the record of a user's file, see `record_adopted`."""
    target = recipe.targets[position]
    before = store.read(old) if old is not None else None
    made: dict[str, str | None] = {}
    if before is not None and before.edited is not None:  # the function's own result is the same
        made = {k: v for k, v in before.edited.items() if k in ("stored", "file")}
    elif old is not None:
        made = {"stored": tag(old.data_hash), "file": tag(old.file_hash)}
    facts = {
        "function": recipe.spec.qualified_name,
        "target": target.path,
        **describe_format(target),
        **(before.facts("form") if before is not None else {}),
        **facts_of_recipe(recipe, inputs, correction),
        "edited": {"stored": None, **made, **_signature(note)},
    }
    if recipe.spec.layout is not None:
        facts["results"] = arrange([t.path for t in recipe.targets], recipe.spec.layout)
    return facts


def facts_of_kept(
    record: Record, facts: dict[str, Any], note: dict, correction: CorrectionFile
) -> dict[str, Any]:
    """Return the facts for the record of a correction that stands for another recipe, too.

    `record_kept` describes the arguments.  It records that of a file at the target; these facts are for
    one that a task copies there again.
    """
    kept = {"from": record.key, **_signature(note)}
    own = record.facts(*_OF_TARGET, "edited")
    return {**own, **facts, "kept": kept, "correction": correction.described()}


def facts_again(record: Record, correction: CorrectionFile) -> dict[str, Any]:
    """Return a record's facts for one that says the same, but has seen a correction as it is now."""
    return {**record.facts(*_OF_RESULT), "correction": correction.described()}


def record_seen(store: RecordStore, name: RecordName, correction: CorrectionFile) -> None:
    """Record again how a correction looks now, with the same content, so that it need not be hashed."""
    record = store.read(name)
    if record is not None:
        store.write(name, record_content(name, **facts_again(record, correction)))


def facts_of_recipe(
    recipe: Recipe, inputs: list[dict[str, Any]], correction: CorrectionFile | None = None
) -> dict[str, Any]:
    """Return a record's facts about a recipe: code, arguments, inputs and the correction seen.

    The inputs are described by `describe_input`.
    """
    facts = {
        "code": recipe.code,
        "arguments": describe_arguments(recipe.spec, recipe.values),
        "upstream": inputs,
    }
    return facts if correction is None else {**facts, "correction": correction.described()}


def _signature(note):
    return {"by": note.get("by"), "when": note.get("when")}


def _remove_replaced(store, old, new):
    if old.key == new.key and old != new:
        store.remove(old)
