"""Places of targets: one contract, which files and tables keep, and the choice between them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from daskcache.errors import StorageError, UnsafePath
from daskcache.storage import files, trash
from daskcache.storage.files import place_of
from daskcache.storage.place import FilePlace
from daskcache.storage.roots import Root
from daskcache.storage.tables import tables
from daskcache.storage.tables.rows import Rows
from daskcache.storage.tables.tables import TablePlace


@pytest.fixture
def made(tmp_path):
    """A root that exists."""
    root = Root(str(tmp_path / "root"))
    root.create()
    return root


class InFiles:
    """Targets that are files."""

    target, place = "sub/x.json", FilePlace

    def write(self, path, number):
        files.write_part(path, [str(number).encode()])

    def number_at(self, path):
        return int(Path(path).read_bytes())


class InFolders(InFiles):
    """Targets that are folders of files."""

    target = "sub/x.zarr"

    def write(self, path, number):
        files.write_part(f"{path}/c/0", [str(number).encode()])

    def number_at(self, path):
        return int(Path(path, "c/0").read_bytes())


class InTables:
    """Targets that are tables of a SQLite file."""

    target, place = "sub/x.db::t", TablePlace

    def write(self, path, number):
        tables.write(path, Rows(["x"], ["integer"], [[number]]))

    def number_at(self, path):
        return tables.existing(path).columns[0][0]


@pytest.fixture(params=[InFiles, InFolders, InTables])
def kind(request):
    return request.param()


def written(root, kind, number):
    """A part, and what is known of it."""
    path = f"{files.part_folder(root)}/{kind.target.rpartition('/')[2]}"
    kind.write(path, number)
    return files.part_of(path)


def stored(root, kind, number):
    """A target that is in place, with its part as it was."""
    part = written(root, kind, number)
    files.put_new(root, part.path, kind.target)
    return part


def test_a_path_says_what_kind_of_place_it_is(made, kind):
    """From the root or absolute, of a target or of a part."""
    for path in (kind.target, made.absolute(kind.target), f"{made.parts}/0123/{kind.target}"):
        assert type(place_of(path)) is kind.place
    assert place_of(kind.target).has_files == (kind.place is FilePlace)


def test_a_free_place(made, kind):
    """Nothing is there: no stamp, no content, and nothing to remove."""
    path = made.absolute(kind.target)
    assert files.stamp(path) is None
    assert not files.exists(path)
    with pytest.raises(FileNotFoundError):
        files.file_hash(path)
    with pytest.raises(StorageError, match="written"):
        files.part_of(path)
    files.discard(path)


def test_a_part_is_put_in_place(made, kind):
    """The target is what its part was, and the part is gone."""
    part, path = stored(made, kind, 1), made.absolute(kind.target)
    assert files.exists(path)
    assert files.stamp(path) == part.stamp
    assert files.file_hash(path) == part.file_hash
    assert kind.number_at(path) == 1
    assert not files.exists(part.path)


def test_a_place_that_is_taken_stays_taken(made, kind):
    """What is there is not replaced, and the part is still to be had."""
    stored(made, kind, 1)
    part = written(made, kind, 2)
    with pytest.raises(FileExistsError):
        files.put_new(made, part.path, kind.target)
    assert kind.number_at(made.absolute(kind.target)) == 1
    assert files.part_of(part.path) == part


def test_a_recorded_target_is_replaced(made, kind):
    """Nothing of it is left."""
    old, new = stored(made, kind, 1), written(made, kind, 2)
    assert files.replace(made, new.path, kind.target, old.stamp) is None
    path = made.absolute(kind.target)
    assert (kind.number_at(path), files.stamp(path)) == (2, new.stamp)
    assert not files.exists(new.path)
    assert trash.listed(made) == []


def test_a_target_that_is_not_as_recorded_is_displaced(made, kind):
    """It is set aside under another path, from where it can be put back."""
    old, new = stored(made, kind, 1), written(made, kind, 2)
    displaced = files.replace(made, new.path, kind.target, new.stamp)
    assert kind.number_at(displaced) == 1
    assert kind.number_at(made.absolute(kind.target)) == 2
    trash.keep(made, made.absolute(kind.target), kind.target, "removed")
    files.put_new(made, displaced, kind.target)
    assert files.stamp(made.absolute(kind.target)) == old.stamp


def test_a_target_is_set_aside(made, kind):
    """Its place is free then; what was there is kept as it was."""
    part, path = stored(made, kind, 1), made.absolute(kind.target)
    kept = trash.keep(made, path, kind.target, "removed")
    assert not files.exists(path)
    assert files.file_hash(kept) == part.file_hash
    assert len(trash.listed(made)) == kind.target.count(".json") + kind.target.count(".zarr")


def test_a_failed_move_leaves_no_trash(made, kind):
    """What is outside of the root is not moved, and the folder made for it is gone."""
    with pytest.raises(UnsafePath):
        trash.keep(made, f"{made.path}/../{kind.target}", kind.target, "removed")
    assert os.listdir(made.trash) == []


def test_a_part_that_is_discarded_is_gone(made, kind):
    """Nothing is left to be put in place."""
    part = written(made, kind, 1)
    files.discard(part.path)
    with pytest.raises(StorageError, match="written"):
        files.part_of(part.path)


def test_a_path_moves_together_with_a_folder(made, kind):
    """Unless it names a database by a name of the configuration."""
    assert files.relative(made.absolute(kind.target), made.path) == kind.target
    if kind.place is TablePlace:
        assert files.relative("lab::t", made.path) == "lab::t"


def test_tables_ask_before_they_replace(made):
    """Once other writers are locked out, the check sees the table that is there, and can stop it."""
    kind, seen = InTables(), []
    old, new = stored(made, kind, 1), written(made, kind, 2)
    with pytest.raises(files.Overtaken):
        files.replace(made, new.path, kind.target, old.stamp, lambda stamp: seen.append(stamp))
    assert seen == [old.stamp]
    assert kind.number_at(made.absolute(kind.target)) == 1
