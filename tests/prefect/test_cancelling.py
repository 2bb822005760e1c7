"""A flow run that is cancelled, or its process: what was made stays, and the rest is given up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from distributed import Client

_FLOW = """
import sys
from pipeline import make, slow
from daskcache.prefect import DaskCacheTaskRunner, flow

if "prefect" in sys.argv:
    from prefect import flow

@flow(task_runner=DaskCacheTaskRunner(address=sys.argv[1]))
def long():
    make.submit(0).wait()
    futures = [slow.submit(i, 0.4) for i in range(16)]
    return sum(future.result().get_data() for future in futures)

if __name__ == "__main__":
    if "serve" in sys.argv:
        long.serve("cancelled")
    else:
        long()
"""


@pytest.fixture
def client(cluster):
    """A client that looks at the scheduler."""
    with Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture
def program(cluster, root, tmp_path):
    """Starts the flow in a process of its own."""
    (tmp_path / "long.py").write_text(_FLOW)
    environment = {
        **os.environ,
        "DASK_DASKCACHE__ROOT": str(root),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
    }
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "long.py", cluster.scheduler_address, *arguments],
            cwd=tmp_path,
            env=environment,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def until(condition, seconds=90):
    """Wait for something to be true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def is_idle(client):
    """Whether neither the scheduler nor a worker has a task left: those that had begun are over."""
    left = client.run(lambda dask_worker: len(dask_worker.state.tasks))
    known = client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
    return known == 0 and not any(left.values())


def check_the_rest(program, client, files, api):
    """Nothing more is made, nothing is left on the scheduler, and the next run makes what is missing."""
    until(lambda: is_idle(client))
    made = len(files())
    assert 1 < made < 17
    before = {run["id"] for run in api.post("flow_runs/filter", {})}
    assert program().wait() == 0
    assert len(files()) == 17
    (last,) = [run for run in api.post("flow_runs/filter", {}) if run["id"] not in before]
    names = api.state_names(last["id"], 17)
    assert names == ["Cached"] * made + ["Completed"] * (17 - made)


@pytest.mark.parametrize(
    ("kind", "how"), [("ours", signal.SIGINT), ("prefect", signal.SIGINT), ("ours", signal.SIGKILL)]
)
def test_a_process_that_is_interrupted(program, client, files, api, kind, how):
    """Tasks that had not begun never do; what was committed is complete in the next run."""
    process = program(kind)
    until(lambda: len(files()) > 2)
    process.send_signal(how)
    assert process.wait(60) != 0
    check_the_rest(program, client, files, api)


def test_a_flow_run_that_is_cancelled(program, client, files, api):
    """Cancelled in the UI, or by the command line: so it ends, and so do its tasks."""
    serving = program("serve")
    (deployment,) = until(lambda: api.post("deployments/filter", {}))
    flow_run = api.post(f"deployments/{deployment['id']}/create_flow_run", {})["id"]
    until(lambda: len(files()) > 2)
    api.post(f"flow_runs/{flow_run}/set_state", {"state": {"type": "CANCELLING"}})
    until(lambda: api.flow_run(flow_run)["state"]["type"] == "CANCELLED")
    serving.send_signal(signal.SIGINT)
    serving.wait(60)
    check_the_rest(program, client, files, api)
