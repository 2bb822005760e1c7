"""The hash algorithm of this process, from config ``daskcache.hash``.

xxh3_128 is as fast as memory, and sufficient for contents that are not forged.  Stores that others can
write to need blake3 or SHA-256.  Both are cut to 128 bits: 32 hex digits, like xxh3_128.

The first hash fixes the choice.  Workers hash with the algorithm of the client that sends them work
(`use`).  `encoder` and the rooms `runtime`, `planning` and `housekeeping` use this module.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import xxhash

from .. import config
from ..errors import GraphError, require

_DIGITS = 32


class Algorithm(NamedTuple):
    """A hash algorithm with 32 hex digits."""

    #: Tag of its hashes.
    name: str
    #: Return the hash of bytes, or of any buffer.
    digest: Callable[[Any], str]
    #: Return a hash object with ``update`` and ``hexdigest``, for data that comes in pieces.
    hasher: Callable[[], Any]


class _Cut:
    """A hash object whose digest is cut to 128 bits."""

    __slots__ = ("_state", "update")

    def __init__(self, state):
        self._state = state
        self.update = state.update

    def hexdigest(self) -> str:
        return self._state.hexdigest()[:_DIGITS]


def _cut(name, make):
    return Algorithm(name, lambda data: make(data).hexdigest()[:_DIGITS], lambda: _Cut(make()))


_KNOWN: dict[str, Callable[[], Algorithm]] = {
    "xxh3_128": lambda: Algorithm("xxh3_128", xxhash.xxh3_128_hexdigest, xxhash.xxh3_128),
    "blake3": lambda: _cut("blake3_128", require("blake3", "blake3").blake3),
    "sha256": lambda: _cut("sha256_128", functools.partial(hashlib.sha256, usedforsecurity=True)),
}

_chosen: tuple[str, Algorithm] | None = None


def _choose():
    global _chosen
    name = config.get("hash")
    if name not in _KNOWN:
        raise GraphError(
            "daskcache.hash does not name a hash algorithm", expected=", ".join(_KNOWN), got=repr(name)
        )
    _chosen = name, _KNOWN[name]()
    return _chosen


def digest(data: Any) -> str:
    """Return the hash of bytes (or of any buffer) as 32 hex digits."""
    return (_chosen or _choose())[1].digest(data)


def hasher() -> Any:
    """Return a hash object with ``update`` and ``hexdigest``, for data that comes in pieces."""
    return (_chosen or _choose())[1].hasher()


def algorithm() -> str:
    """Return the tag of this process's algorithm."""
    return (_chosen or _choose())[1].name


def configured_as(tag: str) -> str:
    """Return the name in config ``daskcache.hash`` of the algorithm with this tag."""
    return tag if tag in _KNOWN else tag.removesuffix("_128")


def configured() -> str:
    """Return the name in config ``daskcache.hash`` of this process's algorithm."""
    return (_chosen or _choose())[0]


def use(name: str) -> None:
    """Use the algorithm of another process, which sends this one work.

    Parameters
    ----------
    name : str
        The algorithm's name in config ``daskcache.hash``.

    Raises
    ------
    GraphError
        If this process already uses another algorithm.
    """
    global _chosen
    if _chosen is None:
        _chosen = name, _KNOWN[name]()
    elif _chosen[0] != name:
        raise GraphError(
            "this process and the one that sent it work use different hash algorithms",
            expected=name,
            got=_chosen[0],
            hint="use one daskcache.hash for all clients of a cluster, and restart its workers",
        )


def check() -> None:
    """Raise `GraphError` if config ``daskcache.hash`` changed after the algorithm was chosen."""
    wanted = config.get("hash")
    if _chosen is not None and _chosen[0] != wanted:
        raise GraphError(
            "the hash algorithm was changed after something was hashed",
            expected=_chosen[0],
            got=wanted,
            hint="set daskcache.hash before the first node is made, e.g. in DASK_DASKCACHE__HASH",
        )
