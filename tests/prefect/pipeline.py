"""Tasks for the tests; in a module that workers can import."""

from __future__ import annotations

import asyncio
import os
import time

import numpy as np

from daskcache.prefect import task


@task(target="made/{i}.npy", label="make-{i}")
def make(i):
    return np.arange(10) + i


@task(target="doubled/{numbers.stem}.npy")
def double(numbers):
    return 2 * numbers


@task(target="sums/{first.stem}-{second.stem}.json")
def add(first, second):
    return int(first.sum() + second.sum())


@task(target="totals/{name}.json")
def total(arrays, name):
    return int(sum(array.sum() for array in arrays))


@task(target="odd/{i}.json", label="odd-{i}")
def odd(i):
    if i % 2 == 0:
        raise ValueError(f"{i} is even")
    return i


@task(target="slow/{i}.json", label="slow-{i}")
def slow(i, seconds=0.5):
    time.sleep(seconds)
    return i


@task(target="flaky/{i}.json", retries=2)
def flaky(i, folder):
    """Fails twice."""
    attempts = len(os.listdir(folder))
    open(f"{folder}/{attempts}", "w").close()
    if attempts < 2:
        raise OSError("not yet")
    return i


@task(target="waited/{i}.json")
async def waited(i):
    await asyncio.sleep(0.01)
    return i + 1


@task(target="died/{i}.json", label="die-{i}")
def die_once(i, note):
    """Kills its worker when it runs first."""
    if not os.path.exists(note):
        open(note, "w").close()
        os._exit(1)
    return i


@task(save=False)
def plus_one(number):
    return number + 1


@task(target="{base}/{number}.json")
def kept(number):
    return number
