"""What daskcache relies on of Dask's insides.  A test that fails here says what a release changed."""

import sys

import dask
import pytest
from dask._expr import HLGExpr
from dask._task_spec import Alias, Task, TaskRef, fuse_linear_task_spec
from dask.highlevelgraph import HighLevelGraph, Layer, MaterializedLayer

import daskcache as dc
from daskcache.graph.frames import dask_moment
from daskcache.graph.late import LateKey
from daskcache.graph.node import Node
from daskcache.graph.tasks import EntryTask


def locals_of_callers(name):
    """Local variables of the nearest running function of that name."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == name:
            return frame.f_locals
        frame = frame.f_back
    return None


@pytest.fixture
def node():
    return dc.delayed(lambda x: x + 1)(1)


def test_verbs_read_dask_in_from_collection(node, monkeypatch):
    """`dask.compute` reads `collection.dask` in HLGExpr.from_collection, in one frame for all."""
    frames, collections = [], []
    read = Node.dask.fget

    def spy(self):
        caller = sys._getframe(1)
        frames.append((caller.f_code.co_name, caller.f_back))
        collections.append(caller.f_back.f_locals.get("collections"))
        return read(self)

    monkeypatch.setattr(Node, "dask", property(spy))
    dask.compute(node, dc.delayed(lambda x: x + 2)(1))
    assert {name for name, _ in frames} == {"from_collection"}, (
        "HLGExpr.from_collection no longer reads .dask: frames.dask_moment finds no verb"
    )
    assert len({id(frame) for _, frame in frames}) == 1, (
        "each collection of a verb is read in a frame of its own: nodes of a verb share no plan"
    )
    assert len(collections[0] or ()) == 2, (
        "collections_to_expr renamed its collections: nodes of a verb are planned one by one, slower"
    )


def test_keys_are_read_after_the_graph(node):
    """`__dask_keys__` is read after `.dask`, so it can give the key of the graph last read."""
    expression = HLGExpr.from_collection(node)
    (key,) = expression.__dask_keys__()
    assert key in expression.hlg.to_dict(), "__dask_keys__ was read before .dask"
    assert key != node.key


def test_culling_has_keys_set():
    """`HighLevelGraph.cull` holds the wanted keys in a set called keys_set, and calls Layer.cull."""
    seen = []

    class Spy(MaterializedLayer):
        def cull(self, keys, all_hlg_keys):
            seen.append(sys._getframe(1).f_locals)
            return super().cull(keys, all_hlg_keys)

    HighLevelGraph({"a": Spy({"a": Task("a", int)})}, {"a": set()}).cull({"a"})
    assert isinstance(seen[0].get("keys_set"), set), (
        "HighLevelGraph.cull renamed keys_set: composed graphs of one verb share no plan"
    )


def test_sending_has_keyset(node, local_client):
    """`Client._graph_to_futures` pickles graphs while it holds a set called keyset."""
    seen, moments = [], []

    class Spy(Layer):
        def __init__(self):
            pass

        annotations = collection_annotations = None
        has_legacy_tasks = False

        def is_materialized(self):
            return False

        def get_output_keys(self):
            return {"spied"}

        def __iter__(self):
            return iter(["spied"])

        def __len__(self):
            return 1

        def __getitem__(self, key):
            return Task("spied", int)

        def __reduce__(self):
            seen.append(locals_of_callers("_graph_to_futures"))
            moments.append(dask_moment())
            return MaterializedLayer, ({"spied": Task("spied", int)},)

    from dask.delayed import Delayed

    value = Delayed("spied", HighLevelGraph({"spied": Spy()}, {"spied": set()}))
    assert local_client.compute(value).result() == 0
    assert seen, "the client no longer pickles layers: composed graphs would plan on the scheduler"
    assert isinstance(seen[0].get("keyset"), set), (
        "Client._graph_to_futures renamed keyset: composed graphs of one verb share no plan"
    )
    assert "workers" in seen[0], (
        "Client._graph_to_futures renamed workers: workers that a verb leaves out are asked, too"
    )
    assert moments[0].step is seen[0]["keyset"]
    assert moments[0].client is local_client
    assert (set(moments[0].futures), moments[0].for_some_workers) == ({"spied"}, False)
    assert moments[0].expr is seen[0]["expr"]
    workers = list(local_client.scheduler_info()["workers"])
    assert local_client.compute(value, workers=workers).result() == 0
    assert moments[-1].for_some_workers, "verbs that name their workers are not told from others"


def test_composing_reads_the_key_and_the_graph(node):
    """`dask.delayed(f)(node)` refers to the node by `_key` and takes its `__dask_graph__`."""
    composed = dask.delayed(lambda x: x)(node)
    layer = composed.dask.layers[node._key]
    assert type(layer).__name__ == "RecipeLayer", "composing froze the node's graph"
    reference = next(iter(composed.dask.layers[composed.key].mapping.values())).args[0]
    assert isinstance(reference, (TaskRef, Alias))
    assert isinstance(reference.key, LateKey), (
        "composing copied the key: it can't become the planned one"
    )


def test_entry_tasks_are_not_fused():
    """Dask's optimisers leave tasks alone that say so."""
    chain = {
        "a": EntryTask("a", int),
        "b": Task("b", abs, TaskRef("a")),
        "c": Task("c", abs, TaskRef("b")),
    }
    assert "a" in fuse_linear_task_spec(chain, {"c"}), (
        "block_fusion is no longer looked at: a node that two collections share would run twice"
    )


def test_finalizing_is_skipped(node):
    """A node's value needs no task of Dask's to finish it."""
    from dask.base import collections_to_expr

    expression = collections_to_expr([node]).finalize_compute().optimize()
    assert not [key for key in expression.__dask_graph__() if str(key).startswith("finalize")]
