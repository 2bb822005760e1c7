"""Plans to tasks.

There are three kinds of tasks.  An *entry task* makes one node and returns its `Entry`; it depends on
the entry tasks of the nodes before it, so what passes between tasks is handles, not data.  A *value
task* loads what a handle stands for; there is one only where a value is wanted: for each requested node,
and for each node that a plain Dask task consumes.  A *result task* is both as one, for a requested node
whose entry nothing else in the verb needs: most of what a small node costs is the scheduler's work for a
task.  Should the entry be needed after all while that is under way, the entry task waits for it, and
finds the node finished.  There are result tasks only where no other program uses the scheduler.

A finished node has no task that makes it: its entry is written into the tasks that need it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from dask._task_spec import GraphNode, Task, TaskRef

from ..calls import task_keys
from ..calls.recipe import DaskInput, Recipe, SourceInput
from ..hashing.algorithms import configured
from ..hashing.encoder import short_digest
from ..planning.planner import Planner, blocked_failure
from ..planning.states import BLOCKED, CORRUPT, FAILED, PlannedNode
from ..runtime.code_check import code_in_arguments
from ..runtime.entry import Failure
from ..runtime.node import load_finished, load_value, run_and_load, run_node
from ..runtime.work import DaskValue, Work, describe_arguments
from .attempts import Attempts, Earlier, Evidence, MakingTask
from .composed import node_annotations, split_graph
from .frames import client_of_verb, is_for_some_workers, sending
from .needs import TaskNeeds
from .other_programs import is_alone, unfinished


class EntryTask(Task):
    """A task that makes a node, for its entry or its value.

    Dask's optimisers leave it alone: fused into what follows, a node would run once in each of the
    collections that need it.
    """

    __slots__ = ()
    block_fusion = True

    def __reduce__(self):
        work, *handles = self.args
        return _entry_task, (self.key, self.func, work, *[handle.key for handle in handles])


def _entry_task(key, function, work, *handles):
    return EntryTask(key, function, work, *map(TaskRef, handles))


class GraphBuilder:
    """Makes tasks for what a planner decides.

    Parameters
    ----------
    planner : Planner

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
    values : frozenset of str
        Recipes whose values are in that graph, not only their entries, by identity.
    held : list of distributed.Future
        What keeps tasks under way which such a graph needs, until the scheduler has it.
    """

    def __init__(self, planner: Planner):
        self.planner = planner
        self.outputs: frozenset[str] = frozenset()
        self.values: frozenset[str] = frozenset()
        self.held: list[Any] = []
        #: Whether planning raised, which ends the verb: what was planned is not sent.
        self.failed = False
        self.tasks: dict[Any, GraphNode] = {}
        self.annotations: dict[str, Any] = {}
        self.annotated: dict[str, dict[str, Any]] = {}
        self._attempts = Attempts(self)
        self._entry_keys: dict[str, str] = {}
        self._value_keys: dict[tuple[str, str | None], str] = {}
        self._result_keys: dict[str, str] = {}
        #: What is new since it was last said for whose sake it is sent.
        self._new: list[MakingTask] = []
        #: Whether no other program uses the scheduler, which could need an entry meanwhile.
        self._is_alone = False
        #: Keys of result tasks that other programs may have sent, and of those that they have.
        self._result_tasks: list[str] = []
        self._shared: set[str] = set()
        #: See `singly`.
        self._is_single = False
        self._pinned: set[str] = set()
        self._needs = TaskNeeds()

    def add_requested(self, recipes: Iterable[Recipe]) -> None:
        """Add what it takes to get the values of all nodes that a verb is given."""
        requested, client = list(recipes), client_of_verb()
        with self._noting_failure():
            self.planner.request_all(requested)
            self.planner.check()
            is_first = not self.tasks
            self._is_alone = is_first and self._something_runs(requested) and is_alone(client)
            self._add_values(requested)
            if is_first and self.tasks and not self._is_alone:
                self._shared = unfinished(client, self._result_tasks)
            if self._shared:
                self._forget_tasks()
                self._add_values(requested)

    @contextmanager
    def _noting_failure(self):
        try:
            yield
        except BaseException:
            self.failed = True
            self._attempts.take_back()
            raise

    def _something_runs(self, recipes):
        plans = [self.planner.request(recipe) for recipe in recipes]
        return any(planned.is_to_do for planned in plans)

    def _add_values(self, recipes):
        before = [self._add_parents(recipe) for recipe in recipes]
        for recipe, self._new in zip(recipes, before, strict=True):
            if recipe.identity in self._result_keys or (recipe.identity, None) in self._value_keys:
                continue
            task = self._add_result(self.planner.request(recipe))
            if task is None:
                self._add_new_value(recipe)
            else:
                self._result_keys[recipe.identity] = task.key
                self._attempts.send(self._new, frozenset([task.key]))

    def _forget_tasks(self):
        for known in (self.tasks, self.annotations, self.annotated):
            known.clear()
        for known in (self._entry_keys, self._value_keys, self._result_keys):
            known.clear()

    def requested_value(self, recipe: Recipe) -> str:
        """Add what it takes to get the value of a node that a verb is given; return its key."""
        return self._result_keys.get(recipe.identity) or self.add_value(recipe)

    def _add_parents(self, recipe):
        """Add the tasks for all that a requested node is made from; return what is new."""
        self._new = []
        planned = self.planner.request(recipe)
        self.planner.write_down()
        if planned.is_to_do:
            for item, parent in zip(recipe.upstream, planned.parents, strict=True):
                if isinstance(item, DaskInput):
                    self._add_dask_value(item)
                elif parent is not None and parent.is_to_do:
                    self._add_entry(parent)
        return self._new

    def _add_result(self, planned) -> MakingTask | None:
        """Add a result task, unless the entry is needed or another task makes the node already."""
        if not planned.is_to_do or planned.recipe.identity in self._entry_keys:
            return None
        if planned.outdated or not planned.recipe.paths:
            return None  # who needs the entry later would not find the node finished
        evidence, *given = self._made_from(planned)
        earlier = self._earlier(planned, evidence)
        if earlier is not None:
            return self._add_as_sent(earlier) if earlier.task.gives_value else None
        _, task = self._new_tasks(planned.recipe, evidence)
        if not self._is_alone and task.key not in self._shared:
            return None
        self._add_making(task, planned, *given)
        return task

    def add_value(self, recipe: Recipe, key: str | None = None) -> str:
        """Add what it takes to get a node's value by way of its entry; return the key of the value."""
        if (recipe.identity, key) not in self._value_keys:
            others, self._new = self._new, []
            with self._noting_failure():
                self._add_new_value(recipe, key)
            self._new = others
        return self._value_keys[recipe.identity, key]

    def add_value_under_way(self, recipe: Recipe) -> str | None:
        """Add the result task of a node if there is one, of this verb or under way; return its key.

        The entry task says whether there is one: what it waits for has to be in the graph, too.
        """
        if recipe.identity not in self._result_keys:
            with self._noting_failure():
                self.add_entry(recipe)
                self.planner.write_down()
        return self._result_keys.get(recipe.identity)

    @contextmanager
    def singly(self) -> Iterator[None]:
        """Within, what is added is for a graph that names the tasks it takes: no others get into it."""
        self._is_single = True
        try:
            yield
        finally:
            self._is_single = False

    def _add_new_value(self, recipe, key=None):
        planned = self.planner.request(recipe)
        self.planner.write_down()
        entry_key = self._add_entry(planned) if planned.is_to_do else None
        if entry_key is not None:
            load: tuple = load_value, TaskRef(entry_key)
            token = task_keys.token_of(entry_key, recipe.key)
        elif planned.action == BLOCKED:
            load = load_value, Failure(blocked_failure(planned))
            token = _token(planned.records, planned.reasons)
        else:
            load = load_finished, *finished(planned)
            token = _token(planned.records)
        own_key = task_keys.value_key(recipe.name, recipe.key, token)
        value_key = key or self._attempts.value_key(own_key)
        if value_key not in self.tasks:
            self.tasks[value_key] = Task(value_key, *load)
            self._annotate(value_key, recipe, running=False)
        if self._new:
            self._attempts.send(self._new, self.outputs or frozenset([value_key]))
        self._value_keys[recipe.identity, key] = value_key

    def add_entry(self, recipe: Recipe, pinned: bool = False) -> str | None:
        """Add what it takes to make a node, unless it is complete; return the key of its entry.

        If it is `pinned`, its target is there in the end also if nothing needs its data.
        """
        if pinned:
            self._pinned.add(recipe.identity)
        if recipe.identity not in self._entry_keys:
            planned = self.planner.request(recipe)
            if not planned.is_to_do:
                return None
            self._new = []
            self._add_entry(planned)
            self._attempts.send(self._new, self.outputs)
        return self._entry_keys[recipe.identity]

    def add_check(self, recipe: Recipe) -> str:
        """Add the entry task of a node, complete or not: it looks again before it runs, and is made."""
        self._pinned.add(recipe.identity)
        planned = self.planner.request(recipe)
        self._new = []
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
                if parent is not None and parent.is_to_do and parent.recipe.identity not in known
            ]
            if unmade:
                stack += reversed(unmade)
                continue
            stack.pop()
            known[current.recipe.identity] = self._add_one_entry(current)
        return known[planned.recipe.identity]

    def _add_one_entry(self, planned):
        evidence, inputs, handles = self._made_from(planned)
        result_key = self._result_keys.get(planned.recipe.identity)
        earlier = None if result_key else self._earlier(planned, evidence)
        if earlier is not None and self._may_send(earlier, planned.recipe):
            sent = self._add_as_sent(earlier)
            if not sent.gives_value:
                return sent.key
            result_key = sent.key
            if self._is_single:
                self._result_keys[planned.recipe.identity] = result_key
        entry_task, result_task = self._new_tasks(planned.recipe, evidence)
        if result_task.key in self._shared and not result_key:
            self._add_making(result_task, planned, inputs, handles)
            result_key = result_task.key
        if result_key:
            handles.append(TaskRef(result_key))
        else:
            self._result_tasks.append(result_task.key)
        self._add_making(entry_task, planned, inputs, handles)
        return entry_task.key

    def _may_send(self, earlier, recipe):
        """Whether a task under way gets into the graph, if it has a key other than the node's entry."""
        return not (earlier.task.gives_value and self._is_single) or recipe.identity in self.values

    def _made_from(self, planned):
        """What a task that makes a node rests on, is given, and gets from the tasks before it."""
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
            elif parent.is_to_do:
                inputs.append(len(handles))
                handles.append(TaskRef(self._entry_keys[item.identity]))
                made_from.append(handles[-1].key)
            else:
                inputs.append(parent.entry)
                made_from.append(parent.data_hash)
        collect = self.planner.collect
        terms = recipe.identity, recipe.root, self._needs.root_id(recipe), planned.outdated, collect
        return Evidence(terms, planned.records, tuple(made_from)), inputs, handles

    def _new_tasks(self, recipe, evidence) -> tuple[MakingTask, MakingTask]:
        """The two tasks, one of which makes a node: for its entry, and for its value."""
        token = _token(*evidence)
        first_key = task_keys.entry_key(recipe.name, recipe.key, token)
        attempt = self._attempts.number(first_key)
        if attempt:
            token = f"{token}-{attempt}"
        entry_key = task_keys.entry_key(recipe.name, recipe.key, token)
        result_key = self._attempts.value_key(task_keys.result_key(recipe.name, recipe.key, token))
        return (
            MakingTask(entry_key, first_key, attempt, evidence, gives_value=False),
            MakingTask(result_key, first_key, attempt, evidence, gives_value=True),
        )

    def _add_making(self, task, planned, inputs, handles):
        recipe = planned.recipe
        code: dict[str, list] = {}
        work = Work(
            recipe.spec,
            recipe.values,
            tuple(inputs),
            recipe.key,
            recipe.static,
            recipe.code,
            describe_arguments(recipe.spec, recipe.values, code=code) if recipe.mutable else {},
            recipe.root,
            recipe.paths,
            recipe.label,
            planned.records or (None,) * len(recipe.paths),
            planned.outdated,
            planned.state == CORRUPT,
            self.planner.collect,
            planned.elsewhere,
            planned.state == FAILED,
            self._needs.root_id(recipe),
            configured(),
            planned.keeps,
            self._verb_to_look_elsewhere(planned),
            recipe.identity in self._pinned or bool(_BOUND & recipe.annotations.keys()),
            code_in_arguments(code),
        )
        self._needs.keep_code(recipe)
        self._new.append(task)
        function = run_and_load if task.gives_value else run_node
        self.tasks[task.key] = EntryTask(task.key, function, work, *handles)
        self._annotate(task.key, recipe, running=True)

    def _verb_to_look_elsewhere(self, planned):
        """The verb, if only a worker can see whether equal code has made a node of equal data."""
        waits = any(parent is not None and parent.is_to_do for parent in planned.parents)
        if not waits or planned.outdated or self.planner.store(planned.recipe.root).is_empty():
            return ""
        return self.planner.verb

    def _earlier(self, planned, evidence) -> Earlier | None:
        """The task under way that makes a node, if that explains what its plan finds by now."""
        if self._is_single and not self.outputs:
            return None  # a scheduler of this process gets nothing that only another one has
        earlier = self._attempts.under_way(evidence)
        if earlier is None or not self._has_progressed(planned, earlier.task.evidence, evidence):
            return None
        if self.outputs:  # what it was sent with is not always sent again with a composed graph
            held = self._attempts.hold(earlier.task, self.outputs)
            self.held += held
            return earlier if held else None
        return earlier

    def _add_as_sent(self, earlier) -> MakingTask:
        """Add a task that is under way with all that it was sent with: under one key, nothing else."""
        stack = [earlier.task.key]
        while stack:
            key = stack.pop()
            if key in self.tasks:
                continue
            self.tasks[key] = earlier.tasks[key]
            for kind, values in earlier.annotated.items():
                if key in values:
                    self._set_annotation(kind, key, values[key])
            stack += self.tasks[key].dependencies
        self._new.append(earlier.task)
        return earlier.task

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
            if parent is None or not parent.is_complete or parent.recipe.key not in before:
                return False
            news += [(parent, name) for name in parent.records]
        return all(self._was_made(node, name) for node, name in news)

    def _was_made(self, planned, name):
        """Whether a function made what a record of a node is about, not a person."""
        record = name and self.planner.store(planned.recipe.root).read(name)
        return bool(record) and name.key == planned.recipe.key and "edited" not in record

    def check_workers(self) -> None:
        """Within a verb: raise unless the workers of its client can run the tasks."""
        if self._may_check():
            self._needs.check(client_of_verb(), wait=True)

    def ask_workers(self) -> None:
        """As a client sends the tasks, and can't be waited for: let a warning say what workers lack."""
        sent = sending() if self._may_check() else None
        if sent is not None and not is_for_some_workers():
            self._needs.check(sent[0], wait=False)

    def _may_check(self):
        """False, too, if tasks are only for some of the workers: those are checked where they run."""
        return not (self._needs.are_checked or self.annotations.keys() & {"workers", "resources"})

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


#: Annotations that bind a node to some workers: its function must not run in the task of another node.
_BOUND = {"resources", "workers"}


def finished(planned: PlannedNode) -> tuple:
    """What `load_finished` takes of a complete node."""
    return planned.entry, planned.recipe.name, planned.seconds or 0.0


def _token(*evidence):
    """Short hash that makes a Dask key say what its task does."""
    return short_digest(repr(evidence).encode("utf-8", "surrogatepass"))
