"""Classes by CPR's protocol: they only define how to read, hash and write, and work as CPR's own."""

from __future__ import annotations

import json
import os
import pickle
from os.path import exists

import pytest
import xxhash

import daskcache as dc
from daskcache import cpr
from daskcache.errors import (
    FormatLimit,
    GraphError,
    SourceMissing,
    TargetCorrupt,
    TargetMissing,
    UntrustedJSON,
)


class WordsSource(cpr.Resource):
    """As a user of CPR writes it."""

    def __init__(self, location: str, name: str, ext: str = ".words", separator: str = " "):
        super().__init__(location=location, name=name, ext=ext)
        self.separator = separator

    def _read_data(self):
        with open(self.get_path()) as file:
            return file.read().split(self.separator)

    def serialize(self):
        fields = super().serialize()
        fields["separator"] = self.separator
        return fields


class WordsTarget(cpr.Target, dc.Metadata):
    """As a user of CPR writes it, with metadata as CPR's ImageTarget has them."""

    def __init__(self, location, name, ext, metadata=None, separator=" ", data_hash=None):
        super().__init__(location=location, name=name, ext=ext, data_hash=data_hash, metadata=metadata)
        self.separator = separator

    def _read_data(self):
        with open(self.get_path()) as file:
            data = file.read().split(self.separator)
        assert self._hash_data(data) == self.data_hash, "from a different run or corrupted"
        return data

    def _hash_data(self, data):
        return xxhash.xxh3_64("\0".join(data).encode()).hexdigest()

    def _write_data(self):
        if self._data is not None and not exists(self.get_path()):
            with open(self.get_path(), "w") as file:
                file.write(self.separator.join(self._data))

    def serialize(self):
        fields = super().serialize()
        fields["metadata"] = self.metadata
        fields["separator"] = self.separator
        return fields


class Forgets(WordsTarget):
    def _write_data(self):
        return None


@pytest.fixture
def target(tmp_path):
    target = WordsTarget.from_path(f"{tmp_path}/a.words")
    target.set_data(["two", "cells"])
    return target


def through_json(value):
    return json.loads(json.dumps(value, default=dc.target_encoder), object_hook=dc.target_decoder)


def test_a_target_is_saved_and_read(target, tmp_path):
    """Its file is at CPR's address; the JSON has its own fields; nothing is left beside it."""
    target.metadata, target.separator = {"unit": "word"}, ";"
    assert target.data_hash == target._hash_data(["two", "cells"])
    assert target.get_path() == f"{tmp_path}/a-{target.data_hash}.words"
    assert target.get_data() == ["two", "cells"]
    fields = target.serialize()
    assert fields == {
        "location": str(tmp_path),
        "name": "a",
        "ext": ".words",
        "data_hash": target.data_hash,
        "metadata": {"unit": "word"},
        "separator": ";",
    }
    assert os.listdir(tmp_path) == [f"a-{target.data_hash}.words"]
    assert (tmp_path / f"a-{target.data_hash}.words").read_text() == "two;cells"
    for back in (through_json(target), pickle.loads(pickle.dumps(target)), WordsTarget(**fields)):
        assert (type(back), back.get_data(), back.get_metadata()) == (
            WordsTarget,
            ["two", "cells"],
            {"unit": "word"},
        )
    assert target.get_data() == ["two", "cells"]


def test_a_file_that_was_changed_is_not_served(target):
    """Damage is a typed error, and so is a missing file."""
    target.serialize()
    with open(target.get_path(), "w") as file:
        file.write("three cells")
    with pytest.raises(TargetCorrupt):
        target.get_data()
    os.remove(target.get_path())
    with pytest.raises(TargetMissing):
        target.get_data()


def test_what_a_class_forgets_is_said(tmp_path):
    """Without data, without a file, without a hash."""
    empty = WordsTarget.from_path(f"{tmp_path}/a.words")
    with pytest.raises(GraphError, match="no data yet"):
        empty.get_path()
    forgets = Forgets.from_path(f"{tmp_path}/a.words")
    forgets.set_data(["a"])
    with pytest.raises(FormatLimit, match="can't be read back"):
        forgets.serialize()
    forgets._hash_data = lambda data: None
    with pytest.raises(FormatLimit, match="_hash_data"):
        forgets.serialize()
    with pytest.raises(TypeError, match="unexpected field 'colour'"):
        cpr.Target.__init__(empty, "a", "b", ".c", colour=1)
    with pytest.raises(TypeError, match="abstract"):
        type("Nothing", (cpr.Target,), {})("a", "b", ".c")
    assert os.listdir(tmp_path) == []


def test_a_source_is_read(tmp_path):
    """Its data are read each time; with cache=True they are kept as well, but never sent."""
    (tmp_path / "a.words").write_text("two;cells")
    source = WordsSource(str(tmp_path), "a", separator=";")
    assert source._data is None
    assert source.get_data(cache=True) == source._data == ["two", "cells"]
    assert source.get_path() == f"{tmp_path}/a.words"
    for back in (through_json(source), pickle.loads(pickle.dumps(source))):
        assert (type(back), back._data, back.separator, back.get_data()) == (
            WordsSource,
            None,
            ";",
            ["two", "cells"],
        )
    assert WordsSource.from_path(f"{tmp_path}/a.words").get_data() == ["two;cells"]
    with pytest.raises(SourceMissing):
        WordsSource(str(tmp_path), "b").get_data()


def test_sources_keep_their_data_on_demand(tmp_path):
    """Each source has CPR's attribute, and is the same source with it."""
    (tmp_path / "a.txt").write_text("cells")
    source = cpr.TextSource(str(tmp_path), "a", ".txt")
    same = cpr.TextSource(str(tmp_path), "a", ".txt")
    assert source._data is None
    assert source.get_data(cache=True) == source._data == "cells"
    assert source == same
    assert pickle.loads(pickle.dumps(source))._data is None


def test_nodes_and_keys(tmp_path, runs):
    """Content and fields count, in nodes as in CPR's keys, wherever the files are."""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.words").write_text("two cells")

    @dc.delayed(target="{words.stem}-{words.parent}.pkl")
    def longer(words):
        runs.note("longer")
        target = WordsTarget.from_path(f"{tmp_path}/longer.words")
        target.set_data([*words, "more"])
        return target

    @dc.delayed(target="count-{longer.stem}.json")
    def count(longer):
        runs.note("count")
        return len(longer.get_data())

    sources = [WordsSource.from_path(f"{tmp_path}/{folder}/a.words") for folder in ("one", "two")]
    nodes = [count(longer(source)) for source in sources]
    assert [node.compute(scheduler="sync") for node in nodes] == [3, 3]
    assert runs.take() == ["count", "longer"]  # the second time, their data are the same
    assert [node.compute(scheduler="sync") for node in nodes] == [3, 3]
    other = WordsSource(f"{tmp_path}/one", "a", separator=";")
    assert len({longer(each).dc.key for each in (sources[0], other)}) == 2
    assert longer(sources[0]).dc.key == longer(sources[1]).dc.key
    target = WordsTarget(str(tmp_path), "a", ".words", separator=";")
    target.set_data(["x"])
    before = dc.hash_objects(target)
    assert sorted(os.listdir(tmp_path / "one")) == ["a.words"]
    target.separator = ","
    assert dc.hash_objects(target) != before


def test_all_sources_and_targets_are_cprs():
    """`isinstance` says what it said in CPR."""
    source, target = cpr.ImageSource("a", "b", ".tif"), cpr.ImageTarget("a", "b", ".tif")
    assert isinstance(source, cpr.Resource)
    assert isinstance(target, cpr.Resource)
    assert isinstance(target, cpr.Target)
    assert not isinstance(source, cpr.Target)
    assert not isinstance(target, WordsTarget)
    assert not isinstance("a", cpr.Resource)
    assert not isinstance(target, dc.Source)
    assert not isinstance(dc.NumpyTarget("a.npy"), type(target).__mro__[1])


def test_json_names_fields_of_the_class_only(tmp_path):
    """Fields that its constructor does not take, and paths in names, are refused."""
    tag = f"{__name__}.WordsSource"
    fields = {"location": str(tmp_path), "name": "a", "ext": ".words", "separator": ";"}
    for wrong in ({"colour": 1}, {"name": "../a"}, {"location": 1}):
        with pytest.raises(UntrustedJSON):
            dc.target_decoder({"__class__": tag, "data": fields | wrong})
    assert dc.target_decoder({"__class__": tag, "data": fields}).separator == ";"
    tag = f"{__name__}.WordsTarget"
    for wrong in ({"data_hash": "a/../../b"}, {"data_hash": 1}):
        with pytest.raises(UntrustedJSON):
            dc.target_decoder({"__class__": tag, "data": fields | wrong})
