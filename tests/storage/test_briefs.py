"""What listings keep of records, so that they read each once."""

import os
import pathlib
import time

import dask
import pytest
from click.testing import CliRunner

import daskcache as dc
from daskcache.housekeeping.cli.main import cache as cache_command
from daskcache.housekeeping.outlines import outlined
from daskcache.storage.record import Record
from daskcache.storage.records import RecordStore
from daskcache.storage.roots import Root


@pytest.fixture(autouse=True)
def cache(tmp_path):
    with dask.config.set({"daskcache.cache-folder": str(tmp_path / "cache")}):
        yield tmp_path / "cache"


@pytest.fixture
def reads(monkeypatch):
    """The names of records that were read."""
    found, read = [], Record.read

    def noted(path, name):
        found.append(name)
        return read(path, name)

    monkeypatch.setattr(Record, "read", noted)
    return found


def make(*numbers):
    node = dc.delayed(lambda i: i, target="{i}.json", version=1)
    dc.compute(*map(node, numbers))


def told(root):
    return [(item.path, item.state, item.brief.function, item.brief.created) for item in outlined(root)]


def test_each_record_is_read_once(root, reads):
    make(1, 2)
    reads.clear()
    first = told(Root(str(root)))
    assert [path for path, *_ in first] == ["1.json", "2.json"]
    assert len(reads) == 2
    make(3)
    reads.clear()
    assert told(Root(str(root)))[:2] == first
    assert [name.target_id for name in reads] == [name.target_id for name in new_names(root, "3.json")]


def new_names(root, path):
    store = RecordStore(Root(str(root)))
    return [name for name in store.all() if store.read(name).target == path]


def test_removed_records_are_forgotten(root, cache, reads):
    """A result that is gone is not listed, and its brief goes with the next change of its folder."""
    make(*range(300))
    told(Root(str(root)))
    store = RecordStore(Root(str(root)))
    (gone,) = new_names(root, "7.json")
    store.remove(gone)
    assert "7.json" not in [path for path, *_ in told(Root(str(root)))]
    make(*range(300, 900))
    told(Root(str(root)))
    assert gone.file_name() not in "".join(p.read_text() for p in cache.rglob(gone.shard))


@pytest.mark.parametrize("content", ["", "[1]", "[1, 2, 3]", "[0, [], [], []]", "{}", "\xff"])
def test_damaged_briefs_are_read_anew(content, root, cache, reads):
    make(1)
    right = told(Root(str(root)))
    (path,) = (p for p in cache.rglob("*") if p.is_file() and p.parent.parent.name == "records")
    path.write_text(content, encoding="latin-1")
    reads.clear()
    assert told(Root(str(root))) == right
    assert len(reads) == 1
    assert told(Root(str(root))) == right
    assert len(reads) == 1


def test_a_folder_that_can_not_be_written(root, cache, reads):
    make(1)
    cache.write_text("not a folder")
    assert told(Root(str(root))) == told(Root(str(root)))


def test_a_record_that_can_not_be_read_is_named_each_time(root):
    make(1, 2)
    (name,) = new_names(root, "1.json")
    pathlib.Path(RecordStore(Root(str(root))).path_of(name)).write_text("{")
    for _ in range(2):
        with pytest.warns(dc.errors.DaskcacheWarning, match="can't read the record"):
            assert [path for path, *_ in told(Root(str(root)))] == ["2.json"]


def test_a_record_that_was_damaged_since_is_an_error_for_its_target(root):
    """A listing that knew it before does not hide that."""
    make(1, 2)
    (name,) = new_names(root, "1.json")
    runner, place = CliRunner(), ["--root", str(root)]
    assert "1.json" in runner.invoke(cache_command, ["ls", *place]).output
    pathlib.Path(RecordStore(Root(str(root))).path_of(name)).write_text("{")
    with pytest.warns(dc.errors.DaskcacheWarning, match="can't read the record"):
        done = runner.invoke(cache_command, ["why", "1.json", *place])
    assert done.exit_code == 1
    assert "can't be read" in done.output
    assert "verify" in done.output


def test_older_records_of_adopted_results(root):
    """They say so in their content only."""
    make(1)
    (root / "1.json").write_text("5")
    dc.adopt(dc.delayed(lambda i: i, target="{i}.json", version=1)(1))
    (name,) = (name for name in new_names(root, "1.json") if name.adopted)
    store = RecordStore(Root(str(root)))
    path = pathlib.Path(store.path_of(name))
    path.rename(path.with_name(name._replace(adopted=False).file_name()))
    for _ in range(2):
        (item,) = outlined(Root(str(root)))
        assert (item.state, item.is_adopted) == ("adopted", True)


def test_another_key_reads_anew(root, tmp_path, reads):
    """What counts as a record depends on the key that seals them."""
    keys = [tmp_path / "a.key", tmp_path / "b.key"]
    for number, key in enumerate(keys):
        key.write_text(f"a key of sixteen or more bytes: {number}")
        key.chmod(0o600)
    with dask.config.set({"daskcache.key-file": str(keys[0])}):
        make(1)
        assert len(told(Root(str(root)))) == 1
    with dask.config.set({"daskcache.key-file": str(keys[1])}):
        assert told(Root(str(root))) == []


def test_those_of_old_roots_are_deleted(root, cache):
    make(1)
    told(Root(str(root)))
    old = cache / "records" / "old"
    old.mkdir()
    (old / "00").write_text("")
    os.utime(old, (0, time.time() - 100 * 24 * 3600))
    make(2)
    told(Root(str(root)))
    assert not old.exists()
