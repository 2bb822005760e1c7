"""Placeholders for nodes in graphs that are composed before they are planned.

``dask.delayed(f)(node)`` keeps a graph of layers.  There a `RecipeLayer` waits for the plan.
``dask.delayed(f)([node])``, with nodes in lists, dicts or keyword arguments, materialises the layers,
and only single tasks and their keys remain.  There each node is a `LateTask` under a `LateKey`.  Both
are planned when the graph is culled or pickled.  `graph.node` makes the lazy layers, and `graph.verb`
has the layer with the plan.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import dask
from dask._task_spec import Alias, DataNode, GraphNode, cull
from dask.highlevelgraph import HighLevelGraph, Layer

from ..calls.recipe import DaskInput, Recipe
from ..errors import GraphError
from ..hashing.encoder import short_digest
from .frames import DaskMoment, culled_graph, dask_moment, node_annotations, plain_layer, split_graph


class LateKey(str):
    """Key of a node's value or entry in a graph that is not planned yet.

    The graph refers to the key in many places.  In all of them it becomes the planned key when a
    distributed client pickles the graph.
    """

    __slots__ = ("is_value", "recipe")
    recipe: Recipe
    is_value: bool

    def __new__(cls, key: str, recipe: Recipe, is_value: bool = True):
        self = super().__new__(cls, key)
        self.recipe = recipe
        self.is_value = is_value
        return self

    def __reduce__(self):
        moment = dask_moment()
        return str, (_sent_key(self, moment) if moment.is_sending else str(self),)


class LateTask(GraphNode):
    """Task for a node's value or entry in a graph that is not planned yet.

    While a graph is composed, the task depends on everything that the node is made from.  It is planned
    again each time a graph is culled.  Then it depends only on the tasks that are left to do.
    """

    __slots__ = ("_culled_in", "_planned")
    block_fusion = True
    key: LateKey  # type: ignore[assignment]

    def __init__(self, key: LateKey):
        self.key = key
        self._planned: GraphNode | None = None
        self._culled_in: Any = None

    @property
    def late_key(self) -> LateKey:
        return self.key

    @property
    def dependencies(self) -> frozenset:
        moment = dask_moment()
        if moment.is_composing:
            return frozenset(_keys_before(self.key))
        return self._planned_at(moment).dependencies

    @property
    def recipe_keys(self) -> dict[str, str]:
        """Recipe key by Dask key, which stands for this task in the hash of a composed graph."""
        return {self.key: self.key.recipe.key}

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """The recipe of the node, or an empty tuple if the task is for its entry."""
        return (self.key.recipe,) if self.key.is_value else ()

    def planned(self) -> GraphNode:
        """Return the planned task for the running verb, with late keys.

        It is planned again when Dask begins another step that culls or sends.  Each has its own set.
        """
        return self._planned_at(dask_moment())

    def _planned_at(self, moment):
        step = moment.step
        if self._planned is None or (isinstance(step, set) and self._culled_in() is not step):
            self._planned = _local_task(self.key, moment)
            self._culled_in = weakref.ref(step) if isinstance(step, set) else lambda: None
        return self._planned

    def __call__(self, values=()):
        return self.planned()(values)

    def copy(self):
        return LateTask(self.key)

    def substitute(self, subs, key=None):
        if dask_moment().is_composing:
            # Dask renames it with its dependencies: stay under this key, as an alias
            return Alias(self.key) if self.key.is_value else DataNode(None, None)
        return self if key in (None, self.key) else self.planned().substitute(subs, key)

    def __dask_tokenize__(self):
        return type(self).__name__, str(self.key)

    def __reduce__(self):
        moment = dask_moment()
        task = _sent_task(self.key, moment) if moment.is_sending else self._planned_at(moment)
        return _itself, (task,)

    def __repr__(self):
        return f"<LateTask {self.key}>"


def late_tasks(recipe: Recipe, key: LateKey) -> dict[Any, GraphNode]:
    """Return late tasks for a node's value under `key` and for everything that it is made from."""
    tasks: dict[Any, GraphNode] = {key: LateTask(key)}
    stack = [recipe]
    while stack:
        current = stack.pop()
        entry_key = _entry_key(current)
        if entry_key in tasks:
            continue
        tasks[entry_key] = LateTask(entry_key)
        for item in current.upstream:
            if isinstance(item, Recipe):
                stack.append(item)
            elif isinstance(item, DaskInput):
                late_keys, plain = split_graph(item.delayed.__dask_graph__())
                tasks.update(plain)
                tasks.update((late, LateTask(late)) for late in late_keys)
                stack += [late.recipe for late in late_keys]
    return tasks


def late_annotations(tasks: dict[Any, GraphNode]) -> dict[str, Any]:
    """Return the annotations of the nodes among `tasks`, in the form that a layer has."""
    # A layer without annotations would take those in force, which are not meant for the nodes but for
    # the tasks composed of them.
    found: dict[str, dict[str, Any]] = {"priority": {}} if dask.get_annotations() else {}
    for key in tasks:
        if isinstance(key, LateKey):
            for kind, value in node_annotations(key, key.recipe, running=not key.is_value):
                found.setdefault(kind, {})[key] = value
    return {kind: values.get for kind, values in found.items()}


def lazy_graph(keys: Iterable[LateKey]) -> HighLevelGraph:
    """Return a graph of nodes for composing, which is planned when it is used."""
    layers: dict[str, Layer] = {key: RecipeLayer(key.recipe, key) for key in keys}
    return HighLevelGraph(layers, {key: set() for key in layers})


class RecipeLayer(Layer):
    """Layer of a node in a composed graph, with tasks that are planned when they are read.

    In the graph the key of the node's value is the node's own `LateKey`.

    Attributes
    ----------
    recipes : tuple of Recipe
        The node's recipe.
    recipe_keys : dict
        Dask key to recipe key, which stands for the layer in the hash of a composed graph.
    """

    has_legacy_tasks = False
    collection_annotations = None
    annotations = None

    def __init__(self, recipe: Recipe, key: LateKey):
        self.recipes = (recipe,)
        self.recipe_keys = {key: recipe.key}
        self.key = key

    def plan(self) -> tuple[dict[Any, GraphNode], dict]:
        """Return the tasks and annotations as of now, with the value under the node's own key."""
        moment = dask_moment()
        if moment.is_composing:
            tasks = late_tasks(self.recipes[0], self.key)
            return tasks, late_annotations(tasks)
        builder = _layer_of(self.recipes[0], moment).builder
        builder.add_value(self.recipes[0], self.key)
        return cull(builder.tasks, [self.key]), builder.annotations

    def cull(self, keys, all_hlg_keys):
        return culled_graph(*self.plan()) if self.key in keys else culled_graph({}, {})

    def __reduce__(self):
        moment = dask_moment()
        builder = _layer_of(self.recipes[0], moment).builder
        # for a scheduler the value gets its planned key, as does each `LateKey` that refers to it
        key = builder.add_value(self.recipes[0], None if moment.is_sending else self.key)
        if moment.is_sending:
            builder.check_workers(moment)
        return plain_layer, (cull(builder.tasks, [key]), builder.annotations)

    def clone(self, keys, seed, bind_to=None):
        if bind_to is not None:
            raise GraphError(
                "dask.graph_manipulation.bind can't make a cached node wait for something else",
                node=self.recipes[0].title,
                hint="compute what it is to wait for first, or make it an argument of the function",
            )
        return super().clone(keys, seed)

    def is_materialized(self):
        return False

    def get_output_keys(self):
        return {self.key}

    def __contains__(self, key):
        return key == self.key or key in self.plan()[0]

    def __getitem__(self, key):
        return self.plan()[0][key]

    def __iter__(self):
        return iter(self.plan()[0])

    def __len__(self):
        return len(self.plan()[0])

    def items(self):
        return self.plan()[0].items()


# ---- from late to planned --------------------------------------------------------------------------


def _layer_of(recipe: Recipe, moment: DaskMoment) -> Any:
    from .layer import layer_of  # not at the top: to make nodes takes no planner

    return layer_of(recipe, moment)


def _entry_key(recipe):
    return LateKey(f"{recipe.name}-entry-{short_digest(recipe.identity.encode())}", recipe, False)


def _keys_before(key):
    """Yield the keys that a node's value or entry may depend on, before it is planned."""
    if key.is_value:
        yield _entry_key(key.recipe)
        return
    for item in key.recipe.upstream:
        if isinstance(item, Recipe):
            yield _entry_key(item)
        elif isinstance(item, DaskInput):
            yield item.delayed.__dask_keys__()[0]


def _local_task(key, moment):
    """Return the planned task with late keys, for schedulers of this process."""
    layer, recipe = _layer_of(key.recipe, moment), key.recipe
    builder = layer.builder
    with builder.singly():
        if key.is_value:
            task = builder.tasks[builder.add_value(recipe)]
            needed = [recipe] if task.dependencies else []
        else:
            planned = _entry_if_possible(builder, recipe)
            if planned is None:
                return DataNode(key, None)
            if planned in layer.direct:  # the verb was given this node, or one downstream, directly, too
                return Alias(key, planned)
            task = builder.tasks[planned]
            needed = [item for item in recipe.upstream if isinstance(item, Recipe)]
        # the graph has each task under its late key only, so the planned keys are translated back
        names = {builder.add_entry(item): _entry_key(item) for item in needed}
    return task.substitute({k: v for k, v in names.items() if k in task.dependencies}, key)


def _sent_key(key, moment):
    """Return the planned key; for a finished node's entry, one that is not used."""
    return _add_sent(_layer_of(key.recipe, moment).builder, key) or f"{key}-done"


def _sent_task(key, moment):
    """Return the planned task under its planned key, which Dask pickles separately.

    For a finished node's entry, it is a value that is not used.
    """
    builder = _layer_of(key.recipe, moment).builder
    planned = _add_sent(builder, key)
    if planned is None:
        return DataNode(f"{key}-done", None)
    if key.is_value:
        builder.check_workers(moment)
    return builder.tasks[planned]


def _add_sent(builder, key):
    """Add the tasks for a late key that is sent; return the planned key, or None without a task."""
    recipe = key.recipe
    with builder.singly():
        if key.is_value:
            return builder.add_value_under_way(recipe) or builder.add_value(recipe)
        return _entry_if_possible(builder, recipe)


def _entry_if_possible(builder, recipe):
    """Return the key of the entry task, or None if the node is complete or can't run.

    Planning a node that can't run would raise, though maybe nothing needs it.  If something does,
    planning its value reports that.
    """
    return builder.add_entry(recipe) if builder.planner.can_run(recipe) else None


def _itself(task):
    return task
