"""The machine on which something was measured: what it is, and how fast its disk and memory are."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np

from .measuring import timed
from .scenes import FOR_SMALL, folder

FILES = 2_000
MIB = 2**20


def description() -> dict[str, str]:
    """Return what figures depend on, by name."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "processor": f"{processor()}, {os.cpu_count()} cores",
        "load": "{:.1f}, {:.1f}, {:.1f} (1, 5, 15 minutes)".format(*os.getloadavg()),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "libraries": ", ".join(
            f"{name} {version(name)}"
            for name in ("daskcache", "dask", "joblib", "numpy", "tifffile", "zarr")
        ),
        "small files": f"in {FOR_SMALL}",
        **limits(),
    }


def processor() -> str:
    """Return the model of the processor, as far as the system knows it."""
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or "unknown"


def limits() -> dict[str, str]:
    """Return how fast files are looked at, listed and written, and memory is copied."""
    with folder(large=True) as path:
        names = [f"{path}/{i}" for i in range(FILES)]
        written = timed(lambda: [write(name, b"{}") for name in names]).wall / FILES
        stats = min(timed(lambda: [os.stat(name) for name in names]).wall for _ in range(3)) / FILES
        listed = min(timed(lambda: list(os.scandir(path))).wall for _ in range(3)) / FILES
        large = os.urandom(64 * MIB)
        disk = len(large) / timed(lambda: write(f"{path}/large", large)).wall
    block = np.zeros(256 * MIB, "u1")
    memory = 2 * block.nbytes / min(timed(block.copy).wall for _ in range(3))
    return {
        "os.stat": f"{stats * 1e6:.2f} µs",
        "listing": f"{listed * 1e6:.2f} µs an entry",
        "small file, synced": f"{written * 1e6:.0f} µs",
        "writing, synced": f"{disk / 1e6:,.0f} MB/s",
        "memory, read and written": f"{memory / 1e9:.1f} GB/s",
    }


def write(path: str, content: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
