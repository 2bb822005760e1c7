"""How fast a complete task is skipped in a flow, beside Prefect's own cached task.

    python tests/benchmarks/bench_prefect.py [--tasks 50]

Both run on one LocalCluster, with a server of their own.  Prints milliseconds a task, and the ratio.
"""

from __future__ import annotations

import argparse
import tempfile
import time

import dask
import prefect
from distributed import LocalCluster
from prefect.cache_policies import INPUTS
from prefect.testing.utilities import prefect_test_harness
from prefect_dask import DaskTaskRunner

from daskcache.prefect import DaskCacheTaskRunner, flow, task


@task(target="values/{i}.json")
def ours(i):
    return i


@prefect.task(cache_policy=INPUTS, persist_result=True)
def theirs(i):
    return i


def seconds_of(make_flow, runner, function, count):
    """Return the seconds that a finished task takes, once all of them are cached."""

    @make_flow(task_runner=runner)
    def submit():
        began = time.perf_counter()
        futures = [function.submit(i) for i in range(count)]
        for future in futures:
            future.wait()
        return time.perf_counter() - began, {future.state.name for future in futures}

    submit()
    seconds, names = submit()
    assert names == {"Cached"}
    return seconds / count


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=50)
    count = parser.parse_args().tasks
    with (
        tempfile.TemporaryDirectory() as root,
        prefect_test_harness(),
        dask.config.set({"daskcache.root": root}),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
    ):
        skipped = seconds_of(flow, DaskCacheTaskRunner(cluster=cluster), ours, count)
        stock = seconds_of(
            prefect.flow, DaskTaskRunner(address=cluster.scheduler_address), theirs, count
        )
    print(f"{1e3 * skipped:.2f} ms for a skipped task, {1e3 * stock:.1f} ms for a stock one")
    print(f"{stock / skipped:.0f} times as fast")


if __name__ == "__main__":
    main()
