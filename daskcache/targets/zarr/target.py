"""Zarr: chunked, compressed arrays, and groups of them."""

from __future__ import annotations

import json
from typing import Any

from ...errors import FormatLimit, GraphError, UnsafePath, require
from ...hashing.encoder import hash_value
from ...storage import files as storage
from ...storage.manifests import SourceFolder, source_hashes
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

#: Stands for the compressor that this module chooses.
AUTO = "auto"


class ZarrTarget(FolderTarget):
    """An array in a Zarr v3 folder, or a dict of arrays (and of such dicts) as a group of them.

    It takes NumPy, Dask and Zarr arrays (and Zarr groups).  What is not in memory is written chunk by
    chunk, in threads of the worker.  What comes back is a NumPy array, or a dict of such; a parameter
    annotated with ``zarr.Array``, ``zarr.Group`` or ``dask.array.Array`` gets it open instead, as does
    ``node.dc.open()``.  Each object is verified by the read that uses it: a chunk that is missing,
    damaged, exchanged or not one that was written is never served.

    Parameters
    ----------
    path : str
        Path template ending in ``.zarr``.
    chunks : tuple of int, optional
        Shape of a chunk; -1 stands for a whole axis.  Default: the blocks of a Dask array and the chunks
        of a Zarr array; cut, as NumPy arrays are, to at most 4 MiB: leading axes first.
    shards : tuple of int, optional
        Shape of the files that hold many chunks each: a multiple of `chunks`, which must be given.
    compressors : optional
        Lossless codecs, as `zarr.create_array` takes them; None stores plain bytes.  Default: Blosc with
        LZ4 and bit shuffling.
    attributes : dict, optional
        Of the array or group; JSON.  They count in the node's key and in the data hash.

    Raises
    ------
    FormatLimit
        When saving what Zarr would not give back as it is: other dtypes than booleans, and integers
        (8 to 64 bit), floats (16 to 64) and complex numbers in this machine's byte order; or what is
        in Zarr already and has other attributes.
    TargetCorrupt
        When reading a file that is not as it was written.

    Notes
    -----
    Format: the `Zarr specification, version 3 <https://zarr-specs.readthedocs.io>`_, written with
    `zarr <https://zarr.dev>`_.  Every chunk is stored, even if it holds zeros only.  Equal values and
    options give equal bytes.
    """

    #: Names of the axes, where the format has them.
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
                raise  # of the computation of a Dask array
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
        return _joint_hash(_hashed(value), open_node(path).attrs.asdict())

    def counted_options(self) -> dict[str, Any]:
        return {"attributes": self.attributes} if self.attributes else {}

    def _value_in(self, top):
        """Where the value is, in the array or group at the top of a store."""
        return top

    def _top_attributes(self, value):
        return self.attributes

    def _names_of(self, value):
        """Names that the dimensions of the array will have."""
        return self._dimension_names

    def _counted(self, attributes):
        """Those of a store's attributes that `_top_attributes` gives."""
        return attributes

    def _write_store(self, zarr, value, store):
        self._write_node(zarr, value, store, "", self.attributes)

    def _write_node(self, zarr, value, store, name, attributes):
        if _is_group(value):
            zarr.create_group(store, path=name, zarr_format=3, attributes=attributes)
            for key, member in sorted(_members(value)):
                self._write_node(zarr, member, store, f"{name}/{key}" if name else key, {})
        elif isinstance(value, zarr.Array):
            chunks, shards = self._layout(value.shape, value.chunks, value.shards)
            stored = self._create(zarr, value, store, name, attributes, chunks, shards)
            write_dask(dask_array_of(value), stored)
        elif _is_dask(value):
            block = tuple(max(sizes) for sizes in value.chunks)
            layout = self._layout(value.shape, default_chunks(block, value.dtype.itemsize), None)
            write_dask(value, self._create(zarr, value, store, name, attributes, *layout))
        else:
            layout = self._layout(value.shape, default_chunks(value.shape, value.dtype.itemsize), None)
            write_numpy(value, self._create(zarr, value, store, name, attributes, *layout))

    def _layout(self, shape, chunks, shards):
        """Shapes of chunks and shards: the user's, or else these."""
        if self.chunks is None:
            return chunks, shards
        if len(self.chunks) != len(shape) or (self.shards and len(self.shards) != len(shape)):
            raise self._refusal(
                f"chunks {self.chunks} and shards {self.shards} don't fit an array of shape {shape}",
                "give one number for each axis",
            )
        return _fill(self.chunks, shape), _fill(self.shards, shape) if self.shards else None

    def _create(self, zarr, value, store, name, attributes, chunks, shards):
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
                # what equals the fill value may still differ from it (-0.0, the payload of a NaN)
                config={"write_empty_chunks": True},
            )
        except (ValueError, TypeError) as error:
            raise self._refusal(f"Zarr refuses the options ({error})", "mend them") from error

    def _check(self, value, what):
        """Raise `FormatLimit` unless what comes back will be what is given."""
        if getattr(value, "attrs", None) and dict(value.attrs) != self.attributes:
            raise self._refusal(
                f"{what} is in Zarr already and has attributes, which would be lost",
                "return a Dask array of it, or give them to ZarrTarget(attributes=...)",
            )
        if self._lost_names(value):
            raise self._refusal(
                f"{what} is in Zarr already and has names of dimensions, which would be lost",
                "return a Dask array of it",
            )
        if _is_group(value):
            for key, member in _members(value):
                if not _is_name(key):
                    raise self._refusal(
                        f"{key!r} is no name for an array in a group", "use plain texts without '/'"
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
            raise self._refusal(
                f"Zarr would not give back the dtype {value.dtype.str} of {what}",
                "convert it, or use a path that ends in .npy",
            )
        lost = carried_by_dtype(value.dtype)
        if lost:
            raise self._refusal(f"the dtype of {what} has {lost}, which would be lost", "use .pkl")
        if _is_dask(value):
            self._check_dask(value, what)

    def _lost_names(self, value):
        """Tell if a Zarr array has names of dimensions that its copy will not have."""
        names = _dimension_names(value) if type(value).__module__ == "zarr.core.array" else ()
        return any(names) and tuple(names) != self._names_of(value)

    def _check_dask(self, value, what):
        np = require("numpy", "zarr")
        if any(length != length for length in value.shape):
            raise self._refusal(f"the shape of {what} is unknown", "call compute_chunk_sizes() on it")
        if type(value._meta) is not np.ndarray:
            raise self._refusal(
                f"the blocks of {what} are no plain arrays but {type(value._meta).__name__}",
                "convert them with map_blocks(np.asarray)",
            )

    def _refusal(self, reason, hint):
        return FormatLimit(f"{type(self).__name__} can't hold this result: {reason}", hint=hint)


class ZarrSource(Source):
    """An existing Zarr array (v2 or v3); arrives as a NumPy array.  A group: as a dict of such by name.

    A parameter annotated with ``zarr.Array``, ``zarr.Group`` or ``dask.array.Array`` gets it open,
    read-only: what is read then is verified as it is read.

    Its identity is the content of all files in its folder, whatever they are; of an array in an OME-Zarr
    image, with axes, pixel sizes and channels that the image has.  Results that are images take those
    over, as of `ImageSource`.

    Parameters
    ----------
    path : str or os.PathLike
        The folder.  A relative path is taken from the current folder.
    group : str
        Path of the array or group within it; what else is in the folder doesn't count.
    slices_start, slices_stop : sequence of int or None, optional
        Where the part of an array that is wanted begins and ends, for each axis; None: with the axis.
    mode : {"r"}
        How it is opened: to be read.

    Raises
    ------
    SourceMissing
        When it is used and there is no such array or group.
    GraphError
        If it is to be opened otherwise, the slices don't fit together, or a group is to be cut.
    SourceChanged
        When a file is not what it was when the node was made.
    StorageError
        When it is used and can't be read.
    UnsafePath
        If `group` leads out of the folder.
    """

    address_fields = {"group": "0", "slices_start": (), "slices_stop": (), "mode": "r"}  # noqa: RUF012

    #: Whether `get_data` leaves what isn't cut in the file.
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
        """Read it; of a source with CPR's fields, the open array or group, unless slices are given."""
        opened = self.open()
        return opened if self._lazy else value_of(opened, self._folder)

    def open(self) -> Any:
        """The ``zarr.Array`` or ``zarr.Group``, read-only; with slices, the part as a NumPy array."""
        return self.open_verified(self.content_hash())

    @classmethod
    def _at_address(cls, location, name, ext=None, **fields):
        source = super()._at_address(location, name, ext, **fields)
        source._lazy = True
        return source

    def content_hash(self) -> str:
        """Joint hash of its files' names and content; only files that were touched are read again.

        Of an array in an OME-Zarr image, what the image tells of it counts, too.
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
        """Axes, pixel sizes and channel names of the image, or of its dimensions' names.

        Raises
        ------
        FormatLimit
            If it is a group that is no image.
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
        """The array or group, if its content has the hash `expected`."""
        files = expected
        if ngff.of_level(self._folder) is not None:
            files = hash_value(source_hashes(self._folder))
            self._compare(self._joint_hash(files), expected)
        return open_node(SourceFolder(self._folder, files))

    def _joint_hash(self, files):
        """Hash of all that counts, from that of the files."""
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

    def __eq__(self, other):
        return super().__eq__(other)

    __hash__ = Source.__hash__


def _slices(starts, stops):
    bounds = [*starts, *stops]
    if len(starts) != len(stops) or not all(each is None or type(each) is int for each in bounds):
        raise GraphError(
            f"slices from {starts!r} to {stops!r} don't fit together",
            expected="a whole number, or None, for each axis",
        )
    return tuple(map(slice, starts, stops))


def described_image(group: Any) -> Described | None:
    """Metadata and shape of the image that a group holds in several sizes; None if it holds none."""
    found = ngff.metadata_of(group.attrs.asdict())
    if found is None or found[0] not in group:
        return None
    return described(found[1], group[found[0]].shape)


def _dimension_names(array):
    """Names of the dimensions of a Zarr array; in version 2, those that xarray gives them."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    return names if names and len(names) == array.ndim else [None] * array.ndim


def _hashed(value):
    """A value, with what hashes like a NumPy array in place of each lazy one."""
    if _is_group(value):
        return {key: _hashed(member) for key, member in sorted(_members(value))}
    if _is_dask(value):
        return slabs_of_dask(value)
    return slabs_of(value) if _is_lazy(value) else value


def _joint_hash(value, attributes):
    """Data hash: of the value, and of the attributes that one sees who has it open."""
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
    """Whether Zarr can have a node of this name, on any file system."""
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
