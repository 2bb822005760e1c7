"""Commands of ``dask cache`` that only look at a root.

They are status, ls, show, history, why, diff, failures, audit and report.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from .completion import TargetPath
from .main import import_modules, json_option, on_root, root_option
from .output import echo, echo_json, echo_table, terminal_width

if TYPE_CHECKING:
    from ...storage.roots import Root


@click.command("status")
@json_option
@on_root
def status_command(as_json: bool, root: Root):
    """Count the targets of each function, by state.

    \b
    Example
        dask cache status --root /data/results
    """

    from dask.utils import format_bytes

    from ..outlines import MISSING, STATES, outlined

    rows: dict[str, dict] = {}
    for item in outlined(root):
        function, name, state = item.brief.function, item.name, item.state
        if function not in rows:
            rows[function] = dict.fromkeys((*STATES, "bytes", "seconds"), 0)
        row = rows[function]
        row[state] += 1
        row["bytes"] += name.size if state != MISSING else 0
        row["seconds"] += name.microseconds / 1e6
    if as_json:
        echo_json(root=root.path, functions=rows)
        return
    echo(f"root {root.path}")
    if not rows:
        echo("no targets yet")
        return
    states = [state for state in STATES if any(row[state] for row in rows.values())]
    cells = [["function", *states, "size", "run time"]]
    for function, row in sorted(rows.items()):
        counts = [str(row[state]) for state in states]
        cells.append([function, *counts, format_bytes(row["bytes"]), f"{row['seconds']:.3g} s"])
    echo_table(cells)


@click.command("ls")
@click.argument("pattern", default="*", type=TargetPath())
@json_option
@on_root
def ls_command(pattern: str, as_json: bool, root: Root):
    """List the targets that PATTERN means.

    PATTERN is a path, a folder, or a shell pattern of paths.  The exit code is 1 if it means none.

    \b
    Example
        dask cache ls "masks/plate1_*.tif"
    """

    from dask.utils import format_bytes

    from ...planning.planner import garbage_later
    from ..listing import matching
    from ..outlines import outlined

    matches = matching(root, pattern)
    with garbage_later():  # there may be 100,000 rows
        items = [item for item in outlined(root) if matches(item.path)]
        if not items and pattern != "*":
            raise click.ClickException(
                f"no targets match {pattern} in {root.path}; 'dask cache ls' lists what there is"
            )
        columns = ("target", "state", "bytes", "seconds", "function", "created")
        rows = []
        for item in items:
            name, brief = item.name, item.brief
            seconds = name.microseconds / 1e6
            rows.append((item.path, item.state, name.size, seconds, brief.function, brief.created))
        if as_json:
            echo_json(root=root.path, targets=[dict(zip(columns, row, strict=True)) for row in rows])
            return
        if not rows:
            echo("no targets yet")
            return
        cells = [("target", "state", "size", "run time", "function", "created")]
        for path, state, size, seconds, function, created in rows:
            cells.append((path, state, format_bytes(size), f"{seconds:.3g} s", function, created))
        echo_table(cells)


@click.command("show")
@click.argument("target", type=TargetPath())
@json_option
@on_root
def show_command(target: str, as_json: bool, root: Root):
    """Show what TARGET holds, and how it was made.

    An image or figure is drawn in terminals with colours.  Of a table the first rows are shown, of an
    array the statistics, of a text the start.

    \b
    Example
        dask cache show masks/a.tif
    """

    from ..show import draw, shown
    from .chosen import the_one

    found = shown(root, the_one(root, target))
    if as_json:
        echo_json(root=root.path, **found.to_dict())
        return
    draw(found.look)
    echo("\n".join(found.lines(terminal_width())))


@click.command("why")
@click.argument("targets", nargs=-1, required=True, type=TargetPath())
@import_modules
@json_option
@on_root
def why_command(targets: tuple[str, ...], as_json: bool, root: Root):
    """Tell what made TARGETS, and whether that is still up to date.

    TARGETS are paths, folders or patterns.  Changes of code are found only for functions in modules that
    you name with --module.  A module is never imported because a record names it.

    \b
    Example
        dask cache why masks/a.tif --module pipeline
    """

    from ..listing import story
    from .chosen import chosen

    stories = {item: story(root, item) for item in chosen(root, targets).taken}
    if as_json:
        told = [
            {"target": item.path, "state": item.state, "story": lines, "record": item.record.document}
            for item, lines in stories.items()
        ]
        echo_json(root=root.path, targets=told)
        return
    echo("\n\n".join("\n".join(lines) for lines in stories.values()))


@click.command("diff")
@click.argument("a", metavar="A", type=TargetPath())
@click.argument("b", metavar="[B]", required=False, type=TargetPath())
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
    if as_json:
        echo_json(**found.to_dict())
    else:
        echo(found)
    sys.exit(0 if found.equal else 1)


@click.command("failures")
@click.argument("pattern", default="*", type=TargetPath())
@click.option("--details", is_flag=True, help="Show tracebacks and logs, too.")
@click.option("--forget", is_flag=True, help="Forget them, e.g. of nodes that will not run again.")
@json_option
@on_root
def failures_command(pattern: str, details: bool, forget: bool, as_json: bool, root: Root):
    """List the nodes that failed when they last ran.

    Those that have succeeded since are left out.  PATTERN is a path of targets, a folder, or a shell
    pattern.  The exit code is 1 if there are any.

    \b
    Example
        dask cache failures --details
    """

    import dataclasses

    from ...planning.display.reports import failures_text
    from ...storage.failures import clear_failure
    from ..failures import failures_of
    from ..listing import matching

    matches = matching(root, pattern)
    notes = [note for note in failures_of(root) if pattern == "*" or any(map(matches, note.targets))]
    if as_json:
        echo_json(root=root.path, failures=[dataclasses.asdict(note) for note in notes])
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


@click.command("history")
@click.argument("pattern", default="*", type=TargetPath())
@click.option("--last", default=30, show_default=True, type=click.IntRange(1), help="How many to show.")
@json_option
@on_root
def history_command(pattern: str, last: int, as_json: bool, root: Root):
    """Tell what happened to targets, the latest at the end.

    PATTERN is a path, a folder, or a shell pattern of paths.  Results that functions made, what users
    adopted, failures and what went to the trash are told.  A result that was replaced is told only if it
    is in the trash.  With --json all are told.

    \b
    Example
        dask cache history masks --last 5
    """

    from ...planning.display.cells import as_time
    from ..history import MADE, history_of
    from ..listing import matching

    moments = history_of(root, matching(root, pattern))
    if as_json:
        echo_json(root=root.path, history=[moment._asdict() for moment in moments])
        return
    if not moments:
        echo("nothing is recorded")
        return
    cells = [["when", "event", "target", "function", "run time", ""]]
    for moment in moments[-last:]:
        seconds = as_time(moment.seconds) if moment.event == MADE else ""
        cells.append([*moment[:4], seconds, moment.detail])
    echo_table(cells)
    if len(moments) > last:
        echo(f"{len(moments) - last:,} more before; --last {len(moments)} shows all")


@click.command("audit")
@click.argument("function", required=False)
@click.option("--sample", default=20, show_default=True, type=click.IntRange(1), help="How many nodes.")
@click.option("--seed", type=int, help="Draw the same nodes again.")
@import_modules
@json_option
@on_root
def audit_command(function: str | None, sample: int, seed: int | None, as_json: bool, root: Root):
    """Compute a sample of results again and compare the data.

    The sample is drawn at random from the results of FUNCTION, or from all results.  Functions in the
    modules that you name with --module are called again with their recorded arguments and inputs.  Other
    functions are skipped.  Nothing is written to the root.  The exit code is 1 if data differ or a
    function fails.

    \b
    Example
        dask cache audit measure --sample 5 --module pipeline
    """

    import dataclasses

    from ..audit import audit_root

    audited = audit_root(root, function, sample, seed)
    if not audited.findings:
        what = f"result of {function}()" if function else "result"
        raise click.ClickException(
            f"{root.path} has no complete {what}; 'dask cache status' lists what it has"
        )
    if as_json:
        findings = [dataclasses.asdict(finding) for finding in audited.findings]
        echo_json(root=root.path, **audited.counts, findings=findings)
    else:
        echo(audited)
    sys.exit(0 if audited.ok else 1)


@click.command("report")
@click.argument("path", metavar="OUT.html", type=click.Path())
@click.argument("targets", nargs=-1, type=TargetPath())
@click.option("--upstream", is_flag=True, help="Also what they were made from, and so on.")
@click.option("--names", is_flag=True, help="Show users, machines and absolute paths.")
@click.option("--title", help="Title of the page.  Default: the name of the root folder.")
@click.option("--overwrite", is_flag=True, help="Replace whatever file is there.")
@json_option
@on_root
def report_command(
    path: str,
    targets: tuple[str, ...],
    upstream: bool,
    names: bool,
    title: str | None,
    overwrite: bool,
    as_json: bool,
    root: Root,
):
    """Report on TARGETS in one HTML file, for others.

    TARGETS are paths, folders or patterns.  Default: all results.  The file has the graph, parameters,
    pictures, tables, code and versions, failures and corrections.  It needs no network and no scripts.
    An earlier report at OUT.html is replaced, but no other file.

    \b
    Example
        dask cache report masks.html masks --upstream
    """

    from dask.utils import format_bytes

    from ..report import check, report_root

    check(path, overwrite)
    found = report_root(root, targets, upstream, names, title)
    written = found.save(path, overwrite)
    size = written.stat().st_size
    if as_json:
        counts = {"results": found.results, "failures": found.failures, "corrections": found.corrections}
        echo_json(root=root.path, report=str(written), **counts, bytes=size)
        return
    echo(f"{written}: {found.headline}, {format_bytes(size)}")
