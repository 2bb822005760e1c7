"""What records say, and how one takes the place of another while the target stays as it is."""

from __future__ import annotations

from typing import Any

from ..calls.describe import brief, whole
from ..calls.recipe import Recipe
from ..hashing.encoder import tag
from ..hashing.names import public_name
from ..storage import roots
from ..storage.records import RecordName, RecordStore, record_content
from .entry import Deferred, Entry, arrange
from .work import FileData, Work, describe_arguments, describe_format


def facts_of_call(
    work: Work,
    inputs: list,
    places: list[str],
    position: int,
    previous: RecordName | None,
    form: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What the record of one result of a call says."""
    facts = {
        "function": work.spec.qualified_name,
        "code": work.code,
        "target": places[position],
        **describe_format(work.spec.formats[position]),
        "arguments": describe_arguments(work.spec, work.values, work.described),
        "upstream": [describe_input(work.root, item) for item in inputs],
    }
    if form is not None:
        facts["form"] = form
    if work.spec.layout is not None:
        facts["results"] = arrange(places, work.spec.layout)
    if previous is not None and previous.key != work.key:
        facts["replaced"] = previous.key
    return facts


def describe_input(root: str, item: Any) -> dict[str, Any]:
    """What a record says of an input."""
    if isinstance(item, (Entry, Deferred)):
        elsewhere = {} if item.root == root else {"root": item.root}
        return {"key": item.key, "target": item.place, "data_hash": tag(item.data_hash), **elsewhere}
    if isinstance(item, FileData):
        return {**_describe_source(item.source, root), "data_hash": item.data_hash}
    return {"data_hash": item.data_hash}


def _describe_source(source, root):
    """Where a source is, and what it takes to make it again."""
    path, place = source.path, source.__daskcache_path__()
    described = {"source": roots.relative(path, root), "class": public_name(type(source))}
    if place != path:
        described["folder"] = roots.relative(place, root)
    options = source.__daskcache_options__()
    if options:
        described["options"] = whole(options) or brief.repr(options)
    return described


# ---- one record for another -----------------------------------------------------------------------


def record_under_new_key(store: RecordStore, name: RecordName, key: str) -> RecordName:
    """Early cutoff: the inputs hold what they held before, so the target is what it would be."""
    renamed = name._replace(key=key)
    content = store.read(name)
    if content is None:  # somebody else was faster, or it was damaged: the next verb sees what is there
        return renamed
    facts = {k: v for k, v in content.items() if k in _CARRIED}
    replace_record(store, name, renamed, record_content(renamed, **facts, same_as=name.key))
    return renamed


_CARRIED = (
    "function",
    "code",
    "target",
    "format",
    "options",
    "results",
    "arguments",
    "upstream",
    "form",
    "accepted",
    "edited",
    "kept",
    "created",
    "host",
    "packages",
)


def record_accepted(
    store: RecordStore, old: RecordName, new: RecordName, facts: dict[str, Any], note: dict
) -> None:
    """Record a target that a person accepted as the result of a recipe that did not make it."""
    content = store.read(old)
    if content is None:
        return
    carried = {k: v for k, v in content.items() if k in (*_OF_TARGET, "edited")}
    accepted = {"from": old.key, "to": new.key, **_signature(note)}
    replace_record(store, old, new, record_content(new, **carried, **facts, accepted=accepted))


def record_kept(
    store: RecordStore, old: RecordName, new: RecordName, facts: dict[str, Any], note: dict
) -> None:
    """Record that an adopted result stands for another recipe, too.

    Its own record stays: going back to the recipe that it was made for finds it complete.

    Parameters
    ----------
    old, new : RecordName
        The record that it has, and the one for the other recipe.
    facts : dict
        See `facts_of_recipe`.
    note : dict
        Who decided so and when; empty if the node does by itself (``on_modified="adopt"``).
    """
    content = store.read(old)
    if content is None:
        return
    carried = {k: v for k, v in content.items() if k in (*_OF_TARGET, "edited")}
    kept = {"from": old.key, **_signature(note)}
    store.write(new, record_content(new, **carried, **facts, kept=kept))
    if old.key == new.key and old != new:
        store.remove(old)


def record_adopted(
    store: RecordStore,
    old: RecordName | None,
    new: RecordName,
    recipe: Recipe,
    position: int,
    inputs: list,
    note: dict,
) -> None:
    """Record a file that a person edited, or put there, as the result of a recipe.

    Parameters
    ----------
    old : RecordName or None
        Of what daskcache had stored there.
    new : RecordName
        Of what is there.
    position : int
        Which result of the recipe it is.
    inputs : list of dict
        See `describe_input`.
    note : dict
        Who adopted it and when; empty if the node does so by itself (``on_modified="adopt"``).
    """
    target = recipe.targets[position]
    before = store.read(old) if old is not None else None
    made = {"stored": tag(old.data_hash), "file": tag(old.file_hash)} if old is not None else {}
    if before and "edited" in before:  # and adopted again: what the function made is still the same
        made = {k: v for k, v in before["edited"].items() if k in ("stored", "file")}
    facts = {
        "function": recipe.spec.qualified_name,
        "target": target.path,
        **describe_format(target),
        **({"form": before["form"]} if before and "form" in before else {}),
        **facts_of_recipe(recipe, inputs),
        "edited": {"stored": None, **made, **_signature(note)},
    }
    if recipe.spec.layout is not None:
        facts["results"] = arrange([t.path for t in recipe.targets], recipe.spec.layout)
    store.write(new, record_content(new, **facts))
    if old is not None and old.key == new.key and old != new:
        store.remove(old)


_OF_TARGET = ("function", "target", "format", "options", "form", "results")


def facts_of_recipe(recipe: Recipe, inputs: list[dict[str, Any]]) -> dict[str, Any]:
    """What a record says of a recipe: code, arguments and inputs (see `describe_input`)."""
    return {
        "code": recipe.code,
        "arguments": describe_arguments(recipe.spec, recipe.values),
        "upstream": inputs,
    }


def _signature(note):
    return {"by": note.get("by"), "when": note.get("when")}


def replace_record(store: RecordStore, old: RecordName, new: RecordName, content: bytes) -> None:
    """Put a record in the place of another one of the same target, which stays as it is."""
    store.write(new, content)
    if old != new:
        store.remove(old)
