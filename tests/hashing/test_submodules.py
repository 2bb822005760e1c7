"""Modules that a function imports when it runs: their code counts, loaded or not."""

from __future__ import annotations

import importlib.metadata
import math
import operator
import subprocess
import sys

import pytest

import daskcache as dc
from daskcache.errors import GraphError
from daskcache.hashing import ownership
from daskcache.hashing.ownership import package_version

#: Ways to reach ``pkg/sub.py`` from a function: what runs before it is defined, and its body.
WAYS = {
    "import": ("", "import pkg.sub\n    return pkg.sub.area(x)"),
    "import as": ("", "import pkg.sub as s\n    return s.area(x)"),
    "from package": ("", "from pkg import sub\n    return sub.area(x)"),
    "from module": ("", "from pkg.sub import area\n    return area(x)"),
    "global package": ("import pkg\n", "return pkg.sub.area(x)"),
    "two deep": ("", "import pkg.inner.deep\n    return pkg.inner.deep.area(x)"),
}
SHOW = """
import sys
if {loaded}:
    import pkg.sub, pkg.inner.deep
from daskcache.hashing.reach import Reach
print(Reach(f).fingerprint)
"""


@pytest.mark.parametrize("has_source", [True, False], ids=["source", "no source"])
@pytest.mark.parametrize("way", WAYS)
def test_a_submodule_counts_loaded_or_not(tmp_path, way, has_source):
    """One fingerprint, whatever the process has imported; another one after an edit of the submodule."""
    before, body = WAYS[way]
    program = f"{before}def f(x):\n    {body}\n"
    (tmp_path / "steps.py").write_text(program)
    (tmp_path / "pkg" / "inner").mkdir(parents=True)
    (tmp_path / "pkg" / "__init__.py").touch()
    (tmp_path / "pkg" / "inner" / "__init__.py").touch()
    start = "from steps import f" if has_source else program

    def fingerprints(number):
        for module in ("sub", "inner/deep"):
            (tmp_path / "pkg" / f"{module}.py").write_text(f"def area(x):\n    return x * {number}\n")
        found = set()
        for loaded in (False, True):
            command = [sys.executable, "-Bc", start + SHOW.format(loaded=loaded)]
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            found.add(done.stdout)
        return found

    first, edited = fingerprints("2"), fingerprints("30")
    assert (len(first), len(edited)) == (1, 1)
    assert first != edited


def test_an_attribute_that_is_no_submodule_is_undefined(define):
    """Nothing is imported for it, and it has a fingerprint."""
    package = define("def f(x):\n    import urllib\n    return urllib.nothing(x)\n")
    assert len(dc.delayed(package.f)(1).dc.key) == 32
    assert "urllib.nothing" not in sys.modules


def test_versions_of_packages_by_either_name():
    """As pip lists a package, and as it is imported."""
    assert package_version("yaml") == package_version("PyYAML") is not None
    assert package_version("json") is None


def test_the_metadata_of_all_packages_are_read_once(monkeypatch):
    """That takes a second.  They are not needed for modules of Python, such as that of `math.sqrt`."""
    read, packages_distributions = [], importlib.metadata.packages_distributions
    monkeypatch.setattr(
        importlib.metadata, "packages_distributions", lambda: read.append(1) or packages_distributions()
    )
    ownership._distributions.cache_clear()
    package_version.cache_clear()
    for function in (math.sqrt, operator.add):
        assert len(dc.delayed(lambda x, f: f(x))(1, function).dc.key) == 32
    assert read == []
    assert package_version("PIL") is not None
    assert package_version("yaml") is not None
    assert package_version("no_such_module") is None
    assert read == [1]


def test_a_package_to_track_has_to_be_installed():
    """Its upgrades would pass unnoticed."""

    def f(x):
        return x

    assert dc.delayed(f, tracked=["yaml"])(1).dc.key != dc.delayed(f, tracked=["numpy"])(1).dc.key
    with pytest.raises(GraphError, match=r"f\(\) names no-such-package"):
        dc.delayed(f, tracked=["numpy", "no-such-package"])(1)
