"""What names in records stand for: what was imported, and nothing whose reading runs code."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

import daskcache as dc
from daskcache.runtime.named import (
    Unknown,
    class_of,
    function_named,
    is_plain,
    source_class_named,
    target_of,
)

PROGRAM = """
import daskcache as dc
from daskcache.targets.stores import StoreTarget

class Mine(dc.FileSource):
    pass

class Odd(dc.Target):
    class Inner(dc.TextTarget):
        pass
    def write(self, value, path): pass
    def read(self, path): pass

class Unpickling(dc.FileSource):
    runs_code = True

class Store:
    def __init__(self, location): pass
    def save(self, data): pass
    def load(self): pass

@dc.delayed(target="x.json")
def f(a): return a

@dc.delayed(target=(dc.PickleTarget("a.pkl"), StoreTarget("b.dat", Store)))
def two(): return 1, 2

class Steps:
    @staticmethod
    @dc.delayed
    def static(n): return n

    @classmethod
    @dc.delayed
    def of_class(cls, n): return n

def plain(): pass

def __getattr__(name):
    raise AssertionError(f"the program was asked for {name}")
"""


@pytest.fixture
def program(define):
    return define(PROGRAM)


def record(format, target="x.txt", options=None):
    return SimpleNamespace(format=format, target=target, options=options)


@pytest.mark.parametrize("name", ["f", "Steps.static", "Steps.of_class"])
def test_functions_that_were_imported(program, name):
    """A decorated function is found by its module and qualified name."""
    assert function_named(f"program.{name}").name == name.rpartition(".")[2]


@pytest.mark.parametrize(
    ("name", "story"),
    [
        ("__main__.f", "in a script or notebook"),
        ("absent.f", "name it with --module absent"),
        ("absent.inner.f", "name it with --module absent.inner"),
        ("program.absent.f", "name it with --module program.absent"),
        ("program.missing", "has no missing"),
        ("program.f.func", "has no f.func"),
        ("program.Steps.static.__class__", "has no"),
        ("program.plain", "not a decorated function"),
        ("program.Mine", "not a decorated function"),
        ("os.system", "not a decorated function"),
        ("", "not imported here"),
        ("f", "not imported here"),
        ("program.", "has no "),
    ],
)
def test_names_of_no_function(program, name, story):
    """Anything else is unknown, and the reason says why; no module is asked for what it makes up."""
    with pytest.raises(Unknown, match=story):
        function_named(name)


@pytest.mark.parametrize("module", ["absent_module", "absent_package.inner"])
def test_nothing_is_imported_because_a_record_says_so(program, tmp_path, monkeypatch, module):
    """A module that is at hand and was not imported stays where it is."""
    place = tmp_path / f"{module.replace('.', '/')}.py"
    place.parent.mkdir(exist_ok=True)
    place.write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Unknown):
        function_named(f"{module}.f")
    with pytest.raises(Unknown):
        source_class_named(f"{module}:Mine")
    assert target_of(record(f"{module}:Mine")) is None
    assert not any(name.startswith("absent") for name in sys.modules)


@pytest.mark.parametrize("name", ["daskcache.targets.text:TextTarget", "daskcache:TextTarget"])
def test_own_formats(name):
    """daskcache's own classes are known by their public names, wherever records say that they are."""
    assert target_of(record(name)) == dc.TextTarget("x.txt")
    assert target_of(record("daskcache.some.former.home:TextTarget")) == dc.TextTarget("x.txt")


def test_formats_of_the_program(program):
    """So are classes of the program's own, nested ones too, with the options in the record."""
    assert target_of(record("program:Odd")) == program.Odd("x.txt")
    assert target_of(record("program:Odd.Inner")) == program.Odd.Inner("x.txt")
    told = record("daskcache:CSVTarget", options="{'dtype': {'a': 'category'}}")
    assert target_of(told) == dc.CSVTarget("x.txt", dtype={"a": "category"})


@pytest.mark.parametrize(
    "name",
    [
        *("os:system", "builtins:exec", "subprocess:Popen", "pathlib:Path", "program:f", "program:Mine"),
        *("program:made_up", "program:Odd.made_up.more", "program", "", ":", "daskcache:delayed"),
        *(
            "daskcache:errors",
            "daskcache.targets.stores:StoreTarget",
            "daskcache.targets.base:BytesTarget",
        ),
    ],
)
def test_names_of_no_format(program, name):
    """What names no format of the program's, or daskcache's, is none, and is not called."""
    assert target_of(record(name)) is None


@pytest.mark.parametrize("options", ["{'a': 1}", "[1]", "{1: 2}", "__import__('os')", "nonsense("])
def test_options_that_are_none(options):
    """Options that the class does not take, or that are no plain values, make no target."""
    assert target_of(record("daskcache:TextTarget", options=options)) is None


def test_formats_that_run_code_are_for_the_program_to_choose(program):
    """A pickle is read as one only where the function that the record is about has it as its format."""
    pickle = record("daskcache:PickleTarget")
    stored = record("daskcache.targets.stores:StoreTarget", options="{'store': 'program:Store'}")
    forged = record("daskcache.targets.stores:StoreTarget", options="{'store': 'os:system'}")
    for said in (pickle, stored, forged):
        assert target_of(said) is None
        assert target_of(said, program.f._spec) is None
    assert target_of(pickle, program.two._spec) == dc.PickleTarget("x.txt")
    assert target_of(stored, program.two._spec).store is program.Store
    assert target_of(forged, program.two._spec) is None


def test_sources(program):
    """A record's source is read by a class that was imported, and whose reading runs no code."""
    assert source_class_named("daskcache.targets.text:TextSource") is dc.TextSource
    assert source_class_named("program:Mine") is program.Mine
    for name, story in (
        ("program:Unpickling", "runs code"),
        ("daskcache.targets.objects:PickleSource", "runs code"),
        ("daskcache:PickleSource", "runs code"),
        ("program:Odd", "not a class of sources"),
        ("os:system", "not imported"),
        ("absent:Mine", "not imported"),
    ):
        with pytest.raises(Unknown, match=story):
            source_class_named(name)


def test_plain_classes(program):
    """Of daskcache's own classes it is known that their reading runs no code."""
    assert is_plain("daskcache.targets.text:TextSource")
    assert is_plain("daskcache:ZarrTarget")
    for name in (
        "daskcache:PickleTarget",
        "daskcache:delayed",
        "daskcache:Node",
        "program:Mine",
        "os:x",
    ):
        assert not is_plain(name)
    assert class_of("program:Mine") is program.Mine
