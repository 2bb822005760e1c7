"""A program of prefectx's in all modes: templates from the context, stores, names, files taken over."""

from __future__ import annotations

import pickle

import dask
import from_prefectx
import pytest
from click.testing import CliRunner
from distributed import Client
from prefect.task_runners import ThreadPoolTaskRunner

import daskcache as dc
from daskcache.housekeeping.cli.main import cache
from daskcache.modes.handles import CachedResult
from daskcache.modes.options import MODES
from daskcache.prefect import DaskCacheTaskRunner
from daskcache.testing.assertions import scheduler_tasks

NAMES = ["a", "bb"]


@pytest.fixture(autouse=True)
def context():
    with dask.config.set({"daskcache.context": {"path": "working", "base": ""}, "scheduler": "sync"}):
        yield
        dc.context["base"] = ""
        del dc.context["base"]


@pytest.fixture
def notes(runs):
    return "file:" + runs.path


def plain(value):
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    return value.get_data() if isinstance(value, CachedResult) else value


def expected(names):
    rows = [[f"text of {name}", {1: (2, None)}] for name in names]
    return [(each, each, len(each[0]), [5, 0], each[0]) for each in rows]


@pytest.fixture(params=["threads", "dask"])
def task_runner(request):
    if request.param == "dask":
        return DaskCacheTaskRunner(cluster=request.getfixturevalue("cluster"))
    return ThreadPoolTaskRunner()


@pytest.mark.parametrize("mode", MODES)
def test_its_flow_in_every_mode(server, task_runner, mode, notes, runs, files):
    """Values are the same; where results are cached, so are files, and a second run runs nothing."""
    run = dc.flow(task_runner=task_runner)(from_prefectx.extract)
    cached = mode not in ("function", "prefect")
    with dask.config.set({"daskcache.mode": mode}):
        assert plain(run(NAMES, notes)) == expected(NAMES)
        once = runs.take()
        assert plain(run(NAMES, notes)) == expected(NAMES)
    if cached:
        assert once == sorted(2 * ["find", "find", "read", "rows", "rows", "write"])
        assert runs.take() == []
        assert files() == sorted(
            f"working/{file}"
            for name in NAMES
            for file in (
                f"copies/{name}.txt",
                f"read/{name}",
                f"rows/{name}",
                f"wide/{name}",
                f"words/{name}-of.json",
                f"words/{name}-text.json",
            )
        )


def test_names_and_states(server, api, notes, cluster):
    """Names come from name_template; what has skip=False goes to Prefect, and ends as Cached there."""
    run = dc.flow(task_runner=DaskCacheTaskRunner(cluster=cluster))(from_prefectx.extract)
    with dask.config.set({"daskcache.mode": "prefect.skip"}):
        run(["a"], notes)
        with Client(cluster, set_as_default=False) as client, scheduler_tasks(client) as tasks:
            state = run(["a"], notes, return_state=True)
        assert sorted(name.rsplit("-", 5)[0] for name in tasks()) == ["find", "find", "length"]
    runs = api.task_runs(state.state_details.flow_run_id, 7)
    names = sorted(run["name"].rpartition("-")[0] or run["name"] for run in runs)
    assert {tag for run in runs if run["name"] == "read_a" for tag in run["tags"]} == {"reading"}
    assert names == ["find", "find", "length", "read_a", "rows_a", "rows_a", "write"]
    states = {run["name"].rpartition("-")[0] or run["name"]: run["state"]["name"] for run in runs}
    assert states == dict.fromkeys(names, "Cached") | {"length": "Completed"}


@pytest.mark.filterwarnings("ignore:P.*=.* is still understood")
@pytest.mark.parametrize(("variable", "old"), [("PREFECTX", "skiptask"), ("PIPEX", "prefect.cachetask")])
def test_its_variables_and_what_it_left(server, api, tmp_path, runs, monkeypatch, variable, old):
    """With the old variable, pickles that are adopted in bulk are Cached in a flow of Prefect."""
    folder = tmp_path / "project"
    for function, value in (("read", "text of a"), ("rows", ["text of a", {1: (2, None)}])):
        path = folder / "working" / function / "a"
        path.parent.mkdir(parents=True)
        path.write_bytes(pickle.dumps(value))
    monkeypatch.chdir(folder)
    monkeypatch.setenv(variable, old)
    read = from_prefectx.task(from_prefectx.read.fn)

    @dc.flow(task_runner=ThreadPoolTaskRunner())
    def run():
        dc.context["base"] = "a"
        return from_prefectx.rows.submit(read.submit("a", runs.path), runs.path).result()

    with dask.config.set({"daskcache.root": "."}):
        done = CliRunner().invoke(cache, ["adopt", "working"])
        assert done.output.count("is adopted") == 2
        state = run(return_state=True)
    assert state.result() == ["text of a", {1: (2, None)}]
    assert runs.take() == []
    assert api.state_names(state.state_details.flow_run_id, 2) == ["Cached"] * 2
