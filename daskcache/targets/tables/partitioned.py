"""Partitioned Parquet: a data frame as a folder with a Parquet file for each partition.

`dask.dataframe.read_parquet` reads such folders, and so do Spark, DuckDB and PyArrow.  `csv_parquet` has
Parquet in one file, and encodes and decodes each partition.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import dask

from ...errors import FormatLimit, GraphError, LazyModule, SourceUnreadable, require
from ...hashing.encoder import hash_value
from ...storage import files
from ...storage.source_hashes import SourceFolder, folder_hashes
from ...storage.verified_folders import VerifiedFolder
from ..base import FolderTarget
from ..carried import TO_PICKLE, check_frame, difference, is_whole
from ..source import Source
from ..unreadable import reading
from .csv_parquet import ParquetTarget

pd = LazyModule("pandas", "table")


class PartitionedParquetTarget(FolderTarget):
    """A data frame as a folder of Parquet files, one for each partition.

    A data frame of Dask is computed into the folder partition by partition, so it need not fit in
    memory.  One of pandas is cut into pieces.  Both come back as a data frame of pandas, the partitions
    one after the other.  `open` gives one of Dask.

    Parameters
    ----------
    path : str
        Path template of the folder, usually ending in ``.parquet``.
    rows : int
        Number of rows in each piece of a data frame of pandas.

    Raises
    ------
    GraphError
        If `rows` is not a positive number.
    FormatLimit
        When saving anything but a data frame of Dask or pandas, or one that would come back changed.
        Also if the partitions have different dtypes, such as other categories.

    Examples
    --------
    >>> @dc.delayed(target=dc.PartitionedParquetTarget("cells.parquet", rows=2))
    ... def cells():
    ...     return pd.DataFrame({"area": [2.5, 4.0, 1.0]})
    >>> node = cells()
    >>> node.compute()["area"].sum()
    np.float64(7.5)
    >>> node.dc.open().npartitions
    2
    """

    def __init__(self, path: str | os.PathLike[str], rows: int = 1_000_000):
        super().__init__(path)
        if type(rows) is not int or rows < 1:
            raise GraphError(
                "rows= is the number of rows in each file", expected="a number from 1", got=repr(rows)
            )
        self.rows = rows

    def counted_options(self):
        return {}

    def write(self, value, path):
        pieces = self._pieces(value)
        os.mkdir(path)
        first = None
        for number, piece in enumerate(pieces):
            name = f"part.{number:06d}.parquet"
            encoder = ParquetTarget(name)
            first = piece.iloc[:0] if first is None else first
            self._check_alike(value, first, piece.iloc[:0], number)
            files.write_part(f"{path}/{name}", encoder.encode_checked(piece))

    def _check_alike(self, value, first, piece, number):
        """Refuse partitions that joined would have other dtypes than each has."""
        names = list(first.columns) == list(piece.columns)
        pairs = zip(first.columns, first.dtypes, piece.dtypes, strict=False)
        other = next((name for name, one, two in pairs if one != two), None) if names else "columns"
        if other is not None or not is_whole(first, piece):
            what = "its columns or index" if other is None or not names else f"the column {other!r}"
            raise self.limit(
                value,
                f"partition {number} has {what} of another dtype or other categories than partition 0",
                "give all partitions the same columns and dtypes, e.g. frame.categorize()",
            )

    def _pieces(self, value):
        """Return the partitions; those of Dask are computed one by one."""
        if _is_of_dask(value):
            return map(_computed, value.to_delayed())
        check_frame(self, value)
        starts = range(0, len(value) or 1, self.rows)
        pieces = [value.iloc[start : start + self.rows] for start in starts]
        joined = _joined(pieces)
        if self.hash(joined) != self.hash(value) or not is_whole(value, joined):
            raise self.limit(value, *difference(value, joined, "the folder", lambda *_: TO_PICKLE))
        return pieces

    def read(self, path):
        return _joined([_part_at(path, name) for name in files.files_below(path)])

    def open(self, path):
        return _opened(files.files_below(path), functools.partial(_part_at, path))

    def read_folder(self, folder):
        return _joined([_part_of(folder, name) for name in sorted(folder.files)])

    def open_folder(self, folder):
        """Open the folder as a data frame of Dask, with a partition for each file.

        Each file is verified when it is read.

        Parameters
        ----------
        folder : VerifiedFolder
            The folder.

        Returns
        -------
        dask.dataframe.DataFrame
            Divisions are unknown.
        """
        return _opened(sorted(folder.files), functools.partial(_part_of, folder))

    def hash_result(self, value, path):
        return self.hash_file(path) if _is_of_dask(value) else self.hash(value)


class PartitionedParquetSource(Source):
    """An existing folder of Parquet files, as `dask.dataframe.DataFrame.to_parquet` writes it.

    A decorated function receives a data frame of pandas, with the rows of all files in the order of the
    files' names.  The content of all files is the source's identity.  For larger data, take a
    `FolderSource`, which gives the paths, and read them with Dask in the function.

    Parameters
    ----------
    path : str or os.PathLike
        The folder.  A relative path is taken from the current folder.

    Raises
    ------
    SourceMissing
        When the source is used and the folder does not exist.
    SourceUnreadable
        When the folder is read and a file can't be decoded, there is none, or names of folders such as
        ``day=3`` hold a column.

    Examples
    --------
    >>> Path("cells.parquet").mkdir()
    >>> for number in (0, 1):
    ...     pd.DataFrame({"n": [number]}).to_parquet(f"cells.parquet/part.{number}.parquet")
    >>> dc.PartitionedParquetSource("cells.parquet").get_data()["n"].tolist()
    [0, 1]
    """

    def _read_now(self):
        return self.load_verified(self.content_hash())

    def content_hash(self):
        return hash_value(folder_hashes(self.path))

    def verify(self, expected):
        self._compare(hash_value(folder_hashes(self.path, fresh=True)), expected)

    def load_verified(self, expected):
        folder = SourceFolder(self.path, expected)
        with reading(self):
            return _joined([_part_of(folder, name) for name in self._names(folder)])

    def _names(self, folder):
        names = sorted(name for name in folder.files if name.endswith((".parquet", ".parq")))
        if not names or any("=" in name.rpartition("/")[0] for name in names):
            raise SourceUnreadable(
                f"the folder {self.path} is not one table in files",
                expected="files that end in .parquet",
                got="names of folders that hold a column" if names else "none",
                hint=f"take FolderSource({self.path!r}, '**/*'), and read the folder in the function",
            )
        return names


def _is_of_dask(value):
    return hasattr(value, "to_delayed") and hasattr(value, "npartitions") and hasattr(value, "columns")


def _computed(delayed):
    return delayed.compute()


def _decoded(content, name):
    return ParquetTarget(name).decode(content)


def _part_at(path, name):
    with open(f"{path}/{name}", "rb") as file:
        return _decoded(file.read(), name)


def _part_of(folder: VerifiedFolder, name: str) -> Any:
    content = folder.read(name)
    if content is None:
        raise FormatLimit(f"{folder.path}/{name} is gone", hint="compute the node again")
    return _decoded(content, name)


def _joined(pieces):
    """Return one frame of the rows of all pieces."""
    attrs = pieces[0].attrs
    joined = pd.concat(pieces) if len(pieces) > 1 else pieces[0]
    joined.attrs = attrs
    return joined


def _opened(names, read):
    dd = require("dask.dataframe", "table")
    empty = read(names[0]).iloc[:0]
    with dask.config.set({"dataframe.convert-string": False}):
        return dd.from_map(read, names, meta=empty)
