"""Plans to Dask graphs.

`daskcache.graph.builder` decides which tasks a planned graph has.  Three rules keep Dask from being
confused:

- *Planning happens at the verb.*  Verbs read ``node.dask`` of all their collections, one after the
  other; all these reads extend one `VerbLayer`, with one planner and one closed set of tasks, which is
  closed as soon as it is used.  Nothing is remembered between verbs.
- *A composed graph is not frozen.*  It carries a `RecipeLayer`, which plans when it is culled or
  pickled, all of which happens on the client, and is plain tasks from then on.
- *A Dask key is not a recipe's key.*  A scheduler keeps the first task of a key as long as any future
  needs it.  So a key says what its task does: it ends in a hash of the evidence that the plan rests on
  (target, records, what is upstream), and of the attempt (see `daskcache.graph.attempts`).  In a
  composed graph, where the keys are there before the plan, a `LateKey` becomes that key when it is
  pickled for a scheduler.
"""

from __future__ import annotations

import threading
import uuid
import warnings
import weakref
from collections.abc import Iterable
from itertools import chain
from types import FrameType
from typing import Any

import dask
from dask._expr import HLGExpr
from dask._task_spec import cull
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from .. import cluster
from ..calls.recipe import Recipe
from ..errors import DaskcacheWarning, TargetCorrupt
from ..events import emit, verb_client
from ..planning.planner import Planner, blocked_failure, garbage_later
from ..planning.states import BLOCKED, COMPLETE, LOAD, SKIP
from ..runtime.entry import Entry
from ..runtime.node import load_finished
from .attempts import SentFutures, drop_released
from .builder import GraphBuilder, finished
from .composed import culled_graph, plain_layer, recipe_of, values_among
from .frames import culled_layers, dask_step, sending


def planned_graph(recipe: Recipe) -> tuple[HighLevelGraph, str]:
    """The graph of the current verb with `recipe` in it, and the key of its value."""
    layer = current_layer()
    layer.add_expected()
    key = layer.builder.requested_value(recipe)
    layer.builder.check_workers()
    return layer.graph(), key


def sent_graph(recipe: Recipe) -> tuple[HighLevelGraph, str]:
    """The graph of a node that is itself on its way to a scheduler, and the key of its value."""
    builder = current_layer().builder
    key = builder.add_value(recipe)
    layer = plain_layer(cull(builder.tasks, [key]), builder.annotations)
    return HighLevelGraph({key: layer}, {key: set()}), key


def compute(
    collections: tuple, force=False, collect: bool = False, make: Iterable[Recipe] = (), **kwargs: Any
) -> tuple:
    """Compute collections; nodes that are complete are read here, without any task.

    What is in `make` is made with them, but not loaded.
    """
    making = list(make)
    recipes = [*_recipes_among(collections), *making]
    damaged: set[str | None] = set()
    while True:
        planner = Planner(force, collect)
        planner.request_all(recipes)
        try:
            return compute_planned(collections, planner, kwargs, making)
        except TargetCorrupt as error:
            if force or error.target in damaged:
                raise
            damaged.add(error.target)
            warnings.warn(f"made again, because {error}", DaskcacheWarning, stacklevel=3)


def make_now(recipe: Recipe, given: Iterable[tuple[Recipe, Entry]] = (), force: bool = False) -> Entry:
    """Make a node in this thread, with what it needs, unless it is complete; return its entry.

    Of what is `given`, only the files are looked at, not what they were made from.
    """
    at_hand = list(given)
    damaged: set[str | None] = set()
    while True:
        planner = Planner([recipe] if force else False)
        for before, entry in at_hand:
            planner.assume(before, entry)
        planned = planner.request(recipe)
        planner.write_down()
        builder = GraphBuilder(planner)
        try:
            key = builder.add_entry(recipe, pinned=True)
            return planned.entry if key is None else dask.get(builder.tasks, key)
        except TargetCorrupt as error:
            if error.target in damaged:
                raise
            damaged.add(error.target)
            warnings.warn(f"made again, because {error}", DaskcacheWarning, stacklevel=3)


def compute_planned(collections, planner, kwargs, making=()):
    planner.check()
    planner.write_down()
    layer = VerbLayer(planner)
    client = None if "scheduler" in kwargs else verb_client()
    results: list[Any] = [None] * len(collections)
    rest = []
    for position, collection in enumerate(collections):
        if (recipe := recipe_of(collection)) is not None:
            planned = planner.request(recipe)
            if planned.action == BLOCKED:
                results[position] = blocked_failure(planned)
                continue
            if not planned.is_to_do:
                results[position] = load_finished(*finished(planned), client)
                continue
        rest.append(position)
    with layer:
        keys = [key for key in (layer.builder.add_entry(each, pinned=True) for each in making) if key]
        entries = [Delayed(key, layer.graph(), layer=layer.name) for key in keys]
        layer.expect(collections[i] for i in rest)
        wanted = [*[collections[i] for i in rest], *entries]
        computed = dask.compute(*wanted, traverse=False, **kwargs) if wanted else ()
    for position, value in zip(rest, computed, strict=False):
        results[position] = value
    layer.tell_complete(client)
    return tuple(results)


def _recipes_among(collections):
    return [recipe for recipe in map(recipe_of, collections) if recipe is not None]


# ---- verbs ---------------------------------------------------------------------------------------


class _Current(threading.local):
    """The layer of the verb under way in a thread, with what tells that verb from others."""

    given: VerbLayer | None = None
    step: Any = None
    layer: VerbLayer | None = None


_current = _Current()


def current_layer() -> VerbLayer:
    """The layer of the verb under way in this thread; a layer of its own for who just looks."""
    if _current.given is not None:
        return _current.given
    step = dask_step()
    if step is None:
        return VerbLayer()
    layer = _current.layer
    if layer is None or not layer.open or _current.step() is not step:
        layer = _new_layer(step)
        _current.layer = layer
        _current.step = _reference(step)
    return layer


#: Layers of composed graphs that were sent, with the futures that they were sent for.
_sent_layers: list[tuple[SentFutures, VerbLayer]] = []


def _new_layer(step):
    if isinstance(step, FrameType):
        layer = VerbLayer()
        layer.expect(step.f_locals.get("collections", ()))
        return layer
    sent = sending()
    if sent is not None:
        return _layer_to_send(*sent)
    return _reopened(culled_layers()) or VerbLayer()


def _layer_to_send(client, futures, expr):
    """The layer for the composed graphs in an expression that a client sends to get `futures`.

    What is composed of nodes has a key of plain Dask.  As long as a future of it lives, the scheduler
    knows it with the tasks that it was sent with, so it is sent with the same ones again (`layer_of`).
    """
    cluster.prepare(client)
    if any(sent.live_on(client, futures.keys()) for sent, _ in _sent_layers):
        drop_released(client, futures)
    _sent_layers[:] = [
        (sent, layer) for sent, layer in _sent_layers if sent.are_alive() and not layer.builder.failed
    ]
    for _, earlier in _sent_layers:
        earlier.builder.held.clear()
    graphs = [found.hlg for found in expr.find_operations(HLGExpr)]
    layer = _reopened(chain.from_iterable(graph.layers.values() for graph in graphs)) or VerbLayer()
    layer.earlier = [old for sent, old in _sent_layers if sent.live_on(client, futures.keys())]
    layer.builder.outputs = frozenset(futures)
    layer.builder.values = frozenset(values_among(graphs))
    _sent_layers.append((SentFutures(client, futures.keys()), layer))
    return layer


def layer_of(recipe: Recipe) -> VerbLayer:
    """The layer that has the tasks of a node in a composed graph.

    It is that of the verb under way; but of a graph that is sent again, the one that it was sent with.
    """
    layer = current_layer()
    if not layer.composed:
        layer.direct = frozenset(layer.mapping)
    for old in layer.earlier:
        if recipe.identity in old.composed:
            layer.composed[recipe.identity] = old.composed[recipe.identity]
            return layer.composed[recipe.identity]
    layer.composed[recipe.identity] = layer
    return layer


def _reopened(layers):
    """The layer of the same verb's nodes; what is composed of nodes is planned with them."""
    for layer in layers:
        if isinstance(layer, VerbLayer):
            layer.open = True
            return layer
    return None


def _reference(step):
    """A weak reference, after which nothing of the verb is kept; a frame takes none."""
    try:
        return weakref.ref(step, _forget)
    except TypeError:
        return lambda: step


def _forget(reference):
    if _current.step is reference:
        _current.step = _current.layer = None


class VerbLayer(MaterializedLayer):
    """The planning of one verb, and the one layer that has all its tasks.

    As a context manager it is the layer of every verb within.
    """

    has_legacy_tasks = False

    def __init__(self, planner: Planner | None = None):
        self.builder = GraphBuilder(planner or Planner())
        super().__init__(self.builder.tasks)
        self.annotations = self.builder.annotations
        self.name = f"daskcache-{uuid.uuid4().hex}"
        self.open = True
        #: Layers of composed graphs that are sent again with this one.
        self.earlier: list[VerbLayer] = []
        #: The layers of what the verb's composed graphs are made from, by identity of the recipes.
        self.composed: dict[str, VerbLayer] = {}
        #: Keys of the tasks for the nodes that the verb was given themselves.
        self.direct: frozenset = frozenset()
        self._expected: list[Recipe] = []
        self._graph: HighLevelGraph | None = None
        self._told = False

    def expect(self, collections: Iterable) -> None:
        """Remember the nodes among a verb's collections: all are planned when the first is read."""
        self._expected = _recipes_among(collections)

    def add_expected(self) -> None:
        """Plan the nodes that the verb was given; its further reads find what they need."""
        recipes, self._expected = self._expected, []
        if recipes:
            with garbage_later():
                self.builder.add_requested(recipes)

    def close(self) -> None:
        """The verb has its graph: what is read from now on belongs to another one."""
        self.open = False
        self._graph = None
        if _current.layer is self:
            _current.layer = _current.step = None

    def tell_complete(self, client: Any = None) -> None:
        """Tell, once, of the finished nodes that the verb has made no task for."""
        if self._told:
            return
        self._told = True
        found: dict[str, list[float]] = {}
        for planned in list(self.builder.planner.nodes.values()):
            if planned.is_complete and planned.action in (LOAD, SKIP) and not planned.requested:
                found.setdefault(planned.recipe.name, []).append(planned.seconds or 0.0)
        for function, seconds in found.items():
            emit(COMPLETE, function, client, nodes=len(seconds), saved=sum(seconds))

    def __enter__(self):
        _current.given = self
        return self

    def __exit__(self, *error):
        _current.given = None

    def graph(self) -> HighLevelGraph:
        """The graph that has only this layer; Dask copies it for each collection of the verb."""
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
        self.builder.ask_workers()
        if (sent := sending()) is not None:
            cluster.prepare(sent[0])
            self.tell_complete(sent[0])
        return plain_layer, (dict(self.mapping), self.annotations)  # which grows when tasks hold nodes
