"""A Prefect server on localhost and a Dask cluster, for all tests of this folder.

Starting a server takes 12 to 35 seconds, so there is one; it and all that Prefect writes are in
temporary folders.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import pytest
from distributed import LocalCluster

_SECONDS_TO_START = 180

#: Services of the server that look for work every few seconds; none of the tests has any for them.
_NOT_NEEDED = ("FOREMAN", "LATE_RUNS", "PAUSE_EXPIRATIONS", "REPOSSESSOR", "SCHEDULER", "TRIGGERS")

sys.path.append(str(Path(__file__).parents[1] / "integration"))  # for clusters.py


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


_PORT = _free_port()
_HOME = tempfile.mkdtemp(prefix="prefect-home-")

# Prefect reads its settings, and makes its folder, when it is imported: by the test modules, after this.
os.environ |= {
    "PREFECT_HOME": _HOME,
    "PREFECT_API_URL": f"http://127.0.0.1:{_PORT}/api",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.2",  # seconds that a closing worker waits for its logs
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "DO_NOT_TRACK": "1",
}


class Server:
    """A Prefect server in a process of its own, which can be killed and started again."""

    def __init__(self, folder, port):
        self.folder = folder
        self.port = port
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.process = None

    def start(self):
        environment = {
            **os.environ,
            "HOME": str(self.folder),
            "PREFECT_HOME": str(self.folder / ".prefect"),
            "PREFECT_LOGGING_SERVER_LEVEL": "ERROR",
            **{f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in _NOT_NEEDED},
        }
        environment.pop("PREFECT_API_URL", None)
        command = ["server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
        with open(self.folder / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "prefect", *command],
                env=environment,
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._wait_until_ready()

    def kill(self):
        os.killpg(self.process.pid, 9)
        self.process.wait()

    def _wait_until_ready(self):
        deadline = time.monotonic() + _SECONDS_TO_START
        while time.monotonic() < deadline:
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            try:
                if httpx.get(f"{self.url}/health", timeout=5).status_code == 200:
                    return
            except httpx.HTTPError:
                time.sleep(0.2)
        raise AssertionError("the server did not start")


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The server of all tests."""
    server = Server(tmp_path_factory.mktemp("prefect-server"), _PORT)
    server.start()
    yield server
    server.kill()
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def api(server):
    """Asks the server."""
    return Api(server.url)


class Api:
    def __init__(self, url):
        self.url = url

    def task_runs(self, flow_run_id, count, final=True):
        """The task runs of a flow run, once there are so many (states arrive a moment later)."""
        body = {"flow_runs": {"id": {"any_": [str(flow_run_id)]}}, "limit": 200}
        return self._wait_for("task_runs/filter", body, count, final)

    def state_names(self, flow_run_id, count):
        """Sorted names of the states of a flow run's task runs."""
        return sorted(run["state"]["name"] for run in self.task_runs(flow_run_id, count))

    def flow_run(self, flow_run_id):
        return httpx.get(f"{self.url}/flow_runs/{flow_run_id}").json()

    def post(self, path, body):
        """The answer of the server, which refuses for a moment while its database is locked."""
        deadline = time.monotonic() + 30
        while (answer := httpx.post(f"{self.url}/{path}", json=body)).is_error:
            if time.monotonic() > deadline:
                answer.raise_for_status()
            time.sleep(0.2)
        return answer.json()

    def _wait_for(self, path, body, count, final):
        deadline = time.monotonic() + 60
        while True:
            found = self.post(path, body)
            if len(found) >= count and (not final or all(run["end_time"] for run in found)):
                return found
            assert time.monotonic() < deadline, found
            time.sleep(0.1)


@pytest.fixture(scope="session")
def cluster(server):
    """A LocalCluster of two processes, whose workers know the server."""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield cluster


@pytest.fixture
def runner(cluster):
    """A task runner on the cluster."""
    from daskcache.prefect import DaskCacheTaskRunner

    return DaskCacheTaskRunner(cluster=cluster)
