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
from ...hashing.encoder import hash_value
from .units import METRES, say_once

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


class InheritsMetadata:
    """Mixin of targets whose results inherit metadata of images from the node's inputs."""

    like: str | None = None
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


class TakesOver(InheritsMetadata):
    """Mixin of targets for images, which keep their metadata."""

    axes: str | None
    channels: tuple[str, ...] | None

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

    def _gives_sizes(self) -> bool:
        """Return True if pixel sizes are given, so that those of the inputs don't count."""
        raise NotImplementedError

    def _metadata_in(self, path):
        return self.heritage(path).metadata

    def _metadata_of(self, value: Any) -> ImageMetadata:
        """Return the metadata of the file for this value: given options first, then inherited ones."""
        inputs = map(_without_sizes, self._inputs) if self._gives_sizes() else self._inputs
        axes = self.axes.upper() if self.axes else default_axes(value, self._inputs)
        is_alike = self.like is not None
        found = taken_over(inputs, value.shape, axes, self.axes is not None, is_alike)
        return found if self.channels is None else dataclasses.replace(found, channels=self.channels)

    def _check_channels(self, value, metadata, example):
        count = channel_count(metadata.axes, value.shape)
        if metadata.channels and len(metadata.channels) != count:
            raise self.limit(  # type: ignore[attr-defined]
                value,
                f"there are {len(metadata.channels)} names of channels for {count or 'no'} channels",
                f"name its axes, e.g. axes={example!r}, and each channel",
            )


def hash_with(value: Any, metadata: ImageMetadata) -> str:
    """Return the data hash of an image: of its pixels, and of its metadata if it has any."""
    if metadata.is_empty:
        return hash_value(value)
    return hash_value(("image", value, metadata.counted))


def _without_sizes(given):
    return given._replace(metadata=dataclasses.replace(given.metadata, pixel_size={}, unit=None))


def channel_count(axes: str, shape: Sequence[int]) -> int:
    """Return the length of the axis C; 0 without one."""
    return dict(zip(axes, shape, strict=True)).get("C", 0)


def known_axes(axes: str) -> str:
    """Return a series' axes, with `UNKNOWN` for letters that images here don't have."""
    return "".join(axis if axis in f"{STACKED}YXS" else UNKNOWN for axis in axes)


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
    inputs: Iterable[Described],
    shape: tuple[int, ...],
    axes: str,
    fixed: bool,
    is_alike: bool = False,
) -> ImageMetadata:
    """Return the metadata that a result of `shape` inherits from its inputs.

    Each axis of the result inherits from the axis of an input with the same length: if no axis has it,
    the image may have been scaled.  If several have it and their pixel sizes differ, the axes may have
    been exchanged or one of them reduced, so nothing is inherited, and a warning says so once.  Inputs
    with as many axes as the result count, or if there are none, those with more.  Facts on which two
    inputs disagree are left out.

    For example, take a stack with axes ZYX, pixels of 1, 0.2 and 0.2 µm, and shape (30, 512, 512).  A
    result of shape (512, 512) inherits the 0.2 µm.  One of shape (30, 256, 256) inherits the axis Z and
    its 1 µm, but no pixel sizes along Y and X.

    Parameters
    ----------
    inputs : iterable of Described
        Metadata and shapes of the node's inputs.
    shape : tuple of int
        Shape of the result.
    axes : str
        Axes of the result, as far as they are known.
    fixed : bool
        True if they were given, so that unknown axes stay unknown.
    is_alike : bool
        True if the result is known to have the axes of its inputs, in the same order.

    Returns
    -------
    ImageMetadata
        Without pixel sizes, if those of different axes have different units.
    """
    inputs = list(inputs)
    counting = [given for given in inputs if len(given.shape) == len(shape)]
    counting = counting or [given for given in inputs if len(given.shape) > len(shape)]
    voices = [_Voice(given, shape, axes if fixed else "", is_alike) for given in counting]
    if not fixed:
        axes = _named(axes, voices)
    known = {}
    for position, axis in enumerate(axes):
        size = _agreed([voice.sizes[position] for voice in voices], _same_size)
        if axis in SPATIAL and size is not None:
            known[axis] = size
    units = {unit for _, unit in known.values()}
    channels = _agreed([voice.channels(axes) for voice in voices], tuple.__eq__)
    # the metadata have one unit for all axes
    if len(units) > 1:
        known, units = {}, set()
    lengths = {axis: known[axis][0] for axis in SPATIAL if axis in known}
    return ImageMetadata(axes, lengths, units.pop() if units else None, channels or ())


class _Voice:
    """Statements of one input on the metadata of a result."""

    def __init__(self, given: Described, shape: Sequence[int], axes: str, is_alike: bool):
        self.metadata, self._of = given.metadata, given.shape
        if is_alike and len(given.shape) == len(shape):
            stems = [
                axis if before == after else NONE
                for axis, before, after in zip(given.metadata.axes, given.shape, shape, strict=True)
            ]
        else:
            stems = [self._stem(shape, position, axes) for position in range(len(shape))]
        #: For each axis of the result, the input's axis that it stems from, or a blank.
        self.axes = stems
        #: Size and unit along each axis of the result, or None.
        self.sizes = [self._size(axis) for axis in stems]

    def _stem(self, shape, position, axes):
        length = shape[position]
        able = [a for a, n in zip(self.metadata.axes, self._of, strict=True) if n == length]
        if len(able) < shape.count(length):
            return NONE
        if axes and axes[position] in able:
            return axes[position]
        sizes = [self.metadata.pixel_size.get(axis, math.inf) for axis in able]
        if not all(math.isclose(size, sizes[0], rel_tol=SAME) for size in sizes):
            _say_it_is_unclear(self.metadata, able, length)
            return NONE
        if len(shape) == len(self._of) and self._of[position] == length:
            return self.metadata.axes[position]
        # which one of several it is makes no difference for sizes, but is unknown for the name
        return able[0] if len(able) == 1 or able[0] in SPATIAL else NONE

    def _size(self, axis):
        unit = self.metadata.unit
        if axis not in self.metadata.pixel_size or not (unit is None or unit in METRES):
            return None
        return self.metadata.pixel_size[axis], unit

    def channels(self, axes):
        is_said = "C" in axes and self.axes[axes.index("C")] == "C"
        return (self.metadata.channels or None) if is_said else None


#: Stands for an axis that an input says nothing about.
NONE = " "


def _say_it_is_unclear(metadata, axes, length):
    told = ", ".join(f"{axis} {metadata.pixel_size.get(axis, 'unknown')}" for axis in axes)
    say_once(
        f"axes of length {length} have different pixel sizes ({told})",
        "so results don't take these over: their axes may be exchanged.  Give the target like='…', the "
        "parameter whose axes the result has, or axes, or pixel_size",
    )


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
