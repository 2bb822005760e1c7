"""Options and decorators that all commands of ``dask cache`` share."""

from __future__ import annotations

import functools
import os
import sys
from importlib import import_module

import click

root_option = click.option(
    "--root", type=click.Path(), help="The root folder.  Default: the nearest one upward from here."
)

module_option = click.option(
    "-m",
    "--module",
    "modules",
    multiple=True,
    help="A module of your program, to be imported as 'python -m' would; may be given again.",
)


def import_modules(names: tuple[str, ...]) -> None:
    """Import the modules that the user names, also from the current folder.

    Modules are imported only if the user names them, never because a record does.
    """
    if names:
        sys.path.insert(0, os.getcwd())
    for name in names:
        try:
            import_module(name)
        except (Exception, SystemExit) as error:  # a user's module may raise anything
            what = f"{type(error).__name__}: {error}"
            raise click.ClickException(f"can't import {name}: {what}") from error


def on_root(command):
    """Give a command its root: the one that ``--root`` names, or the nearest.  Works as a decorator."""

    @root_option
    @functools.wraps(command)
    def run(*args, root, **kwargs):
        from ..listing import find_root

        return command(*args, root=find_root(root), **kwargs)

    return friendly(run)


def friendly(command):
    """Show daskcache's own errors as messages instead of tracebacks.  Works as a decorator."""

    @functools.wraps(command)
    def run(*args, **kwargs):
        from ...errors import DaskcacheError

        try:
            return command(*args, **kwargs)
        except DaskcacheError as error:
            raise click.ClickException(str(error)) from error

    return run
