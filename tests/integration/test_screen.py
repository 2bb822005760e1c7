"""The screen of ``notebooks/03_screen.ipynb``, as the notebook and as a script, on two kinds of cluster.

It asserts after each step that exactly what the step affects runs.  Its pictures are kept in the folder
that ``--pictures`` names, with a line each on what a person saw in them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import tifffile
from clusters import separate_processes
from nbclient import NotebookClient
from PIL import Image

import daskcache as dc

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "03_screen.ipynb"

#: By picture of the report: what was checked by eye, when the notebook's outputs were made.
SEEN = {
    "P1_heat_map.png": "rows A to H, columns 1 to 12; column 12 and D05 have 0 cells, others 4 to 8; "
    "C03 has 4; no well is white",
    "montage.png": "each well at its place; yellow contours follow the coins, also dim and cut ones; "
    "column 12 and D05 are grey; in C03 the coin at the lower border has no contour",
    "corrected_C03.png": "the coin at the lower border is blue (removed), the four others are grey",
}
#: The bytes of the pictures of the runs before.
_known: dict[str, bytes] = {}


def script():
    """The notebook's code: cells that define things, then the others for the main program alone.

    Workers import the script again.
    """
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    parts: dict[bool, list[str]] = {True: [], False: []}
    for cell in cells:
        code = "".join(map(as_python, cell["source"])) + "\n"
        parts["definitions" in cell["metadata"].get("tags", ())].append(code)
    main = textwrap.indent("\n".join(parts[False]), "    ")
    return "\n".join(["import subprocess", *parts[True], 'if __name__ == "__main__":', main])


def as_python(line):
    """A line for a shell as Python."""
    if not line.startswith("!"):
        return line
    return f"subprocess.run({line[1:].strip()!r}, shell=True, check=True)\n"


def run_script(folder, environment):
    (folder / "screen.py").write_text(script())
    command = [sys.executable, str(folder / "screen.py")]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-5000:]


def run_notebook(folder, environment):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=200, kernel_name="python3", resources=resources)
    client.execute(env=environment)


@contextmanager
def local_cluster(folder):
    """The screen starts one itself."""
    yield {}


@contextmanager
def remote_scheduler(folder):
    with separate_processes(folder) as (client, start):
        start("one")
        start("two")
        client.wait_for_workers(2)
        yield {"SCREEN_SCHEDULER": client.scheduler.address}
        assert set(dc.history(client).worker) >= set(client.scheduler_info()["workers"])


@pytest.mark.parametrize("cluster", [local_cluster, remote_scheduler])
@pytest.mark.parametrize("run", [run_script, run_notebook])
def test_a_week_of_the_screen(run, cluster, tmp_path, request):
    """Each step reruns what it must, and the files hold what the last step made."""
    with cluster(tmp_path) as settings:
        run(tmp_path, {**os.environ, **settings})
    screen = tmp_path / "screen"
    check_results(screen / "results")
    check_report(screen / "report")
    keep_pictures(screen / "report", request.config.getoption("--pictures"))


def check_results(results):
    assert len(list(results.glob("cells/*.tif"))) == 96
    assert not list(results.glob("smallest300/cells/*"))
    corrected = tifffile.imread(results / "cells/P1_C03.tif")
    labels = tifffile.imread(results / "cells/P1_C04.tif")
    assert len(np.unique(corrected)) < corrected.max() + 1  # a cell was removed by hand
    assert len(np.unique(labels)) == labels.max() + 1


def check_report(report):
    """The table has the wells with cells, and the archive is there."""
    cells = pd.read_csv(report / "cells.csv")
    empty = {"D05", *(f"{row}12" for row in "ABCDEFGH")}
    assert (
        set(cells.well)
        == {f"{row}{column:02d}" for row in "ABCDEFGH" for column in range(1, 13)} - empty
    )
    assert {path.name for path in report.glob("*.png")} == set(SEEN)
    assert (report / "results.tar").exists()


def keep_pictures(report, folder):
    """Compare pictures with those of the other runs, and keep them with what was seen in them."""
    for name in SEEN:
        content = (report / name).read_bytes()
        with Image.open(report / name) as picture:
            assert len(np.unique(np.asarray(picture.convert("L")))) > 2
        assert _known.setdefault(name, content) == content
    if folder is not None:
        os.makedirs(folder, exist_ok=True)
        for name in SEEN:
            shutil.copy(report / name, folder)
        lines = [f"{name}: {seen}\n" for name, seen in SEEN.items()]
        Path(folder, "checked_by_eye.txt").write_text("".join(lines))
