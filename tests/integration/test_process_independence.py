"""Keys are made of values and names, never of the state of a process.

The public objects of the packages that this field imports most, and values of theirs, are hashed in two
programs, which differ in their hash seed, working folder and use of random numbers, and on a worker.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import public_objects
import pytest
from distributed import Client, LocalCluster
from public_objects import PACKAGES, REFUSED

SCRIPT = Path(public_objects.__file__)


@pytest.fixture(scope="module")
def hashed(tmp_path_factory):
    """What each process made of objects and values."""
    with ThreadPoolExecutor() as pool:
        programs = [
            pool.submit(in_program, tmp_path_factory.mktemp("one"), "1"),
            pool.submit(in_program, tmp_path_factory.mktemp("two"), "2", "used"),
        ]
        worker = on_a_worker()
        return [*(program.result() for program in programs), worker]


def in_program(folder, seed, *arguments):
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, SCRIPT, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def on_a_worker():
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        client.run(public_objects.use_random_states)
        return {
            "objects": client.submit(public_objects.public_hashes, PACKAGES).result(),
            "values": client.submit(public_objects.value_hashes).result(),
        }


@pytest.mark.timeout(600)
def test_public_objects_count_alike_in_every_process(hashed):
    """None of at least 5,000 is unstable; a handful has no identity, and is refused by name."""
    first, *others = [each["objects"] for each in hashed]
    common = (
        first.keys() & others[0].keys() & others[1].keys()
    )  # some are submodules, which not all have imported
    assert len(common) >= 5_000
    assert [{n for n in common if other[n] != first[n]} for other in others] == [set(), set()]
    assert sum(found.startswith(REFUSED) for found in first.values()) <= 10


@pytest.mark.parametrize("name", [make.__name__ for make in public_objects.VALUES])
def test_values_count_alike_in_every_process(hashed, name):
    """A value has one hash everywhere, or is refused everywhere."""
    assert len({each["values"][name] for each in hashed}) == 1


def test_most_values_have_an_identity(hashed):
    """Refused is what has callbacks, or can't be copied."""
    refused = {name for name, found in hashed[0]["values"].items() if found.startswith(REFUSED)}
    assert refused <= {"contrast", "figures"}
