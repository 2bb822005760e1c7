"""Patterns: what each field takes, that a path has one reading, and what is refused."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from daskcache.errors import PatternError
from daskcache.targets.patterns import Field, Pattern, split


@pytest.mark.parametrize(
    ("pattern", "path", "values"),
    [
        ("{well}.tif", "A01.tif", ("A01",)),
        ("{well}.tif", "a b-é.x.tif", ("a b-é.x",)),
        ("{well}.tif", ".tif", None),
        ("{well}.tif", "day1/A01.tif", None),
        ("{well}.tif", "A01.TIF", None),
        ("{well}.tif", "A01.tiff", None),
        ("{well:3}.tif", "A01.tif", ("A01",)),
        ("{well:3}.tif", "A1.tif", None),
        ("{plate:w}_{well:w}.tif", "P1_A01.tif", ("P1", "A01")),
        ("{plate:w}_{well:w}.tif", "P1_x_A01.tif", None),
        ("{row:l}{column:d}.tif", "AB07.tif", ("AB", 7)),
        ("{row:1l}{rest}.tif", "AB7.tif", ("A", "B7")),
        ("s{site:d}.tif", "s7.tif", (7,)),
        ("s{site:d}.tif", "s007.tif", (7,)),
        ("s{site:d}.tif", "s-3.tif", (-3,)),
        ("s{site:d}.tif", "s7a.tif", None),
        ("s{site:d}.tif", "s٣.tif", None),
        ("s{site:3d}.tif", "s007.tif", (7,)),
        ("s{site:03d}.tif", "s-07.tif", None),
        ("s{site:03d}.tif", "s1000.tif", None),
        ("{plate}/{well}.tif", "P1/A01.tif", ("P1", "A01")),
        ("{plate}/{plate}_{well}.tif", "P1/P1_A01.tif", ("P1", "A01")),
        ("{plate}/{plate}_{well}.tif", "P1/P2_A01.tif", None),
        ("{a}_{b}/{a}.tif", "x_y_z/x_y.tif", ("x_y", "z")),
        ("{site:d}/s{site:03d}.tif", "7/s007.tif", (7,)),
        ("{site:d}/s{site:03d}.tif", "7/s008.tif", None),
        ("*_{well:3}.tif", "a_b_A01.tif", ("A01",)),
        ("*{well:3}.tif", "A01.tif", ("A01",)),
        ("**/{well}.tif", "A01.tif", ("A01",)),
        ("**/{well}.tif", "day1/late/A01.tif", ("A01",)),
        ("{day}/**/{well}.tif", "day1/x/y/A01.tif", ("day1", "A01")),
        ("**", "a/b.tif", ()),
        ("{{{well}}}.tif", "{A01}.tif", ("A01",)),
        ("[{well}] (1)?.tif", "[A01] (1)?.tif", ("A01",)),
        ("a.tif", "a.tif", ()),
        ("{well}.tif", "A\n1.tif", ("A\n1",)),
    ],
)
def test_readings(pattern, path, values):
    """A field takes what its format says; a path that does not fit has no reading."""
    assert Pattern(pattern).read(path) == values


@pytest.mark.parametrize(
    ("pattern", "path", "told", "cure"),
    [
        ("{p}_{w}.tif", "P1_x_A01.tif", "(p='P1_x', w='A01') or (p='P1', w='x_A01')", "{w:w} for the f"),
        (
            "{row}{column:d}",
            "A01",
            "(row='A0', column='1') or (row='A', column='01')",
            "{row:l} for the s",
        ),
        ("{a}{b}", "xyz", "(a='xy', b='z') or (a='x', b='yz')", "{a:2} for the first reading, or {a:1}"),
        ("*{a}*", "aba", "*='ab'", "say what the fields hold"),
        ("*-*.tif", "a-b-c.tif", "*='a-b'", "say what the fields hold"),
    ],
)
def test_two_readings(pattern, path, told, cure):
    """They are an error that names the file, both readings and the formats that leave one."""
    with pytest.raises(PatternError, match="two ways") as caught:
        Pattern(pattern).read(path)
    assert told in caught.value.got
    assert cure in caught.value.hint
    assert caught.value.target == path


def all_readings(pieces, path):
    """All ways to read a path, each as the texts of the fields."""
    if not pieces:
        return [()] if not path else []
    (name, spec), rest = pieces[0], pieces[1:]
    if spec is None:
        return all_readings(rest, path[len(name) :]) if path.startswith(name) else []
    fits = {"": lambda t: "/" not in t, "w": str.isalnum, "l": str.isalpha, "2": lambda t: len(t) == 2}
    fits["d"] = lambda t: t.removeprefix("-").isdigit()
    lengths = range(1, len(path) + 1)
    texts = [path[:i] for i in lengths if "/" not in path[:i] and fits[spec](path[:i])]
    return [(text, *others) for text in texts for others in all_readings(rest, path[len(text) :])]


PIECES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["_", "-", "a", "/", "1"]), st.none()),
        st.tuples(st.just("field"), st.sampled_from(["", "", "w", "l", "2", "d"])),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=500)
@given(PIECES, st.text("ab1_-/", max_size=8))
@example([("field", ""), ("-", None), ("field", "d")], "a--1")
@example([("field", "d"), ("field", "d")], "-1-1")
def test_a_path_has_one_reading_or_none(pieces, path):
    """Compared with all ways to cut a path: none, the only one, or an error for several."""
    pieces = [(name if spec is None else f"f{i}", spec) for i, (name, spec) in enumerate(pieces)]
    text = "".join(name if spec is None else f"{{{name}{spec and ':'}{spec}}}" for name, spec in pieces)
    if any(part == "" for part in text.split("/")):
        return
    expected = all_readings(pieces, path)
    try:
        found = Pattern(text).read(path)
    except PatternError:
        assert len(expected) > 1
        return
    assert len(expected) <= 1
    specs = [spec for _, spec in pieces if spec is not None]
    values = [
        tuple(int(t) if spec == "d" else t for t, spec in zip(texts, specs, strict=True))
        for texts in expected
    ]
    assert [found] == (values or [None])


@pytest.mark.parametrize("name", ["filename", "stem", "suffix", "parent", "path", "class", "lambda"])
def test_names_that_mean_something_else(name):
    """Attributes of templates, the column of paths and keywords are refused, with another name."""
    with pytest.raises(PatternError, match=name) as caught:
        Pattern(f"{{{name}}}.tif")
    assert caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "{0}",
        "{_a}",
        "{a.b}",
        "{a[0]}",
        "{a!r}",
        "{a b}",
        "{a",
        "a}",
        "{a:f}",
        "{a:.2f}",
        "{a:x}",
        "{a:>3}",
        "{a:0d}",
        "{a:03}",
        "{a:{b}}",
        "{a}/{a:d}",
        "{a:2}{a:3}",
        "a//b",
        "a/./b",
        "../{a}",
        "{a}/..",
        "{a}/",
        "",
        "a**/b",
        "**/a/**/b",
        "**{a}",
    ],
)
def test_malformed_patterns(text):
    """They are refused when the pattern is read, with what was expected or what to write."""
    with pytest.raises(PatternError) as caught:
        Pattern(text)
    assert repr(text) in caught.value.message
    assert caught.value.expected or caught.value.hint


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("raw/{a}.tif", ("raw", "{a}.tif")),
        ("/data/x/{a}/b/{c}", ("/data/x", "{a}/b/{c}")),
        ("/{a}", ("/", "{a}")),
        ("{a}", (".", "{a}")),
        ("../raw/*.tif", ("../raw", "*.tif")),
        ("raw/a.tif", ("raw", "a.tif")),
        ("raw/**/{a}", ("raw", "**/{a}")),
        ("{{x}}/{a}", (".", "{{x}}/{a}")),
    ],
)
def test_the_folder_in_front(pattern, expected):
    """Names without fields in front are the folder to look in."""
    assert split(pattern) == expected


def test_shell_patterns():
    """They fit every path that fits the pattern; brackets and question marks stand for themselves."""
    pattern = Pattern("{day}/x [1]?/**/{a}{b:d}*.tif")
    assert pattern.globs == ("*", "x [[]1][?]", "**", "*.tif")
    assert pattern.fields == ("day", "a", "b")
    assert pattern.places == (Field("day"), Field("**"), Field("a"), Field("b", "d"), Field("*"))


def test_patterns_travel():
    """They pickle by their text."""
    pattern = Pattern("{a}_{b:d}")
    pattern.read("x_1")
    assert pickle.loads(pickle.dumps(pattern)).read("x_1") == ("x", 1)
