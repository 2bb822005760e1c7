"""Pixel sizes, units and channel names as other programs write them: understood, or said once.

A part that is not understood is left out of results; none is written as nonsense.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import tifffile
import zarr

import daskcache as dc
from daskcache import ImageSource, OMEZarrTarget, ZarrSource, delayed
from daskcache.errors import DaskcacheWarning, GraphError
from daskcache.targets.images import units

STACK = np.arange(2 * 3 * 8 * 9, dtype="uint16").reshape(2, 3, 8, 9)
ZCYX = {"axes": "ZCYX"}


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch):
    """Warnings are given once a process: each test begins with none given."""
    monkeypatch.setattr(units, "_told", set())


def imagej(**told):
    return {"imagej": True, "resolution": (4, 4), "metadata": {"axes": "ZCYX", "unit": "um"} | told}


def ome(**told):
    both = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25, "PhysicalSizeZ": 2.0}
    return {"ome": True, "metadata": ZCYX | both | told}


def dpi(number, unit="INCH"):
    return {"resolution": (number, number), "resolutionunit": unit, "metadata": None}


SIZES = {"Z": 2.0, "Y": 0.25, "X": 0.25}
PLANE = {"Y": 0.25, "X": 0.25}

#: Name, options of tifffile, sizes, unit and channels to read, words of the warning.
CASES = [
    ("µm", ome(), SIZES, "µm", (), None),
    ("Å", ome(**{f"PhysicalSize{a}Unit": "Å" for a in "XYZ"}), SIZES, "Å", (), None),
    ("Å in ImageJ", imagej(unit="\\u00C5", spacing=2.0), SIZES, "Å", (), None),
    ("angstrom", imagej(unit="Angstrom", spacing=2.0), SIZES, "Å", (), None),
    ("read as cp1252", ome(**{f"PhysicalSize{a}Unit": "Âµm" for a in "XYZ"}), SIZES, "µm", (), None),
    ("Greek, as cp1252", ome(**{f"PhysicalSize{a}Unit": "Î¼m" for a in "XYZ"}), SIZES, "µm", (), None),
    ("in ImageJ", imagej(unit="\\u00C2\\u00B5m", spacing=2.0), SIZES, "µm", (), None),
    (
        "unknown unit",
        ome(**{f"PhysicalSize{a}Unit": "furlong" for a in "XYZ"}),
        SIZES,
        "furlong",
        (),
        "furlong",
    ),
    ("unknown in ImageJ", imagej(unit="furlong"), PLANE, "furlong", (), "furlong"),
    ("infinite", ome(PhysicalSizeZ=np.inf), PLANE, "µm", (), "inf"),
    ("NaN", ome(PhysicalSizeZ=np.nan), PLANE, "µm", (), "nan"),
    ("negative", ome(PhysicalSizeZ=-1), PLANE, "µm", (), "-1"),
    ("zero", ome(PhysicalSizeZ=0), PLANE, "µm", (), "'0"),
    ("infinite in ImageJ", imagej(spacing=np.inf), PLANE, "µm", (), "inf"),
    ("NaN in ImageJ", imagej(spacing=np.nan), PLANE, "µm", (), "nan"),
    ("with a comma", imagej(spacing="1,5"), PLANE, "µm", (), "1,5"),
    (
        "all channels",
        ome(Channel={"Name": ["DAPI", "GFP", "RFP"]}),
        SIZES,
        "µm",
        ("DAPI", "GFP", "RFP"),
        None,
    ),
    ("half of the channels", ome(Channel={"Name": ["DAPI", "", "RFP"]}), SIZES, "µm", (), "DAPI"),
    ("half in ImageJ", imagej(Labels=["DAPI", "", ""] * 2), PLANE, "µm", (), "DAPI"),
    ("labels of planes", imagej(Labels=list("abcdef")), PLANE, "µm", (), None),
    ("72 dpi", dpi(72), {}, None, (), None),
    ("96 dpi", dpi(96), {}, None, (), None),
    ("96 dpi in cm", dpi(96 / 2.54, "CENTIMETER"), {}, None, (), None),
    ("a scanner's", dpi(25400), {"Y": 1.0, "X": 1.0}, "µm", (), None),
]


@pytest.mark.parametrize(
    ("name", "options", "sizes", "unit", "channels", "warned"), CASES, ids=[case[0] for case in CASES]
)
def test_metadata_as_others_write_it(name, options, sizes, unit, channels, warned, tmp_path):
    """It is understood, or a warning names the part and the file, once for any number of files."""
    paths = [tmp_path / "raw" / f"{n}.tif" for n in "ab"]
    paths[0].parent.mkdir()
    for path in paths:
        tifffile.imwrite(path, STACK, photometric="minisblack", **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for path in paths:
            found = ImageSource(path).read_metadata()
            assert (found.pixel_size, found.unit, found.channels) == (sizes, unit, channels)
        results = [compute_ome(ImageSource(path)) for path in paths]
    texts = [str(each.message) for each in caught if each.category is DaskcacheWarning]
    assert len(texts) == (warned is not None)
    assert all(warned in text and "a.tif" in text for text in texts)
    for result in results:
        text = tifffile.TiffFile(result).ome_metadata
        assert not any(nonsense in text for nonsense in ('"inf"', '"nan"', "furlong", '"-1'))


def compute_ome(source):
    @delayed(target="out/{image.stem}.ome.tif")
    def out(image):
        return image + 1

    node = out(source)
    cold, warm = node.compute(), out(source).compute()
    np.testing.assert_array_equal(cold, warm)
    return node.dc.path


@pytest.mark.parametrize(
    ("size", "unit", "labels", "warned"),
    [
        (0.25, "angstrom", ["DAPI", "GFP", "RFP"], None),
        (0.25, "furlong", ["DAPI", "GFP", "RFP"], "furlong"),
        (float("nan"), "micrometer", ["DAPI", "GFP", "RFP"], "nan"),
        (float("inf"), "micrometer", ["DAPI", "GFP", "RFP"], "inf"),
        (0.25, "micrometer", ["DAPI", None, "RFP"], "DAPI"),
    ],
)
def test_ome_zarr_as_others_write_it(size, unit, labels, warned, tmp_path):
    """OME-Zarr images are read by the same rule, and named."""
    axes = [{"name": name, "type": "space", "unit": unit} for name in "zyx"]
    axes.insert(1, {"name": "c", "type": "channel"})
    scale = {"type": "scale", "scale": [2.0, 1.0, size, size]}
    image = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": [scale]}]}
    omero = {"channels": [{"label": label} for label in labels]}
    attributes = {"ome": {"version": "0.5", "multiscales": [image], "omero": omero}}
    group = zarr.create_group(tmp_path / "raw.ome.zarr", attributes=attributes)
    group.create_array("0", data=STACK)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for source in (
            ZarrSource(tmp_path / "raw.ome.zarr"),
            ZarrSource(tmp_path / "raw.ome.zarr", "0"),
        ):
            found = source.read_metadata()
    texts = [str(each.message) for each in caught if each.category is DaskcacheWarning]
    assert len(texts) == (warned is not None)
    assert all(warned in text and "raw.ome.zarr" in text for text in texts)
    assert all(0 < known < np.inf for known in found.pixel_size.values())
    assert found.channels == (tuple(labels) if None not in labels else ())
    assert found.unit == {"angstrom": "Å", "micrometer": "µm"}.get(unit, unit)


@pytest.mark.parametrize("suffix", ["tif", "ome.tif", "ome.zarr"])
def test_angstroms_are_kept(suffix, tmp_path):
    """A unit that one format has is handed on to the others."""
    source = dc.ImageTarget("raw.ome.tif", axes="ZYX", pixel_size=(3, 2, 2), unit="Å")
    source.write(STACK[0], str(tmp_path / "raw.ome.tif"))

    @delayed(target=f"out.{suffix}")
    def out(image):
        return image + 1

    node = out(ImageSource(tmp_path / "raw.ome.tif"))
    node.compute()
    found = node.dc.target.read_metadata()
    assert (found.pixel_size, found.unit) == ({"Z": 3.0, "Y": 2.0, "X": 2.0}, "Å")


@pytest.mark.parametrize("size", [np.nan, np.inf, 0, -1])
def test_scales_of_targets_are_positive(size):
    """An option that would be written as nonsense is refused when a function is decorated."""
    with pytest.raises(GraphError, match="positive numbers"):
        OMEZarrTarget("a.ome.zarr", axes="yx", scale={"y": size, "x": 1})
