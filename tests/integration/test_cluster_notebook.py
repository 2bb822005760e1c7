"""The notebook ``04_cluster.ipynb`` leaves no process behind, also when one of its cells fails."""

from __future__ import annotations

import time
from pathlib import Path

import nbformat
import psutil
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "04_cluster.ipynb"
FAILS = "print(len(processes), 'processes')\nraise RuntimeError('a cell failed')"


@pytest.mark.needs("mounts")
def test_a_cell_that_fails_ends_the_processes(tmp_path):
    """The last cell is replaced by one that fails; those before it show each accident."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells[-1] = nbformat.v4.new_code_cell(FAILS)
    for cell in notebook.cells:
        cell.pop("outputs", None)
        if cell.cell_type == "code":
            cell.outputs = []
    resources = {"metadata": {"path": str(tmp_path)}}
    with pytest.raises(CellExecutionError, match="a cell failed"):
        NotebookClient(notebook, timeout=120, kernel_name="python3", resources=resources).execute()
    _wait_until_gone(str(tmp_path))
    printed = "".join(o.text for cell in notebook.cells for o in cell.get("outputs", ()) if "text" in o)
    assert "4 processes" in printed
    assert "the root …/cluster/results does not exist" in printed
    assert "were finished when the worker died" in printed


def _wait_until_gone(folder):
    """Wait for the processes that have a folder in their command lines."""
    deadline = time.monotonic() + 20
    while found := [p.pid for p in psutil.process_iter(["cmdline"]) if folder in str(p.info["cmdline"])]:
        assert time.monotonic() < deadline, f"processes are left: {found}"
        time.sleep(0.1)
