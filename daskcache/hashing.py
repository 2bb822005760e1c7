"""Values to hashes: canonical, type-tagged, the same in every process and on every host.

A value is encoded as bytes in which every type has its own tag and every length is written out, so
that two different values can't have one encoding; the hash of the bytes is the hash of the value.
Large buffers (arrays) are hashed where they lie and stand in the encoding by their digest.

`dask.tokenize` is not used: it isn't stable across interpreters, nor does it want to be.

What stands for data that isn't at hand (a node, a source file, a Dask collection) counts by what
makes that data: its recipe's key, the file's content, the collection's graph.

Teach it a type with :func:`register`; a type can also define ``__dask_tokenize__``.
"""

from __future__ import annotations

import collections
import copyreg
import dataclasses
import datetime
import decimal
import enum
import functools
import pathlib
import re
import struct
import types
import uuid
from collections.abc import Callable
from typing import Any

import xxhash

from .errors import UnhashableArgument

ALGORITHM = "xxh3_128"

#: Hash of bytes (or of any buffer) as 32 hex digits.
digest = xxhash.xxh3_128_hexdigest
#: The same, to be fed piece by piece.
hasher = xxhash.xxh3_128
#: Half the length, where a name must stay short and nothing depends on collisions being unheard of.
short_digest = xxhash.xxh3_64_hexdigest

_pack_float = struct.Struct("<d").pack


def tag(hex_digest: str) -> str:
    """Name the algorithm, for people and for files: ``xxh3_128:9f…``."""
    return f"{ALGORITHM}:{hex_digest}"


def untagged(hashed: str) -> str:
    """The digits of a hash, with or without the name of its algorithm before them."""
    return hashed.rpartition(":")[2]


def hash_value(value: Any) -> str:
    """Hash of a Python value, independent of process, host and file format.

    Parameters
    ----------
    value : object
        Plain Python values nested in any way, NumPy arrays and scalars, pandas objects, functions,
        classes, and instances whose state is made of these.  The layout in memory of an array does
        not count; its dtype (byte order included) and shape do.

    Returns
    -------
    str
        32 hex digits (xxh3_128).

    Raises
    ------
    UnhashableArgument
        If a part of the value has no stable identity.
    """
    encoder = Encoder()
    encoder.add_checked(value)
    return encoder.digest()


def canonical_order(items, encoder: Encoder | None = None) -> list:
    """Items sorted by their encoding (as `encoder` encodes them), whatever order they came in."""
    outer = encoder or Encoder()

    def encoding(item):
        part = outer.ordering()
        part.add(item)
        return part.encoding()

    return sorted(items, key=encoding)


def register(cls: type, subclasses: bool = False) -> Callable:
    """Decorator: register ``encode(value, encoder)`` as the encoder of instances of `cls`.

    Parameters
    ----------
    cls : type
        The class.
    subclasses : bool
        Whether it encodes instances of subclasses too.

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
        return encode

    return decorate


class Encoder:
    """Collects the canonical encoding of values."""

    __slots__ = ("parts",)

    def __init__(self):
        self.parts: list[bytes] = []

    def nested(self) -> Encoder:
        """A fresh encoder of the same kind, for a part that is encoded by itself."""
        return type(self)()

    def ordering(self) -> Encoder:
        """A fresh encoder whose encodings put the items of a set in order."""
        return self.nested()

    def encoding(self) -> bytes:
        """All that was added."""
        return b"".join(self.parts)

    def digest(self) -> str:
        """Hash of all that was added."""
        return digest(self.encoding())

    def add(self, value: Any) -> None:
        encode = _ENCODERS.get(type(value))
        if encode is None:
            encode = _find_encoder(type(value))
        encode(value, self)

    def add_checked(self, value: Any) -> None:
        """`add`, for the outermost value: cycles and bottomless nesting become a typed error."""
        try:
            self.add(value)
        except RecursionError:
            raise UnhashableArgument(
                f"a value of type {type(value).__name__} is cyclic or nested too deeply",
                hint="pass a flatter value, or leave the argument out of the key with ignore=[...]",
            ) from None

    def add_code(self, value: Any) -> None:
        """Add a function or class by its fingerprint."""
        from .reach import fingerprint

        self.parts.append(b"F")
        _str(fingerprint(value), self)

    def add_stand_in(self, identity: str) -> None:
        """Add something that stands for data that isn't at hand, by what makes the data."""
        self.parts.append(b"@%b;" % identity.encode())

    def add_buffer(self, kind: bytes, buffer) -> None:
        """Add a large buffer by its digest, without copying it."""
        self.parts.append(b"%b%d:%b" % (kind, memoryview(buffer).nbytes, digest(buffer).encode()))


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
    for item in canonical_order(value, encoder):
        encoder.add(item)


def _frozenset(value, encoder):
    encoder.parts.append(b"<%d:" % len(value))
    for item in canonical_order(value, encoder):
        encoder.add(item)


def _dict(value, encoder):
    encoder.parts.append(b"d%d:" % len(value))
    for key in canonical_order(value, encoder):
        encoder.add(key)
        encoder.add(value[key])


def _slice(value, encoder):
    encoder.parts.append(b":")
    _tuple((value.start, value.stop, value.step), encoder)


def _range(value, encoder):
    encoder.parts.append(b"r")
    _tuple((value.start, value.stop, value.step), encoder)


def _path(value, encoder):
    encoder.parts.append(b"p")
    _str(value.as_posix(), encoder)


def _datetime(value, encoder):
    """An aware datetime is an instant and a zone; the zone's name tells DST rules apart."""
    encoder.parts.append(b"t")
    _str(value.isoformat(), encoder)
    _str(str(value.tzinfo), encoder)


def _by_isoformat(value, encoder):
    _class_name(type(value), encoder)
    _str(value.isoformat(), encoder)


def _by_str(value, encoder):
    _class_name(type(value), encoder)
    _str(str(value), encoder)


def _timedelta(value, encoder):
    encoder.parts.append(b"D")
    _tuple((value.days, value.seconds, value.microseconds), encoder)


def _pattern(value, encoder):
    encoder.parts.append(b"R")
    _tuple((value.pattern, value.flags), encoder)


def _class_name(cls, encoder):
    _str(f"{cls.__module__}.{cls.__qualname__}", encoder)


def _enum(value, encoder):
    encoder.parts.append(b"E")
    _class_name(type(value), encoder)
    _str(value.name or "", encoder)  # combined flags have none
    encoder.add(value.value)


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


def _partial(value, encoder):
    encoder.parts.append(b"P")
    _tuple((value.func, value.args, value.keywords), encoder)


# ---- instances ----------------------------------------------------------------------------------


def _dataclass(value, encoder):
    encoder.parts.append(b"C")
    encoder.add(type(value))
    fields = [f.name for f in dataclasses.fields(value) if hasattr(value, f.name)]
    _dict({name: getattr(value, name) for name in fields}, encoder)


def _namedtuple(value, encoder):
    encoder.parts.append(b"n")
    _class_name(type(value), encoder)
    _tuple(tuple(value), encoder)


def _dask_tokenize(value, encoder):
    encoder.parts.append(b"K")
    _class_name(type(value), encoder)
    encoder.add(value.__dask_tokenize__())


def _collection(value, encoder):
    from .graph_hashing import collection_hash

    if value.__dask_graph__() is None:  # an xarray object without any chunks, say
        _dask_tokenize(value, encoder)
    else:
        encoder.add_stand_in(collection_hash(value))


def _instance(value, encoder):
    """An instance of any other class: its class and what pickling it would keep."""
    wrapped = getattr(value, "__wrapped__", None)
    if callable(wrapped) and not _is_user_class(type(value)):  # what lru_cache makes of a function, say
        encoder.parts.append(b"w")
        _class_name(type(value), encoder)
        encoder.add(wrapped)
        return
    try:
        first, second = value.__reduce_ex__(4), value.__reduce_ex__(4)
    except Exception as error:
        raise _no_identity(value, f"it can't be taken apart ({error})") from error
    encodings = []
    for reduced in (first, second):
        part = encoder.nested()
        _reduced(value, reduced, part)
        encodings.append(part.encoding())
    if encodings[0] != encodings[1]:
        raise _no_identity(value, "what it pickles as differs from one time to the next")
    encoder.parts.append(b"O" + encodings[0])


def _is_user_class(cls):
    from .code import is_user_code

    return is_user_code(cls)


def _reduced(value, reduced, encoder):
    if isinstance(reduced, str):
        encoder.add(reduced)
        return
    function, args, *rest = reduced
    rest += [None] * (4 - len(rest))
    state, items, pairs = rest[0], rest[1], rest[2]
    if function is copyreg.__newobj__ and args == (object,):
        raise _no_identity(value, "a bare object() equals nothing but itself")
    if function in (copyreg.__newobj__, copyreg.__newobj_ex__):  # type: ignore[attr-defined]
        encoder.add(type(value))
        args = args[1:]
    else:
        encoder.add(function)
    encoder.add(tuple(args))
    encoder.add(state)
    encoder.add(None if items is None else list(items))
    pairs = None if pairs is None else list(pairs)
    encoder.add(pairs if isinstance(value, collections.OrderedDict) or not pairs else dict(pairs))


def _no_identity(value, reason):
    return UnhashableArgument(
        f"a value of type {type(value).__module__}.{type(value).__qualname__} "
        f"has no stable identity: {reason}",
        hint="pass something plain instead, leave the argument out of the key with ignore=[...], "
        "or teach daskcache the type with daskcache.hashing.register",
    )


# ---- NumPy and pandas, if they are in the process -----------------------------------------------


def _numpy_array(value, encoder):
    import numpy as np

    encoder.parts.append(b"A")
    if type(value) not in (np.ndarray, np.memmap):
        _class_name(type(value), encoder)
    _numpy_dtype(value.dtype, encoder)
    _tuple(value.shape, encoder)
    if value.dtype.hasobject:
        _list(value.ravel().tolist() if value.dtype.names is None else value.tolist(), encoder)
    else:
        flat = np.ascontiguousarray(value).reshape(-1)
        if flat.dtype.itemsize == 0:
            flat = flat.astype("u1")
        encoder.add_buffer(b"a", flat.view("u1"))
    if isinstance(value, np.ma.MaskedArray):
        encoder.add(np.ma.getmaskarray(value))


def _numpy_scalar(value, encoder):
    import numpy as np

    encoder.parts.append(b"x")
    _numpy_array(np.asarray(value), encoder)


def _numpy_dtype(value, encoder):
    encoder.parts.append(b"y")
    description = value.str if value.names is None else repr(value.descr)
    _str(description, encoder)


def _pandas_index(value, encoder):
    import pandas as pd

    encoder.parts.append(b"I")
    _class_name(type(value), encoder)
    _list(list(value.names), encoder)
    if isinstance(value, pd.RangeIndex):
        _tuple((value.start, value.stop, value.step), encoder)
    elif isinstance(value, pd.MultiIndex):
        for level in range(value.nlevels):
            _pandas_index(value.get_level_values(level), encoder)
    else:
        _pandas_values(value, encoder)


def _pandas_series(value, encoder):
    encoder.parts.append(b"v")
    encoder.add(value.name)
    _pandas_index(value.index, encoder)
    _pandas_values(value, encoder)


def _pandas_frame(value, encoder):
    encoder.parts.append(b"W")
    _pandas_index(value.index, encoder)
    _pandas_index(value.columns, encoder)
    for position in range(value.shape[1]):
        _pandas_values(value.iloc[:, position], encoder)


def _pandas_values(value, encoder):
    """Values of a column or index: NumPy's bytes where they are plain, else one by one."""
    import numpy as np
    import pandas as pd

    _str(repr(value.dtype), encoder)
    if isinstance(value.dtype, np.dtype):
        _numpy_array(value.to_numpy(), encoder)
    elif isinstance(value.dtype, pd.CategoricalDtype):
        categorical = value.array if isinstance(value, pd.Series) else value._data
        _numpy_array(np.asarray(categorical.codes), encoder)
        _pandas_index(categorical.categories, encoder)
    else:
        missing = value.isna()
        _numpy_array(np.asarray(missing), encoder)
        present = value[~np.asarray(missing)]
        _list(present.tolist() if hasattr(present, "tolist") else list(present), encoder)


def _timestamp(value, encoder):
    encoder.parts.append(b"z")
    _datetime(value, encoder)


def _register_numpy():
    import numpy as np

    _BASES.update({np.ndarray: _numpy_array, np.generic: _numpy_scalar, np.dtype: _numpy_dtype})
    _ENCODERS[np.ufunc] = _code
    _ENCODERS[np.ndarray] = _numpy_array


def _register_pandas():
    import pandas as pd

    _BASES.update({pd.DataFrame: _pandas_frame, pd.Series: _pandas_series, pd.Index: _pandas_index})
    _ENCODERS[type(pd.NA)] = _singleton
    _ENCODERS[type(pd.NaT)] = _singleton
    _ENCODERS[pd.Timestamp] = _timestamp


def _xarray_variable(value, encoder):
    encoder.parts.append(b"X")
    encoder.add((value.dims, value.data, dict(value.attrs)))  # not its encoding: how it is stored


def _xarray_array(value, encoder):
    encoder.parts.append(b"Y")
    encoder.add((value.name, value.variable, _xarray_coordinates(value)))


def _xarray_dataset(value, encoder):
    encoder.parts.append(b"Z")
    data = {name: variable.variable for name, variable in value.data_vars.items()}
    encoder.add((data, _xarray_coordinates(value), dict(value.attrs)))


def _xarray_coordinates(value):
    return {name: coordinate.variable for name, coordinate in value.coords.items()}


def _register_xarray():
    import xarray as xr

    _BASES.update(
        {xr.Variable: _xarray_variable, xr.DataArray: _xarray_array, xr.Dataset: _xarray_dataset}
    )


# ---- finding the encoder ------------------------------------------------------------------------

#: Exact types.  Filled further by `register` and, once a type has been looked up, by `_find_encoder`.
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
    datetime.datetime: _datetime,
    datetime.date: _by_isoformat,
    datetime.time: _by_isoformat,
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
    functools.partial: _partial,
    type(Ellipsis): _singleton,
    type(NotImplemented): _singleton,
}

#: Classes whose subclasses are encoded in the same way, plus the name of the class.
_BASES: dict[type, Callable[[Any, Encoder], None]] = {
    pathlib.PurePath: _path,
    enum.Enum: _enum,
    type: _code,
}

#: Packages whose encoders are registered when a value of theirs is first met.
_LAZY = {"numpy": _register_numpy, "pandas": _register_pandas, "xarray": _register_xarray}


def _find_encoder(cls: type) -> Callable[[Any, Encoder], None]:
    for ancestor in cls.__mro__:
        registrar = _LAZY.pop(ancestor.__module__.partition(".")[0], None)
        if registrar is not None:
            registrar()
    encode = _ENCODERS.get(cls) or _inherited_encoder(cls)
    _ENCODERS[cls] = encode
    return encode


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
