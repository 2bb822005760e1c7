"""Edits of a program: those that change its meaning rerun exactly what they affect, others nothing.

Each edited copy runs in an interpreter of its own, with another PYTHONHASHSEED, in another folder, on a
copy of the root that the unedited program has filled.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from edit_cases import ROUTES, VALUE, edits, project

EDITS = edits()


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What each edited program printed."""
    base = tmp_path_factory.mktemp("edits")
    before = run_program(base / "unedited", project(), base / "root", 0)
    assert len(before["ran"]) == len(ROUTES) + 1

    def run(number, name):
        folder = base / str(number) / "moved" / "here"
        root = base / str(number) / "root"
        shutil.copytree(base / "root", root)
        return run_program(folder, EDITS[name].files, root, number)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(run, range(1, len(EDITS) + 1), EDITS)
    return dict(zip(EDITS, found, strict=True))


def run_program(folder, files, root, seed):
    """Write the files, run the program in a fresh interpreter, and read what it printed."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())
    elsewhere = folder / "cwd"
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, folder / "program.py", root],
        cwd=elsewhere,
        env={**os.environ, "PYTHONHASHSEED": str(seed)},
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout) if done.returncode == 0 else {"error": done.stderr}


def test_there_are_enough_edits():
    """At least 60 edits that count, and 60 that don't."""
    counting = [name for name, edit in EDITS.items() if edit.ran]
    assert len(counting) >= 60
    assert len(EDITS) - len(counting) >= 60


@pytest.mark.timeout(600)  # the first one waits for all programs
@pytest.mark.parametrize("name", EDITS)
def test_an_edit_reruns_what_it_affects(outcomes, name):
    """Exactly the affected nodes run, and the values are those of the edited program."""
    outcome, edit = outcomes[name], EDITS[name]
    assert "error" not in outcome, outcome["error"]
    assert set(outcome["ran"]) == edit.ran
    for node, value in outcome["values"].items():
        if f"via_{node}" in edit.ran:
            assert value == edit.value or (edit.value is None and value != VALUE)
        elif node != "after":
            assert value == VALUE
    assert outcome["values"]["after"] == [outcome["values"]["global_name"], 1, 2, 3]
