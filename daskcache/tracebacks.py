"""Tracebacks without the frames of daskcache and Dask, which leave those of users.

The public functions use `shortened`, and `runtime.node` uses `shorten` where a function was called.
Dask's setting ``admin.traceback.shorten`` lists the files whose frames go.  If it is empty, all stay.
"""

from __future__ import annotations

import dis
import functools
import linecache
import re
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import ParamSpec, TypeVar

import dask

from .errors import DaskcacheError

_P = ParamSpec("_P")
_T = TypeVar("_T")


def shortened(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Decorate a public function so that its errors have short tracebacks."""

    @functools.wraps(function)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            shorten(error)
            raise

    return wrapper


def shorten(error: BaseException) -> None:
    """Remove frames of daskcache and Dask from the tracebacks of an error and of its causes.

    A `DaskcacheError` says what happened, so frames of Python's library go, too, and of its causes only
    users' frames stay.  Other errors keep the innermost frame, because it may be all that tells a fault
    of daskcache or Dask, unless a statement of daskcache raised them.
    """
    patterns = dask.config.get("admin.traceback.shorten", None)
    if not patterns:
        return
    hidden = _expression(tuple(patterns))
    for each, is_cause in _with_causes(error):
        links = list(_links(each.__traceback__))
        _find_sources(links)
        kept = [link for link in links if not (_is_inner(link) or hidden.match(_file(link)))]
        if is_cause or isinstance(each, DaskcacheError):
            kept = [link for link in kept if not _file(link).startswith(_library())]
            kept = [link for link in kept if not (is_cause and "site-packages" in _file(link))]
        elif links and kept[-1:] != links[-1:] and not _is_raised(links[-1]):
            kept.append(links[-1])
        each.__traceback__ = _joined(kept)


def _with_causes(error: BaseException) -> Iterator[tuple[BaseException, bool]]:
    """Yield the error and its causes, each with True if it is the cause of a `DaskcacheError`."""
    seen: set[int] = set()
    found: BaseException | None = error
    is_cause = False
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found, is_cause
        is_cause = is_cause or isinstance(found, DaskcacheError)
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)


def _links(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _joined(links: list[TracebackType]) -> TracebackType | None:
    joined = None
    for link in reversed(links):  # new ones: another error may hold the old
        joined = TracebackType(joined, link.tb_frame, link.tb_lasti, link.tb_lineno)
    return joined


def _find_sources(links):
    """Let tracebacks show the lines of functions that ran on workers; see `calls.code_files`."""
    from .clients import worker_here  # only errors need it

    if worker_here() is not None:  # its file of this name may be another one
        return
    for name in {_file(link) for link in links}:
        if name.startswith("<") and name not in linecache.cache:
            lines = linecache.getlines(name[1:-1])
            if lines:
                linecache.cache[name] = len("".join(lines)), None, lines, name


def _module(link):
    return link.tb_frame.f_globals.get("__name__") or ""


def _file(link):
    return link.tb_frame.f_code.co_filename


def _is_inner(link):
    return _module(link).startswith((_OWN, "dask._", "distributed."))


def _is_raised(link):
    """Test if a statement of daskcache raised the error, which is then no fault of it."""
    code = link.tb_frame.f_code.co_code
    is_statement = code[link.tb_lasti : link.tb_lasti + 1] == bytes([dis.opmap["RAISE_VARARGS"]])
    return is_statement and _module(link).startswith(_OWN)


_OWN = __name__.partition(".")[0] + "."


@functools.cache
def _library():
    import sysconfig  # slow to import, and most programs have no errors

    return sysconfig.get_path("stdlib")


@functools.cache
def _expression(patterns):
    return re.compile(f".*({'|'.join(patterns)})")
