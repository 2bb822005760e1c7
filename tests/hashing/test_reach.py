"""What is reached through a function, as a list of parts; and the same seen by another process."""

from __future__ import annotations

import linecache
import sys
import types

import pytest

import daskcache as dc
from daskcache.hashing.changes import Part, code_changes, first_difference
from daskcache.hashing.code_objects import Import, bytecode_hash
from daskcache.hashing.fingerprints import fingerprint
from daskcache.hashing.functions import body_of
from daskcache.hashing.ownership import View, is_user_code, seen_as
from daskcache.hashing.reach import Reach

PROGRAM = """
import collections, dataclasses, enum, functools, typing
import numpy as np

LIMIT = 1
TABLE = {"low": 1}
HOOKS = {}

def smooth(x):
    return x + LIMIT

def plus(n, x):
    return n + x

add_one = functools.partial(plus, 1)

@dataclasses.dataclass
class Settings:
    gain: int = 1
    def scaled(self, x):
        return x * self.gain

class Level(enum.Enum):
    LOW = 1

Pair = collections.namedtuple("Pair", "first second")

class Point(typing.NamedTuple):
    x: int = 0
    def moved(self):
        return self.x + 1

class Shaped(typing.Protocol):
    def shape(self) -> int: ...

def by_name(x):
    return smooth(x)

def by_table(x):
    return x + TABLE["low"]

def by_partial(x):
    return add_one(x)

def by_classes(x):
    return Settings().scaled(x), Level.LOW, Pair(x, x), Point().moved(), Shaped

def make(n):
    def inner(x, k=2):
        return x + n + k
    return inner

closing = make(1)
"""


@pytest.fixture
def program(define):
    """The module of PROGRAM."""
    return define(PROGRAM)


def named(reach):
    """Kinds and names of the parts of a reach."""
    return [(part.kind, part.name) for part in reach.parts]


# ---- parts ---------------------------------------------------------------------------------------


def test_parts_stand_in_the_order_in_which_they_are_found(program):
    """First the function, then what it uses, each once."""
    parts = Reach(program.by_name).parts
    assert [(part.kind, part.module, part.name) for part in parts] == [
        ("function", "program", "by_name"),
        ("function", "program", "smooth"),
        ("constant", "program", "LIMIT"),
    ]
    assert parts[1].text == "def smooth(x):\n    return x + LIMIT\n"
    assert parts[1].place == f"{program.__file__}:9"
    assert (parts[2].text, parts[1].label, parts[2].label) == ("1", "smooth()", "LIMIT")


def test_values_that_hold_code_are_parts_wherever_it_stands(program):
    """A partial differs by its arguments; the function in it is a part of its own."""
    parts = {part.name: part for part in Reach(program.by_partial).parts}
    assert set(parts) == {"by_partial", "add_one", "plus"}
    other = [lambda: program.by_name, lambda: program.by_partial]  # the function has another place here
    among_others = {part.name: part for part in Reach(lambda: [f() for f in other]).parts}
    assert among_others["add_one"].hash == parts["add_one"].hash
    program.add_one = type(program.add_one)(program.plus, 2)
    changed = {part.name: part for part in Reach(program.by_partial).parts}
    assert changed["add_one"].hash != parts["add_one"].hash
    assert changed["plus"].hash == parts["plus"].hash


def test_classes_are_parts_by_what_they_declare(program):
    """Fields and members are parts, and the user's methods; what Python generates is not."""
    found = named(Reach(program.by_classes))
    assert [name for kind, name in found if kind == "class"] == ["Level", "Settings", "Shaped"]
    methods = {name for kind, name in found if kind == "function"}
    assert methods == {"by_classes", "Settings.scaled", "Point.moved", "Shaped.shape"}
    assert not [part for part in Reach(program.by_classes).parts if part.place.startswith("<")]


def test_closures_and_defaults_are_parts(program):
    """They go by the name of their function."""
    assert named(Reach(program.closing)) == [
        ("function", "make.<locals>.inner"),
        ("default", "make.<locals>.inner.k"),
        ("closure variable", "make.<locals>.inner.n"),
    ]


@pytest.mark.parametrize("source", [True, False])
def test_all_names_of_a_module_that_is_used_as_a_whole_count(program, monkeypatch, source):
    """Tables as well as functions: through another name of the module, and without source."""
    text = "import program\ndef f(x):\n    {}return {}TABLE"
    text = text.format("module = program; ", "module.") if source else text.format("", "program.")
    if source:
        monkeypatch.setitem(
            linecache.cache, "<cell>", (len(text), None, text.splitlines(True), "<cell>")
        )
    namespace = {"__name__": "__main__"}
    exec(compile(text, "<cell>", "exec"), namespace)
    before = fingerprint(namespace["f"])
    program.HOOKS["a"] = 1
    assert (fingerprint(namespace["f"]) == before) is not source
    now = fingerprint(namespace["f"])
    program.TABLE["low"] = 2
    assert fingerprint(namespace["f"]) != now


# ---- what still holds --------------------------------------------------------------------------------


def replace_code(program):
    program.smooth.__code__ = program.by_table.__code__


def replace_function(program):
    program.smooth = lambda x: x


def replace_constant(program):
    program.LIMIT = 5


def modify_table(program):
    program.TABLE["low"] = 5


def set_default(program):
    program.closing.__defaults__ = (5,)


def set_cell(program):
    program.closing.__closure__[0].cell_contents = 5


@pytest.mark.parametrize(
    ("change", "name", "is_code"),
    [
        (replace_code, "by_name", True),
        (replace_function, "by_name", True),
        (replace_constant, "by_name", False),
        (modify_table, "by_table", False),
        (set_default, "closing", False),
        (set_cell, "closing", False),
    ],
)
def test_a_reach_holds_until_something_changes(program, change, name, is_code):
    """Whatever changes is seen; whether it is code is told apart."""
    reach = Reach(getattr(program, name))
    assert reach.holds()
    assert reach.same_code()
    change(program)
    assert not reach.holds()
    assert reach.same_code() is not is_code
    assert Reach(getattr(program, name)).fingerprint != reach.fingerprint


# ---- with the eyes of another process ----------------------------------------------------------------


def without_source(func):
    """A copy of a function whose file is not here."""
    code = func.__code__.replace(co_filename="/elsewhere/program.py")
    return types.FunctionType(code, func.__globals__, func.__name__, func.__defaults__, func.__closure__)


@pytest.mark.parametrize("name", ["by_name", "by_table", "by_partial", "closing"])
def test_code_whose_source_stayed_behind_is_known_by_its_bytecode(program, name):
    """A worker that has no source makes the client's fingerprint with what the client found in it."""
    func = getattr(program, name)
    reach = Reach(func)
    copy = without_source(func)
    assert Reach(copy).fingerprint != reach.fingerprint
    assert bytecode_hash(copy.__code__) == body_of(copy.__code__).hash
    with seen_as(View(frozenset(reach.modules), reach.bodies())):
        assert Reach(copy).fingerprint == reach.fingerprint


def test_the_client_says_which_modules_are_the_users(program, monkeypatch):
    """A module that is installed here and edited there is looked into, and the other way round."""
    reach = Reach(program.by_name)
    assert reach.modules == {"program"}
    monkeypatch.setattr("daskcache.hashing.ownership.is_user_file", lambda file: False)
    installed = Reach(program.by_name)
    assert named(installed) == [("function", "by_name")]
    with seen_as(View(frozenset({"program"}), {})):
        assert Reach(program.by_name).fingerprint == reach.fingerprint
    monkeypatch.undo()
    assert is_user_code(program.smooth)
    with seen_as(View(frozenset(), {})):
        assert Reach(program.by_name).fingerprint == installed.fingerprint


@pytest.mark.parametrize(
    "found", [Import(0, "absent_module", None), Import(0, "json", "absent"), Import(1, "absent", None)]
)
def test_what_another_process_saw_adds_no_import(program, tmp_path, monkeypatch, found):
    """A file in a root tells what the client saw: what the code itself doesn't import stays out."""
    (tmp_path / "absent_module.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    copy = without_source(program.by_name)
    seen = body_of(copy.__code__)._replace(imports={"x": found}, chains=(("x", "y"),))
    with seen_as(View(frozenset({"absent_module", "json"}), {seen.hash: seen})):
        assert "x" not in str(named(Reach(copy)))
    assert not any("absent" in name for name in sys.modules)


def importing():
    import json as the_json
    import os.path
    from os import path as p
    from os import sep

    if False:
        import tomllib
    return the_json, os, p, sep, tomllib


def test_imports_that_another_process_saw(program):
    """Those that the code does make are looked at, under the names that they have in the source."""
    copy = without_source(importing)
    with seen_as(View(frozenset({"json", "os"}), Reach(importing).bodies())):
        found = body_of(copy.__code__).imports
    assert found == {**body_of(importing.__code__).imports, "tomllib": Import(0, "", None)}


# ---- differences -------------------------------------------------------------------------------------


def part(name, hashed="1", kind="function", module="m", text="", place="f.py:1"):
    return Part(kind, module, name, hashed, text, place)


def test_the_first_difference_is_the_cause():
    """What differs comes before what is missing, and that before what was added."""
    before = [part("gone"), part("f"), part("g")]
    now = [part("f"), part("new"), part("g", "2")]
    assert first_difference(before, now) == (before[2], now[2])
    assert first_difference(before[:2], now[:1]) == (before[0], None)
    assert first_difference(before[1:2], now[:2]) == (None, now[1])
    assert first_difference(before, before) is None


def test_differences_in_some_modules():
    """Parts in other modules can be left out."""
    before, now = [part("f"), part("g", module="n")], [part("f", "2"), part("g", "2", module="n")]
    assert first_difference(before, now, {"n"}) == (before[1], now[1])
    assert first_difference(before, now, {"o"}) is None


def test_parts_of_one_name_are_compared_in_their_order():
    """Several lambdas, say, in one module."""
    before = [part("<lambda>", "1"), part("<lambda>", "2")]
    assert first_difference(before, list(before)) is None
    now = [part("<lambda>", "1"), part("<lambda>", "3")]
    assert first_difference(before, now) == (before[1], now[1])
    assert code_changes(before, now) == ["helper <lambda>() changed (f.py:1)"]


def test_long_diffs_are_cut():
    """A rewritten function shows the first lines of its diff, and how many follow."""
    before = part("f", "1", text="\n".join(map(str, range(50))))
    now = part("f", "2", text="\n".join(map(str, range(100, 150))))
    (change,) = code_changes([before], [now], "f")
    lines = change.splitlines()
    assert lines[0] == "the code of f() changed (f.py:1)"
    assert len(lines) == 1 + 20 + 1
    assert lines[-1] == "    … and 81 more lines"


def test_values_show_what_they_were():
    """Constants and classes show both texts; what came and went is named."""
    before = [part("LIMIT", "1", "constant", text="1"), part("Level", "1", "class", text="a"), part("g")]
    now = [part("LIMIT", "2", "constant", text="2"), part("Level", "2", "class", text="b"), part("h")]
    assert code_changes(before, now) == [
        "constant LIMIT: 1 -> 2",
        "class Level: a -> b",
        "helper g() is no longer used",
        "helper h() is used now",
    ]


def test_code_is_analysed_once_until_something_is_rebound(define, monkeypatch):
    """Calls and plans look whether all is as it was; only a rebinding makes them look into the code."""
    explored = []
    explore = Reach._explore

    def counted(self, *args):
        explored.append(self)
        return explore(self, *args)

    monkeypatch.setattr(Reach, "_explore", counted)
    module = define(
        "import daskcache as dc\nFACTOR = 2\ndef helper(x): return x * FACTOR\n"
        "@dc.delayed\ndef f(x): return helper(x)\n"
    )
    nodes = [module.f(i) for i in range(100)]
    dc.plan(*nodes)
    assert len(explored) == 1
    module.FACTOR = 3
    nodes = [module.f(i) for i in range(100)]
    dc.plan(*nodes)
    assert len(explored) == 2
