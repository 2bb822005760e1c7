"""Copy a user's file from a folder of corrections to the target of its node, in place of a run.

`planning.correction_folders` has read the file.  `node` calls `take_in`, and `storage.commit` puts the
copy in place.  What it replaces goes to the trash, and the user's file stays as it is.
"""

from __future__ import annotations

from functools import partial

from ..errors import TargetModified
from ..hashing.encoder import tag
from ..storage import files, records
from ..storage.commit import Commit
from ..storage.roots import Root
from .entry import Entry
from .failing import forget_failure
from .finished import entry_of, keep_adopted
from .store import own_part_path, sweeping
from .work import TakeIn, Work


def take_in(work: Work, taking: TakeIn) -> Entry:
    """Copy a user's file to the node's target, and return the node's entry.

    Raises
    ------
    TargetModified
        If the file is not the one that was planned with any more.
    StorageError
        If it can't be copied.
    """
    root, (path,) = Root(work.root), work.paths
    files.check_folders(root, work.paths)
    part = _copy(root, work, taking, path)
    with sweeping(root.path, [part.path]):
        size, mtime_ns = part.stamp
        name = taking.name._replace(size=size, mtime_ns=mtime_ns)
        commit = Commit(
            root,
            path,
            part,
            name,
            taking.facts,
            node=work.title,
            keep_adopted=partial(keep_adopted, work, trace=name.trace, facts=taking.facts),
            previous=work.previous[0],
            damaged=taking.damaged,
            may_displace=work.spec.options.on_modified != "error",
            is_correction=True,
        )
        committed = commit.run()
    if taking.is_decided:
        records.clear_acceptance(root, name.target_id)
    forget_failure(work)
    return entry_of(work, [committed])


def _copy(root, work, taking, path):
    """Copy the user's file to a part."""
    correction = taking.correction
    source = root.absolute(correction.path)
    if files.stamp(source) is None:
        raise _changed(work, source, correction.file_hash, "no file")
    part = files.copied_part(source, own_part_path(root, path))
    if part.file_hash != correction.file_hash:
        files.sweep_part(root, part.path)
        raise _changed(work, source, correction.file_hash, tag(part.file_hash))
    return part


def _changed(work, source, expected, got):
    return TargetModified(
        "a correction changed after this graph was planned",
        node=work.title,
        target=source,
        expected=tag(expected),
        got=got,
        hint="compute again: the plan takes in what is there now",
    )
