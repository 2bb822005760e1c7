"""A chain of two steps whose results are corrected, and the command line, for several tests."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

import daskcache as dc
from daskcache.housekeeping.cli.main import cache


def run(*arguments):
    done = CliRunner().invoke(cache, arguments, catch_exceptions=False)
    return done.exit_code, done.output


def level_of(n, step):
    return n * step


def plus_one(x):
    return x + 1


def level(n, step=10, **options):
    return dc.delayed(level_of, target="levels/{n}.json", **options)(n, step)


def after(node):
    return dc.delayed(plus_one, target="after/{x.stem}.json")(node)


def edit(node, text="7"):
    Path(node.dc.path).write_text(text)


def correct(node, text="7"):
    edit(node, text)
    dc.adopt(node)
