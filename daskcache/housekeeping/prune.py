"""Pruning: move to the trash what a graph's functions made and the graph does not need any more.

A *leftover* is a recorded result of one of the graph's functions that is not a target of the graph: of
an argument that is not used any more, of an input that is gone, of a step that was renamed.  `prune`
decides from the records and the files; only then it moves.  ``dask cache prune`` prints the same table.
`gc` is the counterpart that knows no graph: it deletes by size and age.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

from ..dataframes import frame_of
from ..errors import StorageError, TargetMissing
from ..graph.given import nodes_in
from ..planning.display.reports import pruning_html, pruning_rows, pruning_text
from ..planning.planner import Planner
from ..planning.states import BLOCKED, COMPLETE, CORRUPT, MODIFIED, PlannedNode
from ..storage import files, trash
from ..storage.paths import DATA_HASH, check_path, located
from ..storage.record import collision_form, target_id
from ..storage.records import RecordStore
from ..storage.roots import Root
from ..tracebacks import shortened
from .gc import last_use
from .lineage import Lineage
from .listing import Listed, listed
from .makers import Makers, has_name


@dataclasses.dataclass(frozen=True)
class Leftover:
    """A result of a graph's functions that the graph does not need."""

    #: Absolute path of the root.
    root: str
    #: Path from the root.
    target: str
    #: Module and qualified name of the function.
    function: str
    #: Size in bytes.
    nbytes: int
    #: Reason to stay; empty for a leftover that goes, or is gone, to the trash.
    reason: str = ""
    #: Path in the trash; None if it was not moved.
    kept: str | None = None


@dataclasses.dataclass(frozen=True, repr=False)
class Pruning:
    """The leftovers of a graph, and what becomes of each.  In a notebook it is shown as a table."""

    leftovers: tuple[Leftover, ...]
    #: False for a dry run, which moves nothing.
    done: bool = False

    @property
    def going(self) -> tuple[Leftover, ...]:
        """Leftovers that go to the trash, or were moved there."""
        return tuple(each for each in self.leftovers if not each.reason)

    @property
    def staying(self) -> tuple[Leftover, ...]:
        """Leftovers that stay, each with its reason."""
        return tuple(each for each in self.leftovers if each.reason)

    @property
    def nbytes(self) -> int:
        """Size in bytes of the leftovers that go, or were moved."""
        return sum(each.nbytes for each in self.going)

    def to_frame(self) -> Any:
        """Return a data frame with a row for each leftover.

        Returns
        -------
        pandas.DataFrame
            The columns are ``target``, ``function``, ``bytes``, ``why`` (the reason to stay), ``kept``
            (the path in the trash) and ``root``.

        Raises
        ------
        MissingExtra
            If pandas is not installed.
        """
        columns = ["target", "function", "bytes", "why", "kept", "root"]
        return frame_of(pruning_rows(self), columns)

    def __str__(self) -> str:
        return pruning_text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return pruning_html(self)


@shortened
def prune(
    *nodes: Any, functions: str | Iterable[str] = (), yes: bool = False, min_age: float = 0.0
) -> Pruning:
    """Move to the trash what the functions of a graph made and the graph does not need any more.

    The graph is that of the nodes and all nodes upstream of them, so give all nodes that you still
    need.  Its targets stay whatever their state is.  Other results of its functions, in the same roots,
    are leftovers.  These stay, too, each with its reason:

    - results that a user adopted, edited or replaced by a link, and damaged results;
    - files of another user, by the owner of the target or of its record;
    - results that a node of the graph will be copied from, instead of running;
    - results that something else that stays was made from, such as a result of another program;
    - results of a call of which another result stays.

    Records stay, so finished results downstream stay finished.  ``dask cache restore`` brings a result
    back.

    Parameters
    ----------
    *nodes : nodes, or lists, tuples, sets and dicts of them
        The nodes that are needed.
    functions : str or iterable of str
        Names of more functions whose results are leftovers, such as a step that was renamed or
        removed.  A name may be given with or without the module.
    yes : bool
        True to move the leftovers.  By default nothing is moved.
    min_age : float
        Seconds.  Leftovers that were written or read since stay: a program that computes another graph
        with the same functions may need them.

    Returns
    -------
    Pruning
        Is shown as a table.  ``.going`` has what goes to the trash, ``.staying`` what stays and why.

    Raises
    ------
    NotANode
        If an argument is not a node.
    TargetMissing
        If `functions` has a name that no record has.
    UnsafePath
        If a folder on the way to a target is a symbolic link.
    StorageError
        If a target can't be moved.  Those before it stay in the trash.

    Examples
    --------
    >>> @dc.delayed(target="powers/{n}_{power}.json")
    ... def raised(n, power=2):
    ...     return n**power
    >>> _ = dc.compute(raised(3), raised(3, power=3))
    >>> found = dc.prune(raised(3))
    >>> [leftover.target for leftover in found.going]
    ['powers/3_3.json']
    >>> dc.prune(raised(3), yes=True).done
    True
    >>> dc.status(raised(3)), dc.status(raised(3, power=3))
    ('complete', 'missing')
    """
    names = (functions,) if isinstance(functions, str) else tuple(functions)
    planner = Planner()
    planner.request_all([node._recipe for node in nodes_in(nodes)])
    graphs: dict[str, list[PlannedNode]] = {}
    for planned in planner.planned_nodes:
        graphs.setdefault(planned.recipe.root, []).append(planned)
    choices = [_Choice(Root(path), graph, names, min_age) for path, graph in graphs.items()]
    for name in names:
        if not any(choice.knows(name) for choice in choices):
            raise _no_results(name, graphs)
    found = [each for choice in choices for each in (choice.moved() if yes else choice.told())]
    return Pruning(tuple(found), yes)


def _no_results(name, roots):
    return TargetMissing(
        f"there is no result of {name}()",
        target=", ".join(roots),
        expected="the name of a function that has made something here",
        hint="'dask cache status' lists the functions",
    )


# ---- the decision -------------------------------------------------------------------------------


class _Choice:
    """The leftovers in one root, and the reasons of those that stay."""

    def __init__(self, root: Root, graph: list[PlannedNode], functions: tuple[str, ...], min_age: float):
        root.id()  # raises if the root can't be used
        root.check_links()
        self.root = root
        self._store = RecordStore(root)
        self._lineage = Lineage(listed(root))
        self._since = time.time() - min_age if min_age else None
        # what a blocked node needs is decided once the user has dealt with the obstacle
        is_blocked = any(planned.action == BLOCKED for planned in graph)
        #: Paths that nodes of the graph will be copied from, with the paths of the copies.
        self._copied = {
            path: ", ".join(planned.recipe.paths)
            for planned in graph
            if planned.elsewhere is not None and (planned.is_to_do or is_blocked)
            for path in planned.elsewhere.paths
        }
        needed = {collision_form(path) for planned in graph for path in self._targets(planned)}
        makers = Makers(root, {planned.recipe.spec for planned in graph}, functions)
        present = [item for item in self._lineage.by_path.values() if item.stamp is not None]
        others = [item for item in present if collision_form(item.path) not in needed]
        self.leftovers = [item for item in others if makers.made(item.record)]
        self.reasons = self._reasons(others)

    def knows(self, name: str) -> bool:
        """Return True if a record has a function of this name."""
        return any(has_name(item.record, name) for item in self._lineage.by_path.values())

    def told(self) -> Iterator[Leftover]:
        """Yield the leftovers as they are."""
        for item in self.leftovers:
            yield self._told(item, self.reasons.get(item.path, ""))

    def moved(self) -> Iterator[Leftover]:
        """Move the leftovers that have no reason to stay, and yield all."""
        for item in self.leftovers:
            reason = self.reasons.get(item.path, "")
            kept = None if reason else self._move(item)
            yield self._told(item, reason if reason or kept else "was changed meanwhile", kept)

    def _told(self, item, reason, kept=None):
        size = item.stamp.size if item.stamp is not None else item.name.size
        return Leftover(self.root.path, item.path, item.record.function, size, reason, kept)

    def _targets(self, planned):
        """Yield the paths of a node's targets; with the data's hash in them, those that it ever had."""
        recipe = planned.recipe
        for path in recipe.paths:
            yield path
            if DATA_HASH in path:
                own = [n for n in self._store.with_key(recipe.key) if n.target_id == target_id(path)]
                known = [name for name in planned.records if name is not None]
                yield from (located(path, name.data_hash) for name in (*own, *known))

    def _reasons(self, others: list[Listed]) -> dict[str, str]:
        """Return the reasons of the leftovers that stay, by path."""
        reasons = {}
        for item in self.leftovers:
            reason = self._own_reason(item)
            if reason is not None:
                reasons[item.path] = reason
        for item in self.leftovers:
            for sibling in self._lineage.siblings(item):
                if sibling.path in reasons and sibling.name.key == item.name.key:
                    reasons.setdefault(item.path, f"a result of the same call stays: {sibling.path}")
        going = {item.path for item in self.leftovers} - reasons.keys()
        users = self._users([item for item in others if item.path not in going])
        for path in going & users.keys():
            user = users[path]
            reasons[path] = f"{user.path}, which stays, was made from it by {user.record.function}()"
        return reasons

    def _own_reason(self, item):
        """Return the reason in a leftover itself, or None."""
        location = self.root.absolute(item.path)
        is_used = self._since is not None and _is_used(location, self._since)  # before it is read here
        if item.is_adopted:
            return "was adopted"
        if files.place_of(item.path).has_files and os.path.islink(location):
            return "is a link"
        if item.state == MODIFIED:
            return "was edited after it was stored"
        if item.state == CORRUPT:
            return "is damaged: 'dask cache verify --repair' moves it to the trash"
        if item.state != COMPLETE:
            return "was changed meanwhile"
        owner = _other_owner(location, self._store.path_of(item.name))
        if owner is not None:
            return f"belongs to {owner}"
        if item.path in self._copied:
            return f"will be copied to {self._copied[item.path]}"
        return "was used less than min_age ago" if is_used else None

    def _users(self, staying):
        """Return, for each target that something staying was made from, the target that stays."""
        users: dict[str, Listed] = {}
        stack = [(item, item) for item in staying]
        while stack:
            current, user = stack.pop()
            for parent in self._lineage.parents(current):
                if parent.path not in users:
                    users[parent.path] = user
                    stack.append((parent, user))
        return users

    def _move(self, item: Listed) -> str | None:
        """Move a leftover to the trash, and return its path there; None if a writer has changed it.

        A writer that replaces a target claims its record first, so the record is gone then.  A target
        that was replaced after that look is put back.
        """
        check_path(item.path, item.path)
        location = self.root.absolute(item.path)
        if not self._store.has(item.name) or files.stamp(location) != item.stamp:
            return None
        try:
            kept = trash.keep(self.root, location, item.path, "pruned")
        except StorageError:
            if not files.exists(location):  # another process removed it
                return None
            raise
        if not files.place_of(item.path).has_files or files.stamp(kept) == item.stamp:
            return kept
        with contextlib.suppress(FileExistsError):  # the next writer's result is there by now
            files.put_new(self.root, kept, item.path)
        return None


def _other_owner(*paths):
    """Return the name of another user who owns one of the files, or None, as always on Windows."""
    if not hasattr(os, "getuid"):
        return None
    for path in paths:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # a table has no file
            owner = os.lstat(path).st_uid
            if owner != os.getuid():
                return _user_name(owner)
    return None


def _user_name(number):
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _is_used(location, since):
    with contextlib.suppress(FileNotFoundError):
        return last_use(location) > since
    return False
