"""Leases: who runs a node says so, and others that are to run the same node wait for its result.

Workers of one scheduler never run a node twice.  With several schedulers on one root they may; then one
result wins, and the other's time is lost.  With ``daskcache.lease: 30s`` a worker that runs a node holds
a file below ``<root>/.daskcache/leases/``, which a thread renews, and others wait until the target is
there or the lease has expired.

A lease saves work, and guards nothing: that is what the commit does.  It expires when it was not renewed
for its time *as the one who waits has seen it*: no clocks of different hosts are compared.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from dask.utils import parse_timedelta

from .. import config
from . import atomic, files
from .atomic import refuse_link
from .roots import METADATA, Root

#: How often a lease is renewed in its time.
_RENEWALS = 4
#: Seconds between two looks at somebody else's lease, and what part of its time they are at most.
_LOOK, _LOOKS = 0.25, 10


def configured_seconds() -> float | None:
    """The time of a lease in seconds; None if there are to be none."""
    configured = config.get("lease")
    return parse_timedelta(configured, default="s") if configured else None


class Lease:
    """One worker's right to run a node.

    Parameters
    ----------
    root : Root
    name : str
        What tells the node from others: a file name.
    seconds : float
        The time after which it expires unless it is renewed.
    """

    def __init__(self, root: Root, name: str, seconds: float):
        self.root = root
        self.seconds = seconds
        self.path = f"{root.leases}/{name}.json"
        self._id = uuid.uuid4().hex
        self._beats = 0

    def take(self, finished: Callable[[], Any]) -> Any:
        """Take the lease, or wait until somebody else has done the work.

        Parameters
        ----------
        finished : callable
            Returns the result if it is there, else None.

        Returns
        -------
        object or None
            What `finished` returned; None if the lease is held now.

        Raises
        ------
        StorageError
            If the file system refuses.
        """
        others = _Watched(self.path)
        while True:
            if self._create():
                found = finished()
                if found is not None:
                    self._remove()
                    return found
                _renewing.add(self)
                return None
            if others.has_expired(self.seconds):
                others.remove()
                continue
            time.sleep(min(_LOOK, self.seconds / _LOOKS))
            found = finished()
            if found is not None:
                return found

    def release(self) -> None:
        """Let others run the node, if it is still to be run."""
        _renewing.discard(self)
        if self._is_own():
            self._remove()

    def renew(self) -> bool:
        """Say that it is still held; return whether it is."""
        if not self._is_own():
            return False
        part = f"{self.path}.{self._id}"
        files.write_part(part, [self._content()])
        try:
            os.replace(part, self.path)
        except OSError as error:
            files.sweep(part)
            raise files.storage_error(error, self.path) from error
        return True

    def _create(self):
        """Whether the file was not there, and is now, whole."""
        try:
            refuse_link(self.root.path, f"{METADATA}/leases")
            os.makedirs(self.root.leases, exist_ok=True)
            part = f"{self.path}.{self._id}"
            files.write_part(part, [self._content()])
            atomic.put_first(part, self.path)
        except OSError as error:
            raise files.storage_error(error, self.path) from error
        return self._is_own()

    def _content(self):
        self._beats += 1
        return json.dumps({"id": self._id, "beat": self._beats, "seconds": self.seconds}).encode()

    def _is_own(self):
        found = _read(self.path)
        return found is not None and self._id.encode() in found

    def _remove(self):
        files.sweep(self.path)


class _Watched:
    """Somebody else's lease, as it is seen from here."""

    def __init__(self, path):
        self.path = path
        self._content: bytes | None = None
        self._since = time.monotonic()

    def has_expired(self, seconds):
        """Whether it has stayed as it is for its time, or for `seconds` if it doesn't say."""
        content = _read(self.path)
        if content is None or content != self._content:
            self._content, self._since = content, time.monotonic()
            return False
        return time.monotonic() - self._since > _seconds_of(content, seconds)

    def remove(self):
        """Take the expired lease away: one of those who wait does, and only if it was not renewed."""
        aside = f"{self.path}.{uuid.uuid4().hex}"
        try:
            os.rename(self.path, aside)
        except FileNotFoundError:
            return
        except OSError as error:
            raise files.storage_error(error, self.path) from error
        if _read(aside) != self._content:
            atomic.put_first(aside, self.path)
        files.sweep(aside)


def _read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise files.storage_error(error, path) from error


def _seconds_of(content, default):
    try:
        return float(json.loads(content)["seconds"])
    except (ValueError, TypeError, KeyError):
        return default


class _Renewing:
    """The leases that this process holds, and the thread that renews them while there are any."""

    def __init__(self):
        self._condition = threading.Condition()
        self._due: dict[Lease, float] = {}
        self._thread: threading.Thread | None = None

    def add(self, lease):
        with self._condition:
            self._due[lease] = time.monotonic() + lease.seconds / _RENEWALS
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="daskcache-leases", daemon=True)
                self._thread.start()
            self._condition.notify()

    def discard(self, lease):
        with self._condition:
            self._due.pop(lease, None)
            self._condition.notify()

    def _run(self):
        while True:
            with self._condition:
                if not self._due:
                    self._thread = None
                    return
                lease = min(self._due, key=self._due.__getitem__)
                left = self._due[lease] - time.monotonic()
                if left > 0:
                    self._condition.wait(left)
                    continue
                self._due[lease] = time.monotonic() + lease.seconds / _RENEWALS
                if not _renewed(lease):  # under the lock: what is released meanwhile must not come back
                    self._due.pop(lease, None)


def _renewed(lease):
    try:
        return lease.renew()
    except OSError:  # it expires if that goes on; whoever waits runs the node, and one result wins
        return True


_renewing = _Renewing()
