"""Whose pickles are read, and records that are sealed."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import dask
import pytest

import daskcache as dc
from daskcache.errors import DaskcacheWarning, ForeignTarget, FormatLimit, StorageError, UntrustedPickle
from daskcache.storage import trust
from daskcache.storage.files import file_hash, stamp
from daskcache.storage.record import RecordName, record_content
from daskcache.storage.records import RecordStore
from daskcache.storage.roots import Root


@dc.delayed(target="{n}.pkl", version=1)
def pickled(n):
    return {n}


class Canary:
    """Sings when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path(self.path).write_text, ("sang",))


@pytest.fixture
def canary(tmp_path):
    return tmp_path / "sang"


def forge(root, canary):
    """Replace a target and its record, so that both agree, as somebody would who can write there."""
    (path,) = Path(root).glob("*.pkl")
    path.write_bytes(pickle.dumps(Canary(str(canary))))
    (record,) = Path(root, ".daskcache/records").glob("*/*.json")
    fields = record.name.split(".")
    fields[4:7] = [file_hash(str(path)), *map(str, stamp(str(path)))]
    record.rename(record.with_name(".".join(fields)))


def test_a_forged_pickle_with_its_record_is_why_records_are_sealed(root, canary):
    """Without seals, who can write to the root can make pickles run (the control of the next test)."""
    pickled(1).compute()
    forge(root, canary)
    pickled(1).compute()
    assert canary.exists()


@pytest.fixture
def key(tmp_path):
    """Records are sealed with a key."""
    path = tmp_path / "key"
    path.write_text("0123456789abcdef0123")
    path.chmod(0o600)
    with dask.config.set({"daskcache.key-file": str(path)}):
        yield path


def test_a_forged_record_is_none_where_records_are_sealed(root, canary, key):
    """What isn't sealed with the key is no record; its target is foreign, and nothing of it runs."""
    pickled(1).compute()
    assert pickled(1).dc.state == "complete"
    forge(root, canary)
    assert pickled(1).dc.state == "foreign"
    with pytest.raises(ForeignTarget):
        pickled(1).compute()
    assert not canary.exists()


def test_sealed_records_work_like_others(root, key, runs):
    """Results are found again, replaced, adopted and explained; names stay within what disks allow."""

    @dc.delayed(target="x.json", on_modified="adopt")
    def x(n):
        runs.note("x")
        return n

    @dc.delayed(target="y.json")
    def y(x):
        runs.note("y")
        return x + 1

    assert [y(x(1)).compute(), y(x(1)).compute(), y(x(2)).compute()] == [2, 2, 3]
    assert runs.take() == ["x", "x", "y", "y"]
    assert y(x(2)).dc.record["seconds"] >= 0
    assert "n: 2 -> 3" in dc.why(x(3))
    (root / "x.json").write_text("7")
    assert y(x(2)).compute() == 8
    os.utime(root / "x.json")
    assert y(x(2)).compute() == 8
    assert runs.take() == ["y"]
    names = [p.name for p in (root / ".daskcache/records").glob("*/*")]
    assert max(map(len, names)) + len(".0123456789abcdef") < 255


def test_a_changed_content_is_not_believed(root, key):
    """A record whose name is right but whose content was rewritten can't be read, and that is said."""
    pickled(1).compute()
    (record,) = (root / ".daskcache/records").glob("*/*.json")
    record.write_text(record.read_text().replace("pickled", "another"))
    with pytest.warns(DaskcacheWarning, match="not sealed with the key"):
        assert pickled(1).dc.record is None


def test_the_seal_depends_on_the_key(root, key, tmp_path):
    """Records of another key count for nothing."""
    pickled(1).compute()
    other = tmp_path / "other"
    other.write_text("another key, long enough")
    other.chmod(0o600)
    with dask.config.set({"daskcache.key-file": str(other)}):
        assert pickled(1).dc.state == "foreign"


def test_a_root_is_sealed_for_good(root, key):
    """Whoever has no key can't use a sealed root, nor with a key one that was made without."""
    pickled(1).compute()
    with dask.config.set({"daskcache.key-file": None}):
        for action in (pickled(2).compute, Root(str(root)).create):
            with pytest.raises(StorageError, match="no key is configured"):
                action()
        shutil.rmtree(root)
        pickled(1).compute()
    with pytest.raises(StorageError, match="was made without"):
        pickled(2).compute()


_WORKER = """
import sys, dask, daskcache as dc
from distributed import Client, LocalCluster

@dc.delayed(target="{n}.json")
def f(n):
    return n

def without_key():
    dask.config.set({"daskcache.key-file": None})

if __name__ == "__main__":
    dask.config.set({"daskcache.root": sys.argv[1], "daskcache.key-file": sys.argv[2]})
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster:
        with Client(cluster) as client:
            client.run(dask.config.set, {"daskcache.key-file": sys.argv[2]})
            print(client.compute(f(1)).result(), dc.status(f(1)))
            client.restart()
            client.run(without_key)
            try:
                client.compute(f(2)).result(timeout=30)
            except dc.errors.StorageError as error:
                print("no key is configured" in str(error))
"""


def test_a_worker_without_the_key_stores_nothing(root, key, tmp_path):
    """Workers need the key too; one without it raises instead of storing what nobody would find."""
    program = tmp_path / "program.py"
    program.write_text(_WORKER)
    done = subprocess.run(
        [sys.executable, program, root, key], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split("\n")[:2] == ["1 complete", "True"], done.stderr
    assert not (root / "2.json").exists()


@pytest.mark.parametrize("content", [None, b"", b"too short"])
def test_a_key_file_without_a_key(tmp_path, content):
    """A missing file, or one with too little in it, is an error that says how to make one."""
    path = tmp_path / "no-key"
    if content is not None:
        path.write_bytes(content)
    with (
        dask.config.set({"daskcache.key-file": str(path)}),
        pytest.raises(StorageError, match="/dev/urandom"),
    ):
        trust.seal_key()


def test_a_key_that_others_can_read_is_warned_about(tmp_path):
    """A key file that is open to others is used, with the command that closes it."""
    path = tmp_path / "open"
    path.write_text("0123456789abcdef")
    path.chmod(0o644)
    with (
        dask.config.set({"daskcache.key-file": str(path)}),
        pytest.warns(DaskcacheWarning, match="chmod"),
    ):
        assert trust.seal_key() == b"0123456789abcdef"


def test_refused_pickles_are_neither_read_nor_written(root, canary):
    """With daskcache.pickle: refuse, no pickle is interpreted, even one's own; none is stored."""
    pickled(1).compute()
    forge(root, canary)
    with dask.config.set({"daskcache.pickle": "refuse"}):
        for read in (pickled(1).compute, pickled(1).dc.load, pickled(1).dc.open):
            with pytest.raises(UntrustedPickle, match="pickles are refused"):
                read()
        with pytest.raises(FormatLimit, match="pickles are refused"):
            pickled(2).compute()
    assert not canary.exists()
    assert not (root / "2.pkl").exists()


def test_a_root_of_somebody_else_is_not_trusted(root, canary, monkeypatch):
    """In a root that belongs to somebody else, even one's own pickles are not read."""
    pickled(1).compute()
    forge(root, canary)
    os.chown(root, 12345, -1)
    with pytest.raises(UntrustedPickle, match="a root with pickles that belongs to another user"):
        pickled(1).compute()
    assert not canary.exists()
    with dask.config.set({"daskcache.trusted-owners": [12345]}):
        pickled(1).compute()
    assert canary.exists()


def test_a_root_whose_disk_is_gone_is_not_written_to(root):
    """When the root vanishes during a run, a result is an error, not a file in a bare folder."""

    @dc.delayed(target="x.json")
    def x():
        shutil.rmtree(root)
        return 1

    with pytest.raises(StorageError, match="the root is gone"):
        x().compute()
    assert not root.exists()


def test_a_check_notices_that_the_key_changed(root, key):
    """Also of a root that this process has just checked."""
    pickled(1).compute()
    checked = Root(str(root))
    checked.check()
    with (
        dask.config.set({"daskcache.key-file": None}),
        pytest.raises(StorageError, match="no key is configured"),
    ):
        checked.check()
    checked.check()


def test_record_names_have_seals_only_with_a_key(root, key):
    """The seal is one more field of the name, over the others."""
    pickled(1).compute()
    (name,) = RecordStore(Root(str(root))).all()
    sealed = name.file_name()
    assert RecordName.parse(sealed, trust.seal_key()) == name
    assert RecordName.parse(sealed) is None
    assert RecordName.parse(sealed.replace(name.key, "0" * 32), trust.seal_key()) is None
    assert b'"seal"' in record_content(name, function="f")
    with dask.config.set({"daskcache.key-file": None}):
        assert RecordName.parse(name.file_name()) == name
        assert b'"seal"' not in record_content(name, function="f")
