"""What is edited, damaged or removed: taken in, or kept in the trash and restored."""

from __future__ import annotations

import json
import os
import pickle
import warnings
from pathlib import Path

import dask
import numpy as np
import pytest
import zarr
from click.testing import CliRunner

import daskcache as dc
from daskcache.errors import (
    DaskcacheWarning,
    ForeignTarget,
    TargetCorrupt,
    TargetMissing,
    TargetModified,
    UnsafePath,
)
from daskcache.housekeeping.cli.main import cache
from daskcache.storage import trash
from daskcache.storage.roots import Root


@pytest.fixture
def chain(runs):
    """Makes a chain of three nodes: first, second, third, each one more than the one before."""

    def chain(number=1, **options):
        @dc.delayed(target="first.json", **options)
        def first(number):
            runs.note("first")
            return number

        @dc.delayed(target="second.json", **options)
        def second(x):
            runs.note("second")
            return x + 1

        @dc.delayed(target="third.json", **options)
        def third(x):
            runs.note("third")
            return x + 1

        one = first(number)
        two = second(one)
        return one, two, third(two)

    return chain


def damage(path):
    """Change a byte behind an unchanged size and mtime."""
    found, data = os.stat(path), Path(path).read_bytes()
    Path(path).write_bytes(bytes([data[0] ^ 1]) + data[1:])
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def things(root):
    return {thing.target: thing for thing in trash.listed(Root(str(root)))}


def command(root, *args):
    done = CliRunner().invoke(cache, [*args, "--root", str(root)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    return done


# ---- damaged -------------------------------------------------------------------------------------


def test_a_damaged_result_is_made_again(chain, root, runs):
    """A requested result whose bytes rotted is kept aside and made again, with a warning."""
    last = chain()[2]
    last.compute()
    damage(root / "third.json")
    damaged = (root / "third.json").read_bytes()
    runs.clear()
    with pytest.warns(DaskcacheWarning, match="made again, because a result is damaged"):
        assert last.compute() == 3
    assert runs.take() == ["third"]
    assert Path(things(root)["third.json"].kept).read_bytes() == damaged
    assert things(root)["third.json"].reason == "damaged"
    assert last.dc.state == "complete"


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_a_damaged_input_is_made_again(chain, root, runs, scheduler):
    """So is one that another node needs, wherever that node runs; also several at once."""
    one, _, last = chain()
    last.compute()
    runs.clear()
    damage(root / "first.json")
    damage(root / "second.json")
    os.remove(root / "third.json")
    with pytest.warns(DaskcacheWarning, match="second.json"), dask.config.set(scheduler=scheduler):
        assert dc.compute(last, one) == (3, 1)
    assert runs.take() == ["first", "second", "third"]
    assert sorted(things(root)) == ["first.json", "second.json"]


def test_in_other_verbs_damage_is_an_error_and_the_next_verb_repairs(chain, root, runs):
    """Dask's own verbs raise TargetCorrupt, which says where the file is kept; again, and it is made."""
    last = chain()[2]
    last.compute()
    damage(root / "third.json")
    runs.clear()
    with pytest.raises(TargetCorrupt, match="compute again: the node will rerun") as caught:
        dask.compute(last)
    assert things(root)["third.json"].kept in caught.value.hint
    assert dask.compute(last) == (3,)
    assert runs.take() == ["third"]


def test_load_and_open_never_give_damaged_data(chain, root):
    """Reading a node's result raises; the damaged file is kept, and the node is to be made again."""
    last = chain()[2]
    for access in (last.dc.load, last.dc.open):
        last.compute()
        damage(root / "third.json")
        with pytest.raises(TargetCorrupt):
            access()
        assert last.dc.state == "missing"


def test_what_was_mended_meanwhile_is_left_alone(root):
    """A file that is as it was stored when it arrives in the trash goes back."""
    place = Root(str(root))
    place.create()
    (root / "x").write_bytes(b"good")
    from daskcache.storage.files import file_hash

    assert trash.keep_damaged(place, "x", file_hash(str(root / "x"))) is None
    assert (root / "x").read_bytes() == b"good"
    assert trash.listed(place) == []
    assert trash.keep_damaged(place, "gone", "0" * 32) is None


def test_an_edit_that_can_not_be_read_is_damage(chain, root, runs):
    """A file that is no longer of its format is corrupt: the node reruns, what was there is kept."""
    last = chain()[2]
    last.compute()
    runs.clear()
    (root / "second.json").write_text("{ half")
    assert last.dc.state == "pending"
    with pytest.warns(DaskcacheWarning, match="kept as"):
        assert last.compute() == 3
    assert runs.take() == ["second"]
    assert Path(things(root)["second.json"].kept).read_text() == "{ half"


# ---- edited --------------------------------------------------------------------------------------


def test_the_error_lists_every_edited_target(chain, root):
    """One error names all edited targets of a verb, and the commands that go on."""
    one, _, last = chain()
    last.compute()
    (root / "first.json").write_text("70")
    (root / "third.json").write_text("90")
    assert dc.plan(one, last).counts["blocked"] == 2
    with pytest.raises(TargetModified, match="2 targets were edited") as caught:
        dc.compute(one, last)
    message = str(caught.value)
    assert "first.json" in message
    assert "third.json" in message
    assert f"dask cache adopt --root {root}" in message
    assert "dask cache rm" in message


def test_the_error_lists_every_foreign_file(chain, root):
    """So does the one about files that daskcache did not write."""
    root.mkdir()
    (root / "first.json").write_text("70")
    (root / "second.json").write_text("80")
    one, two, _ = chain()
    with pytest.raises(ForeignTarget, match=r"first\.json.*second\.json"):
        dc.compute(one, two)


def test_on_modified_adopt(chain, root, runs):
    """The edited content is the node's result; what follows reruns; the record says so."""
    _, two, last = chain(on_modified="adopt")
    last.compute()
    stored = two.dc.record["data_hash"]
    runs.clear()
    (root / "second.json").write_text("50")
    assert dc.plan(last).counts["run"] == 1
    assert last.compute() == 51
    assert two.compute() == 50
    assert runs.take() == ["third"]
    assert two.dc.record["edited"]["stored"] == stored
    assert two.dc.record["key"] == two.dc.key
    assert "edited" not in last.dc.record
    last.compute()
    assert runs.take() == []


def test_an_adopted_edit_is_kept_when_its_node_runs_again(chain, root):
    """When an input changes, an adopted edit stands; or, if one asks for it, is put into the trash."""
    last = chain(1, on_modified="adopt")[2]
    last.compute()
    (root / "second.json").write_text("50")
    last.compute()
    with pytest.warns(DaskcacheWarning, match="kept for other recipes"):
        assert chain(5, on_modified="adopt")[2].compute() == 51
    with pytest.warns(DaskcacheWarning, match="kept as"):
        assert chain(6, on_modified="recompute")[2].compute() == 8
    assert Path(things(root)["second.json"].kept).read_text() == "50"


def test_audits_leave_out_what_was_edited(chain, root):
    """An adopted edit is not what its function makes: an audit says so and computes another node."""
    last = chain(on_modified="adopt")[2]
    last.compute()
    (root / "second.json").write_text("50")
    last.compute()
    by_target = {finding.target: finding for finding in dc.audit(last).findings}
    assert by_target["second.json"].outcome == "skipped"
    assert by_target["second.json"].reason == "it was edited by hand, and adopted"
    assert by_target["third.json"].outcome == "same"


def test_adopt_from_python(chain, root, runs):
    """`dc.adopt` takes in edited and foreign files once; it says how many there were."""
    root.mkdir()
    (root / "first.json").write_text("10")
    one, two, last = chain()
    assert dc.adopt(one) == 1
    assert last.compute() == 12
    assert runs.take() == ["second", "third"]
    (root / "third.json").write_text("90")
    assert dc.adopt(one, two, last) == 1
    assert last.compute() == 90
    assert last.dc.record["edited"]["by"]
    assert one.dc.record["edited"]["stored"] is None


def test_what_can_not_be_adopted(chain, root):
    """Nothing, and a file that is not of the format, are errors; no note stays behind."""
    one = chain()[0]
    with pytest.raises(TargetMissing, match="nothing to adopt"):
        dc.adopt(one)
    root.mkdir(exist_ok=True)
    (root / "first.json").write_text("{ half")
    with pytest.raises(TargetCorrupt, match="can't be the result"):
        dc.adopt(one)
    assert not list((root / ".daskcache/accepted").iterdir())
    assert (root / "first.json").read_text() == "{ half"


def test_planning_reads_no_pickle_that_daskcache_did_not_write(root, tmp_path):
    """A pickle that was edited, or is somebody's, is not interpreted unless it is adopted."""

    class Canary:
        def __reduce__(self):
            return (Path(tmp_path / "sang").write_text, ("x",))

    @dc.delayed(target="a.pkl")
    def make():
        return 1

    root.mkdir()
    (root / "a.pkl").write_bytes(pickle.dumps(Canary()))
    assert make().dc.state == "foreign"
    os.remove(root / "a.pkl")
    make().compute()
    (root / "a.pkl").write_bytes(pickle.dumps(Canary()))
    assert make().dc.state == "modified"
    with pytest.raises(TargetModified):
        make().compute()
    assert not (tmp_path / "sang").exists()


# ---- the command line ----------------------------------------------------------------------------


def test_adopt_restore_and_trash_from_the_command_line(chain, root, runs):
    """An edit is adopted; a removed target comes back; the trash is listed and emptied."""
    last = chain()[2]
    last.compute()
    runs.clear()
    (root / "third.json").write_text("90")
    adopted = command(root, "adopt", "third.json").output
    assert "third.json is adopted" in adopted
    assert "when it plans next" in adopted  # what it is until then, status says
    assert last.compute() == 90
    assert "adopted    by " in command(root, "why", "third.json").output
    command(root, "rm", "third.json")
    assert last.dc.state == "missing"
    listing = command(root, "trash").output
    assert "third.json" in listing
    assert "removed" in listing
    assert "third.json is back" in command(root, "restore", "third.json").output
    assert last.compute() == 90
    assert runs.take() == []
    assert command(root, "trash").output == "the trash is empty\n"
    command(root, "rm", "third.json")
    assert command(root, "trash", "--empty", "--yes", "--older-than", "1 day").output == "0 deleted\n"
    assert command(root, "trash", "--empty", "--yes").output == "1 deleted\n"
    assert not list((root / ".daskcache/trash").iterdir())
    missing = command(root, "restore", "third.json")
    assert missing.exit_code == 1
    assert "dask cache trash" in missing.output


def test_a_whole_folder_is_adopted(chain, root, runs):
    """Files that another program left are taken in at once."""
    root.mkdir()
    dc.delayed(lambda: 1, target="other.json")().compute()
    for name, value in (("first", 1), ("second", 2), ("third", 3)):
        (root / f"{name}.json").write_text(json.dumps(value))
    output = command(root, "adopt", str(root)).output
    assert output.count("is adopted") == 3
    assert output.count("as it was stored") == 1
    assert chain()[2].compute() == 3
    assert runs.take() == []


def test_restore_replaces_what_was_stored_and_nothing_else(chain, root):
    """A stored result in the way goes to the trash; a foreign file stays, and is an error."""
    one = chain()[0]
    one.compute()
    command(root, "rm", "first.json")
    (root / "first.json").write_text("mine")
    refused = command(root, "restore", "first.json")
    assert refused.exit_code == 1
    assert "something is where the restored file was" in refused.output
    assert (root / "first.json").read_text() == "mine"
    os.remove(root / "first.json")
    one.compute()
    kept = things(root)["first.json"].kept
    assert "what was there is kept" in command(root, "restore", "first.json").output
    assert not os.path.exists(kept)
    assert things(root)["first.json"].reason == "replaced by restore"


def test_restore_where_what_was_there_is_removed_meanwhile(chain, root, monkeypatch):
    """Nothing was displaced, so nothing is kept, and the item leaves the trash."""
    one = chain()[0]
    one.compute()
    command(root, "rm", "first.json")
    one.compute()
    replace = trash.files.replace

    def late(root, part, path, *rest):
        os.remove(root.absolute(path))
        return replace(root, part, path, *rest)

    monkeypatch.setattr(trash.files, "replace", late)
    done = command(root, "restore", "first.json")
    assert (done.exit_code, done.output) == (0, "first.json is back\n")
    assert things(root) == {}


def test_adopt_stays_below_the_root(chain, root, tmp_path):
    """What is outside of the root can't be adopted."""
    chain()[0].compute()
    (tmp_path / "outside.json").write_text("1")
    done = command(root, "adopt", str(tmp_path / "outside.json"))
    assert done.exit_code == 1
    assert "'..'" in done.output
    assert command(root, "adopt", "nowhere.json").exit_code == 1


def test_the_trash_never_overwrites(root):
    """Files of one name that go to the trash at one time are all kept."""
    place = Root(str(root))
    place.create()
    for i in range(5):
        (root / "x").write_text(str(i))
        trash.keep(place, str(root / "x"), "x", "edited")
    assert sorted(Path(t.kept).read_text() for t in trash.listed(place)) == list("01234")


def about(root, target, name="x.json", **facts):
    """Put something into the trash, as anybody could who writes to the root."""
    folder = root / ".daskcache" / "trash" / "20260101T000000Z-00000000"
    folder.mkdir(parents=True)
    (folder / name).write_text("forged")
    facts = {"target": target, "reason": "removed", "when": "2026-01-01T00:00:00Z", **facts}
    (folder / "about.json").write_text(json.dumps(facts))
    return folder


@pytest.mark.parametrize(
    "target", ["../x.json", "a/../../x.json", "/{outside}/x.json", "./x.json", "a//x.json", "~/x.json"]
)
def test_restore_stays_below_the_root(root, tmp_path, target):
    """What the trash says that it was where no target can be is not put there."""
    Root(str(root)).create()
    folder = about(root, target.format(outside=tmp_path))
    before = sorted(tmp_path.rglob("*"))
    (thing,) = trash.listed(Root(str(root)))
    with pytest.raises(UnsafePath):
        trash.restore(Root(str(root)), thing)
    done = command(root, "restore", folder.name)
    assert done.exit_code == 1
    assert "the root" in done.output
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "facts",
    [
        *({"target": target} for target in ("..", "a/..", "a/", "", ".", "about.json", 7, None, ["x"])),
        *({"reason": reason} for reason in ("two\nlines", "\x1b[2J", {}, None)),
        *({"when": when} for when in (0, "\x07", None)),
    ],
    ids=str,
)
def test_what_is_not_ours_in_the_trash_is_left_alone(root, facts):
    """What has no about.json of ours is not listed, and not emptied."""
    Root(str(root)).create()
    folder = about(root, **{"target": "x.json", **facts})
    assert trash.listed(Root(str(root))) == []
    assert command(root, "trash").output == "the trash is empty\n"
    assert command(root, "trash", "--empty", "--yes").output == "0 deleted\n"
    assert (folder / "x.json").read_text() == "forged"


def test_an_about_that_is_nested_too_deeply(root):
    """JSON that can't be read is passed over."""
    Root(str(root)).create()
    (about(root, "x.json") / "about.json").write_text("[" * 100_000)
    assert trash.listed(Root(str(root))) == []


def test_no_warning_without_a_cause(chain):
    """An undisturbed root gives no warning and no trash."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        last = chain()[2]
        assert last.compute() == last.compute() == 3


# ---- folders -------------------------------------------------------------------------------------


@pytest.fixture
def volume(runs):
    """Makes a Zarr folder of 4 by 4, chunks of 2 by 2, and its sum."""

    def volume(**options):
        @dc.delayed(target=dc.ZarrTarget("volume.zarr", chunks=(2, 2)), **options)
        def make():
            runs.note("make")
            return np.ones((4, 4))

        @dc.delayed(target="sum.json")
        def total(x):
            runs.note("total")
            return float(x.sum())

        made = make()
        return made, total(made)

    return volume


def edit(root):
    """Write into an array in the way in which its users do."""
    zarr.open_array(root / "volume.zarr", mode="r+")[0, 0] = 5


def test_an_edited_zarr_folder_is_adopted(volume, root, runs):
    """An array that somebody wrote into counts as the result, and is opened chunk by chunk."""
    made, total = volume()
    dask.compute(made, total)
    runs.clear()
    edit(root)
    assert made.dc.state == "modified"
    assert "volume.zarr is adopted" in command(root, "adopt", "volume.zarr").output
    assert total.compute() == 20
    assert runs.take() == ["total"]
    assert made.dc.state == "adopted"
    assert made.dc.open()[0, 0] == 5
    assert command(root, "verify").exit_code == 0


def test_a_zarr_folder_that_was_put_there_is_adopted(volume, root, runs):
    """An array that another program wrote is taken in as a whole."""
    root.mkdir()
    dc.delayed(lambda: 1, target="other.json")().compute()
    zarr.save_array(str(root / "volume.zarr"), np.full((4, 4), 2.0))
    made, total = volume()
    assert made.dc.state == "foreign"
    assert "volume.zarr is adopted\n" in command(root, "adopt", "volume.zarr").output
    assert total.compute() == 32
    assert runs.take() == ["total"]


def test_a_removed_zarr_folder_comes_back(volume, root, runs):
    """A folder goes to the trash and back with all its files, and nothing runs."""
    made, total = volume()
    dask.compute(made, total)
    runs.clear()
    command(root, "rm", "volume.zarr")
    assert made.dc.state == "missing"
    assert "volume.zarr is back" in command(root, "restore", "volume.zarr").output
    assert made.compute().sum() == 16
    assert runs.take() == []


def test_an_edited_zarr_folder_is_kept_when_it_is_recomputed(volume, root):
    """With `on_modified="recompute"` the edited array is in the trash, whole."""
    volume(on_modified="recompute")[0].compute()
    edit(root)
    with pytest.warns(DaskcacheWarning, match="was edited"):
        assert volume(on_modified="recompute")[0].compute().sum() == 16
    assert zarr.open_array(things(root)["volume.zarr"].kept, mode="r")[0, 0] == 5
