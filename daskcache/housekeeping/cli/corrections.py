"""Commands of ``dask cache`` about targets that users decide on, most of all about corrections.

They are accept, adopt, corrections, keep, release, rm, trash and restore.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .completion import TargetPath
from .main import TIME, ask, check_may_delete, json_option, on_root, root_option, yes_option
from .output import echo, echo_json, echo_table, teller

if TYPE_CHECKING:
    from ...storage.roots import Root


@click.command("accept")
@click.argument("targets", nargs=-1, required=True, type=TargetPath())
@json_option
@on_root
def accept_command(targets: tuple[str, ...], as_json: bool, root: Root):
    """Accept TARGETS as right, although code or inputs changed.

    The next run of the program that makes them finds them complete, and records the user who accepted
    them.  Of a target that is not stale then, nothing is recorded.

    \b
    Example
        dask cache accept masks "measure/plate1_*.csv"
    """

    from ...storage.records import write_acceptance
    from .chosen import chosen

    def why_not(item, by_path):
        if item.state == "adopted":
            return f"was adopted: 'dask cache keep {item.path}' keeps it"
        return "" if item.state == "complete" else f"is {item.state}: there is nothing to accept"

    accepted = chosen(root, targets, why_not).taken
    for item in accepted:
        write_acceptance(root, item.name.target_id, key=item.name.key)
    if as_json:
        echo_json(root=root.path, accepted=[item.path for item in accepted])
        return
    for item in accepted:
        echo(f"{item.path} will be accepted if it is stale")
    echo("the program that makes them decides when it runs next; 'dask cache why' says what is known")


@click.command("rm")
@click.argument("targets", nargs=-1, required=True, type=TargetPath())
@click.option("--downstream", is_flag=True, help="Also what was made from them, and so on.")
@json_option
@on_root
def rm_command(targets: tuple[str, ...], downstream: bool, as_json: bool, root: Root):
    """Move TARGETS to the trash; they are made again when needed.

    TARGETS are paths, folders or patterns.  Results that users edited or adopted are moved only if they
    are named by their paths.

    \b
    Example
        dask cache rm masks/a.tif --downstream
    """

    from ...storage import trash
    from ...storage.files import exists
    from ..lineage import Lineage
    from ..listing import listed
    from .chosen import chosen

    choice = chosen(root, targets, _is_of_a_user)
    items = {item.path: item for item in choice.taken}
    left = choice.left
    if downstream:
        below = Lineage(listed(root)).descendants(items.values())
        reasons = {item.path: _is_of_a_user(item, item.path in items) for item in below}
        items |= {item.path: item for item in below if not reasons[item.path]}
        left |= {path: reason for path, reason in reasons.items() if reason}
    moved = {}
    tell = teller(as_json)
    for path in items:
        location = root.absolute(path)
        kept = trash.keep(root, location, path, "removed") if exists(location) else None
        tell(f"{path} -> {kept}" if kept is not None else f"{path} is already gone")
        moved[path] = kept
    for path, reason in left.items():
        tell(f"{path} stays: it {reason}")
    if as_json:
        echo_json(root=root.path, moved=moved, left=left)


def _is_of_a_user(item, by_path):
    if by_path or item.state not in ("adopted", "modified"):
        return ""
    done = "adopted" if item.is_adopted else "edited"
    return f"was {done}; 'dask cache rm {item.path}' moves it"


@click.command("adopt")
@click.argument("targets", nargs=-1, required=True, type=TargetPath())
@json_option
@root_option
def adopt_command(targets: tuple[str, ...], as_json: bool, root: str | None):
    """Adopt TARGETS that were edited or put there by hand.

    Files that another program left can be adopted, too.  If a folder is not a target, all its files are
    adopted.  The next plan of the program that makes the targets takes them for its results, and records
    the user who adopted them.  Results downstream run again if the data differ; they are listed.  The
    folder named by --root or config daskcache.root need not be a root yet.

    \b
    Example
        dask cache adopt masks/a.tif
    """

    from ..adoption import adopt_files
    from ..listing import find_or_make_root

    found = find_or_make_root(root, targets)
    adopted, left = adopt_files(found, targets)
    if as_json:
        echo_json(root=found.path, adopted=adopted, left=left)
        return
    for path, reason in left.items():
        echo(f"{path} {reason}")
    for path, consequences in adopted.items():
        echo("\n    ".join([f"{path} is adopted", *consequences]))
    if adopted:
        echo("the program that makes them takes them in when it plans next; 'ls' shows no change yet")
        echo("'dask cache diff TARGET' shows what a correction changed")


@click.command("corrections")
@click.argument("pattern", default="*", type=TargetPath())
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
    found = Root(local_root(root)) if root and applied else find_root(root, [pattern])
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

    from ...planning.display.reports import correction_cells
    from ..correction_sets import corrections

    found = corrections(root, matches)
    if as_json:
        echo_json(root=root.path, corrections=[dataclasses.asdict(each) for each in found])
    elif found:
        echo_table(correction_cells(found))
    else:
        echo("no corrections")


def _export(root, archive, matches, as_json):
    from ..correction_sets import export_corrections

    packed, left_out = export_corrections(root, archive, matches)
    if as_json:
        echo_json(**{"archive": archive, "packed": packed, "left out": left_out})
        return
    for path in left_out:
        echo(f"{path}: left out, as it is a table or not as it was adopted")
    echo(
        f"{archive}: {len(packed)} corrections; 'dask cache corrections --apply {archive} --root FOLDER'"
    )


def _apply(root, archive, trust_pickles, as_json):
    import sys

    from ..correction_sets import APPLIED, apply
    from ..importing import THERE

    outcomes = apply(root, archive, trust_pickles)
    if as_json:
        echo_json(root=root.path, outcomes=dict(outcomes))
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
@json_option
@on_root
def trash_command(empty: bool, older_than: float, yes: bool, as_json: bool, root: Root):
    """List damaged, edited and removed targets in the trash.

    With --empty the command asks on a terminal.  Without a terminal it needs --yes, or the exit code
    is 2.

    \b
    Example
        dask cache trash --empty --older-than "30 days"
    """

    from ...storage import trash

    if empty:
        check_may_delete(yes)
        things = trash.aged(root, older_than)
        if things:
            ask(yes, f"Delete {len(things)} from the trash for good?")
        deleted = len(trash.empty(root, things))
        if as_json:
            echo_json(deleted=deleted)
        else:
            echo(f"{deleted} deleted")
        return
    things = trash.listed(root)
    if as_json:
        rows = [{"target": t.target, "reason": t.reason, "when": t.when, "id": t.id} for t in things]
        echo_json(root=root.path, trash=rows)
    elif things:
        cells = [[thing.target, thing.reason, thing.when, thing.id] for thing in things]
        echo_table([["target", "reason", "when", "id"], *cells])
    else:
        echo("the trash is empty")


@click.command("restore")
@click.argument("target")
@json_option
@on_root
def restore_command(target: str, as_json: bool, root: Root):
    """Put TARGET back from the trash to where it was.

    TARGET is a path or an id that 'dask cache trash' lists.  If a stored result is in that place now, it
    goes to the trash instead.

    \b
    Example
        dask cache restore masks/a.tif
    """

    from ...storage import trash
    from ...storage.files import relative

    thing = trash.find(root, target, relative(target, root.path))
    kept = trash.restore(root, thing)
    if as_json:
        echo_json(root=root.path, target=thing.target, kept=kept)
        return
    echo(f"{thing.target} is back" + (f"; what was there is kept as {kept}" if kept else ""))


@click.command("keep")
@click.argument("targets", nargs=-1, required=True, type=TargetPath())
@json_option
@on_root
def keep_command(targets: tuple[str, ...], as_json: bool, root: Root):
    """Keep adopted TARGETS as results although their recipes changed.

    The targets were made for other arguments, inputs or code.  The next run of the program that makes
    them takes them for its results, and records the user who decided so.

    \b
    Example
        dask cache keep masks/a.tif masks/b.tif
    """

    from ...storage.records import write_acceptance
    from .chosen import chosen

    kept = chosen(root, targets, _not_adopted).taken
    for item in kept:
        write_acceptance(root, item.name.target_id, keep=item.name.file_hash)
    if as_json:
        echo_json(root=root.path, kept=[item.path for item in kept])
        return
    for item in kept:
        echo(f"{item.path} is kept")
    echo("the program that makes them records it when it plans next")


@click.command("release")
@click.argument("targets", nargs=-1, required=True, type=TargetPath())
@json_option
@on_root
def release_command(targets: tuple[str, ...], as_json: bool, root: Root):
    """Move adopted TARGETS to the trash, to compute them again.

    'dask cache restore' brings a target back, and 'dask cache adopt' makes it the result again.

    \b
    Example
        dask cache release masks/a.tif
    """

    from ...planning.corrections import release_target
    from ...storage.records import RecordStore
    from .chosen import chosen

    released = []
    tell = teller(as_json)
    for item in chosen(root, targets, _not_adopted).taken:
        origin = item.record.taken_from
        kept = release_target(RecordStore(root), item.path, item.name)
        released.append({"target": item.path, "kept": kept, "origin": origin})
        tell(f"{item.path} -> {kept}" if kept else f"{item.path} was gone; it is released")
        if origin is not None:
            tell(f"    {origin} stays, and is not used until it is saved anew")
    if as_json:
        echo_json(root=root.path, released=released)


def _not_adopted(item, by_path):
    if item.is_adopted:
        return ""
    return (
        f"was not adopted, it is {item.state}; 'dask cache ls' shows what was, 'dask cache adopt' takes "
        "in what you edited"
    )
