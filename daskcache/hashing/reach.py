"""The reach of a function: all the user's own code that it refers to, with one fingerprint.

A `Reach` follows a function to the functions, classes and constants that it refers to, and on from
there.  `functions` analyses each function's code, `contents` the data in it and classes, and `ownership`
says where the user's code ends.  Installed packages and the standard library count by name.

`fingerprints` makes reaches of the functions and classes in values, `calls.spec` and
`runtime.code_check` those of decorated functions.  `changes` compares the parts of two reaches.
"""

from __future__ import annotations

import builtins
import logging
import sys
import threading
import time
import types
import warnings
from collections.abc import Callable
from typing import Any

from .. import config
from ..errors import DaskcacheWarning, UnhashableArgument
from . import contents
from .changes import Part, brief
from .code_objects import Import, bytecode_hash, names_in
from .contents import MISSING
from .encoder import NumberingEncoder, hash_value
from .functions import Body, Chain, body_of
from .ownership import home_of, is_standard, is_user_code, is_user_module


class Reach:
    """The user's own code behind one callable or class, as it is now.

    References are followed by global name, by attribute of a user module and by an import in a body.
    They are also followed through defaults, closures, containers and instances.  For example,
    ``def area(r): return PI * square(r)`` reaches `PI` and `square`, and then the names in `square`.
    Each function and class is described once and numbered in the order of discovery.  References hold
    the number, so cycles end and nothing is analysed twice.

    A global that the functions assign, or a container that they fill, is state.  It doesn't count.

    A reach notes where it found each object.  It holds as long as all are still there.  To check this is
    much quicker than a new analysis.

    Attributes
    ----------
    fingerprint : str
        32 hex digits.
    parts : list of Part
        The functions and values that count.
    modules : set of str
        Names of the user's own modules in it.

    Parameters
    ----------
    obj : callable or class
    follow : bool
        True to follow the names in the code (default).  False to take only the code itself, with its
        defaults and its closure.
    is_within : bool
        True if `obj` is a part of a value that is being hashed (default: False).
    """

    def __init__(self, obj: Any, follow: bool = True, is_within: bool = False):
        self._root = obj
        self._is_within = is_within
        self._follow_names = follow
        known: set[Any] = set()
        # a fact found late may concern an earlier description: repeat until a round finds nothing new
        while True:
            self._explore(obj, frozenset(known))
            if self._noted <= known:
                break
            known |= self._noted

    def _explore(self, obj, known):
        self.parts: list[Part] = []
        self.modules: set[str] = set()
        #: Facts that may concern earlier descriptions: globals that the functions assign themselves, and
        #: functions whose annotations act.  First those of earlier rounds, then those of this one.
        self._known = known
        self._noted: set[Any] = set()
        #: Places of the objects found: `get` of a namespace, name, value.
        self._bindings: list[tuple[Callable, str, Any]] = []
        #: Functions with their parts that can be replaced: code, defaults, closure.
        self._functions: list[tuple[types.FunctionType, Any, Any, Any, list]] = []
        #: Namespaces of classes with their number of names: a new name may hide an inherited one.
        self._classes: list[tuple[Any, int]] = []
        #: Values that can be modified in place, with their hashes.
        self._values: list[tuple[Any, str]] = []
        self._nbytes = 0
        self._found: list[Any] = []
        self._places: dict[int, int] = {}
        start = self._encoded(obj)
        descriptions = []
        for found in self._found:  # the list grows meanwhile
            descriptions.append(self._describe(found))
        self.fingerprint = hash_value((start, descriptions))
        self._looked_at = time.monotonic()

    def holds(self, glance: bool = False) -> bool:
        """Test if everything is still as it was found.

        Parameters
        ----------
        glance : bool
            True to skip the values that can be modified in place if they are large together and were
            checked a moment ago (default: False).
        """
        for look_up, name, value in self._bindings:
            if look_up(name, MISSING) is not value:
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
                if contents.in_cell(cell, MISSING) is not value:
                    return False
        if not self._values:
            return True
        if glance and self._nbytes > _LARGE and time.monotonic() < self._looked_at + _A_MOMENT:
            return True
        same = all(self._still(value) == known for value, known in self._values)
        self._looked_at = time.monotonic()
        return same

    def same_code(self) -> bool:
        """Test if the functions, classes and modules are still those found, whatever the data."""
        return all(
            look_up(name) is value for look_up, name, value in self._bindings if isinstance(value, _CODE)
        ) and all(func.__code__ is code for func, code, *_ in self._functions)

    def bodies(self, travelling: bool = False) -> dict[str, Body]:
        """Return the analyses of the functions that have sources, by the hash of their bytecode.

        The texts of the sources are left out.

        Parameters
        ----------
        travelling : bool
            True for those only that are pickled by value: functions of `__main__`, lambdas, and
            functions made in functions (default: False).
        """
        found = {
            code: body_of(code)
            for func, code, *_ in self._functions
            if not travelling or func.__module__ == "__main__" or "<" in func.__qualname__
        }
        return {
            bytecode_hash(code): body._replace(source="")
            for code, body in found.items()
            if body.attributes is None
        }

    def place(self, obj: Any) -> int:
        """Return the number of a function or class.  A new one is described when its turn comes."""
        if id(obj) not in self._places:
            self._places[id(obj)] = len(self._found)
            self._found.append(obj)
            if is_user_code(obj):
                self.modules.add(home_of(obj))
        return self._places[id(obj)]

    def follows(self, obj: Any) -> bool:
        """Test if a callable or class is described rather than named."""
        return (obj is self._root and isinstance(obj, types.FunctionType)) or contents.is_followed(obj)

    # -- functions --------------------------------------------------------------------------------------

    def _describe(self, obj):
        if isinstance(obj, type):
            return self._describe_class(obj)
        cells = [(cell, contents.in_cell(cell, MISSING)) for cell in obj.__closure__ or ()]
        self._functions.append((obj, obj.__code__, obj.__defaults__, obj.__kwdefaults__, cells))
        if (obj is self._root or is_user_code(obj)) and not contents.is_generated(obj):
            return self._describe_function(obj)
        return self._describe_wrapper(obj)

    def _describe_function(self, func):
        code = func.__code__
        body = body_of(code)
        place = f"{code.co_filename}:{code.co_firstlineno}"
        self.parts.append(
            Part("function", func.__module__, func.__qualname__, body.hash, body.source, place)
        )
        # a value without identity is an error in the function itself, and gives a warning in helpers
        own = [
            (kind, name, self._value(func, kind, name, value, strict=func is self._root))
            for kind, name, value in contents.held_by(func)
        ]
        if _READ_ANNOTATIONS & names_in(code):
            self._noted.add(_ANNOTATIONS_ACT)
        if self._known & {_ANNOTATIONS_ACT, ("wrapped", id(func))}:
            annotations = contents.annotations_of(func)
            own.append(("annotations", self._value(func, "annotations", "of", annotations)))
        return "function", body.hash, own, self._references(func, body)

    def _describe_wrapper(self, func):
        """Describe an installed package's wrapper of the user's code by its name and its contents.

        Wrappers outside the standard library may read annotations (pydantic's `validate_call`).  So the
        annotations of the functions inside count.
        """
        if not is_standard(func):
            self._noted.update(("wrapped", id(each)) for _, each in contents.wrapped_by(func))
        wrapped = [
            (name, self._encoded(value))
            for name, value in contents.wrapped_by(func)
            if contents.holds_followed(value) or type(value) in contents.IMMUTABLE
        ]
        return "wrapper", func.__code__.co_qualname, wrapped

    def _references(self, func, body: Body):
        """Return the names in a function's code, each with the description of the object found."""
        if not self._follow_names:
            return []
        namespace = func.__globals__
        self._noted.update((id(namespace), name) for name in body.assigned)
        found = []
        for chain in body.chains:
            if chain[0] in body.imports:
                value = self._imported(body.imports[chain[0]], namespace)
                if value is not MISSING:
                    found.append((chain, self._follow(func, "", chain[0], value, chain[1:], body)))
            elif chain[0] in namespace:
                found.append((chain, self._look_up(func, namespace, chain, body)))
            else:  # a builtin, or a global that is not defined yet
                self._bindings.append((namespace.get, chain[0], MISSING))
                if not hasattr(builtins, chain[0]):
                    found.append((chain, "undefined"))
        if body.attributes is not None:  # bytecode doesn't say which attribute is taken of which module
            for name, statement in sorted(body.imports.items()):
                value = self._imported(statement, namespace)
                if value is not MISSING:
                    found.append((("import", name), self._follow_module(func, value, (), body)))
        return found

    def _imported(self, statement: Import, namespace):
        module, value = contents.resolved(statement, namespace)
        if value is not MISSING:
            self._bindings.append((sys.modules.get, module.__name__, module))
            if statement.name is not None and vars(module).get(statement.name) is value:
                self._bindings.append((vars(module).get, statement.name, value))
        return value

    def _look_up(self, func, namespace, chain: Chain, body):
        name = chain[0]
        value = namespace[name]
        # a global that the functions assign: only code in it counts
        if (id(namespace), name) in self._known and not isinstance(value, _CODE):
            return "state"
        self._bindings.append((namespace.get, name, value))
        return self._follow(func, namespace.get("__name__", ""), name, value, chain[1:], body)

    def _follow(self, func, module, name, value, rest: Chain, body):
        """Describe the object that a name, with the attributes taken of it, refers to.

        Only the attribute in use counts of a module, and of a class if the attribute does not depend on
        the class.  Otherwise the whole object counts.  An attribute set on a function counts as well.
        """
        if isinstance(value, types.ModuleType):
            return self._follow_module(func, value, rest, body)
        if rest and isinstance(value, types.FunctionType) and rest[0] in vars(value):
            attribute = self._look_up(func, vars(value), rest, body)
            return self._value(func, "constant", name, value, module), attribute
        if rest and type(value) is type and self.follows(value):
            owner = next((c for c in value.__mro__ if rest[0] in vars(c)), None)
            if owner is not None and contents.stands_alone(vars(owner)[rest[0]]):
                member = vars(owner)[rest[0]]
                # a subclass that gets the name later hides the owner's
                for heir in value.__mro__[: value.__mro__.index(owner)]:
                    self._bindings.append((vars(heir).get, rest[0], MISSING))
                self._bindings.append((vars(owner).get, rest[0], member))
                return self._value(value, "attribute", rest[0], contents.plain_member(member))
        return self._value(func, "constant", name, value, module)

    def _follow_module(self, func, module, rest: Chain, body):
        if not is_user_module(module):
            return "module", module.__name__
        self.modules.add(module.__name__)
        inner = vars(module)
        if not rest:
            used = contents.names_used(module, body)
            return [(name, self._look_up(func, inner, (name,), body)) for name in used]
        contents.load_submodule(module, rest[0])
        if rest[0] in inner:
            return self._look_up(func, inner, rest, body)
        # an attribute that the module makes on request (`__getattr__`)
        value = getattr(module, rest[0], MISSING)
        if value is MISSING:
            return "undefined"
        return self._follow(func, module.__name__, rest[0], value, rest[1:], body)

    # -- values -----------------------------------------------------------------------------------------

    def _value(self, owner, kind, name, value, module=None, strict=False):
        """Return the hash of a value, in which functions and classes stand by their numbers.

        A module counts by the names in use.  A logger or lock counts by its type.  A value that can't be
        hashed counts by its type too, with a warning; it is an error if `strict`.
        """
        if isinstance(value, _STATELESS):
            return type(value).__name__
        if isinstance(value, types.ModuleType) and isinstance(owner, types.FunctionType):
            return self._follow_module(owner, value, (), body_of(owner.__code__))
        try:
            encoder = self._encoder(value, (owner, kind, name))
        except UnhashableArgument as error:
            if isinstance(error.__context__, RecursionError) and self._is_within:
                raise  # the value around this reach is the one that is nested too deeply
            if strict:
                raise UnhashableArgument(
                    f"{kind} {name!r} of {owner.__qualname__}(): {error.message}", hint=error.hint
                ) from error
            _warn_of_unhashable(owner, kind, name, value, error)
            return f"of type {type(value).__qualname__}"
        if not isinstance(value, (types.FunctionType, type)):
            shown = name if kind in ("constant", "class") else f"{owner.__qualname__}.{name}"
            hashed = encoder.digest_without_numbers()  # code in the value is a part of its own
            self.parts.append(Part(kind, module or owner.__module__, shown, hashed, brief.repr(value)))
        return encoder.digest()

    def _encoded(self, value):
        return self._encoder(value).digest()

    def _encoder(self, value, whose=None):
        encoder = NumberingEncoder(self)
        encoder.add_checked(value)
        if type(value) not in contents.IMMUTABLE and not isinstance(value, types.FunctionType):
            self._values.append((value, encoder.digest()))
            self._nbytes += encoder.nbytes()
            if whose and encoder.nbytes() > config.get_bytes("closure-warning"):
                _warn_of_size(*whose, encoder.nbytes())
        return encoder

    def _still(self, value):
        """Return the hash of a value now, or None if it can't be hashed or refers to new code."""
        known = len(self._found)
        try:
            encoder = NumberingEncoder(self)
            encoder.add_checked(value)
        except UnhashableArgument:
            return None
        return encoder.digest() if len(self._found) == known else None

    # -- classes ----------------------------------------------------------------------------------------

    def _describe_class(self, cls):
        """Describe a class by its members, bases and declarations, whatever its source text."""
        described = []
        self._classes.append((vars(cls), len(vars(cls))))
        for name, value in contents.members(cls):
            self._bindings.append((vars(cls).get, name, value))
            described.append((name, self._value(cls, "attribute", name, contents.plain_member(value))))
        bases = [self._encoded(base) for base in cls.__bases__ if base is not object]
        stated = dict(contents.declared(cls))
        if stated:
            described.append(("declared", self._value(cls, "class", cls.__qualname__, stated)))
        return "class", cls.__qualname__, described, bases


#: Types of values that are followed or named even if the functions assign the global.
_CODE = (types.ModuleType, types.FunctionType, type)
#: Noted if the user's own code reads annotations: then those of all functions count.
_ANNOTATIONS_ACT = "annotations act"
_READ_ANNOTATIONS = {"__annotations__", "get_annotations", "get_type_hints", "signature"}
#: Types of values that don't affect results.
_STATELESS = (logging.Logger, type(threading.Lock()), type(threading.RLock()))
#: Values that can be modified in place are checked at each call if they are up to this size (bytes)
#: together.  Larger ones are checked once a moment (seconds).  When a plan is made, all are checked.
_LARGE = 4096
_A_MOMENT = 0.01


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
