"""Which class reads and writes which suffix.  Classes are named by text and imported when needed."""

from __future__ import annotations

import operator
from importlib import import_module

from ..databases import SEPARATOR
from ..errors import UnknownFormat

_TARGETS = {
    ".npy": "daskcache.targets.arrays:NumpyTarget",
    ".npz": "daskcache.targets.arrays:NumpyTarget",
    ".tif": "daskcache.targets.images:ImageTarget",
    ".tiff": "daskcache.targets.images:ImageTarget",
    ".csv": "daskcache.targets.tables:CSVTarget",
    ".parquet": "daskcache.targets.tables:ParquetTarget",
    ".zarr": "daskcache.targets.zarrs:ZarrTarget",
    ".ome.zarr": "daskcache.targets.ome_zarr:OMEZarrTarget",
    ".json": "daskcache.targets.objects:JSONTarget",
    ".txt": "daskcache.targets.text:TextTarget",
    ".pkl": "daskcache.targets.objects:PickleTarget",
    ".pickle": "daskcache.targets.objects:PickleTarget",
    "": "daskcache.targets.objects:PickleTarget",
}

#: Before anybody registers another class.
_OWN = dict(_TARGETS)

_SOURCES = {
    ".npy": "daskcache.targets.arrays:NumpySource",
    ".npz": "daskcache.targets.arrays:NumpySource",
    ".tif": "daskcache.targets.images:ImageSource",
    ".tiff": "daskcache.targets.images:ImageSource",
    ".png": "daskcache.targets.images:ImageSource",
    ".jpg": "daskcache.targets.images:ImageSource",
    ".jpeg": "daskcache.targets.images:ImageSource",
    ".csv": "daskcache.targets.tables:CSVSource",
    ".parquet": "daskcache.targets.tables:ParquetSource",
    ".json": "daskcache.targets.objects:JSONSource",
    ".txt": "daskcache.targets.text:TextSource",
    ".zarr": "daskcache.targets.zarrs:ZarrSource",
    ".ome.zarr": "daskcache.targets.zarrs:ZarrSource",
}
# Not pickles: whoever means to load one names PickleSource.
_ANY_SOURCE = "daskcache.targets.base:FileSource"
_TABLE = "daskcache.targets.sql:SQLTarget"


def register_suffix(suffix: str, target: str) -> None:
    """Let `target`, a class named as ``"package.module:Class"``, handle paths with `suffix`.

    Examples
    --------
    >>> register_suffix(".ply", "meshtools.io:MeshTarget")     # doctest: +SKIP
    """
    if not suffix.startswith(".") or ":" not in target:
        raise UnknownFormat(
            f"can't register {suffix!r} for {target!r}",
            expected='a suffix such as ".ply" and a class such as "package.module:Class"',
        )
    _TARGETS[suffix.lower()] = target


def target_class(path: str):
    """The target class for `path`, by its suffix.

    Raises
    ------
    UnknownFormat
        If no class is registered for the suffix.
    """
    if SEPARATOR in path:
        return imported(_TABLE)
    suffix = suffix_of(path)
    try:
        text = _TARGETS[suffix]
    except KeyError:
        raise UnknownFormat(
            f"no target class is registered for the suffix {suffix!r} of {path!r}",
            expected=", ".join(sorted(filter(None, _TARGETS))) + ", or no suffix for a pickle",
            hint="name the class with delayed(store=...), or register the suffix with "
            "daskcache.register_suffix",
        ) from None
    return imported(text)


def is_of_folder(path: str) -> bool:
    """Whether what is registered for the suffix of `path` is a folder, not a file."""
    return suffix_of(path) in _TARGETS and target_class(path).is_folder


def read_as(target) -> tuple[str, dict] | None:
    """Class and options by which the files of `target` are read; None if their suffix says it all."""
    options = target.counted_options()
    name = f"{type(target).__module__}:{type(target).__qualname__}"
    return None if not options and name == _OWN.get(suffix_of(target.path)) else (name, options)


def source_class(path: str):
    """The source class for `path`, by its suffix; `FileSource` if there is none of its own."""
    return imported(_SOURCES.get(suffix_of(path), _ANY_SOURCE))


def suffix_of(path: str) -> str:
    """The longest registered suffix of `path` in lower case, or its last one if none is."""
    name = path.rpartition("/")[2].lower()
    first_dot = name.find(".", 1)
    while first_dot >= 0:
        if name[first_dot:] in _TARGETS:
            return name[first_dot:]
        next_dot = name.find(".", first_dot + 1)
        if next_dot < 0:
            return name[first_dot:]
        first_dot = next_dot
    return ""


def imported(text: str):
    """The class that is named as ``"package.module:Class"``."""
    module, _, name = text.partition(":")
    return operator.attrgetter(name)(import_module(module))
