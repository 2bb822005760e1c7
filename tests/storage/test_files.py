"""Files on disk: the root, and the pieces of the commit protocol."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path

import pytest

import daskcache as dc
from daskcache.errors import StorageError, UnsafePath
from daskcache.storage import files as storage
from daskcache.storage import trash
from daskcache.storage.atomic import entered
from daskcache.storage.files import Part, Stamp
from daskcache.storage.place import FilePlace
from daskcache.storage.roots import FORMAT, Root


@pytest.fixture
def place(tmp_path):
    """A root that exists."""
    root = Root(str(tmp_path / "root"))
    root.create()
    return root


def part(place, name, content=b"new"):
    return storage.write_part(storage.part_path(place, name), [content])


def leftovers(folder):
    return [p.name for p in Path(folder).rglob("*.part*")] + [
        p.name for parts in Path(folder).rglob(".daskcache/parts") for p in parts.iterdir()
    ]


def trashed(root):
    """The files in the trash."""
    return [Path(thing.kept) for thing in trash.listed(Root(str(root)))]


# ---- the root ------------------------------------------------------------------------------------


def test_a_root_that_was_not_created_has_no_id(tmp_path):
    """Looking at a root creates nothing."""
    root = Root(str(tmp_path / "nowhere"))
    assert root.id() is None
    assert not (tmp_path / "nowhere").exists()


def test_create_is_idempotent(tmp_path):
    """A root gets its folders and a random id, once."""
    root = Root(str(tmp_path / "deep" / "root"))
    first = root.create()
    assert root.create() == first == root.id()
    assert Root(str(tmp_path / "other")).create() != first
    content = json.loads((tmp_path / "deep/root/.daskcache/root.json").read_text())
    assert content == {"daskcache": FORMAT, "id": first}
    assert leftovers(tmp_path) == []


def test_create_by_many_threads_at_once_gives_one_id(tmp_path):
    """Whoever creates a root at the same time gets the same id."""
    barrier = threading.Barrier(8)
    found = []

    def create():
        barrier.wait()
        found.append(Root(str(tmp_path / "root")).create())

    threads = [threading.Thread(target=create) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(found) == 8
    assert len(set(found)) == 1
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("blocked", ["root", "root/.daskcache", "root/.daskcache/records"])
def test_a_file_where_a_folder_should_be(tmp_path, blocked):
    """A file in the way of the root's folders is a StorageError that names the root."""
    path = tmp_path / blocked
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    with pytest.raises(StorageError, match=r"daskcache\.root") as caught:
        Root(str(tmp_path / "root")).create()
    assert caught.value.target is not None
    assert path.read_text() == "mine"


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '"x"', '{"daskcache": "x", "id": 1}'])
def test_an_unreadable_id_file(place, content):
    """A damaged id file is a StorageError that names the file."""
    path = Path(place.metadata, "root.json")
    path.write_text(content)
    with pytest.raises(StorageError) as caught:
        place.id()
    assert str(path) in str(caught.value)


def test_a_root_of_a_newer_version(place):
    """A root written by a newer daskcache is refused with the upgrade to make; nothing is changed."""
    path = Path(place.metadata, "root.json")
    newer = json.dumps({"daskcache": FORMAT + 1, "id": "x"})
    path.write_text(newer)
    with pytest.raises(StorageError, match="pip install --upgrade"):
        place.create()
    assert path.read_text() == newer


_UNPRIVILEGED = """
import os, sys, sysconfig
import dask
import daskcache as dc

base = sys.argv[1]
root = base + "/root"
runs = base + "/runs"

@dc.delayed(target="{{n}}.json", version=1)
def number(n):
    open(runs, "a").write("ran")
    return n

dask.config.set({{"daskcache.root": base + "/warm", "scheduler": "sync"}})
number(0).compute()
dask.compute(number(0), number(1))  # all modules are loaded while all folders can be read
sysconfig.get_paths()  # also those that errors need
os.remove(runs)
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
dask.config.set({{"daskcache.root": root}})
os.mkdir(root)
{prepare}
if os.path.exists(runs):
    os.remove(runs)
try:
    {action}
except dc.errors.StorageError as error:
    print(type(error).__name__, error.target, error.got, sep="|")
else:
    print("no error")
print("ran" if os.path.exists(runs) else "")
"""


@pytest.fixture
def as_plain_user():
    """Run code in a process without an administrator's rights; its output, and what ran."""
    base = Path(tempfile.mkdtemp())  # pytest keeps its own folders to the administrator
    base.chmod(0o777)

    def run(prepare, action):
        code = _UNPRIVILEGED.format(prepare=prepare, action=action)
        done = subprocess.run(
            [sys.executable, "-c", code, str(base)], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split("\n")[:2]

    yield run
    for folder, _, _ in os.walk(base):
        os.chmod(folder, 0o700)
    shutil.rmtree(base)


def test_a_read_only_root_is_refused_before_computing(as_plain_user):
    """A root that can't be written to raises StorageError before any function runs."""
    out, ran = as_plain_user("os.chmod(root, 0o500)", "number(1).compute()")
    name, target, got = out.split("|")
    assert (name, got) == ("StorageError", "EACCES")
    assert target.endswith("root/1.json")
    assert ran == ""


@pytest.mark.parametrize("folder", ["intents", "records"])
def test_read_only_metadata_is_refused_before_computing(as_plain_user, folder):
    """Metadata that can't be written to raises StorageError before any function runs."""
    prepare = f"number(1).compute(); os.chmod(root + '/.daskcache/{folder}', 0o500)"
    out, ran = as_plain_user(prepare, "number(2).compute()")
    assert out.startswith("StorageError|")
    assert ran == ""


def test_an_unreadable_root_is_an_error_not_a_miss(as_plain_user):
    """A target that can't be looked at raises StorageError; it doesn't count as missing."""
    prepare = "number(1).compute(); os.chmod(root, 0o000)"
    out, ran = as_plain_user(prepare, "number(1).compute()")
    assert out.startswith("StorageError|")
    assert out.endswith("|EACCES")
    assert ran == ""


def test_unreadable_records_are_an_error_not_a_miss(as_plain_user):
    """Records that can't be listed raise StorageError; their targets don't count as foreign."""
    prepare = "number(1).compute(); os.chmod(root + '/.daskcache/records', 0o000)"
    out, ran = as_plain_user(prepare, "number(1).compute()")
    assert out.startswith("StorageError|")
    assert ran == ""


def test_an_unreadable_target_is_an_error_not_a_miss(as_plain_user):
    """A finished target that can't be opened raises StorageError naming it."""
    prepare = "number(1).compute(); os.chmod(root + '/1.json', 0o000)"
    out, ran = as_plain_user(prepare, "number(1).compute()")
    assert out.startswith("StorageError|")
    assert "1.json" in out
    assert ran == ""


def test_a_target_folder_that_is_read_only(as_plain_user):
    """A read-only folder between root and target raises StorageError naming the target."""
    prepare = "os.mkdir(root + '/sub'); os.chmod(root + '/sub', 0o500)"
    out, _ = as_plain_user(prepare, "dc.delayed(lambda: 1, target='sub/x.json')().compute()")
    assert out.startswith("StorageError|")
    assert "sub/x.json" in out


# ---- looking -------------------------------------------------------------------------------------


def test_the_stamp_of_a_file(tmp_path):
    """A stamp has size and mtime; nothing there is None, and so is a path below a file."""
    path = tmp_path / "x"
    assert storage.stamp(str(path)) is None
    path.write_bytes(b"123")
    os.utime(path, ns=(5, 7))
    assert storage.stamp(str(path)) == Stamp(3, 7)
    assert storage.stamp(f"{path}/below") is None


def test_the_stamp_of_a_folder(tmp_path):
    """A folder's stamp has the size of all its files and the mtime of the newest."""
    (tmp_path / "d" / "e").mkdir(parents=True)
    for name, size, time in (("d/a", 3, 10), ("d/e/b", 4, 30), ("d/c", 5, 20)):
        (tmp_path / name).write_bytes(b"x" * size)
        os.utime(tmp_path / name, ns=(time, time))
    assert storage.stamp(str(tmp_path / "d")) == Stamp(12, 30)
    (tmp_path / "empty").mkdir()
    assert storage.stamp(str(tmp_path / "empty")) == Stamp(0, 0)


def _folder(path, files):
    path.mkdir()
    for name, content in files.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_bytes(content)
    return storage.file_hash(str(path))


def test_the_hash_of_a_folder_is_that_of_its_manifest(tmp_path):
    """Names, places and contents of all files count; order, times and the folder's name don't."""
    base = {"a": b"1", "b/c": b"22", "b/d": b""}
    variants = [
        base,
        {"a": b"1", "b/c": b"22"},
        {**base, "e": b""},
        {**base, "a": b"2"},
        {"a": b"22", "b/c": b"1", "b/d": b""},
        {"a": b"1", "c": b"22", "b/d": b""},
        {"a": b"12", "b/c": b"2", "b/d": b""},
        {},
    ]
    hashes = [_folder(tmp_path / f"v{i}", files) for i, files in enumerate(variants)]
    assert len(set(hashes)) == len(variants)
    assert _folder(tmp_path / "again", dict(reversed(base.items()))) == hashes[0]


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path):
    """Files of any length are hashed whole."""
    path = tmp_path / "x"
    for size in (0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20):
        data = os.urandom(size)
        path.write_bytes(data)
        assert storage.file_hash(str(path)) == dc.hashing.digest(data)


# ---- parts ---------------------------------------------------------------------------------------


def test_write_part_hashes_on_the_way(place):
    """A part knows its hash, size and mtime without being read again."""
    path = storage.part_path(place, "x.bin")
    written = storage.write_part(path, [b"ab", bytearray(b"c"), memoryview(b"def")])
    assert Path(path).read_bytes() == b"abcdef"
    assert written == Part(path, storage.file_hash(path), storage.stamp(path))
    assert storage.part_of(path) == written


def test_files_that_were_hashed_as_they_were_written_are_not_read_again(tmp_path, monkeypatch):
    """A folder's part is the same whether its files were written here or not; what changed is read."""
    path = str(tmp_path / "x.d")
    names = {"meta": b"top", "c/0": b"zero", "c/1": b"one"}
    written = {name: storage.write_part(f"{path}/{name}", [data]) for name, data in names.items()}
    (tmp_path / "x.d/more").write_bytes(b"by hand")
    (tmp_path / "x.d/c/1").write_bytes(b"two!")
    expected = storage.part_of(path)
    read = []
    hash_file = FilePlace.file_hash
    monkeypatch.setattr(
        FilePlace, "file_hash", lambda self, path: read.append(path) or hash_file(self, path)
    )
    assert storage.part_of(path, written) == expected
    assert expected.manifest == storage.manifest_of(path)
    assert expected.stamp == storage.stamp(path)
    assert read[:2] == [f"{path}/c/1", f"{path}/more"]


def test_parts_are_unique_and_out_of_sight(place):
    """Parts lie in the root's metadata, each under a path of its own."""
    paths = {storage.part_path(place, "x.bin") for _ in range(50)}
    folders = {storage.part_folder(place) for _ in range(50)}
    assert len(paths) == len(folders) == 50
    assert {os.path.dirname(p) for p in paths | folders} == {place.parts}
    assert all(os.path.isdir(folder) and not os.listdir(folder) for folder in folders)


def test_a_part_that_was_never_written(place):
    """Nothing at a part's path is a StorageError that says so."""
    with pytest.raises(StorageError, match="nothing was written"):
        storage.part_of(place.absolute("gone"))


def test_a_failed_write_leaves_no_part(place):
    """If writing fails half-way, the part is removed and the error is a StorageError."""

    def pieces():
        yield b"first"
        raise OSError(28, "No space left on device")

    path = storage.part_path(place, "x.bin")
    with pytest.raises(StorageError, match="No space left") as caught:
        storage.write_part(path, pieces())
    assert caught.value.got == "ENOSPC"
    assert not os.path.exists(path)


def test_a_value_that_can_not_be_written_whole_leaves_the_old(tmp_path):
    """With a limit on file sizes, a bigger result raises StorageError; the old target is intact."""
    code = """
import resource, signal, sys
import dask, numpy as np
import daskcache as dc
dask.config.set({"daskcache.root": sys.argv[1], "scheduler": "sync"})

@dc.delayed(target="x.npy")
def zeros(n):
    return np.zeros(n)

zeros(10).compute()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    zeros(10_000).compute()
except dc.errors.StorageError as error:
    print(error.got, "x.npy" in str(error))
print(zeros(10).compute().shape, zeros(10).dc.state)
"""
    root = tmp_path / "small"
    done = subprocess.run(
        [sys.executable, "-c", code, str(root)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split("\n")[:2] == ["EFBIG True", "(10,) complete"], done.stderr
    assert leftovers(root) == []


# ---- putting in place ----------------------------------------------------------------------------


def test_put_new(place):
    """A part is put where nothing is, and is gone from where it was."""
    destination = place.absolute("sub/x.bin")
    new = part(place, "x.bin")
    storage.put_new(place, new.path, "sub/x.bin")
    assert Path(destination).read_bytes() == b"new"
    assert not os.path.exists(new.path)
    assert storage.stamp(destination) == new.stamp


def _make_file(path):
    path.write_bytes(b"old")


def _make_dangling_link(path):
    path.symlink_to("nowhere")


@pytest.mark.parametrize("make", [_make_file, Path.mkdir, _make_dangling_link])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_put_new_replaces_nothing(place, make, kind):
    """Whatever is at the destination stays: a file, an empty folder, a dangling link."""
    destination = Path(place.absolute("x"))
    make(destination)
    before = os.lstat(destination)
    new = Path(storage.part_path(place, "x"))
    if kind == "file":
        new.write_bytes(b"new")
    else:
        new.mkdir()
        (new / "a").write_bytes(b"new")
    with pytest.raises(FileExistsError):
        storage.put_new(place, str(new), "x")
    after = os.lstat(destination)
    assert (after.st_ino, after.st_mode, after.st_size) == (
        before.st_ino,
        before.st_mode,
        before.st_size,
    )
    assert new.exists()


def test_put_new_puts_folders(place):
    """A folder is put in place whole."""
    new = Path(storage.part_path(place, "d"))
    new.mkdir()
    (new / "a").write_bytes(b"1")
    storage.put_new(place, str(new), "d")
    assert Path(place.absolute("d/a")).read_bytes() == b"1"


def test_only_one_of_many_writers_puts_a_new_target(place):
    """Of several writers of one new target, one wins; its file is whole."""
    destination = place.absolute("x")
    barrier = threading.Barrier(6)
    winners = []

    def write(i):
        mine = part(place, "x", b"%d" % i * 1000)
        barrier.wait()
        try:
            storage.put_new(place, mine.path, "x")
            winners.append(i)
        except FileExistsError:
            storage.discard(mine.path)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    (winner,) = winners
    assert Path(destination).read_bytes() == b"%d" % winner * 1000
    assert leftovers(place.path) == []


def test_replace_exchanges_a_file_that_is_as_recorded(place):
    """A replaced file that is what its record says is thrown away."""
    destination = place.absolute("x")
    Path(destination).write_bytes(b"old")
    new = part(place, "x")
    assert storage.replace(place, new.path, "x", storage.stamp(destination)) is None
    assert Path(destination).read_bytes() == b"new"
    assert os.listdir(place.trash) == []
    assert leftovers(place.path) == []


@pytest.mark.parametrize("recorded", [None, Stamp(3, 1), Stamp(4, 0)])
def test_replace_keeps_an_edited_file(place, recorded):
    """A replaced file that is not what its record says is handed out, under a name that says so."""
    destination = place.absolute("x.csv")
    Path(destination).write_bytes(b"edited")
    new = part(place, "x.csv")
    displaced = storage.replace(place, new.path, "x.csv", recorded)
    assert Path(destination).read_bytes() == b"new"
    assert Path(displaced).read_bytes() == b"edited"
    assert displaced == new.path + storage.DISPLACED


def test_replace_exchanges_folders_and_files(place):
    """A folder can take the place of a file, and the other way round; what was there is kept."""
    destination = place.absolute("x")
    Path(destination).write_bytes(b"old")
    new = Path(storage.part_path(place, "x"))
    new.mkdir()
    (new / "a").write_bytes(b"1")
    displaced = storage.replace(place, str(new), "x", None)
    assert Path(displaced).read_bytes() == b"old"
    displaced = storage.replace(place, part(place, "x").path, "x", None)
    assert Path(displaced, "a").read_bytes() == b"1"
    assert Path(destination).read_bytes() == b"new"


@pytest.mark.parametrize("way", ["link/x", "a/link/x", "a/link/b/x"])
def test_links_below_the_root_are_not_followed(place, tmp_path, way):
    """A link on the way to a target is UnsafePath, for new targets and replaced ones."""
    outside = tmp_path / "outside"
    (outside / "b").mkdir(parents=True)
    link = Path(place.absolute(way.partition("link")[0] + "link"))
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside)
    with pytest.raises(UnsafePath, match="symbolic link"):
        storage.put_new(place, part(place, "x").path, way)
    with pytest.raises(UnsafePath, match="symbolic link"):
        storage.replace(place, part(place, "x").path, way, None)
    assert [p.name for p in outside.rglob("*")] == ["b"]


@pytest.mark.parametrize("way", ["../x", "a/../../x", "/etc/x", "a//x", "./x", "a/./x", "a\0b/x"])
def test_paths_that_lead_away_are_not_entered(place, way):
    """The one way into folders refuses what is no name in a folder, whoever wrote the path."""
    (Path(place.path).parent / "x").write_text("precious")
    for act in (
        lambda: storage.put_new(place, part(place, "x").path, way),
        lambda: storage.replace(place, part(place, "x").path, way, None),
        lambda: trash.keep(place, place.absolute("../x"), "x", "removed"),
    ):
        with pytest.raises(UnsafePath, match="out of its folder"):
            act()
    assert sorted(os.listdir(Path(place.path).parent)) == ["root", "x"]
    assert os.listdir(place.path) == [".daskcache"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b"])
def test_names_that_are_none(place, name):
    """Nor is anything put, exchanged or taken under such a name in a folder that was entered."""
    new = part(place, "x").path
    with entered(place.path, "") as folder:
        for act in (folder.put_new, folder.exchange, folder.replace):
            with pytest.raises(UnsafePath):
                act(new, name)
        with pytest.raises(UnsafePath):
            folder.take(name, f"{place.path}/taken")
    assert os.listdir(place.path) == [".daskcache"]


def test_a_link_is_moved_itself(place, tmp_path):
    """A link that is put in place, or moved away, is that link: what it leads to stays as it is."""
    (tmp_path / "precious").write_text("mine")
    Path(place.absolute("link")).symlink_to(tmp_path / "precious")
    kept = trash.keep(place, place.absolute("link"), "link", "removed")
    storage.put_new(place, kept, "back")
    assert Path(place.absolute("back")).is_symlink()
    assert (tmp_path / "precious").stat().st_nlink == 1


def test_a_root_may_be_a_link(tmp_path):
    """The root itself can be a link to where there is room."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "root").symlink_to("disk")
    place = Root(str(tmp_path / "root"))
    place.create()
    storage.put_new(place, part(place, "x").path, "a/x")
    assert (tmp_path / "disk/a/x").read_bytes() == b"new"


@pytest.mark.needs("root")
def test_a_folder_on_another_file_system(place):
    """Below the root another file system may be mounted: parts are brought there first."""
    mounted = Path(place.absolute("m"))
    mounted.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(mounted)], check=True)
    try:
        new = part(place, "x")
        storage.put_new(place, new.path, "m/x")
        assert storage.stamp(str(mounted / "x")) == new.stamp
        with pytest.raises(FileExistsError):
            storage.put_new(place, part(place, "x", b"late").path, "m/x")
        displaced = storage.replace(place, part(place, "x", b"newer").path, "m/x", None)
        assert Path(displaced).read_bytes() == b"new"
        assert os.listdir(mounted) == ["x"]
        assert (mounted / "x").read_bytes() == b"newer"
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


def test_discard(tmp_path):
    """Discarding removes files and folders, and is content with nothing."""
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / "e" / "f").write_text("1")
    (tmp_path / "x").write_text("1")
    for name in ("d", "x", "x"):
        storage.discard(str(tmp_path / name))
    assert list(tmp_path.iterdir()) == []


def test_intents_become_records(place):
    """An intent is a file of its own until it is renamed to be the record."""
    first = storage.write_intent(place, "abcd.json", b"{}")
    second = storage.write_intent(place, "abcd.json", b"{1}")
    assert len(os.listdir(place.intents)) == 2
    assert {storage.intended_name(name) for name in os.listdir(place.intents)} == {"abcd.json"}
    storage.promote_intent(place, first, "abcd.json", "ab")
    storage.promote_intent(place, second, "abcd.json", "ab")
    assert Path(place.records, "ab", "abcd.json").read_bytes() == b"{1}"
    assert os.listdir(place.intents) == []


# ---- whole commits -------------------------------------------------------------------------------


def test_a_commit_leaves_target_and_record_only(root):
    """A run leaves the target, its record, the code and the id file: no part, no intent, no lock."""
    node = dc.delayed(lambda n: n, target="sub/{n}.json")(3)
    node.compute()
    found = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    (record,) = [p for p in found if p.startswith(".daskcache/records/")]
    code = [p for p in found if p.startswith(".daskcache/code/")]
    assert found == sorted([*code, record, ".daskcache/root.json", "sub/3.json"])
    assert len(code) == 2  # what the function consists of, and its source


@pytest.mark.parametrize("step", ["put_new", "promote_intent"])
def test_a_commit_that_is_cut_short(monkeypatch, root, runs, step):
    """Cut short at any step, a commit leaves a miss or a complete target; never a false foreign."""

    class Killed(BaseException):
        pass

    @dc.delayed(target="x.json")
    def make():
        runs.note("make")
        return [1]

    original = getattr(storage, step)
    for before in (True, False):

        def cut(*args, before=before):
            if not before:
                original(*args)
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(storage, step, cut)
            with pytest.raises(Killed):
                make().compute()
        assert make().dc.state in ("missing", "complete")
        assert make().compute() == [1]
        assert make().dc.state == "complete"
        assert json.loads((root / "x.json").read_text()) == [1]
        make().dc.invalidate()


def test_a_replacement_that_is_cut_short(monkeypatch, root):
    """Cut short after the exchange, a replaced target is the new result, vouched for by its intent."""

    class Killed(BaseException):
        pass

    @dc.delayed(target="x.json")
    def make(n):
        return [n]

    make(1).compute()

    def cut(*args):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(storage, "promote_intent", cut)
        with pytest.raises(Killed):
            make(2).compute()
    assert make(2).compute() == [2]
    assert make(1).dc.state == "stale"
    assert make(1).compute() == [1]
    assert make(1).dc.state == "complete"


def test_readers_during_replacement_see_old_or_new(root):
    """While a target is replaced again and again, a reader always sees one whole file."""

    @dc.delayed(target="x.json")
    def make(n):
        return [n] * 5000

    make(0).compute()
    stop, torn = threading.Event(), []

    def read():
        while not stop.is_set():
            values = json.loads((root / "x.json").read_bytes())
            if len(values) != 5000 or len(set(values)) != 1:
                torn.append(values)

    threads = [threading.Thread(target=read) for _ in range(2)]
    [thread.start() for thread in threads]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for n in itertools.islice(itertools.cycle((1, 2, 3)), 30):
                make(n).compute()
    finally:
        stop.set()
        [thread.join() for thread in threads]
    assert torn == []


def test_an_edit_during_the_run_is_kept(root):
    """If someone edits the target while its node runs, the edit is in the trash, with a warning."""

    @dc.delayed(target="x.json", on_modified="recompute")
    def make(n):
        if n == 2:
            (root / "x.json").write_text("[precious]")
        return n

    make(1).compute()
    with pytest.warns(dc.errors.DaskcacheWarning, match="kept as"):
        assert make(2).compute() == 2
    (kept,) = trashed(root)
    assert kept.read_text() == "[precious]"


def test_an_edit_during_the_run_is_never_lost_by_default(root):
    """By default such an edit is an error or kept in the trash; it is never overwritten."""

    @dc.delayed(target="x.json")
    def make(n):
        if n == 2:
            (root / "x.json").write_text("[precious]")
        return n

    make(1).compute()
    with pytest.raises(dc.errors.TargetError):
        make(2).compute()
    assert (root / "x.json").read_text() == "[precious]"
    assert leftovers(root) == []


def test_a_foreign_file_that_appears_during_the_run(root):
    """A file that someone puts at the target while its node runs is not overwritten."""

    @dc.delayed(target="x.json")
    def make():
        (root / "x.json").write_text("mine")
        return 1

    with pytest.raises(dc.errors.ForeignTarget):
        make().compute()
    assert (root / "x.json").read_text() == "mine"
    assert leftovers(root) == []


@pytest.mark.parametrize("itself", [False, True], ids=["value", "target_path"])
@pytest.mark.parametrize("path", ["{data_hash}/x.json", "a/{data_hash}/b/{data_hash}.json"])
def test_folders_named_after_the_data(root, files, path, itself):
    """A data hash in a folder's name: the target is there, and nothing beside it."""

    def write(target_path):
        Path(target_path).write_text("7")

    node = dc.delayed(write if itself else lambda: 7, target=path)()
    assert node.compute() == 7
    assert node.dc.state == "complete"
    (found,) = files()
    assert found == path.replace("{data_hash}", dc.hashing.hash_value(7))
    assert leftovers(root) == []
    assert not list(root.rglob("*{data_hash}*"))


def test_an_error_is_not_its_own_cause(place, tmp_path):
    """An error that was typed already is raised from the first one: a cycle can't be pickled."""
    with pytest.raises(StorageError) as first:
        storage.write_part(f"{tmp_path}/root/.daskcache", [b""])
    second = storage.storage_error(first.value, "elsewhere")
    assert second is not first.value
    assert (str(second), second.got) == (str(first.value), first.value.got)


def test_a_part_folder_with_something_displaced_stays(place):
    """What could not be moved to the trash is not removed with the folder of its part."""
    folder = storage.part_folder(place)
    edited = Path(folder, f"x.tif{storage.DISPLACED}")
    edited.write_text("mine")
    storage.sweep_part_folder(place, f"{folder}/x.tif")
    assert edited.read_text() == "mine"
    edited.rename(Path(folder, "x.tif"))
    storage.sweep_part_folder(place, f"{folder}/x.tif")
    assert not Path(folder).exists()


@pytest.mark.parametrize("broken", [0, 1])
def test_results_that_are_not_stored_leave_no_parts(root, broken):
    """If one of several results can't be stored, the parts of all of them are removed."""

    @dc.delayed(target=("first.json", "second.json"))
    def both():
        values = [1, 2]
        values[broken] = object()
        return tuple(values)

    with pytest.raises(dc.errors.FormatLimit):
        both().compute()
    assert leftovers(root) == []

    @dc.delayed(target=("first.json", "second.json"))
    def in_the_way():
        (root / ("first.json", "second.json")[broken]).write_text("mine")
        return 1, 2

    with pytest.raises(dc.errors.ForeignTarget):
        in_the_way().compute()
    assert leftovers(root) == []


def test_what_a_function_wrote_amiss_leaves_no_parts(root):
    """So are the files that a function wrote itself, if one of them can't be read."""

    @dc.delayed(target=("first.json", "second.json"))
    def both(target_path):
        Path(target_path[0]).write_text("1")
        Path(target_path[1]).write_text("{ half")

    with pytest.raises(ValueError, match="Expecting"):
        both().compute()
    assert leftovers(root) == []


def test_a_folder_that_another_writer_makes_just_now_is_not_read_only(place, monkeypatch):
    """It appears between two looks of the check."""
    access = os.access

    def late(path, mode):
        allowed = access(path, mode)
        os.makedirs(f"{place.path}/new", exist_ok=True)
        return allowed

    monkeypatch.setattr(os, "access", late)
    storage.check_folders(place, ["new/x.json"])
