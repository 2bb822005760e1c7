"""CPR's interface (CPR is custom-prefect-result): classes with its constructors, JSON, module names.

``from daskcache.cpr import ImageSource, ImageTarget`` gives daskcache's sources and targets with CPR's
parameters: ``ImageTarget(location, name, ext)`` in place of a path.  A class of targets is that of
addressed targets (`addressed.base`).  A class of sources only has another constructor: its sources are
of the plain class.  `protocol` has the bases for classes by CPR's protocol, `serializer` the JSON, and
`alias` CPR's module names.
"""

from __future__ import annotations

import functools
from importlib import import_module
from typing import Any, ClassVar

from ...hashing.names import imported
from .. import base
from ..addressed.base import twin_of

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
    if name in ("Resource", "Target"):
        return getattr(import_module(f"{__name__}.protocol"), name)
    if name not in NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _of_fields(name)


@functools.cache
def _of_fields(name: str) -> Any:
    """Return the class with CPR's constructor of this name."""
    plain: Any = imported(f"daskcache:{name}")
    if issubclass(plain, base.Target):
        return twin_of(plain)
    about = {"__module__": __name__, "__qualname__": name, "__doc__": plain.__doc__}
    about |= {"plain": plain, "at_address": plain.at_address}
    return type(plain)(name, (_FromFields, plain), about)


class _FromFields:
    """Mixin for a class of sources whose constructor takes CPR's fields, and makes plain sources."""

    plain: ClassVar[Any]

    def __new__(cls, location: str, name: str, ext: str | None = None, *args: Any, **fields: Any) -> Any:
        names = list(cls.plain.address_fields)
        given = dict(zip(names, args, strict=False))
        if len(args) > len(names) or given.keys() & fields or fields.keys() - set(names):
            raise TypeError(f"{cls.__name__}() takes ({', '.join(['location', 'name', 'ext', *names])})")
        return cls.plain.at_address(location, name, ext, **given, **fields)

    @classmethod
    def __subclasshook__(cls, other):
        # every source of the plain class is an instance of this one, which has none of its own
        return cls.plain in other.__mro__

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "plain" not in vars(cls):
            raise TypeError(f"{cls.__name__} has to be a subclass of {cls.plain!r}, which takes a path")
