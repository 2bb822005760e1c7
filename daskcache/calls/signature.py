"""`Signature`: the parameters of a decorated function, and arguments bound to them.

`spec` makes one for each function.  `runtime.node` and `modes.plain` unbind the values for the call.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable
from inspect import Parameter
from types import FunctionType

from ..targets.base import Target
from ..targets.source import Source


class Signature:
    """Parameters of a function, with a quick way to bind arguments to them."""

    def __init__(self, inspected: inspect.Signature):
        self.inspected = inspected
        parameters = self.inspected.parameters.values()
        self.names = tuple(p.name for p in parameters)
        self.kinds = tuple(p.kind for p in parameters)
        self.wants_object = tuple(_handle_class(p.annotation) for p in parameters)
        self.wants_open = tuple(_lazy_kind(p.annotation) for p in parameters)
        self.takes_target_path = "target_path" in self.names
        self.defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        if self.takes_target_path:
            self.defaults["target_path"] = None
        self._plain = not {Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD} & set(self.kinds)
        self._max_positional = sum(kind is not Parameter.KEYWORD_ONLY for kind in self.kinds)
        self._rest = [self._defaults_from(i) for i in range(len(self.names) + 1)]

    def _defaults_from(self, position):
        names = self.names[position:]
        if all(name in self.defaults for name in names):
            return tuple(self.defaults[name] for name in names)
        return None

    def bind(self, args: tuple, kwargs: dict) -> tuple:
        """Return one value for each parameter, with defaults filled in.

        Raises
        ------
        TypeError
            If the arguments don't fit, as in the call.
        """
        # the quick way handles plain parameters; `inspect` does the rest, and raises
        if self._plain and len(args) <= self._max_positional:
            if not kwargs:
                rest = self._rest[len(args)]
                if rest is not None:
                    return args + rest
            else:
                values, used = list(args), 0
                for name in self.names[len(args) :]:
                    if name in kwargs:
                        values.append(kwargs[name])
                        used += 1
                    elif name in self.defaults:
                        values.append(self.defaults[name])
                    else:
                        break
                if used == len(kwargs) and len(values) == len(self.names):
                    return tuple(values)
        return self._bind_slowly(args, kwargs)

    def _bind_slowly(self, args, kwargs):
        if self.takes_target_path:
            kwargs = {"target_path": None, **kwargs}
        bound = self.inspected.bind(*args, **kwargs)
        bound.apply_defaults()
        return tuple(bound.arguments[name] for name in self.names)

    def unbind(self, values: tuple) -> tuple[list, dict]:
        """Return positional and keyword arguments for a call with these values."""
        args: list = []
        kwargs: dict = {}
        for name, kind, value in zip(self.names, self.kinds, values, strict=True):
            if kind is Parameter.VAR_POSITIONAL:
                args += value
            elif kind is Parameter.VAR_KEYWORD:
                kwargs |= value
            elif kind is Parameter.KEYWORD_ONLY:
                kwargs[name] = value
            else:
                args.append(value)
        return args, kwargs


ANYTHING = inspect.signature(lambda *args, **kwargs: None)


def signature_of(func: Callable) -> Signature:
    """Return the signature of a function; any arguments fit where it has none."""
    return (_known_signature if _is_at_its_name(func) else _new_signature)(func)


def _new_signature(func):
    return Signature(_inspect(func))


#: Cached, because a worker makes specs anew for each task.  Only for functions of modules, which stay.
_known_signature = functools.lru_cache(_new_signature)


def _is_at_its_name(func):
    """Test if a module has this function under its name."""
    module = sys.modules.get(getattr(func, "__module__", None))
    return type(func) is FunctionType and getattr(module, func.__name__, None) is func


def _inspect(func):
    for evaluated in (True, False):  # annotations that can't be evaluated stay as they are written
        with contextlib.suppress(NameError, SyntaxError, AttributeError, TypeError, ValueError):
            return inspect.signature(func, eval_str=evaluated)
    return ANYTHING  # a function of C without a signature


def _handle_class(annotation):
    """Return the class of sources or targets that a parameter asks for; None if it asks for data."""
    is_handle = isinstance(annotation, type) and issubclass(annotation, (Source, Target))
    return annotation if is_handle else None


def _lazy_kind(annotation):
    """Return the name of the package whose lazy array a parameter asks for, or None.

    Classes are compared by name, so neither package has to be installed.
    """
    if not isinstance(annotation, type):
        return None
    return _LAZY.get(f"{annotation.__module__}.{annotation.__qualname__}")


_LAZY = {
    "zarr.core.array.Array": "zarr",
    "zarr.core.group.Group": "zarr",
    "dask.array.core.Array": "dask",
}
