"""Edits of a program: those that change its meaning rerun exactly what they affect, others nothing.

Each edited copy runs in an interpreter of its own, with another PYTHONHASHSEED, in another folder, on a
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

import pytest
from edit_cases import ROUTES, STARTS, VALUE, edits, project

EDITS = edits()


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, full):
    """What each edited program printed, by edit and by how it was started.

    They are started in one way after the other; with ``--full`` each in every way.
    """
    base = tmp_path_factory.mktemp("edits")
    turns = list(zip(EDITS, itertools.cycle(STARTS), strict=False))
    if full:
        turns = list(itertools.product(EDITS, STARTS))
    for start in STARTS:
        before = run_program(base / "unedited" / start, project(), base / "roots" / start, 0, start)
        assert len(before.get("ran", ())) == len(ROUTES) + 1, before

    def run(number, name, start):
        folder = base / str(number) / "moved" / "here"
        root = base / str(number) / "root"
        shutil.copytree(base / "roots" / start, root)
        return run_program(folder, EDITS[name].files, root, number, start)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(run, range(1, len(turns) + 1), *zip(*turns, strict=True))
    outcomes = {}
    for (name, start), outcome in zip(turns, found, strict=True):
        outcomes.setdefault(name, {})[start] = outcome
    return outcomes


def run_program(folder, files, root, seed, start):
    """Write the files, run the program in a fresh interpreter, and read what it printed."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())
    elsewhere = folder / "cwd"
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, *STARTS[start](folder), root],
        cwd=elsewhere,
        env={**os.environ, "PYTHONHASHSEED": str(seed)},
        capture_output=True,
        text=True,
    )
    if done.returncode or "DaskcacheWarning" in done.stderr:
        return {"error": done.stderr}
    return json.loads(done.stdout)


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
