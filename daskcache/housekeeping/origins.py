"""How the calls that made two results differ, told from their records."""

from __future__ import annotations

from collections.abc import Iterator

from ..hashing.changes import code_changes
from ..storage import code_store
from ..storage.record import Record
from ..storage.roots import Root
from .listing import resolved


def origins(now: tuple[Root, Record], before: tuple[Root, Record]) -> tuple[str, ...]:
    """Return the differences between two calls, one text for each.

    They are told in the order function or code, arguments, inputs, format.

    Parameters
    ----------
    now, before : tuple of Root and Record
        Each result's record, with its root.
    """
    return tuple(_differences(now, before))


def _differences(now, before) -> Iterator[str]:
    old, new = before[1], now[1]
    if old.function != new.function:
        yield f"function: {old.function} -> {new.function}"
    elif old.code != new.code:
        yield from _code(now, before)
    yield from _arguments(old, new)
    yield from _inputs(old, new)
    if (old.format, old.options) != (new.format, new.options):
        yield f"format: {_format(old)} -> {_format(new)}"


def _code(now, before):
    parts = [code_store.recall(root, record.code) for root, record in (before, now)]
    own = now[1].function.rpartition(".")[2]
    changes = code_changes(*parts, own) if None not in parts else []
    return changes or [f"the code of {own}() differs"]


def _arguments(old, new):
    for name in {**old.arguments, **new.arguments}:
        pair = [record.arguments.get(name) for record in (old, new)]
        if None in pair:
            yield f"{name}: {'added' if pair[0] is None else 'removed'}"
        elif pair[0][1] != pair[1][1]:
            texts = [resolved(each[0], record) for each, record in zip(pair, (old, new), strict=True)]
            yield f"{name}: {texts[0]} -> {texts[1]}"


def _inputs(old, new):
    names = [[_input(each) for each in record.upstream] for record in (old, new)]
    for i, (was, now) in enumerate(zip(*names, strict=False)):
        hashes = [record.upstream[i].get("data_hash") for record in (old, new)]
        if was != now:
            yield f"input: {was} -> {now}"
        elif hashes[0] != hashes[1]:
            yield f"input {now}: other data"
    if len(names[0]) != len(names[1]):
        yield f"{len(names[0])} inputs -> {len(names[1])} inputs"


def _input(described):
    return str(described.get("target") or described.get("source") or "a Dask value")


def _format(record):
    return f"{record.format} {record.options or ''}".strip()
