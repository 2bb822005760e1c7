"""Folders of corrections: files that a user puts in place of results are taken in, and never touched."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
from pathlib import Path

import dask
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import tifffile
import zarr
from click.testing import CliRunner

import daskcache as dc
from daskcache.errors import (
    FormatLimit,
    GraphError,
    NodeFailed,
    TargetCollision,
    TargetCorrupt,
    TargetModified,
    TemplateError,
    UnsafePath,
)
from daskcache.housekeeping.cli.main import cache
from daskcache.storage import correction_files
from daskcache.storage import files as storage
from daskcache.storage.records import RecordStore
from daskcache.storage.roots import Root
from daskcache.testing.assertions import assert_nothing_runs, count_runs

ROOT = Path("root")
CORRECTED = ROOT / "corrected" / "a.tif"
TARGET = ROOT / "masks" / "a.tif"
IMAGE = np.arange(12, dtype="u1").reshape(3, 4)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder of its own, with a root in it."""
    monkeypatch.chdir(tmp_path)
    with dask.config.set(scheduler="sync"):
        yield


def mask_of(image, sigma):
    return image > sigma


def masks(sigma=2, name="a", **options):
    """A node whose result a person may correct in a folder."""
    options = {"corrections": f"corrected/{name}.tif", "version": 1, **options}
    return dc.delayed(mask_of, target=f"masks/{name}.tif", **options)(IMAGE, sigma)


def area(mask):
    return dc.delayed(lambda mask: [str(mask.dtype), int(mask.sum())], target="area.json", version=1)(
        mask
    )


def save(mask, path=CORRECTED):
    """Save a mask as a program does that has no booleans."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, np.asarray(mask).astype("u1") * 255)


def corrected(value=2):
    """A correction that was taken in; its mask."""
    masks().compute()
    mask = value < IMAGE
    mask[0] = True
    save(mask)
    masks().compute()
    return mask


def why(node):
    (planned,) = dc.plan(node)
    return planned.state, planned.action, "; ".join(planned.reasons)


def trash():
    return [
        path for path in Path(Root(str(ROOT.absolute())).trash).glob("*/*") if path.name != "about.json"
    ]


def run(*arguments):
    done = CliRunner().invoke(cache, [*arguments, "--root", str(ROOT)], catch_exceptions=False)
    return done.exit_code, done.output


# ---- a new file ------------------------------------------------------------------------------------


def test_a_new_file_becomes_the_result():
    """It is copied in place of a run, in the dtype of the result; what the function made is kept."""
    area(masks()).compute()
    made = TARGET.read_bytes()
    save(IMAGE < 4)
    stored = CORRECTED.read_bytes()
    with count_runs() as runs:
        assert area(masks()).compute() == ["bool", 4]
    assert "mask_of" not in runs()
    assert TARGET.read_bytes() == CORRECTED.read_bytes() == stored
    assert [path.read_bytes() for path in trash()] == [made]
    np.testing.assert_array_equal(masks().compute(), IMAGE < 4)
    assert "11 of 12 elements differ" in str(dc.diff(masks()))
    with assert_nothing_runs():
        area(masks()).compute()


def test_plans_say_what_is_taken_in():
    """Before and after: as text, HTML and a frame, with the owner of the file and its time."""
    masks().compute()
    save(IMAGE < 4)
    os.utime(CORRECTED, (1_700_000_000, 1_700_000_000))
    told = f"adopted (corrected/a.tif) by {getpass.getuser()}, 2023-11-14T22:13:20Z"
    assert why(masks()) == ("adopted", "run", told)
    plan = dc.plan(masks())
    assert told[:23] in str(plan)
    assert told in plan._repr_html_()
    assert list(plan.to_frame()["why"]) == [told]
    assert plan.to_frame()["seconds"].tolist() == [0.0]
    assert TARGET.read_bytes() != CORRECTED.read_bytes()  # looking only reads
    assert str(dc.why(masks())) == told
    assert dc.status(masks()) == "adopted"
    plan.compute()
    assert why(masks()) == ("adopted", "load", told)
    _, text = run("why", "masks/a.tif")
    assert f"adopted    (corrected/a.tif) by {getpass.getuser()}" in text


def test_it_needs_no_result_and_nothing_upstream():
    """A file that is there first is taken in without any run."""
    save(IMAGE < 4)
    before = dc.delayed(lambda: IMAGE, target="raw.npy", version=1)()
    node = dc.delayed(mask_of, target="masks/a.tif", corrections="corrected/a.tif", version=1)(before, 2)
    assert dc.plan(node).counts["run"] == 1
    assert dc.why(node).causes == ()
    with count_runs() as runs:
        node.compute()
    assert not runs()
    assert not (ROOT / "raw.npy").exists()
    TARGET.unlink()  # what its inputs hold is not known yet
    with count_runs() as runs:
        node.compute()
    assert not runs()
    # its inputs are known by now: the correction stands for them
    before.compute()
    assert dc.status(node) == "adopted"
    np.testing.assert_array_equal(node.compute() > 0, IMAGE < 4)
    shutil.rmtree(ROOT / ".daskcache/records" / before.dc.key[:2])
    TARGET.unlink()
    (ROOT / "raw.npy").unlink()
    with count_runs() as runs:  # nor is it known again
        node.compute()
    assert not runs()


def test_without_a_result_the_file_or_the_annotation_tells_the_dtype():
    """And the plan says which."""
    save(IMAGE < 4)
    state, _, told = why(masks())
    assert state == "adopted"
    assert told.endswith("read as uint8, as no result or annotation tells another dtype")
    assert masks().compute().dtype == "u1"

    def annotated(image) -> npt.NDArray[np.bool_]:
        return image > 2

    save(IMAGE < 4, ROOT / "corrected/b.tif")
    make = dc.delayed(annotated, target="masks/b.tif", corrections="corrected/b.tif")
    assert why(make(IMAGE))[2].endswith("read as bool")
    assert make(IMAGE).compute().dtype == bool
    assert make(IMAGE).compute().dtype == bool


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (np.arange(12).reshape(3, 4), FormatLimit, "bool"),
        (np.zeros((2, 3, 4)), FormatLimit, r"\(2, 3, 4\)"),
        (None, TargetCorrupt, "ImageTarget"),
    ],
)
def test_what_can_not_be_the_result_is_refused(content, error, said):
    """As `adopt` refuses it.  Plans show it, the target stays, and other nodes can run."""
    masks().compute()
    made = TARGET.read_bytes()
    save(IMAGE < 4)
    if content is None:
        CORRECTED.write_text("not an image")
    else:
        tifffile.imwrite(CORRECTED, content.astype("u1"))
    (planned,) = dc.plan(masks())
    assert planned.action == "blocked"
    with pytest.raises(error, match=said) as raised:
        area(masks()).compute()
    assert raised.value.target == str(CORRECTED.absolute())
    assert TARGET.read_bytes() == made
    failed, other = dc.compute(area(masks()), masks(name="b"), errors="collect")
    assert isinstance(failed, NodeFailed)
    assert other.dtype == bool
    save(IMAGE < 4)
    assert area(masks()).compute() == ["bool", 4]


def test_a_change_upstream_is_no_cause():
    """A new file is the whole reason, whatever else changed."""

    def node(value):
        before = dc.delayed(lambda value: IMAGE + value, target="raw.npy", version=1)(value)
        make = dc.delayed(mask_of, target="masks/a.tif", corrections="corrected/a.tif", version=1)
        return make(before, 2)

    node(0).compute()
    save(IMAGE < 4)
    assert dc.why(node(1)).causes == ()
    assert dc.keep(node(1)) == 0  # there is nothing to decide
    with count_runs() as runs:
        assert node(1).compute().sum() == 4
    assert "mask_of" not in runs()


def test_a_second_save_within_a_tick_of_the_clock_is_noticed():
    """Size and time may be as before: they count only once the file was left alone for a while."""
    corrected()
    save(IMAGE < 4)
    masks().compute()
    before = os.stat(CORRECTED)
    save(IMAGE < 5)
    os.utime(CORRECTED, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(CORRECTED).st_size == before.st_size
    assert masks().compute().sum() == 5


def test_a_file_that_changes_after_the_plan_is_not_taken_in():
    """The error says to compute again; so the plan that is shown is the plan that runs."""
    masks().compute()
    save(IMAGE < 4)
    plan = dc.plan(masks())
    save(IMAGE < 5)
    with pytest.raises(TargetModified, match="compute again"):
        plan.compute()
    CORRECTED.unlink()
    with pytest.raises(TargetModified, match="no file"):
        plan.compute()
    save(IMAGE < 5)
    assert masks().compute().sum() == 5


@pytest.mark.parametrize("kind", ["npy", "csv", "json", "zarr", "txt"])
def test_formats(kind):
    """Files and folders of any format with one target."""
    first, second = {
        "npy": (np.arange(3), np.arange(3) + 5),
        "csv": (pd.DataFrame({"n": [1, 2]}), pd.DataFrame({"n": [3, 4]})),
        "json": ({"n": 1}, {"n": 2}),
        "zarr": (np.arange(6).reshape(2, 3), np.ones((2, 3), "i8")),
        "txt": ("first", "second"),
    }[kind]
    make = dc.delayed(lambda: first, target=f"t/a.{kind}", corrections=f"c/a.{kind}", version=1)
    make().compute()
    (ROOT / "c").mkdir()
    if kind == "csv":
        second.to_csv(ROOT / "c/a.csv", index=False)
    else:
        dc.Target.from_path(f"c/a.{kind}").write(second, str(ROOT / f"c/a.{kind}"))
    found = make().compute()
    assert np.array_equal(found, second) if kind in ("npy", "zarr") else str(found) == str(second)
    assert dc.status(make()) == "adopted"
    if kind == "zarr":
        zarr.open(str(ROOT / "c/a.zarr"), mode="r+")[...] = 7
        assert (make().compute() == 7).all()


# ---- a file that was seen --------------------------------------------------------------------------


def test_it_stands_for_the_recipe_that_it_was_made_for():
    """For another one the user decides; going back finds it complete."""
    mask = corrected()
    for _ in range(2):
        with pytest.raises(TargetModified, match=r"keep.*release") as raised:
            masks(3).compute()
        assert "corrected/a.tif" in str(raised.value)
    np.testing.assert_array_equal(masks().compute(), mask)
    dc.keep(masks(3))
    np.testing.assert_array_equal(masks(3).compute(), mask)
    assert [dc.status(masks()), dc.status(masks(3))] == ["adopted", "adopted"]


def test_a_file_that_is_saved_anew_is_taken_in_for_the_new_recipe():
    """Without a question, as the user saved it knowing the recipe; the old copy goes to the trash."""
    corrected()
    old = CORRECTED.read_bytes()
    save(IMAGE < 6)
    assert area(masks(3)).compute() == ["bool", 6]
    assert old in [path.read_bytes() for path in trash()]
    with pytest.raises(TargetModified):
        masks().compute()


@pytest.mark.parametrize("policy", ["adopt", "recompute"])
def test_on_modified_decides_for_another_recipe(policy):
    """A file that counts as seen is not taken in again."""
    mask = corrected()
    other = masks(3, on_modified=policy)
    expected = mask if policy == "adopt" else IMAGE > 3
    for _ in range(2):
        np.testing.assert_array_equal(other.compute(), expected)
    assert dc.status(other) == ("adopted" if policy == "adopt" else "complete")
    kept = [path.read_bytes() for path in trash()]
    assert (CORRECTED.read_bytes() in kept) == (policy == "recompute")


@pytest.mark.parametrize("fate", ["deleted", "damaged"])
@pytest.mark.parametrize("policy", ["error", "adopt", "recompute"])
def test_the_target_is_copied_again(fate, policy):
    """For the recipe that the file was made for; for another one, `on_modified` decides, as before."""
    mask = corrected()

    def harm():
        if fate == "deleted":
            TARGET.unlink()
        else:
            TARGET.write_bytes(TARGET.read_bytes()[:50])

    harm()
    with count_runs() as runs:
        np.testing.assert_array_equal(masks(on_modified=policy).compute(), mask)
    assert not runs()
    harm()
    other = masks(3, on_modified=policy)
    if policy == "error":
        with pytest.raises(TargetModified, match=r"sigma=2.*(gone|damaged)"):
            other.compute()
        assert dc.keep(other) == 1
        policy = "adopt"
    np.testing.assert_array_equal(other.compute(), mask if policy == "adopt" else IMAGE > 3)
    harm()
    with contextlib.suppress(TargetModified):  # the decision was about the other recipe
        assert masks(4, on_modified="error").compute().sum() == (IMAGE > 4).sum()
        assert policy == "recompute"


@pytest.mark.parametrize("is_known", [True, False], ids=["input known", "input unknown"])
def test_a_copy_that_is_missing_asks_about_inputs_that_were_corrected_since(is_known):
    """As it would if it were there: the file stands for the input that it was made from."""

    def double(image):
        return image * 2

    def node():
        image = dc.delayed(double, target="double.npy", version=1)(IMAGE)
        return image, dc.delayed(mask_of, target="masks/a.tif", corrections="corrected/a.tif")(image, 2)

    image, mask = node()
    save(IMAGE > 5)
    if is_known:
        image.compute()
    mask.compute()
    TARGET.unlink()
    image.compute()
    np.save(image.dc.path, IMAGE * 3)
    dc.adopt(image)
    with pytest.raises(TargetModified, match=r"corrected/a.tif was made for.*gone"):
        mask.compute()
    assert dc.keep(mask) == 1
    np.testing.assert_array_equal(mask.compute() > 0, IMAGE > 5)


def test_a_worker_that_keeps_an_edit_counts_the_file_as_seen():
    """If only the worker finds that the data of an input changed."""
    Path("n.txt").write_text("1")
    before = dc.delayed(lambda: int(Path("n.txt").read_text()), target="n.json", version=1)()
    make = dc.delayed(
        lambda n: n, target="t.json", corrections="c/t.json", on_modified="adopt", version=1
    )
    node = make(before)
    node.compute()
    (ROOT / "c").mkdir()
    (ROOT / "c/t.json").write_text("5")
    assert node.compute() == 5
    (ROOT / "t.json").write_text("6")
    assert node.compute() == 6
    Path("n.txt").write_text("2")
    assert dc.compute(node, force=[before]) == (6,)
    assert json.loads((ROOT / "n.json").read_text()) == 2
    assert node.compute() == 6


def test_release_gives_the_function_its_turn():
    """The file stays, and is not used until it is saved anew; in Python and on the command line."""
    corrected()
    stored = CORRECTED.read_bytes()
    assert dc.release(masks()) == 1
    for _ in range(2):
        np.testing.assert_array_equal(masks().compute(), IMAGE > 2)
    assert dc.status(masks()) == "complete"
    assert CORRECTED.read_bytes() == stored
    save(IMAGE < 5)
    assert masks().compute().sum() == 5
    code, text = run("release", "masks/a.tif")
    assert code == 0
    assert "corrected/a.tif stays" in text
    np.testing.assert_array_equal(masks().compute(), IMAGE > 2)


def test_an_edit_of_the_target_is_an_edit():
    """It is refused or adopted as any; adopted, it outranks the file that was there at that time."""
    corrected()
    tifffile.imwrite(TARGET, (IMAGE < 7).astype("u1") * 255)
    with pytest.raises(TargetModified, match="edited"):
        masks().compute()
    save(IMAGE < 5)
    with pytest.raises(TargetModified, match="is new, too"):
        masks().compute()
    assert dc.adopt(masks()) == 1
    for _ in range(2):
        assert masks().compute().sum() == 7
    save(IMAGE < 6)
    assert masks().compute().sum() == 6


@pytest.mark.parametrize("policy", ["error", "adopt", "recompute"])
def test_a_file_that_is_removed(policy):
    """The user decides: put it back, keep the copy, or release it."""
    mask = corrected()
    content = CORRECTED.read_bytes()
    CORRECTED.unlink()
    node = masks(on_modified=policy)
    if policy == "error":
        with pytest.raises(TargetModified, match="removed") as raised:
            area(node).compute()
        assert "corrected/a.tif is gone" in str(raised.value)
        assert "'dask cache release" in str(raised.value)
        CORRECTED.write_bytes(content)
        np.testing.assert_array_equal(node.compute(), mask)
        CORRECTED.unlink()
        assert dc.keep(node) == 1
    np.testing.assert_array_equal(node.compute(), IMAGE > 2 if policy == "recompute" else mask)
    if policy == "error":
        assert dc.status(node) == "adopted"
        dc.release(node)
        np.testing.assert_array_equal(node.compute(), IMAGE > 2)
    elif policy == "adopt":
        assert "corrected/a.tif, which is gone now" in why(node)[2]
    else:
        assert content in [path.read_bytes() for path in trash()]


def test_force_asks_as_for_any_adopted_result():
    """A forced rerun must not replace a correction; a new file is taken in."""
    corrected()
    with pytest.raises(TargetModified):
        dc.compute(masks(), force=True)
    save(IMAGE < 5)
    (found,) = dc.compute(masks(), force=True)
    assert found.sum() == 5


def test_a_copied_root_has_the_same_states(tmp_path):
    """Times may be lost: the content of the file counts."""
    corrected()
    shutil.copytree(ROOT, tmp_path / "copy", copy_function=shutil.copyfile)
    with dask.config.set({"daskcache.root": str(tmp_path / "copy")}), assert_nothing_runs():
        assert dc.status(masks()) == "adopted"
        masks().compute()
        assert "sigma=2" in why(masks(3))[2]


# ---- cost ------------------------------------------------------------------------------------------


def test_a_file_is_hashed_only_if_its_stamp_changed(monkeypatch):
    """One listing for the folder, no read; after a copy that lost the time, one more hash."""
    masks().compute()
    save(IMAGE < 4)
    hashed = []
    monkeypatch.setattr(
        correction_files.files, "file_hash", lambda path: hashed.append(path) or storage_hash(path)
    )
    os.utime(CORRECTED, (1_700_000_000, 1_700_000_000))
    masks().compute()
    hashed.clear()
    masks().compute()
    assert hashed == []
    os.utime(CORRECTED, (1_700_000_001, 1_700_000_001))
    masks().compute()
    assert len(hashed) == 1
    masks().compute()
    assert len(hashed) == 1


storage_hash = storage.file_hash


def test_folders_are_listed_once_a_verb(monkeypatch):
    """However many nodes have corrections there; a function without a folder asks for nothing."""
    nodes = [masks(name=name) for name in "bcdefg"]
    dc.compute(nodes)
    save(IMAGE < 4)
    listed = []
    names_in = storage.names_in
    monkeypatch.setattr(storage, "names_in", lambda path: listed.append(path) or names_in(path))
    stamped = []
    stamp = storage.stamp
    monkeypatch.setattr(storage, "stamp", lambda path: stamped.append(path) or stamp(path))
    dc.plan(nodes, masks())
    assert [path for path in listed if "corrected" in path] == [str(CORRECTED.parent.absolute())]
    assert {path for path in stamped if "corrected" in path} == {str(CORRECTED.absolute())}
    CORRECTED.unlink()
    read = []
    monkeypatch.setattr(RecordStore, "read", lambda store, name: read.append(name))
    dc.plan(nodes)
    assert read == []
    listed.clear()
    dc.plan(dc.delayed(mask_of, target="plain.tif", version=1)(IMAGE, 2))
    assert not [path for path in listed if "corrected" in path]


# ---- templates -------------------------------------------------------------------------------------


def test_fields_of_sources():
    """The template fills as a target's does, for `map`, too."""
    Path("raw").mkdir()
    for name in ("p1_A01", "p1_B02"):
        Path(f"raw/{name}.txt").write_text(name)
    size = dc.delayed(
        lambda text: len(text),
        target="size/{text.plate}_{text.well}.json",
        corrections="corrected/{text.well}.json",
        version=1,
    )
    (ROOT / "corrected").mkdir(parents=True)
    (ROOT / "corrected/B02.json").write_text("9")
    assert size.map(dc.sources("raw/{plate}_{well}.txt")).compute() == [6, 9]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"corrections": "corrected/{nosuch.tif"}, TemplateError, "malformed"),
        ({"corrections": "../{n}.json"}, UnsafePath, r"\.\."),
        ({"corrections": "corrected/{n}.tif"}, TemplateError, "suffix"),
        ({"corrections": "t/{n}.json"}, TemplateError, "path of the target"),
        ({"corrections": "T/{n}.JSON"}, TemplateError, "path of the target"),
        ({"corrections": 3}, TemplateError, "int"),
        ({"corrections": "c/{data_hash}.json"}, GraphError, "data_hash"),
        ({"target": "t/{data_hash}.json"}, GraphError, "data_hash"),
        ({"target": ("a.json", "b.json")}, GraphError, "2 targets"),
        ({"target": {"a": "a.json"}}, GraphError, "tuple or dict"),
        ({"target": "x.db::t", "corrections": "c.json"}, GraphError, "table"),
        ({"target": None, "save": False}, GraphError, "not cached"),
    ],
)
def test_decorating_refuses_what_can_not_be(options, error, said):
    """Before any call: the error names the function and what would do."""
    options = {"target": "t/{n}.json", "corrections": "corrected/{n}.json", **options}
    with pytest.raises(error, match=said):
        dc.delayed(lambda n: n, **options)


def test_values_can_not_bring_another_suffix_or_the_target():
    """What only the arguments tell is checked when the node is made."""
    free = dc.delayed(lambda n, m: n, target="{n}", corrections="c/{m}", store=dc.JSONTarget, version=1)
    assert free("a.json", "a.json").dc.key
    with pytest.raises(TemplateError, match="suffix"):
        free("a.json", "a.txt")
    inside = dc.delayed(lambda n: n, target="t/{n}.json", corrections="{n}/a.json", version=1)
    assert inside("u").dc.key
    with pytest.raises(TemplateError, match="path of the target"):
        dc.delayed(lambda n: n, target="t/{n}.json", corrections="t/{n}.json/x.json", version=1)("b")


def test_one_file_stands_for_one_node_only():
    """A template that leaves out what tells nodes apart, or leads to another node's target."""
    make = dc.delayed(lambda n: n, target="t/{n}.json", corrections="c/all.json", version=1)
    with pytest.raises(TargetCollision, match="claim one correction"):
        dc.compute(make(1), make(2))
    other = dc.delayed(lambda n: n, target="c/all.json", version=1)(1)
    with pytest.raises(TargetCollision):
        dc.compute(other, make(2))
    with pytest.raises(TargetCollision):
        dc.compute(make(2), other)


def test_the_template_is_no_part_of_the_key():
    """So giving a function a folder of corrections reruns nothing."""
    plain = dc.delayed(mask_of, target="masks/a.tif", version=1)(IMAGE, 2)
    assert plain.dc.key == masks().dc.key
    plain.compute()
    with assert_nothing_runs():
        masks().compute()


@pytest.mark.parametrize("mode", ["dask", "cache"])
def test_tasks_have_folders_of_corrections(mode):
    """The parameter passes through `task`, in each mode that caches."""
    make = dc.task(lambda n: n, target="t/{n}.json", corrections="c/{n}.json")
    (ROOT / "c").mkdir(parents=True)
    (ROOT / "c/1.json").write_text("5")
    with dask.config.set({"daskcache.mode": mode}):
        found = make(1)
        assert (found.compute() if mode == "dask" else found.get_data()) == 5


# ---- variants --------------------------------------------------------------------------------------


def test_a_variant_has_a_folder_of_its_own():
    """A correction of the base stands for its own recipe only; that of a variant lies in its folder."""
    mask = corrected()
    with dc.variant("v"):
        same, other = masks(), masks(3)
    with assert_nothing_runs():
        np.testing.assert_array_equal(same.compute(), mask)
    assert "gone" not in why(same)[2]
    np.testing.assert_array_equal(other.compute(), IMAGE > 3)
    save(IMAGE < 6, ROOT / "v/corrected/a.tif")
    assert other.compute().sum() == 6
    np.testing.assert_array_equal(masks().compute(), mask)


def test_a_new_file_of_the_base_is_not_taken_in_by_a_variant():
    """Nor is the base's result, which is about to be replaced, used in its stead."""
    masks().compute()
    save(IMAGE < 4)
    with dc.variant("v"):
        node = masks()
    stored = TARGET.read_bytes()
    node.compute()
    assert (ROOT / "v/masks/a.tif").exists()
    assert TARGET.read_bytes() == stored
    with dc.variant("w"):
        node = masks()
    found = dc.compute(node, masks())
    assert [mask.sum() for mask in found] == [4, 4]
    assert not (ROOT / "w").exists()


# ---- housekeeping ----------------------------------------------------------------------------------


def test_the_copy_can_be_packed_without_the_file(tmp_path):
    """In another root it stands as any adopted result, with or without the folder of corrections."""
    mask = corrected()
    assert run("corrections", "--export", "c.tar")[0] == 0
    for name in ("with", "without"):
        root = str(tmp_path / name)
        with dask.config.set({"daskcache.root": root}):
            masks().compute()
            if name == "with":
                shutil.copytree(CORRECTED.parent, f"{root}/corrected")
            done = CliRunner().invoke(cache, ["corrections", "--apply", "c.tar", "--root", root])
            assert done.exit_code == 0
            for _ in range(2):
                np.testing.assert_array_equal(masks().compute(), mask)
            assert dc.status(masks()) == "adopted"


def test_adopting_a_folder_leaves_corrections_out():
    """They are no results of other programs; those of nodes that did not run yet are left out, too."""
    corrected()
    save(IMAGE < 4, ROOT / "corrected/later.tif")
    _, text = run("adopt", str(ROOT))
    assert text.count("its node takes it in") == 2
    assert "corrected/later.tif is adopted" not in text


def test_housekeeping_leaves_the_files_alone():
    """Removing, pruning, collecting and repairing: whatever becomes of targets, the files stay."""
    mask = corrected()
    save(IMAGE < 4, ROOT / "corrected/later.tif")
    files = {path: path.read_bytes() for path in CORRECTED.parent.iterdir()}
    run("gc", "--yes")
    run("verify", "--repair")
    dc.prune(masks(name="b"))
    run("rm", "masks/a.tif", "--yes")
    run("trash", "--empty", "--yes")
    assert {path: path.read_bytes() for path in CORRECTED.parent.iterdir()} == files
    np.testing.assert_array_equal(masks().compute() > 0, mask)
    assert "corrected" not in run("ls")[1]
