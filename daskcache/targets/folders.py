"""The files of a folder as one input."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from ..errors import DaskcacheWarning, GraphError
from ..hashing.encoder import hash_value, tag
from ..storage.roots import check_local
from ..storage.source_hashes import content_hash, fresh_hash, source_error
from .base import Source
from .registry import source_class


class FolderSource(Source):
    """The files of a folder that match a pattern, as one input.

    Passed to a decorated function, it arrives there as the list of its members' absolute
    `pathlib.Path`, in order; where the parameter is annotated with ``FolderSource``, as itself.

    Its identity is its members: their paths from the folder and their content.  So a node made from it
    reruns when a member is added, removed, renamed or edited.  Nothing else counts, the folder's own
    name included.

    Iterating over it gives a source for each member, so that each can have a node of its own.

    Parameters
    ----------
    folder : str or os.PathLike
        The folder.  A relative path is taken from the current folder.
    pattern : str
        As in a shell, upper and lower case differ: ``*``, ``?`` and ``[…]`` within a name, ``**`` for
        any number of folders.  Names that begin with a dot match only where the pattern has the dot.
        Folders, pipes and devices are no members; symbolic links are followed.
    source : type of Source, optional
        Class of the members when iterated over.  By default the suffix decides; what no other class
        is made for is a `FileSource`.

    Raises
    ------
    GraphError
        If the pattern could match nothing below the folder, or `source` is no class of sources.
    SourceMissing
        When it is used and there is no such folder, or a matching link leads nowhere.
    StorageError
        When it is used and a folder or member can't be read, or links lead around in a circle.

    Warns
    -----
    DaskcacheWarning
        Once, if there are no members.

    Examples
    --------
    >>> count(FolderSource("raw", "*.tif"))                             # doctest: +SKIP
    >>> [measure(image) for image in FolderSource("raw", "**/*.tif")]   # doctest: +SKIP
    """

    def __init__(self, folder, pattern="*", source=None):
        check_local(folder, "a source")
        self.folder = os.path.abspath(folder)
        self.pattern = pattern
        self.source = source
        _components(pattern)
        if source is not None and not (isinstance(source, type) and issubclass(source, Source)):
            raise GraphError(
                "the members of a folder can't be made sources",
                expected="a class, such as daskcache.ImageSource",
                got=repr(source),
            )
        super().__init__(os.path.join(self.folder, pattern))

    def names(self) -> list[str]:
        """Paths of the members from the folder, with ``/`` between names, sorted."""
        try:
            return sorted(set(_matches(self.folder, _components(self.pattern))))
        except OSError as error:
            expected = "an existing folder, and links that lead somewhere"
            raise source_error(error, error.filename or self.folder, expected) from error

    def get_data(self, cache: bool = False) -> list[Path]:
        """Paths of the members."""
        return self._paths(self.names())

    def content_hash(self) -> str:
        """Hash of the members' names and content; only members that were touched are read again."""
        names = self.names()
        if not names:
            _warn_of_no_members(self.path)
        return self._joint_hash(names, content_hash)

    def load_verified(self, expected: str) -> list[Path]:
        names = self.names()
        self._compare(self._joint_hash(names, fresh_hash), expected)
        return self._paths(names)

    def verify(self, expected: str) -> None:
        self.load_verified(expected)

    def identify(self, content_hash: str) -> str:
        members = self.source.__name__ if self.source else "by suffix"
        return f"{type(self).__name__}:{members}:{tag(content_hash)}"

    def __daskcache_options__(self):
        return {"pattern": self.pattern} | ({"source": self.source} if self.source else {})

    def _joint_hash(self, names, hash_file):
        return hash_value([(name, hash_file(f"{self.folder}/{name}")) for name in names])

    def _paths(self, names):
        return [Path(self.folder, name) for name in names]

    def __iter__(self) -> Iterator[Source]:
        for path in self.get_data():
            yield (self.source or source_class(path.name))(path)

    def __len__(self) -> int:
        return len(self.names())

    def __daskcache_path__(self):
        return self.folder

    def __repr__(self):
        members = f", source={self.source.__name__}" if self.source else ""
        return f"FolderSource({self.folder!r}, {self.pattern!r}{members})"


def _components(pattern):
    """The parts of a pattern between the slashes."""
    parts = tuple(pattern.split("/"))
    if any(part in ("", ".", "..") for part in parts):
        raise GraphError(
            f"the pattern {pattern!r} does not say what to look for below a folder",
            expected='names and wildcards, such as "*.tif" or "**/*.tif"',
            got=repr(pattern),
        )
    return (*parts, "*") if parts[-1] == "**" else parts


def _matches(folder, parts):
    """Paths from `folder` of the files that match, some more than once.

    Links that lead around in a circle end with an error: the system follows a few dozen in a path.
    """
    part, rest = parts[0], parts[1:]
    if part == "**":
        yield from _matches(folder, rest)
    with os.scandir(folder) as entries:
        for entry in entries:
            if not _fits(entry.name, part):
                continue
            if entry.is_symlink():
                os.stat(entry.path)  # a link that leads nowhere is an error, not one member less
            if not rest:
                if entry.is_file():
                    yield entry.name
            elif entry.is_dir():
                for name in _matches(entry.path, parts if part == "**" else rest):
                    yield f"{entry.name}/{name}"


def _fits(name, part):
    return fnmatchcase(name, part) and (name[0] != "." or part[0] == ".")


@functools.cache
def _warn_of_no_members(path):
    warnings.warn(f"no file matches {path}: the source is empty", DaskcacheWarning, stacklevel=2)
