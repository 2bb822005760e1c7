"""`daskcache.prune` and ``dask cache prune``: what a graph's functions made and it needs no more."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import dask
import pytest
from click.testing import CliRunner

import daskcache as dc
from daskcache.errors import NotANode, TargetMissing, UnsafePath
from daskcache.housekeeping import prune as pruning
from daskcache.housekeeping.cli.main import cache
from daskcache.storage import trash
from daskcache.storage.roots import Root
from daskcache.testing.assertions import assert_nothing_runs, count_runs

PROGRAM = """
import daskcache as dc

@dc.delayed(target="clean/{name}_{sigma}.json")
def clean(name, sigma=1):
    return [ord(name) - 96, sigma]

@dc.delayed(target="tables/{cleaned.stem}_{limit}.json")
def measure(cleaned, limit=0):
    return sum(cleaned) + limit

@dc.delayed(target="all.json")
def gather(tables):
    return sum(tables)

def tables(names=("a", "b"), sigma=1, limit=0):
    return [measure(clean(name, sigma), limit) for name in names]

def whole(**options):
    return gather(tables(**options))
"""


@pytest.fixture
def program(define):
    return define(PROGRAM)


def gone(pruning):
    return [leftover.target for leftover in pruning.going]


def stays(pruning):
    return {leftover.target: leftover.reason for leftover in pruning.staying}


# ---- what goes ----------------------------------------------------------------------------------


def test_losing_variants_go(program, files):
    """After several parameters were tried, what only the losing ones needed goes; the winner stays."""
    for sigma, limit in ((1, 0), (1, 5), (2, 0)):
        dc.compute(program.tables(sigma=sigma, limit=limit))
    before = files()
    found = dc.prune(program.tables(limit=5))
    losing = ["clean/a_2", "clean/b_2", "tables/a_1_0", "tables/a_2_0", "tables/b_1_0", "tables/b_2_0"]
    assert gone(found) == [f"{name}.json" for name in losing]
    assert (found.staying, found.done, files()) == ((), False, before)  # a dry run
    done = dc.prune(program.tables(limit=5), yes=True)
    assert (gone(done), done.done) == (gone(found), True)
    assert files() == ["clean/a_1.json", "clean/b_1.json", "tables/a_1_5.json", "tables/b_1_5.json"]
    with assert_nothing_runs():
        assert dc.compute(program.tables(limit=5))[0] == [7, 8]
    assert dc.prune(program.tables(limit=5)).leftovers == ()


def test_results_of_deleted_images_go(program, files):
    """The whole chain of an input that is not in the graph any more goes; the sum over all stays."""
    program.whole(names=("a", "b", "c")).compute()
    done = dc.prune(program.whole(), yes=True)
    assert gone(done) == ["clean/c_1.json", "tables/c_1_0.json"]
    assert "all.json" in files()
    with count_runs() as runs:
        assert program.whole().compute() == 5
    assert runs() == {"gather": 1}


def test_all_that_is_needed_may_be_given_in_parts(program):
    """Nodes come alone, in lists and in dicts; what is upstream of one of them is needed."""
    one, other = program.tables(), program.tables(sigma=2)
    dc.compute(one, other, program.tables(sigma=3))
    assert len(dc.prune(one, {"other": other}).going) == 4
    assert len(dc.prune(program.clean("a"), one[1], other).going) == 5


def test_targets_of_the_graph_stay_in_any_state(program, define, files):
    """A stale target, and a missing one that the graph has yet to make, are no leftovers."""
    dc.compute(program.tables())
    changed = define(PROGRAM.replace("ord(name) - 96, sigma", "ord(name), sigma"))
    assert {node.state for node in dc.plan(changed.tables())} == {"stale"}
    assert dc.prune(changed.tables(), yes=True).leftovers == ()
    assert len(files()) == 4


def test_a_renamed_step_goes_by_its_name(program, define, files):
    """What the old name made is another program's to prune, until it is named."""
    dc.compute(program.tables())
    renamed = define(PROGRAM.replace("clean/", "tidy/").replace("clean(", "tidy("))
    dc.compute(renamed.tables())
    assert dc.prune(renamed.tables()).leftovers == ()
    for name in ("clean", "program.clean"):
        assert gone(dc.prune(renamed.tables(), functions=name)) == ["clean/a_1.json", "clean/b_1.json"]
    with pytest.raises(TargetMissing, match=r"no result of lean\(\)"):
        dc.prune(renamed.tables(), functions=["clean", "lean"])
    done = dc.prune(renamed.tables(), functions=["clean"], yes=True)
    assert len(done.going) == 2
    assert files() == ["tables/a_1_0.json", "tables/b_1_0.json"]  # finished, so tidy() never ran
    assert dc.prune(renamed.tables(), functions=["clean"]).leftovers == ()  # and again: no error


def test_targets_by_key_and_by_data(define, files):
    """With hashes in paths, the present result of each node stays, and earlier ones go."""
    text = """
    import daskcache as dc
    @dc.delayed
    def by_key(n):
        return n + {change}
    @dc.delayed(target="data/{{data_hash}}.json")
    def by_data(n):
        return n + {change}
    """
    old = define(text.format(change=0))
    dc.compute([f(n) for f in (old.by_key, old.by_data) for n in (1, 2)])
    new = define(text.format(change=1))
    nodes = [f(n) for f in (new.by_key, new.by_data) for n in (1, 2)]
    assert len(dc.prune(nodes).going) == 4  # before they were made
    dc.compute(nodes)
    done = dc.prune(nodes, yes=True)  # 1 + 1 is what 2 + 0 was: one file, which is needed
    assert len(done.going) == 3
    assert len(files()) == 4
    with assert_nothing_runs():
        assert dc.compute(nodes)[0] == [2, 3, 2, 3]


def test_several_results_of_a_call_go_together(define, root, files):
    """Those of a node stay, those of a leftover go; if a user corrected one, the other stays, too."""
    module = define(
        """
        import daskcache as dc
        @dc.delayed(target=("one/{n}.json", "two/{n}.json"))
        def pair(n):
            return n, -n
        """
    )
    dc.compute([module.pair(n) for n in range(3)])
    (root / "one" / "2.json").write_text("7")
    dc.adopt(module.pair(2))
    done = dc.prune(module.pair(0), yes=True)
    assert gone(done) == ["one/1.json", "two/1.json"]
    assert stays(done) == {
        "one/2.json": "was adopted",
        "two/2.json": "a result of the same call stays: one/2.json",
    }


def test_folders_and_tables_go(define, root):
    """A Zarr folder is moved as a whole, a table is set aside in its database."""
    module = define(
        """
        import daskcache as dc
        import numpy as np, pandas as pd
        @dc.delayed(target="volume_{n}.zarr")
        def volume(n):
            return np.full((4, 4), n)
        @dc.delayed(target="results.db::rows_{n}")
        def rows(n):
            return pd.DataFrame({"n": [n]})
        """
    )
    nodes = [[f(n) for f in (module.volume, module.rows)] for n in (1, 2)]
    dc.compute(nodes)
    done = dc.prune(nodes[0], yes=True)
    assert gone(done) == ["results.db::rows_2", "volume_2.zarr"]
    assert [node.dc.state for node in nodes[0]] == ["complete"] * 2
    assert [node.dc.state for node in nodes[1]] == ["missing"] * 2
    assert (Path(done.going[1].kept) / "zarr.json").exists()
    assert "_kept_" in done.going[0].kept


def test_restored_results_are_complete(program, root):
    """`dask cache restore` brings back what went, and nothing runs for it."""
    dc.compute(program.tables(), program.tables(sigma=2))
    done = dc.prune(program.tables(), yes=True)
    for leftover in done.going:
        thing = trash.find(Root(str(root)), leftover.target)
        assert (thing.reason, thing.kept) == ("pruned", leftover.kept)
        trash.restore(Root(str(root)), thing)
    with assert_nothing_runs():
        dc.compute(program.tables(sigma=2))


# ---- what stays ---------------------------------------------------------------------------------


@pytest.fixture
def variants(program):
    """A graph, and in its root the results of a variant that it doesn't need."""
    dc.compute(program.tables(), program.tables(sigma=2))
    return program.tables()


LEFT = ["clean/a_2.json", "clean/b_2.json", "tables/a_2_0.json", "tables/b_2_0.json"]


def test_corrections_stay_with_what_they_were_made_from(variants, program, root):
    """Neither an adopted result nor its input goes, nor one that waits for its adoption."""
    (root / "tables" / "a_2_0.json").write_text("77")
    (root / "tables" / "b_2_0.json").write_text("78")
    dc.adopt(program.tables(sigma=2)[0])
    done = dc.prune(variants, yes=True)
    assert done.going == ()
    assert stays(done) == {
        "clean/a_2.json": "tables/a_2_0.json, which stays, was made from it by program.measure()",
        "clean/b_2.json": "tables/b_2_0.json, which stays, was made from it by program.measure()",
        "tables/a_2_0.json": "was adopted",
        "tables/b_2_0.json": "was edited after it was stored",
    }
    assert json.loads((root / "tables" / "a_2_0.json").read_text()) == 77


def test_damaged_and_linked_results_stay(variants, root, tmp_path):
    """`verify --repair` is for damage; a link leads to a user's file."""
    (root / "tables" / "a_2_0.json").write_text("")
    os.rename(root / "tables" / "b_2_0.json", tmp_path / "b.json")
    (root / "tables" / "b_2_0.json").symlink_to(tmp_path / "b.json")
    found = stays(dc.prune(variants, yes=True))
    assert found["tables/a_2_0.json"].startswith("is damaged: 'dask cache verify --repair'")
    assert found["tables/b_2_0.json"] == "is a link"
    assert (root / "tables" / "b_2_0.json").is_symlink()


def test_files_that_daskcache_did_not_write_stay(variants, root, files):
    """A user's file in the same folder is no leftover."""
    (root / "tables" / "mine.json").write_text("1")
    assert gone(dc.prune(variants, yes=True)) == LEFT
    assert "tables/mine.json" in files()


@pytest.mark.needs("root")
@pytest.mark.parametrize("owned", ["target", "record"])
def test_results_of_another_user_stay(variants, root, owned):
    """The owner of the target counts, and that of its record, with what they were made from."""
    path = root / "tables" / "a_2_0.json"
    if owned == "record":
        (path,) = [
            p
            for p in (root / ".daskcache" / "records").rglob("*.json")
            if json.loads(p.read_bytes())["target"] == "tables/a_2_0.json"
        ]
    os.chown(path, 54321, -1)
    done = dc.prune(variants, yes=True)
    assert gone(done) == ["clean/b_2.json", "tables/b_2_0.json"]
    assert stays(done)["tables/a_2_0.json"] == "belongs to user 54321"
    assert "clean/a_2.json" in stays(done)


def test_everything_stays_for_a_user_who_made_nothing(variants, monkeypatch):
    """Pruned by a colleague, nothing goes."""
    own = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: own + 1)
    assert dc.prune(variants, yes=True).going == ()


def test_what_another_program_was_made_from_stays(variants, program, define):
    """A result of a function that is not in the graph keeps its inputs, at any distance."""
    report = "import daskcache as dc\n@dc.delayed(target='report.txt')\ndef report(x): return str(x)\n"
    node = define(report, "other").report(program.tables(sigma=2)[0])
    node.compute()
    (Path(dc.target(program.tables(sigma=2)[0]).path)).unlink()  # the step between is gone
    done = dc.prune(variants)
    assert gone(done) == ["clean/b_2.json", "tables/b_2_0.json"]
    reason = "report.txt, which stays, was made from it by other.report()"
    assert stays(done) == {"clean/a_2.json": reason}
    Path(node.dc.path).unlink()
    assert len(dc.prune(variants).going) == 3
    node.compute()
    assert "report.txt" in gone(dc.prune(variants, functions="report"))


def test_what_a_node_will_be_copied_from_stays(program, define, root):
    """After the template has changed, the old files save the new nodes from running."""
    dc.compute(program.tables())
    moved = define(PROGRAM.replace("tables/", "measured/"))
    found = dc.prune(moved.tables(), yes=True)
    assert stays(found) == {
        "tables/a_1_0.json": "will be copied to measured/a_1_0.json",
        "tables/b_1_0.json": "will be copied to measured/b_1_0.json",
    }
    (root / "all.json").write_text("0")  # the user's: it blocks what follows
    assert len(dc.prune(moved.whole()).staying) == 2
    with assert_nothing_runs():
        dc.compute(moved.tables())
    assert gone(dc.prune(moved.tables(), yes=True)) == ["tables/a_1_0.json", "tables/b_1_0.json"]


def test_what_was_used_a_moment_ago_stays_if_asked(variants, root):
    """A program that computes another variant may still need it."""
    old = time.time() - 7200
    os.utime(root / LEFT[3], ns=(int(old * 1e9), (root / LEFT[3]).stat().st_mtime_ns))
    assert gone(dc.prune(variants, min_age=3600)) == []
    for path in LEFT:
        os.utime(root / path, (old, old))
    assert gone(dc.prune(variants, min_age=3600)) == LEFT
    assert set(stays(dc.prune(variants, min_age=9000)).values()) >= {"was used less than min_age ago"}


def test_other_roots_and_functions_are_left_alone(program, tmp_path, define):
    """A function counts by module and name; what lies in another root is not looked at."""
    dc.compute(program.tables(), define(PROGRAM, "twin").clean("c", 9))
    with dask.config.set({"daskcache.root": str(tmp_path / "elsewhere")}):
        dc.compute(program.tables(sigma=2))
    assert dc.prune(program.tables()).leftovers == ()


def test_two_roots(program, tmp_path):
    """Each root of the graph is pruned, and the table tells them apart."""
    dc.compute(program.tables(sigma=2))
    with dask.config.set({"daskcache.root": str(tmp_path / "elsewhere")}):
        dc.compute(program.tables(sigma=2))
        there = program.tables()
    done = dc.prune(there, program.tables(), yes=True)
    assert len({leftover.root for leftover in done.going}) == 2
    assert f"{tmp_path}/elsewhere/clean/a_2.json" in str(done)


def test_no_nodes(program, files):
    """Without a graph everything would be a leftover, so that is an error; an empty root is none."""
    for nothing in ((), ([],), (3,)):
        with pytest.raises(NotANode):
            dc.prune(*nothing, yes=True)
    assert dc.prune(program.tables()).leftovers == ()
    assert str(dc.prune(program.tables())) == "Prune: nothing to prune"


def test_no_target_leaves_through_a_link(variants, root, tmp_path):
    """A folder that was replaced by a link leads to files that are not the root's."""
    os.rename(root / "clean", tmp_path / "clean")
    (root / "clean").symlink_to(tmp_path / "clean")
    with pytest.raises(UnsafePath):
        dc.prune(variants, yes=True)
    assert len(os.listdir(tmp_path / "clean")) == 4


# ---- other programs at the same time ------------------------------------------------------------


@pytest.fixture
def meanwhile(monkeypatch):
    """Runs something after the decision, right before, or during, each move."""

    def meanwhile(change, during=False):
        where, name = (os, "rename") if during else (pruning._Choice, "_move")
        actual = getattr(where, name)

        def late(*args, **options):
            monkeypatch.setattr(where, name, actual)
            change()
            return actual(*args, **options)

        monkeypatch.setattr(where, name, late)

    return meanwhile


@pytest.mark.parametrize("during", [False, True])
def test_a_result_that_is_replaced_meanwhile_stays(variants, root, meanwhile, during):
    """Before the move it is noticed, and after it, it is put back."""
    meanwhile(lambda: (root / LEFT[0]).write_text("[3, 3]"), during)
    done = dc.prune(variants, yes=True)
    assert gone(done) == LEFT[1:]
    assert stays(done) == {LEFT[0]: "was changed meanwhile"}
    assert (root / LEFT[0]).read_text() == "[3, 3]"


def test_a_result_that_a_writer_has_claimed_stays(variants, root, meanwhile):
    """A commit takes the record first, and replaces the target then."""

    def claim():
        for path in (root / ".daskcache" / "records").rglob("*.json"):
            if json.loads(path.read_bytes())["target"] == LEFT[0]:
                path.rename(root / ".daskcache" / "intents" / f"{path.name}.0123456789abcdef")

    meanwhile(claim)
    assert stays(dc.prune(variants, yes=True)) == {LEFT[0]: "was changed meanwhile"}
    assert (root / LEFT[0]).exists()


@pytest.mark.parametrize("during", [False, True])
def test_a_result_that_is_gone_meanwhile(variants, root, meanwhile, during):
    """Another process that removed it first is no error."""
    meanwhile((root / LEFT[0]).unlink, during)
    assert gone(dc.prune(variants, yes=True)) == LEFT[1:]


def test_a_table_that_is_edited_meanwhile_stays(define, root, meanwhile):
    """Its rows are compared again before it is set aside."""
    module = define(
        """
        import daskcache as dc
        import pandas as pd
        @dc.delayed(target="results.db::rows_{n}")
        def rows(n):
            return pd.DataFrame({"n": [n]})
        """
    )
    dc.compute(module.rows(1), module.rows(2))

    def edit():
        with sqlite3.connect(root / "results.db") as connection:
            connection.execute("update rows_2 set n = 5")
        connection.close()

    meanwhile(edit)
    done = dc.prune(module.rows(1), yes=True)
    assert stays(done) == {"results.db::rows_2": "was changed meanwhile"}


def test_a_result_is_made_again_in_the_place_of_one_that_goes(variants, program, root):
    """A program that needs what was pruned makes it again; the trash keeps the other one."""
    dc.prune(variants, yes=True)
    assert dc.compute(program.tables(sigma=2))[0] == [3, 4]
    assert gone(dc.prune(variants, yes=True)) == LEFT
    assert len(trash.listed(Root(str(root)))) == 8


# ---- how it is shown, and the command -----------------------------------------------------------


def test_tables(variants, root, monkeypatch):
    """Text, HTML and data frame say what goes, what stays, and why."""
    (root / LEFT[2]).write_text("7")
    found = dc.prune(variants)
    text = str(found)
    assert text.startswith(f"Prune: 2 results to move to the trash, {found.nbytes} B; 2 stay")
    assert "was edited after it was stored" in text
    shown = found._repr_html_()
    assert "<td" in shown
    assert LEFT[1] in shown
    frame = found.to_frame()
    assert frame["target"].tolist() == [LEFT[1], LEFT[3], LEFT[0], LEFT[2]]
    assert frame["why"].str.len().gt(0).tolist() == [False, False, True, True]
    monkeypatch.setattr("daskcache.planning.display.reports.MAX_ROWS", 1)
    assert "… and 1 more" in found._repr_html_()
    assert "2 results moved to the trash" in str(dc.prune(variants, yes=True))


@pytest.fixture
def script(tmp_path, monkeypatch):
    """A script in the current folder that computes two variants when it runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    main = "\n\nif __name__ == '__main__':\n    dc.compute(tables(), tables(sigma=2))\n"
    (tmp_path / "analysis.py").write_text(f"{PROGRAM}\none = clean('a')\nof = {{'a': [one]}}{main}")
    yield tmp_path / "analysis.py"
    sys.modules.pop("analysis", None)


def run(*arguments, code=0):
    done = CliRunner().invoke(cache, ["prune", *arguments])
    assert done.exit_code == code, done.output
    return done.output


def run_script(path, root):
    environment = {**os.environ, "DASK_DASKCACHE__ROOT": str(root)}
    subprocess.run([sys.executable, str(path)], check=True, env=environment)


def test_the_command_prunes_what_a_script_made(script, root, files):
    """`python analysis.py` and `prune analysis:tables` mean the same functions; first a dry run."""
    run_script(script, root)
    shown = run("analysis:tables")
    assert [line.split()[0] for line in shown.splitlines() if "__main__." in line] == LEFT
    assert "nothing was moved: add --yes" in shown
    assert len(files()) == 8
    assert "dask cache restore" in run("analysis:tables", "--yes")
    assert len(files()) == 4
    assert "nothing to prune" in run("analysis:tables", "--yes")


def test_the_command_tells_programs(script, root, files):
    run_script(script, root)
    shown = json.loads(run("analysis:tables", "--json"))
    assert shown["moved"] is False
    assert [row["target"] for row in shown["leftovers"]] == LEFT
    assert {type(row["bytes"]) for row in shown["leftovers"]} == {int}
    assert json.loads(run("analysis:tables", "--json", "--yes"))["moved"] is True
    assert len(files()) == 4


def test_scripts_of_other_names_are_left_alone(script, root):
    """All scripts are the module `__main__`: only what the same file made is the graph's own."""
    run_script(script, root)
    shutil.copy(script, script.with_name("other.py"))
    run_script(script.with_name("other.py"), root / "elsewhere")
    assert "4 results" in run("analysis:tables")
    sys.modules.pop("analysis")
    (script.with_name("other.py")).replace(script.with_name("analysis_2.py"))
    assert "nothing to prune" in run("analysis_2:tables")
    named = "--function", "__main__.clean", "--function", "measure"
    assert "4 results" in run("analysis_2:tables", *named)
    sys.modules.pop("analysis_2")


@pytest.mark.parametrize("graph", ["one", "of", "of.values", "clean"])
def test_what_the_command_takes(script, graph):
    """A node, a dict of lists, or what a function returns."""
    if graph in ("of.values", "clean"):  # a view of a dict, and a missing argument
        assert "Error: " in run(f"analysis:{graph}", code=1)
    else:
        assert "nothing to prune" in run(f"analysis:{graph}")


@pytest.mark.parametrize(
    ("graph", "told", "code"),
    [
        ("analysis", "is not MODULE:OBJECT", 2),
        ("analysis:nothing", "analysis has no nothing", 1),
        ("analysys:tables", "can't import analysys: ModuleNotFoundError", 1),
        ("analysis:PROGRAM", "analysis has no PROGRAM", 1),
        ("analysis:__name__", "no node of daskcache", 1),
    ],
)
def test_what_the_command_refuses(script, graph, told, code):
    """Each with a message that names it."""
    assert told in run(graph, code=code)
