"""How much room a root takes, and what goes first when there is too little."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import click
import dask
import pytest
from click.testing import CliRunner
from dask.utils import format_bytes

from daskcache import events
from daskcache.errors import TargetMissing, UnsafePath
from daskcache.housekeeping.cli import main
from daskcache.housekeeping.cli.main import cache
from daskcache.housekeeping.gc import Holding, choose, drop, holdings, old_trash, usage
from daskcache.storage import files as storage
from daskcache.storage import trash
from daskcache.storage.record import RecordName, target_id
from daskcache.storage.roots import Root
from daskcache.testing.assertions import assert_nothing_runs, count_runs

PROGRAM = """
import daskcache as dc

@dc.delayed(target="steps/start.json")
def start(x):
    return list(range(x))

@dc.delayed(target="steps/left.json")
def left(x):
    return [i + 1 for i in x]

@dc.delayed(target="steps/right.json")
def right(x):
    return [i * 2 for i in x]

@dc.delayed(target="join.json")
def join(x, y):
    return sum(x) + sum(y){change}

@dc.delayed(target=("pair/one.json", "pair/two.json"))
def pair(x):
    return x[:1], x[1:]

@dc.delayed(target="both.json")
def both(x):
    return x[0] + x[1]
"""

INTERMEDIATES = [
    "pair/one.json",
    "pair/two.json",
    "steps/left.json",
    "steps/right.json",
    "steps/start.json",
]


@pytest.fixture
def program(define):
    return lambda change="": define(PROGRAM.replace("{change}", change))


def diamond(module, x=50):
    """A diamond whose ends are final, and beside it a chain with two results in the middle."""
    start = module.start(x)
    return module.join(module.left(start), module.right(start)), module.both(module.pair(start))


@pytest.fixture
def stored(program, root):
    dask.compute(*diamond(program()))
    return Root(str(root))


def gc(root, *arguments, min_age="0 s"):
    return invoke("gc", *arguments, "--yes", "--min-age", min_age, "--root", root.path)


def invoke(*arguments, answer=None):
    return CliRunner().invoke(cache, arguments, input=answer)


def held(path, seconds=1.0, size=100, **facts):
    name = RecordName("k" * 32, target_id(path), "t", "d", "f", size, 0, int(seconds * 1e6))
    return Holding(path, name, size, facts.pop("final", False), facts.pop("used", 0.0), **facts)


def chosen(*found, **options):
    return [item.path for item in choose(list(found), now=100_000.0, **options).drop]


# ---- the decision -------------------------------------------------------------------------------


def test_the_cheapest_per_byte_goes_first():
    """What gives most room for the least time is dropped first, and no more than needed."""
    cheap, dear = held("cheap", seconds=1, size=1000), held("dear", seconds=1, size=10)
    dearest = held("dearest", seconds=50, size=1000)
    assert chosen(dearest, dear, cheap, max_size=0) == ["cheap", "dearest", "dear"]
    assert chosen(dearest, dear, cheap, max_size=1010) == ["cheap"]
    assert chosen(dearest, dear, cheap, max_size=1009) == ["cheap", "dearest"]
    assert chosen(dearest, dear, cheap, max_size=2010) == []


def test_final_targets_go_last_or_never():
    """What nothing was made from goes after all else, however cheap it is."""
    found = held("final", seconds=0, final=True), held("between", seconds=90)
    assert chosen(*found, max_size=0) == ["between", "final"]
    assert chosen(*found, max_size=100) == ["between"]
    assert chosen(*found, max_size=0, keep_final=True) == ["between"]


def test_what_is_edited_or_in_use_is_never_chosen():
    """Edited targets stay, and so does what was used within the hour; both count as room taken."""
    found = held("edited", intact=False), held("used", used=99_000.0), held("free")
    assert chosen(*found, max_size=0) == ["free"]
    assert chosen(*found, max_size=250) == ["free"]
    assert chosen(*found, max_size=0, min_age=0) == ["free", "used"]


def test_what_is_too_old_goes_whatever_it_takes():
    """By age all that was made before goes first; if that is enough, nothing goes by size."""
    old, new = held("old", seconds=9), held("new", seconds=1)
    new = new._replace(name=new.name._replace(mtime_ns=99_000 * 10**9))
    assert chosen(old, new, max_age=3600) == ["old"]
    assert chosen(old, new, max_age=3600, max_size=100) == ["old"]
    assert chosen(old, new, max_age=200_000) == []


# ---- what follows stays finished ----------------------------------------------------------------


def test_final_targets_are_those_that_nothing_was_made_from(stored):
    """All results of a call that something was made from are intermediates."""
    assert [h.path for h in holdings(stored) if not h.final] == INTERMEDIATES


def test_a_finished_graph_stays_finished(stored, program, files):
    """Without its intermediates a graph is complete, and its values are what they were."""
    done = gc(stored, "--max-size", "0", "--keep-final")
    assert files() == ["both.json", "join.json"]
    assert done.exit_code == 1
    assert "they still take more than --max-size" in done.output
    assert "--keep-final" in done.output
    with assert_nothing_runs():
        assert dask.compute(*diamond(program())) == (50 + 3 * 1225, list(range(50)))


def test_what_changed_after_gc_runs_with_what_it_needs(stored, program):
    """A changed function runs again, from inputs that are made again; the rest does not run."""
    assert gc(stored, "--max-age", "0 s", "--keep-final").exit_code == 0
    with count_runs() as runs:
        changed = dask.compute(*diamond(program(" + 1")))
    assert changed == (51 + 3 * 1225, list(range(50)))
    assert runs() == {"start": 1, "left": 1, "right": 1, "join": 1}


def test_other_input_after_gc(stored, program):
    """A graph whose start changed is computed anew, with nothing left of the old one."""
    assert gc(stored, "--max-size", "0").exit_code == 0
    assert dask.compute(*diamond(program(), 3)) == (3 + 9, [0, 1, 2])


def test_what_nothing_is_left_of_is_final(stored, root):
    """If all that was made from a target is gone, it is the last of its kind, and kept."""
    (root / "join.json").unlink()
    final = {h.path for h in holdings(stored) if h.final}
    assert final == {"both.json", "steps/left.json", "steps/right.json"}


def test_what_follows_over_a_gap_counts(stored, root):
    """A target stays an intermediate when what was made from it went earlier, but not what followed."""
    for name in ("left", "right"):
        (root / "steps" / f"{name}.json").unlink()
    for name in ("one", "two"):
        (root / "pair" / f"{name}.json").unlink()
    assert {h.path for h in holdings(stored) if not h.final} == {"steps/start.json"}


def test_early_cutoff_keeps_the_line(define, root):
    """What was recorded under a new key still counts as what the next one was made from."""
    text = (
        "import daskcache as dc\n"
        "@dc.delayed(target='a.json')\ndef a(): return {value}\n"
        "@dc.delayed(target='b.json')\ndef b(x): return x\n"
        "@dc.delayed(target='c.json')\ndef c(x): return x\n"
    )
    for value in ("1", "2 - 1"):
        module = define(text.replace("{value}", value))
        module.c(module.b(module.a())).compute()
    assert {h.path for h in holdings(Root(str(root))) if not h.final} == {"a.json", "b.json"}


def test_the_same_call_at_another_path_keeps_the_line(define, root):
    """What was made from a call's result at its old path was made from the one at the new path, too."""
    text = (
        "import daskcache as dc\n"
        "@dc.delayed(target='{path}')\ndef a(): return 1\n"
        "@dc.delayed(target='b.json')\ndef b(x): return x\n"
    )
    for path in ("old.json", "new.json"):
        module = define(text.replace("{path}", path))
        dask.compute(module.a(), module.b(module.a()))
    final = {h.path for h in holdings(Root(str(root))) if h.final}
    assert final == {"b.json"}


# ---- the command --------------------------------------------------------------------------------


def test_dry_run_changes_nothing(stored, files, root):
    """A dry run names what would go, in that order, and leaves everything."""

    def tree():
        return {path: path.stat().st_mtime_ns for path in root.rglob("*")}

    before = tree()
    asked = "gc", "--max-size", "0", "--keep-final", "--min-age", "0 s", "--root", stored.path
    said = invoke(*asked, "--dry-run").output  # without a question
    assert tree() == before
    did = gc(stored, "--max-size", "0", "--keep-final").output
    assert said.replace("would delete", "deleted") == did
    assert did.count("deleted") == 5


def test_recent_targets_are_kept(stored, files):
    """By default nothing goes that was written or read within the hour."""
    everything = files()
    done = invoke("gc", "--max-size", "0", "--yes", "--root", stored.path)
    assert done.exit_code == 1
    assert files() == everything


def test_edited_and_foreign_files_stay(stored, root, files):
    """What a user edited, linked or put there is never deleted."""
    (root / "steps" / "left.json").write_text("[1]")
    (root / "mine.json").write_text("mine")
    (root / "elsewhere.json").write_bytes((root / "steps" / "right.json").read_bytes())
    stat = (root / "steps" / "right.json").stat()
    os.utime(root / "elsewhere.json", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (root / "steps" / "right.json").unlink()
    (root / "steps" / "right.json").symlink_to(root / "elsewhere.json")
    gc(stored, "--max-age", "0 s")
    assert files() == ["elsewhere.json", "mine.json", "steps/left.json", "steps/right.json"]


def test_ages_and_sizes_are_written_as_dask_writes_them(stored):
    """30d, "30 days", 10GB and "1 MiB" are understood; what is not is refused by name."""
    for arguments in (["--max-age", "30d"], ["--max-age", "30 days"], ["--max-size", "10GB"]):
        done = gc(stored, *arguments)
        assert done.exit_code == 0, done.output
        assert "deleted" not in done.output
    assert gc(stored, "--max-size", "1 MiB").exit_code == 0
    done = gc(stored, "--max-age", "old")
    assert done.exit_code == 2
    assert "'old' is not a valid age; write it as '30 days'" in done.output
    assert gc(stored, "--max-size", "-5 GB").exit_code == 2
    arguments = ["trash", "--empty", "--older-than", "old", "--root", stored.path]
    assert "'old' is not a valid age" in CliRunner().invoke(cache, arguments).output


def test_something_must_be_asked_for(stored):
    """Without a limit nothing is deleted, and the options are named."""
    done = gc(stored)
    assert done.exit_code == 2
    assert "--max-size, --max-age or --trash" in done.output


def test_what_leaves_the_trash_meanwhile_is_not_listed(stored, monkeypatch):
    """Two processes may empty the trash at the same time."""
    CliRunner().invoke(cache, ["rm", "both.json", "--root", stored.path])
    names_in = storage.names_in
    monkeypatch.setattr(storage, "names_in", lambda folder: [*names_in(folder), "20260101T000000Z-gone"])
    assert len(old_trash(stored, 0)) == len(os.listdir(stored.trash)) == 1


def test_the_trash_goes_only_when_asked_for(stored, root):
    """`gc --trash` deletes what has been in the trash for --min-age, and nothing else."""
    CliRunner().invoke(cache, ["rm", "both.json", "join.json", "--root", stored.path])
    gc(stored, "--max-size", "0")
    assert len(os.listdir(stored.trash)) == 2
    assert "trash" not in gc(stored, "--trash", min_age="1 hour").output
    assert gc(stored, "--trash", "--dry-run").output.count("would delete") == 2
    assert len(os.listdir(stored.trash)) == 2
    done = gc(stored, "--trash")
    assert done.exit_code == 0
    assert os.listdir(stored.trash) == []


@pytest.fixture
def terminal(monkeypatch):
    """Standard input passes for a terminal, at which the user types an answer."""
    monkeypatch.setattr(main, "_has_terminal", lambda: True)


DESTRUCTIVE = ["gc --max-size 0 --min-age 0s", "gc --trash --min-age 0s", "trash --empty"]


@pytest.mark.parametrize("command", DESTRUCTIVE)
def test_without_a_terminal_nothing_is_deleted_unasked(stored, root, command):
    """A script that forgot --yes fails with 2, which names the option."""
    invoke("rm", "both.json", "--root", stored.path)
    before = sorted(root.rglob("*"))
    done = invoke(*command.split(), "--root", stored.path)
    assert done.exit_code == 2
    assert "add --yes" in done.output
    assert sorted(root.rglob("*")) == before
    assert invoke(*command.split(), "--yes", "--root", stored.path).exit_code == 0
    assert sorted(root.rglob("*")) != before


@pytest.mark.parametrize("command", DESTRUCTIVE)
def test_on_a_terminal_the_user_is_asked(stored, root, command, terminal):
    """Only yes deletes; no is an exit code of 1."""
    invoke("rm", "both.json", "--root", stored.path)
    before = sorted(root.rglob("*"))
    done = invoke(*command.split(), "--root", stored.path, answer="n\n")
    assert (done.exit_code, "Aborted" in done.output) == (1, True)
    assert sorted(root.rglob("*")) == before
    done = invoke(*command.split(), "--root", stored.path, answer="y\n")
    assert done.exit_code == 0, done.output
    assert "for good?" in done.output
    assert sorted(root.rglob("*")) != before


def test_the_question_comes_after_what_would_go(stored, terminal):
    """The list and the bytes stand above the question; with nothing to delete there is none."""
    asked = "gc", "--max-size", "0", "--min-age", "0 s", "--root", stored.path
    total = sum(item.size for item in holdings(stored))
    shown, _, rest = invoke(*asked, answer="y\n").output.partition("Delete ")
    assert shown.count("would delete") == 7
    assert rest.startswith(f"{format_bytes(total)} for good?")
    assert rest.count("deleted") == 7
    assert "for good" not in invoke(*asked).output


def test_what_comes_to_the_trash_after_the_question_stays(stored, root, terminal, monkeypatch):
    """Only what was counted in the question is deleted."""
    invoke("rm", "both.json", "--root", stored.path)
    confirm = click.confirm

    def late(*args, **options):
        trash.keep(stored, stored.absolute("join.json"), "join.json", "removed")
        return confirm(*args, **options)

    monkeypatch.setattr(click, "confirm", late)
    done = invoke("trash", "--empty", "--root", stored.path, answer="y\n")
    assert "1 deleted" in done.output
    assert [thing.target for thing in trash.listed(stored)] == ["join.json"]


@pytest.mark.needs("pseudo-terminals")
def test_a_real_terminal(stored, files):
    """`dask cache gc` asks on it, and deletes after a y."""
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "dask", "cache", "gc", "--max-age", "0 s", "--min-age", "0 s"]
    with subprocess.Popen(
        [*command, "--root", stored.path], stdin=theirs, stdout=subprocess.PIPE, text=True
    ) as program:
        os.write(ours, b"y\n")
        output = program.communicate(timeout=60)[0]
    os.close(ours)
    os.close(theirs)
    assert program.returncode == 0
    assert "for good?" in output
    assert files() == []


# ---- writers and readers at the same time -------------------------------------------------------


def test_a_target_that_was_replaced_since_it_was_chosen_stays(stored, root):
    """The look before deleting sees what another program wrote meanwhile."""
    found = {h.path: h for h in holdings(stored)}
    (root / "join.json").write_text("7")
    assert not drop(stored, found["join.json"])
    assert (root / "join.json").read_text() == "7"
    (root / "both.json").unlink()
    assert not drop(stored, found["both.json"])


def test_a_target_that_was_replaced_by_a_link_stays(stored, root, tmp_path):
    """A link to the same bytes was made by somebody, and deleting it frees nothing."""
    (found,) = [h for h in holdings(stored) if h.path == "join.json"]
    os.rename(root / "join.json", tmp_path / "join.json")
    (root / "join.json").symlink_to(tmp_path / "join.json")
    assert not drop(stored, found)
    assert (root / "join.json").is_symlink()
    assert not next(h for h in holdings(stored) if h.path == "join.json").intact


def test_a_target_that_was_read_since_it_was_chosen_stays(stored, root):
    """Somebody who just read a target may read it again."""
    found = {h.path: h for h in holdings(stored)}
    stat = (root / "join.json").stat()
    os.utime(root / "join.json", ns=(time.time_ns() + 10**9, stat.st_mtime_ns))
    assert not drop(stored, found["join.json"])


def test_a_target_that_is_replaced_at_the_last_moment_is_put_back(stored, root, monkeypatch):
    """Between the last look and the deletion a writer may come: its file is not lost."""
    (found,) = [h for h in holdings(stored) if h.path == "join.json"]
    rename = os.rename

    def late(source, destination, **how):
        monkeypatch.setattr(os, "rename", rename)
        (root / "join.json").write_text("another")
        rename(source, destination, **how)

    monkeypatch.setattr(os, "rename", late)
    assert not drop(stored, found)
    assert (root / "join.json").read_text() == "another"


def test_places_outside_of_the_root_are_never_deleted(stored, tmp_path):
    """A record that was tampered with names no file to delete."""
    with pytest.raises(UnsafePath):
        drop(stored, held("../outside.json"))


def test_gc_at_age_zero_while_a_graph_runs(program, root):
    """A result that goes before it is loaded is a typed error with a next step, never a wrong value."""
    stored, nodes = Root(str(root)), diamond(program())

    def listen(event):
        if event.function == "right":
            gc(stored, "--max-size", "0")

    events.listeners.append(listen)
    try:
        with (
            dask.config.set({"daskcache.inline": 0}),
            pytest.raises(TargetMissing, match="compute again"),
        ):
            dask.compute(*nodes)
    finally:
        events.listeners.remove(listen)
    assert dask.compute(*nodes) == (50 + 3 * 1225, list(range(50)))


def test_gc_while_a_graph_runs(program, root):
    """At its default age gc does not disturb a graph that runs."""
    stored, nodes = Root(str(root)), diamond(program())

    def listen(event):
        gc(stored, "--max-size", "0", min_age="1 hour")

    events.listeners.append(listen)
    try:
        with dask.config.set({"daskcache.inline": 0}):
            assert dask.compute(*nodes) == (50 + 3 * 1225, list(range(50)))
    finally:
        events.listeners.remove(listen)


def test_a_target_can_be_cleared_away_while_it_is_replaced(stored, program, root, monkeypatch):
    """A result is put in place even if the one that it replaces goes at the last moment."""
    exchange = storage.replace

    def replace(*args):
        monkeypatch.setattr(storage, "replace", exchange)
        (root / "steps" / "start.json").unlink()
        return exchange(*args)

    monkeypatch.setattr(storage, "replace", replace)
    start = program().start(7)
    assert start.compute() == list(range(7))
    assert start.dc.state == "complete"


# ---- du -----------------------------------------------------------------------------------------


def sizes(root):
    return {p.relative_to(root).as_posix(): p.stat().st_size for p in root.rglob("*") if p.is_file()}


def test_usage_counts_every_byte_once(stored, root):
    """Targets by function or folder, the trash, metadata and foreign files add up to what is there."""
    (root / "mine.txt").write_text("mine")
    storage.write_part(storage.part_path(stored, "join.json"), [b"half of"])
    CliRunner().invoke(cache, ["rm", "both.json", "--root", stored.path])
    found = sizes(root)
    by_function, by_folder = usage(stored), usage(stored, by="folder")
    assert by_function.total == by_folder.total == sum(found.values())
    assert by_function.groups["program.pair"] == (2, found["pair/one.json"] + found["pair/two.json"])
    assert by_folder.groups["."] == (1, found["join.json"])
    assert by_folder.groups["steps"][0] == 3
    in_trash = [size for path, size in found.items() if path.startswith(".daskcache/trash/")]
    assert len(in_trash) == 2  # the file, and what it was
    metadata = [size for path, size in found.items() if path.startswith(".daskcache/")]
    assert (by_function.trash, by_function.parts, by_function.other) == (sum(in_trash), 7, 4)
    assert by_function.metadata == sum(metadata) - sum(in_trash) - 7


def test_du(stored):
    """The command shows it in units that people read, or in bytes as JSON."""
    done = CliRunner().invoke(cache, ["du", "--by", "folder", "--root", stored.path])
    assert done.exit_code == 0, done.output
    assert "steps" in done.output
    for kind in ("(trash)", "(unfinished results)", "(records and code)", "(files without a record)"):
        assert kind in done.output
    done = CliRunner().invoke(cache, ["du", "--json", "--root", stored.path])
    content = json.loads(done.output)
    assert content["function"]["program.pair"]["targets"] == 2
    assert content["total"] == usage(stored).total


@pytest.fixture
def zarr_chain(define, root):
    """A Zarr folder with four chunks, and the sum that was made from it."""
    module = define(
        """
        import numpy as np
        import daskcache as dc

        @dc.delayed(target=dc.ZarrTarget("volume.zarr", chunks=(2, 2)))
        def volume(x):
            return np.full((4, 4), x)

        @dc.delayed(target="sum.json")
        def total(x):
            return int(x.sum())
        """
    )
    node = module.total(module.volume(3))
    node.compute()
    return Root(str(root)), node, module.volume(3)


def test_folders_count_with_all_their_files(zarr_chain, root):
    """A Zarr folder is one target that takes what all its files take."""
    stored = zarr_chain[0]
    files = [path for path in (root / "volume.zarr").rglob("*") if path.is_file()]
    assert len(files) > 4
    size = sum(path.stat().st_size for path in files)
    assert usage(stored).groups["program.volume"] == (1, size)
    assert usage(stored, by="folder").groups["."][0] == 2
    assert [(h.path, h.size, h.final) for h in holdings(stored)] == [
        ("sum.json", 3, True),
        ("volume.zarr", size, False),
    ]


def test_folders_go_with_all_their_files(zarr_chain, root):
    """gc drops a Zarr folder as a whole, what was made from it stays finished, and it comes back."""
    stored, total, volume = zarr_chain
    assert gc(stored, "--max-size", "100").exit_code == 0
    assert not (root / "volume.zarr").exists()
    assert os.listdir(stored.parts) == []
    with assert_nothing_runs():
        assert total.compute() == 48
    with count_runs() as runs:
        assert volume.compute().sum() == 48
    assert runs() == {"volume": 1}


@pytest.mark.parametrize("change", ["missing", "extra", "edited"])
def test_folders_that_are_not_as_recorded_stay(zarr_chain, root, change):
    """gc keeps a Zarr folder in which a chunk is missing, is edited, or is too many."""
    stored = zarr_chain[0]
    chunk = root / "volume.zarr" / "c" / "0" / "1"
    if change == "missing":
        chunk.unlink()
    else:
        (chunk if change == "edited" else chunk.with_name("9")).write_bytes(b"mine")
    gc(stored, "--max-age", "0 s")
    assert (root / "volume.zarr").is_dir()
    assert not (root / "sum.json").exists()


def test_a_folder_that_is_edited_at_the_last_moment_is_put_back(zarr_chain, root, monkeypatch):
    """Between the last look and the deletion somebody may write into a folder: it is not lost."""
    stored, rename = zarr_chain[0], os.rename
    (found,) = [h for h in holdings(stored) if h.path == "volume.zarr"]

    def late(source, destination, **how):
        monkeypatch.setattr(os, "rename", rename)
        (root / "volume.zarr" / "notes.txt").write_text("mine")
        rename(source, destination, **how)

    monkeypatch.setattr(os, "rename", late)
    assert not drop(stored, found)
    assert (root / "volume.zarr" / "notes.txt").read_text() == "mine"
    assert os.listdir(stored.parts) == []


def test_a_folder_that_is_read_is_kept(zarr_chain, root):
    """To read one chunk is to use the folder."""
    stored = zarr_chain[0]
    then = time.time() - 7200
    for path in (root / "volume.zarr").rglob("*"):
        os.utime(path, ns=(int(then * 1e9), path.stat().st_mtime_ns))
    (found,) = [h for h in holdings(stored) if h.path == "volume.zarr"]
    chunk = root / "volume.zarr" / "c" / "0" / "1"
    os.utime(chunk, ns=(time.time_ns() + 10**9, chunk.stat().st_mtime_ns))
    assert not drop(stored, found)
