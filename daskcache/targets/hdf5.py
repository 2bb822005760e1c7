"""HDF5: dicts of arrays as targets, and existing files as sources, through h5py.

`netcdf` has labelled arrays with metadata in HDF5 files, and shares `check_links` with this module.
"""

from __future__ import annotations

import io
import posixpath
from typing import Any

from ..errors import LazyModule
from ..hashing.encoder import hash_value
from .arrays import check_array, check_decoded
from .base import CODEC_ERRORS, BytesTarget
from .resource import DecodesInParts
from .source import Source

h5py = LazyModule("h5py", "hdf5")
np = LazyModule("numpy", "hdf5")

#: Attribute with what HDF5 lacks: the dtype of texts, or that an array without axes was a number.
_NOTE = "daskcache"
_NUMBER = "number"
_OTHERWISE = "convert it, or use a path that ends in .npz or .pkl"


class HDF5Target(DecodesInParts, BytesTarget):
    """A dict of arrays in an HDF5 file, which h5py, MATLAB, R, Julia and Fiji read.

    A dict in the dict becomes a group.  Dtypes, byte order, shapes and the order of the items are kept.
    Texts are stored as HDF5's own.  The file names no time, so that equal dicts give equal files.

    Parameters
    ----------
    path : str
        Path template ending in ``.h5`` or ``.hdf5``.

    Raises
    ------
    FormatLimit
        When saving anything but a dict of arrays, NumPy numbers and such dicts, or an array of a dtype
        that HDF5 lacks, such as times and Python objects.  The error names the item.

    Examples
    --------
    >>> @dc.delayed(target="cells.h5")
    ... def cells():
    ...     return {"area": np.array([2.5, 4.0]), "box": {"x": np.arange(2)}}
    >>> node = cells()
    >>> node.compute()["box"]
    {'x': array([0, 1])}
    >>> with node.dc.open() as file:
    ...     float(file["area"][1])
    4.0
    """

    def encode(self, value):
        if type(value) is not dict:
            hint = "return {'name': array, ...}, or let the path end in .npy, .nc or .pkl"
            raise self.limit(value, f"it is a {type(value).__name__}, not a dict of arrays", hint)
        file = io.BytesIO()
        with h5py.File(file, "w", track_order=True) as content:
            self._fill(content, value)
        return [file.getbuffer()]

    def _fill(self, group, items):
        for key, item in items.items():
            name = posixpath.join(group.name, str(key))
            if type(key) is not str or not key or "/" in key or "\0" in key or key == ".":
                raise self.limit(items, f"the key {key!r} can't name an item in HDF5", "rename it")
            if type(item) is dict:
                self._fill(group.create_group(key, track_order=True), item)
                continue
            try:
                self._add(group, key, item, name)
            except CODEC_ERRORS as error:
                raise self.limit(items, f"the item {name!r}: {error}", _OTHERWISE) from error

    def _add(self, group, key, item, name):
        if isinstance(item, np.generic) and item.dtype.kind in "biufc":
            group.create_dataset(key, data=item).attrs[_NOTE] = _NUMBER
            return
        check_array(self, item, f"the item {name!r}")
        if item.dtype.hasobject:
            raise TypeError(f"it is of dtype {item.dtype}, Python objects")
        if item.dtype.kind != "U":
            group.create_dataset(key, data=item, dtype=item.dtype)
            return
        texts = group.create_dataset(key, item.shape, h5py.string_dtype())
        if item.size:
            texts[...] = item.astype(object)
        texts.attrs[_NOTE] = item.dtype.str

    def _decode(self, file):
        return _read(file, self.path, _noted)

    def difference(self, value, decoded):
        name = _first_difference(value, decoded, "")
        return f"the item {name!r} would change", _OTHERWISE

    def open(self, path):
        """Open the file for reading, without loading its arrays.

        Parameters
        ----------
        path : str
            The file or folder.

        Returns
        -------
        h5py.File
            The open file.  Close it, or use it in a ``with`` statement.
        """
        return h5py.File(path, "r")


class HDF5Source(DecodesInParts, Source):
    """An existing HDF5 file.

    A decorated function receives a dict of arrays, with a dict for each group.  A number or text without
    axes arrives as one.  Texts are `str`, in arrays of objects.  Attributes are left out: a function
    that needs them takes a `FileSource`, and opens the path itself.

    Parameters
    ----------
    path : str or os.PathLike
        The file.  A relative path is taken from the current folder.

    Raises
    ------
    SourceMissing
        When the source is used and the file does not exist.
    SourceUnreadable
        When the file is read and is damaged, holds references, or refers to other files, whose edits
        would not count.
    FormatLimit
        When the file is read and exceeds config ``daskcache.max-decoded``.

    Examples
    --------
    >>> import h5py
    >>> with h5py.File("cells.h5", "w") as file:
    ...     file["area"] = np.array([2.5, 4.0])
    >>> dc.HDF5Source("cells.h5").get_data()
    {'area': array([2.5, 4. ])}
    """

    format = HDF5Target

    def _decode(self, file):
        return _read(file, self.path, _plain)


def check_links(file: Any) -> None:
    """Raise unless all that an open HDF5 file shows lies in this file.

    Raises
    ------
    ValueError
        If the file refers to another one, or a group contains itself.
    """
    sizes: list[int] = []
    _walk(file, (), lambda dataset: sizes.append(dataset.nbytes))
    check_decoded(sum(sizes), file.filename)


def _read(file, path, read):
    with h5py.File(file, "r") as content:
        check_links(content)
        return _walk(content, (), read)


def _walk(group, above, read):
    """Return the items of a group, with each dataset as `read` returns it."""
    place = h5py.h5o.get_info(group.id).addr
    if place in above:
        raise ValueError(f"the group {group.name!r} contains itself")
    items = {}
    for key in group:
        name = posixpath.join(group.name, key)
        if isinstance(group.get(key, getlink=True), h5py.ExternalLink):
            raise ValueError(f"{name!r} is a link to another file, whose edits would not count")
        item = group[key]
        if isinstance(item, h5py.Group):
            items[key] = _walk(item, (*above, place), read)
        elif not isinstance(item, h5py.Dataset):
            raise ValueError(f"{name!r} is neither a group nor a dataset")
        elif item.is_virtual or item.external:
            raise ValueError(f"{name!r} has its data in other files, whose edits would not count")
        else:
            items[key] = read(item)
    return items


def _plain(dataset):
    if h5py.check_ref_dtype(dataset.dtype) is not None:
        raise ValueError(f"{dataset.name!r} holds references")
    if dataset.shape is None:
        raise ValueError(f"{dataset.name!r} has a dtype, and no data")
    return (dataset.asstr() if h5py.check_string_dtype(dataset.dtype) else dataset)[()]


def _noted(dataset):
    note = dataset.attrs.get(_NOTE)
    if note not in (None, _NUMBER):
        return np.asarray(_plain(dataset)).astype(note)
    value = _plain(dataset)
    return value if note == _NUMBER else np.asarray(value, dtype=dataset.dtype)


def _first_difference(value, decoded, name):
    """Return the path of the first item that differs from its decoded twin."""
    for key, item in value.items():
        inner, other = f"{name}/{key}", decoded.get(key)
        if type(item) is dict and type(other) is dict:
            found = _first_difference(item, other, inner)
            if found != inner:
                return found
        elif other is None or hash_value(item) != hash_value(other):
            return inner
    return name
