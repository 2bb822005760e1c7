"""`context`: values for template fields that are not arguments, e.g. ``context(base="img01")``.

`template` describes the fields.  `calls.arguments` fills them when a node is made.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from .. import config


class Context(MutableMapping):
    """Mapping of values that path and label templates can use, read when a node is made.

    ``with context(base="img01"):`` sets values for a block, in this thread or asyncio task.
    ``context["base"] = "img01"`` sets a value for the whole process.  Values of a block come first,
    then those of the process, then those of config ``daskcache.context``.

    Parameters
    ----------
    **values : object
        Values by name, for the block of the ``with`` statement.

    Returns
    -------
    context manager
        Its target is the context itself.

    Raises
    ------
    KeyError
        When reading a value that is not set, or deleting one that is not set for the process.

    Examples
    --------
    >>> @dc.delayed(target="{base}/{n}.json")
    ... def square(n):
    ...     return n * n
    >>> with dc.context(base="img01"):
    ...     node = square(2)
    >>> node.dc.path.endswith("img01/2.json")
    True
    """

    def __init__(self):
        self._process: dict[str, Any] = {}
        self._block: ContextVar[dict[str, Any] | None] = ContextVar("daskcache_context", default=None)

    @contextmanager
    def __call__(self, **values: Any) -> Iterator[Context]:
        token = self._block.set({**(self._block.get() or {}), **values})
        try:
            yield self
        finally:
            self._block.reset(token)

    def _all(self):
        return {**config.get("context"), **self._process, **(self._block.get() or {})}

    def __getitem__(self, name):
        return self._all()[name]

    def __setitem__(self, name, value):
        self._process[name] = value

    def __delitem__(self, name):
        del self._process[name]

    def __iter__(self):
        return iter(self._all())

    def __len__(self):
        return len(self._all())

    def __repr__(self):
        return f"context({self._all()!r})"


context = Context()
