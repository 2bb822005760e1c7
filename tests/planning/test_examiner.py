"""Each state of one target, from files and records made by hand: nothing runs."""

from __future__ import annotations

import json
import os

import pytest

import daskcache as dc
from daskcache.calls.recipe import combine
from daskcache.errors import MissingExtra, TargetCollision
from daskcache.hashing.encoder import hash_value
from daskcache.planning.examiner import Examiner
from daskcache.runtime.facts import facts_of_recipe
from daskcache.runtime.work import describe_format
from daskcache.storage import failures, files, records
from daskcache.storage.record import RecordName, record_content, target_id
from daskcache.storage.records import RecordStore
from daskcache.storage.roots import Root

OLD, NEW = 1_000_000, 2_000_000


def double(n):
    return 2 * n


class Scene:
    """A node with the target a.json, whose file and records are made by hand."""

    def __init__(self, folder, n=2, **options):
        self.make = dc.delayed(target="a.json", **options)(double)
        self.recipe = self.make(n)._recipe
        self.root = Root(str(folder))
        self.root.create()
        self.file = folder / "a.json"

    def put(self, value=4, seconds=OLD):
        self.file.write_text(value if isinstance(value, str) else json.dumps(value))
        os.utime(self.file, (seconds, seconds))

    def record(self, recipe=None, trace=None, adopted=False, **facts):
        """Record the file as it is as the result of a recipe."""
        recipe = recipe or self.recipe
        stamp, content = files.stamp(str(self.file)), files.file_hash(str(self.file))
        trace = trace or combine(recipe.static, [])
        data_hash = recipe.targets[0].hash_file(str(self.file))
        name = RecordName(
            recipe.key, target_id("a.json"), trace, data_hash, content, *stamp, 5_000_000, adopted
        )
        described = {
            "function": recipe.spec.qualified_name,
            "target": "a.json",
            **describe_format(recipe.targets[0]),
            **facts_of_recipe(recipe, []),
            **facts,
        }
        RecordStore(self.root).write(name, record_content(name, **described))
        return name

    def note(self, **decision):
        records.write_acceptance(self.root, target_id("a.json"), **decision)

    def look(self, **options):
        self.examiner = Examiner(**options)
        return self.examiner.look(self.recipe)

    def state(self, **options):
        look = self.look(**options)
        return look.state, look.reasons


@pytest.fixture
def scene(root):
    return Scene(root)


@pytest.fixture
def stored(scene):
    scene.put()
    scene.record()
    return scene


def test_missing(scene):
    """Without a record it was never computed, with one it was deleted."""
    assert scene.state() == ("missing", ["was never computed"])
    scene.put()
    name = scene.record()
    scene.file.unlink()
    assert scene.state() == ("missing", ["the target was deleted"])
    assert scene.look().records == (name,)


def test_complete(stored, monkeypatch):
    """Size and mtime are as recorded: the file is not read."""
    monkeypatch.setattr(files, "file_hash", None)
    assert stored.state() == ("complete", [])
    assert stored.look().data_hash == hash_value(4)


def test_touched(stored):
    """The record gets the new mtime, when a verb writes down what was found."""
    stored.put(seconds=NEW)
    look = stored.look()
    assert (look.state, look.reasons, look.records[0].mtime_ns) == ("complete", [], NEW * 10**9)
    (name,) = RecordStore(stored.root).all()
    assert name.mtime_ns == OLD * 10**9
    stored.examiner.write_down()
    (name,) = RecordStore(stored.root).all()
    assert name.mtime_ns == NEW * 10**9


def test_modified(stored):
    stored.put(5, NEW)
    assert stored.state() == ("modified", ["a.json was edited after it was stored"])


def test_corrupt(stored):
    """What its format can't read is damaged, and must not pass for the result."""
    stored.put("[", NEW)
    look = stored.look()
    assert look.reasons == ["a.json is damaged: it can't be read any more"]
    assert (look.state, look.outdated) == ("corrupt", True)


@pytest.mark.parametrize("on_modified", ["error", "adopt", "recompute"])
def test_an_edit_is_no_damage_where_its_package_is_not_installed(root, monkeypatch, on_modified):
    """It can be neither adopted nor told from damage: the state says what is missing."""

    def missing(path):
        raise MissingExtra("pyarrow is not installed")

    scene = Scene(root, on_modified=on_modified)
    scene.put()
    scene.record()
    scene.put(5, NEW)
    monkeypatch.setattr(dc.JSONTarget, "hash_file", staticmethod(missing))
    reason = "a.json was edited after it was stored: pyarrow is not installed"
    assert scene.state() == ("modified", [reason])


def test_corrupt_by_content(root):
    """Damage that keeps size and mtime is found if the node asks for it."""
    scene = Scene(root, check="content")
    scene.put()
    scene.record()
    assert scene.state() == ("complete", [])
    scene.put(5)
    assert scene.state() == ("corrupt", [f"{scene.file} is damaged"])


def test_foreign(scene):
    scene.put()
    assert scene.state() == ("foreign", ["a.json was not written by daskcache"])


def test_stale(stored):
    """The file is that of another recipe of the function."""
    before = stored.recipe
    stored.recipe = stored.make(3)._recipe
    assert stored.state() == ("stale", ["n: 2 -> 3"])
    assert [name.key for name in stored.look().records] == [before.key]


def test_stale_by_age(root):
    """A correction doesn't age."""
    scene = Scene(root, expires="1 day")
    scene.put()
    name = scene.record()
    assert scene.state() == ("stale", ["older than 1 day"])
    RecordStore(scene.root).remove(name)
    scene.record(adopted=True)
    assert scene.state()[0] == "adopted"


def test_stale_by_what_it_was_made_from(scene):
    """A record of the node's own key with another trace."""
    scene.put()
    scene.record(trace="0" * 32)
    assert scene.state() == ("stale", ["what it was made from holds other data now"])


def test_the_same_trace_of_another_recipe_completes_a_node(stored):
    """That is early cutoff; the record gets the new key when a verb writes it down."""
    other = stored.make(3)._recipe
    (name,) = RecordStore(stored.root).all()
    RecordStore(stored.root).remove(name)
    stored.record(recipe=other, trace=combine(stored.recipe.static, []))
    assert stored.state() == ("complete", [])
    stored.examiner.write_down()
    assert [name.key for name in RecordStore(stored.root).all()] == [stored.recipe.key]


def test_accepted(stored):
    """A user accepted the target of another recipe."""
    stored.note(key=stored.recipe.key)
    stored.recipe = stored.make(3)._recipe
    assert stored.state() == ("complete", [])


def test_adopted(stored):
    """A user adopted an edit, of exactly this content."""
    stored.put(5, NEW)
    stored.note(content=files.file_hash(str(stored.file)))
    look = stored.look()
    assert (look.state, look.data_hash, look.records[0].adopted) == ("adopted", hash_value(5), True)
    assert look.reasons[0].startswith("adopted by ")
    stored.put(6, NEW)
    assert stored.state()[0] == "modified"


def test_a_note_about_other_content_does_not_keep_a_node_from_adopting(root):
    """With ``on_modified="adopt"``, whatever is there is taken in."""
    scene = Scene(root, on_modified="adopt")
    scene.put()
    scene.record()
    scene.put(5, NEW)
    scene.note(content="0" * 32)
    assert scene.state()[0] == "adopted"


def test_contested_and_kept(stored):
    """An adopted result of another recipe: the user decides."""
    (name,) = RecordStore(stored.root).all()
    RecordStore(stored.root).remove(name)
    name = stored.record(adopted=True)
    stored.recipe = stored.make(3)._recipe
    look = stored.look()
    assert (look.state, look.contested, look.keeps) == ("adopted", True, False)
    assert look.reasons[1] == "made for n=2"
    stored.note(keep=name.file_hash)
    look = stored.look()
    assert (look.state, look.contested, look.keeps) == ("adopted", False, True)


def test_released(scene):
    """A node whose adopted result was released is missing, and what follows can't be known."""
    scene.note(released=scene.recipe.key)
    look = scene.look()
    assert (look.state, look.reasons) == ("missing", ["its adopted result was released"])
    assert (look.released, look.unsettled) == (True, True)


def test_failed(scene):
    failures.write_failure(scene.root, scene.recipe.key)
    assert scene.state() == ("failed", ["failed when it last ran"])


def test_pending(stored):
    assert stored.state(running=[stored.recipe]) == ("pending", ["is being computed"])


def test_forced(stored):
    look = stored.look(force=True)
    assert (look.state, look.is_complete, look.reasons) == ("complete", False, ["rerun was forced"])


def test_existing_is_enough(root, monkeypatch):
    """With ``check="exists"``, a file is complete whoever made it."""
    scene = Scene(root, check="exists")
    scene.put()
    look = scene.look()
    assert (look.state, look.reasons, look.records[0].trace) == ("complete", [], "")


def test_a_target_of_another_function(scene):
    """It is never replaced: the error names both functions."""
    scene.put()
    scene.record(recipe=scene.make(3)._recipe, function="program.other")
    look = scene.look()
    assert (look.state, type(look.error)) == ("foreign", TargetCollision)
    assert "got: made by program.other" in look.reasons[0]
