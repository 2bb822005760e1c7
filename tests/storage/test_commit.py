"""The commit of a result, step by step, without a worker."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from daskcache.errors import DaskcacheWarning, ForeignTarget, StorageError, TargetModified
from daskcache.storage import commit as committing
from daskcache.storage import files, trash
from daskcache.storage.commit import Commit
from daskcache.storage.record import RecordName, record_content, target_id
from daskcache.storage.records import RecordStore
from daskcache.storage.roots import Root

KEY, OTHER = "ab" * 16, "cd" * 16
FACTS = {
    "function": "x",
    "code": "0" * 32,
    "target": "x.json",
    "format": "daskcache:JSONTarget",
    "arguments": {},
    "upstream": [],
}


@pytest.fixture
def made(tmp_path):
    """A root that exists."""
    root = Root(str(tmp_path / "root"))
    root.create()
    return root


def commit(root, content, key=KEY, **options):
    """The commit of a file with some content."""
    part = files.write_part(files.part_path(root, "x.json"), [content])
    data_hash = part.file_hash
    name = RecordName(key, target_id("x.json"), "trace", data_hash, part.file_hash, *part.stamp, 5)
    options = {"node": "x", "keep_adopted": pytest.fail, **options}
    return Commit(root, "x.json", part, name, FACTS, **options)


def content(root):
    return Path(root.path, "x.json").read_bytes()


def in_trash(root):
    return [(thing.reason, Path(thing.kept).read_bytes()) for thing in trash.listed(root)]


def is_tidy(root):
    """True if commits have left neither parts nor intents."""
    return os.listdir(root.parts) == os.listdir(root.intents) == []


class Killed(BaseException):
    """Ends a commit like a signal: nothing after it runs but what tidies up."""


def killing(*args):
    raise Killed


def noted(steps, name, step):
    def noting(*args):
        steps.append(name)
        return step(*args)

    return noting


def test_a_new_file(made):
    """The part is in place, and its record holds."""
    this = commit(made, b"1")
    assert this.run() == this.name
    assert content(made) == b"1"
    assert files.stamp(this.destination) == this.part.stamp
    assert RecordStore(made).all() == [this.name]
    assert is_tidy(made)


def test_the_steps_in_their_order(made, monkeypatch):
    """The intent is there before the target, and becomes the record after it."""
    steps = []
    for module, step in (
        (committing, "keep_manifest"),
        (files, "write_intent"),
        (files, "put_new"),
        (files, "replace"),
        (files, "settle"),
        (files, "promote_intent"),
        (committing, "forget_manifest"),
    ):
        monkeypatch.setattr(module, step, noted(steps, step, getattr(module, step)))
    first = commit(made, b"1")
    first.run()
    assert steps == ["keep_manifest", "write_intent", "put_new", "settle", "promote_intent"]
    steps.clear()
    commit(made, b"2", previous=first.name).run()
    assert steps == [
        *("keep_manifest", "write_intent", "replace", "settle", "promote_intent"),
        "forget_manifest",
    ]


def test_a_recorded_file_is_replaced(made):
    """Neither the old file nor its record is left."""
    first = commit(made, b"1")
    first.run()
    second = commit(made, b"2", OTHER, previous=first.name)
    assert second.run() == second.name
    assert content(made) == b"2"
    assert RecordStore(made).all() == [second.name]
    assert in_trash(made) == []
    assert is_tidy(made)


def test_a_file_that_is_gone_is_made_again(made):
    """Its record goes, too: it would vouch for nothing."""
    first = commit(made, b"1")
    first.run()
    os.unlink(first.destination)
    second = commit(made, b"2", previous=first.name)
    assert second.run() == second.name
    assert RecordStore(made).all() == [second.name]
    assert is_tidy(made)


@pytest.mark.parametrize("may", [{}, {"damaged": True}, {"may_displace": True}])
def test_a_foreign_file_is_in_the_way(made, may):
    """It stays, whatever may happen to a recorded one; nothing of the commit is left."""
    Path(made.path, "x.json").write_bytes(b"mine")
    with pytest.raises(ForeignTarget, match="a file of 4 bytes"):
        commit(made, b"1", **may).run()
    assert content(made) == b"mine"
    assert RecordStore(made).all() == []
    assert is_tidy(made)


def test_a_file_that_was_edited_meanwhile_is_in_the_way(made):
    """Unless the node may displace it, it stays, with the record of what was there."""
    first = commit(made, b"1")
    first.run()
    Path(made.path, "x.json").write_bytes(b"edited")
    with pytest.raises(ForeignTarget, match="a file of 6 bytes"):
        commit(made, b"2", previous=first.name).run()
    assert content(made) == b"edited"
    assert RecordStore(made).all() == [first.name]
    assert is_tidy(made)


@pytest.mark.parametrize(("may", "reason"), [("damaged", "damaged"), ("may_displace", "edited")])
def test_a_file_that_may_be_displaced_is_kept(made, may, reason):
    """It goes to the trash, with a warning, and the result takes its place."""
    first = commit(made, b"1")
    first.run()
    Path(made.path, "x.json").write_bytes(b"edited")
    second = commit(made, b"2", previous=first.name, **{may: True})
    with pytest.warns(DaskcacheWarning, match=f"x.json was {reason}; what was there is kept as"):
        assert second.run() == second.name
    assert content(made) == b"2"
    assert in_trash(made) == [(reason, b"edited")]
    assert RecordStore(made).all() == [second.name]
    assert is_tidy(made)


def test_a_damaged_file_is_kept_even_if_its_stamp_is_right(made):
    """Damage can leave size and time as they were."""
    first = commit(made, b"1")
    first.run()
    with pytest.warns(DaskcacheWarning, match="was damaged"):
        commit(made, b"2", previous=first.name, damaged=True).run()
    assert in_trash(made) == [("damaged", b"1")]


def test_the_result_of_a_rival_counts(made):
    """Who was first with the same node wins; the same data needs no word, other data a warning."""
    first = commit(made, b"1")
    first.run()
    assert commit(made, b"1").run() == first.name
    with pytest.warns(DaskcacheWarning, match="x was computed twice .* different results"):
        assert commit(made, b"2").run() == first.name
    assert content(made) == b"1"
    assert RecordStore(made).all() == [first.name]
    assert is_tidy(made)


def test_a_rival_that_comes_between(made, monkeypatch):
    """A file that appears after the place was found free is looked at again."""
    rival, put_new = commit(made, b"1"), files.put_new

    def put_late(*args):
        monkeypatch.setattr(files, "put_new", put_new)
        rival.run()
        put_new(*args)

    monkeypatch.setattr(files, "put_new", put_late)
    assert commit(made, b"1").run() == rival.name
    assert RecordStore(made).all() == [rival.name]
    assert is_tidy(made)


def test_a_rival_that_replaces_first(made, monkeypatch):
    """Who loses the claim looks again, and yields to the rival's result."""
    first = commit(made, b"1")
    first.run()
    rival, replace = commit(made, b"2", OTHER, previous=first.name), files.replace

    def replace_late(root, part, *args):
        monkeypatch.setattr(files, "replace", replace)
        os.unlink(part)  # as a rival moves the part of a writer away that does not go on
        RecordStore(made).remove(first.name)
        replace(root, rival.part.path, *args)
        RecordStore(root).write(rival.name, record_content(rival.name, **FACTS))
        return replace(root, part, *args)

    monkeypatch.setattr(files, "replace", replace_late)
    late = commit(made, b"2", OTHER, previous=first.name)
    assert late.run() == rival.name
    assert content(made) == b"2"
    assert RecordStore(made).all() == [rival.name]


def test_an_intent_that_was_left_vouches_for_its_file(made, monkeypatch):
    """Cut short before its last step, a commit counts: the same node yields to it."""
    first = commit(made, b"1")
    with monkeypatch.context() as patch:
        patch.setattr(files, "promote_intent", killing)
        with pytest.raises(Killed):
            first.run()
    (intent,) = os.listdir(made.intents)
    assert files.intended_name(intent) == first.name.file_name()
    assert content(made) == b"1"
    assert commit(made, b"1").run() == first.name
    assert RecordStore(made).all() == [first.name]


def test_an_intent_that_was_left_is_claimed_by_another_node(made, monkeypatch):
    """What it vouches for is replaced, and the intent is gone."""
    monkeypatch.setattr("daskcache.storage.commit.PATIENCE", 0)
    first = commit(made, b"1")
    with monkeypatch.context() as patch:
        patch.setattr(files, "promote_intent", killing)
        with pytest.raises(Killed):
            first.run()
    second = commit(made, b"2", OTHER)
    assert second.run() == second.name
    assert content(made) == b"2"
    assert RecordStore(made).all() == [second.name]
    assert is_tidy(made)


def test_a_commit_that_is_stopped_before_its_file_leaves_nothing(made, monkeypatch):
    """The old file stays, and its record is where it was."""
    first = commit(made, b"1")
    first.run()
    monkeypatch.setattr(files, "replace", killing)
    with pytest.raises(Killed):
        commit(made, b"2", previous=first.name).run()
    assert content(made) == b"1"
    assert os.path.exists(RecordStore(made).path_of(first.name))
    assert is_tidy(made)


def test_a_commit_that_is_stopped_after_its_file_leaves_its_intent(made, monkeypatch):
    """Nothing else vouches for the new file."""
    put_new = files.put_new

    def put_and_die(*args):
        put_new(*args)
        raise Killed

    monkeypatch.setattr(files, "put_new", put_and_die)
    this = commit(made, b"1")
    with pytest.raises(Killed):
        this.run()
    assert content(made) == b"1"
    assert RecordStore(made).intents() == [this.name]


def test_an_adopted_result_stands(made):
    """The node records it as its own, or a person has to decide; nothing is replaced."""
    first = commit(made, b"1")
    first = first._replace(name=first.name._replace(adopted=True))
    first.run()
    asked = []

    def decide(name):
        asked.append(name)
        raise TargetModified("a person decides")

    second = commit(made, b"2", OTHER, keep_adopted=lambda name: name._replace(key=OTHER))
    assert second.run() == first.name._replace(key=OTHER)
    with pytest.raises(TargetModified):
        commit(made, b"2", OTHER, keep_adopted=decide).run()
    assert asked == [first.name]
    assert content(made) == b"1"
    assert is_tidy(made)


def test_an_adopted_result_that_may_be_displaced_is_kept(made):
    """It is a person's, so it goes to the trash though it is as recorded."""
    first = commit(made, b"1")
    first = first._replace(name=first.name._replace(adopted=True))
    first.run()
    with pytest.warns(DaskcacheWarning, match="was edited"):
        commit(made, b"2", OTHER, may_displace=True).run()
    assert in_trash(made) == [("edited", b"1")]


def test_what_is_in_place_already_is_only_recorded(made):
    """A function may write its target itself: the file stays, and gets its record."""
    Path(made.path, "x.json").write_bytes(b"1")
    part = files.part_of(made.absolute("x.json"))
    name = RecordName(KEY, target_id("x.json"), "trace", part.file_hash, part.file_hash, *part.stamp, 5)
    this = Commit(made, "x.json", part, name, FACTS, "x", pytest.fail)
    assert this.run() == name
    assert content(made) == b"1"
    assert RecordStore(made).all() == [name]
    assert is_tidy(made)


def test_the_folder_that_was_made_for_a_part_goes_with_it(made):
    """Whether the part was put in place or not."""

    def in_folder(this):
        own = f"{files.part_folder(made)}/x.json"
        os.rename(this.part.path, own)
        return this._replace(part=this.part._replace(path=own))

    in_folder(commit(made, b"1")).run()
    assert is_tidy(made)
    Path(made.path, "x.json").write_bytes(b"mine")
    with pytest.raises(ForeignTarget):
        in_folder(commit(made, b"2")).run()
    assert is_tidy(made)


def test_a_displaced_file_that_can_not_be_moved_stays_where_it_is(made, monkeypatch):
    """The warning says where."""
    first = commit(made, b"1")
    first.run()
    Path(made.path, "x.json").write_bytes(b"edited")

    def refuse(*args):
        raise StorageError("no space")

    monkeypatch.setattr(trash, "keep", refuse)
    with pytest.warns(DaskcacheWarning, match=r"kept as .*/parts/.*\.displaced"):
        commit(made, b"2", previous=first.name, may_displace=True).run()
    (left,) = os.listdir(made.parts)
    assert Path(made.parts, left).read_bytes() == b"edited"
