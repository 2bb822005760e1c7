"""Functions of scripts that ran on workers: logs and tracebacks name their files."""

from __future__ import annotations

import functools
import pickle
import subprocess
import sys
import types

import cloudpickle

from daskcache.calls.code_files import files_of, name_files

_SCRIPT = """
import sys
import traceback
import daskcache as dc
from distributed import Client

def quotient(n):
    return 1 / n

@dc.delayed(target="{n}.json")
def part(n):
    return (lambda: quotient(n))()

if __name__ == "__main__":
    with Client(n_workers=1, threads_per_worker=1, dashboard_address=None):
        try:
            part(0).compute()
        except ZeroDivisionError:
            traceback.print_exc(file=sys.stdout)
"""


def test_the_log_of_a_worker_names_the_script(tmp_path):
    """So does the traceback; cloudpickle forgets the name."""
    script = tmp_path / "analysis.py"
    script.write_text(_SCRIPT)
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Compute Failed" in done.stderr
    for text in (done.stderr, done.stdout):
        assert "dynamic-code" not in text
        for line, function in ((12, "part"), (12, "<lambda>"), (8, "quotient")):
            assert f'File "<{script}>", line {line}, in {function}' in text


def test_files_of_all_that_travels(tmp_path):
    """Helpers, closures, inner functions, partials and methods get the names of their own files."""
    module = types.ModuleType("absent")
    for name, text in {"a.py": "def helper(): return 1\n", "b.py": _OTHERS}.items():
        exec(compile(text, tmp_path / name, "exec"), vars(module))
    for func in (module.outer, functools.partial(module.outer), module.Thing().method):
        copy = pickle.loads(cloudpickle.dumps(func))
        name_files(copy, files_of(func))
        inner = copy
        while not isinstance(inner, types.FunctionType):
            inner = inner.func if isinstance(inner, functools.partial) else inner.__func__
        assert inner.__code__.co_filename == f"<{tmp_path / 'b.py'}>"
        assert inner.__globals__["helper"].__code__.co_filename == f"<{tmp_path / 'a.py'}>"
        constants = [c for c in inner.__code__.co_consts if isinstance(c, types.CodeType)]
        assert {c.co_filename for c in constants} == {f"<{tmp_path / 'b.py'}>"}
        assert func() == copy() == [1]


_OTHERS = """
def outer():
    return [(lambda: helper())()]

class Thing:
    def method(self):
        return [(lambda: helper())()]
"""
