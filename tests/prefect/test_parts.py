"""The parts that flows don't show: what is sent to workers, requests that keep connections alive."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import cloudpickle
import pytest
from pipeline import make
from prefect.client.orchestration import SyncPrefectClient
from prefect.context import SettingsContext
from prefect.settings import PREFECT_API_URL
from prefect.task_runners import ThreadPoolTaskRunner

import daskcache
from daskcache import JSONTarget
from daskcache.calls.options import Options
from daskcache.calls.spec import Spec
from daskcache.errors import GraphError, MissingExtra, TargetMissing
from daskcache.planning.planner import Planner
from daskcache.prefect import DaskCacheTaskRunner, flow, internals, recording, with_skipping, workers
from daskcache.prefect.bodies import DataBody
from daskcache.prefect.dask_runner import keepalive
from daskcache.prefect.recording import artifact_key
from daskcache.prefect.workers import ContextSender
from daskcache.runtime.entry import Entry, Stored


def test_keepalive_asks_until_it_is_stopped(server, monkeypatch):
    """With an interval the server is asked again and again; without, there is no thread."""
    asked = []
    monkeypatch.setattr(SyncPrefectClient, "hello", lambda self: asked.append(1))
    before = threading.active_count()
    with keepalive(None):
        assert threading.active_count() == before
    with keepalive(0.01):
        deadline = time.monotonic() + 30
        while len(asked) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert len(asked) >= 3


def test_settings_are_made_ready_once(server):
    """Settings travel with the server's address, and without a check of its version; made ready once."""

    @flow(task_runner=ThreadPoolTaskRunner())
    def pipeline():
        sender = ContextSender()
        assets = {"task": make, "task_run_id": uuid4(), "task_inputs": {}, "copy_to_child_ctx": True}
        first, second = sender.serialize(assets), sender.serialize(assets)
        assert first["settings_context"] is second["settings_context"]
        assert first["flow_run_context"]["flow_run"] is not None
        return first["settings_context"]["settings"]

    settings = pipeline()
    assert str(settings["api"]["url"]) == PREFECT_API_URL.value()
    assert settings["client"]["server_version_check_enabled"] is False


def test_settings_are_sent_as_prefect_would_if_it_goes_about_it_otherwise(server, monkeypatch):
    """A version of Prefect that does not dump them by `serialize` gets its own settings, untouched."""

    def serialize_context(assets):
        return {"settings_context": {"of": SettingsContext.get()}, **assets}

    monkeypatch.setattr(workers, "serialize_context", serialize_context)
    sent = ContextSender().serialize({"task": make})
    assert sent["settings_context"]["of"] is SettingsContext.get()
    assert sent["task"] is make


def test_workers_are_told_of_a_server_that_is_named_nowhere(server):
    """As one that Prefect started for the flow: else each worker would start one of its own."""

    @flow(task_runner=ThreadPoolTaskRunner())
    def pipeline():
        return workers._for_workers({"settings": {"api": {}, "client": {"max_retries": 1}}})

    settings = pipeline()["settings"]
    assert settings["api"] == {"url": PREFECT_API_URL.value()}
    assert settings["client"] == {"max_retries": 1, "server_version_check_enabled": False}


def test_a_runner_keeps_connections_alive_while_a_flow_runs(cluster, monkeypatch):
    """From the first to the last task; not longer."""
    asked = threading.Event()
    monkeypatch.setattr(SyncPrefectClient, "hello", lambda self: asked.set())

    @flow(task_runner=DaskCacheTaskRunner(cluster=cluster, api_keepalive=0.01))
    def pipeline():
        return asked.wait(30)

    assert pipeline()
    for thread in threading.enumerate():
        if thread.name == "daskcache-keepalive":
            thread.join(30)
            assert not thread.is_alive()


def test_runners_are_duplicated_with_their_options():
    """A duplicate, and what is pickled, have the same options; runners with other options differ."""
    options = {"address": "tcp://127.0.0.1:1", "record": "none", "extra_loggers": ["a"]}
    runner = DaskCacheTaskRunner(**options, api_keepalive=100)
    assert runner.duplicate() == runner == cloudpickle.loads(cloudpickle.dumps(runner))
    assert DaskCacheTaskRunner(**options) != runner
    threads = with_skipping(ThreadPoolTaskRunner(max_workers=3), record="none")
    assert threads.duplicate() == threads == cloudpickle.loads(cloudpickle.dumps(threads))
    assert with_skipping(ThreadPoolTaskRunner(max_workers=3)) != threads


def test_a_wrapped_runner_ends_whatever_its_tasks_do(monkeypatch):
    """Its threads and processes must not outlive the flow."""
    runner = with_skipping(ThreadPoolTaskRunner(max_workers=1))

    def drain():
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "drain", drain)
    with pytest.raises(KeyboardInterrupt), runner:
        assert runner.runner._started
    assert not runner.runner._started
    assert not runner._started


def test_bodies_of_flows_can_be_called_without_prefect():
    """`fn` is the user's function, as in tests of Prefect's flows."""

    @flow
    def pipeline(n):
        return n + 1

    @flow
    async def waiting(n):
        return n + 2

    assert pipeline.fn(1) == 2
    assert asyncio.run(waiting.fn(1)) == 3


def test_ways_to_record():
    """There are two ways to record what was skipped."""
    with pytest.raises(ValueError, match="'event' or 'none'"):
        with_skipping(ThreadPoolTaskRunner(), record="loudly")


@pytest.mark.parametrize("shown", [2**26, 10], ids=["small", "large"])
def test_a_large_target_is_named_only(shown, root, monkeypatch):
    """What would take long to read once more has an artifact that only says what it is."""
    node = daskcache.delayed(lambda: [1, 2, 3, 4, 5], target="note`s.json")()
    node.compute(scheduler="sync")
    (name,) = Planner().look(node._recipe).records
    entry = Entry(node.dc.key, str(root), (Stored.recorded(JSONTarget("x"), "note`s.json", name),))
    made = []
    monkeypatch.setattr(recording, "create_markdown_artifact", lambda **artifact: made.append(artifact))
    monkeypatch.setattr(recording, "SHOWN", shown)
    recording.make_artifact(entry)
    (artifact,) = made
    assert artifact["description"].startswith("`note's.json`: JSONTarget")
    assert artifact["markdown"] == ("    [1, 2, 3, 4, 5]\n" if shown > 10 else "too large to be shown")


@pytest.mark.parametrize("error", [TargetMissing("gone"), ImportError("imageio"), KeyError("a")])
def test_a_target_that_cannot_be_shown_is_a_warning(error, root, monkeypatch):
    """Whatever happens, the task does not fail."""

    def look(value):
        raise error

    node = daskcache.delayed(lambda: 1, target="one.json")()
    node.compute(scheduler="sync")
    (name,) = Planner().look(node._recipe).records
    entry = Entry(node.dc.key, str(root), (Stored.recorded(JSONTarget("x"), "one.json", name),))
    warned = []
    logger = SimpleNamespace(warning=lambda *message: warned.append(message))
    monkeypatch.setattr(recording, "get_run_logger", lambda: logger)
    monkeypatch.setattr(recording, "preview", look)
    recording.make_artifact(entry)
    assert warned[0][1:] == (error,)


def test_artifact_keys():
    """Keys of artifacts have lower-case letters, digits and dashes."""
    assert artifact_key("Denoised/Image_01.ome.tif") == "denoised-image-01-ome-tif"


def test_nothing_but_functions_becomes_a_task():
    """A Prefect task is not made a cached one: it says what to do."""
    from daskcache.prefect import task

    with pytest.raises(TypeError, match="decorate the function itself"):
        task(make)
    with pytest.raises(ValueError, match="handle"):
        task(lambda: 1, results="both")


def test_a_release_of_prefect_that_lacks_something_is_named():
    """The error names what is missing, the releases found and those that are supported."""
    with pytest.raises(MissingExtra, match=r"prefect\.engine\.gone") as caught:
        internals.found("prefect.engine", "gone")
    assert version("prefect") in caught.value.got
    with pytest.raises(MissingExtra, match=r"prefect\._gone\.name"):
        internals.found("prefect._gone", "name")
    assert internals.SUPPORTED in (Path(__file__).parents[2] / "setup.cfg").read_text()


def test_internals_are_imported_in_one_module():
    """No other module of the room imports names of Prefect that are not public."""
    for path in Path(internals.__file__).parent.glob("*.py"):
        private = re.findall(
            r"^from (prefect[\w.]*\._\w+|prefect_dask\.\w+)", path.read_text(), re.MULTILINE
        )
        assert private == []


def test_a_body_that_caches_nothing_gets_no_fields(tmp_path):
    """Prefect may cache its result under a key that has none of them; see `daskcache.sources`."""

    def look(image: daskcache.TextSource):
        return image.fields

    (tmp_path / "A01.txt").write_text("a")
    (found,) = daskcache.sources(tmp_path / "{well}.txt")
    body = DataBody(Spec(look, Options()))
    with pytest.raises(GraphError, match="does not get the fields"):
        body(found)
    assert body(daskcache.TextSource(tmp_path / "A01.txt")) == {}
