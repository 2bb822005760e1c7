"""Parameters of the decorators: misspelt ones, and functions whose own are Dask's."""

from __future__ import annotations

import pytest

import daskcache as dc
from daskcache.errors import GraphError


@pytest.mark.parametrize(
    ("name", "meant"),
    [("targt", ": did you mean 'target'?"), ("ingore", ": did you mean 'ignore'?"), ("xyz", "")],
)
def test_a_misspelt_parameter(name, meant):
    """The error asks for the one that is meant."""
    with pytest.raises(TypeError) as raised:
        dc.delayed(**{name: "a.json"})
    assert str(raised.value) == f"delayed() got an unexpected keyword argument {name!r}{meant}"
    if meant:
        with pytest.raises(GraphError, match=meant[2:-1]):
            dc.task(**{name: "a.json"})(len)


@pytest.mark.parametrize("name", ["pure", "dask_key_name"])
def test_a_parameter_that_dask_takes_for_itself(name):
    """The function would not get it, so it is refused when it is decorated."""
    program: dict = {}
    exec(f"def measure(image, *, {name}=None): return image", program)
    with pytest.raises(GraphError, match=rf"measure\(\) has a parameter '{name}'"):
        dc.delayed(program["measure"])
