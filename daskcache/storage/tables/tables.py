"""Tables as targets: the operations of `storage.place` on tables of databases.

A commit is one transaction: the table is created, filled, read back and compared before others can see
it.  So a part is not on the disk: its rows are held in memory, under the part's path, until then.
A table is identified by its content (`rows`).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from itertools import islice
from typing import NamedTuple

from ...errors import FormatLimit, StorageError, require
from ...hashing.encoder import algorithm, hash_value
from ..atomic import Overtaken, entered
from ..paths import SEPARATOR, is_kept, kept_name, table_of
from ..place import FILES, Check, Part, Stamp, within
from ..roots import Root, is_part
from . import databases
from .rows import ORDER, Rows, is_there, rows_in


class TablePlace:
    """Tables of databases as the places of targets; `FilePlace` describes the methods."""

    has_files = False

    def stamp(self, path: str) -> Stamp | None:
        seen = _look(path)
        return seen and seen.stamp

    def exists(self, path: str) -> bool:
        if _has_no_file(path):
            return False
        with databases.transaction(path) as connection:
            return is_there(connection, table_of(path).name)

    def file_hash(self, path: str) -> str:
        return _existing(_look(path), path).hash

    def part(self, path: str, written: Mapping[str, Part]) -> Part:
        rows = _held.get(path)
        if rows is None:
            rows = read(path)
        if rows is None:
            raise StorageError(
                "no table was written",
                target=path,
                expected="a data frame, returned by the function",
                got="nothing",
                hint="return the frame: a function can't write its table itself, to target_path",
            )
        return Part(path, rows.hash, rows.stamp)

    def put_new(self, root: Root, part: str, target_path: str) -> None:
        """Create the table of a part at a free place, or put back a table that was set aside.

        Raises
        ------
        FileExistsError
            If a table is there.
        FormatLimit
            If the database can't hold the values, or would return other ones.
        UnsafePath, StorageError
            If the database can't be written to.
        """
        path = root.absolute(target_path)
        with entered(root.path, target_path.rpartition("/")[0], root.outlasts_power):
            databases.check_no_link(path)
            with databases.transaction(path, writing=True) as connection:
                table = table_of(path).name
                _check_free(connection, path, table)
                _put(connection, part, path, table)
        self.discard(part)

    def replace(
        self, root: Root, part: str, target_path: str, recorded: Stamp | None, check: Check | None = None
    ) -> str | None:
        """Replace a table by a part; drop the old table if it is as recorded, else set it aside.

        If `check` returns False for the table that is there now, nothing is changed: a writer that was
        suspended must not change a table that another one has replaced meanwhile.
        """
        path, kept = root.absolute(target_path), None
        with entered(root.path, target_path.rpartition("/")[0]):
            databases.check_no_link(path)
            with databases.transaction(path, writing=True) as connection:
                table = table_of(path).name
                if is_there(connection, table):
                    databases.lock(connection, table, "ACCESS EXCLUSIVE")
                found = rows_in(connection, table)
                if check is not None and not check(found.stamp if found is not None else None):
                    raise Overtaken(errno.ENOENT, "another table is there by now", path)
                if found is not None:
                    if found.stamp == recorded:
                        connection.exec_driver_sql(f"DROP TABLE {databases.quoted(connection, table)}")
                    else:
                        kept = _set_aside(connection, path)
                _put(connection, part, path, table)
        self.discard(part)
        return kept

    def keep(self, root: Root, path: str, aside: AbstractContextManager[str]) -> str:
        """Rename a table, which stays in its database.  A table that is kept already stays."""
        with entered(root.path, within(root, path)[0], make=False):
            if is_kept(table_of(path).name):
                return path
            databases.check_no_link(path)
            with databases.transaction(path, writing=True) as connection:
                return _set_aside(connection, path)

    def discard(self, path: str) -> None:
        """Forget the rows of a part; no table is dropped."""
        _held.pop(path, None)

    sweep = discard

    def relative(self, path: str, start: str) -> str:
        return FILES.relative(path, start) if table_of(path).is_file else path


# ---- looking ------------------------------------------------------------------------------------


def read(path: str) -> Rows | None:
    """Read a table in one transaction; return None if it does not exist.

    Raises
    ------
    StorageError
        If the database can't be reached, or refuses.
    """
    if _has_no_file(path):
        return None
    with databases.transaction(path) as connection:
        return rows_in(connection, table_of(path).name)


def existing(path: str) -> Rows:
    """Read a table; raise FileNotFoundError if it does not exist."""
    return _existing(read(path), path)


def _existing(found, path):
    if found is None:
        raise FileNotFoundError(errno.ENOENT, "the table does not exist", path)
    return found


class _Seen(NamedTuple):
    """Hash and stamp of a table, valid for one state of its database."""

    state: tuple
    hash: str
    stamp: Stamp


#: Tables that this process has read, by place.
_seen: dict[str, _Seen] = {}


def _look(path):
    """Return hash and stamp of a table, or None; read it only if its database may have changed."""
    if _has_no_file(path):
        return None
    with databases.transaction(path) as connection:
        # before the rows, so that a change meanwhile shows next time
        state = databases.state_of(connection, path)
        known = _seen.get(path)
        if state is not None and known is not None and known.state == (algorithm(), *state):
            return known
        rows = rows_in(connection, table_of(path).name)
    if rows is None:
        return None
    seen = _Seen((algorithm(), *(state or ())), rows.hash, rows.stamp)
    if state is not None:
        _seen[path] = seen
    return seen


def _has_no_file(path):
    file = databases.file_of(path)
    return file is not None and not os.path.exists(file)


# ---- writing ------------------------------------------------------------------------------------

#: Rows that are to be stored, by the paths of their parts.
_held: dict[str, Rows] = {}


def write(path: str, rows: Rows) -> None:
    """Create a table with these rows; raise FileExistsError if the place is taken.

    Rows of a part are held in memory: the transaction that commits them creates the table.
    """
    if is_part(path):
        _held[path] = rows
        return
    table = table_of(path).name
    with databases.transaction(path, writing=True) as connection:
        _check_free(connection, path, table)
        _create(connection, path, table, rows)


def _check_free(connection, path, table):
    if is_there(connection, table):
        raise FileExistsError(errno.EEXIST, "there is a table", path)


def _put(connection, part, path, table):
    if part in _held:
        _create(connection, path, table, _held[part])
    else:
        _rename(connection, table_of(part).name, table)


def _set_aside(connection, path):
    database, _, table = path.rpartition(SEPARATOR)
    kept = kept_name(table)
    _rename(connection, table, kept)
    return f"{database}{SEPARATOR}{kept}"


def _rename(connection, old, new):
    connection.exec_driver_sql(
        f"ALTER TABLE {databases.quoted(connection, old)} RENAME TO {databases.quoted(connection, new)}"
    )


def _create(connection, path, table, rows):
    """Create a table, fill it, read it back and compare."""
    definition = _definition(table, rows)
    definition.create(connection)
    try:
        _fill(connection, path, rows, table)
        _check_same(path, rows, rows_in(connection, table))
    except BaseException:
        if not databases.takes_back(connection):  # the rollback would leave the new table there
            definition.drop(connection)
        raise


def _definition(table, rows):
    sa = require("sqlalchemy", "sql")
    types = {
        "integer": sa.BigInteger(),
        "float": sa.Double(),
        "boolean": sa.Boolean(),
        "text": sa.Text(),
        "time": sa.DateTime(),
    }
    columns = [sa.Column(name, types[kind]) for name, kind in zip(rows.names, rows.kinds, strict=True)]
    number = sa.Column(ORDER, sa.Integer, primary_key=True, autoincrement=False)
    return sa.Table(table, sa.MetaData(), number, *columns)


_CHUNK = 10_000


def _fill(connection, path, rows, table):
    sa = require("sqlalchemy", "sql")
    names = (ORDER, *rows.names)
    # Without types, values go to the driver as they are; every database takes texts for times.
    statement = sa.insert(sa.table(table, *map(sa.column, names)))
    numbered = enumerate(zip(*rows.columns, strict=True))
    try:
        while chunk := list(islice(numbered, _CHUNK)):
            connection.execute(
                statement,
                [dict(zip(names, (number, *row), strict=True)) for number, row in chunk],
            )
    except sa.exc.DataError as error:
        raise FormatLimit(
            f"the database can't hold this result: {error.orig}",
            target=path,
            hint="change the values, or use a path that ends in .parquet",
        ) from None


def _check_same(path, rows, found):
    if found.hash == rows.hash:
        return
    reason = "its columns would change"
    if found.names == rows.names:
        for name, kind, column, *now in zip(
            rows.names, rows.kinds, rows.columns, found.kinds, found.columns, strict=True
        ):
            if hash_value([kind, column]) != hash_value(now):
                reason = f"values of the column {name!r} would change{_how(column, now[1])}"
                break
    raise FormatLimit(
        f"the database can't hold this result: {reason}",
        target=path,
        expected="the rows as they were computed, when they are read back",
        hint="change the values (frame[column] + 0.0 turns -0.0 into 0.0), or use a path that ends in "
        ".parquet",
    )


def _how(before, after):
    for one, other in zip(before, after, strict=True):
        if repr(one) != repr(other):
            return f": {one!r} to {other!r}"[:200]
    return ""
