"""One node on a worker: found or made, with what its inputs hold, and what becomes of its errors."""

from __future__ import annotations

import os
import pickle
import threading

import dask
import numpy as np
import pytest

import daskcache as dc
from daskcache import events
from daskcache.errors import (
    CodeMismatch,
    NodeFailed,
    StorageError,
    TargetCorrupt,
    TargetModified,
)
from daskcache.hashing.encoder import hash_value
from daskcache.runtime import node
from daskcache.runtime.entry import Entry
from daskcache.runtime.held import Deferred, Failure, Held
from daskcache.runtime.node import load_value, run_and_load, run_node
from daskcache.storage import leases
from daskcache.storage.records import RecordStore
from daskcache.storage.roots import Root


@pytest.fixture
def told():
    """The events of the test."""
    found = []
    events.listeners.append(found.append)
    yield found
    events.listeners.remove(found.append)


def source():
    return 1


def parent():
    """Return a node to stand for an input; its handle says what it holds."""
    return dc.delayed(source, version=1)()


def outcomes(told):
    return [event.outcome for event in told]


# ---- found or made --------------------------------------------------------------------------------


def test_a_node_is_made_once(work, runs, told):
    """The second run finds the target, and gives an equal entry without calling the function."""

    def make():
        runs.note("make")
        return 7

    it = work(make, target="a.json", version=1)
    first, second = run_node(it), run_node(it)
    assert (first.load(), second.load()) == (7, 7)
    assert runs.names() == ["make"]
    assert first.stored == second.stored
    assert outcomes(told) == ["ran", "skipped"]
    ran, skipped = told
    assert (ran.saved, skipped.seconds) == (0.0, 0.0)
    assert (ran.bytes, skipped.bytes) == (first.stored[0].stamp.size, 0)
    assert skipped.saved == pytest.approx(ran.seconds, abs=1e-6)


def test_what_must_not_count_is_made_again(work, runs):
    """A forced, expired or damaged target."""

    def make():
        runs.note("make")
        return 7

    it = work(make, target="a.json", version=1)
    name = RecordStore(Root(it.root))
    run_node(it)
    (record,) = name.all()
    run_node(it._replace(outdated=True, previous=(record,)))
    assert runs.names() == ["make", "make"]


def test_a_result_of_equal_data_gets_the_new_key(work, held, told):
    """The key upstream changed, its data did not: the record moves, and nothing runs."""
    it = work(lambda x: x + 1, parent(), target="a.json", version=1)
    run_node(it, held(1))
    (record,) = RecordStore(Root(it.root)).all()
    other = 32 * "b"
    again = run_node(it._replace(key=other, previous=(record,)), held(1))
    assert outcomes(told) == ["ran", "skipped"]
    assert again.key == other
    assert [name.key for name in RecordStore(Root(it.root)).all()] == [other]


def test_other_data_upstream_are_noticed(work, held, told):
    it = work(lambda x: x + 1, parent(), target="a.json", version=1)
    run_node(it, held(1))
    (record,) = RecordStore(Root(it.root)).all()
    assert run_node(it._replace(previous=(record,)), held(2)).load() == 3
    assert outcomes(told) == ["ran", "ran"]


def test_nothing_is_looked_for_without_a_target(work, told):
    handle = run_node(work(lambda: 7, version=1, save=False))
    assert isinstance(handle, Held)
    assert handle.load() == 7
    assert outcomes(told) == ["ran"]


def test_a_value_that_is_not_stored_is_known_by_its_trace(work):
    """An impure function's by its content, or by chance if it has no hash."""
    pure = work(lambda: [1], version=1, save=False)
    assert run_node(pure).data_hash == run_node(pure).data_hash != hash_value([1])
    impure = work(lambda: [1], version=1, pure=False)
    assert run_node(impure).data_hash == hash_value([1])
    nameless = work(threading.Lock, version=1, pure=False)
    assert run_node(nameless).data_hash != run_node(nameless).data_hash


def test_a_root_that_is_gone(work, root, runs):
    """Its disk was unmounted: nothing runs, and nothing is written to the folder beneath."""
    it = work(lambda: runs.note("ran"), target="a.json", version=1)
    (root / ".daskcache" / "root.json").unlink()
    with pytest.raises(StorageError, match="the root is gone"):
        run_node(it)
    assert runs.names() == []
    assert not (root / "a.json").exists()


def test_threads_take_turns_at_a_target(work, runs):
    """The locks are gone when nobody holds them."""
    from concurrent.futures import ThreadPoolExecutor

    def make():
        runs.note("make")
        return 7

    it = work(make, target="a.json", version=1)
    with ThreadPoolExecutor(4) as pool:
        assert [entry.load() for entry in pool.map(run_node, [it] * 4)] == [7] * 4
    assert runs.names() == ["make"]
    assert len(node._turns) == 0


# ---- inputs ---------------------------------------------------------------------------------------


def test_the_function_gets_what_the_nodes_upstream_hold(work, held):
    """Stored or not, in containers too."""
    stored = run_node(work(lambda: np.arange(3), target="a.npy", version=1))
    it = work(lambda x, more: [x.sum(), more], parent(), {"y": [dc.delayed(abs, version=2)(1)]})
    assert run_node(it, stored, held(5)).load() == [3, {"y": [5]}]


def test_a_damaged_input_that_is_read_lazily_is_set_aside(work, root):
    """The function opened it and met the damage: its node reruns next time."""
    entry = run_node(work(lambda: 7, target="a.json", version=1))

    def read(x):
        found = os.stat(root / "a.json")
        (root / "a.json").write_text("8\n")
        os.utime(root / "a.json", ns=(found.st_atime_ns, found.st_mtime_ns))
        raise TargetCorrupt("damaged", target=str(root / "a.json"))

    with pytest.raises(TargetCorrupt, match="is kept as"):
        run_node(work(read, parent(), target="b.json", version=1), entry)
    assert not (root / "a.json").exists()


def test_a_deferred_input_is_made_when_its_value_is_needed(work):
    """What it turns out to hold counts, not what was expected."""
    entry = run_node(work(lambda: 2, target="a.json", version=1))
    deferred = Deferred(entry.key, entry.root, "a.json", hash_value(1), lambda: entry)
    it = work(lambda x: 10 * x, parent(), target="b.json", version=1)
    result = run_node(it, deferred)
    assert result.load() == 20
    record = RecordStore(Root(result.root))
    (name,) = record.with_key(result.key)
    assert entry.data_hash in str(record.read(name).upstream[0])
    assert name.trace == node.combine(it.static, [entry.data_hash])


# ---- failures -------------------------------------------------------------------------------------


def failing():
    def fail(n):
        raise ValueError(f"not {n}")

    return fail


def test_an_error_names_its_node(work, told):
    with pytest.raises(ValueError, match="not 3") as caught:
        run_node(work(failing(), 3, target="a.json", version=1))
    (note,) = caught.value.__notes__
    assert "fail(n=3)" in note
    assert "target a.json" in note
    assert [(event.outcome, event.error) for event in told] == [("failed", "ValueError: not 3")]


def test_an_error_that_is_collected_becomes_a_handle(work, root):
    """It travels, names node and target, and leaves a note in the root that success clears."""
    it = work(failing(), 3, target="a.json", version=1, facts={"collect": True})
    handle = pickle.loads(pickle.dumps(run_node(it)))
    assert isinstance(handle, Failure)
    error = load_value(handle)
    assert isinstance(error, NodeFailed)
    assert (error.message, error.target) == ("ValueError: not 3", "a.json")
    assert it.key in {path.stem for path in root.glob(".daskcache/failures/*/*")}
    fixed = work(lambda n: n, 3, target="a.json", version=1)
    run_node(fixed._replace(key=it.key, failed_before=True))
    assert list(root.glob(".daskcache/failures/*/*")) == []


def test_what_follows_from_a_failure_does_not_run(work, held, runs):
    it = work(lambda x: runs.note("ran"), parent(), target="a.json", version=1)
    failure = Failure(NodeFailed("upstream"))
    assert run_node(it, failure) is failure
    assert run_node(it, NodeFailed("loaded")).error.message == "loaded"
    assert runs.names() == []


def test_a_result_that_the_function_tried_to_change(work, held):
    """The note says why its arguments are read-only."""
    array = np.arange(3)
    array.flags.writeable = False

    def change(x):
        x[0] = 1

    with pytest.raises(ValueError, match="read-only") as caught:
        run_node(work(change, parent(), target="a.json", version=1), held(array))
    assert any("array.copy()" in note for note in caught.value.__notes__)


# ---- what is checked ------------------------------------------------------------------------------


def test_another_version_of_the_code_does_not_run(work, runs, monkeypatch):
    """The client saw other code than this worker has."""

    def refuse(root, fingerprint, spec):
        raise CodeMismatch(f"another version of {spec.name}")

    it = work(lambda: runs.note("ran"), target="a.json", version=1)
    monkeypatch.setattr(node, "check_code", refuse)
    with pytest.raises(CodeMismatch):
        run_node(it)
    assert runs.names() == []


def test_a_finished_result_needs_no_code(work, monkeypatch):
    """What was made by the planned code counts, whatever this worker has imported since."""
    it = work(lambda: 7, target="a.json", version=1)
    run_node(it)
    monkeypatch.setattr(node, "check_code", None)
    assert run_node(it).load() == 7


def test_an_adopted_result_is_not_replaced_unasked(work, root):
    """Its record says that a person made it, for other data than there are now."""
    it = work(lambda: 7, target="a.json", version=1)
    run_node(it)
    store = RecordStore(Root(it.root))
    (name,) = store.all()
    adopted = name._replace(adopted=True, key=32 * "c", trace=32 * "d")
    with pytest.raises(TargetModified, match="adopted"):
        run_node(it._replace(previous=(adopted,), outdated=True))
    assert (root / "a.json").read_text() == "7\n"


# ---- leases ---------------------------------------------------------------------------------------


def test_a_lease_is_held_while_the_function_runs(work, root):
    """And released after an error, too."""
    seen = []

    def look(fails):
        seen.extend(path.name for path in root.glob(".daskcache/leases/*.json"))
        return 1 / fails

    with dask.config.set({"daskcache.lease": "30s"}):
        for fails in (1, 0):
            it = work(look, fails, target="{fails}.json", version=1)
            try:
                run_node(it)
            except ZeroDivisionError:
                assert fails == 0
            assert len(seen) == 2 - fails
            assert seen[-1].startswith(it.key)
            assert list(root.glob(".daskcache/leases/*.json")) == []


def test_a_worker_that_waited_for_a_lease_finds_the_result(work, runs, told, monkeypatch):
    """Another one made it meanwhile."""

    def make():
        runs.note("make")
        return 7

    it = work(make, target="a.json", version=1)

    def other_first(lease, finished):
        assert finished() is None
        node._make(it, [], node.combine(it.static, []))
        return finished()

    monkeypatch.setattr(leases.Lease, "take", other_first)
    with dask.config.set({"daskcache.lease": "30s"}):
        assert run_node(it).load() == 7
    assert runs.names() == ["make"]
    assert outcomes(told) == ["skipped"]


# ---- values ---------------------------------------------------------------------------------------


def test_a_node_whose_value_alone_is_used(work):
    """One task runs it and loads its value, or gives its error."""
    assert run_and_load(work(lambda: [7], target="a.json", version=1)) == [7]
    failed = run_and_load(work(failing(), 1, version=1, facts={"collect": True}))
    assert isinstance(failed, NodeFailed)


def test_an_entry_is_loaded_with_an_event(work, told):
    entry = run_node(work(lambda: 7, target="a.json", version=1))
    assert isinstance(entry, Entry)
    assert node.load_finished(entry, "make", 2.5) == 7
    event = told[-1]
    assert (event.outcome, event.function, event.target, event.saved) == (
        "loaded",
        "make",
        "a.json",
        2.5,
    )
    assert event.bytes == entry.stored[0].stamp.size
