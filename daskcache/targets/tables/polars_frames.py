"""Data frames of polars in CSV and Parquet, for `csv_parquet`.

Parquet keeps all dtypes of polars, and a note in the file's metadata says that the frame is of polars.
CSV has no dtypes: the form in a node's record has those of the frame, see `daskcache.targets.forms`.
Without a form, a column of CSV is read as numbers or booleans only if polars would write it in the same
way again.  So ``007`` stays a text, and a form can restore every column.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ...errors import FormatLimit, LazyModule, require

pl = LazyModule("polars", "polars")

#: Key in a Parquet file's metadata, and its value for frames of polars.
_NOTE = "daskcache.frame"
POLARS = "polars"


def is_polars(value: Any) -> bool:
    """Return True for an object of polars, which is not imported to find out."""
    return type(value).__module__.partition(".")[0] == POLARS


def is_frame(value: Any) -> bool:
    """Return True for a data frame of polars."""
    return is_polars(value) and type(value) is pl.DataFrame


# ---- Parquet ------------------------------------------------------------------------------------------


def polars_to_parquet(frame: Any, row_group_size: int | None) -> bytes:
    """Return the content of a Parquet file with a frame.

    Raises
    ------
    ValueError
        If polars can't write it.
    """
    file = io.BytesIO()
    with _as_value_errors():
        frame.write_parquet(file, row_group_size=row_group_size, metadata={_NOTE: POLARS})
    return file.getvalue()


def polars_from_parquet(content: bytes) -> Any:
    """Return the frame in a Parquet file, whoever wrote it."""
    with _as_value_errors():
        return pl.read_parquet(io.BytesIO(content))


def is_noted(file: Any) -> bool:
    """Return True if a note in a Parquet file (or path) says that its frame is of polars."""
    metadata = require("pyarrow.parquet", "table").read_metadata(file).metadata or {}
    return metadata.get(_NOTE.encode()) == POLARS.encode()


# ---- CSV ----------------------------------------------------------------------------------------------


def polars_to_csv(frame: Any, separator: str) -> bytes:
    """Return a frame as the text of CSV.

    Raises
    ------
    ValueError
        If polars can't write a column's dtype.  The error names the column.
    """
    for column in frame:
        if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Duration, pl.Object):
            raise ValueError(f"the column {column.name!r} has the dtype {column.dtype}, which CSV lacks")
    with _as_value_errors():
        return frame.write_csv(separator=separator).encode()


def polars_from_csv(text: bytes, separator: str, dtypes: Mapping[str, Any]) -> Any:
    """Return the frame in a text of CSV.

    Parameters
    ----------
    text : bytes
    separator : str
        The character between two columns.
    dtypes : mapping
        Dtypes of polars by the names of columns.  For the others, see the module.
    """
    if not text.strip():
        return pl.DataFrame()
    with _as_value_errors():
        # an empty field is missing, and an empty text is quoted
        texts = pl.read_csv(io.BytesIO(text), separator=separator, infer_schema=False)
        return pl.DataFrame([_read(each, dtypes.get(each.name)) for each in texts])


def _read(texts, dtype):
    """Return a column with a dtype, or as numbers or booleans if their texts are those of the column."""
    if dtype is not None:
        return _cast(texts, dtype)
    if texts.null_count() == len(texts):
        return texts
    for each in (pl.Int64, pl.Float64, pl.Boolean):
        try:
            column = _cast(texts, each)
        except pl.exceptions.PolarsError:
            continue
        if column.cast(pl.String).equals(texts, null_equal=True):
            return column
    return texts


# ---- dtypes -------------------------------------------------------------------------------------------


def form_of_frame(frame: Any, most: int) -> dict[str, Any] | None:
    """Return the form of a frame, or None if it has a dtype that CSV lacks.

    Parameters
    ----------
    frame : polars.DataFrame
    most : int
        Most columns, and most categories of an enum, of a frame that has a form.

    Returns
    -------
    dict or None
        ``frame``, the package; ``columns``, a list of pairs of name and dtype, such as
        ``Datetime[us, UTC]``; and ``categories`` by the names of columns, if there are enums.
    """
    schema = frame.schema.items()
    columns = [[name, _described(dtype)] for name, dtype in schema]
    enums = {name: {"values": dtype.categories.to_list()} for name, dtype in schema if dtype == pl.Enum}
    is_long = any(len(each) > most for each in (columns, *(enum["values"] for enum in enums.values())))
    if is_long or not all(dtype for _, dtype in columns):
        return None
    return {"frame": POLARS, "columns": columns, **({"categories": enums} if enums else {})}


def _described(dtype):
    """Return the text of a dtype, or None for one that no form has."""
    name = str(dtype.base_type())
    if name not in _PARAMETERS:
        return None
    parameters = [str(getattr(dtype, each)) for each in _PARAMETERS[name]]
    return f"{name}[{', '.join(parameters)}]" if parameters else name


def _dtype_of(text, categories):
    """Return the dtype that a text describes, with the categories of an enum; or None."""
    name, _, parameters = text.removesuffix("]").partition("[")
    if name not in _PARAMETERS:
        return None
    if name == "Enum":
        return pl.Enum(categories["values"])
    given = [None if each == "None" else each for each in parameters.split(", ") if each]
    return getattr(pl, name)(*(map(int, given) if name == "Decimal" else given))


#: The attributes that tell apart the dtypes of a kind, for each kind that a form can have.
_PARAMETERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64"), ()),
    **dict.fromkeys(("Float32", "Float64", "Boolean", "String", "Null", "Date", "Time"), ()),
    **dict.fromkeys(("Categorical", "Enum"), ()),
    "Datetime": ("time_unit", "time_zone"),
    "Decimal": ("precision", "scale"),
}


def frame_in_form(value: Any, form: dict[str, Any]) -> Any:
    """Return a frame of pandas or polars, as it was read, with the dtypes of a form.

    Parameters
    ----------
    value : polars.DataFrame or pandas.DataFrame
    form : dict
        See `form_of_frame`.

    Raises
    ------
    FormatLimit
        If the columns differ, or a column can't have its dtype.
    """
    columns, found = form["columns"], list(getattr(value, "columns", ()))
    if found != [name for name, _ in columns]:
        raise FormatLimit(
            "a file can't stand for the result: its columns are not those of the result",
            expected=", ".join(name for name, _ in columns),
            got=", ".join(map(str, found)) or type(value).__name__,
            hint="save it again with these columns, and adopt it then",
        )
    if not is_frame(value):
        value = pl.from_pandas(value)
    categories = form.get("categories", {})
    return pl.DataFrame([_in_form(value[name], dtype, categories.get(name)) for name, dtype in columns])


def _in_form(column, described, categories):
    dtype = _dtype_of(described, categories)
    try:
        converted = None if dtype is None else _cast(column, dtype)
        fits = converted is not None and _is_same(column, converted)
    except pl.exceptions.PolarsError:
        fits = False
    if not fits:
        raise FormatLimit(
            f"a file can't stand for the result: its column {column.name!r} is not of {described}",
            expected=described,
            got=str(column.dtype),
            hint="save it again with this dtype, and adopt it then",
        )
    return converted


def _is_same(column, converted):
    """Return False if a conversion changed a number or a time; a narrow 0.1 has the same text."""
    old, new = column.dtype, converted.dtype
    if old == pl.String:
        return True  # the conversion read it, or raised
    if (getattr(old, "time_zone", None) is None) != (getattr(new, "time_zone", None) is None):
        return False
    same = converted.cast(old).equals(column, null_equal=True)
    return same or converted.cast(pl.String).equals(column.cast(pl.String), null_equal=True)


def _cast(column, dtype):
    """Return a column with a dtype.

    Raises
    ------
    polars.exceptions.PolarsError
        If a value does not have this dtype.
    """
    if column.dtype == dtype:
        return column
    if column.null_count() == len(column):
        return pl.Series(column.name, [None] * len(column), dtype)
    if column.dtype.is_temporal() or (dtype.is_integer() and column.dtype.is_float()):
        return column.cast(dtype)
    texts = column if column.dtype == pl.String else column.cast(pl.String)
    if dtype == pl.Boolean:
        # `cast` has none, and a spreadsheet writes capitals
        return texts.str.to_lowercase().replace_strict(
            {"true": True, "false": False}, return_dtype=dtype
        )
    if dtype == pl.Datetime:
        return _times(texts, dtype)
    if dtype == pl.Date:
        return texts.str.to_date()
    if dtype == pl.Time:
        return texts.str.to_time("%H:%M:%S%.f")
    return texts.cast(dtype)


def _times(texts, dtype):
    zone = dtype.time_zone
    if zone is None:
        return texts.str.to_datetime(time_unit=dtype.time_unit)
    moments = texts.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%z", time_unit=dtype.time_unit)
    return moments.dt.convert_time_zone(zone)


@contextmanager
def _as_value_errors() -> Iterator[None]:
    """Within this context, an error of polars becomes a `ValueError`."""
    try:
        yield
    except pl.exceptions.PolarsError as error:
        raise ValueError(str(error).partition("\n")[0]) from error


# ---- what changes -------------------------------------------------------------------------------------


def polars_difference(value: Any, decoded: Any, by: str) -> str:
    """Name the first column that changes on its way through a file, see `carried.difference`."""
    if not is_frame(decoded):
        return f"{by} has no dtypes, and pandas reads other values from it"
    for name, dtype in value.schema.items():
        if name not in decoded.columns or decoded.schema[name] != dtype:
            return (
                f"the column {name!r} has the dtype {dtype}, {by} would give {decoded.schema.get(name)}"
            )
        if not decoded[name].equals(value[name], null_equal=True):
            return f"values of the column {name!r} would change"
    return "its length or columns would change"
