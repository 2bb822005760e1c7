"""Fields of files found by a pattern: in templates, through nodes, and never in keys."""

from __future__ import annotations

import pickle
from pathlib import Path

import cloudpickle
import dask
import pytest
from dask import annotate

import daskcache as dc
from daskcache.errors import TemplateError
from daskcache.targets.fields import agreed


@pytest.fixture(autouse=True)
def raw(tmp_path, monkeypatch):
    """Eight images of two plates, two wells and two sites, with one flat field for each plate."""
    (tmp_path / "raw").mkdir()
    (tmp_path / "flat").mkdir()
    for plate in ("P1", "P2"):
        (tmp_path / "flat" / f"{plate}.txt").write_text(f"flat {plate}")
        for well in ("A01", "B02"):
            for site in (1, 2):
                (tmp_path / "raw" / f"{plate}_{well}_s{site}.txt").write_text(f"{plate}{well}{site}")
    monkeypatch.chdir(tmp_path)


def images():
    return dc.sources("raw/{plate}_{well}_s{site:d}.txt")


@dc.delayed(target="clean/{image.plate}/{image.well}_{image.site:03d}.txt", label="{image.well}")
def clean(image):
    return image.lower()


@dc.delayed(target="count/{cleaned.well}-{cleaned.site}.json")
def count(cleaned):
    return len(cleaned)


@dc.delayed(target="joined/{texts.plate}.txt")
def join(texts):
    return " ".join(texts)


@dc.delayed(target="by_well/{text.well}.txt")
def by_well(text):
    return text


@dc.delayed
def plain(text):
    return text


def where(node):
    return node.dc.path.rpartition("/root/")[2]


def test_fields_fill_paths_and_labels():
    """They take format specs like other values, and go on from node to node."""
    cleaned = clean(images()[1])
    assert where(cleaned) == "clean/P1/A01_002.txt"
    assert "A01" in repr(cleaned)
    assert where(count(cleaned)) == "count/A01-2.json"
    assert where(count(plain(plain(cleaned)))) == "count/A01-2.json"
    assert count(cleaned).compute() == 6


def test_several_inputs():
    """Of the fields of several inputs, those are known on which all agree that have them."""
    first, second = images().group_by("plate").values()
    assert where(join(first)) == "joined/P1.txt"
    assert where(join([clean(image) for image in second])) == "joined/P2.txt"
    assert where(join({"a": [second[0]], "b": (clean(second[1]),)})) == "joined/P2.txt"
    assert where(join(iter(list(second)))) == "joined/P2.txt"
    assert where(by_well(join(first[:2]))) == "by_well/A01.txt"


def test_a_field_that_some_inputs_lack():
    """A correction for the whole plate has no well, so that of the image goes on."""

    @dc.delayed(target="corrected/{image.well}.txt")
    def correct(image, flat, strength=1):
        return image + flat

    for flat in (dc.sources("flat/{plate}.txt")[0], plain(list(images())), dc.TextSource("flat/P1.txt")):
        corrected = correct(images()[0], flat)
        assert where(corrected) == "corrected/A01.txt"
        assert where(by_well(corrected)) == "by_well/A01.txt"


def test_inputs_that_differ():
    """The error names the values and what to do; also where the inputs are one node further back."""
    for text in (images(), list(images()), join(images().group_by("plate")["P1"])):
        with pytest.raises(TemplateError, match="differ in well") as caught:
            by_well(text)
        assert caught.value.got == "'A01', 'B02'"
        assert 'group_by("well")' in caught.value.hint
        assert "by_well/{text.well}.txt" in str(caught.value)
    assert "on which they agree: plate" in caught.value.hint
    for i in range(4):
        Path(f"raw/P1_C{i}_s1.txt").touch()
    with pytest.raises(TemplateError) as caught:
        by_well(images())
    assert caught.value.got == "'A01', 'B02', 'C0' and 3 more"


def test_fields_that_an_input_lacks():
    """The error lists those that it has, and asks for the one that is meant."""
    label = dc.delayed(lambda image: image, target="{image.wel}.txt")
    for image in (images()[0], clean(images()[0]), [images()[0]]):
        with pytest.raises(TemplateError, match="no field 'wel'") as caught:
            label(image)
        assert caught.value.expected.endswith(".parent, .plate, .well, .site")
        assert caught.value.hint == "did you mean 'well'?"
    for image in (dc.TextSource("flat/P1.txt"), 5, "raw/a.txt", plain(1), dask.delayed(1)):
        with pytest.raises(TemplateError, match="no field 'wel'") as caught:
            label(image)
        assert "daskcache.sources" in caught.value.hint


def test_no_key_depends_on_fields():
    """Another pattern, or none, gives the same keys."""
    (one,) = dc.sources("raw/P1_A01_s{n:d}.txt")[:1]
    sources = [images()[0], one, dc.TextSource("raw/P1_A01_s1.txt")]
    assert len({plain(source).dc.key for source in sources}) == 1
    assert len({plain(plain([source])).dc.key for source in sources}) == 1
    both = dc.delayed(lambda a, b: a + b, target="{b.well}.txt")
    assert where(both(one, images()[0])) == "A01.txt"


def test_the_context_may_hold_sources_and_nodes():
    """Fields of values of the context are known, too."""
    in_context = dc.delayed(lambda x: x, target="{image.well}/{x}.json")
    for image in (images()[0], clean(images()[0])):
        with dc.context(image=image):
            assert where(in_context(1)) == "A01/1.json"


def test_fields_travel():
    """Nodes keep them when they are pickled, persisted, and composed with plain Dask."""
    cleaned = clean(images()[1])
    for copied in (pickle.loads(cloudpickle.dumps(cleaned)), cleaned.persist()):
        assert where(count(copied)) == "count/A01-2.json"
    without_target = dc.delayed(lambda text: text, save=False)(cleaned)
    held = without_target.persist()
    assert where(count(held)) == "count/A01-2.json"
    assert where(by_well(plain(held))) == "by_well/A01.txt"
    assert where(count(cleaned + "!")) == "count/A01-2.json"
    assert pickle.loads(cloudpickle.dumps(count(held)))._recipe.fields["site"] == 2
    with annotate(priority=1):
        assert count(held).compute() == 6


def test_tasks_in_other_modes(tmp_path):
    """A task that runs at once, and a handle of a submitted one, hand the fields on."""
    cleaning = dc.task(target="clean/{image.well}.txt")(lambda image: image)
    counting = dc.task(target="count/{cleaned.well}.json")(lambda cleaned: len(cleaned))
    with dask.config.set({"daskcache.mode": "cache"}):
        assert counting(cleaning(images()[2])).path.endswith("count/B02.json")
        copied = pickle.loads(cloudpickle.dumps(cleaning(images()[2])))
        assert counting(copied).path.endswith("count/B02.json")
    assert counting.submit(cleaning.submit(images()[2])).node.dc.path.endswith("count/B02.json")


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ([], {}),
        ([{}, {"a": 1}], {"a": 1}),
        ([{"a": 1}, {"a": 1}], {"a": 1}),
        ([{"a": 1}, {"a": 2}], {}),
        ([{"a": 1}, {"a": 2}, {"a": 1}], {}),
        ([{"a": 1}, {"a": 2}, {"a": 2}, {"b": 3}], {"b": 3}),
        ([{"a": 1, "b": 2}, {"b": 3, "c": 4}, {"c": 4}], {"a": 1, "c": 4}),
        ([{"a": 1}, {"a": "1"}], {}),
    ],
)
def test_what_inputs_agree_on(inputs, expected):
    """A field on which two of its inputs differ is out, whatever the others have."""
    before = [dict(each) for each in inputs]
    assert agreed(inputs) == expected
    assert inputs == before


def test_a_chain_shares_its_fields():
    """Nodes with one input copy nothing, so a long chain takes no more memory."""
    node = plain(images()[0])
    fields = node._recipe.fields
    for _ in range(100):
        node = plain(node)
    assert node._recipe.fields is fields
