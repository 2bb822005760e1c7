"""When objects that installed modules give count by their names."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import types

import dask
import matplotlib
import numpy as np
import pytest
import scipy.fft
import scipy.stats

from daskcache.errors import UnhashableArgument
from daskcache.hashing.encoder import hash_value
from daskcache.hashing.installed import name_of, process_name_of


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
