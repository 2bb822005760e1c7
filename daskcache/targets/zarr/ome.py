"""OME-Zarr targets: images with named axes and a pyramid of smaller copies, for viewers.

`OMEZarrTarget` extends the plain format in `target`.  `ngff` makes the metadata, and `values` moves the
arrays.  To read an existing OME-Zarr image, use `source.ZarrSource`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ...errors import LazyModule
from ..images.metadata import TakesOver
from ..images.options import checked_channels, checked_like, one_of, wrong
from . import ngff
from .source import described_image, read_metadata
from .target import AUTO, ZarrTarget
from .values import dask_array_of, open_node

da = LazyModule("dask.array", "zarr")
np = LazyModule("numpy", "zarr")
zarr = LazyModule("zarr", "zarr")

#: Pixels of a plane's longer side up to which the default is not to make a smaller copy.
_SMALL = 1024


class OMEZarrTarget(TakesOver, ZarrTarget):
    """An image of two to five dimensions in an OME-Zarr folder, with smaller copies of it.

    Reading and opening give the image in full size.  Everything else is as for `ZarrTarget`.  Options
    count in the node's key if they change what is stored beside the image.

    Axes, pixel sizes and channel names are taken over from the node's direct inputs, as by
    `ImageTarget`, unless they are given here.  They count as part of the data.  Unknown metadata is not
    made up: an unknown axis is called ``q`` and has no type.  The format allows one such axis at most.

    Parameters
    ----------
    path : str
        Path template ending in ``.ome.zarr``.
    axes : str, optional
        Names of the axes: ``"yx"``, with any of ``t``, ``c`` and ``z`` before them, in this order.
    scale : dict of str to float, optional
        Size of a pixel along each axis, e.g. ``{"y": 0.1, "x": 0.1}``.  The file has 1 for an axis
        without a known size.
    units : dict of str to str, optional
        Units of the axes, e.g. ``{"y": "micrometer"}``, as NGFF lists them.  With `scale` or `units`,
        sizes and units are not taken over from inputs.  ``{}`` stands for unknown units.
    levels : int, optional
        Number of smaller copies, each half as wide and high as the one before.  Default: as many as it
        takes until the longer side of a plane has at most 1024 pixels.
    method : {"mean", "nearest"}
        Method of making the copies.  "mean" takes means of 2 × 2 pixels, rounded for integers.
        "nearest" takes every second pixel, which is right for labels and masks.
    chunks, shards, compressors, attributes
        See `ZarrTarget`.
    channels : tuple of str, optional
        Names of the channels, along the axis ``c``.  ``()`` stands for unknown names.
    like : str, optional
        Name of the parameter whose image has the axes of the result, in the same order.

    Raises
    ------
    GraphError
        If an option is not as described here, or `scale` or `units` name an unknown axis.
    FormatLimit
        When saving a value that is not an array with these axes, or is empty.  Also if the format lacks
        its axes (several unknown ones, or another order), or the options don't fit them.  Otherwise as
        for `ZarrTarget`.

    Notes
    -----
    Format: `NGFF 0.5 <https://ngff.openmicroscopy.org/0.5/>`_.  Coordinates are those of the pixels'
    centres, so the mean of two pixels lies half a pixel further than the first.

    Examples
    --------
    >>> size = {"y": 0.2, "x": 0.2}
    >>> units = {"y": "micrometer", "x": "micrometer"}
    >>> target = dc.OMEZarrTarget("cells.ome.zarr", axes="yx", scale=size, units=units)
    >>> @dc.delayed(target=target)
    ... def cells():
    ...     return np.ones((64, 64), "uint16")
    >>> node = cells()
    >>> node.compute().shape
    (64, 64)
    >>> node.dc.target.read_metadata().unit
    'µm'
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        axes: str | None = None,
        scale: Mapping[str, float] | None = None,
        units: Mapping[str, str] | None = None,
        levels: int | None = None,
        method: Literal["mean", "nearest"] = "mean",
        chunks: Sequence[int] | None = None,
        shards: Sequence[int] | None = None,
        compressors: Any = AUTO,
        attributes: Mapping[str, Any] | None = None,
        channels: tuple[str, ...] | list[str] | None = None,
        like: str | None = None,
    ):
        super().__init__(path, chunks, shards, compressors, attributes)
        self.axes = axes
        self.scale = _by_axis("scale", scale, float)
        self.units = _by_axis("units", units, str)
        self.levels = levels
        self.method = one_of("method", method, ("mean", "nearest"))
        self.channels = checked_channels(channels)
        self.like = checked_like(like)
        self._check_options()

    def counted_options(self) -> dict[str, Any]:
        names = ("axes", "scale", "units", "levels", "method", "channels", "like")
        told = {name: getattr(self, name) for name in names} | {"attributes": self.attributes or None}
        return {name: option for name, option in told.items() if option is not None}

    # -- metadata -----------------------------------------------------------------------------------

    keeps_metadata_beside = False

    def _beside(self, value):
        return None  # the folder has its metadata

    def _metadata_in(self, path):
        return read_metadata(path)

    def heritage_folder(self, folder):
        return described_image(open_node(folder))

    def _gives_sizes(self):
        return self.scale is not None or self.units is not None

    def _check_options(self):
        if self.axes is not None and not _is_axes(self.axes):
            raise wrong("axes", self.axes, '"yx", or with any of t, c, z before them, in this order')
        if "ome" in self.attributes:
            raise wrong("attributes", self.attributes, "none named 'ome', which describes the image")
        if not (self.levels is None or self.levels >= 0):
            raise wrong("levels", self.levels, "a number from 0 on")
        known = self.axes or ngff.AXES
        for name, given in (("scale", self.scale), ("units", self.units)):
            if not set(given or ()) <= set(known):
                raise wrong(name, given, f"axes of {known!r}")
        if not all(0 < size < math.inf for size in (self.scale or {}).values()):
            raise wrong("scale", self.scale, "positive numbers")

    def _check(self, value, what):
        ndim = getattr(value, "ndim", None)
        fits = ndim in range(2, 6) if self.axes is None else ndim == len(self.axes)
        if not fits or 0 in value.shape:
            shape = f"an array of shape {value.shape}" if ndim is not None else type(value).__name__
            raise self.limit(
                value,
                f"{shape} is not an image with the axes {self.axes or 'yx, zyx, czyx or tczyx'}",
                "give OMEZarrTarget axes=..., or use a path that ends in .zarr",
            )
        super()._check(value, what)
        self._check_metadata(value)

    def _check_metadata(self, value):
        metadata = self._metadata_of(value)
        axes = metadata.axes.lower()
        reason = ngff.why_not(axes)
        if reason:
            raise self.limit(
                value,
                f"an image of shape {value.shape} has the axes {axes!r}: {reason}",
                "name them, e.g. OMEZarrTarget(..., axes='tzyx'), of a result that has them in this "
                "order (numpy.transpose, numpy.moveaxis)",
            )
        told = {*(self.scale or ()), *(self.units or ())} - set(axes)
        if told:
            raise self.limit(
                value,
                f"scale and units name the axis {min(told)}, and the image has the axes {axes!r}",
                "name its axes: OMEZarrTarget(..., axes=...)",
            )
        self._check_channels(value, metadata, "cyx")

    # -- how it is stored ---------------------------------------------------------------------------

    def _value_in(self, top):
        return top["0"]

    def _names_of(self, value):
        return tuple(self._metadata_of(value).axes.lower())

    def _levels_of(self, value):
        if self.levels is not None:
            return self.levels
        longest, levels = max(value.shape[-2:]), 0
        while longest > _SMALL:
            longest, levels = longest // 2, levels + 1
        return levels

    def _top_attributes(self, value):
        metadata = self._metadata_of(value)
        scale, units = ngff.sizes_and_units(metadata)
        if self.scale is not None or self.units is not None:
            scale, units = self.scale or {}, self.units or {}
        axes = metadata.axes.lower()
        levels = range(self._levels_of(value) + 1)
        multiscale = {
            "axes": ngff.described_axes(axes, units),
            "datasets": [self._dataset(axes, value.shape, scale, level) for level in levels],
            "type": self.method,
        }
        ome = {"version": "0.5", "multiscales": [multiscale]}
        if metadata.channels:
            ome["omero"] = ngff.described_channels(metadata.channels)
        return {**self.attributes, "ome": ome}

    def _counted(self, attributes):
        return ngff.without_windows(attributes)

    def _write_store(self, value, store):
        names = self._names_of(value)
        group = zarr.create_group(store, zarr_format=3, attributes=self._top_attributes(value))
        self._write_node(value, store, "0", {}, names)
        levels = self._levels_of(value)
        for level in range(1, levels + 1):
            # each copy is made from the one before, as it was stored
            larger = dask_array_of(zarr.open_array(store, path=str(level - 1), mode="r"))
            self._write_node(_halved(larger, self.method), store, str(level), {}, names)
        if "omero" in group.attrs["ome"]:
            # ranges of the smallest copy, which is the cheapest to read
            smallest = dask_array_of(zarr.open_array(store, path=str(levels), mode="r"))
            ranges = _ranges(smallest, names.index("c"))
            group.attrs["ome"] = ngff.with_windows(group.attrs["ome"], ranges)

    def _dataset(self, axes, shape, scale, level):
        """Return NGFF's description of the array at a level: its path, scale and translation."""
        sizes = [scale.get(name, 1.0) for name in axes]
        halvings = [min(level, length.bit_length() - 1) for length in shape]  # one pixel stays one
        factors = [2**n if name in "yx" else 1 for name, n in zip(axes, halvings, strict=True)]
        larger = [size * factor for size, factor in zip(sizes, factors, strict=True)]
        transformations: list[dict] = [{"type": "scale", "scale": larger}]
        if level and self.method == "mean":
            shift = [size * (factor - 1) / 2 for size, factor in zip(sizes, factors, strict=True)]
            transformations.append({"type": "translation", "translation": shift})
        return {"path": str(level), "coordinateTransformations": transformations}


def _halved(array, method):
    """Return a Dask array of half the height and width, without an odd last row or column."""
    if method == "nearest":
        height, width = (length // 2 * 2 or 1 for length in array.shape[-2:])
        return array[..., :height:2, :width:2]
    halves = {axis: 2 for axis in (array.ndim - 2, array.ndim - 1) if array.shape[axis] > 1}
    means = da.coarsen(np.mean, array, halves, trim_excess=True)
    if array.dtype.kind in "biu":
        means = da.rint(means)
    return means.astype(array.dtype)


def _ranges(array, axis):
    """Return the range of values to show for each index along an axis of a Dask array.

    It reaches from the least to the largest value.  It is 0 to 1 for complex numbers, and where one of
    the two is not finite.
    """
    if array.dtype.kind == "c":
        return [(0.0, 1.0)] * array.shape[axis]
    if array.dtype.kind == "b":
        array = array.astype("u1")
    others = tuple(i for i in range(array.ndim) if i != axis)
    found = da.stack([array.min(others), array.max(others)], axis=1).compute(scheduler="threads")
    return [tuple(pair.tolist()) if np.isfinite(pair).all() else (0.0, 1.0) for pair in found]


def _is_axes(axes):
    if not isinstance(axes, str) or not axes.endswith("yx"):
        return False
    return axes == "".join(axis for axis in ngff.AXES if axis in axes)


def _by_axis(name, given, convert):
    if given is None:
        return None
    try:
        return {axis: convert(each) for axis, each in given.items()}
    except (AttributeError, TypeError, ValueError):
        raise wrong(name, given, "a dict by axis, e.g. {'y': …, 'x': …}") from None
