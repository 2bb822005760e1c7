"""Encoders for Prefect's tasks and flows: they count as the functions that they run.

They are used for tasks and flows in arguments, and for those that functions refer to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..graph.node import Function
from ..hashing.encoder import Encoder


def prefect_encoders() -> dict[type, Callable[[Any, Encoder], None]]:
    """Return the encoders for Prefect's classes, see `daskcache.hashing`."""
    from prefect import Flow, Task

    return {Task: _task, Flow: _flow}


def _task(task, encoder):
    # names, retries, descriptions … have no influence on what a call returns
    if hasattr(type(task), "_spec"):
        Function.__daskcache_encode__(task, encoder)
    else:
        encoder.add(task.fn)


def _flow(flow, encoder):
    encoder.add(getattr(flow, "_function", flow.fn))
