"""Results that go from one root to another in an archive; archives that somebody tampered with."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import tarfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import dask
import numpy as np
import pytest
from click.testing import CliRunner

import daskcache as dc
from daskcache.errors import (
    DaskcacheWarning,
    ForeignTarget,
    StorageError,
    TargetCorrupt,
    TargetMissing,
    UnsafePath,
)
from daskcache.hashing import algorithms
from daskcache.housekeeping import exporting, importing
from daskcache.housekeeping.archive import Archive, is_harmless
from daskcache.housekeeping.cli.main import cache
from daskcache.housekeeping.exporting import export
from daskcache.housekeeping.importing import import_archive
from daskcache.housekeeping.listing import find, listed, story
from daskcache.runtime.named import target_of
from daskcache.storage import files as storage
from daskcache.storage.record import RecordName, target_id
from daskcache.storage.records import RecordStore
from daskcache.storage.roots import Root
from daskcache.targets import registry
from daskcache.targets.base import Target
from daskcache.testing.assertions import assert_nothing_runs, count_runs

PROGRAM = """
import numpy as np
import daskcache as dc

@dc.delayed(target="images/{i}.npy")
def image(i):
    return np.full((4, 5), i)

@dc.delayed(target=("parts/{x.stem}.json", "parts/{x.stem}.npy"))
def split(x):
    return [int(x.sum())], x * 2

@dc.delayed(target="sum.json")
def total(x):
    return x[0][0]

@dc.delayed(target="same/{data_hash}.json")
def by_hash(x):
    return [x]

@dc.delayed(target="object.pkl")
def thing(x):
    return {x}
"""


class FilesTarget(Target):
    """A dict of texts as a folder of files, in folders of its own."""

    def write(self, value, path):
        for name, text in value.items():
            place = Path(path, name)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)

    def read(self, path):
        found = sorted(p for p in Path(path).rglob("*") if p.is_file())
        return {p.relative_to(path).as_posix(): p.read_text() for p in found}


@dc.delayed(target=FilesTarget("store.files"))
def files_of(x):
    return {".zattrs": x, "c/0/0": x * 2, "c/0/1": x * 3}


@dc.delayed(target=dc.ZarrTarget("volume.zarr", chunks=(2, 2)))
def volume(x):
    return np.arange(16).reshape(4, 4) * x


@pytest.fixture
def program(define):
    return define(PROGRAM)


@pytest.fixture
def stored(program, root):
    """A root with a chain, a result named by its data, and a pickle."""
    dask.compute(program.total(program.split(program.image(3))), program.by_hash(2), program.thing(1))
    return Root(str(root))


@pytest.fixture
def other(tmp_path):
    """Another root, which isn't there yet."""
    return Root(str(tmp_path / "elsewhere" / "root"))


@pytest.fixture
def archive(tmp_path):
    return str(tmp_path / "results.tar")


def under(root):
    return dask.config.set({"daskcache.root": root.path})


def run(*arguments):
    return CliRunner().invoke(cache, [str(argument) for argument in arguments])


def tree(root):
    return {
        path: path.stat().st_mtime_ns if path.is_file() else None
        for path in Path(root.path).rglob("*")
        if ".daskcache" not in path.parts
    }


def rewritten(archive, change, tmp_path):
    """The archive with `change` applied to its list of members and contents."""
    with tarfile.open(archive) as tar:
        members = [[m, tar.extractfile(m).read()] for m in tar.getmembers()]
    change(members)
    path = str(tmp_path / "rewritten.tar")
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for member, content in members:
            member.size = len(content) if member.isreg() else 0
            member.pax_headers = {}  # where the old one of a long name would win
            tar.addfile(member, io.BytesIO(content))
    return path


def named(name, kind=tarfile.REGTYPE, link=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


def record_of(members, path):
    """The record of a target among the members of an archive."""
    for pair in members:
        if pair[0].name.startswith("records/") and json.loads(pair[1])["target"] == path:
            return pair
    raise KeyError(path)


# ---- there and back -----------------------------------------------------------------------------


def test_the_program_finds_imported_results_complete(stored, other, program, archive):
    """Under another root the results, their times, records and code are what they were."""
    export(stored, archive, ["sum.json"], upstream=True)
    import_archive(other, archive)
    with under(other), assert_nothing_runs():
        node = program.total(program.split(program.image(3)))
        assert node.dc.state == "complete"
        assert node.compute() == 60
        assert program.image(3).compute().tolist() == np.full((4, 5), 3).tolist()
    for path in ("sum.json", "images/3.npy"):
        before, after = os.stat(stored.absolute(path)), os.stat(other.absolute(path))
        assert before.st_mtime_ns == after.st_mtime_ns
    ours, theirs = ({f.name for f in Path(root.records).rglob("*.json")} for root in (stored, other))
    assert theirs < ours
    assert story(other, find(other, "sum.json"))[:3] == story(stored, find(stored, "sum.json"))[:3]
    ours, theirs = ({p.name for p in Path(root.code).rglob("*.*")} for root in (stored, other))
    assert theirs < ours
    assert len([name for name in theirs if name.endswith(".txt")]) == 3
    assert os.listdir(other.intents) == []
    assert not [p for p in Path(other.path).rglob("*") if p.name.endswith(".part")]


def test_without_upstream_a_final_result_is_complete(stored, other, program, archive):
    """A result alone is complete, because its record says what it was made from."""
    assert [item.path for item in export(stored, archive, ["sum.json"])] == ["sum.json"]
    import_archive(other, archive)
    with under(other), assert_nothing_runs():
        assert program.total(program.split(program.image(3))).compute() == 60


def test_all_results_of_a_call_go_together(stored, archive):
    """Of a call with several results no part is left behind, since it would count for nothing."""
    packed = export(stored, archive, ["parts/3.npy"])
    assert {item.path for item in packed} == {"parts/3.json", "parts/3.npy"}


def test_results_named_by_their_data(stored, other, program, archive):
    """A target whose path holds its data hash is found at its new place."""
    export(stored, archive, ["same/*"])
    import_archive(other, archive)
    with under(other), assert_nothing_runs():
        assert program.by_hash(2).compute() == [2]


def test_folders(root, other, archive):
    """A folder goes with all its files, dot files and subfolders included."""
    files_of("x").compute()
    export(Root(str(root)), archive, ["store.files"])
    with under(other):
        import_archive(other, archive, trust_pickles=True)
        with assert_nothing_runs():
            assert files_of("x").compute() == {".zattrs": "x", "c/0/0": "xx", "c/0/1": "xxx"}


def manifests(root):
    return {path.name: path.read_bytes() for path in Path(root.manifests).rglob("*.json")}


def test_zarr_folders(root, other, archive):
    """A Zarr folder is imported with its manifest, and is opened chunk by chunk."""
    here = Root(str(root))
    volume(3).compute()
    packed = export(here, archive, ["volume.zarr"])
    assert packed == [exporting.Exported("volume.zarr", storage.stamp(str(root / "volume.zarr")).size)]
    (found,) = import_archive(other, archive)
    assert found.outcome == "imported"
    assert manifests(other) == manifests(here) != {}
    with under(other), assert_nothing_runs():
        node = volume(3)
        assert node.dc.open()[2:, :2].tolist() == [[24, 27], [36, 39]]
        assert np.array_equal(node.compute(), np.arange(16).reshape(4, 4) * 3)
    assert os.listdir(other.parts) == []


def test_zarr_folders_that_were_copied(root, other, archive):
    """A Zarr folder that is there with the same bytes stays, and gets its record and its manifest."""
    here = Root(str(root))
    volume(3).compute()
    export(here, archive, ["volume.zarr"])
    other.create()
    shutil.copytree(root / "volume.zarr", other.absolute("volume.zarr"))
    before = tree(other)
    (found,) = import_archive(other, archive)
    assert found.outcome == "there already"
    assert tree(other) == before
    assert manifests(other) == manifests(here)
    with under(other), assert_nothing_runs():
        assert volume(3).compute()[3, 3] == 45


@pytest.mark.parametrize("damage", ["bytes", "missing", "extra", "swapped"])
def test_zarr_folders_that_are_not_as_recorded(root, other, archive, tmp_path, damage):
    """A chunk that is damaged, missing, too many or in another's place stops the import."""
    here = Root(str(root))
    volume(3).compute()
    export(here, archive, ["volume.zarr"])

    def change(members):
        chunks = [pair for pair in members if "/c/" in pair[0].name]
        if damage == "bytes":
            chunks[0][1] = chunks[0][1][:-1] + b"\x7f"
        elif damage == "missing":
            members.remove(chunks[0])
        elif damage == "extra":
            members.append([named("targets/volume.zarr/c/9/9"), b""])
        else:
            chunks[0][0].name, chunks[1][0].name = chunks[1][0].name, chunks[0][0].name

    with pytest.raises((StorageError, TargetCorrupt)):
        import_archive(other, rewritten(archive, change, tmp_path))
    assert not os.path.exists(other.absolute("volume.zarr"))
    assert RecordStore(other).all() == []


def test_damaged_zarr_folders_are_not_exported(root, archive):
    """A chunk that is damaged or gone is noticed before anything is packed."""
    here = Root(str(root))
    volume(3).compute()
    (root / "volume.zarr" / "c" / "0" / "1").unlink()
    with pytest.raises(TargetCorrupt):
        export(here, archive, ["volume.zarr"])
    assert not os.path.exists(archive)


# ---- whole projects ------------------------------------------------------------------------------

HELPERS = """
def scaled(x): return x * FACTOR
FACTOR = 2
"""
PROJECT = """
import numpy as np, pandas as pd
import daskcache as dc
from helpers import scaled

def summed(values): return float(sum(values))

@dc.delayed(target="images/{source.stem}.npy")
def image(source): return scaled(source)

@dc.delayed(target=("parts/{x.stem}-low.json", "parts/{x.stem}-high.npy"))
def split(x): return summed(x[:2]), scaled(x)

@dc.delayed(target="volumes/{x.stem}.zarr")
def volume(x): return {"A": scaled(x), "a": x}

@dc.delayed(target="tables.db::counts")
def table(parts): return pd.DataFrame({"sum": [summed([low]) for low, _ in parts]})

@dc.delayed(target="members.json")
def members(folder): return [path.name for path in folder]

@dc.delayed(target="described/{data_hash}.txt")
def described(x): return f"{summed(x)}"

@dc.delayed(target="report.csv")
def report(table, volumes, members, texts):
    frame = table.assign(volume=[summed(v["A"]) for v in volumes], text=[float(t) for t in texts])
    return frame.assign(members=len(members))

def graph(raw):
    images = [image(source) for source in dc.FolderSource(raw, "*.npy")]
    parts, volumes = [split(x) for x in images], [volume(x) for x in images]
    folder = members(dc.FolderSource(raw, "*.npy"))
    return report(table(parts), volumes, folder, [described(x) for x in images])
"""


@pytest.fixture
def project(define, tmp_path):
    """A program whose functions share helpers, with several results, Zarr, a table and sources."""
    define(HELPERS, "helpers")
    (tmp_path / "raw").mkdir()
    for name in "abc":
        np.save(tmp_path / "raw" / f"{name}.npy", np.arange(4) + ord(name))
    module = define(PROJECT, "project")
    return lambda: module.graph(tmp_path / "raw")


def test_functions_that_share_a_helper(project, root, other, archive):
    """The source of a helper is in an archive once, whatever uses it."""
    project().compute()
    export(Root(str(root)), archive, ["images/a.npy", "parts/a-low.json", "volumes/a.zarr"])
    with tarfile.open(archive) as tar:
        names = tar.getnames()
    assert len(names) == len(set(names))
    shared = [name for name in names if name.startswith("code/sources/")]
    assert len(shared) == 5  # image, split and volume, and the two helpers
    assert {item.outcome for item in import_archive(other, archive)} == {"imported"}


@pytest.mark.parametrize("chosen", [["*"], ["report.csv"]], ids=str)
def test_a_whole_project(project, root, other, archive, chosen):
    """All of it goes there and back; of tables the records go, and what follows them is finished."""
    expected = project().compute()
    packed = export(Root(str(root)), archive, chosen, upstream=True)
    assert len(packed) == 3 + 6 + 3 + 1 + 1 + 3 + 1
    outcomes = import_archive(other, archive)
    kinds = {item.path: item.outcome for item in outcomes if item.outcome != "imported"}
    assert kinds == {"tables.db::counts": "record only"}
    with under(other), assert_nothing_runs():
        assert project().compute().equals(expected)
        assert run("verify", "--root", other.path).exit_code == 0
    again = str(Path(archive).with_name("again.tar"))
    assert export(other, again, chosen, upstream=True) == packed
    assert {item.outcome for item in import_archive(other, again)} == {"there already", "record only"}


def test_the_demo_goes_there_and_back(tmp_path, other, archive):
    """Every result of the demo, with its code, comes out of an archive as it went in."""
    from daskcache.housekeeping import demo

    images = demo.copy_images(tmp_path / "raw")[:2]
    expected = demo.pipeline(images).compute()
    export(Root(dask.config.get("daskcache.root")), archive, ["summary.csv"], upstream=True)
    assert {item.outcome for item in import_archive(other, archive)} == {"imported"}
    with under(other), assert_nothing_runs():
        assert demo.pipeline(images).compute().equals(expected)


def test_names_that_differ_in_case_within_a_folder(root, other, archive):
    """Two files of one target may differ in case alone, where the file system has both."""
    node = dc.delayed(dict, target=FilesTarget("store.files"), version=1)(a="lower", A="upper")
    node.compute()
    export(Root(str(root)), archive, ["store.files"])
    (found,) = import_archive(other, archive, trust_pickles=True)
    assert found.outcome == "imported"
    assert sorted(os.listdir(other.absolute("store.files"))) == ["A", "a"]


# ---- hashed with another algorithm --------------------------------------------------------------


@pytest.fixture
def other_hash(monkeypatch):
    """Makes this process hash with SHA-256, as another one may do."""

    def other_hash():
        monkeypatch.setattr(algorithms, "_chosen", None)
        dask.config.set({"daskcache.hash": "sha256"})

    with dask.config.set({"daskcache.hash": "xxh3_128"}):
        yield other_hash


def test_exports_need_the_algorithm(stored, archive, other_hash):
    """What can't be compared with its record isn't exported, and isn't called damaged."""
    other_hash()
    with pytest.raises(StorageError, match="DASK_DASKCACHE__HASH=xxh3_128"):
        export(stored, archive, ["sum.json"])


def test_imports_need_the_algorithm(stored, other, archive, other_hash):
    """An archive says which algorithm it needs."""
    export(stored, archive, ["sum.json"])
    other_hash()
    with pytest.raises(TargetCorrupt, match="hashed with 'xxh3_128'"):
        import_archive(other, archive)


# ---- sealed records -----------------------------------------------------------------------------


@pytest.fixture
def key(tmp_path):
    """Configuration with a key of the given name to seal records with."""

    def key(name):
        path = tmp_path / f"{name}.key"
        if not path.exists():
            path.write_bytes(os.urandom(32))
            path.chmod(0o600)
        return {"daskcache.key-file": str(path)}

    return key


def sealed_results(program, folder, settings):
    """A root that was made with these settings, and the chain that is stored in it."""
    root = Root(str(folder))
    with dask.config.set(settings), under(root):
        node = program.total(program.split(program.image(3)))
        dask.compute(node)
    return root


@pytest.mark.parametrize(("theirs", "ours"), [("a", "b"), ("a", None), (None, "b"), ("a", "a")], ids=str)
def test_sealed_roots(program, tmp_path, other, archive, key, theirs, ours):
    """Records leave a root without their seals, and get those of the root that takes them in."""
    theirs, ours = (
        {"daskcache.key-file": None} if name is None else key(name) for name in (theirs, ours)
    )
    sealed = sealed_results(program, tmp_path / "sealed", theirs)
    with dask.config.set(theirs):
        export(sealed, archive, ["sum.json"], upstream=True)
    with tarfile.open(archive) as tar:
        names = [name.removeprefix("records/") for name in tar.getnames() if name.startswith("records/")]
        records = [json.load(tar.extractfile(f"records/{name}")) for name in names]
    assert all(RecordName.parse(name).unsealed() == name for name in names)
    assert not any("seal" in record for record in records)
    with dask.config.set(ours), under(other):
        import_archive(other, archive)
        assert len(RecordStore(other).all()) == len(names) == 4
        with assert_nothing_runs():
            assert program.total(program.split(program.image(3))).compute() == 60
        assert {item.outcome for item in import_archive(other, archive)} == {"there already"}
        assert len(RecordStore(other).all()) == 4
        assert run("verify", "--root", other.path).exit_code == 0


def test_what_is_not_sealed_is_not_exported(program, tmp_path, archive, key):
    """A record that somebody forged in a sealed root does not leave it as one that can be trusted."""
    sealed = sealed_results(program, tmp_path / "sealed", key("a"))
    with dask.config.set(key("a")):
        (name,) = [item.name for item in listed(sealed) if item.path == "sum.json"]
        path = Path(sealed.records, name.shard, name.file_name())
        path.write_text(path.read_text().replace("program.total", "program.forged"))
        with pytest.warns(DaskcacheWarning, match="not sealed"), pytest.raises(TargetMissing):
            export(sealed, archive, ["sum.json"])


def test_imports_need_the_key(program, tmp_path, archive, key, stored):
    """Into a root with sealed records nothing is imported without its key."""
    export(stored, archive, ["sum.json"])
    sealed = sealed_results(program, tmp_path / "sealed", key("a"))
    with pytest.raises(StorageError, match="no key is configured"):
        import_archive(sealed, archive)


# ---- what is not there, or there already --------------------------------------------------------


def test_of_a_missing_intermediate_the_record_goes(stored, other, program, archive, root):
    """What gc dropped above a result is imported as its record, so that nothing looks new."""
    (root / "images" / "3.npy").unlink()
    packed = {item.path: item.size for item in export(stored, archive, ["sum.json"], upstream=True)}
    assert packed["images/3.npy"] == 0
    assert packed["sum.json"] > 0
    outcomes = {item.path: item.outcome for item in import_archive(other, archive)}
    assert outcomes["images/3.npy"] == "record only"
    states = {item.path: item.state for item in listed(other)}
    assert states["images/3.npy"] == "missing"
    assert states["sum.json"] == "complete"


@pytest.fixture
def listings(monkeypatch):
    """A function that calls another one, and returns how often that listed a folder."""
    real, found = storage.names_in, []
    monkeypatch.setattr(storage, "names_in", lambda folder: found.append(folder) or real(folder))

    def listings(function, *args):
        found.clear()
        function(*args)
        return len(found)

    return listings


def test_importing_many_records_lists_no_more_folders(other, archive, root, listings):
    """An archive of records without files, whose import took time with the square of their number."""
    made = dc.delayed(lambda n: n, target="n/{n}.json", version=1)
    summed = dc.delayed(lambda numbers: sum(numbers), target="sum.json", version=1)
    found = []
    for number in (20, 60):
        summed([made(n) for n in range(number)]).compute()
        shutil.rmtree(root / "n")
        path = f"{archive}-{number}"
        assert len(export(Root(str(root)), path, ["sum.json"], upstream=True)) == number + 1
        into = Root(f"{other.path}-{number}")
        found.append(listings(import_archive, into, path))
        states = Counter(item.state for item in listed(into))
        assert states == {"missing": number, "complete": 1}
    assert found[0] == found[1]


def test_importing_twice_changes_nothing(stored, other, archive):
    """What is there with the same bytes stays, with one record."""
    export(stored, archive, ["sum.json"], upstream=True)
    import_archive(other, archive)
    before, records = tree(other), sorted(RecordStore(other).all())
    assert {item.outcome for item in import_archive(other, archive)} == {"there already"}
    assert tree(other) == before
    assert sorted(RecordStore(other).all()) == records


def test_importing_what_was_computed_here_too(stored, other, program, archive, root):
    """Equal results that this root made itself keep their own records, and get no second ones."""
    with under(other):
        program.total(program.split(program.image(3))).compute()
    os.unlink(other.absolute("images/3.npy"))
    os.unlink(stored.absolute("images/3.npy"))
    export(stored, archive, ["sum.json"], upstream=True)
    before, records = tree(other), sorted(RecordStore(other).all())
    import_archive(other, archive)
    assert tree(other) == before
    assert sorted(RecordStore(other).all()) == records


def test_a_copy_without_a_record_is_taken_in(stored, other, program, archive):
    """A file with the same bytes that was copied by hand gets its record, and stays as it is."""
    export(stored, archive, ["sum.json"])
    other.create()
    shutil.copy(stored.absolute("sum.json"), other.absolute("sum.json"))
    before = tree(other)
    import_archive(other, archive)
    assert tree(other) == before
    with under(other), assert_nothing_runs():
        assert program.total(program.split(program.image(3))).compute() == 60


def test_what_is_computed_after_an_import(stored, other, program, archive):
    """What was not in the archive is computed from what was."""
    export(stored, archive, ["images/*"])
    import_archive(other, archive)
    with under(other), count_runs() as runs:
        assert program.total(program.split(program.image(3))).compute() == 60
    assert runs() == {"split": 1, "total": 1}


# ---- the commands -------------------------------------------------------------------------------


def test_on_the_command_line(stored, other, archive):
    """Export names what is packed and the next command; import makes the root and says what came."""
    done = run("export", archive, "sum.json", "images/*", "--root", stored.path)
    assert done.exit_code == 0, done.output
    assert f"2 targets; take them in with 'dask cache import {archive}'" in done.output
    done = run("import", archive, "--root", other.path)
    assert done.exit_code == 0, done.output
    assert "sum.json: imported" in done.output


def test_pickles_need_trust(stored, other, program, archive):
    """A pickle would belong to whoever imports it, so it is left out unless it is trusted."""
    run("export", archive, "sum.json", "object.pkl", "--root", stored.path)
    done = run("import", archive, "--root", other.path)
    assert done.exit_code == 0
    assert "object.pkl: left out" in done.output
    assert "--trust-pickles" in done.output
    assert not os.path.exists(other.absolute("object.pkl"))
    assert {item.path for item in listed(other)} == {"sum.json"}
    done = run("import", archive, "--trust-pickles", "--root", other.path)
    assert "object.pkl: imported" in done.output
    with under(other), assert_nothing_runs():
        assert program.thing(1).compute() == {1}


def record_of_format(path, format, *classes):
    upstream = [{"source": "../raw", "class": name, "data_hash": "x"} for name in classes]
    return SimpleNamespace(target=path, format=format, upstream=[{"data_hash": "x"}, *upstream])


def test_only_known_formats_are_harmless():
    """A format counts as harmless if it is one of ours, and the path's suffix says the same."""
    ours = "daskcache.targets.objects:"
    assert is_harmless(record_of_format("a.json", f"{ours}JSONTarget"))
    assert is_harmless(record_of_format("a.json", "daskcache:JSONTarget"))
    for path, format in (
        ("a.pkl", f"{ours}PickleTarget"),
        ("a.pkl", "daskcache:PickleTarget"),
        ("a.pkl", f"{ours}JSONTarget"),
        ("a", f"{ours}JSONTarget"),
        ("a.json", f"{ours}PickleTarget"),
        ("a.ply", "meshtools:MeshTarget"),
        ("a.json", "os:system"),
        ("a.json", "daskcache.targets.stores:StoreTarget"),
    ):
        assert not is_harmless(record_of_format(path, format))
    dc.register_suffix(".files", f"{__name__}:FilesTarget")
    try:
        assert not is_harmless(record_of_format("a.files", f"{__name__}:FilesTarget"))
    finally:
        del registry._TARGETS[".files"]


def test_only_known_sources_are_harmless():
    """A record that names a source whose reading runs code, or that isn't ours, is not harmless."""
    known = "a.json", "daskcache.targets.objects:JSONTarget"
    assert is_harmless(
        record_of_format(*known, "daskcache.targets.text:TextSource", "daskcache:CSVSource")
    )
    for name in (
        "daskcache.targets.objects:PickleSource",
        "daskcache:PickleSource",
        "program:Mine",
        "x",
    ):
        assert not is_harmless(record_of_format(*known, "daskcache:TextSource", name))


def test_what_cannot_be_exported(stored, archive, root):
    """What has no record, is gone or edited, or lies in a database is refused by name."""
    with pytest.raises(TargetMissing, match=r"nothing\.json"):
        export(stored, archive, ["nothing.json"])
    (root / "sum.json").write_text("61")
    with pytest.raises(TargetCorrupt, match="modified"):
        export(stored, archive, ["sum.json"])
    (root / "sum.json").unlink()
    with pytest.raises(TargetCorrupt, match="missing"):
        export(stored, archive, ["sum.json"])
    assert not os.path.exists(archive)
    assert not list(Path(archive).parent.glob("*.part"))


def test_tables_in_databases_are_refused(stored, archive):
    """A table lies in a file with others: it can't go alone."""
    (name,) = [item.name for item in listed(stored) if item.path == "sum.json"]
    path = f"{stored.records}/{name.shard}/{name.file_name()}"
    content = json.loads(Path(path).read_text()) | {"target": "tables.db::sums"}
    Path(path).write_text(json.dumps(content))
    with pytest.raises(StorageError, match="table in a database"):
        export(stored, archive, ["tables.db::sums"])


def test_an_existing_file_is_not_overwritten(stored, archive):
    """Export makes a new file, or says that there is one."""
    Path(archive).write_text("mine")
    done = run("export", archive, "sum.json", "--root", stored.path)
    assert done.exit_code == 1
    assert "there is a file of this name already" in done.output
    assert Path(archive).read_text() == "mine"


# ---- conflicts ----------------------------------------------------------------------------------


def test_other_files_in_the_way(stored, other, archive):
    """If one target meets another file nothing is imported, and what is in the way is named."""
    export(stored, archive, ["sum.json"], upstream=True)
    other.create()
    Path(other.absolute("sum.json")).write_text("mine")
    before = tree(other)
    done = run("import", archive, "--root", other.path)
    assert done.exit_code == 1
    assert "sum.json" in done.output
    assert "nothing was imported" in done.output
    assert tree(other) == before
    assert RecordStore(other).all() == []


@pytest.mark.parametrize("path", ["images", "images/3.npy/inner"])
def test_other_targets_in_the_way(stored, other, archive, path):
    """A file where a folder belongs, and a folder where a file belongs, are in the way too."""
    export(stored, archive, ["images/3.npy"])
    other.create()
    place = Path(other.absolute(path))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("mine")
    with pytest.raises(ForeignTarget):
        import_archive(other, archive)
    assert place.read_text() == "mine"


def test_inside_a_folder_that_is_a_target_is_in_the_way(other, archive, define):
    """What belongs inside another target would change that one."""
    module = define(
        "import daskcache as dc\n@dc.delayed(target='store.files/inner.json')\ndef inner(): return 1\n"
    )
    module.inner().compute()
    export(Root(dask.config.get("daskcache.root")), archive, ["store.files/*"])
    with under(other):
        files_of("x").compute()
    with pytest.raises(ForeignTarget):
        import_archive(other, archive)


def test_a_recorded_target_in_other_case_is_in_the_way(stored, other, archive):
    """Two targets that are one file on some file systems don't come into one root."""
    export(stored, archive, ["sum.json"])
    import_archive(other, archive)
    os.rename(other.absolute("sum.json"), other.absolute("SUM.json"))
    item = find(other, "sum.json")
    content = item.record.document | {"target": "SUM.json"}
    name = item.name._replace(target_id=target_id("SUM.json"))
    folder = f"{other.records}/{name.shard}"
    Path(folder, item.name.file_name()).unlink()
    Path(folder, name.file_name()).write_text(json.dumps(content))
    with pytest.raises(ForeignTarget, match="1 target"):
        import_archive(other, archive)


def test_a_file_that_comes_at_the_last_moment_stays(stored, other, archive, monkeypatch):
    """What another program puts there between the look and the link is not overwritten."""
    export(stored, archive, ["sum.json"])
    put_new = importing.storage.put_new

    def late(root, part, path):
        Path(root.absolute(path)).write_text("mine")
        put_new(root, part, path)

    monkeypatch.setattr(importing.storage, "put_new", late)
    other.create()
    with pytest.raises(ForeignTarget, match="has just put"):
        import_archive(other, archive)
    assert Path(other.absolute("sum.json")).read_text() == "mine"
    assert RecordStore(other).all() == []
    assert os.listdir(other.parts) == os.listdir(other.intents) == []


# ---- archives that were tampered with -----------------------------------------------------------


BAD_MEMBERS = {
    "absolute": named("/tmp/x.json"),
    "absolute below targets": named("targets//tmp/x.json"),
    "upward": named("targets/../../x.json"),
    "upward from records": named("records/../../x.json"),
    "a record in a folder": named("records/a/b.1.2.3.4.5.6.7.json"),
    "backslashes": named("targets/..\\x.json"),
    "metadata": named("targets/.daskcache/root.json"),
    "part": named("targets/.x.0123456789abcdef.part"),
    "control characters": named("targets/a\nb.json"),
    "a symbolic link": named("targets/link.json", tarfile.SYMTYPE, "/etc/passwd"),
    "a hard link": named("targets/link.json", tarfile.LNKTYPE, "/etc/passwd"),
    "a device": named("targets/null", tarfile.CHRTYPE),
    "a pipe": named("targets/pipe", tarfile.FIFOTYPE),
    "a folder": named("targets/folder", tarfile.DIRTYPE),
    "other metadata": named("intents/x.json"),
    "code elsewhere": named("code/sources/../../x.txt"),
    "the same again": named("targets/sum.json"),
    "the same in capitals": named("targets/SUM.json"),
}


@pytest.mark.parametrize("member", BAD_MEMBERS.values(), ids=BAD_MEMBERS)
def test_members_that_would_leave_their_place(stored, other, archive, tmp_path, member):
    """Whatever a member's name or kind, nothing is written before it is refused."""
    export(stored, archive, ["sum.json"])
    bad = rewritten(archive, lambda members: members.append([member, b""]), tmp_path)
    with pytest.raises(UnsafePath, match="a member of the archive"):
        import_archive(other, bad)
    assert not os.path.exists(other.path)


def forge(path, **facts):
    """Change a record in an archive."""

    def change(members):
        pair = record_of(members, path)
        pair[1] = json.dumps(json.loads(pair[1]) | facts).encode()

    return change


@pytest.mark.parametrize(
    "facts",
    [
        {"target": "../x.json"},
        {"target": "other.json"},
        {"target": 7},
        {"key": "0" * 32},
        {"file_hash": "xxh3_128:" + "0" * 32},
        {"data_hash": "0" * 32},
        {"size": 1},
        {"upstream": ["x"]},
        {"upstream": None},
        {"format": None},
        {"seconds": "long"},
        {"seconds": float("inf")},
        {"seconds": float("nan")},
        {"arguments": []},
    ],
    ids=lambda facts: "-".join(
        f"{k}-{v if type(v) is float else type(v).__name__}" for k, v in facts.items()
    ),
)
def test_records_that_contradict_themselves(stored, other, archive, tmp_path, facts):
    """A record that isn't one, or says something else than its name, is refused."""
    export(stored, archive, ["sum.json"])
    bad = rewritten(archive, forge("sum.json", **facts), tmp_path)
    with pytest.raises(TargetCorrupt, match="not valid"):
        import_archive(other, bad)
    assert not os.path.exists(other.path)


def renamed(path, **changes):
    """Give a record in an archive another name, and let its content agree."""

    def change(members):
        pair = record_of(members, path)
        old = pair[0].name.removeprefix("records/").removesuffix(".json")
        parts = dict(zip(RecordName._fields, old.split("."), strict=False))
        new = ".".join((parts | changes).values())
        pair[0].name = f"records/{new}.json"
        facts = {f: f"xxh3_128:{v}" for f, v in changes.items() if f.endswith("_hash")}
        pair[1] = json.dumps(json.loads(pair[1]) | facts).encode()
        members[0][1] = members[0][1].replace(old.encode(), new.encode())

    return change


@pytest.mark.parametrize("changes", [{"data_hash": "not-hex"}, {"size": "+3"}, {"mtime_ns": "-1"}])
def test_record_names_that_are_none(stored, other, archive, tmp_path, changes):
    """A name counts if it is just what daskcache would write."""
    export(stored, archive, ["sum.json"])
    with pytest.raises(TargetCorrupt, match="not valid"):
        import_archive(other, rewritten(archive, renamed("sum.json", **changes), tmp_path))


@pytest.mark.parametrize("place", ["images/3.npy", "images/3.npy/inner.json"])
def test_targets_that_claim_one_place(stored, other, archive, tmp_path, place):
    """Two records for one path, or for a path and one inside it, are refused."""

    def change(members):
        renamed("sum.json", target_id=target_id(place))(members)
        forge("sum.json", target=place)(members)
        data = next(pair for pair in members if pair[0].name == "targets/sum.json")
        data[0].name = f"targets/{place}"
        if place == "images/3.npy":
            members.remove(data)

    export(stored, archive, ["sum.json", "images/3.npy"])
    with pytest.raises((StorageError, TargetCorrupt)):
        import_archive(other, rewritten(archive, change, tmp_path))
    assert not os.path.exists(other.path)


def test_texts_of_absurd_size(stored, other, archive, monkeypatch):
    """A record or a manifest that is far too large is not read into memory."""
    export(stored, archive, ["sum.json"])
    monkeypatch.setattr("daskcache.housekeeping.archive._LARGEST_TEXT", 10)
    with pytest.raises(StorageError, match=r"daskcache\.json has"):
        import_archive(other, archive)


def test_bytes_that_are_not_those_recorded(stored, other, archive, tmp_path):
    """If one target is damaged nothing is imported, and no parts are left."""

    def damage(members):
        pair = next(pair for pair in members if pair[0].name == "targets/images/3.npy")
        pair[1] = pair[1][:-1] + b"\x7f"

    export(stored, archive, ["sum.json"], upstream=True)
    bad = rewritten(archive, damage, tmp_path)
    with pytest.raises(TargetCorrupt, match="not what its record says"):
        import_archive(other, bad)
    assert [path for path, mtime in tree(other).items() if mtime is not None] == []
    assert RecordStore(other).all() == []


def test_sizes_that_are_not_those_recorded(stored, other, archive, tmp_path):
    """A file that is longer than its record says is refused before it is read."""

    def grow(members):
        next(pair for pair in members if pair[0].name == "targets/sum.json")[1] += b"0" * 1000

    export(stored, archive, ["sum.json"])
    with pytest.raises(TargetCorrupt, match="not have its recorded size"):
        import_archive(other, rewritten(archive, grow, tmp_path))


def test_archives_that_are_larger_than_the_disk(stored, other, archive, monkeypatch):
    """Room is asked for before anything is written."""
    export(stored, archive, ["sum.json"])
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(importing.shutil, "disk_usage", lambda path: usage._replace(free=1))
    with pytest.raises(StorageError, match="disk is too full"):
        import_archive(other, archive)


@pytest.mark.parametrize(
    "change",
    [
        lambda members: members.pop(0),
        lambda members: members[0].__setitem__(1, b'{"daskcache": 99, "records": {}}'),
        lambda members: members[0].__setitem__(1, b'{"daskcache": 1, "records": {}}'),
        lambda members: members[0].__setitem__(1, b"[" * 100_000),
        lambda members: members.append([named("targets/more.json"), b"{}"]),
    ],
    ids=["none", "newer", "incomplete", "deep", "file without record"],
)
def test_archives_whose_manifest_does_not_fit(stored, other, archive, tmp_path, change):
    """What the manifest doesn't vouch for is no archive of ours."""
    export(stored, archive, ["sum.json"])
    with pytest.raises(StorageError, match="not an archive that can be read"):
        import_archive(other, rewritten(archive, change, tmp_path))


def test_files_that_are_no_archives(other, archive, stored, tmp_path):
    """Other files, compressed archives and ones that are cut short are a typed error."""
    Path(archive).write_bytes(os.urandom(5000))
    done = run("import", archive, "--root", other.path)
    assert done.exit_code == 1
    assert "not an archive that can be read" in done.output
    whole = str(tmp_path / "whole.tar")
    export(stored, whole, ["sum.json"])
    content = Path(whole).read_bytes()
    Path(archive).write_bytes(gzip.compress(content))
    assert run("import", archive, "--root", other.path).exit_code == 1
    with tarfile.open(whole) as tar:
        last = tar.getmembers()[-1]
    assert last.name == "targets/sum.json"
    for length in range(0, last.offset_data + 1, 512):
        Path(archive).write_bytes(content[:length])
        with pytest.raises((StorageError, TargetCorrupt)):
            import_archive(other, archive)
    assert not RecordStore(other).all()


def test_a_record_names_no_function_to_call(stored, other, program, archive, tmp_path):
    """A format that is no class of targets is never called, whatever an archive says."""
    export(stored, archive, ["sum.json"])
    bad = rewritten(archive, forge("sum.json", format="os:system"), tmp_path)
    import_archive(other, bad, trust_pickles=True)
    for path, format in (("touch pwned", "os:system"), ("ls", "subprocess:Popen")):
        assert target_of(SimpleNamespace(target=path, format=format, options=None)) is None
    assert Archive(bad).packed[0].harmless is False
