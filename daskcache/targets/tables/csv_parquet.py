"""CSV and Parquet: targets and sources of data frames in files.

`daskcache.targets.carried` checks that a frame comes back whole.  `csv_text` reads the text of CSV, and
`parquet_notes` keeps what pandas would lose in Parquet.  `lazy` opens Parquet files with Dask.  Tables
in databases are in `sql`.
"""

from __future__ import annotations

import csv
import io
import json

from ...errors import LazyModule, require
from ..base import CODEC_ERRORS, BytesTarget
from ..carried import TO_PICKLE, check_bare, check_frame, difference, is_whole
from ..forms import in_form_if_it_fits
from ..source import Source
from . import csv_text
from .parquet_notes import noted, read_parquet

pd = LazyModule("pandas", "table")


class _FrameTarget(BytesTarget):
    """A format of data frames, which come back with all that they carry."""

    def is_same(self, value, decoded):
        return super().is_same(value, decoded) and is_whole(value, decoded)


class CSVTarget(_FrameTarget):
    """A data frame as plain CSV (RFC 4180, UTF-8), which any spreadsheet opens.

    Columns are separated by commas, or by tabs if the path ends in ``.tsv``.  If it ends in ``.gz``, the
    file is compressed with gzip.

    The file holds only values, neither dtypes nor an index.  A node's record keeps the dtypes of the
    columns, so that a node returns them: categories, times, small integers, and those of a frame without
    rows.  The parameters below restore what the text alone would lose, such as an index.  Every frame is
    read back before it is saved.  A frame that would come back changed is refused, with the name of the
    column.

    Parameters
    ----------
    path : str
        Path template ending in ``.csv``, ``.tsv``, ``.csv.gz`` or ``.tsv.gz``.
    dtype : mapping of str to dtype, optional
        Dtypes with which the text is read: ``"str"`` for ``007``, and those of index levels.  Files
        that are read without a record need them for all that plain CSV would lose: ``"category"``,
        ``"float32"``, ``"Int64"``, ``"datetime64[us]"`` …  ``frame.dtypes`` works, too.
    index_col : str or list of str, optional
        Names of the index levels, which become the first columns.  By default the index must be
        0, 1, 2 …, and is not stored.

    Raises
    ------
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

    def __init__(self, path, dtype=None, index_col=None):
        super().__init__(path)
        self.dtype = {name: _named(each) for name, each in dict(() if dtype is None else dtype).items()}
        self.index_col = index_col if index_col is None or isinstance(index_col, str) else [*index_col]

    def counted_options(self):
        return {name: option for name, option in super().counted_options().items() if option}

    def encode(self, value):
        check_frame(self, value)
        self._check_index(value)
        check_bare(self, value, _TO_PARQUET)
        unknown = [name for name in self.dtype if name not in (*value.columns, *value.index.names)]
        if unknown:
            raise self.limit(
                value, f"dtype= names {unknown}, which it does not have", "correct CSVTarget(dtype=...)"
            )
        try:
            text = value.to_csv(
                index=self.index_col is not None, lineterminator="\n", sep=csv_text.separator(self.path)
            )
            return [csv_text.packed(text.encode(), self.path)]
        except (*CODEC_ERRORS, csv.Error) as error:
            raise self.limit(value, str(error), _TO_PARQUET) from error

    def decode(self, data):
        text = csv_text.unpacked(data, self.path)
        frame = csv_text.frame_of(text, csv_text.separator(self.path), self.dtype)
        return frame if self.index_col is None else frame.set_index(self.index_col)

    def restored(self, value, form):
        return in_form_if_it_fits(value, form)

    def difference(self, value, decoded):
        return difference(value, decoded, "CSV", self._remedy)

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
            return _TO_PARQUET
        return f"CSVTarget(..., dtype={{{name!r}: {str(dtype)!r}}}), or {_TO_PARQUET}"


class ParquetTarget(_FrameTarget):
    """A data frame as Parquet, which keeps dtypes, the index (with its frequency) and attrs.

    Parameters
    ----------
    path : str
        Path template ending in ``.parquet``.
    row_group_size : int, optional
        Number of rows in a row group.  A row group is one partition of the data frame that `open` gives.
        Default: PyArrow's own, about a million.

    Raises
    ------
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

    def __init__(self, path, row_group_size=None):
        super().__init__(path)
        self.row_group_size = row_group_size

    def counted_options(self):
        return {}

    def encode(self, value):
        require("pyarrow", "table")
        check_frame(self, value)
        attrs = value.attrs
        file = io.BytesIO()
        try:
            kept = json.loads(json.dumps(attrs)) == attrs
            noted(value).to_parquet(file, row_group_size=self.row_group_size)
        except CODEC_ERRORS as error:
            raise self.limit(value, str(error), TO_PICKLE) from error
        if not kept:
            raise self.limit(value, f"Parquet would change its attrs, {attrs}", TO_PICKLE)
        return [file.getvalue()]

    def decode(self, data):
        return read_parquet(io.BytesIO(data))

    def difference(self, value, decoded):
        return difference(value, decoded, "Parquet", lambda name, dtype: TO_PICKLE)

    def open(self, path):
        """Return a Dask data frame with a partition for each row group.

        It is a pandas data frame where Dask can't have it, e.g. without dask.dataframe.

        Parameters
        ----------
        path : str
            The file or folder.

        Returns
        -------
        dask.dataframe.DataFrame
            One partition for each row group.
        """
        from .lazy import open_parquet

        return open_parquet(path)


class _FrameSource(Source):
    """A file of a data frame, read by a function of pandas with some options."""

    def __init__(self, path, **read_options):
        super().__init__(path)
        self.read_options = read_options

    def __daskcache_options__(self):
        return self.read_options


class CSVSource(_FrameSource):
    """An existing CSV file as an input; it arrives as the data frame that `pandas.read_csv` gives.

    If the path ends in ``.tsv``, columns are separated by tabs, unless ``sep`` says otherwise.  If it
    ends in ``.gz``, the file is decompressed.

    Parameters
    ----------
    path : str or os.PathLike
        The file.  A relative path is taken from the current folder.
    **read_options
        Keyword arguments for `pandas.read_csv`.  They are part of the source's identity.

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

    def __init__(self, path, **read_options):
        super().__init__(path, **read_options)
        separator = csv_text.separator(self.path)
        if separator != "," and not {"sep", "delimiter", "dialect"} & read_options.keys():
            self.read_options = {"sep": separator, **read_options}

    @classmethod
    def at_address(cls, location, name, ext=None, **fields):
        # CPR's tables have their index in the first column
        index = {"index_col": 0} if ext in (None, ".csv") else {}
        return super().at_address(location, name, ext, **index, **fields)

    def decode(self, data):
        if "compression" not in self.read_options:
            data = csv_text.unpacked(data, self.path)
        return pd.read_csv(io.BytesIO(data), **self.read_options)


class ParquetSource(_FrameSource):
    """An existing Parquet file as an input; it arrives as the data frame of `pandas.read_parquet`.

    Parameters
    ----------
    path : str or os.PathLike
        The file.  A relative path is taken from the current folder.
    **read_options
        Keyword arguments for `pandas.read_parquet`, such as ``columns``.  They are part of the source's
        identity.

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
        require("pyarrow", "table")
        return pd.read_parquet(io.BytesIO(data), **self.read_options)


_TO_PARQUET = "use a path that ends in .parquet or .pkl"


def _named(dtype):
    """Return the name of a NumPy dtype, which records can hold; any other dtype is left as it is."""
    is_numpy = type(dtype).__module__.partition(".")[0] == "numpy" and not isinstance(dtype, type)
    return str(dtype) if is_numpy else dtype


def _is_counting(index):
    # other dtypes are not compared with integers: a signalling NaN of `decimal` would raise
    counts = index.dtype.kind in "iu" and index.equals(pd.RangeIndex(len(index)))
    return counts and index.names == [None]
