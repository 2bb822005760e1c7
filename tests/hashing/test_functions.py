"""Fingerprints of functions: what counts as a change of the code, and what doesn't."""

from __future__ import annotations

import ast
import functools
import importlib.util
import linecache
import math
import operator
import os
import subprocess
import sys
import threading
import warnings

import dask
import numpy as np
import pytest

import daskcache as dc
from daskcache.errors import UnhashableArgument
from daskcache.hashing import code_objects
from daskcache.hashing.fingerprints import fingerprint
from daskcache.hashing.ownership import is_user_code
from daskcache.hashing.reach import Reach

BASE = """
def f(x, k=1):
    y = x + 1
    for i in range(3):
        y += i * k
    return y
"""


def of(define, source, module="program"):
    return Reach(define(source, module).f).fingerprint


# ---- what does not count -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        BASE,
        "\n\n\n# moved down\n" + BASE,
        BASE.replace("def f", "# comment\ndef f").replace("y = x + 1", "y = x + 1  # why"),
        BASE.replace("    y = x + 1", '    """A docstring."""\n    y = x + 1'),
        BASE.replace("    y = x + 1", "    'another'\n    y = x + 1"),
        BASE.replace("x, k=1", "x: int, k: float = 1").replace("):\n    y", ") -> int:\n    y"),
        BASE.replace("y = x + 1", "y: int = x + 1"),
        BASE.replace("y = x + 1", "z: int\n    y = x + 1"),
        BASE.replace("x + 1", "(x\n        + 1)"),
        BASE.replace("x + 1", "x+1").replace("i * k", "(i*k)"),
        BASE.replace("    ", "\t"),
        BASE.replace("y = x + 1", "y = x + 0x1"),
        "import os\nOTHER = 5\n" + BASE + "\ndef g(): pass\n",
        "def decorate(f): return f\n@decorate\n" + BASE.strip(),
        "if True:\n" + "".join(f"    {line}\n" for line in BASE.splitlines()),
        "class C:\n" + "".join(f"    {line}\n" for line in BASE.splitlines()) + "\nf = C.f\n",
    ],
)
def test_what_does_not_count(define, source):
    """Comments, docstrings, annotations, formatting, place and decorators are no change."""
    assert of(define, source) == of(define, BASE)


def test_the_name_does_not_count(define):
    """A renamed function has the same fingerprint."""
    renamed = BASE.replace("def f", "def g") + "\nf = g\n"
    assert of(define, renamed) == of(define, BASE)


def test_file_and_module_do_not_count(define):
    """A function that moved to another module has the same fingerprint."""
    assert of(define, BASE, "one") == of(define, BASE, "two")


def test_raw_and_quoted_texts_are_one():
    """Ways to write one constant are one constant."""
    assert Reach(lambda: "a\\b").fingerprint == Reach(lambda: r"a\b").fingerprint


# ---- what counts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("x + 1", "x + 2"),
        ("x + 1", "x + 1.0"),
        ("x + 1", "x + True"),
        ("x + 1", "x - 1"),
        ("x + 1", "1 + x"),
        ("k=1", "k=2"),
        ("k=1", "k=1.0"),
        ("k=1", "k=True"),
        ("k=1", "k=None"),
        ("k=1", "k"),
        ("x, k=1", "x, *, k=1"),
        ("x, k=1", "x, /, k=1"),
        ("x, k=1", "x, k=1, *args"),
        ("range(3)", "range(4)"),
        ("i * k", "i ** k"),
        ("return y", "return -y"),
        ("return y", "return None"),
        ("return y", "return 'y'"),
        ("return y", "return b'y'"),
        ("return y", "yield y"),
        ("def f", "async def f"),
        ("y = x + 1", "y = x + 1; print(y)"),
        ("y = x + 1", "y = 'text'\n    y = x + 1"),
        ("range(3)", "list(range(3))"),
    ],
)
def test_what_counts(define, old, new):
    """Constants, operators, defaults, parameters and statements are changes."""
    assert old in BASE
    assert of(define, BASE.replace(old, new)) != of(define, BASE)


def test_all_constants_are_told_apart():
    """Functions that differ in one constant only differ, whatever they share of their bytecode."""
    functions = [
        lambda: 1,
        lambda: 1.0,
        lambda: True,
        lambda: "1",
        lambda: b"1",
        lambda: 0.0,
        lambda: -0.0,
        lambda: (1, 2),
        lambda: [1, 2],
        lambda: {1, 2},
        lambda: None,
        lambda: ...,
        lambda: 1j,
    ]
    assert len({Reach(f).fingerprint for f in functions}) == len(functions)


def test_inner_functions_count(define):
    """Code of inner functions and lambdas is part of a function's code; their names are, too."""
    source = "def f(x):\n    def inner(y):\n        '''doc'''\n        return y + {}\n    return inner"
    assert of(define, source.format(1)) != of(define, source.format(2))
    assert of(define, source.format(1)) == of(
        define, source.format("1  # one").replace("'''doc'''", "'''d'''")
    )


def closing_over(value):
    def f(x):
        return x, value

    return f


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (1, 2),
        (1, 1.0),
        ([1], [1, 2]),
        (np.zeros(3), np.ones(3)),
        (len, max),
        (math.sin, math.cos),
        (lambda x: x + 1, lambda x: x + 2),
        (closing_over(1), closing_over(2)),
        (functools.partial(operator.add, 1), functools.partial(operator.add, 2)),
        ({"f": closing_over(1)}, {"f": closing_over(2)}),
    ],
)
def test_closure_values_count(one, two):
    """What a function closes over is part of it: values, functions, and what those close over."""
    assert Reach(closing_over(one)).fingerprint == Reach(closing_over(one)).fingerprint
    assert Reach(closing_over(one)).fingerprint != Reach(closing_over(two)).fingerprint


def test_functions_as_defaults_count():
    """A default that is a function counts by its code."""

    def with_default(default):
        def f(x, g=default):
            return g(x)

        return f

    one, two = with_default(lambda v: v), with_default(lambda v: -v)
    assert Reach(one).fingerprint != Reach(two).fingerprint
    assert Reach(with_default(lambda v: v)).fingerprint == Reach(one).fingerprint


def test_a_keyword_only_default_counts(define):
    """Defaults of keyword-only parameters count."""
    source = "def f(x, *, k={}): return k"
    assert of(define, source.format(1)) != of(define, source.format(2))


def test_several_lambdas_on_one_line():
    """Lambdas that share a line, and even their names, are told apart."""
    first, second, third = lambda x: x + 1, lambda x: x + 2, lambda y: y + 1
    assert len({Reach(f).fingerprint for f in (first, second, third)}) == 3
    again, _ = lambda x: x + 1, 0
    assert Reach(again).fingerprint == Reach(first).fingerprint


def test_lambdas_that_close_over_other_values_on_one_line():
    """Lambdas on one line with equal code are told apart by what they close over."""
    functions = [(lambda n: lambda x: x + n)(m) for m in range(3)]
    assert len({Reach(f).fingerprint for f in functions}) == 3


def test_recursive_functions():
    """A function that reaches itself, or its caller, through its closure has a fingerprint."""

    def make(step):
        def down(n):
            return 0 if n <= 0 else up(n - step)

        def up(n):
            return 0 if n <= 0 else down(n - step)

        return down

    assert Reach(make(1)).fingerprint == Reach(make(1)).fingerprint
    assert Reach(make(1)).fingerprint != Reach(make(2)).fingerprint


def test_a_fingerprint_does_not_depend_on_what_was_hashed_before():
    """Functions that refer to each other have the same fingerprints whichever is looked at first."""

    def make():
        def even(n):
            return n == 0 or odd(n - 1)

        def odd(n):
            return n != 0 and even(n - 1)

        return even, odd

    even, odd = make()
    first = Reach(even).fingerprint, Reach(odd).fingerprint
    even, odd = make()
    second = Reach(odd).fingerprint, Reach(even).fingerprint
    assert first == second[::-1]
    assert first[0] != first[1]


def test_fingerprints_do_not_depend_on_other_functions_of_the_process(tmp_path):
    """Functions that compile to one bytecode keep their fingerprints, whichever is looked at first."""
    for name, constant in (("one", "1+2"), ("two", "0x3")):
        (tmp_path / f"{name}.py").write_text(f"def f(x): return abs({constant})\n")
    code = "import one, two; from daskcache.hashing.fingerprints import fingerprint as p\n"
    found = set()
    for order in ("a = p(one.f); b = p(two.f)", "b = p(two.f); a = p(one.f)"):
        command = [sys.executable, "-c", f"{code}{order}; print(a, b)"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found.add(done.stdout)
    assert len(found) == 1


def test_fingerprints_in_many_threads_agree():
    """Threads that look at one function at the same time find one fingerprint."""
    helpers = [closing_over(n) for n in range(200)]
    f = closing_over(helpers)
    expected = Reach(f).fingerprint
    found = []

    def look():
        found.extend(Reach(f).fingerprint for _ in range(10))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=look) for _ in range(4)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    finally:
        sys.setswitchinterval(interval)
    assert set(found) == {expected}


def test_closure_values_without_identity_name_the_variable():
    """A closure over what has no identity raises, naming the variable and the function."""
    handle = object()

    def handling():
        return handle

    with pytest.raises(UnhashableArgument, match=r"closure variable 'handle' of .*handling"):
        Reach(handling).fingerprint


def test_closures_over_variables_that_are_not_assigned_yet():
    """A cell that is still empty is no error."""

    def make():
        def f():
            return later

        early = fingerprint(f)
        later = 1
        return early, fingerprint(f)

    early, late = make()
    assert early != late


# ---- other callables -----------------------------------------------------------------------------


def test_functions_of_c():
    """Built-in functions and ufuncs count by module and name."""
    found = {
        fingerprint(f)
        for f in (len, max, math.sin, math.cos, operator.add, str.upper, [].append, np.sin, np.cos)
    }
    assert len(found) == 9
    assert fingerprint(len) == fingerprint(len)


def test_bound_methods_count_by_what_they_are_bound_to():
    """A bound method counts with its instance."""
    assert fingerprint("a".upper) == fingerprint("a".upper) != fingerprint("b".upper)
    assert fingerprint([1].count) != fingerprint([2].count)


def test_installed_functions_count_by_name():
    """Functions of installed packages count by module and name, not by code."""
    assert not is_user_code(np.linalg.norm)
    assert not is_user_code(os.path.join)
    assert is_user_code(test_installed_functions_count_by_name)
    assert fingerprint(os.path.join) != fingerprint(os.path.split)


def test_classes_of_the_user_count_by_source(define):
    """A class counts by the code of its body and of its bases; docstrings don't count."""
    source = """
class Base:
    def helper(self): return {base}

class C(Base):
    '''{doc}'''
    constant = {constant}

    def method(self): return self.helper()
"""

    def of_class(base=1, doc="", constant=1):
        text = source.format(base=base, doc=doc, constant=constant)
        return fingerprint(define(text).C)

    assert of_class() == of_class() == of_class(doc="Documented.")
    assert len({of_class(), of_class(base=2), of_class(constant=2)}) == 3


def test_bound_methods_of_the_user_count_by_code_and_instance(define):
    """A bound method of a user class counts by the method's code and by the instance's state."""
    source = (
        "class C:\n    def __init__(self, n): self.n = n\n    def f(self, x): return x + {}\nf = C({}).f"
    )
    found = {of(define, source.format(added, n)) for added in (1, 2) for n in (1, 2)}
    assert len(found) == 4
    assert of(define, source.format(1, 1)) in found


def test_decorators_of_inner_functions_count(define):
    """A decorator in a body runs with it: its arguments are part of the code."""
    source = (
        "def times(n):\n    return lambda f: lambda x: n * f(x)\n"
        "def f(x):\n    @times({})\n    def inner(y): return y\n    return inner(x)\n"
    )
    assert of(define, source.format(2)) == of(define, source.format("0x2"))
    assert of(define, source.format(2)) != of(define, source.format(3))


def test_attributes_of_functions_count(define):
    """An attribute of a function counts where it is read."""
    source = "def helper(x): return x\nhelper.factor = {}\ndef f(x): return helper(x) * helper.factor\n"
    assert of(define, source.format(2)) != of(define, source.format(3))
    unread = source.replace("* helper.factor", "")
    assert of(define, unread.format(2)) == of(define, unread.format(3))


@pytest.mark.parametrize(
    "body",
    [
        "global state; state = state or x; return state",
        "state[x] = 1; return state[x]",
        "state[x] += 1; return state",
        "del state[x]",
        "state.update({x: 1}); return state",
        "state.setdefault(x, []).append(x)",
    ],
)
def test_a_global_that_functions_fill_is_their_state(define, body):
    """What functions assign or fill themselves, such as a cache, is no constant; what they read is."""
    source = f"state = {{}}\ndef helper(x): {body}\ndef f(x): return helper(x), state\n"
    module = define(source)
    before = fingerprint(module.f)
    module.state["filled"] = 1
    assert fingerprint(module.f) == before
    module.state = {1: 2}
    assert fingerprint(module.f) == before

    module = define("state = {}\ndef f(x): return state\ndef fill(x): state[x] = 1\n")
    before = fingerprint(module.f)
    module.fill("filled")
    assert fingerprint(module.f) != before


@pytest.mark.parametrize(
    ("body", "change"),
    [
        ("from program import helper; return helper(x)", "helper = lambda x: -x"),
        ("import program as p; return p.helper(x)", "helper = lambda x: -x"),
        ("return Derived().add(x)", "Derived.add = lambda self, x: -x"),
        ("return Derived.n", "Derived.n = 2"),
    ],
)
def test_what_is_rebound_in_a_running_process_counts_at_once(define, body, change):
    """What a body imports, and what hides an inherited attribute, may be replaced at any time."""
    module = define(
        "def helper(x): return x\n"
        "class Base:\n    n = 1\n    def add(self, x): return x\nclass Derived(Base): pass\n"
        f"def f(x):\n    {body}\n"
    )
    before = fingerprint(module.f)
    exec(change, vars(module))
    assert fingerprint(module.f) != before


def test_installed_modules_count_alike_before_and_after_they_are_imported(tmp_path):
    """An import in a body has no say in the key before it runs: the first run would change it."""
    (tmp_path / "steps.py").write_text(
        "def f(x):\n    from colorsys import rgb_to_hsv\n    import tabnanny\n"
        "    return rgb_to_hsv(x, x, x)\n"
    )
    code = (
        "import sys, steps; from daskcache.hashing.reach import Reach\n"
        "before = Reach(steps.f).fingerprint; assert 'colorsys' not in sys.modules\n"
        "import colorsys, tabnanny; print(before == Reach(steps.f).fingerprint)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr


def test_functions_that_are_hashed_are_not_kept_for_ever():
    """Arguments that are functions, made anew for each call, don't fill the memory."""
    import gc
    import weakref

    def make(n):
        return lambda x: x + n

    references = []
    for n in range(3000):
        func = make(n)
        fingerprint(func)
        references.append(weakref.ref(func))
    del func
    gc.collect()
    assert sum(reference() is not None for reference in references) <= 1024


def test_a_class_that_refers_to_itself(define):
    """Classes whose methods name the class itself have fingerprints."""
    source = "class C:\n    def twin(self): return C()\n    def __init__(self): super().__init__()"
    assert fingerprint(define(source).C) == fingerprint(define(source).C)


# ---- through the decorator -----------------------------------------------------------------------


def test_version_stands_for_the_code(define):
    """With `version=` edits don't count, and another version does."""
    source = "import daskcache\n@daskcache.delayed(version={version!r})\ndef f(x): return x + {n}"

    def key(version, n):
        return define(source.format(version=version, n=n)).f(1).dc.key

    assert key("1.0", 1) == key("1.0", 2)
    assert len({key("1.0", 1), key("1.1", 1), key(1.0, 1), key(1, 1)}) == 4


def _scaled(by):
    def scaled(x):
        return x * by

    return scaled


class _Scale:
    def __init__(self, by):
        self.by = by

    def __call__(self, x):
        return x * self.by

    def method(self, x):
        return x * self.by


def test_functions_do_not_share_a_version():
    """Of one version are a function's edits, not two functions, whatever tells them apart."""

    def double(x):
        return 2 * x

    def square(x):
        return x * x

    different = {
        "names": (double, square),
        "lambdas": (lambda x: 2 * x, lambda x: x * x),
        "closures": (_scaled(2), _scaled(3)),
        "partials": (functools.partial(pow, 2), functools.partial(pow, 3)),
        "functions in partials": (functools.partial(double), functools.partial(square)),
        "objects": (_Scale(2), _Scale(3)),
        "methods": (_Scale(2).method, _Scale(3).method),
        "wrappers": (functools.lru_cache(double), functools.lru_cache(square)),
    }
    decorate = dc.delayed(version="1")
    for what, functions in different.items():
        first, second = (decorate(function)(10).dc.key for function in functions)
        assert first != second, what
    assert dask.compute(decorate(double)(10), decorate(square)(10), scheduler="sync") == (20, 100)
    assert decorate(_scaled(2))(10).dc.key == decorate(_scaled(2))(10).dc.key


def test_a_helper_with_a_version_is_told_from_others(define):
    """A function that calls another one of the same version instead is another function."""
    source = (
        "import daskcache as dc\n@dc.delayed(version=1)\ndef double(x): return 2 * x\n"
        "@dc.delayed(version=1)\ndef square(x): return x * x\nhelper = {}\n"
        "@dc.delayed\ndef f(x): return helper(x)\n"
    )
    assert define(source.format("double")).f(1).dc.key != define(source.format("square")).f(1).dc.key


def test_scripts_do_not_share_a_version(tmp_path):
    """A function of a script is told from one of the same name in another; imported, it is itself."""
    source = (
        "import daskcache as dc\n@dc.delayed(version=1)\ndef load(x): return x\nprint(load(1).dc.key)"
    )
    ways = {
        "one": ["one.py"],
        "other": ["other.py"],
        "imported": ["-c", "import one"],
        "in a package": ["-m", "pack.one"],
        "imported from the package": ["-c", "import pack.one"],
    }
    (tmp_path / "pack").mkdir()
    for place in ("one.py", "other.py", "pack/one.py", "pack/__init__.py"):
        (tmp_path / place).write_text("" if "__init__" in place else source)
    keys = {
        way: subprocess.run(
            [sys.executable, *command], cwd=tmp_path, text=True, check=True, stdout=subprocess.PIPE
        ).stdout
        for way, command in ways.items()
    }
    assert keys["one"] == keys["imported"]
    assert keys["in a package"] == keys["imported from the package"]
    assert len(set(keys.values())) == 3


def test_what_a_closure_holds_without_identity_is_left_to_the_version():
    """A version may stand for what can't be hashed; two of a kind can't be told apart then."""
    lock = threading.Lock()
    assert dc.delayed(lambda x: (lock, x)[1], version=1)(1).dc.key


def test_edits_make_new_keys(define):
    """An edited function gives its nodes new keys; comments and docstrings don't."""
    source = "import daskcache\n@daskcache.delayed\ndef f(x):\n    {}\n    return x + {}"

    def key(first, n):
        return define(source.format(first, n)).f(1).dc.key

    assert key("'doc'", 1) == key("# comment", 1) == key("'other'", 1)
    assert key("'doc'", 1) != key("'doc'", 2)


def test_options_are_not_part_of_the_key(define):
    """Target, label and the other options of the decorator do not change keys."""
    bare = "import daskcache\n@daskcache.delayed\ndef f(x): return x"
    rich = (
        "import daskcache\n@daskcache.delayed(target='{x}.json', label='l', check='content')\n"
        "def f(x): return x"
    )
    assert define(bare).f(1).dc.key == define(rich).f(1).dc.key


def test_keys_are_the_same_in_every_process(tmp_path):
    """A script's keys are the same in each process, whatever its folder and PYTHONHASHSEED."""
    source = (
        "import functools, daskcache as dc\n"
        "table = frozenset('abc')\n"
        "def make(words):\n"
        "    @dc.delayed\n"
        "    def f(x, names={'p', 'q'}): return x in {'u', 'v', 'w'} or words\n"
        "    return f\n"
        "print(make(table)(1).dc.key, dc.delayed(lambda x: x)(1).dc.key)\n"
    )
    found = set()
    for i, seed in enumerate(("0", "7", "random")):
        script = tmp_path / f"dir{i}" / "script.py"
        script.parent.mkdir()
        script.write_text(source)
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, str(script)], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        found.add(done.stdout)
    assert len(found) == 1


def test_a_module_that_is_loaded_again_after_an_edit(tmp_path, monkeypatch):
    """Editing and reloading one file gives the new code's key; restoring it, the old one."""
    path = tmp_path / "edited.py"
    template = "import daskcache\n@daskcache.delayed\ndef f(x): return x + {}\n"

    def load(n):
        path.write_text(template.format(n))
        os.utime(path, ns=(n * 10**9, n * 10**9))
        spec = importlib.util.spec_from_file_location("edited", path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "edited", module)
        exec(compile(path.read_text(), str(path), "exec"), module.__dict__)
        return module

    first = load(1).f(1).dc.key
    second = load(2).f(1)
    assert second.dc.key != first
    assert second.compute() == 3
    assert load(1).f(1).dc.key == first


def test_a_notebook_cell_that_is_run_again():
    """Functions of `__main__` cells are keyed by source: an equal cell, an equal key."""

    def run_cell(source, name):
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        namespace = {"__name__": "__main__", "dc": dc}
        exec(compile(source, name, "exec"), namespace)
        return namespace["f"](1).dc.key

    cell = "@dc.delayed\ndef f(x):\n    return x + {}\n"
    one = run_cell(cell.format(1), "<ipython-input-1>")
    assert run_cell(cell.format(1), "<ipython-input-2>") == one
    assert run_cell("# again\n" + cell.format(1), "<ipython-input-3>") == one
    assert run_cell(cell.format(2), "<ipython-input-4>") != one


def test_parsing_survives_that_other_threads_parse(define, monkeypatch):
    """Python 3.11 can fail to make a syntax tree while another thread makes one: it is made again."""
    function = define(BASE, "parsed_at_once").f
    expected = fingerprint(function)
    code_objects._trees_in.cache_clear()
    parse, failures = code_objects.ast.parse, iter(range(3))

    def failing(*args, **kwargs):
        if next(failures, None) is not None:
            raise SystemError("AST constructor recursion depth mismatch (before=84, after=80)")
        return parse(*args, **kwargs)

    monkeypatch.setattr(code_objects.ast, "parse", failing)
    again = define(BASE, "parsed_at_once").f
    assert fingerprint(again) == expected
    assert next(failures, None) is None


_IMPORTING_CELL = """import math
import daskcache as dc
@dc.delayed
def f(x):
    return math.floor(x) + math.trunc(x)
"""


@pytest.mark.parametrize("whole", [True, False])
def test_a_cell_may_import_what_it_uses(whole):
    """The key is that of the same cell without the import, and no warning says that a file was edited.

    Whether a program compiles its cells as a whole, or statement by statement as IPython does.
    """
    namespace = {"__name__": "__main__"}

    def key_in_cell(source):
        name = f"<cell {whole} {len(source)}>"
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        tree = ast.parse(source)
        for module in [tree] if whole else [ast.Module([statement], []) for statement in tree.body]:
            exec(compile(module, name, "exec"), namespace)
        return namespace["f"](1).dc.key

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = key_in_cell(_IMPORTING_CELL)
        without = _IMPORTING_CELL.replace("import math\n", "")
        assert key_in_cell(without) == one
        assert key_in_cell(without.replace("    return", "    '''Both.'''\n    return")) == one
