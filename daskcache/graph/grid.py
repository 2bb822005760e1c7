"""`Grid`: the combinations of the parameters of a `sweep`, and the names of their values in folders."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..calls.variants import why_no_folder
from ..errors import GraphError, UnsafePath
from ..hashing.names import has
from ..printable import printable
from ..storage.record import collision_form
from .mapping import why_single

#: Column with the keys of a dict that the pipeline returns, and names that a column can't have.
OUTPUT = "output"
_TAKEN = (OUTPUT, "state", "target")


class Grid:
    """All combinations of the values of parameters.

    Parameters
    ----------
    parameters : dict
        For each parameter, its values, or a dict of them by names; see `sweep`.

    Raises
    ------
    GraphError, UnsafePath
        If a parameter can't be swept, or a value can't be named.
    """

    def __init__(self, parameters: dict[str, Any]):
        if not parameters:
            raise GraphError(
                "a sweep needs a parameter to go through",
                expected="one parameter or more, each with its values",
                hint="dc.sweep(pipeline, sigma=[1, 2, 3])",
            )
        self.values = {name: _values(name, given) for name, given in parameters.items()}
        self.sizes = [len(each) for each in self.values.values()]
        #: For each combination, the positions of its values.
        self.indices = list(itertools.product(*map(range, self.sizes)))

    def __len__(self):
        return len(self.indices)

    def arguments(self, position: int) -> dict[str, Any]:
        return {name: value.value for name, value in self._chosen(position)}

    def fields(self, position: int) -> dict[str, str | float]:
        return {name: value.field for name, value in self._chosen(position)}

    def name(self, position: int, kept: list[bool]) -> str:
        """Return the name of a combination, with the parameters that are kept."""
        chosen = self._chosen(position)
        return ",".join(value.name for (_, value), keep in zip(chosen, kept, strict=True) if keep)

    def _chosen(self, position):
        columns = zip(self.values.items(), self.indices[position], strict=True)
        return [(name, values[i]) for (name, values), i in columns]


class _Value(NamedTuple):
    """A value of a parameter."""

    #: Its name in folders.
    name: str
    #: What stands for it in the column of its parameter.
    field: str | float
    #: What the pipeline gets.
    value: Any


def _values(parameter: str, given: Any) -> list[_Value]:
    """Return the values of a parameter, with names that differ."""
    if parameter in _TAKEN:
        raise GraphError(
            f"a parameter of a sweep can't be called {parameter!r}, like a column of its table",
            hint="give the pipeline's parameter another name",
        )
    if isinstance(given, Mapping):
        found = [_named(parameter, name, value) for name, value in given.items()]
    else:
        found = [_named(parameter, value, value) for value in _listed(parameter, given)]
    if not found:
        raise GraphError(f"the parameter {parameter} has no values", expected="one value or more")
    first: dict[object, _Value] = {}
    for each in found:
        for known in (collision_form(each.name), ("equal", each.field)):
            other = first.setdefault(known, each)
            if other is not each:
                raise GraphError(
                    f"two values of {parameter} are equal, or have one name",
                    expected="different values, whose names differ in more than upper and lower case",
                    got=f"{other.name!r} and {each.name!r}",
                    hint=f'give each value once, or names: {parameter}={{"low": …, "high": …}}',
                )
    return found


def _listed(parameter, given):
    if has(type(given), "tolist"):  # an array or Series, whose elements become values of Python
        given = given.tolist()
    single = why_single(given)
    if single is None:
        return list(given)
    raise GraphError(
        f"a sweep can't go through the values of {parameter}, which is {single[0]}",
        expected="a list, a tuple, a range, a Series, an array of one dimension, or a dict of names",
        got=f"{type(given).__module__}.{type(given).__qualname__}",
        hint=f"write a list, {parameter}=[…]; what is the same for all combinations goes into the "
        "pipeline with functools.partial",
    )


def _named(parameter, name, value):
    field = name.item() if has(type(name), "item") and getattr(name, "ndim", None) == 0 else name
    if type(field) not in (str, int, float, bool):
        fault = f"a {type(name).__name__} has no name"
    elif "," in str(field):
        fault = "a comma stands between parameters"
    else:
        fault = why_no_folder(f"{parameter}={field}")
    if fault is None:
        return _Value(f"{parameter}={field}", field, value)
    raise UnsafePath(
        f"a value of {parameter} can't name a folder: {fault}",
        expected="a text, an integer, a float or a boolean",
        got=printable(repr(name)[:80]),
        hint=f'give the values names: {parameter}={{"low": …, "high": …}}',
    )
