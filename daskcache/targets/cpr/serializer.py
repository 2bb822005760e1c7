"""Sources, targets and a few other values as JSON, in CPR's form.  `values` has the other values.

``{"__class__": "cpr.image.ImageTarget.ImageTarget", "data": {"location": …, "name": …, …}}``.  CPR's
classes have CPR's names, so that CPR and daskcache read each other's JSON.  Others have short tags.

Decoding trusts nothing.  A class must be registered here, and a name in JSON is never imported.  Every
field is checked, and config ``daskcache.resource-roots`` can confine paths to some folders.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from ... import config
from ...errors import DaskcacheError, UnsafePath, UntrustedJSON
from ...hashing.encoder import hash_value
from ...hashing.names import current_name, imported, public_name
from ...storage.documents import NULL, Form, Misfit, dict_of, known_fields, list_of
from ..addressed.base import Addressed, check_file_name
from ..base import Target
from ..registry import suffix_of
from ..resource import Resource, is_file_name
from . import OF_CPR
from .values import decode_value, encode_value

CLASS, DATA = "__class__", "data"


def target_encoder(obj: Any) -> Any:
    """Encode a value that JSON lacks, as the argument ``default`` of `json.dumps`.

    The data of a target are saved, unless they are saved already.

    Parameters
    ----------
    obj : object
        A source, an addressed target, or a value of a class that `daskcache.targets.cpr.values` knows.

    Returns
    -------
    dict
        An object for `json.dumps`, with the tag of the class.

    Raises
    ------
    TypeError
        If the value's class could not be decoded again.
    DaskcacheError
        If a target's data can't be saved; see `Addressed.serialize`.

    Examples
    --------
    >>> import json
    >>> from daskcache.cpr import TextTarget
    >>> target = TextTarget("results", "cells", ".txt")
    >>> target.set_data("3 cells")
    >>> text = json.dumps({"result": target}, default=dc.target_encoder)
    >>> json.loads(text)["result"]["__class__"]
    'daskcache.TextTarget'
    """
    return _encoded(obj, save=True)


def serialized(resource: Resource) -> dict[str, Any]:
    """Return the fields of a resource's JSON, without its class.  The data of a target are saved."""
    return target_encoder(resource)[DATA]


def target_decoder(result: dict) -> Any:
    """Decode a JSON object, as the ``object_hook`` of `json.loads`.

    Parameters
    ----------
    result : dict
        The JSON object.

    Returns
    -------
    object
        The source, target or other value that it stands for.  An object without a class is returned
        unchanged.

    Raises
    ------
    UntrustedJSON
        If it names a class that is not registered, or its fields are not those of the class.
    UnsafePath
        If a path is outside of config ``daskcache.resource-roots``.

    Examples
    --------
    >>> import json
    >>> from daskcache.cpr import TextTarget
    >>> target = TextTarget("results", "cells", ".txt")
    >>> target.set_data("3 cells")
    >>> text = json.dumps(target, default=dc.target_encoder)
    >>> json.loads(text, object_hook=dc.target_decoder).get_data()
    '3 cells'
    """
    return _decoded(result, config.get("resource-roots"))


def decoder(roots: Iterable[str | os.PathLike]) -> Callable[[dict], Any]:
    """Return a `target_decoder` that refuses paths outside of these folders, whatever the config."""
    known = [os.fspath(root) for root in roots]
    return lambda result: _decoded(result, known)


def hash_objects(*args: Any, hash_algo: Any = None, **kwargs: Any) -> str:
    """Return CPR's hash of any values.

    Sources and targets count by their fields, and nothing is written.  As in JSON, a tuple counts as a
    list, and a number that is a dict's key counts as its text.

    Parameters
    ----------
    *args, **kwargs
        The values.
    hash_algo : callable, optional
        Constructor of a hash, as in `hashlib`.  Default: MD5, as for Prefect's cache keys.

    Returns
    -------
    str
        Hex digits, the same as CPR's unless CPR would have pickled the values.

    Raises
    ------
    UnhashableArgument
        If a value has no stable identity.

    Examples
    --------
    >>> dc.hash_objects("cells", sigma=2)
    '8fd14f305e647d41228fe805e8aa2cb1'
    """
    try:
        text = json.dumps((args, kwargs), default=partial(_encoded, save=False), sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        text = hash_value((args, kwargs))
    algorithm = hash_algo or (lambda data: hashlib.md5(data, usedforsecurity=False))
    return algorithm(text.encode()).hexdigest()


def register(tag: str, path: str) -> None:
    """Register a class, whose targets or sources are then encoded and decoded under a tag.

    Parameters
    ----------
    tag : str
        The class's name in JSON, e.g. ``"meshtools.Mesh"``.
    path : str
        Path of a subclass of `Target` or `Source`: ``"package.module:Class"``.
    """
    _CLASSES[tag] = path


# ---- encoding -----------------------------------------------------------------------------------


def _encoded(obj, save):
    if not isinstance(obj, Resource):
        return encode_value(obj)
    if isinstance(obj, Addressed):
        tag = _tag_of(obj.plain)
        if not _is_called_so(tag, obj.name, obj.ext):
            raise TypeError(f"{obj!r} needs the suffix .pkl to be told from other files in JSON")
        return {CLASS: tag, DATA: obj.serialize() if save else obj.describe()}
    if obj.in_fields:
        return {CLASS: _tag_of(type(obj)), DATA: obj.serialize()}
    if isinstance(obj, Target):
        raise TypeError(
            f"{obj!r} has no address of its own: {type(obj).__name__}.from_path(…) makes one"
        )
    tag, fields = _source_fields(obj)
    address = {"location": obj.location, "name": obj.name, "ext": obj.ext}
    return {CLASS: tag, DATA: address | fields}


def _source_fields(source):
    tag, options = _tag_of(type(source)), source.__daskcache_options__()
    if tag == _CPR["ImageSource"]:
        return tag, {"metadata": source.metadata, "resolution": source.resolution}
    if tag == _CPR["CSVSource"]:
        # CPR's source has no options: the index is in the first column
        return (
            (tag, {}) if options == {"index_col": 0} else ("daskcache.CSVSource", {"options": options})
        )
    if tag == _CPR["ZarrSource"]:
        if not source._lazy:
            return "daskcache.ZarrSource", {"options": options}
        starts, stops = ([getattr(cut, end) for cut in source.slices] for end in ("start", "stop"))
        fields = {"group": source.group, "slices_start": starts, "slices_stop": stops}
        return tag, fields | {"mode": source.mode}
    return tag, {"options": options} if options else {}


def _tag_of(cls):
    path = public_name(cls)
    for tag, known in _CLASSES.items():
        if current_name(known) in (path, f"{cls.__module__}:{cls.__qualname__}"):
            return tag
    raise TypeError(
        f"{cls.__qualname__} has no tag in JSON: daskcache.cpr.serializer.register(tag, {path!r})"
    )


# ---- decoding -----------------------------------------------------------------------------------


def _decoded(result, roots):
    if CLASS not in result:
        return result
    tag = result[CLASS]
    if not isinstance(tag, str) or tag not in _CLASSES:
        return decode_value(result)
    data = result.get(DATA)
    if set(result) != {CLASS, DATA} or not isinstance(data, dict):
        raise UntrustedJSON(
            f"JSON of {tag} does not have the form of a source or target",
            expected=f"{CLASS} and {DATA}",
            got=", ".join(map(repr, result)),
        )
    cls = imported(_CLASSES[tag])
    _check_fields(tag, cls, data)
    if not _is_called_so(tag, data["name"], data["ext"]):
        raise UntrustedJSON(
            "JSON names a pickle whose file has another suffix",
            expected=".pkl, .pickle or no suffix",
            got=f"{data['name']}{data['ext']}",
        )
    _confine(data, roots)
    try:
        return _made(tag, cls, data)
    except DaskcacheError as error:
        raise UntrustedJSON(f"JSON of {tag} makes none: {error.message}", got=error.got) from error
    except (TypeError, ValueError, AssertionError) as error:  # of a constructor of the user's own
        raise UntrustedJSON(f"JSON of {tag} makes none: {error}") from error


def _made(tag, cls, data):
    given = dict(data)
    location, name, ext = (given.pop(field) for field in ("location", "name", "ext"))
    if not _is_of_fields(tag, cls):
        source = cls(os.path.join(location, f"{name}{ext}"), **given.get("options", {}))
        # the location as JSON has it: the constructor made it absolute
        vars(source).update(location=location, name=name, ext=ext)
        return source
    return cls.at_address(location, name, ext, **given)


def _check_fields(tag, cls, data):
    more = tuple(cls.address_fields) if _is_of_fields(tag, cls) else ("options",)
    known = {"location", "name", "ext", *more}
    if not known & _REQUIRED <= set(data) <= known:
        raise UntrustedJSON(
            f"JSON of {tag} has other fields than the class",
            expected=", ".join(sorted(known)),
            got=", ".join(map(str, data)),
        )
    try:
        known_fields(_OwnFields if cls.in_fields else _Fields, data)
        check_file_name(data["name"], data["ext"])
    except (Misfit, UnsafePath) as error:
        raise UntrustedJSON(
            f"JSON of {tag}: {error.message}", expected=error.expected, got=error.got
        ) from error


def _is_of_fields(tag, cls):
    """Test if JSON of a class has the fields of CPR's constructor, or else a source's options."""
    return tag.startswith("cpr.") or issubclass(cls, Target) or cls.in_fields


def _is_called_so(tag, name, ext):
    """Test if the file's suffix allows the class of this tag.

    A file with another suffix than a pickle's must not be unpickled because JSON says so.
    """
    return tag != _PICKLE or suffix_of(f"{name}{ext}") in (".pkl", ".pickle", "")


def _confine(data, roots):
    if roots is None:
        return
    path = os.path.realpath(os.path.join(data["location"], f"{data['name']}{data['ext']}"))
    allowed = [os.path.realpath(os.path.expanduser(root)) for root in roots]
    if not any(os.path.commonpath([path, root]) == root for root in allowed):
        raise UnsafePath(
            "JSON names a file outside of the folders that are allowed",
            target=path,
            expected=f"a path below {' or '.join(allowed)}",
            hint="daskcache.resource-roots lists them",
        )


def _is_plain(value):
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or type(value) in (str, int, float, bool)


_TEXT = Form("a printable text", lambda value: isinstance(value, str) and value.isprintable())
_HASH = Form(
    "16 hex digits", lambda value: _TEXT.fits(value) and re.fullmatch("[0-9a-f]{16}", value) is not None
)
_NAME = Form("part of a file's name", lambda value: _TEXT.fits(value) and is_file_name(f"x{value}"))
_OBJECT = Form("an object", lambda value: isinstance(value, dict))
_NUMBER = Form(
    "a positive number", lambda value: type(value) in (int, float) and math.isfinite(value) and value > 0
)
_FLAG = Form("true or false", lambda value: isinstance(value, bool))
_BOUNDS = list_of(Form("a whole number", lambda value: type(value) is int) | NULL)
_OPTIONS = dict_of(Form("a plain value", _is_plain))


@dataclass(frozen=True)
class _OwnFields:
    """The fields of all sources and targets.  The user's own classes check the others themselves."""

    location: Annotated[str, _TEXT]
    name: Annotated[str, _TEXT]
    ext: Annotated[str, _TEXT]
    #: It becomes part of the file's name.
    data_hash: Annotated[str | None, _NAME | NULL] = None


@dataclass(frozen=True)
class _Fields:
    """The fields of JSON of sources and targets; a class has the first three and some of the others."""

    #: Path of the folder.
    location: Annotated[str, _TEXT]
    #: Name of the file, without its suffix.
    name: Annotated[str, _TEXT]
    #: Suffix of the file.
    ext: Annotated[str, _TEXT]
    #: CPR's hash of a target's data; null if it was not saved.
    data_hash: Annotated[str | None, _HASH | NULL] = None
    #: Metadata of an image.
    metadata: Annotated[dict[str, Any] | None, _OBJECT | NULL] = None
    #: Pixels per unit of length, for each axis of an image.
    resolution: Annotated[list[float] | None, list_of(_NUMBER, 2) | NULL] = None
    #: True if ImageJ's metadata are written.
    imagej: Annotated[bool | None, _FLAG] = None
    #: Path of an array in a Zarr store.
    group: Annotated[str | None, _TEXT] = None
    #: Ranges of a Zarr array, for each axis; null stands for the end of the axis.
    slices_start: Annotated[list[int | None] | None, _BOUNDS] = None
    slices_stop: Annotated[list[int | None] | None, _BOUNDS] = None
    #: Mode in which CPR opens a Zarr store.
    mode: Annotated[str | None, _TEXT] = None
    #: Options of a source.
    options: Annotated[dict[str, Any] | None, _OPTIONS] = None


#: Fields that CPR always wrote, of those that a class has.
_REQUIRED = {"location", "name", "ext", "data_hash", "group", "slices_start", "slices_stop"}

#: Tags of CPR's classes, by name.
_CPR = {name: f"cpr.{folder}.{name}.{name}" for folder, names in OF_CPR.items() for name in names}
#: Formats that CPR lacks, and sources whose options its JSON can't express.
_OWN = """
    CSVSource ZarrSource FileSource JSONSource JSONTarget OMEZarrTarget ParquetSource ParquetTarget
    PickleTarget TextSource TextTarget ZarrTarget
    """.split()  # noqa: SIM905 (shorter)

_PICKLE = "daskcache.PickleTarget"

#: Classes by tag.  A class is encoded with its first tag.
_CLASSES: dict[str, str] = {
    **{tag: f"daskcache:{name}" for name, tag in _CPR.items()},
    **{f"daskcache.{name}": f"daskcache:{name}" for name in _OWN},
}
