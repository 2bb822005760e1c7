"""Which class reads and writes which suffix.  Classes are named by text and imported when needed."""

from __future__ import annotations

from ..errors import UnknownFormat
from ..hashing.names import imported, public_name
from ..storage.tables.databases import SEPARATOR

_TARGETS = {
    ".npy": "daskcache:NumpyTarget",
    ".npz": "daskcache:NumpyTarget",
    ".tif": "daskcache:ImageTarget",
    ".tiff": "daskcache:ImageTarget",
    ".csv": "daskcache:CSVTarget",
    ".parquet": "daskcache:ParquetTarget",
    ".zarr": "daskcache:ZarrTarget",
    ".ome.zarr": "daskcache:OMEZarrTarget",
    ".json": "daskcache:JSONTarget",
    ".txt": "daskcache:TextTarget",
    ".pkl": "daskcache:PickleTarget",
    ".pickle": "daskcache:PickleTarget",
    "": "daskcache:PickleTarget",
}

#: Before anybody registers another class.
_OWN = dict(_TARGETS)

_SOURCES = {
    ".npy": "daskcache:NumpySource",
    ".npz": "daskcache:NumpySource",
    ".tif": "daskcache:ImageSource",
    ".tiff": "daskcache:ImageSource",
    ".png": "daskcache:ImageSource",
    ".jpg": "daskcache:ImageSource",
    ".jpeg": "daskcache:ImageSource",
    ".csv": "daskcache:CSVSource",
    ".parquet": "daskcache:ParquetSource",
    ".json": "daskcache:JSONSource",
    ".txt": "daskcache:TextSource",
    ".zarr": "daskcache:ZarrSource",
    ".ome.zarr": "daskcache:ZarrSource",
}
# Not pickles: whoever means to load one names PickleSource.
_ANY_SOURCE = "daskcache:FileSource"
_TABLE = "daskcache:SQLTarget"


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
    name = public_name(type(target))
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
