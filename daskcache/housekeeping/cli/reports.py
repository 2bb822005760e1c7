"""Commands of ``dask cache`` that only look at a root: status, ls, why, diff, failures, audit."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from .main import echo, import_modules, json_option, on_root, root_option

if TYPE_CHECKING:
    from ...storage.roots import Root


@click.command("status")
@on_root
def status_command(root: Root):
    """Count the targets of each function, by state."""

    from dask.utils import format_bytes

    from ...planning.display.cells import text_table
    from ..listing import STATES, listed

    rows: dict[str, dict] = {}
    for item in listed(root):
        row = rows.setdefault(item.record.function, dict.fromkeys((*STATES, "bytes", "seconds"), 0))
        row[item.state] += 1
        row["bytes"] += item.name.size if item.stamp is not None else 0
        row["seconds"] += item.record.seconds
    echo(f"root {root.path}")
    if not rows:
        echo("no targets yet")
        return
    cells = [["function", *STATES, "size", "run time"]]
    for function, row in sorted(rows.items()):
        counts = [str(row[state]) for state in STATES]
        cells.append([function, *counts, format_bytes(row["bytes"]), f"{row['seconds']:.3g} s"])
    echo(text_table(cells))


@click.command("ls")
@click.argument("pattern", default="*")
@on_root
def ls_command(pattern: str, root: Root):
    """List the targets that PATTERN means.

    PATTERN is a path, a folder, or a shell pattern of paths.  The exit code is 1 if it means none.
    """

    from dask.utils import format_bytes

    from ...planning.display.cells import text_table
    from ..listing import listed, matching

    cells = [["target", "state", "size", "run time", "function", "created"]]
    matches = matching(root, pattern)
    for item in listed(root):
        if matches(item.path):
            record, size = item.record, format_bytes(item.name.size)
            time = f"{record.seconds:.3g} s"
            cells.append([item.path, item.state, size, time, record.function, record.created])
    if len(cells) == 1 and pattern != "*":
        raise click.ClickException(
            f"no targets match {pattern} in {root.path}; 'dask cache ls' lists what there is"
        )
    echo(text_table(cells) if len(cells) > 1 else "no targets yet")


@click.command("why")
@click.argument("target")
@import_modules
@on_root
def why_command(target: str, root: Root):
    """Explain what made TARGET, and whether that is still up to date.

    Changes of code are found only for functions in modules that you name with --module.  A module is
    never imported because a record names it.
    """

    from ..listing import find, story

    item = find(root, target)
    if item is None:
        raise click.ClickException(
            f"{target} has no record in {root.path}; 'dask cache ls' lists what has"
        )
    echo("\n".join(story(root, item)))


@click.command("diff")
@click.argument("a", metavar="A")
@click.argument("b", metavar="[B]", required=False)
@click.option("--picture", type=click.Path(), help="Write a picture to this new PNG file.")
@import_modules
@json_option
@root_option
def diff_command(a: str, b: str | None, picture: str | None, as_json: bool, root: str | None):
    """Compare the target or file A with B.

    Without B, a corrected target is compared with what its function had made.  If the trash does not
    have that, the function is called again with its recorded arguments and inputs.  It must be in a
    module that you name with --module.  Nothing is written to the root.  The exit code is 1 if A and B
    differ.

    \b
    Example
        dask cache diff masks/a.tif --module pipeline --picture difference.png
    """

    import json
    from pathlib import Path

    from ..diff import diff

    found = diff(a, b, root=root)
    if picture is not None:
        if found.picture is None:
            raise click.ClickException("there is no picture: these are not two images that differ")
        try:
            with Path(picture).open("xb") as file:
                file.write(found.picture)
        except FileExistsError as error:
            raise click.ClickException(f"{picture} is there already; name a new file") from error
    echo(json.dumps(found.to_dict()) if as_json else found)
    sys.exit(0 if found.equal else 1)


@click.command("failures")
@click.argument("pattern", default="*")
@click.option("--details", is_flag=True, help="Show tracebacks and logs, too.")
@click.option("--forget", is_flag=True, help="Forget them, e.g. of nodes that will not run again.")
@json_option
@on_root
def failures_command(pattern: str, details: bool, forget: bool, as_json: bool, root: Root):
    """List the nodes that failed when they last ran.

    Those that have succeeded since are left out.  PATTERN is a path of targets, a folder, or a shell
    pattern.  The exit code is 1 if there are any.
    """

    import dataclasses
    import json

    from ...planning.display.reports import failures_text
    from ...storage.failures import clear_failure
    from ..failures import failures_of
    from ..listing import matching

    matches = matching(root, pattern)
    notes = [note for note in failures_of(root) if pattern == "*" or any(map(matches, note.targets))]
    if as_json:
        echo(json.dumps({"root": root.path, "failures": [dataclasses.asdict(note) for note in notes]}))
    elif details:
        echo("\n\n".join(map(_details, notes)) or failures_text(notes))
    else:
        echo(failures_text(notes))
        if notes:
            echo("'dask cache failures --details' shows tracebacks and logs; they run again next time")
    for note in notes if forget else ():
        clear_failure(root, note.key)
    sys.exit(1 if notes and not forget else 0)


def _details(note):
    where = f"on {note.worker or note.host or 'an unknown machine'}, {note.when}"
    parts = [f"{note.node or note.key}: {note.error}", where, note.traceback.rstrip()]
    if note.log:
        parts.append("log of the function:\n  " + "\n  ".join(note.log))
    return "\n".join(part for part in parts if part)


@click.command("audit")
@click.argument("function", required=False)
@click.option("--sample", default=20, show_default=True, type=click.IntRange(1), help="How many nodes.")
@click.option("--seed", type=int, help="Draw the same nodes again.")
@import_modules
@on_root
def audit_command(function: str | None, sample: int, seed: int | None, root: Root):
    """Compute a sample of results again and compare the data.

    The sample is drawn at random from the results of FUNCTION, or from all results.  Functions in the
    modules that you name with --module are called again with their recorded arguments and inputs.  Other
    functions are skipped.  Nothing is written to the root.  The exit code is 1 if data differ or a
    function fails.
    """

    from ..audit import audit_root

    audited = audit_root(root, function, sample, seed)
    if not audited.findings:
        what = f"result of {function}()" if function else "result"
        raise click.ClickException(
            f"{root.path} has no complete {what}; 'dask cache status' lists what it has"
        )
    echo(audited)
    sys.exit(0 if audited.ok else 1)
