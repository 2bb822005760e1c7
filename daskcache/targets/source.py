"""`Source`, the base class of inputs: existing files that no node makes.

The formats in this package have one source class each, derived from it.  `FileSource` is for any file.
`storage.source_hashes` remembers the hashes of their content, and `registry` chooses the class by the
suffix.  `base` has the base classes of results.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from ..errors import SourceChanged
from ..hashing.encoder import hash_value, tag
from ..hashing.names import imported
from ..storage.roots import check_local
from ..storage.trust import check_runnable
from ..storage.verified_files import CHANGED, VerifiedFile
from .fields import WithFields
from .registry import source_class
from .resource import Decodes, Resource, name_with_code

if TYPE_CHECKING:
    from .base import BytesTarget

    #: Base of what fits any parameter to type checkers, because the function gets data in its place.
    AnyArgument = Any
else:
    AnyArgument = object


class Source(WithFields, Decodes, Resource, AnyArgument):
    """An existing input file.  A decorated function that takes it receives the file's data.

    A source is identified by its file name and content.  So a node made from it reruns only when one of
    them changes.  The file is read once to hash it, and again after it was touched, copied or renamed
    (see `daskcache.storage.source_hashes`).

    A subclass reads another format: its `decode` returns the value in the file's bytes.

    Parameters
    ----------
    path : str or os.PathLike
        The file.  A relative path is taken from the current folder.

    Attributes
    ----------
    fields : dict
        Values by name, read from the path of a file that `sources` found; else empty.  They are not part
        of the identity, so functions do not get them.

    Raises
    ------
    SourceMissing
        When the source is used and the file does not exist.
    StorageError
        If the path is a URL.  When the source is used and the file can't be read.
    SourceUnreadable
        When the file is read and can't be decoded, whatever the error of the format's reader is.

    Examples
    --------
    >>> _ = Path("notes.txt").write_text("two cells")
    >>> dc.Source.from_path("notes.txt").get_data()
    'two cells'
    """

    def __init__(self, path: str | os.PathLike[str]):
        check_local(path, "a source")
        self.path = os.path.abspath(path)

    #: Target class that reads the same format.
    format: ClassVar[type[BytesTarget]]
    #: True if reading can run code.  Then no record chooses the class, and the file must be trusted.
    runs_code: ClassVar[bool] = False
    #: True if the source is a folder, such as a Zarr array.
    of_folder: ClassVar[bool] = False

    def decode(self, data: bytes) -> Any:
        """Return the value in the file's content.

        Parameters
        ----------
        data : bytes
            The content of the file.

        Returns
        -------
        object
            The data, in the form that the class describes.
        """
        return self.format(self.path).decode(data)

    def decode_file(self, file: BinaryIO) -> Any:
        return self.format(self.path).decode_file(file)

    #: The data, if `get_data` was told to keep them; None otherwise.
    _data: Any = None

    def get_data(self, cache: bool = False) -> Any:
        """Read the file, each time.

        Parameters
        ----------
        cache : bool
            True to keep the data in the attribute ``_data`` as well, as CPR does.

        Returns
        -------
        object
            The data, in the form that the class describes.
        """
        with self._reading():
            return self._kept(self._read_now(), cache)

    def get_path(self) -> str:
        """Return the file's path: as given to `from_path` or by CPR's three fields, else absolute.

        Returns
        -------
        str
            The path.
        """
        return os.path.join(self.location, f"{self.name}{self.ext}")

    @classmethod
    def at_address(cls, location, name, ext=None, **fields):
        if cls is Source:
            cls = source_class(f"{name}{ext}")
        ext = cls.checked_ext(ext)
        source = cls(os.path.join(location, f"{name}{ext}"), **{**cls.address_fields, **fields})
        vars(source).update(location=location, name=name, ext=ext)
        return source

    def serialize(self) -> dict[str, Any]:
        """Return the content of this source's JSON form, as CPR writes it.

        Returns
        -------
        dict
            The fields by name.
        """
        return imported("daskcache.targets.cpr.serializer:serialized")(self)  # which imports this module

    def heritage(self) -> Any:
        """Return the metadata that results made from this file may inherit; see `Target.heritage`."""
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
        """Name of the folder that holds the file."""
        return Path(self.__daskcache_path__()).parent.name

    def content_hash(self) -> str:
        """Return the hash of the file's bytes: 32 hex digits.

        The file is read again only after it was touched.

        Returns
        -------
        str
            32 hex digits.

        Raises
        ------
        SourceMissing
            If the file does not exist.
        StorageError
            If it can't be read.
        """
        from ..storage import source_hashes

        return source_hashes.content_hash(self.path)

    def load_verified(self, expected: str) -> Any:
        """Read the file, and raise SourceChanged if its content has another hash than `expected`.

        Parameters
        ----------
        expected : str
            The content hash that the file must have.

        Returns
        -------
        object
            The data, in the form that the class describes.
        """
        return self._read(partial(self._compare, expected=expected))

    def open_verified(self, expected: str) -> Any:
        """Open lazily the data that `load_verified` reads, if the format supports it.

        Parameters
        ----------
        expected : str
            The content hash that the file must have.

        Returns
        -------
        object
            A lazy form of the data, or the data.
        """
        return self.load_verified(expected)

    def verify(self, expected: str) -> None:
        """Read the file again, and raise SourceChanged if it has another hash than `expected`.

        Parameters
        ----------
        expected : str
            The content hash that the file must have.
        """
        from ..storage import source_hashes

        self._compare(source_hashes.fresh_hash(self.path), expected)

    def heritage_verified(self, expected: str) -> Any:
        """Return `heritage`, and raise SourceChanged if the content has another hash than `expected`.

        Without a heritage, the content is not checked.

        Parameters
        ----------
        expected : str
            The content hash that the file must have.

        Returns
        -------
        object or None
            Metadata for the targets of nodes that read this source.
        """
        found = self.heritage()
        if found is not None:
            self._compare(self.content_hash(), expected)
        return found

    def __daskcache_heritages__(self, expected: str) -> list[Any]:
        """Return what `heritage_verified` returns, for each file of a source that has several."""
        found = self.heritage_verified(expected)
        return [] if found is None else [found]

    def _kept(self, data, cache):
        if cache:
            self._data = data
        return data

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "_data"}

    def _reading(self):
        """Return a context in which errors of the format's reader become `SourceUnreadable`."""
        from .unreadable import reading  # needed for sources that are read

        return reading(self)

    def _read_now(self):
        """Return the data for `get_data`, whatever the content is."""
        return self._read(self._check_unchanged)

    def _read(self, verify):
        """Read the file; `verify` takes the hash of its content, see `VerifiedFile`."""
        from ..storage import source_hashes

        if self.runs_code:
            check_runnable(self.path)
        with VerifiedFile(source_hashes.opened(self.path), verify) as file:
            return self.decode_file(file)

    def _check_unchanged(self, got):
        """Accept any content that does not change while it is read."""
        if got == CHANGED:
            self._compare(got, "the content that was read first")

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
        """Return the keyword arguments that, after the path, recreate this source.

        By default, these are all public attributes.  They are part of the source's identity, and the
        records of nodes made from it hold them, too.
        """
        names = [n for n in vars(self) if n not in _PLACE and not n.startswith("_")]
        return {name: getattr(self, name) for name in names}

    def __daskcache_members__(self) -> dict[str, str]:
        """Return a short hash for each file of a source that is a folder; empty for others.

        Records hold them, so that `daskcache.why` can name the files that changed.
        """
        return {}

    @classmethod
    def __daskcache_restore__(
        cls, path: str, options: dict[str, Any], members: dict[str, str]
    ) -> Source:
        """Return the source that a record describes by its path, options and members."""
        return cls(path, **options)

    def identity(self) -> str:
        """Return the text that identifies this source: class, file name, content hash and options.

        A user's own class counts by its code.

        Returns
        -------
        str
            One line for each part.
        """
        return self.identify(self.content_hash())

    def identify(self, content_hash: str) -> str:
        """Return the identity that this source has if its content has the given hash.

        Parameters
        ----------
        content_hash : str
            A hash of the content, 32 hex digits.

        Returns
        -------
        str
            The identity, as `identity` gives it.
        """
        options = dict(sorted(self.__daskcache_options__().items()))
        counted = f":{hash_value(options)}" if options else ""
        name = name_with_code(type(self), type(self).__name__)
        return f"{name}:{self.filename}:{tag(content_hash)}{counted}"

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


#: Attributes that say where the file is.
_PLACE = ("path", "location", "name", "ext")


class FileSource(Source):
    """Any input file, for functions that read the file themselves.

    A decorated function receives its absolute `pathlib.Path`.

    Parameters
    ----------
    path : str or os.PathLike
        The file.  A relative path is taken from the current folder.

    Raises
    ------
    SourceMissing
        When the source is used and the file does not exist.
    StorageError
        If the path is a URL.  When the source is used and the file can't be read.

    Examples
    --------
    >>> _ = Path("settings.ini").write_text("[cells]")
    >>> @dc.delayed
    ... def first_line(file: dc.FileSource):
    ...     return Path(file.path).read_text().splitlines()[0]
    >>> first_line(dc.FileSource("settings.ini")).compute()
    '[cells]'
    """

    def decode(self, data: bytes) -> Path:
        return Path(self.path)

    def _read_now(self):
        return Path(self.path)

    def load_verified(self, expected: str) -> Path:
        self.verify(expected)
        return Path(self.path)
