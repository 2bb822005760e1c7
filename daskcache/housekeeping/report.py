"""Reports: one file about results, for a colleague or a supplement.

A report needs no network and no scripts.  `cli.reports` has the command.  `report_results` finds what a
report is about, `report_page` makes the page, and `redaction` takes names and paths out of it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

from .. import pages
from ..errors import GraphError
from ..graph import api
from ..graph.plan import Plan
from ..planning.display.pictures import Kind, check_free, write_sealed
from ..printable import printable
from ..storage.roots import Root
from ..tracebacks import shortened
from .redaction import Redact, Redactor, absolute_in_quotes, unchanged
from .report_page import page_of, summary_of
from .report_results import Content, planned, recorded

_KIND = Kind(
    "report",
    b'<meta name="generator" content="daskcache report">',
    "choose another path, move the file away, or replace it with overwrite=True (--overwrite)",
)


class Report:
    """A report about results, as they are when it is made.  Notebooks show a summary.

    Parameters
    ----------
    content : Content
    names : bool
        True to show names of users and machines, and absolute paths.
    title : str, optional

    Attributes
    ----------
    html : str
        The page.
    headline : str
        The numbers of results, in all and in each state.
    results, failures, corrections : int
        Numbers of results, of nodes that failed and of results that users corrected.
    """

    def __init__(self, content: Content, names: bool = False, title: str | None = None):
        self.html = page_of(content, unchanged if names else _redactor(content), title)
        self.results = len(content.results)
        self.failures = len(content.failures)
        self.corrections = len(content.corrections)
        self.headline = content.headline
        self._summary = summary_of(content)

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> Path:
        """Write the report to a file.

        Parameters
        ----------
        path : str or path
            Path of an ``.html`` file.  An earlier report there is replaced.
        overwrite : bool
            True to replace any file.

        Returns
        -------
        pathlib.Path
            The path.

        Raises
        ------
        GraphError, ForeignTarget, StorageError
            As `report`.
        """
        check(path, overwrite)
        return write_sealed(path, ".html", lambda: self.html, _KIND, overwrite)

    def __repr__(self) -> str:
        return printable(f"<Report: {self.headline}>")

    def _repr_html_(self) -> str:
        told = f'{self.headline}; report.save("report.html") writes the page'
        return pages.render("tables", title="Report", headline=told, tables=self._summary)


@overload
def report(
    nodes: Any,
    path: None = None,
    *,
    names: bool = False,
    title: str | None = None,
    overwrite: bool = False,
) -> Report: ...
@overload
def report(
    nodes: Any,
    path: str | os.PathLike[str],
    *,
    names: bool = False,
    title: str | None = None,
    overwrite: bool = False,
) -> Path: ...
@shortened
def report(
    nodes: Any,
    path: str | os.PathLike[str] | None = None,
    *,
    names: bool = False,
    title: str | None = None,
    overwrite: bool = False,
) -> Report | Path:
    """Report on results in one HTML file, for a colleague or a supplement.

    The file has the graph, the parameters, pictures of the results (in a plate map, if they have wells),
    first rows of tables, where each result comes from, its code and the versions of packages, failures,
    corrections, and what is left to do.  It needs no network and no scripts.  Nothing runs.

    Parameters
    ----------
    nodes : Plan, Node, Nodes, or list, tuple, set or dict of nodes
        The report is about these nodes and all upstream of them.
    path : str or path, optional
        Path of an ``.html`` file to write.  An earlier report there is replaced.
    names : bool
        True to show names of users and machines, and absolute paths.
    title : str, optional
        Title of the page.  Default: the names of the folders with the results.
    overwrite : bool
        True to replace any file at `path`.

    Returns
    -------
    Report or pathlib.Path
        The path if one is given.  Otherwise the report, which shows a summary in notebooks;
        ``report.save(path)`` writes it, and ``report.html`` is the page.

    Raises
    ------
    NotANode
        If `nodes` holds something other than nodes.
    GraphError
        If the path does not end in ``.html``.
    ForeignTarget
        If a file is there that is not a report of daskcache, or that was edited since.
    StorageError
        If the file can't be written.

    Notes
    -----
    Names and paths are taken out of all texts, those of code, tables and figures in SVG included, but
    not out of what a picture shows.

    Examples
    --------
    >>> @dc.delayed(target="squares/{n}.json")
    ... def square(n):
    ...     return n * n
    >>> nodes = square.map([1, 2])
    >>> _ = nodes.compute()
    >>> dc.report(nodes)
    <Report: 2 results of 1 function; 2 complete>
    >>> dc.report(nodes, "squares.html").name
    'squares.html'
    """
    if path is not None:
        check(path, overwrite)
    plan = nodes if isinstance(nodes, Plan) else api.plan(nodes)
    found = Report(planned(plan), names, title)
    return found if path is None else found.save(path, overwrite)


def report_root(
    root: Root,
    targets: Sequence[str] = (),
    upstream: bool = False,
    names: bool = False,
    title: str | None = None,
) -> Report:
    """Report on the recorded results of a root; see `report`.

    Parameters
    ----------
    root : Root
    targets : sequence of str
        Paths of targets or folders, or shell patterns.  Default: all results.
    upstream : bool
        Also report on all results upstream of them.
    names, title
        See `report`.

    Raises
    ------
    TargetMissing
        If a path or pattern means no result.
    """
    return Report(recorded(root, targets, upstream), names, title)


def check(path: str | os.PathLike[str], overwrite: bool) -> None:
    """Check that a report can be written to a path; raise as `report` does."""
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise GraphError(
            "a report is an HTML file",
            target=str(path),
            expected="a path that ends in .html",
            hint=f"write {Path(path).with_suffix('.html').name!r}",
        )
    if not overwrite:
        check_free(Path(path), ".html", _KIND)


# ---- names ----------------------------------------------------------------------------------------


def _redactor(content: Content) -> Redact:
    roots = [root.path for root in content.roots]
    known = [*roots, os.getcwd(), os.path.expanduser("~"), tempfile.gettempdir()]
    folders = {each for path in known for each in (path, os.path.realpath(path))}
    return Redactor(_users(content), _hosts(content), folders | _folders(content))


def _folders(content: Content) -> set[str]:
    """Return the folders of inputs, and those among arguments: their names may have spaces."""
    tops = [root.path for root in content.roots]
    inputs = {os.path.dirname(each.path) for result in content.results for each in result.inputs}
    texts = {argument.text for result in content.results for argument in result.arguments}
    found = {os.path.normpath(os.path.join(top, folder)) for top in tops for folder in inputs}
    return found | {path for text in texts for path in absolute_in_quotes(text)}


def _users(content: Content) -> Iterator[str]:
    for each in content.results:
        if each.record is not None:
            for told in (each.record.accepted, each.record.edited, each.record.kept):
                yield (told or {}).get("by") or ""
    yield from (each.by or "" for each in content.corrections)


def _hosts(content: Content) -> Iterator[str]:
    yield from {each.record.host for each in content.results if each.record is not None}
    yield from (note.host for note in content.failures)
    # tcp://node7:8786
    yield from (note.worker.rpartition("/")[2].partition(":")[0] for note in content.failures)
