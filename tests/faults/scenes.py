"""One commit, to be disturbed: what was there before, what makes or replaces it, and a judgement."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import dask
from formats import EVERY, value_of, which_value

import daskcache as dc
from daskcache.errors import TargetMissing
from daskcache.storage import files as storage
from daskcache.storage.paths import SEPARATOR

#: What happens to the target: it is made, replaced after an argument changed, or made again under the
#: same key with another result.
MODES = "fresh", "replaced", "forced"

_TAKE_TURNS = "two recipes take turns"


class Scene:
    """A root in which one commit can be tried again and again.

    Parameters
    ----------
    folder : str
        Where the scene keeps what it needs.
    name : str
        Format.
    mode : str
        One of `MODES`.
    root : str, optional
        Where the root is made, if not in that folder.
    """

    def __init__(self, folder: str, name: str, mode: str, root: str | None = None):
        os.makedirs(folder, exist_ok=True)
        self.root = root or f"{folder}/root"
        self._before = f"{folder}/before"
        self.name = name
        self.mode = mode
        self.format = EVERY[name].target("out/result")
        self.target = f"{self.root}/{self.format.path}"
        ignore = ["which"] if mode == "forced" else ()
        make = dc.delayed(value_of, target=self.format, version=1, ignore=ignore)
        with dask.config.set({"daskcache.root": self.root}):
            self.old, self.new = make(name, "old"), make(name, "new")
        self._prepare()

    def _prepare(self):
        self.new.compute()  # what is imported late is imported now
        shutil.rmtree(self.root)
        if self.mode != "fresh":
            self.old.compute()
            self.run()
            shutil.rmtree(self.root)
            self.old.compute()
            shutil.copytree(self.root, self._before)

    def reset(self) -> None:
        """All is as before the commit."""
        shutil.rmtree(self.root, ignore_errors=True)
        if self.mode != "fresh":
            shutil.copytree(self._before, self.root)

    def run(self) -> str:
        """Commit; which value came out."""
        (value,) = dc.compute(self.new, force=self.mode == "forced")
        return which_value(self.name, value)

    # -- what is there afterwards -----------------------------------------------------------------------

    def stored(self) -> str:
        """What is in the target: "old", "new", "nothing", or a description of anything else."""
        if storage.stamp(self.target) is None:
            return "nothing"
        try:
            return which_value(self.name, self.format.at(self.target).read(self.target))
        except Exception as error:  # noqa: BLE001 (a torn file makes its reader raise anything)
            return f"unreadable: {error!r}"

    def users_files(self) -> list[str]:
        """Files and hidden files outside of the metadata, but for the target."""
        found = [path.relative_to(self.root).as_posix() for path in Path(self.root).rglob("*")]
        file, _, table = self.format.path.partition(SEPARATOR)
        # SQLite clears a journal that a killed writer left when it writes again
        ours = (file, ".daskcache", *([f"{file}-journal"] if table else []))
        found = [p for p in found if not any(p == own or p.startswith(f"{own}/") for own in ours)]
        return sorted(p for p in found if p != str(Path(self.format.path).parent))

    def metadata(self, folder: str) -> list[str]:
        """Names in a folder of the metadata."""
        path = f"{self.root}/.daskcache/{folder}"
        return os.listdir(path) if os.path.isdir(path) else []

    def wrong_whatever_happened(self) -> list[str]:
        """What may not be, however a commit ended."""
        wrong = []
        possible = {"fresh": ("nothing", "new")}.get(self.mode, ("old", "new"))
        if self.stored() not in possible:
            wrong.append(f"the target holds {self.stored()}")
        for which, node in (("old", self.old), ("new", self.new)):
            try:
                loaded = which_value(self.name, node.dc.load())
            except TargetMissing:
                continue
            if loaded not in (possible if self.mode == "forced" else (which,)):
                wrong.append(f"the node of {which} loads {loaded}")
        return wrong

    def wrong_after_error(self) -> list[str]:
        """What may not be after an error: a target that no record vouches for."""
        node = {"old": self.old, "new": self.new}.get(self.stored())
        if node is not None and node.dc.state != "complete":
            return [
                f"the target holds {self.stored()}, but its node is {node.dc.state}: {node.dc.why()}"
            ]
        return []

    def wrong_after_repair(self, in_trash: float = 0) -> list[str]:
        """What the next run, undisturbed, leaves wrong; so much may be in the trash then."""
        wrong = []
        right = ("old", "new") if self.mode == "forced" else ("new",)
        found = which_value(self.name, self.new.compute())
        if found not in right or self.stored() != found:
            wrong.append(f"the next run returns {found} and stores {self.stored()}")
        if self.new.dc.state != "complete":
            wrong.append(f"after the next run the node is {self.new.dc.state}: {self.new.dc.why()}")
        if self.mode != "forced" and which_value(self.name, self.old.compute()) != "old":
            wrong.append("the old value can't be made again")
        if len(self.metadata("trash")) > in_trash:
            wrong.append(f"the trash holds {self.metadata('trash')}")
        return wrong


def unexpected(warnings: list[str]) -> list[str]:
    """Warnings other than the one that the scenes themselves provoke."""
    return [said for said in warnings if not said.startswith(_TAKE_TURNS)]
