"""daskcache in Prefect flows: tasks whose results have targets, and runners that skip complete tasks.

The rest of the package works without Prefect; `modes.tasks` imports this room in its Prefect modes.
Names are imported when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import require

_HOMES = {
    "CachedResult": "futures",
    "CachedTask": "tasks",
    "DaskCacheTaskRunner": "dask_runner",
    "ResourceInputs": "policies",
    "SkippingTaskRunner": "skipping",
    "cpr_serializer": "serializers",
    "flow": "flows",
    "task": "tasks",
    "task_input_hash": "policies",
    "with_skipping": "skipping",
}

__all__ = [*sorted(_HOMES)]

if TYPE_CHECKING:
    from ..modes.handles import CachedResult as CachedResult
    from .dask_runner import DaskCacheTaskRunner as DaskCacheTaskRunner
    from .flows import flow as flow
    from .policies import ResourceInputs as ResourceInputs
    from .policies import task_input_hash as task_input_hash
    from .serializers import cpr_serializer as cpr_serializer
    from .skipping import SkippingTaskRunner as SkippingTaskRunner
    from .skipping import with_skipping as with_skipping
    from .tasks import CachedTask as CachedTask
    from .tasks import task as task

else:  # type checkers would take any name for one that it finds

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        require("prefect", "prefect")
        value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return list(__all__)
