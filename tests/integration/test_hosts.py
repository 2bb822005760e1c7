"""Scheduler, client and workers on hosts of their own, which share nothing but a folder."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import hosts_program
import pytest
from hosts import Hosts

from daskcache.testing.assertions import RunCounter

pytestmark = pytest.mark.needs("network namespaces")

#: A scheduler notices that a host is gone after a few seconds, instead of minutes.
IMPATIENT = {
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "4s",
}
VALUE = sum(i * i for i in range(hosts_program.NODES))


@pytest.fixture
def shared(tmp_path):
    """The folder that all hosts share."""
    folder = tmp_path / "shared"
    folder.mkdir()
    return folder


@pytest.fixture
def hosts(tmp_path):
    """Four hosts, of which the first has a scheduler."""
    with Hosts(tmp_path, ("scheduler", "client", "one", "two")).up() as hosts:
        hosts.start(
            "scheduler", *DASK, "scheduler", "--host", hosts.address("scheduler"), *PORT, **IMPATIENT
        )
        yield hosts


DASK = (sys.executable, "-m", "dask")
PORT = ("--port", "8786", "--no-dashboard")


def scheduler_of(hosts):
    return f"tcp://{hosts.address('scheduler')}:8786"


def start_worker(hosts, name, **options):
    command = (*DASK, "worker", scheduler_of(hosts), "--host", hosts.address(name), "--name", name)
    settings = ("--nthreads", "2", "--no-nanny", "--no-dashboard")
    return hosts.start(name, *command, *settings, **options, **IMPATIENT)


def run_program(hosts, shared):
    program = (sys.executable, hosts_program.__file__)
    places = (str(shared / "root"), str(shared / "runs"))
    return hosts.start("client", *program, scheduler_of(hosts), *places, **IMPATIENT)


def wait_for(condition, hosts, seconds=150):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, {
            name: hosts.log(name).read_text()[-2000:] for name in ("client", "scheduler", "one", "two")
        }
        time.sleep(0.05)


def ends(process, hosts):
    """Wait until a process of the client's has ended; its output."""
    wait_for(lambda: process.poll() is not None, hosts)
    output = hosts.log("client").read_text()
    assert process.returncode == 0, output
    return output


def test_the_demo(hosts, shared):
    """The README's demo runs on hosts whose working folders differ; the second time nothing runs."""
    start_worker(hosts, "one")
    start_worker(hosts, "two")
    demo = (*DASK, "cache", "demo", "--dir", str(shared / "demo"), "--scheduler")
    output = ends(hosts.start("client", *demo, scheduler_of(hosts)), hosts)
    assert "19 of 19 nodes ran" in output
    output = ends(hosts.start("client", *demo, scheduler_of(hosts)), hosts)
    assert "0 of 19 nodes ran" in output.rpartition("19 of 19")[2]
    assert (shared / "demo" / "results" / "summary.csv").exists()


def test_a_worker_that_is_cut_off_loses_nothing(hosts, shared):
    """In mid-run one worker's link goes down: the other one takes over, and no work counts twice.

    The lost worker does not know, and goes on with what it has begun; what it has finished counts.
    """
    lost = start_worker(hosts, "two")
    start_worker(hosts, "one")
    program = run_program(hosts, shared)
    runs = RunCounter(shared / "runs")
    wait_for(lambda: {"one", "two"} <= {call.split()[2] for call in runs.names()}, hosts)
    hosts.cut_off("two")
    assert f"total {VALUE}" in ends(program, hosts)
    assert re.search("Remove worker addr: .* name: two", hosts.log("scheduler").read_text())
    calls = len(runs.names())
    assert calls >= hosts_program.NODES
    assert reruns(shared) == []
    hosts.rejoin("two")
    program = run_program(hosts, shared)
    assert ends(program, hosts).count(f"total {VALUE}") == 2
    assert len(runs.names()) == calls
    parts = [f"{i:02d}.json" for i in range(hosts_program.NODES)]
    assert sorted(path.name for path in (shared / "root" / "parts").iterdir()) == parts
    lost.kill()


def reruns(shared):
    """Nodes that began after their records were there, or nearly so: two may begin at the same time."""
    committed = {}
    for path in shared.glob("root/.daskcache/records/*/*.json"):
        committed[Path(json.loads(path.read_text())["target"]).stem] = path.stat().st_ctime
    calls = [call.split()[:2] for call in RunCounter(shared / "runs").names()]
    return [(i, begun) for i, begun in calls if float(begun) > committed[f"{int(i):02d}"] + 0.2]


def test_a_worker_that_cannot_see_the_root(hosts, shared):
    """A worker on a host that does not share the folder writes nothing; the error names both."""
    start_worker(hosts, "one", hidden=shared)
    program = run_program(hosts, shared)
    wait_for(lambda: program.poll() is not None, hosts)
    output = hosts.log("client").read_text()
    assert program.returncode != 0
    assert str(shared / "root") in output
    assert f"tcp://{hosts.address('one')}:" in output
    assert not (shared / "root" / "parts").exists()
