"""`dc.sources`: which files a pattern finds, what a sequence of sources does, and one as an input."""

from __future__ import annotations

import os
import pickle
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr

import daskcache as dc
from daskcache.errors import (
    GraphError,
    PatternError,
    SourceChanged,
    SourceMissing,
    SourceUnreadable,
    StorageError,
)
from daskcache.housekeeping.rebuild import source_changes

PATTERN = "raw/{plate}_{well}_s{site:d}.txt"


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """Twelve files of two plates, two wells and three sites, and one that has no number."""
    raw = tmp_path / "raw"
    raw.mkdir()
    for plate in ("P1", "P2"):
        for well in ("A02", "B10"):
            for site in (1, 2, 10):
                (raw / f"{plate}_{well}_s{site}.txt").write_text(f"{plate}{well}{site}")
    (raw / "P1_A02_sX.txt").write_text("thumbnail")
    (raw / "notes.md").write_text("two plates")
    monkeypatch.chdir(tmp_path)
    return raw


def names(sources):
    return [os.path.relpath(source.path, sources.folder) for source in sources]


# ---- which files ---------------------------------------------------------------------------------


def test_files_and_their_fields(raw):
    """Files that match are sources with fields, by path, numbers as numbers; others are left out."""
    found = dc.sources(PATTERN)
    assert len(found) == 12
    assert names(found)[:4] == [f"P1_A02_s{i}.txt" for i in (1, 2, 10)] + ["P1_B10_s1.txt"]
    assert found[2] == dc.TextSource(raw / "P1_A02_s10.txt")
    assert found[2].fields == {"plate": "P1", "well": "A02", "site": 10}
    assert found.fields["site"] == [1, 2, 10] * 4
    assert found.left_out == ("P1_A02_sX.txt",)


def test_absolute_patterns_and_paths(raw):
    """A pattern may be absolute, a Path, or begin with `..`; the sources are the same."""
    found = dc.sources(PATTERN)
    assert list(dc.sources(raw / "{plate}_{well}_s{site:d}.txt")) == list(found)
    assert dc.sources(f"{raw.parent}/{PATTERN}") == found
    assert dc.sources(f"../{raw.parent.name}/{PATTERN}") == found


FOLDERS = {
    "{plate}/{well}.txt": ["P1/A1.txt", "P1/A2.txt", "P1/A10.txt", "P2/A1.txt"],
    "P1/{well}.txt": ["A1.txt", "A2.txt", "A10.txt"],
    "**/{well}.txt": ["P1/A1.txt", "P1/A2.txt", "P1/A10.txt", "P1/late/A3.txt", "P2/A1.txt", "top.txt"],
    "*/{rest}.txt": ["P1/A1.txt", "P1/A2.txt", "P1/A10.txt", "P2/A1.txt"],
    "{plate}/.{name}.txt": ["P1/.hidden.txt"],
    "*.txt": ["top.txt"],
    "top.txt": ["top.txt"],
}


@pytest.mark.parametrize("pattern", FOLDERS)
def test_folders(tmp_path, pattern):
    """Fields may be names of folders, `**` is any number of them; hidden ones need a dot."""
    for name in (*FOLDERS["**/{well}.txt"], "P1/.hidden.txt", ".git/A1.txt", ".git/late/A1.txt"):
        path = tmp_path / "x" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert names(dc.sources(tmp_path / "x" / pattern)) == FOLDERS[pattern]


def test_the_class_and_its_options(raw):
    """The suffix decides the class, or `source` does; options are those of the class."""
    assert {type(source) for source in dc.sources("raw/*_s{n}.txt")} == {dc.TextSource}
    assert {type(source) for source in dc.sources("raw/{n}.md")} == {dc.FileSource}
    (raw / "latin.txt").write_bytes("é".encode("latin-1"))
    (latin,) = dc.sources("raw/{kind:l}.txt", encoding="latin-1")
    assert latin.get_data() == "é"
    assert latin == dc.TextSource(raw / "latin.txt", encoding="latin-1")
    assert set(map(type, dc.sources(PATTERN, source=dc.FileSource))) == {dc.FileSource}
    with pytest.raises(TypeError, match="colour"):
        dc.sources(PATTERN, colour="red")
    with pytest.raises(GraphError, match="sources"):
        dc.sources(PATTERN, source="text")
    with pytest.raises(StorageError, match="URL"):
        dc.sources("s3://bucket/{a}.txt")


def test_zarr_folders_are_files(tmp_path):
    """A folder counts where its class reads folders, and no other folder does."""
    for well in ("A1", "B2"):
        zarr.create_array(tmp_path / f"{well}.zarr", shape=(2,), dtype="i2", fill_value=3)
    (tmp_path / "C3.txt").mkdir()
    found = dc.sources(tmp_path / "{well}.zarr")
    assert [source.fields["well"] for source in found] == ["A1", "B2"]
    assert [array.tolist() for array in found.get_data()] == [[3, 3], [3, 3]]
    with pytest.raises(SourceMissing):
        dc.sources(tmp_path / "{well}.txt")


def test_links(raw, tmp_path):
    """They stand for what they point at; one that leads nowhere is an error that names it."""
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "P3_A02_s1.txt").write_text("far")
    (raw / "P3_A02_s1.txt").symlink_to("../far/P3_A02_s1.txt")
    (raw / "linked").symlink_to("../far")
    assert dc.sources(PATTERN)[-1].get_data() == "far"
    assert len(dc.sources("raw/**/{plate}_{well}_s{site:d}.txt")) == 14
    (tmp_path / "far" / "P3_A02_s1.txt").unlink()
    with pytest.raises(SourceMissing, match="P3_A02_s1"):
        dc.sources(PATTERN)


def test_a_file_that_matches_in_two_ways(raw):
    """It is an error that names the file, both readings and a cure, which works."""
    (raw / "P1_new_A02_s1.txt").touch()
    with pytest.raises(PatternError, match="two ways") as caught:
        dc.sources(PATTERN)
    assert caught.value.target == str(raw / "P1_new_A02_s1.txt")
    assert caught.value.got == "(plate='P1_new', well='A02') or (plate='P1', well='new_A02')"
    assert "{well:w}" in caught.value.hint
    assert "P1_new" in dc.sources(PATTERN.replace("{well}", "{well:w}")).fields["plate"]


NONE = {
    "raw/{plate}_{well}_s{site:d}.tif": ("P2_B10_s2.txt", "upper and lower case"),
    "raw/{plate:d}_{well}_s{site:d}.txt": ("P1_A02_s1.txt ('P1' does not fit {plate:d})", "{site:d}"),
    "raw/{plate}_{well}_s{site:03d}.txt": ("P1_A02_s1.txt ('1' does not fit {site:03d})", "{site:d}"),
    "deep/{plate}.txt": ("day1/P1.txt", "correct the pattern"),
    "rax/{plate}.txt": ("no folder rax in ", "current one"),
    "raw/day1/{plate}.txt": ("no folder day1 in ", "current one"),
    "~/{plate}.txt": ("no folder ~ in ", "~ is not replaced"),
    "raw/notes.md/{plate}.txt": ("no folder notes.md in ", "current one"),
    "empty/{plate}.txt": ("no file at all in ", "correct the pattern"),
}


@pytest.mark.parametrize("pattern", NONE)
def test_no_match(raw, pattern):
    """It is an error that shows the files or folders that come closest, and what to correct."""
    (raw.parent / "empty").mkdir()
    (raw.parent / "deep" / "day1").mkdir(parents=True)
    (raw.parent / "deep" / "day1" / "P1.txt").touch()
    closest, hint = NONE[pattern]
    with pytest.raises(SourceMissing, match="no file matches") as caught:
        dc.sources(pattern)
    assert closest in caught.value.got
    assert hint in caught.value.hint
    if pattern.startswith("rax"):
        assert caught.value.got.endswith("but raw")


def test_a_hundred_thousand_files(tmp_path, monkeypatch):
    """Finding, grouping and showing take time that grows as the number of files does."""

    def seconds(count):
        paths = [f"p{i % 4}_{i // 4 % 96:02d}_s{i // 384}.txt" for i in range(count)]
        monkeypatch.setattr("daskcache.targets.sources.matches", lambda *_: paths)
        began = time.process_time()
        found = dc.sources(tmp_path / "{plate}_{well:w}_s{site:d}.txt")
        groups = found.group_by("plate", "well")
        repr(found), found.to_frame(), list(found)
        assert sum(map(len, groups.values())) == count
        return time.process_time() - began

    seconds(1000)
    # twenty times the files; the collector of garbage looks at more objects, too
    assert seconds(100_000) < 100 * min(seconds(5000) for _ in range(3))


# ---- a sequence ----------------------------------------------------------------------------------


def test_a_sequence(raw):
    """Items are sources, slices are `Sources` with fields; nothing can be changed."""
    found = dc.sources(PATTERN)
    assert found[-1].fields["plate"] == "P2"
    assert found[np.int64(0)] == found[0]
    assert isinstance(found[1:3], dc.Sources)
    assert found[1:3].fields["site"] == [2, 10]
    assert [s.fields["site"] for s in found[2::-1]] == [10, 2, 1]
    assert found[3] in found
    assert found.index(found[3]) == 3
    assert len(found[12:]) == 0
    assert found[12:].fields == {"plate": [], "well": [], "site": []}
    for index in (12, -13):
        with pytest.raises(IndexError):
            found[index]
    with pytest.raises(TypeError):
        found[0] = found[1]


def test_sources_compare_and_travel(raw):
    """They are equal by pattern, files, class and options; they pickle with their fields."""
    found = dc.sources(PATTERN)
    twin = pickle.loads(pickle.dumps(found))
    assert twin == found
    assert twin.fields == found.fields
    assert pickle.loads(pickle.dumps(found[4])).fields == found[4].fields
    others = [found[:5], dc.sources(PATTERN, source=dc.FileSource), dc.sources("raw/*_s{site:d}.txt")]
    assert len({found, twin, *others}) == 4


def test_group_by(raw):
    """Groups have the values of one field, or tuples of several, as keys, in order."""
    found = dc.sources(PATTERN)
    assert list(found.group_by("site")) == [1, 2, 10]
    assert list(found[::-1].group_by("site")) == [1, 2, 10]
    groups = found.group_by("plate", "well")
    assert list(groups) == [("P1", "A02"), ("P1", "B10"), ("P2", "A02"), ("P2", "B10")]
    assert groups["P2", "A02"] == found[6:9]
    assert groups["P2", "A02"].fields["plate"] == ["P2"] * 3
    with pytest.raises(GraphError, match="wel") as caught:
        found.group_by("plate", "wel")
    assert "plate, well, site" in caught.value.expected
    assert "'well'" in caught.value.hint
    with pytest.raises(GraphError, match="nothing"):
        found.group_by()


def test_a_data_frame(raw):
    """A row for each source: its path, and a column for each field."""
    frame = dc.sources(PATTERN).to_frame()
    assert list(frame.columns) == ["path", "plate", "well", "site"]
    assert frame["site"].dtype == "int64"
    assert frame.loc[frame["site"] == 10, "path"].tolist()[0] == str(raw / "P1_A02_s10.txt")
    assert isinstance(frame, pd.DataFrame)


def test_how_they_show(raw):
    """A line, and in notebooks a table, count the values of each field, and the files left out."""
    (raw / "<b>_A02_s1.txt").touch()
    found = dc.sources(PATTERN)
    told = f"<Sources {PATTERN!r}: 13 files (1 left out), plate: 3, well: 2, site: 3>"
    assert repr(found) == told
    assert repr(found[:1]).endswith(": 1 file, plate: 1, well: 1, site: 1>")
    shown = found._repr_html_()
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", shown)
    assert cells[-3:] == ["site", "3", "1, 2, 10"]
    assert "&lt;b&gt;, P1, P2" in shown
    assert "left out: P1_A02_sX.txt" in shown
    assert "<table" not in dc.sources("raw/*.md")._repr_html_()


# ---- one input -----------------------------------------------------------------------------------


def test_the_data_arrive_in_order(raw):
    """A function gets a list of the data in the order of the sources; in containers, too."""
    found = dc.sources(PATTERN)[:3]
    same = dc.delayed(lambda texts: texts)
    assert same(found).compute() == ["P1A021", "P1A022", "P1A0210"] == found.get_data()
    assert same({"x": found[::-1]}).compute() == {"x": ["P1A0210", "P1A022", "P1A021"]}
    assert same(found[:0]).compute() == []


def joined():
    return dc.delayed(lambda texts: " ".join(texts), target="joined/{texts.plate}.txt", version=1)


CHANGES = {
    "changed": (lambda raw: (raw / "P1_B10_s1.txt").write_text("new"), "P1_B10_s1.txt changed"),
    "added": (lambda raw: (raw / "P1_C1_s1.txt").write_text("new"), "P1_C1_s1.txt added"),
    "removed": (lambda raw: (raw / "P1_B10_s1.txt").unlink(), "P1_B10_s1.txt removed"),
    "renamed": (
        lambda raw: (raw / "P1_B10_s1.txt").rename(raw / "P1_B10_s3.txt"),
        "P1_B10_s3.txt added, P1_B10_s1.txt removed",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_files_that_changed_are_named(raw, change):
    """A group reruns when one of its files changes, and says which; other groups do not."""

    def nodes():
        return [joined()(group) for group in dc.sources(PATTERN).group_by("plate").values()]

    dc.compute(nodes())
    assert [node.dc.state for node in nodes()] == ["complete", "complete"]
    make, words = CHANGES[change]
    make(raw)
    first, second = nodes()
    assert str(dc.why(first)) == f"{PATTERN}: {words}"
    assert second.dc.state == "complete"


def test_what_the_identity_is(raw):
    """Names, content and order of the files count; folders, patterns and fields do not."""
    found = dc.sources(PATTERN)[:6]
    assert dc.sources("raw/P1_{rest}_s{n:d}.txt").identity() == found.identity()
    raw.rename(raw.parent / "moved")
    moved = dc.sources(PATTERN.replace("raw", "moved"))[:6]
    assert moved.identity() == found.__class__(moved.folder, "P1_*_s{n:d}.txt").identity()
    alone = [moved[::-1], moved[:5], dc.sources("moved/P1_*_s{n:d}.txt", source=dc.FileSource)]
    assert len({each.identity() for each in (moved, *alone)}) == 4


def test_an_annotated_parameter_gets_the_sequence(raw):
    """It can be read file by file, and has no fields, which would not be part of the key."""

    @dc.delayed
    def look(texts: dc.Sources):
        return len(texts), [text.get_data() for text in texts], texts[0].filename

    @dc.delayed
    def fields(texts: dc.Sources):
        return texts.fields

    @dc.delayed
    def fields_of_one(text: dc.TextSource):
        return text.fields

    found = dc.sources(PATTERN)[:2]
    assert look(found).compute() == (2, ["P1A021", "P1A022"], "P1_A02_s1.txt")
    for node in (fields(found), fields_of_one(found[0])):
        with pytest.raises(GraphError, match="does not get the fields") as caught:
            node.compute()
        assert "fields" in caught.value.hint
    assert found[0].fields == {"plate": "P1", "well": "A02", "site": 1}


def test_a_file_that_changes_while_the_graph_runs(raw):
    """The worker verifies each file: SourceChanged, and nothing is stored."""

    @dc.delayed(target="edited.json")
    def edit():
        (raw / "P1_A02_s2.txt").write_text("edited")
        return 1

    def count(texts, edited):
        return len(texts)

    def look(texts: dc.Sources, edited):
        return len(texts)

    for function in (count, look):
        (raw / "P1_A02_s2.txt").write_text("P1A022")
        node = dc.delayed(function, target="{funcname}.json")(dc.sources(PATTERN), edit())
        with pytest.raises(SourceChanged, match="raw"):
            dc.compute(node, force=True)
        assert not Path(node.dc.path).exists()


def test_a_file_that_can_not_be_read(raw):
    """The error names the file, not the pattern."""
    (raw / "P1_A02_s2.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(SourceUnreadable, match=r"P1_A02_s2\.txt"):
        joined()(dc.sources(PATTERN).group_by("plate")["P1"]).compute()


def test_records_restore_them(raw, root):
    """A record tells whether the files are still as they were, for any order and subset."""
    group = dc.sources(PATTERN).group_by("plate")["P1"][::-1]
    node = joined()(group)
    node.compute()
    (described,) = node.dc.record["upstream"]
    assert described["class"] == "daskcache:Sources"
    assert described["source"] == f"../{PATTERN}"
    changed = [source_changes(str(root), described)]
    (raw / "P2_A02_s1.txt").write_text("other")
    changed += [source_changes(str(root), described)]
    (raw / "P1_A02_s1.txt").write_text("edited")
    assert [*changed, source_changes(str(root), described)] == [False, False, True]


def test_images_hand_on_their_pixel_sizes(tmp_path):
    """A result takes over from each image of a sequence, as from images that are inputs of their own."""
    for z in (1, 2):
        tifffile.imwrite(
            tmp_path / f"z{z}.ome.tif",
            np.full((3, 4), z, "u1"),
            metadata={"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25},
        )
    planes = dc.sources(tmp_path / "z{z:d}.ome.tif")
    mean = dc.delayed(lambda planes: planes[0], target="{planes.parent}/first.ome.tif")
    assert mean(planes).compute().tolist() == np.full((3, 4), 1).tolist()
    assert mean(planes).dc.target.read_metadata(mean(planes).dc.path).pixel_size == {"X": 0.5, "Y": 0.25}
