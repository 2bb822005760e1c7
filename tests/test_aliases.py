"""Paths that modules had before they moved: pickles, roots and programs may hold them."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from importlib import import_module

import pytest

import daskcache as dc
from daskcache.aliases import MOVED

#: By packages that were once single modules, and modules that were split, where their names are now.
OPENED = {
    "graph": "graph.verb",
    "hashing": "hashing.encoder",
    "modes": "modes.tasks",
    "modes.tasks": "modes.flows",
    "planning": "planning.planner",
    "storage": "storage.files",
    "storage.manifests": "storage.verified_folders",
    "targets.base": "targets.source",
    "targets.images": "targets.images.target",
    "targets.images.target": "targets.images.source",
    "targets.tables": "targets.tables.csv_parquet",
    "targets.zarr.target": "targets.zarr.source",
    "testing": "testing.assertions",
}


@pytest.mark.parametrize("old", MOVED)
def test_a_module_by_its_old_path_is_the_same_module(old):
    assert import_module(f"daskcache.{old}") is import_module(f"daskcache.{MOVED[old]}")


@pytest.mark.parametrize("old", OPENED)
def test_a_package_that_was_a_module_gives_what_was_in_it(old):
    package, home = import_module(f"daskcache.{old}"), import_module(f"daskcache.{OPENED[old]}")
    defined = {
        name: value
        for name, value in vars(home).items()
        if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == home.__name__
    }
    assert {name: getattr(package, name) for name in defined} == defined


def test_a_name_that_was_nowhere_is_not_found():
    with pytest.raises(AttributeError, match=r"'daskcache\.storage' has no attribute 'nothing'"):
        _ = dc.storage.nothing
    with pytest.raises(ModuleNotFoundError, match=r"daskcache\.nothing"):
        import_module("daskcache.nothing")


@pytest.mark.parametrize(
    ("module", "name", "found"),
    [
        ("daskcache.targets.tables", "CSVTarget", dc.CSVTarget),
        ("daskcache.targets.images", "ImageTarget", dc.ImageTarget),
        ("daskcache.targets.zarrs", "ZarrTarget", dc.ZarrTarget),
        ("daskcache.node", "Node", dc.Node),
        ("daskcache.graph.node", "Function", import_module("daskcache.graph.function").Function),
        ("daskcache.targets.base", "FolderTarget", import_module("daskcache.targets.base").FolderFormat),
        ("daskcache.storage", "Part", import_module("daskcache.storage.files").Part),
    ],
)
def test_a_pickle_by_an_old_path_is_read(module, name, found):
    """Also in a process that has imported nothing else of the package."""
    pickled = f"c{module}\n{name}\n.".encode()
    assert pickle.loads(pickled) is found
    program = f"import pickle; print(pickle.loads({pickled!r}).__module__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == (found.__module__, "")


def test_a_public_name_is_not_hidden_by_an_old_path():
    """Python sets what it imports as an attribute of the package, where a function may have the name."""
    module = import_module("daskcache.corrections")
    assert module.release is import_module("daskcache.planning.corrections").release
    assert list(dc.corrections()) == []


def test_old_paths_are_no_second_modules():
    """A program that imports a module by both paths has it once, whichever comes first."""
    for first, second in (("node", "graph.node"), ("graph.node", "node")):
        program = (
            f"import daskcache.{first} as a, daskcache.{second} as b, daskcache\n"
            "print(a is b, a.Node is daskcache.Node)"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert done.stdout.split() == ["True", "True"], done.stderr
