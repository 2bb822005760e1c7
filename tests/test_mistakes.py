"""A newcomer's mistakes in a notebook: each message names the thing and the cure, and is short."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import daskcache as dc

HERE = Path(__file__).parent
PACKAGE = Path(dc.__file__).parent
#: Lines of text that a mistake may show, with the traceback.
MAX_LINES = 25


class Mistake(NamedTuple):
    """A cell with a mistake."""

    before: str
    cell: str
    #: Class of the error; None if there is none, but a warning.
    error: str | None
    #: What the text has in it: the thing, and the cure.
    says: tuple[str, ...]


F = '@delayed(target="{n}.json")\ndef f(n, sigma=1):\n    return n\n'
ONE = '@delayed(target="one.json")\ndef one(n):\n    return n\n'

MISTAKES = {
    "an unknown suffix": Mistake(
        "",
        '@delayed(target="{n}.tfi")\ndef f(n):\n    return n',
        "UnknownFormat",
        ("'.tfi'", "expected: .csv", "delayed(store=...)"),
    ),
    "a missing argument": Mistake(F, "f()", "TypeError", ("f(): missing a required argument: 'n'",)),
    "a misspelt argument": Mistake(F, "f(1, sgma=2)", "TypeError", ("'sgma'", "did you mean 'sigma'?")),
    "a misspelt parameter of delayed": Mistake(
        "",
        '@delayed(traget="a.json")\ndef f(n):\n    return n',
        "TypeError",
        ("did you mean 'target'?",),
    ),
    "an unknown field": Mistake(
        '@delayed(target="{image}.json")\ndef f(n):\n    return n',
        "f(1)",
        "TemplateError",
        ("'image' that is not an argument", "use an argument's name"),
    ),
    "an expression in a template": Mistake(
        "",
        '@delayed(target="{n + 1}.json")\ndef f(n):\n    return n',
        "TemplateError",
        ("{n + 1}", "give the function an argument with this value"),
    ),
    "a function in a template": Mistake(
        F, "f(lambda x: x)", "TemplateError", ("can't put n, a function, in a name", "or {key}")
    ),
    "a target outside of the root": Mistake(
        "",
        '@delayed(target="../{n}.json")\ndef f(n):\n    return n',
        "UnsafePath",
        ("'..'", "targets are relative to the root", "daskcache.root"),
    ),
    "a root that can't be used": Mistake(
        F + 'Path("file").touch()',
        'with dask.config.set({"daskcache.root": "file"}):\n    f(1).compute()',
        "StorageError",
        ("can't use the root", "set daskcache.root to another folder"),
    ),
    "a node in a text": Mistake(
        F, 'name = f"result_{f(1)}.txt"', None, ("f(1.json)", "node.compute() gives the value")
    ),
    "a node with a format": Mistake(
        F, 'f"{f(1):.2f}"', "NotComputed", ("f(1.json)", "'.2f'", "node.compute()")
    ),
    "a loop over a node": Mistake(
        F,
        "for item in f(1):\n    print(item)",
        "NotComputed",
        ("f(1.json)", "can't be iterated", "nout="),
    ),
    "the length of a node": Mistake(F, "len(f(1))", "NotComputed", ("f(1.json)", "node.compute()")),
    "a node as a condition": Mistake(
        F, "if f(1):\n    print(1)", "NotComputed", ("f(1.json)", "no truth value", "node.compute()")
    ),
    "a comparison of a node as a condition": Mistake(
        F,
        "if f(1) > 2:\n    print(1)",
        "NotComputed",
        ("made from the node f(1.json)", "no truth value", "value.compute()", "node.compute()"),
    ),
    "what a node's method returns as a condition": Mistake(
        F,
        "while not f(1).max() > 2:\n    pass",
        "NotComputed",
        ("made from the node f(1.json)", "no truth value"),
    ),
    "the truth of a sum with a node": Mistake(
        F, "bool(1 + f(1))", "NotComputed", ("made from the node f(1.json)", "no truth value")
    ),
    "a loop over a product with a node": Mistake(
        F,
        "for item in f(1) * 2:\n    print(item)",
        "NotComputed",
        ("made from the node f(1.json)", "can't be iterated", "value.compute()"),
    ),
    "a loop over an attribute of a node": Mistake(
        F, "for name in f(1).columns:\n    pass", "NotComputed", ("f(1.json)", "can't be iterated")
    ),
    "an item of a node as a number": Mistake(
        F, "math.sqrt(f(4)[0])", "NotComputed", ("made from the node f(4.json)", "not a number")
    ),
    "an attribute of a node in a text": Mistake(
        F, 'name = f"{f(1).name}.txt"', None, ("made from the node f(1.json)", "node.compute()")
    ),
    "a node as a number": Mistake(
        F, "math.sqrt(f(4))", "NotComputed", ("f(4.json)", "not a number", "node.compute()")
    ),
    "a node as a length": Mistake(F, "range(f(4))", "NotComputed", ("f(4.json)", "node.compute()")),
    "an assignment to an item of a node": Mistake(
        F, 'f(1)["a"] = 2', "NotComputed", ("f(1.json)", "can't be changed", "in a decorated function")
    ),
    "a path in place of a source": Mistake(
        'np.save("a.npy", np.ones(3))\n'
        '@delayed(target="{image.stem}.json")\ndef mean(image):\n    return float(image.mean())',
        'mean("a.npy").compute()',
        "AttributeError",
        (
            "the argument 'image' of mean()",
            "daskcache.FileSource('a.npy') would track it",
            "mean(a.json)",
        ),
    ),
    "two functions with one target": Mistake(
        ONE + '@delayed(target="one.json")\ndef other(n):\n    return n + 1',
        "dc.compute(one(1), other(1))",
        "TargetCollision",
        ("one()", "other()", "or {key}, into the path template"),
    ),
    "one target for several calls": Mistake(
        ONE, "dc.compute(one(1), one(2))", "TargetCollision", ("one.json", "put what tells them apart")
    ),
    "one target for several calls, with Dask's verb": Mistake(
        ONE, "dask.compute(one(1), one(2))", "TargetCollision", ("one.json", "put what tells them apart")
    ),
    "an edited result": Mistake(
        ONE + 'one(1).compute()\ntime.sleep(0.02)\nPath(one(1).dc.path).write_text("[55]")',
        "one(1).compute()",
        "TargetModified",
        ("one.json was edited", "dask cache adopt", "on_modified="),
    ),
    "an edited result, with Dask's verb": Mistake(
        ONE + 'one(1).compute()\ntime.sleep(0.02)\nPath(one(1).dc.path).write_text("[55]")',
        "dask.compute(one(1))",
        "TargetModified",
        ("one.json was edited", "dask cache adopt", "on_modified="),
    ),
    "a file of the user's at a target": Mistake(
        ONE + 'Path("working").mkdir()\nPath("working/one.json").write_text("3")',
        "one(1).compute()",
        "ForeignTarget",
        ("one.json was not written by daskcache", "dc.adopt(node)"),
    ),
    "a source that was deleted": Mistake(
        F + 'np.save("a.npy", np.ones(3))\nnode = f(1, dc.NumpySource("a.npy"))\nPath("a.npy").unlink()',
        "node.compute()",
        "SourceMissing",
        ("a.npy does not exist", "put the file there"),
    ),
    "a source that does not exist": Mistake(
        F, 'f(1, dc.NumpySource("b.npy"))', "SourceMissing", ("b.npy does not exist", "correct the path")
    ),
    "a pattern that no file matches": Mistake(
        "", 'dc.sources("raw/*.tif")', "SourceMissing", ("raw/*.tif", "no folder raw", "to do")
    ),
    "an open file as an argument": Mistake(
        F, 'f(1, open("a.txt", "w"))', "UnhashableArgument", ("'sigma' of f()", "pass something plain")
    ),
    "an argument that can't be pickled": Mistake(
        F, "f(1, threading.Lock())", "UnhashableArgument", ("'sigma' of f()", "pass something plain")
    ),
    "a generator as a result": Mistake(
        '@delayed(target="{n}.json")\ndef f(n):\n    yield n',
        "f(1).compute()",
        "ResultError",
        ("f() returned a generator", "return list(...)"),
    ),
    "a function without return": Mistake(
        '@delayed(target="{n}.npy")\ndef f(n):\n    n + 1',
        "f(1).compute()",
        "FormatLimit",
        ("the function returned None", "forgot to return?"),
    ),
    "a dtype that TIFF does not hold": Mistake(
        '@delayed(target="{n}.tif")\ndef f(n):\n    return np.full((4, 4), None)',
        "f(1).compute()",
        "FormatLimit",
        ("dtype object", "convert it (uint16"),
    ),
    "a function in place of its call": Mistake(
        F, "dc.plan(f)", "NotANode", ("function __main__.f", "and call it")
    ),
    "a path to map": Mistake(
        F, 'f.map("raw/*.tif")', "GraphError", ("f.map() can't go through n", "dc.sources(…) for files")
    ),
    "a result that was not computed": Mistake(
        F, "f(1).dc.load()", "TargetMissing", ("1.json", "was never computed", "node.compute()")
    ),
    "a misspelt value of a parameter": Mistake(
        F, 'dc.compute(f(1), errors="colect")', "ValueError", ("'colect'", '"raise" or "collect"')
    ),
    "a misspelt mode": Mistake(
        '@dc.task(target="{n}.json")\ndef f(n):\n    return n',
        'with dask.config.set({"daskcache.mode": "cahce"}):\n    f(1)',
        "GraphError",
        ("'cahce'", "dask, cache, function"),
    ),
    "an error in the function": Mistake(
        '@delayed(target="{n}.json")\ndef f(n):\n    return 1 / n',
        "f(0).compute()",
        "ZeroDivisionError",
        ("----> 3     return 1 / n", "f(n=0)"),
    ),
    "an error in the function, with Dask's verb": Mistake(
        '@delayed(target="{n}.json")\ndef f(n):\n    return 1 / n',
        "dask.compute(f(0))",
        "ZeroDivisionError",
        ("----> 3     return 1 / n", "f(n=0)"),
    ),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """By name, the class of the error of each mistake, and the text that the user sees."""
    cells = [(mistake.before, mistake.cell) for mistake in MISTAKES.values()]
    folder = tmp_path_factory.mktemp("notebook")
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "IPYTHONDIR": str(folder / "ipython")}
    done = subprocess.run(
        [sys.executable, str(HERE / "cells.py")],
        input=json.dumps(cells),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(MISTAKES, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_explained(outcomes, name):
    """The error is of the class that says what is wrong; its text names the thing and the cure."""
    mistake, outcome = MISTAKES[name], outcomes[name]
    assert outcome["error"] == mistake.error, outcome["shown"]
    assert [text for text in mistake.says if text not in outcome["shown"]] == [], outcome["shown"]


@pytest.mark.parametrize("name", MISTAKES)
def test_the_text_is_short(outcomes, name):
    """A mistake shows at most 25 lines, and no line of daskcache's code."""
    shown = outcomes[name]["shown"]
    assert len(shown.splitlines()) <= MAX_LINES, shown
    assert str(PACKAGE) not in shown.replace("~", str(Path.home())), shown


def test_the_first_and_the_last_lines_say_what_happened(outcomes):
    """The class stands above the user's line, and the message below it."""
    shown = outcomes["one target for several calls, with Dask's verb"]["shown"].splitlines()
    assert shown[1].split()[0] == "TargetCollision"
    assert shown[3] == "----> 1 dask.compute(one(1), one(2))"
    assert shown[5] == "TargetCollision: two nodes claim one target"
    assert shown[-1].startswith("  to do: put what tells them apart")
