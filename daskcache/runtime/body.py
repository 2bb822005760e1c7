"""The call of a node's function in this process, with a check of the result.

`node` uses it for ordinary functions, and `isolation` in the child process.
"""

from __future__ import annotations

import asyncio
import inspect
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dask.delayed import Delayed

from ..calls.state import inside_body, running
from ..errors import ResultError
from .work import Work


def body(work: Work, args: tuple, kwargs: dict) -> Any:
    """Call the node's function in this process, and check what it returned.

    Raises
    ------
    Exception
        Any error of the function.
    ResultError
        If the function returned a generator, a coroutine or a lazy Dask value.
    """
    spec = work.spec
    tokens = inside_body.set(True), running.set(work)
    try:
        result = spec.func(*args, **kwargs)
        if inspect.iscoroutinefunction(spec.func):
            result = _run_coroutine(result)
    finally:
        inside_body.reset(tokens[0])
        running.reset(tokens[1])
    _check_result(work, result)
    return result


def _check_result(work, result):
    story = None
    if inspect.isgenerator(result) or inspect.isasyncgen(result):
        story, hint = "a generator, which can be read only once", "return list(...) of it"
    elif inspect.iscoroutine(result):
        story, hint = "a coroutine that nobody awaited", "write 'async def', or await it"
    elif isinstance(result, Delayed):
        story, hint = (
            "a lazy Dask value",
            "build the graph outside of the function, or compute the value inside",
        )
    if story:
        if inspect.iscoroutine(result):
            result.close()
        raise ResultError(
            f"{work.spec.name}() returned {story}",
            node=work.title,
            target=", ".join(work.paths) or None,
            hint=hint,
        )


def _run_coroutine(coroutine):
    """Run a coroutine to its end, in another thread if this one has a running loop, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()
