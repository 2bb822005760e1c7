"""Verbs without a cluster: one plan for each, damaged results, forced nodes, failures, nested verbs."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import SimpleNamespace

import dask
import pytest

import daskcache as dc
from daskcache.errors import DaskcacheWarning, ForeignTarget, NodeFailed, NotANode, TargetCorrupt
from daskcache.graph import layer as layers
from daskcache.graph import verb
from daskcache.graph.frames import dask_moment
from daskcache.graph.layer import VerbLayer, current_layer
from daskcache.graph.verb import make_now
from daskcache.planning.examiner import Examiner


@pytest.fixture
def made(runs):
    """Three functions: of a number, of another node's value, and one that fails."""

    @dc.delayed(target="number/{i}.json", version=1)
    def number(i):
        runs.note("number")
        return i

    @dc.delayed(target="double/{x.stem}.json", version=1)
    def double(x):
        runs.note("double")
        return 2 * x

    @dc.delayed(target="broken/{i}.json", version=1)
    def broken(i):
        raise ValueError(i)

    return SimpleNamespace(number=number, double=double, broken=broken)


def damage(node):
    """Change the content of a target, but neither its size nor its mtime."""
    path = Path(node.dc.path)
    stat, content = path.stat(), path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_node_is_examined_once_for_each_verb(made, monkeypatch):
    """The plan that the verb makes is the one that its tasks are made from."""
    examined = []
    examine = Examiner._examine

    def spy(self, recipe):
        examined.append(recipe.title)
        return examine(self, recipe)

    monkeypatch.setattr(Examiner, "_examine", spy)
    nodes = [made.double(made.number(i)) for i in range(3)]
    assert dc.compute(*nodes, scheduler="sync") == (0, 2, 4)
    assert len(examined) == len(set(examined)) == 6


@pytest.mark.parametrize("node", ["number", "double"])
def test_a_damaged_result_is_made_again(made, runs, node):
    """Loaded or needed by another node; the verb warns and goes on."""
    first = made.number(1)
    first.compute(scheduler="sync")
    damage(first)
    wanted = first if node == "number" else made.double(first)
    with pytest.warns(DaskcacheWarning, match="made again, because"):
        assert wanted.compute(scheduler="sync") == (1 if node == "number" else 2)
    assert runs.names().count("number") == 2
    assert first.dc.state == "complete"


def test_a_damaged_result_is_made_again_although_another_node_is_forced(made, runs):
    """To force one node says nothing about the others."""
    first, second = made.number(1), made.number(2)
    dc.compute(first, second, scheduler="sync")
    damage(first)
    with pytest.warns(DaskcacheWarning, match="made again, because"):
        assert dc.compute(first, second, force=[second], scheduler="sync") == (1, 2)
    assert first.dc.state == second.dc.state == "complete"


def test_make_now_makes_a_damaged_input_again(made, runs):
    """As `compute` does, for the tasks of `modes` and `prefect`."""
    first = made.number(1)
    first.compute(scheduler="sync")
    damage(first)
    with pytest.warns(DaskcacheWarning, match="made again, because"):
        entry = make_now(made.double(first)._recipe)
    assert entry.load() == 2
    assert runs.names().count("number") == 2


@pytest.mark.parametrize("verb_of", ["compute", "make_now"])
def test_a_target_that_is_damaged_once_more_is_an_error(made, monkeypatch, verb_of):
    """A disk that damages each file would keep a verb busy for ever."""
    node = made.number(1)
    calls = []

    def fail(*args):
        calls.append(1)
        raise TargetCorrupt("damaged", node="number(1)", target="number/1.json")

    monkeypatch.setattr(verb, "compute_planned", fail)
    monkeypatch.setattr(verb, "GraphBuilder", fail)
    run = {"compute": lambda: dc.compute(node), "make_now": lambda: make_now(node._recipe)}
    with pytest.warns(DaskcacheWarning), pytest.raises(TargetCorrupt):
        run[verb_of]()
    assert len(calls) == 2


def test_with_everything_forced_a_damaged_target_is_an_error(made, monkeypatch):
    """All nodes have just been run: a second run of all would not help."""
    calls = []

    def fail(*args):
        calls.append(1)
        raise TargetCorrupt("damaged", node="number(1)", target="number/1.json")

    monkeypatch.setattr(verb, "compute_planned", fail)
    with pytest.raises(TargetCorrupt):
        dc.compute(made.number(1), force=True)
    assert len(calls) == 1


def test_failures_are_collected(made):
    """The nodes that need none of the failed ones run."""
    good, bad = made.number(3), made.broken(1)
    value, failed, follows = dc.compute(good, bad, made.double(bad), errors="collect", scheduler="sync")
    assert value == 3
    assert "ValueError" in str(failed)
    assert "broken" in str(follows)


def test_a_node_that_must_not_run_blocks_the_verb(made, runs, root):
    """With errors="collect" it is a failure among the values, and the others run."""
    node = made.number(1)
    (root / "number").mkdir(parents=True)
    (root / "number" / "1.json").write_text("theirs")
    with pytest.raises(ForeignTarget):
        dc.compute(node, made.number(2), scheduler="sync")
    assert runs.names().count("number") == 0
    failed, value = dc.compute(node, made.number(2), errors="collect", scheduler="sync")
    assert "number" in str(failed)
    assert value == 2


def test_persist_keeps_values(made, runs):
    """A persisted node computes from its values, without files or runs."""
    (node,) = dask.persist(made.double(made.number(4)), scheduler="sync")
    os.remove(made.number(4).dc.path)
    os.remove(made.double(made.number(4)).dc.path)
    assert node.compute(scheduler="sync") == 8
    assert runs.names().count("double") == 1


def test_dc_persist(made, runs, root):
    """It takes nested collections, reruns what it is told to, and returns nodes that are still nodes."""
    known = made.number(4)
    known.compute(scheduler="sync")
    (kept, rest) = dc.persist(made.double(known), [dask.delayed(5)], scheduler="sync")
    assert (kept.compute(), rest[0].compute()) == (8, 5)
    assert dc.delayed(lambda value: value + 1)(kept).compute(scheduler="sync") == 9
    assert runs.names().count("number") == 1
    (kept,) = dc.persist(known, force=True, scheduler="sync")
    assert runs.names().count("number") == 2
    assert dc.status(kept) == "complete"
    with pytest.raises(NotANode):
        dc.persist(1, [2])


def test_dc_persist_with_failures(made, runs, root):
    """A blocked node stops the verb; with errors="collect" it holds its failure, and the others run."""
    node = made.number(1)
    (root / "number").mkdir(parents=True)
    (root / "number" / "1.json").write_text("theirs")
    with pytest.raises(ForeignTarget):
        dc.persist(node, made.number(2), scheduler="sync")
    assert runs.names().count("number") == 0
    failed, kept = dc.persist(node, made.number(2), errors="collect", scheduler="sync")
    assert isinstance(failed.compute(), NodeFailed)
    assert kept.compute() == 2
    assert (root / "number" / "1.json").read_text() == "theirs"


def test_dc_persist_makes_damaged_results_again(made, runs):
    """As `dc.compute` does, with a warning."""
    node = made.number(3)
    node.compute(scheduler="sync")
    found, content = os.stat(node.dc.path), Path(node.dc.path).read_bytes()
    Path(node.dc.path).write_bytes(bytes([content[0] ^ 1]) + content[1:])
    os.utime(node.dc.path, ns=(found.st_atime_ns, found.st_mtime_ns))
    with pytest.warns(DaskcacheWarning, match="made again"):
        (kept,) = dc.persist(node, scheduler="sync")
    assert kept.compute() == 3


def test_a_given_layer_is_given_back(made):
    """A verb within another one leaves the outer layer as it was."""
    outer, inner = VerbLayer(), VerbLayer()
    with outer:
        with inner:
            assert current_layer(dask_moment()) is inner
        assert current_layer(dask_moment()) is outer
    assert all(current_layer(dask_moment()) is not layer for layer in (outer, inner))


def test_a_verb_in_a_body_plans_anew(made, runs):
    """On the synchronous scheduler it runs in the thread of the verb that runs the body."""
    known = made.number(7)
    known.compute(scheduler="sync")
    asked = [known]

    @dc.delayed(target="outer.json", version=1)
    def outer(before):
        os.remove(asked[0].dc.path)
        return dask.compute(asked[0], scheduler="sync")[0]

    assert dc.compute(outer(known), scheduler="sync") == (7,)
    assert runs.names().count("number") == 2


class Client:
    """A client as far as it is looked at when it sends a composed graph."""

    def __init__(self):
        self._scheduler_identity = {"id": "one"}
        self.futures = {"key": SimpleNamespace(status="pending")}
        self.loop = SimpleNamespace(asyncio_loop=None, add_callback=lambda *call: None)


@pytest.fixture
def nothing_sent(monkeypatch):
    monkeypatch.setattr(layers, "_sent_layers", [])
    with dask.config.set({"daskcache.workers.attach": False}):
        yield


def test_futures_are_held_until_their_own_client_has_sent(nothing_sent, monkeypatch):
    """Another client, in another thread, sends meanwhile; each holds a lock of its own."""
    monkeypatch.setattr(layers, "drop_released", lambda client, futures: None)
    expr = SimpleNamespace(find_operations=lambda kind: [])
    one, other = Client(), Client()
    layer = layers._layer_to_send(one, {"key": Client()}, expr)
    layer.builder.held.append("future")
    thread = threading.Thread(target=layers._layer_to_send, args=(other, {"key": Client()}, expr))
    thread.start()
    thread.join()
    assert layer.builder.held == ["future"]
    again = layers._layer_to_send(one, {"key": Client()}, expr)
    assert layer.builder.held == []
    assert again.earlier == [layer]
