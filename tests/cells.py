"""Run cells as a notebook does, and say how each ended.

Standard input has a JSON list of pairs of cells, the first of which prepares the second.  Standard
output gets a JSON list: for each second cell the class of its error, or null, and the text that shows.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
from contextlib import redirect_stderr, redirect_stdout

from IPython.core.interactiveshell import InteractiveShell


def main() -> None:
    shell = InteractiveShell.instance()
    found = []
    for number, (before, cell) in enumerate(json.load(sys.stdin)):
        os.makedirs(str(number))
        os.chdir(str(number))
        shell.reset(new_session=True)
        for code in (_IMPORTS, before):
            _, shown = _run(shell, code)
            if "Traceback" in shown:
                raise RuntimeError(shown)
        error, shown = _run(shell, cell)
        found.append({"error": error and type(error).__name__, "shown": shown})
        os.chdir("..")
    json.dump(found, sys.stdout)


_IMPORTS = """
import dask, json, math, threading, time
from pathlib import Path
import numpy as np
import daskcache as dc
from daskcache import delayed
"""


def _run(shell, code):
    shown = io.StringIO()
    with redirect_stdout(shown), redirect_stderr(shown):
        result = shell.run_cell(code, store_history=True)
    error = result.error_before_exec or result.error_in_exec
    return error, re.sub(r"\x1b\[[0-9;]*m", "", shown.getvalue()).strip()


if __name__ == "__main__":
    main()
