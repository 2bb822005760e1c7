"""Corrected results that a person adopted: never replaced unless the person says so."""

from __future__ import annotations

import json
import os
import shutil
import time
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
    DaskcacheWarning,
    FormatLimit,
    GraphError,
    NodeFailed,
    TargetCollision,
    TargetMissing,
    TargetModified,
)
from daskcache.housekeeping.cli.main import cache
from daskcache.storage import files as storage
from daskcache.storage.record import target_id
from daskcache.storage.records import RecordStore
from daskcache.storage.roots import Root
from daskcache.testing.assertions import count_runs

ROOT = Path("root")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder of its own, with a root in it."""
    monkeypatch.chdir(tmp_path)


def mask_of(image, sigma):
    return image > sigma


def masks(sigma=2, name="a", **options):
    """A node whose result a person may correct."""
    node = dc.delayed(mask_of, target=f"masks/{name}.tif", version=1, **options)
    return node(np.arange(12, dtype="u1").reshape(3, 4), sigma)


def correct(node, change=lambda mask: ~mask):
    """Edit a node's file as a program does that has no booleans, and adopt it."""
    path = node.dc.path
    mask = change(tifffile.imread(path) > 0)
    tifffile.imwrite(path, mask.astype("u1") * 255)
    node.dc.adopt()
    return mask


def run(*arguments):
    done = CliRunner().invoke(cache, arguments, catch_exceptions=False)
    return done.exit_code, done.output


# ---- the form of the result ------------------------------------------------------------------------


def labels(dtype):
    def label():
        return np.arange(6, dtype=dtype).reshape(2, 3)

    return dc.delayed(label, target="labels.tif", version=dtype)()


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_a_mask_that_was_stored_as_0_and_255_is_a_mask(scheduler):
    """It arrives as booleans in the next function, in this process and in new ones."""
    node = masks()
    node.compute(scheduler=scheduler)
    corrected = correct(node)
    seen = dc.delayed(lambda mask: [str(mask.dtype), int(mask.sum()), int((~mask).sum())])(node)
    assert seen.compute(scheduler=scheduler) == ["bool", int(corrected.sum()), int((~corrected).sum())]
    assert masks().compute(scheduler=scheduler).dtype == bool
    np.testing.assert_array_equal(masks().dc.load(), corrected)
    assert masks().dc.open().dtype == bool


def test_an_unchanged_mask_of_another_dtype_changes_nothing():
    """Its data hash is that of the mask which it holds, so that nothing after it runs."""
    node = masks()
    after = dc.delayed(lambda mask: int(mask.sum()), target="n.json", version=1)(node)
    after.compute()
    correct(node, lambda mask: mask)
    assert (node.dc.state, after.dc.state) == ("adopted", "complete")


@pytest.mark.parametrize(
    ("dtype", "stored"), [("i8", "u2"), ("i4", "u1"), ("f8", "f4"), ("u1", "u2"), ("f4", "u1")]
)
def test_numbers_are_read_in_the_recorded_dtype(dtype, stored):
    """Whatever dtype the program that corrected them has."""
    node = labels(dtype)
    node.compute()
    tifffile.imwrite(node.dc.path, np.full((2, 3), 7, stored))
    node.dc.adopt()
    assert labels(dtype).compute().dtype == dtype
    assert (labels(dtype).compute() == 7).all()


@pytest.mark.parametrize(
    ("dtype", "content", "expected", "got"),
    [
        ("i8", np.full((2, 3), 0.5, "f4"), "int64", "float32"),
        ("u1", np.full((2, 3), 300, "u2"), "uint8", "uint16"),
        ("u2", np.full((2, 3), -1, "i2"), "uint16", "int16"),
        ("i8", np.zeros((2, 3, 3), "u1"), r"\(2, 3\)", r"\(2, 3, 3\)"),
        ("i8", np.zeros((4, 2, 3), "u2"), r"\(2, 3\)", r"\(4, 2, 3\)"),
    ],
)
def test_what_does_not_fit_is_refused(dtype, content, expected, got):
    """By name of both dtypes and shapes, in Python and on the command line; nothing is changed."""
    node = labels(dtype)
    node.compute()
    tifffile.imwrite(node.dc.path, content)
    stored = Path(node.dc.path).read_bytes()
    with pytest.raises(FormatLimit, match=rf"(?s){expected}.*{got}") as error:
        node.dc.adopt()
    assert "labels.tif" in str(error.value)
    assert node.dc.state == "modified"
    code, output = run("adopt", "labels.tif", "--root", str(ROOT))
    assert code == 1
    assert got.replace("\\", "") in output
    assert Path(node.dc.path).read_bytes() == stored


def test_a_mask_with_several_labels_is_refused():
    """Only 0 and one other value stand for booleans."""
    node = masks()
    node.compute()
    tifffile.imwrite(node.dc.path, np.arange(12, dtype="u1").reshape(3, 4))
    with pytest.raises(FormatLimit, match="bool"):
        node.dc.adopt()


def table():
    def measure():
        return pd.DataFrame({"area": [1, 2], "mean": [0.5, 1.5], "name": ["a", "b"]})

    return dc.delayed(measure, target="cells.csv", version=1)()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("area;mean;name\n1;0,5;a\n", "area, mean, name"),
        ("", "area, mean, name"),
        (",area,mean,name\n0,1,0.5,a\n", "Unnamed: 0"),
        ("area,mean,name\n1,much,a\n", "'mean'"),
        ("area,mean\n1,0.5\n", "area, mean, name"),
    ],
)
def test_tables_with_other_columns_or_dtypes_are_refused(text, said):
    """As a spreadsheet may leave them: with semicolons, an index, or empty."""
    node = table()
    node.compute()
    Path(node.dc.path).write_text(text)
    with pytest.raises(FormatLimit) as error:
        node.dc.adopt()
    assert said in str(error.value)


def test_columns_are_read_in_the_recorded_dtype():
    """Numbers that look like integers once they are corrected, too."""
    node = table()
    node.compute()
    Path(node.dc.path).write_text("area,mean,name\n5,1,a\n6,2,b\n")
    node.dc.adopt()
    frame = table().compute()
    assert list(frame.dtypes.astype(str))[:2] == ["int64", "float64"]
    assert list(frame["mean"]) == [1.0, 2.0]


def test_arrays_in_zarr_are_read_in_the_recorded_dtype():
    """A folder that was written anew with another dtype."""
    node = dc.delayed(lambda: np.eye(4, dtype=bool), target="m.zarr", version=1)()
    node.compute()
    shutil.rmtree(node.dc.path)
    zarr.save_array(node.dc.path, np.eye(4, dtype="u1")[::-1] * 255)
    node.dc.adopt()
    again = dc.delayed(lambda: np.eye(4, dtype=bool), target="m.zarr", version=1)()
    assert again.compute().dtype == bool


# ---- states ----------------------------------------------------------------------------------------


def test_plans_and_commands_show_who_adopted_what():
    """State, person and time: in plans, `why`, `status`, `ls`."""
    node = masks()
    node.compute()
    correct(node)
    (planned,) = dc.plan(masks())
    assert (planned.state, planned.action, planned.is_complete) == ("adopted", "load", True)
    assert planned.reasons[0].startswith("adopted by ")
    assert planned.reasons[0].endswith("Z")
    assert "adopted by" in dc.why(masks())
    assert "adopted" in dc.plan(masks())._repr_html_()
    assert dc.status(masks()) == "adopted"
    _, listed = run("ls", "--root", str(ROOT))
    assert "adopted" in listed
    _, counted = run("status", "--root", str(ROOT))
    head, _, row = counted.splitlines()[1:]
    assert dict(zip(head.split(), row.split(), strict=False))["adopted"] == "1"
    _, told = run("why", "masks/a.tif", "--root", str(ROOT))
    assert "adopted    by " in told


def changed_input():
    return dc.delayed(mask_of, target="masks/a.tif", version=1)(np.ones((3, 4), "u1"), 2)


OTHER_RECIPES = {
    "argument": lambda: masks(3),
    "input": changed_input,
    "code": lambda: dc.delayed(mask_of, target="masks/a.tif", version=2)(
        np.arange(12, dtype="u1").reshape(3, 4), 2
    ),
}


@pytest.mark.parametrize("what", OTHER_RECIPES)
@pytest.mark.parametrize("verb", ["compute", "dask", "dc", "plan", "composed"])
def test_a_correction_is_not_replaced(what, verb):
    """Verbs raise before anything runs, and name target and commands; plans show what is blocked."""
    node = masks()
    node.compute()
    corrected = correct(node)
    other = OTHER_RECIPES[what]()
    (planned,) = plan = dc.plan(other)
    assert (planned.state, planned.action) == ("adopted", "blocked")
    assert "1 blocked" in str(plan)
    verbs = {
        "compute": other.compute,
        "dask": lambda: dask.compute(other, scheduler="sync"),
        "dc": lambda: dc.compute(other),
        "plan": plan.compute,
        "composed": lambda: dask.delayed(len)([other]).compute(scheduler="sync"),
    }
    with count_runs() as runs, pytest.raises(TargetModified) as error:
        verbs[verb]()
    assert not runs()
    for expected in ("masks/a.tif", "dask cache keep", "dask cache release", "dask cache why"):
        assert expected in str(error.value)
    np.testing.assert_array_equal(tifffile.imread(node.dc.path) > 0, corrected)
    assert masks().dc.state == "adopted"


def test_the_reason_says_what_it_was_made_for():
    """Plans and `why` name the argument that it had."""
    node = masks()
    node.compute()
    correct(node)
    assert "made for sigma=2" in str(masks(3).dc.why()).splitlines()[1]
    assert "sigma: 2 -> 3" in masks(3).dc.why()


def test_all_corrections_in_the_way_are_named():
    """In one error, with one command for all."""
    nodes = [masks(2, name) for name in "abc"]
    dask.compute(*nodes)
    for node in nodes:
        correct(node)
    with pytest.raises(TargetModified, match="running 3 nodes would replace") as error:
        dask.compute(*[masks(3, name) for name in "abc"])
    assert "masks/a.tif masks/b.tif masks/c.tif" in str(error.value)


def test_what_does_not_depend_on_it_runs_if_errors_are_collected():
    """The others have their values; in its place, and of what follows, stands an error."""
    node = masks()
    node.compute()
    correct(node)
    blocked, other = masks(3), masks(3, "b")
    after = dc.delayed(lambda mask: int(mask.sum()), target="{key}.json", version=1)
    plan = dc.plan(after(blocked), other)
    assert plan.counts["blocked"] == 2
    results = dc.compute(after(blocked), other, blocked, errors="collect")
    assert isinstance(results[0], NodeFailed)
    assert isinstance(results[2], NodeFailed)
    np.testing.assert_array_equal(results[1], other.compute())
    assert "made for sigma=2" in str(results[2])


def test_a_correction_waits_for_what_it_rests_on():
    """If what comes before it has to run again, its data decide: equal ones change nothing."""

    def images(n):
        return dc.delayed(lambda n: np.full((2, 3), n % 10), target="i.npy", version=1)(n)

    def last(image):
        return dc.delayed(lambda image: image > 5, target="m.tif", version=1)(image)

    node = last(images(7))
    node.compute()
    correct(node)
    with pytest.raises(TargetModified, match=r"adopted result"):
        last(images(17)).compute()
    images(17).compute()
    assert last(images(17)).dc.state == "adopted"
    assert last(images(17)).compute().dtype == bool
    images(18).compute()
    with pytest.raises(TargetModified):
        last(images(18)).compute()
    images(7).compute()
    assert last(images(7)).dc.state == "adopted"


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_what_is_adopted_before_its_inputs_are_known_stands(scheduler):
    """Results that were brought along are taken in as they are; what they rest on runs, and is noted."""
    image = dc.delayed(lambda: np.arange(7), pure=False)()
    node = dc.delayed(lambda image: image > 5, target="m.npy", version=1)(image)
    ROOT.mkdir()
    np.save(ROOT / "m.npy", np.ones(7, bool))
    assert run("adopt", "--root", str(ROOT), "m.npy")[0] == 0
    assert node.dc.state == "pending"
    assert dask.compute(node, scheduler=scheduler)[0].all()
    assert dask.compute(node, scheduler=scheduler)[0].all()
    assert not list((ROOT / ".daskcache").rglob("trash/*"))


def test_going_back_finds_it_complete():
    """Trying another recipe, in vain, changes nothing."""
    node = masks()
    node.compute()
    corrected = correct(node)
    with pytest.raises(TargetModified):
        masks(3).compute()
    np.testing.assert_array_equal(masks(2).compute(), corrected)


# ---- policies --------------------------------------------------------------------------------------


def test_adopt_keeps_it_for_every_recipe(recwarn):
    """With one summary line, and nothing runs; what follows is of the correction."""
    nodes = [masks(2, name, on_modified="adopt") for name in "ab"]
    dask.compute(*nodes)
    corrected = [correct(node) for node in nodes]
    recwarn.clear()
    with count_runs() as runs:
        values = dask.compute(*[masks(3, name, on_modified="adopt") for name in "ab"])
    assert not runs()
    np.testing.assert_array_equal(values, corrected)
    said = [str(warning.message) for warning in recwarn if "adopted" in str(warning.message)]
    assert len(said) == 1
    assert said[0].startswith("2 adopted results are kept")
    assert masks(3, on_modified="adopt").dc.state == masks(2).dc.state == "adopted"


def read(path):
    return int(Path(path).read_text())


def half(number):
    return number // 2


def corrected_before_a_known_result(**options):
    """A corrected node whose input then comes out as that from which equal code went on elsewhere."""
    Path("number.txt").write_text("10")
    source = dc.delayed(read, target="source.json", version=1)("number.txt")
    middle = dc.delayed(half, target="middle.json", version=1, **options)(source)
    middle.compute()
    Path(middle.dc.path).write_text("999")
    middle.dc.adopt()
    same = dc.delayed(int, target="same.json", version=1)(20)
    other = dc.delayed(half, target="other.json", version=1)(same)
    assert dc.delayed(int, target="follows.json", version=1)(other).compute() == 10
    Path("number.txt").write_text("20")
    return source, middle


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_a_correction_that_stands_comes_before_what_equal_code_made(scheduler):
    """Known results of equal code and data, at another target, are not taken in its place."""
    source, middle = corrected_before_a_known_result(on_modified="adopt")
    last = dc.delayed(int, target="last.json", version=1)(middle)
    with dask.config.set(scheduler=scheduler):
        assert dc.compute(last, force=source) == (999,)
    assert middle.compute() == 999
    assert Path(middle.dc.path).read_text() == "999"


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_a_correction_is_asked_about_before_what_equal_code_made(scheduler):
    """What follows does not go on from a result at another target while a person has to decide."""
    source, middle = corrected_before_a_known_result()
    last = dc.delayed(int, target="last.json", version=1)(middle)
    with dask.config.set(scheduler=scheduler), pytest.raises(TargetModified, match=r"middle\.json"):
        dc.compute(last, force=source)
    assert Path(middle.dc.path).read_text() == "999"
    assert last.dc.state != "complete"


def test_recompute_moves_it_to_the_trash():
    """And runs."""
    node = masks()
    node.compute()
    corrected = correct(node)
    with pytest.warns(dc.errors.DaskcacheWarning, match="kept as"):
        value = masks(3, on_modified="recompute").compute()
    assert value.sum() == 8
    (kept,) = (ROOT / ".daskcache" / "trash").glob("*/a.tif")
    np.testing.assert_array_equal(tifffile.imread(kept) > 0, corrected)


@pytest.mark.parametrize("how", ["python", "command"])
def test_a_correction_is_kept_for_another_recipe(how):
    """It is complete for both recipes; the record says who decided so."""
    node = masks()
    node.compute()
    corrected = correct(node)
    if how == "python":
        assert dc.keep(masks(3)) == 1
        assert dc.keep(masks(3)) == 0
    else:
        code, output = run("keep", "masks/a.tif", "--root", str(ROOT))
        assert (code, "is kept" in output) == (0, True)
    with count_runs() as runs:
        np.testing.assert_array_equal(masks(3).compute(), corrected)
        np.testing.assert_array_equal(masks(2).compute(), corrected)
    assert not runs()
    assert masks(3).dc.record["kept"]["by"]
    assert masks(3).dc.record["edited"]["by"]
    with pytest.raises(TargetModified):
        masks(4).compute()


@pytest.mark.parametrize("how", ["python", "command"])
def test_a_released_correction_goes_to_the_trash(how):
    """And the node runs when it is needed."""
    node = masks()
    node.compute()
    corrected = correct(node)
    if how == "python":
        assert dc.release(masks(3)) == 1
        assert dc.release(masks(3)) == 0
    else:
        code, output = run("release", "masks/a.tif", "--root", str(ROOT))
        assert (code, "trash" in output) == (0, True)
    assert masks(3).dc.state == masks(2).dc.state == "missing"
    assert masks(3).compute().sum() == 8
    (kept,) = (ROOT / ".daskcache" / "trash").glob("*/a.tif")
    np.testing.assert_array_equal(tifffile.imread(kept) > 0, corrected)


@pytest.mark.parametrize("between", [False, True])
def test_what_follows_from_a_released_correction_is_made_again(between, runs):
    """It was made from the correction: whoever gave that up does not get it from what rests on it."""

    @dc.delayed(target="first.json", version=1)
    def first(n):
        return n

    @dc.delayed(target="last-{key}.json", version=1)
    def last(x):
        runs.note("last")
        return 10 * x

    first(1).compute()
    (ROOT / "first.json").write_text("100")
    first(1).dc.adopt()
    assert last(first(1)).compute() == 1000
    assert dc.release(first(1)) == 1
    if between:
        assert last(first(2)).compute() == 20
    assert dc.plan(last(first(1))).counts["run"] >= 1
    assert last(first(1)).compute() == 10
    assert last(first(1)).compute() == 10
    runs.clear()
    (ROOT / "first.json").unlink()
    assert last(first(1)).compute() == 10
    assert runs.names() == []


def test_there_must_be_something_to_decide():
    """Nodes and targets without corrections are told so."""
    node = masks()
    with pytest.raises(TargetMissing, match="no adopted result"):
        dc.keep(node)
    assert dc.release(node) == 0
    node.compute()
    for command in ("keep", "release"):
        code, output = run(command, "masks/a.tif", "--root", str(ROOT))
        assert code == 1
        assert "was not adopted, it is complete" in output
        assert run(command, "nothing.tif", "--root", str(ROOT))[0] == 1


def test_forcing_does_not_replace_it():
    """`force` says that a node should run, not that a person's work may go."""
    node = masks()
    node.compute()
    correct(node)
    with pytest.raises(TargetModified):
        dc.compute(masks(), force=True)
    assert masks().dc.state == "adopted"


def test_it_does_not_expire():
    """A correction is as good as it was."""
    node = masks(expires="1 hour")
    node.compute()
    correct(node)
    path = Path(node.dc.path)
    long_ago = time.time() - 86400
    os.utime(path, (long_ago, long_ago))
    assert masks(expires="1 hour").dc.state == "adopted"


def test_what_was_adopted_before_names_said_so_is_protected():
    """Records of before say it in their content only."""
    node = masks()
    node.compute()
    correct(node)
    (record,) = (ROOT / ".daskcache" / "records").glob("*/*.a.json")
    record.rename(record.with_name(record.name.replace(".a.json", ".json")))
    with pytest.raises(TargetModified, match="adopted"):
        masks(3).compute()
    _, listed = run("ls", "--root", str(ROOT))
    assert "adopted" in listed


# ---- several results, tables, other places ---------------------------------------------------------


def two(n=1):
    def both(n):
        return np.full((2, 2), n), {"n": n}

    return dc.delayed(both, target=("two/a.npy", "two/b.json"), version=1)(n)


def test_one_of_several_results_is_protected():
    """The others are not made again without a decision, either."""
    two().compute()
    np.save(ROOT / "two" / "a.npy", np.full((2, 2), 9))
    two().dc.adopt()
    assert two().dc.state == "adopted"
    with pytest.raises(TargetModified):
        two(2).compute()
    (ROOT / "two" / "b.json").unlink()
    with pytest.raises(TargetModified):
        two().compute()
    dc.keep(two(2)) if two(2).dc.state == "adopted" else None
    assert (np.load(ROOT / "two" / "a.npy") == 9).all()


@pytest.mark.parametrize("backwards", [False, True])
def test_however_records_are_listed_a_correction_is_seen(backwards, monkeypatch):
    """One file has two records: of the function that made it, and of the person who took it in."""
    listed = storage.names_in
    monkeypatch.setattr(storage, "names_in", lambda folder: sorted(listed(folder), reverse=backwards))
    two(1).compute()
    np.save(ROOT / "two" / "a.npy", np.full((2, 2), 9))
    two(2).dc.adopt()
    (ROOT / "two" / "a.npy").unlink()
    with pytest.raises(TargetModified, match=r"b\.json"):
        two(3).compute()
    assert json.loads((ROOT / "two" / "b.json").read_text()) == {"n": 1}


@pytest.mark.parametrize("policy", ["error", "recompute"])
def test_a_recipe_has_one_record_of_its_result(policy):
    """With another one, of what was replaced, a release would not find a deleted correction."""
    masks(2, on_modified=policy).compute()
    correct(masks(3, on_modified=policy))  # the function's result for 2 is still known
    dc.keep(masks(2, on_modified=policy))
    masks(2, on_modified=policy).compute()
    node = masks(2, on_modified=policy)
    assert len(RecordStore(Root(str(ROOT))).with_key(node.dc.key)) == 1
    Path(node.dc.path).unlink()
    assert node.dc.release()


@pytest.mark.parametrize("deleted", [True, False])
def test_one_of_several_results_is_kept(deleted):
    """The others are made for the new recipe; and what was decided holds for no other recipe."""
    two().compute()
    np.save(ROOT / "two" / "a.npy", np.full((2, 2), 9))
    two().dc.adopt()
    if deleted:
        (ROOT / "two" / "b.json").unlink()
    with pytest.raises(TargetModified):
        two(2).compute()
    assert two(2).dc.keep()
    for _ in range(2):
        array, text = two(2).compute()
        assert (array == 9).all()
        assert text == {"n": 2}
    with pytest.raises(TargetModified):
        two(3).compute()


def test_the_record_of_one_kept_result_names_the_person():
    """A worker writes it, and then removes the note that says who decided, and when."""
    two().compute()
    np.save(ROOT / "two" / "a.npy", np.full((2, 2), 9))
    two().dc.adopt()
    two(2).dc.keep()
    note = json.loads(next((ROOT / ".daskcache" / "accepted").iterdir()).read_text())
    two(2).compute()
    assert list((ROOT / ".daskcache" / "accepted").iterdir()) == []
    kept = [r["kept"] for r in _records() if "kept" in r]
    assert [(k["by"], k["when"]) for k in kept] == [(note["by"], note["when"])]
    _, told = run("why", "two/a.npy", "--root", str(ROOT))
    assert f"kept       for this recipe by {note['by']}, {note['when']}" in told


def test_one_kept_result_of_several_that_adopt_by_themselves_names_nobody():
    """With ``on_modified="adopt"`` no person decides about the new recipe."""

    def adopting(n):
        return dc.delayed(
            lambda n: (np.full((2, 2), n), {"n": n}),
            target=("two/a.npy", "two/b.json"),
            version=1,
            on_modified="adopt",
        )(n)

    adopting(1).compute()
    np.save(ROOT / "two" / "a.npy", np.full((2, 2), 9))
    (ROOT / "two" / "b.json").unlink()
    for n in (1, 2):
        adopting(n).compute()
    assert {(r["kept"]["by"], r["kept"]["when"]) for r in _records() if "kept" in r} == {(None, None)}


def _records():
    return [json.loads(path.read_text()) for path in ROOT.glob(".daskcache/records/*/*.json")]


def test_what_follows_from_one_kept_result_is_made_anew():
    """It rests on what the function made, though that is gone."""
    following = dc.delayed(lambda pair: int(pair[0].sum()), target="sum.json", version=1)
    assert following(two(2)).compute() == 8
    two(1).compute()
    np.save(ROOT / "two" / "a.npy", np.full((2, 2), 9))
    two(1).dc.adopt()
    two(2).dc.keep()
    assert following(two(2)).compute() == 36


def test_a_table_in_a_database_is_protected():
    """As a file is."""

    def rows(n=1):
        def make(n):
            return pd.DataFrame({"n": [n]})

        return dc.delayed(make, target="results.db::rows", version=1)(n)

    import sqlite3

    rows().compute()
    with sqlite3.connect(ROOT / "results.db") as connection:
        connection.execute("update rows set n = 5")
    connection.close()
    rows().dc.adopt()
    assert rows().dc.state == "adopted"
    with pytest.raises(TargetModified):
        rows(2).compute()
    assert rows().compute()["n"].tolist() == [5]
    dc.release(rows())
    assert rows(2).compute()["n"].tolist() == [2]


def test_housekeeping_leaves_it_alone():
    """`gc` does not drop it, `verify --repair` does not move it, though it were damaged."""
    node = masks()
    node.compute()
    correct(node)
    run("gc", "--yes", "--max-size", "0", "--min-age", "0 s", "--root", str(ROOT))
    assert Path(node.dc.path).exists()
    path = Path(node.dc.path)
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    run("verify", "--repair", "--root", str(ROOT))
    assert path.exists()
    with pytest.raises(dc.errors.TargetCorrupt, match="adopted"):
        masks().compute()
    assert path.exists()


def test_a_copied_root_keeps_it():
    """With or without its times."""
    node = masks()
    node.compute()
    corrected = correct(node)
    shutil.copytree(ROOT, "copy", copy_function=shutil.copyfile)
    with dask.config.set({"daskcache.root": "copy"}):
        np.testing.assert_array_equal(masks().compute(), corrected)
        with pytest.raises(TargetModified):
            masks(3).compute()


def test_a_copied_root_knows_whose_targets_are_whose(recwarn):
    """Another function on the same path is a collision there, too; an accepted result is accepted."""

    def other(image, sigma):
        return image < sigma

    masks().compute()
    shutil.copytree(ROOT, "copy", copy_function=shutil.copyfile)
    with dask.config.set({"daskcache.root": "copy"}):
        rival = dc.delayed(other, target="masks/a.tif", version=1)(np.eye(3), 2)
        with pytest.raises(TargetCollision, match="mask_of"):
            rival.compute()
        stale = masks(3)
        assert str(stale.dc.why()) == "sigma: 2 -> 3"
        assert dc.accept(stale) == 1
        assert masks(3).dc.state == "complete"
    assert not [warning for warning in recwarn if "record" in str(warning.message)]


def test_what_was_put_back_and_adopted_is_the_result():
    """Though a record of before knows it as the result of another recipe."""
    first = masks(1)
    first.compute()
    path = Path(first.dc.path)
    kept = Path("kept.tif")
    shutil.copy2(path, kept)
    path.unlink()
    masks(8).compute()
    shutil.copy2(kept, path)
    assert dc.adopt(masks(8)) == 1
    assert masks(8).dc.state == "adopted"
    assert masks(8).compute().sum() == 10


def test_a_deleted_correction_is_computed_again_with_a_word():
    """Deleting it by hand is a decision, but the user is told."""
    node = masks()
    node.compute()
    correct(node)
    Path(node.dc.path).unlink()
    assert str(masks().dc.why()) == "the adopted result was deleted"
    assert masks().compute().sum() == 9


def test_records_say_what_the_function_made():
    """To compare the correction with it, as far as it is still there."""
    node = masks()
    node.compute()
    before = json.loads(json.dumps(node.dc.record))
    correct(node)
    edited = masks().dc.record["edited"]
    assert edited["stored"] == before["data_hash"]
    assert edited["file"] == before["file_hash"]
    assert masks().dc.record["form"] == {"dtype": "bool", "shape": [3, 4]}


def test_a_damaged_correction_cannot_be_kept():
    """The error names the way out."""
    node = masks()
    node.compute()
    correct(node)
    path = Path(node.dc.path)
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    checked = masks(check="content")
    assert dc.plan(checked).counts["blocked"] == 1
    with pytest.raises(GraphError, match="can't be kept"):
        dc.keep(checked)


def test_a_correction_below_nodes_without_targets_stands_when_their_inputs_run_again():
    """The record says of an uncached input what planning knows of it: the input is as it was."""
    one = dc.delayed(lambda: 1, target="one.json", version=1)()
    other = dc.delayed(lambda: 5, target="other.json", version=1)()
    held = dc.delayed(lambda value: value + 1, save=False, version=1)
    node = dc.delayed(lambda a, b: a + b, target="sum.json", version=1)(held(one), held(other))
    assert dc.compute(node) == (8,)
    Path(node.dc.path).write_text("70")
    node.dc.adopt()
    assert dc.compute(node, other, force=other) == (70, 5)
    assert node.dc.state == "adopted"


@pytest.mark.parametrize("forged", [{"by": "\x1b[2Jroot"}, {"by": ["root"]}, {"when": 5}])
def test_who_adopted_it_is_a_text_that_a_terminal_can_show(forged):
    """A record is a file that anybody can write: one that says something else is none."""
    node = masks()
    node.compute()
    correct(node)
    (path,) = (ROOT / ".daskcache" / "records").rglob("*.json")
    record = json.loads(path.read_bytes())
    record["edited"] |= forged
    path.write_text(json.dumps(record))
    with pytest.warns(DaskcacheWarning, match="can't be"):
        _, output = run("why", "masks/a.tif", "--root", str(ROOT))
    assert "\x1b" not in output


@pytest.mark.parametrize("note", [{"released": 5}, {"content": {}}, {"keep": [1]}, {"by": "\x1b[2J"}])
def test_a_note_that_holds_no_texts_says_nothing(note):
    """Nor does a note of a decision that nobody has made."""
    node = masks()
    value = node.compute()
    folder = ROOT / ".daskcache" / "accepted"
    folder.mkdir(exist_ok=True)
    (folder / f"{target_id('masks/a.tif')}.json").write_text(json.dumps(note))
    assert masks().dc.state == "complete"
    np.testing.assert_array_equal(masks().compute(), value)


@pytest.mark.parametrize("suffix", ["tif", "npy"])
def test_a_copy_of_a_correction_is_a_correction(suffix):
    """At another target, in the same or another format, it is not replaced unasked either."""
    node = masks()
    node.compute()
    mask = correct(node)
    other = dc.delayed(mask_of, target=f"other.{suffix}", version=1)
    copy = other(np.arange(12, dtype="u1").reshape(3, 4), 2)
    assert np.array_equal(copy.compute(), mask)
    assert copy.dc.state == "adopted"
    with pytest.raises(TargetModified):
        other(np.arange(12, dtype="u1").reshape(3, 4), 3).compute()
