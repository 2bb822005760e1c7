"""Tables in a real PostgreSQL, which these tests start: on a socket, as a user without privileges."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from pathlib import Path

import dask
import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from needs import postgresql_programs
from sql_cases import MOMENTS, frame, frames, run_and_kill, write_program

import daskcache as dc
import daskcache.testing.assertions
from daskcache import SQLSource, SQLTarget, delayed
from daskcache.errors import (
    DaskcacheWarning,
    ForeignTarget,
    FormatLimit,
    SourceMissing,
    StorageError,
    TargetModified,
)
from daskcache.storage import files
from daskcache.storage.paths import table_of
from daskcache.storage.roots import Root
from daskcache.storage.tables import databases, tables
from daskcache.storage.tables import rows as table_rows
from daskcache.storage.tables.tables import TablePlace

pytestmark = pytest.mark.needs("postgresql")

SECRET = "s3cr3t-Pa55"


class Server:
    """A PostgreSQL on a socket in a folder of its own."""

    def __init__(self, folder, user):
        self.folder, self.user = folder, user
        self.programs = postgresql_programs()
        self.run("initdb", "-D", f"{folder}/data", "-U", "keeper", "-E", "UTF8", "-A", "trust")
        access = "local all keeper trust\nlocal all all scram-sha-256\n"
        Path(folder, "data", "pg_hba.conf").write_text(access)
        self.start()

    def start(self):
        options = (
            f"-c listen_addresses='' -c unix_socket_directories={self.folder} -c max_connections=60"
        )
        log = f"{self.folder}/log"
        self.run("pg_ctl", "-D", f"{self.folder}/data", "-w", "-o", options, "-l", log, "start")

    def stop(self):
        self.run("pg_ctl", "-D", f"{self.folder}/data", "-w", "-m", "immediate", "stop")

    def run(self, program, *arguments):
        command = [f"{self.programs}/{program}", *arguments]
        if self.user:
            command = ["runuser", "-u", self.user, "--", *command]
        nowhere = subprocess.DEVNULL  # not a pipe, which the server would keep open
        subprocess.run(
            command,
            cwd=self.folder,
            stdin=nowhere,
            stdout=nowhere,
            stderr=nowhere,
            check=True,
            timeout=120,
        )

    def admin(self, statement):
        engine = sa.create_engine(
            f"postgresql+psycopg://keeper@/postgres?host={self.folder}", isolation_level="AUTOCOMMIT"
        )
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()


@pytest.fixture(scope="session")
def server():
    """The server; it refuses to run as root, so then it is the user `postgres` or `nobody`."""
    folder = tempfile.mkdtemp(prefix="pg-")  # not below pytest's folder, which only its user may enter
    user = None
    if os.getuid() == 0:
        names = {entry.pw_name for entry in pwd.getpwall()}
        user = "postgres" if "postgres" in names else "nobody"
        os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
    server = Server(folder, user)
    server.admin(f"CREATE ROLE writer LOGIN PASSWORD '{SECRET}'")
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture
def url(server, tmp_path):
    """URL, with a password in it, of a database that each test has for itself."""
    name = "db_" + re.sub(r"\W", "_", tmp_path.name)[-40:].lower()
    server.admin(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    server.admin(f'CREATE DATABASE "{name}" OWNER writer')
    yield f"postgresql+psycopg://writer:{SECRET}@/{name}?host={server.folder}"
    for known in [known for known in databases._met if name in known]:
        databases._engine_of(f"{known}::any", False).dispose()


@pytest.fixture
def ask(url):
    """Run a statement as somebody else would."""
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)

    def ask(statement):
        with engine.begin() as connection:
            result = connection.exec_driver_sql(statement)
            return [tuple(row) for row in result] if result.returns_rows else None

    return ask


def make(url, value, table="measured", **options):
    """A node whose result is `value`, as a table."""

    @delayed(target=SQLTarget(f"{url}::{table}", dtype=options.pop("dtype", None)), version=1, **options)
    def made():
        return value() if callable(value) else value

    return made()


def names(ask):
    return sorted(name for (name,) in ask("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))


# ---- round trips --------------------------------------------------------------------------------


def test_a_frame_comes_back_as_it_was(url, ask):
    """Values, dtypes, order of columns and index; and the table has PostgreSQL's own types."""
    expected = frame().assign(zero=[-0.0, 0.0, float("inf")])
    pd.testing.assert_frame_equal(make(url, expected).compute(), expected)
    again = make(url, expected)
    assert again.dc.state == "complete"
    pd.testing.assert_frame_equal(again.compute(), expected)
    types = dict(
        ask(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'measured'"
        )
    )
    assert (types["whole"], types["real"], types["flag"]) == ("bigint", "double precision", "boolean")
    assert types["when"] == "timestamp without time zone"
    assert ask("SELECT real FROM measured WHERE row_number = 1") == [(None,)]


def test_no_rows(url):
    """An empty frame keeps its dtypes."""
    empty = frame().iloc[:0].reset_index(drop=True)
    pd.testing.assert_frame_equal(make(url, empty).compute(), empty)


@pytest.mark.parametrize(
    "value",
    [pd.DataFrame({"x": ["nul \0"]}), pd.DataFrame({"x": [None, "a\0"]})],
)
def test_what_the_database_refuses(url, ask, value):
    """The error is a limit of the format; nothing is left behind."""
    with pytest.raises(FormatLimit, match="NUL"):
        make(url, value).compute()
    assert names(ask) == []


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames(omitted="\0"))
def test_round_trips(url, ask, value):
    """Whatever is accepted comes back equal; at most NaN with other bits than usual is refused."""
    target = SQLTarget(f"{url}::t")
    has_odd_nan = value.select_dtypes("float").isna().any(axis=None)
    with contextlib.suppress(FormatLimit) if has_odd_nan else contextlib.nullcontext():
        target.write(value, target.path)
    if has_odd_nan and not files.exists(target.path):
        return
    assert target.hash(target.read(target.path)) == target.hash(value)
    ask("DROP TABLE t")


def test_a_table_that_gets_other_types(url, ask):
    """A process that read a table often reads it still when its columns have other types."""
    target = SQLTarget(f"{url}::t")
    for values in ([1], ["a"], [True]) * 3:
        value = pd.DataFrame({"x": values})
        target.write(value, target.path)
        for _ in range(3):
            pd.testing.assert_frame_equal(target.read(target.path), value)
        ask("DROP TABLE t")


def test_many_rows(url):
    """More than one portion of rows arrives in order."""
    value = pd.DataFrame({"n": range(25_001)})
    pd.testing.assert_frame_equal(make(url, value).compute(), value.astype("int64"))


# ---- what somebody else did ---------------------------------------------------------------------


def test_an_edit_is_seen_and_kept(url, ask):
    """A changed row makes the node modified; made again, the edited table has another name."""
    node = make(url, frame(), on_modified="recompute")
    node.compute()
    ask("UPDATE measured SET whole = 7 WHERE row_number = 0")
    assert node.dc.state == "modified"
    with pytest.warns(DaskcacheWarning, match="kept as .*::measured_kept_"):
        pd.testing.assert_frame_equal(node.compute(), frame())
    (kept,) = [name for name in names(ask) if name != "measured"]
    assert ask(f"SELECT whole FROM {kept} WHERE row_number = 0") == [(7,)]
    dc.invalidate(node)
    assert node.dc.state == "missing"
    node.compute()
    assert len(names(ask)) == 3


def test_an_edit_between_plan_and_commit_is_kept(url, ask):
    """What somebody wrote while the node ran is not dropped, and not written over."""
    make(url, pd.DataFrame({"x": [1]})).compute()

    def edit_and_return():
        ask("UPDATE measured SET x = 7")
        return pd.DataFrame({"x": [2]})

    with pytest.raises(ForeignTarget):
        dc.compute(make(url, edit_and_return), force=True)
    assert ask("SELECT x FROM measured") == [(7,)]


def test_an_edit_that_waits_for_the_commit(url, ask):
    """While a table is replaced, an edit waits; then it fails, or changes the new table, and is seen."""
    make(url, pd.DataFrame({"x": [1]})).compute()
    outcome = []

    def edit():
        try:
            ask("UPDATE measured SET x = 7")
            outcome.append("done")
        except sa.exc.DBAPIError as error:
            outcome.append(str(error.orig))

    editor = threading.Thread(target=edit)
    rows, replace, replacing = tables.rows_in, TablePlace.replace, []

    def read(connection, table):
        found = rows(connection, table)
        if replacing == [1]:  # between the look at what is there, and its end
            replacing.append(2)
            editor.start()
            time.sleep(0.5)
            assert outcome == []
        return found

    def replace_it(*args):
        replacing.append(1)
        return replace(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "rows_in", read)
        patch.setattr(TablePlace, "replace", replace_it)
        with contextlib.suppress(TargetModified):  # the edit came before the result was read
            dc.compute(make(url, pd.DataFrame({"x": [2]})), force=True)
    editor.join(60)
    edited = outcome == ["done"]
    assert ask("SELECT x FROM measured") == [(7 if edited else 2,)]
    assert make(url, pd.DataFrame({"x": [2]})).dc.state == ("modified" if edited else "complete")


def test_a_database_in_which_nothing_changed_is_not_read(url, ask, monkeypatch):
    """Planning reads a table once, and again after any write that is to be seen."""
    reads, original = [], tables.rows_in

    def read(connection, table):
        reads.append(table)
        return original(connection, table)

    monkeypatch.setattr(tables, "rows_in", read)
    node = make(url, frame())
    node.compute()

    def looks_at(state):
        reads.clear()
        assert node.dc.state == state
        return len(reads) > 0

    node.dc.state
    assert not looks_at("complete")
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE measured SET whole = 7 WHERE row_number = 0")
        assert not looks_at("complete")
    assert looks_at("modified")
    ask("UPDATE measured SET whole = 0 WHERE row_number = 0")
    assert looks_at("complete")


def test_tables_and_views_of_somebody_else(url, ask):
    """They are left alone."""
    ask("CREATE TABLE measured (x int)")
    ask("CREATE VIEW seen AS SELECT 1 AS x")
    for table in ("measured", "seen"):
        with pytest.raises(ForeignTarget):
            make(url, pd.DataFrame({"x": [1]}), table).compute()


def test_a_view_on_a_result_keeps_it(url, ask):
    """A table that others depend on can't be dropped: an error that says so, and nothing is lost."""
    make(url, pd.DataFrame({"x": [1]})).compute()
    ask("CREATE VIEW seen AS SELECT * FROM measured")
    with pytest.raises(StorageError, match="depend"):
        dc.compute(make(url, pd.DataFrame({"x": [2]})), force=True)
    assert ask("SELECT x FROM seen") == [(1,)]


# ---- trouble ------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_while_committing(url, tmp_path, root, moment, monkeypatch):
    """Old, new or nothing; and the next run is right, and finds nothing in its way."""
    environment = write_program(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "sql_program", raising=False)
    from sql_program import numbers

    place = f"{url}::numbers"
    for value in (1, 2):  # a new table, and one that replaces it
        run_and_kill(environment, place, value, moment, root)
        found = tables.read(SQLTarget(place).path)
        written = moment in ("before the record", "after the record")
        before = None if value == 1 else 1
        assert (found and found.columns[0][0]) == (value if written else before)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert numbers(place, value).compute(scheduler="sync").n.tolist() == [value] * 5


def test_a_server_that_is_down(server, url):
    """The plan says so: it is not a miss; and when the server is back, so is the result."""
    node = make(url, frame())
    node.compute()
    server.stop()
    try:
        assert dc.plan(node).counts["blocked"] == 1
        with pytest.raises(StorageError, match=re.escape(node.dc.target.path)) as caught:
            node.compute()
        assert SECRET not in f"{caught.value}{dc.why(node)}"
    finally:
        server.start()
    pd.testing.assert_frame_equal(node.compute(), frame())


def test_a_wrong_password(url):
    """The error doesn't show it."""
    wrong = SECRET[::-1]
    node = make(url.replace(SECRET, wrong), frame())
    with pytest.raises(StorageError, match="authentication failed") as caught:
        node.compute()
    assert wrong not in repr(caught.value) + "".join(traceback.format_exception(caught.value))


def test_no_right_to_write(server, url, ask):
    """A database in which tables can't be made is an error, after which no intent is left."""
    ask("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    ask("ALTER ROLE writer SET default_transaction_read_only = on")
    try:
        with pytest.raises(StorageError, match="read-only"):
            make(url, frame()).compute()
    finally:
        server.admin("ALTER ROLE writer RESET default_transaction_read_only")


def test_a_locked_table(url, ask, monkeypatch):
    """After a while the error says so."""
    make(url, pd.DataFrame({"x": [1]})).compute()
    monkeypatch.setattr(databases, "_PATIENCE", 1)
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("SELECT * FROM measured")
        with pytest.raises(StorageError, match="lock timeout"):
            dc.compute(make(url, pd.DataFrame({"x": [2]})), force=True)
    assert ask("SELECT x FROM measured") == [(1,)]


def test_nothing_shows_the_password(url, root, caplog):
    """Neither records nor any other file of the root, nor texts, nor logs."""
    caplog.set_level("DEBUG")
    node = make(url, frame())
    node.compute()
    plan = dc.plan(node)
    shown = [repr(node), repr(node.dc), repr(node.dc.target), str(plan), plan._repr_html_(), caplog.text]
    shown += [node.dc.path, str(node.dc.record), repr(node._recipe.spec.formats)]
    shown += [path.read_bytes().decode(errors="replace") for path in root.rglob("*") if path.is_file()]
    shown += [path.name for path in root.rglob("*")]
    assert [text for text in shown if SECRET in text] == []


# ---- many processes -----------------------------------------------------------------------------


def _write_one(url, root, table, barrier):
    dask.config.set({"daskcache.root": root, "scheduler": "sync"})

    @delayed(target=SQLTarget(f"{url}::{table}"), version=1)
    def made():
        barrier.wait(60)
        return pd.DataFrame({"x": range(100)})

    assert made().compute().x.tolist() == list(range(100))


@pytest.mark.parametrize("same", [True, False])
def test_writers_at_the_same_time(url, ask, root, same):
    """Of one node one is the winner and all return its table; different tables are all there."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(4)
    tasks = [(url, str(root), "t" if same else f"t{n}", barrier) for n in range(4)]
    processes = [context.Process(target=_write_one, args=task) for task in tasks]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 4
    assert names(ask) == (["t"] if same else ["t0", "t1", "t2", "t3"])


def test_readers_see_old_or_new(url, tmp_path):
    """While a table is replaced again and again, what is read is never mixed, nor empty."""
    target = SQLTarget(f"{url}::t")
    frames = [pd.DataFrame({f"c{n}": [n] * 50}) for n in range(2)]
    target.write(frames[0], target.path)
    seen, stop = set(), threading.Event()

    def look():
        while not stop.is_set():
            found = target.read(target.path)
            seen.add((*found.columns, *set(found.iloc[:, 0]), len(found)))

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for turn in range(20):
            part = "/.daskcache/parts/0/x.db::t"
            target.write(frames[(turn + 1) % 2], part)
            stamp = files.stamp(target.path)
            assert files.replace(Root(str(tmp_path)), part, target.path, stamp) is None
    finally:
        stop.set()
        reader.join()
    assert seen <= {("c0", 0, 50), ("c1", 1, 50)}
    assert seen


def test_a_reader_keeps_the_table(url, tmp_path):
    """Who replaces a table waits for who is reading it."""
    target = SQLTarget(f"{url}::t")
    target.write(pd.DataFrame({"old": [1]}), target.path)
    kind, writers = table_rows._kind, []

    def replace():
        part = "/.daskcache/parts/0/x.db::t"
        target.write(pd.DataFrame({"new": [2]}), part)
        files.replace(Root(str(tmp_path)), part, target.path, None)

    def look(of_database):  # after the columns, before the rows
        if not writers:
            writers.append(threading.Thread(target=replace))
            writers[0].start()
            time.sleep(0.5)
        return kind(of_database)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_rows, "_kind", look)
        assert target.read(target.path).to_dict("list") == {"old": [1]}
    writers[0].join(60)
    assert target.read(target.path).to_dict("list") == {"new": [2]}


def test_on_a_cluster(url, local_client):
    """Workers that know the database only from the target write to it, and nothing runs twice."""
    client = local_client

    @delayed(target=SQLTarget(f"{url}::squares_{{n}}"), version=1)
    def squares(n):
        return pd.DataFrame({"x": [k * k for k in range(n)]})

    nodes = [squares(n) for n in range(1, 5)]
    totals = client.gather(client.compute(nodes))
    assert [len(t) for t in totals] == [1, 2, 3, 4]
    with dc.testing.assert_nothing_runs(client):
        client.gather(client.compute([squares(n) for n in range(1, 5)]))


def test_the_command_line_needs_the_url(url, root):
    """It knows the database from the configuration only, and says so; no output has the password."""
    node = make(url, frame())
    node.compute()
    name = table_of(node.dc.path).database

    def listing(**environment):
        command = [sys.executable, "-m", "dask", "cache", "ls", "--root", str(root)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
        return done.stdout + done.stderr

    assert f"no database is known by the name '{name}'" in listing()
    found = listing(DASK_DASKCACHE__DATABASES=repr({name: url}))
    assert "complete" in found
    assert SECRET not in found


def test_an_audit(url):
    """A node is computed again and compared with its table."""
    node = make(url, frame())
    node.compute()
    assert dc.audit(node).ok


# ---- sources ------------------------------------------------------------------------------------


def test_a_source(url, ask, root):
    """A table of any types is an input; its content counts."""
    ask("CREATE TABLE given (id int PRIMARY KEY, price numeric, at timestamptz, tags text[], x real)")
    ask(
        "INSERT INTO given VALUES "
        "(2, 1.50, '2020-01-01 00:00+02', '{a,b}', 0.5), (1, NULL, NULL, NULL, 1)"
    )
    source = SQLSource(f"{url}::given")
    found = source.get_data()
    assert found["id"].tolist() == [1, 2]
    assert str(found["price"][1]) == "1.50"
    assert found["at"][1] == pd.Timestamp("2019-12-31 22:00", tz="UTC")
    assert found["tags"][1] == ["a", "b"]

    @delayed(target="count.json")
    def count(table):
        return len(table)

    assert count(source).compute() == 2
    ask("DELETE FROM given WHERE id = 2")
    assert count(SQLSource(f"{url}::given")).compute() == 1
    record = count(SQLSource(f"{url}::given")).dc.record
    assert SECRET not in str(record)
    with pytest.raises(SourceMissing):
        SQLSource(f"{url}::none").get_data()


def test_rows_without_a_key(url, ask):
    """Their order doesn't count."""
    ask("CREATE TABLE given (x int, y text)")
    ask("INSERT INTO given VALUES (1, 'a'), (2, NULL), (1, 'b')")
    before = SQLSource(f"{url}::given").content_hash()
    ask("UPDATE given SET y = y WHERE x = 1")  # moves rows
    assert ask("SELECT x FROM given")[0] == (2,)
    assert SQLSource(f"{url}::given").content_hash() == before
