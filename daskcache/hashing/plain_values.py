"""Encoders of plain Python values, by exact type.

`encoder` uses them.  Next to it, `instances` encodes values of all other classes.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import functools
import pathlib
import re
import struct
import types
import typing
import uuid
from collections.abc import Callable
from operator import attrgetter, methodcaller
from typing import Any

from .names import class_name, process_name_of


def encode_str(value, encoder):
    """Encode a text by its bytes, with lone surrogates: file names hold them."""
    data = value.encode("utf-8", "surrogatepass")
    encoder.parts.append(b"s%d:%b" % (len(data), data))


def sequence(mark: bytes) -> Callable[[Any, Any], None]:
    """Return an encoder of lists or tuples, whose mark has a place for the length."""

    def encode(value, encoder):
        encoder.parts.append(mark % len(value))
        for item in value:
            encoder.add(item)

    return encode


encode_tuple = sequence(b"(%d:")


def marked(mark: bytes, read: Callable, encode: Callable = encode_tuple) -> Callable[[Any, Any], None]:
    """Return an encoder that adds a mark, then encodes the part of the value that `read` returns."""

    def encode_marked(value, encoder):
        encoder.parts.append(mark)
        encode(read(value), encoder)

    return encode_marked


def clock(mark: bytes) -> Callable[[Any, Any], None]:
    """Return an encoder of times and datetimes: an aware datetime is an instant and a zone."""

    def encode(value, encoder):
        encoder.parts.append(mark)
        encode_str(value.isoformat() + "~" * value.fold, encoder)  # `fold`: which pass of an hour
        zone = value.tzinfo
        # the default text of an object holds its address
        if type(zone).__repr__ is object.__repr__ and type(zone).__str__ is object.__str__:
            encoder.add(zone)
        else:
            encode_str(str(zone), encoder)  # the zone's name tells DST rules apart

    return encode


def encode_class(mark: bytes, value, encoder) -> None:
    """Add a mark, then the name of a value's class."""
    encoder.parts.append(mark)
    encode_str(class_name(type(value)), encoder)


# ---- types that need more -----------------------------------------------------------------------

_pack_float = struct.Struct("<d").pack


def _complex(value, encoder):
    encoder.parts.append(b"c" + _pack_float(value.real) + _pack_float(value.imag))


def _unordered(mark):
    def encode(value, encoder):
        items = list(value)  # at once: another thread may change the set
        encoder.parts.append(mark % len(items))
        order = encoder.ordering()
        if order is None:
            encoder.parts += sorted(map(encoder.encoded, items))
        else:  # sorted first: an encoding depends on the items encoded before it
            encoder.parts += map(encoder.encoded, sorted(items, key=order.encoded))

    return encode


def _dict(value, encoder):
    """Encode a dict in its own order, because functions see that order."""
    name = process_name_of(value)  # of `sys.modules`, say
    if name is not None:
        encoder.parts.append(b"g")
        encode_str(name, encoder)
        return
    items = list(value.items())  # at once: another thread may change the dict
    encoder.parts.append(b"q%d:" % len(items))
    for key, item in items:
        encoder.add(key)
        encoder.add(item)


def _by_str(value, encoder):
    encode_class(b"h", value, encoder)
    encode_str(str(value), encoder)


def _enum(value, encoder):
    encode_class(b"E", value, encoder)
    encoder.add(value.name)
    # a bare object() equals nothing but itself; the member's name stands for it
    encoder.add(None if type(value.value) is object else value.value)


def _code(value, encoder):
    encoder.add_code(value)


def _method(value, encoder):
    encoder.parts.append(b"m")
    encoder.add(value.__func__)
    encoder.add(value.__self__)


_limits = attrgetter("start", "stop", "step")
_module = marked(b"M", attrgetter("__name__"), encode_str)

#: Encoders by exact type.
ENCODERS: dict[type, Callable[[Any, Any], None]] = {
    type(None): lambda value, encoder: encoder.parts.append(b"N"),
    bool: lambda value, encoder: encoder.parts.append(b"T" if value else b"F"),
    int: lambda value, encoder: encoder.parts.append(b"i%x;" % value),
    float: lambda value, encoder: encoder.parts.append(b"f" + _pack_float(value)),
    complex: _complex,
    str: encode_str,
    bytes: lambda value, encoder: encoder.add_buffer(b"b", value),
    bytearray: lambda value, encoder: encoder.add_buffer(b"B", value),
    list: sequence(b"[%d:"),
    tuple: encode_tuple,
    set: _unordered(b"{%d:"),
    frozenset: _unordered(b"<%d:"),
    dict: _dict,
    types.MappingProxyType: marked(b"Q", dict, _dict),
    slice: marked(b":", _limits),
    range: marked(b"r", _limits),
    datetime.datetime: clock(b"t"),
    datetime.date: _by_str,
    datetime.time: clock(b"o"),
    datetime.timedelta: marked(b"D", attrgetter("days", "seconds", "microseconds")),
    decimal.Decimal: _by_str,
    uuid.UUID: _by_str,
    re.Pattern: marked(b"R", attrgetter("pattern", "flags")),
    types.FunctionType: _code,
    types.BuiltinFunctionType: _code,
    types.MethodType: _method,
    types.MethodDescriptorType: _code,
    types.WrapperDescriptorType: _code,
    types.MethodWrapperType: _code,
    types.ModuleType: _module,
    typing.ForwardRef: marked(b"U", attrgetter("__forward_arg__", "__forward_module__")),
    functools.partial: marked(b"P", attrgetter("func", "args", "keywords")),
    type(Ellipsis): marked(b"S", repr, encode_str),
    type(NotImplemented): marked(b"S", repr, encode_str),
}

#: Encoders by class, for its subclasses too.
BASES: dict[type, Callable[[Any, Any], None]] = {
    pathlib.PurePath: marked(b"p", methodcaller("as_posix"), encode_str),
    enum.Enum: _enum,
    type: _code,
    types.ModuleType: _module,
}
