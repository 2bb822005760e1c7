"""Housekeeping while programs compute; roots that were merged, half restored or reached by two paths.

Whatever happens, a program gets the right value, perhaps after a rerun, or a typed error: never an old
value.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import threading
import traceback
import warnings
from contextlib import suppress
from pathlib import Path

import dask
import pytest

import daskcache as dc
from daskcache.errors import DaskcacheError, TargetModified
from daskcache.housekeeping import exporting, gc, importing
from daskcache.housekeeping.listing import listed
from daskcache.housekeeping.repair import repair
from daskcache.housekeeping.verify import verify
from daskcache.storage import trash
from daskcache.storage.roots import Root

NUMBERS = range(4)


def step(n, factor):
    return [n * factor] * 50


def total(values):
    return sum(values)


def node(n, factor):
    """A node of which two recipes take turns at the targets."""
    first = dc.delayed(step, target="first/{n}.json", version=1)(n, factor)
    return dc.delayed(total, target="second/{values.stem}.json", version=1)(first)


def right(n, factor):
    return 50 * n * factor


def compute(folder, share, shares, root, rounds):
    """Compute one of the nodes again and again; return how many values came, and what was wrong."""
    tried, wrong, dice = 0, [], random.Random(share)
    with dask.config.set({"daskcache.root": root, "scheduler": "sync"}), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(rounds):
            n, factor = dice.choice(NUMBERS), dice.choice((1, 2))
            try:
                value = node(n, factor).compute()
            except DaskcacheError:
                continue
            except Exception as error:  # noqa: BLE001 (any other is a fault)
                wrong.append(where(error))
                continue
            tried += 1
            if value != right(n, factor):
                wrong.append(f"{value} in place of {right(n, factor)}")
    return tried, wrong


def where(error):
    """An error, and the lines that raised it."""
    return "".join(traceback.format_exception(error)[-5:])


def drop(root, archive):
    for item in gc.choose(gc.holdings(root), max_size=0, min_age=0).drop:
        gc.drop(root, item)


def remove(root, archive):
    for item in list(listed(root))[:2]:
        if item.stamp is not None:
            trash.keep(root, root.absolute(item.path), item.path, "removed")


def mend(root, archive):
    list(repair(root, verify(root), 3600))


def empty(root, archive):
    trash.empty(root)


def take_in(root, archive):
    importing.import_archive(root, archive)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("keep", [drop, remove, mend, empty, take_in], ids=lambda keep: keep.__name__)
def test_during_computations_of_two_programs(shared, root, tmp_path, full, keep):
    """Values are right while another process tidies up, and afterwards."""
    dc.compute([node(n, 1) for n in NUMBERS])
    archive = str(tmp_path / "old.tar")
    exporting.export(Root(str(root)), archive, ["*"])
    done, times, wrong = threading.Event(), [], []

    def tidy():
        while not done.is_set():
            try:
                with suppress(DaskcacheError):
                    keep(Root(str(root)), archive)
            except Exception as error:  # noqa: BLE001 (any other is a fault)
                wrong.append(where(error))
            times.append(1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        helper = threading.Thread(target=tidy)
        helper.start()
        try:
            tried, found = shared(compute, str(root), 200 if full else 15)
        finally:
            done.set()
            helper.join()
        assert found + wrong == []
        assert tried
        assert times
        for factor in (1, 2):
            values = dc.compute([node(n, factor) for n in NUMBERS])[0]
            assert values == [right(n, factor) for n in NUMBERS]


def check(root, *passed):
    """Compute both recipes of all nodes in a root; errors of `passed` may come in place of values."""
    with dask.config.set({"daskcache.root": str(root)}), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for factor in (1, 2, 1):
            for n in NUMBERS:
                with suppress(*passed):
                    assert node(n, factor).compute() == right(n, factor)


def made(folder, factor):
    with dask.config.set({"daskcache.root": str(folder)}):
        dc.compute([node(n, factor) for n in NUMBERS])
    return folder


@pytest.mark.parametrize("metadata_first", [True, False])
def test_two_roots_that_were_merged(tmp_path, metadata_first):
    """As rsync does it: the files of one over those of the other, records beside each other."""
    one, other = made(tmp_path / "one", 1), made(tmp_path / "other", 2)
    parts = [".daskcache", "first", "second"]
    for part in parts if metadata_first else reversed(parts):
        shutil.copytree(other / part, one / part, dirs_exist_ok=True)
    check(one)


@pytest.mark.parametrize("restored", [".daskcache", "first", "second", "first second"])
def test_half_of_a_root_is_restored_from_an_old_backup(tmp_path, restored):
    """Files of an earlier recipe below records of today pass for edits; the other way round, for old."""
    root = made(tmp_path / "root", 1)
    shutil.copytree(root, tmp_path / "backup")
    made(root, 2)
    for part in restored.split():
        shutil.rmtree(root / part)
        shutil.copytree(tmp_path / "backup" / part, root / part)
    check(root, TargetModified)
    for folder in ("first", "second"):  # what a user does about them
        shutil.rmtree(root / folder)
    check(root)


def test_a_root_that_is_reached_by_two_paths(tmp_path):
    """One of them leads through a link: each sees what the other made."""
    root = made(tmp_path / "root", 1)
    (tmp_path / "link").symlink_to(root)
    with dask.config.set({"daskcache.root": str(tmp_path / "link")}):
        assert dc.plan([node(n, 1) for n in NUMBERS]).left == 0
        made(tmp_path / "link", 2)
    with dask.config.set({"daskcache.root": str(root)}):
        assert dc.plan([node(n, 2) for n in NUMBERS]).left == 0
    check(root)
    check(tmp_path / "link")


def with_few_files(folder):
    """Compute with hardly any file descriptors left; return what was wrong."""
    root, wrong = Path(folder, "root"), []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    check(root)
    shutil.rmtree(root)
    for spare in range(1, 16):
        taken = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(taken + spare, hard), hard))
        try:
            with suppress(DaskcacheError, OSError):
                check(root)
        except AssertionError as error:
            wrong.append(f"{spare} descriptors: {error}")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    check(root)
    return wrong


def test_few_file_descriptors(apart):
    """Errors, but no wrong value, and all is right afterwards."""
    assert apart(with_few_files) == []
