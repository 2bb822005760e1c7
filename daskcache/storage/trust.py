"""Whom to believe: who may have written what is about to be read.

Reading a pickle can run code.  So one is read only if it belongs to the user, or to config
``daskcache.trusted-owners``, in a root that does; and not at all with ``daskcache.pickle: refuse``.

Who can write to a root can also rewrite a target with its record, so that both agree.  Against that,
records can be sealed: with a key in a file outside of the root (``daskcache.key-file``) each record's
name and content carry an HMAC (RFC 2104, SHA-256), and what isn't sealed with that key is no record.
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

#: Hex digits of a seal in a record's name: 128 bits.
SEAL_DIGITS = 32


def check_runnable(path: str, root: str | None = None) -> None:
    """Raise `UntrustedPickle` unless what reading a file may run comes from somebody who is trusted.

    Parameters
    ----------
    path : str
        The file (or folder) to be read.
    root : str, optional
        The root that it is in.
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
    for place in (path, root):
        if place is None:
            continue
        owner = os.stat(place).st_uid
        if owner not in trusted:
            what = "a pickle" if place == path else "a root with pickles"
            raise UntrustedPickle(
                f"{what} that belongs to somebody else is not loaded",
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
    """The key that records are sealed with, or None if they aren't.

    Raises
    ------
    StorageError
        If the configured file has no key.
    """
    path = config.get("key-file")
    if path is None:
        return None
    return _read_key(os.path.abspath(os.path.expanduser(path)))


def seal(content: bytes, key: bytes) -> str:
    """HMAC of bytes, as hex digits."""
    return hmac.new(key, content, hashlib.sha256).hexdigest()[:SEAL_DIGITS]


def is_sealed(content: bytes, found: str, key: bytes) -> bool:
    """Whether a seal is that of the content."""
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
