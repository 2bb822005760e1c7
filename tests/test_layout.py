"""The package as a whole: its public names, what importing it does, and who imports whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import suites
from architecture import FLOORS, circles, files, imported_by, imports, room_of

import daskcache as dc

PACKAGE = Path(dc.__file__).parent

PUBLIC = [
    "CSVSource",
    "CSVTarget",
    "FigureTarget",
    "FileSource",
    "FileTarget",
    "FolderSource",
    "FolderTarget",
    "HDF5Source",
    "HDF5Target",
    "ImageMetadata",
    "ImageSource",
    "ImageTarget",
    "JSONLinesSource",
    "JSONLinesTarget",
    "JSONSource",
    "JSONTarget",
    "Metadata",
    "NetCDFSource",
    "NetCDFTarget",
    "Node",
    "Nodes",
    "NumpySource",
    "NumpyTarget",
    "OMEZarrTarget",
    "PNGTarget",
    "ParquetSource",
    "ParquetTarget",
    "PartitionedParquetSource",
    "PartitionedParquetTarget",
    "PickleSource",
    "PickleTarget",
    "Plan",
    "Resource",
    "SQLSource",
    "SQLTarget",
    "Source",
    "Sources",
    "Target",
    "TextSource",
    "TextTarget",
    "Why",
    "ZarrSource",
    "ZarrTarget",
    "accept",
    "adopt",
    "attach",
    "audit",
    "compute",
    "context",
    "corrections",
    "delayed",
    "detach",
    "diff",
    "errors",
    "failures",
    "flow",
    "hash_objects",
    "hashing",
    "history",
    "invalidate",
    "keep",
    "persist",
    "plan",
    "progress",
    "prune",
    "register_suffix",
    "release",
    "report",
    "sources",
    "status",
    "sweep",
    "target",
    "target_decoder",
    "target_encoder",
    "task",
    "variant",
    "why",
]

#: By room, the floor that it is on.
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def test_public_names():
    """The public names are these, all of them resolve, and `dir` shows them."""
    assert sorted(dc.__all__) == PUBLIC
    assert all(getattr(dc, name) is not None for name in dc.__all__)
    assert set(PUBLIC) <= set(dir(dc))
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        dc.nothing_of_the_kind


def test_star_import():
    """`from daskcache import *` brings the public names."""
    namespace = {}
    exec("from daskcache import *", namespace)
    assert set(PUBLIC) <= set(namespace)


def test_public_names_are_documented():
    """Everything public has a docstring."""
    assert [name for name in dc.__all__ if not getattr(dc, name).__doc__] == []


def test_public_names_are_known_to_type_checkers():
    """The names for type checkers are those that are imported lazily."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (checking,) = [n for n in tree.body if isinstance(n, ast.If)]
    names = [alias.asname for statement in checking.body for alias in statement.names]
    assert sorted(names) == PUBLIC


_IMPORT = """
import os, sys, threading
before = threading.active_count(), set(os.listdir("."))
written, started = [], []

def watch(event, args):
    if event == "open":
        path, mode, flags = args
        writing = flags and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writing and not str(path).endswith(".pyc") and "__pycache__" not in str(path):
            written.append(path)
    elif event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink"):
        if "__pycache__" not in str(args):
            written.append((event, args))
    elif event in ("_thread.start_new_thread", "subprocess.Popen", "socket.connect", "os.fork"):
        started.append(event)

sys.addaudithook(watch)
import daskcache
assert not written, written
assert not started, started
assert before == (threading.active_count(), set(os.listdir(".")))
heavy = "dask", "distributed", "numpy", "pandas", "rich", "tempfile", "tifffile"
print(sorted(m for m in heavy if m in sys.modules))
daskcache.delayed, daskcache.plan, daskcache.ImageTarget
assert not written, written
assert not started, started
print(sorted(m for m in ("pandas", "distributed", "rich", "tifffile", "imageio") if m in sys.modules))
"""


def test_importing_has_no_side_effects(tmp_path):
    """`import daskcache` writes nothing, starts nothing and imports no heavy package."""
    done = subprocess.run([sys.executable, "-c", _IMPORT], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["[]", "[]"]
    assert list(tmp_path.iterdir()) == []


def test_importing_leaves_dasks_configuration_to_the_user(tmp_path):
    """What the user has set stays set, before and after daskcache's defaults are loaded."""
    code = (
        "import dask; dask.config.set({'daskcache.root': '/mine'})\n"
        "import daskcache; daskcache.delayed\n"
        "print(dask.config.get('daskcache.root'), dask.config.get('daskcache.inline'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "/mine 64 kiB", done.stderr


MODULES = files()


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module):
    """Each module is in a room, and imports nothing of a room on its own floor or above it."""
    floor = FLOOR[room_of(module)]
    others = {found for found in imports()[module] if room_of(found) != room_of(module)}
    assert {found for found in others if FLOOR[room_of(found)] >= floor} == set()


def test_no_imports_in_circles():
    """No module imports itself by way of others, wherever in their code the imports stand."""
    assert circles(imports()) == []


def test_every_import_is_seen(tmp_path):
    """Imports in functions, methods and branches count; those for type checkers do not."""
    source = tmp_path / "found.py"
    source.write_text(
        "from __future__ import annotations\n"
        "from typing import TYPE_CHECKING\n"
        "from .storage import files\n"
        "if TYPE_CHECKING:\n    from .graph.node import Node\n"
        "else:\n    from .runtime.work import Work\n"
        "def f():\n    from daskcache.runtime.node import call\n    import daskcache.graph.verb\n"
        "class A:\n    def g(self):\n        try:\n            from .targets import base\n"
        "        except ImportError:\n            from daskcache import ImageTarget\n"
    )
    seen = set(imported_by("found", source, {**MODULES, "found": source}))
    images = dc._HOMES["ImageTarget"]
    assert seen == {
        "storage.files",
        "runtime.work",
        "runtime.node",
        "graph.verb",
        "targets.base",
        images,
    }


def test_circles_are_found():
    """A circle of three, and one of two; what only follows from them is in none."""
    arrows = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"f"}, "f": {"e"}}
    assert circles(arrows) == [["a", "b", "c"], ["e", "f"]]


def test_helpers_for_tests_of_projects():
    """`daskcache.testing` says what it offers, to readers and to type checkers."""
    from daskcache import testing

    offered = ["RunCounter", "TargetContract", "assert_nothing_runs", "count_runs", "scheduler_tasks"]
    assert testing.__all__ == offered
    assert [name for name in offered if name not in vars(testing)] == []


def test_files_of_tests_have_names_of_their_own():
    """One process collects the tests of all folders, as modules without packages."""
    names = Counter(path.name for path in Path(__file__).parent.rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


def test_suites_are_those_that_are_there():
    """Each suite has a budget, and the files that are said to be slow exist: else they run last."""
    top = Path(suites.__file__).parents[1]
    tests = [path.relative_to(top) for path in top.glob("tests/**/test_*.py")]
    notebooks = [path.relative_to(top) for path in top.glob("notebooks/*.ipynb")]
    folders = {path.parent.as_posix() for path in [*tests, *notebooks]}
    assert folders == set(suites.BUDGETS)
    assert set(suites.SLOW) <= {path.stem for path in [*tests, *notebooks]}


def test_the_source_distribution_has_what_its_tests_need():
    """MANIFEST.in takes whole folders, so a new helper or suite is in it without being listed."""
    manifest = PACKAGE.parent / "MANIFEST.in"
    commands = [line.split() for line in manifest.read_text().splitlines()]
    whole = {command[1] for command in commands if command[0] == "graft"}
    included = {name for command in commands if command[0] == "include" for name in command[1:]}
    assert whole == {"daskcache", "docs", "notebooks", "tests"}
    assert {"CHANGELOG.md", "CONTRIBUTING.md", "README.md", "mkdocs.yml", ".ci/run"} <= included
    assert all((manifest.parent / name).exists() for name in included | whole)


def test_errors_import_nothing_of_the_package():
    """The error tree stands alone, but for the function that makes its texts printable."""
    assert imports()["errors"] == {"printable"}
    assert imports()["printable"] == set()


def test_no_module_imports_optional_packages_when_it_is_imported():
    """NumPy, pandas, tifffile, distributed and Prefect are imported where they are used."""
    optional = {
        "numpy",
        "pandas",
        "pyarrow",
        "rich",
        "tifffile",
        "imageio",
        "distributed",
        "prefect",
        "zarr",
        "sqlalchemy",
    }
    for path in MODULES.values():
        if path.relative_to(PACKAGE).as_posix() in ("housekeeping/demo.py", "targets/zarr/store.py"):
            # a user's functions; imported where Zarr is at hand
            continue
        if path.stem in ("dashboard", "dashboard_page"):  # imported by schedulers
            continue
        body = ast.parse(path.read_text()).body
        imports = [n for n in body if isinstance(n, (ast.Import, ast.ImportFrom))]
        names = {a.name for n in imports if isinstance(n, ast.Import) for a in n.names}
        names |= {n.module or "" for n in imports if isinstance(n, ast.ImportFrom) and not n.level}
        allowed = {
            "cluster": {"distributed"},  # the plugins of a cluster are only imported where there is one
            "prefect": {"distributed", "prefect"},
        }.get(path.parent.name if path.stem != "__init__" else "", set())
        assert {name.partition(".")[0] for name in names} & optional <= allowed, path.name


def test_configuration_and_its_schema_agree():
    """Every option has a default and a description."""
    import yaml

    defaults = yaml.safe_load((PACKAGE / "daskcache.yaml").read_text())["daskcache"]
    schema = yaml.safe_load((PACKAGE / "daskcache-schema.yaml").read_text())
    options = schema["properties"]["daskcache"]["properties"]
    assert set(defaults) == set(options)
    assert all(option["description"] for option in options.values())
