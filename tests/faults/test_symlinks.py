"""Folders below the root that are links to elsewhere: nothing is written, or replaced, through them."""

from __future__ import annotations

import shutil
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

import daskcache as dc
from daskcache.errors import DaskcacheError, UnsafePath
from daskcache.housekeeping.cli.main import cache


def make(number):
    return [number]


@pytest.fixture
def outside(tmp_path):
    """A folder beside the root, with a file in it."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "precious.json").write_text("mine")
    return folder


@pytest.fixture(autouse=True)
def nothing_outside_changes(outside):
    """Whatever a test does, what is outside stays as it is."""
    yield
    assert [path.name for path in outside.iterdir()] == ["precious.json"]
    assert (outside / "precious.json").read_text() == "mine"


def swap(folder: Path, outside: Path):
    """Put a link to elsewhere in the place of a folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        folder.rename(f"{folder}.moved")
    folder.symlink_to(outside)


@pytest.mark.parametrize("folder", ["out", "out/deep"])
def test_a_link_before_the_run(root, outside, folder):
    """A folder that is a link out of the root is an UnsafePath."""
    node = dc.delayed(make, target="out/deep/x.json", version=1)(1)
    swap(root / folder, outside)
    with pytest.raises(UnsafePath):
        node.compute()


def test_a_link_between_the_plan_and_the_run(root, outside):
    """A folder that becomes a link after the plan was made is an UnsafePath."""
    before = dc.delayed(make, target="out/before.json", version=1)(0)
    before.compute()
    plan = dc.plan(dc.delayed(make, target="out/x.json", version=1)(1))
    swap(root / "out", outside)
    with pytest.raises(UnsafePath):
        plan.compute()


def test_a_link_while_the_function_runs(root, outside):
    """A folder that becomes a link while the function runs is an UnsafePath."""

    def swap_and_make(number):
        swap(root / "out", outside)
        return [number]

    with pytest.raises(UnsafePath):
        dc.delayed(swap_and_make, target="out/x.json", version=1)(1).compute()


def test_a_link_while_the_function_writes_itself(root, outside):
    """A function that writes its own file, and whose folder becomes a link: a typed error."""

    def swap_and_write(number, target_path):
        Path(target_path).write_text("[1]\n")
        swap(root / "out", outside)

    with pytest.raises(DaskcacheError):
        dc.delayed(swap_and_write, target="out/x.json", version=1)(1).compute()


def test_a_target_that_is_a_link(root, outside):
    """A link at the target itself is not daskcache's: it stays, and so does what it leads to."""
    (root / "out").mkdir(parents=True)
    (root / "out" / "precious.json").symlink_to(outside / "precious.json")
    with pytest.raises(DaskcacheError):
        dc.delayed(make, target="out/precious.json", version=1)(1).compute()
    assert (root / "out" / "precious.json").is_symlink()


@pytest.mark.timeout(600)
def test_a_link_that_comes_and_goes(root, outside, full):
    """While a folder is swapped for a link again and again, nothing is ever written outside."""
    real = root / "real"
    (root / "out").mkdir(parents=True)
    stop, wrong = threading.Event(), []

    def swap_again_and_again():
        swaps = 0
        while not stop.is_set():
            (root / "out").rename(real)
            try:
                (root / "out").symlink_to(outside)
            except FileExistsError:  # a node has made it anew
                remove(real)
                continue
            time.sleep(0.0002)
            (root / "out").unlink()
            try:
                real.rename(root / "out")
            except OSError:  # again
                remove(real)
            time.sleep(0.0002)
            swaps += 1
        return swaps

    with ThreadPoolExecutor(1) as pool:
        swapping = pool.submit(swap_again_and_again)
        try:
            for number in range(20_000 if full else 300):
                node = dc.delayed(make, target="out/x.json", version=1)(number)
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        node.compute()
                except DaskcacheError:
                    continue
                except Exception as error:  # noqa: BLE001 (whatever it is, it is reported)
                    wrong.append(repr(error))
        finally:
            stop.set()
    assert wrong == []
    assert swapping.result() > 10


def remove(folder):
    """Remove a folder that a node may be writing to."""
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)


COMMANDS = (
    ["rm", "out/x.json"],
    ["gc", "--max-size", "0 B", "--min-age", "0 s", "--trash", "--yes"],
    ["verify", "--repair", "--min-age", "0 s"],
    ["trash", "--empty", "--yes"],
    ["restore", "out/x.json"],
    ["accept", "out/x.json"],
)


def run(root, *command):
    """Run ``dask cache``; whether it said what was wrong, if anything was."""
    done = CliRunner().invoke(cache, [*command, "--root", str(root)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("folder", ["out", ".daskcache/trash", ".daskcache/parts", ".daskcache/records"])
def test_no_command_goes_through_a_link(root, outside, folder, command):
    """What a link leads to is neither moved nor deleted by a command, though records say so."""
    dc.delayed(make, target="out/x.json", version=1)(1).compute()
    (outside / "x.json").write_text("[2]\n")
    result = root / "out" / "x.json"
    shutil.copystat(result, outside / "x.json")
    (outside / "0123456789abcdef").mkdir()
    (outside / "0123456789abcdef" / "thesis.txt").write_text("mine")
    before = sorted(outside.rglob("*"))
    swap(root / folder, outside)
    run(root, *command)
    assert sorted(outside.rglob("*")) == before
    (outside / "x.json").unlink()
    shutil.rmtree(outside / "0123456789abcdef")


def test_repair_moves_a_link_among_the_parts_itself(root, outside):
    """A link that has the name of a folder for a part is put aside, not what it leads to."""
    dc.delayed(make, target="out/x.json", version=1)(1).compute()
    (root / ".daskcache" / "parts" / "0123456789abcdef").symlink_to(outside)
    assert run(root, "verify", "--repair", "--min-age", "0 s").exit_code == 0
    assert list((root / ".daskcache" / "parts").iterdir()) == []


@pytest.mark.parametrize(
    "folder", ["", "accepted", "code", "code/sources", "failures", "leases", "manifests", "records"]
)
def test_no_plan_goes_through_a_link(root, outside, folder):
    """Nor does a plan look for records, failures or acceptances there."""
    node = dc.delayed(make, target="out/x.json", version=1)(1)
    node.compute()
    swap(root / ".daskcache" / folder, outside)
    assert dc.plan(node).counts["blocked"] == 1
    assert "symbolic link" in dc.why(node)
    with pytest.raises(UnsafePath):
        node.compute()


def test_links_among_the_metadata(root, outside):
    """A folder of the metadata that is a link out of the root is an UnsafePath."""
    dc.delayed(make, target="out/before.json", version=1)(0).compute()
    node = dc.delayed(make, target="out/x.json", version=1)(1)
    metadata = root / ".daskcache"
    for folder in ("records", "intents", "parts", "trash", f"records/{node.dc.key[:2]}"):
        swap(metadata / folder, outside)
        with pytest.raises(UnsafePath):
            node.compute()
        (metadata / folder).unlink()
        if (metadata / f"{folder}.moved").exists():
            (metadata / f"{folder}.moved").rename(metadata / folder)
    assert node.compute() == [1]
