"""CPR's interface (CPR is custom-prefect-result): classes with its constructors, JSON, module names.

``from daskcache.cpr import ImageSource, ImageTarget`` gives daskcache's sources and targets with CPR's
parameters: ``ImageTarget(location, name, ext)`` in place of a path.  `classes` makes them, `serializer`
has the JSON, and `alias` CPR's module names.
"""

from __future__ import annotations

from typing import Any

#: Names of the classes; they are the same as in `daskcache`.
NAMES = frozenset(
    """
    CSVSource CSVTarget FileSource ImageSource ImageTarget JSONSource JSONTarget NumpySource NumpyTarget
    OMEZarrTarget ParquetSource ParquetTarget PickleSource PickleTarget TextSource TextTarget ZarrSource
    ZarrTarget
    """.split()  # noqa: SIM905 (shorter)
)

#: CPR's packages, with the sources and targets in each.  A class is in a module of its own name.
OF_CPR = {
    "csv": ("CSVSource", "CSVTarget"),
    "image": ("ImageSource", "ImageTarget"),
    "numpy": ("NumpySource", "NumpyTarget"),
    "zarr": ("ZarrSource",),
}


def __getattr__(name: str) -> Any:
    if name not in NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .classes import of_fields

    return of_fields(name)
