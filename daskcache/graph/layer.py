"""`VerbLayer`: the plan of one verb with all its tasks, and the layer to which a read of nodes belongs.

`verb` uses it for the package's own verbs, and describes the rules.  `late` asks here for the layer of a
node in a composed graph.
"""

from __future__ import annotations

import threading
import uuid
import weakref
from collections.abc import Iterable
from itertools import chain
from types import FrameType
from typing import Any

from dask._expr import HLGExpr
from dask._task_spec import cull
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from .. import config
from ..calls.recipe import Recipe
from ..calls.state import running
from ..events import emit
from ..planning.planner import Planner, garbage_later
from ..planning.states import COMPLETE, LOAD, SKIP
from ..runtime.work import Work
from .attempts import SUBMISSIONS, SentFutures, drop_released, unfinished
from .builder import GraphBuilder, Sharing
from .frames import (
    DaskMoment,
    composed_recipes,
    culled_graph,
    dask_moment,
    holds_nodes,
    plain_layer,
    recipes_among,
    recipes_of,
)
from .progress import end_with_futures, watch_dask_verb


class _Current(threading.local):
    """The layer of the verb that a thread is running, and the step of Dask that identifies the verb."""

    #: The layer whose context the thread is in, and the work in whose body it is; before `layer`.
    given: tuple[Work | None, VerbLayer] | None = None
    #: A function that gives the step of `layer` (see `frames.DaskMoment`), or None.
    step: Any = None
    layer: VerbLayer | None = None


_current = _Current()


def current_layer(moment: DaskMoment) -> VerbLayer:
    """Return the layer of the verb that this thread runs, or a new layer if none is running."""
    if _current.given is not None:
        work, layer = _current.given
        if work is running.get():  # else a body runs here, whose verbs are its own
            return layer
    step = moment.step
    if step is None:  # a user reads ``node.dask`` outside a verb
        return VerbLayer()
    known = _current.layer
    if known is not None and known.open and _current.step() is step:
        return known
    layer = _new_layer(moment)
    _current.layer = layer
    _current.step = _reference(step)
    return layer


#: Layers of composed graphs that were sent, each with the futures that it was sent for.
_sent_layers: list[tuple[SentFutures, VerbLayer]] = []
#: Held to change them: two clients may send at the same time.
_sent_lock = threading.Lock()


def _new_layer(moment):
    step = moment.step
    if isinstance(step, FrameType):  # a verb reads its collections, and plans them all at once
        layer = VerbLayer()
        layer.builder.for_futures = moment.makes_futures
        collections = step.f_locals.get("collections", ())
        layer.expect(collections)
        layer.builder.planner.wanted.append(lambda: composed_recipes(collections))
        watch_dask_verb(layer.builder.planner, moment.client)
        return layer
    if moment.is_sending:
        return _layer_to_send(moment.client, moment.futures, moment.expr)
    layer = _reopened(moment.culled) or VerbLayer()
    layer.builder.planner.wanted.append(lambda: recipes_among(moment.culled))
    watch_dask_verb(layer.builder.planner, moment.client, is_composed=True)
    return layer


def _layer_to_send(client, futures, expr):
    """Return the layer for the composed graphs in an expression that a client sends to get `futures`.

    A task that is composed of nodes has a key of plain Dask.  As long as a future of that key lives, the
    scheduler keeps the task with the dependencies that it had at first.  So the graph is sent with the
    same tasks again (`layer_of`).
    """
    _prepare(client)
    with _sent_lock:
        is_known = any(sent.live_on(client, futures.keys()) for sent, _ in _sent_layers)
    if is_known:  # futures that their user has dropped still look alive for some moments
        drop_released(client, futures)
    with _sent_lock:
        _sent_layers[:] = [
            (sent, layer)
            for sent, layer in _sent_layers
            if sent.are_alive() and not layer.builder.failed
        ]
        before = [(sent, layer) for sent, layer in _sent_layers if sent.client is client]
    # futures are held only until their graph is sent, and the client has sent these before
    for _, earlier in before:
        earlier.builder.held.clear()
    graphs = [found.hlg for found in expr.find_operations(HLGExpr)]
    layers = [layer for graph in graphs for layer in graph.layers.values()]
    recipes = list(recipes_among(layers))
    layer = _reopened(layers) or VerbLayer()
    layer.builder.planner.wanted[:] = [lambda: recipes]  # others would keep their graphs in memory
    layer.earlier = [old for sent, old in before if sent.live_on(client, futures.keys())]
    layer.builder.outputs = frozenset(futures)
    watch_dask_verb(layer.builder.planner, client, is_composed=True)
    end_with_futures(futures)
    layer.builder.futures = [weakref.ref(future) for future in futures.values()]
    layer.builder.values = frozenset(recipe.identity for recipe in recipes)
    with _sent_lock:
        _sent_layers.append((SentFutures(client, futures.keys()), layer))
    return layer


def _prepare(client):
    from .. import cluster  # verbs without one don't need it

    cluster.prepare(client)


def layer_of(recipe: Recipe, moment: DaskMoment) -> VerbLayer:
    """Return the layer that has the tasks of a node in a composed graph.

    It is the layer of the running verb.  For a graph that is sent again, it is the layer of the first
    time.
    """
    layer = current_layer(moment)
    if not layer.composed:  # so far all tasks are for nodes that the verb was given directly
        layer.direct = frozenset(layer.mapping)
    known = [old.composed[recipe.identity] for old in layer.earlier if recipe.identity in old.composed]
    layer.composed[recipe.identity] = home = known[0] if known else layer
    return home


def _reopened(layers):
    """Open the verb's layer among `layers` again, to plan composed graphs with its nodes; or None."""
    for layer in layers:
        if isinstance(layer, VerbLayer):
            layer.open = True
            return layer
    return None


def _reference(step):
    """Return a weak reference to a step, which forgets the verb's layer when the step ends.

    A frame can't be referred to weakly.  For it, return a function that holds it.
    """
    try:
        return weakref.ref(step, _forget)
    except TypeError:
        return lambda: step


def _forget(reference):
    if _current.step is reference:
        _current.step = _current.layer = None


class VerbLayer(MaterializedLayer):
    """The plan of one verb and the layer with all its tasks.

    Used as a context manager, it is the layer of every verb within the context.
    """

    has_legacy_tasks = False

    def __init__(self, planner: Planner | None = None):
        self.builder = GraphBuilder(planner or Planner(collect=collects(None)))
        super().__init__(self.builder.tasks)
        self.annotations = self.builder.annotations
        self.name = f"daskcache-{uuid.uuid4().hex}"
        self.open = True
        #: Earlier layers of composed graphs that this verb sends again.
        self.earlier: list[VerbLayer] = []
        #: The layer with the tasks of each node in the verb's composed graphs, by recipe identity.
        self.composed: dict[str, VerbLayer] = {}
        #: Keys of the tasks for nodes that the verb was given directly, not in a composed graph.
        self.direct: frozenset = frozenset()
        self._expected: list[Recipe] = []
        self._graph: HighLevelGraph | None = None
        self._told = False
        self._before: tuple[Work | None, VerbLayer] | None = None

    def expect(self, collections: Iterable) -> None:
        """Remember the nodes among a verb's collections, to plan all of them when the first is read."""
        given = list(collections)
        self._expected = recipes_of_all(given)
        joint = recipes_of_all(filter(holds_nodes, given))
        self.builder.joint = frozenset([recipe.identity for recipe in joint])

    def add_expected(self, client: Any = None) -> None:
        """Plan the expected nodes and add their tasks, which later reads of the verb find."""
        recipes, self._expected = self._expected, []
        if recipes:
            with garbage_later(), self.builder.noting_failure():
                self._add_requested(recipes, client)

    def _add_requested(self, recipes, client):
        builder, is_first = self.builder, not self.mapping
        requested = builder.plan(recipes)
        # Asking the scheduler blocks, so ask only for the verb's first nodes, and only if something
        # has to run.
        runs = is_first and any(planned.is_to_do for planned in requested)
        is_alone = runs and SUBMISSIONS.is_alone(client)
        builder.add_requested(requested, Sharing(is_alone))
        if is_first and self.mapping and not is_alone:
            shared = unfinished(client, builder.result_tasks)
            if shared:
                builder.add_requested(requested, Sharing(False, shared))

    def close(self) -> None:
        """Close the layer, because the verb has its graph; later reads belong to another verb."""
        self.open = False
        self._graph = None
        if _current.layer is self:
            _current.layer = _current.step = None

    def tell_complete(self, client: Any = None) -> None:
        """Emit events, once, about complete nodes that the verb was not asked for and did not run."""
        if self._told:
            return
        self._told = True
        found: dict[str, list[float]] = {}
        for planned in self.builder.planner.planned_nodes:
            if planned.is_complete and planned.action in (LOAD, SKIP) and not planned.requested:
                found.setdefault(planned.recipe.name, []).append(planned.seconds or 0.0)
        for function, seconds in found.items():
            emit(COMPLETE, function, client, nodes=len(seconds), saved=sum(seconds))

    def __enter__(self):
        self._before = _current.given
        _current.given = running.get(), self
        return self

    def __exit__(self, *error):
        _current.given = self._before

    def graph(self) -> HighLevelGraph:
        """Return the graph of this layer alone, which Dask copies for each collection of the verb."""
        if self._graph is None:
            self._graph = HighLevelGraph({self.name: self}, {self.name: set()})
        return self._graph

    def cull(self, keys, all_hlg_keys):
        self.close()
        self.tell_complete()
        return culled_graph(cull(self.mapping, keys), self.annotations)

    def __iter__(self):
        self.close()
        return super().__iter__()

    def __reduce__(self):
        self.close()
        moment = dask_moment()
        if moment.is_sending:
            self.builder.check_workers(moment)
            _prepare(moment.client)
            self.tell_complete(moment.client)
            end_with_futures(moment.futures)
        # a copy, because the mapping grows while tasks that hold nodes are pickled
        return plain_layer, (dict(self.mapping), self.annotations)


def collects(errors: str | None) -> bool:
    """Return True if failures are collected, not raised; None stands for config ``daskcache.errors``.

    Raises
    ------
    ValueError
        If `errors` is neither "raise" nor "collect".
    """
    wanted = config.get("errors") if errors is None else errors
    if wanted not in ("raise", "collect"):
        name = "config daskcache.errors" if errors is None else "errors"
        raise ValueError(f'{name} must be "raise" or "collect", got {wanted!r}')
    return wanted == "collect"


def recipes_of_all(collections: Iterable[Any]) -> list[Recipe]:
    """Return the recipes of all nodes among collections of Dask."""
    return list(chain.from_iterable(map(recipes_of, collections)))
