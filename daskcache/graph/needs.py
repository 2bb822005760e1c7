"""The needs of a verb's tasks: roots that exist, and on workers the same functions as here.

`graph.builder` notes them while it makes tasks.  `cluster.probe` then checks the workers.
"""

from __future__ import annotations

from typing import Any

from ..calls.recipe import Recipe
from ..calls.spec import Spec
from ..errors import StorageError
from ..storage.roots import Root


class TaskNeeds:
    """The roots and functions that the tasks of one verb need.

    Attributes
    ----------
    are_checked : bool
        True if the workers were checked for all roots and functions noted so far.
    """

    def __init__(self) -> None:
        self._root_ids: dict[str, str] = {}
        #: Functions whose code was stored, by root and fingerprint.
        self._codes: dict[tuple[str, str], Spec] = {}
        self.are_checked = False

    def root_id(self, recipe: Recipe) -> str:
        """Return the id of a node's root, or "" for a node that stores nothing.

        The root is created if it does not exist.

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
                self.are_checked = False
            except StorageError as error:
                error.node, error.target = recipe.title, f"{recipe.root}/{recipe.paths[0]}"
                raise
        return self._root_ids[recipe.root]

    def keep_code(self, recipe: Recipe) -> None:
        """Store the code of a node's function in its root, for users and workers."""
        if recipe.paths and recipe.parts is not None and (recipe.root, recipe.code) not in self._codes:
            self._codes[recipe.root, recipe.code] = recipe.spec
            self.are_checked = False
            recipe.keep_code()

    def check(self, client: Any, wait: bool) -> None:
        """Check that the workers of a client have the roots and functions.

        `check_reach` describes `wait` and the errors.
        """
        if client is None or self.are_checked or not self._root_ids:
            return
        from ..cluster.probe import check_reach, needs_of

        self.are_checked = True
        check_reach(client, needs_of(self._root_ids, self._codes), wait)
