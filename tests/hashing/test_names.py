"""Stable names: classes keep theirs when they move, and some objects of packages count by name."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import textwrap
import types

import dask
import matplotlib
import numpy as np
import pytest
import scipy.fft
import scipy.stats

import daskcache as dc
from daskcache.errors import UnhashableArgument
from daskcache.hashing.encoder import hash_value
from daskcache.hashing.names import current_name, imported, name_of, process_name_of, public_name
from daskcache.targets.stores import StoreTarget

CLASSES = [name for name in dc.__all__ if isinstance(getattr(dc, name), type)]


@pytest.mark.parametrize("name", CLASSES)
def test_daskcaches_own_classes_are_named_as_users_import_them(name):
    """The name says nothing of the module, and gives the class again."""
    cls = getattr(dc, name)
    assert public_name(cls) == f"daskcache:{name}"
    assert imported(f"daskcache:{name}") is cls
    assert current_name(f"daskcache.some.older.module:{name}") == f"daskcache:{name}"


def test_other_classes_are_named_by_module_unless_they_say_their_name(define):
    """A class attribute is the name; a subclass does not inherit it."""
    module = define(
        """
        import daskcache as dc

        class Plain(dc.TextTarget):
            pass

        class Named(dc.TextTarget):
            public_name = "meshtools:Named"

        class Below(Named):
            pass
        """,
        module="meshtools_io",
    )
    assert public_name(module.Plain) == "meshtools_io:Plain"
    assert public_name(module.Named) == "meshtools:Named"
    assert public_name(module.Below) == "meshtools_io:Below"
    assert public_name(StoreTarget) == "daskcache.targets.stores:StoreTarget"
    assert current_name("meshtools_io:Plain") == "meshtools_io:Plain"


MESH = """
    import daskcache as dc

    class MeshTarget(dc.TextTarget):
        public_name = "meshtools:MeshTarget"

        def __init__(self, path, unit="mm"):
            super().__init__(path)
            self.unit = unit
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Write modules where installed packages lie, and import one."""
    folder = tmp_path / "site-packages"
    monkeypatch.syspath_prepend(folder)

    def install(module, source):
        path = folder / module.replace(".", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        for each in path.relative_to(folder).parents:
            (folder / each / "__init__.py").touch()
        path.with_suffix(".py").write_text(textwrap.dedent(source))
        for name in [name for name in sys.modules if name.partition(".")[0] == module.partition(".")[0]]:
            monkeypatch.delitem(sys.modules, name)
        return imported(f"{module}:MeshTarget")

    return install


def test_a_class_that_moves_reruns_nothing(installed, define, runs):
    """A node keeps its key when its target's class moves; so does one whose function names the class."""
    program = """
        import daskcache as dc

        def make(cls, runs):
            @dc.delayed(target=cls("a.txt", unit="um"))
            def stored():
                runs.note("stored")
                return "x"

            @dc.delayed(target="b.json")
            def naming():
                runs.note("naming")
                return cls.__name__

            return [stored(), naming()]
    """
    before = define(program).make(installed("meshtools.io", MESH), runs)
    assert dc.compute(*before) == ("x", "MeshTarget")
    after = define(program).make(installed("meshtools.formats", MESH), runs)
    assert [node.dc.key for node in after] == [node.dc.key for node in before]
    assert dc.compute(*after) == ("x", "MeshTarget")
    assert sorted(runs.names()) == ["naming", "stored"]
    assert after[0].dc.record["format"] == "meshtools:MeshTarget"


def test_classes_of_ours_as_values_count_by_name(monkeypatch):
    """A function may hold a class of daskcache's, or be given one: its module does not count."""
    before = hash_value((dc.ImageSource, dc.hash_objects))
    monkeypatch.setattr(dc.ImageSource, "__module__", "daskcache.storage.trash")
    monkeypatch.setattr(dc.hash_objects, "__module__", "daskcache.graph")
    assert hash_value((dc.ImageSource, dc.hash_objects)) == before


def test_records_that_name_classes_by_module_are_understood(root, tmp_path, runs):
    """A record from before: its node is complete, what it says is in today's names."""
    (tmp_path / "in.txt").write_text("x")

    @dc.delayed(target="a.txt")
    def copied(text):
        runs.note("copied")
        return text

    node = copied(dc.TextSource(tmp_path / "in.txt"))
    node.compute()
    (path,) = (root / ".daskcache" / "records").rglob("*.json")
    content = json.loads(path.read_text())
    content["format"] = "daskcache.targets.text:TextTarget"
    content["upstream"][0]["class"] = "daskcache.targets.text:TextSource"
    path.write_text(json.dumps(content))
    assert node.dc.state == "complete"
    record = node.dc.record
    assert record["format"] == "daskcache:TextTarget"
    assert record["upstream"][0]["class"] == "daskcache:TextSource"
    assert copied(dc.TextSource(tmp_path / "in.txt")).compute() == "x"
    assert dc.audit(node).counts["same"] == 1
    assert runs.names() == ["copied", "copied"]


# ---- objects in installed modules -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (scipy.stats.norm, "scipy.stats._continuous_distns:norm"),
        (scipy.fft.fft, "scipy.fft._basic:fft"),
        (scipy.stats.poisson, "scipy.stats._discrete_distns:poisson"),
    ],
)
def test_globals_of_installed_modules_have_names(value, name):
    """The name is where the object says that it is, or that of the module of its class."""
    assert name_of(value) == name


def test_the_state_of_a_process_counts_by_name(monkeypatch):
    """Environment, configuration and random states differ in each process."""
    state = [os.environ, dask.config.config, random._inst, np.random.mtrand._rand, random.shuffle]
    before = [hash_value(value) for value in state]
    assert process_name_of(os.environ) == "os:environ"
    monkeypatch.setenv("ANYTHING", "else")
    random.random(), np.random.rand()
    with dask.config.set({"anything": "else"}):
        assert [hash_value(value) for value in state] == before
    assert hash_value(dict(os.environ)) != before[0]


def test_settings_of_installed_packages_count_by_what_they_hold():
    """A function that is given them, or refers to them, sees what was set."""
    before = hash_value(matplotlib.rcParams)
    with matplotlib.rc_context({"lines.linewidth": 7.5}):
        assert hash_value(matplotlib.rcParams) != before
    assert hash_value(matplotlib.rcParams) == before


def test_what_cannot_be_taken_apart_counts_by_name():
    """Discrete distributions hold themselves, functions of uarray don't pickle."""
    distinct = [scipy.stats.poisson, scipy.stats.binom, scipy.fft.fft, scipy.fft.ifft, scipy.stats.norm]
    assert len({hash_value(value) for value in distinct}) == len(distinct)
    with pytest.raises(UnhashableArgument, match="cyclic"):
        hash_value(scipy.stats.poisson(3))


@pytest.mark.parametrize("value", [scipy.stats.norm(0, 1), np.random.RandomState(1), [1], object()])
def test_other_values_have_none(value):
    """An instance that a program made is not a global."""
    assert name_of(value) is None


class Own:
    """A class of the user's own."""


SINGLETON = Own()


def test_globals_of_the_users_modules_have_none():
    """They count by what they hold."""
    assert name_of(SINGLETON) is None


def test_a_global_that_was_replaced_loses_its_name(monkeypatch):
    """The name is that of what the module has now."""
    module = types.ModuleType("given")
    module.__file__ = f"{sys.prefix}/site-packages/given.py"
    thing = type("Thing", (), {"__module__": "given"})
    module.first, module.second = thing(), thing()
    first, second = module.first, module.second
    monkeypatch.setitem(sys.modules, "given", module)
    assert [name_of(first), name_of(second)] == ["given:first", "given:second"]
    module.second = thing()
    module.third = thing()
    assert [name_of(second), name_of(module.third)] == [None, "given:third"]


def test_functions_that_installed_packages_make_count_with_what_they_hold(monkeypatch):
    """Two closures of one factory, and two lambdas of one module, are two functions."""
    module = types.ModuleType("scaling")
    module.__file__ = f"{sys.prefix}/site-packages/scaling.py"
    text = """
def by(n):
    def scale(x):
        return x * n
    return scale
def plus(n):
    return lambda x, n=n: x + n
double, triple = (lambda x: 2 * x), (lambda x: 3 * x)
"""
    monkeypatch.setitem(sys.modules, "scaling", module)
    exec(compile(text, module.__file__, "exec"), vars(module))
    by, plus = module.by, module.plus
    made = [by(2), by(3), plus(2), plus(3), module.double, module.triple]
    assert len({hash_value(function) for function in made}) == 6
    assert [hash_value(f) for f in (by(2), plus(3))] == [hash_value(f) for f in (made[0], made[3])]


def test_drawing_random_numbers_changes_no_key():
    """A function that draws from a global state has one key, before it draws and after."""
    program = """
import random, sys
import numpy as np
import daskcache as dc
from numpy.random import rand
from random import shuffle

@dc.delayed(target="{key}.pkl")
def noisy(n):
    items = list(rand(n))
    shuffle(items)
    return items

node = noisy(3)
rand(), random.random()
print(noisy(3).dc.key, dc.plan(node).left)
"""
    seeds = [{**os.environ, "PYTHONHASHSEED": seed} for seed in ("1", "2")]
    run = [sys.executable, "-W", "error", "-c", program]
    found = {subprocess.check_output(run, env=environment, text=True) for environment in seeds}
    assert len(found) == 1
    assert found.pop().endswith(" 1\n")
