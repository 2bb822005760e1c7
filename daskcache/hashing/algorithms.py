"""The hash algorithm: config ``daskcache.hash``, one for a process.

xxh3_128 is as fast as memory and tells contents apart that nobody forged.  For stores that others can
write to there are blake3 and SHA-256, cut to 128 bits: 32 hex digits, like xxh3_128.

The choice falls when something is hashed first.  Processes that get work from a client hash as it does
(`use`).
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

    #: What hashes are tagged with.
    name: str
    #: Hash of bytes, or of any buffer.
    digest: Callable[[Any], str]
    #: Makes the same, to be fed piece by piece: it has ``update`` and ``hexdigest``.
    hasher: Callable[[], Any]


class _Cut:
    """A hash object whose digest is cut to 128 bits."""

    __slots__ = ("_state", "update")

    def __init__(self, state):
        self._state = state
        self.update = state.update

    def hexdigest(self) -> str:
        return self._state.hexdigest()[:_DIGITS]


def _blake3():
    return _cut("blake3_128", require("blake3", "blake3").blake3)


def _cut(name, make):
    return Algorithm(name, lambda data: make(data).hexdigest()[:_DIGITS], lambda: _Cut(make()))


_KNOWN: dict[str, Callable[[], Algorithm]] = {
    "xxh3_128": lambda: Algorithm("xxh3_128", xxhash.xxh3_128_hexdigest, xxhash.xxh3_128),
    "blake3": _blake3,
    "sha256": lambda: _cut("sha256_128", functools.partial(hashlib.sha256, usedforsecurity=True)),
}

_chosen: tuple[str, Algorithm] | None = None


def _choose():
    global _chosen
    name = config.get("hash")
    if name not in _KNOWN:
        raise GraphError(
            "daskcache.hash names no hash algorithm", expected=", ".join(_KNOWN), got=repr(name)
        )
    _chosen = name, _KNOWN[name]()
    return _chosen


def digest(data: Any) -> str:
    """Hash of bytes (or of any buffer) as 32 hex digits."""
    return (_chosen or _choose())[1].digest(data)


def hasher() -> Any:
    """The same, to be fed piece by piece."""
    return (_chosen or _choose())[1].hasher()


def algorithm() -> str:
    """Name of the algorithm, as hashes are tagged with it."""
    return (_chosen or _choose())[1].name


def configured_as(tag: str) -> str:
    """How config ``daskcache.hash`` names the algorithm that hashes are tagged with."""
    return tag if tag in _KNOWN else tag.removesuffix("_128")


def configured() -> str:
    """Name of the algorithm, as config ``daskcache.hash`` has it."""
    return (_chosen or _choose())[0]


def use(name: str) -> None:
    """Hash as another process does, whose work this one has been given.

    Raises
    ------
    GraphError
        If something was hashed with another algorithm already.
    """
    global _chosen
    if _chosen is None:
        _chosen = name, _KNOWN[name]()
    elif _chosen[0] != name:
        raise GraphError(
            "this process hashes with another algorithm than the one that sent it work",
            expected=name,
            got=_chosen[0],
            hint="use one daskcache.hash for all clients of a cluster, and restart its workers",
        )


def check() -> None:
    """Raise `GraphError` if the configuration was changed after something was hashed."""
    wanted = config.get("hash")
    if _chosen is not None and _chosen[0] != wanted:
        raise GraphError(
            "the hash algorithm was changed after something was hashed",
            expected=_chosen[0],
            got=wanted,
            hint="set daskcache.hash before the first node is made, e.g. in DASK_DASKCACHE__HASH",
        )
