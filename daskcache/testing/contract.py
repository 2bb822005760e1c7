"""`TargetContract`, the tests that every target class must pass.

daskcache tests its own formats with it, and other packages can test theirs.  `assertions` has helpers
for tests of graphs.
"""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cloudpickle
import dask

from ..errors import DaskcacheError, DaskcacheWarning, FormatLimit, TargetError, UnhashableArgument
from ..graph.function import delayed
from ..hashing.encoder import hash_value
from ..planning.planner import Planner
from ..targets.base import Target


class TargetContract:
    """Tests that a target class must pass.  Subclass it in a test module that pytest collects.

    Attributes
    ----------
    target : Target
        Instance of the class, with a path.
    values : list
        Values that the format holds, at least two and all different.
    refused : list
        Values that the format must refuse with `FormatLimit`.
    holds_none : bool
        True if the format holds None.  Else it must ask "forgot to return?", as `Target.limit` does.

    Notes
    -----
    Override `content` and `damages` for a format whose results are neither files nor folders.  Override
    `loaded` if `Target.open` returns an unusual object, and `same` if values need their own equality.

    Examples
    --------
    >>> class TestPoints(TargetContract):
    ...     target = PointsTarget("a.pts")                                      # doctest: +SKIP
    ...     values = [[(0, 0)], [(1, 2), (3, 4)]]
    ...     refused = ["text", [(1.5, 2)]]
    """

    target: Target
    values: list[Any]
    refused: list[Any] = []  # noqa: RUF012 (subclasses replace it)
    holds_none = False

    # ---- to override for unusual formats --------------------------------------------------------

    def same(self, got: Any, value: Any) -> bool:
        """Return True if a value came back unchanged, with the same type and hash."""
        if type(got) is not type(value):
            return False
        try:
            return hash_value(got) == hash_value(value)
        except UnhashableArgument:
            return self.target.hash(got) == self.target.hash(value)

    def loaded(self, opened: Any, value: Any) -> Any:
        """Load the whole value from the object that `Target.open` returned."""
        if type(opened) is type(value):
            return opened
        if hasattr(opened, "__dask_graph__"):
            return opened.compute(scheduler="sync")
        if hasattr(opened, "__array__"):
            import numpy as np

            return np.asarray(opened)
        return opened

    def place(self, folder: Path) -> str:
        """Return the path to write to in an empty folder."""
        return f"{folder}/{os.path.basename(self.target.path)}"

    def content(self, path: str) -> Any:
        """Return the bytes stored at `path`, or for a folder a dict of bytes by file name."""
        if os.path.isfile(path):
            return Path(path).read_bytes()
        return {os.path.relpath(file, path): Path(file).read_bytes() for file in _files(path)}

    def damages(self, path: str) -> Iterator[str]:
        """Damage the result at `path` in one way after the other, and yield a description of each.

        Each damage is undone before the next.  Sizes and times stay as they were where possible.
        """
        for file in _files(path):
            yield from _damages_of_file(file)
        if os.path.isdir(path):
            for file in _files(path):
                yield from _removal(file)
            extra = Path(path, "extra")
            extra.write_bytes(b"")
            yield "a file more"
            extra.unlink()

    # ---- writing and reading --------------------------------------------------------------------

    def test_what_is_written_is_read(self, tmp_path):
        """A value comes back with equal type and content, and writing does not change it."""
        for folder, value in self._each(tmp_path):
            before, path = self.target.hash(value), self.place(folder)
            self.target.write(value, path)
            _expect(self.target.hash(value) == before, "write() changed the value itself")
            got = self.target.read(path)
            _expect(self.same(got, value), f"read() gives {_brief(got)} for {_brief(value)}")

    def test_what_is_read_is_nobody_elses(self, tmp_path):
        """`read` returns the content of the file, even if another instance wrote it."""
        for folder, value in self._each(tmp_path):
            path, twin = self.place(folder), pickle.loads(cloudpickle.dumps(self.target))
            self.target.write(value, path)
            got = twin.read(path)
            _expect(self.same(got, value), f"another instance reads {_brief(got)} for {_brief(value)}")

    def test_open_gives_what_read_gives(self, tmp_path):
        """`open` gives access to the same value as `read`."""
        for folder, value in self._each(tmp_path):
            path = self.place(folder)
            self.target.write(value, path)
            got = self.loaded(self.target.open(path), value)
            _expect(self.same(got, value), f"open() gives {_brief(got)} for {_brief(value)}")

    def test_equal_values_are_stored_alike(self, tmp_path):
        """A value that is written twice gives the same bytes."""
        for folder, value in self._each(tmp_path):
            contents = []
            for name in ("one", "two"):
                (folder / name).mkdir()
                path = self.place(folder / name)
                self.target.write(value, path)
                contents.append(self.content(path))
            _expect(contents[0] == contents[1], f"two files of {_brief(value)} differ")

    def test_nothing_is_replaced(self, tmp_path):
        """`write` refuses a path where a file or folder is, and does not change it."""
        path = self.place(tmp_path)
        first, second = self.values[:2]
        self.target.write(first, path)
        before = self.content(path)
        with _expected(OSError, DaskcacheError, doing="writing to a path where something is"):
            self.target.write(second, path)
        _expect(self.content(path) == before, "write() changed what was there")
        if isinstance(before, bytes):
            Path(path).write_bytes(b"mine")
            with _expected(OSError, DaskcacheError, doing="writing to a path where a file is"):
                self.target.write(second, path)
            _expect(Path(path).read_bytes() == b"mine", "write() changed a file that it did not write")

    def test_what_it_can_not_hold_is_refused(self, tmp_path):
        """A value that the format can't hold raises `FormatLimit` with a hint, and is not stored."""
        for folder, value in self._each(tmp_path, self.refused):
            with _expected(FormatLimit, doing=f"writing {_brief(value)}") as caught:
                self.target.write(value, self.place(folder))
            _expect(caught[0].hint, f"the FormatLimit of {_brief(value)} has no hint")
            with _rooted(folder / "root"):
                node = self._node(value)
                with _expected(FormatLimit, doing=f"computing {_brief(value)}") as caught:
                    node.compute()
                _expect(caught[0].target == node.dc.path, "the FormatLimit names no target")
                _expect(not os.path.lexists(node.dc.path), f"a node stored {_brief(value)}")

    def test_none_is_asked_about(self, tmp_path):
        """None is stored, or refused with the question "forgot to return?"."""
        path = self.place(tmp_path)
        if self.holds_none:
            self.target.write(None, path)
            _expect(self.target.read(path) is None, "None does not come back")
            return
        with _expected(FormatLimit, doing="writing None") as caught:
            self.target.write(None, path)
        _expect(caught[0].hint == "forgot to return?", "raise Target.limit(value, …), which asks")

    # ---- hashes ---------------------------------------------------------------------------------

    def test_hashes_tell_values_apart(self):
        """`hash` returns 32 hex digits, equal for equal values and different for others."""
        hashes = [self.target.hash(value) for value in self.values]
        for value, hashed in zip(self.values, hashes, strict=True):
            _expect(re.fullmatch("[0-9a-f]{32}", str(hashed)), f"{_brief(hashed)} is not 32 hex digits")
            copy = pickle.loads(cloudpickle.dumps(value))
            _expect(self.target.hash(copy) == hashed, f"a copy of {_brief(value)} has another hash")
        _expect(len(set(hashes)) == len(hashes), "two different values have one hash")

    def test_hashes_are_the_same_in_another_process(self):
        """`hash` returns the same digits in every process."""
        code = (
            "import pickle, sys\n"
            "sys.path, *parts = pickle.load(sys.stdin.buffer)\n"
            "target, values = map(pickle.loads, parts)\n"
            "print([target.hash(value) for value in values])\n"
        )
        parts = [sys.path, cloudpickle.dumps(self.target), cloudpickle.dumps(self.values)]
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=pickle.dumps(parts),
            capture_output=True,
            env={**os.environ, "PYTHONHASHSEED": "12345"},
        )
        _expect(done.returncode == 0, done.stderr.decode())
        here = repr([self.target.hash(value) for value in self.values])
        _expect(done.stdout.decode().strip() == here, "another process gives other hashes")

    # ---- the target itself ----------------------------------------------------------------------

    def test_targets_are_values(self):
        """Targets with equal class, path and options are equal, and have a repr that can make them."""
        twin = pickle.loads(cloudpickle.dumps(self.target))
        _expect(twin == self.target and hash(twin) == hash(self.target), "a copy is not equal")
        start = f"{type(self.target).__name__}({self.target.path!r}"
        _expect(repr(self.target).startswith(start), f"its repr does not start with {start}")

    def test_the_same_format_at_another_path(self):
        """`at` keeps class and options, and does not change the target itself."""
        path = self.target.path
        other = self.target.at(f"elsewhere/{path}")
        _expect(type(other) is type(self.target), "at() gives another class")
        _expect(other.path == f"elsewhere/{path}" and self.target.path == path, "at() confuses paths")
        _expect(other != self.target, "targets at different paths are equal")
        _expect(other.at(path) == self.target, "at() loses options")

    # ---- in a graph -----------------------------------------------------------------------------

    def test_a_node_returns_what_its_target_reads(self, tmp_path):
        """A node has the same value in the run that makes it and in later runs, which read it."""
        for folder, value in self._each(tmp_path):
            with _rooted(folder):
                runs = []
                node = self._node(value, runs)
                again = self._node(value, runs).compute
                for access in (node.compute, node.compute, node.dc.load, again):
                    got = access()
                    _expect(self.same(got, value), f"a node gives {_brief(got)} for {_brief(value)}")
                got = self.loaded(node.dc.open(), value)
                _expect(self.same(got, value), f"dc.open() gives {_brief(got)} for {_brief(value)}")
                _expect(len(runs) == 1, f"the function ran {len(runs)} times")

    def test_damage_is_never_a_value(self, tmp_path):
        """A damaged result raises a `TargetError`, whether it is loaded or opened."""
        with _rooted(tmp_path):
            value = self.values[0]
            node = self._node(value)
            node.compute()
            entry = Planner().look(node._recipe).entry
            entry.read_only = True  # keep damaged files in place, so that damages() can restore them
            for what in self.damages(node.dc.path):
                with _expected(TargetError, doing=f"load() after damage ({what})"):
                    entry.load()
                with _expected(TargetError, doing=f"open() after damage ({what})"):
                    self.loaded(entry.open(), value)
            _expect(self.same(node.compute(), value), "damages() did not undo the damage")

    def test_what_is_damaged_is_made_again(self, tmp_path):
        """A node with a damaged result makes its value anew, or raises a `TargetError`."""
        with _rooted(tmp_path), warnings.catch_warnings():
            warnings.simplefilter("ignore", DaskcacheWarning)
            value = self.values[0]
            node = self._node(value)
            node.compute()
            what = next(iter(self.damages(node.dc.path)))
            with suppress(TargetError):
                _expect(self.same(node.compute(), value), f"a wrong value after damage ({what})")

    def _each(self, tmp_path, values=None):
        """Yield each value with an empty folder for it."""
        for i, value in enumerate(self.values if values is None else values):
            folder = tmp_path / str(i)
            folder.mkdir()
            yield folder, value

    def _node(self, value, runs=None):
        def result():
            if runs is not None:
                runs.append(1)
            return value

        return delayed(result, target=self.target, version="contract")()


def _files(path):
    if os.path.isfile(path):
        return [path]
    return sorted(f"{folder}/{name}" for folder, _, names in os.walk(path) for name in names)


def _damages_of_file(file):
    path, found = Path(file), os.stat(file)
    data = path.read_bytes()
    step = max(1, len(data) // 20)
    broken = {f"{path.name} cut to {n} bytes": data[:n] for n in range(0, len(data), step)}
    for i in range(0, len(data), step):
        broken[f"{path.name} with bit {i % 8} of byte {i} flipped"] = _flipped(data, i)
    broken[f"{path.name} with a byte more"] = data + b"\0"
    for what, content in broken.items():
        _write_at(path, content, found)
        yield what
    _write_at(path, data, found)


def _removal(file):
    path, found = Path(file), os.stat(file)
    data = path.read_bytes()
    path.unlink()
    yield f"{path.name} removed"
    _write_at(path, data, found)


def _write_at(path, content, found):
    """Write a file with the times that it had."""
    path.write_bytes(content)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def _flipped(data, i):
    return data[:i] + bytes([data[i] ^ (1 << i % 8)]) + data[i + 1 :]


def _brief(value):
    try:
        return repr(value)[:200]
    except Exception as error:  # noqa: BLE001 (a repr may raise anything)
        return f"a {type(value).__name__} ({error})"


@contextmanager
def _rooted(folder):
    with dask.config.set({"daskcache.root": str(folder), "scheduler": "sync"}):
        yield


def _expect(holds, message):
    """Raise an AssertionError with a message, under ``python -O`` too, unless `holds` is true."""
    if not holds:
        raise AssertionError(message)


@contextmanager
def _expected(*errors, doing):
    """Expect one of some errors, and yield a list that holds it after it was raised."""
    caught: list[Exception] = []
    names = " or ".join(error.__name__ for error in errors)
    try:
        yield caught
    except errors as error:
        caught.append(error)
    except Exception as error:
        raise AssertionError(f"{doing} raises {error!r:.300}, not {names}") from error
    else:
        raise AssertionError(f"{doing} raises nothing, where {names} should be")
