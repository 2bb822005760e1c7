"""A newcomer's path: install the package, paste the README's example, run it, and run it again."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
README = (TOP / "README.md").read_text()


def run(*command, cwd):
    """Run a program without what this environment says; return what it printed."""
    hidden = "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment = {n: v for n, v in environment.items() if not n.startswith(("DASK_", "COV"))}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.needs("package index")
@pytest.mark.timeout(900)
def test_the_readme_in_a_fresh_environment(tmp_path):
    """Nothing but what the README's command installs is needed, and nothing is said besides."""
    source = tmp_path / "source"  # a build leaves files behind, which the next one would take in
    shutil.copytree(
        TOP / "daskcache", source / "daskcache", ignore=shutil.ignore_patterns("__pycache__")
    )
    for path in TOP.iterdir():
        if path.is_file():
            shutil.copy(path, source)
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, source, cwd=tmp_path)
    (wheel,) = tmp_path.glob("daskcache-*.whl")
    extras = re.search(r'^pip install "daskcache(\[.*\])"$', README, re.MULTILINE)[1]
    venv.create(tmp_path / "new", with_pip=True)
    python = str(tmp_path / "new/bin/python")
    run(python, "-m", "pip", "install", "-q", f"{wheel}{extras}", cwd=tmp_path)
    example = re.search(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)[1]
    (tmp_path / "example.py").write_text(example)
    first, second = (run(python, "example.py", cwd=tmp_path).splitlines() for _ in range(2))
    assert first[0] == "Plan: 8 nodes to run, 0 finished or not needed"
    assert second[0] == "Plan: nothing to run: all 8 nodes are up to date or not needed"
    assert first[-1] == second[-1]
    assert re.fullmatch(r"\((\d+\.\d+, ){3}\d+\.\d+\)", first[-1])
    assert not any("Warning" in line for line in first + second)
    results = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("working/[!.]*/*"))
    assert results == [
        *(f"working/brightness/{n}.json" for n in range(4)),
        *(f"working/denoised/{n}.tif" for n in range(4)),
    ]
    counts = run(str(tmp_path / "new/bin/dask"), "cache", "status", cwd=tmp_path)
    assert re.search(r"^__main__.denoise +4 ", counts, re.MULTILINE)
