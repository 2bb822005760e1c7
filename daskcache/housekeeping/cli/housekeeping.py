"""Commands of ``dask cache`` that keep a root in order: verify, gc, du, export, import.

The work is done in `verify`, `repair`, `gc` and `transfer` of `daskcache.housekeeping`.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from .completion import TargetPath
from .main import SIZE, TIME, ask, check_may_delete, json_option, on_root, root_option, yes_option
from .output import echo, echo_json, echo_table, teller

if TYPE_CHECKING:
    from ...storage.roots import Root


def _min_age(default, text):
    return click.option("--min-age", type=TIME, default=default, show_default=True, help=text)


@click.command("verify")
@click.argument("pattern", default="*", type=TargetPath())
@click.option("--repair", is_flag=True, help="Move damaged targets to the trash, and clear up.")
@_min_age(
    "1 day",
    "With --repair: leave what dead writers left alone for so long; they may be alive elsewhere.",
)
@json_option
@on_root
def verify_command(pattern: str, repair: bool, min_age: float, as_json: bool, root: Root):
    """Read targets again and compare them with their records.

    All targets are read, or those that PATTERN means: a path, a folder or a pattern.  Damage that keeps
    a file's size and time is found, too.  With --repair, damaged targets are moved to the root's trash,
    and are made again when needed.  Edited targets stay.  The exit code is 1 if anything is corrupt,
    modified or unreadable.

    \b
    Example
        dask cache verify masks --repair
    """

    from .. import repair as repairing
    from .. import verify as verifying

    checked = verifying.verify(root, pattern)
    if not checked and pattern != "*":
        raise click.ClickException(f"no targets match {pattern}; 'dask cache ls' lists what there is")
    done = list(repairing.repair(root, checked, min_age)) if repair else []
    counts = verifying.counts(checked)
    problems = [item for item in checked if not item.sound]
    if as_json:
        listed = [{"path": item.path, "state": item.state, "note": item.note} for item in problems]
        echo_json(root=root.path, **counts, problems=listed, done=done)
    else:
        echo(f"root {root.path}")
        for item in problems:
            echo(f"{item.state:10}  {item.path}{f' ({item.note})' if item.note else ''}")
        told = ", ".join(f"{n} {state}" for state, n in counts.items())
        echo("\n".join([*done, told, *_advice(counts, repair)]))
    sys.exit(1 if problems else 0)


def _advice(counts, repaired):
    """Format advice on the problems that were found, one line each."""
    lines = []
    if counts["corrupt"] and not repaired:
        lines.append("'dask cache verify --repair' moves what is corrupt to the trash")
    if counts["modified"]:
        lines.append(
            "edited after it was stored: 'dask cache adopt TARGET' to go on with it, or 'dask cache rm "
            "TARGET' to compute it again"
        )
    if counts["unreadable"]:
        lines.append("unreadable: mend the permissions or the disk, and verify again")
    return lines


@click.command("gc")
@click.option("--max-size", type=SIZE, help="Drop results until they take no more than this.")
@click.option("--max-age", type=TIME, help="Drop results that were made longer ago than this.")
@click.option("--keep-final", is_flag=True, help="Never drop what nothing else was made from.")
@_min_age("1 hour", "Keep what was written or read since: a running graph may need it.")
@click.option("--trash", is_flag=True, help="Also delete what has been in the trash for --min-age.")
@click.option("--dry-run", is_flag=True, help="Say what would go, and delete nothing.")
@yes_option
@json_option
@on_root
def gc_command(
    max_size: int | None,
    max_age: float | None,
    keep_final: bool,
    min_age: float,
    trash: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    root: Root,
):
    """Delete results to make room, the cheapest to remake first.

    The cheapest results take the fewest seconds per byte to make again.  Intermediate results go before
    final ones.  Records stay, so that results downstream stay finished.  Edited targets, and files that
    daskcache did not write, are never deleted.  --max-size applies to results, not to the trash.

    On a terminal the command shows what would go, and asks.  Without a terminal it needs --yes, or the
    exit code is 2.  With --json it does not ask.  The exit code is 1 if results still take more than
    --max-size.

    \b
    Example
        dask cache gc --max-size "50 GB" --keep-final --dry-run
    """

    from dask.utils import format_bytes

    from .. import gc

    if max_size is None and max_age is None and not trash:
        raise click.UsageError("say what to delete: --max-size, --max-age or --trash")
    if not dry_run:
        check_may_delete(yes)
        if as_json and not yes:
            raise click.UsageError("--json asks no question: add --yes to delete, or --dry-run")
    choice = gc.choose(
        gc.holdings(root),
        max_size=max_size,
        max_age=max_age,
        keep_final=keep_final,
        min_age=min_age,
    )
    old = gc.old_trash(root, min_age) if trash else []
    total = sum(item.size for item in choice.drop) + sum(size for _, size in old)
    tell = teller(as_json)
    if dry_run or not yes:
        for text in (*map(_told, choice.drop), *(_told_of_trash(root, *each) for each in old)):
            tell(f"would delete  {text}")
    kept = []
    if not dry_run and (choice.drop or old):
        ask(yes, f"Delete {format_bytes(total)} for good?")
        kept = _delete(root, choice.drop, old, tell)
    after = choice.after + sum(item.size for item in kept)
    if as_json:
        rows = [{"target": item.path, "bytes": item.size, "kept": item in kept} for item in choice.drop]
        sizes = {"before": choice.before, "after": after, "trash": sum(size for _, size in old)}
        echo_json(root=root.path, deleted=not dry_run, **sizes, results=rows)
    tell(f"results: {format_bytes(choice.before)} before, {format_bytes(after)} after")
    if max_size is not None and after > max_size:
        tell(
            "they still take more than --max-size: the others are final, edited, or in use "
            f"({'--keep-final, ' if keep_final else ''}--min-age); 'dask cache du' tells what takes room"
        )
        sys.exit(1)


def _delete(root, drop, old, tell):
    """Delete the chosen results and items of the trash; return the results that stayed."""
    from .. import gc

    kept = []
    for item in drop:
        if gc.drop(root, item):
            tell(f"deleted  {_told(item)}")
        else:
            kept.append(item)
            tell(f"kept  {item.path}: it was changed or used meanwhile")
    for path, size in old:
        gc.empty(path)
        tell(f"deleted  {_told_of_trash(root, path, size)}")
    return kept


def _told(item):
    from dask.utils import format_bytes

    kind = "final" if item.final else "intermediate"
    cost = f"{item.name.microseconds / 1e6:.3g} s to make again"
    return f"{item.path}  {format_bytes(item.size)}, {kind}, {cost}"


def _told_of_trash(root, path, size):
    from dask.utils import format_bytes

    return f"{os.path.relpath(path, root.path)}  {format_bytes(size)}, trash"


@click.command("du")
@click.option(
    "--by",
    type=click.Choice(["function", "folder"]),
    default="function",
    show_default=True,
    help="Group the targets by this.",
)
@json_option
@on_root
def du_command(by: str, as_json: bool, root: Root):
    """Show how much room results, trash and records take.

    \b
    Example
        dask cache du --by folder
    """

    from dask.utils import format_bytes

    from .. import gc

    used = gc.usage(root, by)
    if as_json:
        groups = {name: {"targets": n, "bytes": size} for name, (n, size) in used.groups.items()}
        rest = {field: value for field, value in used._asdict().items() if field != "groups"}
        echo_json(root=root.path, **{by: groups}, **rest, total=used.total)
        return
    cells = [[by, "targets", "size"]]
    for name, (count, size) in sorted(used.groups.items(), key=lambda pair: -pair[1][1]):
        cells.append([name, str(count), format_bytes(size)])
    cells += [
        ["(trash)", "", format_bytes(used.trash)],
        ["(unfinished results)", "", format_bytes(used.parts)],
        ["(records and code)", "", format_bytes(used.metadata)],
        ["(files without a record)", "", format_bytes(used.other)],
        ["total", str(sum(count for count, _ in used.groups.values())), format_bytes(used.total)],
    ]
    echo(f"root {root.path}")
    echo_table(cells)


@click.command("export")
@click.argument("archive", type=click.Path())
@click.argument("targets", nargs=-1, required=True, type=TargetPath())
@click.option("--upstream", is_flag=True, help="Also what they were made from, and so on.")
@json_option
@on_root
def export_command(archive: str, targets: tuple[str, ...], upstream: bool, as_json: bool, root: Root):
    """Pack TARGETS with their records into a tar file, ARCHIVE.

    TARGETS are paths, folders or patterns.  'dask cache import' takes them into another root, where the
    program that makes them finds them complete.

    \b
    Example
        dask cache export masks.tar masks --upstream
    """

    from dask.utils import format_bytes

    from ..exporting import export

    packed = export(root, archive, list(targets), upstream)
    if as_json:
        rows = [{"target": item.path, "bytes": item.size} for item in packed]
        echo_json(root=root.path, archive=archive, packed=rows)
        return
    for item in packed:
        echo(f"{item.path}  {format_bytes(item.size) if item.size else 'record only'}")
    echo(f"{archive}: {len(packed)} targets; take them in with 'dask cache import {archive}'")


@click.command("import")
@click.argument("archive", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--trust-pickles",
    is_flag=True,
    help="Import pickles, too.  Loading one can run code of the archive's author.",
)
@json_option
@root_option
def import_command(archive: str, trust_pickles: bool, as_json: bool, root: str | None):
    """Take the results in ARCHIVE into a root.

    --root may name a new folder.  Everything is checked before anything is put in place, and existing
    files are never replaced.

    \b
    Example
        dask cache import masks.tar --root other
    """

    from ...storage.roots import Root, local_root
    from ..importing import LEFT_OUT, import_archive
    from ..listing import find_root

    found = Root(local_root(root)) if root else find_root(None)
    outcomes = import_archive(found, archive, trust_pickles)
    if as_json:
        echo_json(root=found.path, outcomes=dict(outcomes))
        return
    for item in outcomes:
        echo(f"{item.path}: {item.outcome}")
    left_out = sum(item.outcome == LEFT_OUT for item in outcomes)
    if left_out:
        echo(
            f"{left_out} left out: they are pickles, or they or what they were made from are of formats "
            "that may run code when they are read; if you trust the archive's author, import it "
            "again with --trust-pickles"
        )
