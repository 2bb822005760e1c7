"""All that a data frame carries besides its values, such as ``attrs``, flags, and an index' ``freq``.

`hash_value` leaves some of it out, because it makes no difference to dependent nodes.  Nevertheless, a
saved frame comes back unchanged or is refused.  The targets in `targets.tables` use these checks, and
`parquet_notes` keeps there what Parquet itself would lose.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import LazyModule
from ..hashing.encoder import hash_value
from .base import Target

pd = LazyModule("pandas", "table")

TO_PICKLE = "use a path that ends in .pkl"
TO_PARQUET = "use a path that ends in .parquet or .pkl"


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
