"""``dask cache …``: the group, the decorators of its commands, and the demo.

The modules beside this one hold the other commands: `reports` those that only look at a root,
`corrections` those about single targets, `housekeeping` those that keep a root in order, `graphs` those
that need the user's graph, and `environment` those about the machine and the configuration.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from .completion import TargetPath
from .output import echo, echo_table, terminal_width


class _Group(click.Group):
    """Command group that imports the modules of its commands only when they are used.

    Every ``dask`` command imports this module, so it must be cheap to import.
    """

    def list_commands(self, ctx):
        return sorted({*super().list_commands(ctx), *_ELSEWHERE})

    def get_command(self, ctx, name):
        if name in _ELSEWHERE:
            return getattr(import_module(_ELSEWHERE[name], __package__), f"{name}_command")
        return super().get_command(ctx, name)

    def invoke(self, ctx):
        """Run a command, and show daskcache's own errors as messages instead of tracebacks."""
        from ...errors import DaskcacheError
        from ...printable import printable_lines

        try:
            return super().invoke(ctx)
        except DaskcacheError as error:
            raise click.ClickException(str(error)) from error
        except click.ClickException as error:
            error.message = printable_lines(error.message)
            raise


_ELSEWHERE = {
    **dict.fromkeys(("status", "ls", "show", "history", "why", "diff", "failures", "audit"), ".reports"),
    "report": ".reports",
    **dict.fromkeys(("accept", "adopt", "corrections", "keep", "release"), ".corrections"),
    **dict.fromkeys(("rm", "trash", "restore"), ".corrections"),
    **dict.fromkeys(("verify", "gc", "du", "export", "import"), ".housekeeping"),
    **dict.fromkeys(("plan", "prune"), ".graphs"),
    **dict.fromkeys(("config", "doctor", "open"), ".environment"),
}


@click.group(cls=_Group)
def cache():
    """Look at the cached results of Dask graphs, ask why they are stale, make room."""


# ---- for all commands ---------------------------------------------------------------------------


def _import_modules(context, option, names):
    """Import the modules that the user names, also from the current folder.

    Modules are imported only if the user names them, never because a record does.
    """
    for name in names:
        imported(name)


def imported(name: str) -> ModuleType:
    """Import a module that the user names, also from the current folder."""
    if sys.path[:1] != [os.getcwd()]:
        sys.path.insert(0, os.getcwd())
    try:
        return import_module(name)
    except (Exception, SystemExit) as error:  # a user's module may raise anything
        what = f"{type(error).__name__}: {error}"
        raise click.ClickException(f"can't import {name}: {what}") from error


import_modules = click.option(
    "-m",
    "--module",
    multiple=True,
    callback=_import_modules,
    expose_value=False,
    help="A module of your program, to be imported as 'python -m' would; may be given again.",
)


def _found_root(context, option, given):
    if context.resilient_parsing:  # a shell completes the line
        return given
    from ..listing import find_root

    return find_root(given, named_targets(context))


def named_targets(context: click.Context) -> list[str]:
    """Return the paths and patterns of targets among the arguments of a command."""
    named = [
        context.params.get(p.name) for p in context.command.params if isinstance(p.type, TargetPath)
    ]
    return [path for each in named for path in ([each] if isinstance(each, str) else each or ())]


_ROOT: dict[str, Any] = {
    "type": click.Path(),
    "help": "The root folder.  Default: the nearest one upward from TARGETS, or from here.",
}
root_option = click.option("--root", **_ROOT)
#: Gives a command its root: the one that ``--root`` names, or the nearest.
on_root = click.option("--root", callback=_found_root, **_ROOT)


#: For commands that delete for good: `check_may_delete` comes first, then `ask`.
yes_option = click.option("--yes", is_flag=True, help="Delete without asking, e.g. in a script.")


def check_may_delete(yes: bool) -> None:
    """Exit with 2 unless the user said ``--yes`` or can be asked on a terminal."""
    if not yes and not _has_terminal():
        raise click.UsageError("there is no terminal to ask on: add --yes to delete without a question")


def _has_terminal():
    return sys.stdin is not None and sys.stdin.isatty()


def ask(yes: bool, question: str) -> None:
    """Ask on the terminal unless the user said ``--yes``; exit with 1 if the answer is no."""
    if not yes:
        click.confirm(question, abort=True)


#: For commands that can print JSON.
json_option = click.option("--json", "as_json", is_flag=True, help="For programs; sizes in bytes.")


class _Parsed(click.ParamType):
    """Type of an option that one of Dask's parsers reads: ``10 GB``, ``30 days``."""

    def __init__(self, name, parser, example):
        self.name = name
        self.parser = parser
        self.example = example

    def convert(self, value, param, ctx):
        import dask.utils

        try:
            number = getattr(dask.utils, self.parser)(value)
        except (ValueError, TypeError, KeyError):
            number = -1
        if number < 0:
            self.fail(f"{value!r} is not a valid {self.name}; write it as {self.example!r}", param, ctx)
        return number


SIZE = _Parsed("size", "parse_bytes", "10 GB")
TIME = _Parsed("age", "parse_timedelta", "30 days")


# ---- the demo -----------------------------------------------------------------------------------


@cache.command()
@click.option(
    "--dir",
    "folder",
    default="daskcache-demo",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Where images and results go.",
)
@click.option("--sigma", default=2.0, show_default=True, help="Width of the Gaussian in pixels.")
@click.option("--scheduler", help="Address of a Dask scheduler.  Default: start a LocalCluster.")
def demo(folder: Path, sigma: float, scheduler: str | None):
    """Denoise, segment and measure real images on a Dask cluster.

    Run the command twice: the second time nothing runs.  Change --sigma and see what runs again.

    \b
    Example
        dask cache demo --sigma 3
    """
    from ...errors import require

    for module in ("distributed", "skimage", "tifffile", "pandas"):
        require(module, "demo")
    import dask
    from distributed import Client

    from ...graph.api import plan
    from ...graph.progress import progress
    from ...planning.display.tables import plan_text
    from .. import demo as pipeline

    folder = folder.absolute()
    images = pipeline.copy_images(folder / "raw")
    with dask.config.set({"daskcache.root": str(folder / "results")}):
        node = pipeline.pipeline(images, sigma)
    before = plan(node)
    echo(plan_text(before, terminal_width()))
    if not before.left:
        echo(f"\n{node.compute().to_string(index=False)}")
    else:
        local = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
        with Client(scheduler) if scheduler else Client(**local) as client:
            echo(f"\nComputing on {client.scheduler.address}")
            future = client.compute(node)
            progress(future)
            echo(f"\n{future.result().to_string(index=False)}")
    told, cells = _what_happened(before, plan(node))
    echo(f"\n{told}\n")
    echo_table(cells)
    echo(f"\nResults are in {folder / 'results'}; run the command again: nothing will run.")


def _what_happened(before, after):
    """Return a headline and a table: by function, the nodes that ran or were skipped, and run times."""
    from dask.utils import format_time

    old = {node.recipe.identity: node for node in before}
    rows: dict[str, list] = {}
    for node in after:
        row = rows.setdefault(node.recipe.name, [0, 0, []])
        ran = node.records != old[node.recipe.identity].records
        row[0 if ran else 1] += 1
        if ran and node.seconds is not None:
            row[2].append(node.seconds)
    cells = [["function", "ran", "skipped", "mean time", "total time"]]
    for name, (ran, skipped, seconds) in rows.items():
        mean = format_time(sum(seconds) / len(seconds)) if seconds else "·"
        total = format_time(sum(seconds)) if seconds else "·"
        cells.append([name, str(ran), str(skipped), mean, total])
    ran = sum(row[0] for row in rows.values())
    return f"{ran} of {len(after)} nodes ran, {len(after) - ran} were skipped", cells
