"""System calls fail in a commit: a typed error, the old result intact, nothing left over."""

from __future__ import annotations

import errno
import math
import shutil
from pathlib import Path

import dask
import pytest
from formats import FORMATS, KINDS, files_of, value_of
from scenes import MODES, Scene, unexpected
from tracing import Action, in_child, trace

import daskcache as dc
from daskcache.errors import DaskcacheError
from daskcache.storage.files import DISPLACED

pytestmark = pytest.mark.needs("ptrace")

_LOOK = {"stat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2", "readlink"}
_OPEN = {"open", "openat", "openat2"}
_MAKE = {"mkdir", "mkdirat", "link", "linkat", "symlink", "symlinkat"}
_REMOVE = {"unlink", "unlinkat", "rmdir"}
_MOVE = {"rename", "renameat", "renameat2"}
_READ = {"read", "pread64", "readv", "getdents64"}
_WRITE = {"write", "pwrite64", "writev", "ftruncate", "fallocate", "fsync", "fdatasync"}
_CLOSE = {"close"}

#: Which calls fail with what, see their manual pages.
FAILURES = {
    "EIO": _LOOK | _OPEN | _MAKE | _REMOVE | _MOVE | _READ | _WRITE | _CLOSE,
    "ESTALE": _LOOK | _OPEN | _MAKE | _REMOVE | _MOVE | _READ | _WRITE | _CLOSE,
    "EACCES": _LOOK | _OPEN | _MAKE | _REMOVE | _MOVE,
    "ENOSPC": _MAKE | _MOVE | _WRITE | _CLOSE,
    "EDQUOT": _MAKE | _MOVE | _WRITE | _CLOSE,
    "EINTR": _OPEN | _READ | _WRITE | _CLOSE,
}
#: EINTR for good would be a process that gets signals for ever.
CASES = [(f, lasting) for f in FAILURES for lasting in (False, True) if (f, lasting) != ("EINTR", True)]


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("failure", "lasting"), CASES)
@pytest.mark.parametrize("name", FORMATS)
def test_any_call_fails(shared, full, name, failure, lasting):
    """A typed error or the right value; the target is as it was, or new; the next run is right."""
    tried, wrong = shared(sweep, name, failure, lasting, full)
    assert wrong == []
    assert tried > (5 if full else 0)


def sweep(folder, share, shares, name, failure, lasting, full):
    """Let one call after the other fail; number of failures, and what was wrong.

    In CI each format and failure takes some of the calls: a commit makes nearly the same calls in each.
    """
    stride = 1 if full else 30  # each format and failure still finds calls to fail
    number = list(FORMATS).index(name) + len(FORMATS) * (CASES.index((failure, lasting)) % 3)
    tried, wrong = 0, []
    for mode in MODES:
        scene = Scene(f"{folder}/{mode}", name, mode)
        position = number % stride + stride * share
        while _fail(scene, position, failure, lasting, wrong):
            tried += 1
            position += stride * shares
    return tried, wrong


def _fail(scene, position, failure, lasting, wrong):
    """Let the call at a position fail, and note what is wrong; False if there are less that can fail."""
    scene.reset()
    failed, outcome = _with_failure(scene.run, scene.root, position, failure, lasting)
    if not failed:
        return False
    story = f"{failure} {'from' if lasting else 'at'} {scene.mode} {failed[0]}"
    found = []
    if outcome.error is None and outcome.value != "new":
        found.append(f"the commit returned {outcome.value}")
    if outcome.error is not None and not isinstance(outcome.error, DaskcacheError):
        found.append(f"not a typed error: {outcome.error!r}")
    may_remain = any(
        call.name in _REMOVE or _is_look_at_displaced(call) or _is_of_a_part_folder(call)
        for call in failed
    )
    wrong += [f"{story}: {what}" for what in [*found, *_judge(scene, may_remain)]]
    return True


def _is_of_a_part_folder(call):
    """A folder whose own folders can't be closed can't be removed."""
    return call.name in _CLOSE and "/parts/" in call.paths[0]


def _is_look_at_displaced(call):
    """A displaced file that can't be looked at is kept, in case it is not what was recorded."""
    return call.name in _LOOK | _OPEN | _READ | _CLOSE and DISPLACED in call.paths[0]


def _judge(scene, may_remain):
    """What is wrong after an error; whether something of ours may remain that couldn't be removed."""

    def look():
        wrong = scene.wrong_whatever_happened() + scene.wrong_after_error()
        left = [*scene.users_files(), *scene.metadata("trash"), *scene.metadata("parts")]
        if left and not may_remain:
            wrong.append(f"left over: {left}")
        # a part that could not be removed may have been claimed: who takes that over keeps it
        return wrong + scene.wrong_after_repair(math.inf if may_remain else 0)

    outcome = in_child(look)
    wrong = [repr(outcome.error)] if outcome.error is not None else outcome.value
    return [*wrong, *unexpected(outcome.warnings)]


# ---- somebody's edits ------------------------------------------------------------------------------

EDIT = b"edited by hand"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("failure", ["EIO", "EACCES", "ENOSPC"])
@pytest.mark.parametrize("name", KINDS)
def test_an_edit_is_never_lost(shared, full, name, failure, lasting):
    """Whatever fails while an edited target is replaced, the edited file is still somewhere."""
    tried, wrong = shared(sweep_edits, name, failure, lasting, full)
    assert wrong == []
    assert tried > (5 if full else 2)


def sweep_edits(folder, share, shares, name, failure, lasting, full):
    """Let one call after the other fail while an edited file is replaced."""
    root, tried, wrong = f"{folder}/root", 0, []
    with dask.config.set({"daskcache.root": root}):
        make = dc.delayed(value_of, target=FORMATS[name].target("x"), version=1, on_modified="recompute")
        old, new = make(name, "old"), make(name, "new")
    new.compute()
    stride = 1 if full else 4 * len(KINDS)
    position = KINDS.index(name) % stride + stride * share
    while True:
        shutil.rmtree(root)
        old.compute()
        _edit(old.dc.path)
        failed, outcome = _with_failure(new.compute, root, position, failure, lasting)
        if not failed:
            return tried, wrong
        tried += 1
        story = f"{failure} {'from' if lasting else 'at'} {failed[0]}"
        if outcome.error is not None and not isinstance(outcome.error, DaskcacheError):
            wrong.append(f"{story}: not a typed error: {outcome.error!r}")
        if not any(path.read_bytes() == EDIT for path in Path(root).rglob("*") if path.is_file()):
            wrong.append(f"{story}: the edited file is gone")
        position += stride * shares


def _edit(target):
    """Edit a target by hand; of a folder, one of its files."""
    name = list(files_of(target))[-1]
    Path(target, name).write_bytes(EDIT)


def _with_failure(body, root, position, failure, lasting):
    """Let the call at a position fail; the calls that did, and the outcome."""
    failed, seen = [], []

    def act(call):
        if call.name not in FAILURES[failure]:
            return None
        seen.append(call)
        if len(seen) <= position or (failed and not lasting):
            return None
        failed.append(call)
        return Action(error=getattr(errno, failure))

    return failed, trace(body, root, act)


# ---- short writes ---------------------------------------------------------------------------------


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", FORMATS)
def test_writes_are_short(shared, full, name):
    """A write that takes less than it was given is gone on with; the result is whole."""
    tried, wrong = shared(sweep_writes, name, full)
    assert wrong == []
    assert tried > 5


_SHORT = (lambda size: 1), (lambda size: size // 2), (lambda size: size - 1)


def sweep_writes(folder, share, shares, name, full):
    """Cut one write after the other short, or all of them; number of tries, and what was wrong."""
    tried, wrong = 0, []
    for mode in MODES[share::shares]:
        scene = Scene(f"{folder}/{mode}", name, mode)
        for lasting in (False, True):
            for short in _SHORT if full else _SHORT[:1]:
                position = 0
                while _cut(scene, position, lasting, short, wrong):
                    tried += 1
                    position += 1
    return tried, wrong


def _cut(scene, position, lasting, short, wrong):
    """Cut the write at a position short, and note what is wrong; False if there are less."""
    seen, cut = [], []

    def act(call):
        if call.name != "write":
            return None
        seen.append(call)
        if len(seen) <= position or call.size < 2 or (cut and not lasting):
            return None
        cut.append(call)
        return Action(limit=short(call.size))

    scene.reset()
    outcome = trace(scene.run, scene.root, act)
    if not cut:
        return False
    found = [] if outcome.value == "new" else [f"the commit returned {outcome.value or outcome.error!r}"]
    story = f"cut {'from' if lasting else 'at'} {scene.mode} {cut[0]}"
    wrong += [f"{story}: {what}" for what in [*found, *_judge(scene, False)]]
    return True
