"""The demo that the README begins with."""

from __future__ import annotations

import subprocess
import sys


def test_the_demo(tmp_path):
    """All runs at first, nothing the second time, and all that a parameter affects the third time."""

    def demo(*options):
        done = subprocess.run(
            [sys.executable, "-m", "dask", "cache", "demo", *options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "19 of 19 nodes ran" in demo()
    assert "0 of 19 nodes ran" in demo()
    assert "19 of 19 nodes ran" in demo("--sigma", "3")
