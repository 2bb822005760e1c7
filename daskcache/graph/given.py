"""The nodes among what users give to a function, nested in any way."""

from __future__ import annotations

from itertools import chain, islice
from typing import Any

from dask.base import unpack_collections

from ..errors import NotANode
from .accessor import Accessor
from .node import Node
from .nodes import Nodes


def collections_in(args: tuple[Any, ...]) -> tuple[Any, Any]:
    """Return the collections in nested arguments, and a function that puts others in their places."""
    if all(isinstance(arg, (Node, Nodes)) for arg in args):
        collections, repack = args, tuple
    else:
        collections, repack = unpack_collections(*args)
    if not collections:
        raise _not_a_node(args)
    return collections, repack


def members_of(collections: Any) -> tuple[tuple[Any, ...], Any]:
    """Return collections with nodes in place of `Nodes`, and a function that joins what became of them.

    Each node of a `Nodes` then has a task of its own, or none.
    """
    single = tuple(chain.from_iterable(c if isinstance(c, Nodes) else (c,) for c in collections))

    def joined(results, join):
        left = iter(results)
        return [join(islice(left, len(c))) if isinstance(c, Nodes) else next(left) for c in collections]

    return single, joined


def one(node: Any) -> Accessor:
    """Return a node's accessor, or raise `NotANode`."""
    if not isinstance(node, Node):
        raise _not_a_node(node)
    return node.dc


def each_of(nodes: tuple[Any, ...]) -> list[Accessor]:
    """Return the accessors of nodes in nested arguments, of none without arguments."""
    return [node.dc for node in (nodes_in(nodes) if nodes else ())]


def nodes_in(args: Any) -> list[Node]:
    """Return the nodes in nested arguments, in order.

    Parameters
    ----------
    args : sequence
        Nodes, or `Nodes`, lists, tuples, sets and dicts of them.

    Raises
    ------
    NotANode
        If the arguments hold something other than nodes, or no node.  A `Nodes` may be empty.
    """
    found: list[Node] = []
    stack = list(reversed(args))
    may_be_empty = False
    while stack:
        value = stack.pop()
        if isinstance(value, Node):
            found.append(value)
        elif isinstance(value, Nodes):
            may_be_empty = True
            stack += reversed(value)
        elif isinstance(value, (list, tuple, set, frozenset)):
            stack += reversed(list(value))
        elif isinstance(value, dict):
            stack += reversed(list(value.values()))
        else:
            raise _not_a_node(value)
    if not found and not may_be_empty:
        raise _not_a_node(args)
    return found


def _not_a_node(value):
    return NotANode(
        "this holds no node of daskcache",
        expected="what a function decorated with daskcache.delayed returned",
        got=repr(value)[:100],
        hint="decorate the function with @daskcache.delayed and call it",
    )
