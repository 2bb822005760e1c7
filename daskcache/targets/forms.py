"""The form of a result (dtype and shape, or columns), and the conversion of corrected files to it.

Programs for manual correction change dtypes.  Fiji stores a boolean mask as 0 and 255, and 64-bit labels
in 16 bits.  So a record keeps the form of the function's result (`runtime.store`).  An adopted file is
read in that form, or refused if it can't be (`runtime.entry`, `planning.target_state`).  So is a file of
CSV, which has no dtypes, if it is not read as the data that were stored (`Target.keeps_form`).
"""

from __future__ import annotations

import math
from typing import Any

from ..errors import FormatLimit, LazyModule, require
from .tables.polars_frames import form_of_frame, frame_in_form, is_frame

np = LazyModule("numpy", "numpy")

#: Most columns of a table whose form is kept.
_MAX_COLUMNS = 1000


def form_of(value: Any) -> dict[str, Any] | None:
    """Return the form of a value as plain data, or None if it has none.

    Structured dtypes, arrays of Python objects, tables with many columns, and tables with column names
    other than texts have no form.

    Parameters
    ----------
    value : object

    Returns
    -------
    dict or None
        For an array (NumPy's, Zarr's, Dask's …): ``dtype``, a str, and ``shape``, a list of int.  For a
        data frame: ``columns``, a list of pairs of name and dtype; and ``categories``, if there are any,
        by the names of columns.  For a data frame of polars: ``frame`` and ``columns``, see
        `daskcache.targets.tables.polars_frames`.
    """
    if is_frame(value):
        return form_of_frame(value, _MAX_COLUMNS)
    if hasattr(value, "iloc") and hasattr(value, "columns") and hasattr(value, "dtypes"):
        return _form_of_frame(value)
    if not hasattr(value, "dtype") or not hasattr(value, "shape") or not hasattr(value, "ndim"):
        return None
    if getattr(value.dtype, "names", None) or getattr(value.dtype, "hasobject", True):
        return None
    return {"dtype": str(value.dtype.newbyteorder("=")), "shape": list(map(int, value.shape))}


def _form_of_frame(value):
    names = list(value.columns)
    if len(names) > _MAX_COLUMNS or not all(type(name) is str for name in names):
        return None
    form = {"columns": [[name, str(dtype)] for name, dtype in zip(names, value.dtypes, strict=True)]}
    found = zip(names, map(_categories, value.dtypes), strict=True)
    categories = {name: each for name, each in found if each is not None}
    return form | {"categories": categories} if categories else form


def _categories(dtype):
    """Return the categories of a dtype as plain data, or None if it has none, or others or many."""
    if str(dtype) != "category" or len(dtype.categories) > _MAX_COLUMNS:
        return None
    values = dtype.categories
    if str(values.dtype).startswith("interval"):
        parts = {"intervals": [values.left.tolist(), values.right.tolist(), values.closed]}
        plain = [*parts["intervals"][0], *parts["intervals"][1]]
    else:
        plain = values.tolist()
        parts = {"values": plain}
    return {"ordered": bool(dtype.ordered), **parts} if all(map(_is_plain, plain)) else None


def _is_plain(value):
    """Return True if JSON keeps a category as it is."""
    return type(value) in (str, int) or (type(value) is float and math.isfinite(value))


def in_form(value: Any, form: dict[str, Any] | None) -> Any:
    """Return a value in the form of the result that it replaces.

    Parameters
    ----------
    value : object
        The value as its format reads it.
    form : dict or None
        The form, see `form_of`; None leaves the value unchanged.

    Returns
    -------
    object
        The value with the dtypes of the form: 0 and 255 as booleans, numbers in the recorded dtype.

    Raises
    ------
    FormatLimit
        If the conversion would change a value, or the number of axes or the columns differ.
    """
    if form is None or form_of(value) == form:
        return value
    if "frame" in form:
        return frame_in_form(value, form)
    if "columns" in form:
        return _frame_in_form(value, form["columns"], form.get("categories", {}))
    return _array_in_form(value, form["dtype"], form["shape"])


def in_form_if_it_fits(value: Any, form: dict[str, Any] | None) -> Any:
    """Return a value as `in_form` does, or unchanged if it can't have the form."""
    try:
        return in_form(value, form)
    except FormatLimit:
        return value


# ---- arrays ---------------------------------------------------------------------------------------


def _array_in_form(value, dtype, shape):
    expected = f"{dtype} of the shape {tuple(shape)}"
    array = np.asarray(value)
    got = f"{array.dtype} of the shape {array.shape}"
    if array.ndim != len(shape):
        raise _refused("it has other axes than the result that it replaces", expected, got)
    if array.dtype == dtype:
        return value
    converted = _mask(array) if dtype == "bool" else _converted(array, np.dtype(dtype))
    if converted is None:
        raise _refused(f"its values don't fit into {dtype}", expected, got)
    return converted


def _mask(array):
    """Return booleans for an array of 0 and one other value, or None for other arrays.

    Programs without booleans store masks in this way.
    """
    highest = array.max(initial=0)
    is_mask = bool(((array == 0) | (array == highest)).all())
    return array != 0 if is_mask else None


def _converted(array, dtype):
    """Return the same values in another dtype, or None if one of them would change."""
    if array.dtype.kind not in "biufc" or dtype.kind not in "iufc":
        return None
    with np.errstate(all="ignore"):
        converted = array.astype(dtype)
        back = converted.astype(array.dtype)
    same = (back == array) | ((back != back) & (array != array))  # NaN differs from itself
    # Values that wrap around come back, too (negative numbers as unsigned ones), so compare signs.
    signs = (converted < 0) == (array < 0) if array.dtype.kind != "c" and dtype.kind != "c" else True
    return converted if bool(np.all(same & signs)) else None


# ---- tables ---------------------------------------------------------------------------------------


def _frame_in_form(value, columns, categories):
    names = [name for name, _ in columns]
    if not hasattr(value, "columns"):
        raise _refused("it is not a table", _listed(names), type(value).__name__)
    if list(value.columns) != names:
        raise _refused(
            "its columns are not those of the result that it replaces",
            _listed(names),
            _listed(map(str, value.columns)),
        )
    frame = value.copy(deep=False)
    for position, (name, dtype) in enumerate(columns):
        frame[name] = _column_in_form(value.iloc[:, position], name, dtype, categories.get(name))
    return frame


def _column_in_form(series, name, dtype, categories):
    if str(series.dtype) == dtype and _categories(series.dtype) == categories:
        return series
    try:
        converted = series.astype(dtype) if categories is None else _categorical(series, **categories)
        if len(series) == 0:
            same = True
        elif str(series.dtype) in _TEXTS:  # CSV: the conversion reads the text, or raises
            same = dtype != "bool" and converted.isna().equals(series.isna())
        else:
            same = converted.astype(series.dtype).equals(series)
    except (TypeError, ValueError, ArithmeticError):
        same = False
    if not same:
        raise _refused(
            f"the values of its column {name!r} don't fit into {dtype}", dtype, str(series.dtype)
        )
    return converted


def _categorical(series, ordered, values=None, intervals=None):
    """Return a series with these categories; intervals are found by their texts."""
    pd = require("pandas", "table")
    if intervals is not None:
        left, right, closed = intervals
        values = pd.IntervalIndex.from_arrays(left, right, closed)
        series = series.map({str(each): each for each in values})
    return series.astype(pd.CategoricalDtype(values, ordered))


#: Dtypes of columns that a reader of CSV found to be no numbers.
_TEXTS = ("object", "str", "string")


def _listed(names):
    return "the columns " + ", ".join(names)


def _refused(reason, expected, got):
    return FormatLimit(
        f"a corrected file can't stand for the result: {reason}",
        expected=expected,
        got=got,
        hint="save it again with these dtypes and axes, or columns, and adopt it then",
    )
