"""Tasks and flows as values, and where functions refer to them: by the function that they run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph.node import Function
from ..hashing.encoder import Encoder


def prefect_encoders() -> dict[type, Callable[[Any, Encoder], None]]:
    """Return the encoders of Prefect's classes, see `daskcache.hashing`."""
    from prefect import Flow, Task

    return {Task: _task, Flow: _flow}


def _task(task, encoder):
    # names, retries, descriptions … say nothing about what a call returns
    if hasattr(type(task), "_spec"):
        Function.__daskcache_encode__(task, encoder)
    else:
        encoder.add(task.fn)


def _flow(flow, encoder):
    encoder.add(getattr(flow, "_function", flow.fn))
