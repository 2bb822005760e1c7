"""Results in Prefect's storage from hostile hands: no code runs, and no file is read that may not be.

The forgeries are made and judged as in tests/faults/test_forged.py.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from pathlib import Path
from random import Random

import dask
import pytest
from markdown_it import MarkdownIt  # of rich, which Prefect needs
from prefect.filesystems import LocalFileSystem
from prefect.results import ResultStore
from prefect.serializers import CompressedSerializer, Serializer

import daskcache as dc
from daskcache.errors import DaskcacheError
from daskcache.prefect import recording, serializers
from daskcache.prefect.serializers import DECODERS, cpr_serializer, stored_record
from daskcache.printable import printable, printable_lines

sys.path.append(str(Path(__file__).parents[1] / "faults"))

import forged_json
import forged_texts
from forging import ODD, PATHS, RAN, Forgery, quiet, yard

_KEY = "result"
#: Serializers that a record may name, of which only daskcache's and CPR's JSON may be used.
_NAMED = (
    {"type": "pickle", "picklelib": "pickle"},
    {"type": "pickle", "picklelib": "trap"},
    {"type": "pickle", "picklelib": "cloudpickle", "picklelib_version": "0"},
    {"type": "json", "jsonlib": "json", "object_decoder": "trap.f"},
    {"type": "json", "jsonlib": "trap"},
    {"type": "json", "jsonlib": "trap", "object_decoder": DECODERS[1]},
    {"type": "json", "jsonlib": "json", "object_decoder": DECODERS[1], "loads_kwargs": {"cls": "trap"}},
    {"type": "compressed/pickle", "compressionlib": "lzma"},
    {"type": "compressed", "compressionlib": "trap", "serializer": {"type": "pickle"}},
    {"type": "trap"},
)
#: How many get past the parser, of at most twice as many.
_COUNT, _FULL = 100, 1_000


def stored(place, random: Random) -> Forgery:
    """A stored result, with metadata of the forger's choice."""
    own: Serializer = cpr_serializer()
    if random.random() < 0.2:
        own = CompressedSerializer(serializer=own, compressionlib="bz2")
    folder = Path(place.archives, "results")
    is_split = random.random() < 0.3
    about = LocalFileSystem(basepath=str(folder / "about")) if is_split else None
    storage = LocalFileSystem(basepath=str(folder))
    store = ResultStore(result_storage=storage, metadata_storage=about, serializer=own)
    metadata, result = _metadata(own, random), _result(place, own, random)
    document: object = metadata if is_split else {"metadata": metadata, "result": result}
    if random.random() < 0.05:
        document = random.choice([*ODD, [document], {"metadata": result}, {"result": metadata}])
    for path in (folder, folder / "about"):
        path.mkdir(exist_ok=True)
    text = json.dumps(document).encode("utf-8", "surrogatepass")
    (folder / "about" / _KEY if is_split else folder / _KEY).write_bytes(text)
    if is_split:
        (folder / "data").write_bytes(str(result).encode("utf-8", "surrogatepass"))
    uses = {
        "read": lambda: _loaded(stored_record(store, _KEY)),
        "read confined": lambda: _confined(place, store),
    }
    passes = serializers._document(store, _KEY) is not None
    return Forgery(f"{text!r:.200} with {result!r:.200}", passes, uses, tuple(uses))


def _metadata(own, random):
    named = own.model_dump(mode="json", serialize_as_any=True)
    if random.random() < 0.5:
        named = random.choice([*_NAMED, random.choice(ODD), {**named, "object_decoder": "trap.f"}])
    metadata = {"serializer": named, "storage_key": "data", "expiration": None, "prefect_version": "3"}
    if random.random() < 0.2:
        odd = [*ODD, *PATHS, "2020-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]
        metadata[random.choice([*metadata, "storage_block_id", "more"])] = random.choice(odd)
    return metadata


def _result(place, own, random):
    """A serialized result: JSON as its writer would have it, or a pickle."""
    if random.random() < 0.3:
        return random.choice([base64.b64encode(place.pickled).decode(), place.pickled.decode(), "", 7])
    text = json.dumps(forged_json.document(place, random))
    if isinstance(own, CompressedSerializer) and random.random() < 0.8:
        import bz2

        return base64.encodebytes(bz2.compress(text.encode())).decode()
    return text


def _loaded(record):
    """The data of what a record holds, but of pickles that are called so: those are trusted."""
    for resource in forged_json.resources_in(record.result if record else None):
        if not isinstance(resource, dc.PickleTarget) or not resource.get_path().endswith(".pkl"):
            resource.get_data()


def _confined(place, store):
    with dask.config.set({"daskcache.resource-roots": [place.root]}):
        record = stored_record(store, _KEY)
    for resource in forged_json.resources_in(record.result if record else None):
        found = os.path.realpath(resource.get_path())
        if os.path.commonpath([found, place.root]) != place.root:
            raise AssertionError(f"{forged_json.LED}: {found}")


def drawn(place, random):
    place.reset()
    with quiet():
        return stored(place, random)


def test_forged_results_run_no_code_and_lead_nowhere(tmp_path, full):
    """Whatever lies in a task's result storage: a typed error, no result, or one that is harmless."""
    count = _FULL if full else _COUNT
    seed = int.from_bytes(os.urandom(4), "big") if full else 0
    random, passed, tried, wrong = Random(seed), 0, 0, []
    with yard(str(tmp_path / "yard")) as place:
        while passed < count and tried < 2 * count:
            forgery = drawn(place, random)
            tried, passed = tried + 1, passed + forgery.passes
            wrong += place.wrong(forgery.story, forgery.uses)
    assert wrong == [], f"seed {seed}"
    assert passed >= count


def test_without_the_check_of_serializers_code_runs(tmp_path, monkeypatch):
    """The forgeries are ones that succeed if a record is read as it says."""

    def as_named(named, store, key):
        try:
            return Serializer(**named)
        except Exception as error:
            raise DaskcacheError(str(error)) from error

    monkeypatch.setattr(serializers, "_serializer_for", as_named)
    random = Random(0)
    with yard(str(tmp_path / "yard")) as place:
        for _ in range(200):
            forgery = drawn(place, random)
            if any(RAN in text for text in place.wrong(forgery.story, forgery.uses)):
                return
    pytest.fail("none of 200 forgeries succeeded")


def test_texts_in_artifacts_are_shown_as_they_are():
    """Whatever a text holds, Markdown makes code of it, which is shown and does nothing."""
    random, parser = Random(0), MarkdownIt()
    for _ in range(500):
        said = forged_texts.text(random)
        path, lines = printable(said), printable_lines(said)
        (inline,) = [each for each in parser.parse(recording._code(path)) if each.type == "inline"]
        assert [each.type for each in inline.children] == ["code_inline"], said
        if lines.strip():
            assert {each.type for each in parser.parse(recording._block(lines))} == {"code_block"}, said
