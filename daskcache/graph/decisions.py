"""What users decide about the results of nodes: `accept`, `keep`, `release` and `invalidate`.

`daskcache` exports these functions.  `accessor` does the same for single nodes.
"""

from __future__ import annotations

from ..tracebacks import shortened
from .given import each_of
from .node import Node
from .nodes import Nodes


@shortened
def accept(*nodes: Node | Nodes) -> int:
    """Declare stale nodes complete, because the changes don't affect their results.

    The records get the user and the time.

    Parameters
    ----------
    *nodes : Node or Nodes
        Upstream nodes first.

    Returns
    -------
    int
        Number of nodes that were stale.

    Raises
    ------
    NotANode
        If an argument is not a node.
    TargetMissing
        If a target does not exist.
    TargetModified
        If a target is not the one that was stored, or was adopted for another recipe.
    GraphError
        If a node has no target, or depends on results that are stale themselves.

    Notes
    -----
    After an error, the nodes before the failed one stay accepted.

    Examples
    --------
    >>> @dc.delayed(target="half/{n}.json")
    ... def half(n):
    ...     return n / 2
    >>> half(3).compute()
    1.5
    >>> @dc.delayed(target="half/{n}.json")
    ... def half(n):
    ...     return n * 0.5
    >>> dc.status(half(3))
    'stale'
    >>> dc.accept(half(3))
    1
    >>> dc.status(half(3))
    'complete'
    """
    return sum([node.accept() for node in each_of(nodes)])


@shortened
def keep(*nodes: Node | Nodes) -> int:
    """Keep adopted results of other recipes as the results of these nodes' present recipes too.

    The records get the user and the time.  The results still stand for their former recipes.

    Parameters
    ----------
    *nodes : Node or Nodes
        Nodes with adopted results.

    Returns
    -------
    int
        Number of results that were made for other recipes.

    Raises
    ------
    NotANode
        If an argument is not a node.
    TargetMissing
        If a node has no adopted result.
    GraphError
        If an adopted result is damaged.

    Notes
    -----
    After an error, the results before the failed one stay kept.

    Examples
    --------
    >>> @dc.delayed(target="labels/{n}.json")
    ... def label(n, threshold=1):
    ...     return n > threshold
    >>> _ = label(2).compute()
    >>> _ = Path(label(2).dc.path).write_text("false")
    >>> _ = dc.adopt(label(2))
    >>> changed = label(2, threshold=0)
    >>> dc.plan(changed).counts["blocked"]
    1
    >>> dc.keep(changed)
    1
    >>> changed.compute()
    False
    """
    return sum([node.keep() for node in each_of(nodes)])


@shortened
def release(*nodes: Node | Nodes) -> int:
    """Move the adopted results of these nodes to the trash, so that the nodes run when needed.

    Parameters
    ----------
    *nodes : Node or Nodes
        Nodes with or without adopted results.

    Returns
    -------
    int
        Number of nodes that had adopted results.

    Raises
    ------
    NotANode
        If an argument is not a node.
    UnsafePath
        If a folder on the way to a target is a symbolic link.
    StorageError
        If a target can't be moved.

    Notes
    -----
    After an error, the results before the failed one stay in the trash.

    Examples
    --------
    >>> @dc.delayed(target="squares/{n}.json")
    ... def square(n):
    ...     return n * n
    >>> node = square(2)
    >>> _ = node.compute()
    >>> _ = Path(node.dc.path).write_text("5")
    >>> _ = dc.adopt(node)
    >>> dc.release(node)
    1
    >>> node.compute()
    4
    """
    return sum([node.release() for node in each_of(nodes)])


@shortened
def invalidate(*nodes: Node | Nodes) -> None:
    """Move the targets of these nodes to the root's trash, so that the nodes count as missing.

    Parameters
    ----------
    *nodes : Node or Nodes
        Nodes with or without targets.

    Raises
    ------
    NotANode
        If an argument is not a node.
    UnsafePath
        If a folder on the way to a target is a symbolic link.
    StorageError
        If a target can't be moved.

    Notes
    -----
    After an error, the targets before the failed one stay in the trash.

    Examples
    --------
    >>> @dc.delayed(target="squares/{n}.json")
    ... def square(n):
    ...     return n * n
    >>> node = square(2)
    >>> _ = node.compute()
    >>> dc.invalidate(node)
    >>> dc.status(node)
    'missing'
    """
    for node in each_of(nodes):
        node.invalidate()
