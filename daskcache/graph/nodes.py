"""`Nodes`: many nodes as one sequence, and one Dask collection.

`mapping` makes them, and users do from lists of nodes.  `collection` has the side that Dask sees.
`selecting` finds nodes by position, name or pattern, `accessor` handles single nodes, and
`planning.display.tables` makes the tables.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, SupportsIndex, overload

from ..dataframes import frame_of
from ..errors import GraphError, NodeFailed, NotANode, did_you_mean
from ..hashing.names import imported
from ..planning.display import tables
from ..planning.planner import Planner, garbage_later
from ..planning.states import STATES, PlannedNode
from ..targets.overview import grouped
from ..targets.source import AnyArgument
from ..tracebacks import shortened
from . import verb
from .accessor import incomplete, used_places
from .collection import NodesCollection
from .node import Node
from .selecting import Selector
from .typed import Lazy, Many, T_co


class Nodes(
    Lazy[list[T_co], list[T_co | NodeFailed], Many],
    NodesCollection,
    Sequence[Node[T_co]],
    AnyArgument,
):
    """Many nodes as one sequence, and one Dask collection whose value is a list.

    ``function.map`` and ``function.gather`` return it.  Every verb takes it: ``dc.plan(nodes)``,
    ``nodes.compute()``, ``dask.compute(nodes)``, ``client.persist(nodes)``.  ``client.compute(nodes)``
    gives one future of a list.  An argument of a decorated function arrives as a list of the values.

    An index selects:

    ==================================  =============================================================
    ``nodes[3]``, ``nodes["P1_A05"]``   a `Node`, by its position or name: its label, or the path of its
                                        target from the root, with or without suffix or folders
    ``nodes[2:5]``                      the nodes of a slice, as `Nodes`
    ``nodes["seg/*.npy"]``              those of which a name fits the pattern; ``*`` also takes ``/``
    ``nodes[["P1_A05", 3]]``            those of a list of positions, names and patterns
    ``nodes[mask]``                     those for which a mask has True; the labels of a pandas mask are
                                        positions, as in the rows of `to_frame`
    ==================================  =============================================================

    In a notebook, and printed, nodes show as a table with their present states.  Of more than 30, those
    that are not complete come first, with a line for each function and reason.

    Parameters
    ----------
    nodes : iterable of Node
        The nodes, in order.

    Raises
    ------
    NotANode
        If an item is not a node.

    Examples
    --------
    >>> @dc.delayed(target="squares/{n}.json")
    ... def square(n):
    ...     return n * n
    >>> squares = square.map(range(4))
    >>> squares[1:].compute()
    [1, 4, 9]
    >>> print(squares)
    4 nodes of square; 3 complete, 1 missing
    <BLANKLINE>
    target          state     why
    ──────────────  ────────  ──────────────────
    squares/0.json  missing   was never computed
    squares/1.json  complete
    squares/2.json  complete
    squares/3.json  complete
    >>> squares["3"], len(squares["squares/*"])
    (Node('square(squares/3.json)'), 4)
    """

    def __init__(self, nodes: Iterable[Node[T_co]] = ()):
        super().__init__(nodes)
        for node in self._nodes:
            if not isinstance(node, Node):
                raise NotANode(
                    "Nodes can hold only nodes of daskcache",
                    expected="what functions decorated with daskcache.delayed returned",
                    got=repr(node)[:100],
                )

    # ---- a sequence ------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node[T_co]]:
        return iter(self._nodes)

    def __reversed__(self) -> Iterator[Node[T_co]]:
        return reversed(self._nodes)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Node[T_co]: ...
    @overload
    def __getitem__(self, index: str) -> Any: ...  # a node by its name, or nodes by a pattern
    @overload
    def __getitem__(self, index: object) -> Nodes[T_co]: ...
    @shortened
    def __getitem__(self, index: Any) -> Any:
        found = self._selector.positions(index)
        return self._taken(found) if isinstance(found, list) else self._nodes[found]

    def __contains__(self, node: object) -> bool:
        return isinstance(node, Node) and node._recipe.identity in self._identities

    def index(self, node: Node, start: int = 0, stop: int | None = None) -> int:
        """Return the first position of a node; nodes are compared by key and target.

        Parameters
        ----------
        node : Node
            The node to find.
        start, stop : int, optional
            The slice to search.

        Returns
        -------
        int
            The position.

        Raises
        ------
        ValueError
            If the node is not there.
        """
        wanted = node._recipe.identity if isinstance(node, Node) else None
        for position in range(len(self))[start:stop]:
            if self._identities[position] == wanted:
                return position
        raise ValueError(f"{node!r} is not among the nodes")

    def count(self, node: Node) -> int:
        """Return how often a node is there.

        Parameters
        ----------
        node : Node
            The node to find.

        Returns
        -------
        int
            The number of equal nodes.
        """
        return self._identities.count(node._recipe.identity) if isinstance(node, Node) else 0

    def _ipython_key_completions_(self):
        return list(self._selector.names)

    @functools.cached_property
    def _identities(self):
        return [recipe.identity for recipe in self._recipes]

    @functools.cached_property
    def _selector(self):
        return Selector(self._recipes)

    def _taken(self, positions):
        return Nodes([self._nodes[i] for i in positions])

    # ---- what is known of each -------------------------------------------------------------------

    @property
    def fields(self) -> dict[str, list[str | float | None]]:
        """The values of each field in the order of the nodes; None for a node without the field."""
        known = [recipe.fields for recipe in self._recipes]
        names = dict.fromkeys(name for fields in known for name in fields)
        return {name: [fields.get(name) for fields in known] for name in names}

    @property
    def paths(self) -> list[str | tuple[str, ...] | None]:
        """Absolute path of each target; a tuple for several results, None for a node not cached."""
        planner = Planner()
        found: list[str | tuple[str, ...] | None] = []
        for recipe in self._recipes:
            used, places = used_places(recipe, planner.look)
            paths = [f"{used.root}/{path}" for path in places]
            found.append(paths[0] if len(paths) == 1 else tuple(paths) or None)
        return found

    @property
    def states(self) -> list[str]:
        """The present state of each node, one of those that `daskcache.status` lists."""
        return tables.States(planned.state for planned in self._look())

    @shortened
    def where(self, **wanted: Any) -> Nodes[T_co]:
        """Select nodes by the values of fields, and by state.

        Parameters
        ----------
        **wanted : object, or several
            A value, or a list of values, for each field.  ``state`` is the nodes' present state.

        Returns
        -------
        Nodes
            The nodes that have one of the values in every field.  None may be left.

        Raises
        ------
        GraphError
            If the nodes have no such field, or none of them has the value, or a state is unknown.

        Examples
        --------
        >>> Path("raw").mkdir()
        >>> for name in ("p1_A01", "p1_B02", "p2_A01"):
        ...     _ = Path(f"raw/{name}.txt").write_text(name)
        >>> @dc.delayed(target="size/{text.plate}_{text.well}.json")
        ... def size(text):
        ...     return len(text)
        >>> sizes = size.map(dc.sources("raw/{plate}_{well}.txt"))
        >>> sizes.where(plate="p1", well=["A01", "B02"])
        <Nodes: 2 nodes of size, plate: 1, well: 2>
        >>> len(sizes.where(state="complete"))
        0
        """
        left = list(range(len(self)))
        for name, value in wanted.items():
            column = self._column(name)
            is_one = isinstance(value, (str, int)) or not isinstance(value, Iterable)
            values = {value} if is_one else set(value)
            unknown = sorted(values.difference(STATES if name == "state" else column), key=str)
            if unknown:
                raise _no_value(name, unknown[0], STATES if name == "state" else column)
            left = [i for i in left if column[i] in values]
        return self._taken(left)

    @shortened
    def group_by(self, *names: str) -> dict[Any, Nodes[T_co]]:
        """Split the nodes by the values of fields.

        Parameters
        ----------
        *names : str
            Names of one or more fields, or ``"state"``.

        Returns
        -------
        dict
            The nodes with the same values.  Keys are the values of one field, or tuples of those of
            several, in order.

        Raises
        ------
        GraphError
            If no name is given, or a node has no such field.

        Examples
        --------
        >>> @dc.delayed(target="squares/{n}.json")
        ... def square(n):
        ...     return n * n
        >>> {state: len(group) for state, group in square.map([1, 2]).group_by("state").items()}
        {'missing': 2}
        """
        if not names:
            raise GraphError(
                "can't group nodes by nothing",
                expected=f"one or more fields: {', '.join(self.fields) or 'the nodes have none'}",
                hint="pass all nodes in one call: function(nodes)",
            )
        columns = [self._column(name) for name in names]
        for name, column in zip(names, columns, strict=True):
            if None in column:
                raise GraphError(
                    f"can't group nodes by {name}: not all of them have the field",
                    expected=f"the field {name} in the files that each node is made from",
                    got=f"none in {self._nodes[column.index(None)]._recipe.title}",
                    hint=f'leave such nodes out first, e.g. nodes["…/*"], or nodes.where({name}=[…])',
                )
        return {key: self._taken(positions) for key, positions in grouped(columns).items()}

    @shortened
    def load(self) -> list[T_co]:
        """Read the stored results.

        Returns
        -------
        list
            The result of each node, as ``node.dc.load()`` returns it.

        Raises
        ------
        TargetMissing
            If a node is not complete, or its file vanished.
        TargetCorrupt, TargetModified, UntrustedPickle
            As ``node.dc.load`` raises them.

        Examples
        --------
        >>> @dc.delayed(target="squares/{n}.json")
        ... def square(n):
        ...     return n * n
        >>> squares = square.map([1, 2])
        >>> _ = squares.compute()
        >>> squares.load()
        [1, 4]
        """
        looked = self._look()
        for planned in looked:
            if planned.error is not None:
                raise planned.error
        missing = [planned for planned in looked if not planned.is_complete]
        if missing:
            count = f" ({len(missing)} of {len(self)} have none)"
            raise incomplete(missing[0], "nodes.compute()", count)
        return [planned.entry.load() for planned in looked]

    @shortened
    def to_frame(self) -> Any:
        """Return a data frame with a row for each node.

        ``frame.assign(value=nodes.load())`` adds the results.

        Returns
        -------
        pandas.DataFrame
            A column for each field, then ``state``, and ``target`` with paths from the root.  Labels of
            rows are positions, so a mask made from the frame selects nodes.

        Raises
        ------
        MissingExtra
            If pandas is not installed.

        Examples
        --------
        >>> @dc.delayed(target="squares/{n}.json")
        ... def square(n):
        ...     return n * n
        >>> square.map([1, 2]).to_frame()
             state          target
        0  missing  squares/1.json
        1  missing  squares/2.json
        """
        targets = [", ".join(recipe.paths) for recipe in self._recipes]
        return frame_of({**self.fields, "state": self.states, "target": targets})

    @shortened
    def compare(self) -> Any:
        """Return a data frame of the numbers that the complete nodes hold, with a row for equal fields.

        The nodes of a `sweep` have its parameters as fields, so a row is a combination.  If they have
        fields of files, too, it is a combination and the files with these fields.

        Returns
        -------
        pandas.DataFrame
            A column for each field, then ``state``, then the results: a number in a column with the name
            of the function, or the key of the dict that the pipeline returned, and each number or text
            of a dict or of a table with one row in a column of its own.  Results larger than config
            ``daskcache.inline`` are not read.  The state is "complete", or has the other states that the
            row's nodes have, such as "missing", or "adopted" for a corrected result.

        Raises
        ------
        MissingExtra
            If pandas is not installed.
        TargetCorrupt, TargetModified, UntrustedPickle
            As ``node.dc.load`` raises them.

        Examples
        --------
        >>> @dc.delayed(target="cells/{limit}.json")
        ... def cells(limit):
        ...     return {"count": 20 // limit, "mean": 2.0 * limit}
        >>> found = dc.sweep(cells, limit=[2, 5, 10])
        >>> _ = found[:2].compute()
        >>> found.compare()
           limit     state  count  mean
        0      2  complete   10.0   4.0
        1      5  complete    4.0  10.0
        2     10   missing    NaN   NaN
        """
        return imported("daskcache.graph.comparison:comparison")(self, self._look())

    def _column(self, name):
        if name == "state":
            return self.states
        columns = self.fields
        if name not in columns:
            raise GraphError(
                f"the nodes have no field {name!r}",
                expected=f"one of {', '.join([*columns, 'state'])}",
                hint=did_you_mean(name, [*columns, "state"])
                or "find files with daskcache.sources(pattern): fields go on from them to nodes",
            )
        return columns[name]

    def _look(self) -> list[PlannedNode]:
        """Examine all nodes at once."""
        planner = Planner()
        with garbage_later():
            return [planner.look(recipe) for recipe in self._recipes]

    def __str__(self) -> str:
        return tables.nodes_text(self, self._look())

    def __repr__(self) -> str:
        # examines nothing: debuggers and tracebacks show it
        return f"<Nodes: {tables.nodes_line(self)}>"

    def _repr_pretty_(self, printer, cycle):
        printer.text(str(self))

    def _repr_html_(self) -> str:
        return tables.nodes_html(self, self._look())

    @overload
    def compute(
        self,
        progress: bool | float | str | None = None,
        *,
        errors: Literal["raise"] | None = None,
        force: bool = False,
        **kwargs: Any,
    ) -> list[T_co]: ...
    @overload
    def compute(
        self,
        progress: bool | float | str | None = None,
        *,
        errors: Literal["collect"],
        force: bool = False,
        **kwargs: Any,
    ) -> list[T_co | NodeFailed]: ...
    @shortened
    def compute(
        self,
        progress: bool | float | str | None = None,
        *,
        errors: str | None = None,
        force: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """Compute the values.  Complete nodes are read in this process, without a task.

        Parameters
        ----------
        progress, errors, force
            As in `daskcache.compute`.
        **kwargs
            As in `dask.compute`.

        Returns
        -------
        list
            The value of each node; with ``errors="collect"``, a `NodeFailed` for a node that failed.

        Raises
        ------
        ForeignTarget, TargetModified
            If a node can't run because of a user's file at its target.
        TargetCollision
            If two nodes claim one target.
        ArgumentChanged, SourceMissing
            If an argument, a source or the code changed after a node was made, or a source is gone.
        Exception
            Any error of a function that runs.

        Examples
        --------
        >>> @dc.delayed(target="squares/{n}.json")
        ... def square(n):
        ...     return n * n
        >>> square.map([1, 2]).compute()
        [1, 4]
        """
        nodes, collect = tuple(self._nodes), verb.collects(errors)
        return list(verb.compute(nodes, force, collect, progress=progress, **kwargs))

    def visualize(
        self,
        filename: str | os.PathLike[str] | None = "mydask",
        format: str | None = None,
        optimize_graph: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Draw the plan of the nodes.  It needs no other program.

        Parameters
        ----------
        filename : str, path or None, optional
            Path of the file.  Its suffix decides the format, as in `Plan.visualize`.  With None, no file
            is written.
        format : str, optional
            Format of a file without a suffix, such as "png".  Default: "svg".
        optimize_graph : bool, optional
            True to draw the optimized graph of Dask's tasks, with Dask's own method.
        **kwargs
            Options of `dask.visualize`, such as ``engine="graphviz"``.  Dask's own method draws if there
            is one, and for the formats "pdf" and "jpg".

        Returns
        -------
        Picture
            Notebooks show it.  Its attribute ``path`` is that of the file.

        Raises
        ------
        UnknownFormat, MissingExtra, ForeignTarget, StorageError
            As `Plan.visualize`.

        Examples
        --------
        >>> @dc.delayed(target="squares/{n}.json")
        ... def square(n):
        ...     return n * n
        >>> square.map([1, 2]).visualize("squares.svg")
        <Picture of 2 nodes: squares.svg>
        """
        draw = imported("daskcache.graph.drawing:draw")
        return draw(list(self), super().visualize, filename, format, optimize_graph, kwargs)


def _no_value(name, value, known):
    values = list(dict.fromkeys(known))
    shown = ", ".join(map(repr, values[:5])) + (f" and {len(values) - 5} more" if values[5:] else "")
    return GraphError(
        f"no node can have {name}={value!r}" if name == "state" else f"no node has {name}={value!r}",
        expected=f"of {name}, one of {shown}" if values else "nodes with fields",
        got=f"{value!r}, a {type(value).__name__}",
        hint=did_you_mean(value, values) if all(isinstance(v, str) for v in (value, *values)) else None,
    )
