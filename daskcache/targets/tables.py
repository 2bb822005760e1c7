"""Tables: CSV and Parquet."""

from __future__ import annotations

import io

from ..errors import require
from ..hashing import hash_value
from .base import BytesTarget, Source


class CSVTarget(BytesTarget):
    """A data frame as plain CSV, which any spreadsheet opens.

    CSV keeps neither dtypes nor an index.  So every frame is read back before it is saved, and one
    that would come back changed is refused, naming the column; Parquet or pickle hold the rest.

    Parameters
    ----------
    path : str
        Path template ending in ``.csv``.
    """

    def encode(self, value):
        pd = require("pandas", "table")
        if not isinstance(value, pd.DataFrame):
            raise self.limit(
                value,
                f"it is a {type(value).__name__}, not a DataFrame",
                "return a DataFrame, or use a path that ends in .json or .pkl",
            )
        if not value.index.equals(pd.RangeIndex(len(value))) or value.index.names != [None]:
            raise self.limit(
                value,
                "its index is not 0, 1, 2 … and CSV would lose which columns were the index",
                "return frame.reset_index(), or use a path that ends in .pkl",
            )
        return [value.to_csv(index=False, lineterminator="\n").encode()]

    def decode(self, data):
        return _read_csv(data)

    def difference(self, value, decoded):
        for position, name in enumerate(value.columns):
            if position >= decoded.shape[1]:
                break
            before, after = value.iloc[:, position], decoded.iloc[:, position]
            if before.dtype != after.dtype:
                return (
                    f"the column {name!r} has the dtype {before.dtype}, CSV would give {after.dtype}",
                    f"convert it ({after.dtype} here), or use a path that ends in .pkl",
                )
            if not before.equals(after):
                return (
                    f"values of the column {name!r} would change",
                    "use a path that ends in .pkl",
                )
        return "its column names or length would change", "use a path that ends in .pkl"


class ParquetTarget(BytesTarget):
    """A data frame as Parquet: dtypes and index are kept.

    Parameters
    ----------
    path : str
        Path template ending in ``.parquet``.
    """

    def encode(self, value):
        pd = require("pandas", "table")
        require("pyarrow", "table")
        if not isinstance(value, pd.DataFrame):
            raise self.limit(
                value,
                f"it is a {type(value).__name__}, not a DataFrame",
                "return a DataFrame, or use a path that ends in .pkl",
            )
        file = io.BytesIO()
        try:
            value.to_parquet(file)
        except (ValueError, TypeError, ArithmeticError) as error:  # what pyarrow raises on columns
            raise self.limit(value, str(error), "use a path that ends in .pkl") from error
        return [file.getvalue()]

    def decode(self, data):
        return require("pandas", "table").read_parquet(io.BytesIO(data))


class CSVSource(Source):
    """An existing CSV file; arrives as a data frame, as `pandas.read_csv` reads it.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    **read_options
        Keyword arguments for `pandas.read_csv`; they are part of the source's identity.
    """

    format = CSVTarget

    def __init__(self, path, **read_options):
        super().__init__(path)
        self.read_options = read_options

    def decode(self, data):
        return require("pandas", "table").read_csv(io.BytesIO(data), **self.read_options)

    def __daskcache_options__(self):
        return self.read_options

    def identify(self, content_hash):
        options = f":{hash_value(self.read_options)}" if self.read_options else ""
        return super().identify(content_hash) + options

    def __eq__(self, other):
        return super().__eq__(other) and self.read_options == other.read_options

    __hash__ = Source.__hash__


def _read_csv(data):
    """Read what `CSVTarget` writes: only an empty field is a missing value."""
    pd = require("pandas", "table")
    exact = {} if _version(pd) >= (3, 1) else {"float_precision": "round_trip"}
    try:
        return pd.read_csv(io.BytesIO(data), keep_default_na=False, na_values=[""], **exact)
    except pd.errors.EmptyDataError:
        return pd.DataFrame()


def _version(module):
    return tuple(int(part) for part in module.__version__.split(".")[:2])
