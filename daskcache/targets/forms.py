"""The form of a result (dtype and shape, or columns), and the conversion of corrected files to it.

Programs for manual correction change dtypes.  Fiji stores a boolean mask as 0 and 255, and 64-bit labels
in 16 bits.  So a record keeps the form of the function's result (`runtime.store`).  An adopted file is
read in that form, or refused if it can't be (`runtime.entry`, `planning.target_state`).  So is a file of
CSV, which has no dtypes, if it is not read as the data that were stored (`Target.keeps_form`).  Formats
without a place for the metadata of an image keep them in the form, too (`beside`).
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from ..errors import FormatLimit, LazyModule, require

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
        data frame: ``columns``, a list of pairs of name and dtype; ``categories``, if there are any, by
        the names of columns; and ``index``, such pairs for its levels, unless it is a range.
        For a data frame of polars: ``frame`` and ``columns``, see
        `daskcache.targets.tables.polars_frames`.
    """
    if type(value).__module__.partition(".")[0] == "polars":
        from .tables.polars_frames import form_of_frame, is_frame

        return form_of_frame(value, _MAX_COLUMNS) if is_frame(value) else None
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
    more = {"categories": categories, "index": _form_of_index(value.index)}
    return form | {name: each for name, each in more.items() if each}


def _form_of_index(index):
    """Return pairs of name and dtype of the levels, or None for ranges, categories and other names."""
    if type(index).__name__ == "RangeIndex" or not hasattr(index, "get_level_values"):
        return None
    levels = [[level.name, str(level.dtype)] for level in _levels(index)]
    is_plain = all(type(name) in (str, type(None)) and dtype != "category" for name, dtype in levels)
    return levels if is_plain else None


def _levels(index):
    return [index.get_level_values(position) for position in range(index.nlevels)]


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


def in_form(value: Any, form: dict[str, Any] | None, path: str = "") -> Any:
    """Return a value in the form of the result that it replaces.

    Parameters
    ----------
    value : object
        The value as its format reads it.
    form : dict or None
        The form, see `Target.form_of`; None leaves the value unchanged.
    path : str
        Absolute path of the file, which is the value of a result that was a path.

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
    if form.get("kind") == "path":
        return Path(os.path.abspath(path))
    if "frame" in form:
        from .tables.polars_frames import frame_in_form

        return frame_in_form(value, form)
    if "columns" in form:
        return _frame_in_form(value, form)
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


def _frame_in_form(value, form):
    columns, categories = form["columns"], form.get("categories", {})
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
    for (name, dtype), (_, column) in zip(columns, value.items(), strict=True):
        converted = _column_in_form(column, name, dtype, categories.get(name))
        if converted is not column:
            frame[name] = converted
    frame.index = _index_in_form(value.index, form.get("index", []))
    return frame


def _index_in_form(index, levels):
    """Return an index whose levels have the recorded dtypes; another index stays as it is."""
    if [name for name, _ in levels] != list(index.names) or _form_of_index(index) == levels:
        return index
    pd = require("pandas", "table")
    found = []
    for level, (name, dtype) in zip(_levels(index), levels, strict=True):
        found.append(pd.Index(_column_in_form(pd.Series(level), name, dtype, None), name=name))
    return found[0] if len(found) == 1 else pd.MultiIndex.from_arrays(found)


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


# ---- metadata of images ---------------------------------------------------------------------------

#: Name of the metadata in a form, see `beside`.
IMAGE = "image"


def as_recorded(target: Any, form: dict[str, Any] | None) -> Any:
    """Return a target with the metadata beside it that the form in a record has, if any."""
    if not (target.keeps_metadata_beside and form and IMAGE in form):
        return target
    twin = target.at(target.path)
    twin._recorded = form[IMAGE]
    return twin
