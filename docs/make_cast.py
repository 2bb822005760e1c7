"""Records ``dask cache demo`` in a terminal: docs/demo.svg, an animation for the pages.

It needs termtosvg, which draws it: ``pip install termtosvg``.  With ``--check`` nothing is kept.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pexpect

HERE = Path(__file__).parent

COMMANDS = (
    "dask cache demo",
    "dask cache demo --sigma 3",
    "dask cache why daskcache-demo/results/labels/coins.tif",
)
#: Shown in place of the folder in which the commands run.
FOLDER = "~/screen"
COLUMNS, LINES = 100, 36
#: Seconds before and after each command.
PAUSE = 1.5


def record(folder: Path) -> list[tuple[float, str]]:
    """Run the commands in a terminal; return what it printed, with the seconds since the start."""
    lines = []
    for command in COMMANDS:
        shown = f"echo {shlex.quote(f'$ {command}')}"
        lines += [shown, f"sleep {PAUSE}", command, f"sleep {PAUSE}", "echo"]
    environment = {**os.environ, "TERM": "xterm-256color", "DASK_LOGGING__DISTRIBUTED": "critical"}
    for name in ("CI", "COLUMNS", "LINES"):
        environment.pop(name, None)
    child = pexpect.spawn(
        "bash",
        ["-ec", "\n".join(lines)],
        cwd=str(folder),
        env=environment,
        dimensions=(LINES, COLUMNS),
        encoding="utf8",
        timeout=300,
    )
    started, printed = time.monotonic(), []
    while True:
        try:
            text = child.read_nonblocking(100_000, timeout=300)
        except pexpect.EOF:
            break
        printed.append((time.monotonic() - started, text.replace(str(folder), FOLDER)))
    child.close()
    if child.exitstatus:
        raise SystemExit("".join(text for _, text in printed))
    return printed


def draw(printed: list[tuple[float, str]], path: Path) -> None:
    """Draw what a terminal printed as an animation, without the waits over 1.5 seconds."""
    head = {"version": 2, "width": COLUMNS, "height": LINES}
    with tempfile.TemporaryDirectory() as name:
        cast = Path(name) / "demo.cast"
        events = [[seconds, "o", text] for seconds, text in printed]
        cast.write_text("\n".join(map(json.dumps, [head, *events])))
        options = ["-M", "1500", "-m", "100", "-D", "4000", "-t", "window_frame"]
        command = [sys.executable, "-m", "termtosvg", "render", str(cast), str(path), *options]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        printed = record(folder)
        draw(printed, folder / "demo.svg" if "--check" in sys.argv else HERE / "demo.svg")
