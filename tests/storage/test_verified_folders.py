"""Folders with a known content: every file is verified by the read that is used."""

from __future__ import annotations

import hashlib
import mmap
import os
import pickle
from pathlib import Path

import pytest

from daskcache import errors
from daskcache.storage import files as storage
from daskcache.storage.roots import Root
from daskcache.storage.source_hashes import SourceFolder, folder_hashes
from daskcache.storage.verified_folders import TargetFolder, forget_manifest, keep_manifest


@pytest.fixture
def root(tmp_path):
    root = Root(str(tmp_path / "root"))
    root.create()
    return root


@pytest.fixture
def folder(root):
    """A stored folder of two files, one of them in a folder within."""
    path = f"{root.path}/result.d"
    os.makedirs(f"{path}/c")
    for name, content in (("meta", b"top"), ("c/0", bytes(range(256)))):
        with open(f"{path}/{name}", "xb") as file:
            file.write(content)
    part = storage.part_of(path)
    keep_manifest(root, part.file_hash, part.manifest)
    return TargetFolder(path, part.file_hash, root.manifests, "node")


def rewrite(folder, name, content):
    """Change a file without a trace in its size or times."""
    path = f"{folder.path}/{name}"
    before = os.stat(path)
    with open(path, "wb") as file:
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_file_hash_of_a_folder_is_that_of_its_manifest(folder):
    """The record's hash and the manifest's name are one."""
    assert storage.file_hash(folder.path) == folder.expected
    (shard,) = os.listdir(folder.manifests)
    assert os.listdir(f"{folder.manifests}/{shard}") == [f"{folder.expected}.json"]


def test_reads_what_is_as_recorded(folder):
    """Whole files, and parts from the start or the end."""
    assert folder.read("meta") == b"top"
    assert folder.read("c/0") == bytes(range(256))
    assert folder.read_range("c/0", 3, 6) == b"\3\4\5"
    assert folder.read_range("c/0", 250, None) == bytes(range(250, 256))
    assert folder.read_range("c/0", -2, None) == b"\xfe\xff"
    assert folder.read_range("c/0", -1000, None) == bytes(range(256))
    assert folder.read("c/1") is None
    assert folder.read_range("c/1", 0, 1) is None
    folder.check_names()


@pytest.mark.parametrize("content", [b"\1" * 256, b"", bytes(range(255)), bytes(range(256)) + b"+"])
def test_a_changed_file_is_refused(folder, content):
    """Damaged, emptied, cut short or longer, read as a whole or in part."""
    rewrite(folder, "c/0", content)
    with pytest.raises(errors.TargetCorrupt, match="c/0"):
        folder.read("c/0")
    with pytest.raises(errors.TargetCorrupt, match="c/0"):
        folder.read_range("c/0", 0, 0)
    assert folder.read("meta") == b"top"


def test_a_missing_file_is_refused(folder):
    """It is never taken for one that was never there."""
    os.unlink(f"{folder.path}/c/0")
    for read in (folder.check_names, lambda: folder.read("c/0"), lambda: folder.read_range("c/0", 0, 1)):
        with pytest.raises(errors.TargetCorrupt, match="no file"):
            read()


def test_an_extra_file_is_refused(folder):
    """It is not served, and found when the folder is opened."""
    open(f"{folder.path}/c/1", "xb").close()
    for read in (folder.check_names, lambda: folder.read("c/1"), lambda: folder.read_range("c/1", 0, 1)):
        with pytest.raises(errors.TargetCorrupt, match="does not belong there"):
            read()


@pytest.fixture
def large(root):
    """A stored folder with a file of several blocks."""
    path = f"{root.path}/large.d"
    os.makedirs(f"{path}/c")
    content = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(40_000))
    Path(path, "c/0").write_bytes(content)
    part = storage.part_of(path)
    keep_manifest(root, part.file_hash, part.manifest)
    return TargetFolder(path, part.file_hash, root.manifests, "node"), content


PARTS = [(0, 2), (5, 2**18), (2**18 - 1, 2**18 + 1), (700_000, None), (-9, None), (9, 3), (2**21, None)]


def test_parts_of_a_large_file(large, monkeypatch):
    """They are what the file has there; the whole file is read once."""
    folder, content = large
    looks = []
    read_all = TargetFolder._read_all
    monkeypatch.setattr(TargetFolder, "_read_all", lambda *args: looks.append(args) or read_all(*args))
    for _ in range(2):
        for start, stop in PARTS:
            assert folder.read_range("c/0", start, stop) == content[start:stop]
    assert len(looks) == 1


@pytest.mark.parametrize("position", [0, 2**18 - 1, 2**18, 2**19 + 77, -1])
@pytest.mark.parametrize("opened", [False, True])
def test_a_change_that_leaves_no_trace(large, position, opened):
    """Whatever size and times say: a part is served only if its bytes are those that were recorded."""
    folder, content = large
    if opened:
        folder.read_range("c/0", 0, 1)
    with open(f"{folder.path}/c/0", "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[position] ^= 1
    for start, stop in PARTS:
        try:
            served = folder.read_range("c/0", start, stop)
        except errors.TargetCorrupt:
            continue
        assert served == content[start:stop]
    with pytest.raises(errors.TargetCorrupt, match="c/0"):
        folder.read_range("c/0", 0, None)


def test_a_file_that_grew_or_shrank(large):
    """It is damaged, wherever a part of it was to be read."""
    folder, content = large
    folder.read_range("c/0", 0, 1)
    Path(folder.path, "c/0").write_bytes(content[:-1])
    with pytest.raises(errors.TargetCorrupt, match="not have the size"):
        folder.read_range("c/0", -5, None)
    Path(folder.path, "c/0").write_bytes(content + b"x")
    with pytest.raises(errors.TargetCorrupt, match="not have the size"):
        folder.read_range("c/0", -5, None)
    Path(folder.path, "c/0").write_bytes(content)
    assert folder.read_range("c/0", -5, None) == content[-5:]


def test_a_part_comes_from_the_read_that_verifies_it(folder, monkeypatch):
    """An edit right after the file was verified is not served."""
    compare = TargetFolder._compare

    def edited_afterwards(*args):
        compare(*args)
        Path(folder.path, "c/0").write_bytes(b"x" * 256)

    monkeypatch.setattr(TargetFolder, "_compare", edited_afterwards)
    assert folder.read_range("c/0", 3, 6) == b"\3\4\5"
    with pytest.raises(errors.TargetCorrupt):
        folder.read_range("c/0", 3, 6)


@pytest.mark.parametrize(
    "name", ["../record", "c/../../x", "/etc/passwd", "c//0", ".", "", "c\\0", "a\0b"]
)
def test_a_name_that_leads_out_is_refused(folder, name):
    """Whatever a store's metadata say, nothing outside of the folder is read."""
    with pytest.raises(errors.UnsafePath):
        folder.read(name)


def test_a_folder_without_its_manifest_is_hashed_as_a_whole(folder):
    """It can be read as before; what isn't as recorded is refused all the same."""
    forget_manifest(Root(os.path.dirname(folder.path)), folder.expected)
    assert pickle.loads(pickle.dumps(folder)).read("meta") == b"top"
    rewrite(folder, "c/0", b"\1" * 256)
    with pytest.raises(errors.TargetCorrupt, match="result"):
        pickle.loads(pickle.dumps(folder)).read("meta")


def test_a_manifest_that_was_tampered_with_counts_for_nothing(folder):
    """Its name is its hash."""
    rewrite(folder, "meta", b"pot")
    (path,) = Path(folder.manifests).rglob("*.json")
    with open(path) as file:
        text = file.read()
    forged = {name: digest for name, _, digest in storage.manifest_of(folder.path)}["meta"]
    honest = {name: digest for name, (_, digest) in folder.files.items()}["meta"]
    with open(path, "w") as file:
        file.write(text.replace(honest, forged))
    os.utime(path, (0, 0))
    other = TargetFolder(folder.path, folder.expected, os.path.realpath(folder.manifests) + "/.", "node")
    with pytest.raises(errors.TargetCorrupt):
        other.read("meta")


def test_a_manifest_that_is_there_is_kept_and_a_damaged_one_is_written_again(root, folder):
    """Equal folders have one manifest, which a commit leaves alone if it says what it should."""
    part = storage.part_of(folder.path)
    (path,) = Path(folder.manifests).rglob("*.json")
    before, content = os.stat(path), path.read_bytes()
    keep_manifest(root, part.file_hash, part.manifest)
    assert os.stat(path) == before
    path.write_bytes(content[:-1])
    keep_manifest(root, part.file_hash, part.manifest)
    assert path.read_bytes() == content


def test_a_replaced_folder_is_not_called_damaged(root, folder):
    """Who has a result open while it is made anew hears what happened."""
    folder.read("meta")
    os.makedirs(f"{root.path}/new/c")
    storage.replace(root, f"{root.path}/new", "result.d", storage.stamp(folder.path))
    with pytest.raises(errors.TargetModified, match="replaced"):
        folder.read("c/0")


@pytest.mark.parametrize("names", [["only"], ["meta", "c/0"]], ids=["other names", "same names"])
def test_a_stamp_is_of_one_folder(root, folder, monkeypatch, names):
    """A folder that is replaced while it is looked at has the stamp of the old one or of the new one."""
    new = f"{root.path}/new"
    os.makedirs(f"{new}/c")
    for name in names:
        with open(f"{new}/{name}", "xb") as file:
            file.write(b"12345")
    expected = storage.stamp(new)
    look = os.stat

    def replacing(path, *args, **kwargs):
        """Looks, and replaces the folder between the first file and the second."""
        found = look(path, *args, **kwargs)
        if path == f"{folder.path}/c/0" and os.path.lexists(new):
            monkeypatch.setattr(os, "stat", look)
            storage.replace(root, new, "result.d", None)
        return found

    monkeypatch.setattr(os, "stat", replacing)
    assert storage.stamp(folder.path) == expected


def test_a_link_that_leads_nowhere_is_an_error(tmp_path):
    """Not one file less, which Zarr would take for the fill value."""
    (tmp_path / "0").symlink_to(tmp_path / "gone")
    with pytest.raises(errors.SourceMissing, match="0"):
        folder_hashes(str(tmp_path))


def test_sources_follow_links_and_count_hidden_files(tmp_path):
    """All that Zarr would read counts."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "0").write_bytes(b"x")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / ".zarray").write_bytes(b"y")
    (tmp_path / "source" / "c").symlink_to(tmp_path / "elsewhere")
    hashes = folder_hashes(str(tmp_path / "source"))
    assert [name for name, _ in hashes] == [".zarray", "c/0"]
    assert hashes == folder_hashes(str(tmp_path / "source"), fresh=True)


def test_a_source_that_changed_is_refused(tmp_path):
    """The memo says what a file was; what is read is verified."""
    from daskcache.hashing.encoder import hash_value

    path = tmp_path / "file"
    path.write_bytes(b"abc")
    folder = SourceFolder(str(tmp_path), hash_value(folder_hashes(str(tmp_path))))
    assert pickle.loads(pickle.dumps(folder)).read("file") == b"abc"
    assert folder.read("file") == b"abc"
    path.write_bytes(b"abd")
    with pytest.raises(errors.SourceChanged, match="file"):
        folder.read("file")
    with pytest.raises(errors.SourceChanged):
        SourceFolder(str(tmp_path), folder.expected).read("file")
