"""A process is killed at every system call of a commit; what it leaves is right, and is repaired."""

from __future__ import annotations

from random import Random

import pytest
from formats import EVERY
from scenes import MODES, Scene, unexpected
from tracing import KILL, Action, in_child, trace

pytestmark = pytest.mark.needs("ptrace")

_STRIDE = 5


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", EVERY)
def test_killed_at_any_system_call(shared, full, name, mode):
    """The target is old, new or absent; no node loads a wrong value; the next run repairs it."""
    kills, wrong = shared(sweep, name, mode, full)
    assert wrong == []
    assert kills > (50 if full else 5)


def sweep(folder, share, shares, name, mode, everything):
    """Kill at a share of the calls; number of kills, and what was wrong.

    Unless it is to be `everything`, calls that touch nothing below the root are left out, and each
    format takes some of the calls: a commit makes nearly the same in each.
    """
    scene = Scene(folder, name, mode)
    stride = 1 if everything else _STRIDE
    points, wrong, ordinal = 0, [], list(EVERY).index(name) % stride + stride * share
    while True:
        scene.reset()
        call = _kill(scene, ordinal, everything=everything)
        if call is None:
            return points, wrong
        wrong += _judge(scene, f"killed before {call}", 1)
        points += 1
        if call.name == "write" and call.size > 1:
            scene.reset()
            _kill(scene, ordinal, halfway=True, everything=everything)
            wrong += _judge(scene, f"killed halfway through {call}", 1)
            points += 1
        ordinal += stride * shares


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", EVERY)
def test_killed_again_and_again(shared, full, name):
    """A run that repairs what a killed one left can be killed, too, and so can the next."""
    kills, wrong = shared(sweep_repairs, name, 1000 if full else 6)
    assert wrong == []
    assert kills > 5


def sweep_repairs(folder, share, shares, name, times):
    """Kill three runs, one after the other, at random calls; what was wrong."""
    random = Random(share)
    kills, wrong = 0, []
    for mode in MODES:
        scene = Scene(f"{folder}/{mode}", name, mode)
        for _ in range(times // shares // len(MODES)):
            scene.reset()
            calls = [_kill(scene, random.randrange(100)) for _ in range(3)]
            kills += len(calls)
            story = "killed before " + ", then before ".join(map(str, filter(None, calls)))
            wrong += _judge(scene, story, len(calls))
    return kills, wrong


def _kill(scene, ordinal, halfway=False, everything=False):
    """Kill a run before, or halfway through, a call, and return that; None if it has less calls."""
    at = []

    def act(call):
        if call.ordinal != ordinal:
            return None
        at.append(call)
        return Action(limit=call.size // 2, kill=True) if halfway else KILL

    outcome = trace(scene.run, scene.root, act, everything)
    if outcome.error is not None:
        raise outcome.error
    assert outcome.killed == bool(at)
    return at[0] if at else None


def _judge(scene, story, kills):
    """What is wrong after so many kills.  A fresh process looks, and runs the node again."""

    def look():
        wrong = scene.wrong_whatever_happened() + scene.wrong_after_repair(kills)
        left = scene.users_files()
        if left:
            wrong.append(f"left among the user's files: {left}")
        if len(scene.metadata("parts")) > 2 * kills:  # of a folder, also its manifest
            wrong.append(f"parts of the dead: {scene.metadata('parts')}")
        return wrong

    outcome = in_child(look)
    wrong = [repr(outcome.error)] if outcome.error is not None else outcome.value
    return [f"{story}: {what}" for what in [*wrong, *unexpected(outcome.warnings)]]
