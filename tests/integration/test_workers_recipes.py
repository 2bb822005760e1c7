"""Workers stay lean and alive, on each kind of cluster, beside controls that don't."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from workers_case import KINDS

PROGRAM = Path(__file__).with_name("workers_case.py")


@pytest.fixture
def outcomes(tmp_path):
    """A function that runs cases (name, kind, options) at the same time, and returns their outcomes."""

    def outcomes(cases):
        env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
        processes = []
        for number, (name, kind, options) in enumerate(cases):
            folder = tmp_path / str(number)
            folder.mkdir()
            command = [sys.executable, str(PROGRAM), name, kind, str(folder), json.dumps(options)]
            with open(folder / "log", "wb") as log:
                processes.append(
                    subprocess.Popen(
                        command,
                        stdout=subprocess.PIPE,
                        stderr=log,
                        text=True,
                        env=env,
                        start_new_session=True,
                    )
                )
        try:
            return [outcome_of(process, tmp_path / str(n)) for n, process in enumerate(processes)]
        finally:
            for process in processes:
                os.killpg(process.pid, signal.SIGKILL)  # its cluster, too
                process.communicate()

    return outcomes


def outcome_of(process, folder):
    for line in process.stdout:
        if line.startswith("outcome: "):
            return json.loads(line.removeprefix("outcome: "))
    raise AssertionError((folder / "log").read_text()[-3000:])


def test_workers_stay_lean_and_alive(outcomes):
    """A worker keeps at most 64 of 300 MiB that it frees; blocked for longer than the ttl, it lives.

    Nothing is called for it: the first verb of the client attaches what it takes.  Without, the worker
    keeps at least 250 MiB, and is taken for dead.
    """
    options = [{"attached": False}, {"attached": True}]
    cases = [("lean_and_alive", kind, given) for kind in KINDS for given in options]
    found = outcomes(cases)
    for bare, attached in zip(found[::2], found[1::2], strict=True):
        assert bare["kept"] >= 250, found
        assert attached["kept"] <= 64, found
        assert bare["timed out"] >= 1, found
        assert attached["timed out"] == 0, found
        assert attached["status"] == "finished", found
        assert attached["same worker"], found


def test_preloaded_workers_give_memory_back(outcomes, full):
    """`dask scheduler` and `dask worker` with ``--preload daskcache.workers`` need no client for it."""
    kinds = ("no-nanny", "nanny") if full else ("no-nanny",)
    cases = [("freed", kind, {"mebibytes": 300, "preloaded": True}) for kind in kinds]
    assert max(outcome["kept"] for outcome in outcomes(cases)) <= 64


def test_a_hung_worker_is_found(outcomes, full):
    """A worker that is blocked for longer than `max_block` is taken for dead; one that dies, at once.

    That is after `max_block` (6 s), the ttl (5 s) and the time between two looks of the scheduler (5 s).
    """
    options = {"seconds": 40, "wait": 40, "max_block": 6}
    kinds = ["nanny", "no-nanny", "local"]  # where tasks aren't in the scheduler's own process
    cases = [("blocked", kind, options) for kind in kinds[: 3 if full else 2]]
    cases += [("killed", kind, {"seconds": 40}) for kind in kinds[: 3 if full else 2]]
    for (case, _, _), outcome in zip(cases, outcomes(cases), strict=True):
        if case == "blocked":
            assert outcome["timed out"] >= 1, outcome
            assert 6 < outcome["after"] < 20, outcome
        else:
            assert outcome["noticed"] < 1, outcome
