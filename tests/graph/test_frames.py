"""The moment of a Dask call at which the package is asked."""

from __future__ import annotations

import sys
from types import FrameType

import dask
import pytest
from dask._task_spec import Task
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

import daskcache as dc
from daskcache.graph.frames import DaskMoment, blocking_verb, dask_moment, is_read_for_composing


class Asking(MaterializedLayer):
    """A layer that asks for the moment when Dask culls or pickles it."""

    def __init__(self, moments):
        super().__init__({"asked": Task("asked", int)})
        self.moments = moments

    def cull(self, keys, all_hlg_keys):
        self.moments.append(dask_moment())
        return super().cull(keys, all_hlg_keys)


class Reading(Delayed):
    """A collection that asks for the moment when Dask reads its graph."""

    __slots__ = ("moments",)

    @property
    def dask(self):
        caller = sys._getframe(1)
        if caller.f_code.co_name == "from_collection":  # not `Delayed` itself
            self.moments.append((dask_moment(), is_read_for_composing(caller)))
        return self._dask


@pytest.fixture
def moments():
    return []


def value(moments):
    return Delayed("asked", HighLevelGraph({"asked": Asking(moments)}, {"asked": set()}))


def reading(moments):
    found = Reading("asked", value([])._dask)
    found.moments = moments
    return found


def test_outside_of_dask_there_is_no_moment():
    """No step, no client, nothing that is composed or sent."""
    assert dask_moment() == DaskMoment()
    assert not dask_moment().is_sending


def test_collections_of_a_verb_are_read_in_one_step(moments):
    """The step is a frame, and a scheduler of this process is not a client."""
    dask.compute(reading(moments), reading(moments), scheduler="sync")
    assert len({id(moment.step) for moment, _ in moments}) == 1
    first, composing = moments[0]
    assert isinstance(first.step, FrameType)
    assert (first.client, first.is_composing, first.is_sending, composing) == (None, False, False, False)


def test_a_scheduler_of_a_client_is_the_client(moments):
    """`dask.compute` knows the method of the client that it will call."""

    class Client:
        scheduler_info = None

        def get(self, graph, keys, **kwargs):
            return [0]

    client = Client()
    dask.compute(reading(moments), scheduler=client.get)
    assert {moment.client for moment, _ in moments} == {client}


def test_culling_has_the_layers_of_the_graph(moments):
    """Each call that culls is a step of its own, known by its set of keys."""
    collection = value(moments)
    collection.dask.cull({"asked"})
    collection.dask.cull({"asked"})
    first, second = moments
    assert type(first.step) is type(second.step) is set
    assert first.step is not second.step
    assert [type(layer) for layer in first.culled] == [Asking]


def test_composing_is_seen_through_the_steps_within(moments):
    """Dask reads graphs while it composes a list of collections."""
    dask.delayed(list)([reading(moments), 1])
    assert moments
    assert all(moment.is_composing and moment.client is None for moment, _ in moments)
    assert any(composing for _, composing in moments)


def test_a_verb_within_a_verb_hides_the_outer_one(moments):
    """A body that computes on the synchronous scheduler is asked about its own verb."""

    def body():
        before = dask_moment()
        dask.compute(reading(moments), scheduler="sync")
        return before

    before = dask.compute(dask.delayed(body)(), scheduler="sync")[0]
    assert before.step is None
    assert all(isinstance(moment.step, FrameType) for moment, _ in moments)


def test_a_node_composes_without_a_plan(moments):
    """`Node.dask` is a lazy layer where a list of nodes is composed."""
    node = dc.delayed(lambda: 1, version=1)()
    composed = dask.delayed(sum)([node])
    assert composed.compute(scheduler="sync") == 1


# ---- verbs that wait -------------------------------------------------------------------------------


class Noting(MaterializedLayer):
    """A layer that asks which verb waits when Dask culls it."""

    def __init__(self, names):
        super().__init__({"asked": Task("asked", int)})
        self.names = names

    def cull(self, keys, all_hlg_keys):
        frame = blocking_verb()
        self.names.append(frame and (frame.f_globals["__name__"], frame.f_code.co_name))
        return super().cull(keys, all_hlg_keys)


@pytest.mark.parametrize("verb", ["compute", "persist"])
def test_verbs_of_dask_wait(verb):
    """On a scheduler of this process, both do."""
    names = []
    noting = Delayed("asked", HighLevelGraph({"asked": Noting(names)}, {"asked": set()}))
    getattr(dask, verb)(noting, scheduler="sync")
    assert set(names) == {("dask.base", verb)}


def test_nothing_waits_where_no_verb_runs():
    """A graph may be culled by a user."""
    names = []
    HighLevelGraph({"asked": Noting(names)}, {"asked": set()}).cull({"asked"})
    assert names == [None]
    assert blocking_verb() is None
