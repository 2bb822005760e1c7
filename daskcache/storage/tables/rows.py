"""Rows of a table, in the form to compare and hash them, and to make a frame of them.

A table is identified by its content.  Its rows are ordered by the primary key, or sorted if there is
none.  In tables made by daskcache the key is the column ``row_number``.  `tables` reads and writes rows;
`targets.tables.frames` converts them to and from frames.
"""

from __future__ import annotations

import datetime
import functools
from typing import Any

from ...errors import require
from ...hashing.encoder import hash_value
from ..place import Stamp
from .databases import lock

#: Name of the column with the number of each row, from 0.
ORDER = "row_number"

#: Kinds of columns, with the Python type of their values other than None.
KINDS: dict[str, type] = {
    "integer": int,
    "float": float,
    "boolean": bool,
    "text": str,
    "time": str,
    "aware time": str,
}
_BYTES = 8


class Rows:
    """Content of a table.

    Parameters
    ----------
    names : sequence of str
        Names of the columns, in order.
    kinds : sequence of str
        Kind of each column: one of `KINDS`, or "other".
    columns : sequence of list
        Values of each column, one per row.  NaN is None; times are texts,
        ``2000-01-01 00:00:00.000000``.
    numbered : bool
        True if the rows have an order, from a primary key.
    """

    def __init__(self, names, kinds, columns, numbered=True):
        self.names = tuple(names)
        self.kinds = tuple(kinds)
        self.columns = list(columns)
        self.numbered = numbered

    @functools.cached_property
    def hash(self) -> str:
        """Hash of the names, kinds and values (32 hex digits)."""
        columns = [plain(kind, column) for kind, column in zip(self.kinds, self.columns, strict=True)]
        return hash_value(("table", self.numbered, self.names, self.kinds, columns, len(self)))

    @property
    def stamp(self) -> Stamp:
        """Approximate size in bytes, and a number that changes with the content."""
        return Stamp(sum(map(_size, self.columns)), int(self.hash[:15], 16))

    def __len__(self):
        return len(self.columns[0]) if self.columns else 0


def plain(kind: str, values: list) -> Any:
    """Return a column of numbers as an array if all values have the type of its kind, else as it is.

    Floats become float64 with None as NaN, integers int64, booleans bool.  A column of integers or
    booleans stays a list if it is empty or has missing values.
    """
    types = set(map(type, values))
    if kind == "float" and types <= {float, type(None)}:
        return require("numpy", "sql").array(values, dtype="float64")
    if kind in ("integer", "boolean") and types == {KINDS[kind]}:
        return require("numpy", "sql").array(values, dtype="int64" if kind == "integer" else "bool")
    return values


def rows_in(connection: Any, table: str) -> Rows | None:
    """Read a table in an open transaction; return None if it does not exist."""
    if not is_there(connection, table):
        return None
    lock(connection, table, "ACCESS SHARE")
    sa = require("sqlalchemy", "sql")
    looked = sa.inspect(connection)
    described = looked.get_columns(table)
    key = looked.get_pk_constraint(table)["constrained_columns"]
    names = [column["name"] for column in described]
    kinds = [_kind(column["type"]) for column in described]
    source = sa.table(table, *map(sa.column, names))  # without types: the driver's values
    found = connection.execute(sa.select(source).order_by(*[source.c[name] for name in key])).all()
    columns = list(map(list, zip(*found, strict=True))) if found else [[] for _ in names]
    columns = [_canonical(kind, column) for kind, column in zip(kinds, columns, strict=True)]
    if not key:
        columns = _sorted(columns)
    if key == [ORDER]:
        position = names.index(ORDER)
        del names[position], kinds[position], columns[position]
    return Rows(names, kinds, columns, numbered=bool(key))


def is_there(connection: Any, table: str) -> bool:
    return require("sqlalchemy", "sql").inspect(connection).has_table(table)


def _kind(of_database):
    """Return the kind of a column from its SQLAlchemy type."""
    types = require("sqlalchemy", "sql").types
    for base, kind in (
        (types.Boolean, "boolean"),
        (types.Integer, "integer"),
        (types.Float, "float"),
        (types.String, "text"),
    ):
        if isinstance(of_database, base):
            return kind
    if isinstance(of_database, types.DateTime):
        return "aware time" if of_database.timezone else "time"
    return "other"


def _canonical(kind, values):
    """Return values in a form that is the same for every database."""
    if kind == "boolean":  # SQLite stores booleans as numbers
        return [bool(v) if v in (0, 1) else v for v in values]
    if kind == "float":
        return [None if v != v else v for v in values]
    if kind in ("time", "aware time"):
        return [_as_text(v) if isinstance(v, datetime.datetime) else v for v in values]
    return values


def _as_text(when):
    if when.tzinfo is not None:
        when = when.astimezone(datetime.UTC).replace(tzinfo=None)
    return when.isoformat(" ", "microseconds")


def _sorted(columns):
    rows = sorted(zip(*columns, strict=True), key=repr)
    return list(map(list, zip(*rows, strict=True))) if rows else columns


def _size(values):
    return sum([len(v) if isinstance(v, (str, bytes)) else _BYTES for v in values])
