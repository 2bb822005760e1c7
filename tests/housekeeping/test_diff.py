"""What a correction changed: `dc.diff` and ``dask cache diff``."""

from __future__ import annotations

import contextlib
import json
import pickle
import shutil
import sqlite3
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from click.testing import CliRunner

import daskcache as dc
from daskcache.errors import (
    GraphError,
    NotANode,
    TargetCorrupt,
    TargetError,
    TargetMissing,
    UntrustedPickle,
)
from daskcache.housekeeping.cli.main import cache


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments):
    done = CliRunner().invoke(cache, arguments, catch_exceptions=False)
    return done.exit_code, done.output


def image():
    return np.arange(400, dtype="u2").reshape(20, 20)


def mask_of(pixels, level):
    return pixels > level


def mask(level=100):
    return dc.delayed(mask_of, target="masks/a.tif")(image(), level)


def edit(path, rows=slice(0, 2)):
    """Edit a mask as a program does that has no booleans."""
    edited = tifffile.imread(path) > 0
    edited[rows] = True
    tifffile.imwrite(path, edited.astype("u1") * 255)


def tree(folder):
    return {p: p.stat().st_mtime_ns for p in sorted(folder.rglob("*"))}


PIPELINE = """
import daskcache as dc
@dc.delayed(target="v.json")
def value(n):
    return {"n": n}
"""


# ---- a correction against what the function made ------------------------------------------------


@pytest.mark.parametrize("adopted", [False, True])
def test_an_edit_in_place_is_compared_with_a_new_run(adopted, root):
    """The function's result is overwritten: it is computed again, and nothing is written."""
    node = mask()
    node.compute()
    edit(node.dc.path)
    if adopted:
        dc.adopt(node)
    before = tree(root)
    found = dc.diff(node)
    assert tree(root) == before
    assert (found.differing, found.total, found.smallest, found.largest) == (40, 400, 0, 1)
    assert found.picture.startswith(b"\x89PNG")
    assert found.notes == ()
    assert found.names[1] == "masks/a.tif, computed again from the same inputs"
    assert ("adopted by " in found.names[0]) == adopted


def test_a_correction_for_another_recipe_is_compared_with_its_own(root, define):
    """What it replaced is the result of the arguments that it was made for."""
    level = define(
        "import daskcache as dc\n@dc.delayed(target='n.json')\ndef level(n):\n    return n\n"
    ).level
    level(1).compute()
    Path(level(1).dc.path).write_text("7")
    dc.adopt(level(1))
    found = dc.diff(level(2))
    assert "-1" in found.lines
    assert "+7" in found.lines


def test_what_the_function_made_is_taken_from_the_trash(root, runs):
    """A result that was kept is not computed again."""
    value = dc.delayed(lambda: [runs.note("value"), 1][1], target="v.json")()
    value.compute()
    path = Path(value.dc.path)
    dc.invalidate(value)
    path.write_text("5")
    dc.adopt(value)
    found = dc.diff(value)
    assert found.names[1] == "v.json, as it was made, from the trash"
    assert found.lines[-2:] == ("-1", "+5")
    assert runs.take() == ["value"]


def test_code_that_changed_is_not_passed_off_as_what_made_the_result(root):
    """The error says why, and what to do."""
    before = dc.delayed(lambda: 1, target="v.json", name="f")()
    before.compute()
    Path(before.dc.path).write_text("5")
    dc.adopt(before)
    after = dc.delayed(lambda: 2, target="v.json", name="f")()
    with pytest.raises(TargetMissing, match="its code changed since") as caught:
        dc.diff(after)
    assert "dc.diff(node, FILE)" in str(caught.value)


def test_an_error_of_the_function_is_its_own(root):
    """It comes as it was raised."""
    made = dc.delayed(lambda: next(iter(Path("n.txt").read_text())), target="v.txt")
    Path("n.txt").write_text("one")
    made().compute()
    Path("n.txt").write_text("")
    Path(made().dc.path).write_text("edited")
    with pytest.raises(StopIteration):
        dc.diff(made())


def test_a_function_that_makes_other_data_now_is_noted(root):
    """What is compared is not what the edit replaced, and the text says so."""
    made = dc.delayed(lambda: Path("n.txt").read_text(), target="v.txt")
    Path("n.txt").write_text("one")
    made().compute()
    Path("n.txt").write_text("two")
    Path(made().dc.path).write_text("edited")
    found = dc.diff(made())
    assert "-two" in found.lines
    assert any("had made other data" in note for note in found.notes)


def test_changed_inputs_are_not_the_same_inputs(root):
    """An upstream result that holds other data now can't tell what the edit replaced."""
    one = dc.delayed(lambda: 1, target="one.json")()
    two = dc.delayed(lambda x: x + 1, target="two.json")(one)
    two.compute()
    Path(two.dc.path).write_text("9")
    dc.adopt(two)
    Path(one.dc.path).write_text("4")
    dc.adopt(one)
    with pytest.raises(TargetMissing, match="other data now"):
        dc.diff(two)


def test_equal_values_with_other_metadata_differ(root):
    """A corrected pixel size is a correction."""
    node = dc.delayed(image, target="image.ome.tif")()
    node.compute()
    tifffile.imwrite(
        node.dc.path, image(), ome=True, metadata={"PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm"}
    )
    found = dc.diff(node)
    assert not found.equal
    assert "what they carry beside them" in found.headline


def test_an_edit_of_an_adopted_result_is_not_called_adopted(root):
    """Who adopted a file did not adopt what is there now."""
    node = mask()
    node.compute()
    edit(node.dc.path)
    dc.adopt(node)
    edit(node.dc.path, slice(0, 3))
    found = dc.diff(node)
    assert found.names[0] == "masks/a.tif, as it was edited"
    assert found.differing == 60


def test_several_results_are_compared_one_by_one(root, runs):
    """Only those that were edited are; the function is called once."""

    def pair():
        runs.note("pair")
        return 1, 2, 3

    node = dc.delayed(pair, target=("a.json", "b.json", "c.json"))()
    node.compute()
    stored = Path(node.dc.path[0]).read_bytes()
    for target in node.dc.path[:2]:
        Path(target).write_text("9")
    found = dc.diff(node)
    assert list(found.parts) == ["a.json", "b.json"]
    assert runs.take() == ["pair"] * 2
    Path(node.dc.path[0]).write_bytes(stored)
    assert dc.diff(node).names[0].startswith("b.json")


def test_nothing_to_compare(root):
    """What was not edited, not made or not stored has no correction."""
    node = mask()
    with pytest.raises(TargetMissing, match="nothing to compare"):
        dc.diff(node)
    node.compute()
    with pytest.raises(GraphError, match="no correction"):
        dc.diff(node)
    with pytest.raises(TargetMissing, match="no target"):
        dc.diff(dc.delayed(lambda: 1, save=False)())
    with pytest.raises(NotANode, match="can't be compared"):
        dc.diff(3)
    Path("plain.txt").write_text("x")
    with pytest.raises(GraphError, match="no correction"):
        dc.diff("plain.txt")


def test_a_file_that_its_format_cannot_read(root):
    """It is damaged, and the error names the file."""
    node = mask()
    node.compute()
    Path(node.dc.path).write_bytes(b"no image")
    with pytest.raises(TargetCorrupt, match="can't be read") as caught:
        dc.diff(node)
    assert caught.value.target == node.dc.path


def test_pickles_are_read_for_their_own_function_only(root):
    """Reading one can run code: neither a record, nor a suffix, nor an edit is enough."""
    node = dc.delayed(lambda: 1, target="v.pkl")()
    node.compute()
    Path(node.dc.path).write_bytes(pickle.dumps(2))
    with pytest.raises(UntrustedPickle, match="was edited after it was stored"):
        dc.diff(node)
    dc.adopt(node)
    assert "+2" in dc.diff(node).lines
    with pytest.raises(TargetError, match="is not trusted to choose it"):
        dc.diff("v.pkl", node)
    with dask.config.set({"daskcache.pickle": "refuse"}), pytest.raises(UntrustedPickle):
        dc.diff(node)
    Path("one.pkl").write_bytes(pickle.dumps(1))
    Path("two.pkl").write_bytes(pickle.dumps(2))
    assert "from byte" in str(dc.diff("one.pkl", "two.pkl"))  # the bytes are compared


FORMATS = ["v.npy", "v.zarr", "v.ome.zarr", "v.tif", "v.ome.tif"]


@pytest.mark.parametrize("target", FORMATS)
def test_formats_of_arrays(target, root):
    """An edit with the tools of the format is compared, before and after it is adopted."""
    node = dc.delayed(image, target=target)()
    node.compute()
    changed = image()
    changed[3, 4] += 1
    if target.endswith(".zarr"):
        found = zarr.open(node.dc.path, mode="r+")
        array = found if hasattr(found, "shape") else next(array for _, array in found.arrays())
        array[3, 4] = changed[3, 4]
    elif target.endswith(".tif"):
        tifffile.imwrite(node.dc.path, changed)
    else:
        np.save(node.dc.path, changed)
    assert dc.diff(node).differing == 1
    dc.adopt(node)
    assert dc.diff(node).differing == 1


@pytest.mark.parametrize("target", ["v.csv", "v.parquet", "d.db::v"])
def test_formats_of_tables(target, root):
    """Cells are compared in the dtypes of the result."""
    node = dc.delayed(lambda: pd.DataFrame({"n": [1, 2], "s": ["a", None]}), target=target)()
    node.compute()
    changed = pd.DataFrame({"n": [1, 5], "s": ["a", None]})
    if target.endswith(".csv"):
        changed.to_csv(node.dc.path, index=False)
    elif target.endswith(".parquet"):
        changed.to_parquet(node.dc.path)
    else:
        with contextlib.closing(sqlite3.connect(root / "d.db")) as connection, connection:
            connection.execute("UPDATE v SET n = 5 WHERE n = 2")
    assert dc.diff(node).cells == (("1", "n", "5", "2"),)
    dc.adopt(node)
    assert dc.diff(node).cells == (("1", "n", "5", "2"),)


# ---- any two ----------------------------------------------------------------------------------------


def test_nodes_targets_and_files(root, tmp_path):
    """Nodes, paths from the root or from here, and files of any format."""
    a, b = (dc.delayed(lambda n: {"n": n}, target="{n}.json")(n) for n in (1, 2))
    dc.compute(a, b)
    assert dc.diff(a, b).lines == dc.diff("1.json", "root/2.json").lines
    assert dc.diff(a, "1.json").equal
    assert dc.diff(a.dc.path, Path(b.dc.path)).differing is None
    frame = pd.DataFrame({"n": [1, 2]})
    frame.to_csv("x.csv", index=False)
    frame.assign(n=[1, 3]).to_csv("y.csv", index=False)
    assert dc.diff("x.csv", "y.csv").differing == 1
    Path("x.bin").write_bytes(b"\xff1")
    Path("y.bin").write_bytes(b"\xff2")
    assert "from byte 1 on" in str(dc.diff("x.bin", "y.bin"))
    with pytest.raises(TargetMissing, match="nothing to compare"):
        dc.diff("x.csv", "gone.csv")


def test_a_mask_is_read_in_the_form_of_its_result(root):
    """An edited mask of 0 and 255 is compared as the booleans that it stands for."""
    node = mask()
    node.compute()
    shutil.copytree(root, "other")
    edit(node.dc.path)
    found = dc.diff(node, "other/masks/a.tif")
    assert found.summaries == ("bool array, 20 × 20",) * 2
    assert found.differing == 40


# ---- the command ------------------------------------------------------------------------------------


def test_the_command(root, define):
    """It calls functions of the modules that are imported, and its exit code tells of differences."""
    value = define(PIPELINE, "pipeline_of_diff").value
    value(1).compute()
    Path(value(1).dc.path).write_text('{"n": 2}')
    code, output = run("diff", "v.json", "--root", str(root))
    assert code == 1
    assert '- "n": 1' in output
    assert '+ "n": 2' in output
    code, output = run("diff", "v.json", "root/v.json", "--json")
    assert code == 0
    assert json.loads(output)["equal"] is True


def test_the_command_needs_the_function(root):
    """Functions of a script can't be found: the message says so."""
    node = mask()
    node.compute()
    edit(node.dc.path)
    code, output = run("diff", "masks/a.tif", "--root", str(root))
    assert code == 1
    assert "can't be computed again" in output


def test_the_command_writes_a_picture(root):
    """It is a new file, and never replaces one."""
    tifffile.imwrite("a.tif", image())
    tifffile.imwrite("b.tif", image() + 1)
    code, _ = run("diff", "a.tif", "b.tif", "--picture", "d.png")
    assert code == 1
    kept = Path("d.png").read_bytes()
    assert kept.startswith(b"\x89PNG")
    code, output = run("diff", "a.tif", "a.tif", "--picture", "e.png")
    assert "no picture" in output
    assert not Path("e.png").exists()
    code, output = run("diff", "b.tif", "a.tif", "--picture", "d.png")
    assert code == 1
    assert "there already" in output
    assert Path("d.png").read_bytes() == kept


# ---- how two results were made -------------------------------------------------------------------

STEPS = """
    import daskcache as dc

    def helper(n):
        return n {change}

    @dc.delayed(target="{{variant}}/base.json")
    def base(n, variant):
        return helper(n)

    @dc.delayed(target="{{variant}}/scaled.{suffix}")
    def scaled(value, factor, variant{more}):
        return str(value * factor)
"""


@pytest.fixture
def made(define):
    """Make results in a folder of their own, by a program with some changes."""

    def made(variant, n=1, factor=2, change="+ 1", suffix="txt", more=""):
        program = define(STEPS.format(change=change, suffix=suffix, more=more))
        program.scaled(program.base(n, variant), factor, variant).compute(scheduler="sync")

    with dask.config.set({"daskcache.reach": "off"}):
        yield made


def told(a, b):
    """What is told of the calls, besides the argument by which they differ in any case."""
    return [each for each in dc.diff(a, b).made if not each.startswith("variant:")]


def test_arguments_and_inputs_of_two_calls_are_compared(made):
    made("a", n=5, factor=3)
    made("b")
    assert told("root/a/base.json", "root/b/base.json") == ["n: 1 -> 5"]
    assert told("root/a/scaled.txt", "root/b/scaled.txt") == [
        "factor: 2 -> 3",
        "input: b/base.json -> a/base.json",
    ]


def test_code_of_two_calls_is_compared(made):
    made("a", change="+ 2")
    made("b")
    (change,) = told("root/a/base.json", "root/b/base.json")
    assert "helper" in change
    assert "-    return n + 1" in change
    assert "+    return n + 2" in change
    output = run("diff", "root/a/base.json", "root/b/base.json")[1]
    assert "made by other calls, from b to a:\n" in output
    assert '    variant: "b" -> "a"' in output or "    variant: 'b' -> 'a'" in output


def test_code_that_is_not_kept_is_told_so(made):
    made("a", change="+ 2")
    made("b")
    shutil.rmtree("root/.daskcache/code")
    assert told("root/a/base.json", "root/b/base.json") == ["the code of base() differs"]


def test_functions_formats_and_further_arguments_are_compared(made):
    made("a", suffix="json", more=", more=1")
    made("b")
    found = told("root/a/scaled.json", "root/b/scaled.txt")
    assert "more: added" in found
    assert "format: daskcache:TextTarget -> daskcache:JSONTarget" in found
    assert told("root/a/base.json", "root/b/scaled.txt")[0] == "function: program.scaled -> program.base"


def test_results_of_one_call_and_files_are_not_compared_so(made):
    made("a")
    Path("file.json").write_text("2")
    assert dc.diff("root/a/base.json", "file.json").made == ()
    assert dc.diff("root/a/base.json", "root/a/base.json").made == ()
