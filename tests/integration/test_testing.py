"""The assertions that users' own tests can use."""

import dask
import pytest

import daskcache as dc
from daskcache.testing.assertions import assert_nothing_runs, count_runs


def square(x):
    return x * x


@pytest.fixture
def nodes():
    squared = dc.delayed(square, target="squares/{x}.json")
    return [squared(i) for i in range(3)]


def test_runs_are_counted_here(nodes):
    """`count_runs` counts what schedulers of this process run, and not what is finished."""
    with count_runs() as runs:
        dask.compute(*nodes, scheduler="threads")
        assert runs() == {"square": 3}
        dask.compute(*nodes, scheduler="sync")
    assert runs() == {"square": 3}


def test_runs_are_counted_on_workers(nodes, local_client):
    """`count_runs` counts what workers run."""
    nodes[0].compute(scheduler="sync")
    with count_runs(local_client) as runs:
        local_client.gather(local_client.compute(nodes))
    assert runs() == {"square": 2}
    with count_runs(local_client) as runs:
        local_client.gather(local_client.compute(nodes))
    assert runs() == {}


def test_nothing_runs(nodes):
    """`assert_nothing_runs` names the functions that ran, and is silent if none did."""
    with pytest.raises(AssertionError, match=r"square\(\) × 3"), assert_nothing_runs():
        dask.compute(*nodes, scheduler="sync")
    with assert_nothing_runs():
        dask.compute(*nodes, scheduler="sync")
        dask.compute(nodes[0] + nodes[1], scheduler="sync")


def test_failures_are_no_runs(nodes):
    """A function that raises has not run to its end."""

    @dc.delayed
    def fail(x):
        raise ValueError(x)

    with count_runs() as runs, pytest.raises(ValueError, match="7"):
        fail(7).compute(scheduler="sync")
    assert runs() == {}
