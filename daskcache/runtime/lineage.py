"""The inputs of an array that is not stored, from which its metadata as an image are found if needed.

A `Held` handle has a lineage.  Nodes downstream then inherit metadata through nodes without targets as
they do through files.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..targets.beside import inherited, may_be_image


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
