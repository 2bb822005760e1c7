"""Workers, schedulers and clients that die: nothing is lost, and nothing runs twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import chaos
import pytest

import daskcache as dc
from daskcache.testing.assertions import RunCounter

#: Runs that go on side by side: their nodes sleep, so that cores are no limit.
AT_ONCE = 5

#: A file system's clock ticks every few milliseconds.
TICK = 0.02


def start(folder, seeds, *options):
    command = [sys.executable, chaos.__file__, str(folder), *map(str, seeds), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def counts_of(process):
    """How often what happened, for each run."""
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return [json.loads(line) for line in output.splitlines()]


def commits(folder):
    """When the record of each node was first in place, in seconds since 1970."""
    committed = {}
    for path in folder.glob("root/.daskcache/records/*/*.json"):
        target = json.loads(path.read_text())["target"]
        committed[int(Path(target).stem)] = path.stat().st_ctime
    # a writer that died just before its record was in place has left an intent, which vouches, too
    assert len(committed) + len(os.listdir(folder / "root/.daskcache/intents")) >= chaos.NODES
    for line in RunCounter(folder / "commits").names():  # before others replaced the records
        number, when = line.split()
        committed[int(number)] = min(float(when), committed.get(int(number), float("inf")))
    return committed


def reruns(folder):
    """Nodes that began to run after their records were committed, with the seconds between."""
    committed = commits(folder)
    calls = [call.split() for call in RunCounter(folder / "runs").names()]
    return [
        (int(number), float(looked) - committed[int(number)])
        for number, looked in calls
        if float(looked) > committed.get(int(number), float("inf")) + TICK
    ]


def check(folder, seed):
    """The final values are those of a serial run, nothing ran twice, nothing else lies about."""
    expected = chaos.serial_values(seed)
    nodes = chaos.graph(folder, seed)
    assert [node.dc.load() for node in nodes] == expected
    assert not dc.plan(nodes).left
    assert reruns(folder) == []
    files = [f"values/{number:03d}.json" for number in range(chaos.NODES)]
    found = sorted(p.relative_to(folder / "root") for p in (folder / "root").rglob("*"))
    users = [path.as_posix() for path in found if path.parts[0] != ".daskcache"]
    assert users == ["values", *files]


def test_whoever_dies_nothing_is_lost(tmp_path, full):
    """Killed workers, a retired one, a killed scheduler, a killed client: values as in a serial run.

    Each run kills four workers, all while the graph is under way.  No node whose record was committed
    runs again, and users' folders hold the results and nothing else.
    """
    seeds = range(200 if full else 10)
    groups = [seeds[n::AT_ONCE] for n in range(AT_ONCE)]
    processes = [start(tmp_path, group) for group in groups]
    for group, process in zip(groups, processes, strict=True):
        counts = counts_of(process)
        assert counts == [
            {chaos.KILL: 4, chaos.RETIRE: 1, chaos.RESTART: 1, chaos.STOP_CLIENT: 1}
        ] * len(group)
    for seed in seeds:
        check(tmp_path / str(seed), seed)


def test_reruns_would_be_seen(tmp_path):
    """The control: a client that runs everything again, finished or not, is caught at each of them."""
    counts_of(start(tmp_path, [0], "force"))
    folder = tmp_path / "0"
    with pytest.raises(AssertionError):
        check(folder, 0)
    last_start = max(map(float, RunCounter(folder / "starts").names()))
    finished = {number for number, when in commits(folder).items() if when < last_start}
    assert finished
    assert finished <= {number for number, _ in reruns(folder)}
