"""`sweep`: the nodes of a pipeline for each combination of parameters, as one `Nodes`.

The results of a node lie in the folder of the parameters on which its key depends, such as
``sigma=1,threshold=10``.  To find them, the pipeline is called twice for each combination.  The first
calls tell in which combinations a key occurs.  If a key stays the same however ``threshold`` changes, it
does not depend on it, and the folder is ``sigma=1``.  In the second calls, equal keys get equal folders,
so that a step that several combinations share is one node.  `calls.variants` hands the keys over, and
`comparison` makes a table of the results.  `grid` has the combinations.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dask.delayed import Delayed

from ..calls.state import inside_body, made
from ..calls.variants import combination, current_variant, in_combination, why_no_folder
from ..errors import GraphError, NotANode, UnsafePath, did_you_mean
from ..printable import printable
from ..tracebacks import shortened
from .function import Function
from .grid import OUTPUT, Grid
from .node import Node, with_recipe
from .nodes import Nodes

#: Folder of the nodes that depend on no parameter.
_SHARED = "shared"


@shortened
def sweep(pipeline: Callable[..., Any], /, **parameters: Any) -> Nodes:
    """Make the nodes of a pipeline for each combination of parameters.

    Each combination is a `variant`.  A node lies in the folder of the parameters on which it depends,
    such as ``sigma=1`` or ``sigma=1,threshold=10``, and in ``shared`` if it depends on none.  So a step
    that several combinations share is one node: it runs once and is stored once.  What the base holds
    under the same key is used, and the base's files are never changed.

    Parameters
    ----------
    pipeline : callable
        A function that makes nodes and returns a node, a list or `Nodes`, or a dict of these.  It is
        called with one value of each parameter by name, twice for each combination: the first calls find
        out which steps depend on which parameters.
    **parameters : list, tuple, range, Series, array of one dimension, or dict
        The values of each parameter: texts, integers, floats or booleans.  Others need names, given by
        the keys of a dict: ``model={"small": a, "large": b}``.

    Returns
    -------
    Nodes
        The nodes in the order of `itertools.product`.  Their fields have the parameters, with the values
        or their names, and as ``output`` the keys of a dict that the pipeline returns.

    Raises
    ------
    GraphError
        If a parameter is not one of the pipeline's, has no values, or has two with one name.  If it is
        called like a field of the files that a node is made from, and their values differ.  If a sweep
        is made within another one, or within the body of a decorated function.
    UnsafePath
        If a value has no name that can be part of a folder's.
    NotANode
        If the pipeline returns something else.

    See Also
    --------
    Nodes.compare : The results as a table with a row for each combination.
    prune : Remove the results of all but the nodes that are given, such as the best and the base.

    Notes
    -----
    Within the block of a `variant`, its name and a comma stand before those of the folders.  With only
    one value of a parameter it is not known what depends on it, so all nodes lie in folders of its name.

    Examples
    --------
    >>> @dc.delayed(target="loaded/{n}.json")
    ... def load(n):
    ...     return list(range(n))
    >>> @dc.delayed(target="error/{loaded.stem}.json")
    ... def error(loaded, sigma, shift):
    ...     return abs(sum(loaded) / sigma - shift)
    >>> def pipeline(sigma, shift):
    ...     return error(load(5), sigma, shift)
    >>> errors = dc.sweep(pipeline, sigma=[1, 2], shift=[3, 5])
    >>> dc.plan(errors).counts["run"]  # load, once, and error
    5
    >>> errors.compute()
    [7.0, 5.0, 2.0, 0.0]
    >>> table = errors.compare()
    >>> table
       sigma  shift     state  error
    0      1      3  complete    7.0
    1      1      5  complete    5.0
    2      2      3  complete    2.0
    3      2      5  complete    0.0
    >>> best = errors.where(**table.loc[table["error"].idxmin(), ["sigma", "shift"]])
    >>> best.fields
    {'sigma': [2], 'shift': [5]}
    >>> dc.prune(best, yes=True).going[0].target
    'sigma=1,shift=3/error/5.json'
    """
    _check_moment()
    grid = Grid(parameters)
    _check_call(pipeline, grid)
    places = _Places(grid)
    with _unnoticed():
        for position in range(len(grid)):
            _call(pipeline, grid, position, places.names[position], places.learn(position))
    nodes: list[Node] = []
    for position in range(len(grid)):
        found = _call(pipeline, grid, position, places.names[position], places.folders(position))
        fields = grid.fields(position)
        for node, output in found:
            nodes.append(_with_fields(node, fields if output is None else {**fields, OUTPUT: output}))
    return Nodes(nodes)


def _check_moment():
    if inside_body.get():
        raise GraphError(
            "a sweep can't be made within the body of a decorated function, which runs at once",
            hint="make the sweep outside, and pass it as an argument",
        )
    if in_combination():
        raise GraphError(
            "a sweep can't be made within the pipeline of another one",
            hint="give all parameters to one sweep",
        )


@contextmanager
def _unnoticed() -> Iterator[None]:
    """Within this context, no flow collects the nodes that are made."""
    token = made.set(None)
    try:
        yield
    finally:
        made.reset(token)


# ---- the folders -----------------------------------------------------------------------------------


class _Places:
    """The folder of each key, by the combinations in which the pipeline makes it."""

    def __init__(self, grid: Grid):
        self._grid = grid
        outer = current_variant()
        self._outer = f"{outer}," if outer is not None else ""
        every = [True] * len(grid.sizes)
        #: The full name of each combination.
        self.names = [self._outer + grid.name(position, every) for position in range(len(grid))]
        for name in self.names:
            _check_length(name)
        self._found_in: dict[str, list[int]] = {}
        self._by_key: dict[str, str] = {}
        self._by_positions: dict[tuple[int, ...], str] = {}

    def learn(self, position: int) -> Callable[[str], str]:
        """Return a function that notes the keys of a combination, and gives its own folder."""

        def folder_of(key):
            found = self._found_in.setdefault(key, [])
            if not found or found[-1] != position:
                found.append(position)
            return self.names[position]

        return folder_of

    def folders(self, position: int) -> Callable[[str], str]:
        """Return a function that gives the folders of keys in a combination."""

        def folder_of(key):
            folder = self._by_key.get(key)
            if folder is None:  # a key that was not made before is that of this combination
                folder = self._by_key[key] = self._folder(tuple(self._found_in.get(key, [position])))
            return folder

        return folder_of

    def _folder(self, positions):
        folder = self._by_positions.get(positions)
        if folder is None:
            name = self._grid.name(positions[0], self._matters(positions)) or _SHARED
            folder = self._by_positions[positions] = self._outer + name
        return folder

    def _matters(self, positions):
        """Return, for each parameter, whether a key that is made in these combinations depends on it.

        It does not if the key is made with all values of the parameter, whatever the others are.  So two
        keys of one folder are made in one combination, and their paths differ.
        """
        found = [self._grid.indices[position] for position in positions]
        return [
            size == 1 or len({each[:i] + each[i + 1 :] for each in found}) * size != len(found)
            for i, size in enumerate(self._grid.sizes)
        ]


def _check_length(name):
    fault = why_no_folder(name)
    if fault is not None:
        raise UnsafePath(
            f"the name of a combination can't be that of a folder: {fault}",
            got=printable(name),
            hint='give values short names: model={"small": …, "large": …}',
        )


# ---- the pipeline ----------------------------------------------------------------------------------


def _check_call(pipeline, grid):
    """Raise an error if the pipeline can't be called with the parameters."""
    if not callable(pipeline) or (isinstance(pipeline, Delayed) and not isinstance(pipeline, Function)):
        raise GraphError(
            "a sweep needs a function that makes nodes",
            expected="the function itself, not what it returned",
            got=printable(repr(pipeline)[:80]),
            hint="dc.sweep(pipeline, sigma=[1, 2, 3])",
        )
    try:
        signature = inspect.signature(pipeline)
    except (TypeError, ValueError):  # of some callables in C: the first call tells
        return
    known = signature.parameters
    takes_any = any(each.kind is each.VAR_KEYWORD for each in known.values())
    unknown = [name for name in grid.values if name not in known and not takes_any]
    if unknown:
        raise GraphError(
            f"{_name_of(pipeline)}() has no parameter {unknown[0]!r}",
            expected=f"parameters of it: {', '.join(known) or 'it has none'}",
            hint=did_you_mean(unknown[0], list(known)),
        )
    try:
        signature.bind(**grid.arguments(0))
    except TypeError as error:
        raise GraphError(
            f"{_name_of(pipeline)}() can't be called with the parameters of the sweep: {error}",
            expected=f"the arguments of {_name_of(pipeline)}{signature}",
            got=", ".join(grid.values),
            hint="functools.partial(pipeline, …) gives it what is the same for all combinations",
        ) from None


def _name_of(pipeline):
    return getattr(pipeline, "__name__", type(pipeline).__name__)


def _call(pipeline, grid, position, name, folder_of):
    """Return the nodes of a combination, each with its output."""
    try:
        with combination(name, folder_of):
            return list(_outputs(pipeline, pipeline(**grid.arguments(position))))
    except Exception as error:
        error.add_note(printable(f"in the combination {name} of a sweep"))
        raise


def _outputs(pipeline, result):
    """Yield the nodes in what a pipeline returned, each with its key in a dict, or None."""
    if not isinstance(result, dict) or not result:
        yield from [(node, None) for node in _members(pipeline, result)]
        return
    for output, value in result.items():
        if type(output) not in (str, int):
            raise _no_nodes(pipeline, result, f"a dict with the key {output!r}")
        yield from [(node, output) for node in _members(pipeline, value)]


def _members(pipeline, result):
    nodes = [result] if isinstance(result, Node) else result
    if not isinstance(nodes, (list, tuple, Nodes)) or not nodes:
        raise _no_nodes(pipeline, result, repr(result))
    for node in nodes:
        if not isinstance(node, Node):
            raise _no_nodes(pipeline, result, f"a {type(result).__name__} with {node!r}")
    return nodes


def _no_nodes(pipeline, result, got):
    return NotANode(
        f"a sweep can't use what {_name_of(pipeline)}() returned",
        expected="a node, a list, tuple or Nodes of one node or more, or a dict of these by texts",
        got=printable(got[:100]),
        hint="forgot to return?" if result is None else "return the nodes themselves, not their values",
    )


def _with_fields(node, fields):
    recipe = node._recipe
    for name, value in fields.items():
        if recipe.fields.get(name, value) != value:
            raise GraphError(
                f"the field {name} of a node is something else than the parameter of the sweep",
                node=recipe.title,
                expected=f"{name}={value!r}, as the sweep has it",
                got=f"{recipe.fields[name]!r}, as the files have it that the node is made from",
                hint="give the parameter, or the field in the pattern of dc.sources, another name",
            )
    return with_recipe(node, dataclasses.replace(recipe, given={**recipe.given, **fields}))
