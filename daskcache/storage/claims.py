"""Who replaces a target: one writer at a time, decided by a rename.

An exchange asks nobody.  So a writer first claims the record of what is there: it renames it from the
records to the intents, where it still vouches for the target, and puts the number of its own part behind
it.  The rename succeeds for one writer.  The others wait for what comes of it, and yield.

If nothing comes of it (the claimer died, or is stopped), the next one takes the claim over.  It first
moves the claimer's part away: an exchange that comes late finds nothing to put, and looks again.
"""

from __future__ import annotations

import contextlib
import os
import time

from . import atomic, files, trash
from .records import RecordName, RecordStore
from .roots import Root

#: Seconds for which a writer waits for another one that has claimed the same target.  Between claim and
#: exchange there is no work, only a few system calls.
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
        #: Where the claimed record is now, and where it was.
        self._held: tuple[str, str] | None = None

    def attempt(self, name: RecordName) -> bool:
        """Claim a record, or wait a moment; if it fails, look at the target again.

        Raises
        ------
        StorageError
            If the file system refuses.
        """
        if not name.trace:  # of a file that was taken as it is (check="exists"): nothing is recorded
            return True
        own = f"{self.root.intents}/{name.file_name()}.{self._number}"
        try:
            if self._take(RecordStore(self.root).path_of(name), own):
                return True
            if self._is_out_of_patience():
                return self._take_over(RecordStore(self.root).intents_of(name), own)
        except files.StorageError:
            raise
        except OSError as error:
            raise files.storage_error(error, own) from error
        time.sleep(_PAUSE)
        return False

    def is_held(self) -> bool:
        """Whether nobody has taken over what was claimed."""
        return self._held is None or os.path.lexists(self._held[0])

    def release(self) -> None:
        """Give back what was claimed: nothing came of it."""
        if self._held is not None:
            now, before = self._held
            # If it can't be given back, or somebody has taken it over: it vouches where it is, too.
            with contextlib.suppress(OSError):
                atomic.put_first(now, before)
            self._held = None

    def settle(self) -> None:
        """Forget the claimed record: what it vouched for is replaced."""
        if self._held is not None:
            files.sweep(self._held[0])
            self._held = None

    def _take(self, path, own):
        try:
            os.rename(path, own)
        except FileNotFoundError:
            return False
        before = path if path.startswith(self.root.records) else self._record_path(path)
        self._held = own, before
        return True

    def _record_path(self, intent):
        file = files.intended_name(os.path.basename(intent))
        return f"{self.root.records}/{file[:2]}/{file}"

    def _is_out_of_patience(self):
        if self._deadline is None:
            self._deadline = time.monotonic() + PATIENCE
        return time.monotonic() > self._deadline

    def _take_over(self, rivals, own):
        """Claim what another writer has claimed; or what has no record any more, which nobody can.

        That there is no record may mean that somebody has replaced the target just now: only if, after
        another look at it, there is still none, nobody is at work.
        """
        if not rivals:
            was_alone, self._is_alone = self._is_alone, True
            return was_alone
        self._is_alone = False
        self._put_out_of_action(rivals[0])
        return self._take(rivals[0], own)

    def _put_out_of_action(self, rival):
        """Move a claimer's part away, which may hold what it has displaced just now."""
        for part in files.parts_with(self.root, rival.rpartition(".")[2]):
            try:
                trash.keep(self.root, part, self.target, "part of a writer that did not go on")
            except files.StorageError:
                if os.path.lexists(part):
                    raise
