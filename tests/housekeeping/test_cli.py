"""The commands of ``dask cache`` as a group: what its help says of them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from daskcache.housekeeping.cli.main import cache


def test_every_command_has_a_whole_line_in_the_help():
    """`dask cache --help` lists all commands, each with a sentence that is not cut short."""
    shown = CliRunner().invoke(cache, ["--help"], terminal_width=80).output
    lines = dict(line.split(maxsplit=1) for line in shown.partition("Commands:\n")[2].splitlines())
    assert list(lines) == sorted(lines) == cache.list_commands(None)
    assert {"gc", "ls", "verify", "why"} <= set(lines)
    assert [line for line in lines.values() if not line.endswith(".") or line.endswith("...")] == []


def test_every_command_explains_itself():
    """Each command has help of its own, and options that say what they are for."""
    for name in cache.list_commands(None):
        done = CliRunner().invoke(cache, [name, "--help"])
        assert done.exit_code == 0, done.output
        options = [p for p in cache.get_command(None, name).params if p.param_type_name == "option"]
        assert [p.name for p in options if not p.help] == []


@pytest.mark.parametrize("command", [["--help"], ["ls", "--help"], ["rm", "--help"], ["gc", "--help"]])
def test_help_is_cheap(command):
    """It shows the commands' texts without what they need for their work."""
    code = (
        "import sys\n"
        "from daskcache.housekeeping.cli.main import cache\n"
        f"cache({command!r}, standalone_mode=False)\n"
        "heavy = {'numpy', 'pandas', 'dask.base', 'daskcache.housekeeping.listing'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_group_is_cheap_to_import():
    """Every `dask` command imports the group: it brings none of the libraries that commands need."""
    code = (
        "import sys, daskcache.housekeeping.cli.main;"
        "names = {'numpy', 'pandas', 'dask', 'daskcache.housekeeping.cli.housekeeping'};"
        "print(sorted(names & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
