"""Claims: one writer at a time may replace a target, decided by a rename.

An exchange always succeeds, so `commit` claims the target first.  It
renames the record from the records to the intents, appending the number of its part.  The record
still vouches for the target there.  The rename succeeds for one writer; the others wait and yield to its
result.  If none comes (the claimer died or was stopped), the next writer takes the claim over.  It moves
the claimer's part away first, so that a late exchange finds nothing to put and looks again.
"""

from __future__ import annotations

import contextlib
import os
import time

from ..errors import StorageError
from . import atomic, files, trash
from .record import RecordName
from .records import RecordStore
from .roots import Root

#: Seconds to wait for another writer that has claimed the same target.  A few system calls separate
#: claim and exchange.
PATIENCE = 2.0
_PAUSE = 0.02


class Claim:
    """One writer's attempts to claim a target for its part."""

    def __init__(self, root: Root, part: str, target: str):
        self.root = root
        self.target = target
        self._number = files.number_of(root, part)
        self._deadline: float | None = None
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
        with atomic.refused(own):
            if self._take(record, own, record):
                return True
            if self._is_out_of_patience():
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
                atomic.put_first(now, before)
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

    def _is_out_of_patience(self):
        if self._deadline is None:
            self._deadline = time.monotonic() + PATIENCE
        return time.monotonic() > self._deadline

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
        for part in files.parts_with(self.root, rival.rpartition(".")[2]):
            try:
                trash.keep(self.root, part, self.target, "part of a writer that did not go on")
            except StorageError:
                if os.path.lexists(part):
                    raise
