"""The text of CSV files: separators, gzip, and the dtypes with which columns are read.

`csv_parquet` has the targets and sources.  The suffix decides the separator and the compression.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Mapping
from typing import Any

from ...errors import LazyModule
from ..arrays import check_decoded

pd = LazyModule("pandas", "table")

#: Bytes that are decompressed at a time.
_PIECE = 2**22


def separator(path: str) -> str:
    """Return the character between two columns: a tab for ``.tsv``, else a comma."""
    return "\t" if path.lower().endswith((".tsv", ".tsv.gz")) else ","


def packed(text: bytes, path: str) -> bytes:
    """Return the content of a file: the text itself, or in gzip for ``.gz``.

    The header of gzip names neither a time nor a file, so that equal texts give equal bytes.
    """
    if not path.lower().endswith(".gz"):
        return text
    file = io.BytesIO()
    with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as stream:
        stream.write(text)
    return file.getvalue()


def unpacked(content: bytes, path: str) -> bytes:
    """Return the text in the content of a file, see `packed`.

    Raises
    ------
    FormatLimit
        If it decompresses to more than config ``daskcache.max-decoded``.
    """
    if not path.lower().endswith(".gz"):
        return content
    pieces, size = [], 0
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
        while piece := stream.read(_PIECE):
            size += len(piece)
            check_decoded(size, path)
            pieces.append(piece)
    return b"".join(pieces)


def text_frame(text: bytes, sep: str, dtypes: Mapping[str, Any]) -> Any:
    """Return the data frame in a text of `CSVTarget`, where only an empty field is a missing value.

    Parameters
    ----------
    text : bytes
    sep : str
        The character between two columns.
    dtypes : mapping
        Dtypes by the names of columns.  The others get those that pandas finds.
    """
    dtypes = {name: pd.api.types.pandas_dtype(dtype) for name, dtype in dtypes.items()}
    # read_csv refuses dtypes of times, so these columns are read as texts first
    plain = {name: "str" if dtype.kind in "mM" else dtype for name, dtype in dtypes.items()}
    version = tuple(map(int, pd.__version__.split(".")[:2]))
    exact = {} if version >= (3, 1) else {"float_precision": "round_trip"}
    try:
        frame = pd.read_csv(
            io.BytesIO(text), sep=sep, keep_default_na=False, na_values=[""], dtype=plain, **exact
        )
    except pd.errors.EmptyDataError:
        return pd.DataFrame()
    for name, dtype in dtypes.items():
        if dtype.kind in "mM":
            frame[name] = _times(frame[name], dtype)
    return frame


def _times(texts, dtype):
    try:
        if dtype.kind == "m":
            return pd.to_timedelta(texts).astype(dtype)
        if not isinstance(dtype, pd.DatetimeTZDtype):
            return pd.to_datetime(texts, format="ISO8601").astype(dtype)
        times = pd.to_datetime(texts, format="ISO8601", utc=True).astype(dtype)
        return times.dt.tz_convert(dtype.tz)  # equal zones may still be of different kinds
    except ValueError as error:
        raise ValueError(f"column {texts.name!r}: {error}") from error
