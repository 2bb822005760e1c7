"""The screen of ``notebooks/03_screen.ipynb`` as a script, on workers of a scheduler of their own.

The notebook itself runs with the other notebooks, on a LocalCluster.  It asserts after each step that
exactly what the step affects runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import tifffile
from clusters import separate_processes

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "03_screen.ipynb"


def script():
    """The code of the notebook, without the lines for a shell."""
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = [line for cell in cells if cell["cell_type"] == "code" for line in [*cell["source"], "\n"]]
    return "".join(line for line in code if not line.startswith("!"))


def test_the_screen_runs_as_a_script(tmp_path):
    """Each step reruns what it must, and the files hold what the last step made."""
    (tmp_path / "screen.py").write_text(script())
    with separate_processes(tmp_path) as (client, start):
        start("one")
        start("two")
        client.wait_for_workers(2)
        environment = {**os.environ, "SCREEN_SCHEDULER": client.scheduler.address}
        done = subprocess.run(
            [sys.executable, str(tmp_path / "screen.py")],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-5000:]
    results = tmp_path / "working"
    assert len(list(results.glob("cells/*.tif"))) == 96
    assert not list(results.glob("smallest300/cells/*"))
    corrected = tifffile.imread(results / "cells/P1_C03.tif")
    labels = tifffile.imread(results / "cells/P1_C04.tif")
    assert len(np.unique(corrected)) < corrected.max() + 1  # a cell was removed by hand
    assert len(np.unique(labels)) == labels.max() + 1
    for picture in ("P1_heat_map.png", "montage.png"):
        assert (results / picture).read_bytes().startswith(b"\x89PNG")
