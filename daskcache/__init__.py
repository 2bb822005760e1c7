"""daskcache: a Dask-first caching graph layer.

Names are imported when they are first used: importing the package touches no data, starts nothing and
costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "CSVSource": "targets.tables",
    "CSVTarget": "targets.tables",
    "FileSource": "targets.base",
    "FolderSource": "targets.folders",
    "ImageMetadata": "targets.image_metadata",
    "ImageSource": "targets.images",
    "ImageTarget": "targets.images",
    "JSONSource": "targets.objects",
    "JSONTarget": "targets.objects",
    "Metadata": "targets.resource",
    "Node": "node",
    "NumpySource": "targets.arrays",
    "NumpyTarget": "targets.arrays",
    "ParquetSource": "targets.tables",
    "OMEZarrTarget": "targets.ome_zarr",
    "ParquetTarget": "targets.tables",
    "PickleSource": "targets.objects",
    "PickleTarget": "targets.objects",
    "Plan": "api",
    "Resource": "targets.resource",
    "SQLSource": "targets.sql",
    "SQLTarget": "targets.sql",
    "Source": "targets.base",
    "Target": "targets.base",
    "TextSource": "targets.text",
    "TextTarget": "targets.text",
    "ZarrSource": "targets.zarrs",
    "ZarrTarget": "targets.zarrs",
    "accept": "api",
    "adopt": "api",
    "attach": "workers.attaching",
    "audit": "auditing",
    "compute": "api",
    "context": "targets.context",
    "delayed": "node",
    "detach": "workers.attaching",
    "history": "events",
    "flow": "modes",
    "hash_objects": "cpr.serializer",
    "invalidate": "api",
    "keep": "api",
    "plan": "api",
    "register_suffix": "targets.registry",
    "release": "api",
    "status": "api",
    "target": "api",
    "target_decoder": "cpr.serializer",
    "target_encoder": "cpr.serializer",
    "task": "modes",
    "why": "api",
}

__version__ = "0.1.0"

__all__ = [*sorted(_HOMES), "errors", "hashing"]

if TYPE_CHECKING:
    from . import errors as errors
    from . import hashing as hashing
    from .api import Plan as Plan
    from .api import accept as accept
    from .api import adopt as adopt
    from .api import compute as compute
    from .api import invalidate as invalidate
    from .api import keep as keep
    from .api import plan as plan
    from .api import release as release
    from .api import status as status
    from .api import target as target
    from .api import why as why
    from .auditing import audit as audit
    from .cpr.serializer import hash_objects as hash_objects
    from .cpr.serializer import target_decoder as target_decoder
    from .cpr.serializer import target_encoder as target_encoder
    from .events import history as history
    from .modes import flow as flow
    from .modes import task as task
    from .node import Node as Node
    from .node import delayed as delayed
    from .targets.arrays import NumpySource as NumpySource
    from .targets.arrays import NumpyTarget as NumpyTarget
    from .targets.base import FileSource as FileSource
    from .targets.base import Source as Source
    from .targets.base import Target as Target
    from .targets.context import context as context
    from .targets.folders import FolderSource as FolderSource
    from .targets.image_metadata import ImageMetadata as ImageMetadata
    from .targets.images import ImageSource as ImageSource
    from .targets.images import ImageTarget as ImageTarget
    from .targets.objects import JSONSource as JSONSource
    from .targets.objects import JSONTarget as JSONTarget
    from .targets.objects import PickleSource as PickleSource
    from .targets.objects import PickleTarget as PickleTarget
    from .targets.ome_zarr import OMEZarrTarget as OMEZarrTarget
    from .targets.registry import register_suffix as register_suffix
    from .targets.resource import Metadata as Metadata
    from .targets.resource import Resource as Resource
    from .targets.sql import SQLSource as SQLSource
    from .targets.sql import SQLTarget as SQLTarget
    from .targets.tables import CSVSource as CSVSource
    from .targets.tables import CSVTarget as CSVTarget
    from .targets.tables import ParquetSource as ParquetSource
    from .targets.tables import ParquetTarget as ParquetTarget
    from .targets.text import TextSource as TextSource
    from .targets.text import TextTarget as TextTarget
    from .targets.zarrs import ZarrSource as ZarrSource
    from .targets.zarrs import ZarrTarget as ZarrTarget
    from .workers.attaching import attach as attach
    from .workers.attaching import detach as detach


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
