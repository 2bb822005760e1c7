"""`dask cache show`: what a target holds, and how it was made."""

from __future__ import annotations

import json
import os
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import daskcache as dc
from daskcache.housekeeping.cli.main import cache


@pytest.fixture(autouse=True)
def stored(monkeypatch, root):
    """Results of several formats."""
    image = dc.delayed(np.full, target="a.tif")((20, 30), 7, dtype="uint16")
    table = dc.delayed(lambda image: pd.DataFrame({"area": [2.5, 4.0]}), target="cells.csv")(image)
    text = dc.delayed(str.upper, target="words.txt")("many\nwords")
    secret = dc.delayed(complex, target="number.pkl")(1, 2)
    dask.compute(image, table, text, secret, scheduler="sync")
    monkeypatch.chdir(root)


def show(*arguments, code=0):
    done = CliRunner().invoke(cache, ["show", *arguments], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


def test_a_table_is_shown_by_its_rows():
    lines = show("cells.csv").splitlines()
    assert lines[0].startswith("cells.csv: complete, table")
    assert [line.strip() for line in lines[2:6]] == ["area", "────", "2.5", "4.0"]
    assert "<lambda>(image=a.tif)" in lines[-2]
    assert lines[-1].startswith("created 2")


def test_a_text_is_shown_by_its_start():
    assert "\nMANY\nWORDS\n" in show("words.txt")


def test_an_image_is_told_where_it_can_not_be_drawn():
    output = show("a.tif")
    assert output.startswith("a.tif: complete, uint16 array, 20 × 30;")
    assert "▀" not in output


def test_pickles_are_not_read():
    head, *origin = show("number.pkl").splitlines()
    assert head.startswith("number.pkl: complete, ")
    assert len(origin) == 2


def test_as_json():
    found = json.loads(show("cells.csv", "--json"))
    assert found["place"] == os.path.abspath("cells.csv")
    assert found["rows"] == [{"area": "2.5"}, {"area": "4.0"}]
    assert found["record"]["upstream"][0]["target"] == "a.tif"


def test_what_is_adopted_or_gone():
    Path("words.txt").write_text("other words")
    CliRunner().invoke(cache, ["adopt", "words.txt"])
    assert "words.txt: adopted" not in show("words.txt")  # until a verb takes it in
    dc.delayed(str.upper, target="words.txt")("many\nwords").compute(scheduler="sync")
    output = show("words.txt")
    assert "words.txt: adopted" in output
    assert "\nother words\n" in output
    assert "\nadopted by " in output
    Path("words.txt").unlink()
    assert "words.txt: missing" in show("words.txt")


def test_a_target_without_a_record():
    assert "'dask cache ls' lists them" in show("nowhere.csv", code=1)
