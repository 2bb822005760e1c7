"""What all commands of ``dask cache`` share."""

from __future__ import annotations

import functools

import click

root_option = click.option(
    "--root", type=click.Path(), help="The root folder.  Default: the nearest one upward from here."
)


def friendly(command):
    """Show daskcache's own errors as messages, not as tracebacks."""

    @functools.wraps(command)
    def run(*args, **kwargs):
        from .errors import DaskcacheError

        try:
            return command(*args, **kwargs)
        except DaskcacheError as error:
            raise click.ClickException(str(error)) from error

    return run
