"""Fixtures of clusters, see `clusters`."""

from __future__ import annotations

import os
from contextlib import ExitStack

import dask
import pytest
from clusters import SECONDS_TO_START, on_cluster, separate_processes, small_cluster


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
        client.wait_for_workers(2, timeout=SECONDS_TO_START)
        folders = set(client.run(os.getcwd).values())
        folders.add(client.run_on_scheduler(os.getcwd))
        assert len(folders) == 3
        assert os.getcwd() not in folders
        yield client


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
