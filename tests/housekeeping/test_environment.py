"""`dask cache` about the environment: plan, config, doctor, open."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import click
import dask
import pytest
from click.testing import CliRunner

import daskcache as dc
from daskcache.housekeeping import doctor
from daskcache.housekeeping.cli.main import cache
from daskcache.storage.roots import Root

PROGRAM = """
import dask, daskcache as dc

@dc.delayed(target="squares/{n}.json")
def square(n):
    return n * n

squares = [square(n) for n in range(3)]
if __name__ == "__main__":
    dask.compute(*squares, scheduler="sync")
"""


def run(*arguments, code=0):
    done = CliRunner().invoke(cache, arguments, catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture
def script(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = Path("squares_program.py")
    path.write_text(PROGRAM)
    yield path
    sys.modules.pop("squares_program", None)


@pytest.fixture
def stored(tmp_path, monkeypatch, root):
    """A root with a result."""
    monkeypatch.chdir(tmp_path)
    dc.delayed(abs, target="n.json")(-1).compute(scheduler="sync")
    return root


# ---- plan ----------------------------------------------------------------------------------------


def test_plan_tells_what_a_script_would_run(script, root):
    """The exit code is 3 while something is left, as programs and CI want to know."""
    shown = run("plan", "squares_program:squares", code=3)
    assert "3 nodes to run" in shown
    assert "squares/0.json, squares/1.json, squares/2.json" in shown
    assert "was never computed" in shown
    assert not root.exists()
    environment = {**os.environ, "DASK_DASKCACHE__ROOT": str(root)}
    subprocess.run([sys.executable, str(script)], check=True, env=environment)
    assert "nothing to run" in run("plan", "squares_program:squares")


def test_plan_tells_programs(script):
    shown = json.loads(run("plan", "squares_program:squares", "--json", code=3))
    assert shown["left"] == 3
    assert [node["target"] for node in shown["nodes"]] == [f"squares/{n}.json" for n in range(3)]
    assert {node["action"] for node in shown["nodes"]} == {"run"}


def test_plan_refuses_what_names_no_graph(script):
    assert "is not MODULE:OBJECT" in run("plan", "squares_program", code=2)
    assert "squares_program has no cubes" in run("plan", "squares_program:cubes", code=1)


# ---- config --------------------------------------------------------------------------------------


def test_settings_and_what_differs_from_the_defaults():
    with dask.config.set({"daskcache.inline": "1 MiB", "daskcache.workers.trim": False}):
        shown = run("config")
        values = json.loads(run("config", "--json"))
    lines = {line.split()[0]: line for line in shown.splitlines() if line}
    assert lines["inline"].split(maxsplit=1)[1].split("  ")[0] == '"1 MiB"'
    assert '"64 kiB"' in lines["inline"]
    assert "64 kiB" not in lines["root"]
    assert (values["inline"], values["workers.trim"]) == ("1 MiB", False)


def test_a_misspelt_setting_is_told():
    with dask.config.set({"daskcache.rooot": "x"}):
        assert "no setting of daskcache; did you mean root?" in run("config")
        assert "daskcache.rooot: no setting of daskcache" in run("doctor", code=1)


def test_settings_that_are_dicts_have_keys_of_the_user():
    with dask.config.set({"daskcache.databases": {"lab": "sqlite://"}, "daskcache.context": {"a": 1}}):
        assert "no setting" not in run("config")


# ---- doctor --------------------------------------------------------------------------------------


def checks(*arguments, code=0):
    return {
        each["name"]: each
        for each in json.loads(run("doctor", "--json", *arguments, code=code))["checks"]
    }


def test_all_is_well(stored):
    found = checks("--root", str(stored))
    assert list(found) == [
        *("packages", "settings", "cache folder", "root", "writing", "space", "leftovers"),
    ]
    assert all(check["ok"] for check in found.values())
    assert f"daskcache {dc.__version__}" in found["packages"]["found"]
    assert str(stored) in found["root"]["found"]
    assert sorted(path.name for path in Path(stored, ".daskcache", "parts").glob("*")) == []


def test_without_a_root(tmp_path, monkeypatch):
    """There is none before the first run; one that was named must be there."""
    monkeypatch.chdir(tmp_path)
    assert checks()["root"]["ok"]
    found = checks("--root", "nowhere", code=1)["root"]
    assert not found["ok"]
    assert "no root of daskcache found" in found["found"]
    assert found["cure"]


def test_what_is_wrong_has_a_cure(stored, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage(1000))

    def refuse(*args, **kwargs):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(doctor.os, "link", refuse)
    Path(stored, ".daskcache", "intents", "x").touch()
    found = checks("--root", str(stored), code=1)
    assert {name for name, check in found.items() if not check["ok"]} == {"writing", "space"}
    assert "hard links" in found["writing"]["cure"]
    assert "gc --max-size" in found["space"]["cure"]
    assert "1 commits" in found["leftovers"]["found"]
    text = run("doctor", "--root", str(stored), code=1)
    assert "WRONG space: 0.98 kiB free\n      to do: 'dask cache gc" in text


def test_a_cluster_is_checked(stored):
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, processes=False, dashboard_address=":0", protocol="tcp") as cluster:
        found = checks("--root", str(stored), "--scheduler", cluster.scheduler_address)
        assert found["cluster"]["found"] == "1 workers see the root and have daskcache"
    found = checks("--root", str(stored), "--scheduler", "not an address", code=1)
    assert "start the scheduler" in found["cluster"]["cure"]


def test_workers_that_see_another_root(stored, monkeypatch):
    from distributed import LocalCluster

    from daskcache.errors import ReachError

    def refuse(client, needs):
        assert needs.roots == ((str(stored), Root(str(stored)).id()),)
        raise ReachError("workers can't see the root", hint="mount it")

    monkeypatch.setattr("daskcache.cluster.probe.check_reach", refuse)
    with LocalCluster(n_workers=0, processes=False, dashboard_address=":0", protocol="tcp") as cluster:
        found = checks("--root", str(stored), "--scheduler", cluster.scheduler_address, code=1)
    assert (found["cluster"]["ok"], found["cluster"]["cure"]) == (False, "mount it")


# ---- open ----------------------------------------------------------------------------------------


def test_a_target_is_opened_by_its_program(stored, monkeypatch):
    opened = []
    monkeypatch.setattr(click, "launch", lambda path, wait: opened.append(path) or 0)
    run("open", "n.json")
    assert opened == [str(stored / "n.json")]
    assert "there is no record of this target" in run("open", "m.json", code=1)
    monkeypatch.setattr(click, "launch", lambda path, wait: 4)
    assert "no program opens" in run("open", "n.json", code=1)
    (stored / "n.json").unlink()
    assert "is missing" in run("open", "n.json", code=1)


# ---- JSON ----------------------------------------------------------------------------------------

DOCUMENTED = Path(__file__).parents[2] / "docs/reference/commands.md"


def documented_fields():
    """The commands of the table, and the fields that it names; "or" stands between alternatives."""
    rows = DOCUMENTED.read_text().partition("## JSON for programs")[2].partition("## ")[0].splitlines()
    for row in rows:
        if row.startswith("| `"):
            _, command, fields, _ = row.split("|")
            yield command.strip(" `"), [*re.findall(r"`(\w+)`", fields)]


def test_the_fields_of_json_are_as_documented(stored, script):
    fail = dc.delayed(lambda: 1 / 0, target="failed.json", version=1)
    dc.compute(fail(), errors="collect")
    for content, decide in (("7", dc.adopt), ("8", dc.release), ("9", str)):
        node = dc.delayed(abs, target="edited.json")(-2)
        node.compute(scheduler="sync")
        Path(node.dc.path).write_text(content)
        decide(node)
    corrected = dc.delayed(abs, target="corrected.json")(-2)
    corrected.compute(scheduler="sync")
    Path(corrected.dc.path).write_text("7")
    dc.adopt(corrected)
    run("rm", "n.json")
    environment = {**os.environ, "DASK_DASKCACHE__ROOT": str(stored)}
    subprocess.run([sys.executable, str(script)], check=True, env=environment)
    script.write_text(PROGRAM.replace("range(3)", "range(1)"))
    checked = [_check_fields(*row) for row in documented_fields()]
    assert len(checked) == 26


#: Of commands that are about something.
ARGUMENTS = {
    "accept": ["squares/1.json"],
    "adopt": ["squares/2.json"],
    "diff": ["squares/1.json", "squares/2.json"],
    "export": ["squares.tar", "squares"],
    "gc": ["--max-size", "0 B", "--min-age", "0 s", "--dry-run"],
    "import": ["squares.tar"],
    "keep": ["corrected.json"],
    "plan": ["squares_program:squares"],
    "prune": ["squares_program:squares"],
    "release": ["corrected.json"],
    "report": ["report.html"],
    "restore": ["corrected.json"],
    "rm": ["squares/1.json"],
    "show": ["edited.json"],
    "why": ["squares/2.json"],
}


def _check_fields(command, fields):
    arguments = [command, *ARGUMENTS.get(command, []), "--json"]
    done = CliRunner().invoke(cache, arguments, catch_exceptions=False)
    found = json.loads(done.output)
    names = set(found)
    for value in found.values():
        rows = value if isinstance(value, list) else value.values() if isinstance(value, dict) else []
        for row in rows:
            names |= set(row) if isinstance(row, dict) else set()
    alternatives = {"folder"} if command == "du" else set()
    assert not set(fields) - names - alternatives, (command, found)
