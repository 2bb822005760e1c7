"""Dask graphs for verbs, such as ``compute`` and ``persist``: one plan and one layer for each verb.

`graph.node`, `graph.api`, `graph.late`, `modes` and `prefect` use it.  `graph.builder` makes the tasks.
Three rules keep Dask's view of the graph right:

- *Planning happens at the verb.*  A verb reads ``node.dask`` of its collections one after the other.
  All these reads extend one `VerbLayer`, which has one planner and all the tasks that its tasks depend
  on.  The layer is closed as soon as Dask uses it, and the next verb plans again.
- *A composed graph is not frozen.*  It holds a `RecipeLayer` or late tasks (`graph.late`), which are
  planned on the client when Dask culls or pickles the graph.  From then on they are plain tasks.
- *A Dask key is not a recipe's key.*  A scheduler keeps the first task of a key for as long as any
  future needs it.  So the key says what its task does.  It ends in a hash of the plan's evidence
  (target, records, inputs) and the number of the attempt (`graph.attempts`).  A composed graph has keys
  before it has a plan, so a `LateKey` becomes the planned key when it is pickled for a scheduler.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import dask
from dask._task_spec import cull
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph

from ..aliases import names_of
from ..calls.recipe import Recipe
from ..clients import verb_client
from ..errors import DaskcacheWarning, TargetCorrupt
from ..planning.planner import Planner, blocked_failure
from ..planning.states import BLOCKED
from ..runtime.entry import Entry
from ..runtime.node import load_finished
from .builder import GraphBuilder
from .frames import (
    composed_recipes,
    dask_moment,
    plain_layer,
    recipe_of,
)
from .layer import VerbLayer, current_layer, recipes_of_all
from .progress import watched
from .tasks import finished

__getattr__ = names_of(__name__, "graph.layer")


def planned_graph(recipes: list[Recipe], jointly: bool = False) -> tuple[HighLevelGraph, list[str]]:
    """Return the current verb's graph with `recipes` in it, and the keys of their values.

    With `jointly`, the values go into one list.  There a `NodeFailed` may stand in for a value.
    """
    moment = dask_moment()
    layer = current_layer(moment)
    layer.add_expected(moment.client)
    keys = [layer.builder.requested_value(recipe, jointly) for recipe in recipes]
    layer.builder.check_workers(moment)
    return layer.graph(), keys


def sent_graph(recipe: Recipe) -> tuple[HighLevelGraph, str]:
    """Return the graph of a node that is being pickled for a scheduler, and the key of its value."""
    builder = current_layer(dask_moment()).builder
    key = builder.add_value(recipe)
    layer = plain_layer(cull(builder.tasks, [key]), builder.annotations)
    return HighLevelGraph({key: layer}, {key: set()}), key


def compute(
    collections: tuple,
    force=False,
    collect: bool = False,
    make: Iterable[Recipe] = (),
    progress: bool | float | str | None = None,
    **kwargs: Any,
) -> tuple:
    """Compute collections; complete nodes are read here, without a task.

    If a target turns out to be damaged, its node is made again.  The error is raised if the same target
    is damaged again, or with ``force=True``.

    Parameters
    ----------
    collections : tuple of Dask collections
    force, collect
        As in `Planner`.
    make : iterable of Recipe
        Nodes to make together with the collections, but not to load.
    progress : bool, float or str, optional
        As in `daskcache.compute`.
    **kwargs
        As in `dask.compute`.

    Returns
    -------
    tuple
        The values of the collections.
    """
    making = list(make)
    recipes = [*recipes_of_all(collections), *making]

    def once():
        planner = Planner(force, collect)
        planner.wanted.append(lambda: composed_recipes(collections))
        planner.request_all(recipes)
        return compute_planned(collections, planner, kwargs, making, progress)

    return once() if force is True else _again_if_damaged(once)


def persist(collections: tuple, force=False, collect: bool = False, **kwargs: Any) -> tuple:
    """Return collections with values in their graphs, or futures; for a blocked node, its `NodeFailed`.

    The parameters are those of `compute`.  On a cluster, damaged targets are not made again.
    """
    recipes = recipes_of_all(collections)

    def once():
        planner = Planner(force, collect)
        planner.wanted.append(lambda: composed_recipes(collections))
        planner.request_all(recipes)
        planner.check()
        planner.write_down()
        found = [_blocked(planner, collection) or collection for collection in collections]
        layer = VerbLayer(planner)
        # the verb within reads ``node.dask``, and gets this layer's plan
        with watched(planner, kwargs, is_composed=True, waits_for_cluster=False), layer:
            layer.expect(found)
            return dask.persist(*found, traverse=False, **kwargs)

    return once() if force is True else _again_if_damaged(once)


def _blocked(planner, collection):
    """Return the failure of a node that can't run, else None."""
    recipe = recipe_of(collection)
    planned = recipe and planner.nodes[recipe.identity]
    return blocked_failure(planned) if planned and planned.action == BLOCKED else None


def make_now(recipe: Recipe, given: Iterable[tuple[Recipe, Entry]] = (), force: bool = False) -> Entry:
    """Make a node and the nodes that it needs in this thread, unless it is complete; return its entry.

    `given` has entries of nodes upstream.  They count as complete if their files are unchanged,
    whatever these were made from.
    """
    at_hand = list(given)

    def once():
        planner = Planner([recipe] if force else False)
        for before, entry in at_hand:
            planner.assume(before, entry)
        planned = planner.request(recipe)
        planner.write_down()
        builder = GraphBuilder(planner)
        key = builder.add_entry(recipe, pinned=True)
        return planned.entry if key is None else dask.get(builder.tasks, key)

    return _again_if_damaged(once)


def _again_if_damaged(once: Callable[[], Any]) -> Any:
    """Call `once`, and again after each error about another damaged target."""
    damaged: set[str | None] = set()
    while True:
        try:
            return once()
        except TargetCorrupt as error:
            if error.target in damaged:
                raise
            damaged.add(error.target)
            warnings.warn(f"made again, because {error}", DaskcacheWarning, stacklevel=5)


def compute_planned(collections, planner, kwargs, making=(), progress=None):
    # `compute` without its retry, for a planner that has planned the collections already.
    planner.check()
    planner.write_down()
    is_composed = not all(map(recipe_of, collections))
    with watched(planner, kwargs, progress, is_composed):
        return _compute_planned(collections, planner, kwargs, making)


def _compute_planned(collections, planner, kwargs, making):
    layer = VerbLayer(planner)
    client = None if "scheduler" in kwargs else verb_client()
    results: list[Any] = [None] * len(collections)
    rest = []
    for position, collection in enumerate(collections):
        if (recipe := recipe_of(collection)) is not None:
            planned = planner.nodes[recipe.identity]
            if planned.action == BLOCKED:
                results[position] = blocked_failure(planned)
                continue
            if not planned.is_to_do:
                results[position] = load_finished(*finished(planned), client)
                continue
        rest.append(position)
    with layer:  # the verb within reads ``node.dask``, and gets this layer's plan
        keys = [key for key in (layer.builder.add_entry(each, pinned=True) for each in making) if key]
        entries = [Delayed(key, layer.graph(), layer=layer.name) for key in keys]
        layer.expect(collections[i] for i in rest)
        wanted = [*[collections[i] for i in rest], *entries]
        computed = dask.compute(*wanted, traverse=False, **kwargs) if wanted else ()
    for position, value in zip(rest, computed, strict=False):
        results[position] = value
    layer.tell_complete(client)
    return tuple(results)
