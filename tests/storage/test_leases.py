"""A node runs once on several schedulers, too; leases of the dead expire, whatever clocks say."""

from __future__ import annotations

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import dask
import pytest

import daskcache as dc
from daskcache.runtime import node as run
from daskcache.storage import leases
from daskcache.storage.roots import Root


@pytest.fixture
def made(root):
    """The root, which is there."""
    made = Root(str(root))
    made.create()
    return made


def lease_files(root):
    folder = root / ".daskcache" / "leases"
    return sorted(os.listdir(folder)) if folder.exists() else []


def nothing():
    return None


def test_there_are_none_by_default(root, monkeypatch):
    """Nothing is written for a lease that nobody asked for."""
    monkeypatch.setattr(leases.Lease, "take", None)
    assert dask.compute(dc.delayed(abs, target="a.json")(-1)) == (1,)
    assert lease_files(root) == []


def test_a_lease_while_a_node_runs(root):
    """It is there as long as the body runs, and gone after it, or after it failed."""
    seen = []

    def look(i):
        seen.append(lease_files(root))
        return 1 // i

    with dask.config.set({"daskcache.lease": "30s"}):
        assert dask.compute(dc.delayed(look, target="{i}.json", version=1)(1)) == (1,)
        with pytest.raises(ZeroDivisionError):
            dask.compute(dc.delayed(look, target="{i}.json", version=1)(0))
    assert [len(names) for names in seen] == [1, 1]
    assert lease_files(root) == []


def test_others_wait_for_the_result(made):
    """And take it when it is there, though the lease is held on."""
    mine, theirs = leases.Lease(made, "node", 30), leases.Lease(made, "node", 30)
    assert mine.take(nothing) is None
    result = []
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(theirs.take, lambda: result[0] if result else None)
        time.sleep(0.6)
        assert not waiting.done()
        result.append("the entry")
        assert waiting.result(10) == "the entry"
    mine.release()


def test_the_next_one_when_a_holder_gives_up(made):
    """Of those that wait, one runs the node."""
    mine = leases.Lease(made, "node", 30)
    others = [leases.Lease(made, "node", 30) for _ in range(4)]
    assert mine.take(nothing) is None
    result, holders = [], []

    def take(lease):
        found = lease.take(lambda: result[0] if result else None)
        if found is None:
            holders.append(lease)
            time.sleep(0.5)
            result.append("the entry")
            lease.release()
        return found

    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(take, lease) for lease in others]
        time.sleep(0.3)
        mine.release()
        assert sorted(str(each.result(20)) for each in waiting) == ["None", *["the entry"] * 3]
    assert len(holders) == 1


def test_a_held_lease_is_renewed(made):
    """It lasts far longer than its time, and the thread ends with it."""
    mine, theirs = leases.Lease(made, "node", 0.8), leases.Lease(made, "node", 0.8)
    assert mine.take(nothing) is None
    end = time.monotonic() + 3
    assert theirs.take(lambda: "waited" if time.monotonic() > end else None) == "waited"
    mine.release()
    _wait_until(lambda: "daskcache-leases" not in {thread.name for thread in threading.enumerate()})


@pytest.mark.parametrize("mtime", [0, 1, 2**33], ids=["1970", "1970 and a second", "2242"])
def test_the_lease_of_somebody_who_is_gone(made, mtime):
    """It expires after its own time, as seen from here; what its host's clock said doesn't matter."""
    os.makedirs(made.leases)
    path = f"{made.leases}/node.json"
    with open(path, "w") as file:
        json.dump({"id": "gone", "beat": 3, "seconds": 1.0}, file)
    os.utime(path, (mtime, mtime))
    mine = leases.Lease(made, "node", 60)
    started = time.monotonic()
    assert mine.take(nothing) is None
    assert time.monotonic() - started >= 1.0
    with open(path) as file:
        assert "gone" not in file.read()
    mine.release()
    assert os.listdir(made.leases) == []


def test_a_holder_that_was_taken_for_dead(made):
    """It neither renews nor removes what is another's now."""
    mine, theirs = leases.Lease(made, "node", 0.5), leases.Lease(made, "node", 0.5)
    assert mine.take(nothing) is None
    mine._released.set()  # as if the process was stopped
    assert theirs.take(nothing) is None
    assert not mine.renew()
    mine.release()
    assert theirs.renew()
    theirs.release()
    assert os.listdir(made.leases) == []


def test_a_lease_that_is_renewed_while_it_is_taken_away(made):
    """It stays."""
    mine = leases.Lease(made, "node", 30)
    assert mine.take(nothing) is None
    seen = leases._read(mine.path)
    assert mine.renew()
    leases._remove(mine.path, seen)
    assert mine.renew()
    mine.release()


def test_a_node_that_somebody_else_finishes(root, monkeypatch):
    """It is skipped, with that one's entry."""
    calls = []
    five = dc.delayed(lambda: calls.append(1) or 5, target="a.json", version=1)
    node = five()
    take = leases.Lease.take

    def somebody_else_first(lease, finished):
        with dask.config.set({"daskcache.lease": None}), monkeypatch.context() as patch:
            patch.setattr(run, "_turn", lambda work: nullcontext())
            dask.compute(five())
        return take(lease, finished)

    monkeypatch.setattr(leases.Lease, "take", somebody_else_first)
    with dask.config.set({"daskcache.lease": "30s"}):
        assert dask.compute(node) == (5,)
    assert calls == [1]
    assert lease_files(root) == []


def _wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
