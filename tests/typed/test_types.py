"""What pyright finds in programs of users: nothing in `right…`, and each mistake in `wrong`."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import daskcache as dc

HERE = Path(__file__).parent
TOP = HERE.parent.parent


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """By file, the lines in which pyright, strict, finds an error, with the first message in each."""
    project = tmp_path_factory.mktemp("project")  # elsewhere: the package is one that they import
    for program in ("right", "right_prefect", "wrong"):
        shutil.copy(HERE / f"{program}.py", project)
    settings = {"typeCheckingMode": "strict", "pythonVersion": "3.11"}
    (project / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    environment = {**os.environ, "PYTHONPATH": str(TOP), "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == 3
    lines: dict[str, dict[int, str]] = {"right": {}, "right_prefect": {}, "wrong": {}}
    for each in report["generalDiagnostics"]:
        line = each["range"]["start"]["line"] + 1
        lines[Path(each["file"]).stem].setdefault(line, each["message"])
    return lines


@pytest.mark.parametrize("program", ["right", "right_prefect"])
def test_a_right_program_passes(found, program):
    """Nodes and sources are arguments, and results have the types that functions are annotated with."""
    assert found[program] == {}


def test_mistakes_are_found(found):
    """An error is found in each line of `wrong` that has a comment, and in no other line."""
    lines = enumerate((HERE / "wrong.py").read_text().splitlines(), 1)
    mistakes = {number: line for number, line in lines if "  # " in line}
    assert {n: line for n, line in mistakes.items() if n not in found["wrong"]} == {}
    assert {n: text for n, text in found["wrong"].items() if n not in mistakes} == {}


def test_misspelt_parameters_are_named(found):
    """The message for ``smooth(raw, sgma=2)`` has the name."""
    (line,) = [
        n for n, line in enumerate((HERE / "wrong.py").read_text().splitlines(), 1) if "sgma" in line
    ]
    assert "sgma" in found["wrong"][line]


FORMATS = [name for name in dc.__all__ if name.endswith(("Target", "Source"))]


@pytest.mark.parametrize("name", FORMATS)
def test_options_of_formats_are_typed(name):
    """Each parameter of a public target or source has an annotation."""
    _, *parameters = inspect.signature(getattr(dc, name).__init__).parameters.values()
    assert [each.name for each in parameters if each.annotation is each.empty] == []
