"""The commit of one result: the steps that put a written part in place with its record.

A visible target is always complete.  A commit has four steps:

1. write the result to a part (below ``.daskcache/parts/``) and hash it,
2. write the record as this writer's *intent* (a file under ``.daskcache/intents/``),
3. put the part in place: move it there if the target is new, exchange it with an existing target,
4. rename the intent to the record.

`runtime.store` takes the first step, as formats write results; `Commit` takes the others.
A crash before step 3 changes no target; after step 3, the intent vouches for the new target.
Files that daskcache did not write are never overwritten: a part moves only to a free place.  A
displaced file is deleted only if it is as its record says; otherwise it goes to the trash (`trash`).
Folders between the root and a target are entered without following links (`atomic`).  An exchange
always succeeds, so the writer first claims the target (`Claim`).

This survives the death of any process.  With ``daskcache.durability: power`` each step is also on the
disk before the next one begins.  A table (`tables.tables`) is put in place by one transaction.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from ..errors import DaskcacheWarning, ForeignTarget, StorageError
from . import files
from .atomic import put_first, refused
from .place import Part
from .record import RecordName, record_content
from .records import RecordStore
from .roots import Root
from .verified_folders import forget_manifest, keep_manifest


class Commit(NamedTuple):
    """A result that is to be committed, and what may happen to the target that is there."""

    root: Root
    #: Path of the target from the root.
    target: str
    #: The written result.  A part that is at its destination already stays there.
    part: Part
    #: Fields of the record's name.
    name: RecordName
    #: Further facts for the record, see `daskcache.storage.records.record_content`.
    facts: dict[str, Any]
    #: Display name of the node.
    node: str
    #: Records an adopted result, found in place of another one, as the result of this node; returns
    #: the new record, or raises `TargetModified` if a person has to decide.
    keep_adopted: Callable[[RecordName], RecordName]
    #: Record that vouched for the target when the node was planned.
    previous: RecordName | None = None
    #: True if the present target is damaged: it goes to the trash.
    damaged: bool = False
    #: True if an edited or adopted target may be replaced: it goes to the trash.
    may_displace: bool = False
    #: True if the part is a user's correction.  A recorded target goes to the trash, whoever made it.
    is_correction: bool = False

    @property
    def destination(self) -> str:
        """Absolute path of the target."""
        return self.root.absolute(self.target)

    def run(self) -> RecordName:
        """Put a part in place with its record, and return the record that holds in the end.

        The intent is written before the part is put in place, and becomes the record afterwards.  So a
        crash leaves the old result, or a new one that an intent vouches for.  If another result stands,
        the part is removed and that result's record is returned.

        Raises
        ------
        ForeignTarget
            If something is there that no record vouches for, and the commit may not displace it.
        TargetModified
            If an adopted result is there and a person has to decide about it.
        StorageError
            If the file system or the database refuses.
        """
        root, part, name, previous = self.root, self.part, self.name, self.previous
        file_name = name.file_name()
        intent, winner, displaced = "", None, None
        claim = Claim(root, part.path, self.target)
        try:
            keep_manifest(root, part.file_hash, part.manifest)
            intent = files.write_intent(root, file_name, record_content(name, **self.facts))
            if part.path != self.destination:
                winner, displaced = self._put_in_place(intent, claim)
        except BaseException:
            if self._may_be_in_place():
                intent = ""  # stays, because it vouches for the part
            else:
                claim.release()
            self._sweep(intent)
            raise
        if winner is not None:
            claim.release()
            self._sweep(intent)
            return winner
        try:
            files.settle(root, self.target)
            files.promote_intent(root, intent, file_name, name.shard)
            claim.settle()
            if previous is not None and previous != name:
                RecordStore(root).remove(previous)
                if previous.file_hash != name.file_hash:
                    forget_manifest(root, previous.file_hash)
        finally:  # last, because a warning may be configured to raise an error
            if displaced:
                self._keep_displaced(displaced)
            files.sweep_part_folder(root, part.path)
        return name

    def _put_in_place(self, intent, claim):
        """Put a part in place: move it there if nothing is there, else exchange it with what is there.

        A file may be exchanged if a record or an intent vouches for it, or if the commit may displace
        it.  An exchange can't check that, so the writer first claims the record; see `Claim`.  Each
        change by another writer starts another round.

        Returns
        -------
        winner : RecordName or None
            Record of the result that stands instead of this one: another writer's, or an adopted one.
        displaced : str or None
            Path of a displaced file that must be kept.
        """
        root, part, name, previous = self.root, self.part, self.name, self.previous
        may_displace = self.damaged or self.may_displace
        look = previous is not None  # without an earlier result there is hardly anything to see
        while True:
            current = files.stamp(self.destination) if look else None
            look = True
            if current is None:
                try:
                    files.put_new(root, part.path, self.target)
                    return None, None
                except FileExistsError:
                    current = files.stamp(self.destination)
            store = RecordStore(root)
            # the record that the plan found holds only if neither file nor record changed since
            vouching = previous
            if previous is None or previous.stamp != current or not store.has(previous):
                vouching = store.vouching(
                    name.target_id, self.destination, current, name.key, besides=intent
                )
                if vouching is None and files.stamp(self.destination) != current:
                    continue  # the file changed while its record was looked for
            is_rival = vouching is not None and vouching.key == name.key and vouching != previous
            if is_rival and not (self.is_correction and vouching.file_hash != name.file_hash):
                # another writer of the same node was first, and its result counts
                return self._yield_to(vouching), None
            may_replace = may_displace or self.is_correction
            if vouching is not None and not may_replace and store.is_adopted(vouching):
                return self.keep_adopted(vouching), None
            if vouching is None and not (previous is not None and may_displace):
                raise self._foreign()
            if claim.attempt(vouching or previous):
                check = functools.partial(self._is_still_so, intent, claim, current)
                is_persons = vouching is None or self.is_correction or store.is_adopted(vouching)
                # without a stamp to compare, whatever is displaced is kept
                ours = None if self.damaged or is_persons else vouching.stamp
                try:
                    return None, files.replace(root, part.path, self.target, ours, check)
                except files.Overtaken:
                    continue  # another writer took over the claim, or was faster

    def _is_still_so(self, intent, claim, seen, stamp):
        """Return True if no rival has overtaken a writer that now keeps others out of a database.

        The stamp alone does not tell: it stands for a table's rows, and a rival may have written equal
        ones.
        """
        store, name = RecordStore(self.root), self.name
        rivals = [
            other
            for other in [*store.intents(intent), *store.with_key(name.key)]
            if other[:2] == name[:2] and other.stamp == stamp and other != self.previous
        ]
        return stamp == seen and claim.is_held() and not rivals

    def _may_be_in_place(self):
        """Return True if a part may have reached its place although its commit failed.

        Then its intent must stay, because nothing else vouches for the file.
        """
        if self.part.path == self.destination:
            return False
        try:
            return files.stamp(self.destination) == self.part.stamp
        except StorageError:
            return True

    def _sweep(self, intent):
        """Remove the intent and the part of a commit that did not take place."""
        if intent:
            files.sweep(intent)
        if self.part.path != self.destination:
            files.sweep_part(self.root, self.part.path)

    def _yield_to(self, winner):
        if winner.data_hash != self.name.data_hash:
            warnings.warn(
                f"{self.node} was computed twice at the same time with different results; the first "
                "one counts. Is it random?",
                DaskcacheWarning,
                stacklevel=2,
            )
        return winner

    def _foreign(self):
        current = files.stamp(self.destination)
        return ForeignTarget(
            "a file that daskcache did not write is where a result belongs",
            node=self.node,
            target=self.destination,
            expected="nothing there, or a recorded target",
            got=f"a file of {current.size} bytes" if current else "an unreadable file",
            hint="move the file away, or give the node another target",
        )

    def _keep_displaced(self, displaced):
        from . import trash  # commits rarely need it

        reason = "damaged" if self.damaged else "corrected" if self.is_correction else "edited"
        try:
            kept = trash.keep(self.root, displaced, self.target, reason)
        except StorageError:  # the file stays where it is
            kept = displaced
        if self.is_correction and not self.damaged and kept != displaced:
            return  # as a user who corrects results expects
        warnings.warn(
            f"{self.destination} was {reason}; what was there is kept as {kept}",
            DaskcacheWarning,
            stacklevel=2,
        )


# ---- claims -------------------------------------------------------------------------------------

#: Seconds to wait for another writer that has claimed the same target.  A few system calls separate
#: claim and exchange.
PATIENCE = 2.0
_PAUSE = 0.02


class Claim:
    """One writer's attempts to claim a target for its part.

    A claim renames the record from the records to the intents, appending the number of the part.  The
    record still vouches for the target there.  The rename succeeds for one writer; the others wait and
    yield to its result.  If none comes (the claimer died or was stopped), the next writer takes the
    claim over.  It moves the claimer's part away first, so that a late exchange finds nothing to put and
    looks again.
    """

    def __init__(self, root: Root, part: str, target: str):
        self.root = root
        self.target = target
        self._number = files.number_of(root, part)
        self._is_alone = False
        #: Paths of the claimed record: now, and before the claim.
        self._held: tuple[str, str] | None = None

    def attempt(self, name: RecordName) -> bool:
        """Try to claim a record; on failure, pause, so that the caller looks at the target again.

        Returns
        -------
        bool
            True if the target may be replaced now.

        Raises
        ------
        StorageError
            If the file system refuses.
        """
        if not name.trace:  # accepted as it is (check="exists"): without a record
            return True
        store = RecordStore(self.root)
        record = store.path_of(name)
        own = f"{self.root.intents}/{name.file_name()}.{self._number}"
        with refused(own):
            if self._take(record, own, record):
                return True
            if self._deadline < time.monotonic():
                return self._take_over(store.intents_of(name), own, record)
        time.sleep(_PAUSE)
        return False

    def is_held(self) -> bool:
        """Test if no other writer has taken the claim over."""
        return self._held is None or os.path.lexists(self._held[0])

    def release(self) -> None:
        """Give the claimed record back: the target was not replaced."""
        if self._held is not None:
            now, before = self._held
            # If this fails, or another writer took it over, the record vouches from where it is.
            with contextlib.suppress(OSError):
                put_first(now, before)
            self._held = None

    def settle(self) -> None:
        """Remove the claimed record: the content that it vouched for is replaced."""
        if self._held is not None:
            files.sweep(self._held[0])
            self._held = None

    def _take(self, path, own, record):
        try:
            os.rename(path, own)
        except FileNotFoundError:
            return False
        self._held = own, record
        return True

    @functools.cached_property
    def _deadline(self):
        """End of the wait for another writer, which begins with the first look at it."""
        return time.monotonic() + PATIENCE

    def _take_over(self, rivals, own, record):
        """Take over a rival's claim; return True if this writer may replace the target.

        Without a rival, the record is gone and nothing can be claimed.  Another writer may have replaced
        the target just now, so the first such call returns False and the target is examined again.  If
        the record is still missing then, no other writer is at work.
        """
        if not rivals:
            was_alone, self._is_alone = self._is_alone, True
            return was_alone
        self._is_alone = False
        self._put_out_of_action(rivals[0])
        return self._take(rivals[0], own, record)

    def _put_out_of_action(self, rival):
        """Move a rival's part to the trash: it may already hold the file that the rival displaced."""
        from . import trash

        for part in files.parts_with(self.root, rival.rpartition(".")[2]):
            try:
                trash.keep(self.root, part, self.target, "part of a writer that did not go on")
            except StorageError:
                if os.path.lexists(part):
                    raise
