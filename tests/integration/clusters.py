"""Clusters for the integration tests.

Not in conftest.py: there are several modules of that name, and workers import those of the tests.

No client is the process's default: a test takes one by `on_cluster`, so that the others stay on the
scheduler of the configuration.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager

import dask
from distributed import Client, LocalCluster

SECONDS_TO_START = 60


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
    deadline = time.monotonic() + SECONDS_TO_START
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
