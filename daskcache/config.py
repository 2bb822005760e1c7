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
from typing import Any, NamedTuple

import dask.config
import yaml
from dask.utils import parse_bytes

#: The loader in C takes a tenth of the time, and is not on every machine.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DEFAULTS = yaml.load((Path(__file__).parent / "daskcache.yaml").read_text(), _LOADER)

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


class Setting(NamedTuple):
    """One setting of daskcache."""

    #: Name below ``daskcache.``, with dots between levels.
    name: str
    value: Any
    default: Any
    #: What is wrong with the setting; empty if all is well.
    mistake: str = ""


def settings() -> list[Setting]:
    """Return all settings with their values, and names that are none, as of a misspelt variable."""
    defaults = dict(_leaves(_DEFAULTS["daskcache"]))
    found = dict(_leaves(dask.config.get("daskcache", {})))
    unknown = [name for name in found if not _is_known(name, defaults)]
    return [
        *[Setting(name, get(name), default) for name, default in defaults.items()],
        *[Setting(n, found[n], None, _no_setting(n, defaults)) for n in unknown],
    ]


def _leaves(section, above=""):
    for name, value in section.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _is_known(name, defaults):
    """Return True for the name of a setting, or for a key of one whose value is a dict."""
    name = name.replace("_", "-")
    return any(name == known or name.startswith(f"{known}.") for known in defaults)


def _no_setting(name, defaults):
    import difflib  # names are rarely wrong

    near = difflib.get_close_matches(name.replace("_", "-"), defaults, n=1)
    return f"no setting of daskcache{f'; did you mean {near[0]}?' if near else ''}"
