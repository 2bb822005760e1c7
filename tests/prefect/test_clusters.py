"""Clusters that `DaskCacheTaskRunner` starts and scales: as `prefect_dask.DaskTaskRunner` does."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any, ClassVar

import dask
import prefect
import pytest
from distributed import Client, LocalCluster
from pipeline import make, slow
from prefect.logging.handlers import APILogWorker
from prefect.task_runners import ThreadPoolTaskRunner
from prefect_dask import DaskTaskRunner

from daskcache.prefect import DaskCacheTaskRunner, flow, workers


class Watched(LocalCluster):
    """A cluster in this process that notes what becomes of it."""

    made: ClassVar[list[Watched]] = []

    def __init__(self, **options: Any):
        self.options, self.adapted = options, None
        self.made.append(self)
        super().__init__(processes=False, dashboard_address=":0", **options)

    def adapt(self, **options: Any) -> Any:
        self.adapted = options
        return super().adapt(**options)


@pytest.fixture(autouse=True)
def made(server):
    """The clusters that a test has made."""
    Watched.made.clear()
    return Watched.made


def pipeline(runner, count=3):
    """Run a flow with some tasks; the names of their states."""

    @flow(task_runner=runner)
    def run():
        return [future.wait() or future.state.name for future in make.map(range(count))]

    return run()


@pytest.mark.parametrize("named", [False, True])
def test_a_class_of_clusters(made, named):
    """It is made with cluster_kwargs when a task has to run, and closed; not at all if none has to."""
    cluster_class = f"{__name__}.Watched" if named else Watched
    if named:
        made = import_module(__name__).Watched.made
    runner = DaskCacheTaskRunner(
        cluster_class=cluster_class, cluster_kwargs={"n_workers": 2, "threads_per_worker": 1}
    )
    assert pipeline(runner) == ["Completed"] * 3
    (cluster,) = made
    assert cluster.options == {"n_workers": 2, "threads_per_worker": 1}
    assert cluster.status.name == "closed"
    assert pipeline(runner) == ["Cached"] * 3
    assert made == [cluster]


def test_a_function_that_makes_a_cluster(made):
    """As prefect-dask takes any callable."""
    runner = DaskCacheTaskRunner(cluster_class=lambda: Watched(n_workers=1))
    assert pipeline(runner) == ["Completed"] * 3
    assert [cluster.status.name for cluster in made] == ["closed"]


def test_clusters_that_adapt(made):
    """adapt_kwargs scale the cluster that is made, from no worker; what is skipped needs none."""
    options = {"minimum": 0, "maximum": 2}
    runner = DaskCacheTaskRunner(
        cluster_class=Watched,
        cluster_kwargs={"n_workers": 0, "threads_per_worker": 1},
        adapt_kwargs=options,
    )
    assert pipeline(runner) == ["Completed"] * 3
    assert [cluster.adapted for cluster in made] == [options]
    assert pipeline(runner) == ["Cached"] * 3
    assert len(made) == 1


def test_a_given_cluster_adapts(made):
    """adapt_kwargs scale a cluster that is given, too; it stays open."""
    with Watched(n_workers=0, threads_per_worker=1) as cluster:
        runner = DaskCacheTaskRunner(cluster=cluster, adapt_kwargs={"minimum": 1, "maximum": 1})
        assert pipeline(runner) == ["Completed"] * 3
        assert cluster.adapted == {"minimum": 1, "maximum": 1}
        assert cluster.status.name == "running"
        assert pipeline(runner) == ["Cached"] * 3


def test_options_of_the_client(made):
    """client_kwargs reach the runner's client; a default one leaves nothing behind."""
    runner = DaskCacheTaskRunner(
        cluster_class=Watched, client_kwargs={"name": "of-the-flow", "set_as_default": True}
    )

    @flow(task_runner=runner)
    def run():
        make.submit(1).wait()
        (cluster,) = Watched.made
        names = [client for client in cluster.scheduler.clients if "of-the-flow" in client]
        return len(names), "of-the-flow" in Client.current().id

    assert run() == (1, True)
    assert dask.config.get("scheduler", None) is None


def test_a_report_of_what_ran(made, tmp_path):
    """performance_report_path gets Dask's report of what ran; if all is skipped, there is none."""
    report = tmp_path / "report.html"
    runner = DaskCacheTaskRunner(cluster_class=Watched, performance_report_path=str(report))
    assert pipeline(runner) == ["Completed"] * 3
    assert "number of tasks: 3" in report.read_text()
    report.unlink()
    assert pipeline(runner) == ["Cached"] * 3
    assert not report.exists()


@pytest.mark.parametrize(
    "options",
    [
        {"address": "tcp://127.0.0.1:1", "cluster_kwargs": {"n_workers": 1}},
        {"cluster": object(), "cluster_class": Watched},
        {"client_kwargs": {"asynchronous": True}},
        {"cluster_kwargs": {"asynchronous": True}},
    ],
)
def test_options_that_exclude_each_other(options):
    """They are refused as prefect-dask refuses them."""
    for runner in (DaskTaskRunner, DaskCacheTaskRunner):
        with pytest.raises(ValueError, match="annot"):
            runner(**options)


def test_a_flow_gets_what_its_runner_was_given(made, tmp_path):
    """Prefect runs each flow run on a duplicate: with all options, those of prefect-dask and ours."""
    options = {
        "cluster_class": Watched,
        "cluster_kwargs": {"n_workers": 1},
        "adapt_kwargs": {"maximum": 2},
        "client_kwargs": {"timeout": 20},
        "performance_report_path": str(tmp_path / "report.html"),
    }
    plain = DaskTaskRunner(**options)
    runner = flow(lambda: None, name="any", task_runner=plain).task_runner
    assert runner == DaskCacheTaskRunner(**options)
    assert runner.duplicate() == runner
    for name in options:
        assert getattr(runner.duplicate(), name) == getattr(plain, name)


@prefect.task
def talk():
    """Say something on a worker."""
    prefect.get_run_logger().warning("hello from a worker")


def hold_back(seconds):
    """Let a worker send its logs after so many seconds, not two."""
    APILogWorker.min_interval = seconds


def test_what_workers_have_to_tell_is_told_before_they_are_closed(server, api):
    """Logs are on the server then, though Prefect would send them later."""
    with (
        LocalCluster(n_workers=1, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):

        @flow(task_runner=DaskCacheTaskRunner(cluster=cluster))
        def run():
            talk.submit().wait()

        client.run(hold_back, 1000)
        flow_run = run(return_state=True).state_details.flow_run_id
        workers.flush_workers(client)
        filters = {"logs": {"flow_run_id": {"any_": [str(flow_run)]}}, "limit": 200}
        assert any("hello from a worker" in log["message"] for log in api.post("logs/filter", filters))


def test_what_was_told_is_not_waited_for(server, monkeypatch):
    """That would last, at the end of each flow, as long as for a server that does not answer."""

    @flow(task_runner=ThreadPoolTaskRunner())
    def run():
        talk.submit().wait()

    monkeypatch.setattr(workers, "_PATIENCE", 10_000)
    run()
    asyncio.run(asyncio.wait_for(workers._flush(), 100))


def test_a_flow_that_fails_closes_its_cluster(made):
    """Though tasks were under way."""

    @flow(task_runner=DaskCacheTaskRunner(cluster_class=Watched))
    def run():
        slow.submit(1, 0.1)
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        run()
    assert [cluster.status.name for cluster in made] == ["closed"]
