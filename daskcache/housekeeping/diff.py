"""Differences between results: `diff` compares targets, files, and corrections with what they replaced.

`differences` compares the values.  What a function had made is looked for in the trash.  If it is not
there, because the file was edited in place, the call is made again (`rebuild`, `recompute`).
"""

from __future__ import annotations

import dataclasses
import os

from ..errors import GraphError, TargetMissing
from ..graph.node import Node
from ..hashing import algorithms
from ..hashing.encoder import tag, untagged
from ..planning.states import COMPLETE
from ..runtime.named import target_of
from ..storage import files, trash
from ..storage.records import RecordStore
from ..storage.roots import Root
from ..tracebacks import shortened
from .differences import Difference, compare
from .listing import Listed
from .origins import origins
from .rebuild import Call, CannotRecompute, call_behind, planned_call_behind
from .recompute import Recomputed, recompute, values_for
from .sides import File, Recorded, Side, read_as, things, value_in


@shortened
def diff(
    a: Node | str | os.PathLike[str],
    b: Node | str | os.PathLike[str] | None = None,
    *,
    root: str | None = None,
) -> Difference:
    """Compare two results, or a correction with what the function had made.

    Parameters
    ----------
    a : Node, str or os.PathLike
        A node; the path of a target, from its root or from the current folder; or any other file.
    b : Node, str or os.PathLike, optional
        What to compare it with.  Default: the result of the function that a user's edit replaced.
    root : str, optional
        The root of paths that are given from a root.  Default: the roots above the files, and the
        configured one.

    Returns
    -------
    Difference
        ``str(difference)`` is a text, and notebooks also show a picture of images.  ``.equal`` tells
        whether nothing differs.  ``.differing``, ``.total`` and ``.share`` count elements or cells,
        ``.smallest``, ``.largest`` and ``.mean`` are about `a` minus `b`.  ``.picture`` is a PNG file.
        Of two targets, ``.made`` tells how the calls that made them differ.  Several results are in
        ``.parts``.

    Raises
    ------
    NotANode
        If `a` or `b` is neither a node nor a path.
    GraphError
        Without `b`, if no user's edit is at the target.
    TargetMissing
        If a file does not exist.  Without `b`, if the function's result is not in the trash, and can't
        be computed again from the record; the error says why.
    TargetCorrupt, SourceUnreadable
        If a file can't be read in its format.
    UntrustedPickle, TargetError
        If a file is a pickle that must not be read, or if only its record says that it is one.
    TargetCollision, ArgumentChanged, SourceMissing
        If a node can't be looked at.
    Exception
        Any error of the function that is called again.

    Notes
    -----
    An edit in place overwrites the function's result.  If the trash has no copy, the function runs once
    more in this process, from the same inputs.  Nothing is written to the root.  If its result is not
    the one that the edit replaced, a note says so.

    Examples
    --------
    >>> @dc.delayed(target="squares/{n}.json")
    ... def square(n):
    ...     return n * n
    >>> node = square(2)
    >>> _ = node.compute()
    >>> _ = Path(node.dc.path).write_text("5")
    >>> dc.diff(node)
    a: squares/2.json, as it was edited (int)
    b: squares/2.json, computed again from the same inputs (int)
    they differ
    --- b
    +++ a
    @@ -1 +1 @@
    -4
    +5
    >>> dc.diff(square(2), "squares/2.json").equal
    True
    """
    ours = things(a, root)
    if b is not None:
        return _of_pairs(ours, things(b, root))
    edited = [thing for thing in ours if isinstance(thing, Recorded) and thing.item.state != COMPLETE]
    if not edited:
        raise _nothing_edited(ours)
    return _together(_corrections(edited))


def _of_pairs(ours, theirs):
    if len(ours) != len(theirs):
        raise GraphError(
            "these have other numbers of results", expected=f"{len(ours)} results", got=str(len(theirs))
        )
    pairs = zip(ours, theirs, strict=True)
    return _together({thing.shown: _of_pair(thing, other) for thing, other in pairs})


def _of_pair(own, other):
    found = _against(own.side(), other.side())
    if not (isinstance(own, Recorded) and isinstance(other, Recorded)):
        return found
    made = origins((own.root, own.record), (other.root, other.record))
    return dataclasses.replace(found, made=made)


def _together(found: dict[str, Difference]) -> Difference:
    if len(found) == 1:
        return next(iter(found.values()))
    summaries = (f"{len(found)} results",) * 2
    return Difference(all(each.equal for each in found.values()), summaries, parts=found)


def _against(own: Side, other: Side) -> Difference:
    found = compare(own.value, other.value)
    notes = (*found.notes, *other.notes)
    hashes = own.data_hash, other.data_hash
    if found.equal and None not in hashes and hashes[0] != hashes[1]:
        beside = "the values are equal, but not what they carry beside them, such as metadata"
        found = dataclasses.replace(found, equal=False, differing=None)
        notes = (beside, *notes)
    return dataclasses.replace(found, names=(own.name, other.name), notes=notes)


def _nothing_edited(things):
    return GraphError(
        "there is no correction to compare with what it replaced",
        target=", ".join(thing.shown for thing in things),
        expected="a target that a user edited or adopted",
        got="a file without a record" if isinstance(things[0], File) else f"state {COMPLETE}",
        hint="name what to compare it with, too; dc.audit(node) computes a result again",
    )


# ---- what the function had made -------------------------------------------------------------------


def _corrections(edited: list[Recorded]) -> dict[str, Difference]:
    """Compare edited targets with what their functions had made."""
    found: dict[str, Difference] = {}
    calls: dict[str, list[Recorded]] = {}
    for thing in edited:
        kept = _kept(thing)
        if kept is None:
            calls.setdefault(thing.record.key, []).append(thing)
        else:
            value, data_hash = read_as(thing, kept)
            name = f"{thing.shown}, as it was made, from the trash"
            found[thing.shown] = _against(thing.side(), Side(name, value, data_hash))
    for of_one_call in calls.values():
        found |= _computed_again(of_one_call)
    return found


def kept_difference(root: Root, item: Listed) -> Difference | None:
    """Compare an edited target with its function's result if the trash has that, or return None.

    Files that run code when they are read are not compared.
    """
    thing = Recorded(root, item)
    target = target_of(item.record)
    if target is None or target.runs_code or _kept(thing) is None:
        return None
    return _together(_corrections([thing]))


def _kept(thing) -> str | None:
    """Return the path in the trash of what the function had made, or None."""
    made = thing.record.edited
    stored = untagged((made.get("file") or "") if made is not None else thing.record.file_hash)
    for item in reversed(trash.listed(thing.root)):
        if item.target == thing.shown and files.hash_if_there(item.kept) == stored:
            return item.kept
    return None


def _computed_again(edited: list[Recorded]) -> dict[str, Difference]:
    """Make the call behind edited targets again, and compare them with its results."""
    own = [thing.side() for thing in edited]  # before the function takes its time
    try:
        recalled = _call_of(edited[0])
        values = values_for(recalled)
    except CannotRecompute as reason:
        raise TargetMissing(
            "what the function had made is not kept, and can't be computed again",
            target=edited[0].path,
            expected="its code and inputs as they were",
            got=str(reason),
            hint="compute it with another daskcache.root, and compare: dc.diff(node, FILE)",
        ) from reason

    def look(made: Recomputed) -> dict[str, Difference]:
        pairs = zip(edited, own, strict=True)
        return {thing.shown: _against(side, again(thing, made)) for thing, side in pairs}

    def again(thing, made):
        position = recalled.work.paths.index(thing.shown)
        written, target = made.results[position], recalled.work.spec.formats[position]
        if target.in_database and made.returned:  # no file has it, and it would come back as it is
            value = made.returned[position]
        else:
            value = value_in(target, written.part.path, written.facts.get("form"))
        name = f"{thing.shown}, computed again from the same inputs"
        return Side(name, value, written.data_hash, _doubts(thing.record, written.data_hash))

    return recompute(recalled, values, look)


def _doubts(record, computed):
    """Return notes if what was computed again is not what the edit replaced, or may not be."""
    stored = record.data_hash if record.edited is None else record.edited.get("stored")
    if stored is None:
        return ("the function had not made a result when the file was adopted",)
    if stored.partition(":")[0] != algorithms.algorithm():
        return ("it can't be told whether the function had made the same, as hashes differ in kind",)
    if stored != tag(computed):
        return ("the function had made other data: it is not deterministic, or has untracked inputs",)
    return ()


def _call_of(thing) -> Call:
    planned, record = thing.planned, thing.record
    if planned is not None and planned.recipe.key == record.key:
        return planned_call_behind(planned, record, "its inputs hold other data now")
    return call_behind(RecordStore(thing.root), record, thing.spec)
