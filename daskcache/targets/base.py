"""`Target`: where a result lives and in which format; `Source`: an input file that no node makes."""

from __future__ import annotations

import abc
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from ..errors import FormatLimit, SourceChanged
from ..hashing.encoder import digest, hash_value, tag
from ..hashing.names import imported
from ..storage import files
from ..storage.files import Part
from ..storage.manifests import VerifiedFolder
from ..storage.roots import check_local
from ..storage.source_hashes import content_hash, fresh_hash, read_whole
from ..storage.trust import check_runnable
from .registry import source_class, target_class
from .resource import Resource

#: What packages raise on values that a format can't hold.
CODEC_ERRORS = (
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    AttributeError,
    NotImplementedError,
    RecursionError,
)


#: In place of a value that is not known without reading it.
UNKNOWN: Any = type("UNKNOWN", (), {"__repr__": lambda self: "UNKNOWN", "__slots__": ()})()


#: What CPR adds to formats, by name: it is made from them.
_TWIN, _SERIALIZED = (
    "daskcache.targets.addressed.base:twin_of",
    "daskcache.targets.cpr.serializer:serialized",
)


class Target(Resource):
    """Where a result lives and in which format.  Subclass it to add a format.

    A subclass writes a value to a path, reads it back, and may hash it.  What it reads back must be
    what it was given; what it can't hold it refuses with `FormatLimit`.  Check a new class with
    ``daskcache.testing.TargetContract``.  Keys and records name a class by its module, unless it says
    its name itself: with ``public_name = "package:Class"`` it can move.

    Parameters
    ----------
    path : str
        Path template, relative to the root.
    **options
        Keyword arguments of the format, see the subclass.

    Notes
    -----
    `from_path`, or ``location, name, ext`` in place of a path, make a target as CPR's are, at an address
    of its own: see `daskcache.cpr.addressed.Addressed`.
    """

    def __init__(self, path: str):
        self.path = str(path)

    address_fields: ClassVar[dict[str, Any]] = {"data_hash": None}
    #: Name of the mixin that makes it a target at an address.
    _addressed: ClassVar[str] = "daskcache.targets.addressed.base:Addressed"

    #: Whether reading can run code: then no record chooses the class, and the file must be trusted.
    runs_code: ClassVar[bool] = False
    #: Whether it is options, not only what is stored, that decide which value is read.
    options_matter: ClassVar[bool] = False
    #: Whether what it writes is a folder of files.
    is_folder: ClassVar[bool] = False
    #: Whether it is a table in a database, whose path has the form ``<database>::<table>``.
    in_database: ClassVar[bool] = False

    @abc.abstractmethod
    def write(self, value: Any, path: str) -> Part | None:
        """Write `value` to the new file (or folder) `path`.

        Returns
        -------
        Part or None
            Of what was hashed as it was written; what returns None is read again to hash it.
        """

    @abc.abstractmethod
    def read(self, path: str) -> Any:
        """Read the value in the file (or folder) `path`."""

    def get_data(self, cache: bool = False) -> Any:
        """Read the value at this target's own path, which is then a file's (or folder's)."""
        if self.runs_code:
            check_runnable(self.path)
        return self.read(self.path)

    def open(self, path: str) -> Any:
        """Lazy access to the value in the file (or folder) `path`, where the format has it.

        A memory map, a Zarr array, a Dask collection …; by default the value itself.
        """
        return self.read(path)

    def read_verified(self, path: str, verify: Callable[[str], None]) -> Any:
        """Read the value in what `verify` is given the hash of; that raises if it is not as recorded."""
        verify(files.file_hash(path))
        return self.read(path)

    def hash(self, value: Any) -> str:
        """Hash of `value`, independent of the format: 32 hex digits."""
        return hash_value(value)

    def counted_options(self) -> dict[str, Any]:
        """Options that say what the file holds, or how it is read; by default, all of them.

        Named as the keyword arguments that they are.  They are part of the key: no file is read with
        other options than it was written with.
        """
        return {name: option for name, option in vars(self).items() if name != "path"}

    def hash_file(self, path: str) -> str:
        """`hash` of what is in the file (or folder) `path`, which a function wrote itself."""
        return self.hash_read(self.read(path), path)

    def hash_read(self, value: Any, path: str) -> str:
        """`hash` of a value that was read from `path`, be it converted since to another dtype."""
        return self.hash(value)

    def heritage(self, file: str | BinaryIO) -> Any:
        """What results made from this file may take over beside its value, e.g. pixel sizes; or None.

        Parameters
        ----------
        file : str or binary file
            Path of the file (or folder), or an open file with its content.
        """
        return None

    def inherit(self, heritage: list[Any]) -> Target:
        """This target with what its value takes over from what the node was made from.

        What makes files differ must make hashes (`hash`, `hash_file`) differ: else what follows from
        them would not be made again when only that changes.

        Parameters
        ----------
        heritage : list
            What `heritage` found in the node's direct inputs.
        """
        return self

    def hash_result(self, value: Any, path: str) -> str:
        """Hash of what `read` will give back of `value`, which was just written to `path`."""
        return self.hash(value)

    def read_back(self, value: Any, path: str) -> Any:
        """What `read` gives back of `value`, just written to `path`; `UNKNOWN` if it has to be read."""
        return UNKNOWN

    def limit(self, value: Any, reason: str, hint: str) -> FormatLimit:
        """The error to raise when `value` can't be held."""
        if value is None:
            reason, hint = "the function returned None", "forgot to return?"
        return FormatLimit(f"{type(self).__name__} can't hold this result: {reason}", hint=hint)

    def at(self, path: str) -> Target:
        """The same format, with the same options, at another path."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__, path=path)
        return twin

    @classmethod
    def _at_address(cls, location, name, ext=None, **fields):
        if cls is Target:
            cls = target_class(f"{name}{ext}")
        return imported(_TWIN)(cls)(location, name, cls.checked_ext(ext), **fields)

    def __repr__(self):
        options = [f", {k}={v!r}" for k, v in vars(self).items() if k != "path"]
        return f"{type(self).__name__}({self.path!r}{''.join(options)})"

    def __eq__(self, other):
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self):
        return hash((type(self), self.path))


class BytesTarget(Target):
    """A format whose file is made in memory, and hashed as it is written and read.

    Subclasses define `encode` and `decode`.  Unless they are `exact`, every value is decoded again
    before it is saved, and refused if it doesn't come back as it was.
    """

    #: Whether `decode` gives back every value that `encode` accepts.
    exact: ClassVar[bool] = False

    @abc.abstractmethod
    def encode(self, value: Any) -> Iterable:
        """The file's content, as bytes-like pieces."""

    @abc.abstractmethod
    def decode(self, data: bytes) -> Any:
        """The value in a file's content."""

    def is_same(self, value: Any, decoded: Any) -> bool:
        """Tell if a value came back from the file as it was."""
        return self.hash(decoded) == self.hash(value)

    def difference(self, value: Any, decoded: Any) -> tuple[str, str]:
        """What a value lost on its way through the file, and what to do about it."""
        return (
            f"a {type(value).__name__} comes back as another value",
            "use another format, e.g. a path that ends in .pkl",
        )

    def encode_checked(self, value: Any) -> list:
        return self.encode_and_read_back(value)[0]

    def encode_and_read_back(self, value: Any) -> tuple[list, Any]:
        """Pieces of the file, and what `decode` gives back of them, or `UNKNOWN`."""
        pieces = list(self.encode(value))
        if self.exact:
            return pieces, value if comes_back_as_it_is(value) else UNKNOWN
        try:
            decoded = self.decode(b"".join(pieces))
            same = self.is_same(value, decoded)
        except CODEC_ERRORS as error:
            reason = f"it can't be read back ({getattr(error, 'message', error)})"
            raise self.limit(value, reason, "use a path that ends in .pkl") from error
        if not same:
            raise self.limit(value, *self.difference(value, decoded))
        return pieces, decoded

    def write(self, value: Any, path: str) -> None:
        pieces = self.encode_checked(value)
        with open(path, "xb") as file:
            for piece in pieces:
                file.write(piece)

    def read(self, path: str) -> Any:
        return self.decode(Path(path).read_bytes())


def comes_back_as_it_is(value: Any) -> bool:
    """Whether an equal value that was read from a file can't be told from this one.

    Of an array that holds if it lies in memory as formats give arrays back.
    """
    if type(value) in (str, bytes, bool, int, float, complex, type(None)):
        return True
    if type(value) is not getattr(sys.modules.get("numpy"), "ndarray", None):
        return False
    dtype = value.dtype
    plain = dtype.kind in "biufc" and dtype.isnative and dtype.metadata is None
    return plain and value.ndim > 0 and value.flags.c_contiguous and value.flags.aligned


class FolderTarget(Target):
    """A format whose files lie in a folder, and are verified one by one as they are read.

    Subclasses define `write`, `read`, `read_folder` and `open_folder`.
    """

    is_folder = True

    @abc.abstractmethod
    def read_folder(self, folder: VerifiedFolder) -> Any:
        """The value in a folder, read through it."""

    @abc.abstractmethod
    def open_folder(self, folder: VerifiedFolder) -> Any:
        """Lazy access to the value in a folder, through it."""

    def heritage_folder(self, folder: VerifiedFolder) -> Any:
        """`heritage` of a folder, read through it."""
        return None


class Source(Resource):
    """An existing input file.  Passed to a decorated function, it arrives there as its data.

    Its identity is its file name and its content, so a node made from it reruns when the content
    changes, and only then.  The content is read once, and again when the file was touched, copied or
    renamed (see `daskcache.storage.source_hashes`).

    Parameters
    ----------
    path : str or os.PathLike
        The file.  A relative path is taken from the current folder.

    Raises
    ------
    SourceMissing
        When it is used and there is no such file.
    StorageError
        If it is given by a URL; or when it is used and can't be read.
    """

    def __init__(self, path):
        check_local(path, "a source")
        self.path = os.path.abspath(path)

    #: The target class whose format this is.
    format: ClassVar[type[BytesTarget]]
    #: Whether reading can run code: then no record chooses the class, and the file must be trusted.
    runs_code: ClassVar[bool] = False

    def decode(self, data: bytes) -> Any:
        """The value in the file's content."""
        return self.format(self.path).decode(data)

    def get_data(self, cache: bool = False) -> Any:
        """Read the file; `cache` changes nothing, see `Resource.get_data`."""
        return self.decode(self._read())

    def get_path(self) -> str:
        """Path of the file, as it was given to `from_path`; else the absolute one."""
        return os.path.join(self.location, f"{self.name}{self.ext}")

    @classmethod
    def _at_address(cls, location, name, ext=None, **fields):
        if cls is Source:
            cls = source_class(f"{name}{ext}")
        ext = cls.checked_ext(ext)
        options = cls._options_at_address({**cls.address_fields, **fields})
        source = cls(os.path.join(location, f"{name}{ext}"), **options)
        vars(source).update(location=location, name=name, ext=ext)
        return source

    def serialize(self) -> dict[str, Any]:
        """What the JSON of this source consists of."""
        return imported(_SERIALIZED)(self)

    @classmethod
    def _options_at_address(cls, fields):
        """Keyword arguments of the constructor for what CPR's takes."""
        return fields

    def heritage(self) -> Any:
        """What results made from this file may take over beside its value; see `Target.heritage`."""
        return None

    @property
    def filename(self) -> str:
        return os.path.basename(self.__daskcache_path__())

    @property
    def stem(self) -> str:
        return Path(self.__daskcache_path__()).stem

    @property
    def suffix(self) -> str:
        return Path(self.__daskcache_path__()).suffix

    @property
    def parent(self) -> str:
        """Name of the folder that it is in."""
        return Path(self.__daskcache_path__()).parent.name

    def content_hash(self) -> str:
        """Hash of the file's bytes (32 hex digits), read again only if the file was touched."""
        return content_hash(self.path)

    def load_verified(self, expected: str) -> Any:
        """Read the file if its content still has the hash `expected`, else raise SourceChanged."""
        data = self._read()
        self._compare(digest(data), expected)
        return self.decode(data)

    def open_verified(self, expected: str) -> Any:
        """Lazy access to what `load_verified` reads, where the format has it."""
        return self.load_verified(expected)

    def verify(self, expected: str) -> None:
        """Raise SourceChanged unless the content, read again, still has the hash `expected`."""
        self._compare(fresh_hash(self.path), expected)

    def heritage_verified(self, expected: str) -> Any:
        """`heritage`, if the file's content still has the hash `expected`, else raise SourceChanged."""
        found = self.heritage()
        if found is not None:
            self._compare(self.content_hash(), expected)
        return found

    def _read(self):
        if self.runs_code:
            check_runnable(self.path)
        return read_whole(self.path)

    def _compare(self, got, expected):
        if got != expected:
            raise SourceChanged(
                f"the source {self.path} changed while the graph was running",
                expected=tag(expected),
                got=tag(got),
                hint="make the nodes again and compute them",
            )

    def __daskcache_path__(self):
        return self.path

    def __daskcache_options__(self) -> dict[str, Any]:
        """Keyword arguments which, after the path, make this source again.

        They are part of its identity, and in the records of nodes made from it.
        """
        return {}

    def identity(self) -> str:
        """What tells this source from others: class, file name and content."""
        return self.identify(self.content_hash())

    def identify(self, content_hash: str) -> str:
        """The identity that this source has when its content has this hash."""
        options = dict(sorted(self.__daskcache_options__().items()))
        counted = f":{hash_value(options)}" if options else ""
        return f"{type(self).__name__}:{self.filename}:{tag(content_hash)}{counted}"

    def __daskcache_encode__(self, encoder):
        encoder.add_stand_in(self.identity())

    def __repr__(self):
        return f"{type(self).__name__}({self.path!r})"

    def __eq__(self, other):
        if type(self) is not type(other) or self.path != other.path:
            return False
        return self.__daskcache_options__() == other.__daskcache_options__()

    def __hash__(self):
        return hash((type(self), self.path))


class FileSource(Source):
    """Any input file.  It arrives as its `pathlib.Path`: the function reads it itself."""

    def decode(self, data: bytes) -> Path:
        return Path(self.path)

    def get_data(self, cache: bool = False) -> Path:
        return Path(self.path)

    def load_verified(self, expected: str) -> Path:
        self.verify(expected)
        return Path(self.path)
