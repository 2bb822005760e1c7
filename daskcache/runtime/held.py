"""Handles of results that are not stored, or not yet, which nodes pass on in place of their data.

`node` makes them.  `entry` has the handle of a stored result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..targets.base import may_be_image
from .copies import copy_of_data, filled
from .entry import Entry


@dataclass(slots=True, eq=False)
class Held:
    """Handle of a value that is not stored, of a node or of plain Dask, with its data hash."""

    value: Any
    data_hash: str
    #: Origin of its metadata, if it is an array made of images.
    lineage: Lineage | None = None
    #: See `daskcache.runtime.entry.Entry`.
    corrections: str = ""

    def load(self):
        return self.value

    def lend(self):
        """Return the value for a function that may change it, with copies of arrays and data frames."""
        return filled(self.value, copy_of_data)

    def heritage(self) -> list[Any]:
        """Return the facts that targets may take over; see `daskcache.targets.base.Target.heritage`."""
        return self.lineage.heritage() if self.lineage is not None else []

    def __sizeof__(self):
        from dask.sizeof import sizeof

        return sizeof(self.value)


@dataclass(slots=True, eq=False)
class Deferred:
    """Handle of a result with a known data hash that is not at its target yet.

    It is made only if a task needs its data.
    """

    key: str
    root: str
    #: Path of the (first) target, from the root.
    place: str
    data_hash: str
    #: Makes the result, by a copy or by a run of its function, and returns its entry.
    make: Callable[[], Entry]
    #: See `daskcache.runtime.entry.Entry`.
    corrections: str = ""

    def load(self):
        return self.make().load()


@dataclass(slots=True, eq=False)
class Failure:
    """Handle of a node that failed, or did not run because a node upstream failed."""

    error: Exception

    def load(self):
        return self.error


# ---- metadata of images ---------------------------------------------------------------------------


class Lineage(NamedTuple):
    """Shape and dtype of an array, and the handles of the inputs that it was made of."""

    shape: tuple[int, ...]
    dtype: Any
    inputs: tuple[Any, ...]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def heritage(self) -> list[Any]:
        """Return the metadata of the array; see `daskcache.targets.base.Target.heritage`."""
        from ..targets.beside import inherited  # only images need these modules

        found = [each for item in self.inputs for each in item.heritage()]
        described = inherited(found, self)
        return [] if described is None else [described]


def lineage_of(value: Any, inputs: list[Any]) -> Lineage | None:
    """Return the lineage of a value that was made of inputs; None if there is nothing to inherit.

    Parameters
    ----------
    value : object
        Result of a node's function.
    inputs : list
        Handles of the node's inputs.  Values that they hold are left out.
    """
    if not may_be_image(value):
        return None
    origins = [getattr(item, "lineage", item) for item in inputs]
    known = tuple(each for each in origins if isinstance(each, Lineage) or _may_have_heritage(each))
    return Lineage(tuple(value.shape), value.dtype, known) if known else None


def _may_have_heritage(handle):
    return handle is not None and handle.may_have_heritage
