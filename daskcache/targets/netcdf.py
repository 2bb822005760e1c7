"""NetCDF: xarray's datasets and arrays as targets, and existing files as sources, through h5netcdf.

NetCDF has fewer types than xarray.  A note, JSON in an attribute of the file, restores the rest: units
of times, lengths of texts, byte orders, and attributes such as booleans and tuples.  If another program
changed an attribute, the file counts, not the note.  `hdf5` has plain arrays in the same kind of file.
"""

from __future__ import annotations

import io
import json
import os
from typing import Any

from ..errors import LazyModule
from ..hashing.encoder import hash_value
from .base import CODEC_ERRORS, BytesTarget
from .hdf5 import check_links
from .resource import DecodesInParts
from .source import Source
from .tagged import from_json, to_json

h5py = LazyModule("h5py", "netcdf")
np = LazyModule("numpy", "netcdf")
xr = LazyModule("xarray", "netcdf")

_ENGINE = "h5netcdf"
#: Attribute of the file with the note.
_NOTE = "daskcache"
#: Name of the variable of an array that has none, or that of a coordinate; xarray's own.
_UNNAMED = "__xarray_dataarray_variable__"
_OTHERWISE = "convert it, or use a path that ends in .zarr or .pkl"


class NetCDFTarget(DecodesInParts, BytesTarget):
    """A labelled array or dataset of xarray as NetCDF 4, with coordinates, units and other attributes.

    Attributes count as data.  Texts, numbers, and lists of them are stored as themselves, other plain
    values as JSON, and all come back as they were.  How a variable was stored in the file that it came
    from (its ``encoding``, such as packed integers) is not taken over, as it could round values.

    Parameters
    ----------
    path : str
        Path template ending in ``.nc``.

    Raises
    ------
    FormatLimit
        When saving anything but a `xarray.Dataset` or `xarray.DataArray`, one with Dask arrays in it, or
        one that would come back changed.  The error names the variable.

    Examples
    --------
    >>> import xarray as xr
    >>> @dc.delayed(target="intensity.nc")
    ... def intensity():
    ...     channels = {"c": ["DAPI", "GFP"]}
    ...     return xr.DataArray([2.5, 4.0], channels, name="intensity", attrs={"units": "counts"})
    >>> node = intensity()
    >>> node.compute().attrs["units"]
    'counts'
    >>> xr.open_dataset(node.dc.path)["intensity"].sel(c="GFP").item()
    4.0
    """

    def encode(self, value):
        if type(value) not in (xr.Dataset, xr.DataArray):
            hint = "return a Dataset or DataArray, or let the path end in .h5, .npy or .pkl"
            raise self.limit(value, f"it is a {type(value).__name__}, not one of xarray's", hint)
        if value.__dask_graph__() is not None:
            raise self.limit(value, "it is not computed yet", "return result.compute()")
        try:
            content = _written(value)
        except (*CODEC_ERRORS, RuntimeError) as error:
            raise self.limit(value, str(error).partition("\n")[0], _OTHERWISE) from error
        return [content]

    def _decode(self, file):
        return _restored(xr.load_dataset(file, engine=_ENGINE))

    def is_same(self, value, decoded):
        return _indexes(value) == _indexes(decoded)

    def difference(self, value, decoded):
        return f"{_first_difference(value, decoded)} would change", _OTHERWISE

    def open(self, path):
        """Open the file lazily: xarray reads the parts of variables that are used.

        Parameters
        ----------
        path : str
            The file or folder.

        Returns
        -------
        xarray.Dataset or xarray.DataArray
            With data that are not loaded yet.
        """
        return _restored(xr.open_dataset(path, engine=_ENGINE))


class NetCDFSource(DecodesInParts, Source):
    """An existing NetCDF file; it arrives as the dataset that `xarray.load_dataset` gives.

    Files of NetCDF 4 need h5netcdf, those of NetCDF 3 SciPy.

    Parameters
    ----------
    path : str or os.PathLike
        The file.  A relative path is taken from the current folder.
    **read_options
        Keyword arguments for `xarray.load_dataset`, such as ``group`` and ``decode_times``.  They are
        part of the source's identity.

    Raises
    ------
    SourceMissing
        When the source is used and the file does not exist.
    SourceUnreadable
        When the file is read and is damaged, not NetCDF, or refers to other files, whose edits would not
        count.
    FormatLimit
        When the file is read and exceeds config ``daskcache.max-decoded``.

    Examples
    --------
    >>> import xarray as xr
    >>> xr.Dataset({"area": ("cell", [2.5, 4.0])}).to_netcdf("cells.nc", engine="h5netcdf")
    >>> dc.NetCDFSource("cells.nc").get_data()["area"].values
    array([2.5, 4. ])
    """

    format = NetCDFTarget

    def __init__(self, path: str | os.PathLike[str], **read_options: Any):
        super().__init__(path)
        self.read_options = read_options

    def __daskcache_options__(self):
        return self.read_options

    def _decode(self, file):
        start = file.read(3)
        file.seek(0)
        if start == b"CDF":  # NetCDF 3
            return xr.load_dataset(file, **{"engine": "scipy", **self.read_options})
        with h5py.File(file, "r") as content:
            check_links(content)
        file.seek(0)
        return xr.load_dataset(file, **{"engine": _ENGINE, **self.read_options})


# ---- writing ------------------------------------------------------------------------------------------


def _written(value):
    """Return the content of a file with a value."""
    note: dict[str, Any] = {}
    if isinstance(value, xr.DataArray):
        if not (value.name is None or type(value.name) is str):
            raise ValueError(f"its name, {value.name!r}, is not a text")
        variable = _UNNAMED if value.name is None or value.name in value.coords else value.name
        note["array"] = [variable, value.name]
        value = value.to_dataset(name=variable)
    names = [name for name in (*value.variables, *value.dims) if type(name) is not str or "/" in name]
    if names:
        raise ValueError(f"{names[0]!r} can't name a variable or dimension")
    if _NOTE in value.attrs:
        raise ValueError(f"it has an attribute {_NOTE!r}, where the file has a note")
    stored = value.drop_encoding()
    attrs = {"": _stored_attrs(stored)}
    attrs |= {name: _stored_attrs(variable) for name, variable in stored.variables.items()}
    note["attrs"] = {name: noted for name, noted in attrs.items() if noted}
    note["dtypes"] = {name: each.dtype.str for name, each in value.variables.items() if _is_noted(each)}
    note = {name: part for name, part in note.items() if part}
    if note:
        stored.attrs[_NOTE] = json.dumps(note, ensure_ascii=False)
    file = io.BytesIO()
    stored.to_netcdf(file, engine=_ENGINE)
    return file.getvalue()


def _is_noted(variable):
    dtype = variable.dtype
    return dtype.kind in "mMU" or (dtype.kind in "iufc" and not dtype.isnative)


def _stored_attrs(holder):
    """Put attributes that NetCDF has in place of those of a dataset or variable, and return the note."""
    noted, stored = {}, {}
    for name, value in holder.attrs.items():
        stored[name] = _as_stored(value)
        if type(value) not in (str, np.ndarray):
            noted[name] = to_json(value)
    holder.attrs = stored
    return noted


def _as_stored(value):
    """Return the value of an attribute in NetCDF: texts, numbers and lists of either are themselves."""
    if isinstance(value, (bool, np.bool_)):
        return np.int8(value)
    if isinstance(value, (str, np.ndarray, np.number)) or _is_number(value):
        return value
    if isinstance(value, (list, tuple)) and (
        all(type(each) is str for each in value) or all(map(_is_number, value))
    ):
        return value
    return json.dumps(to_json(value), ensure_ascii=False)


def _is_number(value):
    return type(value) is float or (type(value) is int and -(2**63) <= value < 2**63)


# ---- reading ------------------------------------------------------------------------------------------


def _restored(dataset):
    """Return the value in a dataset that was read from a file, and its note."""
    note = json.loads(dataset.attrs.pop(_NOTE, "{}"))
    _restore_attrs(dataset, note.get("attrs", {}).get("", {}))
    for name, noted in note.get("attrs", {}).items():
        if name in dataset.variables:
            _restore_attrs(dataset.variables[name], noted)
    for name, dtype in note.get("dtypes", {}).items():
        if name in dataset.variables and dataset.variables[name].dtype != np.dtype(dtype):
            dataset[name] = dataset.variables[name].astype(dtype)
    variable, name = note.get("array", [None, None])
    return dataset[variable].rename(name) if variable in dataset.variables else dataset


def _restore_attrs(holder, noted):
    for name, tagged in noted.items():
        value = json.loads(json.dumps(tagged), object_hook=from_json)
        if name in holder.attrs and np.array_equal(holder.attrs[name], _as_stored(value)):
            holder.attrs[name] = value


# ---- what changes -------------------------------------------------------------------------------------


def _indexes(value):
    return {name: type(index) for name, index in value.xindexes.items()}


def _first_difference(value, decoded):
    """Name the first variable, or part of one, that changes on its way through a file."""
    if type(value) is not type(decoded):
        return "its type"
    pairs = [("its attributes", value.attrs, decoded.attrs)]
    others = _variables(decoded)
    for name, old in _variables(value).items():
        new = others.get(name)
        if new is None:
            return f"the variable {name!r}"
        pairs.append((f"the attributes of the variable {name!r}", old.attrs, new.attrs))
        became = "" if old.dtype == new.dtype else f", of {old.dtype} ({new.dtype} in the file),"
        pairs.append((f"the variable {name!r}{became}", old, new))
    found = (what for what, old, new in pairs if hash_value(old) != hash_value(new))
    return next(found, "its indexes, or the order of its variables,")


def _variables(value):
    """Return the variables of a dataset or array by name; None for the data of an array."""
    if isinstance(value, xr.Dataset):
        return dict(value.variables)
    return {None: value.variable, **{name: each.variable for name, each in value.coords.items()}}
