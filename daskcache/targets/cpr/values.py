"""Values other than sources and targets in JSON, in Prefect's form: dates, sets, exceptions, models …

`serializer` uses it.  Prefect's own decoder imports whatever a JSON object names.  Here a class must be
in a list: the classes below, and those that a program adds with `allow`.
"""

from __future__ import annotations

import builtins
import collections
import dataclasses
import datetime
import decimal
import enum
import pathlib
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

from ... import errors
from ...errors import UntrustedJSON
from ...hashing.changes import brief
from ...storage.documents import TEXT, Form


def allow(cls: type) -> type:
    """Allow values of a class to be encoded as JSON and decoded again.  Works as a decorator.

    Parameters
    ----------
    cls : type
        A pydantic model, a dataclass, an enumeration, or an exception that is made from its message.

    Returns
    -------
    type
        The class.

    Raises
    ------
    TypeError
        If it is none of these.
    """
    if issubclass(cls, Exception):
        _EXCEPTIONS[_name_of(cls)] = cls
    elif hasattr(cls, "model_validate"):
        _KINDS[_name_of(cls)] = _Kind(lambda value: value.model_dump(), cls.model_validate)
    elif dataclasses.is_dataclass(cls):
        _KINDS[_name_of(cls)] = _Kind(_fields_of, lambda data: cls(**data))
    elif issubclass(cls, enum.Enum):
        _KINDS[_name_of(cls)] = _Kind(lambda value: value.value, cls)
    else:
        raise TypeError(f"{cls!r} is not a pydantic model, dataclass, enumeration or exception")
    return cls


def encode_value(value: Any) -> dict[str, Any]:
    """Return the JSON object for a value.

    Raises
    ------
    TypeError
        If its class is not in the list.
    """
    name = _name_of(type(value))
    if name in _KINDS:
        return {"__class__": name, "data": _KINDS[name].encode(value)}
    if isinstance(value, Exception) and _exception(name) is type(value):
        return {"__class__": name, "message": str(value)}
    raise TypeError(
        f"a {name} can't be decoded from JSON again; daskcache.cpr.values.allow lets classes in"
    )


def decode_value(result: dict) -> Any:
    """Return the value for a JSON object with a ``__class__``.

    Raises
    ------
    UntrustedJSON
        If its class is not in the list, or can't be made from the object's fields.
    """
    name = result["__class__"]
    exception = _exception(name)
    try:
        if exception is not None and set(result) == {"__class__", "message"}:
            if isinstance(result["message"], str):
                return exception(result["message"])
        elif isinstance(name, str) and name in _KINDS and set(result) == {"__class__", "data"}:
            return _KINDS[name].decode(result["data"])
    except Exception as error:
        raise UntrustedJSON(f"JSON makes no {name}: {error}", got=brief.repr(result)) from error
    raise UntrustedJSON(
        "JSON names a class that is not known, or an object that does not have its form",
        got=brief.repr(result),
        hint="daskcache.cpr.values.allow(cls), or daskcache.cpr.serializer.register, lets a class in",
    )


class _Kind(NamedTuple):
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


def _name_of(cls):
    return f"{cls.__module__}.{cls.__qualname__}"


def _exception(name):
    """Return the exception class with this name, if it is in the list or a builtin, or None."""
    if not isinstance(name, str):
        return None
    if name in _EXCEPTIONS:
        return _EXCEPTIONS[name]
    module, _, short = name.rpartition(".")
    found = getattr(builtins, short, None) if module == "builtins" else None
    return found if isinstance(found, type) and issubclass(found, Exception) else None


def _fields_of(value):
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _from(form, make):
    """Return a decoder that makes a value from JSON of one form."""

    def decode(data):
        if not form.fits(data):
            raise TypeError(f"expected {form.text}, got {data!r:.50}")
        return make(data)

    return decode


def _number(value):
    """Return a decimal number as a plain one, as Prefect writes it, or as text if that changes it."""
    if not value.is_finite():
        return str(value)
    plain = int(value) if value.as_tuple().exponent >= 0 else float(value)
    return plain if str(decimal.Decimal(str(plain))) == str(value) else str(value)


_NUMBER = Form("a number", lambda value: type(value) in (int, float))
_LIST = Form("a list", lambda value: isinstance(value, list))

_PATHS = {
    f"pathlib.{inner}{name}": _Kind(
        str, _from(TEXT, getattr(pathlib, name.replace("Posix", "").replace("Windows", "")))
    )
    for inner in ("", "_local.")
    for name in ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")
}

_KINDS: dict[str, _Kind] = {
    "builtins.bytes": _Kind(bytes.decode, _from(TEXT, str.encode)),
    **{_name_of(cls): _Kind(list, _from(_LIST, cls)) for cls in (set, frozenset, collections.deque)},
    **{
        _name_of(cls): _Kind(cls.isoformat, _from(TEXT, cls.fromisoformat))
        for cls in (datetime.date, datetime.datetime, datetime.time)
    },
    "datetime.timedelta": _Kind(
        datetime.timedelta.total_seconds,
        _from(_NUMBER, lambda seconds: datetime.timedelta(seconds=seconds)),
    ),
    "decimal.Decimal": _Kind(_number, _from(_NUMBER | TEXT, lambda data: decimal.Decimal(str(data)))),
    "uuid.UUID": _Kind(str, _from(TEXT, uuid.UUID)),
    **_PATHS,
}
_EXCEPTIONS: dict[str, type[Exception]] = {
    _name_of(each): each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, errors.DaskcacheError)
}
