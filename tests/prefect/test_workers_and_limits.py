"""Prefect's deployments with workers, concurrency limits and result storage, with tasks of daskcache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

import httpx
import prefect
import pytest
from prefect.filesystems import LocalFileSystem
from prefect.task_runners import ThreadPoolTaskRunner

from daskcache.prefect import cpr_serializer, flow, task, task_input_hash, with_skipping

_FLOW = """
from prefect.task_runners import ThreadPoolTaskRunner
from daskcache.prefect import flow, task

@task(target="squares/{i}.json")
def square(i):
    return i * i

@flow(task_runner=ThreadPoolTaskRunner())
def squares(n: int):
    return [square.submit(i).result().get_data() for i in range(n)]
"""

_DEPLOY = """
import sys
from prefect import flow

if __name__ == "__main__":
    loaded = flow.from_source(source=sys.argv[1], entrypoint="squares.py:squares")
    print(loaded.deploy(name="nightly", work_pool_name="processes", parameters={"n": 3}))
"""


@pytest.fixture
def worker(server, tmp_path):
    """Runs a command of Prefect, and what a work pool has to run, in a project's folder."""
    environment = {**os.environ, "DASK_DASKCACHE__ROOT": str(tmp_path / "root")}

    def run(*command):
        return subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    return run


@pytest.mark.needs("deployments")
def test_a_deployment_that_a_worker_runs(worker, api, tmp_path):
    """Deployed to a work pool, a flow runs in a worker's process, and the second time nothing runs."""
    (tmp_path / "squares.py").write_text(_FLOW)
    (tmp_path / "deploy.py").write_text(_DEPLOY)
    made = worker("-m", "prefect", "work-pool", "create", "processes", "--type", "process")
    assert made.returncode == 0, made.stderr
    deployed = worker("deploy.py", str(tmp_path))
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    found = api.post("deployments/filter", {})
    (deployment,) = [each for each in found if each["name"] == "nightly"]
    for name in ("Completed", "Cached"):
        run = api.post(f"deployments/{deployment['id']}/create_flow_run", {})
        worked = worker("-m", "prefect", "worker", "start", "--pool", "processes", "--run-once")
        assert api.flow_run(run["id"])["state"]["type"] == "COMPLETED", worked.stdout + worked.stderr
        assert api.state_names(run["id"], 3) == [name] * 3
    assert [json.loads((tmp_path / f"root/squares/{i}.json").read_text()) for i in range(3)] == [0, 1, 4]


@pytest.fixture
def at_once():
    """Counts how many calls run at once."""

    class Counted:
        lock, now, most = threading.Lock(), 0, 0

        def __enter__(self):
            with self.lock:
                self.now += 1
                self.most = max(self.most, self.now)

        def __exit__(self, *error):
            with self.lock:
                self.now -= 1

    return Counted()


def test_limits_by_tag(server, at_once):
    """A limit of Prefect's for a tag holds for tasks that run; skipped ones don't take a place."""
    limit = {"name": "tag:narrow", "limit": 1, "active": True}
    assert httpx.post(f"{server.url}/v2/concurrency_limits/", json=limit).status_code == 201

    def slow(i):
        with at_once:
            time.sleep(0.3)
        return i

    narrow = task(slow, target="narrow/{i}.json", version="1", tags=["narrow"])

    @flow(task_runner=with_skipping(ThreadPoolTaskRunner(max_workers=3)))
    def program():
        futures = [narrow.submit(i) for i in range(3)]
        return [(future.result().get_data(), future.state.name) for future in futures]

    assert program() == [(i, "Completed") for i in range(3)]
    assert at_once.most == 1
    held = httpx.patch(f"{server.url}/v2/concurrency_limits/tag:narrow", json={"limit": 0})
    assert held.status_code == 204
    assert program() == [(i, "Cached") for i in range(3)]


def test_results_on_a_block(server, tmp_path, runs):
    """Results that Prefect stores under our key go to the storage of the task, and are found there."""
    block = LocalFileSystem(basepath=str(tmp_path / "block"))
    block.save("results", overwrite=True)

    def double(n):
        runs.note("double")
        return 2 * n

    kept = {"result_storage": "local-file-system/results", "result_serializer": cpr_serializer()}
    keyed = prefect.task(double, cache_key_fn=task_input_hash, persist_result=True, **kept)
    cached = task(double, target="{n}.json", persist_result=True, **kept)

    @flow(task_runner=ThreadPoolTaskRunner())
    def program():
        futures = [keyed.submit(1), cached.submit(2)]
        found = [future.result() for future in futures]
        return found[0], found[1].get_data(), [future.state.name for future in futures]

    assert program() == (2, 4, ["Completed"] * 2)
    assert runs.take() == ["double"] * 2
    assert len([*(tmp_path / "block").iterdir()]) >= 1
    assert program() == (2, 4, ["Cached"] * 2)
    assert runs.take() == []
