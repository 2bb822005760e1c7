"""Random steps with a folder of corrections, beside a model that says which content must stand."""

from __future__ import annotations

import itertools
import json
import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import dask
import pytest

import daskcache as dc
from daskcache.errors import TargetModified
from daskcache.storage.roots import Root

STEPS = 200
NAMES = ("a", "b")
FACTORS = (2, 3)

DAMAGE = b'{"'


def limit_of(name, factor):
    return [name, factor]


def report_on(limit):
    return f"above {json.dumps(limit)}"


@dataclass
class Model:
    """What must be true of one image, told from the steps alone."""

    #: Content of the file in the folder of corrections, and of the target, as JSON values.
    correction: object = None
    target: object = None
    #: Content of the target when it was stored or adopted; the factors for which it stands, each with
    #: True if it stands as a copy of the correction.
    stored: object = None
    factors: dict = field(default_factory=dict)
    is_adopted: bool = False
    #: Corrections that count as seen.
    seen: list = field(default_factory=list)
    #: True if a record stays of an adopted content that is gone.
    lingers: bool = False

    def store(self, content, factor, is_adopted):
        """A new content is at the target, with a record."""
        self.lingers |= self.is_adopted and self.target is None and factor not in self.factors
        self.stored = self.target = content
        self.factors, self.seen, self.is_adopted = {}, [], is_adopted
        self.record(factor)

    def record(self, factor):
        """A record says that the content stands for a factor."""
        is_copy = self.is_adopted and self.correction is not None and self.correction == self.stored
        self.factors[factor] = is_copy
        if self.correction is not None:
            self.seen.append(self.correction)

    @property
    def is_new(self):
        known = [*self.seen, *([self.stored] if self.is_adopted else [])]
        return self.correction is not None and self.correction not in known

    @property
    def is_edited(self):
        return self.target not in (None, DAMAGE, self.stored)

    def compute(self, name, factor, policy):
        """Return the value that a verb must give; raise if it must not replace what a user made."""
        if self.is_edited and policy == "error":
            raise TargetModified("edited")
        if self.is_new:
            self.store(self.correction, factor, is_adopted=True)
            return self.stored
        if self.is_edited and policy == "adopt":
            self.store(self.target, factor, is_adopted=True)
            return self.stored
        is_there = self.is_there
        if not self.is_adopted:
            if not (is_there and factor in self.factors):
                self.store(limit_of(name, factor), factor, is_adopted=False)
            return self.stored
        can_restore = self.correction == self.stored
        if not is_there and not can_restore:
            return self._without_copy(name, factor, policy)
        is_withdrawn = is_there and self.correction is None and self.factors.get(factor)
        if factor in self.factors and not (is_withdrawn and policy != "adopt"):
            if not is_there:  # copied again: the records are as they were
                self.target = self.stored
            return self.stored
        if policy == "error":
            raise TargetModified("corrected")
        if policy == "adopt":
            self.target = self.stored
            self.record(factor)
            return self.stored
        self.store(limit_of(name, factor), factor, is_adopted=False)
        return self.stored

    def _without_copy(self, name, factor, policy):
        """An adopted result that no file holds any more: what is damaged is a user's to decide about."""
        if self.target == DAMAGE and policy != "recompute":
            raise TargetModified("damaged")
        self.store(limit_of(name, factor), factor, is_adopted=False)
        return self.stored

    @property
    def is_there(self):
        return self.target is not None and self.target == self.stored

    def keep(self, factor, policy):
        """Keep the adopted result for a factor, if there is a question."""
        is_withdrawn = self.correction is None and self.factors.get(factor)
        if policy != "adopt" and (factor not in self.factors or is_withdrawn):
            self.record(factor)

    def release(self, factor, policy):
        if not self.is_adopted:
            return
        can_restore = self.correction == self.stored and policy == "error"
        if self.target is not None or factor in self.factors or can_restore:
            self.seen.append(self.stored)
            self.target, self.stored, self.factors, self.is_adopted = None, None, {}, False


class World:
    """The files, the nodes and the models."""

    def __init__(self, policy, seed):
        self.random = random.Random(seed)
        self.policy = policy
        self.root = Path("root").absolute()
        self.root.mkdir()
        self.models = {name: Model() for name in NAMES}
        self.factor = FACTORS[0]
        self.count = itertools.count()
        self.limit = dc.delayed(
            limit_of,
            target="limits/{name}.json",
            corrections="corrected/{name}.json",
            on_modified=policy,
            version=1,
        )
        self.report = dc.delayed(report_on, target="reports/{limit.stem}.txt", version=1)

    def correction(self, name):
        return self.root / "corrected" / f"{name}.json"

    def target(self, name):
        return self.root / "limits" / f"{name}.json"

    def node(self, name):
        return self.limit(name, self.factor)

    def content(self):
        return f"made by hand: {next(self.count)}"

    def write(self, path, content):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))

    def kept(self):
        """Return all contents in the trash, at targets and in the folder of corrections."""
        paths = [*self.root.glob("limits/*"), *self.root.glob("corrected/*")]
        paths += Path(Root(str(self.root)).trash).glob("*/*.json")
        return {path.read_text() for path in paths if path.name != "about.json"}

    # -- steps --

    def save_correction(self, name):
        self.models[name].correction = content = self.content()
        self.write(self.correction(name), content)

    def save_the_first_again(self, name):
        model = self.models[name]
        if model.seen:
            model.correction = self.random.choice(model.seen)
            self.write(self.correction(name), model.correction)

    def remove_correction(self, name):
        self.models[name].correction = None
        self.correction(name).unlink(missing_ok=True)

    def remove_target(self, name):
        self.models[name].target = None
        self.target(name).unlink(missing_ok=True)

    def damage_target(self, name):
        model = self.models[name]
        if model.target is not None and not model.lingers:
            model.target = DAMAGE
            self.target(name).write_bytes(DAMAGE)

    def edit_target(self, name):
        if self.models[name].target is not None:
            self.models[name].target = content = self.content()
            self.write(self.target(name), content)

    def adopt(self, name):
        model = self.models[name]
        if model.is_edited:
            assert self.node(name).dc.adopt()
            model.store(model.target, self.factor, is_adopted=True)

    def change_recipe(self, name):
        self.factor = self.random.choice(FACTORS)

    def copy_root(self, name):
        copied = self.root.with_name(f"root{next(self.count)}")
        shutil.copytree(self.root, copied, copy_function=shutil.copyfile)
        shutil.rmtree(self.root)
        self.root = copied
        dask.config.set({"daskcache.root": str(copied)})

    def keep(self, name):
        model = self.models[name]
        if model.is_adopted and model.is_there and not model.is_new:
            dc.keep(self.node(name))
            model.keep(self.factor, self.policy)

    def release(self, name):
        model = self.models[name]
        if not model.is_edited:
            dc.release(self.node(name))
            model.release(self.factor, self.policy)

    def compute(self, name):
        """Compute a node and one after it: the values are those of the model, and nothing is lost."""
        model, node = self.models[name], self.node(name)
        is_mine = model.is_edited or (model.is_adopted and model.is_there)
        mine = [model.correction, model.target if is_mine else None]
        # what was made from a deleted result stays finished, until there is another one
        state, is_deleted = dc.status(node), model.target is None
        try:
            expected = model.compute(name, self.factor, self.policy)
        except TargetModified:
            with pytest.raises(TargetModified):
                dc.compute(node)
        else:
            if is_deleted:
                assert dc.compute(node) == (expected,), state
            assert dc.compute(node, self.report(node)) == (expected, report_on(expected)), state
            assert dc.status(node) == ("adopted" if model.is_adopted else "complete")
            assert json.loads(self.target(name).read_text()) == model.target == expected
        assert {json.dumps(content) for content in mine if content is not None} <= self.kept()
        there = self.correction(name)
        assert (json.loads(there.read_text()) if there.exists() else None) == model.correction


#: Steps by their names; some come more often.
OFTEN = ("compute", "compute", "compute", "save_correction")
ALL = (
    *("save_correction", "save_the_first_again", "remove_correction", "remove_target", "damage_target"),
    *("edit_target", "adopt", "change_recipe", "copy_root", "keep", "release", "compute"),
)


@pytest.mark.parametrize("policy", ["error", "adopt", "recompute"])
@pytest.mark.parametrize("seed", range(2))
def test_random_steps(tmp_path, monkeypatch, full, policy, seed):
    """Each verb gives what must stand, or raises; no content that a user made is lost."""
    monkeypatch.chdir(tmp_path)
    with dask.config.set({"daskcache.root": str(tmp_path / "root"), "scheduler": "sync"}):
        world = World(policy, seed)
        for _ in range(STEPS * (20 if full else 1)):
            step = world.random.choice((*ALL, *OFTEN))
            name = world.random.choice(NAMES)
            try:
                getattr(world, step)(name)
            except BaseException as error:
                error.add_note(f"in the step {step} of {name}, with {world.models[name]}")
                raise
