"""Leases: a worker announces that it runs a node, and others wait for its result.

Workers of one scheduler never run a node twice.  Those of several schedulers on one root may: one result
wins, the other's time is lost.  With ``daskcache.lease: 30s`` a worker that runs a node (`runtime.node`)
holds a file below ``<root>/.daskcache/leases/``, renewed by a thread.  Others wait until the target is
there or the lease has expired.  A lease only saves work; the commit (`files`) guards the target.  It
expires when *the waiting worker* has seen no renewal for its time: clocks of hosts are not compared.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dask.utils import parse_timedelta

from .. import config
from . import files
from .atomic import put_first, refuse_link, refused
from .roots import METADATA, Root

#: Number of renewals within a lease's time.
_RENEWALS = 4
#: Seconds between two looks at another worker's lease, and the least number of looks within its time.
_LOOK, _LOOKS = 0.25, 10


def configured_seconds() -> float | None:
    """Return the time of a lease in seconds, or None if leases are off."""
    configured = config.get("lease")
    return parse_timedelta(configured, default="s") if configured else None


class Lease:
    """One worker's right to run a node.

    Parameters
    ----------
    root : Root
    name : str
        Name of the lease's file without its suffix, unique to the node.
    seconds : float
        Time after which the lease expires unless it is renewed.
    """

    def __init__(self, root: Root, name: str, seconds: float):
        self.root = root
        self.seconds = seconds
        self.path = f"{root.leases}/{name}.json"
        self._id = uuid.uuid4().hex
        self._beats = 0
        self._released = threading.Event()
        self._renewing = threading.Lock()

    def take(self, finished: Callable[[], Any]) -> Any:
        """Take the lease, or wait until another worker has done the work.

        Parameters
        ----------
        finished : callable
            Returns the result if it is there, else None; takes no arguments.

        Returns
        -------
        object or None
            The result that `finished` returned, or None if this worker now holds the lease.

        Raises
        ------
        StorageError
            If the file system refuses.
        """
        seen, since = None, time.monotonic()
        while True:
            if self._create():
                # Another worker may have finished between the last look and this lease.
                found = finished()
                if found is not None:
                    files.sweep(self.path)
                    return found
                threading.Thread(
                    target=self._keep_renewing, name="daskcache-leases", daemon=True
                ).start()
                return None
            content = _read(self.path)
            if content is None or content != seen:
                seen, since = content, time.monotonic()
            elif time.monotonic() - since > _seconds_of(content, self.seconds):
                _remove(self.path, seen)
                continue
            time.sleep(min(_LOOK, self.seconds / _LOOKS))
            found = finished()
            if found is not None:
                return found

    def release(self) -> None:
        """Stop renewing the lease and remove it, so that others may run the node."""
        with self._renewing:  # a renewal at work would bring the lease back
            self._released.set()
        if self._is_own():
            files.sweep(self.path)

    def renew(self) -> bool:
        """Renew the lease; return False if it is not held any more."""
        if not self._is_own():
            return False
        part = self._write_part()
        try:
            os.replace(part, self.path)
        except OSError as error:
            files.sweep(part)
            raise files.storage_error(error, self.path) from error
        return True

    def _keep_renewing(self):
        while not self._released.wait(self.seconds / _RENEWALS):
            # if errors go on, the lease expires: another worker runs the node, and one result wins
            with self._renewing, contextlib.suppress(OSError):
                if self._released.is_set() or not self.renew():
                    return

    def _create(self):
        """Create the lease's file, complete from the start; return False if another lease is there."""
        with refused(self.path):
            refuse_link(self.root.path, f"{METADATA}/leases")
            put_first(self._write_part(), self.path)
        return self._is_own()

    def _write_part(self):
        self._beats += 1
        content = {"id": self._id, "beat": self._beats, "seconds": self.seconds}
        return files.write_new(f"{self.path}.{self._id}", json.dumps(content).encode())

    def _is_own(self):
        found = _read(self.path)
        return found is not None and self._id.encode() in found


def _remove(path, seen):
    """Remove an expired lease with the content that was seen, unless it was renewed meanwhile.

    The rename succeeds for one of the waiting workers.  A renewed lease is put back.
    """
    aside = f"{path}.{uuid.uuid4().hex}"
    with refused(path):
        try:
            os.rename(path, aside)
        except FileNotFoundError:
            return
    if _read(aside) != seen:
        put_first(aside, path)
    files.sweep(aside)


def _read(path):
    with refused(path), contextlib.suppress(FileNotFoundError):
        return Path(path).read_bytes()
    return None


def _seconds_of(content, default):
    """Return the time of a lease, or `default` if its file gives none."""
    try:
        return float(json.loads(content)["seconds"])
    except (ValueError, TypeError, KeyError):
        return default
