"""Commands of ``dask cache`` for adopted results: keep, release."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .shared import on_root

if TYPE_CHECKING:
    from ...storage.roots import Root


@click.command("keep")
@click.argument("targets", nargs=-1, required=True)
@on_root
def keep_command(targets: tuple[str, ...], root: Root):
    """Keep adopted TARGETS as results although their recipes changed.

    The targets were made for other arguments, inputs or code.  The next plan of the program that makes
    them takes them for its results, and records the user who decided so.

    \b
    Example
        dask cache keep masks/a.tif masks/b.tif
    """
    from ...storage.records import write_acceptance

    for item in _adopted(root, targets):
        write_acceptance(root, item.name.target_id, keep=item.name.file_hash)
        click.echo(f"{item.path} is kept")
    click.echo("the program that makes them records it when it plans next")


@click.command("release")
@click.argument("targets", nargs=-1, required=True)
@on_root
def release_command(targets: tuple[str, ...], root: Root):
    """Move adopted TARGETS to the trash, to compute them again.

    'dask cache restore' brings a target back, and 'dask cache adopt' makes it the result again.

    \b
    Example
        dask cache release masks/a.tif
    """
    from ...planning.corrections import release_target
    from ...storage.records import RecordStore

    for item in _adopted(root, targets):
        kept = release_target(RecordStore(root), item.path, item.name)
        click.echo(f"{item.path} -> {kept}" if kept else f"{item.path} was gone; it is released")


def _adopted(root, targets):
    """Return the named targets; raise if one was not adopted."""
    from ..listing import find

    items = [find(root, target) for target in targets]
    for target, item in zip(targets, items, strict=True):
        if item is None or not item.is_adopted:
            state = f"it is {item.state}" if item else "it has no record"
            raise click.ClickException(
                f"{target} was not adopted, {state}; 'dask cache ls' shows what was, 'dask cache adopt' "
                "takes in what you edited"
            )
    return items
