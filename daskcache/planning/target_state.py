"""A target's file compared with the records of the target.

`target_examiner` asks this about the targets of nodes.  It adds the questions that need a recipe, for
example whether the record is the node's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..errors import UntrustedPickle
from ..storage import files
from ..storage.files import Stamp
from ..storage.record import RecordName
from ..storage.roots import Root
from ..targets.base import FolderTarget, Target
from .states import CORRUPT, MODIFIED


def described_by(
    names: Iterable[RecordName],
    location: str,
    stamp: Stamp,
    order: Callable[[RecordName], tuple[Any, ...]],
) -> RecordName | None:
    """Return the record that describes the content of a target, or None.

    A record with the target's size and mtime is believed.  If there is none, or if rivals wrote within
    one tick of the clock, the target is hashed.  It may have been copied or touched, but not edited.

    Parameters
    ----------
    names : iterable of RecordName
        Records of the target.
    location : str
        Absolute path of the target.
    stamp : Stamp
        Size and mtime of the target.
    order : callable
        Sort key.  Of several records that describe the content, those with its mtime come first, then
        the first in this order.
    """
    names = list(names)
    found = [name for name in names if name.stamp == stamp]
    if len({name.file_hash for name in found}) != 1:
        candidates = [name for name in names if name.size == stamp.size]
        content = files.file_hash(location) if candidates else None
        if files.stamp(location) != stamp:
            return None  # the file was replaced meanwhile, and `content` is that of the new one
        found = [name for name in candidates if name.file_hash == content]
    return min(found, key=lambda name: (name.stamp != stamp, *order(name)), default=None)


def edited_or_damaged(target: Target, root: Root, before: RecordName) -> tuple[str, str]:
    """Return the state of a target whose content no record describes, and the reason.

    An edited file can be read, a damaged one can't.  Files that run code are not read to find out.

    Parameters
    ----------
    target : Target
        The target with its absolute path.
    root : Root
    before : RecordName
        The record of the result that was stored there.
    """
    from .unrecorded import look_into  # few plans need it

    edited = "was edited after it was stored"
    try:
        if target.runs_code or look_into(target, root, before.file_hash) is not None:
            return MODIFIED, edited
    except UntrustedPickle as error:
        return MODIFIED, f"{edited}: {error.message}"
    if isinstance(target, FolderTarget):
        return CORRUPT, "is damaged: files of it are missing, or can't be read any more"
    return CORRUPT, "is damaged: it can't be read any more"
