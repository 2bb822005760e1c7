"""What the tasks of a verb need: roots that are there, and on the workers functions as they are here."""

from __future__ import annotations

from typing import Any

from ..calls.recipe import Recipe
from ..calls.spec import Spec
from ..errors import StorageError
from ..storage.roots import Root


class TaskNeeds:
    """Roots and functions, put down as tasks are made.

    Attributes
    ----------
    are_checked : bool
        Whether workers were checked for all of them.
    """

    def __init__(self) -> None:
        self._root_ids: dict[str, str] = {}
        #: Functions whose code was kept, by root and fingerprint.
        self._codes: dict[tuple[str, str], Spec] = {}
        self.are_checked = False

    def root_id(self, recipe: Recipe) -> str:
        """Id of a node's root, which is made if need be; empty for a node that stores nothing.

        Raises
        ------
        StorageError
            If the root can't be written to.
        """
        if not recipe.paths:
            return ""
        if recipe.root not in self._root_ids:
            try:
                self._root_ids[recipe.root] = Root(recipe.root).create()
            except StorageError as error:
                error.node, error.target = recipe.title, f"{recipe.root}/{recipe.paths[0]}"
                raise
        return self._root_ids[recipe.root]

    def keep_code(self, recipe: Recipe) -> None:
        """Keep what a node's code is, for people and for workers."""
        if recipe.paths and recipe.parts is not None and (recipe.root, recipe.code) not in self._codes:
            self._codes[recipe.root, recipe.code] = recipe.spec
            self.are_checked = False
            recipe.keep_code()

    def check(self, client: Any, wait: bool) -> None:
        """Check that the workers of a client have all this; for what it raises see `check_reach`."""
        if client is None or not self._root_ids:
            return
        from ..cluster.probe import check_reach, needs_of

        self.are_checked = True
        check_reach(client, needs_of(self._root_ids, self._codes), wait)
