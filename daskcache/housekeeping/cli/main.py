"""``dask cache …``: the group, and the commands that look at a root, correct it or run the demo.

Commands that keep a root in order are in `cli.housekeeping`, those for adopted results in
`cli.corrections`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .shared import friendly, import_modules, module_option, on_root, root_option

if TYPE_CHECKING:
    from ...storage.roots import Root


class _Group(click.Group):
    """Command group that imports the modules of some commands only when they are used.

    Every ``dask`` command imports this module, so it must be cheap to import.
    """

    def list_commands(self, ctx):
        return sorted({*super().list_commands(ctx), *_ELSEWHERE})

    def get_command(self, ctx, name):
        if name in _ELSEWHERE:
            return getattr(import_module(_ELSEWHERE[name], __package__), f"{name}_command")
        return super().get_command(ctx, name)


_ELSEWHERE = dict.fromkeys(("verify", "gc", "du", "export", "import"), ".housekeeping")
_ELSEWHERE |= dict.fromkeys(("keep", "release"), ".corrections")


@click.group(cls=_Group)
def cache():
    """Look at the cached results of Dask graphs, ask why they are stale, make room."""


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
@friendly
def demo(folder: Path, sigma: float, scheduler: str | None):
    """Denoise, segment and measure real images on a Dask cluster.

    Run the command twice: the second time nothing runs.  Change --sigma and see what runs again.
    """
    from ...errors import require

    for module in ("distributed", "skimage", "tifffile", "pandas"):
        require(module, "demo")
    import dask
    from distributed import Client, LocalCluster, progress

    from ...graph.api import plan
    from .. import demo as pipeline

    folder = folder.absolute()
    images = pipeline.copy_images(folder / "raw")
    with dask.config.set({"daskcache.root": str(folder / "results")}):
        node = pipeline.pipeline(images, sigma)
    before = plan(node)
    click.echo(before)
    if not before.left:
        click.echo(f"\n{node.compute().to_string(index=False)}")
    else:
        cluster = None
        if scheduler is None:
            cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
        with Client(scheduler or cluster) as client:
            click.echo(f"\nComputing on {client.scheduler.address}")
            future = client.compute(node)
            if sys.stdout.isatty():
                progress(future)
            click.echo(f"\n{future.result().to_string(index=False)}")
        if cluster is not None:
            cluster.close()
    click.echo(f"\n{_what_happened(before, plan(node))}")
    click.echo(f"\nResults are in {folder / 'results'}; run the command again: nothing will run.")


def _what_happened(before, after):
    """Format, for each function, the nodes that ran, the nodes that were skipped, and the run times."""
    from dask.utils import format_time

    from ...planning.display.tables import text_table

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
    return f"{ran} of {len(after)} nodes ran, {len(after) - ran} were skipped\n\n" + text_table(cells)


@cache.command()
@on_root
def status(root: Root):
    """Count the targets of each function, by state."""
    from dask.utils import format_bytes

    from ...planning.display.tables import text_table
    from ..listing import STATES, listed

    rows: dict[str, dict] = {}
    for item in listed(root):
        row = rows.setdefault(
            item.record.function,
            dict.fromkeys(STATES, 0) | {"bytes": 0, "seconds": 0.0},
        )
        row[item.state] += 1
        row["bytes"] += item.name.size if item.stamp is not None else 0
        row["seconds"] += item.record.seconds
    click.echo(f"root {root.path}")
    if not rows:
        click.echo("no targets yet")
        return
    cells = [["function", *STATES, "size", "run time"]]
    for function, row in sorted(rows.items()):
        counts = [str(row[state]) for state in STATES]
        cells.append([function, *counts, format_bytes(row["bytes"]), f"{row['seconds']:.3g} s"])
    click.echo(text_table(cells))


@cache.command("ls")
@click.argument("pattern", default="*")
@on_root
def list_targets(pattern: str, root: Root):
    """List the targets whose path matches PATTERN."""
    from fnmatch import fnmatch

    from dask.utils import format_bytes

    from ...planning.display.tables import text_table
    from ..listing import listed

    cells = [["target", "state", "size", "run time", "function", "created"]]
    for item in listed(root):
        if fnmatch(item.path, pattern):
            record = item.record
            cells.append(
                [
                    item.path,
                    item.state,
                    format_bytes(item.name.size),
                    f"{record.seconds:.3g} s",
                    record.function,
                    record.created,
                ]
            )
    click.echo(text_table(cells) if len(cells) > 1 else f"no targets match {pattern}")


@cache.command()
@click.argument("target")
@module_option
@on_root
def why(target: str, modules: tuple[str, ...], root: Root):
    """Explain what made TARGET, and whether that is still up to date.

    Changes of code are found only for functions in modules that you name with --module.  A module is
    never imported because a record names it.
    """
    from ..listing import find, story

    import_modules(modules)
    item = find(root, target)
    if item is None:
        raise click.ClickException(
            f"{target} has no record in {root.path}; 'dask cache ls' lists what has"
        )
    click.echo("\n".join(story(root, item)))


@cache.command()
@click.argument("function", required=False)
@click.option("--sample", default=20, show_default=True, type=click.IntRange(1), help="How many nodes.")
@click.option("--seed", type=int, help="Draw the same nodes again.")
@module_option
@on_root
def audit(function: str | None, sample: int, seed: int | None, modules: tuple[str, ...], root: Root):
    """Compute a sample of results again and compare the data.

    The sample is drawn at random from the results of FUNCTION, or from all results.  Functions in the
    modules that you name with --module are called again with their recorded arguments and inputs.  Other
    functions are skipped.  Nothing is written to the root.  The exit code is 1 if data differ or a
    function fails.
    """
    from ..audit import audit_root

    import_modules(modules)
    audited = audit_root(root, function, sample, seed)
    if not audited.findings:
        what = f"result of {function}()" if function else "result"
        raise click.ClickException(
            f"{root.path} has no complete {what}; 'dask cache status' lists what it has"
        )
    click.echo(audited)
    sys.exit(0 if audited.ok else 1)


@cache.command()
@click.argument("targets", nargs=-1, required=True)
@on_root
def accept(targets: tuple[str, ...], root: Root):
    """Accept TARGETS as right, although code or inputs changed.

    The next plan of the program that makes them finds them complete, and records the user who accepted
    them.
    """
    from ...storage.records import write_acceptance

    for target, item in zip(targets, _found(root, targets), strict=True):
        if item.state == "adopted":
            raise click.ClickException(f"{item.path} was adopted: 'dask cache keep {target}' keeps it")
        if item.state != "complete":
            raise click.ClickException(f"{item.path} is {item.state}: there is nothing to accept")
        write_acceptance(root, item.name.target_id, key=item.name.key)
        click.echo(f"{item.path} is accepted")
    click.echo("the program that makes them records it when it plans next")


@cache.command()
@click.argument("targets", nargs=-1, required=True)
@click.option("--downstream", is_flag=True, help="Also what was made from them, and so on.")
@on_root
def rm(targets: tuple[str, ...], downstream: bool, root: Root):
    """Move TARGETS to the trash; they are made again when needed."""
    from ...storage import trash
    from ..lineage import Lineage
    from ..listing import listed

    items = {item.path: item for item in _found(root, targets)}
    if downstream:
        below = Lineage(listed(root)).descendants(items.values())
        items |= {item.path: item for item in below}
    for item in items.values():
        if item.stamp is None:
            click.echo(f"{item.path} is already gone")
        else:
            kept = trash.keep(root, root.absolute(item.path), item.path, "removed")
            click.echo(f"{item.path} -> {kept}")


@cache.command()
@click.argument("targets", nargs=-1, required=True)
@root_option
@friendly
def adopt(targets: tuple[str, ...], root: str | None):
    """Adopt TARGETS that were edited or put there by hand.

    Files that another program left can be adopted, too.  If a folder is not a target, all its files are
    adopted.  The next plan of the program that makes the targets takes them for its results, and records
    the user who adopted them.  Results downstream run again if the data differ.  The folder named by
    --root or config daskcache.root need not be a root yet.
    """
    from ...planning.corrections import check_adoptable
    from ...storage.files import file_hash
    from ...storage.record import target_id
    from ...storage.records import write_acceptance
    from ..listing import AS_RECORDED, find_or_make_root, listed, paths_below

    found = find_or_make_root(root)
    known = {item.path: item for item in listed(found)}
    adopted = False
    for target in targets:
        for path in paths_below(found, target, known):
            if path in known and known[path].state in AS_RECORDED:
                was = "was adopted" if known[path].is_adopted else "was stored"
                click.echo(f"{path} is as it {was}")
                continue
            check_adoptable(found, path)
            write_acceptance(found, target_id(path), content=file_hash(found.absolute(path)))
            click.echo(f"{path} is adopted")
            adopted = True
    if adopted:
        click.echo(
            "the program that makes them takes them in when it plans next; 'ls' shows no change yet"
        )


@cache.command("trash")
@click.option("--empty", is_flag=True, help="Delete it for good.")
@click.option("--older-than", default="0 s", help="With --empty: only what is older, e.g. '30 days'.")
@on_root
def show_trash(empty: bool, older_than: str, root: Root):
    """List damaged, edited and removed targets in the trash."""
    from dask.utils import parse_timedelta

    from ...planning.display.tables import text_table
    from ...storage import trash

    if empty:
        try:
            age = parse_timedelta(older_than)
        except (ValueError, KeyError) as error:
            raise click.BadParameter(f"{older_than!r} is no time, such as '30 days'") from error
        gone = trash.empty(root, age)
        click.echo(f"{len(gone)} deleted")
        return
    things = trash.listed(root)
    cells = [["target", "reason", "when", "id"]]
    cells += [[thing.target, thing.reason, thing.when, thing.id] for thing in things]
    click.echo(text_table(cells) if things else "the trash is empty")


@cache.command()
@click.argument("target")
@on_root
def restore(target: str, root: Root):
    """Put TARGET back from the trash to where it was.

    TARGET is a path or an id that 'dask cache trash' lists.  If a stored result is in that place now, it
    goes to the trash instead.
    """
    from ...storage import trash
    from ...storage.files import relative

    thing = trash.find(root, target, relative(target, root.path))
    kept = trash.restore(root, thing)
    click.echo(f"{thing.target} is back" + (f"; what was there is kept as {kept}" if kept else ""))


def _found(root, targets):
    """Return the recorded targets at these paths; raise if one has no record."""
    from ..listing import find

    items = []
    for target in targets:
        item = find(root, target)
        if item is None:
            raise click.ClickException(
                f"no record of {target} in {root.path}: daskcache did not write that; 'dask cache ls' "
                "lists what it did"
            )
        items.append(item)
    return items
