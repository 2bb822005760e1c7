"""Search for instances of a class in the arguments and results of Prefect's tasks."""

from __future__ import annotations

from typing import Any

from prefect.utilities.collections import visit_collection


def instances_in(value: Any, kinds: type | tuple[type, ...]) -> list[Any]:
    """Return the instances of some classes in a value, as deep as Prefect itself looks for futures."""
    found: list[Any] = []

    def look(each):
        if isinstance(each, kinds):
            found.append(each)

    visit_collection(value, look, return_data=False)
    return found
