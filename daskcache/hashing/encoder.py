"""Encode and hash Python values: canonical, the same in every process and on every host.

In an encoding every type has its own tag and every length is written out, so different values have
different encodings.  Large buffers (arrays) are hashed in place, and their digests are encoded.
`arrays` and `tables` encode other packages' types, `collections` Dask's graphs, `reach` code.
A stand-in for data counts by its origin: a node by its key, a source by its content, a collection by
its graph.  Users add types with `register`; a type can also define ``__dask_tokenize__``.
`dask.tokenize` is not used: by its own documentation it isn't stable across interpreters.
"""

from __future__ import annotations

import contextlib
import copyreg
import dataclasses
import datetime
import decimal
import enum
import functools
import operator
import pathlib
import pickle
import re
import struct
import threading
import types
import typing
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from importlib import import_module
from typing import Any

import xxhash

from ..errors import UnhashableArgument
from .algorithms import algorithm, digest, hasher
from .installed import name_of, process_name_of
from .names import public_name
from .ownership import is_user_code

#: Hash of half the length, for names that must stay short and where a rare collision does no harm.
short_digest = xxhash.xxh3_64_hexdigest

_pack_float = struct.Struct("<d").pack


def tag(hex_digest: str) -> str:
    """Prefix a digest with the name of the algorithm, for users and for files: ``xxh3_128:9f…``."""
    return f"{algorithm()}:{hex_digest}"


def untagged(hashed: str) -> str:
    """Return the digits of a hash, which may have the name of its algorithm before them."""
    return hashed.rpartition(":")[2]


def hash_value(value: Any) -> str:
    """Return the hash of a Python value, independent of process, host and file format.

    Parameters
    ----------
    value : object
        Plain Python values nested in any way, functions, classes, Dask collections, arrays (NumPy,
        SciPy sparse, xarray, Zarr), tables (pandas, Arrow), and instances whose state consists of
        these.  The dtypes (byte order included) and the shape of an array or table count.  Its layout
        in memory does not.

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


def canonical_order(items, encoder: Encoder | None = None) -> list:
    """Return items sorted by their encodings (those of `encoder.ordering`), whatever their order was."""
    outer = encoder or Encoder()
    return sorted(items, key=outer.ordering().encoded)


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
    #: True if functions and classes are encoded as numbers, in the order in which they are met.
    numbers_code = False

    def __init__(self):
        self.parts: list[bytes] = []

    def nested(self) -> Encoder:
        """Return a fresh encoder of the same kind, for a part that is encoded separately."""
        return type(self)()

    def ordering(self) -> Encoder:
        """Return an encoder whose encodings put the items of a set in order."""
        return self.nested()

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
            raise _endless() from None

    def add_code(self, value: Any) -> None:
        """Add a function or class by its fingerprint."""
        self.parts.append(b"k")
        _str(_home("hashing.reach").fingerprint(value), self)

    def add_stand_in(self, identity: str) -> None:
        """Add a stand-in for data that isn't at hand, by the identity of the data's origin."""
        self.parts.append(b"@%b;" % identity.encode("utf-8", "surrogatepass"))

    def add_buffer(self, kind: bytes, buffer) -> None:
        """Add a large buffer by its digest, without copying it."""
        self.add_blocks(kind, [buffer])

    def add_blocks(self, kind: bytes, blocks) -> None:
        """Add a large buffer that comes in pieces: the encoding is that of the whole buffer."""
        state, size = hasher(), 0
        for block in blocks:
            state.update(block)
            size += memoryview(block).nbytes
        self.parts.append(b"%b%d:%b" % (kind, size, state.hexdigest().encode()))


def class_name(cls: type) -> str:
    """Return the name of a class with its module or package, see `daskcache.hashing.names`."""
    return public_name(cls).replace(":", ".")


def _endless():
    return UnhashableArgument(
        "the value is cyclic or nested too deeply",
        hint="pass a flatter value, or leave the argument out of the key with ignore=[...]",
    )


def no_identity(value: Any, reason: str) -> UnhashableArgument:
    """Return the error to raise for a value that can't be hashed."""
    return UnhashableArgument(
        f"a value of type {class_name(type(value))} has no stable identity: {reason}",
        hint="pass something plain instead, leave the argument out of the key with ignore=[...], "
        "or teach daskcache the type with daskcache.hashing.register",
    )


# ---- plain Python values ------------------------------------------------------------------------


def _none(value, encoder):
    encoder.parts.append(b"N")


def _bool(value, encoder):
    encoder.parts.append(b"T" if value else b"F")


def _int(value, encoder):
    encoder.parts.append(b"i%x;" % value)


def _float(value, encoder):
    encoder.parts.append(b"f" + _pack_float(value))


def _complex(value, encoder):
    encoder.parts.append(b"c" + _pack_float(value.real) + _pack_float(value.imag))


def _str(value, encoder):
    data = value.encode("utf-8", "surrogatepass")
    encoder.parts.append(b"s%d:%b" % (len(data), data))


def _bytes(value, encoder):
    encoder.add_buffer(b"b", value)


def _bytearray(value, encoder):
    encoder.add_buffer(b"B", value)


def _list(value, encoder):
    encoder.parts.append(b"[%d:" % len(value))
    for item in value:
        encoder.add(item)


def _tuple(value, encoder):
    encoder.parts.append(b"(%d:" % len(value))
    for item in value:
        encoder.add(item)


def _set(value, encoder):
    encoder.parts.append(b"{%d:" % len(value))
    encoder.parts += [encoded for encoded, _ in _in_order(value, encoder)]


def _frozenset(value, encoder):
    encoder.parts.append(b"<%d:" % len(value))
    encoder.parts += [encoded for encoded, _ in _in_order(value, encoder)]


def _dict(value, encoder):
    """Encode a dict in its own order, because functions see that order."""
    name = process_name_of(value)  # of `sys.modules`, say
    if name is not None:
        encoder.parts.append(b"g")
        _str(name, encoder)
        return
    encoder.parts.append(b"q%d:" % len(value))
    for key, item in value.items():
        encoder.add(key)
        encoder.add(item)


def _mapping_proxy(value, encoder):
    encoder.parts.append(b"Q")
    _dict(value, encoder)


def _in_order(items, encoder):
    """Return pairs of encoding and item for items without an order, always in the same order."""
    if encoder.numbers_code:  # sorted first: an encoding depends on the items encoded before it
        return [(encoder.encoded(item), item) for item in canonical_order(items, encoder)]
    return sorted([(encoder.encoded(item), item) for item in items], key=operator.itemgetter(0))


def _slice(value, encoder):
    encoder.parts.append(b":")
    _tuple((value.start, value.stop, value.step), encoder)


def _range(value, encoder):
    encoder.parts.append(b"r")
    _tuple((value.start, value.stop, value.step), encoder)


def _path(value, encoder):
    encoder.parts.append(b"p")
    _str(value.as_posix(), encoder)


def encode_datetime(value, encoder):
    """Encode a datetime: an aware one is an instant and a zone."""
    encoder.parts.append(b"t")
    _clock(value, encoder)


def _time(value, encoder):
    encoder.parts.append(b"o")
    _clock(value, encoder)


def _clock(value, encoder):
    _str(value.isoformat() + "~" * value.fold, encoder)  # `fold`: first or second pass of an hour
    zone = value.tzinfo
    # the default text of an object holds its address
    if type(zone).__repr__ is object.__repr__ and type(zone).__str__ is object.__str__:
        encoder.add(zone)
    else:
        _str(str(zone), encoder)  # the zone's name tells DST rules apart


def _by_str(value, encoder):
    encoder.parts.append(b"h")
    _str(class_name(type(value)), encoder)
    _str(str(value), encoder)


def _timedelta(value, encoder):
    encoder.parts.append(b"D")
    _tuple((value.days, value.seconds, value.microseconds), encoder)


def _pattern(value, encoder):
    encoder.parts.append(b"R")
    _tuple((value.pattern, value.flags), encoder)


def _enum(value, encoder):
    encoder.parts.append(b"E")
    _str(class_name(type(value)), encoder)
    encoder.add(value.name)
    # a bare object() equals nothing but itself; the member's name stands for it
    encoder.add(None if type(value.value) is object else value.value)


def _singleton(value, encoder):
    encoder.parts.append(b"S")
    _str(repr(value), encoder)


# ---- code ---------------------------------------------------------------------------------------


def _code(value, encoder):
    encoder.add_code(value)


def _method(value, encoder):
    encoder.parts.append(b"m")
    encoder.add(value.__func__)
    encoder.add(value.__self__)


def _module(value, encoder):
    encoder.parts.append(b"M")
    _str(value.__name__, encoder)


def _forward_reference(value, encoder):
    encoder.parts.append(b"U")
    _tuple((value.__forward_arg__, value.__forward_module__), encoder)


def _partial(value, encoder):
    encoder.parts.append(b"P")
    _tuple((value.func, value.args, value.keywords), encoder)


# ---- instances ----------------------------------------------------------------------------------


def _dataclass(value, encoder):
    encoder.parts.append(b"C")
    encoder.add(type(value))
    names = [f.name for f in dataclasses.fields(value) if hasattr(value, f.name)]
    encode_state({**_attributes(value), **{name: getattr(value, name) for name in names}}, encoder)


def _attributes(value):
    """Return an instance's attributes, without the values that `functools.cached_property` stored."""
    cls, attributes = type(value), getattr(value, "__dict__", {})
    kept = [n for n in attributes if not isinstance(getattr(cls, n, None), functools.cached_property)]
    return {name: attributes[name] for name in kept}


def encode_state(value, encoder):
    """Encode the state of an instance; the order in which its attributes were set does not count.

    A number that is the address of another attribute is left out: it says nothing about the instance
    (scikit-learn's vectorizers keep one).
    """
    if type(value) is not dict or not all(type(name) is str for name in value):
        encoder.add(value)
        return
    addresses = {id(item) for item in value.values()}
    names = sorted(n for n, item in value.items() if type(item) is not int or item not in addresses)
    encoder.parts.append(b"u%d:" % len(names))
    for name in names:
        _str(name, encoder)
        encoder.add(value[name])


def _namedtuple(value, encoder):
    encoder.parts.append(b"n")
    _str(class_name(type(value)), encoder)
    _tuple(value._fields, encoder)
    _tuple(value, encoder)


def _dask_tokenize(value, encoder):
    """Encode a value by its token if a copy has the same token, else by the state that pickle keeps."""
    token = encoder.encoded(value.__dask_tokenize__())
    if _token_of_copy(value, encoder) != token:
        _instance(value, encoder)
        return
    encoder.parts.append(b"K")
    _str(class_name(type(value)), encoder)
    encoder.parts.append(token)


def _token_of_copy(value, encoder):
    """Return the encoded token of a copy, or None if it can't be copied.

    Another thread makes the copy.  So a token made of an address or of a thread differs from the
    original's, and a token made of data does not.
    """
    with ThreadPoolExecutor(1) as pool:
        try:
            return pool.submit(copy_context().run, _copied_token, value, encoder).result()
        except Exception:  # noqa: BLE001 (a class that can't be copied may raise anything)
            return None


def _copied_token(value, encoder):
    import cloudpickle

    buffers: list[pickle.PickleBuffer] = []  # shared with the copy: large data is not copied
    data = cloudpickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return encoder.encoded(pickle.loads(data, buffers=buffers).__dask_tokenize__())


def _collection(value, encoder):
    if value.__dask_graph__() is None:  # an xarray object without any chunks, say
        _dask_tokenize(value, encoder)
    else:
        encoder.add_stand_in(_home("hashing.collections").collection_hash(value))


def _instance(value, encoder):
    """Encode an instance of any other class by its class and the state that pickle would keep.

    A global that holds process state counts by its name.  Another global of an installed module counts
    by its name if it can't be hashed otherwise: it can't be taken apart, or contains itself.
    """
    name = process_name_of(value)
    if name is None:
        try:
            with _inside(value):
                _encode_apart(value, encoder)
            return
        except UnhashableArgument:
            name = name_of(value)
            if name is None:
                raise
    encoder.parts.append(b"g")
    _str(name, encoder)


@contextlib.contextmanager
def _inside(value):
    """Mark a value as being encoded within this context; raise if it is marked already."""
    values = _under_way.values
    if id(value) in values:
        raise _endless()
    values.add(id(value))
    try:
        yield
    finally:
        values.discard(id(value))


class _UnderWay(threading.local):
    def __init__(self):
        self.values: set[int] = set()


_under_way = _UnderWay()


def _encode_apart(value, encoder):
    wrapped = getattr(value, "__wrapped__", None)
    if callable(wrapped) and not is_user_code(type(value)):  # a function inside an lru_cache, say
        encoder.parts.append(b"w")
        _str(class_name(type(value)), encoder)
        encoder.add(wrapped)
        return
    # twice: state that differs from one time to the next can't identify the value
    first, second = _taken_apart(value), _taken_apart(value)
    part = encoder.nested()
    _reduced(value, first, part)
    encoding = part.encoding()
    if not _same(first, second):
        part = encoder.nested()
        _reduced(value, second, part)
        if part.encoding() != encoding:
            raise no_identity(value, "what it pickles as differs from one time to the next")
    encoder.parts.append(b"O" + encoding)


def _taken_apart(value):
    """Return the state that pickle keeps: a name, or function, arguments, state, items and pairs."""
    try:
        reducer = copyreg.dispatch_table.get(type(value))
        reduced = reducer(value) if reducer else value.__reduce_ex__(4)
        if isinstance(reduced, str):
            return reduced
        function, args, state, items, pairs = (*reduced, None, None, None)[:5]
        if state is not None and state is getattr(value, "__dict__", None):
            state = _attributes(value) or None
        items = None if items is None else list(items)
        pairs = None if pairs is None else list(pairs)
        return function, args, state, items, pairs
    except RecursionError:
        raise
    except Exception as error:
        raise no_identity(value, f"it can't be taken apart ({error})") from error


def _same(one, two):
    """Test if two values are identical, equal ints or texts, or plain containers of such values.

    It is quicker than a second encoding, and may miss equal values.
    """
    if one is two:
        return True
    if type(one) is not type(two):
        return False
    if type(one) in (tuple, list):
        return len(one) == len(two) and all(map(_same, one, two))
    if type(one) is dict:
        return _same(list(one.items()), list(two.items()))
    return type(one) in (int, str) and one == two


def _reduced(value, reduced, encoder):
    if isinstance(reduced, str):
        encoder.add((getattr(value, "__module__", None), reduced))  # the name of a global
        return
    function, args, state, items, pairs = reduced
    if function is copyreg.__newobj__ and args == (object,):
        raise no_identity(value, "a bare object() equals nothing but itself")
    if function in (copyreg.__newobj__, copyreg.__newobj_ex__):  # type: ignore[attr-defined]
        encoder.add(type(value))
        args = args[1:]
    else:
        encoder.add(function)
    encoder.add(tuple(args))
    if type(state) is tuple and len(state) == 2:  # attributes, and those in slots
        encode_state(state[0], encoder)
        encode_state(state[1], encoder)
    else:
        encode_state(state, encoder)
    encoder.add(items)
    encoder.add(pairs)


# ---- finding the encoder ------------------------------------------------------------------------

#: Encoders by exact type.
_ENCODERS: dict[type, Callable[[Any, Encoder], None]] = {
    type(None): _none,
    bool: _bool,
    int: _int,
    float: _float,
    complex: _complex,
    str: _str,
    bytes: _bytes,
    bytearray: _bytearray,
    list: _list,
    tuple: _tuple,
    set: _set,
    frozenset: _frozenset,
    dict: _dict,
    slice: _slice,
    range: _range,
    datetime.datetime: encode_datetime,
    datetime.date: _by_str,
    datetime.time: _time,
    datetime.timedelta: _timedelta,
    decimal.Decimal: _by_str,
    uuid.UUID: _by_str,
    re.Pattern: _pattern,
    types.FunctionType: _code,
    types.BuiltinFunctionType: _code,
    types.MethodType: _method,
    types.MethodDescriptorType: _code,
    types.WrapperDescriptorType: _code,
    types.MethodWrapperType: _code,
    types.ModuleType: _module,
    types.MappingProxyType: _mapping_proxy,
    typing.ForwardRef: _forward_reference,
    functools.partial: _partial,
    type(Ellipsis): _singleton,
    type(NotImplemented): _singleton,
}

#: Encoders by class, for its subclasses too.
_BASES: dict[type, Callable[[Any, Encoder], None]] = {
    pathlib.PurePath: _path,
    enum.Enum: _enum,
    type: _code,
    types.ModuleType: _module,
}

#: Encoders found for other types, by exact type.
_FOUND: dict[type, Callable[[Any, Encoder], None]] = {}

#: Modules with encoders, by package.  Imported when the first value of the package is met.
_LAZY = {
    "numpy": "hashing.arrays",
    "pandas": "hashing.tables",
    "prefect": "prefect.encoding",
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
    if hasattr(cls, "__daskcache_encode__"):
        return cls.__daskcache_encode__
    if hasattr(cls, "__dask_graph__"):
        return _collection
    if hasattr(cls, "__dask_tokenize__"):
        return _dask_tokenize
    if dataclasses.is_dataclass(cls):
        return _dataclass
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return _namedtuple
    return _instance
