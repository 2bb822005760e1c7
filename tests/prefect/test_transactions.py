"""Results of tasks in Prefect's transactions: what is rolled back is not reused."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress

import dask
import numpy as np
import prefect
import pytest
from pipeline import double, make, slow, waited
from prefect.cache_policies import INPUTS
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner
from prefect.transactions import CommitMode, atransaction, transaction

import daskcache as dc
from daskcache.prefect import flow
from daskcache.storage import trash
from daskcache.storage.roots import Root


@prefect.task(cache_policy=INPUTS, persist_result=True)
def stock(i):
    return i


#: Prefect's own results outlast a test.
numbers = itertools.count(int(np.random.default_rng().integers(1_000_000, 1_000_000_000)))


class Enough(Exception):
    """Rolls a transaction back."""


def called(task, i):
    return task(i, return_state=True)


def submitted(task, i):
    future = task.submit(i)
    future.wait()
    return future.state


def outcome(runner, one, how, mode=None, fails=True):
    """The state of a task that was called in a transaction, when it is called again after that."""
    i = next(numbers)

    @flow(task_runner=runner)
    def pipeline():
        with suppress(Enough), transaction(commit_mode=mode):
            assert how(one, i).name == "Completed"
            if fails:
                raise Enough
        return how(one, i).name

    return pipeline()


@pytest.fixture
def in_trash(root):
    return lambda: [(each.target, each.reason) for each in trash.listed(Root(str(root)))]


_MODES = pytest.mark.parametrize(
    ("mode", "fails", "expected"),
    [
        (None, True, "Completed"),
        (None, False, "Cached"),
        (CommitMode.LAZY, True, "Completed"),
        (CommitMode.EAGER, True, "Cached"),
        (CommitMode.OFF, False, "Completed"),
    ],
    ids=["rolled back", "committed", "lazy", "eager", "off"],
)


@_MODES
@pytest.mark.parametrize("how", [called, submitted])
def test_as_prefects_own_results(server, in_trash, how, mode, fails, expected):
    """In each commit mode, called or on threads; the target is in the trash."""
    runner = ThreadPoolTaskRunner()
    assert outcome(runner, stock, how, mode, fails) == expected
    assert outcome(runner, make, how, mode, fails) == expected
    reasons = [reason for _, reason in in_trash()]
    assert reasons == ["rolled back"] * len(reasons)
    assert bool(reasons) is (expected == "Completed")


@_MODES
def test_on_dask(runner, mode, fails, expected):
    """Where a task's own transaction is not part of the flow's, it is the same for its target."""
    assert outcome(runner, make, submitted, mode, fails) == expected


def test_on_processes(server):
    """So it is in other processes."""
    assert outcome(ProcessPoolTaskRunner(max_workers=1), make, submitted) == "Completed"


def test_tasks_that_still_run_when_it_is_rolled_back(runner, files, in_trash):
    """They are waited for."""

    @flow(task_runner=runner)
    def pipeline():
        with suppress(Enough), transaction():
            slow.submit(1, 1)
            raise Enough

    pipeline()
    assert files() == []
    assert in_trash() == [("slow/1.json", "rolled back")]


@pytest.mark.parametrize("kind", ["threads", "dask"])
def test_what_was_complete_before_stays(kind, request, server, files):
    """A transaction that only reused it has not made it; what it made of that is not reused."""
    runner = request.getfixturevalue("runner") if kind == "dask" else ThreadPoolTaskRunner()

    @flow(task_runner=runner)
    def pipeline():
        make.submit(1).wait()
        with suppress(Enough), transaction():
            doubled = double.submit(make.submit(1))
            assert doubled.result().get_data()[0] == 2
            raise Enough
        left = files()
        doubled = double.submit(make.submit(1))
        doubled.wait()
        return left, doubled.state.name

    assert pipeline() == (["made/1.npy"], "Completed")
    assert files() == ["doubled/1.npy", "made/1.npy"]


def test_what_is_in_the_trash_can_return(server, root):
    """It is whole, and its record is kept."""

    @flow(task_runner=ThreadPoolTaskRunner())
    def pipeline():
        with suppress(Enough), transaction():
            make(1)
            raise Enough
        trash.restore(Root(str(root)), trash.find(Root(str(root)), "made/1.npy"))
        return make(1, return_state=True).name

    assert pipeline() == "Cached"


def test_a_file_that_is_another_by_then_stays(server, root, in_trash):
    """Such as one that a person has edited."""

    @flow(task_runner=ThreadPoolTaskRunner())
    def pipeline():
        with suppress(Enough), transaction():
            make(1)
            np.save(root / "made" / "1.npy", np.zeros(3))
            raise Enough

    pipeline()
    assert np.load(root / "made" / "1.npy").tolist() == [0, 0, 0]
    assert in_trash() == []


def test_hooks_of_the_user(server, root, files):
    """on_rollback hooks are called before, and find the target."""
    seen = []
    one = make.with_options(name="one")
    one.on_rollback(lambda transaction: seen.append(files()))

    @flow(task_runner=ThreadPoolTaskRunner())
    def pipeline():
        with suppress(Enough), transaction():
            one(1)
            raise Enough

    pipeline()
    assert (seen, files()) == ([["made/1.npy"]], [])


def test_asynchronous_transactions(server, files):
    """In asynchronous flows."""

    @flow(task_runner=ThreadPoolTaskRunner())
    async def pipeline():
        with suppress(Enough):
            async with atransaction():
                await waited(1)
                waited.submit(2).wait()
                raise Enough

    asyncio.run(pipeline())
    assert files() == []


@prefect.task
def fails_after(i):
    make(i)
    raise Enough


@pytest.mark.parametrize("grouped", [False, True])
def test_tasks_that_call_others_and_fail(server, files, grouped):
    """What they had made before stays, so that the next attempt goes on from there.

    Prefect rolls its own results back; here, only in a transaction that somebody asked for.
    """

    @flow(task_runner=ThreadPoolTaskRunner())
    def pipeline():
        if not grouped:
            fails_after(1, return_state=True)
            return
        with suppress(Enough), transaction():
            fails_after(1)

    pipeline()
    assert files() == ([] if grouped else ["made/1.npy"])


@dc.task(target="in-modes/{i}.json")
def in_modes(i):
    return i


@pytest.mark.parametrize("mode", ["prefect.cache", "prefect.skip"])
def test_in_modes(server, files, mode):
    """Tasks of `daskcache.task` in Prefect's modes."""

    @dc.flow(task_runner=ThreadPoolTaskRunner())
    def pipeline():
        with suppress(Enough), transaction():
            in_modes.submit(1).wait()
            in_modes(2)
            raise Enough
        left = files()
        return left, in_modes(1)

    with dask.config.set({"daskcache.mode": mode}):
        left, again = pipeline()
    assert (left, again.get_data()) == ([], 1)
