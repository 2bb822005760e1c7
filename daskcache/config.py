"""daskcache's part of Dask's configuration.

The defaults are in ``daskcache.yaml``.  Importing this module adds them to `dask.config` and writes
no file.  All other modules read settings here.
"""

from __future__ import annotations

import functools
import operator
import os
import sys
from pathlib import Path

import dask.config
import yaml
from dask.utils import parse_bytes

_DEFAULTS = yaml.safe_load((Path(__file__).parent / "daskcache.yaml").read_text())

dask.config.update_defaults(_DEFAULTS)


def get(name):
    """Return the value of ``daskcache.<name>`` in Dask's configuration, or else its default."""
    section = dask.config.config.get("daskcache")
    if type(section) is dict and name in section:  # several times a node, so without Dask's parsing
        return section[name]
    return dask.config.get(f"daskcache.{name}", _default(name))


@functools.cache
def _default(name):
    return functools.reduce(operator.getitem, name.split("."), _DEFAULTS["daskcache"])


def get_bytes(name):
    """Return the value of ``daskcache.<name>`` as a number of bytes."""
    return _parsed(get(name))


def cache_folder() -> str | None:
    """Return the absolute path of the folder for caches, or None for a user without a home.

    Its files can be made again at any time.
    """
    folder = os.path.expanduser(get("cache-folder") or f"{_caches()}/daskcache")
    return None if folder.startswith("~") else os.path.abspath(folder)


def _caches():
    """Return the folder in which this platform keeps a user's caches; "~" stands for the home."""
    if sys.platform == "win32":
        return os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    if sys.platform == "darwin":
        return "~/Library/Caches"
    return os.environ.get("XDG_CACHE_HOME") or "~/.cache"


_parsed = functools.cache(parse_bytes)
