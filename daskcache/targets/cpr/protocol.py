"""`Target` and `Resource` for formats of one's own that were written for CPR.

Such a class defines ``_read_data``, and a target also ``_hash_data`` and ``_write_data``.  They read and
write the file at ``get_path()``; ``_data`` holds what to write.  The class may take further fields, and
add them to what ``serialize`` returns.  It is known by its name in JSON: see `serializer.register`.
"""

from __future__ import annotations

import abc
import copy
import inspect
import os
from typing import Any, ClassVar

from ...errors import FormatLimit, SourceMissing
from .. import base, resource
from ..addressed.base import _NOTHING, Addressed, check_file_name
from ..resource import is_file_name
from ..source import Source
from .serializer import register

_ADDRESS = ("location", "name", "ext")


class _Kind(abc.ABCMeta):
    """Metaclass of classes of which all sources or targets are instances, as in CPR."""

    def __instancecheck__(cls, instance):
        return isinstance(instance, vars(cls).get("_of_cpr", ())) or super().__instancecheck__(instance)


class _ByFields:
    """Mixin for classes that are made from CPR's fields and fields of their own."""

    in_fields = True
    address_fields: ClassVar[dict[str, Any]]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.address_fields = _further_fields(cls)
        if "<locals>" not in cls.__qualname__:
            register(f"{cls.__module__}.{cls.__qualname__}", f"{cls.__module__}:{cls.__qualname__}")

    @classmethod
    def at_address(cls, location: str, name: str, ext: str | None = None, **fields: Any) -> Any:
        make: Any = cls
        return make(location=location, name=name, ext=ext, **fields)

    def _take(self, fields):
        """Set fields that a mixin of the class, such as `Metadata`, has."""
        for name, value in fields.items():
            if not hasattr(type(self), name):
                raise TypeError(f"{type(self).__name__}() got an unexpected field {name!r}")
            setattr(self, name, value)


def _further_fields(cls):
    """Return the parameters of the constructor after the address, with their defaults."""
    found = {}
    for each in cls.__mro__:
        parameters = inspect.signature(each.__init__).parameters if "__init__" in vars(each) else {}
        for name, parameter in parameters.items():
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                found.setdefault(
                    name, None if parameter.default is parameter.empty else parameter.default
                )
        if parameters and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            break  # the constructor passes no fields on
    return {name: default for name, default in found.items() if name not in ("self", "path", *_ADDRESS)}


class Target(_ByFields, Addressed, metaclass=_Kind):
    """A result of a task, in a format that a subclass defines as in CPR.

    See Also
    --------
    daskcache.targets.addressed.base.Addressed : the methods that it has, and where its file is.

    Examples
    --------
    >>> from daskcache.cpr import Target
    >>> class Words(Target):
    ...     def _read_data(self):
    ...         return Path(self.get_path()).read_text().split()
    ...     def _hash_data(self, words):
    ...         return dc.hash_objects(words)
    ...     def _write_data(self):
    ...         if self._data is not None and not os.path.exists(self.get_path()):
    ...             Path(self.get_path()).write_text(" ".join(self._data))
    >>> words = Words.from_path("words.txt")
    >>> words.set_data(["two", "cells"])
    >>> fields = words.serialize()
    >>> Words(**fields).get_data()
    ['two', 'cells']
    """

    _of_cpr = base.Target

    def __init__(self, location, name, ext=None, data_hash=None, **fields):
        super().__init__(location, name, "" if ext is None else ext, data_hash)
        self._take(fields)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.plain = cls

    @abc.abstractmethod
    def _read_data(self) -> Any:
        """Return the data in the file at ``get_path()``."""

    @abc.abstractmethod
    def _hash_data(self, data: Any) -> str:
        """Return the hash of data, which becomes part of the file's name."""

    @abc.abstractmethod
    def _write_data(self) -> None:
        """Write ``_data`` to the file at ``get_path()``."""

    @classmethod
    def checked_ext(cls, ext):
        return ext

    def hash_data(self, data):
        hashed = self._hash_data(data)
        if not (isinstance(hashed, str) and is_file_name(f"x{hashed}")):
            raise FormatLimit(
                f"{type(self).__name__}._hash_data() returned no text for the name of a file",
                expected="hex digits",
                got=repr(hashed)[:100],
            )
        return hashed

    def serialize(self):
        self.save()
        return {**self._shown(), "data_hash": self.data_hash}

    def describe(self):
        return self._twin(_NOTHING, self.data_hash, self.location).serialize()

    def write(self, value, path):
        self._at(path, value)._write_data()

    def read(self, path):
        return self._at(path, _NOTHING)._read_data()

    def _at(self, path, data):
        """Return a copy for the file `path`, which has the name of this one's in another folder."""
        folder, file = os.path.split(path)
        hashed = file.removeprefix(f"{self.name}-")
        return self._twin(data, hashed[: len(hashed) - len(self.ext)], folder)

    def _twin(self, data, hashed, location):
        twin = copy.copy(self)
        twin._data, twin._hash, twin.location = data, hashed, location
        return twin


class Resource(_ByFields, Source, metaclass=_Kind):
    """An existing file, in a format that a subclass defines as in CPR.

    Examples
    --------
    >>> from daskcache.cpr import Resource
    >>> class WordsSource(Resource):
    ...     def _read_data(self):
    ...         return Path(self.get_path()).read_text().split()
    >>> _ = Path("notes.txt").write_text("two cells")
    >>> WordsSource.from_path("notes.txt").get_data()
    ['two', 'cells']
    """

    _of_cpr = resource.Resource

    def __init__(self, location, name, ext=None, **fields):
        ext = "" if ext is None else ext
        check_file_name(name, ext)
        super().__init__(os.path.join(location, f"{name}{ext}"))
        vars(self).update(location=os.fspath(location), name=name, ext=ext)
        self._take(fields)

    @abc.abstractmethod
    def _read_data(self) -> Any:
        """Return the data in the file at ``get_path()``."""

    def get_data(self, cache: bool = False) -> Any:
        if not os.path.lexists(self.path):
            raise SourceMissing("the file of a source does not exist", target=self.path)
        return self._kept(self._read_data(), cache)

    def load_verified(self, expected):
        self.verify(expected)
        return self._read_data()

    def serialize(self):
        return {name: getattr(self, name) for name in _ADDRESS}

    def __daskcache_options__(self):
        return {name: value for name, value in self.serialize().items() if name not in _ADDRESS}
