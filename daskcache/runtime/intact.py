"""Files that are not as they were stored: damaged, edited, or replaced by another result.

`entry` checks what it reads.  A damaged file goes to the trash, so that its node reruns; a file that a
person touched stays where it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import StorageError, TargetCorrupt, TargetModified, UnsafePath
from ..hashing.encoder import tag
from ..storage import trash
from ..storage.files import stamp
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
    is_damaged = stamp(path) == result.stamp
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
    found = stamp(path)
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
        if stamp(own) != result.stamp or (now is not None and now.file_hash != result.file_hash):
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
    try:
        kept = trash.keep_damaged(Root(entry.root), result.target.path, result.file_hash)
    except (StorageError, UnsafePath) as error:  # a read-only disk, for example
        return f", once that is moved away (it can't be moved from here: {error.got})"
    return f" (what was there is kept as {kept})" if kept else ""
