"""Figures as targets, and PNG files, which hold an array or a figure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import dask
import imagecodecs
import imageio.v3 as iio
import matplotlib as mpl
import numpy as np
import PIL.Image
import pytest
from matplotlib.figure import Figure

import daskcache as dc
from daskcache.errors import FormatLimit, GraphError, TargetError
from daskcache.hashing.encoder import hash_value
from daskcache.planning.planner import Planner
from daskcache.targets.figures import drawn

MASK = np.arange(600).reshape(20, 30) % 7 < 3


def figure(scale=2.0):
    made = Figure()
    axes = made.subplots()
    axes.plot([0, scale], "o-", label="é")
    axes.legend()
    axes.set_title("$r^2$")
    return made


@dc.delayed(target="fig/{n}.png")
def plot(n):
    return figure(n)


@dc.delayed(target="{path.stem}.json")
def about(path):
    return [path.name, path.is_absolute(), path.read_bytes()[:4].hex()]


SIGNATURES = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF-"}


@pytest.mark.parametrize("suffix", SIGNATURES)
@pytest.mark.parametrize("inline", ["64 kiB", "0"])
def test_the_value_of_a_figure_is_its_path(root, suffix, inline):
    """Cold, warm, loaded, opened and downstream; the suffix chooses the kind of file."""
    node = dc.delayed(figure, target=f"a.{suffix}")()
    with dask.config.set({"daskcache.inline": inline}):
        path = root / f"a.{suffix}"
        assert [node.compute(), dask.compute(node)[0], node.dc.load(), node.dc.open()] == [path] * 4
        assert path.read_bytes().startswith(SIGNATURES[suffix])
        assert about(node).compute()[:2] == [path.name, True]


def test_the_hot_cache_gives_arrays_and_paths_of_their_roots(root, tmp_path):
    """PNG files of equal bytes: an array is kept, a path never."""
    got = []
    for name in ("one", "two"):
        with dask.config.set({"daskcache.hot-cache": "1 MiB", "daskcache.root": str(tmp_path / name)}):
            got += [plot(1).compute(), plot(1).compute()]
            mask = dc.delayed(lambda: MASK, target="mask.png", version=1)()
            assert all((each == MASK).all() for each in (mask.compute(), mask.compute(), mask.dc.load()))
    assert got == [tmp_path / "one/fig/1.png"] * 2 + [tmp_path / "two/fig/1.png"] * 2


_IN_ANOTHER_PROCESS = """
import hashlib, sys
sys.path[:0] = {path!r}
from test_figures import SIGNATURES, drawn, figure
print([hashlib.md5(drawn(figure(), "." + suffix)).hexdigest() for suffix in SIGNATURES])
"""


def test_equal_figures_give_equal_bytes_in_every_process():
    """Whatever the time, the hash seed and what was drawn before."""
    printed = set()
    for seed in ("1", "2"):
        code = _IN_ANOTHER_PROCESS.format(path=[str(Path(__file__).parent), *sys.path])
        env = {**os.environ, "PYTHONHASHSEED": seed, "SOURCE_DATE_EPOCH": seed * 9}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
        assert done.returncode == 0, done.stderr
        printed.add(done.stdout)
    assert len(printed) == 1


def test_settings_of_matplotlib_stay_as_they_are():
    """Also after an error; a salt that a user has set counts."""
    with mpl.rc_context({"svg.hashsalt": None}):
        first = drawn(figure(), ".svg")
        with pytest.raises(AttributeError):
            drawn(figure(), ".svg", bbox_inches="oops")
        assert mpl.rcParams["svg.hashsalt"] is None
        mpl.rcParams["svg.hashsalt"] = "mine"
        assert drawn(figure(), ".svg") != first
        assert mpl.rcParams["svg.hashsalt"] == "mine"


def test_options_count_if_they_are_given(root):
    """A change of `dpi` draws the figure again; without options, the class may be named or not."""
    sizes = {}
    for dpi in (None, 50, 100):
        node = dc.delayed(figure, target=dc.FigureTarget("a.png", dpi=dpi, bbox_inches="tight"))()
        sizes[dpi] = iio.imread(node.compute()).shape[0]
    assert sizes[None] == sizes[100] > 1.8 * sizes[50]
    assert dc.FigureTarget("b.svg").counted_options() == {}
    plain = [dc.delayed(figure, target=t)() for t in ("b.svg", dc.FigureTarget("b.svg"))]
    assert plain[0].dc.key == plain[1].dc.key


def test_pyplot_forgets_what_is_saved(root):
    """On a worker figures would add up; one in a window stays, and so does one that is not a result."""
    import matplotlib.pyplot as plt

    other = plt.figure()

    class Window(type(other.canvas.manager)):
        """Stands for the manager of a window."""

    shown = plt.figure()
    shown.canvas.manager.__class__ = Window
    try:
        made = dc.delayed(lambda: plt.figure(), target="new.png", version=1)()
        kept = dc.delayed(lambda: shown, target="shown.png", version=1)()
        dask.compute(made, kept)
        assert plt.get_fignums() == [other.number, shown.number]
    finally:
        plt.close("all")


def test_pyplot_is_not_imported(tmp_path):
    """Nor is Matplotlib, by a program without figures."""
    code = """
import sys, numpy as np, daskcache as dc
dc.delayed(lambda: np.zeros((2, 2), "u1"), target="a.png")().compute()
print("matplotlib" in sys.modules)
from matplotlib.figure import Figure
print(dc.delayed(Figure, target="a.svg", version=1)().compute().name, "matplotlib.pyplot" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.split() == ["False", "a.svg", "False"], done.stderr


def test_an_isolated_function_sends_a_figure_without_pyplot(tmp_path):
    """The worker does not import it to take a figure over, as it may not open windows."""
    (tmp_path / "plots.py").write_text(
        "def plot():\n    import matplotlib.pyplot as plt\n    return plt.figure()\n"
    )
    code = """
import sys, daskcache as dc, plots
print(dc.delayed(plots.plot, target="a.png", isolate=True)().compute().name)
print([name in sys.modules for name in ("matplotlib.figure", "matplotlib.pyplot")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.split("\n")[:2] == ["a.png", "[True, False]"], done.stderr


def test_an_edited_figure_is_modified_and_stays_a_path(root):
    """Programs for drawing drop Matplotlib's note: the record knows that the result was a figure."""
    node = plot(3)
    path = node.compute()
    edited = PIL.Image.open(path).convert("L")
    edited.save(path)
    assert node.dc.state == "modified"
    with pytest.raises(TargetError):
        node.compute()
    dc.adopt(node)
    assert node.dc.state == "adopted"
    assert [node.compute(), node.dc.load(), node.dc.open()] == [path] * 3
    assert about(node).compute()[0] == "3.png"


def test_a_figure_under_another_name_is_copied(root, runs):
    """It is not drawn again, and the copy's value is its own path; another suffix is another drawing."""

    def draw(runs):
        runs.note("draw")
        return figure()

    made = []
    for name in ("a.png", "b.png", "a.svg"):
        node = dc.delayed(draw, target=name, version=1, ignore="runs")(runs)
        made.append((node.compute(), runs.take()))
    assert made == [(root / "a.png", ["draw"]), (root / "b.png", []), (root / "a.svg", ["draw"])]
    assert (root / "a.svg").read_bytes().startswith(b"<?xml")


# ---- arrays in PNG --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "image",
    [
        MASK,
        (MASK * 200).astype("u1"),
        np.arange(600, dtype="u2").reshape(20, 30) * 100,
        np.arange(2400, dtype="u1").reshape(20, 30, 4),
    ],
    ids=["mask", "grey", "grey of 16 bits", "colours with alpha"],
)
def test_other_programs_see_the_same_image(root, image):
    node = dc.delayed(lambda: image, target="a.png", version=1)()
    assert node.compute().dtype == image.dtype
    seen = iio.imread(root / "a.png")
    np.testing.assert_array_equal(seen, image * np.uint8(255) if image is MASK else image)


@pytest.mark.parametrize("channels", [(), (2,), (3,), (4,)], ids=["grey", "alpha", "rgb", "rgba"])
@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_a_source_has_all_the_bits(tmp_path, kind, channels):
    """Pillow gives colours of 16 bits as 8 bits, without a word."""
    image = np.random.default_rng(1).integers(0, np.iinfo(kind).max, (9, 8, *channels), dtype=kind)
    path = tmp_path / "a.png"
    path.write_bytes(imagecodecs.png_encode(image))
    got = dc.ImageSource(path).get_data()
    assert got.dtype == image.dtype
    np.testing.assert_array_equal(got, image)
    if image.nbytes > 144:
        with dask.config.set({"daskcache.max-decoded": 144}), pytest.raises(FormatLimit):
            dc.ImageSource(path).get_data()


def test_what_is_read_does_not_depend_on_who_wrote_it(root):
    """An image of another program is an array, a figure that pyplot saved is a path."""

    @dc.delayed(target="{name}.png", save=False)
    def own(name, target_path):
        if name == "plot":
            figure().savefig(target_path)
        else:
            iio.imwrite(target_path, np.eye(9, dtype="u1") * 7)

    for _ in range(2):
        assert own("plot").compute() == root / "plot.png"
        assert own("image").compute().tolist() == (np.eye(9) * 7).tolist()
    assert own("image").dc.record["data_hash"].endswith(hash_value(np.eye(9, dtype="u1") * 7))


def test_an_edited_mask_is_a_mask_or_refused(root):
    """A painting program has drawn a cell in white; a grey one would be no mask."""
    node = dc.delayed(lambda: MASK, target="a.png", version=1)()
    node.compute()
    pixels = iio.imread(root / "a.png")
    pixels[0, :9] = 255
    iio.imwrite(root / "a.png", pixels)
    dc.adopt(node)
    assert node.compute().dtype == bool
    assert node.compute()[0, :9].all()
    pixels[1, 1] = 100
    iio.imwrite(root / "a.png", pixels)
    with pytest.raises(FormatLimit):
        dc.adopt(node)


def test_a_mask_chunk_alone_makes_no_mask(tmp_path):
    """If a program that keeps the note has painted in grey, the image is one of uint8."""
    target, path = dc.PNGTarget("a.png"), str(tmp_path / "a.png")
    target.write(np.zeros((4, 4), bool), path)
    content = Path(path).read_bytes()
    note = content[33 : content.index(b"IDAT") - 4]
    assert b"daskcache\0mask" in note
    grey = imagecodecs.png_encode(np.full((4, 4), 7, "u1"))
    Path(path).write_bytes(grey[:33] + note + grey[33:])
    assert target.read(path).dtype == "u1"


def test_a_huge_image_is_not_decoded(root):
    node = dc.delayed(lambda: np.zeros((100, 100), "u2"), target="a.png", version=1)()
    node.compute()
    with (
        dask.config.set({"daskcache.max-decoded": "19 kB"}),
        pytest.raises(FormatLimit, match="too large"),
    ):
        node.dc.load()


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (np.zeros((3, 20, 30), "u1"), "moveaxis"),
        (np.zeros((20, 30), "f4"), ".tif"),
        (np.zeros((20, 30), "i8"), ".tif"),
        (np.zeros((20, 30, 2), "u1"), ".tif"),
        (figure().axes[0], ".figure"),
        (None, "forgot to return"),
    ],
    ids=["channels first", "floats", "labels", "two channels", "axes", "none"],
)
def test_what_png_can_not_hold(root, value, hint):
    node = dc.delayed(lambda: value, target="a.png", version=1)()
    with pytest.raises(FormatLimit) as caught:
        node.compute()
    assert "PNGTarget" in str(caught.value)
    assert hint in caught.value.hint


def test_suffixes_of_figures():
    """The error names those that there are, and what to do for others."""
    for make in (dc.FigureTarget, dc.PNGTarget):
        with pytest.raises(GraphError, match=r"\.png") as caught:
            make("a.jpg")
        assert "target_path" in caught.value.hint
    assert isinstance(dc.delayed(figure, target="A.PNG")._spec.formats[0], dc.PNGTarget)


def test_a_damaged_figure_is_never_a_path(root):
    node = plot(1)
    path = node.compute()
    entry = Planner().look(node._recipe).entry
    entry.read_only = True
    found, content = path.stat(), path.read_bytes()
    path.write_bytes(content.replace(b"Matplotlib", b"Matplotlip", 1))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    for access in (entry.load, entry.lend, entry.open):
        with pytest.raises(TargetError):
            access()
