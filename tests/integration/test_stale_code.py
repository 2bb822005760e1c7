"""Code that was edited while programs, notebooks and workers run: the code in memory rules."""

from __future__ import annotations

import functools
import importlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import dask
import pytest
from clusters import separate_processes
from kernels import start_kernel
from nbclient.exceptions import CellExecutionError

import daskcache as dc
import daskcache.hashing.functions
from daskcache.errors import ArgumentChanged, CodeMismatch, DaskcacheWarning
from daskcache.hashing.functions import _body_of, body_of
from daskcache.hashing.reach import Reach
from daskcache.testing.assertions import count_runs

# ---- notebook cells ------------------------------------------------------------------------------

CELLS = {
    "imports": """
        import dataclasses, enum, functools, json, warnings
        import dask, numpy as np
        import daskcache as dc
        from daskcache.testing import count_runs
    """,
    "number": "SIGMA = 2",
    "array": "TABLE = np.full(3, 10)",
    "helper": """
        def smooth(x):
            return x * SIGMA
    """,
    "lambda": "shift = lambda x: x + int(TABLE[0])",
    "partial": """
        def power(n, x):
            return x**n
        square = functools.partial(power, 2)
    """,
    "class": """
        class Model:
            offset = 5
            def predict(self, x):
                return x + self.offset
    """,
    "dataclass": """
        @dataclasses.dataclass
        class Settings:
            gain: int = 3
    """,
    "enum": """
        class Level(enum.Enum):
            LOW = 7
    """,
    "steps": """
        @dc.delayed(target="start.json")
        def start(x):
            return x
        @dc.delayed(target="smoothed.json")
        def smoothed(x):
            return smooth(x)
        @dc.delayed(target="shifted.json")
        def shifted(x):
            return shift(x)
        @dc.delayed(target="squared.json")
        def squared(x):
            return square(x)
        @dc.delayed(target="predicted.json")
        def predicted(x):
            return Model().predict(x)
        @dc.delayed(target="amplified.json")
        def amplified(x, settings=Settings()):
            return x * settings.gain
        @dc.delayed(target="raised.json")
        def raised(x):
            return x + Level.LOW.value
        @dc.delayed(target="total.json")
        def total(values):
            return sum(values)
    """,
    "run": """
        first = start(4)
        middle = [f(first) for f in (smoothed, shifted, squared, predicted, amplified, raised)]
        with count_runs() as runs, warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            value = dask.compute(total(middle), scheduler="sync")[0]
        print(json.dumps([sorted(runs()), value, [str(w.message) for w in warned]]))
    """,
}
ALL = ["amplified", "predicted", "raised", "shifted", "smoothed", "squared", "start", "total"]
TOTAL = 4 * 2 + (4 + 10) + 4**2 + (4 + 5) + 4 * 3 + (4 + 7)


def cells(*names, **edited):
    """Text of cells: these, or all; some of them with other text."""
    texts = {**CELLS, **edited}
    return [textwrap.dedent(texts[name]).strip() for name in names or texts]


def replaced(name, *pairs):
    """Text of a cell with something else in it."""
    text = CELLS[name]
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return text


class Edit(NamedTuple):
    """Cells that are run after the notebook, what runs then, and what that adds to the total."""

    cells: list[str]
    ran: list[str]
    difference: int = 0


HARMLESS = {
    "run again": cells("run"),
    "all run again": cells(),
    "definitions run again": cells("helper", "class", "steps", "run"),
    "a comment": cells("helper", "run", helper=replaced("helper", ("def", "# smooths\n        def"))),
    "a comment at a line's end": cells("number", "run", number="SIGMA = 2  # pixels"),
    "a docstring": cells(
        "steps", "run", steps=replaced("steps", ("return smooth(x)", '"""Smooth."""; return smooth(x)'))
    ),
    "formatting": cells("lambda", "run", **{"lambda": "shift = lambda x: (x+\n  int( TABLE[0] ))"}),
    "annotations": cells("helper", "run", helper=replaced("helper", ("(x)", "(x: float) -> float"))),
    "empty lines": cells("class", "run", **{"class": replaced("class", ("offset = 5", "offset = 5\n"))}),
    "a magic command in a cell": cells(
        "helper", "run", helper=replaced("helper", ("def", "%pwd\n        def"))
    ),
    "a shell command in a cell": cells(
        "steps", "run", steps=replaced("steps", ("return smooth(x)", "return smooth(x)\n        !true"))
    ),
    "awaiting in a cell": cells(
        "helper", "run", helper="import asyncio\nawait asyncio.sleep(0)\ndef smooth(x): return x * SIGMA"
    ),
    "other cells before": cells("number", "array", "run", number="1 + 1", array="%pwd"),
    "cells in another order": cells("imports", "enum", "dataclass", "class", "partial")
    + cells("lambda", "helper", "array", "number", "steps", "run"),
    "cells joined": ["\n".join(cells("number", "array", "helper", "lambda", "steps")), *cells("run")],
    "a cell divided": [*cells("steps")[0].split("\n\n"), *cells("run")],
    "an unused function": ["def unused(x): return x", "UNUSED = 1", *cells("run")],
}
HARMFUL = {
    "a number": (cells("number", "run", number="SIGMA = 3"), "smoothed", 4),
    "an array": (cells("array", "run", array="TABLE = np.full(3, 11)"), "shifted", 1),
    "an array in place": (["TABLE[0] = 12", *cells("run")], "shifted", 2),
    "a helper": (
        cells("helper", "run", helper=replaced("helper", ("* SIGMA", "* SIGMA + 1"))),
        "smoothed",
        1,
    ),
    "a helper replaced by a class": (
        cells("helper", "run", helper="class smooth:\n  def __new__(cls, x): return x"),
        "smoothed",
        -4,
    ),
    "a lambda": (cells("lambda", "run", **{"lambda": "shift = lambda x: x"}), "shifted", -10),
    "a helper of a helper": (
        cells("partial", "run", partial=replaced("partial", ("x**n", "x**n + 1"))),
        "squared",
        1,
    ),
    "an argument of a partial": (
        cells("partial", "run", partial=replaced("partial", (", 2)", ", 3)"))),
        "squared",
        4**3 - 4**2,
    ),
    "a class attribute": (
        cells("class", "run", **{"class": replaced("class", ("= 5", "= 6"))}),
        "predicted",
        1,
    ),
    "a method": (
        cells("class", "run", **{"class": replaced("class", ("x + self", "x - self"))}),
        "predicted",
        -10,
    ),
    "a field's default": (
        cells("dataclass", "steps", "run", dataclass=replaced("dataclass", ("= 3", "= 4"))),
        "amplified",
        4,
    ),
    "a member of an enum": (cells("enum", "run", enum=replaced("enum", ("= 7", "= 8"))), "raised", 1),
    "a decorated function": (
        cells("steps", "run", steps=replaced("steps", ("Model().predict(x)", "Model().predict(x) + 1"))),
        "predicted",
        1,
    ),
    "a global name that hides a builtin": (["int = lambda x: 0", *cells("run")], "shifted", -10),
}
EDITS = {name: Edit(texts, []) for name, texts in HARMLESS.items()} | {
    name: Edit(texts, [affected, "total"], difference)
    for name, (texts, affected, difference) in HARMFUL.items()
}


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """A kernel for the tests that need no new one."""
    with start_kernel(tmp_path_factory.mktemp("kernel")) as kernel:
        yield kernel


@pytest.fixture
def notebook(kernel, root):
    """The kernel without anything in it, after a run of all cells."""
    first = ["%reset -f", f"import dask\ndask.config.set({{'daskcache.root': {str(root)!r}}})"]
    assert kernel.run([*first, *cells()])[0] == [ALL, TOTAL, []]
    return kernel


@pytest.mark.parametrize("name", EDITS)
def test_cells_that_are_edited_and_run(notebook, name):
    """What a cell changes the meaning of runs, and what follows from it; nothing else."""
    edit = EDITS[name]
    assert notebook.run(edit.cells)[0] == [edit.ran, TOTAL + edit.difference, []]
    assert notebook.run(cells("run"))[0] == [[], TOTAL + edit.difference, []]


def test_an_edited_cell_that_is_put_back(notebook):
    """The first text of a cell gives the first key again: the node runs for its path, and then rests."""
    edited = cells("number", "run", number="SIGMA = 3")
    assert notebook.run(edited)[0][0] == ["smoothed", "total"]
    assert notebook.run(cells("number", "run"))[0][:2] == [["smoothed", "total"], TOTAL]
    assert notebook.run(cells("number", "run"))[0] == [[], TOTAL, []]


def test_a_deleted_helper(notebook):
    """Without its helper a node is not finished any more; defined again, it is."""
    with pytest.raises(CellExecutionError, match="name 'smooth' is not defined"):
        notebook.run(["del smooth", *cells("run")])
    assert notebook.run(cells("helper", "run"))[0] == [[], TOTAL, []]


def test_a_cell_that_is_run_after_the_nodes_were_made(notebook):
    """A node that was made before an edit does not compute with the edited helper."""
    with pytest.raises(CellExecutionError, match=r"ArgumentChanged[\s\S]*constant SIGMA: 2 -> 3"):
        notebook.run(["node = smoothed(start(4))", "SIGMA = 3", "node.compute()"])


def test_a_restarted_kernel(tmp_path, root):
    """In a second kernel, nothing runs; after an edit, what is affected."""
    first = [f"import dask\ndask.config.set({{'daskcache.root': {str(root)!r}}})", *cells()]
    with start_kernel(tmp_path) as kernel:
        assert kernel.run(first)[0] == [ALL, TOTAL, []]
    with start_kernel(tmp_path) as kernel:
        assert kernel.run(first)[0] == [[], TOTAL, []]
        edited = cells("helper", "run", helper=replaced("helper", ("* SIGMA", "* SIGMA + 1")))
        assert kernel.run(edited)[0] == [["smoothed", "total"], TOTAL + 1, []]


# ---- %autoreload ---------------------------------------------------------------------------------

HELPERS = """
SIGMA = 2

def smooth(x):
    return x * SIGMA

def shift(x):
    return x + 10

class Model:
    def predict(self, x):
        return x + 5
"""
STEPS = """
import dask
import daskcache as dc
import helpers
from helpers import Model, shift

@dc.delayed(target="start.json")
def start(x):
    return x

@dc.delayed(target="smoothed.json")
def smoothed(x):
    return helpers.smooth(x)

@dc.delayed(target="shifted.json")
def shifted(x):
    return shift(x)

@dc.delayed(target="predicted.json")
def predicted(x):
    return Model().predict(x)

@dc.delayed(target="total.json")
def total(values):
    return sum(values)
"""
#: Reaches the helpers from cells, too.
CELL = """
import json, warnings
import dask, daskcache as dc
import steps
from helpers import smooth
from steps import predicted, shifted, smoothed, start, total
from daskcache.testing import count_runs

@dc.delayed(target="smoothed_in_cell.json")
def smoothed_in_cell(x):
    return smooth(x)
"""
RUN = """
with warnings.catch_warnings(record=True) as warned, count_runs() as runs:
    warnings.simplefilter("always")
    first = start(4)
    nodes = {f.__name__: f(first) for f in (smoothed, shifted, predicted, smoothed_in_cell)}
    values, _ = dask.compute(nodes, total([*nodes.values(), steps.smoothed(first)]), scheduler="sync")
print(json.dumps([sorted(runs()), values, [str(w.message) for w in warned]]))
"""
VALUES = {"smoothed": 8, "shifted": 14, "predicted": 9, "smoothed_in_cell": 8}

#: Edits of both files, and what the affected nodes give then.
RELOADS = {
    "nothing": ([], {}),
    "a helper by attribute and by name": (
        [("x * SIGMA", "x * SIGMA + 1")],
        {"smoothed": 9, "smoothed_in_cell": 9},
    ),
    "a helper by name": ([("x + 10", "x + 11")], {"shifted": 15}),
    "a constant": ([("SIGMA = 2", "SIGMA = 3")], {"smoothed": 12, "smoothed_in_cell": 12}),
    "a method": ([("x + 5", "x + 6")], {"predicted": 10}),
    "a helper, and lines that move the others": (
        [("SIGMA = 2", "# comment\n\nSIGMA = 2"), ("x * SIGMA", "x * SIGMA + 1")],
        {"smoothed": 9, "smoothed_in_cell": 9},
    ),
    "a decorated function": (
        [("return helpers.smooth(x)", "return helpers.smooth(x) + 1")],
        {"smoothed": 9},
    ),
    "a decorated function and a helper": (
        [("return shift(x)", "return shift(x) + 1"), ("x * SIGMA", "x * SIGMA + 1")],
        {"smoothed": 9, "smoothed_in_cell": 9, "shifted": 15},
    ),
    "all of a module": ([("SIGMA = 2", "SIGMA = int('2')"), ("x + 5", "x + 6")], {"predicted": 10}),
    "comments, docstrings and formatting": (
        [
            ("def smooth(x):", 'def smooth( x ):\n    """Smooth."""\n    # by hand\n'),
            ("def shifted(x):", "# shifts\ndef shifted(x):  # by ten"),
            ("SIGMA = 2", "SIGMA = (2)  # px"),
        ],
        {},
    ),
    "a new function": ([("SIGMA = 2", "SIGMA = 2\ndef unused(x): return x")], {}),
    "a decorated function that is new": (
        [("def total", 'def unused(x): return x\n\n@dc.delayed(target="total.json")\ndef total')],
        {},
    ),
}


def write(folder, name, text, version):
    """Write a module; each version of it is some seconds younger than the one before."""
    path = folder / name
    path.write_text(text)
    os.utime(path, (1e9 + 10 * version,) * 2)


@pytest.mark.parametrize(
    ("mode", "name"), [*[("2", name) for name in RELOADS], ("3", "a decorated function")]
)
def test_autoreload(tmp_path, root, mode, name):
    """With %autoreload, an edited file counts from the next cell on; and so it does afterwards."""
    pairs, changed = RELOADS[name]
    edited = {"helpers.py": HELPERS, "steps.py": STEPS}
    for file, text in edited.items():
        write(tmp_path, file, text, 0)
        for old, new in pairs:
            text = text.replace(old, new)
        edited[file] = text
    assert sum(text.count(new) for text in edited.values() for _, new in pairs) >= len(pairs)
    configure = f"import dask\ndask.config.set({{'daskcache.root': {str(root)!r}}})"
    with start_kernel(tmp_path) as kernel:
        before = [configure, f"%load_ext autoreload\n%autoreload {mode}", CELL, RUN]
        ran, values, warned = kernel.run(before)[0]
        assert (ran, values, warned) == (sorted([*VALUES, "start", "total"]), VALUES, [])
        for file, text in edited.items():
            write(tmp_path, file, text, 1)
        ran, values, warned = kernel.run([RUN])[0]
    assert (values, warned) == (VALUES | changed, [])
    assert ran == sorted([*changed, *(["total"] if changed else [])])
    assert run_script(tmp_path, configure + CELL + RUN) == [[], values, []]


def run_script(folder, text):
    """What a program in a fresh interpreter prints as JSON."""
    (folder / "script.py").write_text(text)
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# ---- files that are edited after they were imported --------------------------------------------------

FILES = {
    "helpers.py": "LIMIT = 5\n\ndef smooth(x):\n    return x + 1\n",
    "steps.py": (
        "import daskcache as dc\n"
        "import helpers\n\n"
        "@dc.delayed(target='direct.json')\n"
        "def direct(x):\n"
        "    return x * 10\n\n"
        "@dc.delayed(target='helped.json')\n"
        "def helped(x):\n"
        "    return helpers.smooth(x) * 10\n\n"
        "NODES = direct, helped\n"
    ),
}
SCRIPT = """
import json, sys
import dask, daskcache as dc
import steps
from daskcache.testing import count_runs
dask.config.set({"daskcache.root": ROOT})
nodes = [f(1) for f in steps.NODES]
with count_runs() as runs:
    values = dask.compute(*nodes, scheduler="sync")
print(json.dumps([sorted(runs()), values, [node.dc.key for node in nodes]]))
"""


@pytest.fixture
def edit(tmp_path, monkeypatch, root):
    """A function that edits the modules of FILES; they can be imported.

    Functions that tests before sent here may do the same, by another text: they are not known here.
    """
    monkeypatch.setattr(daskcache.hashing.functions, "_travelled", {})
    current = dict(FILES)
    versions = itertools.count()

    def edit(name=None, old="", new=""):
        if name is not None:
            assert old in current[name]
            current[name] = current[name].replace(old, new)
        for file, text in current.items():
            write(tmp_path, file, text, next(versions))

    edit()
    monkeypatch.syspath_prepend(tmp_path)
    yield edit
    for name in current:
        sys.modules.pop(name.removesuffix(".py"), None)


def fresh_start(folder, root):
    """What runs in a fresh interpreter, the values and the keys."""
    return run_script(folder, SCRIPT.replace("ROOT", repr(str(root))))


#: Edits by which the code in memory differs from the file: what is edited, and what runs afterwards.
STALE_EDITS = {
    "the function": ("steps.py", "x * 10\n\n", "x * 20\n\n", "direct"),
    "the function's default": ("steps.py", "direct(x)", "direct(x, k=1)", "direct"),
    "a helper": ("helpers.py", "x + 1", "x + 2", "helped"),
    "a helper that is removed": (
        "helpers.py",
        "def smooth(x):\n    return",
        "smooth = lambda x:",
        "helped",
    ),
    "a helper's file with an error in it": ("helpers.py", "x + 1", "x +", "helped"),
}
#: Edits after which the file still holds the code in memory.
MOVING_EDITS = {
    "lines before the function": (
        "steps.py",
        "@dc.delayed(target='direct",
        "\n# moved\n@dc.delayed(target='direct",
    ),
    "lines before a helper": ("helpers.py", "def smooth", "def other(x):\n    return x\n\ndef smooth"),
    "lines less": ("helpers.py", "LIMIT = 5\n\n", ""),
    "a comment": ("helpers.py", "x + 1", "x + 1  # why"),
    "other code in between": ("helpers.py", "LIMIT = 5", "def smooth(x):\n    return x - 1\n"),
}


@pytest.mark.parametrize("name", STALE_EDITS)
def test_a_file_that_was_edited_before_the_function_is_keyed(edit, tmp_path, root, name):
    """The code in memory is keyed by bytecode, with a warning, and runs; the edited text runs anew."""
    *what, affected = STALE_EDITS[name]
    steps = importlib.import_module("steps")
    edit(*what)
    function = "direct" if affected == "direct" else "smooth"
    with pytest.warns(
        DaskcacheWarning, match=rf"{function}\(\) at .*{what[0]}:\d+ is not what"
    ) as warned:
        nodes = [f(1) for f in steps.NODES]
    assert len(warned) == 1
    assert dask.compute(*nodes, scheduler="sync") == (10, 20)
    assert body_of(getattr(steps.helpers, function, steps.direct.__wrapped__).__code__).source == ""
    if name == "a helper's file with an error in it":
        edit("helpers.py", "x +", "x + 3")
    ran, _, keys = fresh_start(tmp_path, root)
    assert ran == [affected]
    assert [node.dc.key == key for node, key in zip(nodes, keys, strict=True)] == [
        affected != "direct",
        affected != "helped",
    ]


@pytest.mark.parametrize("name", MOVING_EDITS)
def test_a_file_whose_edit_only_moved_the_code(edit, tmp_path, root, name):
    """Code that stands elsewhere in its file, and is the same, has the key that it has there."""
    steps = importlib.import_module("steps")
    edit(*MOVING_EDITS[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nodes = [f(1) for f in steps.NODES]
        assert dask.compute(*nodes, scheduler="sync") == (10, 20)
    assert fresh_start(tmp_path, root) == [[], [10, 20], [node.dc.key for node in nodes]]


@pytest.mark.parametrize("name", STALE_EDITS)
def test_a_file_that_was_edited_after_the_function_was_keyed(edit, tmp_path, root, name):
    """Until the module is loaded again the key stays; in a fresh interpreter what was edited runs."""
    *what, affected = STALE_EDITS[name]
    steps = importlib.import_module("steps")
    before = [f(1).dc.key for f in steps.NODES]
    edit(*what)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nodes = [f(1) for f in steps.NODES]
        assert [node.dc.key for node in nodes] == before
        assert dask.compute(*nodes, scheduler="sync") == (10, 20)
    if name == "a helper's file with an error in it":
        edit("helpers.py", "x +", "x + 3")
    assert fresh_start(tmp_path, root)[0] == [affected]


def test_a_helper_that_was_edited_and_loaded_again(edit, tmp_path, root):
    """A node from before says what changed; made again it has the key of a fresh interpreter."""
    steps = importlib.import_module("steps")
    before = steps.helped(1)
    edit("helpers.py", "x + 1", "x + 2")
    importlib.reload(steps.helpers)
    for verb in (before.compute, lambda: dc.plan(before).compute(), lambda: dask.compute([before])):
        with pytest.raises(ArgumentChanged, match=r"helper smooth\(\) changed \(helpers.py:3\)"):
            verb()
    again = steps.helped(1)
    assert again.dc.key != before.dc.key
    assert again.compute(scheduler="sync") == 30
    assert fresh_start(tmp_path, root) == [["direct"], [10, 30], [steps.direct(1).dc.key, again.dc.key]]


def test_a_decorated_function_that_was_edited_and_loaded_again(edit, tmp_path, root):
    """The function of the loaded module has a new key; the one from before computes what it did."""
    steps = importlib.import_module("steps")
    before = steps.direct
    key = before(1).dc.key
    edit("steps.py", "x * 10\n\n", "x * 20\n\n")
    importlib.reload(steps)
    assert before(1).dc.key == key != steps.direct(1).dc.key
    assert (before(1).compute(scheduler="sync"), steps.direct(1).compute(scheduler="sync")) == (10, 20)
    assert fresh_start(tmp_path, root)[:2] == [["helped"], [20, 20]]


# ---- code without source -----------------------------------------------------------------------------

SOURCELESS = """
import sys
import daskcache as dc

LIMITS = {"low", "high", "middle"}

def helper(x, names=frozenset({"a", "b", "c"})):
    return x + NUMBER, x in {"p", "q", "r"}, names

def make(words):
    return lambda x: (x, sorted(words))

inner = make({"u", "v", "w"})

@dc.delayed
def f(x):
    def nested(y):
        return [helper(z) for z in (y, x)]
    return nested(x), inner(x), len(LIMITS)
"""
SHOW = "\nprint(f(1).dc.key)\n"
WAYS = {
    "exec": lambda text: (["-c", f"space = {{'__name__': 'made'}}\nexec({text!r}, space)"], None),
    "-c": lambda text: (["-c", text], None),
    "stdin": lambda text: (["-"], text),
    "exec in a file": lambda text: ([write_script(text)], None),
}


def write_script(text):
    path = Path("exec_script.py").absolute()
    path.write_text(f"exec({text!r})\n")
    return path


@pytest.mark.parametrize("way", WAYS)
def test_code_without_source_has_one_key(tmp_path, monkeypatch, way):
    """Bytecode gives one key in all processes, and another one if a constant in a helper changed."""
    monkeypatch.chdir(tmp_path)

    def keys(number, seeds=("0", "1", "2")):
        text = SOURCELESS.replace("NUMBER", number) + SHOW
        found = set()
        for seed in seeds:
            options, given = WAYS[way](text)
            folder = tmp_path / f"{number}-{seed}"
            folder.mkdir()
            done = subprocess.run(
                [sys.executable, *options],
                input=given,
                cwd=folder,
                env={**os.environ, "PYTHONHASHSEED": seed},
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stderr
            assert done.stderr == ""
            found.add(done.stdout.strip())
        return found

    assert len(keys("1")) == 1
    assert len({*keys("2"), *keys("2.0", "0"), *keys("True", "0")}) == 3


def test_bytecode_is_of_one_version(monkeypatch):
    """Functions without source have other keys in another version of Python."""
    found = set()
    for version in ((3, 11, 0), (3, 12, 0), (3, 12, 5)):
        monkeypatch.setattr(sys, "version_info", version)
        space = {}
        exec("def f(x): return x + 1", space)
        found.add(Reach(space["f"]).fingerprint)
        _body_of.cache_clear()
    assert len(found) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("def f(*a): return 1", "def f(**a): return 1"),
        ("def f(x): return x + 1", "def f(x): return x + 1.0"),
        ("def f(x): return x.one", "def f(x): return x.two"),
        ("def f(x): return {1, 2}", "def f(x): return {1, 2.0}"),
        (
            "def f(a, b):\n  try: a(); b()\n  except ValueError: pass",
            "def f(a, b):\n  a()\n  try: b()\n  except ValueError: pass",
        ),
    ],
)
def test_bytecode_tells_functions_apart(one, other):
    """Without source, what functions take, catch and hold counts as it does with source."""
    found = []
    for text in (one, other, one):
        space = {}
        exec(text, space)
        found.append(Reach(space["f"]).fingerprint)
    assert found[0] == found[2] != found[1]


# ---- workers that have other versions ----------------------------------------------------------------

#: ONE is 1 on the client, and 2 where a worker has another version.
WORKER_HELPERS = """
import dataclasses
import enum
import functools

import numpy as np

LIMIT = ONE
LEVELS = (0, ONE)
TABLE = {"low": {"x": ONE}}
WEIGHTS = np.full(3, ONE)
BOUND = ONE

def smooth(x):
    return x + ONE

def second(x):
    return third(x)

def third(x):
    return x + ONE

class Base:
    offset = ONE

class Model(Base):
    def add(self, x):
        return x + self.offset

class Tool:
    def add(self, x):
        return x + ONE

@dataclasses.dataclass
class Settings:
    gain: int = ONE

class Level(enum.Enum):
    LOW = ONE

def defaulting(x, by=BOUND):
    return x + by

def plus(n, x):
    return n + x

add_one = functools.partial(plus, ONE)
shift = lambda x: x + ONE

def make(n):
    def inner(x):
        return x + n
    return inner

closing = make(ONE)
"""
WORKER_STEPS = """
import daskcache as dc
import worker_helpers as helpers
from worker_helpers import smooth

@dc.delayed(target="{funcname}.json")
def direct(x):
    return x + ONE

@dc.delayed(target="{funcname}.json")
def applied(function, x):
    return function(x)
"""
#: What a node uses, and what the error names.
ROUTES = {
    "by_attribute": ("helpers.smooth(x)", "smooth()"),
    "by_name": ("smooth(x)", "smooth()"),
    "at_second_hand": ("helpers.second(x)", "third()"),
    "number": ("x + helpers.LIMIT", "LIMIT"),
    "levels": ("x + helpers.LEVELS[1]", "LEVELS"),
    "table": ("x + helpers.TABLE['low']['x']", "TABLE"),
    "weights": ("x + int(helpers.WEIGHTS[0])", "WEIGHTS"),
    "attribute": ("helpers.Model().add(x)", "Base.offset"),
    "method": ("helpers.Tool().add(x)", "Tool.add()"),
    "field": ("x + helpers.Settings().gain", "Settings.gain"),
    "member": ("x + helpers.Level.LOW.value", "Level"),
    "default": ("helpers.defaulting(x)", "defaulting.by"),
    "partial": ("helpers.add_one(x)", "add_one"),
    "function": ("helpers.shift(x)", "<lambda>()"),
    "closure": ("helpers.closing(x)", "make.<locals>.inner.n"),
}
WORKER_STEPS += "".join(
    f"\n@dc.delayed(target='{{funcname}}.json')\ndef {name}(x):\n    return {body}\n"
    for name, (body, _) in ROUTES.items()
)
LABELS = {"direct": "direct()", **{name: label for name, (_, label) in ROUTES.items()}}


def write_modules(folder, one=1, edit=lambda text: text):
    """The modules of a worker, or of the client."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("worker_helpers", WORKER_HELPERS), ("worker_steps", WORKER_STEPS)):
        (folder / f"{name}.py").write_text(edit(re.sub(r"\bONE\b", str(one), text)))


def reformatted(text):
    """The text with comments, docstrings and other formatting."""
    documented = r'\1\2 :  # a comment\n\1    """Documented."""\n'
    text = re.sub(r"^( *)(def .*):$", documented, text, flags=re.MULTILINE)
    text = re.sub(r"^( *)return (.*)$", r"\1return (\n   \2)  # so", text, flags=re.MULTILINE)
    return f"# a header\n\nUNUSED = 3\n\n{text}\n\ndef unused(x):\n    return x\n"


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """Client of workers that have another version, the same elsewhere, installed, and reformatted."""
    base = tmp_path_factory.mktemp("workers")
    folders = {
        "other": base / "modules" / "other",
        "same": base / "modules" / "same",
        "installed": base / "modules" / "site-packages",
        "reformatted": base / "modules" / "reformatted",
    }
    write_modules(base / "client")
    write_modules(folders["other"], one=2)
    write_modules(folders["same"])
    write_modules(folders["installed"])
    write_modules(folders["reformatted"], edit=reformatted)
    with (
        separate_processes(base, folders["other"]) as (client, start_worker),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.syspath_prepend(base / "client")
        for name, folder in folders.items():
            start_worker(name, folder)
        client.wait_for_workers(len(folders), timeout=60)
        yield client, start_worker, folders


@pytest.fixture
def steps(workers):
    """The client's modules."""
    return importlib.import_module("worker_steps")


@pytest.mark.parametrize("name", LABELS)
def test_a_worker_with_another_version(workers, steps, files, name):
    """The error names what differs and where, what to do, and nothing is stored."""
    client, _, folders = workers
    node = getattr(steps, name)(10)
    with pytest.raises(CodeMismatch) as caught:
        client.compute(node, workers=["other"]).result()
    label = LABELS[name]
    module = "worker_steps" if name == "direct" else "worker_helpers"
    assert caught.value.message == f"{label} of the module {module} is another version on this worker"
    if label.endswith("()"):
        assert re.search(rf"client/{module}.py:\d+, as the client has it$", caught.value.expected)
        assert re.search(rf"{folders['other']}/{module}.py:\d+$", caught.value.got)
    else:
        assert "1" in caught.value.expected
        assert "2" in caught.value.got
    assert "client.upload_file" in caught.value.hint
    assert files() == []
    assert node.dc.state == "failed"


#: Functions as arguments; what the error names, if they are found by name on the worker.
ARGUMENTS = {
    "function": ("helpers.smooth", "smooth()"),
    "helper": ("helpers.second", "third()"),
    "default": ("functools.partial(helpers.defaulting)", "defaulting.by"),
    "method": ("helpers.Tool().add", "Tool.add()"),
    "inherited": ("helpers.Model().add", "Base.offset"),
    "around": ("lambda x: helpers.smooth(x)", "smooth()"),
    "lambda": ("helpers.shift", None),
    "closure": ("helpers.closing", None),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_functions_that_are_arguments(workers, steps, files, name):
    """A worker compares what they are there; those that travel as a whole are what the client has."""
    client, *_ = workers
    text, label = ARGUMENTS[name]
    helpers = importlib.import_module("worker_helpers")
    function = eval(text, {"helpers": helpers, "functools": functools, "__name__": "notebook"})
    node = steps.applied(function, 10)
    if label is not None:
        message = f"{label} of the module worker_helpers is another version on this worker"
        with pytest.raises(CodeMismatch, match=re.escape(message)):
            client.compute(node, workers=["other"]).result()
        assert files() == []
    else:
        assert client.compute(node, workers=["other"]).result() == 11
        node.dc.invalidate()
    for worker in ("same", "installed", "reformatted"):
        assert client.compute(node, workers=[worker]).result() == 11
        node.dc.invalidate()


def test_classes_that_are_pickled_as_a_whole(workers, steps):
    """They are the client's own, bases and all, though they lose their qualified names on the way."""
    client, *_ = workers

    class Base:
        by = 1

    class Adding(Base):
        also = 0

        def __call__(self, x):
            return x + self.by + self.also

    node = steps.applied(Adding(), 10)
    assert client.compute(node, workers=["other"]).result() == 11


@pytest.mark.parametrize("worker", ["same", "installed", "reformatted"])
def test_a_worker_with_the_same_code(workers, steps, worker):
    """Where the text lies, what is installed there, and comments make no difference."""
    client, *_ = workers
    nodes = [getattr(steps, name)(10) for name in LABELS]
    assert client.gather(client.compute(nodes, workers=[worker])) == [11] * len(LABELS)
    assert {node.dc.state for node in nodes} == {"complete"}


TRAVELLING = """
import daskcache as dc
import worker_helpers as helpers
from worker_helpers import smooth

@dc.delayed(target="travelled.json")
def travelling(x):
    return {}
"""


@pytest.mark.parametrize("name", ROUTES)
def test_functions_that_travel_with_their_tasks(workers, steps, files, name):
    """What a notebook's function uses of modules is compared, too; the function itself comes along."""
    client, *_ = workers
    namespace = {"__name__": "notebook"}
    exec(TRAVELLING.format(ROUTES[name][0]), namespace)
    node = namespace["travelling"](10)
    with pytest.raises(CodeMismatch, match=re.escape(f"{LABELS[name]} of the module worker_helpers")):
        client.compute(node, workers=["other"]).result()
    assert files() == []
    assert client.compute(node, workers=["same"]).result() == 11


def test_cells_on_workers(workers, kernel, tmp_path, root):
    """Everything that the cells of a notebook define travels, and is what the kernel has."""
    client, *_ = workers
    first = ["%reset -f", f"import dask\ndask.config.set({{'daskcache.root': {str(root)!r}}})"]
    run = (
        "from distributed import Client\n"
        f"with Client({client.scheduler.address!r}, set_as_default=False) as client:\n"
        "    first = start(4)\n"
        "    middle = [f(first) for f in (smoothed, shifted, squared, predicted, amplified, raised)]\n"
        "    print(json.dumps([client.compute(total(middle), workers=['same']).result()]))"
    )
    assert kernel.run([*first, *cells(*[name for name in CELLS if name != "run"]), run])[0] == [TOTAL]

    def agreed(folder=str(root)):
        from daskcache.runtime.code_check import _agreed

        return [(key, reach.fingerprint) for (path, key), reach in _agreed.items() if path == folder]

    found = [pair for pairs in client.run(agreed).values() for pair in pairs]
    assert len(found) == len(ALL)
    assert all(kernels == workers for kernels, workers in found)


def test_a_worker_that_got_the_right_version(workers, steps, root):
    """A worker that was started anew with the client's modules computes what it refused before."""
    client, start_worker, folders = workers
    node = steps.by_attribute(20)
    with pytest.raises(CodeMismatch):
        client.compute(node, workers=["other"]).result()
    write_modules(folders["other"].parent / "mended")
    start_worker("mended", folders["other"].parent / "mended")
    client.wait_for_workers(len(folders) + 1, timeout=60)
    assert client.compute(node, workers=["mended"]).result() == 21
    assert node.dc.state == "complete"


# ---- one graph, one set of keys ----------------------------------------------------------------------

GRAPH = """
import dataclasses, enum, functools
import numpy as np
import daskcache as dc
import keyed_helpers as helpers
from keyed_helpers import Settings, smooth

NAMES = frozenset({"alpha", "beta", "gamma", "delta"})
KERNEL = np.arange(12.0).reshape(3, 4)

class Level(enum.Enum):
    LOW = "low"
    HIGH = frozenset({"x", "y", "z"})

class Model(helpers.Base):
    weights = {"a": 1, "b": {2, 3}}
    def predict(self, x):
        return super().predict(x) + len(self.weights)

def make(words, table):
    @dc.delayed
    def closing(x):
        return x in words, table
    return closing

add_two = functools.partial(helpers.add, 2, k={"p", "q"})
shift, scale = lambda x: x + 1, lambda x: x * 2

@dc.delayed
def by_attribute(x):
    return helpers.smooth(x), helpers.LIMITS

@dc.delayed
def by_name(x, k=3, *, mode="fast", options={"m", "n"}):
    return smooth(x), k, mode, options

@dc.delayed
def constants(x):
    return x in NAMES, KERNEL.sum(), np.sin(x), Level.HIGH.value

@dc.delayed
def classes(x):
    return Model().predict(x), Settings().gain, add_two(x), shift(scale(x))

@dc.delayed
def applied(function, x):
    return function(x)

def keys():
    first = by_attribute(1)
    nodes = {
        "by_attribute": first,
        "by_name": by_name({"s", "t"}, options=NAMES),
        "constants": constants(first),
        "classes": classes(Settings(gain={"g", "h"})),
        "closing": make({"u", "v"}, {"k": {"i", "j"}})(1),
        "function": applied(helpers.smooth, first),
        "lambda": applied(lambda x: x in {"e", "f"}, 1),
        "partial": applied(add_two, 1),
        "decorated": applied(by_name, 1),
        "class": applied(Model, 1),
        "method": applied(Model().predict, 1),
        "level": applied(smooth, Level.LOW),
    }
    return {name: node.dc.key for name, node in nodes.items()}
"""
GRAPH_HELPERS = """
import dataclasses

LIMITS = {"low": {1, 2}, "high": ["a", {"b", "c"}]}

@dataclasses.dataclass
class Settings:
    gain: object = 1
    names: frozenset = frozenset({"one", "two", "three"})

class Base:
    def predict(self, x):
        return x

def smooth(x, seen=frozenset({"q", "r"})):
    return x, seen

def add(n, x, k=()):
    return n, x, k
"""


@pytest.fixture(scope="module")
def graph_folder(tmp_path_factory):
    """A folder with a program that makes the keys of its graph."""
    folder = tmp_path_factory.mktemp("graph")
    (folder / "keyed_helpers.py").write_text(GRAPH_HELPERS)
    (folder / "keyed_graph.py").write_text(GRAPH)
    return folder


@pytest.fixture(scope="module")
def expected_keys(graph_folder):
    """The keys in a fresh process."""
    return keys_in_process(graph_folder, graph_folder, "random")


def keys_in_process(folder, cwd, seed):
    code = f"import sys, json; sys.path.insert(0, {str(folder)!r}); import keyed_graph as g"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print(json.dumps(g.keys()))"],
        cwd=cwd,
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_keys_in_fresh_processes(graph_folder, expected_keys, tmp_path):
    """Twenty processes, each with another PYTHONHASHSEED and another folder, make one set of keys."""
    assert len(set(expected_keys.values())) == len(expected_keys)

    def keys(number):
        folder = tmp_path / str(number)
        folder.mkdir()
        return keys_in_process(graph_folder, folder, str(number))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        assert list(pool.map(keys, range(20))) == [expected_keys] * 20


def test_keys_in_a_copy(graph_folder, expected_keys, tmp_path):
    """The same files at another path make the same keys."""
    shutil.copytree(graph_folder, tmp_path / "copy", ignore=shutil.ignore_patterns("__pycache__"))
    assert keys_in_process(tmp_path / "copy", tmp_path, "3") == expected_keys


def test_keys_in_a_notebook(kernel, graph_folder, expected_keys):
    """A kernel that imports the program makes its keys."""
    cell = "import sys, json\nsys.path.insert(0, {!r})\nimport keyed_graph\nprint(json.dumps({}))"
    assert kernel.run([cell.format(str(graph_folder), "keyed_graph.keys()")])[0] == expected_keys


def test_keys_on_threads(graph_folder, expected_keys, monkeypatch):
    """Threads that make the keys at the same moment make the same ones."""
    monkeypatch.syspath_prepend(graph_folder)
    keyed_graph = importlib.import_module("keyed_graph")
    start = threading.Barrier(8)

    def keys(_):
        start.wait()
        return [keyed_graph.keys() for _ in range(5)]

    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(keys, range(8)):
            assert found == [expected_keys] * 5


def test_keys_on_workers(local_client, remote_client, graph_folder, expected_keys):
    """Workers that import the program make its keys."""
    folder = str(graph_folder)

    def keys():
        sys.path.insert(0, folder)
        try:
            return importlib.import_module("keyed_graph").keys()
        finally:
            sys.path.remove(folder)

    for client in (local_client, remote_client):
        assert list(client.run(keys).values()) == [expected_keys] * 2


# ---- state -------------------------------------------------------------------------------------------

STATE = """
import daskcache as dc
import numpy as np

_model, _calls, _unset = None, 0, None
TABLE = [1, 2]
LARGE = np.arange(1000)

def model():
    global _model
    if _model is None:
        _model = [5]
    return _model

@dc.delayed
def predicted(x):
    global _calls
    _calls += 1
    return x + model()[0] + (_model is None)

@dc.delayed
def looked_up(x):
    return x + TABLE[0]

@dc.delayed
def weighted(x):
    return x + int(LARGE[0])
"""


def test_a_global_that_functions_assign_is_no_constant(define):
    """What functions assign themselves is their state: nodes stay complete after it was set."""
    module = define(STATE, "state")
    node = module.predicted(1)
    assert node.compute(scheduler="sync") == 6
    assert (module._model, module._calls) == ([5], 1)
    module._model[0] = 7
    assert module.predicted(1).dc.key == node.dc.key
    assert node.dc.state == module.predicted(1).dc.state == "complete"
    with count_runs() as runs:
        assert dask.compute(node, module.predicted(1), scheduler="sync") == (6, 6)
    assert runs() == {}


def test_a_constant_that_is_modified_in_place(define):
    """A node from before raises, naming the constant; made again, it has a new key."""
    module = define(STATE, "state")
    first = module.looked_up(1)
    assert first.compute(scheduler="sync") == 2
    module.TABLE[0] = 11
    with pytest.raises(ArgumentChanged, match="constant TABLE: "):
        first.compute(scheduler="sync")
    assert first.dc.state == "stale"
    again = module.looked_up(1)
    assert again.dc.key != first.dc.key
    assert again.compute(scheduler="sync") == 12
    module.TABLE[0] = 1
    assert module.looked_up(1).dc.key == first.dc.key
    with pytest.raises(ArgumentChanged):
        again.compute(scheduler="sync")


def test_a_large_constant_that_is_modified_between_calls(define, monkeypatch):
    """A change that a call did not look for is found by the plan, before anything runs."""
    monkeypatch.setattr("daskcache.hashing.reach._A_MOMENT", 1e9)
    module = define(STATE, "state")
    first = module.weighted(1)
    module.LARGE[0] = 10
    second = module.weighted(2)
    assert second.dc.key != module.weighted(1).dc.key
    for node in (first, second):
        with count_runs() as runs, pytest.raises(ArgumentChanged, match="constant LARGE"):
            node.compute(scheduler="sync")
        assert runs() == {}
    assert module.weighted(2).dc.key != second.dc.key
    assert module.weighted(2).compute(scheduler="sync") == 12
