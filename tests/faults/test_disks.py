"""Disks that are full, small, read-only or gone: an error that says so, and nothing lost."""

from __future__ import annotations

import os
import resource
import shutil
import tempfile

import dask
import pytest
from formats import FORMATS, value_of, which_value
from mounts import mount_small, own_view, unmount
from scenes import MODES, Scene, unexpected
from tracing import attempt, in_child

import daskcache as dc
from daskcache.errors import StorageError

PAGE = 4096  # bytes: what a file on a disk in memory takes at least
NOBODY = 65534


# ---- no space ---------------------------------------------------------------------------------------


@pytest.mark.needs("mounts")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", FORMATS)
def test_no_space(apart, name):
    """On a full disk a commit is a StorageError, what was there stays, and with space it succeeds."""
    refused, wrong = apart(alone, fill_up, name)
    assert wrong == []
    assert refused > len(MODES)


def fill_up(folder, name):
    """Commit with so many pages left on the disk; how many were refused, and what was wrong."""
    own_view()
    disk, refused, wrong = f"{folder}/disk", 0, []
    os.mkdir(disk)
    mount_small(disk, "512k")
    for mode in MODES:
        scene = Scene(f"{folder}/{mode}", name, mode, f"{disk}/root")
        for pages in range(12):
            scene.reset()
            _fill(f"{disk}/balloon", pages)
            error = _error_of(scene)
            os.unlink(f"{disk}/balloon")
            refused += error is not None
            wrong += [f"{mode}, {pages} pages left: {what}" for what in _judge(scene, error, "ENOSPC")]
        shutil.rmtree(scene.root)
    return refused, wrong


def _fill(path, pages):
    """Fill a disk but for so many pages."""
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * PAGE)
        except OSError:
            file.truncate(file.tell() // PAGE * PAGE - pages * PAGE)


# ---- no large files ---------------------------------------------------------------------------------


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", FORMATS)
def test_no_large_files(apart, name):
    """Where files may not be larger than so many bytes (``ulimit -f``), a commit is a StorageError."""
    refused, wrong = apart(alone, limit_files, name)
    assert wrong == []
    assert refused > len(MODES)


def limit_files(folder, name):
    refused, wrong = 0, []
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    for mode in MODES:
        scene = Scene(f"{folder}/{mode}", name, mode)
        for size in range(0, 3000, 200):
            scene.reset()
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, unlimited[1]))
            error = _error_of(scene)
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
            refused += error is not None
            wrong += [f"{mode}, {size} bytes: {what}" for what in _judge(scene, error, "EFBIG")]
    return refused, wrong


# ---- no permission ----------------------------------------------------------------------------------

FOLDERS = "", ".daskcache/records", ".daskcache/intents", "out"


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_read_only_folder(apart, folder):
    """A StorageError, before anything is computed."""
    assert apart(in_the_open, read_only, folder) == []


def read_only(base, folder):
    _become_nobody(base)
    with dask.config.set({"daskcache.root": f"{base}/root"}):
        first, second = _counted("out/first.json")(1), _counted("out/second.json")(2)
    first.compute()
    os.chmod(f"{base}/root/{folder}", 0o500)
    wrong = _wrong_error(attempt(second.compute), "EACCES")
    if RUNS != [1]:
        wrong.append(f"computed before it was refused: {RUNS}")
    os.chmod(f"{base}/root/{folder}", 0o700)
    if (first.compute(), second.compute()) != (1, 2):
        wrong.append("afterwards the values are wrong")
    return wrong


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("rights", [0o000, 0o500])
def test_permissions_are_lost_in_mid_run(apart, folder, rights):
    """If rights are taken away while a node runs, it is a StorageError or a success; nothing is lost."""
    assert apart(in_the_open, lose_permissions, folder, rights) == []


def lose_permissions(base, folder, rights):
    _become_nobody(base)
    path = f"{base}/root/{folder}"
    with dask.config.set({"daskcache.root": f"{base}/root"}):
        first = _counted("out/first.json")(1)
        second = dc.delayed(_first(os.chmod, path, rights), target="out/second.json", version=1)(first)
    first.compute()
    outcome = attempt(second.compute)
    needed = (
        rights == 0 or folder != ""
    )  # what is below a folder can be written to, if it can be reached
    wrong = _wrong_error(outcome, "EACCES") if needed else []
    if rights == 0 and folder in ("", "out"):
        wrong += _wrong_error(attempt(first.compute), "EACCES")
    os.chmod(path, 0o700)
    left = sorted(set(os.listdir(f"{base}/root/out")) - {"first.json"})
    if left and (left != ["second.json"] or second.dc.state != "complete"):
        wrong.append(f"left among the user's files: {left}")
    if (first.compute(), second.compute()) != (1, 1) or RUNS != [1]:
        wrong.append(f"afterwards the values are wrong, or computed again: {RUNS}")
    return wrong


# ---- no disk ----------------------------------------------------------------------------------------


@pytest.mark.needs("mounts")
@pytest.mark.parametrize("name", FORMATS)
def test_a_disk_vanishes(apart, name):
    """If the root's disk vanishes while a node runs, it is a StorageError; nothing is written there."""
    assert apart(alone, vanish, name) == []


def vanish(folder, name):
    own_view()
    disk = f"{folder}/disk"
    os.mkdir(disk)
    mount_small(disk, "1m")
    target = FORMATS[name].target("out/result")
    with dask.config.set({"daskcache.root": disk}):
        first = dc.delayed(value_of, target=FORMATS[name].target("out/first"), version=1)(name, "old")
        second = dc.delayed(_first(unmount, disk), target=target, version=1)(first)
    first.compute()
    wrong = _wrong_error(attempt(second.compute), None)
    below = os.listdir(disk)
    if below:
        wrong.append(f"written where the disk was: {below}")
    mount_small(disk, "1m")
    if which_value(name, second.compute()) != "old":
        wrong.append("afterwards the value is wrong")
    return wrong


# ---- what they share --------------------------------------------------------------------------------

#: What nodes made by `_counted` were called with.
RUNS: list[int] = []


def alone(folder, function, *args):
    """Call a function in a child of its own, where it can change what a process has."""
    outcome = in_child(lambda: function(folder, *args))
    if outcome.error is not None:
        raise outcome.error
    return outcome.value


def in_the_open(_, function, *args):
    """Call a function in a child of its own, with a folder that anybody can reach."""
    base = tempfile.mkdtemp()
    os.chmod(base, 0o777)
    try:
        return alone(base, function, *args)
    finally:
        for folder, _, _ in os.walk(base):
            os.chmod(folder, 0o700)
        shutil.rmtree(base)


def _become_nobody(base):
    with dask.config.set({"daskcache.root": f"{base}/before"}):
        for number in (1, 2):  # what is imported late is imported while that is allowed
            node = _counted("x.json")(number)
            node.compute()
            assert node.dc.state == "complete"
    RUNS.clear()
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    dask.config.set({"daskcache.cache-folder": None})


def _counted(target):
    def run(number):
        RUNS.append(number)
        return number

    return dc.delayed(run, target=target, version=1)


def _first(function, *args):
    """A function that hands on its argument, when it has called another one; that, once."""
    left = [function]

    def run(value):
        if left:
            left.pop()(*args)
        return value

    return run


def _error_of(scene):
    outcome = in_child(scene.run)
    if outcome.error is None:
        assert outcome.value == "new"
    return outcome.error


def _judge(scene, error, code):
    def look():
        wrong = scene.wrong_whatever_happened() + scene.wrong_after_error()
        left = scene.users_files()
        return [*wrong, *([f"left: {left}"] if left else []), *scene.wrong_after_repair()]

    outcome = in_child(look)
    wrong = [repr(outcome.error)] if outcome.error is not None else outcome.value
    if error is not None and (not isinstance(error, StorageError) or error.got != code):
        wrong = [f"not a StorageError of {code}: {error!r}", *wrong]
    return [*wrong, *unexpected(outcome.warnings)]


def _wrong_error(outcome, code):
    """What is wrong with the error with which a run ended."""
    error = outcome.error
    if error is None:
        return [f"no error, but {outcome.value!r}"]
    if not isinstance(error, StorageError) or code not in (None, error.got):
        return [f"not a StorageError of {code}: {error!r}"]
    return []
