"""All that a data frame carries besides its values, such as ``attrs``, flags, and an index' ``freq``.

`hash_value` leaves some of it out, because it makes no difference to dependent nodes.  Nevertheless, a
saved frame comes back unchanged or is refused.  The targets in `targets.tables` use these checks.

pandas would lose some traits in Parquet: frequencies, and dtypes that share their name with another one.
Notes on them are put into the frame's attrs, which pandas keeps in the file as JSON.  They are removed
again when the file is read.
"""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Callable
from typing import Any

from ..errors import LazyModule, require
from ..hashing.encoder import hash_value
from .base import Target

pa = LazyModule("pyarrow", "table")
pd = LazyModule("pandas", "table")

TO_PICKLE = "use a path that ends in .pkl"


def check_frame(target: Target, value: Any) -> None:
    """Refuse anything but a plain data frame, and flags that no file keeps.

    Raises
    ------
    FormatLimit
        If `value` is not exactly a `pandas.DataFrame`, or forbids duplicate labels.
    """
    if not isinstance(value, pd.DataFrame):
        hint = "return a DataFrame, or use a path that ends in .json or .pkl"
        if isinstance(value, pd.Series):
            hint = "return series.to_frame()"
        raise target.limit(value, f"it is a {type(value).__name__}, not a DataFrame", hint)
    if type(value) is not pd.DataFrame:
        raise target.limit(
            value,
            f"it is a {type(value).__name__}, and would come back as a DataFrame",
            f"return pandas.DataFrame(result), or {TO_PICKLE}",
        )
    if not value.flags.allows_duplicate_labels:
        raise target.limit(value, "its flag allows_duplicate_labels=False would be lost", TO_PICKLE)


def check_bare(target: Target, value: Any, hint: str) -> None:
    """Refuse a frame with extras that a format of bare columns can't store.

    Raises
    ------
    FormatLimit
        If the frame has attrs, or its index or columns have a frequency.
    """
    for name, lost in (
        ("attrs", value.attrs),
        ("index.freq", freq_of(value.index)),
        ("columns.freq", freq_of(value.columns)),
    ):
        if lost:
            raise target.limit(value, f"its {name}, {lost!r}, would be lost", hint)


def is_whole(value: Any, decoded: Any) -> bool:
    """Return True if a frame came back with all that it carries besides its values.

    The values themselves are not compared.
    """
    return _traits(value) == _traits(decoded)


def difference(value: Any, decoded: Any, by: str, remedy: Callable[[Any, Any], str]) -> tuple[str, str]:
    """Name the first loss of a frame on its way through a file, and a remedy.

    Parameters
    ----------
    value, decoded : pandas.DataFrame
        The frame that was saved, and the frame that came back.
    by : str
        Name of the format.
    remedy : callable
        Takes the name and dtype of a column (or named level of the index), returns the remedy as text.
        For the whole frame, name and dtype are None.

    Returns
    -------
    reason, hint : str
        See `Target.limit`.
    """
    for name, before, after in _columns(value, decoded):
        if _kind(before.dtype) != _kind(after.dtype):
            old, new = _told_apart(before.dtype, after.dtype)
            return (
                f"the column {name!r} has the dtype {old}, {by} would give {new}",
                f"convert it ({new} here), or {remedy(name, before.dtype)}",
            )
        if hash_value(_bare(before)) != hash_value(_bare(after)):
            return f"values of the column {name!r} would change", remedy(name, before.dtype)
    otherwise = remedy(None, None)
    for axis, what, cure in (
        ("index", "index", "return frame.reset_index()"),
        ("columns", "column names", "rename the columns"),
    ):
        old, new = getattr(value, axis), getattr(decoded, axis)
        if _index_traits(old) != _index_traits(new) or hash_value(old) != hash_value(new):
            old, new = _indexes_told_apart(old, new)
            return f"its {what}, {old}, would become {new}", f"{cure}, or {otherwise}"
    if hash_value(value.attrs) != hash_value(decoded.attrs):
        return f"its attrs, {value.attrs!r}, would become {decoded.attrs!r}", otherwise
    return "its length, flags or class would change", otherwise


def freq_of(index: Any) -> Any:
    """Return the frequency of an index of times, which is not in its dtype; None for other indexes."""
    return getattr(index, "freq", None) if index.dtype.kind in "mM" else None


# ---- traits of frames and dtypes ------------------------------------------------------------------


def _traits(frame):
    return (
        type(frame),
        hash_value(frame.attrs),
        frame.flags.allows_duplicate_labels,
        _index_traits(frame.index),
        _index_traits(frame.columns),
        [_kind(dtype) for dtype in frame.dtypes],
    )


def _index_traits(index):
    """Return all that an index carries besides its values.

    Unused values and frequencies of a MultiIndex' levels are left out.  They only describe its storage.
    """
    levels = getattr(index, "levels", [index])
    return type(index), hash_value(list(index.names)), freq_of(index), [_kind(i.dtype) for i in levels]


def _kind(dtype):
    """Return a value that differs for any two dtypes, even if they compare equal or share a name."""
    inner: Any = None
    if isinstance(dtype, pd.CategoricalDtype):
        return type(dtype), dtype.ordered, type(dtype.categories), _kind(dtype.categories.dtype)
    if isinstance(dtype, pd.DatetimeTZDtype):
        inner = type(dtype.tz).__module__, type(dtype.tz).__qualname__, str(dtype.tz)
    elif isinstance(dtype, pd.ArrowDtype):
        inner = str(dtype.pyarrow_dtype)
    elif isinstance(dtype, pd.IntervalDtype) and dtype.subtype is not None:
        inner = _kind(dtype.subtype)
    return type(dtype), repr(dtype), inner


def _columns(value, decoded):
    """Yield name, saved and decoded values of each column and each named level of the index."""
    for position in range(min(value.shape[1], decoded.shape[1])):
        yield value.columns[position], value.iloc[:, position], decoded.iloc[:, position]
    if value.index.nlevels == decoded.index.nlevels:
        for level, name in enumerate(value.index.names):
            if name is not None:
                yield name, *(frame.index.get_level_values(level) for frame in (value, decoded))


def _bare(column):
    """Return a column without name and index, or the values of an index level without name."""
    values = column.rename(None)
    return values.reset_index(drop=True) if hasattr(values, "reset_index") else values


# ---- names for messages ---------------------------------------------------------------------------


def _told_apart(one, two):
    """Return the shortest names of two dtypes that differ."""
    for name in (str, repr, lambda dtype: f"{type(dtype).__name__} {dtype}", _with_zone):
        if name(one) != name(two):
            return name(one), name(two)
    return repr(_kind(one)), repr(_kind(two))


def _with_zone(dtype):
    zone = getattr(dtype, "tz", None)
    return f"{dtype} (a {type(zone).__module__.partition('.')[0]} time zone)"


def _indexes_told_apart(one, two):
    """Return texts that show how two indexes differ.

    Dtypes of levels come first, as a MultiIndex' values may not show them.
    """
    levels = [getattr(index, "levels", [index]) for index in (one, two)]
    old, new = (", ".join(str(level.dtype) for level in each) for each in levels)
    if old != new:
        return old, new
    for before, after in zip(*levels, strict=True):
        if _kind(before.dtype) != _kind(after.dtype):
            return _told_apart(before.dtype, after.dtype)
    return repr(one[:3]), repr(two[:3])


# ---- notes in Parquet files -------------------------------------------------------------------------

_FREQ = "daskcache.index.freq"
_COLUMNS_FREQ = "daskcache.columns.freq"
#: Key of the notes on dtypes: by axis, then by position of the column or index level.
_DTYPES = "daskcache.dtypes"


def notes_of(frame: Any) -> dict[str, Any]:
    """Return the notes on a frame, to be put into its attrs; empty if it needs none."""
    notes: dict[str, Any] = {}
    for key, index in ((_FREQ, frame.index), (_COLUMNS_FREQ, frame.columns)):
        freq = freq_of(index)
        if freq is not None:
            notes[key] = freq.freqstr
    levels = getattr(frame.index, "levels", [frame.index])
    dtypes = {"columns": _noted(frame.dtypes), "index": _noted(level.dtype for level in levels)}
    if any(dtypes.values()):
        notes[_DTYPES] = dtypes
    return notes


def read_parquet(file: Any) -> Any:
    """Return the frame that `ParquetTarget` wrote to a file (or path)."""
    frame = pd.read_parquet(file)
    return restored(frame, frame.attrs)


def restored(frame: Any, attrs: dict[str, Any]) -> Any:
    """Restore a frame, or a part of its rows, from the notes.  Change it in place and return it.

    Parameters
    ----------
    frame : pandas.DataFrame
    attrs : dict
        Attrs with the notes, which are removed from them.
    """
    dtypes = attrs.pop(_DTYPES, {})
    for position, note in dtypes.get("columns", {}).items():
        column = frame.iloc[:, int(position)]
        frame.isetitem(int(position), _with_dtype(column, note))
    for level, note in dtypes.get("index", {}).items():
        frame.index = _with_level(frame.index, int(level), note)
    for key, index in ((_FREQ, frame.index), (_COLUMNS_FREQ, frame.columns)):
        freq = attrs.pop(key, None)
        if freq is not None:
            index.freq = freq
    return frame


def _with_level(index, level, note):
    if not hasattr(index, "levels"):
        return _with_dtype(index, note)
    return index.set_levels(_with_dtype(index.levels[level], note), level=level)


def _with_dtype(values, note):
    if note == [_ARROW_STRING]:
        return values.astype(pd.ArrowDtype(pa.string()))
    return getattr(values, "dt", values).tz_convert(_zone_of(*note))


def _noted(dtypes):
    notes = {str(position): _note(dtype) for position, dtype in enumerate(dtypes)}
    return {position: note for position, note in notes.items() if note}


_ARROW_STRING = "arrow string"


def _note(dtype):
    """Return the note on a dtype that pandas or PyArrow would take for another one, or None."""
    if isinstance(dtype, pd.ArrowDtype) and dtype.pyarrow_dtype == pa.string():
        return [_ARROW_STRING]
    return _note_of_zone(dtype.tz) if isinstance(dtype, pd.DatetimeTZDtype) else None


def _note_of_zone(zone):
    if type(zone) is zoneinfo.ZoneInfo:
        return ["zoneinfo", zone.key] if zone.key else None
    if type(zone) is datetime.timezone:
        return ["timezone", zone.utcoffset(None).total_seconds()]
    if type(zone).__module__.partition(".")[0] == "pytz":
        offset = zone.utcoffset(None)
        return ["pytz", zone.zone] if zone.zone else ["pytz offset", offset.total_seconds() / 60]
    return None


def _zone_of(kind, what):
    if kind == "zoneinfo":
        return zoneinfo.ZoneInfo(what)
    if kind == "timezone":
        return datetime.timezone(datetime.timedelta(seconds=what))
    pytz = require("pytz", "table")
    return pytz.timezone(what) if kind == "pytz" else pytz.FixedOffset(what)
