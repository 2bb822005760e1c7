"""Tasks for the nodes of a plan.  `graph.verb` and `prefect.preparing` use `GraphBuilder`.

There are three kinds of tasks:

- An *entry task* makes a node and returns its `Entry`.  It depends on the entry tasks of the nodes
  upstream, so handles pass between tasks, not data.
- A *value task* loads the value behind a handle.  Only requested nodes have one, and nodes that a plain
  Dask task consumes.
- A *result task* does both, because most of a small node's cost is the scheduler's work for each task.
  It is for a requested node whose entry nothing else in the verb needs.  If a later verb needs the entry
  while the result task is pending, an entry task waits for it and finds the node finished.  New result
  tasks are made only where no other program uses the scheduler.

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

    Dask's optimisers must not fuse it with its consumers.  Otherwise the node would run once in each of
    the collections that need it.
    """

    __slots__ = ()
    block_fusion = True

    def __reduce__(self):
        work, *handles = self.args
        return _entry_task, (self.key, self.func, work, *[handle.key for handle in handles])


def _entry_task(key, function, work, *handles):
    return EntryTask(key, function, work, *map(TaskRef, handles))


class GraphBuilder:
    """Make the tasks for a planner's decisions.

    Parameters
    ----------
    planner : Planner

    Attributes
    ----------
    tasks : dict
        Dask key to task.  It holds every key that one of its tasks depends on.
    annotated : dict
        Kind of annotation to a dict from Dask key to value.
    annotations : dict
        Kind of annotation to a function from Dask key to value.
    outputs : frozenset of str
        Keys of the futures for which a composed graph is sent; empty for other graphs.
    values : frozenset of str
        Identities of the recipes whose values are in the composed graph, not only their entries.
    held : list of distributed.Future
        Futures that keep pending tasks alive until the scheduler has the composed graph that needs them.
    """

    def __init__(self, planner: Planner):
        self.planner = planner
        self.outputs: frozenset[str] = frozenset()
        self.values: frozenset[str] = frozenset()
        self.held: list[Any] = []
        #: True if planning raised an error.  That ends the verb, so nothing of it is sent.
        self.failed = False
        self.tasks: dict[Any, GraphNode] = {}
        self.annotations: dict[str, Any] = {}
        self.annotated: dict[str, dict[str, Any]] = {}
        self._attempts = Attempts(self)
        self._entry_keys: dict[str, str] = {}
        self._value_keys: dict[tuple[str, str | None], str] = {}
        self._result_keys: dict[str, str] = {}
        #: New tasks, for which `Attempts.send` has not yet noted the futures that need them.
        self._new: list[MakingTask] = []
        #: True if no other program uses the scheduler.  Another one could need an entry meanwhile.
        self._is_alone = False
        #: Keys of result tasks that other programs may have sent, and of those that are unfinished.
        self._result_tasks: list[str] = []
        self._shared: set[str] = set()
        #: True within `singly`.
        self._is_single = False
        #: Identities of the recipes whose targets must exist in the end (`add_entry`).
        self._pinned: set[str] = set()
        self._needs = TaskNeeds()

    def add_requested(self, recipes: Iterable[Recipe]) -> None:
        """Add the tasks that a verb needs for the values of its nodes."""
        requested, client = list(recipes), client_of_verb()
        with self._noting_failure():
            self.planner.request_all(requested)
            self.planner.check()
            # Asking the scheduler blocks, so ask only for the verb's first nodes, and only if something
            # has to run.
            is_first = not self.tasks
            self._is_alone = is_first and self._something_runs(requested) and is_alone(client)
            self._add_values(requested)
            if is_first and self.tasks and not self._is_alone:
                self._shared = unfinished(client, self._result_tasks)
            if self._shared:  # start again, with result tasks for these nodes
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
        # Parents go first: a requested node that is upstream of another one needs an entry task.
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
        """Add the tasks for the value of a node that a verb was given; return the value's key."""
        return self._result_keys.get(recipe.identity) or self.add_value(recipe)

    def _add_parents(self, recipe):
        """Add the tasks for the inputs of a requested node; return the new ones that make nodes."""
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
        """Add and return a node's result task, or return None if it can't have one."""
        if not planned.is_to_do or planned.recipe.identity in self._entry_keys:
            return None
        if planned.outdated or not planned.recipe.paths:
            return None  # a later entry task that waits for it would not find the node finished
        evidence, *given = self._made_from(planned)
        earlier = self._earlier(planned, evidence)
        if earlier is not None:
            return self._add_as_sent(earlier) if earlier.task.gives_value else None
        _, task = self._new_tasks(planned.recipe, evidence)
        if not self._is_alone and task.key not in self._shared:
            return None  # another program could send the entry task, and the node would run twice
        self._add_making(task, planned, *given)
        return task

    def add_value(self, recipe: Recipe, key: str | None = None) -> str:
        """Add the tasks for a node's value, loaded through its entry; return the value's key."""
        if (recipe.identity, key) not in self._value_keys:
            others, self._new = self._new, []  # calls nest: a node may be upstream in a Dask value
            with self._noting_failure():
                self._add_new_value(recipe, key)
            self._new = others
        return self._value_keys[recipe.identity, key]

    def add_value_under_way(self, recipe: Recipe) -> str | None:
        """Return the key of a node's result task, if this verb has one or one is pending, else None.

        The entry task is added to find out, and the result task with it.  The graph must have both,
        because the entry task waits for the result task.
        """
        if recipe.identity not in self._result_keys:
            with self._noting_failure():
                self.add_entry(recipe)
                self.planner.write_down()
        return self._result_keys.get(recipe.identity)

    @contextmanager
    def singly(self) -> Iterator[None]:
        """Add tasks, within this context, for a graph of late tasks.

        Such a graph takes only the tasks that it names, so no task may depend on others.
        """
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
        """Add the tasks that make a node; return the key of its entry, or None if it is complete.

        With `pinned`, its target exists in the end even if nothing needs its data.
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
        """Add the entry task of a node, complete or not, and pin the node; return the key.

        The task checks again before it runs the function.
        """
        self._pinned.add(recipe.identity)
        planned = self.planner.request(recipe)
        self._new = []
        return self._add_entry(planned)

    def entry_key_of(self, recipe: Recipe) -> str | None:
        """Return the key of a node's entry task, or None if it was not added."""
        return self._entry_keys.get(recipe.identity)

    def _add_entry(self, planned: PlannedNode) -> str:
        """Add the entry tasks of a node and of the nodes that must run before it; return its key."""
        # with a stack, because chains of nodes can be longer than Python's recursion limit
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
            result_key = sent.key  # it gives no entry, so an entry task waits for it
            if self._is_single:
                self._result_keys[planned.recipe.identity] = result_key
        entry_task, result_task = self._new_tasks(planned.recipe, evidence)
        if result_task.key in self._shared and not result_key:
            self._add_making(result_task, planned, inputs, handles)
            result_key = result_task.key
        if result_key:
            handles.append(TaskRef(result_key))  # not an input: it only makes the entry task wait
        else:
            self._result_tasks.append(result_task.key)
        self._add_making(entry_task, planned, inputs, handles)
        return entry_task.key

    def _may_send(self, earlier, recipe):
        """Return True if an earlier task can be part of this graph.

        A graph of late tasks takes a result task only where it names the node's value.
        """
        return not (earlier.task.gives_value and self._is_single) or recipe.identity in self.values

    def _made_from(self, planned):
        """Return the evidence, inputs and upstream handles of a node's task."""
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
        """Return the two tasks that can make a node: the entry task and the result task."""
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
        """Return the verb if only a worker can look for an equal result at other targets, else "".

        That is so while inputs are unfinished, because planning can't know their data.
        """
        waits = any(parent is not None and parent.is_to_do for parent in planned.parents)
        if not waits or planned.outdated or self.planner.store(planned.recipe.root).is_empty():
            return ""
        return self.planner.verb

    def _earlier(self, planned, evidence) -> Earlier | None:
        """Return the pending task that makes a node, if it explains the plan's findings, else None."""
        if self._is_single and not self.outputs:
            return None  # for a scheduler of this process, which does not have a cluster's tasks
        earlier = self._attempts.under_way(evidence)
        if earlier is None or not self._has_progressed(planned, earlier.task.evidence, evidence):
            return None
        if self.outputs:  # a composed graph does not always include what the task was sent with
            held = self._attempts.hold(earlier.task, self.outputs)
            self.held += held
            return earlier if held else None
        return earlier

    def _add_as_sent(self, earlier) -> MakingTask:
        """Add a pending task as it was sent, with its dependencies: a key must keep its meaning."""
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
        """Return True if a pending task explains the differences between its plan and the plan of now.

        It does if its inputs were finished meanwhile, or if some of its several targets are in place.
        A person's edit is not explained.
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
            # the key of the task that makes the parent includes the parent's recipe key
            if parent is None or not parent.is_complete or parent.recipe.key not in before:
                return False
            news += [(parent, name) for name in parent.records]
        return all(self._was_made(node, name) for node, name in news)

    def _was_made(self, planned, name):
        """Return True if a record of a node says that its function made the content, not a person."""
        record = name and self.planner.store(planned.recipe.root).read(name)
        return bool(record) and name.key == planned.recipe.key and not record.is_adopted

    def check_workers(self) -> None:
        """Raise an error, within a verb, unless the workers of its client can run the tasks."""
        if self._may_check():
            self._needs.check(client_of_verb(), wait=True)

    def ask_workers(self) -> None:
        """Check the workers while a client sends the tasks; a later warning says what they lack.

        The client can't be waited for here.
        """
        sent = sending() if self._may_check() else None
        if sent is not None and not is_for_some_workers():
            self._needs.check(sent[0], wait=False)

    def _may_check(self):
        """Return True if a check is due; tasks for some workers only are checked where they run."""
        return not (self._needs.are_checked or self.annotations.keys() & {"workers", "resources"})

    def _add_dask_value(self, item: DaskInput) -> str:
        """Add the graph of a plain Dask value, including nodes in it; return the value's key."""
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


#: Annotations that bind a node to some workers.  Its function must not run in another node's task.
_BOUND = {"resources", "workers"}


def finished(planned: PlannedNode) -> tuple:
    """Return the arguments of `load_finished` for a complete node."""
    return planned.entry, planned.recipe.name, planned.seconds or 0.0


def _token(*evidence):
    """Return the short hash of evidence that makes a Dask key say what its task does."""
    return short_digest(repr(evidence).encode("utf-8", "surrogatepass"))
