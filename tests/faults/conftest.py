"""Workers for the fault suites: fresh processes, in which little runs that a fork could disturb."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import dask
import pytest
from workers import begin

from daskcache.storage import commit as committing

_WORKERS = 2


@pytest.fixture(autouse=True)
def in_the_calling_thread():
    """What is forked has one thread."""
    with dask.config.set(scheduler="sync"):
        yield


@pytest.fixture(autouse=True)
def the_dead_are_not_waited_for(monkeypatch):
    """Those who died while they replaced a target are many here; `workers.begin` says the same."""
    monkeypatch.setattr(committing, "PATIENCE", 0.02)


@pytest.fixture(scope="session")
def crew(cache_folder):
    """Two processes that were started anew, without this one's threads and clusters.

    A function that runs there must be importable: one of a test module will do.
    """
    with pytest.MonkeyPatch.context() as patch:
        for library in ("OMP", "OPENBLAS", "MKL"):
            patch.setenv(f"{library}_NUM_THREADS", "1")
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(_WORKERS, context, begin, (cache_folder,)) as pool:
            yield pool


@pytest.fixture
def shared(crew, tmp_path):
    """A function that shares out ``function(folder, share, shares, *args)`` to the crew.

    Each call has a folder of its own, and returns how many cases it tried and what was wrong with them,
    a text each; the sums of both come back.
    """

    def shared(function, *args) -> tuple[int, list[str]]:
        futures = []
        for share in range(_WORKERS):
            folder = tmp_path / f"share-{share}"
            folder.mkdir()
            futures.append(crew.submit(function, str(folder), share, _WORKERS, *args))
        tried, wrong = zip(*[future.result() for future in futures], strict=True)
        return sum(tried), [text for texts in wrong for text in texts]

    return shared


@pytest.fixture
def apart(crew, tmp_path):
    """A function that runs ``function(folder, *args)`` in one worker of the crew."""

    def apart(function, *args):
        return crew.submit(function, str(tmp_path), *args).result()

    return apart
