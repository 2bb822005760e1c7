"""Databases that hold tables: names for URLs, and transactions.

A database whose name has a dot is a SQLite file below the root.  One without a dot has a name from
config ``daskcache.databases``, or one that this process made from its URL without the password.  So
places of tables (`storage.paths`) contain no secrets.  `targets.tables.sql` names databases, and
`tables` and `rows` work in the transactions.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import sqlite3
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any
from urllib.parse import quote

from ... import config
from ...errors import DaskcacheWarning, GraphError, MissingExtra, StorageError, UnsafePath, require
from ..paths import table_of
from ..place import TICK_NS

#: Seconds to wait for other writers of the same SQLite file or table.
_PATIENCE = 60
#: Databases that roll back a CREATE TABLE with its transaction.
_TAKING_BACK = frozenset({"sqlite", "postgresql"})


# ---- databases by name --------------------------------------------------------------------------

#: URLs given to this process, by the names made for them.
_met: dict[str, str] = {}


def named(url: str) -> str:
    """Remember a URL and return the name for it, which does not depend on the password.

    Raises
    ------
    GraphError
        If it is not the URL of a database, or of a database in memory only.
    """
    parsed = _parsed(url)
    if parsed.get_backend_name() == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise GraphError(
                "a database in memory is gone with its process",
                target=_shown(parsed),
                hint='name a file: "results.db::table", or "sqlite:////absolute/path.db::table"',
            )
        parsed = parsed.set(database=os.path.abspath(parsed.database))
    public = parsed.set(drivername=parsed.get_backend_name(), password=None, query=_public_query(parsed))
    digest = hashlib.sha256(public.render_as_string().encode()).hexdigest()[:10]
    told = (public.drivername, public.host, os.path.basename(public.database or ""))
    words = [re.sub(r"[^A-Za-z0-9_]+", "-", word)[:60] for word in told if word]
    name = "-".join([*words, digest])
    _met[name] = parsed.render_as_string(hide_password=False)
    return name


def _public_query(url):
    return {key: value for key, value in url.query.items() if "pass" not in key.lower()}


def _shown(url):
    """Return a URL as text, without its secrets."""
    return url.set(query=_public_query(url)).render_as_string(hide_password=True)


def _parsed(url):
    sa = require("sqlalchemy", "sql")
    try:
        parsed = sa.engine.make_url(url)
        parsed.get_dialect()
    except (sa.exc.ArgumentError, ValueError):
        raise GraphError(  # the text must not show a password
            "this is not the URL of a database",
            target="<URL>::<table>",
            expected='such as "postgresql+psycopg://user:password@host/database"',
            hint="see https://docs.sqlalchemy.org/en/20/core/engines.html",
        ) from None
    if parsed.drivername == "postgresql" and not find_spec("psycopg2") and find_spec("psycopg"):
        return parsed.set(drivername="postgresql+psycopg")  # SQLAlchemy's default is not installed
    return parsed


def _url_of(name):
    configured = config.get("databases").get(name)
    if configured is not None:
        return _parsed(configured)
    if name in _met:
        return _parsed(_met[name])
    raise StorageError(
        f"no database is known by the name {name!r}",
        target=name,
        expected="a URL for it in config daskcache.databases",
        got=", ".join(map(str, config.get("databases"))) or "no databases there",
        hint=f'set daskcache.databases to {{"{name}": "postgresql+psycopg://…"}}, on workers, too '
        "(DASK_DASKCACHE__DATABASES)",
    )


# ---- transactions -------------------------------------------------------------------------------


@contextmanager
def transaction(path: str, writing: bool = False) -> Iterator[Any]:
    """Open a transaction, to be committed at the end, or rolled back after an error.

    Parameters
    ----------
    path : str
        Place of the table.
    writing : bool
        Lock other writers out from the start: of the table or, for SQLite, of the file.  Also make a
        missing SQLite file.

    Yields
    ------
    sqlalchemy.engine.Connection
        The connection that runs the transaction.

    Raises
    ------
    UnsafePath
        If opening the SQLite file would remove another file, see `_check_journal`.
    StorageError
        If the database can't be reached, or refuses.
    MissingExtra
        If the database's driver is not installed.
    """
    sa = require("sqlalchemy", "sql")
    engine = _engine_of(path, writing)
    try:
        with engine.connect() as connection:
            connection = connection.execution_options(daskcache_writing=writing)
            with connection.begin():
                _take_turns(connection, table_of(path).name, writing)
                yield connection
    except sa.exc.NoSuchTableError:
        raise StorageError(
            "the database has another table there, whose name differs in case",
            target=path,
            hint="give the target another name",
        ) from None
    except sa.exc.SQLAlchemyError as error:
        raise _refusal(error, path, engine.url) from None  # the chain may show secrets


def file_of(path: str) -> str | None:
    """Return the path of a table's SQLite file, or None if its database is of another kind."""
    table = table_of(path)
    if table.is_file:
        return table.database
    url = _url_of(table.database)
    return os.path.abspath(url.database) if url.get_backend_name() == "sqlite" else None


def _engine_of(path, writing):
    file = file_of(path)
    if file is not None:
        _check_journal(file)
        return _file_engine(file, writing)
    url = _url_of(table_of(path).database)
    try:
        return _server_engine(url, os.getpid())
    except ImportError as error:
        raise MissingExtra(
            f"the driver for {url.drivername} is not installed: {error.name}",
            hint=f"pip install {error.name}",
        ) from None


#: Last bytes of a SQLite journal that names a super-journal.
_SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")


def _check_journal(file):
    """Raise `UnsafePath` if the journal beside a SQLite file names another file.

    An interrupted commit to several files leaves such a name, the "super-journal".  The next process to
    open one of these files removes the file of that name, wherever it is.  Commits of daskcache are to
    one file, so the name comes from another program.
    """
    try:
        with open(f"{file}-journal", "rb") as journal:
            journal.seek(-len(_SUPER_JOURNAL), os.SEEK_END)
            if journal.read() != _SUPER_JOURNAL:
                return
    except OSError:  # the journal is missing or empty
        return
    raise UnsafePath(
        "the journal of a database names another file, which would be removed",
        target=f"{file}-journal",
        expected="a journal of this database alone",
        hint="open the database once with the program that wrote to it and to another one, if you trust "
        "who wrote it; else delete it",
    )


@functools.lru_cache(maxsize=64)
def _file_engine(path, writing):
    """Return the engine of a SQLite file, with transactional DDL as on SQLAlchemy's pysqlite page.

    A reader opens the file for writing, too, if it may: the next process to open the file has to roll
    back what a killed writer left.
    """
    sa = require("sqlalchemy", "sql")
    uri = f"file:{quote(path)}?mode={'rwc' if writing else 'rw'}"

    def connect():
        connection = sqlite3.connect(uri, uri=True, timeout=_PATIENCE, check_same_thread=False)
        connection.isolation_level = None
        return connection

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.pool.NullPool)

    @sa.event.listens_for(engine, "begin")
    def begin(connection):
        is_writing = connection.get_execution_options().get("daskcache_writing")
        if is_writing and config.get("durability") == "power":
            connection.exec_driver_sql("PRAGMA synchronous = EXTRA")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")

    return engine


@functools.lru_cache(maxsize=64)
def _server_engine(url, _process):
    """Return the engine of a server; a process keeps one connection open, as servers allow few."""
    sa = require("sqlalchemy", "sql")
    # A prepared statement of psycopg fails once the table has other columns.
    options = {"prepare_threshold": None} if url.get_driver_name() == "psycopg" else {}
    engine = sa.create_engine(
        url, pool_size=1, max_overflow=-1, pool_pre_ping=True, connect_args=options
    )
    if not takes_back(engine):
        warnings.warn(
            f"{engine.dialect.name} commits a new table before its rows: what a killed writer leaves "
            "there has to be dropped by hand",
            DaskcacheWarning,
            stacklevel=2,
        )
    return engine


def takes_back(connection: Any) -> bool:
    """Return True if the database rolls back a CREATE TABLE with its transaction."""
    return connection.dialect.name in _TAKING_BACK


def _take_turns(connection, table, writing):
    """Wait for other writers of the table on PostgreSQL, with a time limit; SQLite waits by itself."""
    if connection.dialect.name != "postgresql":
        return
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_PATIENCE}s'")
    if writing:
        number = int(hashlib.sha256(table.encode()).hexdigest()[:15], 16)
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({number})")


def lock(connection: Any, table: str, mode: str) -> None:
    """Lock a table for this transaction on PostgreSQL; the mode says which access of others it stops."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"LOCK TABLE {quoted(connection, table)} IN {mode} MODE")


def state_of(connection: Any, path: str) -> tuple | None:
    """Return a version of the database that changes with every write, or None if unknown.

    PostgreSQL: the visible transactions and the server's start time.  SQLite: size, times and inode of
    the file and its log.  A second write soon after the last one may leave these as they are, so the
    version of a freshly written file is unknown.  Other databases: always unknown.
    """
    file = file_of(path)
    if file is not None:
        return _state_of_file(file)
    if connection.dialect.name != "postgresql":
        return None
    query = "SELECT pg_current_snapshot()::text, pg_postmaster_start_time()::text"
    return (str(connection.engine.url), *connection.exec_driver_sql(query).one())


def _state_of_file(file):
    now = time.time_ns()
    found = os.stat(file)
    state = (file, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
    newest = max(found.st_mtime_ns, found.st_ctime_ns)
    with contextlib.suppress(FileNotFoundError):
        log = os.stat(f"{file}-wal")  # not its ctime: SQLite, run by root, sets the owner on reading
        state += (log.st_size, log.st_mtime_ns, log.st_ino)
        newest = max(newest, log.st_mtime_ns)
    return state if newest + TICK_NS < now else None


def quoted(connection: Any, name: str) -> str:
    """Return a name quoted for SQL, if it needs quotes."""
    return connection.dialect.identifier_preparer.quote(name)


def check_no_link(path: str) -> None:
    """Raise `UnsafePath` if the SQLite file of a table's place is a symbolic link."""
    table = table_of(path)
    if table.is_file and os.path.islink(table.database):
        raise UnsafePath(
            "the database is a symbolic link, which is not followed",
            target=path,
            hint="move the database here, or name it by a URL: sqlite:////absolute/path.db",
        )


def _refusal(error, path, url):
    cause = getattr(error, "orig", None) or error
    text = " ".join(str(cause).split())
    for secret in _secrets(url):
        text = text.replace(secret, "***")
    return StorageError(
        f"the database refused: {text}",
        target=path,
        expected="a database that can be reached and written to",
        got=type(cause).__name__,
        hint="check that it is there, with space left and not locked by another program, then rerun",
    )


def _secrets(url):
    public = _public_query(url)
    found = [str(value) for key, value in url.query.items() if key not in public]
    return [secret for secret in (url.password, *found) if secret]
