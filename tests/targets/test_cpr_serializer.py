"""CPR's JSON: written as CPR writes it, read from CPR, and never believed."""

from __future__ import annotations

import datetime
import decimal
import json
import pathlib
import subprocess
import sys
import threading
import uuid
from dataclasses import dataclass
from enum import Enum

import dask
import numpy as np
import pytest
import zarr
from cpr_cases import (
    ARRAY_HASH,
    FRAME_HASH,
    IMAGE_HASH,
    array,
    frame,
    image,
    same,
    text_of,
    written_by_cpr,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import daskcache as dc
from daskcache import cpr
from daskcache.errors import DaskcacheError, UnsafePath, UntrustedJSON
from daskcache.targets.cpr.serializer import _CLASSES, decoder, register
from daskcache.targets.cpr.values import allow


def dumps(value):
    return json.dumps(value, default=dc.target_encoder)


def loads(text):
    return json.loads(text, object_hook=dc.target_decoder)


# ---- as CPR's own tests have it -----------------------------------------------------------------


def test_an_image_is_encoded_as_cpr_encodes_it(tmp_path):
    """Class, fields, hash and path are CPR's, and what is decoded is equal."""
    metadata = {"axes": "YX", "spacing": 0.134, "unit": "micron"}
    target = dc.ImageTarget.from_path(str(tmp_path / "image.tif"), imagej=False)
    target.set_data(image())
    target.set_metadata(metadata)
    target.set_resolution([1 / 0.134, 1 / 0.134])
    encoded = dumps(target)
    assert json.loads(encoded) == {
        "__class__": "cpr.image.ImageTarget.ImageTarget",
        "data": {
            "location": str(tmp_path),
            "name": "image",
            "ext": ".tif",
            "data_hash": IMAGE_HASH,
            "resolution": [1 / 0.134, 1 / 0.134],
            "metadata": metadata,
            "imagej": False,
        },
    }
    assert [path.name for path in tmp_path.iterdir()] == [f"image-{IMAGE_HASH}.tif"]
    decoded = loads(encoded)
    assert isinstance(decoded, dc.ImageTarget)
    assert same(decoded.get_data(), image())
    assert decoded.get_path() == target.get_path() == str(tmp_path / f"image-{IMAGE_HASH}.tif")
    assert decoded.get_name() == "image"
    assert decoded.get_metadata() == metadata
    assert decoded.get_resolution() == target.get_resolution()
    assert decoded.imagej is False
    assert dumps(decoded) == encoded


@pytest.mark.parametrize(
    ("cls", "name", "data", "tag", "data_hash"),
    [
        (dc.CSVTarget, "test.csv", frame(), "cpr.csv.CSVTarget.CSVTarget", FRAME_HASH),
        (dc.NumpyTarget, "data.npy", array(), "cpr.numpy.NumpyTarget.NumpyTarget", ARRAY_HASH),
    ],
)
def test_tables_and_arrays_are_encoded_as_cpr_encodes_them(cls, name, data, tag, data_hash, tmp_path):
    """Class, fields, hash and path are CPR's."""
    target = cls.from_path(str(tmp_path / name))
    target.set_data(data)
    stem, ext = name.split(".")
    fields = {"location": str(tmp_path), "name": stem, "ext": f".{ext}", "data_hash": data_hash}
    assert json.loads(dumps(target)) == {"__class__": tag, "data": fields}
    assert (tmp_path / f"{stem}-{data_hash}.{ext}").exists()
    assert same(loads(dumps(target)).get_data(), data)


def test_results_of_cpr_are_read_and_verified(tmp_path):
    """JSON and files in CPR's format give CPR's values; encoded again, the JSON is the same."""
    for tag, (fields, value) in written_by_cpr(tmp_path).items():
        text = text_of(tag, fields)
        decoded = loads(text)
        assert type(decoded).__name__ == tag.rpartition(".")[2]
        assert same(decoded.get_data(), value)
        assert dumps(decoded) == text


def test_older_json_without_imagej_is_read(tmp_path):
    """CPR's first images had no field for it."""
    fields, value = written_by_cpr(tmp_path)["cpr.image.ImageTarget.ImageTarget"]
    del fields["imagej"]
    assert same(loads(text_of("cpr.image.ImageTarget.ImageTarget", fields)).get_data(), value)


def test_a_zarr_source_is_encoded_as_cpr_encodes_it(tmp_path):
    """Group and slices are there, and an array without slices stays in the file."""
    data = np.arange(300).reshape(3, 10, 10)
    zarr.create_group(tmp_path / "z.zarr").create_array("0", data=data)
    cut = dc.ZarrSource.from_path(str(tmp_path / "z.zarr"), "0", [1, 2], [2, -2])
    assert json.loads(dumps(cut)) == {
        "__class__": "cpr.zarr.ZarrSource.ZarrSource",
        "data": {
            "location": str(tmp_path),
            "name": "z",
            "ext": ".zarr",
            "group": "0",
            "slices_start": [1, 2],
            "slices_stop": [2, -2],
            "mode": "r",
        },
    }
    assert np.array_equal(loads(dumps(cut)).get_data(), data[1:2, 2:-2])
    whole = loads(dumps(dc.ZarrSource.from_path(str(tmp_path / "z.zarr"))))
    assert isinstance(whole.get_data(), zarr.Array)
    assert np.array_equal(whole.get_data()[:], data)


def test_hashes_of_objects_are_those_that_cpr_publishes():
    """An image's and a date's; nothing is written for them."""
    target = dc.ImageTarget.from_path("/tmp/cpr-utilities-test-case/image.tif")
    target.set_data(image())
    assert dc.hash_objects(target) == "f055cf7c5246f7ef4722003123fa7c4b"
    assert dc.hash_objects(datetime.date(2023, 1, 16)) == "f2d0c50afd37a85d67c9f13a33c21e8c"
    assert not pathlib.Path("/tmp/cpr-utilities-test-case").exists()


def test_hashes_of_what_json_has_no_form_for():
    """Arrays are hashed by their values; what has no identity is refused."""
    assert dc.hash_objects(array()) == dc.hash_objects(array())
    assert dc.hash_objects(array()) != dc.hash_objects(image())
    with pytest.raises(dc.errors.UnhashableArgument):
        dc.hash_objects(threading.Lock())


def test_the_alias_stands_for_cpr_where_it_is_not_installed(tmp_path):
    """Only who asks for it gets modules with CPR's names; they have the classes in `daskcache.cpr`."""
    code = """
import importlib.util, daskcache as dc, daskcache.cpr
assert importlib.util.find_spec("cpr") is None
from daskcache.cpr import alias
assert alias.install() and not alias.install()
from cpr.Serializer import target_decoder
from cpr.image import ImageSource
from cpr.image.ImageTarget import ImageTarget
from cpr.image.Metadata import Metadata
from cpr.utilities.utilities import hash_objects
import cpr.zarr.ZarrSource
assert target_decoder is dc.target_decoder and ImageTarget is dc.cpr.ImageTarget
assert ImageSource.ImageSource is dc.cpr.ImageSource
assert cpr.zarr.ZarrSource.ZarrSource is dc.cpr.ZarrSource
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_folder_named_cpr_is_not_cpr(tmp_path):
    """The alias is installed beside it; a module of that name is left alone."""
    code = "from daskcache.cpr import alias; print(alias.install(), alias.is_installed())"

    def outcome():
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
        return done.stdout.split()

    (tmp_path / "cpr").mkdir()
    assert outcome() == ["True", "True"]
    (tmp_path / "cpr/Serializer.py").touch()
    assert outcome() == ["False", "False"]
    (tmp_path / "cpr.py").touch()
    assert outcome() == ["False", "False"]


# ---- classes that CPR lacks, and other values ------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "value"),
    [
        (lambda p: dc.JSONTarget.from_path(f"{p}/a.json"), {"a": (1, 2), 3: None}),
        (lambda p: dc.Target.from_path(f"{p}/a.txt"), "text\n"),
        (lambda p: cpr.ZarrTarget(p, "a", ".zarr"), array()),
        (lambda p: cpr.ParquetTarget(p, "a", ".parquet"), frame()),
        (lambda p: cpr.PickleTarget(location=p, name="a", ext=".pkl"), {1: datetime.date(2024, 2, 29)}),
    ],
)
def test_other_formats_go_by_short_tags(make, value, tmp_path):
    """They are encoded, decoded, read and verified like CPR's."""
    target = make(str(tmp_path))
    target.set_data(value)
    encoded = json.loads(dumps(target))
    assert encoded["__class__"] == f"daskcache.{type(target).__name__}"
    got = loads(dumps(target)).get_data()
    assert dc.hashing.hash_value(got) == dc.hashing.hash_value(value)


def test_sources_with_options_keep_them(tmp_path):
    """A table that is read otherwise than CPR's comes back with its options."""
    (tmp_path / "a.csv").write_text("x;y\n1;2\n")
    source = dc.CSVSource(tmp_path / "a.csv", sep=";")
    assert loads(dumps(source)).get_data().equals(source.get_data())
    assert loads(dumps(source)) == source


@allow
class Colour(Enum):
    RED = "red"


@allow
@dataclass
class Point:
    x: int
    when: datetime.date


@allow
class Odd(Exception):
    pass


@pytest.mark.parametrize(
    "value",
    [
        datetime.date(2024, 2, 29),
        datetime.datetime(2024, 2, 29, 1, 2, 3, tzinfo=datetime.UTC),
        datetime.time(1, 2, 3),
        datetime.timedelta(days=1.5),
        {1, "a"},
        frozenset([None]),
        decimal.Decimal("0.1"),
        decimal.Decimal("1.10"),
        decimal.Decimal("1E+30"),
        pathlib.Path("/a/b"),
        uuid.UUID(int=7),
        b"abc",
        Colour.RED,
        Point(1, datetime.date(2024, 2, 29)),
        {"nested": [{"point": Point(2, datetime.date(1, 1, 1))}]},
    ],
)
def test_other_values_come_back(value):
    """Dates, numbers, sets, paths, and classes that were let in."""
    got = loads(dumps(value))
    assert type(got) is type(value)
    assert got == value


@pytest.mark.parametrize("error", [ValueError("a"), KeyError("b"), Odd("c"), UnsafePath("d")])
def test_exceptions_come_back(error):
    """Built-in ones, daskcache's and those that were let in, with their messages."""
    got = loads(dumps(error))
    assert type(got) is type(error)
    assert str(error) in str(got)


def test_models_of_pydantic_come_back_if_they_were_let_in():
    """A model is validated when it is decoded; one that was not let in is not encoded."""
    import pydantic

    model = allow(pydantic.create_model("Settings", sigma=(float, ...), day=(datetime.date, ...)))
    value = model(sigma=1.5, day="2024-02-29")
    assert loads(dumps(value)) == value
    with pytest.raises(UntrustedJSON):
        loads(dumps(value).replace("1.5", '"wide"'))
    with pytest.raises(TypeError, match="allow"):
        dumps(pydantic.create_model("Other", sigma=(float, 1.0))())


def test_what_could_not_be_decoded_is_not_encoded():
    """So nothing is stored that can't be read."""
    for value in (object(), array(), dc.ImageTarget("a.tif"), subprocess.CalledProcessError(1, "x")):
        with pytest.raises(TypeError):
            dumps(value)


class Mesh(dc.PickleTarget):
    """A format of somebody else's."""


def test_formats_of_others_are_registered(tmp_path):
    """Until then they have no tag."""
    target = Mesh.from_path(str(tmp_path / "a.mesh"))
    target.set_data([1, 2])
    with pytest.raises(TypeError, match="register"):
        dumps(target)
    register("meshtools.Mesh", f"{Mesh.__module__}:Mesh")
    try:
        decoded = loads(dumps(target))
        assert isinstance(decoded, Mesh)
        assert decoded.get_data() == [1, 2]
    finally:
        del _CLASSES["meshtools.Mesh"]


def test_a_pickle_is_called_one(tmp_path):
    """JSON alone does not make a pickle of a file that is called something else."""
    target = dc.PickleTarget.from_path(str(tmp_path / "a.txt"))
    target.set_data([1, 2])
    with pytest.raises(TypeError, match="suffix"):
        dumps(target)
    target = dc.PickleTarget.from_path(str(tmp_path / "a.pkl"))
    target.set_data([1, 2])
    encoded = dumps(target)
    assert loads(encoded).get_data() == [1, 2]
    with pytest.raises(UntrustedJSON, match="suffix"):
        loads(encoded.replace('".pkl"', '".txt"'))


# ---- nothing is believed ---------------------------------------------------------------------------

_SOURCE = {"location": "/data", "name": "a", "ext": ".tif"}
_TARGET = {**_SOURCE, "data_hash": IMAGE_HASH}
_ZARR = {**_SOURCE, "ext": ".zarr", "group": "0", "slices_start": [], "slices_stop": [], "mode": "r"}
_IMAGE_SOURCE, _IMAGE_TARGET = "cpr.image.ImageSource.ImageSource", "cpr.image.ImageTarget.ImageTarget"


@pytest.mark.parametrize(
    ("tag", "data"),
    [
        ("os.system", "true"),
        ("builtins.eval", "1"),
        ("builtins.object", {}),
        ("subprocess.Popen", {"args": "true"}),
        ("pathlib.PosixPath.unlink", "/a"),
        ("cpr.zarr.ZarrSource.parse_url", {"path": "/data", "mode": "w"}),
        ("cpr.image.ImageTarget.imread", {"files": "/etc/passwd"}),
        ("cpr.Resource.Resource", _SOURCE),
        ("cpr.Target.Target", _TARGET),
        ("cpr..ImageTarget", _TARGET),
        ("daskcache.targets.images.target.ImageTarget", _TARGET),
        ("daskcache.PickleSource", _SOURCE),
        ("", _SOURCE),
        (None, _SOURCE),
        (7, _SOURCE),
        (["cpr.image.ImageSource.ImageSource"], _SOURCE),
        ({"__class__": "builtins.set", "data": []}, _SOURCE),
        ("builtins.SystemExit", "x"),
        ("builtins.set", 7),
        ("builtins.set", [[1]]),
        ("datetime.date", "yesterday"),
        ("datetime.timedelta", "1"),
        ("uuid.UUID", 7),
        ("decimal.Decimal", []),
        (_IMAGE_SOURCE, None),
        (_IMAGE_SOURCE, []),
        (_IMAGE_SOURCE, {}),
        (_IMAGE_SOURCE, {"location": "/data", "name": "a"}),
        (_IMAGE_SOURCE, {**_SOURCE, "data_hash": IMAGE_HASH}),
        (_IMAGE_SOURCE, {**_SOURCE, "path": "/etc/passwd"}),
        (_IMAGE_SOURCE, {**_SOURCE, "name": "../../etc/passwd"}),
        (_IMAGE_SOURCE, {**_SOURCE, "name": "..", "ext": ""}),
        (_IMAGE_SOURCE, {**_SOURCE, "name": "a\0"}),
        (_IMAGE_SOURCE, {**_SOURCE, "ext": "/../b"}),
        (_IMAGE_SOURCE, {**_SOURCE, "location": 7}),
        (_IMAGE_SOURCE, {**_SOURCE, "location": None}),
        (_IMAGE_SOURCE, {**_SOURCE, "metadata": "x"}),
        (_IMAGE_TARGET, _SOURCE),
        (_IMAGE_TARGET, {**_TARGET, "data_hash": "../../../x"}),
        (_IMAGE_TARGET, {**_TARGET, "data_hash": IMAGE_HASH + "0"}),
        (_IMAGE_TARGET, {**_TARGET, "data_hash": IMAGE_HASH + "\n"}),
        (_IMAGE_TARGET, {**_TARGET, "imagej": 1}),
        (_IMAGE_TARGET, {**_TARGET, "resolution": [1]}),
        (_IMAGE_TARGET, {**_TARGET, "resolution": ["1", "1"]}),
        ("cpr.csv.CSVTarget.CSVTarget", _TARGET),
        ("cpr.numpy.NumpyTarget.NumpyTarget", {**_TARGET, "ext": ".npz"}),
        ("cpr.zarr.ZarrSource.ZarrSource", _SOURCE),
        ("cpr.zarr.ZarrSource.ZarrSource", {**_ZARR, "mode": "w"}),
        ("cpr.zarr.ZarrSource.ZarrSource", {**_ZARR, "group": "../.."}),
        ("cpr.zarr.ZarrSource.ZarrSource", {**_ZARR, "slices_start": [1]}),
        ("cpr.zarr.ZarrSource.ZarrSource", {**_ZARR, "slices_start": ["1"], "slices_stop": [2]}),
        ("daskcache.CSVSource", {**_SOURCE, "ext": ".csv", "options": {"converters": {"a": "b"}}}),
    ],
)
def test_tampered_json_is_refused(tag, data):
    """Other classes, fields that a class has not, and values that it can't have are typed errors."""
    with pytest.raises(UntrustedJSON):
        loads(json.dumps({"__class__": tag, "data": data}))


def test_json_that_has_another_form_is_refused():
    """No data, more than data, or a message in place of it."""
    for form in ({}, {"message": "x"}, {"data": _SOURCE, "more": 1}):
        with pytest.raises(UntrustedJSON):
            loads(json.dumps({"__class__": _IMAGE_SOURCE, **form}))
    for name in ("os.ValueError", "ValueError", "builtins.print", "builtins.BaseException"):
        with pytest.raises(UntrustedJSON):
            loads(json.dumps({"__class__": name, "message": "x"}))


def test_nothing_is_imported_because_json_names_it(tmp_path, monkeypatch):
    """Neither a module nor one below a registered name."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    for tag in ("trap.Trap", "trap", "cpr.trap.Trap", "daskcache.trap"):
        with pytest.raises(UntrustedJSON):
            loads(json.dumps({"__class__": tag, "data": {}}))
    assert "trap" not in sys.modules


def test_paths_can_be_confined_to_folders(tmp_path):
    """What leads out of them is refused, by dots or by links, whether it is there or not."""
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (inside / "link").symlink_to(outside)
    refused = [
        str(outside),
        str(inside / ".." / "out"),
        str(inside / "link"),
        "/",
        "",
        str(tmp_path / "in2"),
    ]
    decode = decoder([inside])
    for location in refused:
        with pytest.raises(UnsafePath):
            decode({"__class__": _IMAGE_SOURCE, "data": {**_SOURCE, "location": location}})
    good = {"__class__": _IMAGE_SOURCE, "data": {**_SOURCE, "location": str(inside / "a")}}
    assert decode(good).location == str(inside / "a")
    with dask.config.set({"daskcache.resource-roots": [str(inside)]}):
        assert loads(json.dumps(good)).location == str(inside / "a")
        with pytest.raises(UnsafePath):
            loads(json.dumps(good).replace(str(inside), str(outside)))


_TAGS = st.sampled_from(
    [
        *_CLASSES,
        "os.system",
        "builtins.ValueError",
        "datetime.date",
        "cpr.zarr.ZarrSource.parse_url",
        "x",
    ]
)
_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_FIELDS = {
    "location": st.sampled_from(["/data", "", "..", "/"]),
    "name": st.sampled_from(["a", "..", "a/b", ""]),
    "ext": st.sampled_from([".tif", ".csv", ".npy", ".zarr", "", "/x"]),
    "data_hash": st.sampled_from([IMAGE_HASH, None, "x", "../x"]),
    "metadata": st.none() | st.just({"axes": "YX"}),
    "resolution": st.none() | st.just([1.0, 1.0]),
    "imagej": st.booleans(),
    "group": st.sampled_from(["0", "..", ""]),
    "slices_start": st.lists(st.integers(), max_size=2),
    "slices_stop": st.lists(st.integers(), max_size=2),
    "mode": st.sampled_from(["r", "w"]),
    "options": st.just({}) | st.just({"index_col": 0}),
    "more": st.integers(),
}
_DATA = st.fixed_dictionaries({}, optional={name: each | _ANY for name, each in _FIELDS.items()})
_DOCUMENT = st.fixed_dictionaries(
    {"__class__": _TAGS | _ANY}, optional={"data": _DATA | _ANY, "message": _ANY, "x": _ANY}
)
_KNOWN = (dc.Source, dc.Target, ValueError, datetime.date)


@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(_DOCUMENT)
def test_fuzzed_documents_make_known_things_or_typed_errors(document):
    """A document gives a source or target of a registered class, a plain dict, or a typed error."""
    try:
        decoded = loads(json.dumps(document))
    except DaskcacheError:
        return
    assert type(decoded) is dict or isinstance(decoded, _KNOWN)
    if isinstance(decoded, dc.Resource):
        assert json.loads(dumps(decoded))["__class__"] == document["__class__"] or decoded.location
        assert "/" not in decoded.name + decoded.ext
