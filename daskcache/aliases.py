"""Older module paths, which stay importable because pickles, roots and programs may hold them.

`daskcache.__init__` calls `install`.  Modules whose names are now in another one use
`names_of`: packages that were once single modules, and modules that were split.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.machinery import ModuleSpec
from typing import Any

_PACKAGE = __name__.partition(".")[0]

#: Present paths of modules by their older paths.  Entries are never removed from this table.
MOVED = {
    "accessor": "graph.accessor",
    "adopting": "planning.target_state",
    "algorithms": "hashing.algorithms",
    "api": "graph.api",
    "archive": "housekeeping.archive",
    "array_hashing": "hashing.arrays",
    "atomic": "storage.atomic",
    "auditing": "housekeeping.audit",
    "body": "runtime.body",
    "building": "graph.builder",
    "claiming": "storage.commit",
    "cli": "housekeeping.cli.main",
    "cli_corrections": "housekeeping.cli.corrections",
    "cli_housekeeping": "housekeeping.cli.housekeeping",
    "cli_shared": "housekeeping.cli.main",
    "cluster.client": "clients",
    "code": "hashing.functions",
    "code_check": "runtime.code_check",
    "code_store": "storage.code_store",
    "composed": "graph.frames",
    "contract": "testing.contract",
    "corrections": "planning.corrections",
    "cpr": "targets.cpr",
    "cpr.addressed": "targets.addressed.base",
    "cpr.alias": "targets.cpr.alias",
    "cpr.data_hashes": "targets.addressed.formats",
    "cpr.formats": "targets.addressed.formats",
    "cpr.serializer": "targets.cpr.serializer",
    "cpr.values": "targets.cpr.values",
    "dashboard": "cluster.dashboard",
    "dashboard_page": "cluster.dashboard_page",
    "databases": "storage.tables.databases",
    "declarations": "hashing.contents",
    "demo": "housekeeping.demo",
    "display": "planning.display",
    "display.picture": "planning.display.svg",
    "display.table": "planning.display.tables",
    "elsewhere": "runtime.finished",
    "entry": "runtime.entry",
    "examining": "planning.examiner",
    "file_times": "storage.source_hashes",
    "frames": "graph.frames",
    "graph.composed": "graph.frames",
    "graph_hashing": "hashing.collections",
    "handles": "modes.handles",
    "hashing.bytecode": "hashing.code_objects",
    "hashing.callables": "hashing.contents",
    "hashing.declarations": "hashing.contents",
    "hashing.identity": "hashing.fingerprints",
    "hashing.imports": "hashing.contents",
    "hashing.installed": "hashing.names",
    "hashing.numbering": "hashing.encoder",
    "hashing.source_code": "hashing.code_objects",
    "hashing.syntax": "hashing.functions",
    "hot_cache": "runtime.hot_cache",
    "housekeeping.transfer": "housekeeping.importing",
    "identity": "hashing.fingerprints",
    "installed": "hashing.names",
    "late": "graph.late",
    "leases": "storage.leases",
    "lineage": "housekeeping.lineage",
    "listing": "housekeeping.listing",
    "memo": "storage.source_hashes",
    "moving": "housekeeping.importing",
    "named": "runtime.named",
    "names": "hashing.names",
    "needs": "graph.tasks",
    "node": "graph.node",
    "obstacles": "runtime.obstacles",
    "other_programs": "graph.attempts",
    "ownership": "hashing.ownership",
    "parts": "hashing.changes",
    "paths": "storage.paths",
    "plain_calls": "modes.plain",
    "planned": "planning.states",
    "provenance": "runtime.facts",
    "reach": "hashing.reach",
    "reasons": "planning.reasons",
    "rebuild": "housekeeping.rebuild",
    "recipe": "calls.recipe",
    "record_check": "storage.documents",
    "records": "storage.records",
    "repairing": "housekeeping.repair",
    "room": "housekeeping.gc",
    "roots": "storage.roots",
    "run": "runtime.node",
    "spec": "calls.spec",
    "state": "calls.state",
    "storage.manifests": "storage.verified_folders",
    "storing": "runtime.store",
    "submitted": "graph.attempts",
    "table_hashing": "hashing.tables",
    "table_rows": "storage.tables.rows",
    "tables": "storage.tables.tables",
    "tally": "cluster.tally",
    "targets.context": "targets.template",
    "targets.frames": "targets.tables.frames",
    "targets.image_metadata": "targets.images.metadata",
    "targets.image_options": "targets.images.options",
    "targets.lazy_tables": "targets.tables.lazy",
    "targets.limits": "targets.arrays",
    "targets.ngff": "targets.zarr.ngff",
    "targets.ome_files": "targets.images.ome_files",
    "targets.ome_xml": "targets.images.ome_xml",
    "targets.ome_zarr": "targets.zarr.ome",
    "targets.parquet_notes": "targets.tables.parquet_notes",
    "targets.pixels": "targets.images.pixels",
    "targets.sql": "targets.tables.sql",
    "targets.text": "targets.objects",
    "targets.tiff": "targets.images.tiff",
    "targets.zarr_store": "targets.zarr.store",
    "targets.zarr_values": "targets.zarr.values",
    "targets.zarrs": "targets.zarr.target",
    "task_keys": "calls.task_keys",
    "task_options": "modes.options",
    "texts": "calls.describe",
    "traces": "storage.records",
    "trash": "storage.trash",
    "trust": "storage.trust",
    "verified": "storage.verified_folders",
    "verifying": "housekeeping.verify",
    "work": "runtime.work",
    "workers": "cluster",
    "workers.attaching": "cluster.attaching",
    "workers.client": "clients",
    "workers.isolation": "runtime.body",
    "workers.keepalive": "cluster.keepalive",
    "workers.log_records": "runtime.body",
    "workers.logs": "cluster.logs",
    "workers.memory": "cluster.memory",
    "workers.reach": "cluster.probe",
}


class _Finder:
    """Find modules of this package by their older paths.

    It has the methods of a finder and a loader.  Their base classes would import 20 modules more.
    """

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        if package != _PACKAGE or name not in MOVED:
            return None
        return ModuleSpec(fullname, self)  # type: ignore[arg-type]  # it has a loader's methods

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave it to Python to make the module."""

    def exec_module(self, module: Any) -> None:
        name = module.__name__.partition(".")[2]
        sys.modules[module.__name__] = import_module(f"{_PACKAGE}.{MOVED[name]}")


def install() -> None:
    """Make older paths importable.

    The finder comes before Python's own, which would load some modules a second time.  For example,
    ``daskcache.workers`` is now the package `cluster`.  Python's finder would look for
    ``daskcache.workers.memory`` in the folder of `cluster`, and load the file there once more.
    """
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def names_of(module: str, home: str) -> Callable[[str], Any]:
    """Return a ``__getattr__`` for a module, to find names that are now in the module `home`."""

    def __getattr__(name: str) -> Any:
        # ``from . import files`` asks here first, and must not import the home, which may need `files`
        is_module = name in _modules_in(module)
        if not (is_module or name.startswith("__")) and hasattr(
            found := import_module(f"{_PACKAGE}.{home}"), name
        ):
            return getattr(found, name)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return __getattr__


def _modules_in(package):
    """Return the names of the modules in a package; none for a module that is not one."""
    folders = vars(sys.modules[package]).get("__path__", ())
    return {file.partition(".")[0] for folder in folders for file in os.listdir(folder)}
