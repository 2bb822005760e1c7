"""Commands of ``dask cache`` for adopted results: keep, release."""

from __future__ import annotations

import click

from .shared import friendly, root_option


@click.command("keep")
@click.argument("targets", nargs=-1, required=True)
@root_option
@friendly
def keep_command(targets: tuple[str, ...], root: str | None):
    """Keep adopted TARGETS as results although their recipes changed.

    The targets were made for other arguments, inputs or code.  The next plan of the program that makes
    them takes them for its results, and records the user who decided so.

    \b
    Example
        dask cache keep masks/a.tif masks/b.tif
    """
    from ...storage.records import write_acceptance

    found, items = _adopted(root, targets)
    for item in items:
        write_acceptance(found, item.name.target_id, keep=item.name.file_hash)
        click.echo(f"{item.path} is kept")
    click.echo("the program that makes them records it when it plans next")


@click.command("release")
@click.argument("targets", nargs=-1, required=True)
@root_option
@friendly
def release_command(targets: tuple[str, ...], root: str | None):
    """Move adopted TARGETS to the trash, to compute them again.

    'dask cache restore' brings a target back, and 'dask cache adopt' makes it the result again.

    \b
    Example
        dask cache release masks/a.tif
    """
    from ...planning.corrections import release_target
    from ...storage.records import RecordStore

    found, items = _adopted(root, targets)
    for item in items:
        kept = release_target(RecordStore(found), item.path, item.name)
        click.echo(f"{item.path} -> {kept}" if kept else f"{item.path} was gone; it is released")


def _adopted(root, targets):
    """Return the root and the named targets in it; raise if one was not adopted."""
    from ..listing import find, find_root

    found = find_root(root)
    items = [find(found, target) for target in targets]
    for target, item in zip(targets, items, strict=True):
        if item is None or not item.is_adopted:
            state = f"it is {item.state}" if item else "it has no record"
            raise click.ClickException(
                f"{target} was not adopted, {state}; 'dask cache ls' shows what was, 'dask cache adopt' "
                "takes in what you edited"
            )
    return found, items
