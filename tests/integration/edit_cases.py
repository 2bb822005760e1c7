"""A program whose nodes reach helpers by every route there is, and edits of its files.

Each route gives ``x + body + constant``.  It has three edits that change the meaning (a number in a
body, a constant, and a rebinding of what is used), each of which concerns this route's node only.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from typing import NamedTuple


class Route(NamedTuple):
    """A way in which a node's function reaches a helper."""

    #: In ``helpers.py``; BODY and CONSTANT stand for the numbers.
    helper: str
    #: Body of the node's function.
    body: str
    #: Statement at the end of ``helpers.py`` by which another thing is used.
    rebinding: str
    #: Other parameters of the node's function.
    parameters: str = ""


PLAIN = """
C_NAME = CONSTANT
def h_NAME(x):
    return x + BODY + C_NAME
"""
REBIND = "h_NAME = negative"

ROUTES = {
    "global_name": Route(PLAIN, "return h_global_name(x)", REBIND),
    "attribute": Route(PLAIN, "return helpers.h_attribute(x)", REBIND),
    "import_in_body": Route(PLAIN, "from helpers import h_import_in_body as h\nreturn h(x)", REBIND),
    "module_in_body": Route(PLAIN, "import helpers as h\nreturn h.h_module_in_body(x)", REBIND),
    "submodule_in_body": Route(
        PLAIN, "import package.inner\nreturn package.inner.helpers.h_submodule_in_body(x)", REBIND
    ),
    "submodule": Route(PLAIN, "return package.inner.helpers.h_submodule(x)", REBIND),
    "getattr": Route(PLAIN, "return getattr(helpers, 'h_getattr')(x)", REBIND),
    "default": Route(PLAIN, "return g(x)", REBIND, ", g=helpers.h_default"),
    "comprehension": Route(PLAIN, "return [helpers.h_comprehension(y) for y in [x]][0]", REBIND),
    "lambda_in_body": Route(PLAIN, "return (lambda y: h_lambda_in_body(y))(x)", REBIND),
    "helper_of_helper": Route(
        PLAIN + "def second_NAME(x): return h_NAME(x)\ndef third_NAME(x): return second_NAME(x)\n",
        "return helpers.third_helper_of_helper(x)",
        REBIND,
    ),
    "recursion": Route(
        """
        C_NAME = CONSTANT
        def h_NAME(x, n=3):
            return h_NAME(x, n - 1) if n else x + BODY + C_NAME
        """,
        "return helpers.h_recursion(x)",
        REBIND,
    ),
    "mutual_recursion": Route(
        """
        C_NAME = CONSTANT
        def h_NAME(x, n=3):
            return other_NAME(x, n - 1) if n else x + BODY
        def other_NAME(x, n):
            return h_NAME(x, n - 1) if n else x + BODY + C_NAME
        """,
        "return helpers.h_mutual_recursion(x)",
        "other_NAME = negative",
    ),
    "partial": Route(
        """
        def add_NAME(n, x):
            return x + BODY + n
        h_NAME = functools.partial(add_NAME, CONSTANT)
        """,
        "return helpers.h_partial(x)",
        REBIND,
    ),
    "wraps": Route(
        """
        def decorate_NAME(func):
            @functools.wraps(func)
            def wrapper(x):
                return func(x) + BODY
            return wrapper
        @decorate_NAME
        def h_NAME(x):
            return x + CONSTANT
        """,
        "return helpers.h_wraps(x)",
        REBIND,
    ),
    "lru_cache": Route(
        "C_NAME = CONSTANT\n@functools.lru_cache\ndef h_NAME(x): return x + BODY + C_NAME\n",
        "return helpers.h_lru_cache(x)",
        REBIND,
    ),
    "singledispatch": Route(
        "C_NAME = CONSTANT\n@functools.singledispatch\ndef h_NAME(x): return x + BODY + C_NAME\n",
        "return helpers.h_singledispatch(x)",
        "h_NAME.register(int, negative)",
    ),
    "context_manager": Route(
        "C_NAME = CONSTANT\n@contextlib.contextmanager\ndef h_NAME(x): yield x + BODY + C_NAME\n",
        "with helpers.h_context_manager(x) as y:\n    return y",
        "h_NAME = contextlib.nullcontext",
    ),
    "decorated": Route(
        "C_NAME = CONSTANT\n@dc.delayed\ndef h_NAME(x): return x + BODY + C_NAME\n",
        "return helpers.h_decorated(x)",
        REBIND,
    ),
    "callable_object": Route(
        """
        class Adder:
            def __init__(self, n):
                self.n = n
            def __call__(self, x):
                return x + BODY + self.n
        h_NAME = Adder(CONSTANT)
        """,
        "return helpers.h_callable_object(x)",
        REBIND,
    ),
    "inheritance": Route(
        """
        class Base:
            n = CONSTANT
            def add(self, x):
                return x + BODY + self.n
        class Derived(Base):
            pass
        """,
        "return helpers.Derived().add(x)",
        "Base.add = lambda self, x: -x",
    ),
    "static_method": Route(
        """
        class Tools:
            n = CONSTANT
            @staticmethod
            def add(x):
                return x + BODY + Tools.n
        """,
        "return helpers.Tools.add(x)",
        "Tools.add = negative",
    ),
    "properties": Route(
        """
        class Properties:
            @property
            def n(self):
                return CONSTANT
            @classmethod
            def add(cls, x):
                return x + BODY + cls().n
        """,
        "return helpers.Properties.add(x)",
        "Properties.n = 0",
    ),
    "dataclass": Route(
        """
        @dataclasses.dataclass
        class Settings:
            n: int = CONSTANT
            def add(self, x):
                return x + BODY + self.n
        """,
        "return helpers.Settings().add(x)",
        "Settings.add = lambda self, x: -x",
    ),
    "enum": Route(
        """
        class Level(enum.Enum):
            LOW = CONSTANT
            def add(self, x):
                return x + BODY + self.value
        """,
        "return helpers.Level.LOW.add(x)",
        "Level.add = lambda self, x: -x",
    ),
    "closure": Route(
        """
        def make_NAME(n):
            def inner(x):
                return x + BODY + n
            return inner
        h_NAME = make_NAME(CONSTANT)
        """,
        "return helpers.h_closure(x)",
        REBIND,
    ),
    "lambdas": Route(
        "C_NAME = CONSTANT\nh_NAME, o_NAME = lambda x: x + BODY + C_NAME, lambda x: x - 1 + C_NAME\n",
        "return helpers.h_lambdas(x)",
        "h_NAME, o_NAME = o_NAME, h_NAME",
    ),
    "table": Route(
        """
        def add_NAME(x):
            return x + BODY + t_NAME["n"]
        t_NAME = {"add": add_NAME, "n": CONSTANT}
        """,
        "return helpers.t_table['add'](x)",
        't_NAME["add"] = negative',
    ),
    "class_body": Route(
        """
        class Table:
            for n in range(CONSTANT):
                last = n + 1
            def add(self, x):
                return x + BODY + self.last
        """,
        "return helpers.Table().add(x)",
        "Table.last = 0",
    ),
    "metaclass": Route(
        """
        class Meta(type):
            def __call__(cls, n):
                made = super().__call__()
                made.n = n + BODY
                return made
        class Made(metaclass=Meta):
            pass
        C_NAME = CONSTANT
        """,
        "return x + helpers.Made(helpers.C_metaclass).n",
        "Meta.__call__ = lambda cls, n: type('Other', (), {'n': 0})",
    ),
    "registry": Route(
        """
        REGISTRY = {}
        def register(name):
            return lambda function: REGISTRY.setdefault(name, function)
        C_NAME = CONSTANT
        @register("add")
        def h_NAME(x):
            return x + BODY + C_NAME
        """,
        "return helpers.REGISTRY['add'](x)",
        'REGISTRY["add"] = negative',
    ),
    "subclass_registry": Route(
        """
        class Step:
            known = {}
            def __init_subclass__(cls):
                Step.known[cls.__name__] = cls
        class Add(Step):
            n = CONSTANT
            def run(self, x):
                return x + BODY + self.n
        """,
        "return helpers.Step.known['Add']().run(x)",
        "Add.run = lambda self, x: -x",
    ),
    "descriptor": Route(
        """
        class Field:
            def __init__(self, n):
                self.n = n
            def __get__(self, instance, owner):
                return self.n + BODY
        class Described:
            n = Field(CONSTANT)
        """,
        "return x + helpers.Described().n",
        "Described.n = 0",
    ),
    "partial_method": Route(
        """
        class Partly:
            def add(self, n, x):
                return x + BODY + n
            plus = functools.partialmethod(add, CONSTANT)
        """,
        "return helpers.Partly().plus(x)",
        "Partly.plus = lambda self, x: -x",
    ),
    "class_decorator": Route(
        """
        def adding(n):
            def decorate(cls):
                cls.add = lambda self, x: x + BODY + n
                return cls
            return decorate
        @adding(CONSTANT)
        class Decorated:
            pass
        """,
        "return helpers.Decorated().add(x)",
        "Decorated.add = lambda self, x: -x",
    ),
    "cached_property": Route(
        """
        class Cached:
            m = CONSTANT
            @functools.cached_property
            def n(self):
                return BODY + self.m
        """,
        "return x + helpers.Cached().n",
        "Cached.n = 0",
    ),
    "named_tuple": Route(
        """
        class Pair(typing.NamedTuple):
            n: int = CONSTANT
            def add(self, x):
                return x + BODY + self.n
        """,
        "return helpers.Pair().add(x)",
        "Pair.add = lambda self, x: -x",
    ),
    "generator": Route(
        """
        C_NAME = CONSTANT
        def h_NAME(x):
            yield x
            yield BODY + C_NAME
        """,
        "return sum(helpers.h_generator(x))",
        "h_NAME = lambda x: [0]",
    ),
    "vectorize": Route(
        "C_NAME = CONSTANT\n@np.vectorize\ndef h_NAME(x): return x + BODY + C_NAME\n",
        "return int(helpers.h_vectorize(x))",
        REBIND,
    ),
    "attrs_converter": Route(
        """
        C_NAME = CONSTANT
        @attrs.define
        class Converted:
            n = attrs.field(converter=lambda n: n + BODY)
        """,
        "return x + helpers.Converted(helpers.C_attrs_converter).n",
        "Converted = attrs.make_class('Converted', ['n'])",
    ),
    "attrs_validator": Route(
        """
        def check_NAME(instance, attribute, value):
            object.__setattr__(instance, "m", value + BODY)
        @attrs.define(slots=False)
        class Checked:
            n = attrs.field(default=CONSTANT, validator=[attrs.validators.instance_of(int), check_NAME])
        """,
        "return x + helpers.Checked().m",
        "Checked = attrs.make_class('Checked', {'m': attrs.field(default=0)})",
    ),
    "attrs_factory": Route(
        """
        C_NAME = CONSTANT
        @attrs.frozen
        class Built:
            n = attrs.field(factory=lambda: C_NAME + BODY)
        """,
        "return x + helpers.Built().n",
        "Built = attrs.make_class('Built', {'n': attrs.field(default=0)})",
    ),
    "pydantic_default": Route(
        """
        class Chosen(pydantic.BaseModel):
            n: int = CONSTANT
            names: set[str] = {"a", "b", "c"}
            def add(self, x):
                return x + BODY + self.n
        """,
        "return helpers.Chosen().add(x)",
        "Chosen.add = lambda self, x: -x",
    ),
    "pydantic_annotated": Route(
        """
        def after_NAME(n):
            return n + BODY
        class Annotated(pydantic.BaseModel):
            n: typing.Annotated[int, pydantic.AfterValidator(after_NAME)]
        C_NAME = CONSTANT
        """,
        "return x + helpers.Annotated(n=helpers.C_pydantic_annotated).n",
        "class Annotated(pydantic.BaseModel):\n    n: typing.Literal[10] = 0",
    ),
    "pydantic_validator": Route(
        """
        class Validated(pydantic.BaseModel):
            n: int = pydantic.Field(default_factory=lambda: CONSTANT, validate_default=True)
            @pydantic.field_validator("n")
            @classmethod
            def more(cls, n):
                return n + BODY
        """,
        "return x + helpers.Validated().n",
        "class Validated(pydantic.BaseModel):\n    n: int = 0",
    ),
    "validate_call": Route(
        """
        C_NAME = CONSTANT
        @pydantic.validate_call
        def h_NAME(x: int):
            return x + BODY + C_NAME
        """,
        "return helpers.h_validate_call(x)",
        "@pydantic.validate_call\ndef h_NAME(x: float): return 0",
    ),
    "beartype": Route(
        """
        C_NAME = CONSTANT
        @beartype.beartype
        def h_NAME(x: int):
            return x + BODY + C_NAME
        """,
        "return helpers.h_beartype(x)",
        REBIND,
    ),
    "types_of_fields": Route(
        """
        @dataclasses.dataclass
        class Typed:
            n: int = CONSTANT
            def add(self, x):
                (field,) = dataclasses.fields(self)
                return x + BODY + getattr(builtins, getattr(field.type, "__name__", field.type))(self.n)
        """,
        "return helpers.Typed().add(x)",
        "Typed = dataclasses.make_dataclass('Typed', [('n', bool, 9)], bases=(Typed,))",
    ),
    "reexport": Route(PLAIN, "return package.given(x)", "import package\npackage.given = negative"),
    "array": Route(
        "C_NAME = np.full(3, CONSTANT)\ndef h_NAME(x): return x + BODY + int(C_NAME[0])\n",
        "return helpers.h_array(x)",
        "C_NAME = np.zeros(3)",
    ),
}

HELPERS = """
import builtins
import contextlib
import dataclasses
import enum
import functools
import typing

import attrs
import beartype
import daskcache as dc
import numpy as np
import pydantic

def negative(x, *rest):
    return -x
"""

PROGRAM = """
import json
import sys

import dask
import daskcache as dc
from daskcache.testing import count_runs

import helpers
import package.inner
from helpers import h_global_name, h_lambda_in_body
"""

MAIN = """
@dc.delayed(target="{funcname}.json")
def after(value, options, scale=1):
    return [value, options["a"], options["b"], scale]

def main(root):
    dask.config.set({"daskcache.root": root})
    nodes = {name: globals()[f"via_{name}"](100) for name in NAMES}
    nodes["after"] = after(nodes["global_name"], {"a": 1, "b": 2}, scale=3)
    with count_runs() as runs:
        values = dask.compute(nodes, scheduler="sync")[0]
    print(json.dumps({"ran": sorted(runs()), "values": values}))

if __name__ == "__main__":
    main(sys.argv[1])
"""

#: Runs the program as a notebook with two cells: one that imports and defines, one that computes.
NOTEBOOK = """
import sys
from pathlib import Path

from IPython.core.interactiveshell import InteractiveShell

sys.path.insert(0, str(Path(__file__).parent))
cells = Path(__file__).with_name("program.py").read_text().partition("if __name__")
shell = InteractiveShell.instance()
for cell in (cells[0], "".join(cells[1:])):
    shell.run_cell(cell).raise_error()
"""

#: The same, by a program that compiles a cell as a whole.
WHOLE_CELLS = """
import linecache
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
text = Path(__file__).with_name("program.py").read_text()
linecache.cache["<cell 1>"] = (len(text), None, text.splitlines(True), "<cell 1>")
exec(compile(text, "<cell 1>", "exec"), globals())
"""

#: Arguments of Python that start the program, from a folder inside of its own.
STARTS = {
    "absolute path": lambda folder: [folder / "program.py"],
    "relative path": lambda folder: ["../program.py"],
    "module": lambda folder: ["-c", IMPORTING.format(folder=str(folder))],
    "notebook": lambda folder: ["../notebook.py"],
    "whole cells": lambda folder: ["../whole_cells.py"],
}
IMPORTING = "import sys; sys.path.insert(0, {folder!r}); import program; program.main(sys.argv[1])"

#: What each node gives for 100: x + 1 + 10.
VALUE = 111


def project(route: str | None = None, body=1, constant=10, rebinding="") -> dict[str, str]:
    """Text of each file; with another body, constant or rebinding for one route."""
    helpers, program, rebindings = [HELPERS], [PROGRAM], []
    for name, parts in ROUTES.items():
        edited = name == route
        text = textwrap.dedent(parts.helper)
        text = re.sub(r"\bBODY\b", str(body if edited else 1), text)
        text = re.sub(r"\bCONSTANT\b", str(constant if edited else 10), text)
        helpers.append(text.replace("NAME", name))
        if edited:
            rebindings.append(rebinding.replace("NAME", name))
        function = textwrap.indent(parts.body, "    ")
        program.append(
            '@dc.delayed(target="{funcname}.json")\n'
            f"def via_{name}(x{parts.parameters}):\n{function}\n"
        )
    main = MAIN.replace("NAMES", repr(sorted(ROUTES)))
    return {
        "helpers.py": "\n".join([*helpers, *rebindings]) + "\n",
        "package/__init__.py": "from helpers import h_reexport as given\n",
        "package/inner.py": "import helpers\n",
        "program.py": "\n".join([*program, main]),
        "notebook.py": NOTEBOOK,
        "whole_cells.py": WHOLE_CELLS,
    }


# ---- edits that change nothing ------------------------------------------------------------------


def on_lines(pattern: str, replacement: str | Callable) -> Callable[[str], str]:
    """An edit of all lines that match."""
    return lambda text: re.sub(pattern, replacement, text, flags=re.MULTILINE)


_DEF = r"^( *)def (\w+)\((.*)\):$"


def _in_other_order(text):
    """Functions that nothing at import time depends on, at the end of the file."""
    first, *blocks = re.split(r"\n\n+(?=\S)", text)
    moved = [block for block in blocks if "def third_" in block or "def via_" in block]
    main = [block for block in blocks if "__main__" in block]
    kept = [block for block in blocks if block not in moved and block not in main]
    return "\n\n".join([first, *kept, *moved[::-1], *main]) + "\n"


#: Edits of a file that must make nothing run.
HARMLESS: dict[str, Callable[[str], str]] = {
    "comment at the top": lambda text: "# a comment\n" + text,
    "license header": lambda text: "# Copyright\n" * 20 + "\n\n" + text,
    "encoding line": lambda text: "# -*- coding: utf-8 -*-\n" + text,
    "module docstring": lambda text: '"""What this is for."""\n' + text,
    "comments behind lines": on_lines(r"^( +return .*)$", r"\1  # why"),
    "comments between lines": on_lines(r"^( +)return", r"\1# what comes\n\1return"),
    "type comments": on_lines(r"^( +return .*)$", r"\1  # type: ignore"),
    "docstrings": on_lines(_DEF, r'\1def \2(\3):\n\1    """Do it."""'),
    "long docstrings": on_lines(_DEF, r'\1def \2(\3):\n\1    """Do it.\n\n\1    At length.\n\1    """'),
    "raw docstrings": on_lines(_DEF, r'\1def \2(\3):\n\1    r"""Do \\it."""'),
    "blank lines between functions": on_lines(r"^(def|class|@)", r"\n\n\n\1"),
    "blank lines in functions": on_lines(r"^( +)return", r"\n\n\1return"),
    "spaces at line ends": on_lines(r"$", "  "),
    "Windows line ends": lambda text: text.replace("\n", "\r\n"),
    "tabs": on_lines(r"^ +", lambda found: "\t" * (len(found[0]) // 4)),
    "two spaces": on_lines(r"^ +", lambda found: " " * (len(found[0]) // 2)),
    "no newline at the end": lambda text: text.rstrip("\n"),
    "other quotes": lambda text: text.replace("'", '"') if '"' not in text else _other_quotes(text),
    "spaces around operators": lambda text: text.replace(" + ", "+").replace(" - ", "  -  "),
    "parentheses": on_lines(r"^( +)return (.*)$", r"\1return (\2)"),
    "broken lines": on_lines(r"^( +)return (.*)$", r"\1return (\n\1    \2\n\1)"),
    "backslashes": on_lines(r"^( +)return (.*)$", r"\1return \\\n\1        \2"),
    "semicolons": on_lines(r"^( +return [^:\n]*)$", r"\1;"),
    "trailing commas": on_lines(r"^( *)def (\w+)\((\w.*)\):$", r"\1def \2(\n\1        \3,\n\1):"),
    "annotated parameters": on_lines(r"^( *def \w+)\(x([,)])", r"\1(x: float\2"),
    "annotated results": on_lines(
        r"^( *)def (?!h_validate_call|h_beartype)(\w+)\((.*)\):$", r"\1def \2(\3) -> 'object':"
    ),  # of those two they act
    "annotated constants": on_lines(r"^C_(\w+) = ", r"C_\1: object = "),
    "future annotations": lambda text: "from __future__ import annotations\n" + text,
    "an unused import": lambda text: text.replace(
        "import daskcache as dc", "import os\nimport daskcache as dc"
    ),
    "an unused function": lambda text: text.replace(
        "import daskcache as dc", "import daskcache as dc\ndef unused(): return 1\n"
    ),
    "an unused class": lambda text: text.replace(
        "import daskcache as dc", "import daskcache as dc\nclass Unused: n = 1\n"
    ),
    "an unused constant": lambda text: text.replace(
        "import daskcache as dc", "import daskcache as dc\nUNUSED = 5\n"
    ),
    "an unused decorated function": lambda text: text.replace(
        "import daskcache as dc", "import daskcache as dc\n@dc.delayed\ndef unused(): return 1\n"
    ),
    "functions in another order": _in_other_order,
    "numbers spelled differently": lambda text: re.sub(r"\b10\b", "0xA", text),
    "format directives": on_lines(r"^(def|class)", r"# fmt: off\n\1"),
}


def _other_quotes(text):
    return re.sub(r"(?<!\")\"([^\"'\n]*)\"(?!\")", r"'\1'", text)


#: Edits of what the program asks for that must make nothing run.
HARMLESS_CALLS = {
    "arguments by name": ('after(nodes["global_name"],', 'after(value=nodes["global_name"], options='),
    "arguments in another order": (
        'after(nodes["global_name"], {"a": 1, "b": 2}, scale=3)',
        'after(scale=3, options={"a": 1, "b": 2}, value=nodes["global_name"])',
    ),
    "nodes made in another order": ("for name in [", "for name in reversed(["),
}


#: Annotations that act, and what they become: by the route that they are of.
ACTING = {
    "validate_call": ("def h_validate_call(x: int)", "def h_validate_call(x: float)"),
    "beartype": ("def h_beartype(x: int)", "def h_beartype(x: object)"),
    "types_of_fields": ("class Typed:\n    n: int", "class Typed:\n    n: float"),
    "pydantic_default": (
        "class Chosen(pydantic.BaseModel):\n    n: int",
        "class Chosen(pydantic.BaseModel):\n    n: float",
    ),
}


class Edit(NamedTuple):
    """An edited project, and what has to run."""

    files: dict[str, str]
    ran: set[str]
    #: Of the nodes that run.
    value: int | None


def edits() -> dict[str, Edit]:
    """All edits by name."""
    found = {"none": Edit(project(), set(), None)}
    for name, route in ROUTES.items():
        ran = {f"via_{name}"} | ({"after"} if name == "global_name" else set())
        found[f"{name}: body"] = Edit(project(name, body=2), ran, VALUE + 1)
        found[f"{name}: constant"] = Edit(project(name, constant=11), ran, VALUE + 1)
        found[f"{name}: rebinding"] = Edit(project(name, rebinding=route.rebinding), ran, None)
    for what, edit in HARMLESS.items():
        for file in ("helpers.py", "program.py"):
            files = project()
            files[file] = edit(files[file])
            if files[file] != project()[file]:
                found[f"{what} in {file}"] = Edit(files, set(), None)
    for what, (old, new) in HARMLESS_CALLS.items():
        files = project()
        assert old in files["program.py"]
        files["program.py"] = files["program.py"].replace(old, new)
        if "reversed" in new:
            files["program.py"] = files["program.py"].replace("]}\n    nodes[", "])}\n    nodes[")
        found[what] = Edit(files, set(), None)
    for name, (old, new) in ACTING.items():
        files = project()
        assert old in files["helpers.py"]
        files["helpers.py"] = files["helpers.py"].replace(old, new)
        found[f"{name}: annotation"] = Edit(files, {f"via_{name}"}, VALUE)
    files = project()
    assert '{"a": 1, "b": 2}' in files["program.py"]
    files["program.py"] = files["program.py"].replace('{"a": 1, "b": 2}', '{"b": 2, "a": 1}')
    found["a dict in another order"] = Edit(files, {"after"}, None)
    return found
