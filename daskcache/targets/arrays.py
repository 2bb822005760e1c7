"""NumPy's own formats: ``.npy`` for an array, ``.npz`` for a dict of arrays.

`registry` chooses these classes by the suffix.  `images` and `zarr` share two checks with them: the size
of a decoded value, and the extras of a dtype.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections import Counter
from typing import Any

from dask.utils import format_bytes

from .. import config
from ..errors import FormatLimit, LazyModule, TargetCorrupt, UntrustedPickle
from .base import BytesTarget, Target
from .beside import MetadataBeside
from .images.options import checked_like
from .resource import DecodesInParts
from .source import Source

np = LazyModule("numpy", "numpy")


class NumpyTarget(MetadataBeside, DecodesInParts, BytesTarget):
    """A NumPy array in an ``.npy`` file (NEP 1), or a dict of them in an ``.npz`` file.

    An array in an ``.npz`` file is its only member ``arr_0``, as `numpy.savez` writes it, and comes back
    as an array.  A dict with this key alone comes back as a dict.

    Dtype, byte order and shape are kept, and the order of a dict.  `numpy.load` reads both formats.  A
    NumPy number such as ``array.mean()`` comes back as a number; `numpy.load` reads it as an array.

    The file has no place for the metadata of an image.  So the record keeps axes, pixel sizes and names
    of channels that an array inherits from the node's inputs, as results in TIFF do (see `ImageTarget`).
    They count as part of the data.

    Parameters
    ----------
    path : str
        Path template ending in ``.npy`` or ``.npz``.
    compressed : bool
        True to deflate an ``.npz`` file.
    like : str, optional
        Name of the parameter whose image has the axes of the result, in the same order.

    Raises
    ------
    FormatLimit
        When saving arrays of Python objects, masked arrays or other subclasses.  When saving anything
        but an array (``.npy``), or a dict of arrays with text keys (``.npz``).  When reading an archive
        that declares more than config ``daskcache.max-decoded``.
    TargetCorrupt
        When reading a file that holds more or less than it declares.
    UntrustedPickle
        When reading arrays of Python objects.

    Examples
    --------
    >>> @dc.delayed(target="ramp.npy")
    ... def ramp(n):
    ...     return np.arange(n)
    >>> node = ramp(4)
    >>> node.compute()
    array([0, 1, 2, 3])
    >>> np.load(node.dc.path).sum()
    np.int64(6)
    """

    exact = True
    known_exts = (".npy",)
    _addressed = "daskcache.targets.addressed.formats:AddressedArray"

    def __init__(
        self, path: str | os.PathLike[str], compressed: bool = False, *, like: str | None = None
    ):
        super().__init__(path)
        self.compressed = compressed
        self.like = checked_like(like)

    def hash(self, value):
        return self._hash_beside(value, value)

    def counted_options(self):
        # compression changes the bytes, but neither the arrays nor how they are read
        return {} if self.like is None else {"like": self.like}

    @property
    def is_archive(self) -> bool:
        """True if the file holds a dict of arrays."""
        return self.path.lower().endswith(".npz")

    def encode(self, value):
        if not self.is_archive:
            return self._encode_array(value, "it")
        if type(value) in (np.ndarray, np.memmap):
            return self._encode_archive({_ALONE: value}, _OF_ARRAY)
        if type(value) is not dict:
            raise self.limit(
                value,
                f"it is a {type(value).__name__}, not an array or a dict of arrays",
                "return {'name': array, ...}, or let the path end in .npy or .pkl",
            )
        return self._encode_archive(value)

    def _decode(self, file):
        return self._decode_archive(file) if self.is_archive else _decoded_array(file, self.path)

    def open(self, path):
        """Open an ``.npy`` file as a read-only memory map; read the arrays of an ``.npz`` file.

        Parameters
        ----------
        path : str
            The file or folder.

        Returns
        -------
        numpy.memmap or numpy.lib.npyio.NpzFile
            The array or the arrays, read-only.
        """
        if self.is_archive or _is_scalar_file(path):
            return self.read(path)
        return np.load(path, mmap_mode="r", allow_pickle=False)

    def _encode_array(self, value, name):
        if isinstance(value, np.generic) and value.dtype.kind in _OF_SCALARS:
            return [_header(np.asarray(value), is_scalar=True), value.tobytes()]
        check_array(self, value, name)
        if value.dtype.hasobject:
            raise self.limit(
                value, f"{name} is of dtype {value.dtype}, Python objects", "convert it, or use .pkl"
            )
        # the dtype as the file's header will describe it
        if np.lib.format.descr_to_dtype(np.lib.format.dtype_to_descr(value.dtype)) != value.dtype:
            raise self.limit(value, f"{name} is of dtype {value.dtype}, which would change", "use .pkl")
        # ascontiguousarray adds an axis to an array without axes; reshape takes it away again
        array = np.ascontiguousarray(value).reshape(value.shape)
        header = _header(array)
        if len(header) > _LONGEST_HEADER:
            raise self.limit(value, f"{name} has a dtype of too many fields", "use .pkl")
        return [header, array.reshape(-1).view("u1").data if array.nbytes else b""]

    def _encode_archive(self, arrays, comment=b""):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.comment = comment
            for key, array in arrays.items():
                content = b"".join(self._encode_array(array, f"the item {key!r}"))
                archive.writestr(self._member(key, arrays), content)
        return [file.getbuffer()]

    def _member(self, key, arrays):
        """Return the zip entry for an array.

        It names no time, user or system, so that equal arrays give equal bytes.
        """
        if type(key) is not str:
            raise self.limit(arrays, f"the key {key!r} is not a text", "use texts as keys, or .pkl")
        member = zipfile.ZipInfo(f"{key}.npy", date_time=(1980, 1, 1, 0, 0, 0))
        if member.filename != f"{key}.npy" or not _is_name(key):
            raise self.limit(arrays, f"the key {key!r} can't name a file in an archive", "rename it")
        member.compress_type = zipfile.ZIP_DEFLATED if self.compressed else zipfile.ZIP_STORED
        member.create_system = 3  # Unix, on every system
        member.external_attr = _OWN_MODE
        return member

    def _decode_archive(self, file):
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            counts = Counter(member.filename for member in members)
            strange = [name for name in counts if not name.endswith(".npy") or counts[name] > 1]
            if strange:
                raise TargetCorrupt(
                    "this .npz file holds something else than arrays, or two of one name",
                    target=self.path,
                    expected="members that end in .npy, each once",
                    got=", ".join(map(repr, strange[:3])),
                )
            check_decoded(sum(member.file_size for member in members), self.path)
            found = {
                member.filename.removesuffix(".npy"): _decoded_array(
                    io.BytesIO(archive.read(member)), f"{member.filename} in {self.path}"
                )
                for member in members
            }
            return found[_ALONE] if _holds_array(archive) else found


class NumpySource(Source):
    """An existing ``.npy`` or ``.npz`` file.

    A decorated function receives an array for ``.npy``, and a dict of arrays for ``.npz``.  An archive
    with the single member ``arr_0``, as ``numpy.savez(path, array)`` writes it, is an array.

    Parameters
    ----------
    path : str or os.PathLike
        The file.  A relative path is taken from the current folder.

    Raises
    ------
    SourceMissing
        When the source is used and the file does not exist.
    SourceUnreadable
        When the file is read and is damaged, or holds more or less than it declares.
    UntrustedPickle
        When the file is read and holds Python objects.
    FormatLimit
        When an archive is read that declares more than config ``daskcache.max-decoded``.

    Examples
    --------
    >>> np.save("ramp.npy", np.arange(4))
    >>> dc.NumpySource("ramp.npy").get_data()
    array([0, 1, 2, 3])
    """

    format = NumpyTarget
    known_exts = (".npy", ".npz")

    def identify(self, content_hash):
        # earlier, an array in an archive arrived as a dict: results made of it are made once more
        version = ":arr_0" if self.path.lower().endswith(".npz") else ""
        return super().identify(content_hash) + version


def check_decoded(nbytes: int, what: str) -> None:
    """Raise if a value would not fit in memory, before it is decoded.

    Parameters
    ----------
    nbytes : int
        Size of the decoded value in bytes, as its file declares it.
    what : str
        Name of the file or value, for the error.

    Raises
    ------
    FormatLimit
        If it exceeds config ``daskcache.max-decoded`` (by default, this machine's memory).
    """
    allowed = config.get_bytes("max-decoded") if config.get("max-decoded") else _physical_memory()
    if allowed is not None and nbytes > allowed:
        raise FormatLimit(
            f"{what} is too large to be read as a whole",
            expected=f"at most {format_bytes(allowed)}",
            got=f"{format_bytes(nbytes)} when decoded",
            hint="read it lazily (node.dc.open()), or set daskcache.max-decoded if it is meant to be so",
        )


def check_array(target: Target, value: Any, name: str) -> None:
    """Refuse anything but a plain NumPy array, and the extras of `check_extras`.

    Raises
    ------
    FormatLimit
        With the value's `name`.
    """
    if type(value) not in (np.ndarray, np.memmap):
        raise target.limit(
            value,
            f"{name} is a {type(value).__name__}, not an array",
            "return np.asarray(...), or a dict of arrays for a path that ends in .npz, or let the path "
            "end in .pkl",
        )
    check_extras(target, value, name)


def check_extras(target: Target, array: Any, name: str) -> None:
    """Refuse an array whose dtype has an extra that no format of arrays keeps.

    Raises
    ------
    FormatLimit
        With the array's `name`, if its dtype has metadata or an aligned layout.
    """
    lost = _extra_of(array.dtype)
    if lost:
        raise target.limit(array, f"{name} has a dtype with {lost}, which would be lost", "use .pkl")


def _extra_of(dtype):
    if dtype.metadata:
        return f"metadata, {dict(dtype.metadata)}"
    if dtype.isalignedstruct:
        return "an aligned layout"
    inner = [dtype.base] if dtype.subdtype else [dtype[i] for i in range(len(dtype.names or ()))]
    return next(filter(None, map(_extra_of, inner)), None)


def _physical_memory():
    """Return the bytes of memory of this machine, or None if the system doesn't report them."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


#: The member of an archive with an array that has no name, and the comment of such an archive of ours.
_ALONE, _OF_ARRAY = "arr_0", b"daskcache: an array"
#: Mode of the members in our archives, which no other writer gives them: without the kind of file.
_OWN_MODE = 0o644 << 16


def _holds_array(archive):
    """Return True if an archive stands for an array, not for a dict of arrays.

    An archive of ours with a dict that has the key ``arr_0`` has no comment.
    """
    members = archive.infolist()
    if [member.filename for member in members] != [f"{_ALONE}.npy"]:
        return False
    return archive.comment == _OF_ARRAY or members[0].external_attr != _OWN_MODE


#: Bytes of the longest header that `numpy.load` accepts from a file that isn't trusted.
_LONGEST_HEADER = 10_000


#: Kinds of dtypes whose NumPy scalars are stored as such.
_OF_SCALARS = "biufcmM"


def _header(array, is_scalar=False):
    """Return the bytes of an .npy file before its data.

    The header of a scalar says that the order is Fortran's.  It makes no difference to an array without
    axes, and NumPy never writes it for one.
    """
    file = io.BytesIO()
    try:
        described = np.lib.format.header_data_from_array_1_0(array)
        if is_scalar:
            described["fortran_order"] = True
        np.lib.format.write_array_header_1_0(file, described)
    except ValueError:  # a dtype whose description needs a later version of the format
        np.save(file, array)
        return file.getvalue()[: file.tell() - array.nbytes]
    return file.getvalue()


def _decoded_array(file, name):
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    is_scalar = _check_header(file, size, name)
    file.seek(0)
    array = np.load(file, allow_pickle=False)
    return array[()] if is_scalar else array


def _check_header(file, size, name):
    """Raise unless an .npy file of `size` bytes holds exactly the data that it declares.

    Return True if it holds a scalar, not an array; see `_header`.
    """
    formats = np.lib.format
    version = formats.read_magic(file)
    # Version 3.0 differs from 2.0 in the encoding of the names of fields alone.
    read = formats.read_array_header_1_0 if version == (1, 0) else formats.read_array_header_2_0
    shape, is_fortran, dtype = read(file, max_header_size=_LONGEST_HEADER)
    if dtype.hasobject:
        raise UntrustedPickle(
            f"{name} holds pickled objects, which are not loaded",
            target=name,
            expected="an array of numbers, times or texts",
            got=f"dtype {dtype}",
            hint="save it again with such a dtype; or, if you trust the file, take a FileSource and "
            "np.load(path, allow_pickle=True) in the function",
        )
    declared, held = math.prod(shape) * dtype.itemsize, size - file.tell()
    if declared != held:
        raise TargetCorrupt(
            f"{name} does not hold the array that its header declares",
            expected=f"{declared} bytes of data: shape {shape}, dtype {dtype}",
            got=f"{held} bytes",
        )
    return is_fortran and shape == ()


def _is_scalar_file(path):
    with open(path, "rb") as file:
        return _check_header(file, os.fstat(file.fileno()).st_size, path)


def _is_name(key):
    try:
        return len(key.encode()) <= 60_000
    except UnicodeEncodeError:
        return False
