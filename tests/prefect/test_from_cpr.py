"""A flow of CPR's that was cut short goes on with daskcache's classes: nothing is computed again."""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import pickle
import sys
import time
from pathlib import Path

import dask
import from_cpr
import numpy as np
import prefect
import pytest
import tifffile
from from_cpr import NAMES, Left, picture
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH
from prefect.task_runners import ThreadPoolTaskRunner

import daskcache as dc
from daskcache.errors import TargetCorrupt
from daskcache.prefect import cpr_serializer, flow, task, task_input_hash, with_skipping
from daskcache.targets.cpr import alias
from daskcache.testing.assertions import RunCounter

_OPTIONS = {
    "persist_result": True,
    "result_serializer": cpr_serializer(),
    "cache_key_fn": functools.partial(task_input_hash, compat=True),
}
_EXPECTED = [int((picture(name) // 2 > 60).sum()) for name in NAMES]
_AFTER_HALF = ["count", "segment", "segment"]


class Pipeline:
    """CPR's pipeline, with decorators of `daskcache.prefect` or of Prefect."""

    def __init__(self, left, runs, decorate):
        self.left, self.notes = left, runs.path
        self.tasks = [
            decorate(function, **_OPTIONS)
            for function in (from_cpr.denoise, from_cpr.segment, from_cpr.count)
        ]

    def store(self):
        self.left.store(*self.tasks[:2], self.notes)

    def flow(self, make_flow, runner):
        """A flow that gives the counts, and the names of all states."""
        denoise, segment, count = self.tasks
        left, notes, out = self.left, self.notes, str(self.left.out)

        @make_flow(task_runner=runner)
        def pipeline():
            sources = [left.source(name) for name in NAMES]
            denoised = [denoise.submit(out, source, 2, notes) for source in sources]
            masks = [segment.submit(out, each, 60, notes) for each in denoised]
            counts = count.submit(out, masks, notes)
            values = counts.result().get_data().tolist()
            return values, [each.state.name for each in (*denoised, *masks, counts)]

        return pipeline


@prefect.task
def given_later(folder):
    """What is submitted with its result has arguments that are not known yet."""
    time.sleep(0.3)
    return folder


@pytest.fixture
def left(server, tmp_path):
    (tmp_path / "project").mkdir()
    return Left(tmp_path / "project")


@pytest.fixture
def with_alias():
    before = list(sys.meta_path)
    assert alias.install()
    yield
    sys.meta_path[:] = before
    for name in [name for name in sys.modules if name.partition(".")[0] == "cpr"]:
        del sys.modules[name]


def stored():
    """Files of the results that Prefect stored."""
    return set(Path(PREFECT_LOCAL_STORAGE_PATH.value()).glob("*"))


@pytest.mark.parametrize("kind", ["threads", "dask"])
@pytest.mark.parametrize("decorate", [task, prefect.task], ids=["ours", "prefects"])
def test_a_flow_goes_on_from_what_cpr_left(left, runs, kind, decorate, request):
    """What CPR stored is Cached, with its values; the rest runs, is stored, and is Cached next time."""
    runner = with_skipping(ThreadPoolTaskRunner())
    if kind == "dask":
        runner = request.getfixturevalue("runner")
    before = stored()
    pipeline = Pipeline(left, runs, decorate)
    pipeline.store()
    run = pipeline.flow(flow, runner)
    values, states = run()
    assert values == _EXPECTED
    assert states == ["Cached"] * 4 + ["Completed"] * 3
    assert runs.take() == _AFTER_HALF
    new = stored() - before - set(left.records)
    assert len(new) == 3
    for path in new:
        record = json.loads(path.read_text())
        assert record["metadata"]["serializer"]["object_decoder"].startswith("daskcache.")
        assert json.loads(record["result"])["__class__"].startswith("cpr.")
    assert run() == (_EXPECTED, ["Cached"] * 7)
    assert runs.take() == []


def test_prefects_own_engine_reads_what_cpr_left_through_the_alias(left, runs, with_alias):
    """Flow, task and runner are Prefect's: it imports the decoder that the record names."""
    pipeline = Pipeline(left, runs, prefect.task)
    pipeline.store()
    values, states = pipeline.flow(prefect.flow, ThreadPoolTaskRunner())()
    assert values == _EXPECTED
    assert states == ["Cached"] * 4 + ["Completed"] * 3
    assert runs.take() == _AFTER_HALF


def test_without_the_alias_prefects_own_engine_computes_again(left, runs):
    """Nobody gets CPR's names who doesn't ask for them."""
    pipeline = Pipeline(left, runs, prefect.task)
    pipeline.store()
    assert pipeline.flow(prefect.flow, ThreadPoolTaskRunner())()[0] == _EXPECTED
    assert sorted(set(runs.take())) == ["count", "denoise", "segment"]


def test_what_cpr_left_is_found_on_workers(left, runs, runner, with_alias):
    """Who installs the alias has it on workers, too, where late arguments become known."""
    pipeline = Pipeline(left, runs, task)
    pipeline.store()
    denoise = pipeline.tasks[0]

    @flow(task_runner=runner)
    def run():
        source = left.source("a")
        future = denoise.submit(given_later.submit(str(left.out)), source, 2, runs.path)
        return future.result().get_data(), future.state.name

    data, state = run()
    assert (data == picture("a") // 2).all()
    assert state == "Cached"
    assert runs.take() == []


def test_direct_calls_and_other_modes_go_on_too(left, runs):
    """A task that is called in the flow's process, here by way of `dc.task`."""
    pipeline = Pipeline(left, runs, dc.task)
    with dask.config.set({"daskcache.mode": "prefect.skip"}):
        ours = [each._in_prefect("prefect.skip") for each in pipeline.tasks[:2]]
        left.store(*ours, runs.path)

        @dc.flow(task_runner=ThreadPoolTaskRunner())
        def run():
            source = left.source("a")
            denoised = pipeline.tasks[0](str(left.out), source, 2, runs.path)
            return pipeline.tasks[1](str(left.out), denoised, 60, runs.path).get_data()

        assert int(run().sum()) == _EXPECTED[0]
    assert runs.take() == []


def test_async_tasks_are_stored_and_found(server, runs):
    """Called and submitted."""

    @task(cache_key_fn=task_input_hash, result_serializer=cpr_serializer())
    async def wide(n, notes):
        RunCounter(notes).note("wide")
        return {"n": n}

    @flow(task_runner=ThreadPoolTaskRunner())
    async def run():
        again = wide.with_options(name="again")
        return [await wide(1, runs.path), wide.submit(2, runs.path).result(), await again(1, runs.path)]

    for ran in (2, 0):
        assert asyncio.run(run()) == [{"n": 1}, {"n": 2}, {"n": 1}]
        assert runs.take() == ["wide"] * ran


# ---- nothing that is stored is believed ---------------------------------------------------------------


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def _pickled(record, trap):
    record["metadata"]["serializer"] = {"type": "pickle", "picklelib": "pickle"}
    record["result"] = base64.encodebytes(pickle.dumps(Trap(trap))).decode()


def _names_library(record, trap):
    _pickled(record, trap)
    record["metadata"]["serializer"]["picklelib"] = "from_trap"


def _names_decoder(record, trap):
    record["metadata"]["serializer"]["object_decoder"] = "from_trap.decode"


def _names_json_library(record, trap):
    record["metadata"]["serializer"] |= {"jsonlib": "from_trap", "object_decoder": None}


def _names_class(record, trap):
    record["result"] = json.dumps({"__class__": "from_trap.Trap", "data": {"path": trap}})


def _of_prefect(record, trap):
    record["metadata"]["serializer"] = {"type": "json"}
    _names_class(record, trap)


def _more_fields(record, trap):
    result = json.loads(record["result"])
    result["data"]["path"] = trap
    record["result"] = json.dumps(result)


def _no_json(record, trap):
    record["result"] = record["result"][:-5]


def _outside(record, trap):
    record["result"] = record["result"].replace("/out", "/out/../../elsewhere")


def _gone(record, trap):
    result = json.loads(record["result"])
    result["data"]["data_hash"] = "0" * 16
    record["result"] = json.dumps(result)


_TAMPERED = [
    _pickled,
    _names_library,
    _names_decoder,
    _names_json_library,
    _names_class,
    _of_prefect,
    _more_fields,
    _no_json,
    _outside,
    _gone,
]


@pytest.mark.parametrize("tamper", _TAMPERED, ids=lambda each: each.__name__.strip("_"))
def test_a_stored_result_that_was_tampered_with_is_computed_again(
    left, runs, tmp_path, monkeypatch, with_alias, tamper
):
    """Nothing that it names is imported, called or constructed, wherever the task is looked up."""
    trap = tmp_path / "trap"
    (tmp_path / "from_trap.py").write_text(f"open({str(trap)!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    pipeline = Pipeline(left, runs, task)
    pipeline.store()
    for path in left.records:
        record = json.loads(path.read_text())
        tamper(record, str(trap))
        path.write_text(json.dumps(record))
    denoise, out = pipeline.tasks[0], str(left.out)

    @flow(task_runner=ThreadPoolTaskRunner())
    def run():
        one, two, three = map(left.source, NAMES)
        submitted = denoise.submit(out, one, 2, runs.path)
        late = denoise.submit(given_later.submit(out), three, 2, runs.path)
        return [submitted.result(), denoise(out, two, 2, runs.path), late.result()]

    with dask.config.set({"daskcache.resource-roots": [out, str(left.raw)]}):
        found = run()
    for target, name in zip(found, NAMES, strict=True):
        assert (target.get_data() == picture(name) // 2).all()
    assert runs.take() == ["denoise"] * 3
    assert not trap.exists()
    assert "from_trap" not in sys.modules


def test_a_result_whose_file_was_edited_is_a_typed_error(left, runs):
    """Its hash is in the stored result: what follows does not get other data."""
    pipeline = Pipeline(left, runs, task)
    pipeline.store()
    for path in left.out.glob("b-*.tif"):
        tifffile.imwrite(path, np.zeros((32, 32), "uint8"))
    segment = pipeline.tasks[1]

    @flow(task_runner=ThreadPoolTaskRunner())
    def run():
        denoised = pipeline.tasks[0].submit(str(left.out), left.source("b"), 2, runs.path)
        return segment.submit(str(left.out), denoised, 60, runs.path).result()

    with pytest.raises(TargetCorrupt):
        run()
