"""Cache keys for plain Prefect tasks."""

from __future__ import annotations


def cached_state(task, parameters):
    return None
