"""What changed, why it reruns, and when it need not: `why`, early cutoff, `accept`, `invalidate`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import dask
import numpy as np
import pytest
from click.testing import CliRunner

import daskcache as dc
from daskcache.errors import ArgumentChanged, GraphError, TargetMissing, TargetModified
from daskcache.housekeeping.cli.main import cache
from daskcache.storage import code_store
from daskcache.testing.assertions import count_runs

STEPS = """
import daskcache as dc

FACTOR = {factor}

class Options:
    shift = {shift}

def helper(x):
    y = x * FACTOR
    return y + {added} + Options.shift

@dc.delayed(target="first.json")
def first(x):
    return helper(x)

@dc.delayed(target="second.json")
def second(x, k=1):
    return x % 10 + k

@dc.delayed(target="{{x}}.json")
def apart(x):
    return x
"""


@pytest.fixture
def steps(define):
    """The module of the pipeline, as edited."""

    def load(factor=1, added=0, shift=0):
        return define(STEPS.format(factor=factor, added=added, shift=shift), "steps")

    return load


def chain(module, x=1, k=1):
    first = module.first(x)
    return first, module.second(first, k)


def runs_of(*nodes):
    with count_runs() as runs:
        values = dask.compute(*nodes)
    return values, dict(runs())


# ---- why ----------------------------------------------------------------------------------------


def test_why_shows_what_changed_in_a_helper(steps):
    """A changed helper is named, with its place and a diff."""
    chain(steps())[1].compute()
    first, _ = chain(steps(added=5))
    assert first.dc.state == "stale"
    headline, *diff = str(first.dc.why()).splitlines()
    assert headline == "helper helper() changed (program_1.py:9)".replace("program", "steps")
    assert "    -    return y + 0 + Options.shift" in diff
    assert "    +    return y + 5 + Options.shift" in diff


def test_why_names_constants_with_their_values(steps):
    """A changed constant, of a module or of a class, shows its old and its new value."""
    chain(steps())[1].compute()
    assert str(chain(steps(factor=3))[0].dc.why()) == "constant FACTOR: 1 -> 3"
    assert str(chain(steps(shift=2))[0].dc.why()) == "attribute Options.shift: 0 -> 2"


def test_why_tells_the_function_itself_from_its_helpers(define):
    """An edit of the decorated function is said to be one."""
    source = "import daskcache as dc\n@dc.delayed(target='f.json')\ndef f(x):\n    return x + {}\n"
    define(source.format(1)).f(1).compute()
    lines = str(dc.why(define(source.format(2)).f(1))).splitlines()
    assert lines[0].startswith("the code of f() changed")
    assert "    +    return x + 2" in lines


def test_why_names_arguments_upstream_nodes_and_sources(steps, tmp_path):
    """Each changed argument, input file and upstream node has a line."""

    @dc.delayed(target="read.json")
    def read(file: dc.FileSource, n):
        return n

    (tmp_path / "input.txt").write_text("one")
    read(dc.FileSource(tmp_path / "input.txt"), 1).compute()
    (tmp_path / "input.txt").write_text("two")
    lines = str(dc.why(read(dc.FileSource(tmp_path / "input.txt"), 2))).splitlines()
    assert "n: 1 -> 2" in lines
    assert [line for line in lines if line.endswith("input.txt: content changed")]
    chain(steps())[1].compute()
    assert "first(first.json) changed" in chain(steps(added=5))[1].dc.why()


def test_why_names_versions_and_tracked_packages(define, monkeypatch):
    """A changed `version=`, and the version of a package that is tracked, show old and new."""
    source = "import daskcache as dc\n@dc.delayed(target='f.json', {})\ndef f(x): return x\n"
    define(source.format("version=1")).f(1).compute()
    assert str(define(source.format("version=2")).f(1).dc.why()) == "the version: 1 -> 2"

    tracked = source.replace("f.json", "tracked.json").format("tracked=['numpy']")
    define(tracked).f(1).compute()
    monkeypatch.setattr("daskcache.calls.spec.package_version", lambda name: "99.0")
    assert str(define(tracked).f(1).dc.why()) == f"package numpy: {np.__version__} -> 99.0"


def test_tracked_function_looks_at_the_function_alone(define):
    """With tracked="function", helpers don't count, and the function's own code does."""
    source = (
        "import daskcache as dc\ndef helper(x): return x + {}\n"
        "@dc.delayed(tracked={!r})\ndef f(x): return helper(x) + {}\n"
    )

    def key(helper, tracked, own):
        return define(source.format(helper, tracked, own)).f(1).dc.key

    assert key(1, "function", 1) == key(2, "function", 1) != key(1, "function", 2)
    assert key(1, "user", 1) != key(2, "user", 1)


def test_plans_show_one_line_for_each_reason(steps):
    """A plan's table has the headline of a change, not its diff."""
    chain(steps())[1].compute()
    frame = dc.plan(chain(steps(added=5))[1]).to_frame()
    assert "helper helper() changed" in frame["why"].iloc[0]
    assert "\n" not in "".join(frame["why"])


def test_sources_are_kept_once(steps, root):
    """Of each function the source is kept once, whatever number of fingerprints it is part of."""
    for factor in (1, 2, 3):
        chain(steps(factor=factor))[1].compute()
    sources = list((root / ".daskcache" / "code" / "sources").iterdir())
    assert sum("def helper" in source.read_text() for source in sources) == 1
    assert len(list((root / ".daskcache" / "code").glob("*.json"))) == 4


def test_a_node_made_before_an_edit_says_what_changed(define, monkeypatch):
    """Computing a node whose helper was replaced since raises, and names the helper."""
    module = define(
        "import daskcache as dc\ndef helper(x): return x\n@dc.delayed\ndef f(x): return helper(x)"
    )
    node = module.f(1)
    module.helper = lambda x: -x
    with pytest.raises(ArgumentChanged, match=r"helper .* is used now"):
        node.compute()
    assert module.f(1).compute() == -1


def test_why_on_the_command_line(tmp_path):
    """`dask cache why` names changed code, with a diff, and changed sources, from records alone."""
    program = tmp_path / "program"
    program.mkdir()
    text = (
        "import daskcache as dc\n"
        "def helper(text): return text * 2\n"
        "@dc.delayed(target='read.json')\n"
        "def read(path): return helper(path.read_text())\n"
        "def main(): return read(dc.FileSource('input.txt')).compute()\n"
    )
    (program / "steps_of_why.py").write_text(text)
    (program / "input.txt").write_text("one")
    environment = {**os.environ, "DASK_DASKCACHE__ROOT": "results"}

    def run(*command):
        done = subprocess.run(
            [sys.executable, *command], cwd=program, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def why(*named):
        return run("-m", "dask", "cache", "why", "read.json", "--root", "results", *named)

    run("-c", "import steps_of_why; steps_of_why.main()")
    assert "not known whether it changed" in why()
    assert "  why " not in why("--module", "steps_of_why")
    assert "changed" not in why("--module", "steps_of_why")
    (program / "steps_of_why.py").write_text(text.replace("* 2", "* 3"))
    (program / "input.txt").write_text("two")
    story = why("--module", "steps_of_why")
    assert "why        helper helper() changed (steps_of_why.py:2)" in story
    assert "+def helper(text): return text * 3" in story
    assert "input.txt, whose content changed" in story


# ---- early cutoff -------------------------------------------------------------------------------


def test_a_chain_whose_data_stays_is_skipped(define):
    """An edit of the first of 100 steps that changes no data: one call, 99 skips."""
    source = (
        "import daskcache as dc\n@dc.delayed\ndef start(x): return x {}\n"
        "@dc.delayed(target='{{i}}.json')\ndef step(x, i): return x + i\n"
    )

    def last(edit):
        module = define(source.format(edit))
        node = module.start(1)
        for i in range(99):
            node = module.step(node, i)
        return node

    value, ran = runs_of(last(""))
    assert sum(ran.values()) == 100
    edited = last("+ 0")
    assert runs_of(edited) == (value, {"start": 1})
    assert dc.plan(edited).counts == {"run": 0, "decide": 0, "blocked": 0, "load": 1, "skip": 99}
    assert len({node.dc.key for node in (last(""), edited)}) == 2


def test_equal_data_under_another_key_is_complete_before_anything_runs(steps, root):
    """What was made by equal code from equal data needs no worker to decide; it gets its new record."""
    _first, second = chain(steps())
    second.compute()
    module = steps(factor=1.0)  # another key, other code, and 1 * 1.0 == 1.0: other data
    assert dc.status(chain(module)[1]) == "stale"

    module = steps(added=10)  # 11 % 10 == 1, so what follows is as before
    runs_of(chain(module)[0])
    after = chain(module)[1]
    plan = dc.plan(after)
    assert plan.left == 1  # 11 is other data than 1: the worker has to run second
    values, ran = runs_of(after)
    assert (values, ran) == ((2,), {"second": 1})


def test_a_record_follows_to_the_new_key(define, root):
    """A node that is complete under a new key gets its record when a verb reads it, not a plan."""
    source = (
        "import daskcache as dc\n@dc.delayed\ndef start(x): return x {}\n"
        "@dc.delayed(target='step.json')\ndef step(x): return x\n"
    )

    def step(edit):
        module = define(source.format(edit))
        return module.start(1), module.step(module.start(1))

    step("")[1].compute()
    start, after = step("+ 0")
    start.compute()
    records = sorted((root / ".daskcache" / "records").rglob("*.json"))
    assert dc.plan(after).left == 0
    assert after.dc.record["function"] == "program.step"
    assert sorted((root / ".daskcache" / "records").rglob("*.json")) == records
    assert runs_of(after) == ((1,), {})
    assert after.dc.record["key"] == after.dc.key
    assert len(list((root / ".daskcache" / "records").rglob("*.json"))) == len(records)


# ---- accept -------------------------------------------------------------------------------------


def test_accepted_targets_are_complete_with_what_follows(steps, root):
    """An accepted node runs no more, nor does what follows; the record says who accepted what."""
    first, second = chain(steps())
    second.compute()
    old_key = first.dc.key
    first, second = chain(steps(added=5))
    assert (first.dc.state, second.dc.state) == ("stale", "stale")
    assert dc.accept(first) == 1
    assert runs_of(second) == ((2,), {})
    accepted = first.dc.record["accepted"]
    assert (accepted["from"], accepted["to"]) == (old_key, first.dc.key)
    assert accepted["by"]
    assert accepted["when"]
    assert second.dc.record["key"].endswith(second.dc.key)
    assert not list((root / ".daskcache" / "accepted").iterdir())


def test_accepting_is_about_this_change_only(steps):
    """The next change makes the node stale again; the old code runs again, too."""
    chain(steps())[1].compute()
    dc.accept(chain(steps(added=5))[0])
    assert chain(steps(added=6))[0].dc.state == "stale"
    assert chain(steps(added=5))[0].dc.state == "complete"


def test_accepting_what_is_complete_does_nothing(steps):
    """There is nothing to accept in a complete node."""
    first, second = chain(steps())
    second.compute()
    assert dc.accept(first, second) == 0


def test_accepting_what_depends_on_stale_results(steps):
    """A node after a stale one can be accepted only after that one; both together work."""
    chain(steps())[1].compute()
    first, second = chain(steps(added=5), k=2)
    with pytest.raises(GraphError, match="stale themselves"):
        dc.accept(second)
    assert dc.status(second) == "stale"
    assert dc.accept(first, second) == 2
    assert runs_of(second) == ((2,), {})


def test_only_stale_targets_can_be_accepted(steps, root):
    """What was never computed, was edited, or has no target is refused."""
    first, second = chain(steps())
    with pytest.raises(TargetMissing, match="only a stale target"):
        dc.accept(first)
    second.compute()
    (root / "first.json").write_text("17")
    with pytest.raises(TargetModified, match="only a stale target"):
        dc.accept(first)
    with pytest.raises(GraphError, match="no target"):
        dc.accept(dc.delayed(len, save=False)([]))


def test_accept_on_the_command_line(steps, root):
    """`dask cache accept` works before the program runs again, and once."""
    chain(steps())[1].compute()
    done = CliRunner().invoke(cache, ["accept", "first.json", "--root", str(root)])
    assert done.exit_code == 0, done.output
    first, second = chain(steps(added=5))
    assert (first.dc.state, second.dc.state) == ("complete", "complete")
    assert runs_of(first, second) == ((1, 2), {})
    assert "accepted" in first.dc.record
    assert chain(steps(added=6))[0].dc.state == "stale"
    done = CliRunner().invoke(cache, ["accept", "nothing.json", "--root", str(root)])
    assert done.exit_code == 1
    assert "there is no record of this target" in done.output


# ---- invalidate ---------------------------------------------------------------------------------


def test_invalidated_nodes_run_again(steps, root):
    """`invalidate` moves targets to the trash: nothing is lost."""
    first, second = chain(steps())
    second.compute()
    dc.invalidate(first, second)
    assert runs_of(second)[1] == {"first": 1, "second": 1}
    kept = {path.name for path in (root / ".daskcache" / "trash").glob("*/*.json")}
    assert {"first.json", "second.json"} <= kept


def test_rm_downstream(steps, root):
    """`dask cache rm --downstream` removes what was made from a target too, and nothing else."""
    module = steps()
    dask.compute(chain(module)[1], module.apart(7))
    done = CliRunner().invoke(cache, ["rm", "--downstream", "first.json", "--root", str(root)])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in root.glob("*.json")) == ["7.json"]


def test_rm_without_downstream_leaves_what_follows(steps, root):
    """Without the option only the target itself goes."""
    chain(steps())[1].compute()
    CliRunner().invoke(cache, ["rm", "first.json", "--root", str(root)])
    assert [path.name for path in root.glob("*.json")] == ["second.json"]


def test_records_are_json_that_anybody_can_read(steps, root):
    """What is kept of the code is plain JSON and text files."""
    chain(steps())[1].compute()
    for path in (root / ".daskcache" / "code").glob("*.json"):
        described = json.loads(path.read_text())
        assert described["parts"]
        for part in described["parts"]:
            if part["kind"] == "function":
                assert (Path(path.parent) / "sources" / f"{part['hash']}.txt").is_file()


def test_functions_that_modules_name_otherwise_travel_with_their_module(define):
    """A function that was renamed, or replaced by another of its name, is no mismatch."""
    module = define(
        "import daskcache as dc\n"
        "def helper(x): return x + 1\nold_helper = helper\n"
        "def helper(x): return old_helper(x) + 1\n"
        "def gone(x): return x + 1\nrenamed = gone\ndel gone\n"
        "@dc.delayed\ndef f(x): return helper(x) + renamed(x)\n"
    )
    assert module.f(1).compute() == 5


@pytest.mark.parametrize("record", ["kept", "lost"])
def test_accept_needs_all_results(root, record):
    """One of two targets is stale, the other was deleted: what is missing can't be accepted."""

    @dc.delayed(target=("low.json", "high.json"))
    def halves(n):
        return n // 2, n - n // 2

    dask.compute(halves(4))
    (root / "high.json").unlink()
    if record == "lost":
        for path in (root / ".daskcache/records").rglob("*.json"):
            if json.loads(path.read_text())["target"] == "high.json":
                path.unlink()
    with pytest.raises(TargetMissing, match=r"high\.json\n.*stale\n *got: state missing") as raised:
        halves(5).dc.accept()
    assert "low.json" not in raised.value.target
    assert list((root / ".daskcache/accepted").glob("*")) == []


def test_an_edit_is_compared_once(define, monkeypatch):
    """The nodes of an edited function have the same reason, which names the line."""
    source = """
        import daskcache as dc
        @dc.delayed(target="{{i}}.json")
        def shift(i):
            return i + {}
    """
    compared, recall = [], code_store.recall

    def counted(root, fingerprint):
        compared.append(fingerprint)
        return recall(root, fingerprint)

    dc.compute(*map(define(source.format(1)).shift, range(5)))
    monkeypatch.setattr(code_store, "recall", counted)
    plan = dc.plan(*map(define(source.format(2)).shift, range(5)))
    reasons = [node.reasons for node in plan.nodes]
    assert reasons == [reasons[0]] * 5
    assert "return i + 2" in reasons[0][0]
    assert len(compared) == 1
