"""Notes in Parquet files on all that pandas and PyArrow would lose there.

These are frequencies, dtypes that share their name with another one, seconds as the unit of times,
categories other than texts, and lists in cells.  The notes are put into the frame's attrs, which pandas
keeps in the file as JSON.  They are removed again when the file is read.

`csv_parquet` writes files with them, and `lazy` reads parts of files.  Each file is read back before it
is saved, so a value for which a note is not enough is refused.
"""

from __future__ import annotations

import datetime
import zoneinfo
from typing import Any

from ...errors import LazyModule, require
from ..carried import freq_of

np = LazyModule("numpy", "table")
pa = LazyModule("pyarrow", "table")
pd = LazyModule("pandas", "table")

_FREQ = "daskcache.index.freq"
_COLUMNS_FREQ = "daskcache.columns.freq"
#: Key of the notes on dtypes: by axis, then by position of the column or index level.
_DTYPES = "daskcache.dtypes"


def noted(frame: Any) -> Any:
    """Return a frame with notes in its attrs, and in columns that PyArrow can write.

    A frame that needs no notes is returned itself.
    """
    notes: dict[str, Any] = {}
    for key, index in ((_FREQ, frame.index), (_COLUMNS_FREQ, frame.columns)):
        freq = freq_of(index)
        if freq is not None:
            notes[key] = freq.freqstr
    levels = getattr(frame.index, "levels", [frame.index])
    columns = [frame.iloc[:, position] for position in range(frame.shape[1])]
    dtypes = {"columns": _notes_of(columns), "index": _notes_of(levels)}
    if any(dtypes.values()):
        notes[_DTYPES] = dtypes
    if not notes:
        return frame
    attrs, frame = frame.attrs, frame.copy(deep=False)
    for position, column in enumerate(columns):
        if isinstance(column.dtype, pd.CategoricalDtype):
            categories = column.dtype.categories
            if isinstance(categories, pd.IntervalIndex):  # which PyArrow has no dictionary for
                frame.isetitem(position, _as_intervals(column, categories))
    frame.attrs = {**attrs, **notes}
    return frame


def _as_intervals(column, categories):
    """Return a column of intervals; those of integers are of floats where some are missing."""
    is_of_integers = categories.dtype.subtype.kind in "iu"
    if is_of_integers and column.isna().any():
        return column.astype(pd.IntervalDtype("float64", categories.closed))
    return column.astype(categories.dtype)


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
    frame.attrs = attrs
    return frame


def _with_level(index, level, note):
    if not hasattr(index, "levels"):
        return _with_dtype(index, note)
    return index.set_levels(_with_dtype(index.levels[level], note), level=level)


def _with_dtype(values, note):
    """Return a column or index in the dtype that a note describes."""
    kind, *rest = note
    if kind == _ARROW_STRING:
        return values.astype(pd.ArrowDtype(pa.string()))
    if kind == _LISTS:
        return values.map(_as_lists)
    if kind == _CATEGORIES:
        categories, ordered = rest
        return values.astype(pd.CategoricalDtype(_index_of(categories), ordered))
    if kind == _UNIT:
        unit, *zone = rest
        values = getattr(values, "dt", values).as_unit(unit)
        return _with_dtype(values, zone) if zone else values
    return getattr(values, "dt", values).tz_convert(_zone_of(kind, *rest))


def _notes_of(columns):
    notes = {str(position): _note(column) for position, column in enumerate(columns)}
    return {position: note for position, note in notes.items() if note}


_ARROW_STRING, _LISTS, _CATEGORIES, _UNIT = "arrow string", "lists", "categories", "unit"


def _note(column):
    """Return the note on a column or index level that would come back as another one, or None."""
    dtype = column.dtype
    if isinstance(dtype, pd.ArrowDtype) and dtype.pyarrow_dtype == pa.string():
        return [_ARROW_STRING]
    if isinstance(dtype, pd.CategoricalDtype):
        categories = _described(dtype.categories)
        return categories and [_CATEGORIES, categories, dtype.ordered]
    if dtype.kind == "M":
        zone = _note_of_zone(dtype.tz) if isinstance(dtype, pd.DatetimeTZDtype) else None
        return [_UNIT, "s", *(zone or [])] if "[s" in str(dtype) else zone
    if not isinstance(dtype, np.dtype) or not dtype.hasobject:
        return None
    return [_LISTS] if isinstance(next(iter(column.dropna()), None), list) else None


def _as_lists(cell):
    """Return the list that PyArrow reads as an array."""
    return [_as_lists(part) for part in cell.tolist()] if isinstance(cell, np.ndarray) else cell


def _described(index):
    """Return an index of categories as plain data, or None for texts, which need no note."""
    if isinstance(index, pd.IntervalIndex):
        bounds = _described(index.left), _described(index.right)
        return None if None in bounds else [*bounds, index.closed]
    if not isinstance(index.dtype, np.dtype) or (index.dtype.kind not in "biufmM" and len(index)):
        return None
    values = index.to_numpy()
    return [str(index.dtype), (values.view("i8") if values.dtype.kind in "mM" else values).tolist()]


def _index_of(described):
    if len(described) == 3:
        left, right, closed = described
        return pd.IntervalIndex.from_arrays(_index_of(left), _index_of(right), closed)
    dtype, values = described
    plain = "i8" if np.dtype(dtype).kind in "mM" else dtype
    return pd.Index(np.array(values, plain).view(dtype), dtype=dtype)


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
