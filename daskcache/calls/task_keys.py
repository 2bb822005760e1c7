"""Dask keys of the tasks that make and load nodes, and the states of unfinished tasks.

A Dask key starts with the function's name, by which Dask's dashboard groups tasks.  The recipe's key
follows, then a token that tells tasks of the same node apart.  `graph.builder` makes the tokens.
`graph.attempts` and `cluster.dashboard` recognise tasks by their keys and states.
"""

from __future__ import annotations

import re

#: States of a task that its scheduler has not finished.
TO_DO = ("waiting", "queued", "no-worker", "processing")

_RESULT, _VALUE = "-result", "-value"
_KEY = re.compile(r"(?<![^-])[0-9a-f]{32}(?![^-])")
_MAKING_KEY = re.compile(
    rf"(?P<function>.+?)({_RESULT})?(?<!{_VALUE})-(?P<key>[0-9a-f]{{32}})(-[0-9a-f]+)+"
)


def entry_key(function: str, key: str, token: str) -> str:
    """Return the Dask key of a task that makes a node and returns its entry."""
    return f"{function}-{key}-{token}"


def result_key(function: str, key: str, token: str) -> str:
    """Return the Dask key of a task that makes a node and returns its value."""
    return f"{function}{_RESULT}-{key}-{token}"


def value_key(function: str, key: str, token: str) -> str:
    """Return the Dask key of a task that loads a value."""
    return f"{function}{_VALUE}-{key}-{token}"


def token_of(task_key: str, key: str) -> str:
    """Return the token of a task's Dask key: the text after the recipe's key."""
    return task_key.rpartition(f"{key}-")[2]


def node_made_by(task_key: str) -> tuple[str, str] | None:
    """Return the function's name and the recipe's key of the node that a task makes, or None."""
    match = _MAKING_KEY.fullmatch(task_key)
    return (match["function"], match["key"]) if match else None


def recipe_keys_in(task_key: str) -> list[str]:
    """Return the parts of a task's Dask key that have the form of a recipe's key."""
    return _KEY.findall(task_key)
