"""Zarr targets and sources: chunked, compressed arrays, and groups of them.

`values` moves the arrays and `store` reads and writes the objects.  `ome` extends `ZarrTarget` for
images.  `ZarrSource` also reads OME-Zarr images, whose metadata `ngff` understands.
"""

from __future__ import annotations

import json
from typing import Any

from ...errors import FormatLimit, GraphError, UnsafePath, require
from ...hashing.encoder import hash_value
from ...storage import files as storage
from ...storage.verified_folders import SourceFolder, source_hashes
from ..base import UNKNOWN, FolderTarget, Source, comes_back_as_it_is
from ..images.metadata import Described, ImageMetadata, described, part_of
from ..limits import carried_by_dtype
from . import ngff
from .values import (
    DTYPES,
    dask_array_of,
    default_chunks,
    open_node,
    slabs_of,
    slabs_of_dask,
    value_of,
    write_dask,
    write_numpy,
)

#: Placeholder for the compressor that this module chooses.
AUTO = "auto"


class ZarrTarget(FolderTarget):
    """An array in a Zarr v3 folder, or a group that holds a dict of arrays (and of such dicts).

    It takes NumPy, Dask and Zarr arrays, and Zarr groups.  Dask and Zarr arrays are written chunk by
    chunk, in threads of the worker.  A result comes back as a NumPy array, or as a dict of them.  A
    parameter annotated with ``zarr.Array``, ``zarr.Group`` or ``dask.array.Array`` gets it open instead,
    as ``node.dc.open()`` does.  Each object is verified by the read that uses it.  A chunk that is
    missing, damaged, exchanged or foreign is never served.

    Parameters
    ----------
    path : str
        Path template ending in ``.zarr``.
    chunks : tuple of int, optional
        Shape of a chunk; -1 stands for a whole axis.  A Zarr array keeps its chunks by default.  NumPy
        arrays and the blocks of Dask arrays are cut to at most 4 MiB, the leading axes first.
    shards : tuple of int, optional
        Shape of the files that hold many chunks each: a multiple of `chunks`, which must be given.
    compressors : optional
        Lossless codecs, as `zarr.create_array` takes them; None stores plain bytes.  Default: Blosc with
        LZ4 and bit shuffling.
    attributes : dict, optional
        Attributes of the array or group, as JSON.  They count in the node's key and in the data hash.

    Raises
    ------
    GraphError
        If `attributes` are not JSON, or `shards` are given without `chunks`.
    FormatLimit
        When saving a value that Zarr would not give back unchanged.  Allowed dtypes are booleans,
        integers (8 to 64 bits), floats (16 to 64 bits) and complex numbers, in this machine's byte
        order.  Also when saving a Zarr array or group with other attributes, or a Zarr array whose names
        of dimensions would be lost.
    TargetCorrupt
        When reading a file that is not as it was written.

    Notes
    -----
    Format: the `Zarr specification, version 3 <https://zarr-specs.readthedocs.io>`_, written with
    `zarr <https://zarr.dev>`_.  Every chunk is stored, even one of zeros only.  Equal values and options
    give equal bytes.
    """

    #: Names of the axes; None where the format has none.
    _dimension_names: tuple[str, ...] | None = None

    def __init__(self, path, chunks=None, shards=None, compressors=AUTO, attributes=None):
        super().__init__(path)
        self.chunks = _lengths(chunks)
        self.shards = _lengths(shards)
        self.compressors = compressors
        self.attributes = _json(attributes)
        if shards is not None and chunks is None:
            raise GraphError(f"{path}: shards hold chunks", hint="give ZarrTarget chunks=..., too")

    def write(self, value, path):
        self._check(value, "the result")
        zarr = require("zarr", "zarr")
        from .store import HashingStore

        store = HashingStore(path)
        try:
            self._write_store(zarr, value, store)
            return store.part()
        except OSError as error:
            if error.filename is not None and not str(error.filename).startswith(path):
                raise  # raised by the computation of a Dask array
            raise storage.storage_error(error, path) from error

    def read(self, path):
        return value_of(self.open(path), path)

    def open(self, path):
        return self._value_in(open_node(path))

    def read_folder(self, folder):
        return value_of(self.open_folder(folder), folder.path)

    def open_folder(self, folder):
        return self._value_in(open_node(folder))

    def hash(self, value):
        return _joint_hash(_hashed(value), self._top_attributes(value))

    def hash_result(self, value, path):
        return self.hash_file(path) if _is_lazy(value) else self.hash(value)

    def read_back(self, value, path):
        return value if comes_back_as_it_is(value) else UNKNOWN

    def hash_file(self, path):
        top = open_node(path)
        return _joint_hash(slabs_of(self._value_in(top)), self._counted(top.attrs.asdict()))

    def hash_read(self, value, path):
        return _joint_hash(_hashed(value), self._counted(open_node(path).attrs.asdict()))

    def counted_options(self) -> dict[str, Any]:
        return {"attributes": self.attributes} if self.attributes else {}

    def _value_in(self, top):
        """Return the array or group that holds the value, from the top of a store."""
        return top

    def _top_attributes(self, value):
        return self.attributes

    def _names_of(self, value):
        """Return the names that the array's dimensions will have, or None."""
        return self._dimension_names

    def _counted(self, attributes):
        """Return those of a store's attributes that `_top_attributes` gives."""
        return attributes

    def _write_store(self, zarr, value, store):
        self._write_node(zarr, value, store, "", self.attributes)

    def _write_node(self, zarr, value, store, name, attributes):
        if _is_group(value):
            zarr.create_group(store, path=name, zarr_format=3, attributes=attributes)
            for key, member in sorted(_members(value)):
                self._write_node(zarr, member, store, f"{name}/{key}" if name else key, {})
            return
        stored = self._create(zarr, value, store, name, attributes)
        if _is_lazy(value):
            write_dask(dask_array_of(value), stored)
        else:
            write_numpy(value, stored)

    def _layout(self, value):
        """Return the shapes of chunks and shards: the user's, or else those that suit the array."""
        shape = value.shape
        if self.chunks is None:
            if _is_lazy(value) and not _is_dask(value):
                return value.chunks, value.shards
            block = tuple(map(max, value.chunks)) if _is_dask(value) else shape
            return default_chunks(block, value.dtype.itemsize), None
        if len(self.chunks) != len(shape) or (self.shards and len(self.shards) != len(shape)):
            raise self.limit(
                value,
                f"chunks {self.chunks} and shards {self.shards} don't fit an array of shape {shape}",
                "give one number for each axis",
            )
        return _fill(self.chunks, shape), _fill(self.shards, shape) if self.shards else None

    def _create(self, zarr, value, store, name, attributes):
        chunks, shards = self._layout(value)
        try:
            return zarr.create_array(
                store,
                name=name or None,
                shape=value.shape,
                dtype=value.dtype,
                chunks=chunks,
                shards=shards,
                filters=None,
                compressors=_fast(zarr, value.dtype) if self.compressors == AUTO else self.compressors,
                fill_value=0,
                zarr_format=3,
                attributes=attributes,
                dimension_names=self._dimension_names,
                # values that equal the fill value may still differ from it (-0.0, the payload of a NaN)
                config={"write_empty_chunks": True},
            )
        except (ValueError, TypeError) as error:
            raise self.limit(value, f"Zarr refuses the options ({error})", "mend them") from error

    def _check(self, value, what):
        """Raise `FormatLimit` unless the value will come back unchanged.

        `what` names the value, or the array in it that is checked.
        """
        if getattr(value, "attrs", None) and dict(value.attrs) != self.attributes:
            raise self.limit(
                value,
                f"{what} is in Zarr already and has attributes, which would be lost",
                "return a Dask array of it, or give them to ZarrTarget(attributes=...)",
            )
        if self._lost_names(value):
            raise self.limit(
                value,
                f"{what} is in Zarr already and has names of dimensions, which would be lost",
                "return a Dask array of it",
            )
        if _is_group(value):
            for key, member in _members(value):
                if not _is_name(key):
                    raise self.limit(
                        value,
                        f"{key!r} is no name for an array in a group",
                        "use plain texts without '/'",
                    )
                self._check(member, f"the array {key!r}")
            return
        if not _is_array(value):
            raise self.limit(
                value,
                f"{what} is a {type(value).__name__}, not an array or a dict of arrays",
                "return an array, or use a path that ends in .pkl",
            )
        if value.dtype.char not in DTYPES or not value.dtype.isnative:
            raise self.limit(
                value,
                f"Zarr would not give back the dtype {value.dtype.str} of {what}",
                "convert it, or use a path that ends in .npy",
            )
        lost = carried_by_dtype(value.dtype)
        if lost:
            raise self.limit(value, f"the dtype of {what} has {lost}, which would be lost", "use .pkl")
        if _is_dask(value):
            self._check_dask(value, what)

    def _lost_names(self, value):
        """Test if a Zarr array has names of dimensions that its copy will not have."""
        names = _dimension_names(value) if type(value).__module__ == "zarr.core.array" else ()
        return any(names) and tuple(names) != self._names_of(value)

    def _check_dask(self, value, what):
        np = require("numpy", "zarr")
        if any(length != length for length in value.shape):  # NaN is Dask's unknown length
            raise self.limit(
                value, f"the shape of {what} is unknown", "call compute_chunk_sizes() on it"
            )
        if type(value._meta) is not np.ndarray:
            raise self.limit(
                value,
                f"the blocks of {what} are no plain arrays but {type(value._meta).__name__}",
                "convert them with map_blocks(np.asarray)",
            )


class ZarrSource(Source):
    """An existing Zarr array or group (v2 or v3), as an input.

    An array arrives as a NumPy array, a group as a dict of them by name.  A parameter annotated with
    ``zarr.Array``, ``zarr.Group`` or ``dask.array.Array`` gets it open and read-only.  Its data are then
    verified as they are read.

    Its identity is the content of all files in its folder, of whatever kind.  For an array in an
    OME-Zarr image, the image's axes, pixel sizes and channels count too.  Images that are made from it
    take these over, as from an `ImageSource`.

    Parameters
    ----------
    path : str or os.PathLike
        The folder.  A relative path is taken from the current folder.
    group : str
        Path of the array or group within the folder; the rest of the folder doesn't count.
    slices_start, slices_stop : sequence of int or None, optional
        Index along each axis at which the wanted part of an array begins, and before which it ends.
        None stands for the beginning or end of the axis.
    mode : {"r"}
        Mode of opening it: always read-only.

    Raises
    ------
    SourceMissing
        When the source is used, if the array or group doesn't exist.
    GraphError
        If `mode` is not "r", or the slices don't fit together.  When the source is used, if slices are
        given for a group.
    SourceChanged
        When a file changed since the node was made.
    StorageError
        When the source is used, if it can't be read.
    UnsafePath
        If `group` leads out of the folder.
    """

    address_fields = {"group": "0", "slices_start": (), "slices_stop": (), "mode": "r"}  # noqa: RUF012

    #: True if `get_data` gives the open array or group, as CPR does, unless slices are given.
    _lazy = False

    def __init__(self, path, group="", slices_start=(), slices_stop=(), mode="r"):
        super().__init__(path)
        self.slices = _slices(slices_start or (), slices_stop or ())
        self.mode = mode
        if mode != "r":
            raise GraphError(
                f"a source is read, and mode={mode!r} would write to {self.path}",
                expected="mode='r'",
                hint="write with zarr.open_group(path, mode=...), or return the array to a ZarrTarget",
            )
        self.group = group.strip("/")
        if any(part in ("", ".", "..") for part in self.group.split("/")) and self.group:
            raise UnsafePath(
                f"the group {group!r} is not in the Zarr folder", expected="names with / between them"
            )

    @property
    def _folder(self):
        return f"{self.path}/{self.group}" if self.group else self.path

    def get_data(self, cache: bool = False) -> Any:
        """Return the data in memory, or open if the source was made with CPR's fields.

        With slices, it is always the part as a NumPy array.

        Parameters
        ----------
        cache : bool
            Without effect, see `Resource.get_data`.
        """
        opened = self.open()
        return opened if self._lazy else value_of(opened, self._folder)

    def open(self) -> Any:
        """Return the ``zarr.Array`` or ``zarr.Group``, read-only; with slices, the part in memory."""
        return self.open_verified(self.content_hash())

    @classmethod
    def at_address(cls, location, name, ext=None, **fields):
        source = super().at_address(location, name, ext, **fields)
        source._lazy = True
        return source

    def content_hash(self) -> str:
        """Return the joint hash of the files' names and content; only touched files are read again.

        For an array in an OME-Zarr image, the image's metadata count too.
        """
        return self._joint_hash(hash_value(source_hashes(self._folder)))

    def load_verified(self, expected: str) -> Any:
        return value_of(self.open_verified(expected), self._folder)

    def open_verified(self, expected: str) -> Any:
        opened = self._opened(expected)
        if not self.slices:
            return opened
        if _is_group(opened):
            raise GraphError(
                f"{self._folder} is a group, which can't be cut", hint="name an array in it"
            )
        return opened[self.slices]

    def verify(self, expected: str) -> None:
        files = hash_value(source_hashes(self._folder, fresh=True))
        self._compare(self._joint_hash(files), expected)

    def read_metadata(self) -> ImageMetadata:
        """Return the image's axes, pixel sizes and channel names.

        For an array outside of OME-Zarr images, only the names of its dimensions are known.

        Returns
        -------
        ImageMetadata

        Raises
        ------
        FormatLimit
            If it is a group without an image.
        """
        found = self.heritage()
        if found is None:
            raise FormatLimit(f"{self._folder} is no image", hint="name an array in it with group=")
        return found.metadata

    def heritage(self) -> Described | None:
        return self.heritage_verified(self.content_hash())

    def heritage_verified(self, expected: str) -> Described | None:
        opened = self._opened(expected)
        if _is_group(opened):
            return described_image(opened)
        metadata = ngff.of_level(self._folder) or ngff.of_names(_dimension_names(opened))
        return part_of(described(metadata, opened.shape), self.slices)

    def _opened(self, expected):
        """Open the array or group, which must have the content hash `expected`.

        Each file is verified when it is read.  In an OME-Zarr image the hash covers the metadata too.
        Then it is compared here, and the joint hash of the files verifies the reads.
        """
        files = expected
        if ngff.of_level(self._folder) is not None:
            files = hash_value(source_hashes(self._folder))
            self._compare(self._joint_hash(files), expected)
        return open_node(SourceFolder(self._folder, files))

    def _joint_hash(self, files):
        """Return the content hash: the joint hash of the files, combined with any image metadata."""
        metadata = ngff.of_level(self._folder)
        if metadata is None:
            return files
        return hash_value(("level of an image", files, metadata.counted))

    def identify(self, content_hash: str) -> str:
        return super().identify(content_hash) + (f":{self.group}" if self.group else "")

    def __daskcache_options__(self):
        options: dict[str, Any] = {"group": self.group} if self.group else {}
        if self.slices:
            options["slices_start"] = [cut.start for cut in self.slices]
            options["slices_stop"] = [cut.stop for cut in self.slices]
        return options

    def __repr__(self):
        options = [f", {name}={option!r}" for name, option in self.__daskcache_options__().items()]
        return f"ZarrSource({self.path!r}{''.join(options)})"


def _slices(starts, stops):
    bounds = [*starts, *stops]
    if len(starts) != len(stops) or not all(each is None or type(each) is int for each in bounds):
        raise GraphError(
            f"slices from {starts!r} to {stops!r} don't fit together",
            expected="a whole number, or None, for each axis",
        )
    return tuple(map(slice, starts, stops))


def described_image(group: Any) -> Described | None:
    """Return the metadata and shape of the image that a group holds in several sizes.

    None if the group doesn't hold an image.
    """
    found = ngff.metadata_of(group.attrs.asdict())
    if found is None or found[0] not in group:
        return None
    return described(found[1], group[found[0]].shape)


def _dimension_names(array):
    """Return the names of a Zarr array's dimensions; in version 2, those that xarray gives them."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    return names if names and len(names) == array.ndim else [None] * array.ndim


def _hashed(value):
    """Return the value with each lazy array replaced by one that hashes alike, piece by piece."""
    if _is_group(value):
        return {key: _hashed(member) for key, member in sorted(_members(value))}
    if _is_dask(value):
        return slabs_of_dask(value)
    return slabs_of(value) if _is_lazy(value) else value


def _joint_hash(value, attributes):
    """Return the data hash: of the value and of its attributes, which are visible when it is open."""
    return hash_value(("attributes", value, attributes) if attributes else value)


def _is_lazy(value):
    if type(value) is dict:
        return any(map(_is_lazy, value.values()))
    return _is_dask(value) or type(value).__module__.partition(".")[0] == "zarr"


def _is_group(value):
    return type(value) is dict or isinstance(value, require("zarr", "zarr").Group)


def _members(group):
    return group.items() if type(group) is dict else group.members()


def _is_array(value):
    np = require("numpy", "zarr")
    zarr = require("zarr", "zarr")
    return type(value) in (np.ndarray, np.memmap) or isinstance(value, zarr.Array) or _is_dask(value)


def _is_dask(value):
    return type(value).__module__ == "dask.array.core" and type(value).__name__ == "Array"


def _is_name(key):
    """Test if Zarr can have a node of this name, on any file system."""
    return (
        type(key) is str
        and key.isprintable()
        and not any(c in key for c in '/\\:*?"<>|')
        and key.strip(". ") == key != ""
        and not key.startswith("__")
        and key != "zarr.json"
    )


def _fast(zarr, dtype):
    return zarr.codecs.BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle", typesize=dtype.itemsize)


def _lengths(shape):
    return None if shape is None else tuple(int(length) for length in shape)


def _fill(lengths, shape):
    return tuple(max(n, 1) if k == -1 else k for k, n in zip(lengths, shape, strict=True))


def _json(attributes):
    try:
        return json.loads(json.dumps(attributes or {}, sort_keys=True))
    except (TypeError, ValueError) as error:
        raise GraphError(f"the attributes of a ZarrTarget are no JSON: {error}") from error
