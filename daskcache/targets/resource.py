"""`Resource`, the base of sources and targets, with the interface of CPR's classes of these names.

CPR (custom-prefect-result) locates a file by three fields, ``location``, ``name`` and ``ext``.  The
classes in `daskcache.cpr` take them; those in `daskcache` take a path.  A source is the same either way.
A target that is made from the fields, or by `from_path`, has the hash of its data in its path, see
`daskcache.targets.addressed`.  `base` derives `Target` and `Source` from `Resource`.
"""

from __future__ import annotations

import abc
import io
import os
from collections.abc import Callable
from typing import Any, BinaryIO, ClassVar

from ..errors import GraphError
from ..hashing.encoder import hash_value
from ..hashing.names import public_name


class _Piece:
    """Descriptor for a piece of a resource's path.  An instance's attribute of that name wins."""

    def __init__(self, find):
        self._find = find

    def __get__(self, instance, owner):
        return self if instance is None else self._find(instance.path)


class Resource(abc.ABC):
    """A file (or folder) with data in it: a `Source` or a `Target`.

    Its path is ``location/name`` + ``ext``.  A target made as in CPR has the hash of its data in its
    path: ``location/name-{data_hash}`` + ``ext``.

    Subclasses take the path, or a target's path template, and the options of their formats.

    See Also
    --------
    daskcache.cpr : the same classes, made from CPR's fields ``location, name, ext``.

    Examples
    --------
    >>> isinstance(dc.TextTarget("a.txt"), dc.Resource)
    True
    """

    #: True if the target has the hash of its data in its path, as in CPR.
    has_address: ClassVar[bool] = False
    #: Parameters of CPR's constructor after location, name and ext, with their defaults.
    address_fields: ClassVar[dict[str, Any]] = {}
    #: Suffix if none is given; None if a suffix is required.
    default_ext: ClassVar[str | None] = None
    #: Suffixes that the class accepts; empty if it accepts any.
    known_exts: ClassVar[tuple[str, ...]] = ()

    #: True for classes written as for CPR, whose JSON has fields of their own; see `cpr.protocol`.
    in_fields: ClassVar[bool] = False

    path: str
    # `Any`, as an instance or a subclass may give these names another meaning.
    location: Any = _Piece(lambda path: os.path.split(path)[0])
    name: Any = _Piece(lambda path: os.path.splitext(os.path.basename(path))[0])
    ext: Any = _Piece(lambda path: os.path.splitext(path)[1])

    @classmethod
    def from_path(cls, path: str | os.PathLike[str], *args: Any, **fields: Any) -> Any:
        """Return the source or target with this path.

        `Source` and `Target` themselves choose the class by the suffix.

        Parameters
        ----------
        path : str or os.PathLike
            The file's path; for a target, without the hash of its data.
        *args, **fields
            Parameters of CPR's constructor after location, name and ext (all but ``data_hash``).

        Raises
        ------
        GraphError
            If the class does not accept the suffix.
        TypeError
            If the class has no such fields.
        """
        location, file_name = os.path.split(os.fspath(path))
        name, ext = os.path.splitext(file_name)
        names = [field for field in cls.address_fields if field != "data_hash"]
        if len(args) > len(names) or set(names[: len(args)]) & set(fields) or set(fields) - set(names):
            raise TypeError(f"{cls.__name__}.from_path() takes ({', '.join(['path', *names])})")
        return cls.at_address(location, name, ext, **dict(zip(names, args, strict=False)), **fields)

    @classmethod
    @abc.abstractmethod
    def at_address(cls, location: str, name: str, ext: str | None = None, **fields: Any) -> Any:
        """Return the source or target with CPR's fields; see `from_path`.

        Parameters
        ----------
        location : str
            The folder.
        name : str
            File name without suffix.
        ext : str, optional
            The suffix with its dot.  Default: that of the class.
        **fields : object
            Further fields of CPR's constructor.

        Returns
        -------
        Resource
            A source, or a target with the hash of its data in its path.
        """

    @classmethod
    def checked_ext(cls, ext: str | None) -> str:
        """Return the suffix, or the default one for None.

        Parameters
        ----------
        ext : str or None
            The suffix with its dot.

        Returns
        -------
        str
            The suffix with its dot.

        Raises
        ------
        GraphError
            If the class does not accept the suffix.
        """
        found = cls.default_ext if ext is None else ext
        if found is None or (cls.known_exts and found not in cls.known_exts):
            raise GraphError(
                f"{cls.__name__} is not for files with the suffix {found!r}",
                expected=" or ".join(cls.known_exts) or "a suffix",
                hint="Source.from_path(path) and Target.from_path(path) choose the class by the suffix",
            )
        return found

    def get_path(self) -> str:
        """Return the file's path.

        Returns
        -------
        str
            The path.
        """
        return self.path

    def get_name(self) -> str:
        """Return the file's name without its suffix.

        Returns
        -------
        str
            The name.
        """
        return self.name

    @abc.abstractmethod
    def get_data(self, cache: bool = False) -> Any:
        """Return the data in the file.

        Parameters
        ----------
        cache : bool
            True to keep a source's data in its attribute ``_data`` as well, as CPR does.  The file is
            read every time.
        """


def is_file_name(name: str) -> bool:
    """Return True for a plain name, which leads to no other folder."""
    return name not in ("", ".", "..") and not any(c in name for c in "/\\\0")


class Metadata:
    """Mixin for images with metadata in the form of CPR, which is that of `tifffile.imwrite`.

    Attributes
    ----------
    metadata : dict or None
        Metadata of the image, e.g. ``{"axes": "YX", "unit": "micron"}``.
    resolution : sequence of float, or None
        Pixels per centimetre along X and Y.
    imagej : bool
        True to write the file in ImageJ's format.

    See Also
    --------
    ImageMetadata : metadata that daskcache reads from a file.

    Examples
    --------
    >>> image = dc.ImageSource("cells.tif", metadata={"axes": "YX", "unit": "micron"})
    >>> image.get_metadata()
    {'axes': 'YX', 'unit': 'micron'}
    """

    metadata: dict[str, Any] | None = None
    resolution: Any = None
    imagej: bool = True

    def get_metadata(self) -> dict[str, Any] | None:
        """Return the image's metadata, or None.

        Returns
        -------
        dict or None
            The metadata, as `tifffile.imwrite` takes them.
        """
        return self.metadata

    def set_metadata(self, metadata: dict[str, Any] | None) -> None:
        """Set the metadata to write with the file.

        Parameters
        ----------
        metadata : dict or None
            The metadata, as `tifffile.imwrite` takes them.
        """
        self.metadata = metadata

    def get_resolution(self) -> Any:
        """Return the pixels per centimetre along X and Y, or None.

        Returns
        -------
        sequence of float, or None
            Pixels per centimetre along X and Y.
        """
        return self.resolution

    def set_resolution(self, resolution: Any) -> None:
        """Set the resolution to write with the file, in pixels per centimetre along X and Y.

        Parameters
        ----------
        resolution : sequence of float, or None
            Pixels per centimetre along X and Y.
        """
        self.resolution = resolution


class Decodes:
    """Mixin of resources that decode the content of a file.

    `decode` takes the whole content.  A format that needs only parts of a large file at a time defines
    `decode_file`, too, so that the value and the file need not be in memory together.
    """

    def decode_file(self, file: BinaryIO) -> Any:
        """Return the value in an open file, by default what `decode` returns for its content.

        Parameters
        ----------
        file : binary file
            The file, open at its start.

        Returns
        -------
        object
            The data, in the form that the class describes.
        """
        return self.decode(file.read())  # type: ignore[attr-defined]

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        # the `decode_file` of a base class would bypass the new `decode`
        if "decode" in vars(cls) and "decode_file" not in vars(cls):
            cls.decode_file = Decodes.decode_file  # type: ignore[method-assign]


class DecodesInParts(Decodes):
    """Mixin of formats that read files in parts: their ``_decode`` takes an open file."""

    _decode: Callable[[BinaryIO], Any]

    def decode(self, data: bytes) -> Any:
        return self._decode(io.BytesIO(data))

    def decode_file(self, file: BinaryIO) -> Any:
        return self._decode(file)


def name_with_code(cls: type, name: str) -> str:
    """Return a name of a class; for one that isn't daskcache's, with the fingerprint of its code.

    The code of a user's class decides what a file holds, and what a node gets from it.
    """
    is_ours = public_name(cls).startswith(f"{__name__.partition('.')[0]}:")
    return name if is_ours else f"{name}:{hash_value(cls)}"
