"""Sources: what is remembered of their content, and when they are read again; folders as sources."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import dask
import numpy as np
import pytest
import zarr

import daskcache as dc
from daskcache import config
from daskcache.errors import (
    ArgumentChanged,
    DaskcacheWarning,
    GraphError,
    SourceChanged,
    SourceMissing,
    StorageError,
)
from daskcache.housekeeping import listing
from daskcache.storage import files as storage
from daskcache.storage import source_hashes as memo
from daskcache.storage.place import TICK_NS
from daskcache.storage.roots import Root

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
    monkeypatch.setattr(memo, "is_settled", lambda *_: True)


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
        "from daskcache import FileSource; from daskcache.storage import files; files.digest_of = None;"
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
        times = {name: getattr(found, name) // TICK_NS * TICK_NS for name in self._times}
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
    monkeypatch.setattr(memo, "is_settled", lambda file, changed, began: changed + TICK_NS < began)
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


MEMORY = Path("/dev/shm")


@pytest.fixture(params=["disk", "memory"] if MEMORY.is_dir() else ["disk"])
def place(request, tmp_path):
    """A folder: on whatever disk tests run on, and on a file system in memory."""
    if request.param == "disk":
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


def edits_through_a_map(path, source, monkeypatch):
    """Hashes of a source before and after edits of a file in it that leave its size and times alone.

    The edits go through one memory map; the clock says that the file was left alone for some time.
    """
    in_memory = path.is_relative_to(MEMORY)
    mapped = np.memmap(path, mode="r+", dtype="u1")
    mapped[0] ^= 1
    later = time.time_ns() + (HOUR_NS if in_memory else 10 * 10**9)
    found = []
    with monkeypatch.context() as patch:
        patch.setattr(memo.time, "time_ns", lambda: later)
        for _ in range(3):
            found.append(source.content_hash())
            mapped[0] += 2
    return found


@pytest.mark.parametrize("kind", ["file", "folder", "zarr"])
def test_edits_through_a_memory_map(place, kind, monkeypatch):
    """They are noticed, though the system sets no times at the second edit and later ones."""
    if kind == "zarr":
        zarr.create_array(place / "x.zarr", data=np.arange(9, dtype="u1"), compressors=None)
        path, source = place / "x.zarr/c/0", dc.ZarrSource(place / "x.zarr")
    else:
        (place / "raw").mkdir()
        path = place / "raw/x.bin"
        path.write_bytes(b"0123")
        source = dc.FileSource(path) if kind == "file" else dc.FolderSource(place / "raw")
    assert len(set(edits_through_a_map(path, source, monkeypatch))) == 3


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
        "import sys; from pathlib import Path; from daskcache import FileSource;"
        "from daskcache.storage import source_hashes; source_hashes.is_settled = lambda *_: True;"
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


# ---- folders -------------------------------------------------------------------------------------


@pytest.fixture
def raw(tmp_path):
    """A folder with images, other files, folders and hidden ones."""
    folder = tmp_path / "raw"
    for name in (
        "b.tif",
        "a.tif",
        "c.TIF",
        "notes.txt",
        ".hidden.tif",
        "day1/d.tif",
        "day1/late/e.tif",
        "day1/.f.tif",
        "day2/g.csv",
        ".git/h.tif",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"content of {name}")
    return folder


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", "a.tif b.tif c.TIF notes.txt"),
        ("*.tif", "a.tif b.tif"),
        ("[ac].*", "a.tif c.TIF"),
        ("?.tif", "a.tif b.tif"),
        ("a.tif", "a.tif"),
        (".*", ".hidden.tif"),
        (".*/*", ".git/h.tif"),
        (".git/*.tif", ".git/h.tif"),
        ("day1/*", "day1/d.tif"),
        ("day1/.*", "day1/.f.tif"),
        ("*/*", "day1/d.tif day2/g.csv"),
        ("*/*/*", "day1/late/e.tif"),
        ("**/*.tif", "a.tif b.tif day1/d.tif day1/late/e.tif"),
        ("day1/**/*.tif", "day1/d.tif day1/late/e.tif"),
        ("**/late/*", "day1/late/e.tif"),
        ("**/**/d.tif", "day1/d.tif"),
        ("**", "a.tif b.tif c.TIF day1/d.tif day1/late/e.tif day2/g.csv notes.txt"),
        ("day?", ""),
    ],
)
def test_members(raw, pattern, expected):
    """Patterns match as in a shell: files only, hidden ones only by a dot, `**` any folders; sorted."""
    folder = dc.FolderSource(raw, pattern)
    assert folder.names() == expected.split()
    assert folder.get_data() == [raw / name for name in expected.split()]
    assert len(folder) == len(expected.split())


@pytest.mark.parametrize("pattern", ["", ".", "/etc/*", "../*", "a/../b", "a//b", "a/", "./a"])
def test_patterns_that_lead_nowhere(raw, pattern):
    """A pattern looks below the folder, and says so at once if it doesn't."""
    with pytest.raises(GraphError, match="pattern"):
        dc.FolderSource(raw, pattern)


def test_a_folder_arrives_as_paths(raw, monkeypatch):
    """A function gets the absolute paths of the members, in order, in containers too."""
    monkeypatch.chdir(raw.parent)
    same = dc.delayed(lambda paths: paths)
    expected = [raw / "a.tif", raw / "b.tif"]
    assert same(dc.FolderSource("raw", "*.tif")).compute() == expected
    assert same({"x": [dc.FolderSource("raw", "*.tif")]}).compute() == {"x": [expected]}


def test_an_annotated_parameter_gets_the_folder(raw):
    """It is the source itself, with its members."""

    @dc.delayed
    def look(folder: dc.FolderSource):
        return folder, [source.filename for source in folder], len(folder)

    folder = dc.FolderSource(raw, "*.tif")
    assert look(folder).compute() == (folder, ["a.tif", "b.tif"], 2)


def test_sources_of_the_members(raw):
    """Iterating gives a source for each member; the suffix decides its class, or `source` does."""
    (raw / "x.npy").touch()
    (raw / "y.JPG").touch()
    assert list(dc.FolderSource(raw)) == [
        dc.ImageSource(raw / "a.tif"),
        dc.ImageSource(raw / "b.tif"),
        dc.ImageSource(raw / "c.TIF"),
        dc.TextSource(raw / "notes.txt"),
        dc.NumpySource(raw / "x.npy"),
        dc.ImageSource(raw / "y.JPG"),
    ]
    assert list(dc.FolderSource(raw, "*/*.csv")) == [dc.CSVSource(raw / "day2" / "g.csv")]
    as_files = dc.FolderSource(raw, "*.tif", source=dc.FileSource)
    assert list(as_files) == [dc.FileSource(raw / "a.tif"), dc.FileSource(raw / "b.tif")]
    for wrong in ("csv", dc.CSVSource(raw / "a"), dc.CSVTarget):
        with pytest.raises(GraphError, match="members"):
            dc.FolderSource(raw, source=wrong)


def test_a_node_for_each_member(raw, runs, files):
    """A node made of a member reruns for that member only."""

    @dc.delayed(target="size/{file.parent}/{file.stem}.json")
    def size(file):
        runs.note(file.name)
        return file.stat().st_size

    def nodes():
        return [size(file) for file in dc.FolderSource(raw, "**/*.tif", source=dc.FileSource)]

    dask.compute(nodes())
    assert runs.take() == ["a.tif", "b.tif", "d.tif", "e.tif"]
    (raw / "b.tif").write_text("edited")
    (raw / "new.tif").write_text("new")
    dask.compute(nodes())
    assert runs.take() == ["b.tif", "new.tif"]
    assert files() == [f"size/{name}.json" for name in ("day1/d", "late/e", "raw/a", "raw/b", "raw/new")]


def swap(raw):
    (raw / "a.tif").rename(raw / "x")
    (raw / "b.tif").rename(raw / "a.tif")
    (raw / "x").rename(raw / "b.tif")


CHANGES = {
    "added": lambda raw: (raw / "n.tif").write_text("new"),
    "removed": lambda raw: (raw / "a.tif").unlink(),
    "renamed": lambda raw: (raw / "a.tif").rename(raw / "z.tif"),
    "moved": lambda raw: (raw / "day1" / "d.tif").rename(raw / "d.tif"),
    "edited": lambda raw: (raw / "a.tif").write_text("edited"),
    "edited below": lambda raw: (raw / "day1" / "late" / "e.tif").write_text("edited"),
    "swapped": swap,
}
OTHERS = {
    "touched": lambda raw: os.utime(raw / "a.tif", (1, 1)),
    "another file": lambda raw: (raw / "notes.txt").write_text("edited"),
    "a hidden file": lambda raw: (raw / ".hidden.tif").write_text("edited"),
    "an empty folder": lambda raw: (raw / "day3.tif").mkdir(),
    "written again": lambda raw: (raw / "a.tif").write_text((raw / "a.tif").read_text()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_a_folder(raw, change):
    """Members that are added, removed, renamed or edited change the identity."""
    folder = dc.FolderSource(raw, "**/*.tif")
    before = folder.identity()
    CHANGES[change](raw)
    assert folder.identity() != before


@pytest.mark.parametrize("other", OTHERS)
def test_what_does_not_change_a_folder(raw, other):
    """Times and files that are no members don't count."""
    folder = dc.FolderSource(raw, "**/*.tif")
    before = folder.identity()
    OTHERS[other](raw)
    assert folder.identity() == before


OWN = """
import daskcache as dc

class Mesh(dc.Source):
    def decode(self, data):
        return data.decode().strip()  # changed later

class Marked(dc.Source):
    def __init__(self, path, mark, kept=None):
        super().__init__(path)
        self.mark, self._kept = mark, kept

    def decode(self, data):
        return data.decode() + self.mark
"""


def test_the_code_of_a_users_source_counts(raw, define):
    """A node reruns when the class that reads its input is edited; so does a folder's."""
    (raw / "a.mesh").write_text("mesh ")
    shout = dc.delayed(lambda mesh: f"{mesh}!", target="mesh.json")
    before = define(OWN)
    assert shout(before.Mesh(raw / "a.mesh")).compute() == "mesh!"
    assert shout(define(OWN).Mesh(raw / "a.mesh")).dc.state == "complete"
    edited = define(OWN.replace(".strip()", ".upper()")).Mesh
    assert shout(edited(raw / "a.mesh")).dc.state == "stale"
    assert shout(edited(raw / "a.mesh")).compute() == "MESH !"
    folders = [dc.FolderSource(raw, "*.mesh", source=cls) for cls in (before.Mesh, edited)]
    assert folders[0].identity() != folders[1].identity()


def test_the_attributes_of_a_users_source_count(raw, define):
    """Public ones are options, by which a record makes the source again."""
    marked = define(OWN).Marked
    identity = marked(raw / "a.tif", "?").identity()
    assert marked(raw / "a.tif", "!").identity() != identity
    assert marked(raw / "a.tif", "?", kept=1).identity() == identity
    assert marked(raw / "a.tif", "?").__daskcache_options__() == {"mark": "?"}
    assert dc.FileSource.from_path(raw / "a.tif").identity() == dc.FileSource(raw / "a.tif").identity()


def test_the_members_are_the_identity(raw):
    """Where the folder is and how its members were found doesn't count; what they are read as does."""
    folder = dc.FolderSource(raw, "*.tif")
    expected = folder.identity()
    assert dc.FolderSource(raw, "[a-z].tif").identity() == expected
    shutil.copytree(raw, raw.parent / "copy")
    assert dc.FolderSource(raw.parent / "copy", "*.tif").identity() == expected
    as_files = dc.FolderSource(raw, "*.tif", source=dc.FileSource)
    assert len({expected, as_files.identity(), dc.FileSource(raw / "a.tif").identity()}) == 3


def test_unchanged_members_are_not_read_again(raw, at_rest, reads):
    """Of a folder in which one member was edited, that one is read."""
    folder = dc.FolderSource(raw, "**/*.tif")
    folder.identity()
    start_anew()
    reads.clear()
    (raw / "a.tif").write_text("edited")
    folder.identity()
    assert reads == ["a.tif"]


def test_a_node_made_of_a_folder(raw, runs, monkeypatch):
    """It reruns when its members changed, and says that they did; its record names the pattern."""

    @dc.delayed(target="{folder.parent}/{folder.filename}.json")
    def count(folder):
        runs.note("count")
        return len(folder)

    monkeypatch.chdir(raw.parent)
    folder = dc.FolderSource("raw", "*.tif")
    assert count(folder).compute() == count(folder).compute() == 2
    (raw / "notes.txt").write_text("edited")
    assert str(dc.why(count(folder))) == ""
    assert runs.take() == ["count"]
    assert count(folder).dc.path.endswith(f"/root/{raw.parent.name}/raw.json")
    (raw / "n.tif").write_text("new")
    assert str(dc.why(count(folder))) == "raw/*.tif: n.tif added"
    assert count(folder).compute() == 3
    (described,) = count(folder).dc.record["upstream"]
    assert described["source"] == "../raw/*.tif"


def test_the_command_line_knows_folders(raw, root):
    """The story of a target says whether the folder that it was made of is still there."""
    node = dc.delayed(len, target="count.json")(dc.FolderSource(raw, "*.tif"))
    node.compute()

    def told():
        there = Root(str(root))
        return "\n".join(listing.story(there, listing.find(there, "count.json")))

    assert "source ../raw/*.tif" in told()
    assert "gone" not in told()
    shutil.rmtree(raw)
    assert "source ../raw/*.tif, which is gone" in told()


@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_that_changes_after_the_call(raw, change):
    """Between call and verb, a change raises ArgumentChanged, as for a file."""
    node = dc.delayed(len)(dc.FolderSource(raw, "**/*.tif"))
    CHANGES[change](raw)
    with pytest.raises(ArgumentChanged, match="raw"):
        node.compute()


@pytest.mark.parametrize("annotation", [dc.FolderSource, None])
@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_that_changes_while_the_graph_runs(raw, change, annotation):
    """The worker verifies the members: SourceChanged, and nothing is stored."""

    @dc.delayed(target="edited.json")
    def edit():
        CHANGES[change](raw)
        return 1

    def count(folder, edited):
        return len(folder)

    if annotation:
        count.__annotations__["folder"] = annotation
    node = dc.delayed(count, target="count.json")(dc.FolderSource(raw, "**/*.tif"), edit())
    with pytest.raises(SourceChanged, match="raw"):
        node.compute()
    assert not Path(node.dc.path).exists()


def test_the_parts_of_a_folders_path(raw):
    """Templates see the folder, not the pattern."""
    folder = dc.FolderSource(raw.parent / "day1.zarr", "**/*.tif")
    parts = folder.filename, folder.stem, folder.suffix, folder.parent
    assert parts == ("day1.zarr", "day1", ".zarr", raw.parent.name)


def test_folders_travel_and_compare(raw):
    """They pickle, show how to make them, and are equal by folder, pattern and class of members."""
    folder = dc.FolderSource(raw, "*.tif", source=dc.FileSource)
    twin = pickle.loads(pickle.dumps(folder))
    assert twin == folder
    assert twin.identity() == folder.identity()
    assert repr(folder) == f"FolderSource({str(raw)!r}, '*.tif', source=FileSource)"
    assert repr(dc.FolderSource(raw)) == f"FolderSource({str(raw)!r}, '*')"
    others = [dc.FolderSource(raw), dc.FolderSource(raw, "*.tif"), dc.FolderSource(raw.parent, "*.tif")]
    assert len({folder, twin, *others}) == 4


def test_a_missing_folder(raw):
    """A folder that is not there, or is a file, raises SourceMissing when it is used."""
    for path in (raw / "gone", raw / "a.tif"):
        for use in (*USES.values(), len, list):
            with pytest.raises(SourceMissing, match=path.name):
                use(dc.FolderSource(path))
        with pytest.raises(SourceMissing, match=path.name):
            dc.delayed(len)(dc.FolderSource(path))


def test_a_folder_without_members(raw, runs):
    """It is allowed, and a warning says so once; it is not the same as a missing folder."""
    folder = dc.FolderSource(raw, "*.png")
    with pytest.warns(DaskcacheWarning, match=r"raw/\*\.png") as warned:
        node = dc.delayed(lambda paths: paths)(folder)
    assert len(warned) == 1
    with warnings.catch_warnings(action="error"):
        assert node.compute() == []
    assert list(folder) == []


def test_linked_members(raw, tmp_path):
    """A link to a file or folder stands for what it points at."""
    (tmp_path / "far" / "below").mkdir(parents=True)
    (tmp_path / "far" / "x.tif").write_text("far")
    (tmp_path / "far" / "below" / "y.tif").write_text("below")
    (raw / "l.tif").symlink_to("../far/x.tif")
    (raw / "linked").symlink_to("../far")
    folder = dc.FolderSource(raw, "**/*.tif")
    assert folder.names() == [
        *("a.tif", "b.tif", "day1/d.tif", "day1/late/e.tif"),
        *("l.tif", "linked/below/y.tif", "linked/x.tif"),
    ]
    assert dc.FolderSource(raw / "linked", "*").names() == ["x.tif"]
    before = folder.identity()
    (tmp_path / "far" / "below" / "y.tif").write_text("edited")
    after = folder.identity()
    assert before != after
    (raw / "l.tif").unlink()
    (raw / "l.tif").write_text("far")
    assert folder.identity() == after


@pytest.mark.parametrize("pattern", ["*.tif", "**/*.tif", "*/x.tif"])
def test_a_link_that_leads_nowhere(raw, pattern):
    """It raises SourceMissing, naming the link, rather than being one member less."""
    (raw / "link.tif").symlink_to("unmounted")
    with pytest.raises(SourceMissing, match=r"link\.tif") as caught:
        dc.FolderSource(raw, pattern).identity()
    assert "links that lead somewhere" in caught.value.expected
    assert dc.FolderSource(raw, "[ab].tif").names() == ["a.tif", "b.tif"]


LOOPS = {
    "a link to itself": {"l.tif": "l.tif"},
    "to its own folder": {"loop": "."},
    "to the folder above": {"day1/loop": ".."},
    "out and in again": {"loop": "../raw"},
    "to what is above all": {"day1/loop": "../.."},
    "two that need each other": {"day1/loop": "../day2", "day2/loop": "../day1"},
    "many": {f"{folder}/{i}": "../.." for folder in ("day1", "day2") for i in range(9)},
}


@pytest.mark.parametrize("links", LOOPS.values(), ids=LOOPS)
@pytest.mark.timeout(20)
def test_links_in_a_circle(raw, links):
    """They raise StorageError, naming the link; nothing hangs."""
    for path, to in links.items():
        (raw / path).symlink_to(to)
    with pytest.raises(StorageError, match="symbolic link") as caught:
        dc.FolderSource(raw, "**/*.tif").identity()
    assert any(Path(link).name in str(caught.value) for link in links)
    assert dc.FolderSource(raw, "[ab].tif").names() == ["a.tif", "b.tif"]


def test_a_folder_that_can_not_be_read(raw, monkeypatch):
    """An unreadable folder below is an error that names it, not a few members less."""
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("late"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(StorageError, match="late") as caught:
        dc.FolderSource(raw, "**/*.tif").identity()
    assert caught.value.got == "EACCES"


def test_pipes_are_no_members(raw):
    """A pipe that matches is left out, not waited for; so is a link to one."""
    os.mkfifo(raw / "pipe.tif")
    (raw / "link.tif").symlink_to("pipe.tif")
    assert dc.FolderSource(raw, "*.tif").names() == ["a.tif", "b.tif"]


def test_member_names_of_any_bytes(raw):
    """Names that are no UTF-8, or have spaces or line ends, count like others."""
    for name in (b"\xff.tif", b"new\nline.tif", b" .tif"):
        Path(os.fsdecode(os.path.join(os.fsencode(raw), name))).write_bytes(b"")
    folder = dc.FolderSource(raw, "*.tif")
    assert len(folder) == 5
    assert dc.delayed(len)(folder).compute() == 5
