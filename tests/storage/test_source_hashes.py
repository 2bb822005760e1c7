"""When the look of a file vouches for its content."""

from __future__ import annotations

import os

import pytest

from daskcache.storage import source_hashes as memo

HOUR_NS = 3600 * 10**9


@pytest.fixture(autouse=True)
def anew():
    """What the system says is asked for in each test."""
    memo._storing_ns.cache_clear()
    yield
    memo._storing_ns.cache_clear()


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Sets at which age the system stores pages, and how often it looks; in hundredths of a second."""

    def says(age, interval):
        paths = tmp_path / "age", tmp_path / "interval"
        for path, text in zip(paths, (age, interval), strict=True):
            path.write_text(f"{text}\n")
        monkeypatch.setattr(memo, "_STORING", tuple(map(str, paths)))

    return says


@pytest.fixture
def kind(monkeypatch):
    """Sets the number by which the system knows the kind of a file system."""

    def is_(number):
        def fstatfs(descriptor, buffer):
            buffer.raw = number.to_bytes(8, "little")
            return 0

        monkeypatch.setattr(memo, "_fstatfs", lambda: fstatfs)

    return is_


def settled(seconds):
    with open(__file__, "rb") as file:
        return memo.is_settled(file.fileno(), 0, int(seconds * 1e9))


@pytest.mark.parametrize(
    ("age", "interval", "least"),
    [(3000, 500, 35), (60_000, 60_000, 1200), (1, 1, 2), ("nonsense", 1, 60)],
)
def test_a_file_has_to_be_left_alone(system, kind, age, interval, least):
    """For longer than the system takes to store a page, and than a tick of the coarsest clock."""
    kind(0xEF53)
    system(age, interval)
    assert not settled(least)
    assert settled(10 * least)


def test_pages_that_nothing_stores(system, kind):
    """Where pages are stored only when memory is short, times never say anything."""
    kind(0xEF53)
    system(3000, 0)
    assert not settled(1e9)


@pytest.mark.parametrize("number", [0x01021994, 0x858458F6, 0x958458F6])
def test_file_systems_in_memory(kind, number):
    """There, times never say anything."""
    kind(number)
    assert not settled(1e9)


def test_a_file_system_that_can_not_be_told(monkeypatch):
    """It is taken for one in memory."""
    monkeypatch.setattr(memo, "_fstatfs", lambda: lambda descriptor, buffer: -1)
    assert not settled(1e9)


@pytest.mark.parametrize("folder", [f for f in ("/dev/shm", "/proc") if os.path.isdir(f)])
def test_what_this_system_says(folder):
    """`/dev/shm` is in memory; another kind of file system is not."""
    expected = folder == "/dev/shm"
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        assert memo._is_in_memory(descriptor) == expected
    finally:
        os.close(descriptor)
