"""Roots: folders under which targets lie, with metadata in ``.daskcache/``.

`Root` creates, identifies and checks a root, and knows the paths of the metadata, which the other
modules of `storage` fill.  Below it are checks of configured paths, and the parser of the metadata's
JSON.
"""

from __future__ import annotations

import errno
import json
import os
import re
import time
import uuid
from functools import cached_property
from pathlib import Path
from typing import Any

from .. import config
from ..errors import ReachError, StorageError
from .atomic import put_first, refuse_link
from .paths import masked

METADATA = ".daskcache"
FORMAT = 1

#: Folders of the metadata: those that each commit writes to, and those that are written to rarely.
_OF_COMMITS = ("", "/records", "/intents", "/parts", "/trash")
_OTHERS = ("/accepted", "/code", "/code/sources", "/failures", "/leases", "/manifests")


def must_outlast_power() -> bool:
    """Return True if each step of a commit must be on the disk before the next one begins."""
    return config.get("durability") == "power"


class Root:
    """A folder under which targets lie, with its metadata in ``.daskcache/``.

    Parameters
    ----------
    path : str
        Absolute path of the folder.
    """

    def __init__(self, path: str):
        self.path = path
        self.metadata = f"{path}/{METADATA}"
        self.records = f"{self.metadata}/records"
        self.intents = f"{self.metadata}/intents"
        self.parts = f"{self.metadata}/parts"
        self.failures = f"{self.metadata}/failures"
        self.accepted = f"{self.metadata}/accepted"
        self.trash = f"{self.metadata}/trash"
        self.code = f"{self.metadata}/code"
        self.manifests = f"{self.metadata}/manifests"
        self.leases = f"{self.metadata}/leases"

    @cached_property
    def outlasts_power(self) -> bool:
        """True if each step of a commit must be on the disk; asked once, at the first of them."""
        return must_outlast_power()

    def absolute(self, target_path: str) -> str:
        return f"{self.path}/{target_path}"

    def id(self) -> str | None:
        """Return the root's random id, or None if the root was not created yet.

        Raises
        ------
        StorageError
            If the id file is damaged, unreadable or of a newer daskcache, or if the root seals records
            and this process doesn't, or the other way round.
        """
        try:
            content = parsed(Path(self.metadata, "root.json").read_bytes())
            version, identifier = int(content["daskcache"]), str(content["id"])
            sealed = bool(content.get("sealed", False))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unusable(error) from error
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            raise StorageError(
                "the root's id file is damaged",
                target=f"{self.metadata}/root.json",
                expected='{"daskcache": 1, "id": …}',
                got=str(error),
                hint="restore the file, or set daskcache.root to another folder",
            ) from error
        check_format(version, f"the root {self.path}")
        self._check_sealing(sealed)
        return identifier

    def check(self, expected: str = "") -> None:
        """Check that a created root is there and is safe to write to.

        Its disk may have been unmounted: writes would go to the folder beneath.  This process may also
        be a worker that seals records differently, or that has another root at this path.

        Parameters
        ----------
        expected : str, optional
            The root's id.  If empty, any id will do.

        Raises
        ------
        StorageError
            If the root is gone or can't be used.
        UnsafePath
            If a folder of the metadata is a link.
        ReachError
            If another root is at this path.
        """
        try:
            found = os.stat(f"{self.metadata}/root.json")
        except FileNotFoundError as error:
            raise StorageError(
                "the root is gone: its id file is not there any more",
                target=self.path,
                expected=f"{self.metadata}/root.json",
                got="no file",
                hint="is its disk still there, and on every worker?",
            ) from error
        except OSError as error:
            raise self._unusable(error) from error
        # Each commit checks the root: the rest is looked at again if the id file or the key changed, and
        # after a moment, in which a folder may become a link as it may between any check and its use.
        looks = found.st_dev, found.st_ino, found.st_mtime_ns, config.get("key-file")
        now = time.monotonic_ns()
        known, identifier, when = _checked.get(self.path, (None, None, 0))
        if known != looks or now - when > _MOMENT_NS:
            self.check_links(_OF_COMMITS)
            identifier = self.id()
            _checked[self.path] = looks, identifier, now
        if expected and identifier != expected:
            raise ReachError(
                "another root is at this path, on this host",
                target=self.path,
                expected=f"id {expected}",
                got=f"id {identifier}",
                hint="set daskcache.root to a folder that every worker shares, under the same path",
            )

    def check_links(self, folders: tuple[str, ...] = (*_OF_COMMITS, *_OTHERS)) -> None:
        """Raise `UnsafePath` if a folder of the metadata is a link: writes would end elsewhere."""
        for folder in folders:
            refuse_link(self.path, f"{METADATA}{folder}")

    def _check_sealing(self, sealed):
        if sealed != (config.get("key-file") is not None):
            raise StorageError(
                "the root has sealed records, and no key is configured"
                if sealed
                else "a key to seal records with is configured, but the root was made without",
                target=self.path,
                expected="daskcache.key-file as when the root was made",
                got=config.get("key-file"),
                hint="set daskcache.key-file (DASK_DASKCACHE__KEY_FILE) for clients and workers alike, "
                "or set daskcache.root to another folder",
            )

    def create(self) -> str:
        """Make the root's folders and id file unless they exist; return its id.

        Raises
        ------
        StorageError
            If the root can't be written to.
        """
        known = self.id()
        self.check_links()
        try:
            for folder in (self.records, self.intents, self.parts, self.trash):
                os.makedirs(folder, exist_ok=True)
            self.check_links(_OF_COMMITS)
            if known is None:
                about = {"daskcache": FORMAT, "id": uuid.uuid4().hex}
                if config.get("key-file") is not None:
                    about["sealed"] = True
                content = json.dumps(about)
                part = f"{self.metadata}/root.json.{uuid.uuid4().hex}.part"
                Path(part).write_text(content, encoding="utf-8")
                put_first(part, f"{self.metadata}/root.json")
        except OSError as error:
            raise self._unusable(error) from error
        for folder in (self.path, self.records, self.intents, self.parts, self.trash):
            if not os.access(folder, os.W_OK):
                raise self._unusable(PermissionError(errno.EACCES, f"{folder} is read-only"))
        return known or str(self.id())

    def _unusable(self, error):
        return StorageError(
            f"can't use the root: {error.strerror or error}",
            target=self.path,
            expected="a folder that can be made and written to",
            got=errno.errorcode.get(error.errno or 0, str(error)),
            hint="set daskcache.root to another folder, or mend its permissions",
        )


def is_part(path: str) -> bool:
    """Return True for a path among the parts of some root: what is there is not in its place yet."""
    return f"/{METADATA}/parts/" in path


def parsed(content: bytes | str) -> Any:
    """Parse JSON of the metadata, which any program may have written.

    Raises
    ------
    ValueError
        If the text is not valid JSON, or nested too deeply.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def check_format(version: int, what: str, target: str | None = None) -> None:
    """Raise `StorageError` if metadata have the format of a newer daskcache."""
    if version > FORMAT:
        raise StorageError(
            f"{what} was written by a newer daskcache",
            target=target,
            expected=f"format {FORMAT} or older",
            got=f"format {version}",
            hint="pip install --upgrade daskcache",
        )


#: Nanoseconds for which a check of a root's folders holds.
_MOMENT_NS = 50_000_000

#: Of each root that this process has checked: device, inode and mtime of the id file with the configured
#: key file, the id, and when that was.
_checked: dict[str, tuple[tuple | None, str | None, int]] = {}


def local_root(configured: str) -> str:
    """Return the absolute path of a configured root, with ``~`` expanded.

    Raises
    ------
    StorageError
        If `configured` is a URL.
    """
    check_local(configured, "a root")
    return os.path.abspath(os.path.expanduser(configured))


#: A URL as text, as `pathlib` shortens it (one slash), or as fsspec chains it.  A drive has one letter.
_URL = re.compile(r"(?:[A-Za-z][\w+.-]*::)*([A-Za-z][\w+.-]+):/+")


def check_local(path: str | os.PathLike, what: str) -> None:
    """Raise `StorageError` if a path is a URL, which would become a folder of that name.

    Parameters
    ----------
    path : str or os.PathLike
        Path from a user or the configuration.
    what : str
        Purpose of the path, for the error.
    """
    text = os.fsdecode(path)
    url = _URL.match(text)
    if url is None:
        return
    of_file = url[1].lower() == "file"
    raise StorageError(
        f"{what} can't be at a URL yet: daskcache reads and writes local paths only",
        target=masked(text),
        expected="the path of a file or folder",
        got=f"a URL of {url[1]}",
        hint="write the path without file://"
        if of_file
        else "mount it, or copy it to a local folder; ./ before a path says that it is one",
    )
