"""What holds for all commands: examples, JSON, terminals, and how targets are named."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import dask
import pytest
from click.testing import CliRunner
from levels import after, correct, edit, level
from terminals import Terminal

import daskcache as dc
from daskcache.housekeeping.cli.main import cache

PAGE = Path(__file__).parents[2] / "docs/reference/commands.md"

#: They print what programs don't need: the demo shows, and `open` starts another program.
WITHOUT_JSON = {"demo", "open"}


@pytest.fixture
def levels():
    """Three results, one that was made from the first, a correction and an edited file."""
    dc.compute(*map(level, range(3)), after(level(0)))
    correct(level(1))
    edit(level(2))
    return Path(level(0).dc.path).parents[1]


def run(*arguments, code=0):
    done = CliRunner().invoke(cache, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


def run_json(*arguments, code=0):
    return json.loads(run(*arguments, "--json", code=code))


def there(root):
    return sorted(path.relative_to(root).as_posix() for path in root.glob("[!.]*/*"))


# ---- the help ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", cache.list_commands(None))
def test_the_help_has_an_example_that_can_be_parsed(name):
    """Its arguments and options are those of the command; nothing is run."""
    text = run(name, "--help")
    example = text.partition("Example\n")[2].splitlines()[0].strip()
    words = shlex.split(example)
    start = words.index("dask")  # settings of the environment come before
    assert words[start : start + 3] == ["dask", "cache", name]
    command = cache.get_command(None, name)
    given, rest, _ = command.make_parser(click.Context(command)).parse_args(words[start + 3 :])
    assert rest == []
    assert [each.name for each in command.params if each.required and not given[each.name]] == []


@pytest.mark.parametrize("name", sorted({*cache.list_commands(None)} - WITHOUT_JSON))
def test_every_command_can_print_json_that_is_documented(name):
    assert "--json" in run(name, "--help")
    documented = PAGE.read_text().partition("## JSON for programs")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.*?`) \|", documented, re.MULTILINE)
    assert f"`{name}`" in ", ".join(rows).split(", ")


# ---- names of targets ----------------------------------------------------------------------------


def test_folders_and_patterns_name_targets(levels):
    moved = run_json("rm", "after", "levels/[0].json", "--root", levels)
    assert list(moved["moved"]) == ["after/0.json", "levels/0.json"]
    assert there(levels) == ["levels/1.json", "levels/2.json"]
    assert [Path(levels, kept).is_file() for kept in moved["moved"].values()] == [True, True]


def test_what_users_made_is_moved_only_by_its_path(levels):
    """A pattern is no decision about a correction."""
    told = run("rm", "levels", "--downstream", "--root", levels)
    assert "levels/1.json stays: it was adopted; 'dask cache rm levels/1.json' moves it" in told
    assert "levels/2.json stays: it was edited; 'dask cache rm levels/2.json' moves it" in told
    assert there(levels) == ["levels/1.json", "levels/2.json"]
    run("rm", "levels/1.json", "levels/2.json", "--root", levels)
    assert there(levels) == []


def test_what_users_made_downstream_stays(levels):
    correct(after(level(0)))
    left = run_json("rm", "levels/0.json", "--downstream", "--root", levels)["left"]
    assert list(left) == ["after/0.json"]
    assert there(levels) == ["after/0.json", "levels/1.json", "levels/2.json"]


def test_a_folder_means_what_the_command_takes(levels):
    """Commands about corrections take those in a folder, and name what is none if it is named."""
    assert run_json("keep", "levels", "--root", levels)["kept"] == ["levels/1.json"]
    assert run_json("accept", ".", "--root", levels)["accepted"] == ["after/0.json", "levels/0.json"]
    (released,) = run_json("release", "*", "--root", levels)["released"]
    assert (released["target"], released["origin"]) == ("levels/1.json", None)
    assert Path(levels, released["kept"]).read_text() == "7"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["keep", "levels/0.json"], "levels/0.json was not adopted, it is complete"),
        (["keep", "after"], "after/0.json was not adopted, it is complete"),
        (["release", "levels/[02].json"], "levels/0.json was not adopted, it is complete; 'dask cache"),
        (["accept", "levels/1.json"], "levels/1.json was adopted: 'dask cache keep levels/1.json'"),
        (["accept", "levels/2.json"], "levels/2.json is modified: there is nothing to accept"),
        (["rm", "nothing*"], "there is no record of this target\n  target: nothing*"),
        (["why", "nothing"], "there is no record of this target\n  target: nothing"),
        (
            ["show", "levels"],
            "levels means 3 targets; name one of them:\n    levels/0.json\n    levels/1",
        ),
        (["open", "*"], "* means 4 targets; name one of them:\n    after/0.json"),
    ],
)
def test_what_a_command_does_not_take(levels, arguments, told):
    before = there(levels)
    assert told in run(*arguments, "--root", levels, code=1)
    assert there(levels) == before


def test_an_error_comes_before_any_change(levels):
    run("keep", "levels/1.json", "levels/0.json", "--root", levels, code=1)
    run("rm", "levels/0.json", "nothing", "--root", levels, code=1)
    assert "levels/0.json" in there(levels)
    run("adopt", "levels/2.json", "nothing", "--root", levels, code=1)
    assert list(run_json("adopt", "levels/2.json", "--root", levels)["adopted"]) == ["levels/2.json"]
    dc.compute(level(2))
    assert level(2).dc.state == "adopted"


def test_a_path_names_its_root(levels, tmp_path, monkeypatch):
    """Also from outside of the root, and in another one."""
    other = tmp_path / "other"
    with dask.config.set({"daskcache.root": str(other)}):
        dc.compute(level(5))
    monkeypatch.chdir(other)
    path = os.path.relpath(levels, other)
    assert run("why", f"{path}/levels/0.json").startswith("levels/0.json: complete")
    assert [row["target"] for row in run_json("ls", f"{path}/after")["targets"]] == ["after/0.json"]
    assert len(run_json("ls", path)["targets"]) == 4
    assert list(run_json("adopt", f"{path}/levels/2.json")["adopted"]) == ["levels/2.json"]
    assert len(run_json("corrections", path)["corrections"]) == 2
    assert [row["target"] for row in run_json("ls", "levels/*")["targets"]] == ["levels/5.json"]


# ---- JSON ----------------------------------------------------------------------------------------


def test_adopting_tells_the_consequences(levels):
    found = run_json("adopt", "levels", "--root", levels)
    assert found["adopted"]["levels/2.json"][1] == "no recorded result was made from it"
    assert found["left"] == {
        "levels/0.json": "is as it was stored",
        "levels/1.json": "is as it was adopted",
    }


def test_a_target_comes_back(levels):
    run("rm", "levels/0.json", "--root", levels)
    assert run_json("restore", "levels/0.json", "--root", levels)["target"] == "levels/0.json"
    assert "levels/0.json" in there(levels)


def test_reasons_of_several_targets(levels):
    told = run_json("why", "levels", "--root", levels)["targets"]
    assert [(each["target"], each["state"]) for each in told] == [
        ("levels/0.json", "complete"),
        ("levels/1.json", "adopted"),
        ("levels/2.json", "modified"),
    ]
    assert told[0]["story"][0] == "levels/0.json: complete"
    assert told[0]["record"]["arguments"]["n"][0] == "0"


def test_making_room_for_programs(levels):
    arguments = ["gc", "--max-size", "0 B", "--min-age", "0 s", "--root", levels]
    planned = run_json(*arguments, "--dry-run", code=1)
    assert not planned["deleted"]
    assert [row["target"] for row in planned["results"]] == ["levels/0.json", "after/0.json"]
    assert there(levels) == ["after/0.json", "levels/0.json", "levels/1.json", "levels/2.json"]
    done = run_json(*arguments, "--yes", code=1)
    assert done["deleted"]
    assert done["after"] == planned["after"] > 0
    assert there(levels) == ["levels/1.json", "levels/2.json"]


def test_json_asks_no_question(levels, monkeypatch):
    monkeypatch.setattr("daskcache.housekeeping.cli.main._has_terminal", lambda: True)
    told = run("gc", "--max-size", "0 B", "--root", levels, "--json", code=2)
    assert "--json asks no question" in told
    assert "levels/0.json" in there(levels)


def test_an_archive_for_programs(levels, tmp_path):
    packed = run_json("export", tmp_path / "all.tar", "after", "--upstream", "--root", levels)["packed"]
    assert {row["target"] for row in packed} == {"after/0.json", "levels/0.json"}
    found = run_json("import", tmp_path / "all.tar", "--root", tmp_path / "other")
    assert found["outcomes"] == {"after/0.json": "imported", "levels/0.json": "imported"}


def test_an_audit_for_programs(levels):
    found = run_json("audit", "level_of", "--module", level.__module__, "--root", levels)
    assert (found["same"], found["skipped"]) == (0, 2)
    assert {each["target"] for each in found["findings"]} == {"levels/0.json", "levels/1.json"}


# ---- terminals -----------------------------------------------------------------------------------

PROGRAM = """
import sys
from daskcache.housekeeping.cli.main import cache

for words in COMMANDS:
    print("$", *words, flush=True)
    names = [each.name for each in cache.get_command(None, words[0]).params]
    try:
        cache([*words, *(["--root", sys.argv[1]] if "root" in names else [])], standalone_mode=False)
    except SystemExit:
        pass
"""

GRAPH = """
import dask, daskcache as dc
dask.config.set({"daskcache.root": ROOT})

def count_the_cells_of_a_whole_plate(name, smallest_area_of_a_cell):
    return len(name)

count = dc.delayed(count_the_cells_of_a_whole_plate, target="counts/{name}.json")
nodes = [count(f"the_plate_of_the_week_{n}", 30) for n in range(5)]
"""

TABLES = {"config", "corrections", "du", "history", "ls", "plan", "show", "status", "trash"}
FIRST, ADOPTED = "measurements/of_all_the_cells_of_the_first_plate.csv", "measurements/of_one.csv"
COMMANDS = [
    *[["status"], ["ls"], ["history"], ["du"], ["trash"], ["corrections"], ["failures"], ["verify"]],
    *[
        ["show", FIRST],
        ["why", "measurements"],
        ["config"],
        ["doctor"],
        ["audit"],
        ["diff", FIRST, ADOPTED],
    ],
    *[["plan", "graph:nodes"], ["prune", "graph:nodes"], ["gc", "--max-size", "1 B", "--dry-run"]],
    *[["accept", FIRST], ["adopt", FIRST], ["keep", ADOPTED], ["report", "report.html"]],
    *[["export", "all.tar", FIRST], ["import", "all.tar"], ["rm", FIRST], ["restore", FIRST]],
    ["release", ADOPTED],
]


@pytest.fixture
def program(wide, tmp_path):
    """A program that runs all commands but those that start others."""
    assert {words[0] for words in COMMANDS} == {*cache.list_commands(None)} - {"demo", "open"}
    path = tmp_path / "program.py"
    path.write_text(PROGRAM.replace("COMMANDS", repr(COMMANDS)))
    (tmp_path / "graph.py").write_text(GRAPH.replace("ROOT", repr(str(wide))))
    return path


@pytest.fixture
def wide(root):
    """A root whose tables are wider than a terminal."""

    @dc.delayed(target="measurements/{name}.csv")
    def measurements_of_the_whole_plate(name):
        import pandas

        columns = {f"intensity of channel {n}": [f"about {n} thousand in {name}"] for n in range(6)}
        return pandas.DataFrame(columns)

    names = ["of_all_the_cells_of_the_first_plate", "of_one", "gone"]
    nodes = [measurements_of_the_whole_plate(name) for name in names]
    dc.compute(*nodes)
    shutil.copy(nodes[0].dc.path, nodes[1].dc.path)
    dc.adopt(nodes[1])
    run("rm", "measurements/gone.csv", "--root", root)
    return root


@pytest.mark.needs("pseudo-terminals")
@pytest.mark.parametrize("columns", [80, 200])
def test_tables_fit_the_terminal(program, wide, columns):
    """No cell is cut: what is too long for a column goes on below."""
    terminal = Terminal(program, columns, str(wide))
    terminal.finish()
    shown = terminal.raw.replace("\r\n", "\n")
    assert "\x1b" not in shown
    assert "Traceback" not in shown
    for words, text in zip(COMMANDS, shown.split("$ ")[1:], strict=True):
        _, *lines = text.splitlines()
        table = [line for line in lines if re.search(r"\S  +\S", line) or "──" in line]
        assert words[0] not in TABLES or len(table) > 2
        assert words[0] not in TABLES or max(map(len, table)) <= columns
        if words[0] == "ls":  # nothing is left out
            first = "".join(line[: columns // 2].split("  ")[0] for line in lines)
            assert "measurements/of_all_the_cells_of_the_first_plate.csv" in first


def test_pipes_get_no_control_codes(program, wide):
    """Neither from what is printed nor from warnings."""
    command = [sys.executable, str(program), str(wide)]
    done = subprocess.run(command, cwd=program.parent, capture_output=True, text=True)
    assert done.stdout.count("$ ") == len(COMMANDS), done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_tables_in_files_are_as_wide_as_need_be(wide):
    """For programs, a target is a line."""
    lines = run("ls", "--root", wide).splitlines()
    assert [line.split()[0] for line in lines[2:]] == sorted(
        f"measurements/{name}.csv" for name in ("of_all_the_cells_of_the_first_plate", "of_one", "gone")
    )
    assert max(map(len, lines)) > 80
