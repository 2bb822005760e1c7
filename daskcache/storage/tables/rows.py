"""The rows of a table, in the form in which they are compared, hashed and made a frame.

A table is known by its content.  Rows come in the order of the primary key, which is the column
``row_number`` in tables that are made here; without a key they are sorted.
"""

from __future__ import annotations

import datetime
import functools
from typing import Any

from ...errors import require
from ...hashing.encoder import hash_value
from .databases import lock

#: Numbers the rows, from 0.
ORDER = "row_number"

#: Kinds of columns: what their values are in Python, besides None.
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
        The columns, in order.
    kinds : sequence of str
        Of each column one of `KINDS`, or "other".
    columns : sequence of list
        Of each column the values.  NaN is None; times are texts, ``2000-01-01 00:00:00.000000``.
    numbered : bool
        Whether the table has an order of its own.
    """

    def __init__(self, names, kinds, columns, numbered=True):
        self.names = tuple(names)
        self.kinds = tuple(kinds)
        self.columns = list(columns)
        self.numbered = numbered

    @functools.cached_property
    def hash(self) -> str:
        """Hash of names, kinds and values."""
        columns = [plain(kind, column) for kind, column in zip(self.kinds, self.columns, strict=True)]
        return hash_value(("table", self.numbered, self.names, self.kinds, columns, len(self)))

    @property
    def stamp(self) -> tuple[int, int]:
        """Size in bytes, about; and a number that changes with the content."""
        size = sum(map(_size, self.columns))
        return size, int(self.hash[:15], 16)

    def __len__(self):
        return len(self.columns[0]) if self.columns else 0


def plain(kind: str, values: list) -> Any:
    """Values of a column as an array of numbers, if they are all what its kind says; else as they are.

    An empty column, and one with missing values that are no floats, stays a list.
    """
    types = set(map(type, values))
    if kind == "float" and types <= {float, type(None)}:
        return require("numpy", "sql").array(values, dtype="float64")
    if kind in ("integer", "boolean") and types == {KINDS[kind]}:
        return require("numpy", "sql").array(values, dtype="int64" if kind == "integer" else "bool")
    return values


def rows_in(connection: Any, table: str) -> Rows | None:
    """Content of a table in an open transaction; None if it isn't there."""
    if not is_there(connection, table):
        return None
    lock(connection, table, "ACCESS SHARE")
    sa = require("sqlalchemy", "sql")
    looked = sa.inspect(connection)
    described = looked.get_columns(table)
    key = looked.get_pk_constraint(table)["constrained_columns"]
    names = [column["name"] for column in described]
    kinds = [_kind(column["type"]) for column in described]
    source = sa.table(table, *map(sa.column, names))  # without types: values as the driver gives them
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
    """Kind of a column of this type."""
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
    """Values in the form in which every database gives the same."""
    if kind == "boolean":  # SQLite has numbers for them
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
