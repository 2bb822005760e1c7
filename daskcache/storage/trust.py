"""Trust: owners of files that may run code when read, and seals of records.

Reading a pickle can run code.  So a pickle is read only if it and its root belong to the user or to a
user in config ``daskcache.trusted-owners``.  With ``daskcache.pickle: refuse`` none is read.  A user
with write access to a root can rewrite a target together with its record.  Seals guard against that:
with a key in a file outside the root (``daskcache.key-file``), `records` adds an HMAC (RFC 2104,
SHA-256) to each name and content.  Files that are not sealed with the key don't count as records.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import os
import stat
import sys
import warnings

from .. import config
from ..errors import DaskcacheWarning, StorageError, UntrustedPickle

#: Number of hex digits of a seal: 128 bits.
SEAL_DIGITS = 32


def check_runnable(path: str, root: str | None = None) -> None:
    """Check the owners of a file that may run code when it is read.

    Parameters
    ----------
    path : str
        Path of the file or folder to be read.
    root : str, optional
        Path of the root that holds it.

    Raises
    ------
    UntrustedPickle
        If config ``daskcache.pickle`` is ``refuse``, or the file or root has an untrusted owner.
        Owners are not checked on Windows.
    """
    if config.get("pickle") == "refuse":
        raise UntrustedPickle(
            "pickles are refused",
            target=path,
            expected="a format that runs no code when it is read",
            got="a pickle",
            hint="let the target's path end in .npy, .json …, or set daskcache.pickle to trusted",
        )
    if sys.platform == "win32":
        return
    trusted = {os.getuid(), *map(_user_id, config.get("trusted-owners"))}
    for place in filter(None, (path, root)):
        owner = os.stat(place).st_uid
        if owner not in trusted:
            what = "a pickle" if place == path else "a root with pickles"
            raise UntrustedPickle(
                f"{what} that belongs to another user is not loaded",
                target=path,
                expected=f"owner {os.getuid()}, or one of daskcache.trusted-owners",
                got=f"owner {owner} of {place}",
                hint="delete the file to recompute it, or add its owner to daskcache.trusted-owners",
            )


def _user_id(owner):
    if isinstance(owner, int):
        return owner
    import pwd

    return pwd.getpwnam(owner).pw_uid


# ---- seals --------------------------------------------------------------------------------------


def seal_key() -> bytes | None:
    """Return the key to seal records with, or None if they are not sealed.

    Raises
    ------
    StorageError
        If the configured file can't be read or holds no key.
    """
    path = config.get("key-file")
    if path is None:
        return None
    return _read_key(os.path.abspath(os.path.expanduser(path)))


def seal(content: bytes, key: bytes) -> str:
    """Return the HMAC of bytes: SHA-256, cut to `SEAL_DIGITS` hex digits."""
    return hmac.new(key, content, hashlib.sha256).hexdigest()[:SEAL_DIGITS]


def is_sealed(content: bytes, found: str, key: bytes) -> bool:
    """Return True if `found` is the seal of the content."""
    return hmac.compare_digest(seal(content, key), found)


@functools.cache
def _read_key(path):
    try:
        with open(path, "rb") as file:
            key, mode = file.read().strip(), os.fstat(file.fileno()).st_mode
    except OSError as error:
        raise _no_key(path, error.strerror or str(error)) from error
    if len(key) < 16:
        raise _no_key(path, f"{len(key)} bytes")
    if sys.platform != "win32" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        warnings.warn(
            f"others can read the key in {path}: chmod 600 {path}", DaskcacheWarning, stacklevel=2
        )
    return key


def _no_key(path, got):
    return StorageError(
        "daskcache.key-file has no key to seal records with",
        target=path,
        expected="a file with at least 16 bytes",
        got=got,
        hint=f"make one: head -c 32 /dev/urandom | base64 > {path}; chmod 600 {path}",
    )
