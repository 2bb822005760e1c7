"""Results that are files or folders of any kind: their value is their path, cold and warm."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import dask
import numpy as np
import pytest

import daskcache as dc
from daskcache.errors import (
    FormatLimit,
    GraphError,
    ResultError,
    TargetCorrupt,
    TargetModified,
    UnknownFormat,
)
from daskcache.planning.planner import Planner


@dc.delayed(target="movies/{name}.mp4", save=False, ignore="runs")
def movie(name, runs, target_path, frames=b"frames"):
    runs.note("movie")
    Path(target_path).write_bytes(frames)


@dc.delayed(target=dc.FolderTarget("tiles/{name}"), save=False, ignore="runs")
def tiles(name, runs, target_path, count=2):
    runs.note("tiles")
    for i in range(count):
        folder = Path(target_path, f"row {i}")
        folder.mkdir(parents=True)
        (folder / "tile.txt").write_text(f"tile {i}")


@dc.delayed(target="seen/{path.stem}.json", ignore="runs")
def seen(path, runs):
    """The name of a file or folder, and its texts."""
    runs.note("seen")
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
    return [path.name, [file.read_text() for file in files]]


MADE = {"movie": movie, "tiles": tiles}
SEEN = {"movie": ["a.mp4", ["frames"]], "tiles": ["a", ["tile 0", "tile 1"]]}


@pytest.mark.parametrize("name", MADE)
def test_the_value_is_the_path(root, runs, name):
    """In every run, whichever way it is read; the same function runs once."""
    node = MADE[name]("a", runs)
    path = Path(node.dc.path)
    again = MADE[name]("a", runs)
    (cold,) = dask.compute(node)
    assert [cold, node.compute(), node.dc.load(), node.dc.open(), again.compute()] == [path] * 5
    assert path.is_absolute()
    assert path.exists()
    assert type(cold) is type(path)
    assert runs.take() == [name]
    assert dask.compute(again)[0] == path


@pytest.mark.parametrize("inline", ["64 kiB", "0"])
@pytest.mark.parametrize("name", MADE)
def test_a_node_downstream_gets_the_path(root, runs, name, inline):
    """Within the run that makes it, and from the cache; small files are no other values."""
    with dask.config.set({"daskcache.inline": inline}):
        assert seen(MADE[name]("a", runs), runs).compute() == SEEN[name]
        shutil.rmtree(root / "seen")
        assert seen(MADE[name]("a", runs), runs).compute() == SEEN[name]
    assert runs.take() == sorted([name, "seen", "seen"])


def test_the_hot_cache_gives_no_path_of_another_root(root, runs, tmp_path):
    """Equal files in two roots have two paths."""
    paths = []
    for name in ("one", "two"):
        with dask.config.set({"daskcache.hot-cache": "1 MiB", "daskcache.root": str(tmp_path / name)}):
            node = movie("a", runs)
            paths += [node.compute(), node.compute(), node.dc.load()]
    assert paths == [tmp_path / "one/movies/a.mp4"] * 3 + [tmp_path / "two/movies/a.mp4"] * 3


@pytest.mark.parametrize("name", MADE)
def test_a_root_that_moved_gives_the_new_path(root, runs, tmp_path, name):
    MADE[name]("a", runs).compute()
    runs.take()
    moved = tmp_path / "moved"
    shutil.move(root, moved)
    with dask.config.set({"daskcache.root": str(moved)}):
        node = MADE[name]("a", runs)
        assert node.compute() == Path(node.dc.path)
        assert str(node.compute()).startswith(str(moved))
    assert runs.take() == []


@pytest.mark.parametrize("name", MADE)
def test_a_file_is_verified_before_its_path_is_handed_on(root, runs, name):
    """A damaged byte is an error for whoever asks for the path, though size and mtime stay."""
    node = MADE[name]("a", runs)
    path = node.compute()
    entry = Planner().look(node._recipe).entry
    entry.read_only = True
    file = path if path.is_file() else path / "row 1/tile.txt"
    found = file.stat()
    file.write_bytes(b"X" + file.read_bytes()[1:])
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))
    for access in (entry.load, entry.lend, entry.open):
        with pytest.raises(TargetCorrupt):
            access()
    with pytest.warns(match="made again"):
        assert seen(node, runs).compute() == SEEN[name]


@pytest.mark.parametrize("name", MADE)
def test_an_edited_file_is_modified(root, runs, name):
    """Nothing runs over it; once adopted, it is the result, and what follows runs again."""
    node = MADE[name]("a", runs)
    after = seen(node, runs)
    after.compute()
    path = Path(node.dc.path)
    edited = path if path.is_file() else path / "row 2.txt"
    edited.write_text("edited")
    assert node.dc.state == "modified"
    with pytest.raises(TargetModified):
        after.compute()
    dc.adopt(node)
    assert "edited" in after.compute()[1]
    assert node.compute() == path


def test_names_tell_equal_files_apart(root, runs):
    """A function may take a label from the path: two blank wells are not one."""
    blank = [movie(well, runs, frames=b"") for well in ("A01", "A02")]
    names = [seen(each, runs).compute() for each in blank]
    assert [name for name, _ in names] == ["A01.mp4", "A02.mp4"]
    assert runs.take() == ["movie", "movie", "seen", "seen"]


def test_equal_bytes_at_the_same_path_stop_the_reruns(root, runs):
    """Early cutoff: other code that writes the same file leaves what follows as it is."""
    for version in (1, 2):
        write = dc.delayed(_write, target="out/a.dat", save=False, version=version)
        seen(write(), runs).compute()
    assert runs.take() == ["seen"]


def _write(target_path):
    Path(target_path).write_bytes(b"same")


@pytest.mark.parametrize("name", MADE)
def test_another_template_gives_another_path(root, runs, name):
    """The result is copied, not made again; a function that sees the new name runs again."""
    made = MADE[name]
    assert seen(made("a", runs), runs).compute()[0] == SEEN[name][0]
    target = "b.mp4" if name == "movie" else dc.FolderTarget("b")
    renamed = dc.delayed(made._spec.func, target=target, save=False, ignore="runs")("a", runs)
    assert renamed.compute() == root / f"b{'.mp4' if name == 'movie' else ''}"
    label, texts = seen(renamed, runs).compute()
    assert (label.startswith("b"), texts) == (True, SEEN[name][1])
    assert runs.take() == sorted([name, "seen", "seen"])


def test_another_suffix_is_made_anew(root, runs):
    """A file is not renamed to another format: the function may decide by the suffix."""
    for suffix in (".obj", ".ply"):
        node = dc.delayed(_by_suffix, target=f"a{suffix}", save=False, version=1, ignore="runs")(runs)
        assert "copied" not in str(dc.plan(node))
        assert node.compute().read_text() == suffix
    assert runs.take() == ["mesh", "mesh"]


def _by_suffix(runs, target_path):
    runs.note("mesh")
    Path(target_path).write_text(Path(target_path).suffix)


def test_a_path_is_not_rewritten_as_an_image(root, runs):
    """The other format has the same code and trace, but can't hold a path: the function runs."""
    for suffix, expected in ((".svg", root / "a.svg"), (".tif", np.eye(3))):
        node = dc.delayed(_image, target=f"a{suffix}", save=False, version=1, ignore="runs")(runs)
        assert np.array_equal(node.compute(), expected)
    assert runs.take() == ["image", "image"]


def _image(runs, target_path):
    runs.note("image")
    if target_path.endswith(".tif"):
        dc.ImageTarget(target_path).write(np.eye(3), target_path)
    else:
        Path(target_path).write_text("<svg/>")


@pytest.mark.parametrize("kind", [dc.FileTarget, dc.FolderTarget])
def test_a_path_with_the_hash_of_its_content(root, runs, kind):
    """Equal contents share it, it is complete in later runs, and intact for an audit."""
    function = _write if kind is dc.FileTarget else _make
    node = dc.delayed(function, target=kind("{data_hash}.bin"), save=False)()
    path = node.compute()
    assert node.dc.record["data_hash"].endswith(path.stem)
    assert node.compute() == path == node.dc.load()
    assert node.dc.record["data_hash"].endswith(kind("a").hash_file(str(path)))
    assert [finding.outcome for finding in dc.audit(node).findings] == ["same"]


def _make(target_path):
    os.mkdir(target_path)
    Path(target_path, "a").write_bytes(b"same")


def test_an_empty_folder_is_a_result(root, runs):
    """But a function that makes none has forgotten it."""

    @dc.delayed(target=dc.FolderTarget("none"), save=False)
    def none(target_path):
        os.mkdir(target_path)

    for _ in range(2):
        assert list(none().compute().iterdir()) == []
    assert none().dc.state == "complete"
    with pytest.raises(ResultError, match="did not"):
        tiles("forgotten", runs, count=0).compute()


# ---- which class it is ----------------------------------------------------------------------------


def test_an_unknown_suffix_needs_a_function_that_writes_the_file():
    """The error says how; suffixes with a format keep it, with ``save=False`` too."""
    with pytest.raises(UnknownFormat, match=r"target_path.*save=False") as caught:
        dc.delayed(_write, target="a.mp4")
    assert "save=False" in caught.value.hint
    formats = {"a.mp4": dc.FileTarget, "a.json": dc.JSONTarget, "a.tar.gz": dc.FileTarget}
    for path, kind in formats.items():
        assert type(dc.delayed(_write, target=path, save=False)._spec.formats[0]) is kind


def test_several_results_of_which_some_are_files(root):
    @dc.delayed(target=("b/{n}.avi", "b/{n}.json"), save=False)
    def both(n, target_path):
        film, facts = map(Path, target_path)
        film.write_bytes(b"film")
        facts.write_text("[1]")

    for _ in range(2):
        assert both(1).compute() == (root / "b/1.avi", [1])


def test_a_parameter_of_the_class_gets_the_target(root, runs):
    @dc.delayed
    def path_of(movie: dc.FileTarget):
        return movie.path

    assert path_of(movie("a", runs)).compute() == str(root / "movies/a.mp4")


def test_files_have_no_address_as_in_cpr():
    for kind in (dc.FileTarget, dc.FolderTarget, dc.FigureTarget, dc.PNGTarget):
        with pytest.raises(GraphError, match="can't have an address"):
            kind.from_path("a.png")


# ---- what is refused ------------------------------------------------------------------------------


def _left(make, target):
    """Return the error of a function that leaves something at its target's path."""
    node = dc.delayed(lambda target_path: make(Path(target_path)), target=target, save=False)()
    with pytest.raises(FormatLimit) as caught:
        node.compute()
    assert caught.value.target == node.dc.path
    assert caught.value.node
    assert not os.path.lexists(node.dc.path)
    return caught.value


def _folder(path):
    path.mkdir()
    (path / "a").write_text("a")


@pytest.mark.parametrize("target", ["a.mp4", "tiles/a", "a.json"])
def test_a_folder_in_place_of_a_file(root, target):
    """The error names the class for folders."""
    assert f"FolderTarget('{target}')" in _left(_folder, target).hint


def test_a_file_in_place_of_a_folder(root):
    for target in (dc.FolderTarget("a"), "a.zarr"):
        assert "left a file, not a folder" in str(_left(lambda path: path.write_text("a"), target))


def test_a_link_is_no_result(root, tmp_path):
    """It would leave the data where somebody may delete them."""
    (tmp_path / "data").write_bytes(b"data")
    error = _left(lambda path: path.symlink_to(tmp_path / "data"), "a.dat")
    assert "a link to a file" in str(error)
    assert (tmp_path / "data").read_bytes() == b"data"


def test_a_link_to_a_folder_in_a_folder(root, tmp_path):
    (tmp_path / "more").mkdir()

    def make(path):
        path.mkdir()
        (path / "link").symlink_to(tmp_path / "more")

    assert "'link'" in str(_left(make, dc.FolderTarget("a")))


# ---- paths that are returned ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_returned_path_leads_to_is_copied(root, tmp_path, kind):
    """The original stays; the value is the target's path."""
    original = tmp_path / "original.dat"
    (original.write_bytes if kind == "file" else lambda _: _folder(original))(b"data")
    target = dc.FileTarget("a.dat") if kind == "file" else dc.FolderTarget("a.dat")
    node = dc.delayed(lambda: original, target=target, version=1)()
    assert node.compute() == root / "a.dat" == node.compute()
    contents = [path if kind == "file" else path / "a" for path in (original, root / "a.dat")]
    assert len({path.read_bytes() for path in contents}) == 1


@pytest.mark.parametrize(
    ("value", "story"),
    [
        ("a.dat", "it is a str"),
        (b"data", "it is a bytes"),
        (Path("nowhere.dat"), "there is no"),
        (np.zeros(3), "it is a ndarray"),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", [dc.FileTarget, dc.FolderTarget])
def test_other_values_are_refused(root, kind, value, story):
    node = dc.delayed(lambda: value, target=kind("a.dat"), version=1)()
    with pytest.raises(FormatLimit, match=story) as caught:
        node.compute()
    assert "target_path" in caught.value.hint
