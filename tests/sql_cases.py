"""What holds of tables in any database: cases for SQLite and for PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
from hypothesis import strategies as st

#: Where a writer is killed: name of a function, and whether before or after it.
MOMENTS = {
    "before the table": ("tables.tables", "_create", "before"),
    "before the rows": ("tables.tables", "_fill", "before"),
    "before the rows are compared": ("tables.tables", "_check_same", "before"),
    "before the end of the transaction": ("tables.tables", "_check_same", "after"),
    "before the record": ("files", "promote_intent", "before"),
    "after the record": ("files", "promote_intent", "after"),
}

_SCRIPT = """
    import os, signal, sys
    import dask
    from importlib import import_module
    from sql_program import numbers

    place, value, module, name, when, root = sys.argv[1:]
    module = import_module(f"daskcache.storage.{module}")
    original = getattr(module, name)

    def fatal(*args, **kwargs):
        if when == "after":
            original(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(module, name, fatal)
    dask.config.set({"daskcache.root": root, "scheduler": "sync"})
    numbers(place, int(value)).compute()
"""

PROGRAM = """
    import pandas as pd
    from daskcache import SQLTarget, delayed

    def numbers(place, value):
        @delayed(target=SQLTarget(place), version=1)
        def numbers(value):
            return pd.DataFrame({"n": [value] * 5, "text": ["a", "b", None, "d", "e"]})
        return numbers(value)
"""


def frame():
    """A frame with a column of each dtype that needs no option."""
    times = ["2020-01-01 00:00:00.000000", "1912-06-23 12:00:00.000001", None]
    return pd.DataFrame(
        {
            "whole": np.array([0, -(2**63), 2**63 - 1]),
            "real": [0.1, np.nan, -np.inf],
            "text": ["", None, "Zürich 🏔 'quoted' \"so\" %s :x"],
            "flag": [True, False, True],
            "when": pd.to_datetime(pd.Series(times)),
            "select from": [1.0, 2.0, 1e-320],
            "a%b(c)": [1, 2, 3],
        }
    )


def frames(positive_zeros=False, omitted=""):
    """Frames of up to four columns of those dtypes.

    Parameters
    ----------
    positive_zeros : bool
        Leave out -0.0, which SQLite doesn't keep.
    omitted : str
        Characters that no text has.
    """
    texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=omitted), max_size=5)
    kept = (lambda x: x != 0 or str(x) == "0.0") if positive_zeros else (lambda x: True)
    columns = {
        "int64": st.integers(-(2**63), 2**63 - 1),
        "float64": st.floats().filter(kept),
        "bool": st.booleans(),
        pd.Series(["a"]).dtype: st.none() | texts,
        pd.to_datetime(["2000-01-01"]).dtype: st.none() | st.datetimes(),
    }

    def of_length(length):
        def column(dtype):
            values = st.lists(columns[dtype], min_size=length, max_size=length)
            return values.map(lambda values: pd.Series(values, dtype=dtype))

        return st.lists(st.sampled_from(list(columns)).flatmap(column), min_size=1, max_size=4)

    whole = st.integers(0, 4).flatmap(of_length)
    return whole.map(lambda found: pd.DataFrame({f"c{i}": series for i, series in enumerate(found)}))


def write_program(folder):
    """Leave the module that killed writers run in a folder; return how they find it."""
    (folder / "sql_program.py").write_text(textwrap.dedent(PROGRAM))
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}


def run_and_kill(environment, place, value, moment, root):
    """Compute a node in a process that is killed at a moment."""
    arguments = [place, str(value), *MOMENTS[moment], str(root)]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_SCRIPT), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
