"""A project of many weeks: images, steps, variants, and a person who corrects results.

`test_weeks` runs it.  The ledger knows each correction, and what it was made for.  It predicts nothing
of what daskcache plans: it calls the functions on the inputs that a verb returned.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from dataclasses import dataclass, field
from itertools import count, product
from pathlib import Path
from typing import NamedTuple

import dask
from click.testing import CliRunner

import daskcache as dc
from daskcache.errors import TargetModified
from daskcache.housekeeping.cli.main import cache

VARIANTS = (None, "strict", "loose")


def clean(image, width):
    return [width, *map(int, image.split())]


def segment(cleaned, threshold):
    return [threshold, *cleaned]


def measure(mask):
    return ["measured", *mask]


def summarize(tables):
    return [len(tables), *tables]


FUNCTIONS = {"clean": clean, "masks": segment, "tables": measure}
STEPS = tuple(FUNCTIONS)
IN_FOLDER = "corrected/{cleaned.stem}.json"


class Place(NamedTuple):
    """Where a correction is: one of the steps' results of an image, in a variant or the base."""

    variant: str | None
    step: str
    image: str

    @property
    def path(self) -> Path:
        return Path("working", self.variant or "", self.step, f"{self.image}.json")

    @property
    def in_folder(self) -> Path:
        """The place of a mask in the folder of corrections."""
        return Path("working", self.variant or "", "corrected", f"{self.image}.json")


@dataclass
class Correction:
    """What a person wrote, and the recipes that it stands for: their parameters, and input if known."""

    content: list
    recipes: dict[tuple, list | None] = field(default_factory=dict)
    #: Recipe and input of the adoption.
    made_for: tuple | None = None
    #: True if it was kept for others, which is a decision about this place only.
    is_kept: bool = False
    #: True if the folder of corrections has the original.
    is_in_folder: bool = False


class Project:
    """The files of the current folder, changed at random."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.numbers = count(1000)
        self.names = count()
        self.images: dict[str, str] = {}
        self.all_images: set[str] = set()
        self.parameters = {variant: {"width": 1, "threshold": 1} for variant in VARIANTS}
        #: Corrections that were neither released nor replaced by their author.
        self.standing: dict[Place, Correction] = {}
        #: Files in the folder of corrections that no verb has seen.
        self.unseen: dict[Place, list] = {}
        #: Copies of files in the folder of corrections that were deleted.
        self.to_restore: set[Place] = set()
        self.copies = count()
        self.decisions = 0
        #: How often each thing happened.
        self.happened: dict[str, int] = {}
        Path("raw").mkdir()
        for _ in range(3):
            self.new_image()
        self.compute(None)

    # ---- a week ----------------------------------------------------------------------------------

    def week(self):
        """Some things happen, a variant or the base is computed, and everything is looked at."""
        for _ in range(self.random.randint(1, 3)):
            self.do(self.random.choice(self.EVENTS))
        self.compute(self.random.choice(VARIANTS))
        self.check_standing()

    def do(self, event):
        if event(self) is not False:
            self.happened[event.__name__] = self.happened.get(event.__name__, 0) + 1
        self.check_standing()

    def check_standing(self):
        """Each correction is where it was made, byte for byte."""
        for place, correction in self.standing.items():
            path, content = place.path, correction.content
            if place in self.to_restore:
                path, content = place.in_folder, self.unseen.get(place, content)
            assert json.loads(path.read_text()) == content, place

    # ---- what happens ----------------------------------------------------------------------------

    def new_image(self):
        name = f"img{next(self.names) % 6}"
        self.all_images.add(name)
        self.images[name] = self.numbers_of_an_image()
        Path("raw", f"{name}.txt").write_text(self.images[name])

    def changed_image(self):
        name = self.random.choice(list(self.images))
        self.images[name] = self.numbers_of_an_image()
        Path("raw", f"{name}.txt").write_text(self.images[name])

    def removed_image(self):
        if len(self.images) < 3:
            return False
        name = self.random.choice(list(self.images))
        del self.images[name]
        Path("raw", f"{name}.txt").unlink()

    def new_parameter(self):
        variant = self.random.choice(VARIANTS)
        parameter = self.random.choice(["width", "threshold", "threshold"])
        self.parameters[variant][parameter] = self.random.randint(1, 3)

    def correction(self):
        """A person edits a result, or an earlier correction, and adopts it."""
        return self.edit(lambda place: dc.adopt(self.node(place)))

    def edit_that_a_verb_adopts(self):
        """A function with ``on_modified="adopt"`` takes an edit in when it is computed next."""
        return self.edit(lambda place: self.node(place, on_modified="adopt").compute())

    def edit(self, adopt):
        there = [p for variant in VARIANTS for p in self.places(variant) if p.path.exists()]
        if not there:
            return False
        place = self.random.choice(there)
        if place._replace(step="masks") in self.unseen:
            return False  # the verb would take that in, too
        content = ["corrected", next(self.numbers)]
        place.path.write_text(json.dumps(content))
        self.standing[place] = Correction(content)
        try:
            assert adopt(place)
        except TargetModified as error:  # another correction, upstream, waits for a decision
            self.decide(place.variant, error)
            adopt(place)
        self.standing[place] = Correction(content, {self.recipe(place): None})

    def saved_in_folder(self):
        """A person saves a mask in the folder of corrections, for the first time or anew."""
        place = Place(self.random.choice(VARIANTS), "masks", self.random.choice(list(self.images)))
        place.in_folder.parent.mkdir(parents=True, exist_ok=True)
        self.unseen[place] = ["corrected", next(self.numbers)]
        place.in_folder.write_text(json.dumps(self.unseen[place]))

    def deleted_copies(self):
        """A person deletes results of which the folder of corrections has the originals."""
        for place, correction in self.standing.items():
            if correction.is_in_folder and place not in self.unseen:
                place.path.unlink(missing_ok=True)
                self.to_restore.add(place)

    def released(self):
        """A person gives a correction up."""
        known = [place for place in self.standing if place.image in self.images]
        if not known:
            return False
        self.release(self.random.choice(known))

    def deleted_intermediates(self):
        """A person makes room: whatever nobody corrected may go."""
        for place in map(Place._make, product(VARIANTS, STEPS, sorted(self.all_images))):
            if place not in self.standing and self.random.random() < 0.3:
                place.path.unlink(missing_ok=True)

    def garbage_collection(self):
        self.run("gc", "--max-size", "0", "--min-age", "0 s", "--trash", "--yes", codes=(0, 1))

    def emptied_trash(self):
        self.run("trash", "--empty", "--yes")

    def pruned(self):
        """What the present parameters don't need goes to the trash."""
        dc.prune([node for variant in VARIANTS for node in self.all_nodes(variant)], yes=True)

    def copied_root(self):
        """The folder moves to another disk, which keeps no times."""
        here, new = Path.cwd(), Path.cwd().parent / f"copy{next(self.copies)}"
        shutil.copytree(here, new, copy_function=shutil.copyfile)
        self.move_to(new)
        shutil.rmtree(here)

    def sent_to_a_colleague(self):
        """All corrections arrive in another root, where nothing was computed."""
        if not self.standing.keys() - self.to_restore:
            return False
        here = Path.cwd()
        self.run("corrections", "--export", "sent.tar")
        other = here.parent / f"colleague{next(self.copies)}"
        shutil.copytree("raw", other / "raw")
        shutil.move("sent.tar", other)
        self.move_to(other)
        (other / "working").mkdir()
        self.run("corrections", "--apply", "sent.tar", "--root", "working")
        for place in self.standing.keys() - self.to_restore:
            assert json.loads(place.path.read_text()) == self.standing[place].content, place
        self.move_to(here)
        shutil.rmtree(other)

    EVENTS = (
        *[new_image, changed_image, removed_image, new_parameter, new_parameter],
        *[correction, correction, correction, edit_that_a_verb_adopts, released],
        *[deleted_intermediates, deleted_intermediates, garbage_collection, emptied_trash],
        *[pruned, copied_root, sent_to_a_colleague, saved_in_folder, saved_in_folder, deleted_copies],
    )

    # ---- a verb, and what must be true of it -----------------------------------------------------

    def compute(self, variant):
        """Compute everything in a variant; decide about corrections in the way; check each value."""
        there = {place for place in self.places(variant) if place.path.exists()}
        self.see_folder(variant)
        summary = self.decided(variant, lambda: self.all_nodes(variant)[-1:])
        decisions = self.decisions
        values = self.decided(variant, lambda: self.all_nodes(variant))
        assert self.decisions > decisions or values[-1:] == summary, f"{values} after {summary}"
        found = dict(zip(self.places(variant), values, strict=False))
        for place, value in found.items():
            self.check_value(place, value, self.input_of(place, found), place in there)
        assert values[-1] == summarize([found[Place(variant, "tables", i)] for i in self.images])

    def see_folder(self, variant):
        """What was saved in the folder of corrections replaces whatever was there before."""
        for place in self.places(variant):
            if place in self.unseen:
                content = self.unseen.pop(place)
                self.to_restore.add(place)
                self.standing[place] = Correction(
                    content, {self.recipe(place): None}, is_kept=True, is_in_folder=True
                )

    def decided(self, variant, nodes):
        """Compute nodes.  Corrections of other recipes are kept or released, one way or the other."""
        for _ in range(10):
            try:
                values = dc.compute(*nodes())
                self.to_restore -= set(self.places(variant))
                return values
            except TargetModified as error:
                self.find_copies()
                self.decide(variant, error)
            finally:
                self.find_copies()
        raise AssertionError("decisions change nothing")

    def decide(self, variant, error):
        blocked = [p for p in self.standing if p.variant == variant and str(p.path) in str(error)]
        assert blocked, error
        self.decisions += len(blocked)
        for place in blocked:
            if self.random.random() < 0.5:
                self.release(place)
            else:
                dc.keep(self.node(place))
                self.standing[place].recipes[self.recipe(place)] = None
                self.standing[place].is_kept = True

    def check_value(self, place, value, given, was_there):
        recipe, correction = self.recipe(place), self.standing.get(place)
        if correction is not None:
            assert value == correction.content, f"{place}: {value}, not {correction}"
            assert self.may_stand(correction, place, place, given), f"{place} stands for another recipe"
            correction.recipes[recipe] = given
            if correction.made_for is None and not correction.is_kept:
                correction.made_for = (recipe, given)
            return
        at_base = Place(None, *place[1:])
        base = self.standing.get(at_base) if at_base not in self.unseen else None
        if base is not None and base.made_for == (recipe, given) and not (was_there or base.is_kept):
            assert value == base.content, f"{place}: {value} of {given}"
        rivals = [c.content for p, c in self.standing.items() if self.may_stand(c, p, place, given)]
        expected = [self.function_value(place, given), *rivals]
        assert value in expected, f"{place}: {value} of {given}, not one of {expected}"

    def may_stand(self, correction, where, place, given):
        """Return True if a correction at another place is of the same parameters and the same input."""
        if where[1:] != place[1:]:
            return False
        parameter = {"clean": 1, "masks": 2}.get(place.step)
        return any(
            known in (None, given)
            and (parameter is None or recipe[parameter] == self.recipe(place)[parameter])
            for recipe, known in correction.recipes.items()
        )

    def find_copies(self):
        """Copies of corrections are corrections: equal code has made equal data there."""
        for place in map(Place._make, product(VARIANTS, STEPS, sorted(self.all_images))):
            if place in self.standing or not place.path.exists():
                continue
            content = json.loads(place.path.read_text())
            if content[0] == "corrected":
                recipes = {self.recipe(place): None} if place.image in self.images else {}
                self.standing[place] = Correction(content, recipes, is_kept=True)

    def function_value(self, place, given):
        parameters = self.parameters[place.variant]
        if place.step == "clean":
            return clean(given, parameters["width"])
        return segment(given, parameters["threshold"]) if place.step == "masks" else measure(given)

    def input_of(self, place, found):
        if place.step == "clean":
            return self.images[place.image]
        return found[place._replace(step=STEPS[STEPS.index(place.step) - 1])]

    # ---- helpers ---------------------------------------------------------------------------------

    def all_nodes(self, variant):
        """The results of each image, step by step, then the summary."""
        nodes = [self.node(place) for place in self.places(variant)]
        with dc.variant(variant):
            step = dc.delayed(summarize, target="summary.json")
            return [*nodes, step(nodes[-len(self.images) :])]

    def places(self, variant):
        return [Place(variant, step, image) for step in STEPS for image in self.images]

    def node(self, place, **options):
        parameters = self.parameters[place.variant]
        width, threshold = parameters.values()
        image = dc.TextSource(f"raw/{place.image}.txt")

        def step(function, target, **its_options):
            last = function is FUNCTIONS[place.step]
            return dc.delayed(function, target=target, **its_options, **(options if last else {}))

        with dc.variant(place.variant):
            node = step(clean, "clean/{image.stem}.json")(image, width)
            if place.step != "clean":
                node = step(segment, "masks/{cleaned.stem}.json", corrections=IN_FOLDER)(node, threshold)
            if place.step == "tables":
                node = step(measure, "tables/{mask.stem}.json")(node)
        return node

    def recipe(self, place):
        """The parameters and the image that a result is made for now."""
        width, threshold = self.parameters[place.variant].values()
        depth = STEPS.index(place.step)
        return (self.images[place.image], width, threshold)[: 2 + bool(depth)]

    def release(self, place):
        dc.release(self.node(place))
        del self.standing[place]
        self.to_restore.discard(place)

    def numbers_of_an_image(self):
        return f"{next(self.numbers)} {next(self.numbers)}"

    def move_to(self, folder):
        os.chdir(folder)
        dask.config.set({"daskcache.root": str(folder / "working")})

    def run(self, *arguments, codes=(0,)):
        done = CliRunner().invoke(cache, arguments, catch_exceptions=False)
        assert done.exit_code in codes, done.output
