"""Files in folders of corrections, which users put there in place of results.

`planning.correction_folders` decides what such a file stands for, and `runtime.taking_in` copies it.
Here they are listed and hashed.  They are the users': no module writes, moves or removes them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ..errors import StorageError
from . import files
from .place import TICK_NS, Stamp
from .record import TIME_FORMAT, collision_form
from .roots import Root


class CorrectionFile(NamedTuple):
    """A user's file or folder, as it was when it was looked at."""

    #: Path from the root.
    path: str
    #: Hash of its bytes.
    file_hash: str
    #: Size and mtime; None if it was written so recently that a later change may not show in them.
    stamp: Stamp | None

    def described(self) -> dict[str, str]:
        """Return the file as records describe it, see `daskcache.storage.record.Record.correction`."""
        described = {"path": self.path, "file": self.file_hash}
        if self.stamp is not None:
            described |= {"size": str(self.stamp.size), "mtime_ns": str(self.stamp.mtime_ns)}
        return described


class CorrectionFiles:
    """The files in the folders of corrections of one root, each folder listed once."""

    def __init__(self, root: Root):
        self._root = root
        self._names: dict[str, frozenset[str]] = {}

    def stamp(self, path: str) -> Stamp | None:
        """Return size and mtime of what is at a path from the root, or None."""
        folder, _, name = path.rpartition("/")
        if folder not in self._names:
            listed = files.names_in(self._root.absolute(folder) if folder else self._root.path)
            self._names[folder] = frozenset(map(collision_form, listed))
        # file systems may ignore case and forms of Unicode: they decide if it is the same name
        is_listed = collision_form(name) in self._names[folder]
        return files.stamp(self._root.absolute(path)) if is_listed else None

    def look(self, path: str, stamp: Stamp, known: Mapping[str, str] | None) -> CorrectionFile:
        """Return the file at a path; hash it unless the description in a record has its stamp.

        Raises
        ------
        StorageError
            If the operating system refuses to read it.
        """
        now = time.time_ns()
        found = CorrectionFile(path, "", stamp)
        if known is not None and found._replace(file_hash=known.get("file", "")).described() == known:
            return found._replace(file_hash=known["file"])
        location = self._root.absolute(path)
        try:
            content = files.file_hash(location)
        except StorageError:
            raise
        except OSError as error:
            raise files.storage_error(error, location) from error
        is_settled = stamp.mtime_ns + TICK_NS < now and files.stamp(location) == stamp
        return CorrectionFile(path, content, stamp if is_settled else None)


def made_by(location: str) -> dict[str, str | None]:
    """Return the owner of a file and the time of its last change (UTC), as records sign decisions."""
    try:
        by: str | None = Path(location).owner()
    except (KeyError, NotImplementedError):  # a user without a name; a system that has no owners
        by = None
    when = time.gmtime(os.stat(location).st_mtime)
    return {"by": by, "when": time.strftime(TIME_FORMAT, when)}
