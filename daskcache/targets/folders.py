"""`FolderSource`: the files of a folder as one input.

`source.Source` is the input of a single file, and `sources` finds files with fields in their names.
`storage.source_hashes` remembers the hashes of members.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from ..errors import DaskcacheWarning, GraphError
from ..hashing.encoder import hash_value, tag
from ..storage.roots import check_local
from ..storage.source_hashes import content_hash, fresh_hash, source_error
from .registry import source_class
from .resource import name_with_code
from .source import Source


class FolderSource(Source):
    """The files of a folder that match a pattern, as one input.

    A decorated function receives a sorted list of the members' absolute `pathlib.Path`.  A parameter
    annotated with ``FolderSource`` receives the source itself.

    The source is identified by its members: their paths from the folder and their content.  So a node
    made from it reruns when a member is added, removed, renamed or edited.  Nothing else counts, not
    even the folder's own name.

    Iterating yields a source for each member, so that each can have a separate node.

    Parameters
    ----------
    folder : str or os.PathLike
        The folder.  A relative path is taken from the current folder.
    pattern : str
        Pattern as in a shell: ``*``, ``?`` and ``[…]`` within a name, ``**`` for any number of folders.
        Upper and lower case differ.  Names that begin with a dot match only if the pattern has the dot.
        Folders, pipes and devices are not members.  Symbolic links are followed.
    source : type of Source, optional
        Class of the members when iterated over.  By default, the suffix decides; members with an
        unknown suffix are of class `FileSource`.

    Raises
    ------
    GraphError
        If the pattern could match nothing below the folder, or `source` is not a subclass of `Source`.
    SourceMissing
        When the source is used and the folder does not exist, or a matching link leads nowhere.
    StorageError
        If the folder is a URL.  When the source is used and a folder or member can't be read, or links
        form a circle.

    Warns
    -----
    DaskcacheWarning
        Once for each folder and pattern without members.

    Examples
    --------
    >>> Path("raw").mkdir()
    >>> for name in ("a", "b"):
    ...     _ = Path(f"raw/{name}.txt").write_text(name)
    >>> folder = dc.FolderSource("raw", "*.txt")
    >>> [source.stem for source in folder]
    ['a', 'b']
    >>> @dc.delayed
    ... def count(folder):
    ...     return len(folder)
    >>> count(folder).compute()
    2
    """

    def __init__(
        self, folder: str | os.PathLike[str], pattern: str = "*", source: type[Source] | None = None
    ):
        check_local(folder, "a source")
        self.folder = os.path.abspath(folder)
        self.pattern = pattern
        self.source = source
        _components(pattern)
        check_source_class(source)
        super().__init__(os.path.join(self.folder, pattern))

    def names(self) -> list[str]:
        """Return the members' paths from the folder, with ``/`` between names, sorted.

        Returns
        -------
        list of str
            One path for each member.
        """
        try:
            return sorted(set(matches(self.folder, _components(self.pattern))))
        except OSError as error:
            expected = "an existing folder, and links that lead somewhere"
            raise source_error(error, error.filename or self.folder, expected) from error

    def get_data(self, cache: bool = False) -> list[Path]:
        """Return the members' absolute paths, sorted.

        Parameters
        ----------
        cache : bool
            True to keep the paths in the attribute ``_data`` as well, as CPR does.

        Returns
        -------
        list of pathlib.Path
            One path for each member.
        """
        return self._kept(self._paths(self.names()), cache)

    def content_hash(self) -> str:
        """Return the joint hash of the members' names and content: 32 hex digits.

        Only members that were touched are read again.

        Returns
        -------
        str
            32 hex digits.
        """
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
        members = name_with_code(self.source, self.source.__name__) if self.source else "by suffix"
        return f"{type(self).__name__}:{members}:{tag(content_hash)}"

    def __daskcache_options__(self):
        return {"pattern": self.pattern} | ({"source": self.source} if self.source else {})

    def __daskcache_members__(self):
        names = self.names()
        if len(names) > MAX_MEMBERS:
            return {}
        return {name: content_hash(f"{self.folder}/{name}")[:8] for name in names}

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


def check_source_class(source: type[Source] | None) -> None:
    """Raise GraphError if the class of members is neither None nor a class of sources."""
    if source is not None and not (isinstance(source, type) and issubclass(source, Source)):
        raise GraphError(
            "the members of a folder can't be made sources",
            expected="a class, such as daskcache.ImageSource",
            got=repr(source),
        )


#: Number of members of an input that are told apart in records: some kilobytes.
MAX_MEMBERS = 1000


def _components(pattern):
    """Return the parts of a pattern between the slashes, and raise GraphError if they can't match."""
    parts = tuple(pattern.split("/"))
    if any(part in ("", ".", "..") for part in parts):
        raise GraphError(
            f"the pattern {pattern!r} does not say what to look for below a folder",
            expected='names and wildcards, such as "*.tif" or "**/*.tif"',
            got=repr(pattern),
        )
    return (*parts, "*") if parts[-1] == "**" else parts


def matches(
    folder: str, parts: tuple[str, ...], is_member: Callable[[os.DirEntry], bool] = os.DirEntry.is_file
) -> Iterator[str]:
    """Yield the paths, from `folder`, of the files that match; some more than once.

    Links that form a circle end with an error, as the system follows only a few dozen links in a path.

    Parameters
    ----------
    folder : str
    parts : tuple of str
        One shell pattern for each name in a path; ``**`` stands for any number of folders.
    is_member : callable
        Tests if an entry of a folder is a member.
    """
    part, rest = parts[0], parts[1:]
    if part == "**":  # any number of folders: none here, one or more by keeping `parts` below
        yield from matches(folder, rest, is_member)
    with os.scandir(folder) as entries:
        for entry in entries:
            if not _fits(entry.name, part):
                continue
            if entry.is_symlink():
                os.stat(entry.path)  # a link that leads nowhere is an error, not a missing member
            if not rest:
                if is_member(entry):
                    yield entry.name
            elif entry.is_dir():
                for name in matches(entry.path, parts if part == "**" else rest, is_member):
                    yield f"{entry.name}/{name}"


def _fits(name, part):
    return fnmatchcase(name, part) and (name[0] != "." or part[0] == ".")


@functools.cache
def _warn_of_no_members(path):
    warnings.warn(f"no file matches {path}: the source is empty", DaskcacheWarning, stacklevel=2)
