"""`Collisions`: a check that no two nodes of a graph claim one target.

`examiner` claims the targets of each node here, before it looks at them.
"""

from __future__ import annotations

import math
import os
import warnings
from collections import Counter

from .. import config
from ..calls.recipe import Recipe
from ..errors import DaskcacheWarning, TargetCollision
from ..storage.files import place_of
from ..storage.paths import DATA_HASH, SEPARATOR, nested
from ..storage.record import collision_form


class Collisions:
    """The targets that the nodes of a graph have claimed."""

    def __init__(self) -> None:
        #: The recipe that claims each target, and each folder because of a target inside it.
        self._claims: dict[str, Recipe] = {}
        self._folders: dict[str, Recipe] = {}
        #: Number of files and folders that are targets directly in each folder.
        self._crowds: Counter[str] = Counter()
        self._max_in_folder = config.get("folder-warning") or math.inf

    def claim(self, recipe: Recipe, path: str, what: str = "target") -> None:
        """Claim a target, or the place of a correction, for a recipe.

        Parameters
        ----------
        recipe : Recipe
        path : str
            Path of the target from the recipe's root.
        what : str
            Its name in errors.

        Raises
        ------
        TargetCollision
            If another recipe claims the target, one inside it, or one around it.
        """
        form = claimed_form(recipe, path)
        folder = form.rpartition("/")[0]
        if what == "target" and (SEPARATOR not in path or place_of(path).has_files):
            self._count(recipe, path, folder)
        if DATA_HASH in path:
            return  # equal data may share a file
        first = self._claims.setdefault(form, recipe)
        if first.identity != recipe.identity:
            is_impure = first.key == recipe.key and first.root == recipe.root
            who = "two nodes that follow from impure calls" if is_impure else "two nodes"
            raise _collision(f"{who} claim one {what}", recipe, path, first)
        rival = self._folders.get(form)
        if rival is None and folder not in self._folders:
            rival = self._claim_folders(recipe, folder)
        if rival is not None:
            raise _collision(f"one {what} lies inside another", recipe, path, rival)

    def _claim_folders(self, recipe, folder):
        """Claim a folder and those above it, or return the recipe of which one of them is a target."""
        while len(folder) > len(recipe.root) and folder not in self._folders:
            if folder in self._claims:
                return self._claims[folder]
            self._folders[folder] = recipe  # folders above a known one are known, too
            folder = folder.rpartition("/")[0]
        return None

    def _count(self, recipe, path, folder):
        """Warn once about a folder that gets more targets than file systems and people handle well."""
        self._crowds[folder] += 1
        if self._crowds[folder] == self._max_in_folder + 1:
            warnings.warn(
                f"more than {self._max_in_folder} targets of one graph go into the folder "
                f"{os.path.dirname(f'{recipe.root}/{path}')}, the "
                f"last one that of {recipe.title}: put an argument that divides them into the template, "
                'as a folder ("{funcname}/{group}/{name}.npy"), or set daskcache.folder-warning to null',
                DaskcacheWarning,
                stacklevel=2,
            )


def claimed_form(recipe: Recipe, path: str) -> str:
    """Return the form of a target's path in which targets that collide are equal."""
    # file systems may ignore case, and a table lies inside its database as a file in its folder
    return f"{recipe.root}/{nested(collision_form(path))}"


def _collision(why, recipe, path, rival):
    return TargetCollision(
        why,
        target=f"{recipe.root}/{path}",
        node=recipe.title,
        expected="a target of its own for each node",
        got=f"{rival.name}() with key {rival.key} and {recipe.name}() with key {recipe.key}",
        hint="put what tells them apart, or {key}, into the path template",
    )
