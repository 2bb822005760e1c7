"""Tables in databases as targets and sources, through SQLAlchemy.

`frames` converts between data frames and rows.  `daskcache.storage.tables` reads, writes and commits
tables.  Tables in files are in `csv_parquet`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from ...errors import LazyModule, SourceMissing, UnsafePath
from ...hashing.encoder import hash_value
from ...storage import files
from ...storage.paths import LONGEST_NAME, SEPARATOR, masked, table_of
from ...storage.tables import tables
from ...storage.tables.databases import named
from ...storage.tables.rows import ORDER
from ..base import Target
from ..carried import check_bare, check_frame, difference, is_whole
from ..source import Source
from .frames import frame_of, rows_of

pd = LazyModule("pandas", "sql")

_HINT = "use a path that ends in .parquet or .pkl"


class _InDatabase:
    """Mixin of targets and sources that are tables in databases, whose URLs are not shown."""

    #: URL of the database, if it was given as one.
    _url: str | None

    def __setstate__(self, state):
        self.__dict__.update(state)
        if self._url is not None:
            named(self._url)

    def __repr__(self):
        option = f", dtype={self.dtype!r}" if self.dtype else ""
        return f"{type(self).__name__}({self.path!r}{option})"


class SQLTarget(_InDatabase, Target):
    """A data frame as a table in a database: a SQLite file below the root, or any server.

    The table has the frame's columns and a primary key ``row_number`` (0, 1, 2 …), so that the rows come
    back in order.  It is filled in one transaction, and committed only if it reads back unchanged.
    Missing values, including NaN, are stored as NULL.

    The whole table is read to detect edits, also when planning.  It is not read again as long as the
    database reports that nothing in it changed since this process read it.  For big tables, use Parquet.

    int64, float64, bool, str and datetime64 (in pandas' default unit) come back as they were.  `dtype`
    restores dtypes that SQL lacks.  A frame with an index other than 0, 1, 2 … is refused.  So is a
    value that the database would change (−0.0 in SQLite, NUL in texts in PostgreSQL), with the name of
    its column.

    Parameters
    ----------
    path : str
        Path template ``"<database>::<table>"``.  A database with a dot in its name is a SQLite file,
        relative to the root.  One without a dot is a name in config ``daskcache.databases``.  A
        SQLAlchemy URL works, too: ``"postgresql+psycopg://user:password@host/database::table"``.  Then
        a name replaces the URL in the target's ``path`` and in everything that is recorded or shown.
        Workers get the URL with the target.  The file's name and the table's name may have fields.  The
        table's name is one word of ASCII.
    dtype : dict, optional
        Dtypes to restore, by column: ``{"label": "category", "score": "float32"}``.

    Raises
    ------
    UnsafePath
        If the path doesn't have this form.
    FormatLimit
        When saving, if the table would come back changed.
    StorageError
        When the target is used, if the database can't be reached, or refuses.

    Examples
    --------
    >>> @dc.delayed(target=dc.SQLTarget("results.db::areas"))
    ... def areas():
    ...     return pd.DataFrame({"area": [2.5, 4.0]})
    >>> areas().compute()
       area
    0   2.5
    1   4.0
    """

    in_database = True
    options_matter = True

    def __init__(self, path: str | os.PathLike[str], dtype: Mapping[str, Any] | None = None):
        database, table, self._url = _split(str(path))
        super().__init__(f"{database}{SEPARATOR}{table}")
        self.dtype = dict(dtype or {})

    def write(self, value: Any, path: str) -> None:
        tables.write(path, self._rows(value))

    def read(self, path: str) -> Any:
        return frame_of(tables.existing(path), self.dtype)

    def read_verified(self, path: str, verify: Callable[[str], None]) -> Any:
        rows = tables.existing(path)
        verify(rows.hash)
        return frame_of(rows, self.dtype)

    def counted_options(self) -> dict[str, Any]:
        return {"dtype": self.dtype} if self.dtype else {}

    def _rows(self, value):
        check_frame(self, value)
        check_bare(self, value, _HINT)
        if not value.index.identical(pd.RangeIndex(len(value))):
            raise self.limit(
                value,
                "its index is not 0, 1, 2 …, and a table has only columns",
                "return frame.reset_index()",
            )
        self._check_names(value)
        rows = rows_of(value)
        restored = frame_of(rows, self.dtype)
        if self.hash(restored) != self.hash(value) or not is_whole(value, restored):
            raise self.limit(value, *difference(value, restored, "the database", self._remedy))
        return rows

    def _check_names(self, frame):
        names = list(frame.columns)
        reason = None
        if not names:
            reason = "it has no columns"
        elif not all(isinstance(name, str) and _is_name(name) for name in names):
            reason = f"its columns need names of 1 to {LONGEST_NAME} bytes without control characters"
        elif ORDER in map(str.lower, names):
            reason = f"it has a column {ORDER!r}, which is to number the rows"
        elif len(set(map(str.lower, names))) < len(names):
            reason = "it has columns whose names differ at most in case"
        if reason:
            raise self.limit(frame, reason, "rename the columns: frame.rename(columns={…})")

    def _remedy(self, name, dtype):
        if dtype is None or name in self.dtype:
            return _HINT
        return f"say SQLTarget(…, dtype={{{name!r}: {str(dtype)!r}}}), or {_HINT}"

    def __daskcache_encode__(self, encoder):
        encoder.add_stand_in(f"{type(self).__name__}:{self.path}:{hash_value(_counted(self.dtype))}")


class SQLSource(_InDatabase, Source):
    """An existing table (or view) as an input; it arrives as a data frame.

    Its identity consists of the database's name, the table's name and the table's content.  The content
    is read whole if anything in the database changed since this process read it.  Rows come in the order
    of the primary key, or, without one, sorted by their content.  Integers and booleans with NULL among
    them are ``Int64`` and ``boolean``.  Values for which pandas lacks a dtype are objects.

    Parameters
    ----------
    path : str
        ``"<database>::<table>"``, as for `SQLTarget`.  A SQLite file is relative to the current folder.
    dtype : dict, optional
        Dtypes to give to columns, by name.  They are part of the source's identity.

    Raises
    ------
    UnsafePath
        If the path doesn't have this form.
    SourceMissing
        When the source is used, if the table doesn't exist.
    StorageError
        When the source is used, if the database can't be reached, or refuses.

    Examples
    --------
    >>> import sqlite3
    >>> with sqlite3.connect("plates.db") as database:
    ...     _ = pd.DataFrame({"well": ["A1", "A2"]}).to_sql("wells", database, index=False)
    >>> database.close()
    >>> dc.SQLSource("plates.db::wells").get_data()
      well
    0   A1
    1   A2
    """

    def __init__(self, path: str | os.PathLike[str], dtype: Mapping[str, Any] | None = None):
        database, table, self._url = _split(os.fspath(path))
        at = table_of(f"{database}{SEPARATOR}{table}")
        self.path = f"{os.path.abspath(database) if at.is_file else at.database}{SEPARATOR}{table}"
        self.dtype = dict(dtype or {})

    def _read_now(self):
        return frame_of(self._rows(), self.dtype)

    def content_hash(self):
        return self._found(files.file_hash)

    def load_verified(self, expected):
        rows = self._rows()
        self._compare(rows.hash, expected)
        return frame_of(rows, self.dtype)

    def verify(self, expected):
        self._compare(self._rows().hash, expected)

    def _rows(self):
        return self._found(tables.existing)

    def _found(self, read):
        try:
            return read(self.path)
        except FileNotFoundError:
            raise SourceMissing(
                f"the source {self.path} does not exist", expected="an existing table", got="nothing"
            ) from None

    def __daskcache_options__(self):
        return {"dtype": _counted(self.dtype)} if self.dtype else {}

    def identify(self, content_hash):
        options = f":{hash_value(_counted(self.dtype))}" if self.dtype else ""
        return super().identify(content_hash) + options

    def __eq__(self, other):
        return super().__eq__(other) and self.dtype == other.dtype

    __hash__ = Source.__hash__


def _split(path):
    """Return the database's name, the table's name, and the database's URL if there is one, or None."""
    database, separator, table = path.rpartition(SEPARATOR)
    if not separator or not database or not table:
        raise UnsafePath(
            "this names no table in a database",
            target=masked(path),
            expected="<database>::<table>",
            hint='such as "results.db::measurements"',
        )
    if "://" not in database:
        return database, table, None
    return named(database), table, database


def _is_name(name):
    return name.isprintable() and 0 < len(name.encode("utf-8", "surrogatepass")) <= LONGEST_NAME


def _counted(dtypes):
    """Return dtypes by column, in the form in which they count and are recorded."""
    return {str(name): _text_if_whole(kind) for name, kind in sorted(dtypes.items())}


def _text_if_whole(dtype):
    """Return a dtype's text, or the dtype itself if its text leaves out part of it (categories, say)."""
    text = str(dtype)
    if isinstance(dtype, (str, type)):
        return text
    try:
        is_whole = hash_value(pd.api.types.pandas_dtype(text)) == hash_value(dtype)
    except TypeError:  # pandas makes no dtype of the text
        return dtype
    return text if is_whole else dtype
