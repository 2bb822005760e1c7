"""A user's flow of `daskcache.prefect` with annotated parameters.  Type checkers find nothing in it."""

from __future__ import annotations

from typing import assert_type

from daskcache import delayed
from daskcache.prefect import CachedResult, flow, task


@task(target="squares/{n}.json", retries=2)
def square(n: int) -> int:
    return n * n


@task
def total(numbers: list[int], start: int = 0) -> int:
    return sum(numbers, start)


@delayed(target="half/{n}.json")
def half(n: int) -> float:
    return n / 2


@flow(name="sums")
def sums(limit: int) -> int:
    found = square(2)
    assert_type(found, CachedResult[int])
    total([1, 2], start=found)
    future = square.submit(3)  # pyright: ignore[reportUnknownMemberType]  # Prefect's overloads
    result = future.result()
    assert_type(result, CachedResult[int])
    assert_type(half(found).compute(), float)
    return found.get_data() + total([found, 2]).get_data() + limit


@flow
def plain(limit: int) -> str:
    return str(sums(limit))


assert_type(sums(2), int)
assert_type(plain(limit=2), str)
