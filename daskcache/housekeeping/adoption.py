"""Adoption of edited files as results, and what follows from it.

`graph.accessor` adopts the file of one node.  Here, `adopt` does so for several, and tells what runs
again.  `cli.corrections` has the command.
"""

from __future__ import annotations

from functools import cached_property

from ..graph.api import one
from ..graph.node import Node
from ..hashing.encoder import tag
from ..planning.states import MISSING
from ..printable import printable
from ..storage.roots import Root
from .listing import Lineage, Listed, listed

#: Paths that are named in a line.
_MAX_PATHS = 5


class Adopted(int):
    """Number of nodes whose files were adopted or kept.  Shown, it also tells what runs again."""

    _targets: list[tuple[str, str]]

    @classmethod
    def of(cls, count: int, targets: list[tuple[str, str]]) -> Adopted:
        """Return the number with the targets, pairs of root and path from there."""
        adopted = cls(count)
        adopted._targets = targets
        return adopted

    @cached_property
    def consequences(self) -> dict[str, list[str]]:
        """What follows from each adopted file, by the path of its target, as texts.

        It is found out from the records when it is asked for.
        """
        lineages = {root: Lineage(listed(Root(root))) for root in dict(self._targets)}
        found = {}
        for root, path in self._targets:
            item = lineages[root].by_path.get(path)
            data_hash = item.name.data_hash if item is not None and item.is_adopted else None
            found[path] = consequences(lineages[root], path, data_hash)
        return found

    def __repr__(self) -> str:
        lines = [f"{path}: {line}" for path, told in self.consequences.items() for line in told]
        more = ["dc.diff(node) shows what a correction changed"] if self else []
        return "\n".join([f"{int(self)} adopted", *map(printable, lines), *more])

    __str__ = __repr__


def adopt(*nodes: Node) -> Adopted:
    """Make the files at these nodes' targets their results, after a user edited them or put them there.

    The files are read in the dtypes of the results that they replace.  The records get the user and the
    time.  Downstream nodes run again if the data differ.  Adopted results of other recipes are kept, as
    `keep` does.

    Parameters
    ----------
    *nodes : Node
        Upstream nodes first.

    Returns
    -------
    Adopted
        Number of nodes whose files were adopted or kept, an int.  Shown, it also tells which results run
        again; ``.consequences`` has the texts.

    Raises
    ------
    NotANode
        If an argument is not a node.
    TargetMissing
        If a target does not exist.
    TargetCorrupt
        If a file can't be read in its target's format.
    FormatLimit
        If a file can't be read in the dtypes, axes or columns of the result that it replaces.
    UntrustedPickle
        If a file is a pickle that must not be read.
    GraphError
        If an adopted result can't be kept because it is damaged.

    Notes
    -----
    After an error, the nodes before the failed one stay adopted.

    Examples
    --------
    >>> @dc.delayed(target="squares/{n}.json")
    ... def square(n):
    ...     return n * n
    >>> @dc.delayed(target="roots/{x.stem}.json")
    ... def root(x):
    ...     return x**0.5
    >>> node = square(2)
    >>> _ = root(node).compute()
    >>> _ = Path(node.dc.path).write_text("9")
    >>> dc.adopt(node)
    1 adopted
    squares/2.json: runs again: roots/2.json
    dc.diff(node) shows what a correction changed
    >>> root(node).compute()
    3.0
    """
    adopted = [node for node in nodes if one(node).adopt()]
    recipes = [node._recipe for node in adopted]
    targets = [(recipe.root, path) for recipe in recipes for path in recipe.paths]
    return Adopted.of(len(adopted), targets)


def consequences(lineage: Lineage, path: str, data_hash: str | None) -> list[str]:
    """Tell what runs again because of a correction, a line each.

    Parameters
    ----------
    lineage : Lineage
        Of all targets of the root.
    path : str
        Path of the correction's target.
    data_hash : str or None
        Hash of the data in the file; None if it is unknown.
    """
    item = lineage.by_path.get(path)
    below = [] if item is None else lineage.descendants([item])
    below = [each for each in below if each.state != MISSING]
    if item is None or not below:
        return ["no recorded result was made from it"]
    if data_hash is not None and not _changed(item, data_hash, below):
        return ["what was made from it was made from the same data: nothing runs again"]
    next_ones = {each.path for each in below if item in lineage.parents(each)}
    corrected = {each.path for each in below if each.is_adopted}
    groups = {
        "runs again": [each.path for each in below if each.path in next_ones - corrected],
        "runs again if its inputs come out different": [
            each.path for each in below if each.path not in next_ones | corrected
        ],
        "was corrected, too, so it waits for your decision": sorted(corrected),
    }
    return [f"{told}: {_several(paths)}" for told, paths in groups.items() if paths]


def _changed(item: Listed, data_hash: str, below: list[Listed]) -> bool:
    """Return True if a result was made from other data of a target, or may have been."""
    if item.record.results is not None:  # hashes of several results are joined in the records
        return True
    inputs = [described for each in below for described in each.record.upstream]
    return any(d["data_hash"] != tag(data_hash) for d in inputs if d.get("target") == item.path)


def _several(paths):
    shown = ", ".join(paths[:_MAX_PATHS])
    return f"{shown} and {len(paths) - _MAX_PATHS} more" if len(paths) > _MAX_PATHS else shown
