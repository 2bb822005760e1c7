"""Keys of tasks say whose node they make."""

from __future__ import annotations

import pytest
from dask.utils import key_split

from daskcache.calls.task_keys import (
    entry_key,
    node_made_by,
    result_key,
    token_of,
    value_key,
)

KEY = "0123456789abcdef" * 2


@pytest.mark.parametrize("function", ["slow", "_private", "add_up"])
@pytest.mark.parametrize(
    "token", ["76ec42971946a009", "76ec42971946a009-1", "76ec42971946a009-1-98db0421"]
)
def test_keys_are_told_apart(function, token):
    """Function, node, and whether a task makes it, can be read off a key; Dask groups by function."""
    entry, result, value = (make(function, KEY, token) for make in (entry_key, result_key, value_key))
    assert node_made_by(entry) == node_made_by(result) == (function, KEY)
    assert node_made_by(value) is None
    assert {token_of(key, KEY) for key in (entry, result, value)} == {token}
    plain = function.lstrip("_")
    assert (key_split(entry), key_split(result)) == (plain, f"{plain}-result")


@pytest.mark.parametrize("key", ["sum-76ec42971946a009", f"sum-{KEY}", "sum", ""])
def test_tasks_of_plain_dask_make_no_node(key):
    """Nor do keys of Dask's own form."""
    assert node_made_by(key) is None
