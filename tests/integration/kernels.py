"""Real notebooks for tests: a kernel in a process of its own that runs cells one by one."""

from __future__ import annotations

import json
from contextlib import contextmanager

import nbformat
from nbclient import NotebookClient


class Kernel:
    """A running kernel.

    Parameters
    ----------
    client : nbclient.NotebookClient
    """

    def __init__(self, client):
        self.client = client

    def run(self, cells):
        """Run cells, in order; a failing one raises `nbclient.exceptions.CellExecutionError`.

        Returns
        -------
        What the last cell printed as JSON, if it did; and all that was written to stderr.
        """
        notebook = self.client.nb
        written, printed = "", ""
        for source in cells:
            notebook.cells.append(nbformat.v4.new_code_cell(source))
            position = len(notebook.cells) - 1
            cell = self.client.execute_cell(notebook.cells[position], position)
            texts = {"stdout": "", "stderr": ""}
            for output in cell.outputs:
                if output.output_type == "stream":
                    texts[output.name] += output.text
            written += texts["stderr"]
            printed = texts["stdout"]
        return (json.loads(printed) if printed.startswith(("{", "[")) else None), written


@contextmanager
def start_kernel(folder):
    """A kernel with this working directory."""
    client = NotebookClient(
        nbformat.v4.new_notebook(),
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    with client.setup_kernel():
        yield Kernel(client)
