"""Prefect's annotations and futures do in flows of daskcache what they do in Prefect's own flows."""

from __future__ import annotations

import concurrent.futures

import distributed
import prefect
import pytest
from pipeline import make, odd, slow
from prefect.futures import wait
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.annotations import allow_failure, quote, unmapped

from daskcache.errors import NodeFailed
from daskcache.prefect import DaskCacheTaskRunner, flow, task, with_skipping
from daskcache.testing.assertions import scheduler_tasks


@pytest.fixture(params=["threads", "dask"])
def one(request, server):
    """A task runner that skips complete tasks."""
    if request.param == "threads":
        return with_skipping(ThreadPoolTaskRunner())
    return DaskCacheTaskRunner(cluster=request.getfixturevalue("cluster"))


# ---- failures that the next task may get ------------------------------------------------------------


def fails(i):
    if i % 2 == 0:
        raise ValueError(f"{i} is even")
    return i


def names(value, after=None):
    """Names of the classes of what a task gets."""
    return [type(each).__name__ for each in (value if isinstance(value, list) else [value])]


def running(fails, names):
    return names.submit(allow_failure(fails.submit(0)))


def finished(fails, names):
    failed = fails.submit(0)
    wait([failed])
    return names.submit(allow_failure(failed))


def nested(fails, names):
    return names.submit([allow_failure(fails.submit(0)), fails.submit(1)])


def in_a_list(fails, names):
    return names.submit(allow_failure([fails.submit(0), fails.submit(1)]))


def waited_for(fails, names):
    return names.submit(1, wait_for=[allow_failure(fails.submit(0)), fails.submit(1)])


def mapped(fails, names):
    return names.map(allow_failure(fails.map([0, 1, 2])))


def mapped_with(fails, names):
    return names.map([1, 2], after=unmapped(allow_failure(fails.submit(0))))


def quoted(fails, names):
    return names.submit(quote([1, "a"]), wait_for=[allow_failure(fails.submit(0))])


def called(fails, names):
    return names(allow_failure(fails.submit(0)))


def called_after(fails, names):
    return names(1, wait_for=[allow_failure(fails.submit(0))])


_WAYS = [
    *(running, finished, nested, in_a_list, waited_for),
    *(mapped, mapped_with, quoted, called, called_after),
]


def found(make_task, make_flow, runner):
    """What the last task of each way returns, in one flow, which must not fail."""
    tasks = make_task(fails), make_task(names)

    @make_flow(task_runner=runner)
    def program():
        ends = [way(*tasks) for way in _WAYS]
        return [each.result() if hasattr(each, "result") else each for each in ends]

    return [each.get_data() if hasattr(each, "get_data") else each for each in program()]


_MAKERS = [
    lambda function: task(function, target="{funcname}/{key}.json", results="data"),
    lambda function: task(function, save=False, results="data"),
    prefect.task,
]


@pytest.mark.parametrize("make_task", _MAKERS, ids=["cached", "uncached", "prefects"])
def test_allowed_failures(one, make_task):
    """A task that may get a failure gets it, and the flow does not fail, now and the next time."""
    stock = found(prefect.task, prefect.flow, ThreadPoolTaskRunner())
    assert stock[0] == ["ValueError"]
    for _ in range(2):
        assert found(make_task, flow, one) == stock


def test_a_failure_that_is_not_allowed_counts_as_unseen(one):
    """The next task does not run, and a failure that was not looked at is still an error of the flow."""

    @flow(task_runner=one)
    def program():
        failed = odd.submit(0)
        after = [
            make.submit(1, wait_for=[failed]),
            make.submit(2, wait_for=[allow_failure(odd.submit(1))]),
        ]
        wait(after)
        late = make.submit(3, wait_for=[failed])
        late.wait()
        return [each.state.name for each in (*after, late)]

    with pytest.raises(NodeFailed, match="1 of 5 tasks failed"):
        program()


# ---- quote -------------------------------------------------------------------------------------------


def test_quoted_arguments_are_known_at_submit(cluster):
    """A complete task is skipped when it is submitted, though its argument is quoted."""
    named = task(names, target="{funcname}/{key}.json")

    @flow(task_runner=DaskCacheTaskRunner(cluster=cluster))
    def program():
        future = named.submit(quote([1, "a"]), after=[quote(2)])
        return future.result().get_data(), future.state.name

    assert program() == (["int", "str"], "Completed")
    with distributed.Client(cluster, set_as_default=False) as client, scheduler_tasks(client) as tasks:
        assert program() == (["int", "str"], "Cached")
    assert tasks() == []


# ---- what a future wraps ---------------------------------------------------------------------------


def test_wrapped_futures(one):
    """A future wraps that of its library; one that was finished at submit wraps its state."""
    kind = distributed.Future if isinstance(one, DaskCacheTaskRunner) else concurrent.futures.Future

    @flow(task_runner=one)
    def program():
        future = slow.submit(1, 0.2)
        wrapped = future.wrapped_future
        if future.inner is None:
            assert isinstance(wrapped, concurrent.futures.Future)
        else:
            assert isinstance(wrapped, kind)
        state = wrapped.result(60)
        assert wrapped.done()
        return state.name, state.result(_sync=True).load()

    assert program() == ("Completed", 1)
    assert program() == ("Cached", 1)
