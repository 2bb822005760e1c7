"""Plugin of pytest that gives prefect-dask's own tests daskcache's task runner in place of theirs."""

import dask.system


def pytest_configure():
    # a test wants three tasks to run at once, which Dask starts only with as many processors
    dask.system.CPU_COUNT = max(dask.system.CPU_COUNT, 4)
    import prefect_dask

    from daskcache.prefect import DaskCacheTaskRunner

    prefect_dask.DaskTaskRunner = prefect_dask.task_runners.DaskTaskRunner = DaskCacheTaskRunner
