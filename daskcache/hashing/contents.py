"""The contents that count of functions, modules and classes.

A function counts by its code, its defaults and its closure, a module by the names in use, and a class by
its members and its declarations.  Dataclasses, attrs and pydantic turn declarations (fields, validators,
types) into methods that have no source.  So `reach` hashes the declarations themselves, in the form in
which the library keeps them.  The user's functions in all contents are followed.  `fingerprints` and
`runtime.code_check` ask which code is followed.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import importlib
import importlib.util
import inspect
import types
from abc import ABCMeta
from collections import namedtuple
from collections.abc import Iterator
from typing import Any

from .code_objects import Import
from .names import has, look_up
from .ownership import is_user_code, is_user_package

MISSING: Any = object()

# ---- functions ---------------------------------------------------------------------------------


def is_followed(obj, depth=0):
    """Test if a callable or class is the user's own, or an installed wrapper around the user's own."""
    if isinstance(obj, type):
        return is_user_code(obj)
    if not isinstance(obj, types.FunctionType) or depth > 3:
        return False
    return is_user_code(obj) or any(holds_followed(value, depth) for _, value in wrapped_by(obj))


def holds_followed(value, depth=0):
    """Test if a value is the user's own code, or a plain container of it."""
    if type(value) in (list, tuple, dict):
        items = value.values() if type(value) is dict else value
        return any(is_followed(item, depth + 1) for item in items)
    return is_followed(value, depth + 1)


def wrapped_by(func) -> Iterator[tuple[str, Any]]:
    """Yield name and value of the contents in which a wrapper may keep the function that it wraps."""
    if hasattr(func, "__wrapped__"):
        yield "__wrapped__", func.__wrapped__
    yield from closure_of(func).items()


def is_generated(func):
    """Test if a decorator made a function from generated text, as beartype's does."""
    return func.__code__.co_filename.startswith("<@") and hasattr(func, "__wrapped__")


def held_by(func) -> Iterator[tuple[str, str, Any]]:
    """Yield kind, name and value of a function's defaults and of the variables that it closes over."""
    for each in inspect.signature(func, follow_wrapped=False).parameters.values():
        # nodes are upstream of the call, not part of the code
        if each.default is not each.empty and not has(type(each.default), "_recipe"):
            yield "default", each.name, each.default
    for name, value in closure_of(func).items():
        yield "closure variable", name, value


def closure_of(func) -> dict[str, Any]:
    """Return the variables that a function closes over, by name."""
    cells = zip(func.__code__.co_freevars, func.__closure__ or (), strict=True)
    return {name: in_cell(cell, "<empty>") for name, cell in cells}


def in_cell(cell: types.CellType, empty: Any) -> Any:
    """Return the value in the cell of a closure, or `empty`."""
    try:
        return cell.cell_contents
    except ValueError:
        return empty


# ---- modules and imports -----------------------------------------------------------------------


def resolved(found: Import, namespace):
    """Return the module of an import in a function's body, and the object that the import binds.

    The object is `MISSING` if the import fails, or if the package is not the user's own.
    """
    name = found.module
    try:
        if found.level:
            name = importlib.util.resolve_name("." * found.level + name, namespace.get("__package__"))
        if not is_user_package(name.partition(".")[0]):
            return None, MISSING  # imported yet or not, it counts by its name in the code
        module = importlib.import_module(name)
        if found.name is None:
            return module, module
        if not hasattr(module, found.name):
            return module, importlib.import_module(f"{name}.{found.name}")
        return module, getattr(module, found.name)
    except (ImportError, ValueError, TypeError):
        return None, MISSING  # the import may still succeed when the function runs


def load_submodule(module, name):
    """Import a package's submodule that code names as an attribute, as in ``pkg.sub.area(x)``.

    The function, or something that it calls, imports it before it runs.  Without this, the key would
    depend on what the process has imported by now, and an edit of a submodule not yet loaded would pass.
    """
    if hasattr(module, "__path__") and not hasattr(module, name):
        resolved(Import(0, module.__name__, name), {})


def names_used(module, body):
    """Return the names that count in a module used as a whole.

    With source these are all its names.  Without source they are the names that the code may mean.
    """
    for name in sorted(body.attributes or ()):
        load_submodule(module, name)

    def counts(name, value):
        if body.attributes and name not in body.attributes:
            return False
        if isinstance(value, types.ModuleType):
            return value.__name__.startswith(f"{module.__name__}.") and body.attributes is not None
        return not name.startswith("__")

    return [name for name, value in sorted(vars(module).items()) if counts(name, value)]


# ---- members of classes ------------------------------------------------------------------------


def members(cls: type) -> Iterator[tuple[str, Any]]:
    """Yield the name and value of each attribute that counts, in the order of the names."""
    return ((name, value) for name, value in sorted(vars(cls).items()) if _counts(cls, name, value))


def _counts(cls, name, value):
    if isinstance(value, _MADE_FOR_FIELDS) or name in _MADE_BY_PYTHON:
        return False
    special = name.startswith("__") and name.endswith("__")
    # members of an enum count as declarations (`declared`); `enum` itself sets the other names
    if issubclass(cls, enum.Enum) and (isinstance(value, cls) or name.startswith("_")):
        return special and isinstance(value, types.FunctionType) and is_user_code(value)
    if not special:
        return True
    func = getattr(value, "__func__", value)
    if not isinstance(func, (types.FunctionType, property)):
        return name == "__slots__"
    # generated methods have no source; the declarations that they are made from count instead
    inner = inspect.unwrap(func)
    if not isinstance(inner, types.FunctionType) or not _MAKES_METHODS & vars(cls).keys():
        return True
    return is_user_code(inner) and not inner.__code__.co_filename.startswith("<")


#: Descriptors for slots and for the fields of named tuples, which count by their names.
_MADE_FOR_FIELDS = (
    types.MemberDescriptorType,
    types.GetSetDescriptorType,
    type(vars(namedtuple("_Example", "field"))["field"]),
)


#: Attributes that Python sets in abstract classes, and for annotations (Python 3.14).
_MADE_BY_PYTHON = {"_abc_impl", "__annotate__", "__annotate_func__"}


#: Attributes of classes whose special methods are generated.  Each version of Python generates others.
_MAKES_METHODS = {"__dataclass_fields__", "__attrs_attrs__", "_field_defaults", "_is_protocol"}


def stands_alone(member):
    """Test if the value of a class attribute does not depend on the class."""
    return type(member) in IMMUTABLE or isinstance(member, staticmethod)


def plain_member(value):
    """Return the functions that a descriptor is made of; return other values unchanged."""
    if isinstance(value, property):
        return "property", value.fget, value.fset, value.fdel
    if isinstance(value, (classmethod, staticmethod)):
        return type(value).__name__, value.__func__
    if isinstance(value, functools.cached_property):
        return "cached_property", value.func
    return value


#: Types whose instances can't be modified in place.
IMMUTABLE = frozenset({bool, int, float, complex, str, bytes, type(None), range, type(...), type})


# ---- declarations of classes -------------------------------------------------------------------


def declared(cls: type) -> Iterator[tuple[str, Any]]:
    """Yield the name and value of each declaration of a class, besides its attributes."""
    if type(cls) not in _PLAIN:
        yield "metaclass", type(cls)
    if issubclass(cls, enum.Enum):
        yield "members", [(name, member.value) for name, member in cls.__members__.items()]
    types = annotations_of(cls)
    if has(cls, "__dataclass_fields__"):
        yield "fields", [_field(field, types) for field in dataclasses.fields(cls)]
        yield "parameters", _of(vars(cls).get("__dataclass_params__"), _DATACLASS_PARAMETERS)
        yield "__match_args__", look_up(cls, "__match_args__")
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
