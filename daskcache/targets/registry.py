"""The table of suffixes: the target and the source class for each.

Classes are named by text and imported when needed.  `calls.options` and `Resource.from_path` look
targets and sources up here.  Users add suffixes with `register_suffix`.
"""

from __future__ import annotations

from ..errors import UnknownFormat
from ..hashing.names import imported, public_name
from ..storage.paths import may_be_table
from .resource import name_with_code

#: Names of the target and the source class for each suffix, as shipped.
_SHIPPED = {
    ".npy": ("daskcache:NumpyTarget", "daskcache:NumpySource"),
    ".npz": ("daskcache:NumpyTarget", "daskcache:NumpySource"),
    ".tif": ("daskcache:ImageTarget", "daskcache:ImageSource"),
    ".tiff": ("daskcache:ImageTarget", "daskcache:ImageSource"),
    ".png": ("daskcache:PNGTarget", "daskcache:ImageSource"),
    ".jpg": (None, "daskcache:ImageSource"),
    ".jpeg": (None, "daskcache:ImageSource"),
    ".csv": ("daskcache:CSVTarget", "daskcache:CSVSource"),
    ".csv.gz": ("daskcache:CSVTarget", "daskcache:CSVSource"),
    ".tsv": ("daskcache:CSVTarget", "daskcache:CSVSource"),
    ".tsv.gz": ("daskcache:CSVTarget", "daskcache:CSVSource"),
    ".parquet": ("daskcache:ParquetTarget", "daskcache:ParquetSource"),
    ".zarr": ("daskcache:ZarrTarget", "daskcache:ZarrSource"),
    ".ome.zarr": ("daskcache:OMEZarrTarget", "daskcache:ZarrSource"),
    ".svg": ("daskcache:FigureTarget", None),
    ".pdf": ("daskcache:FigureTarget", None),
    ".h5": ("daskcache:HDF5Target", "daskcache:HDF5Source"),
    ".hdf5": ("daskcache:HDF5Target", "daskcache:HDF5Source"),
    ".nc": ("daskcache:NetCDFTarget", "daskcache:NetCDFSource"),
    ".json": ("daskcache:JSONTarget", "daskcache:JSONSource"),
    ".jsonl": ("daskcache:JSONLinesTarget", "daskcache:JSONLinesSource"),
    ".txt": ("daskcache:TextTarget", "daskcache:TextSource"),
    # Pickles have no source here, as reading them can run code: a user names PickleSource to load one.
    ".pkl": ("daskcache:PickleTarget", None),
    ".pickle": ("daskcache:PickleTarget", None),
    "": ("daskcache:PickleTarget", None),
}

#: Suffixes of texts.
_TEXTS = {".csv", ".tsv", ".json", ".jsonl", ".txt", ".svg"}
#: The target and source classes by suffix, with users' classes.
_TARGETS = {suffix: target for suffix, (target, _) in _SHIPPED.items() if target}
_SOURCES = {suffix: source for suffix, (_, source) in _SHIPPED.items() if source}


def register_suffix(suffix: str, target: str | None = None, source: str | None = None) -> None:
    """Register classes for a suffix, in place of earlier ones if there are any.

    Parameters
    ----------
    suffix : str
        The suffix with its dot, e.g. ``".ply"``.  Upper and lower case are the same.
    target : str, optional
        Name of the target class, ``"package.module:Class"``.  It is imported when it is first needed.
    source : str, optional
        Name of the source class.  `Source.from_path` and the members of a `FolderSource` take it.

    Raises
    ------
    UnknownFormat
        If the suffix has no dot in front, a name has no colon, or there is none.

    Examples
    --------
    >>> dc.register_suffix(".tab", "daskcache:TextTarget")
    >>> dc.Target.from_path("cells.tab")
    TextTarget(...)
    """
    names = [name for name in (target, source) if name is not None]
    if not suffix.startswith(".") or not names or not all(":" in name for name in names):
        raise UnknownFormat(
            f"can't register {suffix!r} for {' and '.join(map(repr, names)) or 'no class'}",
            expected='a suffix such as ".ply" and a class such as "package.module:Class"',
        )
    if target is not None:
        _TARGETS[suffix.lower()] = target
    if source is not None:
        _SOURCES[suffix.lower()] = source


def target_class(path: str):
    """Return the target class for `path`, chosen by its suffix.

    Raises
    ------
    UnknownFormat
        If no class is registered for the suffix.
    """
    if may_be_table(path):
        return imported("daskcache:SQLTarget")
    suffix = suffix_of(path)
    try:
        text = _TARGETS[suffix]
    except KeyError:
        raise UnknownFormat(
            f"no target class is registered for the suffix {suffix!r} of {path!r}",
            expected=", ".join(sorted(filter(None, _TARGETS))) + ", or no suffix for a pickle",
            hint="name the class with delayed(store=...), or register the suffix with "
            "daskcache.register_suffix; or let the function write the file itself, at the path that a "
            "parameter target_path receives, with delayed(save=False)",
        ) from None
    return imported(text)


def is_registered(path: str) -> bool:
    """Return True if a class is registered for the suffix of `path`."""
    return suffix_of(path) in _TARGETS


def is_of_folder(path: str) -> bool:
    """Return True if the class registered for the suffix of `path` writes a folder, not a file."""
    return is_registered(path) and target_class(path).is_folder


def read_as(target) -> tuple[str, dict] | None:
    """Return class name and options for reading the files of `target`; None if the suffix suffices."""
    options = target.counted_options()
    name = name_with_code(type(target), public_name(type(target)))
    shipped, _ = _SHIPPED.get(suffix_of(target.path), (None, None))
    return None if not options and name == shipped else (name, options)


def refuse_foreign_suffix(target) -> None:
    """Refuse a target whose file would be taken for one of another format, such as TIFF in ``a.png``.

    Formats without suffixes of their own may have any, and so may a text have that of another text.

    Raises
    ------
    UnknownFormat
        If the suffix of the target's path is that of another format.
    """
    suffix, kind = suffix_of(target.path), type(target)
    usual = [known for known, (own, _) in _SHIPPED.items() if known and own == public_name(kind)]
    if not usual or not suffix or suffix not in _SHIPPED or suffix in (*usual, *kind.known_exts):
        return
    other = imported(_TARGETS[suffix]) if suffix in _TARGETS else None
    if (other and issubclass(kind, other)) or (suffix in _TEXTS and not _TEXTS.isdisjoint(usual)):
        return
    named = other.__name__ if other else f"{suffix[1:].upper()} files"
    raise UnknownFormat(
        f"{kind.__name__} would write its own format into a file with the suffix of {named}",
        target=target.path,
        expected=f"a path that ends in {' or '.join(usual)}",
        got=suffix,
        hint="correct the path, or name no class: the suffix chooses one",
    )


def source_class(path: str):
    """Return the source class for `path`, chosen by its suffix; `FileSource` for unknown suffixes."""
    return imported(_SOURCES.get(suffix_of(path), "daskcache:FileSource"))


def suffix_of(path: str) -> str:
    """Return the longest registered suffix of `path` in lower case, or its last one if none is."""
    name = path.rpartition("/")[2].lower()
    _, dot, suffix = name[1:].partition(".")  # a dot in front makes a hidden file, not a suffix
    while "." in suffix and dot + suffix not in _TARGETS and dot + suffix not in _SOURCES:
        suffix = suffix.partition(".")[2]
    return dot + suffix
