"""OME-TIFF images that are spread over several files: all of them are the source."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

import daskcache as dc
from daskcache.errors import (
    FormatLimit,
    SourceChanged,
    SourceMissing,
    SourceUnreadable,
    TargetCorrupt,
    UnsafePath,
)
from daskcache.hashing.encoder import hash_value
from daskcache.housekeeping.audit import audit_root
from daskcache.storage.roots import Root
from daskcache.targets.images.ome_files import _ome_text
from daskcache.targets.images.target import ome_files
from daskcache.testing import assertions as testing

NS = 'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
#: Two channels of a plane each.
IMAGE = np.random.default_rng(0).integers(1, 2**16, (2, 7, 9), "u2")
NAMES = "c0.ome.tif", "c1.ome.tif"


def uuid_of(name):
    return f"urn:uuid:00000000-0000-0000-0000-{abs(hash(name)) % 10**12:012d}"


def tiff_data(name, page=0, count=1, uuid=True, **first):
    """A block of planes, e.g. ``C=1``."""
    where = "".join(f' First{axis}="{n}"' for axis, n in first.items())
    pages = "" if page is None else f' IFD="{page}"'
    planes = "" if count is None else f' PlaneCount="{count}"'
    named = "" if name is None else f'<UUID FileName="{name}">{uuid_of(name)}</UUID>'
    return f"<TiffData{where}{pages}{planes}>{named}</TiffData>"


def pixels(shape, blocks, order="XYZCT", kind="uint16", samples=1):
    """An image of a shape TCZYX, in µm, with named channels."""
    sizes = "".join(f' Size{axis}="{n}"' for axis, n in zip("TCZYX", shape, strict=True))
    channels = "".join(
        f'<Channel ID="Channel:0:{i}" SamplesPerPixel="{samples}" Name="{name}"/>'
        for i, name in zip(range(shape[1] // samples), ("DAPI", "GFP", "C", "D"), strict=False)
    )
    return (
        f'<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="{order}" Type="{kind}"{sizes} '
        'PhysicalSizeX="0.25" PhysicalSizeY="0.25" PhysicalSizeXUnit="µm" PhysicalSizeYUnit="µm">'
        f"{channels}{''.join(blocks)}</Pixels></Image>"
    )


def ome(*images, own=None):
    uuid = f' UUID="{uuid_of(own)}"' if own else ""
    return f"<OME {NS}{uuid}>{''.join(images)}</OME>"


def write(path, planes, text, **options):
    """A TIFF file with these pages and this description."""
    with tifffile.TiffWriter(path, **options) as tif:
        for i, plane in enumerate(planes):
            described = text.encode() if i == 0 else None
            photometric = "rgb" if plane.ndim == 3 else "minisblack"
            tif.write(plane, description=described, metadata=None, photometric=photometric)


def edit(path):
    """Change a pixel of the last page, and leave its description alone."""
    data = bytearray(Path(path).read_bytes())
    with tifffile.TiffFile(path) as tif:
        data[tif.pages[-1].dataoffsets[0]] ^= 1
    Path(path).write_bytes(data)


@pytest.fixture
def raw(tmp_path):
    """A folder with an image of two channels, each in a file of its own."""
    folder = tmp_path / "raw"
    folder.mkdir()
    described = pixels((1, 2, 1, 7, 9), [tiff_data(name, C=i) for i, name in enumerate(NAMES)])
    for i, name in enumerate(NAMES):
        write(folder / name, IMAGE[i : i + 1], ome(described, own=name))
    return folder


@pytest.fixture
def total(root):
    """A node that sums an image up."""

    def total(image):
        return int(image.sum())

    return dc.delayed(total, target="total.json")


# ---- one image, whichever file names it -----------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_all_planes_are_there(raw, total, name):
    """Not zeros in place of those in the other file."""
    source = dc.ImageSource(raw / name)
    assert hash_value(source.get_data()) == hash_value(IMAGE)
    assert hash_value(source.load_verified(source.content_hash())) == hash_value(IMAGE)
    assert total(source).compute() == int(IMAGE.sum())


def test_an_edit_of_the_other_file_counts(raw, total):
    """What is made of the image runs again."""
    total(dc.ImageSource(raw / NAMES[0])).compute()
    before = dc.ImageSource(raw / NAMES[0]).identity()
    edit(raw / NAMES[1])
    assert dc.ImageSource(raw / NAMES[0]).identity() != before
    node = total(dc.ImageSource(raw / NAMES[0]))
    assert "content changed" in str(dc.why(node))
    assert node.compute() == int(dc.ImageSource(raw / NAMES[1]).get_data().sum()) != int(IMAGE.sum())


@pytest.mark.parametrize("annotation", [None, dc.ImageSource])
def test_an_edit_of_the_other_file_while_the_graph_runs(raw, annotation):
    """Nothing is made of files other than those that the key is about."""

    def read(image, edited):
        raise AssertionError("it runs")

    if annotation:
        read.__annotations__["image"] = annotation
    edited = dc.delayed(lambda: edit(raw / NAMES[1]), target="edited.json")
    node = dc.delayed(read, target="read.json")(dc.ImageSource(raw / NAMES[0]), edited())
    with pytest.raises(SourceChanged, match=NAMES[0]):
        node.compute()


USES = {
    "a call": lambda source: dc.delayed(np.sum)(source),
    "its identity": lambda source: source.identity(),
    "its data": lambda source: source.get_data(),
    "its metadata": lambda source: source.read_metadata(),
    "a load": lambda source: source.load_verified("0" * 32),
    "a check": lambda source: source.verify("0" * 32),
}


@pytest.mark.parametrize("use", [use for use in USES if use != "its metadata"])  # which every file has
def test_a_missing_file_is_named(raw, use):
    """Also where the other one is the one that was asked for."""
    (raw / NAMES[1]).unlink()
    with pytest.raises(SourceMissing, match=f"{NAMES[0]} .* {NAMES[1]} is missing"):
        USES[use](dc.ImageSource(raw / NAMES[0]))
    with pytest.raises(SourceMissing, match=NAMES[1]):
        USES[use](dc.ImageSource(raw / NAMES[1]))


def test_a_missing_file_that_was_there(raw, total):
    """What was made of the image stays, and is not offered for what is left of it."""
    total(dc.ImageSource(raw / NAMES[0])).compute()
    (raw / NAMES[1]).unlink()
    with pytest.raises(SourceMissing, match=NAMES[1]):
        total(dc.ImageSource(raw / NAMES[0]))


def test_a_renamed_file(raw):
    """It is known by its UUID, and missed under its name."""
    (raw / NAMES[0]).rename(raw / "other.tif")
    assert hash_value(dc.ImageSource(raw / "other.tif").get_data()) == hash_value(IMAGE)
    with pytest.raises(SourceMissing, match=f"{NAMES[0]} is missing"):
        dc.ImageSource(raw / NAMES[1]).identity()


def test_a_renamed_file_without_a_uuid(raw):
    """It can't be told which planes are its own: the names that are expected are told."""
    described = pixels((1, 2, 1, 7, 9), [tiff_data(name, C=i) for i, name in enumerate(NAMES)])
    write(raw / "other.tif", IMAGE[:1], ome(described))
    with pytest.raises(SourceMissing, match="about other files") as caught:
        dc.ImageSource(raw / "other.tif").identity()
    assert caught.value.expected == "c0.ome.tif, c1.ome.tif"
    (raw / "other.tif").rename(raw / "C0.OME.tif")
    assert hash_value(dc.ImageSource(raw / "C0.OME.tif").get_data()) == hash_value(IMAGE)


def test_names_that_differ_in_case_are_two_files(tmp_path):
    """The exact name counts first; another spelling only if no other file could be meant."""
    names = ("a.ome.tif", "A.ome.tif")
    described = pixels((1, 2, 1, 7, 9), [tiff_data(name, C=i) for i, name in enumerate(names)])
    for i, name in enumerate(names):
        write(tmp_path / name, IMAGE[i : i + 1], ome(described))
    for name in names:
        assert hash_value(dc.ImageSource(tmp_path / name).get_data()) == hash_value(IMAGE)


@pytest.mark.parametrize("name", ["../c1.ome.tif", "/c1.ome.tif", "sub/c1.tif", "sub\\c1.tif", "..", ""])
def test_a_file_in_another_folder_is_refused(raw, name):
    """An image file does not say which other files are read."""
    blocks = [tiff_data(NAMES[0], C=0), tiff_data(name, C=1)]
    write(raw / NAMES[0], IMAGE[:1], ome(pixels((1, 2, 1, 7, 9), blocks), own=NAMES[0]))
    for use in USES.values():
        with pytest.raises(UnsafePath, match="not beside it"):
            use(dc.ImageSource(raw / NAMES[0]))


def test_the_metadata_of_the_image(raw, root):
    """Axes, sizes and channels of the whole, which results take over."""
    for name in NAMES:
        found = dc.ImageSource(raw / name).read_metadata()
        assert found == dc.ImageMetadata("CYX", {"Y": 0.25, "X": 0.25}, "µm", ("DAPI", "GFP"))
    node = dc.delayed(np.copy, target="copy.ome.tif")(dc.ImageSource(raw / NAMES[1]))
    node.compute()
    assert dc.ImageTarget(node.dc.path).read_metadata() == found


def test_a_folder_of_images(raw, root):
    """Each of its members is the whole image."""
    images = [source.get_data() for source in dc.FolderSource(raw, "*.tif")]
    assert [hash_value(image) for image in images] == [hash_value(IMAGE)] * 2


def test_an_audit(raw, root):
    """The source is made again from its record, with all its files."""
    node = dc.delayed(total_of, target="audited.json")(dc.ImageSource(raw / NAMES[0]))
    node.compute()
    audit = audit_root(Root(str(root)))
    assert audit.counts["same"] == 1, audit


@dc.delayed(target="audited.json")
def total_of(image):
    return int(image.sum())


# ---- where the planes are -------------------------------------------------------------------------


@st.composite
def layouts(draw):
    """Shape TCZ, order of dimensions, and in which file each plane is."""
    shape = tuple(draw(st.integers(1, 3)) for _ in "TCZ")
    order = draw(st.sampled_from(["XYZCT", "XYZTC", "XYCTZ", "XYCZT", "XYTCZ", "XYTZC"]))
    total = int(np.prod(shape))
    return shape, order, [draw(st.integers(0, 2)) for _ in range(total)], draw(st.booleans())


@given(layouts())
@settings(max_examples=60, deadline=None)
def test_planes_lie_where_the_xml_says(tmp_path_factory, layout):
    """In any order of dimensions, in any files: as tifffile reads them from the folder."""
    (t, c, z), order, places, in_runs = layout
    folder = tmp_path_factory.mktemp("raw")
    axes = order[:1:-1]
    lengths = {"T": t, "C": c, "Z": z}
    planes = np.arange(1, t * c * z * 4 + 1, dtype="u2").reshape(-1, 2, 2)
    pages = [[], [], []]
    blocks = []
    for position, place in enumerate(places):
        first = dict(zip(axes, np.unravel_index(position, [lengths[a] for a in axes]), strict=True))
        blocks.append(tiff_data(f"{place}.ome.tif", len(pages[place]), **first))
        pages[place].append(planes[position])
    used = [place for place in range(3) if pages[place]]
    for place in used:
        text = ome(pixels((t, c, z, 2, 2), blocks, order), own=f"{place}.ome.tif")
        write(folder / f"{place}.ome.tif", pages[place], text, bigtiff=in_runs)
    path = folder / f"{used[-1]}.ome.tif"
    source = dc.ImageSource(path)
    with tifffile.TiffFile(path) as tif:
        assert hash_value(source.get_data()) == hash_value(tif.asarray())
        assert source.read_metadata().axes == tif.series[0].axes


def test_runs_of_planes(tmp_path):
    """Blocks of several planes, of all that a file has, and of the file itself without a name."""
    image = np.arange(1, 25, dtype="u2").reshape(6, 2, 2)
    for tail in (tiff_data("b.tif", 0, 2, T=4), tiff_data("b.tif", None, None, T=4)):
        blocks = [tiff_data(None, 0, 4), tail]
        write(tmp_path / "a.tif", image[:4], ome(pixels((6, 1, 1, 2, 2), blocks), own="a.tif"))
        write(tmp_path / "b.tif", image[4:], "")
        assert hash_value(dc.ImageSource(tmp_path / "a.tif").get_data()) == hash_value(image)


def test_colours(tmp_path):
    """Planes of several samples."""
    image = np.arange(2 * 4 * 5 * 3, dtype="u1").reshape(2, 4, 5, 3)
    names = "a.tif", "b.tif"
    blocks = [tiff_data(name, T=i) for i, name in enumerate(names)]
    for i, name in enumerate(names):
        described = pixels((2, 3, 1, 4, 5), blocks, kind="uint8", samples=3)
        write(tmp_path / name, image[i : i + 1], ome(described, own=name))
    source = dc.ImageSource(tmp_path / "b.tif")
    assert hash_value(source.get_data()) == hash_value(image)
    assert source.read_metadata().axes == "TYXS"


@pytest.mark.parametrize(
    ("blocks", "planes", "said"),
    [
        ([tiff_data("a.tif", C=0), tiff_data("b.tif", 1, C=1)], IMAGE[1:], "b.tif has 1 pages"),
        ([tiff_data("a.tif", C=0), tiff_data("b.tif", 0, C=0)], IMAGE[1:], "1 planes are, of 2"),
        ([tiff_data("a.tif", C=0), tiff_data("b.tif", C=1)], IMAGE[1:, :3], "planes of uint16"),
        ([tiff_data("a.tif", C=0), tiff_data("b.tif", C="x")], IMAGE[1:], "invalid literal"),
    ],
)
def test_files_that_do_not_fit(tmp_path, blocks, planes, said):
    """An error with the files' names, not planes of zeros."""
    write(tmp_path / "a.tif", IMAGE[:1], ome(pixels((1, 2, 1, 7, 9), blocks), own="a.tif"))
    write(tmp_path / "b.tif", planes, "")
    with pytest.raises(SourceUnreadable, match=said):
        dc.ImageSource(tmp_path / "a.tif").get_data()


def test_a_file_that_is_no_tiff(raw):
    """It is named."""
    (raw / NAMES[1]).write_text("<html>")
    with pytest.raises(SourceUnreadable, match="not a TIFF file"):
        dc.ImageSource(raw / NAMES[0]).get_data()


# ---- several images, and metadata elsewhere -------------------------------------------------------


@pytest.mark.parametrize("kind", ["companion", "master"])
def test_metadata_in_another_file(tmp_path, kind):
    """A text beside the files, or the first of them."""
    image = np.stack([IMAGE[0], IMAGE[1], IMAGE[0] + 1])
    names = [f"{i}.ome.tif" for i in range(3)]
    described = pixels((3, 1, 1, 7, 9), [tiff_data(name, T=i) for i, name in enumerate(names)])
    holder = "x.companion.ome" if kind == "companion" else names[0]
    pointer = f'<BinaryOnly MetadataFile="{holder}" UUID="{uuid_of(holder)}"/>'
    for i, name in enumerate(names):
        write(tmp_path / name, image[i : i + 1], ome(pointer))
    whole = ome(described, own=holder)
    if kind == "companion":
        (tmp_path / holder).write_text(f'<?xml version="1.0" encoding="UTF-8"?>\n{whole}')
    else:
        write(tmp_path / holder, image[:1], whole)
    for name in names:
        source = dc.ImageSource(tmp_path / name)
        assert hash_value(source.get_data()) == hash_value(image)
        assert source.read_metadata().pixel_size == {"Y": 0.25, "X": 0.25}
    before = source.identity()
    holding = tmp_path / holder
    holding.write_bytes(holding.read_bytes().replace(b'X="0.25"', b'X="0.30"'))
    assert dc.ImageSource(tmp_path / name).identity() != before
    holding.unlink()
    with pytest.raises(SourceMissing, match=f"described by another file, and {holder} is missing"):
        dc.ImageSource(tmp_path / name).identity()


def test_metadata_in_a_file_that_has_none(tmp_path):
    """It is named."""
    write(tmp_path / "a.tif", IMAGE[:1], ome('<BinaryOnly MetadataFile="x.ome"/>'))
    (tmp_path / "x.ome").write_text("nothing")
    with pytest.raises(FormatLimit, match=r"x\.ome, which holds no OME-XML"):
        dc.ImageSource(tmp_path / "a.tif").identity()


def test_a_file_has_its_own_image(tmp_path):
    """Of several images that its OME-XML describes; the others' files count for nothing."""
    images = [pixels((1, 1, 1, 7, 9), [tiff_data(f"p{i}.ome.tif")]) for i in range(2)]
    images[1] = images[1].replace("0.25", "0.5")
    write(tmp_path / "p1.ome.tif", IMAGE[1:], ome(*images, own="p1.ome.tif"))
    source = dc.ImageSource(tmp_path / "p1.ome.tif")
    before = source.content_hash()
    assert hash_value(source.get_data()) == hash_value(IMAGE[1])
    assert source.read_metadata().pixel_size == {"Y": 0.5, "X": 0.5}
    write(tmp_path / "p0.ome.tif", IMAGE[:1], ome(*images, own="p0.ome.tif"))
    assert dc.ImageSource(tmp_path / "p1.ome.tif").content_hash() == before


def test_a_single_file_may_have_any_name(tmp_path):
    """Whatever its OME-XML calls it."""
    for text in (
        ome(pixels((1, 2, 1, 7, 9), [tiff_data("was.tif", 0, 2)])),
        ome(pixels((1, 2, 1, 7, 9), [tiff_data("was.tif", 0, 2)]), own="was.tif"),
        ome(pixels((1, 2, 1, 7, 9), [])),
        "no XML, with a FileName",
    ):
        write(tmp_path / "a.tif", IMAGE, text)
        assert hash_value(dc.ImageSource(tmp_path / "a.tif").get_data()) == hash_value(IMAGE)


def micro_manager(path, planes, frames, text):
    """A stack as Micro-Manager writes it, with a summary and an index of its planes."""
    summary = json.dumps(
        {"MicroManagerVersion": "2", "Frames": frames, "Slices": 1, "Channels": 1, "Positions": 2}
    ).encode()
    described = text.encode() + b" \0"
    start = 40 + len(summary)
    pages, offsets = b"", []
    for i, plane in enumerate(planes):
        offset = start + len(pages)
        offsets.append(offset)
        values = {
            256: (3, 1, plane.shape[1]), 257: (3, 1, plane.shape[0]), 258: (3, 1, 16), 259: (3, 1, 1),
            262: (3, 1, 1), 273: (4, 1, 0), 277: (3, 1, 1), 278: (3, 1, plane.shape[0]),
            279: (4, 1, plane.nbytes), 282: (4, 1, 1), 283: (4, 1, 1), 296: (3, 1, 1),
            51123: (),
        }  # fmt: skip
        if i == 0:
            values[270] = ()
        data = offset + 6 + 12 * len(values)
        after = data + plane.nbytes
        texts = {51123: b'{"a": 1}\0'} | ({270: described} if i == 0 else {})
        extra = b""
        for tag, text in texts.items():
            values[tag] = (2, len(text), after + len(extra))
            extra += text
        values[273] = (4, 1, data)
        following = after + len(extra) if i + 1 < len(planes) else 0
        pages += struct.pack("<H", len(values))
        pages += b"".join(struct.pack("<HHII", tag, *values[tag]) for tag in sorted(values))
        pages += struct.pack("<I", following) + plane.tobytes() + extra
    index = struct.pack("<II", 3453623, len(planes))
    index += b"".join(struct.pack("<5I", 0, 0, i, 1, offset) for i, offset in enumerate(offsets))
    header = b"II" + struct.pack("<HI", 42, start) + struct.pack("<II", 54773648, start + len(pages))
    header += struct.pack("<6I", 0, 0, 0, 0, 2355492, len(summary))
    Path(path).write_bytes(header + summary + pages + index)


def test_a_position_of_micro_manager(tmp_path):
    """A file that has all planes of its position is alone, though its OME-XML is in another's."""
    pointer = ome('<BinaryOnly MetadataFile="x_MMStack_Pos0.ome.tif" UUID="urn:uuid:0"/>')
    path = tmp_path / "x_MMStack_Pos1.ome.tif"
    micro_manager(path, IMAGE, 2, pointer)
    assert hash_value(dc.ImageSource(path).get_data()) == hash_value(IMAGE)
    micro_manager(path, IMAGE, 3, pointer)
    with pytest.raises(SourceMissing, match=r"x_MMStack_Pos0\.ome\.tif is missing"):
        dc.ImageSource(path).get_data()


# ---- results --------------------------------------------------------------------------------------


def test_a_result_is_one_file(raw, root):
    """A part of an image is not adopted as a result, whether or not the other part is there."""

    @dc.delayed(target="c0.ome.tif")
    def result():
        return np.zeros_like(IMAGE)

    root.mkdir(exist_ok=True)
    for with_sibling in (False, True):
        shutil.copy(raw / NAMES[0], root)
        if with_sibling:
            shutil.copy(raw / NAMES[1], root)
        with pytest.raises((TargetCorrupt, FormatLimit)):
            dc.adopt(result())


# ---- planning -------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", list(itertools.product([True, False], "<>")))
@pytest.mark.parametrize("text", ["", "a", "abc", "<OME>µm</OME>", "x" * 3000])
def test_descriptions(tmp_path, options, text):
    """They are read as tifffile reads them, in every kind of TIFF."""
    bigtiff, order = options
    write(tmp_path / "a.tif", IMAGE[:1], text, bigtiff=bigtiff, byteorder=order)
    with open(tmp_path / "a.tif", "rb") as file, tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert _ome_text(file).decode() == tif.pages.first.description


@pytest.mark.parametrize(
    "content", [b"", b"II", b"II*\0", b"MM\0+" + b"\xff" * 40, b"<html>", b"II*\0\x08\0\0\0"]
)
def test_what_is_no_tiff_has_an_identity(tmp_path, content):
    """What is wrong with it is said when it is read."""
    (tmp_path / "a.tif").write_bytes(content)
    assert len(dc.ImageSource(tmp_path / "a.tif").content_hash()) == 32


def test_a_file_is_looked_into_once(tmp_path, monkeypatch):
    """That it is alone is remembered with its content, in this process and the next."""
    write(tmp_path / "a.tif", IMAGE, ome(pixels((1, 2, 1, 7, 9), [tiff_data("a.tif", 0, 2)])))
    looks = []
    read = ome_files.files_at
    monkeypatch.setattr(ome_files, "files_at", lambda path: looks.append(path) or read(path))
    hashes = set()
    for _ in range(2):
        hashes |= {dc.ImageSource(tmp_path / "a.tif").content_hash() for _ in range(3)}
        ome_files.source_hashes._memo.cache_clear()
        ome_files._alone.clear()
    assert len(looks) == 1
    os.utime(tmp_path / "a.tif")
    hashes.add(dc.ImageSource(tmp_path / "a.tif").content_hash())
    assert len(looks) == 1
    assert len(hashes) == 1


def test_a_finished_image_runs_nothing(raw, total):
    """Its files are looked at, and nothing is read."""
    total(dc.ImageSource(raw / NAMES[0])).compute()
    with testing.assert_nothing_runs():
        total(dc.ImageSource(raw / NAMES[0])).compute()
