"""Clusters for the integration tests.

No client is the process's default: a test takes one by `on_cluster`, so that the others stay on the
scheduler of the configuration.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

import dask
import pytest
from distributed import Client, LocalCluster

_SECONDS_TO_START = 60


@contextmanager
def on_cluster(client):
    """Within, all verbs of Dask go to `client`."""
    with client.as_current(), dask.config.set(scheduler="dask.distributed"):
        yield client


@contextmanager
def small_cluster():
    """A LocalCluster of two processes with one thread each, and its client."""
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(scope="session")
def local_client():
    """Client of a LocalCluster; its workers are children of this process."""
    with small_cluster() as client:
        yield client


@pytest.fixture(scope="session")
def remote_client(tmp_path_factory):
    """Client of a scheduler and two workers that were started as processes of their own.

    Each has a working directory of its own, which is not the client's.
    """
    base = tmp_path_factory.mktemp("remote")
    address = base / "scheduler.json"
    scheduler = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    worker = ["worker", "--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard", "--no-nanny"]
    processes = []
    try:
        processes.append(_start(base, "scheduler", [*scheduler, "--scheduler-file", str(address)]))
        _wait_for(address, processes[0])
        for name in ("worker-0", "worker-1"):
            command = [*worker, "--name", name, "--scheduler-file", str(address)]
            processes.append(_start(base, name, command))
        with Client(scheduler_file=str(address), set_as_default=False) as client:
            client.wait_for_workers(2, timeout=_SECONDS_TO_START)
            folders = set(client.run(os.getcwd).values())
            folders.add(client.run_on_scheduler(os.getcwd))
            assert len(folders) == 3
            assert os.getcwd() not in folders
            yield client
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in reversed(processes):
            _reap(process)


@pytest.fixture(params=["local", "separate"])
def cluster(request):
    """A client, in turn of the LocalCluster and of the separate processes; verbs go to it."""
    name = {"local": "local_client", "separate": "remote_client"}[request.param]
    with on_cluster(request.getfixturevalue(name)) as client:
        yield client


@pytest.fixture(params=["sync", "threads", "processes", "cluster"])
def anywhere(request):
    """The name of a scheduler, in turn of each kind; verbs go to it."""
    if request.param == "cluster":
        with on_cluster(request.getfixturevalue("local_client")):
            yield request.param
    else:
        with dask.config.set(scheduler=request.param, num_workers=2):
            yield request.param


@pytest.fixture
def own_cluster():
    """A function that makes a LocalCluster for one test, whose workers the test may kill."""
    with ExitStack() as stack:

        def make(**config):
            stack.enter_context(dask.config.set(config))
            return stack.enter_context(on_cluster(stack.enter_context(small_cluster())))

        yield make


def _start(base, name, command):
    folder = base / name
    folder.mkdir()
    with open(base / f"{name}.log", "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *command],
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _wait_for(path, process):
    deadline = time.monotonic() + _SECONDS_TO_START
    while not (path.exists() and path.stat().st_size):
        assert process.poll() is None, "the scheduler ended before it was ready"
        assert time.monotonic() < deadline, "the scheduler did not start"
        time.sleep(0.05)


def _reap(process):
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
