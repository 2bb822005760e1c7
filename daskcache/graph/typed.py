"""What type checkers know of nodes and decorated functions.

`function`, `node`, `nodes`, `accessor` and `modes` use these types.  None of them acts at run time.

Functions receive data for nodes and sources.  A `typing.ParamSpec` keeps their parameters as annotated,
so nodes have to fit each of them: to type checkers their class derives from `typing.Any`.  A node then
also fits each other class.  So overloads tell nodes from `Nodes` by the parameters of their base `Lazy`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, Protocol, TypedDict, overload

if TYPE_CHECKING:
    from typing import Self

    from typing_extensions import TypeVar, Unpack

    from ..targets.base import Target
    from .function import Function

    T = TypeVar("T")
    T_co = TypeVar("T_co", covariant=True, default=Any)
    #: Value with ``errors="collect"``.
    C_co = TypeVar("C_co", covariant=True, default=Any)
    #: `One` or `Many`.
    N_co = TypeVar("N_co", covariant=True, default=Any)
else:
    from typing import TypeVar

    T = TypeVar("T")
    T_co = TypeVar("T_co", covariant=True)
    C_co = TypeVar("C_co", covariant=True)
    N_co = TypeVar("N_co", covariant=True)

P = ParamSpec("P")


class One:
    """Marks the type of a node."""


class Many:
    """Marks the type of several nodes."""


class Lazy(Generic[T_co, C_co, N_co]):
    """Base of nodes and `Nodes`, with the types of their values."""

    __slots__ = ()

    if TYPE_CHECKING:

        def persist(self, **kwargs: Any) -> Self: ...
        def visualize(self, *args: Any, **kwargs: Any) -> Any: ...


class LazyOperators:
    """Base of nodes, with the operators of lazy values.  The types of their results are not known."""

    __slots__ = ()

    if TYPE_CHECKING:

        def __iter__(self) -> Iterator[Any]: ...
        def _unary(self) -> Any: ...
        def _binary(self, other: Any, /) -> Any: ...

        __abs__ = __invert__ = __neg__ = __pos__ = _unary
        __add__ = __sub__ = __mul__ = __truediv__ = __floordiv__ = __mod__ = __pow__ = _binary
        __radd__ = __rsub__ = __rmul__ = __rtruediv__ = __rfloordiv__ = __rmod__ = __rpow__ = _binary
        __and__ = __or__ = __xor__ = __lshift__ = __rshift__ = __matmul__ = _binary
        __rand__ = __ror__ = __rxor__ = __rlshift__ = __rrshift__ = __rmatmul__ = _binary
        __lt__ = __le__ = __gt__ = __ge__ = __getitem__ = _binary


class DecoratorOptions(TypedDict, total=False):
    """Parameters of `daskcache.delayed`, which describes them."""

    pure: bool | None
    nout: int | None
    traverse: bool
    target: str | Target | tuple[str | Target, ...] | Mapping[str, str | Target] | None
    store: type[Target] | None
    save: bool
    version: object
    ignore: str | tuple[str, ...] | list[str]
    check: Literal["record", "exists", "content"]
    on_modified: Literal["error", "adopt", "recompute"]
    corrections: str | os.PathLike[str] | None
    label: str | None
    expires: str | None
    tracked: str | tuple[str, ...] | list[str]
    isolate: bool
    retries: int
    timeout: str | float | None


class Decorator(Protocol):
    """What `daskcache.delayed` returns without a function."""

    @overload
    def __call__(
        self, obj: Callable[P, Coroutine[Any, Any, T]], /, **options: Unpack[DecoratorOptions]
    ) -> Function[P, T]: ...
    @overload
    def __call__(
        self, obj: Callable[P, T], /, **options: Unpack[DecoratorOptions]
    ) -> Function[P, T]: ...
    @overload
    def __call__(self, **options: Unpack[DecoratorOptions]) -> Decorator: ...
