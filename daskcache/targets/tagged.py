"""JSON for values beyond JSON's own types, as ``{"$tag": …}``: readable for people and programs.

Used by `objects.JSONTarget`, and by `calls.describe` for records.

==============================  =====================================================================
``{"$tuple": [1, 2]}``          also ``$set`` and ``$frozenset``, in an order set by their values
``{"$dict": [[1, "a"]]}``       a dict with keys other than texts, or that looks like a tag itself
``{"$float": "nan"}``           ``nan``, ``inf`` and ``-inf``
``{"$complex": [1.0, 2.0]}``
``{"$decimal": "1.10"}``        also ``$uuid`` and ``$path``
``{"$date": "2024-02-29"}``     also ``$time``
``{"$datetime": "…+01:00"}``    ISO 8601; with a zone as in RFC 9557, ``…+01:00[Europe/Berlin]``
``{"$timedelta": [1, 0, 5]}``   days, seconds, microseconds
``{"$numpy.float32": 0.5}``     a NumPy scalar, by its dtype
``{"$pandas.Timestamp[ns]":…}`` also ``$pandas.Timedelta[ns]``, ``$pandas.NA``, ``$pandas.NaT``
==============================  =====================================================================
"""

from __future__ import annotations

import datetime
import decimal
import math
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import LazyModule, TargetError
from ..hashing.changes import brief
from ..hashing.encoder import canonical_order
from ..hashing.names import class_name
from .base import CODEC_ERRORS

np = LazyModule("numpy", "numpy")
pd = LazyModule("pandas", "table")


def to_json(value: Any, part: Callable[[Any], Any] | None = None) -> Any:
    """Return the plain value that `json.dumps` can write for `value`.

    Parameters
    ----------
    value : object
    part : callable, optional
        Function that does the same for the parts of a container; default: this one.  With it a caller
        limits the parts, or has tags of its own.

    Raises
    ------
    TypeError
        If JSON has no form for the value, or none that returns it unchanged.
    """
    part = part or to_json
    cls = type(value)
    if cls in _PLAIN:
        return value
    if cls is float:
        return value if math.isfinite(value) else {"$float": repr(value)}
    if cls is list:
        return [part(item) for item in value]
    if cls is dict:
        return _dict_to_json(value, part)
    if cls in _COLLECTIONS:
        items = value if cls is tuple else canonical_order(value)
        return {f"${cls.__name__}": [part(item) for item in items]}
    return _scalar_to_json(value)


def from_json(loaded: dict[str, Any]) -> Any:
    """Return the value for an object in a JSON file.  Use it as ``object_hook`` of `json.loads`.

    Raises
    ------
    TargetError
        If the tag is unknown, or names a time zone that is unknown on this machine.
    """
    if not _looks_tagged(loaded):
        return loaded
    ((tag, content),) = loaded.items()
    return _read(tag, content)


_PLAIN = {str, int, bool, type(None)}
_COLLECTIONS = {tuple, set, frozenset}


def _looks_tagged(value):
    return len(value) == 1 and next(iter(value)).startswith("$")


def _dict_to_json(value, part):
    if all(type(key) is str for key in value) and not _looks_tagged(value):
        return {key: part(item) for key, item in value.items()}
    return {"$dict": [[part(key), part(item)] for key, item in value.items()]}


def _scalar_to_json(value):
    """Return a tagged value, and raise TypeError if it would not come back unchanged."""
    cls = type(value)
    write = _WRITERS.get(cls) or _PACKAGES.get(cls.__module__.partition(".")[0])
    if write is None:
        raise TypeError(f"a {class_name(cls)} has no form in JSON")
    tag, content = write(value)
    try:
        back = _read(tag, content)
        same = type(back) is cls and _shown(back) == _shown(value)
    except (*CODEC_ERRORS, TargetError) as error:
        raise TypeError(f"{value!r} can't be read back from JSON ({error})") from error
    if not same:
        raise TypeError(f"{value!r} would come back from JSON as {back!r}")
    return {tag: to_json(content)}


def _shown(value):
    """Return all that tells a scalar from others; for times, zone and unit too."""
    return repr(value), repr(getattr(value, "tzinfo", None)), getattr(value, "unit", None)


def _read(tag, content):
    name, _, unit = tag[1:].rstrip("]").partition("[")
    read = _READERS.get(name)
    if read is not None:
        return read(content, unit) if unit else read(content)
    package, _, dtype = tag[1:].partition(".")
    if package == "numpy" and np.dtype(dtype).kind in _NUMPY_KINDS:
        return _numpy_from_json(content, dtype)
    raise TargetError(
        f"a JSON file has the tag {tag!r}, which stands for nothing",
        expected=", ".join(f"${known}" for known in _READERS) + ", $numpy.<dtype>",
        got=brief.repr({tag: content}),
        hint="if a newer daskcache wrote it, upgrade; read files of other programs with JSONSource",
    )


# ---- dates and times ------------------------------------------------------------------------------


def _time_text(value):
    """Return a time in ISO 8601, with the name of its zone if it has one."""
    zone = value.tzinfo
    if zone is None or type(zone) is datetime.timezone:
        return value.isoformat()
    import zoneinfo  # few programs have zones

    if type(zone) is zoneinfo.ZoneInfo and zone.key:
        return f"{value.isoformat()}[{zone.key}]"
    raise TypeError(f"the zone {zone!r} has no form in JSON")


def _datetime(text):
    instant, _, key = text.rstrip("]").partition("[")
    value = datetime.datetime.fromisoformat(instant)
    return _in_zone(value, value.astimezone, key)


def _timestamp(text, unit):
    instant, _, key = text.rstrip("]").partition("[")
    value = pd.Timestamp(instant).as_unit(unit)
    return _in_zone(value, value.tz_convert, key)


def _in_zone(value, convert, key):
    """Return a time in the zone `key`, and raise TargetError if its clocks show another time.

    That happens if the rules of the zone changed after the time was written.
    """
    if not key:
        return value
    import zoneinfo

    try:
        converted = convert(zoneinfo.ZoneInfo(key))
    except zoneinfo.ZoneInfoNotFoundError as error:
        raise TargetError(f"the time zone {key} is not known here", hint="pip install tzdata") from error
    if converted.isoformat() != value.isoformat():
        raise TargetError(
            f"the rules of the time zone {key} are not those under which the time was written",
            expected=value.isoformat(),
            got=converted.isoformat(),
            hint="delete the file and compute again, or install the same version of tzdata",
        )
    return converted


# ---- packages -------------------------------------------------------------------------------------


#: Not void scalars, which would be as long as the content says.
_NUMPY_KINDS = "biufcUmM"


def _numpy_to_json(value):
    if not isinstance(value, np.generic) or value.dtype.kind not in _NUMPY_KINDS:
        raise TypeError(f"a {class_name(type(value))} has no form in JSON")
    if value.dtype.kind == "U":
        return "$numpy.str", str(value)
    content = value.item()
    if value.dtype.kind == "M":
        content = str(value)
    elif value.dtype.kind == "m":
        content = "NaT" if np.isnat(value) else int(value.astype("i8"))
    return f"$numpy.{value.dtype.name}", content


def _numpy_from_json(content, name):
    dtype = np.dtype(name)
    return dtype.type(content, np.datetime_data(dtype)) if dtype.kind in "mM" else dtype.type(content)


def _pandas_to_json(value):
    if value is pd.NA or value is pd.NaT:
        return f"$pandas.{'NA' if value is pd.NA else 'NaT'}", None
    if type(value) is pd.Timestamp:
        return f"$pandas.Timestamp[{value.unit}]", _time_text(value)
    if type(value) is pd.Timedelta:
        return f"$pandas.Timedelta[{value.unit}]", int(value.to_timedelta64().astype("i8"))
    raise TypeError(f"a {class_name(type(value))} has no form in JSON")


_PACKAGES = {"numpy": _numpy_to_json, "pandas": _pandas_to_json}

#: Functions that return tag and content of a scalar, by class.
_WRITERS = {
    complex: lambda value: ("$complex", [value.real, value.imag]),
    decimal.Decimal: lambda value: ("$decimal", str(value)),
    uuid.UUID: lambda value: ("$uuid", str(value)),
    type(Path()): lambda value: ("$path", str(value)),
    datetime.date: lambda value: ("$date", value.isoformat()),
    datetime.time: lambda value: ("$time", value.isoformat()),
    datetime.datetime: lambda value: ("$datetime", _time_text(value)),
    datetime.timedelta: lambda value: ("$timedelta", [value.days, value.seconds, value.microseconds]),
}

#: Functions that return the value for a tag's content, by tag.
_READERS = {
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "dict": dict,
    "float": float,
    "complex": lambda content: complex(*content),
    "decimal": decimal.Decimal,
    "uuid": uuid.UUID,
    "path": Path,
    "date": datetime.date.fromisoformat,
    "time": datetime.time.fromisoformat,
    "datetime": _datetime,
    "timedelta": lambda content: datetime.timedelta(*content),
    "pandas.NA": lambda content: pd.NA,
    "pandas.NaT": lambda content: pd.NaT,
    "pandas.Timestamp": _timestamp,
    "pandas.Timedelta": lambda content, unit: pd.Timedelta(np.timedelta64(content, unit)),
}
