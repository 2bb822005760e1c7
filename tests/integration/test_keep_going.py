"""Failures that don't end a verb, functions that are called again or run too long, and no workers."""

from __future__ import annotations

import logging
import os
import time
import warnings

import dask
import pytest
from clusters import on_cluster
from distributed import Client, LocalCluster

import daskcache as dc
from daskcache.cluster import waiting
from daskcache.errors import (
    DaskcacheWarning,
    ForeignTarget,
    GraphError,
    NodeFailed,
    NodeTimeout,
    ProcessDied,
)

COLLECT = {"daskcache.errors": "collect"}


def number(i):
    if i == 1:
        raise ValueError("no cells")
    return i


def double(x):
    return 2 * x


@pytest.fixture
def nodes():
    step, after = dc.delayed(number, target="n/{i}.json"), dc.delayed(double, target="d/{x.stem}.json")
    return [after(step(i)) for i in range(3)]


# ---- errors: collect ------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["dask.compute", "dc.compute", "node.compute", "plan"])
def test_the_config_holds_for_all_verbs(anywhere, nodes, verb):
    """All that does not need the failed node goes on, and a `NodeFailed` stands in for its value."""
    with dask.config.set(COLLECT):
        if verb == "node.compute":
            values = [node.compute() for node in nodes]
        else:
            compute = {"dask.compute": dask.compute, "dc.compute": dc.compute}.get(verb)
            values = compute(*nodes) if compute else dc.plan(*nodes).compute()
    assert (values[0], values[2]) == (0, 4)
    assert isinstance(values[1], NodeFailed)
    assert isinstance(values[1].__cause__, ValueError)
    assert [node.dc.state for node in nodes] == ["complete", "missing", "complete"]


def test_an_argument_beats_the_config(nodes):
    """`errors` of a verb says what it does."""
    with dask.config.set(COLLECT), pytest.raises(ValueError, match="no cells"):
        dc.compute(*nodes, errors="raise", scheduler="sync")


def test_other_values_are_refused(nodes):
    """In the configuration and as an argument."""
    with (
        dask.config.set({"daskcache.errors": "ignore"}),
        pytest.raises(ValueError, match="config daskcache"),
    ):
        dask.compute(*nodes, scheduler="sync")
    with pytest.raises(ValueError, match="errors must be"):
        dc.compute(*nodes, errors="ignore")


def test_futures_err_as_in_dask(local_client, nodes):
    """Each future of `Client.compute` has its value, or the error of the function."""
    with dask.config.set(COLLECT):
        futures = local_client.compute(nodes)
        assert (futures[0].result(), futures[2].result()) == (0, 4)
        with pytest.raises(ValueError, match="no cells"):
            futures[1].result()


def test_a_blocked_node_is_an_erred_future(local_client, nodes):
    """Somebody's file in the way of one node keeps the others from nothing."""
    path = nodes[0].dc.path
    os.makedirs(os.path.dirname(path))
    with open(path, "w") as file:
        file.write("mine")
    with dask.config.set(COLLECT):
        futures = local_client.compute([nodes[0], nodes[2]])
        assert futures[1].result() == 4
        with pytest.raises(NodeFailed, match="ForeignTarget"):
            futures[0].result()
    with pytest.raises(ForeignTarget):
        local_client.compute([nodes[0], nodes[2]])


def test_plain_functions_get_no_stand_in(anywhere, nodes):
    """A composed graph that needs a failed node raises: a sum over stand-ins would be nonsense."""
    total = dask.delayed(len)(nodes)
    with dask.config.set(COLLECT), pytest.raises(ValueError, match="no cells"):
        dask.compute(total, nodes[0])
    with dask.config.set(COLLECT):
        good = dask.delayed(sum)([nodes[0], nodes[2]])
        value, failed = dask.compute(good, nodes[1])
    assert value == 4
    assert isinstance(failed, NodeFailed)


# ---- retries --------------------------------------------------------------------------------------


def flaky(i, folder):
    """Fails in its first two calls."""
    calls = len(os.listdir(folder))
    open(f"{folder}/{calls}", "x").close()
    if calls < 2:
        raise OSError("the share is busy")
    return i


def test_a_function_is_called_again(anywhere, tmp_path):
    """On every scheduler; then the node has not failed."""
    os.mkdir(tmp_path / "calls")
    node = dc.delayed(flaky, target="f.json", retries=2)(1, str(tmp_path / "calls"))
    assert node.compute() == 1
    assert len(os.listdir(tmp_path / "calls")) == 3
    assert len(dc.failures(node)) == 0


def test_the_last_error_counts(tmp_path, caplog):
    """With too few retries the error is raised; each retry is logged."""
    os.mkdir(tmp_path / "calls")
    node = dc.delayed(flaky, target="f.json", retries=1)(1, str(tmp_path / "calls"))
    with caplog.at_level(logging.WARNING), pytest.raises(OSError, match="the share is busy"):
        node.compute(scheduler="sync")
    assert "flaky(f.json) failed and runs again (1 retries left): the share is busy" in caplog.text
    assert len(dc.failures(node)) == 1


def test_arguments_of_a_retry_are_fresh(tmp_path):
    """A function that changed its argument before it failed gets it as it was."""
    seen = []

    def spoil(values):
        seen.append(list(values))
        values.append(0)
        if len(seen) < 2:
            raise OSError("busy")
        return values

    node = dc.delayed(spoil, target="s.json", retries=1, version=1)([1, 2])
    assert node.compute(scheduler="sync") == [1, 2, 0]
    assert seen == [[1, 2], [1, 2]]


def test_what_would_come_again_is_not_tried_again():
    """A result that the format can't hold, for example."""
    calls = []

    def unfit():
        calls.append(1)
        return object()

    with pytest.raises(dc.errors.FormatLimit):
        dc.delayed(unfit, target="a.json", retries=3, version=1)().compute(scheduler="sync")
    assert len(calls) == 1


# ---- timeout --------------------------------------------------------------------------------------


def sleeps(seconds):
    print("falling asleep", flush=True)
    time.sleep(seconds)
    return seconds


def test_a_function_that_runs_too_long_is_ended(capfd):
    """Its process is killed; the failure keeps what it printed."""
    timed = dc.delayed(sleeps, target="{seconds}.json", timeout="3 s")
    assert timed(0).compute(scheduler="sync") == 0
    started = time.monotonic()
    with pytest.raises(NodeTimeout, match="ran longer than its timeout"):
        timed(300).compute(scheduler="sync")
    assert time.monotonic() - started < 100
    (note,) = dc.failures(timed(300))
    assert note.log == ["falling asleep"]
    assert capfd.readouterr().err.count("falling asleep") == 2


def crashes():
    print("about to crash")
    os.kill(os.getpid(), 9)


def test_what_a_crashed_function_printed_is_kept():
    """Output of an isolated function is passed on line by line."""
    node = dc.delayed(crashes, target="c.json", isolate=True)()
    with pytest.raises(ProcessDied):
        node.compute(scheduler="sync")
    (note,) = dc.failures(node)
    assert note.log == ["about to crash"]


@pytest.mark.parametrize(
    "options",
    [{"retries": -1}, {"retries": 1.5}, {"timeout": "soon"}, {"timeout": 0}, {"timeout": "-1 s"}],
)
def test_options_that_make_no_sense_are_refused(options):
    """When the function is decorated."""
    with pytest.raises(GraphError, match=next(iter(options))):
        dc.delayed(number, **options)


def test_neither_counts_in_the_key():
    """They change when a result comes, not which."""
    plain = dc.delayed(number, target="n/{i}.json")(2)
    assert dc.delayed(number, target="n/{i}.json", retries=2, timeout="1 h")(2).dc.key == plain.dc.key


# ---- no workers -----------------------------------------------------------------------------------


@pytest.fixture
def waiting_soon(monkeypatch):
    monkeypatch.setattr(waiting, "PATIENCE", 0.3)


def warned(seconds=10):
    """Collect the warnings about workers that come within some seconds, until the first one is there."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        deadline = time.monotonic() + seconds
        while not caught and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1)
    yield [str(each.message) for each in caught if each.category is DaskcacheWarning]


def test_a_graph_that_waits_for_workers_says_so(waiting_soon, nodes):
    """Once, and it goes on when a worker comes: adaptive clusters start with none."""
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
        on_cluster(client),
    ):
        watching = warned()
        next(watching)
        future = client.compute(nodes[0])
        other = client.compute(nodes[2])
        (message,) = next(watching)
        assert "wait for a worker, and the cluster has none" in message
        assert "dask worker" in message
        cluster.scale(1)
        assert (future.result(timeout=60), other.result(timeout=60)) == (0, 4)


def test_resources_that_no_worker_has(waiting_soon, nodes):
    """The warning names them, as the command of the worker takes them."""
    with (
        LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
        on_cluster(client),
    ):
        watching = warned()
        next(watching)
        with dask.annotate(resources={"GPU": 1}):
            node = dc.delayed(double, target="gpu.json")(3)
        future = client.compute(node)
        (message,) = next(watching)
        assert '--resources "GPU=1"' in message
        future.cancel()


def test_a_busy_cluster_is_no_reason(waiting_soon):
    """Tasks that wait for others are not without workers."""
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0"
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
        on_cluster(client),
    ):
        watching = warned(seconds=1)
        next(watching)
        slow = dc.delayed(sleeps, target="slow/{seconds}.json")
        futures = client.compute([slow(0.7), slow(0.8)])
        assert client.gather(futures) == [0.7, 0.8]
        assert next(watching) == []
