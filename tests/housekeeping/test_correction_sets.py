"""All corrections of a root: listed, packed, and applied to another root."""

from __future__ import annotations

import getpass
import json
from pathlib import Path

import dask
import numpy as np
import pytest
import tifffile
from levels import after, correct, edit, level, run

import daskcache as dc
from daskcache.errors import StorageError, TargetMissing, TargetModified
from daskcache.housekeeping import correction_sets
from daskcache.housekeeping.correction_sets import apply, corrections, export_corrections
from daskcache.storage import trash
from daskcache.storage.records import RecordStore
from daskcache.storage.roots import Root


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def other(tmp_path):
    """Everything inside is computed with another root, whose own results are there."""

    class Other:
        path = tmp_path / "other"
        root = Root(str(path))

        def __enter__(self):
            self._set = dask.config.set({"daskcache.root": str(self.path)})
            self._set.__enter__()

        def __exit__(self, *exception):
            self._set.__exit__(*exception)

    return Other()


# ---- lists ----------------------------------------------------------------------------------------


def test_corrections_are_listed_with_who_and_when(root):
    """And for which recipe; results of functions are not listed."""
    dc.compute(level(1), level(2))
    correct(level(1))
    (found,) = corrections(Root(str(root)))
    assert (found.target, found.state, found.by) == ("levels/1.json", "adopted", getpass.getuser())
    assert found.when.endswith("Z")
    assert (found.function, found.key) == ("levels.level_of", level(1).dc.key)
    assert found.arguments == {"n": "1", "step": "10"}
    code, output = run("corrections", "--root", str(root))
    assert code == 0
    assert "level_of(n=1, step=10)" in output
    assert "levels/2.json" not in output
    told = json.loads(run("corrections", "levels", "--root", str(root), "--json")[1])
    assert [each["target"] for each in told["corrections"]] == ["levels/1.json"]
    assert run("corrections", "masks", "--root", str(root))[1] == "no corrections\n"


def test_a_kept_correction_is_told_by_the_recipe_it_was_made_for(root):
    """Others that it stands for are counted."""
    level(1).compute()
    correct(level(1))
    dc.keep(level(1, step=20))
    (found,) = corrections(Root(str(root)))
    assert (found.key, found.kept_for) == (level(1).dc.key, (level(1, step=20).dc.key,))
    assert found.arguments["step"] == "10"
    assert "kept for 1 more" in run("corrections", "--root", str(root))[1]


def test_states_of_corrections(root):
    """Edited again, deleted, adopted by a command that no program has seen yet; not a released one."""
    nodes = [level(n) for n in range(5)]
    dc.compute(nodes)
    for node in nodes[:4]:
        correct(node)
    edit(nodes[1], "8")
    Path(nodes[2].dc.path).unlink()
    dc.release(nodes[3])
    edit(nodes[4])
    run("adopt", "levels/4.json", "--root", str(root))
    states = {c.target: c.state for c in corrections(Root(str(root)))}
    assert states == {
        "levels/0.json": "adopted",
        "levels/1.json": "modified",
        "levels/2.json": "missing",
        "levels/4.json": "noted",
    }


# ---- to another root ------------------------------------------------------------------------------


def packed(root, *patterns):
    """An archive with the corrections of a root."""
    export_corrections(Root(str(root)), "corrections.tar")
    return "corrections.tar"


def outcomes(other, archive="corrections.tar"):
    return dict(apply(other.root, archive))


def test_corrections_take_the_places_of_results(root, other):
    """The function's result goes to the trash, what follows runs again, and who and when stay."""
    level(1).compute()
    correct(level(1))
    with other:
        assert after(level(1)).compute() == 11
        assert outcomes(other, packed(root)) == {"levels/1.json": "applied"}
        assert (level(1).dc.state, after(level(1)).compute()) == ("adopted", 8)
        assert len(RecordStore(other.root).with_key(level(1).dc.key)) == 1
        (thing,) = trash.listed(other.root)
        assert (thing.reason, Path(thing.kept).read_text().strip()) == ("replaced by a correction", "10")
        assert "-10" in dc.diff(level(1)).lines
        (here,), (there,) = corrections(Root(str(root))), corrections(other.root)
        assert here == there
        dc.release(level(1))
        assert level(1).compute() == 10
        assert outcomes(other) == {"levels/1.json": "applied"}


def test_corrections_come_into_a_new_root(root, other):
    """Where nothing was computed, they are the results."""
    level(1).compute()
    correct(level(1))
    assert outcomes(other, packed(root)) == {"levels/1.json": "applied"}
    with other:
        assert level(1).compute() == 7
    assert outcomes(other) == {"levels/1.json": "there already"}


def test_what_users_made_there_stays(root, other):
    """Their edits, corrections and files are not overwritten, and none is moved."""
    nodes = [level(n) for n in range(4)]
    dc.compute(nodes)
    for node in nodes:
        correct(node)
    with other:
        dc.compute(level(0), level(1))
        correct(level(0), "100")
        edit(level(1), "101")
        for n in (2, 3):
            (other.path / f"levels/{n}.json").write_text(f"10{n}")
        run("adopt", "levels/3.json", "--root", str(other.path))
    found = outcomes(other, packed(root))
    assert set(found.values()) == {correction_sets.EDITED_HERE}
    texts = [(other.path / f"levels/{n}.json").read_text() for n in range(4)]
    assert texts == ["100", "101", "102", "103"]
    assert list((other.path / ".daskcache/trash").iterdir()) == []


def test_a_file_that_is_edited_just_now_stays(root, other, monkeypatch):
    """Between the decision and the move, a user saves the file: it comes back from the trash."""
    level(1).compute()
    correct(level(1))
    with other:
        level(1).compute()
    keep = trash.keep

    def keep_late(root, path, target, reason):
        Path(path).write_text("mine")
        return keep(root, path, target, reason)

    monkeypatch.setattr(trash, "keep", keep_late)
    assert outcomes(other, packed(root)) == {"levels/1.json": correction_sets.EDITED_HERE}
    assert (other.path / "levels/1.json").read_text() == "mine"


def test_a_correction_for_another_recipe_waits_for_the_user(root, other):
    """It is there as adopted, for the recipe that it was made for; the verb asks before it counts."""
    level(1).compute()
    correct(level(1))
    with other:
        level(1, step=20).compute()
        assert outcomes(other, packed(root)) == {"levels/1.json": "applied"}
        with pytest.raises(TargetModified):
            level(1, step=20).compute()
        assert level(1).compute() == 7
        dc.keep(level(1, step=20))
        assert level(1, step=20).compute() == 7


@pytest.mark.parametrize("step", range(2, 8))
def test_a_kept_correction_goes_with_the_recipe_of_the_last_decision(step, root, other):
    """Whatever order the records have, the program with that recipe finds it complete."""
    level(1).compute()
    correct(level(1))
    dc.keep(level(1, step=step))
    packed(root)
    with other:
        level(1, step=step).compute()
        assert outcomes(other) == {"levels/1.json": "applied"}
        assert level(1, step=step).compute() == 7


@pytest.mark.filterwarnings("ignore:.*adopted results are kept")
def test_a_correction_that_is_kept_before_its_input_is_made(root, other):
    """It stands for the recipe whatever data the input gets, there as here."""
    after(level(1)).compute()
    correct(after(level(1)))
    kept = after(level(1, step=20))
    dc.keep(kept)
    assert kept.dc.state == "adopted"
    packed(root)
    assert outcomes(other) == {"after/1.json": "applied"}
    with other:
        assert after(level(1, step=20)).compute() == 7


def test_only_corrections_are_packed_and_applied(root, other):
    """Other results of the call, and an archive's ordinary results, are not."""
    two = dc.delayed(lambda: (1, 2), target=("a.json", "b.json"))()
    two.compute()
    Path(two.dc.path[0]).write_text("9")
    dc.adopt(two)
    assert outcomes(other, packed(root)) == {"a.json": "applied"}
    run("export", "all.tar", "*", "--root", str(root))
    assert outcomes(other, "all.tar") == {
        "a.json": "there already",
        "b.json": correction_sets.NO_CORRECTION,
    }
    assert not (other.path / "b.json").exists()


def test_paths_that_are_in_the_way(root, other):
    """A file where the folder would be is not replaced."""
    level(1).compute()
    correct(level(1))
    other.path.mkdir()
    (other.path / "levels").write_text("a file")
    assert outcomes(other, packed(root)) == {"levels/1.json": correction_sets.IN_THE_WAY}


def test_pickles_are_applied_if_they_are_trusted(root, other):
    """Reading one can run code of its author."""
    node = dc.delayed(lambda: 1, target="v.pkl")()
    node.compute()
    dask_value = Path(node.dc.path).read_bytes().replace(b"K\x01", b"K\x02")
    Path(node.dc.path).write_bytes(dask_value)
    dc.adopt(node)
    assert outcomes(other, packed(root)) == {"v.pkl": "left out"}
    assert dict(apply(other.root, "corrections.tar", trust_pickles=True)) == {"v.pkl": "applied"}


def test_an_archive_is_never_replaced_and_never_empty(root):
    """The errors say what to do."""
    level(1).compute()
    with pytest.raises(TargetMissing, match="no correction to pack"):
        packed(root)
    correct(level(1))
    packed(root)
    with pytest.raises(StorageError, match="already"):
        packed(root)


def test_images_and_folders_are_applied(root, other):
    """A mask keeps the dtype of its result; a Zarr folder is applied as a whole."""

    def image():
        return np.zeros((9, 9), bool)

    mask = dc.delayed(image, target="m.tif")()
    folder = dc.delayed(image, target="m.zarr")()
    dc.compute(mask, folder)
    tifffile.imwrite(mask.dc.path, np.full((9, 9), 255, "u1"))
    import zarr

    zarr.open(folder.dc.path, mode="r+")[...] = True
    dc.adopt(mask, folder)
    with other:
        dc.compute(mask_again := dc.delayed(image, target="m.tif")())
        assert outcomes(other, packed(root)) == {"m.tif": "applied", "m.zarr": "applied"}
        value = mask_again.compute()
        assert value.dtype == bool
        assert value.all()
        assert dc.delayed(image, target="m.zarr")().compute().all()


def test_the_commands(root, other):
    """The exit code of --apply tells whether all were applied."""
    dc.compute(level(1), level(2))
    correct(level(1))
    correct(level(2))
    code, output = run("corrections", "levels/1.json", "--export", "c.tar", "--root", str(root))
    assert code == 0
    assert "c.tar: 1 corrections" in output
    code, output = run("corrections", "--apply", "c.tar", "--root", str(other.path))
    assert (code, output) == (0, "levels/1.json: applied\n")
    (other.path / "levels/1.json").write_text("8")
    code, output = run("corrections", "--apply", "c.tar", "--root", str(other.path), "--json")
    assert code == 1
    assert json.loads(output)["outcomes"] == {"levels/1.json": correction_sets.EDITED_HERE}
    told = json.loads(run("corrections", "--export", "d.tar", "--json", "--root", str(root))[1])
    assert told["packed"] == ["levels/1.json", "levels/2.json"]
    for wrong in (["--export", "x", "--apply", "c.tar"], ["levels", "--apply", "c.tar"]):
        assert run("corrections", *wrong, "--root", str(root))[0] == 2
