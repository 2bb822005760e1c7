"""Declarations in classes and functions that act when a program runs: fields, validators, types.

Dataclasses, attrs and pydantic turn declarations into methods that have no source.  So `reach` hashes
the declarations themselves, in the form in which the library keeps them.  The user's functions in them
are followed like any other.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
from abc import ABCMeta
from collections.abc import Iterator
from typing import Any


def declared(cls: type) -> Iterator[tuple[str, Any]]:
    """Yield the name and value of each declaration of a class, besides its attributes."""
    if type(cls) not in _PLAIN:
        yield "metaclass", type(cls)
    if issubclass(cls, enum.Enum):
        yield "members", [(name, member.value) for name, member in cls.__members__.items()]
    types = annotations_of(cls)
    if dataclasses.is_dataclass(cls):
        yield "fields", [_field(field, types) for field in dataclasses.fields(cls)]
        yield "parameters", _of(vars(cls).get("__dataclass_params__"), _DATACLASS_PARAMETERS)
        yield "__match_args__", getattr(cls, "__match_args__", None)
    own = vars(cls)
    if "__attrs_attrs__" in own:
        yield "attributes", [_of(each, _ATTRIBUTE) for each in own["__attrs_attrs__"]]
        yield "methods", [(name, name in own, own.get(name) is None) for name in _ATTRS_METHODS]
    fields = own.get("__pydantic_fields__")
    if isinstance(fields, dict):
        yield "pydantic fields", [(name, _of(field, _PYDANTIC_FIELD)) for name, field in fields.items()]
        yield "private attributes", own.get("__private_attributes__", {})
    if "__pydantic_decorators__" in own:
        yield "pydantic decorators", list(_pydantic_decorators(own["__pydantic_decorators__"]))
    elif type(cls) not in _PLAIN:
        yield "annotations", types  # its metaclass may read them


#: Metaclasses that leave annotations alone.
_PLAIN = (type, ABCMeta, enum.EnumType)


def annotations_of(obj: Any) -> dict[str, Any]:
    """Return a function's or class's annotations by name: evaluated if all can be, else as written."""
    try:
        return inspect.get_annotations(obj, eval_str=True)
    except Exception:  # noqa: BLE001 (whatever evaluating them raises)
        return inspect.get_annotations(obj)


def _field(field, types):
    """Return a dataclass field as a tuple, with each default in a tuple, or None if it is missing.

    None replaces the marker `dataclasses.MISSING`, because copies are made of that marker.
    """
    defaults = [
        None if isinstance(value, type(dataclasses.MISSING)) else (value,)
        for value in (field.default, field.default_factory)
    ]
    kind = types.get(field.name, field.type)
    return field.name, defaults, kind, field.init, field.compare, field.kw_only, field.metadata


_DATACLASS_PARAMETERS = ("init", "repr", "eq", "order", "unsafe_hash", "frozen")


def _of(declaration, names):
    return [(name, getattr(declaration, name, None)) for name in names]


#: Attributes of `attrs.Attribute` that count.
_ATTRIBUTE = (
    *("name", "default", "validator", "converter", "type", "init", "kw_only", "alias", "on_setattr"),
    *("eq", "eq_key", "order", "order_key", "hash", "repr", "metadata"),
)
#: Methods that attrs makes or leaves out, as the class asks.
_ATTRS_METHODS = ("__init__", "__repr__", "__eq__", "__lt__", "__hash__", "__setattr__")

#: Attributes of pydantic's `FieldInfo` that count.  Titles, descriptions and examples are for readers.
_PYDANTIC_FIELD = (
    *("annotation", "default", "default_factory", "metadata", "alias", "validation_alias", "init"),
    *("serialization_alias", "discriminator", "exclude", "frozen", "validate_default", "kw_only"),
)


def _pydantic_decorators(infos):
    """Yield kind, name and arguments of each decorated method; the methods count as attributes."""
    for kind in dataclasses.fields(infos):
        for name, decorator in getattr(infos, kind.name).items():
            names = [f.name for f in dataclasses.fields(decorator.info) if f.name != "wrapped_property"]
            yield kind.name, name, _of(decorator.info, names)
