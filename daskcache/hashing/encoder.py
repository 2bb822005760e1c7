"""Encode and hash Python values: canonical, the same in every process and on every host.

In an encoding every type has its own tag and every length is written out, so different values have
different encodings.  Large buffers (arrays) are hashed in place, and their digests are encoded.  A
stand-in for data counts by its origin: a node by its key, a source by its content, a collection by its
graph.  `plain_values` and `instances` hold encoders of Python's types, `arrays` and `tables` those of
packages; users `register` others, or define ``__dask_tokenize__``.  `fingerprints` hashes code, and
`reach` encodes the values that code refers to.
`dask.tokenize` is not used: by its own documentation it isn't stable across interpreters.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

import xxhash

from .algorithms import algorithm, digest, hasher
from .instances import encode_by_token, encode_dataclass, encode_instance, encode_namedtuple, endless
from .names import has
from .plain_values import BASES, ENCODERS, encode_str

#: Hash of half the length, for names that must stay short and where a rare collision does no harm.
short_digest = xxhash.xxh3_64_hexdigest


def tag(hex_digest: str) -> str:
    """Prefix a digest with the name of the algorithm, for users and for files: ``xxh3_128:9f…``."""
    return tags(hex_digest)[0]


def tags(*hex_digests: str) -> list[str]:
    """Prefix digests with the name of the algorithm."""
    name = algorithm()
    return [f"{name}:{each}" for each in hex_digests]


def untagged(hashed: str) -> str:
    """Return the digits of a hash, which may have the name of its algorithm before them."""
    return hashed.rpartition(":")[2]


def hash_value(value: Any) -> str:
    """Return the hash of a Python value, independent of process, host and file format.

    Parameters
    ----------
    value : object
        Plain Python values nested in any way, functions, classes, Dask collections, arrays (NumPy,
        SciPy sparse, xarray, Zarr), tables (pandas, polars, Arrow), and instances whose state
        consists of these.  The dtypes (byte order included) and the shape of an array or table count.
        Its layout in memory does not.

    Returns
    -------
    str
        32 hex digits (of xxh3_128, unless config ``daskcache.hash`` says otherwise).

    Raises
    ------
    UnhashableArgument
        If a part of the value has no stable identity.
    """
    encoder = Encoder()
    encoder.add_checked(value)
    return encoder.digest()


def canonical_order(items) -> list:
    """Return items sorted by their encodings, whatever their order was."""
    return sorted(items, key=Encoder().encoded)


def register(cls: type, subclasses: bool = False) -> Callable:
    """Register ``encode(value, encoder)`` as the encoder of instances of `cls`, as a decorator.

    Parameters
    ----------
    cls : type
        The class.
    subclasses : bool
        True to encode instances of subclasses in the same way (default: False).

    Returns
    -------
    callable
        A decorator, which registers ``encode`` and returns it unchanged.

    Examples
    --------
    >>> @register(Camera)                                      # doctest: +SKIP
    ... def _(camera, encoder):
    ...     encoder.add(("Camera", camera.serial, camera.gain))
    """

    def decorate(encode):
        _ENCODERS[cls] = encode
        if subclasses:
            _BASES[cls] = encode
        _FOUND.clear()
        return encode

    return decorate


class Encoder:
    """Collect the canonical encoding of values."""

    __slots__ = ("parts",)

    def __init__(self):
        self.parts: list[bytes] = []

    def nested(self) -> Encoder:
        """Return a fresh encoder of the same kind, for a part that is encoded separately."""
        return type(self)()

    def ordering(self) -> Encoder | None:
        """Return an encoder that puts the items of a set in order, or None for this one's encodings."""
        return None

    def encoded(self, value: Any) -> bytes:
        """Return the encoding of a value, without adding it."""
        part = self.nested()
        part.add(value)
        return part.encoding()

    def encoding(self) -> bytes:
        """Return the encoding of everything added so far."""
        return b"".join(self.parts)

    def digest(self) -> str:
        """Return the hash of everything added so far."""
        return digest(self.encoding())

    def add(self, value: Any) -> None:
        cls = type(value)
        encode = _ENCODERS.get(cls) or _FOUND.get(cls) or _find_encoder(cls)
        encode(value, self)

    def add_checked(self, value: Any) -> None:
        """Add the outermost value; raise `UnhashableArgument` if it is cyclic or nested too deeply."""
        try:
            self.add(value)
        except RecursionError:
            raise endless() from None

    def add_code(self, value: Any) -> None:
        """Add a function or class by its fingerprint."""
        self.parts.append(b"k")
        encode_str(_home("hashing.fingerprints").fingerprint(value), self)

    def add_stand_in(self, identity: str) -> None:
        """Add a stand-in for data that isn't at hand, by the identity of the data's origin."""
        self.parts.append(b"@%b;" % identity.encode("utf-8", "surrogatepass"))

    def add_upstream(self, value: Any, identity: str) -> None:
        """Add a node, a future or another value that only a task of Dask gets, by its identity."""
        self.add_stand_in(identity)

    def add_buffer(self, kind: bytes, buffer) -> None:
        """Add a large buffer by its digest, without copying it."""
        self.add_blocks(kind, [buffer])

    def add_blocks(self, kind: bytes, blocks) -> int:
        """Add a large buffer that comes in pieces, as if it were whole, and return its size in bytes."""
        state, size = hasher(), 0
        for block in blocks:
            state.update(block)
            size += memoryview(block).nbytes
        self.parts.append(b"%b%d:%b" % (kind, size, state.hexdigest().encode()))
        return size


class NumberingEncoder(Encoder):
    """Encode the values of a reach; functions and classes stand by their numbers in it."""

    __slots__ = ("reach", "sizes")

    def __init__(self, reach, sizes=None):
        super().__init__()
        self.reach = reach
        #: Sizes of the large buffers, in bytes.
        self.sizes = [] if sizes is None else sizes

    def add_blocks(self, kind, blocks):
        size = super().add_blocks(kind, blocks)
        self.sizes.append(size)
        return size

    def add_code(self, value):
        if self.reach.follows(value):
            self.parts.append(b"@code %d;" % self.reach.place(value))
        else:
            super().add_code(value)

    def nested(self):
        return NumberingEncoder(self.reach, self.sizes)

    def ordering(self):
        return Encoder()  # without numbers, which depend on the order that is being made

    def nbytes(self):
        return sum(self.sizes) + len(self.encoding())

    def digest_without_numbers(self):
        """Return the hash without the numbers, which say nothing about the value."""
        return digest(_NUMBER.sub(b"@", self.encoding()))


_NUMBER = re.compile(rb"@code \d+;")


# ---- finding the encoder ------------------------------------------------------------------------


def _collection(value, encoder):
    if value.__dask_graph__() is None:  # an xarray object without any chunks, say
        encode_by_token(value, encoder)
    else:
        _home("hashing.collections").add_collection(value, encoder)


#: Encoders by exact type, and by class for its subclasses too.
#: Not the imported names: CPython 3.11 compiles calls of their methods to slower code.
_ENCODERS = {**ENCODERS}
_BASES = {**BASES}
#: Encoders found for other types, by exact type.
_FOUND: dict[type, Callable[[Any, Encoder], None]] = {}

#: Modules with encoders, by package.  Imported when the first value of the package is met.
_LAZY = {
    "numpy": "hashing.arrays",
    "pandas": "hashing.tables",
    "polars": "hashing.tables",
    "prefect": "prefect.sent_code",
    "pyarrow": "hashing.tables",
    "pyproj": "hashing.tables",
    "scipy": "hashing.arrays",
    "xarray": "hashing.arrays",
    "zarr": "hashing.arrays",
}


def _find_encoder(cls: type) -> Callable[[Any, Encoder], None]:
    for ancestor in cls.__mro__:
        _load_encoders(ancestor.__module__.partition(".")[0])
    encode = _FOUND[cls] = _inherited_encoder(cls)
    return encode


def _load_encoders(package):
    """Add the encoders of a package to `_BASES`; encoders that are registered already stay."""
    home = _LAZY.get(package)
    if home is None:
        return
    encoders = getattr(_home(home), f"{package}_encoders")
    for base, encode in encoders().items():
        _BASES.setdefault(base, encode)
    _LAZY.pop(package, None)  # only now: another thread that comes here must find the encoders


def _home(module):
    """Return a module that needs this one: imported late, when a value needs it."""
    return import_module(f"..{module}", __package__)


def _inherited_encoder(cls):
    for ancestor in cls.__mro__:
        if ancestor in _BASES:
            return _BASES[ancestor]
    if has(cls, "__daskcache_encode__"):
        return cls.__daskcache_encode__
    if has(cls, "__dask_graph__"):
        return _collection
    if has(cls, "__dask_tokenize__"):
        return encode_by_token
    if has(cls, "__dataclass_fields__"):
        return encode_dataclass
    if issubclass(cls, tuple) and has(cls, "_fields"):
        return encode_namedtuple
    return encode_instance
