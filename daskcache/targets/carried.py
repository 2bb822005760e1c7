"""Checks of what a data frame carries besides its values: that a format keeps it.

Some of it `hash_value` leaves out, because it makes no difference to what follows; but a frame that is
saved comes back as it was, or is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import require
from ..hashing.encoder import hash_value
from .base import Target

TO_PICKLE = "use a path that ends in .pkl"


def check_frame(target: Target, value: Any) -> None:
    """Refuse what is no plain data frame, and what no file of one keeps.

    Raises
    ------
    FormatLimit
    """
    pd = require("pandas", "table")
    if isinstance(value, pd.Series):
        raise target.limit(value, "it is a Series, not a DataFrame", "return series.to_frame()")
    if not isinstance(value, pd.DataFrame):
        raise target.limit(
            value,
            f"it is a {type(value).__name__}, not a DataFrame",
            "return a DataFrame, or use a path that ends in .json or .pkl",
        )
    if type(value) is not pd.DataFrame:
        raise target.limit(
            value,
            f"it is a {type(value).__name__}, and would come back as a DataFrame",
            f"return pandas.DataFrame(result), or {TO_PICKLE}",
        )
    if not value.flags.allows_duplicate_labels:
        raise target.limit(value, "its flag allows_duplicate_labels=False would be lost", TO_PICKLE)


def check_bare(target: Target, value: Any, hint: str) -> None:
    """Refuse a frame with what a format of columns alone has no place for.

    Raises
    ------
    FormatLimit
    """
    for name, lost in (
        ("attrs", value.attrs),
        ("index.freq", freq_of(value.index)),
        ("columns.freq", freq_of(value.columns)),
    ):
        if lost:
            raise target.limit(value, f"its {name}, {lost!r}, would be lost", hint)


def is_whole(value: Any, decoded: Any) -> bool:
    """Tell if a frame came back with all that it carries; their values are equal."""
    return _traits(value) == _traits(decoded)


def difference(value: Any, decoded: Any, by: str, remedy: Callable[[Any, Any], str]) -> tuple[str, str]:
    """Name what a frame lost, and what to do about it.

    Parameters
    ----------
    value, decoded : pandas.DataFrame
        What was saved, and what came back.
    by : str
        The format.
    remedy : callable
        Gives what to do about a column (or a named level of the index), by its name and dtype; None and
        None stand for the whole.
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
    for axis, (what, cure) in _AXES.items():
        old, new = getattr(value, axis), getattr(decoded, axis)
        if _index_traits(old) != _index_traits(new) or hash_value(old) != hash_value(new):
            old, new = _indexes_told_apart(old, new)
            return f"its {what}, {old}, would become {new}", f"{cure}, or {otherwise}"
    if hash_value(value.attrs) != hash_value(decoded.attrs):
        return f"its attrs, {value.attrs!r}, would become {decoded.attrs!r}", otherwise
    return "its length, flags or class would change", otherwise


_AXES = {
    "index": ("index", "return frame.reset_index()"),
    "columns": ("column names", "rename the columns"),
}


def freq_of(index: Any) -> Any:
    """Frequency of an index of times, which its dtype doesn't tell; None of any other index."""
    return getattr(index, "freq", None) if index.dtype.kind in "mM" else None


# ---- what there is --------------------------------------------------------------------------------


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
    """Of a MultiIndex, not how its levels are kept: unused values, and frequencies of levels."""
    levels = getattr(index, "levels", [index])
    return type(index), hash_value(list(index.names)), freq_of(index), [_kind(i.dtype) for i in levels]


def _kind(dtype):
    """All that tells a dtype from others, some of which compare equal or are called the same."""
    pd = require("pandas", "table")
    inner: Any = None
    if isinstance(dtype, pd.CategoricalDtype):
        return type(dtype), dtype.ordered, type(dtype.categories), _kind(dtype.categories.dtype)
    if isinstance(dtype, pd.DatetimeTZDtype):
        inner = _zone(dtype.tz)
    elif isinstance(dtype, pd.ArrowDtype):
        inner = str(dtype.pyarrow_dtype)
    elif isinstance(dtype, pd.IntervalDtype) and dtype.subtype is not None:
        inner = _kind(dtype.subtype)
    return type(dtype), repr(dtype), inner


def _zone(zone):
    return type(zone).__module__, type(zone).__qualname__, str(zone)


def _columns(value, decoded):
    """Name, before and after of each column, and of each named level of the index."""
    for position in range(min(value.shape[1], decoded.shape[1])):
        yield value.columns[position], value.iloc[:, position], decoded.iloc[:, position]
    if value.index.nlevels == decoded.index.nlevels:
        for level, name in enumerate(value.index.names):
            if name is not None:
                yield name, *(frame.index.get_level_values(level) for frame in (value, decoded))


def _bare(column):
    """A column, or the values of a level of an index, without their name and the column's index."""
    values = column.rename(None)
    return values.reset_index(drop=True) if hasattr(values, "reset_index") else values


# ---- what to call it ------------------------------------------------------------------------------


def _told_apart(one, two):
    """Names of two dtypes, as short as tells them apart."""
    for name in (str, repr, lambda dtype: f"{type(dtype).__name__} {dtype}", _with_zone):
        if name(one) != name(two):
            return name(one), name(two)
    return repr(_kind(one)), repr(_kind(two))


def _with_zone(dtype):
    zone = getattr(dtype, "tz", None)
    return f"{dtype} (a {type(zone).__module__.partition('.')[0]} time zone)"


def _indexes_told_apart(one, two):
    """Two indexes by the dtypes of their levels, which a MultiIndex' values may not show."""
    levels = [getattr(index, "levels", [index]) for index in (one, two)]
    old, new = (", ".join(str(level.dtype) for level in each) for each in levels)
    if old != new:
        return old, new
    for before, after in zip(*levels, strict=True):
        if _kind(before.dtype) != _kind(after.dtype):
            return _told_apart(before.dtype, after.dtype)
    return repr(one[:3]), repr(two[:3])
