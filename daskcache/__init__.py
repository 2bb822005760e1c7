"""daskcache: a Dask-first caching graph layer.

`__all__` lists the public names.  Each is imported when it is first used, so importing the package is
cheap, reads no data and starts nothing.  `aliases` keeps older module paths importable.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from . import aliases

#: Public names by the module that defines them.
_DEFINED_IN = {
    "calls.variants": "variant",
    "cluster.attaching": "attach detach",
    "events": "history",
    "graph.api": "compute persist plan status target why",
    "graph.decisions": "accept invalidate keep release",
    "graph.function": "delayed",
    "graph.node": "Node",
    "graph.nodes": "Nodes",
    "graph.plan": "Plan",
    "graph.progress": "progress",
    "graph.sweep": "sweep",
    "housekeeping.adoption": "adopt",
    "housekeeping.audit": "audit",
    "housekeeping.corrected": "corrections",
    "housekeeping.diff": "diff",
    "housekeeping.failures": "failures",
    "housekeeping.prune": "prune",
    "housekeeping.report": "report",
    "modes.flows": "flow",
    "modes.tasks": "task",
    "planning.why": "Why",
    "targets.arrays": "NumpySource NumpyTarget",
    "targets.base": "Target",
    "targets.cpr.serializer": "hash_objects target_decoder target_encoder",
    "targets.figures": "FigureTarget",
    "targets.files": "FileTarget FolderTarget",
    "targets.folders": "FolderSource",
    "targets.hdf5": "HDF5Source HDF5Target",
    "targets.images.metadata": "ImageMetadata",
    "targets.images.source": "ImageSource",
    "targets.images.target": "ImageTarget",
    "targets.json_lines": "JSONLinesSource JSONLinesTarget",
    "targets.netcdf": "NetCDFSource NetCDFTarget",
    "targets.objects": "JSONSource JSONTarget PickleSource PickleTarget TextSource TextTarget",
    "targets.png": "PNGTarget",
    "targets.registry": "register_suffix",
    "targets.resource": "Metadata Resource",
    "targets.source": "FileSource Source",
    "targets.sources": "Sources sources",
    "targets.tables.csv_parquet": "CSVSource CSVTarget ParquetSource ParquetTarget",
    "targets.tables.partitioned": "PartitionedParquetSource PartitionedParquetTarget",
    "targets.tables.sql": "SQLSource SQLTarget",
    "targets.template": "context",
    "targets.zarr.ome": "OMEZarrTarget",
    "targets.zarr.source": "ZarrSource",
    "targets.zarr.target": "ZarrTarget",
}

#: Module that defines each public name.
_HOMES = {name: module for module, names in _DEFINED_IN.items() for name in names.split()}

aliases.install()

__version__ = "0.1.0"

__all__ = [*sorted(_HOMES), "errors", "hashing"]

if TYPE_CHECKING:
    from . import errors as errors
    from . import hashing as hashing
    from .calls.variants import variant as variant
    from .cluster.attaching import attach as attach
    from .cluster.attaching import detach as detach
    from .events import history as history
    from .graph.api import compute as compute
    from .graph.api import persist as persist
    from .graph.api import plan as plan
    from .graph.api import status as status
    from .graph.api import target as target
    from .graph.api import why as why
    from .graph.decisions import accept as accept
    from .graph.decisions import invalidate as invalidate
    from .graph.decisions import keep as keep
    from .graph.decisions import release as release
    from .graph.function import delayed as delayed
    from .graph.node import Node as Node
    from .graph.nodes import Nodes as Nodes
    from .graph.plan import Plan as Plan
    from .graph.progress import progress as progress
    from .graph.sweep import sweep as sweep
    from .housekeeping.adoption import adopt as adopt
    from .housekeeping.audit import audit as audit
    from .housekeeping.corrected import corrections as corrections
    from .housekeeping.diff import diff as diff
    from .housekeeping.failures import failures as failures
    from .housekeeping.prune import prune as prune
    from .housekeeping.report import report as report
    from .modes.flows import flow as flow
    from .modes.tasks import task as task
    from .planning.why import Why as Why
    from .targets.arrays import NumpySource as NumpySource
    from .targets.arrays import NumpyTarget as NumpyTarget
    from .targets.base import Target as Target
    from .targets.cpr.serializer import hash_objects as hash_objects
    from .targets.cpr.serializer import target_decoder as target_decoder
    from .targets.cpr.serializer import target_encoder as target_encoder
    from .targets.figures import FigureTarget as FigureTarget
    from .targets.files import FileTarget as FileTarget
    from .targets.files import FolderTarget as FolderTarget
    from .targets.folders import FolderSource as FolderSource
    from .targets.hdf5 import HDF5Source as HDF5Source
    from .targets.hdf5 import HDF5Target as HDF5Target
    from .targets.images.metadata import ImageMetadata as ImageMetadata
    from .targets.images.source import ImageSource as ImageSource
    from .targets.images.target import ImageTarget as ImageTarget
    from .targets.json_lines import JSONLinesSource as JSONLinesSource
    from .targets.json_lines import JSONLinesTarget as JSONLinesTarget
    from .targets.netcdf import NetCDFSource as NetCDFSource
    from .targets.netcdf import NetCDFTarget as NetCDFTarget
    from .targets.objects import JSONSource as JSONSource
    from .targets.objects import JSONTarget as JSONTarget
    from .targets.objects import PickleSource as PickleSource
    from .targets.objects import PickleTarget as PickleTarget
    from .targets.objects import TextSource as TextSource
    from .targets.objects import TextTarget as TextTarget
    from .targets.png import PNGTarget as PNGTarget
    from .targets.registry import register_suffix as register_suffix
    from .targets.resource import Metadata as Metadata
    from .targets.resource import Resource as Resource
    from .targets.source import FileSource as FileSource
    from .targets.source import Source as Source
    from .targets.sources import Sources as Sources
    from .targets.sources import sources as sources
    from .targets.tables.csv_parquet import CSVSource as CSVSource
    from .targets.tables.csv_parquet import CSVTarget as CSVTarget
    from .targets.tables.csv_parquet import ParquetSource as ParquetSource
    from .targets.tables.csv_parquet import ParquetTarget as ParquetTarget
    from .targets.tables.partitioned import PartitionedParquetSource as PartitionedParquetSource
    from .targets.tables.partitioned import PartitionedParquetTarget as PartitionedParquetTarget
    from .targets.tables.sql import SQLSource as SQLSource
    from .targets.tables.sql import SQLTarget as SQLTarget
    from .targets.template import context as context
    from .targets.zarr.ome import OMEZarrTarget as OMEZarrTarget
    from .targets.zarr.source import ZarrSource as ZarrSource
    from .targets.zarr.target import ZarrTarget as ZarrTarget

else:  # type checkers would take any name for one that it finds

    def __getattr__(name: str) -> Any:
        if name in ("errors", "hashing"):
            return import_module(f".{name}", __name__)
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


class _Package(ModuleType):
    """The package, whose public names are not hidden by modules that are imported by older paths."""

    def __setattr__(self, name, value):
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __reduce__(self):  # pickled by name, as modules are
        return import_module, (self.__name__,)


sys.modules[__name__].__class__ = _Package
