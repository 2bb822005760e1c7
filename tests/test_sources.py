"""Sources: what is remembered of their content, and when they are read again; folders as sources."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import dask
import pytest

import daskcache as dc
from daskcache import config, memo, storage
from daskcache.errors import SourceChanged, SourceMissing, StorageError

HOUR_NS = 3600 * 10**9


@pytest.fixture(autouse=True)
def cache_folder(tmp_path):
    """A memo of its own for each test."""
    folder = tmp_path / "cache"
    with dask.config.set({"daskcache.cache-folder": str(folder)}):
        yield folder


@pytest.fixture
def at_rest(monkeypatch):
    """Files count as unchanged for long, however new they are."""
    monkeypatch.setattr(memo, "_TICK_NS", -HOUR_NS)


@pytest.fixture
def reads(monkeypatch):
    """Names of the files that were read for their hash."""
    found = []
    digest_of = storage.digest_of

    def noting(file):
        found.append(os.path.basename(file.name))
        return digest_of(file)

    monkeypatch.setattr(storage, "digest_of", noting)
    return found


def start_anew():
    """Forget what this process remembers, as a fresh one would."""
    memo._memo.cache_clear()


def put_back_times(path, found):
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


# ---- what is remembered --------------------------------------------------------------------------


def test_an_unchanged_source_is_read_once(tmp_path, at_rest, reads):
    """It is not read again, neither in this process nor in the next."""
    path = tmp_path / "x.bin"
    path.write_bytes(b"1")
    identities = set()
    for _ in range(2):
        identities |= {dc.FileSource(path).identity() for _ in range(3)}
        start_anew()
    assert reads == ["x.bin"]
    assert len(identities) == 1


def test_another_process_remembers(tmp_path, at_rest, cache_folder):
    """A program that could not read the source knows its hash."""
    path = tmp_path / "x.bin"
    path.write_bytes(b"1")
    expected = dc.FileSource(path).content_hash()
    program = (
        "from daskcache import FileSource, storage; storage.digest_of = None;"
        f"print(FileSource({str(path)!r}).content_hash())"
    )
    settings = {**os.environ, "DASK_DASKCACHE__CACHE_FOLDER": str(cache_folder)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=settings)
    assert done.stdout.strip() == expected, done.stderr


def test_an_edit_of_the_same_size_whose_mtime_is_put_back(tmp_path, at_rest):
    """ctime tells: nobody can set it."""
    path = tmp_path / "x.bin"
    path.write_bytes(b"11")
    found = path.stat()
    before = dc.FileSource(path).content_hash()
    time.sleep(0.05)
    path.write_bytes(b"22")
    put_back_times(path, found)
    assert path.stat().st_mtime_ns == found.st_mtime_ns
    assert dc.FileSource(path).content_hash() != before
    start_anew()
    assert dc.FileSource(path).content_hash() != before


class CoarseOS:
    """`os` with the clock of a FAT file system."""

    def __getattr__(self, name):
        return getattr(os, name)

    def stat(self, path):
        return self._coarse(os.stat(path))

    def fstat(self, descriptor):
        return self._coarse(os.fstat(descriptor))

    def _coarse(self, found):
        times = {name: getattr(found, name) // memo._TICK_NS * memo._TICK_NS for name in self._times}
        return SimpleNamespace(
            st_mode=found.st_mode, st_size=found.st_size, st_ino=found.st_ino, **times
        )

    _times = "st_mtime_ns", "st_ctime_ns"


@pytest.mark.parametrize("mtime", ["its own", "put back"])
def test_edits_within_one_tick(tmp_path, monkeypatch, mtime):
    """What changed a moment ago is read each time, however old its mtime says it is."""
    monkeypatch.setattr(memo, "os", CoarseOS())
    path = tmp_path / "x.bin"
    seen = set()
    for i in range(20):
        path.write_bytes(b"%02d" % i)
        if mtime == "put back":
            os.utime(path, (1, 1))
        seen.add(dc.FileSource(path).content_hash())
    assert len(seen) == 20


def test_what_counts_is_when_reading_began(tmp_path, monkeypatch):
    """A file that changed just before is not remembered, even if reading it took long."""
    path = tmp_path / "x.bin"
    path.write_bytes(b"1")
    clock = [time.time_ns()]
    digest_of = storage.digest_of

    def slowly(file):
        clock.append(clock[-1] + 5 * 10**9)
        return digest_of(file)

    monkeypatch.setattr(storage, "digest_of", slowly)
    monkeypatch.setattr(memo.time, "time_ns", lambda: clock[-1])
    for reads in (1, 2, 2):
        dc.FileSource(path).content_hash()
        assert len(clock) == 1 + reads


def test_an_edit_while_the_file_is_read(tmp_path, monkeypatch, at_rest):
    """A file that changes under the reader is read again."""
    path = tmp_path / "x.bin"
    path.write_bytes(b"11")
    found = path.stat()
    digest_of = storage.digest_of

    def slowly(file):
        time.sleep(0.05)
        content = digest_of(file)
        path.write_bytes(b"22")
        put_back_times(path, found)
        return content

    with monkeypatch.context() as patch:
        patch.setattr(storage, "digest_of", slowly)
        before = dc.FileSource(path).content_hash()
    assert dc.FileSource(path).content_hash() != before


def test_touched_copied_and_renamed_files_are_read_once_more(tmp_path, at_rest, reads):
    """They are read, and have the content that they had."""
    path, other = tmp_path / "x.bin", tmp_path / "y.bin"
    path.write_bytes(b"1")
    expected = dc.FileSource(path).content_hash()
    os.utime(path, (1, 1))
    assert dc.FileSource(path).content_hash() == expected
    shutil.copy2(path, other)
    assert dc.FileSource(other).content_hash() == expected
    path.rename(other)
    assert dc.FileSource(other).content_hash() == expected
    assert reads == ["x.bin", "x.bin", "y.bin", "y.bin"]


def test_names_of_any_bytes(tmp_path, at_rest, reads):
    """A name that is no UTF-8 is remembered like others."""
    path = os.path.join(os.fsencode(tmp_path), b"\xff.bin")
    Path(os.fsdecode(path)).write_bytes(b"1")
    source = dc.FileSource(os.fsdecode(path))
    assert source.content_hash() == source.content_hash()
    assert len(reads) == 1


def test_a_large_source_is_not_held_in_memory(tmp_path):
    """Hashing and verifying a file of 64 MB takes a few MB."""
    import tracemalloc

    path = tmp_path / "large.bin"
    path.write_bytes(bytes(64 * 2**20))
    tracemalloc.start()
    try:
        source = dc.FileSource(path)
        source.load_verified(source.content_hash())
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


# ---- the file of the memo ------------------------------------------------------------------------


@pytest.fixture
def remembered(tmp_path, at_rest, cache_folder):
    """Two sources with their hashes, and the memo that has them."""
    hashes = {}
    for content in (b"1", b"2"):
        path = tmp_path / f"{content.decode()}.bin"
        path.write_bytes(content)
        hashes[dc.FileSource(path)] = dc.FileSource(path).content_hash()
    (path,) = cache_folder.iterdir()
    return hashes, path


def assert_right(hashes):
    start_anew()
    assert {source: source.content_hash() for source in hashes} == hashes


def test_every_damaged_byte_is_noticed(remembered):
    """Whichever byte of the memo flips, no wrong hash comes out of it, nor an error."""
    hashes, path = remembered
    data = path.read_bytes()
    for position in range(len(data)):
        for flip in (1, 0x80):
            path.write_bytes(data[:position] + bytes([data[position] ^ flip]) + data[position + 1 :])
            assert_right(hashes)


def test_a_hash_in_the_wrong_line_is_noticed(remembered):
    """Lines that two hosts wrote over each other give no wrong hash."""
    hashes, path = remembered
    one, two = path.read_bytes().split()
    path.write_bytes(b"\n".join([one[:32] + two[32:], two[:32] + one[32:]]))
    assert_right(hashes)


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 1000, b"\xff" * 72, b"nonsense\n" * 99, bytes(range(256))]
)
def test_a_memo_of_rubbish(remembered, content, reads):
    """It is ignored; what is added to it is found again."""
    hashes, path = remembered
    path.write_bytes(content)
    assert_right(hashes)
    assert_right(hashes)
    assert len(reads) == 2


def test_a_torn_line_costs_no_other(remembered, reads):
    """What follows the line of a process that was killed is remembered."""
    hashes, path = remembered
    path.write_bytes(path.read_bytes()[:-20])
    assert_right(hashes)
    assert reads == ["2.bin"]
    assert_right(hashes)
    assert reads == ["2.bin"]


def test_a_memo_can_be_deleted_at_any_time(remembered, reads, cache_folder):
    """Alone or with its folder, while a process uses it or not: it comes back."""
    hashes, path = remembered
    path.unlink()
    assert {source: source.content_hash() for source in hashes} == hashes
    assert reads == []
    assert_right(hashes)
    shutil.rmtree(cache_folder)
    assert_right(hashes)
    assert_right(hashes)
    assert len(reads) == 4


@pytest.mark.parametrize(
    "where", ["{tmp}/file", "{tmp}/file/below", "/proc/nowhere", "~nobody-here/cache"]
)
def test_an_unusable_cache_folder(tmp_path, at_rest, reads, where, recwarn, monkeypatch):
    """Sources work where nothing can be remembered, as quietly; each process reads them once."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "x.bin").write_bytes(b"1")
    with dask.config.set({"daskcache.cache-folder": where.format(tmp=tmp_path)}):
        for _ in range(2):
            start_anew()
            source = dc.FileSource(tmp_path / "x.bin")
            assert source.content_hash() == source.content_hash()
    assert reads == ["x.bin"] * 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "x.bin"]
    assert list(recwarn) == []


def test_a_long_memo_is_cut(tmp_path, at_rest, reads, cache_folder, monkeypatch):
    """Of a memo that grew too long, the newest half is kept."""
    monkeypatch.setattr(memo, "_LARGEST", 20 * 74)
    for i in range(40):
        (tmp_path / f"{i}.bin").write_bytes(b"%d" % i)
        dc.FileSource(tmp_path / f"{i}.bin").content_hash()
    reads.clear()
    start_anew()
    for i in reversed(range(40)):
        dc.FileSource(tmp_path / f"{i}.bin").content_hash()
    assert reads == [f"{i}.bin" for i in reversed(range(30))]
    (path,) = cache_folder.iterdir()
    assert path.stat().st_size == 40 * 74


def test_many_processes_at_once(tmp_path, cache_folder):
    """Processes that add to one memo at the same time lose nothing of each other's."""
    program = (
        "import sys; from pathlib import Path; from daskcache import FileSource, memo;"
        "memo._TICK_NS = -(10**20);"
        "print(*[FileSource(p).content_hash() for p in sorted(Path(sys.argv[1]).iterdir())])"
    )
    (tmp_path / "raw").mkdir()
    for i in range(500):
        (tmp_path / "raw" / f"{i:03d}").write_bytes(b"%d" % i)
    settings = {**os.environ, "DASK_DASKCACHE__CACHE_FOLDER": str(cache_folder)}
    command = [sys.executable, "-c", program, str(tmp_path / "raw")]
    running = [
        subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    outputs = [process.communicate() for process in running]
    assert {errors for _, errors in outputs} == {b""}
    assert len({hashes for hashes, _ in outputs}) == 1
    (path,) = cache_folder.iterdir()
    lines = path.read_bytes().split()
    assert {len(line) for line in lines} == {72}
    assert len({line[:32] for line in lines}) == 500


def test_where_the_memo_is(tmp_path, monkeypatch):
    """In the folder that is configured, else where the platform keeps caches."""
    with dask.config.set({"daskcache.cache-folder": "~/mine"}):
        monkeypatch.setenv("HOME", str(tmp_path))
        assert config.cache_folder() == str(tmp_path / "mine")
    with dask.config.set({"daskcache.cache-folder": None}):
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        assert config.cache_folder() == str(tmp_path / ".cache" / "daskcache")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        assert config.cache_folder() == str(tmp_path / "xdg" / "daskcache")
        monkeypatch.setattr(sys, "platform", "darwin")
        assert config.cache_folder() == str(tmp_path / "Library" / "Caches" / "daskcache")
        monkeypatch.setattr(sys, "platform", "win32")
        monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
        assert config.cache_folder() == str(tmp_path / "local" / "daskcache")


# ---- files that can't be read --------------------------------------------------------------------

USES = {
    "content_hash": lambda source: source.content_hash(),
    "get_data": lambda source: source.get_data(),
    "load_verified": lambda source: source.load_verified("0" * 32),
    "verify": lambda source: source.verify("0" * 32),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", ["gone", "file/gone"])
def test_a_missing_file(tmp_path, use, name):
    """Whatever is asked of it, a source that is not there raises SourceMissing, naming the file."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SourceMissing, match="gone"):
        USES[use](dc.CSVSource(tmp_path / name))


@pytest.mark.parametrize("use", USES)
def test_a_link_to_itself(tmp_path, use):
    """A file that the system refuses to read raises StorageError, naming it and the reason."""
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(StorageError, match=r"loop.*symbolic links") as caught:
        USES[use](dc.CSVSource(tmp_path / "loop"))
    assert caught.value.got == "ELOOP"


def test_what_is_no_file(tmp_path):
    """A folder is pointed to FolderSource; a pipe is not waited for."""
    with pytest.raises(SourceMissing, match="FolderSource"):
        dc.FileSource(tmp_path).content_hash()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceMissing, match="pipe"):
        dc.FileSource(tmp_path / "pipe").content_hash()


@pytest.mark.parametrize("annotation", [dc.Source, dc.FileSource, None])
def test_a_source_that_changes_while_the_graph_runs(tmp_path, annotation):
    """It raises SourceChanged, also where the function gets the source itself: nothing is stored."""
    path = tmp_path / "x.txt"
    path.write_text("planned")

    @dc.delayed(target="edited.json")
    def edit():
        path.write_text("another")
        return 1

    def read(source, edited):
        return Path(getattr(source, "path", source)).read_text()

    if annotation:
        read.__annotations__["source"] = annotation
    node = dc.delayed(read, target="read.json")(dc.FileSource(path), edit())
    with pytest.raises(SourceChanged, match=r"x\.txt"):
        node.compute()
    assert not Path(node.dc.path).exists()


def test_the_content_of_a_call_is_asked_for_once(tmp_path, monkeypatch):
    """The hash that is in the key is the one that workers expect."""
    asked = []
    (tmp_path / "x.bin").write_bytes(b"1")
    monkeypatch.setattr(dc.FileSource, "content_hash", lambda self: asked.append(self) or "0" * 32)
    dc.delayed(lambda path: 1)(dc.FileSource(tmp_path / "x.bin"))
    assert len(asked) == 1
