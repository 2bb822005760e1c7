"""`Resource`: what a source and a target have in common with CPR's classes of these names.

CPR (custom-prefect-result) says where a file is by three fields, ``location``, ``name`` and ``ext``.
The classes here take them in place of a path, too: ``ImageSource("raw", "a", ".tif")``.  A source is
then what it always is; a target is at an address of its own, see `daskcache.cpr.addressed`.
"""

from __future__ import annotations

import abc
import os
from typing import Any, ClassVar

from ..errors import GraphError


class _TwoConstructors(abc.ABCMeta):
    """Lets daskcache's own classes be called with a path, or with CPR's three fields."""

    def __call__(cls, *args, **kwargs):
        if (len(args) > 1 or kwargs) and cls._is_address(args, kwargs):
            return cls._at_address(**cls._bound(args, kwargs))
        return super().__call__(*args, **kwargs)

    def _is_address(cls, args, kwargs):
        if cls.has_address or not cls.__module__.startswith("daskcache.targets."):
            return False  # others may have parameters of these names
        if not kwargs.keys().isdisjoint(("location", "name", "ext")):
            return True
        enough = 3 if cls.default_ext is None else 2
        return len(args) >= enough and all(isinstance(arg, str) for arg in args[1:3])

    def _bound(cls, args, kwargs):
        names = ("location", "name", "ext", *cls.address_fields)
        bound = dict(zip(names, args, strict=False))
        wrong = [name for name in kwargs if name not in names or name in bound]
        missing = {"location", "name"} - {*bound, *kwargs}
        if wrong or missing or len(args) > len(names):
            raise TypeError(f"{cls.__name__}() takes ({', '.join(names)}) in place of a path")
        return bound | kwargs


class Resource(metaclass=_TwoConstructors):
    """A file (or folder) with data in it: a `Source` or a `Target`.

    It is at ``location/name`` + ``ext``, or, a target at an address of its own,
    ``location/name-{data_hash}`` + ``ext``.
    """

    #: Whether it is a target at an address of its own.
    has_address: ClassVar[bool] = False
    #: What CPR's constructor takes after location, name and ext, with its defaults.
    address_fields: ClassVar[dict[str, Any]] = {}
    #: The suffix where none is given; None if it has to be.
    default_ext: ClassVar[str | None] = None
    #: The suffixes that there may be; any if there are none.
    known_exts: ClassVar[tuple[str, ...]] = ()

    path: str

    @classmethod
    def from_path(cls, path: str | os.PathLike, *args: Any, **fields: Any) -> Any:
        """The source or target with this path.

        Parameters
        ----------
        path : str or os.PathLike
            Of the file; of a target, without the hash of its data.
        *args, **fields
            As the class takes them after location, name and ext (all but ``data_hash``).

        Raises
        ------
        GraphError
            If the class is not for such files.
        """
        location, file_name = os.path.split(os.fspath(path))
        name, ext = os.path.splitext(file_name)
        names = [field for field in cls.address_fields if field != "data_hash"]
        if len(args) > len(names) or set(names[: len(args)]) & set(fields) or set(fields) - set(names):
            raise TypeError(f"{cls.__name__}.from_path() takes ({', '.join(['path', *names])})")
        return cls._at_address(location, name, ext, **dict(zip(names, args, strict=False)), **fields)

    @classmethod
    def _at_address(cls, location, name, ext=None, **fields):
        raise NotImplementedError

    @classmethod
    def checked_ext(cls, ext: str | None) -> str:
        """The suffix, if the class is for such files; else raise GraphError."""
        found = cls.default_ext if ext is None else ext
        if found is None or (cls.known_exts and found not in cls.known_exts):
            raise GraphError(
                f"{cls.__name__} is not for files with the suffix {found!r}",
                expected=" or ".join(cls.known_exts) or "a suffix",
                hint="Source.from_path(path) and Target.from_path(path) choose the class by the suffix",
            )
        return found

    def get_path(self) -> str:
        """Path of the file."""
        return self.path

    def get_name(self) -> str:
        """Name of the file without its suffix."""
        return self.name

    @abc.abstractmethod
    def get_data(self, cache: bool = False) -> Any:
        """The data in the file.

        Parameters
        ----------
        cache : bool
            Taken for CPR's sake, which read the file anyway each time, and so does this.
        """

    # An instance, or another class, may have something else under these names.
    location: Any
    name: Any
    ext: Any


class _Piece:
    """A piece of a resource's path, unless the instance has an attribute of that name itself."""

    def __init__(self, find):
        self._find = find

    def __get__(self, instance, owner):
        return self if instance is None else self._find(instance.path)


Resource.location = _Piece(lambda path: os.path.split(path)[0])
Resource.name = _Piece(lambda path: os.path.splitext(os.path.basename(path))[0])
Resource.ext = _Piece(lambda path: os.path.splitext(path)[1])


class Metadata:
    """What the file of an image says beside its pixels, as `tifffile.imwrite` takes it.

    Attributes
    ----------
    metadata : dict or None
        E.g. ``{"axes": "YX", "unit": "micron"}``.
    resolution : sequence of float, or None
        Pixels per centimetre along X and Y.
    imagej : bool
        Whether it is written as ImageJ's files are.
    """

    metadata: dict[str, Any] | None = None
    resolution: Any = None
    imagej: bool = True

    def get_metadata(self) -> dict[str, Any] | None:
        """Metadata of the image."""
        return self.metadata

    def set_metadata(self, metadata: dict[str, Any] | None) -> None:
        """Set the metadata that the file is written with."""
        self.metadata = metadata

    def get_resolution(self) -> Any:
        """Pixels per centimetre along X and Y."""
        return self.resolution

    def set_resolution(self, resolution: Any) -> None:
        """Set the resolution that the file is written with."""
        self.resolution = resolution
