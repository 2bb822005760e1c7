"""daskcache's part of Dask's own configuration.

The defaults are in ``daskcache.yaml``.  Nothing is written to the user's home folder.
"""

from __future__ import annotations

import functools
from pathlib import Path

import dask.config
import yaml
from dask.utils import parse_bytes

_DEFAULTS = yaml.safe_load((Path(__file__).parent / "daskcache.yaml").read_text())

dask.config.update_defaults(_DEFAULTS)


def get(name):
    """Value of ``daskcache.<name>`` in Dask's configuration."""
    return dask.config.get(f"daskcache.{name}", _DEFAULTS["daskcache"][name])


def get_bytes(name):
    """Value of ``daskcache.<name>`` as a number of bytes."""
    return _parsed(get(name))


_parsed = functools.cache(parse_bytes)
