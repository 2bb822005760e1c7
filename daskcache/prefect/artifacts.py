"""Prefect artifacts for targets: a link to each file that a task made.  Used by `bodies`."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import httpx
from prefect.artifacts import create_link_artifact
from prefect.exceptions import PrefectException
from prefect.logging import get_run_logger

from ..hashing.encoder import tag
from ..runtime.entry import Entry, Held
from ..storage.paths import masked


def make_artifact(entry: Entry | Held) -> None:
    """Show a result's targets in Prefect's UI.

    If Prefect's server can't be reached, a warning is logged; the task does not fail.
    """
    for result in getattr(entry, "stored", ()):
        path = f"{entry.root}/{result.target.path}"  # type: ignore[union-attr]
        try:
            create_link_artifact(
                link=f"file://{quote(path)}",
                link_text=masked(result.target.path),
                key=artifact_key(result.target.path),
                description=f"{type(result.target).__name__}, {tag(result.data_hash)}",
                _sync=True,
            )
        except (PrefectException, httpx.HTTPError, OSError, RuntimeError, ValueError) as error:
            get_run_logger().warning("the target is stored, but not shown as an artifact: %s", error)


def artifact_key(path: str) -> str:
    """Return the key of a target's artifact: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", str(Path(path)).lower()).strip("-")
