"""Plans to tasks.

There are two kinds of tasks.  An *entry task* makes one node and returns its `Entry`; it depends on the
entry tasks of the nodes before it, so what passes between tasks is handles, not data.  A *value task*
loads what a handle stands for; there is one only where a value is wanted: for each requested node, and
for each node that a plain Dask task consumes.  A finished node has no entry task: its entry is written
into the tasks that need it.
"""

from __future__ import annotations

from typing import Any

from dask._task_spec import GraphNode, Task, TaskRef

from .algorithms import configured
from .errors import StorageError
from .hashing import short_digest
from .late import client_of_verb, is_for_some_workers, node_annotations, sending, split_graph
from .planned import COMPLETE, CORRUPT, DECIDE, FAILED, RUN, PlannedNode
from .planning import Planner
from .recipe import DaskInput, Recipe, SourceInput
from .roots import Root
from .run import load_finished, load_value, run_node
from .spec import Spec
from .submitted import Attempts, Evidence
from .work import DaskValue, Work, describe_arguments


class EntryTask(Task):
    """A task that Dask's optimisers leave alone: fused into what follows, a node would run once in
    each of the collections that need it."""

    __slots__ = ()
    block_fusion = True

    def __reduce__(self):
        work, *handles = self.args
        return _entry_task, (self.key, work, *[handle.key for handle in handles])


def _entry_task(key, work, *handles):
    return EntryTask(key, run_node, work, *map(TaskRef, handles))


class GraphBuilder:
    """Makes tasks for what a planner decides.

    Parameters
    ----------
    planner : Planner
    collect : bool
        Whether failures are collected.

    Attributes
    ----------
    tasks : dict
        Dask key to task; closed: every key that a task depends on is there.
    annotated : dict
        Kind of annotation to a dict from Dask key to value.
    annotations : dict
        Kind of annotation to a function from Dask key to value.
    outputs : frozenset of str
        Keys of the futures that a composed graph is sent for, if there is one.
    """

    def __init__(self, planner: Planner, collect: bool = False):
        self.planner = planner
        self.collect = collect
        self.outputs: frozenset[str] = frozenset()
        #: Whether planning raised, which ends the verb: what was planned is not sent.
        self.failed = False
        self.tasks: dict[Any, GraphNode] = {}
        self.annotations: dict[str, Any] = {}
        self.annotated: dict[str, dict[str, Any]] = {}
        self._attempts = Attempts(self)
        self._entry_keys: dict[str, str] = {}
        self._value_keys: dict[tuple[str, str | None], str] = {}
        self._root_ids: dict[str, str] = {}
        #: Functions whose code was kept, by root and fingerprint.
        self._codes: dict[tuple[str, str], Spec] = {}
        self._is_checked = False

    def add_value(self, recipe: Recipe, key: str | None = None) -> str:
        """Add what it takes to get a node's value; return the key of the value."""
        known = self._value_keys.get((recipe.identity, key))
        if known is None:
            try:
                known = self._value_keys[recipe.identity, key] = self._add_new_value(recipe, key)
            except BaseException:
                self.failed = True
                raise
        return known

    def _add_new_value(self, recipe, key):
        planned = self.planner.request(recipe)
        self.planner.write_down()
        self._new_entries: list[tuple[str, str, Evidence]] = []
        entry_key = self._add_entry(planned) if planned.action in (RUN, DECIDE) else None
        if entry_key is not None:
            load: tuple = load_value, TaskRef(entry_key)
            token = entry_key.rpartition(recipe.key)[2]
        else:
            load = load_finished, *finished(planned)
            token = "-" + _token(planned.records)
        if key is None:
            key = self._attempts.value_key(f"{recipe.name}-value-{recipe.key}{token}")
        if key not in self.tasks:
            self.tasks[key] = Task(key, *load)
            self._annotate(key, recipe, running=False)
        if self._new_entries:
            self._attempts.send(self._new_entries, self.outputs or frozenset([key]))
        return key

    def add_entry(self, recipe: Recipe) -> str | None:
        """Add what it takes to make a node, unless it is complete; return the key of its entry."""
        if recipe.identity not in self._entry_keys:
            planned = self.planner.request(recipe)
            if planned.action not in (RUN, DECIDE):
                return None
            self._new_entries = []
            self._add_entry(planned)
            self._attempts.send(self._new_entries, self.outputs)
        return self._entry_keys[recipe.identity]

    def add_check(self, recipe: Recipe) -> str:
        """Add the entry task of a node, complete or not: it looks again before it runs."""
        planned = self.planner.request(recipe)
        self._new_entries = []
        return self._add_entry(planned)

    def entry_key_of(self, recipe: Recipe) -> str | None:
        """Key of a node's entry task, if it was added."""
        return self._entry_keys.get(recipe.identity)

    def _add_entry(self, planned: PlannedNode) -> str:
        """Add the entry tasks of a node and of what has to run before it."""
        known = self._entry_keys
        stack = [planned]
        while stack:
            current = stack[-1]
            if current.recipe.identity in known:
                stack.pop()
                continue
            unmade = [
                parent
                for parent in current.parents
                if parent is not None
                and parent.action in (RUN, DECIDE)
                and parent.recipe.identity not in known
            ]
            if unmade:
                stack += reversed(unmade)
                continue
            stack.pop()
            known[current.recipe.identity] = self._add_one(current)
        return known[planned.recipe.identity]

    def _add_one(self, planned):
        recipe = planned.recipe
        handles: list[TaskRef] = []
        inputs: list[Any] = []
        made_from = []
        for item, parent in zip(recipe.upstream, planned.parents, strict=True):
            if isinstance(item, SourceInput):
                inputs.append(item)
                made_from.append(str(item))
            elif isinstance(item, DaskInput):
                inputs.append(DaskValue(len(handles), item.identity))
                handles.append(TaskRef(self._add_dask_value(item)))
                made_from.append(f"{item.identity} {handles[-1].key}")
            elif parent.action in (RUN, DECIDE):
                inputs.append(len(handles))
                handles.append(TaskRef(self._entry_keys[item.identity]))
                made_from.append(handles[-1].key)
            else:
                inputs.append(parent.entry)
                made_from.append(parent.data_hash)
        terms = recipe.identity, recipe.root, self._root_id(recipe), planned.outdated, self.collect
        evidence = Evidence(terms, planned.records, tuple(made_from))
        earlier = self._attempts.under_way(evidence)
        if earlier is not None and self._has_progressed(planned, earlier.evidence, evidence):
            return self._add_as_sent(earlier)
        first_key = f"{recipe.name}-{recipe.key}-{_token(*evidence)}"
        key = self._attempts.entry_key(first_key)
        self._new_entries.append((first_key, key, evidence))
        work = Work(
            recipe.spec,
            recipe.values,
            tuple(inputs),
            recipe.key,
            recipe.static,
            recipe.code,
            describe_arguments(recipe.spec, recipe.values) if recipe.mutable else {},
            recipe.root,
            recipe.paths,
            recipe.label,
            planned.records or (None,) * len(recipe.paths),
            planned.outdated,
            planned.state == CORRUPT,
            self.collect,
            planned.elsewhere,
            planned.state == FAILED,
            self._root_id(recipe),
            configured(),
        )
        self._remember_code(recipe)
        self.tasks[key] = EntryTask(key, run_node, work, *handles)
        self._annotate(key, recipe, running=True)
        return key

    def _add_as_sent(self, earlier):
        """Add a task that is under way with all that it was sent with: under one key, nothing else."""
        stack = [earlier.key]
        while stack:
            key = stack.pop()
            if key in self.tasks:
                continue
            self.tasks[key] = earlier.tasks[key]
            for kind, values in earlier.annotated.items():
                if key in values:
                    self._set_annotation(kind, key, values[key])
            stack += self.tasks[key].dependencies
        self._new_entries.append((earlier.first_key, earlier.key, earlier.evidence))
        return earlier.key

    def _has_progressed(self, planned, earlier, evidence):
        """Whether an earlier task that is under way explains what its node's plan finds different now.

        That is: what it is made from is finished meanwhile; of several targets, some are in place.
        """
        records = list(zip(earlier.records, evidence.records, strict=True))
        news = [(planned, now) for before, now in records if before != now]
        if len(news) == len(records) > 0:
            return False
        for parent, before, now in zip(
            planned.parents, earlier.made_from, evidence.made_from, strict=True
        ):
            if before == now:
                continue
            if parent is None or parent.state != COMPLETE or parent.recipe.key not in before:
                return False
            news += [(parent, name) for name in parent.records]
        return all(self._was_made(node, name) for node, name in news)

    def _was_made(self, planned, name):
        """Whether a function made what a record of a node is about, not a person."""
        record = name and self.planner.store(planned.recipe.root).read(name)
        return bool(record) and name.key == planned.recipe.key and "edited" not in record

    def _remember_code(self, recipe):
        """Keep what the code is, for people and for workers."""
        if recipe.paths and recipe.parts is not None and (recipe.root, recipe.code) not in self._codes:
            self._codes[recipe.root, recipe.code] = recipe.spec
            self._is_checked = False
            recipe.keep_code()

    def check_workers(self) -> None:
        """Within a verb: raise unless the workers of its client can run the tasks."""
        if not self._is_checked:
            self._check(client_of_verb(), wait=True)

    def ask_workers(self) -> None:
        """As a client sends the tasks, and can't be waited for: let a warning say what workers lack."""
        sent = None if self._is_checked else sending()
        if sent is not None and not is_for_some_workers():
            self._check(sent[0], wait=False)

    def _check(self, client, wait):
        if client is None or not self._root_ids or self.annotations.keys() & {"workers", "resources"}:
            return  # what is only for some of the workers is checked where it runs
        from .workers.reach import check_reach, needs_of

        self._is_checked = True
        check_reach(client, needs_of(self._root_ids, self._codes), wait)

    def _root_id(self, recipe):
        """Id of the root, which is made if need be; empty for a node that stores nothing."""
        if not recipe.paths:
            return ""
        if recipe.root not in self._root_ids:
            try:
                self._root_ids[recipe.root] = Root(recipe.root).create()
            except StorageError as error:
                error.node, error.target = recipe.title, f"{recipe.root}/{recipe.paths[0]}"
                raise
        return self._root_ids[recipe.root]

    def _add_dask_value(self, item: DaskInput) -> str:
        """Add the graph of a plain Dask value, nodes in it included; return its key."""
        graph = item.delayed.__dask_graph__()
        late_keys, plain = split_graph(graph)
        for late in late_keys:
            self.add_value(late.recipe, late)
        self.tasks.update(plain)
        for layer in getattr(graph, "layers", {}).values():
            for kind, value in (layer.annotations or {}).items():
                for key in plain.keys() & layer.keys():
                    self._set_annotation(kind, key, value(key) if callable(value) else value)
        return item.delayed.__dask_keys__()[0]

    def _annotate(self, key, recipe, running):
        for kind, value in node_annotations(key, recipe, running):
            self._set_annotation(kind, key, value)

    def _set_annotation(self, kind, key, value):
        values = self.annotated.setdefault(kind, {})
        values[key] = value
        self.annotations[kind] = values.get  # a bound method: picklable, and None is ignored


def finished(planned: PlannedNode) -> tuple:
    """What `load_finished` takes of a complete node."""
    return planned.entry, planned.recipe.name, planned.seconds or 0.0


def _token(*evidence):
    """Short hash that makes a Dask key say what its task does."""
    return short_digest(repr(evidence).encode("utf-8", "surrogatepass"))
