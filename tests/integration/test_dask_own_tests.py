"""Dask's own tests of `delayed`, run with the `delayed` of this package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import dask.tests
import pytest

IMPORT = "from dask.delayed import Delayed, delayed, to_task_dask\n"

CACHED = "from daskcache import delayed\n"

UNCACHED = """\
import functools
import daskcache
delayed = functools.partial(daskcache.delayed, save=False)
"""

#: Tests that can't hold, and why.
EXCEPTIONS = {
    "test_pure": "counts on a fresh key for each call of a function that was not declared impure; "
    "decorated functions are pure unless they say otherwise",
    "test_dask_layers": "compares the names and structure of Dask's private layers",
    "test_delayed_fusion": "counts the tasks of Dask's layer structure: a requested node is an "
    "entry task and a value task",
}


@pytest.fixture
def run_own_tests(tmp_path):
    """A function that runs Dask's tests with another `delayed`; returns outcome by name."""

    def run(replacement):
        text = (Path(dask.tests.__path__[0]) / "test_delayed.py").read_text()
        assert text.count(IMPORT) == 1
        ours = f"from dask.delayed import Delayed, to_task_dask\n{replacement}"
        copy = tmp_path / "test_delayed_of_dask.py"
        copy.write_text(text.replace(IMPORT, ours))
        report = tmp_path / "report.xml"
        environment = {**os.environ, "DASK_DASKCACHE__ROOT": str(tmp_path / "root")}
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts="),
                *("--rootdir", str(tmp_path), "-c", os.devnull, f"--junitxml={report}", str(copy)),
            ],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=250,
        )
        assert report.exists(), done.stdout + done.stderr
        outcomes = _outcomes(report)
        assert len(outcomes) > 50
        return outcomes, done.stdout

    return run


def _outcomes(report):
    outcomes = {}
    for case in ElementTree.parse(report).iter("testcase"):
        marks = {child.tag for child in case}
        failed = marks & {"failure", "error"}
        outcomes[case.get("name")] = "failed" if failed else "skipped" if marks else "passed"
    return outcomes


def _failed(outcomes):
    return {name for name, outcome in outcomes.items() if outcome == "failed"}


def test_dask_own_tests_pass_with_caching_on(run_own_tests, tmp_path):
    """All but the listed exceptions pass, and targets and records are written meanwhile."""
    outcomes, output = run_own_tests(CACHED)
    assert _failed(outcomes) == set(EXCEPTIONS), output
    root = tmp_path / "root"
    files = [path for path in root.rglob("*") if path.is_file()]
    records = [path for path in files if root / ".daskcache" / "records" in path.parents]
    targets = [path for path in files if root / ".daskcache" not in path.parents]
    assert len(records) > 20
    assert len(targets) > 20


def test_dask_own_tests_pass_with_caching_off(run_own_tests, tmp_path):
    """All but the listed exceptions pass, and nothing is written."""
    outcomes, output = run_own_tests(UNCACHED)
    assert _failed(outcomes) == set(EXCEPTIONS), output
    assert not (tmp_path / "root").exists()
