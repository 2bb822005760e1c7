"""Reasons: the differences between a record and a recipe, as lines that a user can act on.

`examiner` adds them to stale nodes, and `display` shows their first lines.  Differences in code come
from `hashing.changes`.
"""

from __future__ import annotations

import os

from ..calls.describe import value_of
from ..calls.recipe import Recipe, SourceInput
from ..calls.spec import Spec
from ..hashing.changes import Part, code_changes
from ..runtime.facts import is_other_input
from ..runtime.work import describe_arguments, describe_format
from ..storage import code_store, files
from ..storage.documents import TEXT, dict_of
from ..storage.record import Record
from ..storage.roots import Root, parsed
from .states import PlannedNode

#: Number of changed inputs that are named one by one.
MAX_REASONS = 3


def headlines(reasons: list[str]) -> list[str]:
    """Return the first line of each reason, without the details below it."""
    return [reason.partition("\n")[0] for reason in reasons]


#: Differences in code that were told before: an edit of one function affects many nodes.
Told = dict[tuple[str, str, Spec], list[str]]


def differences(record: Record, recipe: Recipe, told: Told | None = None) -> list[str]:
    """Return the differences between a record and a recipe, one line for each.

    Code and arguments come first, then the format, then the inputs.

    Parameters
    ----------
    record : Record
    recipe : Recipe
    told : dict, optional
        Gets the differences in code, and has those of other nodes with the same root.
    """
    pairs = list(zip(recipe.upstream, record.upstream, strict=False))
    return [*_call_differences(record, recipe, told), *_input_differences(recipe, pairs)]


def own_differences(record: Record, recipe: Recipe) -> list[str]:
    """Return the `differences` besides those of the nodes upstream."""
    pairs = zip(recipe.upstream, record.upstream, strict=False)
    own = [(item, described) for item, described in pairs if not isinstance(item, Recipe)]
    return [*_call_differences(record, recipe), *_input_differences(recipe, own)]


def _input_differences(recipe, pairs):
    found = []
    for item, described in pairs:
        found += _upstream_difference(item, described, recipe.root)
    if len(found) > MAX_REASONS:
        found[MAX_REASONS:] = [f"and {len(found) - MAX_REASONS} more inputs changed"]
    return found


def _call_differences(record, recipe, told=None):
    changes = []
    if record.code != recipe.code:
        told, pair = {} if told is None else told, (record.code, recipe.code, recipe.spec)
        if pair not in told:
            root = Root(recipe.root)
            told[pair] = code_differences(root, record.code, recipe.parts, recipe.spec)
        changes = list(told[pair])
    before, now = record.arguments, describe_arguments(recipe.spec, recipe.values)
    for name in {**before, **now}:
        old, new = before.get(name), now.get(name)
        if old is None or new is None:
            changes.append(f"{name}: {'added' if old is None else 'removed'}")
        elif old[1] != new[1]:
            changes.append(f"{name}: {old[0]} -> {new[0]}")
    return changes + _format_difference(record, recipe)


def made_for(record: Record, recipe: Recipe) -> str:
    """Return "made for ..." with the recorded arguments that differ from the recipe's, or ""."""
    before, now = record.arguments, describe_arguments(recipe.spec, recipe.values)
    changed = [(name, old) for name, old in before.items() if name in now and now[name][1] != old[1]]
    return "made for " + ", ".join(f"{name}={old[0]}" for name, old in changed) if changed else ""


def code_differences(root: Root, before: str, now: list[Part] | None, spec: Spec) -> list[str]:
    """Return the differences between recorded code and a function's present code, one line for each.

    Parameters
    ----------
    root : Root
        The root that may have kept the recorded code.
    before : str
        Fingerprint of the recorded code, which is not that of the present code.
    now : list of Part, or None
        Parts of the present code; None if unknown.
    spec : Spec
        The function.
    """
    parts = code_store.recall(root, before)
    if parts is None or now is None:
        return [f"the code of {spec.name}() changed"]
    changes = code_changes(parts, now, getattr(spec.func, "__qualname__", ""))
    return changes or [f"what {spec.name}() refers to by some name is something else now"]


def _format_difference(record, recipe):
    """Return the differences in the format and options of the target that a record describes."""
    for path, target in zip(recipe.paths, recipe.spec.formats, strict=True):
        if path == record.target:
            described = describe_format(target)
            old, new = record.format, described["format"]
            changes = [f"format: {old} -> {new}"] if old != new else []
            return changes + _option_differences(record.options, described.get("options"))
    return []


def _option_differences(before, now):
    """Return the differences between two texts of options, one by one if the texts can be parsed."""
    if before == now:
        return []
    try:
        old, new = (value_of(text or "{}") for text in (before, now))
        names = sorted({*old, *new})
    except (ValueError, TypeError):
        return [f"options: {before or 'none'} -> {now or 'none'}"]
    texts = [(name, *(repr(d[name]) if name in d else "none" for d in (old, new))) for name in names]
    return [f"option {name}: {was} -> {text}" for name, was, text in texts if was != text]


def changed_parents(planned: PlannedNode, record: Record | None) -> list[PlannedNode]:
    """Return the parents that don't hold, or will not hold, the data that a record was made from."""
    described = record.upstream if record is not None else ()
    pairs = zip(planned.parents, described, strict=False)
    return [parent for parent, before in pairs if parent and holds_other_data(parent, before)]


def holds_other_data(parent: PlannedNode, before: dict[str, str]) -> bool:
    """Return True if a node's data are not those that a record describes as an input."""
    return is_other_input(before, parent.data_hash or "", parent.corrections)


def _upstream_difference(item, described, root):
    if isinstance(item, Recipe):
        return [] if described.get("key") == item.key else [f"{item.title} changed"]
    if described.get("data_hash") == item.identity:
        return []
    if not isinstance(item, SourceInput):
        return ["a Dask value changed"]
    old, new = described.get("source"), files.relative(item.source.path, root)
    if old != new:
        return [f"source: {old} -> {new}"]
    shown = files.relative(item.source.path, os.getcwd())
    members = _changed_members(described, item.source)
    return [f"{shown}: {members or 'content changed'}"]


def _changed_members(described, source):
    """Return the changed files of a folder in words; empty if the record does not tell them apart."""
    try:
        before = parsed(described.get("members", "{}"))
    except ValueError:
        return ""
    if not before or not dict_of(TEXT).fits(before):
        return ""
    now = source.__daskcache_members__()
    if not now:
        return ""
    changed = [f"{n} {'changed' if n in before else 'added'}" for n in now if before.get(n) != now[n]]
    changed += [f"{name} removed" for name in before if name not in now]
    more = [f"and {len(changed) - MAX_REASONS} more"] if len(changed) > MAX_REASONS else []
    return ", ".join([*changed[:MAX_REASONS], *more])
