"""Files at targets that are not as they were stored, and users' files, which are never replaced unasked.

`entry` checks what it reads.  A damaged file goes to the trash, so that its node reruns; a file that a
user touched stays where it is.  `planning.planner` and `finished` raise the errors about nodes that
would replace a user's file.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..errors import ForeignTarget, StorageError, TargetCorrupt, TargetModified, UnsafePath
from ..hashing.encoder import tag
from ..storage import files
from ..storage.record import target_id
from ..storage.records import RecordStore
from ..storage.roots import Root

if TYPE_CHECKING:
    from .entry import Entry, Stored


def check_intact(entry: Entry, path: str, result: Stored, got: str) -> None:
    """Raise an error unless `got` is the hash of the file as it was stored.

    Raises
    ------
    TargetModified
        If the file was touched since.
    TargetCorrupt
        If it was not, so that its bytes are damaged; it is set aside.
    """
    if got == result.file_hash:
        return
    is_damaged = files.stamp(path) == result.stamp
    error = (TargetCorrupt if is_damaged else TargetModified)(
        "a result is damaged: its bytes are not those that were stored"
        if is_damaged
        else "a result was edited after it was stored",
        node=entry.label,
        target=path,
        expected=tag(result.file_hash),
        got=tag(got),
        hint=f"'dask cache adopt {path}' to go on with it, or 'dask cache rm {path}' to compute it "
        "again",
    )
    if isinstance(error, TargetCorrupt):
        set_aside(entry, error)
    raise error


def check_not_replaced(entry: Entry, path: str, result: Stored) -> None:
    """Raise `TargetModified` if the file is another result now, with a record that vouches for it.

    Its bytes differ from the entry's, but it is not damaged and must not go to the trash.
    """
    found = files.stamp(path)
    if found is None or found == result.stamp:
        return
    now = _vouching(entry, RecordStore(Root(entry.root)), result, found)
    if now is not None and now.file_hash != result.file_hash:
        raise TargetModified(
            "a result was replaced after this graph was planned",
            node=entry.label,
            target=path,
            expected=tag(result.file_hash),
            got=tag(now.file_hash),
            hint="compute again: the plan will be made anew",
        )


def set_aside(entry: Entry, error: TargetCorrupt) -> None:
    """Move a damaged result to the trash, so that its node reruns, and say so in the error's hint.

    A folder that was touched since it was stored stays, because the next plan tells damage from an
    edit.  An adopted result stays as well.

    Parameters
    ----------
    entry : Entry
    error : TargetCorrupt
        Nothing happens unless its target is, or is in, one of the entry's results.
    """
    for result in entry.stored:
        own = f"{entry.root}/{result.target.path}"
        if error.target != own and not str(error.target).startswith(f"{own}/"):
            continue
        error.hint = "compute again: the node will rerun"
        records = RecordStore(Root(entry.root))
        now = _vouching(entry, records, result, result.stamp)
        if files.stamp(own) != result.stamp or (now is not None and now.file_hash != result.file_hash):
            error.hint = "compute again: the plan looks at what is there now"
        elif now is not None and records.is_adopted(now):
            error.hint = (
                f"it was adopted, so it stays: put a copy of it back, or compute it again after "
                f"'dask cache release {own}'"
            )
        elif not entry.read_only:
            error.hint += _kept(entry, result)
        return


def _vouching(entry, records, result, found):
    """Return the record that vouches for a target with the stamp `found`, or None."""
    place = result.target.path
    return records.vouching(target_id(place), f"{entry.root}/{place}", found, entry.key)


def _kept(entry, result):
    from ..storage import trash  # only damaged results need it

    try:
        kept = trash.keep_damaged(Root(entry.root), result.target.path, result.file_hash)
    except (StorageError, UnsafePath) as error:  # a read-only disk, for example
        return f", once that is moved away (it can't be moved from here: {error.got})"
    return f" (what was there is kept as {kept})" if kept else ""


# ---- users' files in the way -----------------------------------------------------------------------


class Obstacle(NamedTuple):
    """A node that can't run because of the files at its targets."""

    #: Display name of the node.
    title: str
    root: str
    #: Paths of the targets, from the root.
    paths: tuple[str, ...]
    #: Reasons, one line each.
    reasons: list[str]


def foreign(nodes: Sequence[Obstacle]) -> ForeignTarget:
    """Return the error about files that daskcache did not write."""
    return _error(
        ForeignTarget,
        nodes,
        "a file that daskcache did not write is where a result belongs",
        "files that daskcache did not write are where results belong",
        expected="nothing there, or a recorded target",
        hint=f"move {_it(nodes)} away, change the template, or take {_it(nodes)} in: "
        f"'{_command('adopt', nodes)}', or dc.adopt(node)",
    )


def modified(nodes: Sequence[Obstacle]) -> TargetModified:
    """Return the error about results that were edited but not adopted."""
    return _error(
        TargetModified,
        nodes,
        "a target was edited after it was stored",
        f"{len(nodes)} targets were edited after they were stored",
        expected="the files as they were stored" if len(nodes) > 1 else "the file as it was stored",
        hint=f"'{_command('adopt', nodes)}' to go on with what is there, '{_command('rm', nodes)}' to "
        'recompute it; on_modified="adopt" or "recompute" does so by itself',
    )


def corrected(nodes: Sequence[Obstacle]) -> TargetModified:
    """Return the error about adopted results that other recipes would replace."""
    stand = "they stand" if len(nodes) > 1 else "it stands"
    return _error(
        TargetModified,
        nodes,
        "running the node would replace an adopted result",
        f"running {len(nodes)} nodes would replace adopted results",
        expected=f"a decision about what {'persons' if len(nodes) > 1 else 'a person'} made",
        hint=f"'{_command('keep', nodes)}' if {stand} for the new recipe, too; "
        f"'{_command('release', nodes)}' to recompute {_it(nodes)}; '{_command('why', nodes[:1])}' "
        'tells more; dc.keep(node), dc.release(node) and on_modified="adopt" or "recompute" decide, too',
    )


def withdrawn(nodes: Sequence[Obstacle]) -> TargetModified:
    """Return the error about copies of corrections that were removed from their folder."""
    stand = "they stand" if len(nodes) > 1 else "it stands"
    return _error(
        TargetModified,
        nodes,
        "a correction was removed from its folder, and its copy is at the target",
        f"{len(nodes)} corrections were removed from their folders, and their copies are at the targets",
        expected="the files in the folder of corrections",
        hint=f"put {_it(nodes)} back; '{_command('release', nodes)}' to recompute; "
        f"'{_command('keep', nodes)}' if {stand} without the file in the folder",
    )


def _error(kind, nodes, one, several, expected, hint):
    return kind(
        several if len(nodes) > 1 else one,
        node=", ".join(node.title for node in nodes),
        target=", ".join(f"{node.root}/{path}" for node in nodes for path in node.paths),
        expected=expected,
        got="; ".join(nodes[0].reasons),
        hint=hint,
    )


def _it(nodes):
    return "them" if len(nodes) > 1 else "it"


def _command(name, nodes):
    paths = [path for node in nodes for path in node.paths]
    return shlex.join(["dask", "cache", name, "--root", nodes[0].root, *paths])
