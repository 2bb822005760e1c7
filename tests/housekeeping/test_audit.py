"""Audits: finished nodes computed once more, from their graph and from their records alone."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import dask
import numpy as np
import pytest

import daskcache as dc
from daskcache.errors import DaskcacheWarning, NotANode
from daskcache.housekeeping import audit as auditing
from daskcache.housekeeping.audit import (
    NOT_DETERMINISTIC,
    UNTRACKED,
    Audit,
    Finding,
    audit_root,
)
from daskcache.housekeeping.listing import find, story
from daskcache.housekeeping.rebuild import ACCEPTED
from daskcache.storage import record
from daskcache.storage.roots import Root

DASK = str(Path(sys.executable).with_name("dask"))


def tree(folder):
    """All that is in a folder: names, times and content."""
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture(params=["graph", "records"])
def audited(request, root):
    """Audit nodes from their graph, or from their records; the root stays as it is."""

    def audited(*nodes, sample=1000, seed=0):
        before = tree(root)
        if request.param == "graph":
            found = dc.audit(*nodes, sample=sample, seed=seed)
        else:
            found = audit_root(Root(str(root)), sample=sample, seed=seed)
        assert tree(root) == before
        return found

    audited.way = request.param
    return audited


@pytest.fixture
def from_records(root):
    """The only finding of an audit of the records, or those of one function."""

    def from_records(function=None):
        before = tree(root)
        (finding,) = audit_root(Root(str(root)), function).findings
        assert tree(root) == before
        return finding

    return from_records


def outcomes(audit):
    return {finding.target: finding.outcome for finding in audit.findings}


def only(audit):
    (finding,) = audit.findings
    return finding


#: Above a function.
HEAD = "import daskcache as dc\n@dc.delayed(target='x.json')"


# ---- what is as it was --------------------------------------------------------------------------

FORMATS = """
import asyncio, json
import numpy as np, pandas as pd
import daskcache as dc

frame = pd.DataFrame({"a": [1, 2], "b": [0.5, None]})

@dc.delayed(target="array.npy")
def array(n): return np.arange(n)

@dc.delayed(target="image.tif")
def image(n): return np.full((n, n), 7, "u2")

@dc.delayed(target="table.csv")
def table(n): return frame * n

@dc.delayed(target="table.parquet")
def columns(n): return frame * n

@dc.delayed(target="plain.json")
def plain(n): return {"n": [n, None, "é"]}

@dc.delayed(target="any.pkl")
def anything(n): return {n: {1, 2}, (1, "x"): slice(n)}

@dc.delayed
def default(n): return n + 1

@dc.delayed(target="by-data/{data_hash}.json")
def by_data(n): return n

@dc.delayed(target=("two/first.npy", "two/second.json"))
def two(n): return np.ones(n), n

@dc.delayed(target={"mean": "named/mean.json", "all": "named/all.npy"})
def named(n): return {"all": np.arange(n), "mean": n / 2}

@dc.delayed(target=("same/{data_hash}.json", "same-{data_hash}.json"))
def two_by_data(n): return n, n

@dc.delayed(target="own.npy")
def own(n, target_path): np.save(target_path, np.arange(n))

@dc.delayed(target="own-unsaved.json", save=False)
def own_unsaved(n, target_path): open(target_path, "x").write(json.dumps(n))

@dc.delayed(target=("own/a.json", "own/b.npy"))
def own_two(n, target_path):
    open(target_path[0], "x").write(str(n))
    np.save(target_path[1], np.arange(n))

@dc.delayed(target="coroutine.json")
async def coroutine(n):
    await asyncio.sleep(0)
    return n

@dc.delayed(target="arguments.json")
def arguments(n, *more, kind="x", **rest): return repr([n, more, kind, rest])

@dc.delayed(target="versioned.json", version=3)
def versioned(n): return n

@dc.delayed(target="ignoring.json", ignore="workers")
def ignoring(n, workers=2): return n
"""
FUNCTIONS = re.findall(r"^(?:async )?def (\w+)", FORMATS, re.MULTILINE)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_is_deterministic_is_the_same(audited, define, name):
    """Whatever the format, a function that gives the same data again is the same."""
    function = getattr(define(FORMATS), name)
    node = function(3)
    node.compute()
    found = audited(node)
    finding = only(found)
    assert (finding.outcome, finding.reason) == ("same", "")
    assert finding.function == f"program.{name}"
    assert finding.recorded == finding.recomputed
    assert finding.seconds >= 0
    assert found.ok


ARGUMENTS = """
import daskcache as dc
import numpy as np
from pathlib import Path

@dc.delayed(target="{key}.json")
def f(*args, **kwargs): return repr((args, kwargs))
"""


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((1, 2.5, "text", None, True, b"\x00"), {}),
        (("x" * 700,), {"b": list(range(80)), "a": {"z": 1, "y": {2: (3,)}}}),
        ((np.float64(0.1), np.uint8(3), Path("a/b")), {"cut": slice(1, None), "r": range(4)}),
        ((float("inf"), 3 - 1j, frozenset({3})), {"nested": [[[[[[[[1]]]]]]]]}),
    ],
)
def test_arguments_come_back_from_records(audited, define, args, kwargs):
    """Arguments of plain values are made again from their texts, long ones and dicts' order included."""
    node = define(ARGUMENTS).f(*args, **kwargs)
    node.compute()
    assert only(audited(node)).outcome == "same"


CHAIN = """
import daskcache as dc
import numpy as np

@dc.delayed(target="made/{i}.npy")
def make(i): return np.arange(i + 2)

@dc.delayed(target={"low": "split/{a.stem}-low.npy", "high": "split/{a.stem}-high.json"})
def split(a): return {"low": a[:1], "high": float(a[-1])}

@dc.delayed(target="sums/{i}.json")
def add(i, parts, label="x"): return sum(float(p["high"]) for p in parts) + len(label)

@dc.delayed(target="gathered.json")
def gather(sums, by_name): return [*sums, *by_name.values()]

def graph(count=3):
    parts = [split(make(i)) for i in range(count)]
    sums = [add(i, parts) for i in range(count)]
    return gather(sums, {"first": sums[0], "last": sums[-1]})
"""


def test_a_graph(audited, define):
    """All complete nodes of a graph are drawn from, each computed from what is stored before it."""
    node = define(CHAIN).graph(30)
    node.compute()
    found = audited(node)
    assert found.counts == {"same": 91, "differs": 0, "failed": 0, "skipped": 0}


def test_upstream_is_read_not_computed(audited, define, runs):
    """Of each node only its own function runs, once."""
    program = define(CHAIN.replace("): return", "): runs.note(''); return"))
    program.runs = runs
    node = program.graph(3)
    node.compute()
    runs.clear()
    assert audited(node).counts["same"] == 10
    assert len(runs.take()) == 10


SOURCES = """
import daskcache as dc

@dc.delayed(target="from-{source.stem}.json")
def data(source): return repr(source)

@dc.delayed(target="itself-{source.stem}.json")
def itself(source: dc.Source): return type(source).__name__ + repr(source.get_data())

class Mine(dc.FileSource):
    pass
"""


def sources(folder):
    folder.mkdir()
    np.save(folder / "array.npy", np.arange(4))
    (folder / "table.csv").write_text("a;b\n1;2\n")
    (folder / "file.txt").write_text("x")
    return {
        "npy": dc.NumpySource(folder / "array.npy"),
        "csv": dc.CSVSource(folder / "table.csv", sep=";", names=["x", "y"]),
        "file": dc.FileSource(folder / "file.txt"),
        "folder": dc.FolderSource(folder, "*.txt"),
    }


@pytest.mark.parametrize("which", ["npy", "csv", "file", "folder"])
@pytest.mark.parametrize("function", ["data", "itself"])
def test_sources_come_back(audited, define, tmp_path, which, function):
    """Sources of each kind are read again, with their options, or passed as themselves."""
    source = sources(tmp_path / "raw")[which]
    node = getattr(define(SOURCES), function)(source)
    node.compute()
    assert only(audited(node)).outcome == "same"


def test_sources_come_back_where_the_root_was_moved(define, tmp_path, root, monkeypatch):
    """Records name sources as seen from the root, so both can be moved together."""
    project = tmp_path / "project"
    project.mkdir()
    with dask.config.set({"daskcache.root": str(project / "results")}):
        node = define(SOURCES).data(sources(project / "raw")["npy"])
        node.compute()
    project.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    assert only(audit_root(Root(str(tmp_path / "moved" / "results")))).outcome == "same"


def test_a_source_of_the_users_class(define, tmp_path, from_records):
    """A user's source class is found by the name in the record."""
    program = define(SOURCES)
    (tmp_path / "x.txt").write_text("x")
    program.itself(program.Mine(tmp_path / "x.txt")).compute()
    assert from_records().outcome == "same"
    define(SOURCES.replace("class Mine", "class Yours"))
    finding = from_records()
    assert finding.outcome == "skipped"
    assert finding.reason == "program:Mine, the class of ../x.txt, was not imported here"
    define(SOURCES.replace("class Mine(dc.FileSource)", "class Mine"))
    assert from_records().reason.endswith("is not a class of sources any more")


def test_a_target_instead_of_its_data(audited, define):
    """A parameter annotated with a target class gets the target, in the root."""
    program = define(
        """
        import daskcache as dc

        @dc.delayed(target="a.json")
        def make(): return [1, 2]

        @dc.delayed(target="b.json")
        def look(a: dc.Target): return [type(a).__name__, a.path, a.read(a.path)]
        """
    )
    node = program.look(program.make())
    node.compute()
    assert audited(node).counts["same"] == 2


def test_inputs_in_another_root(audited, define, tmp_path):
    """What an input's root was is in the record, if it is another one."""
    program = define(CHAIN)
    with dask.config.set({"daskcache.root": str(tmp_path / "other")}):
        made = program.make(3)
    node = program.split(made)
    node.compute()
    assert set(outcomes(audited(node)).values()) == {"same"}


def test_random_generators_run_on_a_copy(define, root):
    """A generator among the arguments starts from the state that its node was made with."""
    draw = define(f"{HEAD}\ndef draw(g): return g.random()").draw
    generator = random.Random(3)
    node = draw(generator)
    node.compute()
    before = generator.getstate()
    assert only(dc.audit(node)).outcome == "same"
    assert only(dc.audit(node)).outcome == "same"
    assert generator.getstate() == before


def test_inputs_that_a_function_modifies(audited, define):
    """Each run gets its inputs as they are stored: what one modifies in place is not the next one's."""
    program = define(
        """
        import daskcache as dc, numpy as np, os

        @dc.delayed(target="a.npy")
        def make(): return np.zeros(3)

        @dc.delayed(target="b.json")
        def modify(a):
            a += 1
            return [a.tolist(), os.environ.get("DC_TEST")]
        """
    )
    node = program.modify(program.make())
    node.compute()
    os.environ["DC_TEST"] = "1"
    try:
        found = audited(node)
    finally:
        del os.environ["DC_TEST"]
    assert outcomes(found) == {"a.npy": "same", "b.json": "differs"}
    assert [f.reason for f in found.findings if f.reason] == [UNTRACKED]


def test_a_rerun_under_a_new_key(audited, define, monkeypatch):
    """After early cutoff, what was computed before is audited from its new record."""
    program = define(
        """
        import daskcache as dc

        @dc.delayed(target="round.json")
        def rounded(x): return round(x)

        @dc.delayed(target=("a.json", "b.json"))
        def both(x): return x, -x

        @dc.delayed(target="sum.json")
        def add(pair): return sum(pair)
        """
    )
    before = program.add(program.both(program.rounded(1.2)))
    before.compute()
    told = before.dc.record
    monkeypatch.setattr(record, "package_versions", lambda: {"numpy": "99.1"})
    node = program.add(program.both(program.rounded(1.3)))
    node.compute()
    assert node.dc.record["key"] != told["key"]
    assert node.dc.record["packages"] == told["packages"]  # it was made with those
    assert audited(node).counts["same"] == 3


# ---- what differs -------------------------------------------------------------------------------


def test_a_function_that_is_not_deterministic(audited, define):
    """Unseeded random numbers: named, with both hashes; what follows from them is the same."""
    program = define(
        """
        import daskcache as dc, numpy as np

        @dc.delayed(target="noise/{i}.npy")
        def noise(i): return np.random.rand(3)

        @dc.delayed(target="sum/{i}.json")
        def add(i, a): return float(a.sum())

        def graph(): return [add(i, noise(i)) for i in range(3)]
        """
    )
    nodes = program.graph()
    dask.compute(*nodes)
    found = audited(nodes)
    assert found.counts == {"same": 3, "differs": 3, "failed": 0, "skipped": 0}
    assert not found.ok
    for finding in found.findings:
        if finding.outcome == "differs":
            assert (finding.function, finding.reason) == ("program.noise", NOT_DETERMINISTIC)
            assert finding.target.startswith("noise/")
            assert finding.recomputed != finding.recorded
            assert finding.recorded == finding.recorded.lower().strip()
            assert finding.recorded.startswith("xxh3_128:")


def test_a_record_that_only_the_second_run_agrees_with(define, root):
    """Two runs that differ are not deterministic, though one of them gives what is recorded."""
    program = define(
        """
        import daskcache as dc
        flips = iter([0, 1, 0])

        @dc.delayed(target="x.json", version=1)
        def flip(): return next(flips)
        """
    )
    node = program.flip()
    node.compute()
    assert only(dc.audit(node)).reason == NOT_DETERMINISTIC


def test_a_function_that_fails_the_second_time(define, root):
    """A second run that raises is no deterministic one."""
    program = define(
        """
        import daskcache as dc
        flips = iter([0, 1])

        @dc.delayed(target="x.json", version=1)
        def flip(): return next(flips)
        """
    )
    node = program.flip()
    node.compute()
    finding = only(dc.audit(node))
    assert finding.outcome == "differs"
    assert finding.reason == "not deterministic: a second run raised StopIteration"


UNTRACKED_INPUTS = """
import daskcache as dc, os, time

@dc.delayed(target="x.json")
def environment(): return os.environ.get("DC_TEST", "")

@dc.delayed(target="x.json")
def read(): return open(os.path.join(os.environ["DC_FOLDER"], "data.txt")).read()

@dc.delayed(target="x.json")
def clock(): return time.strftime("%Y")

@dc.delayed(target=("x.json", "y.json"))
def half(): return 1, os.environ.get("DC_TEST", "")
"""


@pytest.mark.parametrize("name", ["environment", "read", "clock", "half"])
def test_an_input_that_is_not_tracked(audited, define, tmp_path, monkeypatch, name):
    """What reads the environment, a file by its plain path or the clock depends on what no key knows."""
    (tmp_path / "data.txt").write_text("before")
    monkeypatch.setenv("DC_FOLDER", str(tmp_path))
    node = getattr(define(UNTRACKED_INPUTS), name)()
    node.compute()
    assert only(audited(node)).outcome == "same"
    (tmp_path / "data.txt").write_text("after")
    monkeypatch.setenv("DC_TEST", "after")
    monkeypatch.setattr(time, "strftime", lambda form: "1999")
    finding = only(audited(node))
    assert (finding.function, finding.outcome, finding.reason) == (
        f"program.{name}",
        "differs",
        UNTRACKED,
    )


def test_a_package_that_changed_is_named(audited, define, monkeypatch):
    """Where versions of packages are not those of the record, they are named."""
    node = define(UNTRACKED_INPUTS).environment()
    node.compute()
    monkeypatch.setenv("DC_TEST", "after")
    now = node.dc.record["packages"]
    monkeypatch.setattr(auditing, "package_versions", lambda: {**now, "numpy": "99.1", "scipy": "2"})
    then = now["numpy"]
    assert (
        only(audited(node)).reason == f"{UNTRACKED}; since then: numpy {then} -> 99.1, scipy absent -> 2"
    )


def test_a_function_that_raises(audited, define, monkeypatch):
    """An error is reported, not raised."""
    program = define(
        """
        import daskcache as dc, os

        @dc.delayed(target="{i}.json")
        def touchy(i):
            if os.environ.get("DC_TEST") and i:
                raise KeyError("two\\nlines") if i == 1 else SystemError
            return i if i < 3 or "DC_TEST" not in os.environ else None if i == 3 else (1, 2)

        def graph(): return [touchy(i) for i in range(5)]
        """
    )
    nodes = program.graph()
    dask.compute(*nodes)
    monkeypatch.setenv("DC_TEST", "1")
    found = audited(nodes)
    assert not found.ok
    assert {f.target: f.reason for f in found.findings} == {
        "0.json": "",
        "1.json": "KeyError: 'two\\nlines'",
        "2.json": "SystemError",
        "3.json": "SystemError",
        "4.json": "SystemError",
    }
    assert found.counts == {"same": 1, "differs": 0, "failed": 4, "skipped": 0}


def test_a_result_that_can_not_be_stored_any_more(audited, define, monkeypatch):
    """What the format refuses now has failed, as it would in a run."""
    program = define(
        """
        import daskcache as dc, os

        @dc.delayed(target="x.json")
        def f(): return b"2" if "DC_TEST" in os.environ else 1
        """
    )
    node = program.f()
    node.compute()
    monkeypatch.setenv("DC_TEST", "1")
    finding = only(audited(node))
    assert finding.outcome == "failed"
    assert finding.reason.startswith("FormatLimit: JSONTarget can't hold this result")


# ---- what is skipped ----------------------------------------------------------------------------


def test_an_input_that_is_gone(audited, define, root):
    """A node whose input was deleted can't be computed as it was; nothing upstream runs for it."""
    node = define(CHAIN).graph(2)
    node.compute()
    (root / "split" / "0-high.json").unlink()
    found = audited(node)
    assert found.ok
    skipped = {f.target: f.reason for f in found.findings if f.outcome == "skipped"}
    assert set(skipped) == {"sums/0.json", "sums/1.json"}
    for reason in skipped.values():
        assert reason.startswith("its input split")
        assert reason.endswith(
            "split/0-high.json is gone" if audited.way == "records" else "was deleted"
        )


def test_an_input_that_was_edited(audited, define, root):
    """A node whose input was edited by hand is not computed from it."""
    node = define(CHAIN).graph(2)
    node.compute()
    time.sleep(0.01)
    np.save(root / "made" / "0.npy", np.arange(7))
    found = outcomes(audited(node))
    assert "made/0.npy" not in found  # it is not complete
    edited = "split/0-low.npy, split/0-high.json"
    if audited.way == "records":
        assert found.pop(edited) == "skipped"
    assert edited not in found
    assert found["split/1-low.npy, split/1-high.json"] == "same"


def test_an_edited_input_is_told_from_its_record(define, root, from_records):
    """The reason names the input that is not as recorded."""
    program = define(CHAIN)
    program.split(program.make(1)).compute()
    time.sleep(0.01)
    np.save(root / "made" / "1.npy", np.arange(7))
    finding = from_records()
    assert (finding.outcome, finding.reason) == (
        "skipped",
        "its input made/1.npy is not as recorded",
    )


def test_a_damaged_input(audited, define, root):
    """An input that was damaged without a trace in size and times is noticed when it is read."""
    program = define(CHAIN)
    node = program.split(program.make(1))
    node.compute()
    path = root / "made" / "1.npy"
    found = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    finding = next(f for f in audited(node).findings if f.function == "program.split")
    assert finding.outcome == "skipped"
    assert "TargetCorrupt: a result is damaged" in finding.reason


def test_an_input_that_holds_other_data(define, root, from_records):
    """A node whose input was computed anew, and came out otherwise, is not computed from it."""
    program = define(
        """
        import daskcache as dc, itertools

        counter = itertools.count()

        @dc.delayed(target="a.json", version=1)
        def count(): return next(counter)

        @dc.delayed(target="b.json")
        def same(a): return a
        """
    )
    program.same(program.count()).compute()
    dc.compute(program.count(), force=True)
    finding = from_records("same")
    assert (finding.outcome, finding.reason) == ("skipped", "its input a.json holds other data now")


def test_a_source_that_changed(define, tmp_path, from_records):
    """A source that changed, or is gone, is named."""
    source = sources(tmp_path / "raw")["npy"]
    define(SOURCES).data(source).compute()
    np.save(source.path, np.arange(9))
    finding = from_records()
    assert finding.outcome == "skipped"
    assert (
        finding.reason == f"the source {source.path} changed since, or can't be rebuilt from its record"
    )
    os.unlink(source.path)
    assert from_records().reason == f"the source {source.path} does not exist"


def test_a_source_that_changes_meanwhile(define, tmp_path, root, monkeypatch):
    """A source is verified when it is read, also from a graph."""
    source = sources(tmp_path / "raw")["npy"]
    node = define(SOURCES).data(source)
    node.compute()
    np.save(source.path, np.arange(9))
    monkeypatch.setattr(dc.Source, "content_hash", lambda self: node._recipe.upstream[0].content_hash)
    finding = only(dc.audit(node))
    assert finding.outcome == "skipped"
    assert "SourceChanged" in finding.reason


def test_inputs_that_are_not_stored(audited, define, root):
    """Plain Dask values and nodes without target are not stored: what follows is skipped."""
    program = define(
        """
        import daskcache as dc, dask

        @dc.delayed(save=False)
        def passing(x): return x

        @dc.delayed(target="{name}.json")
        def f(name, x): return x
        """
    )
    nodes = program.f("dask", dask.delayed(3)), program.f("node", program.passing(3))
    dask.compute(*nodes)
    found = audited(nodes)
    assert outcomes(found) == {"dask.json": "skipped", "node.json": "skipped"}
    for finding in found.findings:
        assert "not stored" in finding.reason or finding.reason.endswith("is not cached")


def test_a_function_that_writes_to_its_target_itself(audited, define, root):
    """It would write to the root, so it doesn't run."""
    program = define(
        """
        import daskcache as dc, os

        @dc.delayed(target="x.json", save=False)
        def write(folder):
            os.makedirs(folder, exist_ok=True)
            open(folder + "/x.json", "w").write("1")
        """
    )
    node = program.write(str(root))
    node.compute()
    finding = only(audited(node))
    assert finding.outcome == "skipped"
    assert finding.reason == "it writes its target itself, and not to a parameter target_path"


def test_a_file_that_was_adopted(define, root):
    """What check="exists" took as it was has no record to compare with."""
    make = define(f"{HEAD[:-1]}, check='exists')\ndef f(): return 1").f
    root.mkdir()
    (root / "x.json").write_text("5")
    finding = only(dc.audit(make()))
    assert (finding.outcome, finding.reason) == ("skipped", "x.json is not as recorded")


def test_a_target_that_was_accepted(audited, define, root, monkeypatch):
    """What somebody accepted was not computed by the code of now: there is nothing to compare."""
    define(EDITED).f(1).compute()
    node = define(EDITED.replace("a + 1", "a + 2")).f(1)
    dc.accept(node)
    finding = only(audited(node))
    assert (finding.outcome, finding.reason) == ("skipped", ACCEPTED)


def test_a_target_whose_inputs_do_not_count(define, root):
    """With check="exists", a target may be older than the inputs that are there now."""
    program = define(
        """
        import daskcache as dc

        @dc.delayed(target="a.json")
        def make(n): return n

        @dc.delayed(target="b.json", check="exists", version=1)
        def follow(a): return a
        """
    )
    program.follow(program.make(1)).compute()
    dc.compute(program.make(2))
    found = dc.audit(program.follow(program.make(2)))
    assert {f.target: (f.outcome, f.reason) for f in found.findings} == {
        "a.json": ("same", ""),
        "b.json": ("skipped", ACCEPTED),
    }


def test_arguments_that_count_otherwise(define, from_records):
    """A function whose version stands for its code, and whose arguments are not what they were."""
    head = "import daskcache as dc\n@dc.delayed(target='x.json', version=1)\n"
    define(head + "def f(a, b=1): return a").f(1).compute()
    assert from_records().outcome == "same"
    define(head + "def f(a): return a")
    assert from_records().reason == "it counts other arguments now"
    define(head + "def f(a, b=1, c=2): return a")
    assert from_records().reason == "the argument 'c' can't be rebuilt from its record"


def test_a_root_that_was_copied(audited, define, root):
    """In a copy of a root all times are others, and its content is what counts."""
    node = define(CHAIN).graph(2)
    node.compute()
    for path in root.rglob("*"):
        os.utime(path)
    assert audited(node).counts == {"same": 7, "differs": 0, "failed": 0, "skipped": 0}


def test_a_target_that_a_new_recipe_takes_over(define, root):
    """What equal code made of equal data is audited before its record has the new key."""
    program = define(
        """
        import daskcache as dc

        @dc.delayed(target="{x}.json")
        def rounded(x): return round(x)

        @dc.delayed(target="b.json")
        def follow(a): return a
        """
    )
    program.follow(program.rounded(1.2)).compute()
    dc.compute(program.rounded(1.3))
    node = program.follow(program.rounded(1.3))
    assert outcomes(dc.audit(node)) == {"1.3.json": "same", "b.json": "same"}


@pytest.mark.parametrize(
    "value", [np.arange(3), object, random.Random(1), ["x" * 900, "y" * 900], "x" * 2000]
)
def test_an_argument_without_a_text(define, from_records, value):
    """An argument that its record can't give back is named."""
    define(f"{HEAD}\ndef f(a, b): return 1").f(1, value).compute()
    finding = from_records()
    assert finding.outcome == "skipped"
    assert finding.reason == "the argument 'b' can't be rebuilt from its record"


def test_an_argument_that_does_not_count(define, from_records):
    """An argument that is not part of the key has its default, or can't be rebuilt."""
    program = define(
        """
        import daskcache as dc

        @dc.delayed(target="{x}.json", ignore=("quiet", "workers"))
        def f(x, workers, quiet=True): return x

        @dc.delayed(target="{x}.json", ignore="quiet")
        def g(x, quiet=True): return x
        """
    )
    dask.compute(program.f(1, 2, False), program.g(2, False))
    assert from_records("f").reason == "the argument 'workers' can't be rebuilt from its record"
    assert from_records("program.g").outcome == "same"


EDITED = """
import daskcache as dc

@dc.delayed(target="x.json")
def f(a): return a + 1
"""


OTHER_TARGETS = "it has other targets now"
UNDECORATED = "it is not a decorated function any more"
RENAMED = "program, as it is imported here, has no f"


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        (EDITED.replace("a + 1", "a + 2"), "its code changed since"),
        (EDITED.replace("x.json", "x.pkl"), OTHER_TARGETS),
        (EDITED.replace('"x.json"', '("x.json",)'), OTHER_TARGETS),
        (EDITED.replace("@dc", "# @dc"), UNDECORATED),
        (EDITED + "f = dc.plan\n", UNDECORATED),
        (EDITED + "class f: _spec = 1\n", UNDECORATED),
        (EDITED.replace("def f", "def g"), RENAMED),
    ],
)
def test_a_function_that_changed(define, from_records, new, reason):
    """A function that is not what it was is skipped."""
    define(EDITED).f(1).compute()
    assert from_records().outcome == "same"
    define(new)
    finding = from_records()
    assert (finding.outcome, finding.reason) == ("skipped", reason)


def test_a_module_that_was_not_imported(define, from_records, tmp_path, monkeypatch):
    """Nothing is imported because a record names it, be it at hand: that is for the user to say."""
    define(EDITED, "absent").f(1).compute()
    monkeypatch.delitem(sys.modules, "absent")
    (tmp_path / "absent.py").write_text(EDITED)
    monkeypatch.syspath_prepend(tmp_path)
    finding = from_records()
    assert finding.outcome == "skipped"
    assert finding.reason == "its module is not imported here: name it with --module absent"
    assert "absent" not in sys.modules


def test_functions_without_an_importable_name(root, from_records):
    """Lambdas and functions inside functions have no name under which they are found."""
    dc.delayed(lambda: 1, target="x.json")().compute()
    finding = from_records()
    assert finding.outcome == "skipped"
    assert finding.reason.endswith("has no test_functions_without_an_importable_name.<locals>.<lambda>")


def test_methods_are_found(define, from_records):
    """Decorated functions in classes are found by their qualified names."""
    program = define(
        """
        import daskcache as dc

        class Steps:
            @staticmethod
            @dc.delayed(target="x.json")
            def static(n): return n
        """
    )
    program.Steps.static(1).compute()
    finding = from_records()
    assert (finding.function, finding.outcome) == ("program.Steps.static", "same")


OWN_FORMATS = """
import daskcache as dc

class Text(dc.Target):
    def __init__(self, path, encoding="utf-8"):
        super().__init__(path)
        self.encoding = encoding
    def write(self, value, path): open(path, "w", encoding=self.encoding).write(value)
    def read(self, path): return open(path, encoding=self.encoding).read()
    def counted_options(self): return {}

class Told(Text):
    def counted_options(self): return {"encoding": self.encoding}

class Strict(Text):
    def __init__(self, path, encoding): super().__init__(path, encoding)

@dc.delayed(target="{text.stem}.json")
def use(text): return text
"""
INPUTS = """
        import daskcache as dc
        from program import Strict, Text, Told, use

        @dc.delayed(target=Text("plain.txt", "latin-1"))
        def plain(): return "x"

        @dc.delayed(target=Text("odd.txt", "utf-16-le"))
        def odd(): return "x"

        @dc.delayed(target=Text("odder.txt", "latin-1"))
        def odder(): return "é"

        @dc.delayed(target=Strict("strict.txt", "latin-1"))
        def strict(): return "é"

        @dc.delayed(target=Told("told.txt", "utf-16-le"))
        def told(): return "é"

        def graph(): return [use(f()) for f in (plain, odd, odder, strict, told)]
"""


def test_a_target_that_needs_more_than_its_path(define, root, monkeypatch):
    """An input is read as its function's format says, or else its record; what gives other data is not
    used."""
    define(OWN_FORMATS)
    nodes = define(INPUTS, "inputs").graph()
    dask.compute(*nodes)
    whole = {"same": 10, "differs": 0, "failed": 0, "skipped": 0}
    assert audit_root(Root(str(root))).counts == dc.audit(nodes).counts == whole
    monkeypatch.delitem(sys.modules, "inputs")
    found = {f.target: f.reason for f in audit_root(Root(str(root)), "use").findings}
    assert found["plain.json"] == found["told.json"] == ""
    assert found["odd.json"] == "its input odd.txt can't be read back from its record alone"
    assert found["odder.json"].startswith("its input odder.txt can't be read: TargetError: a result")
    assert "UnicodeDecodeError" in found["odder.json"]
    assert found["strict.json"] == (
        "its input strict.txt can't be read: only its record says that it is a program:Strict"
    )


# ---- the sample ---------------------------------------------------------------------------------


def test_the_sample(audited, define):
    """So many nodes are drawn, others with another seed, the same with the same."""
    node = define(CHAIN).graph(8)
    node.compute()
    one, again, other = (audited(node, sample=5, seed=seed) for seed in (1, 1, 2))
    assert [len(found.findings) for found in (one, again, other)] == [5, 5, 5]
    assert [f.target for f in one.findings] == [f.target for f in again.findings]
    assert {f.target for f in one.findings} != {f.target for f in other.findings}
    assert len(audited(node, sample=1000).findings) == 25


def test_another_is_drawn_for_what_is_skipped(audited, define, root):
    """The sample is how many are computed; what is skipped comes on top."""
    node = define(CHAIN).graph(8)
    node.compute()
    shutil.rmtree(root / "made")
    found = audited(node, sample=9)  # the 8 of split() lack their inputs
    assert found.counts["same"] == 9
    assert found.counts["skipped"] > 0


def test_what_is_not_complete_is_not_drawn(audited, define, root):
    """Only complete nodes are audited; there may be none."""
    program = define(CHAIN)
    node = program.graph(2)
    assert audited(node).findings == ()
    program.make(0).compute()
    assert outcomes(audited(node)) == {"made/0.npy": "same"}
    (root / "made" / "0.npy").unlink()
    assert audited(node).findings == ()


def test_one_function(define, root):
    """From records, the sample can be of one function, named with or without its module."""
    define(CHAIN).graph(2).compute()
    for name in ("make", "program.make"):
        assert set(outcomes(audit_root(Root(str(root)), name))) == {"made/0.npy", "made/1.npy"}
    assert audit_root(Root(str(root)), "ake").findings == ()


@pytest.mark.parametrize("sample", [0, -1])
def test_a_sample_of_none(define, sample, root):
    """A sample that isn't positive is a mistake."""
    with pytest.raises(ValueError, match="sample must be a positive number"):
        dc.audit(define(CHAIN).graph(1), sample=sample)


def test_what_is_no_node():
    """Like all verbs, `audit` takes nodes."""
    for arguments in ((), (3,), ([],)):
        with pytest.raises(NotANode):
            dc.audit(*arguments)


# ---- how it shows -------------------------------------------------------------------------------

AUDIT = Audit(
    (
        Finding("p.f", "a.npy", "same", "", "x", "x", 0.1),
        Finding("p.g", "b.npy", "skipped", "its <code> changed"),
        Finding("p.f", "c.npy", "differs", NOT_DETERMINISTIC, "x", "y", 0.1),
        Finding("p.g", "d.npy", "skipped", "its <code> changed"),
        Finding("p.f", "e.npy", "failed", "KeyError: 1"),
    )
)


def test_it_shows_as_a_table():
    """As text: counts by function, the stories, and all in one line."""
    assert str(AUDIT) == repr(AUDIT)
    assert str(AUDIT) == textwrap.dedent(
        """\
        function  same  differs  failed  skipped
        ────────  ────  ───────  ──────  ───────
        p.f       1     1        1       ·
        p.g       ·     ·        ·       2

        p.f: differs, c.npy
            not deterministic: two runs gave different data

        p.f: failed, e.npy
            KeyError: 1

        p.g: skipped, b.npy and 1 more
            its <code> changed

        3 recomputed: 1 same, 1 differs, 1 failed; 2 skipped"""
    )
    assert not AUDIT.ok


def test_it_shows_in_a_notebook():
    """As HTML: the same, escaped."""
    page = AUDIT._repr_html_()
    assert "3 recomputed: 1 same, 1 differs, 1 failed; 2 skipped" in page
    assert "its &lt;code&gt; changed" in page
    assert "font-weight: bold" in page


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        ({}, "0 recomputed"),
        ({"same": 3}, "3 recomputed: 3 same"),
        ({"same": 18, "differs": 2, "skipped": 3}, "20 recomputed: 18 same, 2 differ; 3 skipped"),
        ({"skipped": 1}, "0 recomputed; 1 skipped"),
    ],
)
def test_the_summary_line(counts, line):
    """The last line says it all."""
    findings = [Finding("f", "x", outcome) for outcome, count in counts.items() for _ in range(count)]
    found = Audit(tuple(findings))
    assert str(found).splitlines()[-1] == line
    assert found.ok == ("differs" not in counts)


def test_many_stories_are_cut_short():
    """A table doesn't grow without bounds."""
    many = Audit(tuple(Finding("f", f"{i}", "failed", f"KeyError: {i}") for i in range(100)))
    assert "… and 70 more; audit.findings has them all" in str(many)
    assert len(many._repr_html_()) < 20_000


# ---- the command line ---------------------------------------------------------------------------

PROGRAM = """
import os
import daskcache as dc
import numpy as np

@dc.delayed(target="made/{i}.npy")
def make(i): return np.arange(i)

@dc.delayed(target="told/{i}.json")
def tell(i, a, words=("x" * 60, "y" * 60)): return [os.environ.get("DC_TEST"), float(a.sum()), *words]

def graph(): return [tell(i, make(i)) for i in range(4)]
"""


@pytest.fixture
def project(tmp_path, cache_folder):
    """A folder with a module, and commands to be run in it."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "steps.py").write_text(PROGRAM)

    def run(*command, cwd=folder, **environment):
        variables = {**os.environ, **environment}
        return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True)

    made = run(sys.executable, "-c", "import dask, steps; dask.compute(steps.graph())")
    assert made.returncode == 0, made.stderr
    run.folder = folder
    return run


def test_the_command(project, tmp_path):
    """`dask cache audit` computes again in a fresh process, and says what differs by its exit code."""
    before = tree(project.folder / "working")
    audit = DASK, "cache", "audit", "--module", "steps"
    done = project(*audit)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "8 recomputed: 8 same"
    done = project(*audit, DC_TEST="1")
    assert done.returncode == 1
    assert "steps.tell: differs, told/" in done.stdout
    assert UNTRACKED in done.stdout
    assert done.stdout.splitlines()[-1] == "8 recomputed: 4 same, 4 differ"
    done = project(*audit, "--sample", "2", "--seed", "1", "tell", DC_TEST="1")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "2 recomputed: 2 differ")
    assert tree(project.folder / "working") == before


def test_the_command_imports_only_what_the_user_names(project):
    """Without a module's name nothing of it is imported, though it lies in the current folder."""
    (project.folder / "steps.py").write_text(PROGRAM + "\nopen('imported', 'w')\n")
    for command in (["audit"], ["why", "made/3.npy"]):
        done = project(DASK, "cache", *command)
        assert done.returncode == 0
        assert "its module is not imported here: name it with --module steps" in done.stdout
    assert not (project.folder / "imported").exists()


def test_the_command_from_another_folder(project, tmp_path):
    """Elsewhere, the module is found where PYTHONPATH leads to it; else that is an error."""
    command = DASK, "cache", "audit", "--root", str(project.folder / "working"), "-m", "steps"
    done = project(*command, cwd=tmp_path)
    assert done.returncode == 1
    assert "can't import steps: ModuleNotFoundError: No module named 'steps'" in done.stderr
    path = f"{project.folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = project(*command, cwd=tmp_path, PYTHONPATH=path)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "8 recomputed: 8 same")


@pytest.mark.parametrize("body", ["raise RuntimeError('broken')", "raise SystemExit(3)", "1 +"])
def test_a_module_that_can_not_be_imported(project, body):
    """Whatever goes wrong when a module is imported is told as an error of the command."""
    (project.folder / "steps.py").write_text(body)
    done = project(DASK, "cache", "why", "--module", "steps", "made/3.npy")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: can't import steps: ")


def test_the_command_on_code_that_changed(project):
    """What was computed by other code is skipped; what comes before and after is not."""
    (project.folder / "steps.py").write_text(PROGRAM.replace("np.arange(i)", "np.arange(i) + 0"))
    done = project(DASK, "cache", "audit", "--module", "steps")
    assert done.returncode == 0
    assert "its code changed since" in done.stdout
    assert done.stdout.splitlines()[-1] == "4 recomputed: 4 same; 4 skipped"


def test_the_command_on_a_script(project):
    """Functions of a script or notebook can't be found again: they are skipped, and it says why."""
    (project.folder / "script.py").write_text(PROGRAM + "\nimport dask; dask.compute(graph())\n")
    shutil.rmtree(project.folder / "working")
    assert project(sys.executable, "script.py").returncode == 0
    done = project(DASK, "cache", "audit")
    assert done.returncode == 0
    assert "it is defined in a script or notebook (__main__), not in a module" in done.stdout
    assert done.stdout.splitlines()[-1] == "0 recomputed; 8 skipped"


def test_the_command_without_anything_to_audit(project, tmp_path):
    """A function without results, and a folder without a root, are errors that say what to do."""
    done = project(DASK, "cache", "audit", "nothing")
    assert done.returncode == 1
    assert "has no complete result of nothing(); 'dask cache status' lists" in done.stderr
    done = project(DASK, "cache", "audit", "--root", str(tmp_path / "nowhere"))
    assert done.returncode == 1
    assert "no root of daskcache found" in done.stderr


# ---- what records keep for it -------------------------------------------------------------------


def test_records_name_all_results_of_a_call(define):
    """Each record of several results names them all, in the form in which they were returned."""
    program = define(FORMATS)
    dask.compute(program.two(3), program.named(3), program.plain(3))
    assert program.two(3).dc.record["results"] == ["two/first.npy", "two/second.json"]
    named = program.named(3).dc.record["results"]
    assert named == {"mean": "named/mean.json", "all": "named/all.npy"}
    assert "results" not in program.plain(3).dc.record


def test_records_say_what_a_source_is(define, tmp_path):
    """Class and options, if there are any."""
    data = define(SOURCES).data
    found = sources(tmp_path / "raw")
    described = {}
    for which, source in found.items():
        node = data(source)
        node.compute()
        (described[which],) = node.dc.record["upstream"]
    assert described["npy"]["class"] == "daskcache:NumpySource"
    assert "options" not in described["npy"]
    assert described["csv"]["options"] == "{'sep': ';', 'names': ['x', 'y']}"
    assert described["folder"]["options"] == "{'pattern': '*.txt'}"
    assert json.dumps(described).count(str(tmp_path)) == 0


def test_records_keep_whole_arguments_that_are_not_long(define, root):
    """The short text comes first; the whole one follows where the short one leaves something out."""
    node = define(ARGUMENTS).f(1, "x" * 200, np.arange(3000))
    node.compute()
    ((short, hashed, *rest),) = [v for k, v in node.dc.record["arguments"].items() if k == "args"]
    assert "..." in short
    assert len(hashed) == 32
    assert rest == []
    node = define(ARGUMENTS).f(1, "x" * 200)
    node.compute()
    assert node.dc.record["arguments"]["args"][2] == '{"$tuple":[1,"' + "x" * 200 + '"]}'
    assert len(node.dc.record["arguments"]["kwargs"]) == 2
    place = Root(str(root))
    told = story(place, find(place, node.dc.record["target"]))
    assert sum("argument   args = (1, 'xxx" in line for line in told) == 1


def test_an_unreadable_record_is_passed_over(define, root):
    """A damaged record gives a warning that names it; the rest is audited."""
    define(CHAIN).graph(1).compute()
    path = next((root / ".daskcache" / "records").rglob("*.json"))
    path.write_bytes(b"{")
    with pytest.warns(DaskcacheWarning, match=path.name):
        found = audit_root(Root(str(root)))
    assert found.counts["same"] >= 1
