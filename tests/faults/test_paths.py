"""Any text as a template, or in one: below the root, or a typed error; nothing is made elsewhere."""

from __future__ import annotations

import os
import shutil
import unicodedata
from pathlib import Path
from random import Random

import dask
import pytest

import daskcache as dc
from daskcache.errors import StorageError, TargetCollision, TemplateError, UnknownFormat, UnsafePath

TYPED = TemplateError, UnknownFormat, UnsafePath, TargetCollision

PIECES = [
    *("..", ".", "/", "//", "\\", "~", "~root", "C:", "\0", "\n", "\r", "\t", "\x7f", "\x1b[2J"),
    *("\udc80", "\ud800", "é", "e\u0301", "ß", "İ", "ı", "ﬁ", "\u202e", "\u200b", "\ufeff", "𝒳", "ﷺ"),
    *("a", "A", "x.pkl", ".pkl", ".part", ".x.pkl.0123456789abcdef.part", ".daskcache", "root.json"),
    *(".DASKCACHE", "records", "intents", "trash", "CON", "nul.txt", "com1", "LPT9.x", "aux", " ", "a "),
    *("a.", "...", "-", "--rm", "*", "?", "|", "<", ">", '"', "'", ";", "$HOME", "`x`", "%2e%2e", "%00"),
    *("x" * 200, "x" * 255, "é" * 150, "x" * 300, "a/" * 100, "https://x/y", "file:///x", "con/x"),
    *("{", "}", "{{", "}}", "{value}", "{value!r}", "{value:>300}", "{value.stem}", "{value.parent}"),
    *("{value.__class__}", "{value[0]}", "{0}", "{}", "{key}", "{funcname}", "{data_hash}", "{nothing}"),
]


def any_text(random):
    """A text that is hard on whoever takes it for a path."""
    pieces = [random.choice(PIECES) for _ in range(random.randint(1, 5))]
    if random.random() < 0.2:
        pieces.append("".join(chr(random.randrange(0x3000)) for _ in range(random.randrange(9))))
    text = random.choice(("", "", "", "/")).join(pieces)
    return random.choice((text, text, unicodedata.normalize("NFD", text), text.upper()))


@pytest.mark.timeout(7200)
def test_any_text_as_template_and_as_value(shared, full):
    """Nothing is ever made outside of the root, and what is refused is refused by a typed error."""
    tried, wrong = shared(fuzz, 100_000 if full else 2_000)
    assert wrong == []
    assert tried >= (100_000 if full else 2_000)


def fuzz(folder, share, shares, count):
    """Compute nodes with odd texts; how many, and what was wrong."""
    random, wrong, stored = Random(share), [], 0
    yard = Yard(f"{folder}/yard")
    for _ in range(count // shares):
        template = any_text(random) if random.random() < 0.5 else random.choice(TEMPLATES)
        value = any_text(random).replace("/yard", yard.path)
        if random.random() < 0.1:
            template = f"{yard.path}/outside/{template}"  # an absolute path that could be written to
        done, found = yard.try_out(template, value)
        stored += done
        wrong += found
    if not count // shares // 10 < stored < count // shares:
        wrong.append(f"{stored} were stored: the texts are too odd, or not odd enough")
    return count // shares, wrong


TEMPLATES = (
    *("{value}", "{value}.pkl", "sub/{value}", "{value}/x.pkl", "a{value}b.pkl", "{value}{value}"),
    *("{value:.20}", "{value:x<300}", "{value.stem}.pkl", "{value.filename}", "{value.parent}/x"),
    *("x-{value.suffix}", "{key}/{value}.pkl", "{funcname}-{value}.pkl", "{data_hash}-{value}.pkl"),
)


class Yard:
    """A root, deep in a folder in which nothing else may change."""

    def __init__(self, path):
        self.path = path
        self.root = f"{path}/a/b/c/root"
        os.makedirs(f"{path}/outside")
        os.makedirs(os.path.dirname(self.root))
        Path(path, "outside", "precious").write_text("mine")
        self.before = self._outside()

    def _outside(self):
        found = []
        for folder, folders, files in os.walk(self.path):
            folders[:] = [name for name in folders if os.path.join(folder, name) != self.root]
            found += [os.path.join(folder, name) for name in (*folders, *files)]
        return sorted(found)

    def try_out(self, template, value):
        """Whether a node was stored; and what is wrong."""
        story = f"template {template!r}, value {value!r}"
        stored, wrong = False, []
        try:
            with dask.config.set({"daskcache.root": self.root}):
                node = dc.delayed(same, target=template, store=dc.PickleTarget, version=1)(value)
            if node.compute() != value:
                wrong.append(f"{story}: another value")
            stored = True
            wrong += [f"{story}: {what}" for what in self._wrong_place(node)]
        except TYPED:
            pass
        except StorageError as error:
            if "can't be at a URL" not in str(error):
                wrong.append(f"{story}: {error!r}")
        except Exception as error:  # noqa: BLE001 (whatever it is, it is reported)
            wrong.append(f"{story}: {error!r}")
        if self._outside() != self.before:
            wrong.append(f"{story}: made {set(self._outside()) - set(self.before)} outside of the root")
        shutil.rmtree(self.root, ignore_errors=True)
        return stored, wrong

    def _wrong_place(self, node):
        """What is wrong with where a stored node is."""
        found = [path for path in Path(self.root).rglob("*") if path.is_file()]
        users = [p for p in found if p.relative_to(self.root).parts[0] != ".daskcache"]
        if len(users) != 1:
            return [f"{len(users)} files: {users}"]
        if node.dc.state != "complete":
            return [f"it is {node.dc.state}: {node.dc.why()}"]
        if ".daskcache" in users[0].relative_to(self.root).as_posix().casefold().split("/"):
            return [f"among the metadata: {users[0]}"]
        return []


def same(value):
    return value


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("é", "e\u0301"),
        ("a", "A"),
        ("ß", "SS"),
        ("ﬁ", "FI"),
        ("Å", "\u212b"),
        ("x/y", "x%2Fy"),
        ("x", "x/y"),
    ],
)
def test_names_that_are_one_on_some_disk(root, one, two):
    """Two nodes whose names are one where case or composition doesn't count never share a file."""
    make = dc.delayed(same, target="{value}.pkl", version=1)
    try:
        values = dc.compute(make(one), make(two))
    except TargetCollision:
        assert not list(root.glob("*.pkl"))
    else:
        assert values == (one, two)
        assert len(list(root.glob("*.pkl"))) == 2


@pytest.mark.parametrize("text", ["{value}", "{value}-{data_hash}", "{data_hash}{value}/x"])
def test_the_longest_names(root, text):
    """A name of any length is stored, or refused before anything runs."""
    lengths = {True: [], False: []}
    for length in range(180, 250):
        try:
            node = dc.delayed(same, target=text, store=dc.PickleTarget, version=1)("é" + "x" * length)
        except UnsafePath:
            lengths[False].append(length)
            continue
        assert node.compute()
        lengths[True].append(length)
    assert max(lengths[True]) < min(lengths[False])
