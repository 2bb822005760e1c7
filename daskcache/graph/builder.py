"""The tasks for the nodes of a plan.  `graph.verb` and `prefect.preparing` use `GraphBuilder`.

The builder asks no scheduler, and touches files only by way of `TaskNeeds`.  `graph.verb` tells it what
is known of other programs.  `graph.tasks` has the single task.

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

import functools
import weakref
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from dask._task_spec import DataNode, GraphNode, Task, TaskRef

from ..calls import task_keys
from ..calls.recipe import DaskInput, Recipe, SourceInput
from ..planning.planner import Planner, blocked_failure
from ..planning.states import BLOCKED, PlannedNode
from ..runtime.held import Failure
from ..runtime.node import load_finished, load_or_raise, load_value
from ..runtime.work import DaskValue
from .attempts import SUBMISSIONS, Attempts, Earlier, Submissions
from .frames import DaskMoment, node_annotations, split_graph
from .tasks import (
    Evidence,
    MakingTask,
    TaskNeeds,
    evidence_token,
    finished,
    has_progressed,
    task_to_make,
)


class Sharing(NamedTuple):
    """The facts about other programs that use the scheduler of a verb."""

    #: True if no other program uses the scheduler.  Another one could need an entry meanwhile.
    is_alone: bool = False
    #: Keys of unfinished result tasks, which another program may have sent.
    unfinished: Collection[str] = frozenset()


class GraphBuilder:
    """Make the tasks for a planner's decisions.

    Parameters
    ----------
    planner : Planner
    needs : TaskNeeds, optional
        It creates the roots and stores the code that the tasks need.
    submissions : Submissions, optional
        The tasks that were sent before.

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
    joint : frozenset of str
        Identities of the recipes whose values a verb was asked for in one list (`nodes.Nodes`).
    result_tasks : list of str
        Keys of the result tasks that other programs may have sent in place of the entry tasks here.
    futures : list of weakref.ref
        The futures for which a composed graph is sent, as long as they live.
    held : list of distributed.Future
        Futures that keep pending tasks alive until the scheduler has the composed graph that needs them.
    """

    def __init__(
        self,
        planner: Planner,
        needs: TaskNeeds | None = None,
        submissions: Submissions = SUBMISSIONS,
    ):
        self.planner = planner
        self.outputs: frozenset[str] = frozenset()
        self.futures: list[weakref.ref] = []
        self.values: frozenset[str] = frozenset()
        self.joint: frozenset[str] = frozenset()
        self.held: list[Any] = []
        #: True if each value gets a future of its own, which holds an error as it would a value.
        self.for_futures = False
        #: True if planning raised an error.  That ends the verb, so nothing of it is sent.
        self.failed = False
        self.tasks: dict[Any, GraphNode] = {}
        self.annotations: dict[str, Any] = {}
        self.annotated: dict[str, dict[str, Any]] = {}
        self._attempts = Attempts(self, submissions)
        self._entry_keys: dict[str, str] = {}
        #: Keys of values by recipe, given key, and whether an error takes the place of a stand-in.
        self._value_keys: dict[tuple[str, str | None, bool], str] = {}
        self._result_keys: dict[str, str] = {}
        #: New tasks, for which `Attempts.send` has not yet noted the futures that need them.
        self._new: list[MakingTask] = []
        self.result_tasks: list[str] = []
        self._sharing = Sharing()
        #: True within `singly`.
        self._is_single = False
        #: Identities of the recipes whose targets must exist in the end (`add_entry`).
        self._pinned: set[str] = set()
        self._needs = needs or TaskNeeds()

    def plan(self, recipes: Iterable[Recipe]) -> list[PlannedNode]:
        """Plan requested nodes, write down what the plan found, and return the nodes."""
        requested = self.planner.request_all(recipes)
        self.planner.check()
        self._write_down()
        return requested

    def _write_down(self):
        """Write down what the plan found, as a verb begins to run it, and compare it with the disk."""
        self.planner.write_down()
        self._look_at_space()

    def _look_at_space(self):
        nodes = self.planner.nodes.values()
        if any(node.nbytes for node in nodes):  # else nothing tells how large results are
            self._space.look(nodes)

    @functools.cached_property
    def _space(self):
        from ..planning.space import SpaceCheck  # a first run has nothing to estimate from

        return SpaceCheck()

    def add_requested(self, requested: list[PlannedNode], sharing: Sharing) -> None:
        """Add the tasks that a verb needs for the values of its nodes.

        With unfinished result tasks in `sharing`, all tasks are made anew, with those among them.
        """
        self._sharing = sharing
        if sharing.unfinished:
            self._forget_tasks()
        # Parents go first: a requested node that is upstream of another one needs an entry task.
        before = [self._add_parents(planned) for planned in requested]
        for planned, self._new in zip(requested, before, strict=True):
            identity = planned.recipe.identity
            raises = self._raises(identity in self.joint)
            if identity in self._result_keys or self._known_value(identity, raises=raises):
                continue
            # for futures, a result task raises the error of a node that failed
            may_raise = raises or not (self.for_futures and self.planner.collect)
            task = self._add_result(planned) if may_raise else None
            if task is None:
                self._add_new_value(planned, raises=raises)
            else:
                self._result_keys[identity] = task.key
                self._attempts.send(self._new, frozenset([task.key]))

    @contextmanager
    def noting_failure(self) -> Iterator[None]:
        """Within this context, an error ends the verb, and what it has sent is forgotten."""
        try:
            yield
        except BaseException:
            self.failed = True
            self._attempts.take_back()
            self._release_futures()
            raise

    def _release_futures(self):
        """Release the futures of a verb that failed, which the traceback of its error holds.

        A notebook keeps that until its next error, and so long a scheduler would keep the results of a
        later verb with the same keys.
        """
        self.held.clear()
        for reference in self.futures:
            future = reference()
            if future is not None:
                future.release()

    def _forget_tasks(self):
        graph = self.tasks, self.annotations, self.annotated
        for known in (*graph, self._entry_keys, self._value_keys, self._result_keys):
            known.clear()

    def requested_value(self, recipe: Recipe, jointly: bool = False) -> str:
        """Add the tasks for the value of a node that a verb was given; return the value's key.

        If the planner collects errors, a `NodeFailed` may stand in for the value.  `jointly` is True if
        the value goes into a list with others.
        """
        key = self._result_keys.get(self._identity(recipe))
        return key or self.add_value(recipe, raises=self._raises(jointly))

    def _raises(self, jointly):
        return self.for_futures and not jointly

    def _identity(self, recipe):
        """Return the identity of a planned recipe: that of the base's if a node of a variant uses it."""
        planned = self.planner.nodes.get(recipe.identity) if recipe.base else None
        return planned.recipe.identity if planned is not None else recipe.identity

    def _add_parents(self, planned):
        """Add the tasks for the inputs of a requested node; return the new ones that make nodes."""
        self._new = []
        if planned.is_to_do:
            for item, parent in zip(planned.recipe.upstream, planned.parents, strict=True):
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
        if not self._sharing.is_alone and task.key not in self._sharing.unfinished:
            return None  # another program could send the entry task, and the node would run twice
        self._add_making(task, planned, *given)
        return task

    def add_value(self, recipe: Recipe, key: str | None = None, raises: bool = True) -> str:
        """Add the tasks for a node's value, loaded through its entry; return the value's key.

        With `raises`, the error of a node that failed is raised where the value is needed, as a plain
        function can't take a stand-in.
        """
        known = self._known_value(self._identity(recipe), key, raises)
        if known is not None:
            return known
        others, self._new = self._new, []  # calls nest: a node may be upstream in a Dask value
        with self.noting_failure():
            planned = self.planner.request(recipe)
            self._write_down()
            value_key = self._add_new_value(planned, key, raises)
        self._new = others
        return value_key

    def _known_value(self, identity, key=None, raises=False):
        return self._value_keys.get((identity, key, raises and self.planner.collect))

    def add_value_under_way(self, recipe: Recipe) -> str | None:
        """Return the key of a node's result task, if this verb has one or one is pending, else None.

        The entry task is added to find out, and the result task with it.  The graph must have both,
        because the entry task waits for the result task.  There is none if errors are collected, because
        a result task gives a stand-in for a failed node.
        """
        if self.planner.collect:
            return None
        if self._identity(recipe) not in self._result_keys:
            with self.noting_failure():
                self.add_entry(recipe)
                self.planner.write_down()
        return self._result_keys.get(self._identity(recipe))

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

    def _add_new_value(self, planned, key=None, raises=False):
        recipe, raises = planned.recipe, raises and self.planner.collect
        entry_key = self._add_entry(planned) if planned.is_to_do else None
        loader = load_or_raise if raises else load_value
        if entry_key is not None:
            load: tuple = loader, TaskRef(entry_key)
            token = task_keys.token_of(entry_key, recipe.key)
        elif planned.action == BLOCKED:
            load = loader, Failure(blocked_failure(planned))
            token = evidence_token(planned.records, planned.reasons)
        else:
            load = load_finished, *finished(planned)
            token = evidence_token(planned.records)
        own_key = task_keys.value_key(recipe.name, recipe.key, f"{token}-or-raise" if raises else token)
        value_key = key or self._attempts.value_key(own_key)
        if value_key not in self.tasks:
            self.tasks[value_key] = Task(value_key, *load)
            self._annotate(value_key, recipe, running=False)
        if self._new:
            self._attempts.send(self._new, self.outputs or frozenset([value_key]))
        self._value_keys[recipe.identity, key, raises] = value_key
        return value_key

    def add_entry(self, recipe: Recipe, pinned: bool = False) -> str | None:
        """Add the tasks that make a node; return the key of its entry, or None if it is complete.

        With `pinned`, its target exists in the end even if nothing needs its data.
        """
        if pinned:
            self._pinned.add(self._identity(recipe))
        if self._identity(recipe) not in self._entry_keys:
            planned = self.planner.request(recipe)
            if not planned.is_to_do:
                return None
            self._look_at_space()
            self._new = []
            self._add_entry(planned)
            self._attempts.send(self._new, self.outputs)
        return self._entry_keys[self._identity(recipe)]

    def add_check(self, recipe: Recipe) -> str:
        """Add the entry task of a node, complete or not, and pin the node; return the key.

        The task checks again before it runs the function.  A node of a variant that uses the base's
        result has a task that only gives its entry.
        """
        self._pinned.add(recipe.identity)
        planned = self.planner.request(recipe)
        if planned.is_complete and planned.recipe.identity != recipe.identity:
            key = task_keys.entry_key(recipe.name, recipe.key, evidence_token(planned.records))
            self.tasks[key] = DataNode(key, planned.entry)
            return key
        self._new = []
        return self._add_entry(planned)

    def entry_key_of(self, recipe: Recipe) -> str | None:
        """Return the key of a node's entry task, or None if it was not added."""
        return self._entry_keys.get(self._identity(recipe))

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
                for parent in (current.parents if current.taking is None else ())
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
        if result_task.key in self._sharing.unfinished and not result_key:
            self._add_making(result_task, planned, inputs, handles)
            result_key = result_task.key
        if result_key:
            handles.append(TaskRef(result_key))  # not an input: it only makes the entry task wait
        else:
            self.result_tasks.append(result_task.key)
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
        if planned.taking is not None:
            terms = recipe.identity, recipe.root, self._needs.root_id(recipe), planned.taking.name
            return Evidence(terms, planned.records, ("",) * len(planned.parents)), inputs, handles
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
                handles.append(TaskRef(self._entry_keys[parent.recipe.identity]))
                made_from.append(handles[-1].key)
            else:
                inputs.append(parent.entry)
                made_from.append(parent.data_hash)
        collect = self.planner.collect and (True, self.for_futures)
        terms = recipe.identity, recipe.root, self._needs.root_id(recipe), planned.outdated, collect
        return Evidence(terms, planned.records, tuple(made_from)), inputs, handles

    def _new_tasks(self, recipe, evidence) -> tuple[MakingTask, MakingTask]:
        """Return the two tasks that can make a node: the entry task and the result task."""
        name, key, token = recipe.name, recipe.key, evidence_token(*evidence)
        first_key = entry_key = task_keys.entry_key(name, key, token)
        attempt = self._attempts.number(first_key)
        if attempt:
            token = f"{token}-{attempt}"
            entry_key = task_keys.entry_key(name, key, token)
        result_key = self._attempts.value_key(task_keys.result_key(name, key, token))
        return (
            MakingTask(entry_key, first_key, attempt, evidence, gives_value=False),
            MakingTask(result_key, first_key, attempt, evidence, gives_value=True),
        )

    def _add_making(self, task, planned, inputs, handles):
        recipe = planned.recipe
        pinned = recipe.identity in self._pinned
        root_id = self._needs.root_id(recipe)
        collect = self.planner.collect and not (task.gives_value and self.for_futures)
        making = task_to_make(task, planned, self.planner, root_id, pinned, collect, inputs, handles)
        self._needs.keep_code(recipe)
        self._new.append(task)
        self.tasks[task.key] = making
        self._annotate(task.key, recipe, running=True)

    def _earlier(self, planned, evidence) -> Earlier | None:
        """Return the pending task that makes a node, if it explains the plan's findings, else None."""
        if self._is_single and not self.outputs:
            return None  # for a scheduler of this process, which does not have a cluster's tasks
        earlier = self._attempts.under_way(evidence)
        if earlier is None or not has_progressed(planned, earlier.task.evidence, evidence, self.planner):
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

    def check_workers(self, moment: DaskMoment) -> None:
        """Check the workers of the client that the tasks are for.

        Within a verb, an error is raised unless they can run the tasks.  A client that sends can't be
        waited for, and a later warning says what they lack.  Tasks for some workers only are checked
        where they run.
        """
        for_some = moment.for_some_workers or self.annotations.keys() & {"workers", "resources"}
        if not for_some:
            self._needs.check(moment.client, wait=not moment.is_sending)

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
