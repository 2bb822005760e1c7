"""OME-Zarr: images with named axes and a pyramid of smaller copies, for viewers."""

from __future__ import annotations

from typing import Any

from ..errors import GraphError, require
from .zarr_values import dask_array_of
from .zarrs import AUTO, ZarrTarget

_AXES = "tczyx"
_TYPES = {"t": "time", "c": "channel"}
_METHODS = ("mean", "nearest")
#: Planes up to this length (pixels) of the longer side need no smaller copy, unless one is asked for.
_SMALL = 1024


class OMEZarrTarget(ZarrTarget):
    """An image of two to five dimensions in an OME-Zarr folder: the value, and smaller copies of it.

    What comes back, open or as a NumPy array, is the image in full size.  Everything else is as for
    `ZarrTarget`; what is stored beside the image (axes, scale, pyramid, attributes) counts in the key.

    Parameters
    ----------
    path : str
        Path template ending in ``.ome.zarr``.
    axes : str, optional
        Names of the axes: ``"yx"``, with any of ``t``, ``c`` and ``z`` before them, in this order.
        Default: the last ones of ``"tczyx"``.
    scale : dict of str to float, optional
        Size of a pixel along each axis, e.g. ``{"y": 0.1, "x": 0.1}``; 1 by default.
    units : dict of str to str, optional
        Units of the axes, e.g. ``{"y": "micrometer"}``, as NGFF lists them.
    levels : int, optional
        Number of smaller copies, each half as wide and high.  Default: until the longer side of a plane
        has at most 1024 pixels.
    method : {"mean", "nearest"}
        How they are made: means of 2 × 2 pixels (rounded for integers), or every second pixel, which is
        right for labels and masks.
    chunks, shards, compressors, attributes
        See `ZarrTarget`.

    Raises
    ------
    FormatLimit
        When saving what is no array with these axes; and as `ZarrTarget` does.

    Notes
    -----
    Format: `NGFF 0.5 <https://ngff.openmicroscopy.org/0.5/>`_.  Coordinates are those of the pixels'
    centres: a mean over two pixels lies half a pixel further.
    """

    def __init__(
        self,
        path,
        axes=None,
        scale=None,
        units=None,
        levels=None,
        method="mean",
        chunks=None,
        shards=None,
        compressors=AUTO,
        attributes=None,
    ):
        super().__init__(path, chunks, shards, compressors, attributes)
        self.axes = axes
        self.scale = {name: float(size) for name, size in (scale or {}).items()}
        self.units = dict(units or {})
        self.levels = levels
        self.method = method
        self._check_options()

    def counted_options(self) -> dict[str, Any]:
        names = ("axes", "scale", "units", "levels", "method", "attributes")
        return {name: getattr(self, name) for name in names if getattr(self, name)}

    def _check_options(self):
        if self.axes is not None and not _is_axes(self.axes):
            raise GraphError(
                f"{self.path}: no axes of an image: {self.axes!r}",
                expected='"yx", or with any of t, c, z before them, in this order',
            )
        if "ome" in self.attributes or not (self.levels is None or self.levels >= 0):
            raise GraphError(
                f"{self.path}: attributes={self.attributes}, levels={self.levels}",
                expected="attributes without 'ome', which describes the image, and levels from 0 on",
            )
        unknown = (set(self.scale) | set(self.units)) - set(self.axes or _AXES)
        if unknown:
            raise GraphError(f"{self.path}: scale or units of unknown axes: {sorted(unknown)}")
        if self.method not in _METHODS:
            raise GraphError(
                f"{self.path}: method={self.method!r}", expected=" or ".join(map(repr, _METHODS))
            )

    def _check(self, value, what):
        ndim = getattr(value, "ndim", None)
        fits = ndim in range(2, 6) if self.axes is None else ndim == len(self.axes)
        if not fits or 0 in value.shape:
            shape = f"an array of shape {value.shape}" if ndim is not None else type(value).__name__
            raise self.limit(
                value,
                f"{shape} is no image with the axes {self.axes or 'yx, zyx, czyx or tczyx'}",
                "give OMEZarrTarget axes=..., or use a path that ends in .zarr",
            )
        super()._check(value, what)

    def _value_in(self, top):
        return top["0"]

    def _top_attributes(self, value):
        axes, levels = self._axes_of(value), self._levels_of(value)
        multiscale = self._multiscale(axes, value.shape, levels)
        return {**self.attributes, "ome": {"version": "0.5", "multiscales": [multiscale]}}

    def _axes_of(self, value):
        return self.axes or _AXES[-value.ndim :]

    def _levels_of(self, value):
        return _default_levels(value.shape) if self.levels is None else self.levels

    def _write_store(self, zarr, value, store):
        named = self.at(self.path)
        named._dimension_names = tuple(self._axes_of(value))
        zarr.create_group(store, zarr_format=3, attributes=self._top_attributes(value))
        named._write_node(zarr, value, store, "0", {})
        for level in range(1, self._levels_of(value) + 1):
            larger = dask_array_of(zarr.open_array(store, path=str(level - 1), mode="r"))
            named._write_node(zarr, _halved(larger, self.method), store, str(level), {})

    def _multiscale(self, axes, shape, levels):
        """NGFF's description of the pyramid."""
        described = [{"name": name, "type": _TYPES.get(name, "space")} for name in axes]
        for axis in described:
            if axis["name"] in self.units:
                axis["unit"] = self.units[axis["name"]]
        return {
            "axes": described,
            "datasets": [self._dataset(axes, shape, level) for level in range(levels + 1)],
            "type": self.method,
        }

    def _dataset(self, axes, shape, level):
        sizes = [self.scale.get(name, 1.0) for name in axes]
        halvings = [min(level, length.bit_length() - 1) for length in shape]  # one pixel stays one
        factors = [2**n if name in "yx" else 1 for name, n in zip(axes, halvings, strict=True)]
        scale = [size * factor for size, factor in zip(sizes, factors, strict=True)]
        transformations: list[dict] = [{"type": "scale", "scale": scale}]
        if level and self.method == "mean":
            shift = [size * (factor - 1) / 2 for size, factor in zip(sizes, factors, strict=True)]
            transformations.append({"type": "translation", "translation": shift})
        return {"path": str(level), "coordinateTransformations": transformations}


def _halved(array, method):
    """A Dask array of half the height and width; an odd last row or column is left out."""
    if method == "nearest":
        height, width = (length // 2 * 2 or 1 for length in array.shape[-2:])
        return array[..., :height:2, :width:2]
    da, np = require("dask.array", "zarr"), require("numpy", "zarr")
    halves = {axis: 2 for axis in (array.ndim - 2, array.ndim - 1) if array.shape[axis] > 1}
    means = da.coarsen(np.mean, array, halves, trim_excess=True)
    if array.dtype.kind in "biu":
        means = da.rint(means)
    return means.astype(array.dtype)


def _default_levels(shape):
    longest, levels = max(shape[-2:]), 0
    while longest > _SMALL:
        longest, levels = longest // 2, levels + 1
    return levels


def _is_axes(axes):
    return (
        isinstance(axes, str)
        and axes.endswith("yx")
        and len(set(axes)) == len(axes)
        and list(axes) == sorted(axes, key=_AXES.find)
        and set(axes) <= set(_AXES)
    )
