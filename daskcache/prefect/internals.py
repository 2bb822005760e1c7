"""The names of Prefect and prefect-dask that are not public, for all modules of this room.

They may move in any release.  Then importing this module raises an error that names the release found.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Any

from ..errors import MissingExtra

#: Releases that the tests pass on, as in setup.cfg.
SUPPORTED = "prefect >= 3.7.8, < 3.10"


def found(module: str, name: str) -> Any:
    """Return a name in a module of Prefect.

    Raises
    ------
    MissingExtra
        If the installed release does not have it.
    """
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise MissingExtra(
            f"the installed release of Prefect does not have {module}.{name}, which daskcache needs",
            expected=SUPPORTED,
            got=f"prefect {version('prefect')}, prefect-dask {version('prefect-dask')}",
            hint='pip install "daskcache[prefect]"',
        ) from error


PrefectDaskClient = found("prefect_dask.client", "PrefectDaskClient")
PrefectDaskFuture: Any = found("prefect_dask.task_runners", "PrefectDaskFuture")
call_block = found("prefect._internal.compatibility.blocks", "call_explicitly_sync_block_method")
name_of_hook = found("prefect._internal.engine", "get_hook_name")
now = found("prefect.types._datetime", "now")
resolve_name = found("prefect._internal.engine", "resolve_custom_task_run_name")
uuid7 = found("prefect._internal.uuid7", "uuid7")
