"""The package's functions that compute nodes or look at them.

`daskcache` exports them.  `verb` runs computations, `planning` makes plans, `plan.Plan` holds them, and
`accessor` handles single nodes.  `decisions` has the functions with which users decide about results.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar, TypeVarTuple, overload

from ..aliases import names_of
from ..errors import NodeFailed
from ..planning.planner import Planner
from ..planning.why import Why, explain
from ..targets.base import Target
from ..tracebacks import shortened
from . import verb
from .given import collections_in, members_of, nodes_in, one
from .node import Node, holding
from .nodes import Nodes
from .plan import Plan
from .typed import Lazy, Many, One

__getattr__ = names_of(__name__, "graph.decisions")

_A = TypeVar("_A")
_B = TypeVar("_B")
_C = TypeVar("_C")
_Ts = TypeVarTuple("_Ts")
_Raise = Literal["raise"] | None
_Collect = Literal["collect"]


@shortened
def plan(*args: Any, force: Any = False, errors: str | None = None) -> Plan:
    """Plan the computation of nodes.  Planning only reads, and runs nothing.

    Parameters
    ----------
    *args : nodes, or `Nodes`, lists, tuples, sets and dicts of them
        The requested nodes.
    force : bool, or nodes
        True to rerun all nodes, or the nodes to rerun, even if they are complete.
    errors : {"raise", "collect"}, optional
        Treatment of failures in `Plan.compute`; see `compute`.

    Returns
    -------
    Plan
        The actions and their reasons, shown as a table.  ``plan.compute()`` runs exactly this plan.
        Nodes that can't run are shown as blocked: a user's file is at a target, a source is gone, an
        argument changed, another node or function has the target, or a file can't be looked at.
        ``plan.compute()`` raises the error.

    Raises
    ------
    NotANode
        If an argument holds something other than nodes, or there are none.
    ValueError
        If `errors` has another value than those above.

    Examples
    --------
    >>> @dc.delayed(target="squares/{n}.json")
    ... def square(n):
    ...     return n * n
    >>> dc.plan([square(n) for n in range(3)]).left
    3
    """
    recipes = [node._recipe for node in nodes_in(args)]
    planner = Planner(_forced(force), verb.collects(errors))
    planner.request_all(recipes)
    return Plan(recipes, planner)


@overload
def compute(a: Lazy[_A], /, *, errors: _Raise = None, **kwargs: Any) -> tuple[_A]: ...
@overload
def compute(a: Lazy[_A], b: Lazy[_B], /, *, errors: _Raise = None, **kwargs: Any) -> tuple[_A, _B]: ...
@overload
def compute(
    a: Lazy[_A], b: Lazy[_B], c: Lazy[_C], /, *, errors: _Raise = None, **kwargs: Any
) -> tuple[_A, _B, _C]: ...
@overload
def compute(*args: Lazy[_A], errors: _Raise = None, **kwargs: Any) -> tuple[_A, ...]: ...
@overload
def compute(a: list[Node[_A]], /, *, errors: _Raise = None, **kwargs: Any) -> tuple[list[_A]]: ...
@overload
def compute(a: Lazy[Any, _A], /, *, errors: _Collect, **kwargs: Any) -> tuple[_A]: ...
@overload
def compute(
    a: Lazy[Any, _A], b: Lazy[Any, _B], /, *, errors: _Collect, **kwargs: Any
) -> tuple[_A, _B]: ...
@overload
def compute(*args: Lazy[Any, _A], errors: _Collect, **kwargs: Any) -> tuple[_A, ...]: ...
@overload
def compute(
    a: list[Node[_A]], /, *, errors: _Collect, **kwargs: Any
) -> tuple[list[_A | NodeFailed]]: ...
@overload
def compute(*args: Any, errors: _Raise | _Collect = None, **kwargs: Any) -> tuple[Any, ...]: ...
@shortened
def compute(
    *args: Any,
    force: Any = False,
    errors: str | None = None,
    progress: bool | float | str | None = None,
    **kwargs: Any,
) -> tuple[Any, ...]:
    """Compute nodes and other Dask collections.

    Complete nodes among the arguments are read in this process, without a task.  If such a result
    is damaged, its node runs again, with a `DaskcacheWarning`.

    Parameters
    ----------
    *args : nodes and other Dask collections, or lists, tuples and dicts of them
        The collections to compute.
    force : bool, or nodes
        True to rerun all nodes, or the nodes to rerun, even if they are complete.
    errors : {"raise", "collect"}, optional
        "raise": the first failure ends the computation.  "collect": all nodes that don't need the
        failed one still run.  The value of a failed or blocked node, and of those that need it, is a
        `NodeFailed`.  A plain Dask function that needs one raises its error.  Default: config
        ``daskcache.errors``, which also holds for Dask's own verbs.
    progress : bool, float or str, optional
        True to print a summary in the end, and to show the progress after a second.  A time, in seconds
        or as text ("10s"), to show it from then on.  False to show nothing.  Default: config
        ``daskcache.progress``.
    **kwargs
        As in `dask.compute`, e.g. ``scheduler="threads"``.

    Returns
    -------
    tuple
        The arguments, with values in place of collections.

    Raises
    ------
    NotANode
        If the arguments hold no collection, or `force` holds something other than nodes.
    ForeignTarget, TargetModified
        If a node can't run because of a user's file at its target.  Nothing has run then.  Not with
        ``errors="collect"``.
    TargetCollision
        If two nodes claim one target, or another function made it.  Like the errors below, not with
        ``errors="collect"``.
    ArgumentChanged, SourceMissing
        If an argument, a source or the code changed after a node was made, or a source is gone.
    StorageError
        If a target or its record can't be looked at.
    TargetCorrupt
        If a stored result is damaged once more after a rerun, or with ``force=True``.
    ValueError
        If `errors` has another value than those above.
    Exception
        Any error of a function that runs, with ``errors="raise"``.

    Examples
    --------
    >>> @dc.delayed(target="squares/{n}.json")
    ... def square(n):
    ...     return n * n
    >>> dc.compute(square(2), [square(3)])
    (4, [9])
    >>> dc.compute(square(2), force=True)
    (4,)
    """
    collections, repack = collections_in(args)
    single, joined = members_of(collections)
    how = {"force": _forced(force), "collect": verb.collects(errors), "progress": progress}
    results = verb.compute(single, **how, **kwargs)
    return tuple(repack(joined(results, list)))


@shortened
def persist(*args: *_Ts, force: Any = False, errors: str | None = None, **kwargs: Any) -> tuple[*_Ts]:
    """Compute nodes and other Dask collections, and keep their values in memory.

    On a cluster the values stay there, and the call returns while they are still being made.  Otherwise
    they are in this process.

    Parameters
    ----------
    *args : nodes and other Dask collections, or lists, tuples and dicts of them
        The collections to persist.
    force : bool, or nodes
        True to rerun all nodes, or the nodes to rerun, even if they are complete.
    errors : {"raise", "collect"}, optional
        Treatment of failures, see `compute`.
    **kwargs
        As in `dask.persist`, e.g. ``scheduler="threads"``.

    Returns
    -------
    tuple
        The arguments, with persisted collections in place of collections.  A persisted node is still a
        `Node`, which can be used upstream of others.

    Raises
    ------
    NotANode
        If the arguments hold no collection, or `force` holds something other than nodes.
    ForeignTarget, TargetModified
        If a node can't run because of a user's file at its target.  Nothing has run then.  Not with
        ``errors="collect"``.
    TargetCollision
        If two nodes claim one target, or another function made it.
    ArgumentChanged, SourceMissing
        If an argument, a source or the code changed after a node was made, or a source is gone.
    ValueError
        If `errors` has another value than those above.
    Exception
        Any error of a function that runs, with ``errors="raise"``.  On a cluster it is raised when the
        value is used.

    Examples
    --------
    >>> @dc.delayed(target="squares/{n}.json")
    ... def square(n):
    ...     return n * n
    >>> (node,) = dc.persist(square(2))
    >>> node.compute()
    4
    """
    collections, repack = collections_in(args)
    single, joined = members_of(collections)
    found = verb.persist(single, force=_forced(force), collect=verb.collects(errors), **kwargs)
    pairs = zip(single, found, strict=True)
    kept = [holding(c, k) if isinstance(k, NodeFailed) else k for c, k in pairs]
    return tuple(repack(joined(kept, Nodes)))


@overload
def why(node: Lazy[Any, Any, One]) -> Why: ...
@overload
def why(node: Lazy[Any, Any, Many]) -> list[Why]: ...
@shortened
def why(node: Any) -> Why | list[Why]:
    """Explain a node's state.

    Parameters
    ----------
    node : Node or Nodes
        The node to examine, or several.

    Returns
    -------
    Why or list of Why
        The reasons to run, or the user that adopted the result, and the root causes upstream.  It shows
        as a list, and ``str(why)`` is its text.  It is empty if the node is complete and its own
        function made the result.  For `Nodes`, a list of them.

    Raises
    ------
    NotANode
        If `node` is something else.

    Examples
    --------
    >>> @dc.delayed(target="squares/{n}.json")
    ... def square(n):
    ...     return n * n
    >>> print(dc.why(square(2)))
    was never computed
    >>> _ = square(2).compute()
    >>> @dc.delayed(target="squares/{n}.json")
    ... def square(n):
    ...     return n**2
    >>> dc.why(square(2)).reasons[0].splitlines()[0]
    'the code of square() changed'
    """
    if isinstance(node, Nodes):
        planner = Planner()
        return [explain(planner, planner.look(each._recipe)) for each in node]
    return one(node).why()


@overload
def status(node: Lazy[Any, Any, One]) -> str: ...
@overload
def status(node: Lazy[Any, Any, Many]) -> list[str]: ...
@shortened
def status(node: Any) -> str | list[str]:
    """Return a node's current state.

    Parameters
    ----------
    node : Node or Nodes
        The node to examine, or several.

    Returns
    -------
    str, or list of str for `Nodes`
        "complete": the targets hold the node's result.  "adopted": a user's file is the result.
        "missing": a target does not exist, or the node is not cached.  "stale": the target was made
        from other code, arguments or data, or expired.  "modified": the target was edited after it was
        stored, or can't be looked at.  "corrupt": the target is damaged.  "foreign": daskcache did not
        write the target, or made it for another function.
        "failed": the target is missing, and the last run failed.  "pending": the state depends on
        upstream nodes that have to run.

    Raises
    ------
    NotANode
        If `node` is something else.

    Examples
    --------
    >>> @dc.delayed(target="squares/{n}.json")
    ... def square(n):
    ...     return n * n
    >>> node = square(2)
    >>> dc.status(node)
    'missing'
    >>> _ = node.compute()
    >>> dc.status(node)
    'complete'
    """
    return node.states if isinstance(node, Nodes) else one(node).state


@overload
def target(node: Lazy[Any, Any, One]) -> Target | Any: ...
@overload
def target(node: Lazy[Any, Any, Many]) -> list[Target | Any]: ...
@shortened
def target(node: Any) -> Any:
    """Return a node's target.

    Parameters
    ----------
    node : Node or Nodes
        The node to examine, or several.

    Returns
    -------
    Target, tuple of Target, None, or list of these
        The target with its absolute path; a tuple for several results.  None if the node is not cached.
        A list for `Nodes`.

    Raises
    ------
    NotANode
        If `node` is something else.

    Examples
    --------
    >>> @dc.delayed(target="squares/{n}.json")
    ... def square(n):
    ...     return n * n
    >>> dc.target(square(2))
    JSONTarget(...squares/2.json')
    """
    return [each.dc.target for each in node] if isinstance(node, Nodes) else one(node).target


def _forced(force):
    return force if isinstance(force, bool) else [node._recipe for node in nodes_in((force,))]
