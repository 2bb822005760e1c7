"""Dask keys of the tasks that make and load nodes, and the states of those that are still to do.

A key starts with the name of the function, by which Dask's dashboard groups tasks, and has the key of
the recipe.  It ends in a token, which tells tasks of one node apart: see `daskcache.graph`.
"""

from __future__ import annotations

import re

from dask.utils import key_split

#: States of a task that a scheduler has still to do.
TO_DO = ("waiting", "queued", "no-worker", "processing")

_RESULT, _VALUE = "-result", "-value"
_NO_KEY = "0" * 32
_MAKING_KEY = re.compile(
    rf"(?P<function>.+?)({_RESULT})?(?<!{_VALUE})-(?P<key>[0-9a-f]{{32}})(-[0-9a-f]+)+"
)


def entry_key(function: str, key: str, token: str) -> str:
    """Of a task that makes a node and returns its entry."""
    return f"{function}-{key}-{token}"


def result_key(function: str, key: str, token: str) -> str:
    """Of a task that makes a node and returns its value."""
    return f"{function}{_RESULT}-{key}-{token}"


def value_key(function: str, key: str, token: str) -> str:
    """Of a task that loads a value."""
    return f"{function}{_VALUE}-{key}-{token}"


def token_of(task_key: str, key: str) -> str:
    """What a task's key ends in, behind the key of its recipe."""
    return task_key.rpartition(f"{key}-")[2]


def node_made_by(task_key: str) -> tuple[str, str] | None:
    """Function and recipe key of the node that a task makes; None if it makes none."""
    match = _MAKING_KEY.fullmatch(task_key)
    return (match["function"], match["key"]) if match else None


def making_prefixes(function: str) -> tuple[str, str]:
    """The names by which Dask groups the tasks that make a function's nodes."""
    return key_split(entry_key(function, _NO_KEY, "0")), key_split(result_key(function, _NO_KEY, "0"))
