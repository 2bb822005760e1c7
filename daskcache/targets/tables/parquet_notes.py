"""Notes in a Parquet file's metadata on the traits of a data frame that pandas would lose.

These are the frequencies of the index and of the column names, and dtypes that share their name with
another one.  The notes are put into the frame's attrs, which pandas keeps in the file as JSON.  They are
removed again when the file is read.  `csv_parquet` and `lazy` use this module.
"""

from __future__ import annotations

import datetime
import zoneinfo
from typing import Any

from ...errors import LazyModule, require
from ..carried import freq_of

pa = LazyModule("pyarrow", "table")
pd = LazyModule("pandas", "table")

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
