"""JupyterLab with a notebook of saved outputs, in a folder of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
from nbformat import v4
from nbformat.sign import NotebookNotary

#: Seconds until a server has started.
_PATIENCE = 60
#: The theme follows the browser, all cells are in the page, and nothing is fetched from elsewhere.
_SETTINGS = {
    "apputils-extension/themes": {"adaptive-theme": True},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
}


def write_notebook(
    folder: Path, name: str, outputs: Iterable[tuple[str, dict]], is_trusted: bool
) -> None:
    """Write a notebook with a title and cells of these sources and outputs, as one that was run."""
    cells = [
        v4.new_code_cell(source, execution_count=n, outputs=[v4.new_output("display_data", bundle)])
        for n, (source, bundle) in enumerate(outputs, start=1)
    ]
    cells.insert(0, v4.new_markdown_cell(f"# {name.title()}"))
    notebook = v4.new_notebook(cells=cells, metadata={"language_info": {"name": "python"}})
    nbformat.write(notebook, folder / f"{name}.ipynb")
    if is_trusted:
        (folder / "data").mkdir(exist_ok=True)
        NotebookNotary(data_dir=str(folder / "data")).sign(nbformat.read(folder / f"{name}.ipynb", 4))


@contextmanager
def jupyter_lab(folder: Path) -> Iterator[str]:
    """Start JupyterLab on a folder with notebooks, and yield its address.

    Its settings, data and signatures are in the folder, so those of the user have no influence.
    """
    for path, content in _SETTINGS.items():
        file = folder / "settings" / f"@jupyterlab/{path}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
    port = _free_port()
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.root_dir": folder,
        "ServerApp.allow_root": True,
        "ServerApp.open_browser": False,
        "IdentityProvider.token": "",
        "LabApp.extension_manager": "readonly",
    }
    command = [sys.executable, "-m", "jupyterlab", *(f"--{name}={v}" for name, v in options.items())]
    environment = {name: text for name, text in os.environ.items() if not name.startswith("JUPYTER")}
    environment |= {
        "HOME": str(folder),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
    }
    with open(folder / "lab.log", "wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}/lab"
        _wait_for(address, server, folder / "lab.log")
        yield address
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(_PATIENCE)


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(address, server, log):
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=_PATIENCE).close()
            return
        except urllib.error.URLError:
            time.sleep(0.1)
    raise RuntimeError(f"JupyterLab has not started:\n{log.read_text()}")
