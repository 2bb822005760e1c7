"""What commands print: texts, tables that fit the terminal, and JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import click


def echo(text: object) -> None:
    """Print a text, the only way in which commands do: names in records may hold escape sequences."""
    from ...printable import printable_lines

    click.echo(printable_lines(str(text)))


def teller(as_json: bool) -> Callable[[str], None]:
    """Return what prints a command's texts as it goes on; with ``--json`` nothing is printed."""
    return (lambda text: None) if as_json else echo


def echo_table(cells: Sequence[Sequence[str]]) -> None:
    """Print rows of cells; the first row is the head."""
    from ...planning.display.cells import text_table

    echo(text_table(cells, terminal_width()))


def echo_json(**fields: Any) -> None:
    """Print the one JSON object of a command."""
    import json

    echo(json.dumps(fields))


def terminal_width() -> int | None:
    """Return the columns of the terminal; None if the output goes to a file or another program."""
    import shutil

    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
