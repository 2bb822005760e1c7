"""Metadata of images, and the part of it that a result inherits from its node's inputs.

`target` and `targets.zarr` use it for any kind of file.  `tiff`, `ome_xml` and `targets.zarr.ngff` read
it from their formats.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ...errors import TargetMissing
from .units import METRES

#: Axes along which pixels have a size.
SPATIAL = "ZYX"
#: Axes along which planes are stacked, besides unknown ones.
STACKED = "TZC"
UNKNOWN = "Q"


@dataclasses.dataclass(frozen=True)
class ImageMetadata:
    """Metadata of an image file: axes, pixel sizes and names of channels.

    Parameters
    ----------
    axes : str
        A letter for each axis of the array, as in OME and tifffile: T time, Z depth, C channel, Y, X,
        S sample (of a colour), Q unknown.
    pixel_size : dict of str to float
        Distance between pixels along Z, Y and X, in `unit`.  Axes of unknown size are left out.
    unit : str or None
        ``"µm"``, ``"nm"`` …; None if it is unknown.
    channels : tuple of str
        Names along the axis C; empty if they are unknown.

    Examples
    --------
    >>> dc.ImageMetadata("YX", pixel_size={"Y": 0.2, "X": 0.2}, unit="µm").is_empty
    False
    """

    axes: str
    pixel_size: dict[str, float] = dataclasses.field(default_factory=dict)
    unit: str | None = None
    channels: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """True if it holds no more than the array's shape does."""
        return not (self.pixel_size or self.channels or set(self.axes) & set(STACKED))

    @property
    def counted(self) -> tuple[Any, ...]:
        """All fields, in a form to hash: sorted, as pixel sizes have no order."""
        return self.axes, sorted(self.pixel_size.items()), self.unit, self.channels


class Described(NamedTuple):
    """Metadata of an image, and the shape of its array."""

    metadata: ImageMetadata
    shape: tuple[int, ...]


class TakesOver:
    """Mixin of targets for images, whose results inherit metadata from the node's inputs."""

    axes: str | None
    channels: tuple[str, ...] | None
    #: Metadata of the node's inputs that are images, set by `inherit`.
    _inputs: tuple[Described, ...] = ()

    def inherit(self, heritage: Iterable[Any]) -> Any:
        """Return this target with the metadata of the node's inputs; see `Target.inherit`."""
        inputs = tuple(each for each in heritage if isinstance(each, Described))
        if not inputs:
            return self
        twin = self.at(self.path)  # type: ignore[attr-defined]
        twin._inputs = inputs
        return twin

    def read_metadata(self, path: str | None = None) -> ImageMetadata:
        """Return axes, pixel sizes and channel names of an image in this format.

        Parameters
        ----------
        path : str, optional
            The file, or the folder.  Default: this target's path.

        Returns
        -------
        ImageMetadata
            The file's metadata; empty fields are unknown.

        Raises
        ------
        TargetMissing
            If there is nothing at this target's path, e.g. because it is a template.
        SourceMissing, FormatLimit
            If there is no image at the given path.
        """
        own: str = self.path  # type: ignore[attr-defined]
        if path is None and not os.path.lexists(own):
            raise TargetMissing(
                "there is no image at the path of this target, which may be a template",
                target=own,
                expected="the path of an image",
                hint="node.dc.target has the path of a node's result; or give read_metadata a path",
            )
        return self._metadata_in(path or own)

    def _metadata_in(self, path):
        return self.heritage(path).metadata

    def _metadata_of(self, value: Any) -> ImageMetadata:
        """Return the metadata of the file for this value: given options first, then inherited ones."""
        axes = self.axes.upper() if self.axes else default_axes(value, self._inputs)
        found = taken_over(self._inputs, value.shape, axes, fixed=self.axes is not None)
        return found if self.channels is None else dataclasses.replace(found, channels=self.channels)

    def _check_channels(self, value, metadata, example):
        count = channel_count(metadata.axes, value.shape)
        if metadata.channels and len(metadata.channels) != count:
            raise self.limit(  # type: ignore[attr-defined]
                value,
                f"there are {len(metadata.channels)} names of channels for {count or 'no'} channels",
                f"name its axes, e.g. axes={example!r}, and each channel",
            )


def channel_count(axes: str, shape: Sequence[int]) -> int:
    """Return the length of the axis C; 0 without one."""
    return dict(zip(axes, shape, strict=True)).get("C", 0)


def described(metadata: ImageMetadata, shape: tuple[int, ...]) -> Described:
    """Return a file's metadata with the shape of its array, without parts that contradict the shape."""
    if len(metadata.axes) != len(shape):
        return Described(ImageMetadata(UNKNOWN * len(shape)), shape)
    if metadata.channels and len(metadata.channels) != channel_count(metadata.axes, shape):
        metadata = dataclasses.replace(metadata, channels=())
    return Described(metadata, shape)


def part_of(described: Described, slices: tuple[slice, ...]) -> Described:
    """Return metadata and shape of the part of an image that slices along its first axes cut out."""
    metadata = described.metadata
    cuts = [*slices, *[slice(None)] * (len(described.shape) - len(slices))]
    shape = tuple(len(range(n)[cut]) for n, cut in zip(described.shape, cuts, strict=True))
    if metadata.channels:
        channels = metadata.channels[cuts[metadata.axes.index("C")]]
        metadata = dataclasses.replace(metadata, channels=channels)
    return Described(metadata, shape)


def default_axes(array: Any, inputs: Iterable[Described]) -> str:
    """Return the axes of an array as far as its shape and dtype show them.

    A last axis that can hold colours does so, unless an input of the same shape is a stack.
    """
    colours = "S" if _may_be_colours(array) and not _is_like_a_stack(array, inputs) else ""
    return UNKNOWN * (array.ndim - 2 - len(colours)) + "YX" + colours


def fits(axes: str, array: Any) -> bool:
    """Return True if an array can have these axes."""
    return len(axes) == array.ndim and (not axes.endswith("S") or _may_be_colours(array))


def _is_like_a_stack(array, inputs):
    alike = [given.metadata.axes for given in inputs if given.shape == array.shape]
    return any(axes.endswith("X") and set(axes) & set(STACKED) for axes in alike)


def _may_be_colours(array):
    return array.ndim > 2 and array.shape[-1] in (3, 4) and array.dtype.str[1:] in ("u1", "u2")


def taken_over(
    inputs: Iterable[Described], shape: tuple[int, ...], axes: str, fixed: bool
) -> ImageMetadata:
    """Return the metadata that a result of `shape` inherits from its inputs.

    An input counts if it has as many axes as the result.  It counts only for axes of the same length in
    both: if a length differs, the image may have been scaled.  Facts on which two inputs disagree are
    left out.

    For example, take a stack with axes ZYX, pixels of 1, 0.2 and 0.2 µm, and shape (30, 512, 512).  A
    result of shape (30, 256, 256) inherits the axis Z and its 1 µm, but no pixel sizes along Y and X.

    Parameters
    ----------
    inputs : iterable of Described
        Metadata and shapes of the node's inputs.
    shape : tuple of int
        Shape of the result.
    axes : str
        Axes of the result, as far as they are known.
    fixed : bool
        True to leave unknown axes unknown.

    Returns
    -------
    ImageMetadata
        Without pixel sizes, if those of different axes have different units.
    """
    alike = [_Voice(given, shape) for given in inputs if len(given.shape) == len(shape)]
    if not fixed:
        axes = _named(axes, alike)
    sizes = [(axis, _agreed([v.size(axis, axes) for v in alike], _same_size)) for axis in SPATIAL]
    known = {axis: size for axis, size in sizes if size is not None}
    units = {unit for _, unit in known.values()}
    channels = _agreed([voice.channels(axes) for voice in alike], tuple.__eq__)
    # the metadata have one unit for all axes
    if len(units) > 1:
        known, units = {}, set()
    lengths = {axis: length for axis, (length, _) in known.items()}
    return ImageMetadata(axes, lengths, units.pop() if units else None, channels or ())


class _Voice:
    """Statements of one input on the metadata of a result."""

    def __init__(self, given: Described, shape: Sequence[int]):
        self.metadata = given.metadata
        pairs = zip(given.metadata.axes, given.shape, shape, strict=True)
        #: The input's axes, with a blank for each axis whose length differs from the result's.
        self.axes = [axis if before == after else " " for axis, before, after in pairs]

    def size(self, axis, axes):
        unit = self.metadata.unit
        if axis not in self.metadata.pixel_size or not (unit is None or unit in METRES):
            return None
        return (self.metadata.pixel_size[axis], unit) if self.speaks_of(axis, axes) else None

    def channels(self, axes):
        return (self.metadata.channels or None) if self.speaks_of("C", axes) else None

    def speaks_of(self, axis, axes):
        return axis in axes and self.axes[axes.index(axis)] == axis


def _named(axes, voices):
    """Return axes in which the names that all inputs agree on replace unknown ones."""
    named = list(axes)
    for position, axis in enumerate(axes):
        if axis == UNKNOWN:
            said = [voice.axes[position] for voice in voices]
            named[position] = _agreed([s for s in said if s in STACKED], str.__eq__) or UNKNOWN
    # a name that two axes would have is unknown for both
    return "".join(UNKNOWN if named.count(axis) > 1 else axis for axis in named)


def _agreed(statements, same):
    """Return the first statement if all others are the same, else None.  None is not a statement."""
    made = [statement for statement in statements if statement is not None]
    return made[0] if made and all(same(made[0], other) for other in made) else None


def _same_size(one, other):
    return one[1] == other[1] and math.isclose(one[0], other[0], rel_tol=SAME)


#: Relative difference up to which two sizes are the same, given the precision of TIFF's fractions.
SAME = 1e-6
