"""Commands of ``dask cache`` about targets that users decide on, most of all about corrections.

They are accept, adopt, corrections, keep, release, rm, trash and restore.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .main import (
    TIME,
    ask,
    check_may_delete,
    echo,
    json_option,
    on_root,
    root_option,
    yes_option,
)

if TYPE_CHECKING:
    from ...storage.roots import Root


@click.command("accept")
@click.argument("targets", nargs=-1, required=True)
@on_root
def accept_command(targets: tuple[str, ...], root: Root):
    """Accept TARGETS as right, although code or inputs changed.

    The next run of the program that makes them finds them complete, and records the user who accepted
    them.  Of a target that is not stale then, nothing is recorded.
    """

    from ...storage.records import write_acceptance

    for target, item in zip(targets, _found(root, targets), strict=True):
        if item.state == "adopted":
            raise click.ClickException(f"{item.path} was adopted: 'dask cache keep {target}' keeps it")
        if item.state != "complete":
            raise click.ClickException(f"{item.path} is {item.state}: there is nothing to accept")
        write_acceptance(root, item.name.target_id, key=item.name.key)
        echo(f"{item.path} will be accepted if it is stale")
    echo("the program that makes them decides when it runs next; 'dask cache why' says what is known")


@click.command("rm")
@click.argument("targets", nargs=-1, required=True)
@click.option("--downstream", is_flag=True, help="Also what was made from them, and so on.")
@on_root
def rm_command(targets: tuple[str, ...], downstream: bool, root: Root):
    """Move TARGETS to the trash; they are made again when needed."""

    from ...storage import trash
    from ...storage.files import exists
    from ..listing import Lineage, listed

    items = {item.path: item for item in _found(root, targets)}
    if downstream:
        below = Lineage(listed(root)).descendants(items.values())
        items |= {item.path: item for item in below}
    for item in items.values():
        location = root.absolute(item.path)
        if not exists(location):
            echo(f"{item.path} is already gone")
        else:
            kept = trash.keep(root, location, item.path, "removed")
            echo(f"{item.path} -> {kept}")


@click.command("adopt")
@click.argument("targets", nargs=-1, required=True)
@root_option
def adopt_command(targets: tuple[str, ...], root: str | None):
    """Adopt TARGETS that were edited or put there by hand.

    Files that another program left can be adopted, too.  If a folder is not a target, all its files are
    adopted.  The next plan of the program that makes the targets takes them for its results, and records
    the user who adopted them.  Results downstream run again if the data differ; they are listed.  The
    folder named by --root or config daskcache.root need not be a root yet.
    """

    from ...planning.corrections import check_adoptable
    from ...storage.files import file_hash
    from ...storage.record import target_id
    from ...storage.records import write_acceptance
    from ..adoption import consequences
    from ..listing import AS_RECORDED, Lineage, find_or_make_root, listed, paths_below

    found = find_or_make_root(root)
    lineage = Lineage(listed(found))
    known = lineage.by_path
    adopted = False
    for target in targets:
        for path in paths_below(found, target, known):
            if path in known and known[path].state in AS_RECORDED:
                was = "was adopted" if known[path].is_adopted else "was stored"
                echo(f"{path} is as it {was}")
                continue
            data_hash = check_adoptable(found, path)
            write_acceptance(found, target_id(path), content=file_hash(found.absolute(path)))
            echo("\n    ".join([f"{path} is adopted", *consequences(found, lineage, path, data_hash)]))
            adopted = True
    if adopted:
        echo("the program that makes them takes them in when it plans next; 'ls' shows no change yet")
        echo("'dask cache diff TARGET' shows what a correction changed")


@click.command("corrections")
@click.argument("pattern", default="*")
@click.option("--export", "packed", type=click.Path(), help="Pack them into this new file.")
@click.option(
    "--apply", "applied", type=click.Path(exists=True, dir_okay=False), help="Apply those in this file."
)
@click.option("--trust-pickles", is_flag=True, help="With --apply: pickles, too; they can run code.")
@json_option
@root_option
def corrections_command(
    pattern: str,
    packed: str | None,
    applied: str | None,
    trust_pickles: bool,
    as_json: bool,
    root: str | None,
):
    """List corrections: results that users edited and adopted.

    PATTERN is a path of targets, a folder, or a shell pattern.  With --export, corrections are packed
    into a file.  With --apply, those in a file are put in the places of the same targets of this root.
    What functions made goes to the trash then, and what users made stays.  --root may name a new folder.

    \b
    Example
        dask cache corrections --export corrections.tar
        dask cache corrections --apply corrections.tar --root other
    """

    from ...storage.roots import Root, local_root
    from ..listing import find_root, matching

    if packed is not None and applied is not None:
        raise click.UsageError("--export and --apply exclude each other")
    found = Root(local_root(root)) if root and applied else find_root(root)
    if applied is not None:
        if pattern != "*":
            raise click.UsageError("--apply takes no pattern: choose with --export PATTERN")
        _apply(found, applied, trust_pickles, as_json)
    elif packed is not None:
        _export(found, packed, matching(found, pattern), as_json)
    else:
        _list(found, matching(found, pattern), as_json)


def _list(root, matches, as_json):
    import dataclasses
    import json

    from ...planning.display.tables import text_table
    from ..correction_sets import corrections

    found = corrections(root, matches)
    if as_json:
        listed = [dataclasses.asdict(correction) for correction in found]
        echo(json.dumps({"root": root.path, "corrections": listed}))
        return
    cells = [["target", "state", "by", "when", "made for"]]
    for each in found:
        call = ", ".join(f"{name}={text}" for name, text in each.arguments.items())
        kept = f", kept for {len(each.kept_for)} more" if each.kept_for else ""
        made_for = f"{each.function}({call[:60]}{'…' if len(call) > 60 else ''}){kept}"
        cells.append([each.target, each.state, each.by or "on_modified", each.when or "·", made_for])
    echo(text_table(cells) if found else "no corrections")


def _export(root, archive, matches, as_json):
    import json

    from ..correction_sets import export_corrections

    packed, left_out = export_corrections(root, archive, matches)
    if as_json:
        echo(json.dumps({"archive": archive, "packed": packed, "left out": left_out}))
        return
    for path in left_out:
        echo(f"{path}: left out, as it is a table or not as it was adopted")
    echo(
        f"{archive}: {len(packed)} corrections; 'dask cache corrections --apply {archive} --root FOLDER'"
    )


def _apply(root, archive, trust_pickles, as_json):
    import json
    import sys

    from ..correction_sets import APPLIED, apply
    from ..transfer import THERE

    outcomes = apply(root, archive, trust_pickles)
    if as_json:
        echo(json.dumps({"root": root.path, "outcomes": dict(outcomes)}))
    else:
        for item in outcomes:
            echo(f"{item.path}: {item.outcome}")
    sys.exit(0 if all(item.outcome in (APPLIED, THERE) for item in outcomes) else 1)


@click.command("trash")
@click.option("--empty", is_flag=True, help="Delete it for good.")
@click.option(
    "--older-than",
    type=TIME,
    default="0 s",
    help="With --empty: only what is older, e.g. '30 days'.",
)
@yes_option
@on_root
def trash_command(empty: bool, older_than: float, yes: bool, root: Root):
    """List damaged, edited and removed targets in the trash.

    With --empty the command asks on a terminal.  Without a terminal it needs --yes, or the exit code
    is 2.
    """

    from ...planning.display.cells import text_table
    from ...storage import trash

    if empty:
        check_may_delete(yes)
        things = trash.aged(root, older_than)
        if things:
            ask(yes, f"Delete {len(things)} from the trash for good?")
        echo(f"{len(trash.empty(root, things))} deleted")
        return
    things = trash.listed(root)
    cells = [["target", "reason", "when", "id"]]
    cells += [[thing.target, thing.reason, thing.when, thing.id] for thing in things]
    echo(text_table(cells) if things else "the trash is empty")


@click.command("restore")
@click.argument("target")
@on_root
def restore_command(target: str, root: Root):
    """Put TARGET back from the trash to where it was.

    TARGET is a path or an id that 'dask cache trash' lists.  If a stored result is in that place now, it
    goes to the trash instead.
    """

    from ...storage import trash
    from ...storage.files import relative

    thing = trash.find(root, target, relative(target, root.path))
    kept = trash.restore(root, thing)
    echo(f"{thing.target} is back" + (f"; what was there is kept as {kept}" if kept else ""))


@click.command("keep")
@click.argument("targets", nargs=-1, required=True)
@on_root
def keep_command(targets: tuple[str, ...], root: Root):
    """Keep adopted TARGETS as results although their recipes changed.

    The targets were made for other arguments, inputs or code.  The next run of the program that makes
    them takes them for its results, and records the user who decided so.

    \b
    Example
        dask cache keep masks/a.tif masks/b.tif
    """

    from ...storage.records import write_acceptance

    for item in _adopted(root, targets):
        write_acceptance(root, item.name.target_id, keep=item.name.file_hash)
        echo(f"{item.path} is kept")
    echo("the program that makes them records it when it plans next")


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
        echo(f"{item.path} -> {kept}" if kept else f"{item.path} was gone; it is released")


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


def _found(root, targets):
    """Return the recorded targets at these paths; raise if one has no record."""

    from ..listing import find

    items = [find(root, target) for target in targets]
    for target, item in zip(targets, items, strict=True):
        if item is None:
            raise click.ClickException(
                f"no record of {target} in {root.path}: daskcache did not write it; 'dask cache ls' "
                "lists recorded targets"
            )
    return items
