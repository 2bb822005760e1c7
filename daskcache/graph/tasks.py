"""The Dask task that makes a planned node, the evidence that its key stands for, and what it needs.

`graph.builder` decides which tasks a graph needs, and gets them here.  `graph.attempts` remembers the
evidence of the tasks that were sent.  `TaskNeeds` notes roots and functions, for which `cluster.probe`
checks the workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from dask._task_spec import Task, TaskRef

from ..calls.recipe import Recipe
from ..calls.spec import Spec
from ..errors import StorageError
from ..hashing.algorithms import configured
from ..hashing.encoder import short_digest
from ..planning.planner import Planner
from ..planning.states import CORRUPT, PlannedNode
from ..runtime.code_check import code_in_arguments
from ..runtime.node import run_and_load, run_node
from ..runtime.work import Work, describe_arguments
from ..storage.roots import Root


class Evidence(NamedTuple):
    """The facts that the plan of an entry task rests on."""

    #: Recipe, root and the way to run it: equal for all plans that can share the task.
    terms: tuple
    #: For each target, the record that vouches for its content.
    records: tuple
    #: For each input, the key of the task that makes it, or the hash of its data.
    made_from: tuple[str, ...]


class MakingTask(NamedTuple):
    """A task that makes a node."""

    key: str
    #: Key of the entry task for the same evidence, without the number of the attempt.
    first_key: str
    attempt: int
    evidence: Evidence
    #: True if the task returns the node's value, False if it returns the entry.
    gives_value: bool


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


class TaskNeeds:
    """The roots and functions that the tasks of one verb need.

    Attributes
    ----------
    are_checked : bool
        True if the workers were checked for all roots and functions noted so far.
    """

    def __init__(self) -> None:
        self._root_ids: dict[str, str] = {}
        #: Functions whose code was stored, by root and fingerprint.
        self._codes: dict[tuple[str, str], Spec] = {}
        self.are_checked = False

    def root_id(self, recipe: Recipe) -> str:
        """Return the id of a node's root, or "" for a node that stores nothing.

        The root is created if it does not exist.

        Raises
        ------
        StorageError
            If the root can't be written to.
        """
        if not recipe.paths:
            return ""
        if recipe.root not in self._root_ids:
            try:
                self._root_ids[recipe.root] = Root(recipe.root).create()
                self.are_checked = False
            except StorageError as error:
                error.node, error.target = recipe.title, f"{recipe.root}/{recipe.paths[0]}"
                raise
        return self._root_ids[recipe.root]

    def keep_code(self, recipe: Recipe) -> None:
        """Store the code of a node's function in its root, for users and workers."""
        if recipe.paths and recipe.parts is not None and (recipe.root, recipe.code) not in self._codes:
            self._codes[recipe.root, recipe.code] = recipe.spec
            self.are_checked = False
            recipe.keep_code()

    def check(self, client: Any, wait: bool) -> None:
        """Check that the workers of a client have the roots and functions.

        `check_reach` describes `wait` and the errors.
        """
        if client is not None and self._root_ids and not self.are_checked:
            from ..cluster.probe import check_reach, needs_of

            self.are_checked = True
            check_reach(client, needs_of(self._root_ids, self._codes), wait)


def task_to_make(
    task: MakingTask,
    planned: PlannedNode,
    planner: Planner,
    root_id: str,
    pinned: bool,
    collect: bool,
    inputs: Sequence,
    handles: list[TaskRef],
) -> EntryTask:
    """Return the task that makes a node.

    Parameters
    ----------
    task : MakingTask
        Its key, and if it gives the value.
    planned : PlannedNode
    planner : Planner
        The planner of the node.
    root_id : str
        Id of the node's root.
    pinned : bool
        True if the target must exist in the end even if nothing needs the data.
    collect : bool
        True if an error becomes a `Failure`, in place of being raised.
    inputs, handles
        The values of the node's inputs, and the tasks upstream whose results they are.
    """
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
        collect,
        planned.elsewhere,
        planned.failed,
        root_id,
        configured(),
        planned.keeps,
        _verb_to_look_elsewhere(planned, planner),
        pinned or bool(_BOUND & recipe.annotations.keys()),
        code_in_arguments(code),
        bool(recipe.base),
        planned.correction,
        planned.taking,
    )
    return EntryTask(task.key, run_and_load if task.gives_value else run_node, work, *handles)


#: Annotations that bind a node to some workers.  Its function must not run in another node's task.
_BOUND = {"resources", "workers"}


def _verb_to_look_elsewhere(planned, planner):
    """Return the verb if only a worker can look for an equal result at other targets, else "".

    That is so while inputs are unfinished, because planning can't know their data.
    """
    waits = any(parent is not None and parent.is_to_do for parent in planned.parents)
    if (
        planned.taking is not None
        or not waits
        or planned.outdated
        or planner.store(planned.recipe.root).is_empty
    ):
        return ""
    return planner.verb


def has_progressed(planned: PlannedNode, earlier: Evidence, now: Evidence, planner: Planner) -> bool:
    """Return True if a pending task explains the differences between its plan and the plan of now.

    It does if its inputs were finished meanwhile, or if some of its several targets are in place.
    A person's edit is not explained.
    """
    records = list(zip(earlier.records, now.records, strict=True))
    news = [(planned, found) for before, found in records if before != found]
    if len(news) == len(records) > 0:
        return False
    for parent, before, found in zip(planned.parents, earlier.made_from, now.made_from, strict=True):
        if before == found:
            continue
        # the key of the task that makes the parent includes the parent's recipe key
        if parent is None or not parent.is_complete or parent.recipe.key not in before:
            return False
        news += [(parent, name) for name in parent.records]
    return all(_was_made(node, name, planner) for node, name in news)


def _was_made(planned, name, planner):
    """Return True if a record of a node says that its function made the content, not a person."""
    record = name and planner.store(planned.recipe.root).read(name)
    return bool(record) and name.key == planned.recipe.key and not record.is_adopted


def finished(planned: PlannedNode) -> tuple:
    """Return the arguments of `load_finished` for a complete node."""
    return planned.entry, planned.recipe.name, planned.seconds or 0.0


def evidence_token(*evidence: Any) -> str:
    """Return the short hash of evidence that makes a Dask key say what its task does."""
    return short_digest(repr(evidence).encode("utf-8", "surrogatepass"))
