"""Commands of ``dask cache`` that need the user's graph, not only a root: plan and prune."""

from __future__ import annotations

import operator
import sys

import click

from .main import TIME, imported, json_option
from .output import echo, echo_json, terminal_width

_graph_argument = click.argument("graph", metavar="MODULE:OBJECT")


@click.command("plan")
@_graph_argument
@json_option
def plan_command(graph: str, as_json: bool):
    """Show what a graph would run, why, and how long.

    MODULE:OBJECT names the graph: a node, a list or dict of nodes, or a function without arguments that
    returns them.  The module is imported as 'python -m' would.  Nothing runs, and nothing is written.
    The exit code is 3 if nodes are left to run, and 0 if all are finished.

    \b
    Example
        dask cache plan analysis:tables
    """

    from ...graph.api import plan
    from ...planning.display.tables import plan_rows, plan_text

    found = plan(_graph(graph))
    if as_json:
        about = {"left": found.left, "seconds": found.seconds, "bytes": found.nbytes}
        echo_json(**about, nodes=plan_rows(found))
    else:
        echo(plan_text(found, terminal_width()))
    if found.left:
        sys.exit(3)


@click.command("prune")
@_graph_argument
@click.option(
    "--function",
    "functions",
    multiple=True,
    help="Also what this function made, e.g. a step that was renamed; may be given again.",
)
@click.option("--min-age", type=TIME, default="0 s", help="Keep what was written or read since.")
@click.option("--yes", is_flag=True, help="Move the results.  Default: only show them.")
@json_option
def prune_command(graph: str, functions: tuple[str, ...], min_age: float, yes: bool, as_json: bool):
    """Move results that a graph doesn't need any more to the trash.

    MODULE:OBJECT names the graph: a node, a list or dict of nodes, or a function without arguments that
    returns them.  The module is imported as 'python -m' would.  What the graph's functions made, and is
    not a target of the graph, goes to the trash.  What was adopted or edited, belongs to another user,
    or is used by other results stays.

    \b
    Example
        dask cache prune analysis:tables --function clean
    """

    from ...planning.display.reports import pruning_rows, pruning_text
    from ..prune import prune

    found = prune(_graph(graph), functions=functions, yes=yes, min_age=min_age)
    if as_json:
        echo_json(moved=yes, leftovers=pruning_rows(found))
        return
    echo(pruning_text(found, max_rows=len(found.leftovers), width=terminal_width()))
    if not found.going:
        return
    if yes:
        echo("\n'dask cache restore TARGET' brings a result back, 'dask cache trash' lists them")
    else:
        echo("\nnothing was moved: add --yes to move them")


def _graph(named):
    """Import what the user names, and call it if it is a function and no node."""
    from ...graph.node import Node

    module, _, name = named.partition(":")
    if not (module and name):
        raise click.UsageError(f"{named!r} is not MODULE:OBJECT; write it as 'analysis:tables'")
    home = imported(module)
    try:
        found = operator.attrgetter(name)(home)
    except AttributeError as error:
        raise click.ClickException(f"{module} has no {name}: {error}") from error
    if isinstance(found, Node) or not callable(found):
        return found
    try:
        return found()
    except Exception as error:  # a user's function may raise anything
        what = f"{type(error).__name__}: {error}"
        raise click.ClickException(f"can't call {named} without arguments: {what}") from error
