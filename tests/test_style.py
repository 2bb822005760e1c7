"""Lint and types are tests like others."""

import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).parent.parent


def run(*command):
    return subprocess.run(command, cwd=TOP, capture_output=True, text=True)


def test_ruff_finds_nothing():
    """The code follows the lint rules and the format of pyproject.toml."""
    check = run(sys.executable, "-m", "ruff", "check", ".")
    assert check.returncode == 0, check.stdout
    layout = run(sys.executable, "-m", "ruff", "format", "--check", ".")
    assert layout.returncode == 0, layout.stdout


def test_mypy_finds_nothing():
    """The types of the package hold."""
    result = run(sys.executable, "-m", "mypy")
    assert result.returncode == 0, result.stdout
