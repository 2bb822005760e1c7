"""What stands for nodes in graphs that are composed before they are planned.

``dask.delayed(f)(node)`` keeps a graph of layers, and a lazy layer in it can wait for the plan
(`daskcache.graph.RecipeLayer`).  ``dask.delayed(f)([node])``, with nodes in lists, dicts or keyword
arguments, materialises the layers: what is left are single tasks and their keys.  So there each node
is a `LateTask`, under a `LateKey`, which is planned when the graph is culled or pickled.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

import dask
from dask._task_spec import Alias, DataNode, GraphNode, convert_legacy_graph

from .hashing import short_digest
from .recipe import DaskInput, Recipe


class LateKey(str):
    """Key of a node's value, or of its entry, in a graph that is not planned yet.

    The graph refers to it in many places.  When a distributed client pickles the graph, it becomes the
    planned key in all of them.
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
        return str, (_sent_key(self) if is_sending() else str(self),)


class LateTask(GraphNode):
    """The task of a node in a graph that is not planned yet.

    While graphs are composed it depends on all that the node is made from.  It is planned anew each
    time that a graph is culled, and then depends on what is left to do.
    """

    __slots__ = ("_culled_in", "_planned")
    key: LateKey  # type: ignore[assignment]

    def __init__(self, key: LateKey):
        self.key = key
        self._planned: GraphNode | None = None
        self._culled_in: Any = None

    @property
    def dependencies(self) -> frozenset:
        if is_composing():
            return frozenset(_keys_before(self.key))
        return self.planned().dependencies

    @property
    def recipe_keys(self) -> dict[str, str]:
        """What hashing a composed graph counts in place of this task."""
        return {self.key: self.key.recipe.key}

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """The recipe whose value this is."""
        return (self.key.recipe,) if self.key.is_value else ()

    def planned(self) -> GraphNode:
        """The task that this is, in the verb under way."""
        step = dask_step()
        if self._planned is None or (isinstance(step, set) and self._culled_in() is not step):
            self._planned = _local_task(self.key)
            self._culled_in = weakref.ref(step) if isinstance(step, set) else lambda: None
        return self._planned

    def __call__(self, values=()):
        return self.planned()(values)

    def copy(self):
        return LateTask(self.key)

    def substitute(self, subs, key=None):
        if is_composing():  # to be renamed together with all that it depends on: stay, be referred to
            return Alias(self.key) if self.key.is_value else DataNode(None, None)
        return self if key in (None, self.key) else self.planned().substitute(subs, key)

    def __dask_tokenize__(self):
        return type(self).__name__, str(self.key)

    @property
    def block_fusion(self) -> bool:
        return True

    def __reduce__(self):
        return _itself, (_sent_task(self.key) if is_sending() else self.planned(),)

    def __repr__(self):
        return f"<LateTask {self.key}>"


def late_tasks(recipe: Recipe, key: LateKey) -> dict[Any, GraphNode]:
    """Tasks for a node's value under `key`, and for all that it is made from."""
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


def values_among(graphs: Iterable[Any]) -> Iterator[str]:
    """Identities of the recipes whose values are in graphs of layers, by lazy layers or late tasks."""
    for graph in graphs:
        for layer in graph.layers.values():
            for node in (layer, *getattr(layer, "mapping", {}).values()):
                yield from (recipe.identity for recipe in getattr(node, "recipes", ()))


def late_annotations(tasks: dict[Any, GraphNode]) -> dict[str, Any]:
    """Annotations of the nodes among `tasks`, in the form of those of a layer."""
    # a layer without annotations would take those in force, which are for what is composed of the nodes
    found: dict[str, dict[str, Any]] = {"priority": {}} if dask.get_annotations() else {}
    for key in tasks:
        if isinstance(key, LateKey):
            for kind, value in node_annotations(key, key.recipe, running=not key.is_value):
                found.setdefault(kind, {})[key] = value
    return {kind: values.get for kind, values in found.items()}


def node_annotations(key: str, recipe: Recipe, running: bool) -> Iterator[tuple[str, Any]]:
    """Annotations of a node's creation for one of its tasks; `running` is False if it only reads."""
    for kind, value in recipe.annotations.items():
        if running or kind not in _ONLY_FOR_RUNNING:
            yield kind, value(key) if callable(value) else value


#: Annotations that concern running, not reading what has run.
_ONLY_FOR_RUNNING = ("resources", "retries")


def split_graph(graph: Any) -> tuple[list[LateKey], dict[Any, GraphNode]]:
    """Keys of the nodes that a graph was composed from, and the plain tasks in it."""
    late: dict[LateKey, None] = {}
    plain: dict = {}
    for layer in getattr(graph, "layers", {"": graph}).values():
        if hasattr(layer, "recipe_keys"):
            late[layer.key] = None
            continue
        for key, task in layer.items():
            if not isinstance(task, LateTask):
                plain[key] = task
            elif task.key.is_value:
                late[task.key] = None
    return list(late), convert_legacy_graph(plain, {*plain, *late})


# ---- where Dask is -------------------------------------------------------------------------------

#: Functions of Dask that cull graphs or pickle them, and a local variable of each.
_STEPS = {"_graph_to_futures": "keyset", "cull": "keys_set"}


def dask_step() -> Any:
    """An object that lives as long as the step that Dask is in: as long as one verb reads graphs.

    Dask does not say where a verb begins and ends, so this looks at the functions that are running:
    ``HLGExpr.from_collection``, called in one loop for all collections of a verb;
    ``HighLevelGraph.cull``; and ``Client._graph_to_futures``, which pickles.
    ``tests/integration/test_dask_internals.py`` says what broke, should Dask change them.

    Returns
    -------
    frame, set or None
        The frame of the loop, or the set of the wanted keys.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_name
        if name == "from_collection":
            return frame.f_back
        if name in _STEPS and _STEPS[name] in frame.f_locals:
            return frame.f_locals[_STEPS[name]]
        frame = frame.f_back
    return None


def is_sending() -> bool:
    """Whether a distributed client pickles a graph just now, to send it to its scheduler."""
    return _running("_graph_to_futures", "distributed.client") is not None


def sending() -> tuple[Any, dict[str, Any], Any] | None:
    """The distributed client that pickles a graph just now, the futures that it made, the expression."""
    frame = _running("_graph_to_futures", "distributed.client")
    return frame and tuple(frame.f_locals[name] for name in ("self", "futures", "expr"))


def is_for_some_workers() -> bool:
    """Whether a distributed client pickles a graph just now for workers that its verb names."""
    frame = _running("_graph_to_futures", "distributed.client")
    return frame is not None and bool(frame.f_locals.get("workers"))


def client_of_verb() -> Any:
    """The distributed client that a verb under way will send its graph to; None if none is known.

    Nor is it of a verb that names the workers for its graph.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name in ("compute", "persist"):
            module = frame.f_globals.get("__name__")
            if module == "distributed.client":
                return None if frame.f_locals.get("workers") else frame.f_locals["self"]
            if module == "dask.base":
                found = getattr(frame.f_locals.get("schedule"), "__self__", None)
                return found if hasattr(found, "scheduler_info") else None
        frame = frame.f_back
    return None


def culled_layers() -> Iterable[Any]:
    """The layers of the graph that is culled just now."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not (frame.f_code.co_name == "cull" and "keys_set" in frame.f_locals):
        frame = frame.f_back
    return frame.f_locals["self"].layers.values() if frame is not None else ()


def is_composing() -> bool:
    """Whether a graph is composed just now, by `dask.delayed` over nodes in containers."""
    return _running("unpack_collections", "dask.delayed") is not None


def is_read_for_composing(reader: FrameType) -> bool:
    """Whether ``node.dask``, read in the frame `reader`, is read for composing: a quicker look."""
    if reader.f_code.co_name != "from_collection" or reader.f_back is None:
        return False
    caller = reader.f_back.f_back
    return caller is not None and _is(caller, "unpack_collections", "dask.delayed")


def _running(function, module):
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and not _is(frame, function, module):
        frame = frame.f_back
    return frame


def _is(frame, function, module):
    return frame.f_code.co_name == function and frame.f_globals.get("__name__") == module


# ---- from late to planned --------------------------------------------------------------------------


def _layer(key):
    from .graph import layer_of

    return layer_of(key.recipe)


def _entry_key(recipe):
    return LateKey(f"{recipe.name}-entry-{short_digest(recipe.identity.encode())}", recipe, False)


def _keys_before(key):
    """Late keys that a node's value, or its entry, may depend on."""
    if key.is_value:
        yield _entry_key(key.recipe)
        return
    for item in key.recipe.upstream:
        if isinstance(item, Recipe):
            yield _entry_key(item)
        elif isinstance(item, DaskInput):
            yield item.delayed.__dask_keys__()[0]


def _local_task(key):
    """The planned task under its late key, depending on late keys: for schedulers of this process."""
    layer = _layer(key)
    with layer.builder.singly():
        return _local_task_of(layer.builder, layer.direct, key)


def _local_task_of(builder, direct, key):
    if key.is_value:
        task = builder.tasks[builder.add_value(key.recipe)]
        names = {builder.add_entry(key.recipe): _entry_key(key.recipe)} if task.dependencies else {}
        return task.substitute(names, key)
    planned = _entry_if_possible(builder, key.recipe)
    if planned is None:
        return DataNode(key, None)
    if planned in direct:  # the verb was given this node, or what follows from it, by itself too
        return Alias(key, planned)
    task = builder.tasks[planned]
    names = {
        builder.add_entry(item): _entry_key(item)
        for item in key.recipe.upstream
        if isinstance(item, Recipe)
    }
    return task.substitute({k: v for k, v in names.items() if k in task.dependencies}, key)


def _sent_key(key):
    builder = _layer(key).builder
    if key.is_value:
        return _add_sent_value(builder, key.recipe)
    with builder.singly():
        return _entry_if_possible(builder, key.recipe) or f"{key}-done"


def _sent_task(key):
    """The planned task under its planned key; of a finished node something that nothing needs."""
    builder = _layer(key).builder
    if key.is_value:
        task = builder.tasks[_add_sent_value(builder, key.recipe)]
        builder.ask_workers()
        return task
    with builder.singly():
        planned = _entry_if_possible(builder, key.recipe)
    return builder.tasks[planned] if planned is not None else DataNode(f"{key}-done", None)


def _entry_if_possible(builder, recipe):
    """Key of the entry task.  A node that can't run may not be needed; if it is, its value says so."""
    return builder.add_entry(recipe) if builder.planner.can_run(recipe) else None


def _add_sent_value(builder, recipe):
    with builder.singly():
        return builder.add_value_under_way(recipe) or builder.add_value(recipe)


def _itself(task):
    return task
