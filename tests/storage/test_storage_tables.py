"""Tables in SQLite: round trips, edits, commits that are cut short, and many writers."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import sqlite3
import struct
import subprocess
import sys
import threading
import time
import traceback
import warnings

import dask
import numpy as np
import pandas as pd
import pytest
import sqlalchemy
from hypothesis import given, settings
from sql_cases import MOMENTS, frame, frames, run_and_kill, write_program

import daskcache as dc
from daskcache import SQLSource, SQLTarget, delayed
from daskcache.errors import (
    DaskcacheWarning,
    ForeignTarget,
    FormatLimit,
    GraphError,
    SourceChanged,
    SourceMissing,
    StorageError,
    TargetCollision,
    TargetModified,
    UnsafePath,
)
from daskcache.housekeeping.repair import repair
from daskcache.housekeeping.verify import verify
from daskcache.storage import commit as committing
from daskcache.storage import files
from daskcache.storage.record import RecordName
from daskcache.storage.roots import Root
from daskcache.storage.tables import databases, tables
from daskcache.storage.tables.tables import TablePlace


def make(value, place="results.db::measured", **options):
    """A node whose result is `value`, as a table."""
    target = SQLTarget(place, dtype=options.pop("dtype", None))

    @delayed(target=target, version=1, **options)
    def made(number=0):
        return value() if callable(value) else value

    return made()


@pytest.fixture
def sql(root):
    """Run a statement on the database of the root."""

    def run(statement, *values):
        connection = sqlite3.connect(root / "results.db")
        try:
            found = connection.execute(statement, values).fetchall()
            connection.commit()
            return found
        finally:
            connection.close()

    return run


def names(sql):
    return sorted(name for (name,) in sql("SELECT name FROM sqlite_master WHERE type = 'table'"))


# ---- round trips --------------------------------------------------------------------------------


def test_a_frame_comes_back_as_it_was():
    """Values, dtypes, order of columns and index, on the first and on a later run."""
    expected = frame()
    pd.testing.assert_frame_equal(make(expected).compute(), expected)
    again = make(expected)
    assert again.dc.state == "complete"
    pd.testing.assert_frame_equal(again.compute(), expected)
    pd.testing.assert_frame_equal(make(expected).dc.open(), expected)


def test_the_table_is_plain(sql):
    """Anybody can read it: columns by their names, rows by number, NULL for what is missing."""
    make(pd.DataFrame({"x": [1.5, np.nan], "s": ["a", None]})).compute()
    assert sql("SELECT row_number, x, s FROM measured") == [(0, 1.5, "a"), (1, None, None)]


@pytest.mark.parametrize("dtype", ["int64", "float64", "bool", "str"])
def test_no_rows(dtype):
    """An empty frame keeps its dtypes."""
    dtype = pd.Series(["a"]).dtype if dtype == "str" else dtype
    empty = pd.DataFrame({"x": pd.Series([], dtype=dtype)})
    pd.testing.assert_frame_equal(make(empty).compute(), empty)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (pd.Categorical(["a", "b", "a"]), "category"),
        (pd.Categorical([2, 1, None], [3, 2, 1], ordered=True), pd.CategoricalDtype([3, 2, 1], True)),
        (np.array([1.5, np.nan], "float32"), "float32"),
        (np.array([1, 255], "uint8"), "uint8"),
        (pd.array([1, 2], dtype="Int64"), "Int64"),
        (pd.to_datetime(["2020-01-01 01:02:03"]).as_unit("ns"), "datetime64[ns]"),
        (pd.to_datetime(["2020-06-01"]).tz_localize("Europe/Zurich"), None),
        (np.array(["2020-01-01", "NaT"], "datetime64[s]"), "datetime64[s]"),
    ],
    ids=str,
)
def test_other_dtypes_are_restored_if_they_are_named(values, dtype):
    """What SQL has no type for is refused without the option, naming it, and kept with it."""
    value = pd.DataFrame({"x": values})
    dtype = dtype or value.x.dtype
    with pytest.raises(FormatLimit, match="column 'x'"):
        make(value).compute()
    pd.testing.assert_frame_equal(make(value, dtype={"x": dtype}).compute(), value)


def test_missing_integers():
    """A nullable column with something missing needs no option."""
    value = pd.DataFrame({"n": pd.array([1, None, 2**60 + 1], dtype="Int64")})
    pd.testing.assert_frame_equal(make(value).compute(), value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "returned None"),
        ([1, 2], "not a DataFrame"),
        (pd.DataFrame({"x": [1]}, index=[5]), "reset_index"),
        (pd.DataFrame({"x": [1, 2]}).set_index("x", drop=False), "reset_index"),
        (pd.DataFrame(index=range(3)), "no columns"),
        (pd.DataFrame({1: [2]}), "names of 1 to 63 bytes"),
        (pd.DataFrame({"ü" * 32: [2]}), "names of 1 to 63 bytes"),
        (pd.DataFrame({"Row_Number": [2]}), "number the rows"),
        (pd.DataFrame({"a": [2], "A": [3]}), "differ at most in case"),
        (pd.DataFrame({"x": [[1], [2]]}), "column 'x'"),
        (pd.DataFrame({"x": ["a", 1]}), "column 'x'"),
        (pd.DataFrame({"x": ["\ud800"]}, dtype=object), "column 'x'"),
        (pd.DataFrame({"x": [1 + 2j]}), "column 'x'"),
        (pd.DataFrame({"x": pd.to_timedelta([1], unit="s")}), "column 'x'"),
        (pd.DataFrame({"x": np.array([2**63], "uint64")}), "column 'x'"),
        (pd.DataFrame({"x": np.array([1], "datetime64[ns]")}), "column 'x'"),
        (pd.DataFrame({"fine": [1], "x": [-0.0]}), "column 'x' would change: -0.0 to 0.0"),
    ],
)
def test_what_would_change_is_refused(value, message, sql):
    """The error says which column, and nothing is left in the database."""
    with pytest.raises(FormatLimit, match=message):
        make(value).compute()
    assert not (os.path.exists("results.db") and names(sql))


@settings(max_examples=50, deadline=None)
@given(frames(positive_zeros=True))
def test_round_trips(tmp_path_factory, value):
    """Whatever is accepted comes back equal; at most NaN with other bits than usual is refused."""
    path = f"{tmp_path_factory.mktemp('round')}/x.db::t"
    target = SQLTarget("x.db::t")
    has_odd_nan = value.select_dtypes("float").isna().any(axis=None)
    with contextlib.suppress(FormatLimit) if has_odd_nan else contextlib.nullcontext():
        target.write(value, path)
    if has_odd_nan and not os.path.exists(path.rpartition("::")[0]):
        return
    assert target.hash(target.read(path)) == target.hash(value)


# ---- what somebody else did ---------------------------------------------------------------------


def test_an_edit_is_seen(sql):
    """A row that somebody changed, added or removed makes the node modified; put back, complete."""
    node = make(frame())
    node.compute()
    for change, undo in (
        (
            "UPDATE measured SET text = 'x' WHERE row_number = 0",
            "UPDATE measured SET text = '' WHERE row_number = 0",
        ),
        ("INSERT INTO measured (row_number) VALUES (9)", "DELETE FROM measured WHERE row_number = 9"),
        ("ALTER TABLE measured ADD COLUMN more", "ALTER TABLE measured DROP COLUMN more"),
        ("ALTER TABLE measured RENAME COLUMN real TO r", "ALTER TABLE measured RENAME COLUMN r TO real"),
    ):
        sql(change)
        assert node.dc.state == "modified", change
        with pytest.raises(TargetModified):
            node.compute()
        sql(undo)
        assert node.dc.state == "complete", undo


def test_an_edited_table_can_be_adopted(sql):
    """What follows is made from what the table holds now."""
    node = make(pd.DataFrame({"x": [1, 2]}))

    @delayed
    def total(table):
        return int(table.x.sum())

    assert total(node).compute() == 3
    sql("UPDATE measured SET x = 40 WHERE row_number = 1")
    assert dc.adopt(node) == 1
    assert total(node).compute() == 41


def test_an_edited_table_is_kept_when_it_is_made_again(sql):
    """With on_modified="recompute" it is renamed, in its database."""
    node = make(pd.DataFrame({"x": [1, 2]}), on_modified="recompute")
    node.compute()
    sql("UPDATE measured SET x = 40 WHERE row_number = 1")
    with pytest.warns(DaskcacheWarning, match="kept as .*::measured_kept_"):
        assert node.compute().x.tolist() == [1, 2]
    (kept,) = [name for name in names(sql) if name != "measured"]
    assert sql(f"SELECT x FROM {kept}") == [(1,), (40,)]


def test_a_table_of_somebody_else_is_left_alone(root, sql):
    """It is foreign, and so is a view."""
    root.mkdir()
    sql("CREATE TABLE measured (x)")
    sql("CREATE VIEW seen AS SELECT 1 AS x")
    for place in ("results.db::measured", "results.db::seen"):
        with pytest.raises(ForeignTarget):
            make(pd.DataFrame({"x": [1, 2]}), place).compute()
    with pytest.raises(StorageError, match="differs in case"):
        make(pd.DataFrame({"x": [1, 2]}), "results.db::MEASURED").compute()
    assert sql("SELECT * FROM measured") == []


def test_an_edit_while_the_node_runs_is_kept(sql):
    """What somebody wrote after the plan is renamed, not dropped."""
    node = make(pd.DataFrame({"x": [1]}))
    node.compute()

    def edit_and_return():
        sql("UPDATE measured SET x = 7")
        return pd.DataFrame({"x": [2]})

    with pytest.raises(ForeignTarget):
        dc.compute(make(edit_and_return), force=True)
    assert sql("SELECT x FROM measured") == [(7,)]


def test_a_changed_recipe_replaces_its_table(sql):
    """The old table is dropped: it is as recorded."""

    def build(version):
        @delayed(target="results.db::measured", version=version)
        def made():
            return pd.DataFrame({"x": [version]})

        return made()

    build(1).compute()
    assert build(2).compute().x.tolist() == [2]
    assert names(sql) == ["measured"]


def test_removed_tables_are_kept(sql, root):
    """`invalidate` and `dask cache rm` rename the table."""
    node = make(pd.DataFrame({"x": [1]}))
    node.compute()
    dc.invalidate(node)
    assert node.dc.state == "missing"
    node.compute()
    command = [sys.executable, "-m", "dask", "cache", "rm", "--root", str(root), "results.db::measured"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "measured_kept_" in done.stdout, done.stderr
    assert len(names(sql)) == 2
    assert node.dc.state == "missing"


def test_the_command_line_lists_and_adopts_tables(sql, root):
    """`ls` shows their state; `adopt` takes in an edit."""
    node = make(pd.DataFrame({"x": [1]}))
    node.compute()
    sql("UPDATE measured SET x = 2")

    def cache(*arguments):
        command = [sys.executable, "-m", "dask", "cache", *arguments, "--root", str(root)]
        return subprocess.run(command, capture_output=True, text=True).stdout

    assert "modified" in cache("ls")
    assert "is adopted" in cache("adopt", "results.db::measured")
    assert node.compute().x.tolist() == [2]


def test_tables_are_verified(sql, root):
    """As files are: a table that was edited is modified, and no repair moves it."""
    make(pd.DataFrame({"x": [1]})).compute()
    stored = Root(str(root))
    (item,) = checked = verify(stored)
    assert (item.state, item.note) == ("complete", "")
    assert list(repair(stored, checked, 0)) == []
    sql("UPDATE measured SET x = 2")
    (item,) = checked = verify(stored)
    assert (item.state, item.note) == ("modified", "")
    assert list(repair(stored, checked, 0)) == []


def test_expiry_counts_from_the_record():
    """A table has no mtime; its age is that of its record."""
    make(pd.DataFrame({"x": [1]})).compute()
    assert make(pd.DataFrame({"x": [1]}), expires="1 hour").dc.state == "complete"
    assert make(pd.DataFrame({"x": [1]}), expires="1 us").dc.state == "stale"


def test_other_options_do_not_change_what_is_read():
    """A table that would now be read with other dtypes is stale."""
    value = pd.DataFrame({"x": np.array([1.5], "float32")})
    make(value, dtype={"x": "float32"}).compute()
    assert make(value).dc.state == "stale"
    assert "option dtype" in make(value).dc.why()
    with pytest.raises(FormatLimit, match="float32"):
        make(value).compute()


@pytest.fixture
def reads(monkeypatch):
    """Names of the tables that were read."""
    found, original = [], tables.rows_in

    def read(connection, table):
        found.append(table)
        return original(connection, table)

    monkeypatch.setattr(tables, "rows_in", read)
    return found


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_a_database_in_which_nothing_changed_is_not_read(root, sql, reads, monkeypatch, mode):
    """Planning reads a table once; after any write to the database, again."""
    monkeypatch.setattr(databases, "TICK_NS", 50_000_000)
    root.mkdir()
    writer = sqlite3.connect(root / "results.db", isolation_level=None)  # keeps the log from going
    writer.execute(f"PRAGMA journal_mode = {mode}")
    node = make(frame())
    node.compute()
    for _ in range(2):
        time.sleep(0.1)
        assert node.dc.state == "complete"
        reads.clear()
        assert node.dc.state == "complete"
        assert reads == []
        for change, state in ((-5, "modified"), (0, "complete")):
            writer.execute("UPDATE measured SET whole = ? WHERE row_number = 0", (change,))
            assert node.dc.state == state
    writer.close()


def test_a_database_that_just_changed_is_read(reads):
    """Two writes within one tick of the file system's clock may look alike from outside."""
    node = make(frame())
    node.compute()
    for _ in range(2):
        reads.clear()
        assert node.dc.state == "complete"
        assert reads == ["measured"]


# ---- paths --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place",
    [
        "results.db",
        "::t",
        "results.db::",
        "results.db::1t",
        "results.db::a b",
        "results.db::a::b",
        "results.db::a/b",
        'results.db::t"; DROP TABLE x; --',
        "results.db::" + "t" * 64,
        "results.db::t_kept_20260101_000000_0000",
        "folder/name::t",
        "../results.db::t",
        "/results.db::t",
        ".daskcache/results.db::t",
    ],
)
def test_places_that_are_none(place):
    """They are refused before anything runs."""
    with pytest.raises(UnsafePath):
        make(frame(), place)


def test_values_stay_out_of_the_place():
    """A value with `::`, or one that would complete it, is escaped, or no name for a table."""

    @delayed(target="of_{a}:{b}.db::t")
    def made(a, b):
        return frame()

    assert made("x:", ":y").dc.path.endswith("/of_x%3A:%3Ay.db::t")
    assert made("x::y", 1).dc.path.endswith("/of_x%3A%3Ay:1.db::t")

    @delayed(target="results.db::{name}")
    def other(name):
        return frame()

    with pytest.raises(UnsafePath, match="not a name for a table"):
        other("a::b")
    assert other("plain_1").dc.path.endswith("results.db::plain_1")


def test_files_have_no_such_path():
    """`::` is for tables, whatever the class of the target."""
    with pytest.raises(UnsafePath, match="SQLTarget"):
        delayed(frame, target="a.db::b.csv", store=dc.CSVTarget)
    with pytest.raises(UnsafePath, match="SQLTarget"):
        delayed(frame, target=dc.CSVTarget("a::b.csv"))


def test_collisions():
    """Two tables of one file are two targets; one table twice, or the file itself, is a collision."""
    value = pd.DataFrame({"x": [1]})
    dc.plan(make(value, "results.db::a"), make(value, "results.db::b"))

    @delayed(target="{name}", store=dc.PickleTarget)
    def pickled(name):
        return name

    with pytest.raises(TargetCollision):
        dc.plan(make(value, "results.db::a"), pickled("results.db")).compute()
    with pytest.raises(TargetCollision):
        dc.plan(make(value, "results.db::a"), _other("results.db::A")).compute()


def _other(place):
    @delayed(target=place)
    def other(x):
        return pd.DataFrame({"x": [x]})

    return other(5)


def test_several_results():
    """Tables and files mix."""

    @delayed(target={"table": "results.db::part", "text": "note.json"})
    def both():
        return {"table": pd.DataFrame({"x": [1]}), "text": "fine"}

    for _ in range(2):
        found = both().compute()
        assert (found["table"].x.tolist(), found["text"]) == ([1], "fine")


def test_data_hash_in_the_name(sql):
    """Equal data of two nodes share a table."""

    @delayed(target="results.db::t_{data_hash}")
    def made(n):
        return pd.DataFrame({"x": [n // 2]})

    dask.compute(made(2), made(3), made(4))
    assert len(names(sql)) == 2
    assert made(3).compute().x.tolist() == [1]


def test_a_link_is_not_followed(root, tmp_path):
    """Neither one in the place of the database nor one in the place of a folder."""
    root.mkdir()
    os.symlink(tmp_path / "elsewhere.db", root / "results.db")
    os.symlink(tmp_path, root / "folder")
    for place in ("results.db::t", "folder/results.db::t"):
        with pytest.raises(UnsafePath):
            make(frame(), place).compute()
    assert not (tmp_path / "elsewhere.db").exists()
    assert not (tmp_path / "results.db").exists()


def journal_of(database, name):
    """A journal to be rolled back, which says that a commit to several files was cut short."""
    content = database.read_bytes()
    size = int.from_bytes(content[16:18], "big") % 65535
    page, magic, nonce = content[:size], bytes.fromhex("d9d505f920a163d7"), 7
    head = struct.pack(">8s5I", magic, 1, nonce, len(content) // size, 512, size).ljust(512, b"\0")
    checked = nonce + sum(page[place] for place in range(size - 200, 0, -200))
    name = os.fsencode(name)
    tail = struct.pack(f">I{len(name)}s2I8s", 2**30 // size + 1, name, len(name), sum(name), magic)
    return head + struct.pack(">I", 1) + page + struct.pack(">I", checked) + tail


def test_a_journal_that_names_another_file(root, sql, tmp_path):
    """To look at a database removes no file because its journal says so."""
    make(frame()).compute()
    (tmp_path / "precious").write_text("mine")
    journal = root / "results.db-journal"
    journal.write_bytes(journal_of(root / "results.db", tmp_path / "precious"))
    assert dc.plan(make(frame())).counts["blocked"] == 1
    for use in (make(frame()).compute, SQLSource(root / "results.db::measured").get_data):
        with pytest.raises(UnsafePath, match="names another file"):
            use()
    assert (tmp_path / "precious").read_text() == "mine"
    sql("SELECT * FROM measured")  # SQLite itself does
    assert not (tmp_path / "precious").exists()
    assert make(frame()).dc.state == "complete"


def test_a_folder_that_became_a_link(root, tmp_path):
    """A table in a folder that is a link by now is neither replaced nor set aside."""
    make(frame(), "folder/results.db::t").compute()
    (root / "folder").rename(tmp_path / "elsewhere")
    (root / "folder").symlink_to(tmp_path / "elsewhere")
    before = (tmp_path / "elsewhere" / "results.db").read_bytes()
    with pytest.raises(UnsafePath):
        dc.compute(make(frame(), "folder/results.db::t"), force=True)
    with pytest.raises(UnsafePath):
        make(frame(), "folder/results.db::t").dc.invalidate()
    assert (tmp_path / "elsewhere" / "results.db").read_bytes() == before


# ---- trouble ------------------------------------------------------------------------------------


def test_what_is_no_database(root):
    """A file or folder of somebody else is an error that names the table, not a miss."""
    root.mkdir()
    (root / "results.db").write_text("not a database, but long enough to have a header" * 10)
    (root / "folder.db").mkdir()
    for place in ("results.db::t", "folder.db::t"):
        with pytest.raises(StorageError, match=place):
            make(frame(), place).compute()


def test_a_damaged_database_is_an_error(root):
    """Not a miss: other tables in it may be whole."""
    make(pd.DataFrame({"x": range(5000)})).compute()
    data = bytearray((root / "results.db").read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    (root / "results.db").write_bytes(data)
    assert dc.plan(make(frame())).counts["blocked"] == 1
    with pytest.raises(StorageError, match=r"results\.db::measured"):
        make(frame()).compute()


def test_a_locked_database(root, sql, monkeypatch):
    """After a while the error says so."""
    make(pd.DataFrame({"x": [1]})).compute()
    monkeypatch.setattr(databases, "_PATIENCE", 0.1)
    databases._file_engine.cache_clear()
    connection = sqlite3.connect(root / "results.db", isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(StorageError, match="locked"):
            make(pd.DataFrame({"x": [1]}), "results.db::other").compute()
    finally:
        connection.close()
        databases._file_engine.cache_clear()


def test_a_full_database(root, monkeypatch):
    """Nothing of the table stays, and the intent is gone."""
    make(pd.DataFrame({"x": [1]})).compute()
    original = tables._fill

    def fill(connection, *args):
        connection.exec_driver_sql("PRAGMA max_page_count = 4")
        original(connection, *args)

    monkeypatch.setattr(tables, "_fill", fill)
    with pytest.raises(StorageError, match="full"):
        make(pd.DataFrame({"x": range(10_000)}), "results.db::large").compute()
    assert make(frame(), "results.db::large").dc.state == "missing"
    assert os.listdir(root / ".daskcache" / "intents") == []
    assert tables._held == {}


def test_an_audit_holds_nothing(root):
    """What it computed to compare is forgotten, and no table is made of it."""
    node = make(frame())
    node.compute()
    held = dict(tables._held)
    assert dc.audit(node).ok
    assert tables._held == held == {}


def test_a_database_that_takes_nothing_back(monkeypatch, sql):
    """Where CREATE TABLE can't be rolled back, a table that can't be filled is dropped."""
    monkeypatch.setattr(databases, "_TAKING_BACK", frozenset())
    fill = tables._fill

    def commit_and_fill(connection, *args):
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("BEGIN")
        fill(connection, *args)
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("BEGIN")

    monkeypatch.setattr(tables, "_fill", commit_and_fill)
    drop = sqlalchemy.Table.drop

    def drop_and_commit(self, connection):
        drop(self, connection)
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("BEGIN")

    monkeypatch.setattr(sqlalchemy.Table, "drop", drop_and_commit)
    with pytest.raises(FormatLimit):
        make(pd.DataFrame({"x": [-0.0]})).compute()
    assert names(sql) == []


def test_what_a_killed_writer_left_is_not_read(root, recwarn):
    """Its intent, cut short, says the same of the table as the record does: rows are all its stamp."""

    def made(version):
        frame = pd.DataFrame({"x": [1]})
        return delayed(lambda: frame, target="results.db::t", version=version)()

    made(1).compute()
    (record,) = root.glob(".daskcache/records/*/*.json")
    name = RecordName.parse(record.name)
    intent = name._replace(microseconds=name.microseconds + 1).file_name()
    (root / ".daskcache/intents" / f"{intent}.{'0' * 16}").touch()
    assert made(2).dc.state == "stale"
    assert [str(warning.message) for warning in recwarn if "can't read" in str(warning.message)] == []


def test_a_function_can_not_write_its_table_itself():
    """It is told to return the frame."""

    @delayed(target="results.db::t")
    def made(target_path):
        pass

    with pytest.raises(StorageError, match="return the frame"):
        made().compute()


def test_a_function_that_wrote_its_table_itself(root):
    """With save=False and no `target_path`, the table is checked and recorded."""

    @delayed(target="results.db::own", save=False)
    def made(folder):
        connection = sqlite3.connect(f"{folder}/results.db")
        connection.execute("CREATE TABLE own (x INTEGER PRIMARY KEY, y TEXT)")
        connection.execute("INSERT INTO own VALUES (2, 'b'), (1, 'a')")
        connection.commit()
        connection.close()

    node = made(str(root))
    assert node.compute().to_dict("list") == {"x": [1, 2], "y": ["a", "b"]}
    assert node.dc.state == "complete"


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_while_committing(tmp_path, root, moment):
    """Old, new or nothing; and the next run is right, and finds nothing in its way."""
    environment = write_program(tmp_path)
    place, value = "results.db::numbers", 1
    sys.path.insert(0, str(tmp_path))
    try:
        from sql_program import numbers

        for value in (1, 2):  # a new table, and one that replaces it
            run_and_kill(environment, place, value, moment, root)
            found = tables.read(f"{root}/{place}")
            written = moment in ("before the record", "after the record")
            before = None if value == 1 else 1
            assert (found and found.columns[0][0]) == (value if written else before)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert numbers(place, value).compute().n.tolist() == [value] * 5
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("sql_program", None)


def _write_tables(root, process, count, barrier):
    dask.config.set({"daskcache.root": root, "scheduler": "sync"})
    target = SQLTarget("x.db::{name}")

    @delayed(target=target, version=1)
    def made(name, number):
        return pd.DataFrame({"x": range(number, number + 100)})

    barrier.wait()
    for number in range(count):
        made(f"t_{process}_{number}", number).compute()


def test_many_writers_of_one_file(root):
    """Four processes write twenty tables each, at the same time."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(4)
    processes = [
        context.Process(target=_write_tables, args=(str(root), process, 20, barrier))
        for process in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 4
    for process in range(4):
        for number in range(20):
            rows = tables.read(f"{root}/x.db::t_{process}_{number}")
            assert rows.columns == [list(range(number, number + 100))]


def test_two_writers_of_one_node(root):
    """One is the winner; the other returns the winner's table."""
    results = _race_in_processes(root, 4)
    assert results == [0] * 4
    rows = tables.read(f"{root}/x.db::t_same")
    assert rows.columns == [list(range(3))]


def _race_in_processes(root, count):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(count)
    processes = [context.Process(target=_write_one, args=(str(root), barrier)) for _ in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]


def _write_one(root, barrier):
    dask.config.set({"daskcache.root": root, "scheduler": "sync"})

    @delayed(target="x.db::t_same", version=1)
    def made():
        barrier.wait(60)
        return pd.DataFrame({"x": range(3)})

    assert made().compute().x.tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", ["recorded", "edited"])
def test_a_writer_that_wakes_up_late(root, sql, monkeypatch, kind):
    """What another one committed while it was stopped before its transaction stays: it returns that."""

    @delayed(target="results.db::measured", version=1, ignore=["value"], on_modified="recompute")
    def made(key, value):
        return pd.DataFrame({"x": [value]})

    made("before", 0).compute()
    if kind == "edited":
        sql("UPDATE measured SET x = 7")
    replace = TablePlace.replace

    def stopped(*args):
        monkeypatch.setattr(TablePlace, "replace", replace)
        assert made("raced", 1).compute().x.tolist() == [1]
        return replace(*args)

    monkeypatch.setattr(TablePlace, "replace", stopped)
    monkeypatch.setattr(committing, "PATIENCE", 0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DaskcacheWarning)  # two results; what was edited is kept
        assert made("raced", 2).compute().x.tolist() == [1]
    assert sql("SELECT x FROM measured") == [(1,)]
    assert len(names(sql)) == {"recorded": 1, "edited": 2}[kind]
    assert made("raced", 1).dc.state == "complete"


def test_readers_see_old_or_new(root):
    """While a table is replaced again and again, what is read is never mixed."""
    path = f"{root}/x.db::t"
    root.mkdir()
    target = SQLTarget("x.db::t")
    frames = [pd.DataFrame({"x": [n] * 50}) for n in range(2)]
    target.write(frames[0], path)
    seen, stop = set(), threading.Event()

    def look():
        while not stop.is_set():
            seen.add(tuple(set(target.read(path).x)))

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for turn in range(20):
            part = f"{root}/.daskcache/parts/0/x.db::t"
            target.write(frames[(turn + 1) % 2], part)
            assert files.replace(Root(str(root)), part, "x.db::t", files.stamp(path)) is None
    finally:
        stop.set()
        reader.join()
    assert seen <= {(0,), (1,)}


# ---- sources ------------------------------------------------------------------------------------


@pytest.fixture
def given_table(tmp_path):
    path = tmp_path / "input.db"
    connection = sqlite3.connect(path)
    connection.execute(
        "CREATE TABLE t (id INTEGER, size REAL, name TEXT, blob BLOB, price NUMERIC(8, 2))"
    )
    connection.execute("INSERT INTO t VALUES (2, 0.5, 'b', x'00ff', 1.25), (NULL, 1, NULL, NULL, 3)")
    connection.commit()
    yield connection, f"{path}::t"
    connection.close()


def test_a_source(given_table, runs):
    """A table is an input like a file: its content counts, and only that."""
    connection, place = given_table

    @delayed
    def total(table):
        runs.note("total")
        return table["size"].sum()

    assert total(SQLSource(place)).compute() == 1.5
    assert total(SQLSource(place)).compute() == 1.5
    connection.execute("CREATE TABLE other (x)")
    connection.commit()
    assert total(SQLSource(place)).dc.state == "complete"
    connection.execute("UPDATE t SET size = 2 WHERE id = 2")
    connection.commit()
    assert total(SQLSource(place)).compute() == 3.0
    assert runs.take() == ["total"] * 2
    assert SQLSource(place) == pickle.loads(pickle.dumps(SQLSource(place)))


def test_what_a_source_holds(given_table):
    """Integers with NULL stay integers; what is no number, text or time stays an object."""
    _, place = given_table
    found = SQLSource(place).get_data()
    assert found.dtypes.astype(str)[["id", "size"]].tolist() == ["Int64", "float64"]
    assert found.sort_values("size").blob.iloc[0] == b"\x00\xff"
    assert SQLSource(place, dtype={"id": "float64"}).get_data()["id"].dtype == "float64"
    assert SQLSource(place, dtype={"id": "float64"}).identity() != SQLSource(place).identity()


#: Two dtypes each, of which one has the other's text, or both have the same.
LOSSY = {
    "categories": (pd.CategoricalDtype(["b"]), pd.CategoricalDtype(["a", "b"])),
    "order": (pd.CategoricalDtype(["a", "b"]), pd.CategoricalDtype(["b", "a"])),
    "a name": ("category", pd.CategoricalDtype(["b"])),
    "strings": (pd.StringDtype("python", na_value=np.nan), pd.StringDtype("python", na_value=pd.NA)),
}


@pytest.mark.parametrize("case", LOSSY)
def test_dtypes_of_one_text_are_told_apart(case, given_table):
    """A node reruns when the categories in its source's dtype change."""
    _, place = given_table

    @delayed(target="categories.json")
    def categories(table):
        return list(getattr(table["name"].dtype, "categories", []))

    one, two = (SQLSource(place, dtype={"name": dtype}) for dtype in LOSSY[case])
    assert one.identity() != two.identity()
    categories(one).compute()
    assert categories(two).dc.state == "stale"
    assert pickle.loads(pickle.dumps(two)).identity() == two.identity()


def test_plain_dtypes_have_the_identity_of_earlier_versions(given_table):
    """It depends on their text alone, so nothing that has them runs again."""
    _, place = given_table
    identity = SQLSource(place, dtype={"id": "float64", "name": "category"}).identity()
    assert identity.endswith(":d75e7d8da1a6703066fb5382c033a63c:ef12dc20f4562e5b65c43e1d21b377fd")
    same = SQLSource(place, dtype={"name": "category", "id": np.dtype("f8")})
    assert same.identity() == identity
    assert SQLSource(place, dtype={"id": pd.Int64Dtype()}).identity() == (
        SQLSource(place, dtype={"id": "Int64"}).identity()
    )


def test_a_source_that_changes_while_the_graph_runs(given_table):
    """The node that reads it says so."""
    connection, place = given_table
    source = SQLSource(place)
    known = source.content_hash()
    assert len(source.load_verified(known)) == 2
    connection.execute("DELETE FROM t WHERE id = 2")
    connection.commit()
    with pytest.raises(SourceChanged):
        source.load_verified(known)


def test_a_source_that_is_missing(tmp_path):
    """Neither the database nor the table is made."""
    with pytest.raises(SourceMissing):
        SQLSource(tmp_path / "none.db::t").get_data()
    assert not (tmp_path / "none.db").exists()


def test_why_a_source_changed(given_table, root):
    """`dask cache why` looks at the table again."""
    connection, place = given_table

    @delayed(target="n.json")
    def count(table):
        return len(table)

    count(SQLSource(place)).compute()
    from daskcache.housekeeping.listing import find, story

    found = Root(str(root))
    assert "content changed" not in "\n".join(story(found, find(found, "n.json")))
    connection.execute("DELETE FROM t")
    connection.commit()
    assert "content changed" in "\n".join(story(found, find(found, "n.json")))


# ---- databases by name --------------------------------------------------------------------------


def test_urls_are_named_without_their_secrets():
    """The name depends on backend, host and database, not on the password or driver."""
    one, other = (SQLTarget(f"postgresql+psycopg://me:{word}@host/db::t") for word in ("hush", "other"))
    assert one.path == other.path
    assert one.path.startswith("postgresql-host-db-")
    assert SQLTarget("postgresql+psycopg://me:hush@host/db2::t").path != one.path
    assert "hush" not in repr(one)
    again = pickle.loads(pickle.dumps(one))
    assert again == one


@pytest.mark.parametrize(
    "url",
    [
        "nonsense://me:hush@host/db",
        "postgresql+nonsense://me:hush@host/db",
        "postgresql+psycopg://me:hush@host:port/db",
        "postgresql+psycopg://me:hush@/db?host=/nowhere&password=hush",
    ],
)
def test_errors_hide_secrets(url):
    """Whatever is wrong with a URL, the errors don't show the password."""

    def tried(**options):
        with pytest.raises(Exception) as caught:  # noqa: PT011 (of whichever kind, it must not tell)
            delayed(frame, **options)().compute()
        error = caught.value
        return "".join(traceback.format_exception(error)) + repr(error) + str(error)

    for options in (
        {"target": f"{url}::t"},
        {"target": url, "store": SQLTarget},
        {"target": f"{url}::t", "store": dc.CSVTarget},
        {"target": (f"{url}::t", f"{url}::1")},
        {"target": f"{url}::no name"},
    ):
        told = tried(**options)
        assert "hush" not in told, told


def test_databases_of_the_configuration(tmp_path):
    """A name stands for a URL; one that is not there is an error that says where it belongs."""
    with pytest.raises(StorageError, match=r"daskcache\.databases"):
        make(frame(), "lab::t").compute()
    with dask.config.set({"daskcache.databases": {"lab": f"sqlite:///{tmp_path}/lab.db"}}):
        pd.testing.assert_frame_equal(make(frame(), "lab::t").compute(), frame())
        assert make(frame(), "lab::t").dc.state == "complete"
    assert (tmp_path / "lab.db").exists()


def test_a_database_in_memory_is_refused():
    """It is gone with its process."""
    with pytest.raises(GraphError, match="in memory"):
        SQLTarget("sqlite://::t")
