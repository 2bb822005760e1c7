"""`sources`: the files that a pattern finds, with the fields in their paths, as a sequence of sources.

`patterns` reads the paths, and `fields` says where the fields go.  The sequence is one input where it is
passed as a whole, like the folder of `folders.FolderSource`.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, SupportsIndex, overload

from ..dataframes import frame_of
from ..errors import GraphError, PatternError, did_you_mean
from ..hashing.encoder import hash_value, tag
from ..hashing.names import imported
from ..storage.roots import check_local
from ..storage.source_hashes import source_error
from ..tracebacks import shortened
from .fields import Fields, agreed, withheld
from .folders import MAX_MEMBERS, check_source_class, matches
from .overview import as_html, as_text, grouped, in_order
from .patterns import Pattern, split
from .registry import source_class
from .source import Source
from .unreadable import reading


@shortened
def sources(
    pattern: str | os.PathLike[str], /, source: type[Source] | None = None, **options: Any
) -> Sources:
    """Find the files that match a pattern, with fields read from their paths.

    The fields name results, in templates such as ``"denoised/{image.plate}/{image.well}.tif"``.  They go
    on from node to node, where all direct inputs agree on them.  They are not part of any key, and
    functions don't get them.  If a result depends on one, pass it as an argument:
    ``measure(image, well=image.fields["well"])``.

    ============  ==========================================================================
    in a pattern  matches
    ============  ==========================================================================
    ``{well}``    any text without ``/``, of one or more characters
    ``{well:3}``  three characters
    ``{well:w}``  letters and digits
    ``{row:l}``   letters
    ``{site:d}``  an integer, with or without zeros in front; ``{site:3d}`` if of three digits
    ``*``         any text without ``/``, or none
    ``**``        any number of folders, alone between slashes
    ============  ==========================================================================

    Everything else stands for itself, and ``{{`` and ``}}`` for braces.  A field that occurs twice has
    one value.  Files that don't match are left out.  Names that begin with a dot match only if the
    pattern has the dot.  Upper and lower case differ.  Links are followed.

    Parameters
    ----------
    pattern : str or os.PathLike
        The pattern, absolute or from the current folder.
    source : type of Source, optional
        Class of the sources.  By default, the suffix decides, and files with an unknown suffix are of
        class `FileSource`.
    **options : object
        Further arguments of the class, the same for each source.

    Returns
    -------
    Sources
        The sources, in the order of their paths.  Numbers in names count as numbers, so ``z2`` comes
        before ``z10``.

    Raises
    ------
    PatternError
        If the pattern is malformed, or matches a file in two ways.
    SourceMissing
        If no file matches, or a matching link leads nowhere.
    GraphError
        If `source` is not a subclass of `Source`.
    StorageError
        If the pattern is a URL, or a folder can't be read.
    TypeError
        If the class does not take the options.

    Examples
    --------
    >>> Path("raw").mkdir()
    >>> for name in ("p1_A01", "p1_B02", "p2_A01"):
    ...     _ = Path(f"raw/{name}.txt").write_text(name)
    >>> wells = dc.sources("raw/{plate}_{well}.txt")
    >>> wells[0].fields
    {'plate': 'p1', 'well': 'A01'}
    >>> @dc.delayed(target="size/{text.plate}/{text.well}.json")
    ... def size(text):
    ...     return len(text)
    >>> dc.compute([size(well) for well in wells])[0]
    [6, 6, 6]
    >>> @dc.delayed(target="joined/{texts.plate}.txt")
    ... def join(texts):
    ...     return " ".join(texts)
    >>> dc.compute([join(group) for plate, group in wells.group_by("plate").items()])[0]
    ['p1_A01 p1_B02', 'p2_A01']
    """
    text = os.fspath(pattern).replace(os.sep, "/")
    check_local(text, "a source")
    folder, below = split(text)
    return Sources(folder, below, source=source, options=options)


class Sources(Source, Sequence[Source]):
    """The files that a pattern finds, as a sequence of sources.  `sources` makes it.

    It does not change when files are added or removed later.  A slice is a `Sources`, too.

    Passed to a decorated function as a whole, it is one input: the function receives a list of the data,
    in the order of the sources.  A parameter annotated with ``Sources`` receives the sequence, without
    fields, to read one file at a time.  A node made from it reruns when a file is added, removed,
    renamed or edited, and `why` names the file.  Each file counts by its name and content, as it does
    alone, so neither the folder nor the pattern counts.

    Parameters
    ----------
    folder : str or os.PathLike
        The folder with the files.  A relative path is taken from the current folder.
    pattern : str
        Pattern for paths below the folder, as `sources` takes it.
    source : type of Source, optional
        Class of the sources.  By default, the suffix decides.
    options : dict, optional
        Further arguments of the class.

    Attributes
    ----------
    fields : dict of str to list
        The values of each field, in the order of the sources.
    left_out : tuple of str
        Paths from the folder of the files that were left out only because a field has a format, as
        ``{site:d}``, or occurs twice.

    Raises
    ------
    PatternError, SourceMissing, GraphError, StorageError, TypeError
        As `sources`.

    Examples
    --------
    >>> Path("raw").mkdir()
    >>> for name in ("z1", "z2", "z10"):
    ...     _ = Path(f"raw/{name}.txt").write_text(name)
    >>> planes = dc.sources("raw/z{z:d}.txt")
    >>> planes.fields
    {'z': [1, 2, 10]}
    >>> planes[1:].get_data()
    ['z2', 'z10']
    """

    def __init__(self, folder, pattern, source=None, options=None):
        self._set(folder, pattern, source, options)
        try:
            read = [(name, self._pattern.read(name)) for name in self._find()]
        except PatternError as error:
            error.target = self._path(error.target)
            raise
        self._names = tuple([name for name, values in read if values is not None])
        self._values = tuple([values for _, values in read if values is not None])
        self.left_out = tuple([name for name, values in read if values is None])
        if not self._names:
            none_matches = imported("daskcache.targets.near_misses:none_matches")
            raise none_matches(self.folder, self._pattern, self.left_out)
        self[0]  # a class that does not take the options says so now

    def _set(self, folder, pattern, source=None, options=None):
        check_local(folder, "a source")
        check_source_class(source)
        super().__init__(os.path.join(folder, pattern))
        self.folder = os.path.abspath(folder)
        self.source = source
        self.options = dict(options or {})
        self._pattern = Pattern(pattern)

    def _find(self):
        def is_member(entry):
            return entry.is_file() or (
                entry.is_dir() and (self.source or source_class(entry.name)).of_folder
            )

        try:
            found = set(matches(self.folder, self._pattern.globs, is_member))
        except OSError as error:
            if not os.path.isdir(self.folder):
                return []
            expected = "folders that can be read, and links that lead somewhere"
            raise source_error(error, error.filename or self.folder, expected) from error
        return sorted(found, key=in_order)

    @property
    def fields(self) -> dict[str, list[str | int]]:
        if self._values is None:
            raise withheld(self)
        columns = zip(*self._values, strict=True) if self._values else [()] * len(self._pattern.fields)
        return {name: list(column) for name, column in zip(self._pattern.fields, columns, strict=True)}

    def group_by(self, *names: str) -> dict[Any, Sources]:
        """Split the sources by the values of fields.

        Parameters
        ----------
        *names : str
            Names of one or more fields.

        Returns
        -------
        dict
            The sources with the same values.  Keys are the values of one field, or tuples of those of
            several, in order.

        Raises
        ------
        GraphError
            If no name is given, or the pattern has no such field.

        Examples
        --------
        >>> Path("raw").mkdir()
        >>> for name in ("p1_A01", "p1_B02", "p2_A01"):
        ...     _ = Path(f"raw/{name}.txt").write_text(name)
        >>> wells = dc.sources("raw/{plate}_{well}.txt")
        >>> {plate: len(group) for plate, group in wells.group_by("plate").items()}
        {'p1': 2, 'p2': 1}
        >>> list(wells.group_by("plate", "well"))
        [('p1', 'A01'), ('p1', 'B02'), ('p2', 'A01')]
        """
        columns = self.fields
        for name in names or [""]:
            if name not in columns:
                raise GraphError(
                    f"can't group the files of {self._pattern.text!r} by {name or 'nothing'}",
                    expected=f"fields of the pattern: {', '.join(columns) or 'it has none'}",
                    hint=did_you_mean(name, columns),
                )
        groups = grouped([columns[name] for name in names])
        return {key: self._at(positions) for key, positions in groups.items()}

    def to_frame(self) -> Any:
        """Return a data frame with a row for each source: its path, and a column for each field.

        Returns
        -------
        pandas.DataFrame
            Paths are absolute.  Columns of integers have the dtype int64.

        Raises
        ------
        MissingExtra
            If pandas is not installed.
        """
        return frame_of({"path": [self._path(name) for name in self._names], **self.fields})

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Source: ...
    @overload
    def __getitem__(self, index: slice) -> Sources: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._at(range(len(self))[index])
        return self._member(operator.index(index))

    def __iter__(self) -> Iterator[Source]:
        return map(self._member, range(len(self)))

    def _member(self, i):
        name = self._names[i]
        member = (self.source or source_class(name))(self._path(name), **self.options)
        if self._pattern.fields:
            values = self._values and dict(zip(self._pattern.fields, self._values[i], strict=True))
            vars(member)["_fields_found"] = values
        return member

    def _at(self, indices: Iterable[int]) -> Sources:
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__getstate__())
        twin.left_out = ()
        twin._names = tuple([self._names[i] for i in indices])
        twin._values = self._values and tuple([self._values[i] for i in indices])
        return twin

    def _path(self, name):
        return os.path.join(self.folder, name)

    def get_data(self, cache: bool = False) -> list[Any]:
        """Read the files, each time.

        Parameters
        ----------
        cache : bool
            True to keep the data in the attribute ``_data`` as well, as CPR does.

        Returns
        -------
        list
            The data of each source, in order.
        """
        return self._kept([member.get_data() for member in self], cache)

    def content_hash(self) -> str:
        """Return the joint hash of the files' names and content: 32 hex digits.

        Only files that were touched are read again.

        Returns
        -------
        str
            32 hex digits.
        """
        return self._hashed()[0]

    def _hashed(self, expected=None):
        """Return the joint hash, and each source with the hash of its content."""
        hashed = [(member, member.content_hash()) for member in self]
        joint = hash_value([member.identify(content) for member, content in hashed])
        if expected is not None:
            self._compare(joint, expected)
        return joint, hashed

    def load_verified(self, expected: str) -> list[Any]:
        data = []
        for member, content in self._hashed(expected)[1]:
            with reading(member):
                data.append(member.load_verified(content))
        return data

    def verify(self, expected: str) -> None:
        for member, content in self._hashed(expected)[1]:
            member.verify(content)

    def __daskcache_heritages__(self, expected):
        _, hashed = self._hashed(expected)
        found = []
        for member, content in hashed:
            with reading(member):
                found += member.__daskcache_heritages__(content)
        return found

    def identify(self, content_hash: str) -> str:
        return f"{type(self).__name__}:{tag(content_hash)}"

    def __daskcache_options__(self):
        options = {"pattern": self._pattern.text, "source": self.source, "options": self.options}
        return {name: option for name, option in options.items() if option}

    def __daskcache_members__(self):
        if len(self) > MAX_MEMBERS:
            return {}
        return {name: member.content_hash()[:8] for name, member in zip(self._names, self, strict=True)}

    @classmethod
    def __daskcache_restore__(cls, path, options, members):
        if not members:
            raise ValueError("the record does not name the files")
        found = object.__new__(cls)
        found._set(path, **options)
        found._names, found._values, found.left_out = tuple(members), None, ()
        return found

    def __daskcache_path__(self):
        return self.folder

    def __daskcache_fields__(self) -> Fields:
        if not self._values:
            return {}
        return agreed([dict(zip(self._pattern.fields, each, strict=True)) for each in self._values])

    def __daskcache_values__(self, name):
        return list(dict.fromkeys(self.fields.get(name, ()))) if self._values else []

    def __daskcache_without_fields__(self):
        twin = self._at(range(len(self)))
        twin._values = None
        return twin

    def __eq__(self, other):
        return type(self) is type(other) and self._all() == other._all()

    def __hash__(self):
        return hash((self.path, self._names))

    def _all(self):
        return self.path, self._names, self.source, self.options

    def __repr__(self):
        return as_text(self.path, len(self), self.left_out, self._columns())

    def _repr_html_(self):
        return as_html(self.path, len(self), self.left_out, self._columns())

    def _columns(self):
        return {} if self._values is None else self.fields
