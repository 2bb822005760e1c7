"""Lazy values made from nodes, and what they share with nodes: used in place of a value, they say so.

`node` uses `Uncomputed`.  Operators, attributes, items and calls of a node give what Dask gives, as a
`LazyValue` or `LazyAttribute`: with the same key and graph, and errors that name the node.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from dask.delayed import Delayed, DelayedAttr

from ..errors import DaskcacheWarning, NotComputed

if TYPE_CHECKING:
    _Base = Delayed
else:
    _Base = object


class Uncomputed(_Base):
    """Base of nodes and of the lazy values made from them."""

    __slots__ = ()
    #: Hints: how to get the value, and what else to do for its items.
    _cure = "node.compute() gives the value"
    _cure_of_items = f"{_cure}; if the function returns a tuple, delayed(nout=…) its length"

    def _node_title(self) -> str:
        """Return the display name of the node that is, or that gives, the value."""
        raise NotImplementedError

    def _what(self) -> str:
        return f"{self._node_title()} is a node, which is not computed yet"

    def _not_computed(self, story: str, hint: str) -> NotComputed:
        return NotComputed(f"{self._what()}: {story}", node=self._node_title(), hint=hint)

    def __bool__(self) -> NoReturn:
        raise self._not_computed("it has no truth value", self._cure)

    def __int__(self) -> NoReturn:
        raise self._not_computed("it is not a number", self._cure)

    __float__ = __complex__ = __index__ = __int__

    def __iter__(self) -> Iterator[Any]:
        if self._length is None:
            raise self._not_computed("it can't be iterated", self._cure_of_items)
        return super().__iter__()

    def __len__(self) -> int:
        if self._length is None:
            raise self._not_computed("its length is not known", self._cure_of_items)
        return self._length

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise self._not_computed("it can't be changed", "change the value in a decorated function")

    def __format__(self, spec: str) -> str:
        if spec:
            raise self._not_computed(f"the format {spec!r} does not fit", self._cure)
        warnings.warn(
            f"{self._what()}: a text has its name, not the value; {self._cure}, and {{…!r}} the name",
            DaskcacheWarning,
            stacklevel=2,
        )
        return repr(self)

    def __getattr__(self, name: str) -> Any:
        return _made_from(self, super().__getattr__(name))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _made_from(self, super().__call__(*args, **kwargs))


_UNARY = "abs", "invert", "neg", "pos"
_BINARY = "eq", "ne", "lt", "le", "gt", "ge", "getitem"
_WITH_REFLECTED = (
    *("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow"),
    *("and", "or", "xor", "lshift", "rshift"),
)


def _operator(name: str) -> Callable[..., Any]:
    operate = getattr(Delayed, name)

    def operator(self, *others):
        return _made_from(self, operate(self, *others))

    return operator


def _reflected(name: str) -> Callable[..., Any]:
    operate, operate_reflected = getattr(Delayed, f"__{name}__"), getattr(Delayed, f"__r{name}__")

    def operator(self, other):
        # Python asks the class on the right first, if it derives from that on the left
        value = operate(other, self) if isinstance(other, Delayed) else operate_reflected(self, other)
        return _made_from(self, value)

    return operator


# set after the class was made, so that `__eq__` does not take its hash
for _name in (*_UNARY, *_BINARY, *_WITH_REFLECTED):
    setattr(Uncomputed, f"__{_name}__", _operator(f"__{_name}__"))
for _name in _WITH_REFLECTED:
    setattr(Uncomputed, f"__r{_name}__", _reflected(_name))


class _FromNode(Uncomputed):
    """A lazy value made from a node, with the node's title in the slot ``_title``."""

    __slots__ = ()
    _title: str
    _cure = _cure_of_items = "value.compute() gives it, and node.compute() the value of the node"

    def _node_title(self):
        return self._title

    def _what(self):
        return f"this is a lazy value, made from the node {self._title} and not computed yet"

    def _rebuild(self, graph, *, rename=None):
        return _made_from(self, super()._rebuild(graph, rename=rename))


class LazyValue(_FromNode, Delayed):
    """The lazy result of an operator on a node, or of a call."""

    __slots__ = ("_title",)


class LazyAttribute(_FromNode, DelayedAttr):
    """A lazy attribute of a node's value, or its method."""

    __slots__ = ("_title",)


def _made_from(origin: Uncomputed, value: Any) -> Any:
    """Return a lazy value of Dask as one that names the node that it is made from."""
    kind = _KINDS.get(type(value))
    if kind is None:
        return value
    made: Any = object.__new__(kind)
    for name in _SLOTS[kind]:
        object.__setattr__(made, name, getattr(value, name))
    object.__setattr__(made, "_title", origin._node_title())
    return made


_KINDS: dict[type, type] = {Delayed: LazyValue, DelayedAttr: LazyAttribute}
_SLOTS = {LazyValue: Delayed.__slots__, LazyAttribute: Delayed.__slots__ + DelayedAttr.__slots__}
