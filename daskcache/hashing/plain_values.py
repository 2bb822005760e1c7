"""Encoders of plain Python values, by exact type.

`encoder` uses them.  Next to it, `instances` encodes values of all other classes.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import functools
import operator
import pathlib
import re
import struct
import types
import typing
import uuid
from collections.abc import Callable
from typing import Any

from .installed import process_name_of
from .names import class_name

_pack_float = struct.Struct("<d").pack


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


def encode_str(value, encoder):
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


def encode_tuple(value, encoder):
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
        encode_str(name, encoder)
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
        return [(encoder.encoded(item), item) for item in sorted(items, key=encoder.ordering().encoded)]
    return sorted([(encoder.encoded(item), item) for item in items], key=operator.itemgetter(0))


def _slice(value, encoder):
    encoder.parts.append(b":")
    encode_tuple((value.start, value.stop, value.step), encoder)


def _range(value, encoder):
    encoder.parts.append(b"r")
    encode_tuple((value.start, value.stop, value.step), encoder)


def _path(value, encoder):
    encoder.parts.append(b"p")
    encode_str(value.as_posix(), encoder)


def encode_datetime(value, encoder):
    """Encode a datetime: an aware one is an instant and a zone."""
    encoder.parts.append(b"t")
    _clock(value, encoder)


def _time(value, encoder):
    encoder.parts.append(b"o")
    _clock(value, encoder)


def _clock(value, encoder):
    encode_str(value.isoformat() + "~" * value.fold, encoder)  # `fold`: first or second pass of an hour
    zone = value.tzinfo
    # the default text of an object holds its address
    if type(zone).__repr__ is object.__repr__ and type(zone).__str__ is object.__str__:
        encoder.add(zone)
    else:
        encode_str(str(zone), encoder)  # the zone's name tells DST rules apart


def _by_str(value, encoder):
    encoder.parts.append(b"h")
    encode_str(class_name(type(value)), encoder)
    encode_str(str(value), encoder)


def _timedelta(value, encoder):
    encoder.parts.append(b"D")
    encode_tuple((value.days, value.seconds, value.microseconds), encoder)


def _pattern(value, encoder):
    encoder.parts.append(b"R")
    encode_tuple((value.pattern, value.flags), encoder)


def _enum(value, encoder):
    encoder.parts.append(b"E")
    encode_str(class_name(type(value)), encoder)
    encoder.add(value.name)
    # a bare object() equals nothing but itself; the member's name stands for it
    encoder.add(None if type(value.value) is object else value.value)


def _singleton(value, encoder):
    encoder.parts.append(b"S")
    encode_str(repr(value), encoder)


def _code(value, encoder):
    encoder.add_code(value)


def _method(value, encoder):
    encoder.parts.append(b"m")
    encoder.add(value.__func__)
    encoder.add(value.__self__)


def _module(value, encoder):
    encoder.parts.append(b"M")
    encode_str(value.__name__, encoder)


def _forward_reference(value, encoder):
    encoder.parts.append(b"U")
    encode_tuple((value.__forward_arg__, value.__forward_module__), encoder)


def _partial(value, encoder):
    encoder.parts.append(b"P")
    encode_tuple((value.func, value.args, value.keywords), encoder)


#: Encoders by exact type.
ENCODERS: dict[type, Callable[[Any, Any], None]] = {
    type(None): _none,
    bool: _bool,
    int: _int,
    float: _float,
    complex: _complex,
    str: encode_str,
    bytes: _bytes,
    bytearray: _bytearray,
    list: _list,
    tuple: encode_tuple,
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
BASES: dict[type, Callable[[Any, Any], None]] = {
    pathlib.PurePath: _path,
    enum.Enum: _enum,
    type: _code,
    types.ModuleType: _module,
}
