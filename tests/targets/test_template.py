"""Path and label templates: what fills them, and what never leaves the root."""

from __future__ import annotations

import contextlib
import enum
import os
import unicodedata
from pathlib import Path

import dask
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import daskcache as dc
from daskcache.errors import DaskcacheError, TemplateError, UnsafePath
from daskcache.storage.paths import DATA_HASH
from daskcache.targets.template import Template


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    HIGH = 3


def fill(text, is_path=True, **values):
    return Template(text, is_path).fill(values.__getitem__)


# ---- filling -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("a/b.tif", {}, "a/b.tif"),
        ("{x}.tif", {"x": "a"}, "a.tif"),
        ("{x}-{y}.tif", {"x": 1, "y": 2.5}, "1-2.5.tif"),
        ("{i:03d}.tif", {"i": 7}, "007.tif"),
        ("{x:.2f}.tif", {"x": 1 / 3}, "0.33.tif"),
        ("{x:>5}.tif", {"x": "ab"}, "   ab.tif"),
        ("{x}.tif", {"x": True}, "True.tif"),
        ("{x}.tif", {"x": None}, "None.tif"),
        ("{x}.tif", {"x": Colour.RED}, "RED.tif"),
        ("{x}.tif", {"x": Level.HIGH}, "HIGH.tif"),
        ("{x}.tif", {"x": "é日本"}, "é日本.tif"),
        ("{{x}}.tif", {}, "{x}.tif"),
        ("{p.stem}{p.suffix}", {"p": Path("d/a.ome.tif")}, "a.ome.tif"),
        ("{p.filename}/{p.parent}.csv", {"p": Path("/data/day1/a.tif")}, "a.tif/day1.csv"),
        ("{p.stem}.csv", {"p": "data/a.tif"}, "a.csv"),
        ("{p.stem:>4}.csv", {"p": "a.tif"}, "   a.csv"),
        ("{x}/{data_hash}.csv", {"x": 1}, "1/" + DATA_HASH + ".csv"),
        ("a.b-c_d e/{x}", {"x": "f"}, "a.b-c_d e/f"),
    ],
)
def test_fields_are_filled(text, values, expected):
    """Fields take arguments with format specs, and four attributes of paths."""
    assert fill(text, **values) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a/b", "a%2Fb"),
        ("a\\b", "a%5Cb"),
        ("100%", "100%25"),
        ("../../etc/passwd", "..%2F..%2Fetc%2Fpasswd"),
        ("/absolute", "%2Fabsolute"),
        (Path("a/b"), "a%2Fb"),
        ("%2F", "%252F"),
    ],
)
def test_separators_in_values_are_escaped(value, expected):
    """What a value contributes stays within one component: "/" is escaped, and so is "%"."""
    assert fill("x/{v}.csv", v=value) == f"x/{expected}.csv"


def test_escaping_keeps_values_apart():
    """Values that differ give paths that differ."""
    values = ["a/b", "a%2Fb", "a%252Fb", "a\\b", "a b", "a%b", "ab"]
    assert len({fill("{v}.csv", v=v) for v in values}) == len(values)


def test_labels_are_not_escaped():
    """A label is text for people: nothing in it is escaped or refused."""
    assert fill("{x} of {y}", is_path=False, x="a/b", y="../c") == "a/b of ../c"


def test_nodes_and_sources_give_their_paths_parts(tmp_path):
    """A node gives the parts of its target's path, a source those of its file's."""
    (tmp_path / "raw").mkdir()
    np.save(tmp_path / "raw" / "a.npy", np.zeros(2))

    @dc.delayed(target="clean/{image.parent}-{image.stem}.npy")
    def clean(image):
        return image

    @dc.delayed(target="{funcname}/{cleaned.stem}{cleaned.suffix}.{cleaned.parent}.json")
    def measure(cleaned):
        return 1

    cleaned = clean(dc.NumpySource(tmp_path / "raw" / "a.npy"))
    assert cleaned.dc.path.endswith("/clean/raw-a.npy")
    assert measure(cleaned).dc.path.endswith("/measure/raw-a.npy.clean.json")


def test_the_key_and_the_functions_name():
    """`{key}` and `{funcname}` are the node's own."""

    @dc.delayed(target="{funcname}-{key}.json")
    def f(x):
        return x

    assert f(1).dc.path.endswith(f"/f-{f(1).dc.key}.json")


def test_default_arguments_fill_fields():
    """A default that was not given fills its field."""
    node = dc.delayed(lambda x, k=5: x, target="{x}-{k}.json")(1)
    assert node.dc.path.endswith("/1-5.json")


# ---- the context ---------------------------------------------------------------------------------


def test_the_context_fills_fields():
    """`with dc.context(base=...)` sets fields for the nodes that are made within."""
    f = dc.delayed(lambda x: x, target="{base}/{x}.json")
    with dc.context(base="img01"):
        node = f(1)
        with dc.context(base="img02"):
            assert f(1).dc.path.endswith("/img02/1.json")
        assert f(1).dc.path.endswith("/img01/1.json")
    assert node.dc.path.endswith("/img01/1.json")
    assert node.compute() == 1
    with pytest.raises(TemplateError, match="base"):
        f(1)


def test_the_context_of_the_process_and_of_the_configuration():
    """`dc.context[...] = ...` sets a field for the process; Dask's config holds defaults."""
    f = dc.delayed(lambda x: x, target="{base}/{x}.json")
    with dask.config.set({"daskcache.context": {"base": "default"}}):
        assert f(1).dc.path.endswith("/default/1.json")
        dc.context["base"] = "mine"
        try:
            assert f(1).dc.path.endswith("/mine/1.json")
            with dc.context(base="block"):
                assert dict(dc.context) == {"base": "block"}
        finally:
            del dc.context["base"]
        assert f(1).dc.path.endswith("/default/1.json")
    assert len(dc.context) == 0


def test_arguments_come_before_the_context():
    """An argument's name means the argument."""
    f = dc.delayed(lambda x: x, target="{x}.json")
    with dc.context(x="context"):
        assert f("argument").dc.path.endswith("/argument.json")


def test_the_context_is_not_part_of_the_key():
    """Context fills paths; it doesn't make another recipe."""
    f = dc.delayed(lambda x: x, target="{base}/{x}.json")
    with dc.context(base="a"):
        one = f(1)
    with dc.context(base="b"):
        two = f(1)
    assert one.dc.key == two.dc.key
    assert one.dc.path != two.dc.path


# ---- templates that are refused ------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "{x.__class__}.csv",
        "{x.__class__.__mro__}.csv",
        "{x._shape}.csv",
        "{x.stem.suffix}.csv",
        "{x[0]}.csv",
        "{x[key]}.csv",
        "{0}.csv",
        "{}.csv",
        "{x!r}.csv",
        "{x!s}.csv",
        "{x:{y}}.csv",
        "{x.}.csv",
        "{.stem}.csv",
        "{x y}.csv",
        "{x+1}.csv",
        "{x()}.csv",
        "{x",
        "x}",
        "{x:}}",
    ],
)
def test_templates_are_no_expressions(text):
    """Indexing, other attributes, conversions and expressions raise TemplateError when decorating."""
    with pytest.raises(TemplateError):
        Template(text)
    with pytest.raises(DaskcacheError):
        dc.delayed(lambda x: x, target=text)


@pytest.mark.parametrize(
    ("text", "values", "story"),
    [
        ("{nope}.csv", {"x": 1}, "nope"),
        ("{x:d}.csv", {"x": "a"}, "format"),
        ("{x:03d}.csv", {"x": 1.5}, "format"),
        ("{x}.csv", {"x": [1]}, "list"),
        ("{x}.csv", {"x": np.zeros(3)}, "ndarray"),
        ("{x}.csv", {"x": b"a"}, "bytes"),
        ("{x}.csv", {"x": object()}, "object"),
        ("{x.stem}.csv", {"x": 5}, "int"),
        ("{x.stem}.csv", {"x": None}, "NoneType"),
        ("{x.shape}.csv", {"x": np.zeros(3)}, "no fields"),
    ],
)
def test_values_that_do_not_belong_in_a_name(text, values, story):
    """Unknown fields and values that are no texts or numbers raise TemplateError naming them."""
    with pytest.raises(TemplateError, match=story) as caught:
        fill(text, **values)
    assert repr(text) in str(caught.value)


def test_a_format_spec_that_a_value_does_not_take():
    """A format spec that None or a path can't take is a TemplateError too, naming the field."""
    for value in (None, True, Colour.RED):
        with pytest.raises(TemplateError, match="x"):
            fill("{x:.3f%%}.csv", x=value)
    with pytest.raises(TemplateError, match="x"):
        fill("{x:03d}.csv", x=None)


def test_a_field_that_is_a_source_says_which_attribute_to_use(tmp_path):
    """A source or node as a whole doesn't fill a field; the error names `{x.stem}`."""
    source = dc.FileSource(tmp_path / "a.bin")
    (tmp_path / "a.bin").write_bytes(b"1")
    with pytest.raises(TemplateError, match=r"\{x\.stem\}"):
        fill("{x}.csv", x=source)
    f = dc.delayed(lambda x: 1, target="{x}.json")
    with pytest.raises(TemplateError, match=r"\{x\.stem\}"):
        f(source)


def test_a_node_without_a_target_has_no_path():
    """A template that needs the path of an uncached node says which node that is."""
    bare = dc.delayed(lambda: 1, save=False)
    f = dc.delayed(lambda x: x, target="{x.stem}.json")
    with pytest.raises(TemplateError, match="no target"):
        f(bare())


@pytest.mark.parametrize("text", ["{x.filename}", "out/{x.suffix}", "{x.stem}{x.suffix}"])
def test_the_format_must_not_depend_on_a_value(text):
    """A suffix that comes from a value can't decide the format; `store=` can."""
    with pytest.raises(TemplateError, match="store"):
        dc.delayed(lambda x: x, target=text)
    dc.delayed(lambda x: x, target=text, store=dc.JSONTarget)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/a.csv",
        "/{x}.csv",
        "~/a.csv",
        "~user/a.csv",
        "../a.csv",
        "a/../b.csv",
        "a/..",
        "..",
        ".",
        "./a.csv",
        "a/./b.csv",
        "a//b.csv",
        "a/",
        "{x}/",
        "C:/a.csv",
        "c:a.csv",
        "a\\b.csv",
        "a\0b.csv",
        "a\nb.csv",
        "a\rb.csv",
        "a\x7fb.csv",
        "a\ud800.csv",
        "a.",
        "a ",
        "dir./a.csv",
        "dir /a.csv",
        ".daskcache",
        ".daskcache/records/a.json",
        "sub/.daskcache/a.json",
        ".DaskCache/a.json",
        "a.part",
        "dir.part/a.csv",
        "x.PART",
        "con",
        "CON.csv",
        "nul.tar.gz",
        "dir/aux/a.csv",
        "com1.csv",
        "LPT9",
        "x" * 256 + ".csv",
        "é" * 130 + ".csv",
    ],
)
def test_unsafe_paths_are_refused_when_decorating(path):
    """Paths that leave the root, hide in it or are no portable file names raise UnsafePath."""
    with pytest.raises(UnsafePath) as caught:
        Template(path)
    assert caught.value.hint
    with pytest.raises(DaskcacheError):
        dc.delayed(lambda x: x, target=path, store=dc.JSONTarget)


@pytest.mark.parametrize(
    "value",
    [
        "a\0b",
        "a\nb",
        "\x1b[31m",
        "\ud800",
        "x" * 300,
        "é" * 130,
        "日" * 90,
        ".daskcache",
        "CON",
        "nul",
        "x.part",
    ],
)
def test_unsafe_values_are_refused_before_scheduling(value):
    """A value that would make a bad file name raises UnsafePath at the call."""
    f = dc.delayed(lambda v: 1, target="{v}", store=dc.JSONTarget)
    with pytest.raises(UnsafePath):
        f(value)


@pytest.mark.parametrize("value", ["..", ".", "", "a.", "a ", " ", "..."])
def test_values_that_are_whole_components(value):
    """A value that alone would be "..", "." or nothing raises UnsafePath, anywhere in the path."""
    for text in ("{v}", "x/{v}", "{v}/x.json"):
        with pytest.raises(UnsafePath):
            fill(text, v=value)


@pytest.mark.parametrize(
    "path",
    [
        "a.csv",
        "a/b/c.csv",
        "a..b.csv",
        "...a.csv",
        ".hidden",
        "..a/b",
        "a/.b/c",
        "console.csv",
        "com10.csv",
        "apart.csv",
        "x.party",
        "daskcache/a",
        "é/日本.csv",
        "a b/c d.csv",
        "x" * 200 + ".csv",
        "/".join(["dir"] * 60) + "/a.csv",
    ],
)
def test_ordinary_paths_are_accepted(path):
    """Names with dots, spaces and any script are fine, and so are deep folders."""
    assert Template(path).fill({}.__getitem__) == path


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(["{v}", "a/{v}", "{v}/a.json", "a-{v}.json", "{v}{w}", "{v}.{w}", "x/{v}/{w}/y"]),
    st.text() | st.sampled_from(["..", ".", "/", "\\", "~", "", "C:", "/etc/passwd"]),
    st.text(alphabet="./\\~%: a\0\n", max_size=6),
)
@example("{v}{w}", ".", ".")
@example("{v}/a.json", "~", "")
@example("{v}{w}", "C", ":")
def test_no_value_leaves_the_root(text, v, w):
    """Whatever is filled in, the path lies below the root, or is refused."""
    try:
        path = fill(text, v=v, w=w)
    except UnsafePath:
        return
    root = "/root/of/results"
    joined = os.path.normpath(f"{root}/{path}")
    assert joined == f"{root}/{path}"
    assert path.count("/") == text.count("/")
    assert not path.startswith(("~", ".daskcache"))
    assert all(len(os.fsencode(part)) <= 255 for part in path.split("/"))
    assert path.isprintable() or not any(ord(c) < 32 for c in path)


@settings(max_examples=200, deadline=None)
@given(st.text(), st.text())
def test_different_values_have_different_paths(one, two):
    """Two values that fill one template never give one path."""
    try:
        paths = fill("{v}.json", v=one), fill("{v}.json", v=two)
    except UnsafePath:
        return
    assert (paths[0] == paths[1]) == (one == two)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="{}x.:!/ab\\~", max_size=12))
def test_any_text_is_a_template_or_a_typed_error(text):
    """A malformed template raises a typed error; nothing else."""
    with contextlib.suppress(TemplateError, UnsafePath):
        Template(text).fill({"x": "v", "a": 1, "b": None}.__getitem__)


def test_unicode_forms_are_kept():
    """A path keeps the form in which its value came."""
    for form in ("NFC", "NFD"):
        name = unicodedata.normalize(form, "café")
        assert fill("{v}.csv", v=name) == f"{name}.csv"


def test_the_result_lies_where_the_template_says(root):
    """Escaped values make files, not folders."""
    node = dc.delayed(lambda v: 1, target="{v}.json")("../../a/b")
    node.compute()
    assert (root / "..%2F..%2Fa%2Fb.json").is_file()


def test_the_data_hash_in_a_path(root):
    """`{data_hash}` fills when the result is stored; equal data share a file."""
    f = dc.delayed(lambda v: [v], target="{funcname}/{data_hash}.json", version=1)
    node = f(5)
    assert node.compute() == [5]
    assert node.dc.state == "complete"
    digits = node.dc.record["data_hash"].partition(":")[2]
    assert list(root.glob(f"*/*{digits}.json"))
    assert f(6).compute() == [6]
    assert f(5).compute() == [5]
