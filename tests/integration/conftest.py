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
    with separate_processes(tmp_path_factory.mktemp("remote")) as (client, start_worker):
        start_worker("worker-0")
        start_worker("worker-1")
        client.wait_for_workers(2, timeout=_SECONDS_TO_START)
        folders = set(client.run(os.getcwd).values())
        folders.add(client.run_on_scheduler(os.getcwd))
        assert len(folders) == 3
        assert os.getcwd() not in folders
        yield client


@contextmanager
def separate_processes(base, modules=None):
    """Client of a scheduler in a process of its own, and a function that starts a worker.

    The function takes the worker's name and the folder, if any, from which it imports modules first;
    `modules` is that of the scheduler, which has to import what graphs refer to by name.
    """
    address = base / "scheduler.json"
    processes = []

    def start_worker(name, modules=None):
        options = ["--nthreads", "1", "--no-dashboard", "--no-nanny", "--name", name]
        command = ["worker", "--host", "127.0.0.1", *options, "--scheduler-file", str(address)]
        processes.append(_start(base, name, command, modules))

    try:
        scheduler = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
        command = [*scheduler, "--scheduler-file", str(address)]
        processes.append(_start(base, "scheduler", command, modules))
        _wait_for(address, processes[0])
        with Client(scheduler_file=str(address), set_as_default=False) as client:
            yield client, start_worker
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


def _start(base, name, command, modules=None):
    folder = base / name
    folder.mkdir()
    paths = [str(modules), os.environ.get("PYTHONPATH")] if modules else [os.environ.get("PYTHONPATH")]
    with open(base / f"{name}.log", "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *command],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
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
