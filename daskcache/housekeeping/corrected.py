"""The corrections of a root or of nodes: results that users adopted, or corrected in a folder.

`correction_sets` lists them, and moves them to other roots.  `cli.corrections` prints them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, overload

from .. import config
from ..dataframes import frame_of
from ..graph.given import nodes_in
from ..planning.display.reports import corrections_html, corrections_text
from ..storage.roots import Root, local_root
from .correction_sets import Correction
from .correction_sets import corrections as corrections_of


class Corrections(Sequence[Correction]):
    """Corrections by the paths of their targets.  In a notebook they are shown as a table."""

    def __init__(self, found: Sequence[Correction]):
        self._found = tuple(found)

    @overload
    def __getitem__(self, position: int) -> Correction: ...

    @overload
    def __getitem__(self, position: slice) -> Corrections: ...

    def __getitem__(self, position):
        found = self._found[position]
        return Corrections(found) if isinstance(position, slice) else found

    def __len__(self) -> int:
        return len(self._found)

    def to_frame(self) -> Any:
        """Return a data frame with a row for each correction, and the fields of corrections as columns.

        Returns
        -------
        pandas.DataFrame
            Texts; a dict for ``arguments`` and a tuple for ``kept_for``.

        Raises
        ------
        MissingExtra
            If pandas is not installed.

        Examples
        --------
        >>> dc.corrections().to_frame()[["target", "by"]].empty
        True
        """
        names = [field.name for field in dataclasses.fields(Correction)]
        rows = [[getattr(each, name) for name in names] for each in self]
        return frame_of(rows, names)

    def __repr__(self) -> str:
        return corrections_text(self)

    def _repr_html_(self) -> str:
        return corrections_html(self)


def corrections(*args: Any) -> Corrections:
    """Return the corrections: results that users edited and adopted, or corrected in a folder.

    Parameters
    ----------
    *args : nodes, or lists, tuples, sets and dicts of them
        Look at the targets of these nodes.  Default: all targets of the root (config
        ``daskcache.root``).

    Returns
    -------
    Corrections
        A sequence, by the paths of the targets.  Each correction has the target, its state, the user,
        the time, the function, and the arguments and key of the recipe that it was made for.  ``file``
        is the path of the file in a folder of corrections, or None.

    Raises
    ------
    NotANode
        If an argument is not a node.

    Notes
    -----
    A new file in a folder of corrections is listed once a verb has taken it in.  Plans show it before.

    Examples
    --------
    >>> @dc.delayed(target="limits/{n}.json", corrections="corrected/{n}.json")
    ... def limit(n):
    ...     return 10 * n
    >>> folder = Path(limit(2).dc.path).parents[1] / "corrected"
    >>> folder.mkdir(parents=True)
    >>> _ = (folder / "2.json").write_text("19")
    >>> limit(2).compute()
    19
    >>> found = dc.corrections()
    >>> found[0].target, found[0].file, found[0].arguments
    ('limits/2.json', 'corrected/2.json', {'n': '2'})
    """
    if not args:
        return Corrections(corrections_of(Root(local_root(config.get("root")))))
    wanted: dict[str, set[str]] = {}
    for node in nodes_in(args):
        wanted.setdefault(node._recipe.root, set()).update(node._recipe.paths)
    return Corrections(
        [
            each
            for root, paths in wanted.items()
            for each in corrections_of(Root(root), paths.__contains__)
        ]
    )
