"""Databases that hold tables: which one a place means, and transactions in it.

The place of a table is ``<database>::<table>``.  A database whose name has a dot is a SQLite file below
the root.  One without a dot is known by name: from config ``daskcache.databases``, or because this
process met its URL, whose name is then made from all but the password.  So no place has a secret in it.
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
from typing import Any, NamedTuple
from urllib.parse import quote

from ... import config
from ...errors import DaskcacheWarning, GraphError, MissingExtra, StorageError, UnsafePath, require
from ..file_times import TICK_NS

SEPARATOR = "::"
#: Bytes; PostgreSQL cuts longer names off.
LONGEST_NAME = 63

#: Seconds to wait for other writers of the same file or table.
_PATIENCE = 60
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_PLACE = re.compile(r"[^:].*::[A-Za-z_{][A-Za-z0-9_{}]*\Z")  # {data_hash} may be in it
_KEPT = re.compile(r"_kept_\d{8}_\d{6}_[0-9a-f]{4}\Z")
#: Databases that take back a CREATE TABLE when its transaction is not committed.
_TAKING_BACK = frozenset({"sqlite", "postgresql"})


class Place(NamedTuple):
    """Where a table is."""

    #: The database: path of a SQLite file, or a name.
    database: str
    table: str

    @property
    def is_file(self) -> bool:
        return "." in os.path.basename(self.database)


def is_table(path: str) -> bool:
    """Whether a path is the place of a table, not of a file."""
    return SEPARATOR in path and _PLACE.match(os.path.basename(path)) is not None


def place_of(path: str) -> Place:
    """The place that a path means, whatever folder comes before the name of a database."""
    database, _, table = path.rpartition(SEPARATOR)
    place = Place(database, table)
    return place if place.is_file else Place(os.path.basename(database), table)


def why_no_place(path: str) -> str | None:
    """What is wrong with the place of a table, from the root; None if nothing is."""
    database, _, table = path.partition(SEPARATOR)
    if not _IDENTIFIER.match(table) or len(table) > LONGEST_NAME:
        return (
            f"in which {table!r} is no name for a table: up to {LONGEST_NAME} letters of ASCII, digits "
            "and underscores, no digit first (write t_{key}, not {key})"
        )
    if _KEPT.search(table):
        return f"in which {table!r} is a name for a table that was set aside"
    if "/" in database and not Place(database, table).is_file:
        return f"in which {database!r} is no file: its name has no suffix, such as .db"
    return None


def kept_name(table: str, when: str, number: str) -> str:
    """Name of a table that is set aside."""
    ending = f"_kept_{when}_{number}"
    return table[: LONGEST_NAME - len(ending)] + ending


def is_kept(table: str) -> bool:
    return _KEPT.search(table) is not None


def masked(text: str) -> str:
    """A text that may be a URL, without what is secret in it."""
    text = re.sub(r"://.*@", "://***@", text)
    return re.sub(r"(?i)(pass\w*=)[^&:]*", r"\1***", text)


# ---- databases by name --------------------------------------------------------------------------

#: URLs that this process met, by the names made for them.
_met: dict[str, str] = {}


def named(url: str) -> str:
    """Remember a URL; return the name that stands for it: the same whatever the password.

    Raises
    ------
    GraphError
        If it is no URL of a database, or of one in memory.
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
    """A URL without what is secret."""
    return url.set(query=_public_query(url)).render_as_string(hide_password=True)


def _parsed(url):
    sa = require("sqlalchemy", "sql")
    try:
        parsed = sa.engine.make_url(url)
        parsed.get_dialect()
    except (sa.exc.ArgumentError, ValueError):
        raise GraphError(  # which must not show what may hold a password
            "this is no URL of a database",
            target="<URL>::<table>",
            expected='such as "postgresql+psycopg://user:password@host/database"',
            hint="see https://docs.sqlalchemy.org/en/20/core/engines.html",
        ) from None
    if parsed.drivername == "postgresql" and not find_spec("psycopg2") and find_spec("psycopg"):
        return parsed.set(drivername="postgresql+psycopg")  # what SQLAlchemy would take is not here
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
    """A connection in a transaction, which is committed at the end, or rolled back by an error.

    Parameters
    ----------
    path : str
        Place of the table that it is about.
    writing : bool
        Whether to keep other writers of the table out (of SQLite: of the file) from the start, and to
        make a SQLite file that isn't there.

    Raises
    ------
    UnsafePath
        If to open the file would remove another one, see `_check_journal`.
    StorageError
        If the database can't be reached, or refuses.
    """
    sa = require("sqlalchemy", "sql")
    engine = _engine_of(path, writing)
    try:
        with engine.connect() as connection:
            connection = connection.execution_options(daskcache_writing=writing)
            with connection.begin():
                _take_turns(connection, place_of(path).table, writing)
                yield connection
    except sa.exc.NoSuchTableError:
        raise StorageError(
            "the database has another table there, whose name differs in case",
            target=path,
            hint="give the target another name",
        ) from None
    except sa.exc.SQLAlchemyError as error:
        raise _refusal(error, path, engine.url) from None  # the chain may show what is secret


def file_of(path: str) -> str | None:
    """The SQLite file that a table is in; None if its database is of another kind."""
    place = place_of(path)
    if place.is_file:
        return place.database
    url = _url_of(place.database)
    return os.path.abspath(url.database) if url.get_backend_name() == "sqlite" else None


def _engine_of(path, writing):
    file = file_of(path)
    if file is not None:
        _check_journal(file)
        return _file_engine(file, writing)
    url = _url_of(place_of(path).database)
    try:
        return _server_engine(url, os.getpid())
    except ImportError as error:
        raise MissingExtra(
            f"the driver for {url.drivername} is not installed: {error.name}",
            hint=f"pip install {error.name}",
        ) from None


#: End of a SQLite journal that names a super-journal.
_SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")


def _check_journal(file):
    """Raise `UnsafePath` if the journal beside a SQLite file names another file.

    A commit to several files leaves such a name, the "super-journal", and whoever opens one of them next
    removes the file of that name, wherever it is.  Commits here are to one file.
    """
    try:
        with open(f"{file}-journal", "rb") as journal:
            journal.seek(-len(_SUPER_JOURNAL), os.SEEK_END)
            if journal.read() != _SUPER_JOURNAL:
                return
    except OSError:  # there is none, or nothing in it
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
    """Engine of a SQLite file; as SQLAlchemy's pysqlite page has it, so that DDL is transactional.

    A reader opens the file so that it may write, if it can: what a writer that was killed left behind
    is rolled back by who comes next.
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
        options = connection.get_execution_options()
        durable = options.get("daskcache_writing") and config.get("durability") == "power"
        if durable:
            connection.exec_driver_sql("PRAGMA synchronous = EXTRA")
        is_writing = options.get("daskcache_writing")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")

    return engine


@functools.lru_cache(maxsize=64)
def _server_engine(url, _process):
    """Engine of a server, of which a process keeps one connection: servers have few."""
    sa = require("sqlalchemy", "sql")
    # A statement that psycopg has prepared fails when the table has got other columns meanwhile.
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
    """Whether the database takes back a CREATE TABLE when its transaction is not committed."""
    return connection.dialect.name in _TAKING_BACK


def _take_turns(connection, table, writing):
    """On PostgreSQL, wait for other writers of the table, but not for ever; SQLite does so by itself."""
    if connection.dialect.name != "postgresql":
        return
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_PATIENCE}s'")
    if writing:
        number = int(hashlib.sha256(table.encode()).hexdigest()[:15], 16)
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({number})")


def lock(connection: Any, table: str, mode: str) -> None:
    """On PostgreSQL, keep others from replacing a table, or from changing it, for this transaction."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"LOCK TABLE {quoted(connection, table)} IN {mode} MODE")


def state_of(connection: Any, path: str) -> tuple | None:
    """What is another as soon as anything in the database changed; None if that can't be told (yet).

    PostgreSQL: which transactions are to be seen, and since when the server runs.  SQLite: what the file
    and its log look like, unless they were written to so recently that a second time could leave no
    trace.
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
        log = os.stat(f"{file}-wal")  # not its ctime: SQLite, run by root, sets the owner when it reads
        state += (log.st_size, log.st_mtime_ns, log.st_ino)
        newest = max(newest, log.st_mtime_ns)
    return state if newest + TICK_NS < now else None


def quoted(connection: Any, name: str) -> str:
    """A name as SQL has it."""
    return connection.dialect.identifier_preparer.quote(name)


def check_no_link(path: str) -> None:
    """Raise `UnsafePath` if the SQLite file that is to be written to is a link."""
    place = place_of(path)
    if place.is_file and os.path.islink(place.database):
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
        hint="is it there, is the disk full, does somebody else lock it? Mend that, then rerun",
    )


def _secrets(url):
    public = _public_query(url)
    found = [str(value) for key, value in url.query.items() if key not in public]
    return [secret for secret in (url.password, *found) if secret]
