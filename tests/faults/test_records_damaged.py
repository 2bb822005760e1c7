"""Records that are cut, unreadable, forged or from the future: an error or a miss, nothing lost."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path

import pytest
from click.testing import CliRunner

import daskcache as dc
from daskcache.errors import DaskcacheError, DaskcacheWarning, StorageError, TargetError
from daskcache.hashing.encoder import digest, tag
from daskcache.housekeeping.cli.main import cache

#: What can't be read is said, again and again.
pytestmark = pytest.mark.filterwarnings("ignore::daskcache.errors.DaskcacheWarning")

COMMANDS = (
    ["ls"],
    ["status"],
    ["why", "first.json"],
    ["accept", "first.json"],
    ["rm", "second.json"],
    ["rm", "--downstream", "first.json"],
)


def twice(value):
    return [value, value]


class Pair:
    """A finished node and one that follows it, beside files that are none of daskcache's business."""

    def __init__(self, root: Path):
        self.root = root
        self.outside = root.parent / "outside"
        self.outside.mkdir()
        (self.outside / "precious.json").write_text("[1, 1]\n")
        self.make()
        self.second.compute()
        self.whole = self.contents()

    def make(self):
        """The nodes, anew: nothing is remembered of what they were."""
        self.first = dc.delayed(twice, target="first.json", version=1)(1)
        self.second = dc.delayed(twice, target="second.json", version=1)(self.first)

    def contents(self) -> dict[Path, bytes]:
        """All files below the root's parent, but for the trash."""
        found = (path for path in self.root.parent.rglob("*") if path.is_file())
        return {path: path.read_bytes() for path in found if "trash" not in path.parts}

    def mend(self):
        """All files as they were."""
        for path in set(self.contents()) - set(self.whole):
            path.unlink()
        for path, content in self.whole.items():
            stat = path.stat() if path.exists() else None
            if stat is None or path.read_bytes() != content:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        self.make()
        warnings_ignored(self.second.compute)

    def record(self, node) -> Path:
        (found,) = self.root.glob(f".daskcache/records/*/{node.dc.key}.*")
        return found

    def wrong(self, story) -> list[str]:
        """Use the nodes and the command line; what is wrong, and what was lost."""
        outside = {path: c for path, c in self.contents().items() if self.root not in path.parents}
        wrong = []
        for name, use in self.uses().items():
            try:
                value = warnings_ignored(use)
            except DaskcacheError:
                continue
            except Exception as error:  # noqa: BLE001 (whatever it is, it is reported)
                wrong.append(f"{story}: {name} raised {error!r}")
                continue
            if name in ("compute", "load") and value != [[1, 1], [1, 1]]:
                wrong.append(f"{story}: {name} returned {value!r}")
        for command in COMMANDS:
            done = CliRunner().invoke(cache, [*command, "--root", str(self.root)])
            if done.exception is not None and not isinstance(done.exception, SystemExit):
                wrong.append(f"{story}: {' '.join(command)} raised {done.exception!r}")
        now = {path: c for path, c in self.contents().items() if self.root not in path.parents}
        if now != outside:
            changed = [str(p) for p in now.keys() | outside.keys() if now.get(p) != outside.get(p)]
            wrong.append(f"{story}: outside of the root, {changed} changed")
        return wrong

    def uses(self):
        node = self.second
        return {
            "plan": lambda: dc.plan(node),
            "plan, shown": lambda: (str(dc.plan(node)), dc.plan(node)._repr_html_()),
            "state": lambda: (node.dc.state, self.first.dc.state),
            "why": lambda: (node.dc.why(), self.first.dc.why()),
            "record": lambda: (node.dc.record, self.first.dc.record),
            "another recipe": lambda: dc.delayed(twice, target="first.json", version=2)(1).dc.why(),
            "another target": lambda: dc.delayed(twice, target="third.json", version=1)(1).compute(),
            "load": lambda: node.dc.load(),
            "compute": lambda: node.compute(),
        }


def warnings_ignored(function):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DaskcacheWarning)
        return function()


@pytest.fixture
def pair(root):
    return Pair(root)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("which", ["first", "second"])
def test_cut_at_every_length(pair, full, which):
    """A record that is cut short anywhere leaves data right, and the command line at work."""
    path = pair.record(getattr(pair, which))
    content, wrong = path.read_bytes(), []
    for length in range(0, len(content), 1 if full else 40):
        path.write_bytes(content[:length])
        wrong += pair.wrong(f"{length} bytes")
        pair.mend()
    assert wrong == []


UNREADABLE = [
    b"",
    b"\0" * 1000,
    b"\xff\xfe\x00binary\x80",
    b"{",
    b"[]",
    b"null",
    b'"text"',
    b"17",
    b"{}",
    b'{"a": 1}',
    b"[" * 100_000,
    b'{"daskcache": 1, "function": 1e999}',
    b'{"daskcache": ' + b"9" * 5000 + b"}",
    b'{"target": "first.json"}',
]


@pytest.mark.parametrize("content", UNREADABLE, ids=range(len(UNREADABLE)))
@pytest.mark.parametrize("which", ["first", "second"])
def test_no_record_at_all(pair, which, content):
    """What is no record is an error or a miss."""
    pair.record(getattr(pair, which)).write_bytes(content)
    assert pair.wrong(content[:20]) == []


def test_odd_texts_are_shown(root, tmp_path):
    """A record with texts that no terminal can show is read, and shown with escapes."""
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n.txt"))
    odd.write_text("1")
    node = dc.delayed(lambda path: 1, target="odd.json", version=1)(dc.FileSource(odd))
    node.compute()
    assert node.dc.record["upstream"][0]["source"].endswith("\udcff\n.txt")
    done = CliRunner().invoke(cache, ["why", "odd.json", "--root", str(root)])
    assert done.exception is None, done.output
    assert "\\udcff" in done.output


ODD = [None, True, -1, 1e308, "", "text", "\udc80", [], [1], {}, {"a": {}}, [[[]]], "../../x", "a\0b"]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("which", ["first", "second"])
def test_a_field_of_the_wrong_type(pair, which):
    """Whatever stands in a field, and if it is missing: an error or a miss."""
    path, wrong = pair.record(getattr(pair, which)), []
    content = json.loads(path.read_bytes())
    for field in content:
        for odd in ODD:
            path.write_text(json.dumps({**content, field: odd}))
            wrong += pair.wrong(f"{field} = {odd!r}")
            pair.mend()
        path.write_text(json.dumps({k: v for k, v in content.items() if k != field}))
        wrong += pair.wrong(f"no {field}")
        pair.mend()
    assert wrong == []


@pytest.mark.parametrize("which", ["first", "second"])
def test_a_record_of_a_newer_version(pair, which):
    """A record from the future is not interpreted; it stays where it is, and so does its target."""
    node = getattr(pair, which)
    path = pair.record(node)
    content = {**json.loads(path.read_bytes()), "daskcache": 999}
    path.write_text(json.dumps(content))
    newer = dc.delayed(twice, target=f"{which}.json", version=2)
    for use in (lambda: newer(1).compute(), lambda: node.dc.record):
        with pytest.raises(StorageError, match="newer daskcache"):
            warnings_ignored(use)
    for command in (["ls"], ["status"], ["why", f"{which}.json"]):
        done = CliRunner().invoke(cache, [*command, "--root", str(pair.root)])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    assert json.loads(path.read_bytes()) == content
    assert Path(node.dc.path).exists()


FORGED = ["../outside/precious.json", "../../etc/x", "/etc/hostname", "{outside}/precious.json", "."]


@pytest.mark.parametrize("place", FORGED)
def test_a_forged_path(pair, place):
    """A path in a record that leads out of the root is not followed, whoever asks for it."""
    forged = place.format(outside=pair.outside)
    for node in (pair.first, pair.second):
        path = pair.record(node)
        content = json.loads(path.read_bytes())
        upstream = [{**described, "target": forged} for described in content["upstream"]]
        path.write_text(json.dumps({**content, "target": forged, "upstream": upstream}))
    assert pair.wrong(forged) == []
    for command in (["rm", forged], ["rm", "--downstream", forged], ["accept", forged], ["why", forged]):
        CliRunner().invoke(cache, [*command, "--root", str(pair.root)])
    assert (pair.outside / "precious.json").read_text() == "[1, 1]\n"
    assert not list(pair.root.glob(".daskcache/trash/*precious*"))


@pytest.mark.parametrize("place", FORGED)
def test_a_forged_record_of_a_file_outside(pair, place):
    """A record whose name claims a file outside of the root gives nobody a hold on that file."""
    from daskcache.storage.record import target_id

    forged = place.format(outside=pair.outside)
    file = pair.outside / "precious.json"
    record = pair.record(pair.first)
    fields = record.name.split(".")
    stat = file.stat()
    fields[1], fields[5], fields[6] = target_id(forged), str(stat.st_size), str(stat.st_mtime_ns)
    content = {**json.loads(record.read_bytes()), "target": forged}
    record.with_name(".".join(fields)).write_text(json.dumps(content))
    for command in (["rm", forged], ["rm", "--downstream", "first.json"], ["why", forged], ["ls"]):
        done = CliRunner().invoke(cache, [*command, "--root", str(pair.root)])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    assert pair.wrong(forged) == []
    assert file.read_text() == "[1, 1]\n"


@pytest.mark.parametrize(
    "input", [{"target": "../x"}, {"target": "a\0b"}, {"root": "a\0b"}, {"source": "a\0b"}]
)
def test_a_forged_input(pair, input):
    """An input that is at no path below a root makes no record."""
    path = pair.record(pair.second)
    content = json.loads(path.read_bytes())
    forged = {**content, "upstream": [{**content["upstream"][0], **input}]}
    path.write_text(json.dumps(forged))
    assert warnings_ignored(lambda: pair.second.dc.record) is None
    assert pair.wrong(str(input)) == []


def test_bytes_that_are_as_recorded_and_cannot_be_read(pair):
    """What its format can't read, though its hash is right, is an error that names it."""
    record, file = pair.record(pair.first), pair.root / "first.json"
    file.write_text("no JSON")
    looks, file_hash = file.stat(), digest(b"no JSON")
    fields = record.name.split(".")
    fields[4:7] = file_hash, str(looks.st_size), str(looks.st_mtime_ns)
    said = {"file_hash": tag(file_hash), "size": looks.st_size}
    record.with_name(".".join(fields)).write_text(
        json.dumps({**json.loads(record.read_bytes()), **said})
    )
    record.unlink()
    assert pair.first.dc.state == "complete"
    with pytest.raises(TargetError, match="can't be read as what it is recorded to be: JSONDecodeError"):
        pair.first.dc.load()


FORGED_FORMATS = [
    "os:system",
    "os:makedirs",
    "subprocess:Popen",
    "builtins:exec",
    "pathlib:Path",
    "x",
    ":",
]


@pytest.mark.parametrize("name", FORGED_FORMATS)
def test_a_forged_format(pair, name, monkeypatch, tmp_path):
    """A record's format names a target class, or nothing: what it names is not called."""
    monkeypatch.chdir(tmp_path)
    command = "touch called"
    for folder in (tmp_path, pair.root):
        (folder / command).write_text("[1, 1]\n")
    record = pair.record(pair.first)
    stat = (pair.root / command).stat()
    fields = record.name.split(".")
    fields[5], fields[6] = str(stat.st_size), str(stat.st_mtime_ns)
    content = {**json.loads(record.read_bytes()), "format": name, "target": command}
    record.unlink()
    record.with_name(".".join(fields)).write_text(json.dumps(content))
    before = sorted(os.listdir(tmp_path))
    assert pair.wrong(name) == []
    assert sorted(os.listdir(tmp_path)) == before
