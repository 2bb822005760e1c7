"""What a fresh process for the fault suites begins with.

Not in conftest.py: there are several modules of that name, and the process must find this one.
"""

from __future__ import annotations

import os

import dask

from daskcache.storage import commit as committing
from daskcache.storage.tables import databases


def begin(cache_folder: str) -> None:
    """Compute in the calling thread, and leave the user's cache folder alone."""
    dask.config.set({"scheduler": "sync", "daskcache.cache-folder": cache_folder})
    os.umask(0o022)
    committing.PATIENCE = 0.2  # seconds: the dead of these suites are many, and none of them goes on
    databases._PATIENCE = 0.5  # seconds: of the stopped, too
