"""Who replaces a target: claims of its record."""

from __future__ import annotations

import os

import pytest

import daskcache as dc
from daskcache.storage import commit as committing
from daskcache.storage import files as storage
from daskcache.storage.commit import Claim
from daskcache.storage.records import RecordStore
from daskcache.storage.roots import Root


@pytest.fixture(autouse=True)
def impatience(monkeypatch):
    monkeypatch.setattr(committing, "PATIENCE", 0.05)
    monkeypatch.setattr(committing, "_PAUSE", 0.1)


@dc.delayed(target="x.json", version=1)
def number(value):
    return value


@pytest.fixture
def stored(root):
    """A root with one result, and its record."""
    number(1).compute()
    place = Root(str(root))
    (name,) = RecordStore(place).all()
    return place, name


def claim_of(place):
    return Claim(place, storage.part_path(place, "x.json"), "x.json")


def test_one_of_two_claims_a_record(stored):
    """The first gets it; given back, it is where it was."""
    place, name = stored
    first, second = claim_of(place), claim_of(place)
    assert first.attempt(name)
    assert not second.attempt(name)
    assert RecordStore(place).all() == [name]
    first.release()
    assert os.path.exists(RecordStore(place).path_of(name))
    assert second.attempt(name)
    second.settle()
    assert RecordStore(place).all() == []


def test_a_claimer_that_does_not_go_on_loses_its_part(stored):
    """Who runs out of patience takes the claim over, and the claimer's part is in the trash."""
    place, name = stored
    part = storage.part_path(place, "x.json")
    storage.write_part(part, [b"2"])
    stopped, next_one = Claim(place, part, "x.json"), claim_of(place)
    assert stopped.attempt(name)
    assert not next_one.attempt(name)
    assert next_one.attempt(name)
    assert not os.path.exists(part)
    with pytest.raises(storage.Overtaken):
        storage.replace(place, part, "x.json", name.stamp)


def test_that_a_record_is_gone_means_to_look_again(stored):
    """A record that vanished may have been replaced just now: only the second time nobody is at work."""
    place, name = stored
    RecordStore(place).remove(name)
    late = claim_of(place)
    assert not late.attempt(name)
    assert not late.attempt(name)
    assert late.attempt(name)


def test_a_record_that_is_claimed_during_a_listing_is_seen(stored, monkeypatch):
    """Claims move records to the intents, which were listed first."""
    place, name = stored
    listing = storage.names_in

    def claimed_before(folder):
        if folder == place.records:
            claim_of(place).attempt(name)
        return listing(folder)

    monkeypatch.setattr(storage, "names_in", claimed_before)
    assert RecordStore(place).all() == [name]


def overlooking(monkeypatch, place, times):
    """Let the next listings of claims miss what is renamed while they are read."""
    listing = storage.names_in
    left = [times]

    def listed(folder):
        names = listing(folder)
        if folder == place.intents and left[0]:
            left[0] -= 1
            (claim,) = names
            number = claim.rpartition(".")[2]
            os.rename(f"{folder}/{claim}", f"{folder}/{claim.removesuffix(number)}{'0' * len(number)}")
            return []
        return names

    monkeypatch.setattr(storage, "names_in", listed)


def test_a_claim_that_a_listing_misses_is_found_in_the_next(stored, monkeypatch):
    """A folder that is read while names in it change may show neither the old name nor the new one."""
    place, name = stored
    claim_of(place).attempt(name)
    overlooking(monkeypatch, place, 4)
    seen = RecordStore(place).vouching(name.target_id, f"{place}/x.json", name.stamp, "another key")
    assert seen == name


def test_a_target_whose_claim_a_listing_misses_is_not_foreign(stored, monkeypatch):
    """Planning looks again at what nobody seems to have written, and finds another recipe's result."""
    place, name = stored
    claim_of(place).attempt(name)
    overlooking(monkeypatch, place, 3)
    assert number(2).dc.state == "stale"


def test_that_nobody_vouches_is_believed_while_others_commit(stored, monkeypatch):
    """Looking ends, though the folder of intents never rests."""
    place, name = stored
    RecordStore(place).remove(name)
    listing = storage.names_in

    def listed(folder):
        os.utime(place.intents)
        return listing(folder)

    monkeypatch.setattr(storage, "names_in", listed)
    store = RecordStore(place)
    assert store.vouching(name.target_id, f"{place}/x.json", name.stamp, name.key) is None


def test_a_result_that_is_replaced_while_it_is_planned(root, monkeypatch):
    """What another writer put there after the look at it is not taken for a copy of what was there."""
    number(1).compute()
    with_target = RecordStore.with_target

    def after_another_writer(self, identifier):
        monkeypatch.setattr(RecordStore, "with_target", with_target)
        number(2).compute()
        return with_target(self, identifier)

    monkeypatch.setattr(RecordStore, "with_target", after_another_writer)
    assert number(2).compute() == 2
    (name,) = RecordStore(Root(str(root))).all()
    assert name.stamp == storage.stamp(f"{root}/x.json")
