"""A file is read as it was written: what a target's class or options change is made again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import daskcache as dc


class UpperTarget(dc.Target):
    """Somebody's own format, which reads any file of texts."""

    def __init__(self, path, end=""):
        super().__init__(path)
        self.end = end

    def write(self, value, path):
        with open(path, "x") as file:
            file.write(value.upper())

    def read(self, path):
        return Path(path).read_text().lower() + self.end


@pytest.fixture
def word(runs):
    """A node whose target has the given class and options."""

    def word(**options):
        def word():
            runs.note("word")
            return "abc"

        return dc.delayed(word, **options)()

    return word


def test_another_class_does_not_read_what_the_first_wrote(word, runs):
    """A new ``store=`` for the same path makes the target again, and says why."""
    assert word(target="a.dat", store=dc.JSONTarget).compute() == "abc"
    other = word(target="a.dat", store=UpperTarget)
    assert other.dc.state == "stale"
    assert "JSONTarget -> " in other.dc.why()
    assert other.compute() == "abc"
    assert other.compute() == "abc"
    assert runs.take() == ["word", "word"]


def test_another_option_does_not_read_what_the_first_wrote(word, runs, root):
    """A new option that reading depends on makes the target again, and says why."""
    assert word(target=UpperTarget("a.dat")).compute() == "abc"
    other = word(target=UpperTarget("a.dat", end="!"))
    assert other.dc.state == "stale"
    assert str(other.dc.why()) == "option end: '' -> '!'"
    assert other.compute() == "abc!"
    assert runs.take() == ["word", "word"]
    (record,) = (root / ".daskcache" / "records").rglob("*.json")
    assert json.loads(record.read_text())["options"] == "{'end': '!'}"


def test_options_of_writing_leave_files_alone(word, runs):
    """What only writing depends on (a compression), and naming the default class, change nothing."""
    array = np.arange(600, dtype="u2").reshape(20, 30)

    def image(target):
        def image():
            runs.note("image")
            return array

        return dc.delayed(image, target=target)()

    for target in ("a.tif", dc.ImageTarget("a.tif"), dc.ImageTarget("a.tif", compression=None)):
        assert image(target).compute().tolist() == array.tolist()
    assert runs.take() == ["image"]
    word(target="a.json").compute()
    word(target="a.json", store=dc.JSONTarget).compute()
    assert runs.take() == ["word"]


def test_a_suffix_that_somebody_else_takes_over(word, runs, monkeypatch):
    """Once another class is registered for a suffix, it does not read the files of the first."""
    from daskcache.targets import registry

    monkeypatch.setattr(registry, "_TARGETS", dict(registry._TARGETS))
    assert word(target="a.json").compute() == "abc"
    dc.register_suffix(".json", f"{__name__}:UpperTarget")
    assert word(target="a.json").compute() == "abc"
    assert runs.take() == ["word", "word"]


def test_new_dtypes_of_a_csv_file(runs):
    """Dtypes given later are not put upon what was stored without; an audit reads with those it had."""

    def table(**options):
        def table():
            runs.note("table")
            return pd.DataFrame({"id": [7, 8]}).astype(options.get("dtype", "int64"))

        return dc.delayed(table, target=dc.CSVTarget("t.csv", **options))()

    assert table().compute().id.tolist() == [7, 8]
    with_dtype = table(dtype={"id": "category"})
    assert with_dtype.compute().id.dtype == "category"
    assert with_dtype.compute().id.dtype == "category"
    assert runs.take() == ["table", "table"]
    assert dc.audit(with_dtype).counts["same"] == 1
