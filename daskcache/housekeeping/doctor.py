"""Checks of packages, settings, a root and a cluster, each with the cure for what is wrong.

`cli.environment` prints them.
"""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from importlib import metadata
from typing import NamedTuple

from dask.utils import format_bytes

from .. import __version__, config
from ..errors import DaskcacheError, require
from ..storage.roots import Root
from .listing import find_root

#: Free space on the root's disk, in bytes, below which a check fails.
_LITTLE_SPACE = 2**30
#: Packages that decide what daskcache can do here.
_PACKAGES = ("dask", "distributed", "numpy", "pandas", "tifffile", "zarr", "prefect")


class Check(NamedTuple):
    """One check, and what it found."""

    name: str
    ok: bool
    found: str
    #: What to do about it; empty if all is well.
    cure: str = ""


def examine(root: str | None = None, scheduler: str | None = None) -> list[Check]:
    """Run all checks.

    Parameters
    ----------
    root : str, optional
        A root folder.  Default: the nearest one, as for other commands.
    scheduler : str, optional
        Address of a Dask scheduler whose workers are checked, too.
    """
    checks = [_versions(), *_settings(), _cache_folder()]
    try:
        found = find_root(root)
    except DaskcacheError as error:
        return [*checks, Check("root", root is None, f"{error.message}", error.hint or "")]
    checks += [_root(found), _writable(found), _space(found), _leftovers(found)]
    return [*checks, *([_cluster(scheduler, found)] if scheduler else [])]


def _versions():
    found = [f"Python {sys.version.split()[0]}", f"daskcache {__version__}"]
    for package in _PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            found.append(f"no {package}")
    return Check("packages", True, ", ".join(found))


def _settings() -> Iterator[Check]:
    settings = config.settings()
    changed = [f"{each.name} = {each.value!r}" for each in settings if each.value != each.default]
    yield Check("settings", True, ", ".join(changed) or "all are the defaults")
    for setting in settings:
        if setting.mistake:
            name = f"daskcache.{setting.name}"
            yield Check("settings", False, f"{name}: {setting.mistake}", "'dask cache config' lists all")


def _cache_folder():
    folder = config.cache_folder()
    if folder is None:
        cure = "set daskcache.cache-folder, so that content hashes of sources are kept"
        return Check("cache folder", False, "none: the user has no home", cure)
    above = folder
    while not os.path.exists(above):
        above = os.path.dirname(above)
    if os.access(above, os.W_OK):
        return Check("cache folder", True, folder)
    cure = "set daskcache.cache-folder to a folder that you can write to"
    return Check("cache folder", False, f"{folder} can't be written to", cure)


def _root(root):
    try:
        root.check_links()
        return Check("root", True, f"{root.path}, id {root.id()}")
    except DaskcacheError as error:
        return Check("root", False, f"{root.path}: {error.message}", error.hint or "")


def _writable(root):
    """Write a file as a commit does: beside the targets, then renamed without replacing another."""
    probe = f"{root.parts}/{uuid.uuid4().hex}"
    try:
        os.makedirs(root.parts, exist_ok=True)
        with open(probe, "xb") as file:
            file.write(b"daskcache")
        os.link(probe, f"{probe}.link")
        os.remove(f"{probe}.link")
        os.remove(probe)
    except OSError as error:
        cure = "give this user the right to write there, on a file system with hard links"
        return Check("writing", False, str(error), cure)
    return Check("writing", True, "files can be written and put in place")


def _space(root):
    free = shutil.disk_usage(root.path).free
    cure = "'dask cache gc --max-size …' makes room, 'dask cache du' tells what takes it"
    enough = free > _LITTLE_SPACE
    return Check("space", enough, f"{format_bytes(free)} free", "" if enough else cure)


def _leftovers(root):
    intents, parts = _count(root.intents), _count(root.parts)
    if not (intents or parts):
        return Check("leftovers", True, "none")
    told = f"{intents} commits and {parts} files of running programs, or of some that were killed"
    return Check("leftovers", True, told, "'dask cache verify --repair' clears those of dead programs")


def _count(folder):
    return len(os.listdir(folder)) if os.path.isdir(folder) else 0


def _cluster(address, root: Root):
    distributed = require("distributed", "distributed")
    from ..cluster.probe import Needs, check_reach

    try:
        with distributed.Client(address, timeout="10s", set_as_default=False) as client:
            workers = len(client.scheduler_info(n_workers=-1)["workers"])
            client.get_versions(check=True)
            check_reach(client, Needs(((root.path, root.id() or ""),)))
    except DaskcacheError as error:
        return Check("cluster", False, str(error), error.hint or "")
    except (OSError, ValueError) as error:  # `get_versions` raises ValueError for versions that differ
        cure = "start the scheduler, or name its address; install equal versions on all machines"
        return Check("cluster", False, f"{address}: {error}", cure)
    return Check("cluster", True, f"{workers} workers see the root and have daskcache")
