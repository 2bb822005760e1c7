"""Completion of targets in shells, by what is below the root.

A shell waits for it after each key, so no record is read and little is imported.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import click
from click.shell_completion import CompletionItem


class TargetPath(click.ParamType):
    """A path of targets from the root, or a pattern of such paths."""

    name = "path"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the files and folders of the root that begin so; folders end with a slash."""
        root = ctx.params.get("root") or next(_roots(), None)
        folder, slash, start = incomplete.rpartition("/")
        found = []
        with contextlib.suppress(OSError):
            for entry in os.scandir(f"{root}/{folder}") if root else ():
                if entry.name.startswith(start) and not _is_hidden(entry.name):
                    found.append(f"{folder}{slash}{entry.name}{'/' if entry.is_dir() else ''}")
        return [CompletionItem(path) for path in sorted(found)]


def _is_hidden(name):
    return name.startswith(".") or not name.isprintable()


def _roots() -> Iterator[str]:
    """Yield the roots where commands look first, see `daskcache.housekeeping.listing.find_root`."""
    from ... import config
    from ...storage.roots import METADATA

    here = os.getcwd()
    upward = [here]
    while upward[-1] != os.path.dirname(upward[-1]):
        upward.append(os.path.dirname(upward[-1]))
    below = [entry.path for entry in sorted(os.scandir(here), key=lambda entry: entry.name)]
    for folder in (*upward, os.path.expanduser(config.get("root")), *below):
        if os.path.isdir(f"{folder}/{METADATA}"):
            yield folder
