"""`variant`: a folder of its own for what the nodes of a parameter set make.

`arguments` asks for the variant in force when a node is made.  `planning.variants` finds the nodes of a
variant whose results the base holds.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from .. import config
from ..errors import GraphError, UnsafePath
from ..printable import printable
from ..storage.paths import DATA_HASH, may_be_table, why_unsafe
from ..targets.base import Target

#: The name of a block's variant, None for the base, or `_UNSET` outside of blocks.
_UNSET = object()
_block: ContextVar[object] = ContextVar("daskcache_variant", default=_UNSET)


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
    token = _block.set(None if name is None else _folder(name))
    try:
        yield
    finally:
        _block.reset(token)


def current_variant() -> str | None:
    """Return the folder of the variant in force, or None for the base."""
    name = _block.get()
    if name is _UNSET:
        name = config.get("variant")
        return None if name is None else _folder(name)
    return name  # type: ignore[return-value]


@functools.lru_cache(maxsize=256, typed=True)
def _folder(name):
    """Return the name of a variant's folder."""
    if type(name) not in (str, int):
        fault = f"it is a {type(name).__name__}"
    elif not str(name) or "/" in str(name):
        fault = "it is not the name of one folder"
    elif DATA_HASH in str(name) or may_be_table(str(name)):
        fault = "it has a meaning in paths"
    else:
        fault = why_unsafe(str(name))
    if fault is not None:
        raise UnsafePath(
            f"the variant {printable(repr(name))} can't be used: {fault.removeprefix('which ')}",
            expected="a text or an integer that can be the name of a folder, or None for the base",
            hint='choose another name for daskcache.variant("…") or config daskcache.variant',
        )
    return str(name)


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
