"""The form of a result (dtype and shape, or columns), and corrected files in the form of the result.

Programs in which people correct results store them in other dtypes: Fiji makes 0 and 255 of a boolean
mask, and 16 bits of 64-bit labels.  A record keeps the form of what the function made, and a corrected
file that was adopted is read in that form, or is refused when it can't be.
"""

from __future__ import annotations

from typing import Any

from ..errors import FormatLimit, require

#: Columns of a table beyond which its form is not kept.
_MAX_COLUMNS = 1000


def form_of(value: Any) -> dict[str, Any] | None:
    """Return the form of a value as plain data; None if it has none.

    Parameters
    ----------
    value : object

    Returns
    -------
    dict or None
        Of an array (NumPy's, Zarr's, Dask's …) ``dtype`` and ``shape``; of a data frame ``columns``, a
        list of names with their dtypes.
    """
    if hasattr(value, "columns") and hasattr(value, "dtypes") and hasattr(value, "iloc"):
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
    return {"columns": [[name, str(dtype)] for name, dtype in zip(names, value.dtypes, strict=True)]}


def in_form(value: Any, form: dict[str, Any] | None) -> Any:
    """Return a value in the form of the result that it replaces.

    Parameters
    ----------
    value : object
        As its format reads it.
    form : dict or None
        See `form_of`; None leaves the value as it is.

    Returns
    -------
    object
        The value with the dtypes of the form: 0 and 255 as booleans, numbers in the recorded dtype.

    Raises
    ------
    FormatLimit
        If that would change a value, or axes or columns differ.
    """
    if form is None or form_of(value) == form:
        return value
    if "columns" in form:
        return _frame_in_form(value, form["columns"])
    return _array_in_form(value, form["dtype"], form["shape"])


# ---- arrays ---------------------------------------------------------------------------------------


def _array_in_form(value, dtype, shape):
    np = require("numpy", "numpy")
    expected = f"{dtype} of the shape {tuple(shape)}"
    array = np.asarray(value)
    got = f"{array.dtype} of the shape {array.shape}"
    if array.ndim != len(shape):
        raise _refused("it has other axes than the result that it replaces", expected, got)
    if array.dtype == dtype:
        return value
    converted = _mask(np, array) if dtype == "bool" else _converted(np, array, np.dtype(dtype))
    if converted is None:
        raise _refused(f"its values don't fit into {dtype}", expected, got)
    return converted


def _mask(np, array):
    """Booleans for what holds 0 and one other value, as programs without booleans store them."""
    highest = array.max(initial=0)
    is_mask = bool(((array == 0) | (array == highest)).all())
    return array != 0 if is_mask else None


def _converted(np, array, dtype):
    """The same values in another dtype; None if one of them would change."""
    if array.dtype.kind not in "biufc" or dtype.kind not in "iufc":
        return None
    with np.errstate(all="ignore"):
        converted = array.astype(dtype)
        back = converted.astype(array.dtype)
    same = (back == array) | ((back != back) & (array != array))  # NaN differs from itself
    # what wraps around comes back, too: negative numbers as unsigned ones
    signs = (converted < 0) == (array < 0) if array.dtype.kind != "c" and dtype.kind != "c" else True
    return converted if bool(np.all(same & signs)) else None


# ---- tables ---------------------------------------------------------------------------------------


def _frame_in_form(value, columns):
    names = [name for name, _ in columns]
    if not hasattr(value, "columns"):
        raise _refused("it is not a table", _listed(names), type(value).__name__)
    if list(value.columns) != names:
        raise _refused(
            "its columns are not those of the result that it replaces",
            _listed(names),
            _listed(map(str, value.columns)),
        )
    converted = {}
    for position, (name, dtype) in enumerate(columns):
        series = value.iloc[:, position]
        converted[name] = _column_in_form(series, name, dtype)
    frame = value.copy(deep=False)
    for name, series in converted.items():
        frame[name] = series
    return frame


def _column_in_form(series, name, dtype):
    if str(series.dtype) == dtype:
        return series
    try:
        converted = series.astype(dtype)
        same = len(series) == 0 or (converted.astype(series.dtype).equals(series))
    except (TypeError, ValueError, ArithmeticError):
        same = False
    if not same:
        raise _refused(
            f"the values of its column {name!r} don't fit into {dtype}", dtype, str(series.dtype)
        )
    return converted


def _listed(names):
    return "the columns " + ", ".join(names)


def _refused(reason, expected, got):
    return FormatLimit(
        f"a corrected file can't stand for the result: {reason}",
        expected=expected,
        got=got,
        hint="save it again with these dtypes and axes, or columns, and adopt it then",
    )
