"""The bytes that a plan will take, and the warning before a run that may not fit on the disk."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace

import dask
import numpy as np
import pandas as pd
import pytest

import daskcache as dc
from daskcache.errors import DaskcacheWarning
from daskcache.planning import space
from daskcache.planning.space import free_space

HEAD = 128  # bytes of a .npy file before its data


def blank(n, name, version=1):
    return np.full(n, 1, "uint8")


def double(image):
    return image * 2


def image(name, n=1000, version=1):
    return dc.delayed(blank, target="{name}.npy", version=version)(n, name)


def doubled(node):
    return dc.delayed(double, target="{image.stem}_2.npy", version=1)(node)


@pytest.fixture
def disk(monkeypatch):
    """Sets the free bytes of the disk, and counts the questions for them."""

    def disk(free):
        asked = []

        def usage(path):
            asked.append(path)
            return SimpleNamespace(free=free)

        monkeypatch.setattr(shutil, "disk_usage", usage)
        return asked

    return disk


def told(verb):
    """The warnings about room that a verb gives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        verb()
    return [str(each.message) for each in caught if "may not fit" in str(each.message)]


def unlink(*nodes):
    for node in nodes:
        Path(node.dc.path).unlink()


# ---- the estimate -------------------------------------------------------------------------------


def test_bytes_of_a_plan():
    """Missing results take what is recorded, new ones the mean of their function."""
    assert dc.plan(image("a"), image("b", 3000)).nbytes == 0  # nothing is known yet
    dc.compute(image("a"), image("b", 3000))
    assert dc.plan(image("a"), image("b", 3000)).nbytes == 0
    unlink(image("b", 3000))
    assert dc.plan(image("a"), image("b", 3000)).nbytes == 3000 + HEAD
    assert dc.plan(image("a"), image("c"), image("d")).nbytes == 2 * (1000 + HEAD)
    assert dc.plan(image("a"), doubled(image("a"))).nbytes == 0  # no record of double()


def test_results_that_replace_others_take_room_one_at_a_time():
    """In the end the disk is as full as before."""
    nodes = [image(name, n) for name, n in (("a", 1000), ("b", 3000))]
    dc.compute(nodes)
    stale = [image("a", 1000, version=2), image("b", 3000, version=2)]
    assert dc.plan(stale).nbytes == 3000 + HEAD
    assert dc.plan(nodes, force=True).nbytes == 3000 + HEAD
    assert dc.plan(stale, image("c", version=2)).nbytes == 3000 + HEAD + 2000 + HEAD


def test_what_takes_no_room_in_the_root():
    """Uncached nodes, and tables, whose databases grow by other sizes."""
    node = dc.delayed(blank, save=False)(5, "a")
    assert dc.plan(node, doubled(image("a"))).nbytes == 0
    rows = dc.delayed(lambda: pd.DataFrame({"n": [1]}), target="results.db::rows", version=1)()
    rows.compute()
    rows.dc.invalidate()
    assert dc.plan(rows).nbytes == 0


def test_free_space_of_a_root_that_is_not_there_yet(tmp_path):
    """It is that of the nearest folder."""
    assert free_space(str(tmp_path / "not" / "yet")) == pytest.approx(
        shutil.disk_usage(tmp_path).free, rel=0.1
    )


def test_a_disk_that_does_not_tell(tmp_path, monkeypatch):
    """What can't be known is not warned of."""

    def refuse(path):
        raise OSError("no such call")

    monkeypatch.setattr(shutil, "disk_usage", refuse)
    assert free_space(str(tmp_path)) is None


# ---- the warning --------------------------------------------------------------------------------


def dask_compute(nodes):
    dask.compute(*nodes)


def of_composed(nodes):
    dask.delayed(list)([dask.delayed(len)(node) for node in nodes]).compute()


VERBS = {
    "dask.compute": dask_compute,
    "dc.compute": lambda nodes: dc.compute(nodes),
    "plan.compute": lambda nodes: dc.plan(nodes).compute(),
    "node.compute": lambda nodes: nodes[0].compute(),
    "dask.persist": lambda nodes: dask.persist(*nodes),
    "dc.persist": lambda nodes: dc.persist(nodes),
    "composed": of_composed,
}


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_warns_once(verb, disk, root):
    """With both numbers and the root; it is no error, and the disk is asked once."""
    nodes = [image(name) for name in "abcdefgh"]
    dc.compute(nodes)
    unlink(*nodes)
    asked = disk(1000)
    (warning,) = told(lambda: VERBS[verb](nodes))
    assert "0.98 kiB are free at" in warning
    assert str(root) in warning
    assert "'dask cache prune'" in warning
    if verb not in ("composed", "node.compute"):
        assert "about 8.81 kiB or more" in warning
    assert len(asked) == 1
    assert told(lambda: VERBS[verb](nodes)) == []  # all is there now


def test_composed_graphs_are_looked_at_as_they_grow(disk, monkeypatch):
    """They plan one node after the other: what is too much together is noticed, in few looks."""
    nodes = [image(f"{n:03}") for n in range(100)]
    dc.compute(nodes)
    unlink(*nodes)
    disk(75 * (1000 + HEAD))
    looks, actual = [], space.room_needed
    monkeypatch.setattr(space, "room_needed", lambda nodes: looks.append(len(nodes)) or actual(nodes))
    assert len(told(lambda: of_composed(nodes))) == 1
    assert 5 < len(looks) < 30


@pytest.mark.parametrize("free", [2 * (1000 + HEAD), 10**9])
def test_no_warning_if_it_fits(free, disk):
    """To the byte."""
    nodes = [image("a"), image("b")]
    dc.compute(nodes)
    unlink(*nodes)
    disk(free)
    assert told(lambda: dc.compute(nodes)) == []
    unlink(*nodes)
    disk(free - 10**9)
    assert len(told(lambda: dc.compute(nodes))) == 1


def test_looking_asks_no_disk(disk):
    """Plans, and verbs with nothing to run, do not."""
    node = image("a")
    node.compute()
    asked = disk(0)
    assert told(lambda: (node.compute(), dc.plan(node), dc.why(node))) == []
    unlink(node)
    assert told(lambda: dc.plan(node).nbytes) == []
    assert asked == []


def test_each_root_is_compared_with_its_own_disk(disk, tmp_path):
    """A verb over two roots asks for both, and names each."""
    here = image("a")
    with dask.config.set({"daskcache.root": str(tmp_path / "other")}):
        there = image("a")
    dc.compute(here, there)
    unlink(here, there)
    asked = disk(10)
    found = told(lambda: dc.compute(here, there))
    assert len(asked) == len(found) == 2
    assert str(tmp_path / "other") in found[1]


def test_calls_in_mode_cache_are_compared(disk, root):
    """A call that runs at once is a verb of its own."""
    task = dc.task(target="{name}.npy", version=1)(blank)
    with dask.config.set({"daskcache.mode": "cache"}):
        task(1000, "a")
        (root / "a.npy").unlink()
        disk(10)
        assert len(told(lambda: task(1000, "a"))) == 1


def test_it_can_be_an_error(disk):
    """By Python's own filter; nothing has run then."""
    node = image("a")
    node.compute()
    unlink(node)
    disk(10)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DaskcacheWarning)
        with pytest.raises(DaskcacheWarning, match="may not fit"):
            node.compute()
    assert not Path(node.dc.path).exists()
