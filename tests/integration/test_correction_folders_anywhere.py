"""Folders of corrections on every scheduler: workers copy a user's files, in place of runs."""

from __future__ import annotations

from pathlib import Path

import dask
import pytest

import daskcache as dc
from daskcache.errors import TargetModified


@pytest.fixture
def made(runs):
    """A function that makes limits of three images, and their sum; both functions note their runs."""

    def raw(n):
        return n

    def limit(raw, factor):
        runs.note("limit")
        return raw * factor

    def total(limits):
        runs.note("total")
        return sum(limits)

    raw = dc.delayed(raw, target="raw/{n}.json")
    limit = dc.delayed(limit, target="limits/{raw.stem}.json", corrections="corrected/{raw.stem}.json")
    total = dc.delayed(total, target="total.json")

    def nodes(factor=10):
        limits = [limit(raw(n), factor) for n in range(3)]
        return limits, total(limits)

    return nodes


def save(root, n, content):
    path = Path(root, "corrected", f"{n}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def test_a_correction_is_taken_in_by_a_worker(anywhere, made, runs, root):
    """Requested or not, alone or in a list: only what follows from it runs."""
    assert made()[1].compute() == 30
    runs.clear()
    save(root, 1, "12")
    assert made()[1].compute() == 32
    assert runs.take() == ["total"]
    save(root, 2, "25")
    assert dc.compute(*made()) == ([0, 12, 25], 37)
    save(root, 2, "26")
    assert dask.delayed(list)(made()[0]).compute() == [0, 12, 26]
    assert made()[1].compute() == 38
    assert runs.take() == ["total"] * 2
    assert Path(root, "limits/2.json").read_text() == "26"


def test_it_stands_until_the_user_decides(anywhere, made, runs, root):
    """Another recipe raises before anything runs; after `keep` and `release` it runs as decided."""
    save(root, 1, "12")
    save(root, 2, "25")
    assert dc.compute(*made()) == ([0, 12, 25], 37)
    Path(root, "limits/2.json").unlink()
    assert dc.compute(made()[0]) == ([0, 12, 25],)
    runs.clear()
    limits, total = made(factor=3)
    with pytest.raises(TargetModified, match="2 nodes"):
        total.compute()
    assert runs.names() == []
    dc.keep(limits[1])
    dc.release(limits[2])
    assert dc.compute(*made(factor=3)) == ([0, 12, 6], 18)


def test_a_second_verb_shares_what_is_under_way(anywhere, made, root):
    """Tasks that copy a correction have keys of their own, and are shared as others are."""
    made()[1].compute()
    save(root, 1, "12")
    first, second = dc.persist(made()[1], made()[0][1])
    assert dc.compute(made()[0][1], made()[1]) == (12, 32)
    assert (first.compute(), second.compute()) == (32, 12)
