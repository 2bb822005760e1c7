"""Variants in Prefect: tasks use what the base holds, on every way to their results."""

from __future__ import annotations

import dask
import pytest
from pipeline import add, double, make, total
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.annotations import allow_failure

import daskcache as dc
from daskcache.prefect import flow, with_skipping


@pytest.fixture(params=["prefect.cache", "prefect.skip"])
def runner(request, server):
    """A task runner, in turn of each mode that caches."""
    threads = ThreadPoolTaskRunner(max_workers=2)
    with dask.config.set({"daskcache.mode": request.param}):
        yield threads if request.param == "prefect.cache" else with_skipping(threads)


def test_tasks_use_what_the_base_holds(runner, root, files):
    """A task that is submitted before its inputs are finished is planned without their data."""

    @flow(task_runner=runner)
    def pipeline():
        made = make.submit(1)
        made.wait()
        doubled = double.submit(made)
        doubled.wait()
        return add.submit(made, doubled).result().get_data()

    assert pipeline() == 165
    before = files()
    with dc.variant("a"):
        assert pipeline() == 165
    assert files() == before


def test_tasks_that_wait_are_made_in_the_variant(runner, root):
    """Or are skipped, if the mode does not wait for what is complete."""

    @flow(task_runner=runner)
    def pipeline():
        made = make.submit(1)
        return add.submit(made, double.submit(made)).result().get_data()

    assert pipeline() == 165
    stamps = {path: path.stat().st_mtime_ns for path in root.glob("*/*.[nj]*")}
    with dc.variant("a"):
        assert pipeline() == 165
    assert {path: path.stat().st_mtime_ns for path in root.glob("*/*.[nj]*")} == stamps


def test_tasks_whose_inputs_are_known_late_are_in_the_variant(runner, files):
    """The variant of the flow goes with the call to the worker."""

    @flow(task_runner=runner)
    def pipeline(i):
        return total.submit(allow_failure(make.submit(i)), f"t{i}").result().get_data()

    assert pipeline(1) == 55
    with dc.variant("a"):
        assert pipeline(1) == 55
        before = files()
        assert pipeline(2) == 65
    assert sorted(set(files()) - set(before)) == ["a/made/2.npy", "a/totals/t2.json"]
