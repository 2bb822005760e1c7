"""Metadata of images go through formats that have no place for them, and through uncached nodes.

Records keep them, they count in the data hash, and what follows inherits them.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import daskcache as dc
from daskcache import delayed
from daskcache.errors import DaskcacheWarning, GraphError, TargetError
from daskcache.runtime.held import Held
from daskcache.targets.images import units
from daskcache.testing import assert_nothing_runs

STACK = np.arange(2 * 3 * 8 * 9, dtype="uint16").reshape(2, 3, 8, 9)
SIZES = {"Z": 2.0, "Y": 0.5, "X": 0.5}
PLANE = {"Y": 0.5, "X": 0.5}


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch):
    """Warnings are given once a process: each test begins with none given."""
    monkeypatch.setattr(units, "_told", set())


@pytest.fixture
def raw(tmp_path):
    """Writes an image with a pixel size along Y and X, and returns it as a source."""

    def raw(size=0.5, value=STACK, axes="ZCYX", z=2.0, **options):
        path, part = tmp_path / "raw.tif", tmp_path / "part.tif"
        if "C" in axes:
            options = {"channels": ("DAPI", "GFP", "RFP"), **options}
        target = dc.ImageTarget("raw.tif", axes=axes, pixel_size=(z, size, size), **options)
        target.write(value, str(part))
        os.replace(part, path)
        return dc.ImageSource(path)

    return raw


def half(image):
    return image / 2


def ratio(image):
    return (image > image.mean()).astype("uint8")


def is_complete(node):
    return dc.plan(node).left == 0


def told(node):
    return node.dc.target.read_metadata()


TARGETS = ("step.npy", "step.zarr", None)


def between(function, target):
    return delayed(function, target=target) if target else delayed(function, save=False)


@pytest.mark.parametrize("second", TARGETS)
@pytest.mark.parametrize("first", TARGETS)
def test_metadata_go_through_steps_that_have_no_place_for_them(raw, first, second):
    """Axes, sizes and channels of the source are those of the last result."""
    one = between(half, first)(raw())
    last = delayed(ratio, target="last.tif")(
        between(half, second and f"two/{second}")(one) if second else between(ratio, None)(one)
    )
    last.compute()
    assert told(last) == dc.ImageMetadata("ZCYX", SIZES, "µm", ("DAPI", "GFP", "RFP"))


@pytest.mark.parametrize("target", TARGETS)
def test_a_corrected_pixel_size_reruns_what_follows(raw, target):
    """The pixels are the same, so only the metadata tell that the last result is stale."""
    runs = []

    def build():
        step = between(half, target)(raw(*size))
        return delayed(ratio, target="last.tif", version=1)(step)

    size = (0.5,)
    build().compute()
    assert is_complete(build())
    size = (0.7,)
    assert not is_complete(build())
    build().compute()
    runs.append(told(build()).pixel_size)
    assert runs == [{"Z": 2.0, "Y": 0.7, "X": 0.7}]


@pytest.mark.parametrize("target", TARGETS[:2])
def test_the_record_tells_what_the_next_verb_needs(raw, target):
    """In a later verb, the metadata come from the record: nothing upstream runs."""
    step = between(half, target)(raw())
    step.compute()
    assert step.dc.record["form"]["image"] == {
        "axes": "ZCYX",
        "pixel_size": SIZES,
        "unit": "µm",
        "channels": ["DAPI", "GFP", "RFP"],
    }
    last = delayed(ratio, target="last.tif")(step)
    last.compute()
    assert told(last).pixel_size == SIZES


def test_equal_pixels_with_other_sizes_are_other_data(raw):
    """A hash of data tells metadata apart; without metadata it is the array's."""
    step = delayed(half, target="step.npy")
    hashes = []
    for size in (0.5, 0.7):
        node = step(raw(size))
        node.compute()
        hashes.append(node.dc.record["data_hash"])
    assert hashes[0] != hashes[1]
    node = delayed(half, target="plain.npy")(STACK)
    node.compute()
    assert "image" not in node.dc.record["form"]
    assert node.dc.record["data_hash"].endswith(dc.NumpyTarget("a.npy").hash(STACK / 2))


def test_a_format_with_a_place_for_them_has_the_same_data(raw):
    """A result in .npy and one in .tif have one data hash, so a change of format reruns nothing."""
    before = delayed(ratio, target="step.npy")(raw())
    before.compute()
    after = delayed(ratio, target="step.tif")(raw())
    after.compute()
    assert before.dc.record["data_hash"] == after.dc.record["data_hash"]


def test_a_function_that_is_not_pure_hands_them_on(raw):
    """The value's hash is its data hash, and the metadata count in it."""
    impure = delayed(half, pure=False)
    sizes = []
    for size in (0.5, 0.7):
        last = delayed(ratio, target="last.tif")(impure(raw(size)))
        last.compute()
        sizes.append(told(last).pixel_size["Y"])
    assert sizes == [0.5, 0.7]


@pytest.mark.parametrize("suffix", ["npy", "zarr"])
def test_axes_of_one_length_need_a_word(raw, suffix):
    """Where two axes have one length and other sizes, nothing goes on; `like` says which they are."""
    cube = np.zeros((8, 8, 8), "u1")
    kind = dc.NumpyTarget if suffix == "npy" else dc.ZarrTarget
    image = raw(value=cube, axes="ZYX")
    unclear = delayed(half, target=f"unclear.{suffix}")(image)
    with pytest.warns(DaskcacheWarning, match="axes of length 8 have different pixel sizes"):
        unclear.compute()
    assert "image" not in unclear.dc.record["form"]
    clear = delayed(half, target=kind(f"clear.{suffix}", like="image"))(image)
    clear.compute()
    assert clear.dc.record["form"]["image"]["pixel_size"] == SIZES
    with pytest.raises(GraphError, match="like='picture'"):
        delayed(half, target=kind(f"a.{suffix}", like="picture"))


@pytest.mark.parametrize(
    ("edit", "channels"),
    [(lambda array: array + 1, ("DAPI", "GFP", "RFP")), (lambda array: array[:1, :2], ())],
)
def test_a_corrected_array_keeps_its_metadata(raw, edit, channels):
    """Its record has the metadata of the result that it replaces, as far as they fit its shape."""
    step = delayed(half, target="step.npy", on_modified="adopt")(raw())
    last = delayed(ratio, target="last.tif")(step)
    last.compute()
    np.save(step.dc.path, edit(np.load(step.dc.path)))
    last.compute()
    assert step.dc.state == "adopted"
    assert told(last) == dc.ImageMetadata("ZCYX", SIZES, "µm", channels)
    assert is_complete(last)


def test_an_array_saved_anew_is_the_same_data(raw):
    """The metadata count in the data hash of an adopted file, too, so what follows need not run."""
    step = delayed(half, target="step.npy", on_modified="adopt")(raw())
    last = delayed(ratio, target="last.tif")(step)
    last.compute()
    before = step.dc.record["data_hash"]
    np.save(step.dc.path, np.asfortranarray(np.load(step.dc.path)))
    with assert_nothing_runs():
        last.compute()
        step.compute()
    assert step.dc.record["data_hash"] == before


def test_shapes_that_are_no_images_have_none(raw):
    """A profile along X has no metadata, and a table in between hands none on."""
    node = delayed(lambda image: image.mean(axis=(0, 1, 2)), target="profile.npy", version=1)(raw())
    node.compute()
    assert node.dc.record["form"] == {"dtype": "float64", "shape": [9]}


def test_a_dict_of_arrays_has_none(raw):
    """Archives and groups keep what they kept."""
    for suffix in ("npz", "zarr"):
        node = delayed(lambda image: {"a": image}, target=f"dict.{suffix}", version=1)(raw())
        node.compute()
        assert dict(node.compute())["a"].shape == STACK.shape


def test_a_copy_at_another_target_keeps_them(raw):
    """A result that equal code made of equal data is copied with its metadata."""
    for path in ("one.npy", "other.npy"):
        step = delayed(half, target=path)(raw())
        step.compute()
    assert step.dc.record["form"]["image"]["pixel_size"] == SIZES
    last = delayed(ratio, target="last.tif")(step)
    last.compute()
    assert told(last).pixel_size == SIZES


def test_a_renewed_result_keeps_them(raw):
    """After an early cutoff, the record of the other recipe has them, too."""
    for factor in (2, 2.0):
        step = delayed(lambda image, factor: image / factor, target="step.npy", version=1)
        node = step(raw(), factor)
        node.compute()
    assert node.dc.record["form"]["image"]["pixel_size"] == SIZES


def test_an_uncached_result_holds_no_value_of_its_inputs(raw, monkeypatch):
    """A handle keeps the origin of its metadata, not the values of its inputs."""
    seen = []

    steps = delayed(ratio, save=False)(delayed(half, save=False)(raw()))
    node = delayed(half, target="last.tif")(steps)
    original = Held.heritage

    def heritage(self):
        seen.append(self.lineage)
        return original(self)

    monkeypatch.setattr(Held, "heritage", heritage)
    node.compute(scheduler="sync")
    (lineage,) = seen
    (upstream,) = lineage.inputs
    assert (lineage.shape, upstream.shape) == (STACK.shape, STACK.shape)
    assert not any(isinstance(each, np.ndarray) for each in (*lineage, *upstream))


def test_metadata_are_never_lost_with_a_record(raw):
    """If the record can't be read when they are needed, an error says so."""
    step = delayed(half, target="step.npy")(raw())
    step.compute()
    (path,) = Path(step.dc.path).parent.glob(".daskcache/records/*/*.json")
    path.write_text(path.read_text().replace('"X": 0.5', '"X": -0.5'))
    last = delayed(ratio, target="last.tif")(step)
    with pytest.raises(TargetError, match="metadata of an image"):
        last.compute()
    dc.compute(last, force=[step])
    assert told(last).pixel_size == SIZES
