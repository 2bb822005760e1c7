"""Edits of a program: those that change its meaning rerun exactly what they affect, others nothing.

Each edited copy runs in a process of its own, with another PYTHONHASHSEED, in another folder, on a
copy of the root that the unedited program has filled: as a script (by its absolute or relative path), as
a module, and as a notebook.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from edit_cases import ROUTES, STARTS, VALUE, edits, project

EDITS = edits()


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, full):
    """What each edited program printed, by edit and by how it was started.

    They are started in one way after the other; with ``--full`` each in every way.  The unedited program
    has a process of its own; the edited ones are forked from a few that differ in their hash seed.
    """
    base = tmp_path_factory.mktemp("edits")
    for start in STARTS:
        before = run_program(base / "unedited" / start, base / "roots" / start, start)
        assert len(before.get("ran", ())) == len(ROUTES) + 1, before
    turns = list(zip(EDITS, itertools.cycle(STARTS), strict=False))
    if full:
        turns = list(itertools.product(EDITS, STARTS))
    jobs = []
    for number, (name, start) in enumerate(turns):
        folder = base / str(number) / "moved" / "here"
        write(folder, EDITS[name].files)
        root, output = base / str(number) / "root", base / str(number) / "output"
        shutil.copytree(base / "roots" / start, root)
        jobs.append([str(folder), start, str(root), str(output)])
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(run_jobs, range(1, RUNNERS + 1), [jobs[i::RUNNERS] for i in range(RUNNERS)]))
    outcomes = {}
    for (name, start), (*_, output) in zip(turns, jobs, strict=True):
        outcomes.setdefault(name, {})[start] = read(Path(output).read_text())
    return outcomes


RUNNERS = 4


def run_program(folder, root, start):
    """Run the unedited program in a fresh interpreter."""
    write(folder, project())
    done = subprocess.run(
        [sys.executable, *STARTS[start](folder), root],
        cwd=folder / "cwd",
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
    )
    return read(done.stdout + done.stderr)


def run_jobs(seed, jobs):
    environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
    runner = Path(__file__).with_name("edit_runner.py")
    done = subprocess.run(
        [sys.executable, runner], input=json.dumps(jobs), env=environment, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr


def write(folder, files):
    """The files of a program, and a folder to start it in."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())
    (folder / "cwd").mkdir()


def read(output):
    """What a program printed, if that is all."""
    try:
        return json.loads(output)
    except ValueError:
        return {"error": output}


def test_there_are_enough_edits():
    """At least 86 edits that count, and 40 that don't."""
    counting = [name for name, edit in EDITS.items() if edit.ran]
    assert len(counting) >= 86
    assert len(EDITS) - len(counting) >= 40


@pytest.mark.timeout(1800)  # the first one waits for all programs
@pytest.mark.parametrize("name", EDITS)
def test_an_edit_reruns_what_it_affects(outcomes, name):
    """Exactly the affected nodes run, and the values are those of the edited program."""
    edit = EDITS[name]
    for outcome in outcomes[name].values():
        assert "error" not in outcome, outcome["error"]
        assert set(outcome["ran"]) == edit.ran
        for node, value in outcome["values"].items():
            if f"via_{node}" in edit.ran:
                assert value == edit.value or (edit.value is None and value != VALUE)
            elif node != "after":
                assert value == VALUE
        assert outcome["values"]["after"] == [outcome["values"]["global_name"], 1, 2, 3]
