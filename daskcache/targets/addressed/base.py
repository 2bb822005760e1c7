"""Addressed targets: targets at ``location/name-{data_hash}`` + ``ext``, as in CPR.

The path of a node's target comes from a template, and a record describes its content.  An addressed
target holds its data until it is saved.  The hash of the data is in its path, which is enough to verify
the file.  `formats` has CPR's own formats.  `daskcache.targets.base` and
`daskcache.targets.cpr.serializer` make addressed targets from a path or from JSON.
"""

from __future__ import annotations

import copy
import functools
import inspect
import os
import shutil
import uuid
from typing import Any, ClassVar

from ...errors import DaskcacheError, GraphError, TargetCorrupt, TargetMissing, UnsafePath
from ...hashing.encoder import short_digest
from ...hashing.names import imported, public_name
from ...storage.atomic import entered
from ...storage.files import storage_error
from ...storage.roots import check_local
from ...storage.trust import check_runnable
from ..base import Target
from ..resource import is_file_name

_NOTHING: Any = type("Nothing", (), {"__repr__": lambda self: "no data"})()


@functools.cache
def twin_of(plain: type[Target]) -> Any:
    """Return the class of addressed targets for the format `plain`."""
    if plain.has_address:
        return plain
    if plain.gives_path:
        raise GraphError(
            f"{plain.__name__} may hold its own path as data, so it can't have an address",
            expected="a format of data, such as .tif or .npy",
            hint="let a node write the file: delayed(target=...)",
        )
    if plain.in_database or inspect.isabstract(plain):
        raise GraphError(
            f"{plain.__name__} is not for files, so it can't have an address", expected="a file format"
        )
    mixin = imported(plain._addressed)
    # daskcache's own are found, and so pickled, by their names in `daskcache.cpr`
    is_own = plain.__module__.startswith("daskcache.targets.")
    about = {
        "__module__": _CPR if is_own else plain.__module__,
        "__qualname__": plain.__qualname__,
        "__doc__": mixin.__doc__,
        "plain": plain,
    }
    made: Any = type(plain)
    return made(plain.__name__, (mixin, plain), about)


_CPR = "daskcache.targets.cpr"


class Addressed(Target):
    """A target that holds its data, and is saved at an address with the data's hash, as in CPR.

    `set_data` gives it data.  `serialize`, encoding as JSON and pickling save them to
    ``location/name-{data_hash}`` + ``ext``.  An existing file is never written again, because other data
    have another hash and so another file.  `get_data` reads the file and compares the hash.

    Parameters
    ----------
    location : str
        The folder.  A relative path is taken from the current folder.
    name, ext : str
        File name without the hash, and suffix.  Tables have ``.csv`` by default.
    data_hash : str, optional
        Hash of the saved data: 16 hex digits (of xxh3_64).

    Raises
    ------
    GraphError
        If the format does not have the suffix.
    UnsafePath
        If name and suffix don't make a file name.
    StorageError
        If the location is a URL.
    """

    has_address: ClassVar[bool] = True
    plain: ClassVar[type[Target]]

    def __init__(self, location, name, ext=None, data_hash=None):
        ext = self.checked_ext(ext)
        check_file_name(name, ext)
        check_local(location, "a target")
        super().__init__(os.path.join(location, f"{name}{ext}"))
        self.location, self.name, self.ext = os.fspath(location), name, ext
        self._hash = data_hash
        self._data = _NOTHING

    # -- data ---------------------------------------------------------------------------------------

    @property
    def data_hash(self) -> str | None:
        """Hash of the data; None without data."""
        return self._hash if self._data is _NOTHING else self.hash_data(self._data)

    @data_hash.setter
    def data_hash(self, value):
        self._hash = value

    def set_data(self, data: Any) -> None:
        """Set the data, which are saved when the target is serialized."""
        self._data = data

    def get_data(self, cache: bool = False) -> Any:
        """Return the data that were set, or else those in the file.

        Parameters
        ----------
        cache : bool
            Without effect: the file is read and verified each time.

        Raises
        ------
        GraphError
            If the target doesn't have data yet.
        TargetMissing
            If the file is gone.
        TargetCorrupt
            If the file is not as it was stored.
        UntrustedPickle, StorageError
            If the file is a pickle that is not trusted, or can't be read.
        """
        if self._data is not _NOTHING:
            return self._data
        path = self.get_path()
        if not os.path.lexists(path):
            raise TargetMissing(
                "the file at the address of a target does not exist",
                target=path,
                expected=f"data with the hash {self._hash}",
                hint="compute it again; a relative path is meant from the folder where it was made",
            )
        return self._checked(path, self._hash)

    def compute_data_hash(self) -> None:
        """Do nothing: `data_hash` always follows the data.  Part of CPR's interface."""

    def get_path(self) -> str:
        """Return the path of the file, with the hash of the data.

        Raises
        ------
        GraphError
            If the target doesn't have data yet.
        """
        return self._path_with(self.data_hash)

    def serialize(self) -> dict[str, Any]:
        """Save the data, unless they are saved already, and release them.

        Returns
        -------
        dict
            Fields of the target's JSON.

        Raises
        ------
        FormatLimit
            If the format can't hold the data.
        TargetCorrupt
            If the file at the address holds something else.
        StorageError
            If the operating system refuses.
        """
        self.save()
        return self.describe()

    def describe(self) -> dict[str, Any]:
        """Return the dict that `serialize` returns, without saving anything."""
        return {**self._shown(), "data_hash": self.data_hash}

    def save(self) -> None:
        """Save the data, unless they are saved already; see `serialize`."""
        if self._data is _NOTHING:
            return
        data, hashed = self._data, self.data_hash
        self._save(data, hashed)
        self._hash, self._data = hashed, _NOTHING

    def hash_data(self, data: Any) -> str:
        """Return the hash of data (16 hex digits): CPR's own for the formats that CPR has."""
        return short_digest(self.hash(data).encode())

    # -- the file -----------------------------------------------------------------------------------

    def _path_with(self, hashed):
        if hashed is None:
            raise GraphError(
                f"{self!r} has no data yet", hint="call set_data(data) first, or give it its data_hash"
            )
        return os.path.join(self.location, f"{self.name}-{hashed}{self.ext}")

    def _save(self, data, hashed):
        path = self._path_with(hashed)
        if os.path.lexists(path):
            self._checked(path, hashed)  # it must hold these data
            return
        folder, name = os.path.split(os.path.abspath(path))
        # a folder for the part, so that the file is written under its final name
        own = f"{folder}/.{uuid.uuid4().hex[:16]}.part"
        try:
            os.makedirs(own)
            self._write_checked(data, f"{own}/{name}", hashed)
            with entered(folder, "") as opened:
                opened.put_new(f"{own}/{name}", name)
        except FileExistsError:  # another writer was faster
            self._checked(path, hashed)
        except DaskcacheError as error:
            error.target = error.target or path
            raise
        except OSError as error:
            raise storage_error(error, error.filename or path) from error
        finally:
            shutil.rmtree(own, ignore_errors=True)

    def _write_checked(self, data, path, hashed):
        """Write data to a new file, and raise FormatLimit if other data are read back."""
        self.write(data, path)
        try:
            same = self.hash_data(self.read(path)) == hashed
        except Exception as error:
            raise self.limit(data, f"it can't be read back ({error})", _TO_PICKLE) from error
        if not same:
            raise self.limit(data, "other data would be read back", _TO_PICKLE)

    def _checked(self, path, hashed):
        """Return the data in a file, and raise unless they have this hash."""
        try:
            if self.runs_code:
                check_runnable(path)
            data = self.read(path)
            got = self.hash_data(data)
        except DaskcacheError:
            raise
        except Exception as error:
            # without a number it is a library's error, about the content of the file
            if isinstance(error, OSError) and error.errno is not None:
                raise storage_error(error, path) from error
            raise _corrupt(path, hashed, error) from error
        if got != hashed:
            raise _corrupt(path, hashed, got)
        return data

    # -- what Python does with it -------------------------------------------------------------------

    def at(self, path):
        raise GraphError(
            f"{self!r} has an address of its own, and can't be a node's target",
            hint=f"give the node a path template: {type(self).__name__}('folder/{{key}}{self.ext}')",
        )

    def __reduce__(self):
        self.save()  # only a handle is pickled, without the data
        return _restored, (
            self.plain,
            {name: value for name, value in vars(self).items() if name != "_data"},
        )

    def __copy__(self):
        return _restored(self.plain, vars(self))

    def __deepcopy__(self, memo):
        return _restored(self.plain, copy.deepcopy(vars(self), memo))

    def __eq__(self, other):
        return type(self) is type(other) and self.describe() == other.describe()

    def __hash__(self):
        return hash((self.plain, self.location, self.name, self.ext))

    def __repr__(self):
        fields = [f"{name}={value!r}" for name, value in self._shown().items() if value is not None]
        return f"{self.plain.__name__}({', '.join(fields)})"

    def _repr_html_(self):
        from ..thumbnail import target_html  # imports all formats

        return target_html(self, self.path if self._hash is None else self._path_with(self._hash))

    def _shown(self):
        return {"location": self.location, "name": self.name, "ext": self.ext, "data_hash": self._hash}

    def __daskcache_path__(self):
        return os.path.join(self.location, f"{self.name}{self.ext}")

    def __daskcache_encode__(self, encoder):
        encoder.parts.append(b"target")
        described = self.describe()
        if described["data_hash"] is not None:  # the content counts, not where it is
            del described["location"]
        encoder.add((public_name(self.plain), described))


def _restored(plain, state):
    target = object.__new__(twin_of(plain))
    target.__dict__.update({"_data": _NOTHING, **state})
    return target


def check_file_name(name: Any, ext: Any) -> None:
    """Raise `UnsafePath` unless name and suffix make a plain file name, without separators."""
    if not (isinstance(name, str) and isinstance(ext, str) and is_file_name(f"{name}{ext}")):
        raise UnsafePath(
            "this is not a file name",
            expected="name and suffix without separators",
            got=f"{name!r}, {ext!r}",
        )


def _corrupt(path, hashed, got):
    return TargetCorrupt(
        "the file at the address of a target does not hold its data: it was damaged, or edited, or an "
        "object of that format is hashed otherwise now (config daskcache.hash)",
        target=path,
        expected=hashed,
        got=got,
        hint="move the file away, and compute it again",
    )


_TO_PICKLE = "use a Target for another format, e.g. Target.from_path('….pkl')"
