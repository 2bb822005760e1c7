"""Adoption of edited files as results, and what follows from it.

`graph.accessor` adopts the file of one node.  Here, `adopt` does so for several, and tells what changes
and what runs again.  `adopt_files` needs no nodes; the command of `cli.corrections` uses it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from ..graph.given import nodes_in
from ..graph.node import Node
from ..graph.nodes import Nodes
from ..hashing.encoder import tag
from ..planning.corrections import check_adoptable
from ..planning.states import MISSING
from ..printable import printable
from ..storage.files import file_hash
from ..storage.record import target_id
from ..storage.records import write_acceptance
from ..storage.roots import Root
from ..tracebacks import shortened
from .diff import kept_difference
from .lineage import Lineage
from .listing import Listed, listed, paths_below
from .outlines import AS_RECORDED

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
        """Texts that tell the consequences of each adopted file, by the path of its target.

        They are found in the records when they are asked for.
        """
        lineages = {root: Lineage(listed(Root(root))) for root in dict(self._targets)}
        found = {}
        for root, path in self._targets:
            item = lineages[root].by_path.get(path)
            if item is not None and item.is_adopted:  # of several results, maybe one alone is
                found[path] = consequences(Root(root), lineages[root], path, item.name.data_hash)
        return found

    def __repr__(self) -> str:
        lines = [f"{path}: {line}" for path, told in self.consequences.items() for line in told]
        return "\n".join([f"{int(self)} adopted", *map(printable, lines)])

    __str__ = __repr__


@shortened
def adopt(*nodes: Node | Nodes) -> Adopted:
    """Make the files at these nodes' targets their results, after a user edited them or put them there.

    The files are read in the dtypes of the results that they replace.  The records get the user and the
    time.  Downstream nodes run again if the data differ.  Adopted results of other recipes are kept, as
    `keep` does.

    Parameters
    ----------
    *nodes : Node or Nodes
        Upstream nodes first.

    Returns
    -------
    Adopted
        Number of nodes whose files were adopted or kept, an int.  Shown, it also tells whether the data
        differ and which results run again; ``.consequences`` has the texts.

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
    squares/2.json: holds other data than square() made; diff shows them
    squares/2.json: runs again: roots/2.json
    >>> root(node).compute()
    3.0
    """
    adopted = [node for node in (nodes_in(nodes) if nodes else ()) if node.dc.adopt()]
    recipes = [node._recipe for node in adopted]
    targets = [(recipe.root, path) for recipe in recipes for path in recipe.paths]
    return Adopted.of(len(adopted), targets)


def adopt_files(root: Root, named: Iterable[str]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Note that files are results; the next plan of the program that makes these takes them in.

    Parameters
    ----------
    root : Root
    named : iterable of str
        Files, or folders of files, from the root or from the current folder.

    Returns
    -------
    adopted : dict
        The consequences of each file, by its path from the root.
    left : dict
        Why other files were left as they are, by path.

    Raises
    ------
    TargetMissing
        If nothing is at a path.
    UnsafePath
        If a path is outside of the root.
    DaskcacheError
        If a file can't be adopted; then none is.
    """
    lineage = Lineage(listed(root))
    known = lineage.by_path
    records = [record for item in known.values() for record in item.records.values()]
    folders = {r.correction["path"].rpartition("/")[0] for r in records if r.correction}
    data_hashes: dict[str, str | None] = {}
    left: dict[str, str] = {}
    for path in (path for each in named for path in paths_below(root, each, known)):
        if path in known and known[path].state in AS_RECORDED:
            left[path] = f"is as it {'was adopted' if known[path].is_adopted else 'was stored'}"
        elif path not in known and path.rpartition("/")[0] in folders:
            left[path] = "is in a folder of corrections: its node takes it in without this command"
        else:
            data_hashes[path] = check_adoptable(root, path)
    for path in data_hashes:  # only once all of them can be adopted
        write_acceptance(root, target_id(path), content=file_hash(root.absolute(path)))
    return {path: consequences(root, lineage, path, found) for path, found in data_hashes.items()}, left


def consequences(root: Root, lineage: Lineage, path: str, data_hash: str | None) -> list[str]:
    """Tell what a correction changes, and what runs again because of it, a line each.

    Parameters
    ----------
    root : Root
    lineage : Lineage
        Of all targets of the root.
    path : str
        Path of the correction's target.
    data_hash : str or None
        Hash of the data in the file; None if it is unknown.
    """
    item = lineage.by_path.get(path)
    if item is None:
        return ["there was no result before"]
    return [_change(root, item, data_hash), *_reruns(lineage, item, data_hash)]


def _change(root, item, data_hash):
    """Tell whether a file holds other data than its function made, and how they differ if that is known.

    The function is not called for that: `diff` does so.
    """
    function = f"{item.record.function.rpartition('.')[2]}()"
    edited = item.record.edited
    stored = item.record.data_hash if edited is None else edited.get("stored")
    if stored is None:
        return f"{function} had made no result before"
    if data_hash is None:
        return f"whether its data are those that {function} made is not known yet"
    if stored == tag(data_hash):
        return f"holds the data that {function} made"
    kept = kept_difference(root, item)
    how = "diff shows them" if kept is None else kept.headline
    return f"holds other data than {function} made; {how}"


def _reruns(lineage, item, data_hash):
    below = [each for each in lineage.descendants([item]) if each.state != MISSING]
    if not below:
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
