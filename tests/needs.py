"""The parts of a machine that some tests need, and what happens where one is missing.

A test says what it needs with ``@pytest.mark.needs("ptrace")``, or its module with ``pytestmark``.
Where that is missing, the test is left out, and pytest's summary names the reason.  With ``CI=true`` in
the environment it fails instead, so that a project's own machines leave nothing out unnoticed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from ctypes.util import find_library
from functools import cache
from glob import glob
from importlib.metadata import version

import numpy as np
import pytest


def postgresql_programs() -> str | None:
    """Return the folder of PostgreSQL's server programs, the newest ones first, or None."""
    found = sorted(glob("/usr/lib/postgresql/*/bin/initdb")) or [shutil.which("initdb") or ""]
    return os.path.dirname(found[-1]) or None


def _is_root():
    return os.geteuid() == 0


def _has_network_namespaces():
    return _is_root() and shutil.which("ip") is not None


def _has_mounts():
    """Return True if a process may have a view of the file system of its own, and mount there."""
    return _runs("from mounts import mount_small, own_view; own_view(); mount_small('/mnt', '64k')")


def _has_ptrace():
    return _runs("from tracing import Action, trace; trace(lambda: None, '/', lambda call: Action())")


def _runs(code):
    folder = os.path.join(os.path.dirname(__file__), "faults")
    environment = {**os.environ, "PYTHONPATH": folder}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    return done.returncode == 0


def _has_fastapi_of_prefect():
    """Return True if the server of Prefect takes deployments: see setup.cfg."""
    return tuple(map(int, version("fastapi").split(".")[:2])) < (0, 151)


def _has_padded_long_doubles():
    return np.finfo(np.longdouble).nmant == 63


def _has_imagej():
    return shutil.which("javac") is not None and os.path.exists("/usr/share/java/ij.jar")


def _has_cairo():
    return find_library("cairo") is not None


def _has_package_index():
    """Return True if pip finds source distributions."""
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run([*pip, "iniconfig", "-d", folder], capture_output=True).returncode == 0


#: By name of the need: what tests for it, and what to do about it.
NEEDS: dict[str, tuple[Callable[[], object], str]] = {
    "pseudo-terminals": (lambda: os.name == "posix", "pseudo-terminals, as POSIX has them"),
    "forks": (lambda: hasattr(os, "fork"), "the system call fork(2)"),
    "postgresql": (postgresql_programs, "a PostgreSQL server (apt-get install postgresql)"),
    "network namespaces": (_has_network_namespaces, "root rights and ip (apt-get install iproute2)"),
    "root": (_is_root, "root rights"),
    "mounts": (_has_mounts, "root rights or user namespaces, and tmpfs"),
    "deployments": (_has_fastapi_of_prefect, 'the extra\'s own fastapi (pip install "fastapi < 0.151")'),
    "ptrace": (_has_ptrace, "ptrace(2) on Linux on x86-64"),
    "imagej": (_has_imagej, "ImageJ and a JDK (apt-get install imagej default-jdk-headless)"),
    "chromium": (lambda: shutil.which("chromium"), "Chromium (apt-get install chromium)"),
    "cairo": (_has_cairo, "the library Cairo (apt-get install libcairo2)"),
    "limits": (lambda: sys.platform == "linux", "Linux, for limits of open files and memory"),
    "package index": (_has_package_index, "pip, and a package index that it reaches"),
    "padded long doubles": (_has_padded_long_doubles, "long doubles of 80 bits, as x86-64 has them"),
}


@cache
def is_met(need: str) -> bool:
    return bool(NEEDS[need][0]())


def check(needs: tuple[str, ...], environment: Mapping[str, str]) -> None:
    """Leave the running test out if one of its needs is not met; with ``CI=true`` let it fail."""
    for need in needs:
        if not is_met(need):
            reason = f"needs {NEEDS[need][1]}"
            if environment.get("CI", "").lower() in ("true", "1"):
                pytest.fail(f"left out where CI=true: {reason}", pytrace=False)
            pytest.skip(reason)
