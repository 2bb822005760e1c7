"""`dc.task` and `dc.flow` in all modes: one flow, one result; and flows that compute nodes."""

from __future__ import annotations

import asyncio
import datetime
import os
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import prefect
import pytest
from pipeline import double, make
from prefect.task_runners import ThreadPoolTaskRunner
from prefect_dask import DaskTaskRunner

import daskcache as dc
from daskcache.hashing.encoder import hash_value
from daskcache.modes.handles import CachedResult
from daskcache.modes.options import MODES
from daskcache.prefect import flow


def plain(value):
    """A flow's result with data in place of handles."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    return value.get_data() if isinstance(value, CachedResult) else value


@dc.task(target="arrays/{n:02d}.npy", retries=1, tags=["x"])
def count(n):
    return np.arange(n)


@dc.task(target="facts/{array.stem}.pkl", name_template="{funcname}_{array.stem}")
def facts(array, day=datetime.date(2024, 2, 29)):
    return {1: int(array.sum()), 2: (day, None), "nested": {3: [array.dtype.str]}}


@dc.task
def table(found) -> pd.DataFrame:
    return pd.DataFrame({"total": [found[1]], "day": [pd.Timestamp(found[2][0]).as_unit("ms")]})


@dc.task(target={"low": "pairs/{name}-low.json", "high": "pairs/{name}-high.json"})
def both(arrays, name):
    return {"low": [int(a.min()) for a in arrays], "high": tuple(int(a.max()) for a in arrays)}


@dc.task
def nothing(*waited) -> None:
    pass


@dc.flow(name="everything", task_runner=ThreadPoolTaskRunner(max_workers=3))
def everything(n):
    one, two = count(n), count(n + 1)
    found = facts(one)
    future = facts.submit(count.submit(n + 3), day=datetime.date(1999, 12, 31))
    many = count.map([2, 3], wait_for=[future])
    future.wait()
    return {
        "one": one,
        "found": found,
        "table": table(found),
        "both": both([one, {"x": two}["x"]], name="b"),
        "future": future.result(),
        "many": (many.result(), [each.result() for each in many]),
        "none": nothing(one, found),
    }


def test_all_modes_give_the_same_values_and_files(server, tmp_path):
    """Arrays, frames, tuples, dicts with numbers as keys, None, dates: at first and from the cache."""
    values, found = {}, {}
    for mode in MODES:
        root = tmp_path / mode
        with dask.config.set({"daskcache.mode": mode, "daskcache.root": str(root), "scheduler": "sync"}):
            runs = [hash_value(plain(everything(4))) for _ in range(2)]
        assert runs[0] == runs[1], mode
        values[mode] = runs[0]
        found[mode] = {
            path.relative_to(root).as_posix(): path.read_bytes()
            for path in sorted(root.rglob("*"))
            if path.is_file() and ".daskcache" not in path.parts
        }
    assert len(set(values.values())) == 1
    assert found["dask"] == found["cache"] == found["prefect.cache"] == found["prefect.skip"]
    assert len(found["dask"]) > 8
    assert found["function"] == found["prefect"] == {}


@dc.task(target="later/{n}.json", retries=2, retry_delay_seconds=0)
async def later(n, folder):
    tries = len(os.listdir(folder))
    open(f"{folder}/{tries}", "w").close()
    if tries == 0:
        raise OSError("not yet")
    return n + 1


@dc.flow(task_runner=ThreadPoolTaskRunner())
async def waiting(folder):
    return [await later(1, folder), later.submit(2, folder).result(), later.map([3], folder).result()]


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode.startswith("prefect")])
def test_async_tasks_with_options_of_prefect(server, tmp_path, mode):
    """They are awaited, and Prefect's keyword arguments mean in its modes what they mean there."""
    folder = tmp_path / "tries"
    folder.mkdir()
    with dask.config.set({"daskcache.mode": mode}):
        for _ in range(2):
            assert plain(asyncio.run(waiting(str(folder)))) == [2, 3, [4]]
    assert len(list(folder.iterdir())) == (7 if mode == "prefect" else 4)


def test_what_other_modes_made_is_skipped(server, api):
    """What mode "cache" stored is complete in a flow of Prefect."""
    with dask.config.set({"daskcache.mode": "cache"}):
        everything(4)
    with dask.config.set({"daskcache.mode": "prefect.skip"}):
        state = everything(4, return_state=True)
    names = api.state_names(state.state_details.flow_run_id, 10)
    assert set(names) == {"Cached"}


def test_every_task_goes_to_prefect(server, api):
    """In mode "prefect.cache" complete tasks run in Prefect's engine, and end there as cached."""
    with dask.config.set({"daskcache.mode": "prefect.cache"}):
        everything(4)
        state = everything(4, return_state=True)
    assert set(api.state_names(state.state_details.flow_run_id, 10)) == {"Cached"}


@pytest.mark.parametrize("kind", ["threads", "dask"])
def test_flows_of_prefect_with_their_own_runners(kind, request, files):
    """In a plain Prefect flow, with any task runner, cached tasks are cached and skipped."""
    runner = ThreadPoolTaskRunner()
    if kind == "dask":
        runner = DaskTaskRunner(address=request.getfixturevalue("cluster").scheduler_address)
    else:
        request.getfixturevalue("server")

    @prefect.task
    def first(result):
        return int(result.get_data()[0])

    @prefect.flow(task_runner=runner)
    def pipeline():
        doubled = double.submit(make.submit(3))
        return first.submit(doubled).result(), doubled.state.name

    assert pipeline() == (6, "Completed")
    assert pipeline() == (6, "Cached")
    assert files() == ["doubled/3.npy", "made/3.npy"]


def _base(n):
    return np.ones(n)


def _scaled(array, factor):
    if factor == 0:
        raise ZeroDivisionError("no factor")
    return array * factor


base = dc.delayed(_base, target="base/{n}.npy")
scaled = dc.delayed(_scaled, target="scaled/{factor}.npy")


def test_nodes_in_flows(runner, api):
    """Nodes that a flow computes run on its cluster, and those that ran are task runs of it."""

    @flow(task_runner=runner)
    def pipeline(*factors):
        nodes = [scaled(base(3), factor) for factor in factors]
        return [float(array[0]) for array in dc.compute(*nodes)]

    state = pipeline(2, 3, return_state=True)
    assert state.result() == [2, 3]
    runs = api.task_runs(state.state_details.flow_run_id, 3)
    assert sorted(run["name"].split("-")[0] for run in runs) == ["_base", "_scaled", "_scaled"]
    assert {run["state"]["name"] for run in runs} == {"Completed"}
    failed = pipeline(0, return_state=True)
    assert failed.is_failed()
    (run,) = api.task_runs(failed.state_details.flow_run_id, 1)
    assert run["state"]["name"] == "Failed"


def test_sources_as_arguments(server, tmp_path):
    """A source arrives as its data, also from a plain path of a flow's parameter made a source."""
    np.save(tmp_path / "a.npy", np.arange(3))

    @flow(task_runner=ThreadPoolTaskRunner())
    def pipeline(path: Path):
        return double.submit(dc.NumpySource(path)).result().get_data().tolist()

    assert pipeline(tmp_path / "a.npy") == pipeline(tmp_path / "a.npy") == [0, 2, 4]


def test_verbs_in_runs_of_prefect_show_no_progress(server, root, capsys):
    """Prefect logs what its tasks do; a display would draw over it.  Outside, the verb shows."""

    @prefect.task
    def in_a_task(n):
        return dc.compute(count_up(n), progress=True)

    @prefect.flow
    def in_a_flow():
        return dc.compute(count_up(1), progress=True), in_a_task(2)

    assert in_a_flow() == ((1,), (2,))
    assert " ran" not in capsys.readouterr().err
    assert dc.compute(count_up(3), progress=True) == (3,)
    assert capsys.readouterr().err.splitlines()[-1] == "1 ran"


@dc.delayed(target="counts/{n}.json")
def count_up(n):
    return n
