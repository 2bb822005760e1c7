"""What it costs, what the server's death costs, and flows from another folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

from pipeline import make, slow

from daskcache.prefect import DaskCacheTaskRunner, flow


def test_skipped_tasks_are_recorded(cluster, api, full):
    """A complete task is skipped when it is submitted, as Cached, and has a task run on the page.

    How fast that is beside Prefect's own cached tasks, ``python -m tests.benchmarks`` measures.
    """
    count = 100 if full else 10

    @flow(task_runner=DaskCacheTaskRunner(cluster=cluster))
    def names():
        futures = make.map(range(count))
        at_submit = {future.state.name for future in futures}
        for future in futures:
            future.wait()
        return at_submit, {future.state.name for future in futures}

    assert names()[1] == {"Completed"}
    state = names(return_state=True)
    assert state.result() == ({"Cached"}, {"Cached"})
    runs = api.task_runs(state.state_details.flow_run_id, count)
    assert [run["state"]["name"] for run in runs] == ["Cached"] * count


def test_a_server_that_dies_during_a_task(server, runner, api, files, full):
    """The server is killed and started again while tasks run: nothing is lost."""
    seconds = 70 if full else 4

    @flow(task_runner=runner)
    def pipeline():
        make.submit(0).wait()
        futures = [slow.submit(i, seconds) for i in range(2)]
        return [future.result().get_data() for future in futures]

    def restart():
        while not files():
            time.sleep(0.1)
        time.sleep(2)
        server.kill()
        server.start()

    thread = threading.Thread(target=restart)
    thread.start()
    state = pipeline(return_state=True)
    thread.join()
    assert state.result() == [0, 1]
    assert len(files()) == 3
    assert api.state_names(state.state_details.flow_run_id, 3) == ["Completed"] * 3
    assert api.flow_run(state.state_details.flow_run_id)["state"]["type"] == "COMPLETED"


_FLOW = """
from prefect.task_runners import ThreadPoolTaskRunner
from daskcache.prefect import DaskCacheTaskRunner, flow, task

@task(target="squares/{i}.json")
def square(i):
    return factor * i * i

factor = 1

@flow(task_runner=RUNNER)
def squares(n: int):
    return [(f.result().get_data(), f.state.name) for f in square.map(range(n))]
"""

_RUN = """
import sys
from prefect.flows import load_flow_from_entrypoint

if __name__ == "__main__":
    print(load_flow_from_entrypoint(sys.argv[1])(3))
"""


_DASK = 'DaskCacheTaskRunner(cluster_kwargs={"n_workers": 1, "dashboard_address": ":0"})'


def test_flows_of_deployments(server, tmp_path, full):
    """A flow that is loaded from its file, as deployments are, caches wherever it runs."""
    source = _FLOW.replace("RUNNER", _DASK if full else "ThreadPoolTaskRunner()")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "squares.py").write_text(source)
    (tmp_path / "run.py").write_text(_RUN)
    environment = {**os.environ, "DASK_DASKCACHE__ROOT": str(tmp_path / "root")}
    outcomes = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        entrypoint = f"{tmp_path / 'code' / 'squares.py'}:squares"
        done = subprocess.run(
            [sys.executable, str(tmp_path / "run.py"), entrypoint],
            cwd=tmp_path / folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        outcomes.append(done.stdout.splitlines()[-1])
    assert outcomes[0] == "[(0, 'Completed'), (1, 'Completed'), (4, 'Completed')]"
    assert outcomes[1] == "[(0, 'Cached'), (1, 'Cached'), (4, 'Cached')]"
    assert sorted(p.name for p in (tmp_path / "root" / "squares").iterdir()) == [
        "0.json",
        "1.json",
        "2.json",
    ]


def test_what_the_page_shows(server, tmp_path):
    """The program of docs/how-to/prefect.md computes; the second time, nothing runs."""
    page = Path(__file__).parents[2] / "docs" / "how-to" / "prefect.md"
    program = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)[0]
    (tmp_path / "shown.py").write_text(program)
    environment = {**os.environ, "PREFECT_LOGGING_LEVEL": "INFO"}
    environment.pop("DASK_DASKCACHE__ROOT", None)
    for ran in (8, 0):
        done = subprocess.run(
            [sys.executable, "shown.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.stdout.splitlines()[-1] == "[0, 0, 1, 3]", done.stderr
        finished = re.findall(r"Task run .* - Finished in state (\w+)", done.stdout + done.stderr)
        assert finished == ["Completed"] * ran


def test_entrypoints(server):
    """A flow knows the module that it is in, for deployments, with other options, too."""

    @flow
    def pipeline(n: int = 1) -> int:
        return n

    assert pipeline._entrypoint.startswith("test_server:")
    assert pipeline.with_options(name="other")._entrypoint == pipeline._entrypoint
    assert pipeline.with_options(name="other")("2") == 2
