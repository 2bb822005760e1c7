"""Files that are checked as they are read."""

from __future__ import annotations

import os
from random import Random

import pytest

from daskcache.errors import SourceChanged
from daskcache.hashing.algorithms import digest
from daskcache.storage import verified_files
from daskcache.storage.verified_files import CHANGED, VerifiedFile

BLOCK = 64


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks so small that a small file has many."""
    monkeypatch.setattr(verified_files, "_BLOCK", BLOCK)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "content"
    path.write_bytes(Random(0).randbytes(1_000))
    return path


def opened_by(path, verify):
    return VerifiedFile(open(path, "rb", buffering=0), verify)


def refuse(found):
    raise SourceChanged(f"it has the hash {found}")


def test_any_part_can_be_read(path):
    """Reads anywhere, of any length, give the bytes of the file; it is hashed once."""
    content, seen, random = path.read_bytes(), [], Random(1)
    with opened_by(path, seen.append) as file:
        for _ in range(500):
            start, size = random.randrange(1_100), random.choice([0, 1, 10, BLOCK, 3 * BLOCK, 2_000])
            assert file.seek(start) == start
            assert file.read(size) == content[start : start + size]
            assert file.tell() == start + len(content[start : start + size])
        assert file.seek(-3, os.SEEK_END) == 997
        assert file.seek(1, os.SEEK_CUR) == 998
        assert file.read() == content[998:]
    assert seen == [digest(content)]


@pytest.mark.parametrize("content", [b"", b"a", bytes(BLOCK), bytes(BLOCK + 1)], ids=len)
def test_a_whole_file_is_hashed_as_it_is_read(path, content):
    """Whether it is read at once or in parts."""
    path.write_bytes(content)
    for size in (-1, None, 10):
        seen = []
        with opened_by(path, seen.append) as file:
            assert file.read(size) == (content[:10] if size == 10 else content)
        assert seen == [digest(content)]


def read_leniently(file, size):
    """Read as a decoder does that swallows errors."""
    try:
        return file.read(size)
    except SourceChanged:
        return None


@pytest.mark.parametrize("size", [-1, 10])
def test_a_refused_content_is_never_returned(path, size):
    """Not even to a decoder that swallows errors."""
    with pytest.raises(SourceChanged), opened_by(path, refuse) as file:
        assert read_leniently(file, size) is None


@pytest.mark.parametrize("size", [5, BLOCK, 3 * BLOCK])
@pytest.mark.parametrize("change", ["one byte", "cut"])
def test_a_change_after_the_check_is_noticed(path, size, change):
    """Each part is compared with what was hashed, also by a decoder that swallows errors."""
    content = path.read_bytes()
    changed = content[: 5 * BLOCK + 3]
    if change == "one byte":
        changed += bytes([content[len(changed)] ^ 1]) + content[len(changed) + 1 :]

    def decode():
        with opened_by(path, verify) as file:
            assert file.read(1) == content[:1]
            path.write_bytes(changed)
            file.seek(5 * BLOCK)
            assert read_leniently(file, size) is None

    def verify(found):
        if found == CHANGED:
            refuse(found)

    with pytest.raises(SourceChanged):
        decode()
