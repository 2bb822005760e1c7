"""CSV and Parquet: targets and sources of data frames in files.

`of_frames` has the base classes.  `csv_text` reads the text of CSV.  `parquet_notes` keeps what pandas
would lose in Parquet, and `lazy` opens Parquet files with Dask.  `polars_frames` reads and writes frames
of polars.  Tables in databases are in `sql`.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from ...errors import GraphError, LazyModule, require
from ..base import CODEC_ERRORS
from ..carried import TO_PARQUET, TO_PICKLE, check_bare
from ..forms import in_form_if_it_fits
from .csv_text import packed, separator, text_frame, unpacked
from .of_frames import FrameSource, FrameTarget, checked_frame
from .parquet_notes import noted, read_parquet
from .polars_frames import (
    POLARS,
    is_noted,
    pl,
    polars_from_csv,
    polars_from_parquet,
    polars_to_csv,
    polars_to_parquet,
)

if TYPE_CHECKING:
    from _typeshed import SupportsKeysAndGetItem

pd = LazyModule("pandas", "table")


class CSVTarget(FrameTarget):
    """A data frame as plain CSV (RFC 4180, UTF-8), which any spreadsheet opens.

    Columns are separated by commas, or by tabs if the path ends in ``.tsv``.  If it ends in ``.gz``, the
    file is compressed with gzip.

    The file holds only values, neither dtypes nor an index.  A node's record keeps the dtypes of columns
    and index levels.  So a node returns categories, times, small integers and frames without rows.  The
    parameters below restore what the text alone would lose, such as an index.  Every frame is read back
    before it is saved.  A frame that would come back changed is refused, with the name of the column.

    Parameters
    ----------
    path : str
        Path template ending in ``.csv``, ``.tsv``, ``.csv.gz`` or ``.tsv.gz``.
    dtype : mapping of str to dtype, optional
        Dtypes with which the text is read: ``"str"`` for ``007``, and those of index levels that are
        categories.  Files that are read without a record need them for all that plain CSV would lose:
        ``"category"``, ``"float32"``, ``"Int64"``, ``"datetime64[us]"`` …  ``frame.dtypes`` works, too.
    index_col : str or list of str, optional
        Names of the index levels, which become the first columns.  By default the index must be
        0, 1, 2 …, and is not stored.
    frame : {"polars"}, optional
        Package of the frames.  By default, a frame of polars comes back as one because its record says
        so.  With ``"polars"``, polars reads the file, too, and `dtype` holds dtypes of polars.  The
        annotation ``-> polars.DataFrame`` of a function has the same effect.

    Raises
    ------
    GraphError
        If `frame` names another package, or `index_col` is given for polars, whose frames have no index.
    FormatLimit
        When saving a frame that would come back changed, or a value that is not a DataFrame.

    Examples
    --------
    >>> target = dc.CSVTarget("cells.csv", dtype={"kind": "category"}, index_col="id")
    >>> @dc.delayed(target=target)
    ... def cells():
    ...     kinds = pd.Series(["a", "b"], dtype="category")
    ...     return pd.DataFrame({"kind": kinds}).rename_axis("id")
    >>> cells().compute().dtypes["kind"]
    CategoricalDtype(categories=['a', 'b'], ordered=False, ...)
    """

    default_ext, known_exts = ".csv", (".csv",)
    keeps_form = True
    _addressed = "daskcache.targets.addressed.formats:AddressedTable"
    _name, _otherwise = "CSV", TO_PARQUET

    def __init__(
        self,
        path: str | os.PathLike[str],
        dtype: SupportsKeysAndGetItem[str, Any] | None = None,
        index_col: str | Sequence[str] | None = None,
        frame: Literal["polars"] | None = None,
    ):
        super().__init__(path)
        self.frame = checked_frame(frame)
        if frame is not None and index_col is not None:
            raise GraphError(
                "a frame of polars has no index",
                expected="index_col or frame",
                got=f"{index_col!r}, {frame!r}",
            )
        self.dtype = {name: _named(each) for name, each in dict(() if dtype is None else dtype).items()}
        self.index_col = index_col if index_col is None or isinstance(index_col, str) else [*index_col]

    def counted_options(self):
        return {name: option for name, option in super().counted_options().items() if option}

    def _polars_content(self, value):
        self._check_names(value, value.columns)
        text = polars_to_csv(value, separator(self.path))
        return packed(text, self.path)

    def _pandas_content(self, value):
        self._check_index(value)
        check_bare(self, value, TO_PARQUET)
        self._check_names(value, (*value.columns, *value.index.names))
        try:
            text = value.to_csv(
                index=self.index_col is not None, lineterminator="\n", sep=separator(self.path)
            )
            return packed(text.encode(), self.path)
        except (*CODEC_ERRORS, csv.Error) as error:
            raise self.limit(value, str(error), TO_PARQUET) from error

    def decode(self, data):
        text, sep = unpacked(data, self.path), separator(self.path)
        if self.frame == POLARS:
            return polars_from_csv(text, sep, self.dtype)
        frame = text_frame(text, sep, self.dtype)
        return frame if self.index_col is None else frame.set_index(self.index_col)

    def restored(self, value, form):
        return in_form_if_it_fits(value, form)

    def _check_names(self, value, names):
        unknown = [name for name in self.dtype if name not in names]
        if unknown:
            raise self.limit(
                value, f"dtype= names {unknown}, which it does not have", "correct CSVTarget(dtype=...)"
            )

    def _check_index(self, value):
        names = [self.index_col] if isinstance(self.index_col, str) else self.index_col
        if names is not None and (names != list(value.index.names) or None in names):
            raise self.limit(
                value,
                f"its index is called {list(value.index.names)}, and index_col= says {names}",
                "return frame.rename_axis(...), or correct CSVTarget(index_col=...)",
            )
        if names is None and not _is_counting(value.index):
            raise self.limit(
                value,
                "its index is not 0, 1, 2 … and CSV would lose which columns were the index",
                "return frame.reset_index(), name the index in CSVTarget(..., index_col=...), or use a "
                "path that ends in .parquet",
            )

    def _remedy(self, name, dtype):
        if name in self.dtype or not isinstance(name, str) or str(dtype) == "object":
            return TO_PARQUET
        return f"CSVTarget(..., dtype={{{name!r}: {str(dtype)!r}}}), or {TO_PARQUET}"

    def _polars_remedy(self):
        annotate = "" if self.frame else "annotate the function with '-> polars.DataFrame', or "
        return f"{annotate}{TO_PARQUET}"


class ParquetTarget(FrameTarget):
    """A data frame as Parquet, which keeps dtypes, the index (with its frequency) and attrs.

    A frame of polars comes back as one, because a note in the file's metadata says so.

    Parameters
    ----------
    path : str
        Path template ending in ``.parquet``.
    row_group_size : int, optional
        Number of rows in a row group.  A row group is one partition of the data frame that `open` gives.
        Default: PyArrow's own, about a million.
    frame : {"polars"}, optional
        Package of the frames.  With ``"polars"``, polars reads the file even without the note, for
        example after another program saved it again.  The annotation ``-> polars.DataFrame`` of a
        function has the same effect.

    Raises
    ------
    GraphError
        If `frame` names another package.
    FormatLimit
        When saving a frame that would come back changed, or a value that is not a DataFrame.

    Examples
    --------
    >>> @dc.delayed(target="areas.parquet")
    ... def areas():
    ...     return pd.DataFrame({"area": [2.5, 4.0]})
    >>> node = areas()
    >>> node.compute()["area"].sum()
    np.float64(6.5)
    >>> pd.read_parquet(node.dc.path)["area"].tolist()
    [2.5, 4.0]
    """

    _name = "Parquet"

    def __init__(
        self,
        path: str | os.PathLike[str],
        row_group_size: int | None = None,
        frame: Literal["polars"] | None = None,
    ):
        super().__init__(path)
        self.row_group_size = row_group_size
        self.frame = checked_frame(frame)

    def counted_options(self):
        return {"frame": self.frame} if self.frame else {}

    def _polars_content(self, value):
        return polars_to_parquet(value, self.row_group_size)

    def _pandas_content(self, value):
        require("pyarrow", "table")
        attrs = value.attrs
        file = io.BytesIO()
        try:
            kept = json.loads(json.dumps(attrs)) == attrs
            noted(value).to_parquet(file, row_group_size=self.row_group_size)
        except CODEC_ERRORS as error:
            raise self.limit(value, str(error), TO_PICKLE) from error
        if not kept:
            raise self.limit(value, f"Parquet would change its attrs, {attrs}", TO_PICKLE)
        return file.getvalue()

    def decode(self, data):
        if self._is_of_polars(io.BytesIO(data)):
            return polars_from_parquet(data)
        return read_parquet(io.BytesIO(data))

    def _is_of_polars(self, file):
        return self.frame == POLARS or is_noted(file)

    def open(self, path):
        """Return a Dask data frame with a partition for each row group, or a lazy frame of polars.

        It is a pandas data frame where Dask can't have it, e.g. without dask.dataframe.

        Parameters
        ----------
        path : str
            The file or folder.

        Returns
        -------
        dask.dataframe.DataFrame or polars.LazyFrame
            One partition for each row group.
        """
        if self._is_of_polars(path):
            return pl.scan_parquet(path)
        from .lazy import open_parquet

        return open_parquet(path)


class CSVSource(FrameSource):
    """An existing CSV file as an input; it arrives as the data frame that `pandas.read_csv` gives.

    If the path ends in ``.tsv``, columns are separated by tabs, unless ``sep`` says otherwise.  If it
    ends in ``.gz``, the file is decompressed.

    Parameters
    ----------
    path : str or os.PathLike
        The file.  A relative path is taken from the current folder.
    frame : {"polars"}, optional
        ``"polars"`` to receive a frame of polars, read by `polars.read_csv`.
    **read_options
        Keyword arguments for `pandas.read_csv`, or for polars'.  They are part of the source's identity.

    Raises
    ------
    SourceMissing
        When the source is used, if the file doesn't exist.
    StorageError
        If the path is a URL.  When the source is used, if the file can't be read.
    SourceUnreadable
        When the file is read, if it can't be decoded: another encoding, lines of different lengths …
    FormatLimit
        When the file is read, if it decompresses to more than config ``daskcache.max-decoded``.

    Examples
    --------
    >>> pd.DataFrame({"id": [1], "area": [2.5]}).to_csv("cells.csv", index=False)
    >>> dc.CSVSource("cells.csv", index_col="id").get_data()
        area
    id
    1    2.5
    """

    format = CSVTarget
    default_ext, known_exts = ".csv", (".csv", ".tsv", ".gz")

    def __init__(
        self, path: str | os.PathLike[str], frame: Literal["polars"] | None = None, **read_options: Any
    ):
        super().__init__(path, frame, **read_options)
        sep = separator(self.path)
        if sep != "," and not {"sep", "delimiter", "dialect", "separator"} & read_options.keys():
            option = "sep" if frame is None else "separator"
            self.read_options = {option: sep, **read_options}

    @classmethod
    def at_address(cls, location, name, ext=None, **fields):
        # CPR's tables have their index in the first column
        index = {"index_col": 0} if ext in (None, ".csv") and fields.get("frame") is None else {}
        return super().at_address(location, name, ext, **index, **fields)

    def decode(self, data):
        if "compression" not in self.read_options:
            data = unpacked(data, self.path)
        return self.reader("read_csv")(io.BytesIO(data), **self.read_options)


class ParquetSource(FrameSource):
    """An existing Parquet file as an input; it arrives as the data frame of `pandas.read_parquet`.

    Parameters
    ----------
    path : str or os.PathLike
        The file.  A relative path is taken from the current folder.
    frame : {"polars"}, optional
        ``"polars"`` to receive a frame of polars, read by `polars.read_parquet`.
    **read_options
        Keyword arguments for `pandas.read_parquet`, or for polars', such as ``columns``.  They are part
        of the source's identity.

    Raises
    ------
    SourceMissing
        When the source is used, if the file doesn't exist.
    StorageError
        If the path is a URL.  When the source is used, if the file can't be read.
    SourceUnreadable
        When the file is read, if it is damaged or not Parquet.

    Examples
    --------
    >>> pd.DataFrame({"id": [1, 2], "area": [2.5, 4.0]}).to_parquet("areas.parquet")
    >>> dc.ParquetSource("areas.parquet", columns=["area"]).get_data()
       area
    0   2.5
    1   4.0
    """

    format = ParquetTarget

    def decode(self, data):
        if self.frame is None:
            require("pyarrow", "table")
        return self.reader("read_parquet")(io.BytesIO(data), **self.read_options)


def _named(dtype):
    """Return the name of a NumPy dtype, which records can hold; any other dtype is left as it is."""
    is_numpy = type(dtype).__module__.partition(".")[0] == "numpy" and not isinstance(dtype, type)
    return str(dtype) if is_numpy else dtype


def _is_counting(index):
    # other dtypes are not compared with integers: a signalling NaN of `decimal` would raise
    counts = index.dtype.kind in "iu" and index.equals(pd.RangeIndex(len(index)))
    return counts and index.names == [None]
