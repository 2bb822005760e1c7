"""`variant`: the folder of a parameter set, in which all paths of the nodes made within its block lie.

`calls.arguments` asks for the folder when a node is made.  `planning.variants` finds what the base, the
root without a variant, holds for the node.  `graph.sweep` chooses a folder for each key (`combination`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from .. import config
from ..errors import GraphError, UnsafePath
from ..printable import printable
from ..storage.paths import DATA_HASH, may_be_table, why_unsafe
from ..targets.base import Target
from .state import OUTSIDE, variant_block


@contextmanager
def variant(name: str | int | None) -> Iterator[None]:
    """Put what the nodes made within a block make into a folder of the variant, below the root.

    A node of a variant has two places: ``<root>/<name>/<path>``, its own, and ``<root>/<path>``, the
    base's.  If its own place does not hold its result and the base's does, under the same key, the node
    uses the base's file: it is neither run nor copied.  Otherwise the node is made in its own place.  A
    node of a variant never writes to the base's place.

    Parameters
    ----------
    name : str, int or None
        Name of the variant, which is one folder.  None for the base, within the block of a variant.  A
        block within another one replaces its variant.

    Yields
    ------
    None
        The variant holds in this thread or asyncio task until the block ends.  Outside of blocks, it is
        config ``daskcache.variant``.

    Raises
    ------
    UnsafePath
        If the name can't be that of a folder.
    GraphError
        When a node is made within the block whose target is in a database.

    Notes
    -----
    The variant is no part of a key.  A result that a user corrected in the base is used for the recipe
    that it was made for, not for other recipes.

    Examples
    --------
    >>> @dc.delayed(target="squares/{n}.json")
    ... def square(n):
    ...     return n * n
    >>> @dc.delayed(target="sum.json")
    ... def add(square, offset=0):
    ...     return square + offset
    >>> add(square(2)).compute()
    4
    >>> with dc.variant("offset5"):
    ...     shifted = add(square(2), offset=5)
    >>> dc.plan(shifted).counts
    {'run': 1, 'decide': 0, 'blocked': 0, 'load': 1, 'skip': 0}
    >>> shifted.compute()
    9
    >>> shifted.dc.path.endswith("offset5/sum.json")
    True
    """
    token = variant_block.set(None if name is None else _folder(name))
    try:
        yield
    finally:
        variant_block.reset(token)


class Combination(NamedTuple):
    """The variant of one combination of a sweep, whose nodes lie in folders by their keys."""

    name: str
    #: Takes a node's key and taint, returns its folder.
    folder_of: Callable[[str], str]


@contextmanager
def combination(name: str, folder_of: Callable[[str], str]) -> Iterator[None]:
    """Put the nodes made within a block into folders by their keys; see `Combination`."""
    token = variant_block.set(Combination(name, folder_of))
    try:
        yield
    finally:
        variant_block.reset(token)


def in_combination() -> bool:
    """Return True within the block of a `combination`."""
    return isinstance(variant_block.get(), Combination)


def current_variant() -> str | None:
    """Return the folder of the variant in force, or None for the base."""
    name = variant_block.get()
    if name is OUTSIDE:
        name = config.get("variant")
        return None if name is None else _folder(name)
    return name.name if isinstance(name, Combination) else name  # type: ignore[return-value]


def folder_for(key: str) -> str | None:
    """Return the folder of a node that is made now, by its key and taint, or None for the base."""
    block = variant_block.get()
    return block.folder_of(key) if isinstance(block, Combination) else current_variant()


@functools.lru_cache(maxsize=256, typed=True)
def _folder(name):
    """Return the name of a variant's folder."""
    fault = why_no_folder(name)
    if fault is not None:
        raise UnsafePath(
            f"the variant {printable(repr(name))} can't be used: {fault}",
            expected="a text or an integer that can be the name of a folder, or None for the base",
            hint='choose another name for daskcache.variant("…") or config daskcache.variant',
        )
    return str(name)


def why_no_folder(name: object) -> str | None:
    """Return the fault of a variant's name as text, or None if it can be that of a folder."""
    if type(name) not in (str, int):
        return f"it is a {type(name).__name__}"
    if not str(name) or "/" in str(name):
        return "it is not the name of one folder"
    if DATA_HASH in str(name) or may_be_table(str(name)):
        return "it has a meaning in paths"
    fault = why_unsafe(str(name))
    return fault and fault.removeprefix("which ")


def paths_in_variant(
    folder: str, paths: tuple[str, ...], formats: tuple[Target, ...]
) -> tuple[str, ...]:
    """Return the paths of a node's targets in the folder of a variant.

    Raises
    ------
    GraphError
        If a target is in a database, which has no folders.
    """
    for path, target in zip(paths, formats, strict=True):
        if target.in_database:
            raise GraphError(
                f"a target in a database can't be in the variant {folder!r}",
                expected="targets that are files or folders",
                got=path,
                hint="make this node within daskcache.variant(None), and put what differs into the name "
                "of the table",
            )
    return tuple([f"{folder}/{path}" for path in paths])
