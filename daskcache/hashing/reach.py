"""What a function reaches of the user's own code, and one fingerprint for all of it.

A function is followed to the functions, classes and constants that it refers to: by global name, by
attribute of a user module, by an import in its body, through defaults, closures, containers and
instances; and from there on.  Each function and class is described once, and what refers to it holds its
place in the order of discovery, so cycles end and nothing is analysed twice.

Installed packages and the standard library count by name.  A global that the functions assign, or a
container that they fill, is their own state, not a constant, and doesn't count.

A `Reach` knows where it found what it found.  It holds as long as that is all still there, which is much
quicker to see than to analyse it again.
"""

from __future__ import annotations

import builtins
import enum
import functools
import importlib
import importlib.util
import inspect
import logging
import re
import reprlib
import sys
import threading
import time
import types
import warnings
from collections import namedtuple
from collections.abc import Callable, Iterator
from typing import Any

from .. import config
from ..errors import DaskcacheWarning, UnhashableArgument
from .changes import Part
from .encoder import Encoder, digest, hash_value
from .functions import Body, Chain, Import, body_of, bytecode_hash, names_in
from .installed import name_of
from .names import current_name, public_name
from .ownership import (
    home_of,
    is_standard,
    is_user_code,
    is_user_module,
    is_user_package,
    package_version,
)

_MISSING: Any = object()


def fingerprint(obj: Any) -> str:
    """Fingerprint of a callable or class that is somebody's *argument*.

    Returns
    -------
    str
        32 hex digits.

    Raises
    ------
    UnhashableArgument
        If a default or a closure value of it has no stable identity.
    """
    if is_followed(obj):
        return reach_of(obj).fingerprint
    if isinstance(obj, (types.BuiltinFunctionType, types.MethodWrapperType)):
        owner = getattr(obj, "__self__", None)
        if owner is not None and not isinstance(owner, types.ModuleType):
            return hash_value(("method", obj.__name__, owner))
    return hash_value(("installed", *_installed_name(obj), *_held_by(obj)))


def function_fingerprint(func: Any) -> str:
    """Fingerprint of a function that the user decorated, wherever it is defined.

    Raises
    ------
    UnhashableArgument
        If a default or a closure value of it has no stable identity.
    """
    return reach_of(func).fingerprint


def reach_of(obj: Any) -> Reach:
    """What a callable or class reaches; analysed once, and again when something in it was replaced."""
    if not isinstance(obj, (types.FunctionType, type)):
        return Reach(obj, is_within=True)
    known = _known.get(obj)
    if known is None or not known.holds():
        if len(_known) >= _MAX_KNOWN:
            _known.clear()
        known = _known[obj] = Reach(obj, is_within=True)
    return known


_known: dict[Any, Reach] = {}
_MAX_KNOWN = 1024


class Reach:
    """The user's own code behind one callable or class, as it is now.

    Attributes
    ----------
    fingerprint : str
        32 hex digits.
    parts : list of Part
        All that counts.
    modules : set of str
        Names of the user's own modules in it.

    Parameters
    ----------
    obj : callable or class
    follow : bool
        Whether the names in its code count, or only the code itself, with its defaults and its closure.
    is_within : bool
        Whether it is a part of a value that is being hashed.
    """

    def __init__(self, obj: Any, follow: bool = True, is_within: bool = False):
        self._root = obj
        self._is_within = is_within
        self._follow_names = follow
        known: set[Any] = set()
        while True:
            self._explore(obj, frozenset(known))
            if self._noted <= known:
                break
            known |= self._noted

    def _explore(self, obj, known):
        self.parts: list[Part] = []
        self.modules: set[str] = set()
        #: Facts that concern what was described before they were found: globals that the functions
        #: assign themselves, and functions whose annotations act.  Those known before, and all.
        self._known = known
        self._noted: set[Any] = set()
        #: Where something was found: `get` of a namespace, name, value.
        self._bindings: list[tuple[Callable, str, Any]] = []
        #: Functions with what can be replaced in them: code, defaults, closure.
        self._functions: list[tuple[types.FunctionType, Any, Any, Any, list]] = []
        #: Namespaces of classes, and how many names they had: new ones may hide inherited ones.
        self._classes: list[tuple[Any, int]] = []
        #: What can be modified in place, and its hash.
        self._values: list[tuple[Any, str]] = []
        self._nbytes = 0
        self._found: list[Any] = []
        self._places: dict[int, int] = {}
        start = self._encoded(obj)
        descriptions = []
        for found in self._found:  # which grows
            descriptions.append(self._describe(found))
        self.fingerprint = hash_value((start, descriptions))
        self._looked_at = time.monotonic()

    def holds(self, glance: bool = False) -> bool:
        """Whether everything is still as it was found.

        Parameters
        ----------
        glance : bool
            Don't look into large values that were looked at a moment ago.
        """
        for look_up, name, value in self._bindings:
            if look_up(name, _MISSING) is not value:
                return False
        for namespace, names in self._classes:
            if len(namespace) != names:
                return False
        for func, code, defaults, kwdefaults, cells in self._functions:
            if (
                func.__code__ is not code
                or func.__defaults__ is not defaults
                or func.__kwdefaults__ is not kwdefaults
            ):
                return False
            for cell, value in cells:
                if (cell.cell_contents if _is_filled(cell) else _MISSING) is not value:
                    return False
        if not self._values:
            return True
        if glance and self._nbytes > _LARGE and time.monotonic() < self._looked_at + _A_MOMENT:
            return True
        same = all(self._still(value) == known for value, known in self._values)
        self._looked_at = time.monotonic()
        return same

    def same_code(self) -> bool:
        """Whether functions, classes and modules are still those that were found, whatever the data."""
        return all(
            look_up(name) is value for look_up, name, value in self._bindings if isinstance(value, _CODE)
        ) and all(func.__code__ is code for func, code, *_ in self._functions)

    def bodies(self) -> dict[str, Body]:
        """What is known from the sources of the functions, by the hash of their bytecode."""
        return _bodies(func for func, *_ in self._functions)

    def travelling_bodies(self) -> dict[str, Body]:
        """Those of `bodies` whose functions are pickled without their sources, in short form."""
        functions = (func for func, *_ in self._functions)
        found = _bodies(f for f in functions if f.__module__ == "__main__" or "<" in f.__qualname__)
        return {hashed: body._replace(source="") for hashed, body in found.items()}

    def place(self, obj: Any) -> int:
        """Number of a function or class; it is described when its turn comes."""
        if id(obj) not in self._places:
            self._places[id(obj)] = len(self._found)
            self._found.append(obj)
            if is_user_code(obj):
                self.modules.add(home_of(obj))
        return self._places[id(obj)]

    def follows(self, obj: Any) -> bool:
        """Whether a callable or class is described, not named."""
        return (obj is self._root and isinstance(obj, types.FunctionType)) or is_followed(obj)

    # -- functions --------------------------------------------------------------------------------------

    def _describe(self, obj):
        if isinstance(obj, type):
            return self._describe_class(obj)
        cells = [(c, c.cell_contents if _is_filled(c) else _MISSING) for c in obj.__closure__ or ()]
        self._functions.append((obj, obj.__code__, obj.__defaults__, obj.__kwdefaults__, cells))
        if (obj is self._root or is_user_code(obj)) and not _is_generated(obj):
            return self._describe_function(obj)
        return self._describe_wrapper(obj)

    def _describe_function(self, func):
        code = func.__code__
        body = body_of(code)
        place = f"{code.co_filename}:{code.co_firstlineno}"
        self.parts.append(
            Part("function", func.__module__, func.__qualname__, body.hash, body.source, place)
        )
        own = [
            (kind, name, self._value(func, kind, name, value, strict=func is self._root))
            for kind, values in (("default", _defaults(func)), ("closure variable", _closure(func)))
            for name, value in values.items()
        ]
        if _READ_ANNOTATIONS & names_in(code):
            self._noted.add(_ANNOTATIONS_ACT)
        if self._known & {_ANNOTATIONS_ACT, ("wrapped", id(func))}:
            from .declarations import annotations_of

            own.append(("annotations", self._value(func, "annotations", "of", annotations_of(func))))
        return "function", body.hash, own, self._references(func, body)

    def _describe_wrapper(self, func):
        """A function of an installed package around the user's own: what it is, and what it wraps.

        Those of other packages than Python's may read annotations (pydantic's `validate_call`).
        """
        if not is_standard(func):
            self._noted.update(("wrapped", id(each)) for _, each in _wrapped_by(func))
        wrapped = [
            (name, self._encoded(value))
            for name, value in _wrapped_by(func)
            if _holds_followed(value) or type(value) in _IMMUTABLE
        ]
        return "wrapper", func.__code__.co_qualname, wrapped

    def _references(self, func, body: Body):
        """What the names in a function's code stand for."""
        if not self._follow_names:
            return []
        namespace = func.__globals__
        self._noted.update((id(namespace), name) for name in body.assigned)
        found = []
        for chain in body.chains:
            if chain[0] in body.imports:
                module, value = _imported(body.imports[chain[0]], namespace)
                if value is not _MISSING:
                    self._bind_import(module, body.imports[chain[0]].name, value)
                    found.append((chain, self._follow(func, "", chain[0], value, chain[1:], body)))
            elif chain[0] in namespace:
                found.append((chain, self._look_up(func, namespace, chain, body)))
            else:  # a builtin, or nothing yet
                self._bindings.append((namespace.get, chain[0], _MISSING))
                if not hasattr(builtins, chain[0]):
                    found.append((chain, "undefined"))
        return found

    def _bind_import(self, module, name, value):
        self._bindings.append((sys.modules.get, module.__name__, module))
        if name is not None and vars(module).get(name) is value:
            self._bindings.append((vars(module).get, name, value))

    def _look_up(self, func, namespace, chain: Chain, body):
        name = chain[0]
        value = namespace[name]
        if (id(namespace), name) in self._known and not isinstance(value, _CODE):
            return "state"
        self._bindings.append((namespace.get, name, value))
        return self._follow(func, namespace.get("__name__", ""), name, value, chain[1:], body)

    def _follow(self, func, module, name, value, rest: Chain, body):
        """What a name and the attributes taken of it stand for."""
        if isinstance(value, types.ModuleType):
            return self._follow_module(func, value, rest, body)
        if rest and isinstance(value, types.FunctionType) and rest[0] in vars(value):
            attribute = self._look_up(func, vars(value), rest, body)
            return self._value(func, "constant", name, value, module), attribute
        if rest and type(value) is type and self.follows(value):
            owner = next((c for c in value.__mro__ if rest[0] in vars(c)), None)
            if owner is not None and _stands_alone(vars(owner)[rest[0]]):
                member = vars(owner)[rest[0]]
                for heir in value.__mro__[: value.__mro__.index(owner)]:
                    self._bindings.append((vars(heir).get, rest[0], _MISSING))
                self._bindings.append((vars(owner).get, rest[0], member))
                return self._value(value, "attribute", rest[0], _plain_member(member))
        return self._value(func, "constant", name, value, module)

    def _follow_module(self, func, module, rest: Chain, body):
        if not is_user_module(module):
            return "module", module.__name__
        self.modules.add(module.__name__)
        inner = vars(module)
        if rest and rest[0] in inner:
            return self._look_up(func, inner, rest, body)
        if rest:  # what the module makes when it is asked for
            value = getattr(module, rest[0], _MISSING)
            if value is _MISSING:
                return "undefined"
            return self._follow(func, module.__name__, rest[0], value, rest[1:], body)
        return [(name, self._look_up(func, inner, (name,), body)) for name in _used(module, body)]

    # -- values -----------------------------------------------------------------------------------------

    def _value(self, owner, kind, name, value, module=None, strict=False):
        """Something by its hash, in which functions and classes stand by their places."""
        if isinstance(value, _STATELESS):
            return type(value).__name__
        if isinstance(value, types.ModuleType) and isinstance(owner, types.FunctionType):
            return self._follow_module(owner, value, (), body_of(owner.__code__))
        try:
            encoder = self._encoder(value, (owner, kind, name))
        except UnhashableArgument as error:
            if isinstance(error.__context__, RecursionError) and self._is_within:
                raise  # it is the value around that has no end
            if strict:
                raise UnhashableArgument(
                    f"{kind} {name!r} of {owner.__qualname__}(): {error.message}", hint=error.hint
                ) from error
            _warn_of_unhashable(owner, kind, name, value, error)
            return f"of type {type(value).__qualname__}"
        if not isinstance(value, (types.FunctionType, type)):
            shown = name if kind in ("constant", "class") else f"{owner.__qualname__}.{name}"
            self.parts.append(_part(kind, module or owner.__module__, shown, encoder, value))
        return encoder.digest()

    def _encoded(self, value):
        return self._encoder(value).digest()

    def _encoder(self, value, whose=None):
        encoder = _ReachEncoder(self)
        encoder.add_checked(value)
        if type(value) not in _IMMUTABLE and not isinstance(value, types.FunctionType):
            self._values.append((value, encoder.digest()))
            self._nbytes += encoder.nbytes()
            if whose and encoder.nbytes() > config.get_bytes("closure-warning"):
                _warn_of_size(*whose, encoder.nbytes())
        return encoder

    def _still(self, value):
        """Hash of a value now; None if it refers to code that it didn't refer to, or has none."""
        known = len(self._found)
        try:
            encoder = _ReachEncoder(self)
            encoder.add_checked(value)
        except UnhashableArgument:
            return None
        return encoder.digest() if len(self._found) == known else None

    # -- classes ----------------------------------------------------------------------------------------

    def _describe_class(self, cls):
        """A class by what it holds, whatever text it was made from."""
        from .declarations import declared

        members = []
        self._classes.append((vars(cls), len(vars(cls))))
        for name, value in sorted(vars(cls).items()):
            if _counts_in_class(cls, name, value):
                self._bindings.append((vars(cls).get, name, value))
                members.append((name, self._value(cls, "attribute", name, _plain_member(value))))
        bases = [self._encoded(base) for base in cls.__bases__ if base is not object]
        stated = dict(declared(cls))
        if stated:
            members.append(("declared", self._value(cls, "class", cls.__qualname__, stated)))
        return "class", cls.__qualname__, members, bases


class _ReachEncoder(Encoder):
    """Encodes values of a reach: functions and classes stand by their places in it."""

    __slots__ = ("reach", "sizes")
    numbers_code = True

    def __init__(self, reach, sizes=None):
        super().__init__()
        self.reach = reach
        #: Of the large buffers, in bytes.
        self.sizes = [] if sizes is None else sizes

    def add_blocks(self, kind, blocks):
        super().add_blocks(kind, map(self._measured, blocks))

    def _measured(self, block):
        self.sizes.append(memoryview(block).nbytes)
        return block

    def add_code(self, value):
        if self.reach.follows(value):
            self.parts.append(b"@code %d;" % self.reach.place(value))
        else:
            super().add_code(value)

    def nested(self):
        return _ReachEncoder(self.reach, self.sizes)

    def ordering(self):
        return Encoder()  # places are given in the order of what is being put in order

    def nbytes(self):
        return sum(self.sizes) + len(self.encoding())


def _part(kind, module, name, encoder, value):
    """A value as a part: code that it holds is a part of its own, whose place says nothing about it."""
    return Part(kind, module, name, digest(_PLACE.sub(b"@", encoder.encoding())), _brief.repr(value))


_PLACE = re.compile(rb"@code \d+;")

#: Types whose instances can't be modified in place.
_IMMUTABLE = frozenset({bool, int, float, complex, str, bytes, type(None), range, type(...), type})
#: What is followed, or named, whatever is assigned to it.
_CODE = (types.ModuleType, types.FunctionType, type)
#: In place of a function, if the user's own code reads annotations.
_ANNOTATIONS_ACT = "annotations act"
_READ_ANNOTATIONS = {"__annotations__", "get_annotations", "get_type_hints", "signature"}
#: What does nothing to results.
_STATELESS = (logging.Logger, type(threading.Lock()), type(threading.RLock()))

#: What can be modified in place is looked at at each call up to this size (bytes), beyond only every
#: moment (seconds); and always when a plan is made.
_LARGE = 4096
_A_MOMENT = 0.01

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 80


# ---- functions ----------------------------------------------------------------------------------


def is_followed(obj, depth=0):
    """Whether a callable or class is the user's own, or an installed wrapper around such a one."""
    if isinstance(obj, type):
        return is_user_code(obj)
    if not isinstance(obj, types.FunctionType) or depth > 3:
        return False
    return is_user_code(obj) or any(_holds_followed(value, depth) for _, value in _wrapped_by(obj))


def _holds_followed(value, depth=0):
    if type(value) in (list, tuple, dict):
        items = value.values() if type(value) is dict else value
        return any(is_followed(item, depth + 1) for item in items)
    return is_followed(value, depth + 1)


def _wrapped_by(func) -> Iterator[tuple[str, Any]]:
    if hasattr(func, "__wrapped__"):
        yield "__wrapped__", func.__wrapped__
    yield from _closure(func).items()


def _is_generated(func):
    """Whether a decorator made a function from a text of its own, as beartype's does."""
    return func.__code__.co_filename.startswith("<@") and hasattr(func, "__wrapped__")


def _is_filled(cell):
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _bodies(functions):
    found = {func.__code__: body_of(func.__code__) for func in functions}
    return {bytecode_hash(code): body for code, body in found.items() if body.attributes is None}


def _defaults(func) -> dict[str, Any]:
    """Defaults by name; a node as a default is upstream of the call, not part of the code."""
    found = inspect.signature(func, follow_wrapped=False).parameters.values()
    return {
        p.name: p.default
        for p in found
        if p.default is not p.empty and not hasattr(type(p.default), "_recipe")
    }


def _closure(func) -> dict[str, Any]:
    cells = zip(func.__code__.co_freevars, func.__closure__ or (), strict=True)
    return {name: cell.cell_contents if _is_filled(cell) else "<empty>" for name, cell in cells}


def _imported(found: Import, namespace):
    """The module of an import in a function's body, and what it gives: `_MISSING` if not the user's."""
    name = found.module
    try:
        if found.level:
            name = importlib.util.resolve_name("." * found.level + name, namespace.get("__package__"))
        if not is_user_package(name.partition(".")[0]):
            return None, _MISSING  # whether it was imported yet or not: the code names it
        module = importlib.import_module(name)
        if found.name is None:
            return module, module
        if not hasattr(module, found.name):
            return module, importlib.import_module(f"{name}.{found.name}")
        return module, getattr(module, found.name)
    except (ImportError, ValueError, TypeError):
        return None, _MISSING  # it will fail, or not, when the function runs


def _used(module, body):
    """Names of a module that is used as a whole: all, or without source those that may be meant."""
    found = []
    for name, value in sorted(vars(module).items()):
        if isinstance(value, types.ModuleType):
            counts = value.__name__.startswith(f"{module.__name__}.") and body.attributes is not None
        else:
            counts = not name.startswith("__")
        if counts and (not body.attributes or name in body.attributes):
            found.append(name)
    return found


# ---- classes ------------------------------------------------------------------------------------


def _counts_in_class(cls, name, value):
    if isinstance(value, _MADE_FOR_FIELDS) or name in _MADE_BY_PYTHON:
        return False
    special = name.startswith("__") and name.endswith("__")
    if issubclass(cls, enum.Enum) and (isinstance(value, cls) or name.startswith("_")):
        return special and isinstance(value, types.FunctionType) and is_user_code(value)
    if not special:
        return True
    func = getattr(value, "__func__", value)
    if not isinstance(func, (types.FunctionType, property)):
        return name == "__slots__"
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

#: Of abstract classes, and of annotations (Python 3.14).
_MADE_BY_PYTHON = {"_abc_impl", "__annotate__", "__annotate_func__"}

#: What tells classes whose special methods are generated, by each version of Python in its own way.
_MAKES_METHODS = {"__dataclass_fields__", "__attrs_attrs__", "_field_defaults", "_is_protocol"}


def _stands_alone(member):
    """Whether what a class attribute gives does not depend on the class."""
    return type(member) in _IMMUTABLE or isinstance(member, staticmethod)


def _plain_member(value):
    """What a descriptor is made of."""
    if isinstance(value, property):
        return "property", value.fget, value.fset, value.fdel
    if isinstance(value, (classmethod, staticmethod)):
        return type(value).__name__, value.__func__
    if isinstance(value, functools.cached_property):
        return "cached_property", value.func
    return value


# ---- installed code -----------------------------------------------------------------------------


def _installed_name(obj):
    module = getattr(obj, "__module__", None) or type(obj).__module__
    name = getattr(obj, "__qualname__", None) or getattr(obj, "__name__", None)
    if name is None:
        raise UnhashableArgument(f"a callable of type {type(obj).__name__} has no name")
    version = None if isinstance(obj, (types.FunctionType, type)) else package_version(module)
    known = public_name(obj) if isinstance(obj, type) else current_name(f"{module}:{name}")
    module, _, name = known.partition(":")
    return module, name, version


def _held_by(obj) -> list[Any]:
    """Data in a function that has no name of its own: a lambda, or one that another function made."""
    if not isinstance(obj, types.FunctionType) or "<" not in obj.__qualname__:
        return []
    return [name_of(obj) or (list(_closure(obj).items()), obj.__defaults__, obj.__kwdefaults__)]


# ---- warnings -----------------------------------------------------------------------------------

_warned: set[tuple[str, str, str]] = set()


def _warn_of_unhashable(owner, kind, name, value, error):
    if (owner.__module__, owner.__qualname__, name) in _warned:
        return
    _warned.add((owner.__module__, owner.__qualname__, name))
    warnings.warn(
        f"{kind} {name!r}, which {owner.__qualname__} uses, does not count: {error.message}; pass what "
        "matters as an argument, or change version= when it changes",
        DaskcacheWarning,
        stacklevel=2,
    )


def _warn_of_size(owner, kind, name, nbytes):
    warnings.warn(
        f"{kind} {name!r} of {owner.__qualname__}() holds {nbytes / 2**20:.0f} MiB, which is hashed for "
        "every plan: pass it as an argument, or as a node, instead",
        DaskcacheWarning,
        stacklevel=2,
    )
