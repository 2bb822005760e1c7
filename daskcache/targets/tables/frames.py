"""Conversion of data frames to the rows of a database's table, and back.

`sql` uses it.  `Rows` and the kinds of columns are defined in `daskcache.storage.tables.rows`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import Any

from ...errors import FormatLimit, LazyModule
from ...storage.tables.rows import Rows, plain

np = LazyModule("numpy", "sql")
pd = LazyModule("pandas", "sql")

_LARGEST = 2**63 - 1
_TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d{1,6})?")
_HINT = "convert it, or use a path that ends in .parquet"


def rows_of(frame: Any) -> Rows:
    """Return a frame's rows, without its index.

    Raises
    ------
    FormatLimit
        If a column's values fit none of the kinds of columns.
    """
    kinds, columns = [], []
    for name, series in frame.items():
        kind = _kind(series)
        values = _values(series, kind) if kind is not None else None
        if values is None:
            raise FormatLimit(
                f"a table can't hold the column {name!r} of the dtype {series.dtype}", hint=_HINT
            )
        kinds.append(kind)
        columns.append(values)
    return Rows(frame.columns, kinds, columns)


def frame_of(rows: Rows, dtypes: Mapping[str, Any]) -> Any:
    """Return the frame with these rows.

    Parameters
    ----------
    rows : Rows
    dtypes : mapping
        Dtypes by column name, for columns that need another one than their kind's.

    Raises
    ------
    FormatLimit
        If a column can't have its dtype, or doesn't exist.
    """
    unknown = sorted(set(dtypes) - set(rows.names))
    if unknown:
        raise FormatLimit(
            f"the option dtype names the column {unknown[0]!r}, which does not exist",
            expected=", ".join(rows.names),
            hint="mend the option dtype",
        )
    columns = {}
    for name, kind, values in zip(rows.names, rows.kinds, rows.columns, strict=True):
        series = _series(kind, values)
        columns[name] = _restored(name, series, dtypes[name]) if name in dtypes else series
    return pd.DataFrame(columns)


# ---- to rows ------------------------------------------------------------------------------------


def _kind(series):
    dtype, is_ = series.dtype, pd.api.types
    if isinstance(dtype, pd.CategoricalDtype):
        return _kind(dtype.categories.to_series())
    for check, kind in (
        (is_.is_bool_dtype, "boolean"),
        (is_.is_integer_dtype, "integer"),
        (is_.is_float_dtype, "float"),
        (_is_of_times, "time"),
    ):
        if check(dtype):
            return kind
    return "text" if is_.is_string_dtype(dtype) or is_.is_object_dtype(dtype) else None


def _is_of_times(dtype):
    """Test if a dtype is of times.  Arrow's dates are not, although pandas takes them for times."""
    is_date = isinstance(dtype, pd.ArrowDtype) and str(dtype.pyarrow_dtype).startswith("date")
    return pd.api.types.is_datetime64_any_dtype(dtype) and not is_date


def _values(series, kind):
    """Return a column's values in the form of `Rows`, or None if they don't fit its kind."""
    if kind == "time":
        return _times(series)
    values = series.astype(object).tolist()
    missing = series.isna()
    if missing.any():
        values = [None if gone else v for v, gone in zip(values, missing.tolist(), strict=True)]
    if kind == "text":
        return values if _are_texts(values) else None
    if kind == "integer":
        return values if all(v is None or v <= _LARGEST for v in values) else None
    return values


def _are_texts(values):
    if not set(map(type, values)) <= {str, type(None)}:
        return False
    try:
        "".join([v for v in values if v is not None]).encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True


def _times(series):
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(series.dtype.categories.dtype)
    if series.dt.tz is not None:
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
    texts = np.datetime_as_string(series.to_numpy("datetime64[us]"), unit="us").tolist()
    values = [None if text == "NaT" else text.replace("T", " ") for text in texts]
    # years from 1 to 9999, with four digits
    return values if all(v is None or (len(v) == 26 and v > "0001") for v in values) else None


# ---- to frames ----------------------------------------------------------------------------------


def _series(kind, values):
    """Return a column with the dtype of its kind, or of objects if some values are not of that kind."""
    array = plain(kind, values)
    if array is not values:
        return pd.Series(array)
    types = set(map(type, values)) - {type(None)}
    if kind == "integer" and types <= {int}:
        return pd.Series(values, dtype="Int64" if values else "int64")
    if kind == "boolean" and types <= {bool}:
        return pd.Series(values, dtype="boolean" if values else "bool")
    if kind == "text" and types <= {str}:
        return pd.Series(values, dtype=pd.Series(["text"]).dtype)
    if kind in ("time", "aware time") and all(v is None or _is_time(v) for v in values):
        return _of_times(kind, values)
    return pd.Series(values, dtype=object)


def _is_time(value):
    return isinstance(value, str) and _TIME.fullmatch(value) is not None


def _of_times(kind, values):
    series = pd.Series(np.array(values, dtype="datetime64[us]"))
    unit = pd.to_datetime(["2000-01-01"]).dtype  # pandas' own choice, which changed with version 3
    with contextlib.suppress(ValueError):  # out of bounds in nanoseconds
        series = series.astype(unit)
    return series.dt.tz_localize("UTC") if kind == "aware time" else series


def _restored(name, series, dtype):
    try:
        dtype = pd.api.types.pandas_dtype(dtype)
        if not isinstance(dtype, pd.DatetimeTZDtype):
            return series.astype(dtype)
        if getattr(series.dt, "tz", None) is None:
            series = series.dt.tz_localize("UTC")
        # dtypes of equal zones are equal, even if the zones are of different kinds
        return series.astype(dtype).dt.tz_convert(dtype.tz)
    except (TypeError, ValueError, AttributeError) as error:
        raise FormatLimit(
            f"the column {name!r} can't be read as {dtype}: {error}", hint="mend the option dtype"
        ) from error
