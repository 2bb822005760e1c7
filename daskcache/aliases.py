"""Older module paths, which stay importable because pickles, roots and programs may hold them.

`daskcache.__init__` calls `install`.  Modules whose names are now in another one use
`names_of`: packages that were once single modules, and modules that were split.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import Any

_PACKAGE = __name__.partition(".")[0]

#: Packages, each with the older paths of the modules that moved into it.  After "=" stands the module's
#: name there, if that is another.  Entries are never removed from this table.
_MOVED_INTO = """
    calls              recipe spec state task_keys texts=describe
    cluster            dashboard dashboard_page tally workers.attaching workers.keepalive workers.logs
    cluster            workers.memory workers.reach=probe
    graph              accessor api building=builder composed frames late needs node
    graph              other_programs=attempts submitted=attempts
    hashing            algorithms array_hashing=arrays code=functions declarations=contents
    hashing            graph_hashing=collections identity=fingerprints installed=names names ownership
    hashing            parts=changes reach table_hashing=tables hashing.bytecode=code_objects
    hashing            hashing.callables=contents hashing.declarations=contents
    hashing            hashing.identity=fingerprints hashing.imports=contents hashing.installed=names
    hashing            hashing.numbering=encoder hashing.source_code=code_objects
    hashing            hashing.syntax=functions
    housekeeping       archive auditing=audit demo lineage listing moving=transfer rebuild
    housekeeping       repairing=repair room=gc verifying=verify
    housekeeping.cli   cli=main cli_corrections=corrections cli_housekeeping=housekeeping
    housekeeping.cli   cli_shared=shared
    modes              handles plain_calls=plain task_options=options
    planning           adopting=unrecorded corrections display examining=examiner planned=states
    planning           reasons
    planning.display   display.picture=svg display.table=tables
    runtime            body code_check elsewhere entry hot_cache named obstacles provenance=facts
    runtime            run=node storing=store work workers.isolation workers.log_records
    storage            atomic claiming=claims code_store file_times leases memo=source_hashes paths
    storage            record_check=documents records roots traces trash trust
    storage            verified=verified_folders
    storage.tables     databases table_rows=rows tables
    targets            cpr
    targets.addressed  cpr.addressed=base cpr.data_hashes=hashes cpr.formats
    targets.cpr        cpr.alias cpr.serializer cpr.values
    targets.images     targets.image_metadata=metadata targets.image_options=options targets.ome_files
    targets.images     targets.ome_xml targets.pixels targets.tiff
    targets.tables     targets.frames targets.lazy_tables=lazy targets.parquet_notes targets.sql
    targets.zarr       targets.ngff targets.ome_zarr=ome targets.zarr_store=store
    targets.zarr       targets.zarr_values=values targets.zarrs=target
    testing            contract
"""


def _moved_into_packages():
    """Yield the older and the present path of each module in the table."""
    for line in _MOVED_INTO.strip().splitlines():
        package, *modules = line.split()
        for module in modules:
            old, _, name = module.partition("=")
            yield old, f"{package}.{name or old.rpartition('.')[2]}"


#: Present paths of modules by their older paths.
MOVED = {
    "cluster.client": "clients",
    "workers": "cluster",
    "workers.client": "clients",
    **dict(_moved_into_packages()),
}


class _Finder(MetaPathFinder, Loader):
    """Find modules of this package by their older paths."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        return ModuleSpec(fullname, self) if package == _PACKAGE and name in MOVED else None

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
        if not name.startswith("__") and hasattr(found := import_module(f"{_PACKAGE}.{home}"), name):
            return getattr(found, name)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return __getattr__
