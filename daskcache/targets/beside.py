"""Metadata of images beside arrays in formats that have no place for them: their records keep them.

`MetadataBeside` is the mixin of such formats, and `runtime.held` uses `inherited` for arrays that are
not stored.  `images.metadata` has the rules by which results inherit metadata, and `forms` writes them
into records.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, ClassVar

from ..hashing.encoder import hash_value
from .base import may_be_image
from .images.metadata import (
    Described,
    ImageMetadata,
    InheritsMetadata,
    default_axes,
    described,
    hash_with,
    taken_over,
)


class MetadataBeside(InheritsMetadata):
    """Mixin of formats of arrays that keep pixels, but no metadata of an image.

    An array of at least two dimensions inherits axes, pixel sizes and names of channels from the node's
    inputs, as an `ImageTarget` does.  They count in the data hash.
    """

    keeps_metadata_beside: ClassVar[bool] = True
    #: Metadata from a record, set by `as_recorded`.
    _recorded: dict[str, Any] | None = None

    def form_of(self, value):
        form, found = super().form_of(value), self._beside(value)  # type: ignore[misc]
        if form is None or found is None:
            return form
        return {**form, "image": {**dataclasses.asdict(found), "channels": list(found.channels)}}

    def _beside(self, value):
        """Return the metadata beside a value, or None if there are none."""
        if not may_be_image(value):
            return None
        if self._recorded is not None:
            found = recorded_metadata(self._recorded, value.shape)
        else:
            found = inherited(self._inputs, value, self.like is not None)
        return found and found.metadata

    def _hash_beside(self, content, value):
        """Return the hash of a value's content, and of the metadata beside it."""
        found = self._beside(value)
        return hash_value(content) if found is None else hash_with(content, found)


def inherited(inputs: Iterable[Any], array: Any, is_alike: bool = False) -> Described | None:
    """Return the metadata that an array inherits from the images it was made of, or None.

    Parameters
    ----------
    inputs : iterable
        Heritage of the inputs, of which each `Described` counts.
    array : object
        An array of at least two dimensions, or an object with its `shape`, `ndim` and `dtype`.
    is_alike : bool
        True if the array is known to have the axes of its inputs, in the same order.

    Returns
    -------
    Described or None
        None if nothing is known but the shape.
    """
    images = [each for each in inputs if isinstance(each, Described)]
    if not images:
        return None
    shape = tuple(array.shape)
    axes = default_axes(array, images)
    found = taken_over(images, shape, axes, fixed=False, is_alike=is_alike)
    return None if found.is_empty else Described(found, shape)


def recorded_metadata(plain: dict[str, Any], shape: tuple[int, ...]) -> Described:
    """Return metadata that a record has as plain data, without parts that contradict the shape."""
    return described(ImageMetadata(**{**plain, "channels": tuple(plain["channels"])}), tuple(shape))
