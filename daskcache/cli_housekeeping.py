"""The commands of ``dask cache`` that keep a root in order: verify."""

from __future__ import annotations

import json
import sys

import click

from .cli import _friendly, _root_option


class _Parsed(click.ParamType):
    """An option that a parser of Dask's reads: ``10 GB``, ``30 days``."""

    def __init__(self, name, parser, example):
        self.name = name
        self.parser = parser
        self.example = example

    def convert(self, value, param, ctx):
        import dask.utils

        try:
            number = getattr(dask.utils, self.parser)(value)
        except (ValueError, TypeError, KeyError):
            number = -1
        if number < 0:
            self.fail(f"{value!r} is no {self.name}; write it as {self.example!r}", param, ctx)
        return number


_TIME = _Parsed("age", "parse_timedelta", "30 days")

_json_option = click.option("--json", "as_json", is_flag=True, help="For programs; sizes in bytes.")


@click.command("verify")
@click.argument("pattern", default="*")
@click.option("--repair", is_flag=True, help="Move what is damaged to the trash, and clear up.")
@click.option(
    "--min-age",
    type=_TIME,
    default="1 day",
    show_default=True,
    help="With --repair: leave what dead writers left alone for so long; they may be alive elsewhere.",
)
@_json_option
@_root_option
@_friendly
def verify_command(pattern: str, repair: bool, min_age: float, as_json: bool, root: str | None):
    """Read the targets whose path matches PATTERN again, and compare them with their records.

    Damage that keeps a file's size and time is found too.  With --repair, damaged targets are moved to
    the root's trash, and are made again when they are needed; what was edited stays.  The exit code is 1
    if anything is corrupt, modified or unreadable.
    """
    from . import verifying
    from .listing import find_root

    found = find_root(root)
    checked = verifying.verify(found, pattern)
    done = list(verifying.repair(found, checked, min_age)) if repair else []
    counts = verifying.counts(checked)
    problems = [item for item in checked if not item.sound]
    if as_json:
        listed = [{"path": item.path, "state": item.state, "note": item.note} for item in problems]
        click.echo(json.dumps({"root": found.path, **counts, "problems": listed, "done": done}))
    else:
        click.echo(f"root {found.path}")
        for item in problems:
            click.echo(f"{item.state:10}  {item.path}{f' ({item.note})' if item.note else ''}")
        click.echo("\n".join([*done, ", ".join(f"{n} {state}" for state, n in counts.items())]))
        click.echo(_advice(counts, repair), nl=False)
    sys.exit(1 if problems else 0)


def _advice(counts, repaired):
    """What to do about what was found, in lines."""
    lines = []
    if counts["corrupt"] and not repaired:
        lines.append("'dask cache verify --repair' moves what is corrupt to the trash")
    if counts["modified"]:
        lines.append("edited after it was stored: 'dask cache rm TARGET' moves it to the trash")
    if counts["unreadable"]:
        lines.append("unreadable: mend the permissions or the disk, and verify again")
    return "".join(f"{line}\n" for line in lines)
