"""`DaskCacheTaskRunner` skips what is complete at submit; all else is as Prefect's users expect."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from contextlib import nullcontext

import dask
import imageio.v3
import numpy as np
import pandas as pd
import prefect
import pytest
from distributed import Client, LocalCluster
from pipeline import add, die_once, double, flaky, kept, make, odd, plus_one, slow, total, waited
from prefect.futures import as_completed, wait
from prefect.utilities.annotations import unmapped

import daskcache
from daskcache.errors import NodeFailed
from daskcache.prefect import CachedResult, DaskCacheTaskRunner, flow, task
from daskcache.testing.assertions import scheduler_tasks


@pytest.fixture
def client(cluster):
    """A client beside the runner's, to watch with."""
    with Client(cluster, set_as_default=False) as client:
        yield client


def run(function, *args, **kwargs):
    """Run a flow; its final state and the id of the run."""
    state = function(*args, return_state=True, **kwargs)
    return state, state.state_details.flow_run_id


def completed(function, *args, **kwargs):
    """Run a flow; its result and the id of the run."""
    state, flow_run_id = run(function, *args, **kwargs)
    return state.result(), flow_run_id


def test_second_run_is_cached(runner, client, api, files):
    """The first run completes all tasks; the second one skips them all, and the scheduler gets none."""

    @flow(task_runner=runner)
    def pipeline(n):
        doubled = [double.submit(make.submit(i)) for i in range(n)]
        return total.submit(doubled, "all").result().get_data()

    first, first_run = completed(pipeline, 3)
    assert api.state_names(first_run, 7) == ["Completed"] * 7
    assert len(files()) == 7
    with scheduler_tasks(client) as tasks:
        second, second_run = completed(pipeline, 3)
    assert tasks() == []
    assert api.state_names(second_run, 7) == ["Cached"] * 7
    assert first == second == 330


def test_recorded_runs_have_names_and_lineage(runner, api):
    """A skipped task run has its label as name, and the task runs that it follows from as inputs."""

    @flow(task_runner=runner)
    def pipeline():
        made = make.submit(1)
        double.submit(made).wait()
        double.submit(made.result()).wait()
        return made.task_run_id

    pipeline()
    made, flow_run = completed(pipeline)
    runs = api.task_runs(flow_run, 3)
    assert [run["id"] for run in runs if run["name"] == "make-1"] == [str(made)]
    followers = [run["task_inputs"]["numbers"] for run in runs if run["name"].startswith("double")]
    assert [[each["id"] for each in inputs] for inputs in followers] == [[str(made)]] * 2


def test_nothing_is_recorded_if_nobody_wants_it(cluster, api):
    """With record="none" skipped tasks are not told to the server."""

    @flow(task_runner=DaskCacheTaskRunner(cluster=cluster, record="none"))
    def pipeline():
        make.submit(1).wait()

    pipeline()
    _, flow_run = completed(pipeline)
    time.sleep(1)
    assert api.task_runs(flow_run, 0) == []


def test_waiting_for_finished_futures(runner):
    """Finished futures give results and states, wait, call back, and are completed first."""

    @flow(task_runner=runner)
    def pipeline(i):
        future = make.submit(1)
        future.wait()
        called = []
        future.add_done_callback(called.append)
        running = slow.submit(i, 0.5)
        order = [next(iter(as_completed([running, future]))) is future]
        done, not_done = wait([future, running])
        follower = double.submit(future, wait_for=[future])
        return (
            called == [future],
            order[0],
            len(done),
            len(not_done),
            future.state.name,
            isinstance(future.result(), CachedResult),
            follower.result().get_data()[0],
        )

    pipeline(1)
    assert pipeline(2) == (True, True, 2, 0, "Cached", True, 2)


def test_results_that_take_too_long(runner):
    """A timeout is an error, and the task goes on."""

    @flow(task_runner=runner)
    def pipeline():
        future = slow.submit(1, 1)
        with pytest.raises(TimeoutError, match="did not finish within"):
            future.result(timeout=0.05)
        return future.result().get_data()

    assert pipeline() == 1


def test_results_as_arguments(runner, client):
    """Futures, their results and states are arguments, nested, too; and of the same call, one target."""

    @flow(task_runner=runner)
    def pipeline():
        future = make.submit(1)
        result = future.result()
        named = [add.submit(future, result), add.submit(result, second=future.state)]
        nested = total.submit([future, {"more": result}["more"]], "list")
        return [each.result().get_data() for each in named], nested.result().get_data()

    assert pipeline() == ([110, 110], 110)
    with scheduler_tasks(client) as tasks:
        assert pipeline() == ([110, 110], 110)
    assert tasks() == []


def test_map_over_complete_and_new(runner, client, api):
    """Of what is mapped over, only what is new runs; `unmapped` is passed on whole."""

    @flow(task_runner=runner)
    def pipeline(n):
        made = make.map(range(n))
        sums = add.map(made, unmapped(made[0]))
        return [each.get_data() for each in sums.result()]

    assert pipeline(2) == [90, 100]
    with scheduler_tasks(client) as tasks:
        sums, flow_run = completed(pipeline, 4)
    assert len(tasks()) == 4
    assert sums == [90, 100, 110, 120]
    assert api.state_names(flow_run, 8) == ["Cached"] * 4 + ["Completed"] * 4


def test_mapping_over_a_result(runner):
    """What a cached task returned is mapped over by its elements."""

    @flow(task_runner=runner)
    def pipeline():
        return [each.result() for each in plus_one.map(make.submit(3))]

    assert pipeline() == list(range(4, 14))


def test_async_flows_and_tasks(runner, api):
    """Async tasks and flows are cached as others are."""

    @flow(task_runner=runner)
    async def pipeline():
        futures = [waited.submit(i) for i in range(3)]
        direct = await waited(7)
        return [future.result().get_data() for future in futures] + [direct.get_data()]

    async def state():
        return await pipeline(return_state=True)

    assert asyncio.run(state()).state_details is not None
    second = asyncio.run(state())
    assert asyncio.run(second.aresult()) == [1, 2, 3, 8]
    assert api.state_names(second.state_details.flow_run_id, 4) == ["Cached"] * 4


def test_subflows(runner, client):
    """A subflow's results are arguments in its parent, and skipped there as well."""

    @flow(task_runner=runner)
    def inner(i):
        return make.submit(i).result()

    @flow(task_runner=runner)
    def outer():
        return double.submit(inner(4)).result().get_data()[0]

    assert outer() == 8
    with scheduler_tasks(client) as tasks:
        assert outer() == 8
    assert tasks() == []


def test_returned_futures(runner):
    """A flow that returns a future is completed with the task's state, as with Prefect's own runners."""

    @flow(task_runner=runner)
    def pipeline():
        return make.submit(5)

    for _ in range(2):
        state = pipeline(return_state=True)
        assert state.is_completed()
        assert state.result().result().get_data()[0] == 5


def test_failures_are_counted(runner):
    """A flow that returns futures fails with the number of those that failed."""

    @flow(task_runner=runner)
    def pipeline():
        return [odd.submit(i) for i in range(5)]

    for _ in range(2):
        state = pipeline(return_state=True)
        assert state.is_failed()
        assert "3/5 states failed" in state.message


def test_failures_that_nobody_looked_at(runner):
    """Tasks that failed unseen fail the flow, which says how many of how many."""

    @flow(task_runner=runner)
    def pipeline():
        for i in range(3):
            odd.submit(i)

    state = pipeline(return_state=True)
    assert state.is_failed()
    assert "2 of 3 tasks failed" in state.message
    with pytest.raises(NodeFailed, match="even"):
        pipeline()


def test_failures_that_were_handled(runner):
    """A failure that somebody looked at is theirs."""

    @flow(task_runner=runner)
    def pipeline():
        with pytest.raises(ValueError, match="0 is even"):
            odd.submit(0).result()
        return "handled"

    assert pipeline() == "handled"


def test_followers_of_failures(runner, api, files):
    """What follows from a failure does not run, whether it is known yet or not."""

    @flow(task_runner=runner)
    def pipeline():
        failed = odd.submit(0)
        follower = total.submit([failed], "after")
        wait([failed, follower])
        later = total.submit([failed], "later")
        later.wait()
        return failed.state.name, follower.state.name, later.state.name

    assert pipeline() == ("Failed", "NotReady", "NotReady")
    assert files() == []


def test_calls_that_cannot_be_planned(runner, files, root):
    """A target that somebody else put there fails the task, not the flow, and stays."""
    (root / "made").mkdir(parents=True)
    (root / "made" / "1.npy").write_text("mine")

    @flow(task_runner=runner)
    def pipeline():
        future = make.submit(1)
        future.wait()
        return future.state.message

    assert "did not write" in pipeline()
    assert (root / "made" / "1.npy").read_text() == "mine"


def test_two_calls_with_one_target(runner, files):
    """Of two calls whose targets are one, the second fails: neither replaces the other's result."""

    @flow(task_runner=runner)
    def pipeline():
        same = make.with_options(target="same.npy")
        first, second = same.submit(1), same.submit(2)
        wait([first, second])
        return first.state.name, second.state.name, "the same target" in second.state.message

    assert pipeline() == ("Completed", "Failed", True)
    assert files() == ["same.npy"]


def test_retries(runner, tmp_path):
    """A task with retries is tried again, and its result is cached."""

    @flow(task_runner=runner)
    def pipeline():
        return flaky.submit(1, str(tmp_path / "tries")).result().get_data()

    (tmp_path / "tries").mkdir()
    assert pipeline() == pipeline() == 1
    assert len(list((tmp_path / "tries").iterdir())) == 3


def test_a_worker_killed_in_mid_task(cluster, client, files, tmp_path):
    """A task whose worker dies runs again on another one."""

    @flow(task_runner=DaskCacheTaskRunner(cluster=cluster))
    def pipeline():
        return die_once.submit(1, str(tmp_path / "died")).result().get_data()

    assert pipeline() == 1
    assert files() == ["died/1.json"]
    client.wait_for_workers(2, timeout=60)


def test_cancellation(runner, files):
    """A task that is given up before it begins is cancelled, and leaves nothing."""

    @flow(task_runner=runner)
    def pipeline():
        futures = [slow.submit(i, 1) for i in range(6)]
        futures[-1].cancel()
        futures[-1].wait()
        return futures[-1].state.type.value

    assert pipeline() == "CANCELLED"
    assert len(files()) == 5


def test_a_flow_that_fails_gives_up_what_has_not_begun(runner, files):
    """When the body of a flow raises, tasks that wait for a worker are given up."""

    @flow(task_runner=runner)
    def pipeline():
        for i in range(12):
            slow.submit(i, 0.5)
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        pipeline()
    assert len(files()) < 12


@pytest.mark.parametrize("make_flow", [flow, prefect.flow])
def test_nothing_submitted_is_lost(runner, files, make_flow):
    """Twelve tasks that nobody waits for leave twelve files, under either kind of flow."""

    @make_flow(task_runner=runner)
    def pipeline():
        for i in range(12):
            make.submit(i)

    pipeline()
    assert len(files()) == 12


def test_same_call_twice_at_once(runner, api):
    """Two calls of one recipe at a time run it once."""

    @flow(task_runner=runner)
    def pipeline():
        return [future.result().get_data() for future in [slow.submit(1), slow.submit(1)]]

    values, flow_run = completed(pipeline)
    assert values == [1, 1]
    assert api.state_names(flow_run, 2) == ["Cached", "Completed"]


def test_refresh_cache(runner, api):
    """A task with refresh_cache runs again, and so does what follows, but for equal data."""

    @flow(task_runner=runner)
    def pipeline(refresh=False):
        made = make.with_options(refresh_cache=refresh).submit(1)
        return double.submit(made).result().get_data()[0]

    assert pipeline() == 2
    value, flow_run = completed(pipeline, refresh=True)
    assert value == 2
    assert api.state_names(flow_run, 2) == ["Cached", "Completed"]


def test_hooks(runner):
    """on_completion hooks are called for skipped tasks, too; one that raises is logged."""
    seen = []

    def hook(task, task_run, state):
        seen.append((task.name, task_run.name, state.name))
        raise RuntimeError("of the hook")

    @flow(task_runner=runner)
    def pipeline():
        return make.with_options(on_completion=[hook]).submit(1).result().get_data()[0]

    @flow(task_runner=runner)
    def before():
        make.submit(1)

    before()
    assert pipeline() == 1
    assert seen == [("make", "make-1", "Cached")]


def test_hooks_of_calls_that_cannot_be_planned(runner, root):
    """on_failure hooks are called for what fails when it is submitted."""
    seen = []
    (root / "made").mkdir(parents=True)
    (root / "made" / "1.npy").write_text("mine")

    @flow(task_runner=runner)
    def pipeline():
        hook = lambda task, task_run, state: seen.append(state.name)  # noqa: E731
        make.with_options(on_failure=[hook]).submit(1).wait()

    pipeline()
    assert seen == ["Failed"]


def test_names_by_templates_of_prefect(runner, api):
    """task_run_name is filled when a task is submitted, and so is on what is skipped."""

    @flow(task_runner=runner)
    def pipeline():
        made = make.with_options(task_run_name="no {i}").submit(3)
        double.with_options(task_run_name="twice {numbers.key:.3}").submit(made.result()).wait()

    for _ in range(2):
        _, flow_run = completed(pipeline)
        names = {run["name"] for run in api.task_runs(flow_run, 2)}
        assert "no 3" in names
        assert all(name.startswith(("no ", "twice ")) for name in names)


def test_workers_get_the_plugins_of_daskcache(server):
    """Those that Dask's verbs bring them; what somebody has attached, or wants not to, is left so."""

    @flow
    def pipeline(i):
        make.submit(i).wait()

    def attached(cluster):
        found = cluster.scheduler.plugins.get("daskcache")
        on_workers = ["daskcache" in worker.plugins for worker in cluster.workers.values()]
        return found and found.settings.max_block, all(on_workers), any(on_workers)

    for i, (asks, expected) in enumerate(
        [
            (lambda client: None, (6 * 3600, True, True)),
            (lambda client: daskcache.attach(client, max_block=60), (60, True, True)),
            (lambda client: dask.config.set({"daskcache.workers.attach": False}), (None, False, False)),
        ]
    ):
        with (
            LocalCluster(n_workers=2, processes=False, dashboard_address=":0") as cluster,
            Client(cluster, set_as_default=False) as client,
            asks(client) or nullcontext(),
        ):
            pipeline.with_options(task_runner=DaskCacheTaskRunner(cluster=cluster))(i)
            assert attached(cluster) == expected


def test_a_deleted_file_is_made_again(runner, root):
    """Deleting a target makes its task run again; what follows from equal data does not."""

    @flow(task_runner=runner)
    def pipeline():
        doubled = double.submit(make.submit(1))
        return doubled.result().get_data()[0], doubled.state.name

    pipeline()
    (root / "doubled" / "1.npy").unlink()
    assert pipeline() == (2, "Completed")
    (root / "made" / "1.npy").unlink()
    assert pipeline()[0] == 2
    assert (root / "made" / "1.npy").exists()


def test_uncached_and_plain_tasks_between(runner):
    """Cached tasks take what uncached and plain Prefect tasks return, and the other way round."""

    @prefect.task
    def plain(result):
        return int(result.get_data()[0]) + 10

    @flow(task_runner=runner)
    def pipeline():
        made = make.submit(1)
        number = plus_one.submit(plain.submit(made))
        return make.submit(number).result().get_data()[0], plus_one.submit(made).result()[0]

    assert pipeline() == pipeline() == (12, 2)


def test_the_context_of_a_call_whose_arguments_are_late(runner, files):
    """What templates need of `daskcache.context` goes to the worker that plans it."""

    @prefect.task
    def late():
        time.sleep(0.2)
        return 7

    @flow(task_runner=runner)
    def pipeline():
        with daskcache.context(base="of-the-call"):
            future = kept.submit(late.submit())
        return future.result().get_data()

    assert pipeline() == 7
    assert files() == ["of-the-call/7.json"]


def test_direct_calls(runner, api):
    """A call without `submit` runs in the flow's process, is cached, and recorded when it is skipped."""

    @flow(task_runner=runner)
    def pipeline():
        return double(make(1)).get_data()[0]

    assert pipeline() == 2
    value, flow_run = completed(pipeline)
    assert value == 2
    assert api.state_names(flow_run, 2) == ["Cached", "Cached"]


def test_calls_outside_of_flows(server):
    """A cached task can be called without any flow."""
    assert make(2).get_data()[0] == make(2).get_data()[0] == 2


def test_nodes_as_arguments(runner, client):
    """Nodes of `daskcache.delayed` are arguments of tasks, and results of tasks of nodes."""
    base = daskcache.delayed(_base, target="base.npy")
    after = daskcache.delayed(_after, target="after.npy")

    @flow(task_runner=runner)
    def pipeline():
        doubled = double.submit(base()).result()
        return after(doubled).compute(scheduler="sync")[0]

    assert pipeline() == 3
    with scheduler_tasks(client) as tasks:
        assert pipeline() == 3
    assert tasks() == []


def _base():
    return np.ones(3)


def _after(array):
    return array + 1


def test_logs_of_other_loggers(cluster, api):
    """What a named logger says on a worker, at INFO, is in the log of the task run."""
    from daskcache.prefect import task

    @task(target="logged.json")
    def talk():
        logging.getLogger("imaging.library").info("the library says hello")
        return 1

    @flow(task_runner=DaskCacheTaskRunner(cluster=cluster, extra_loggers=["imaging.library"]))
    def pipeline():
        return talk.submit().result().get_data()

    _, flow_run = completed(pipeline)
    filters = {"logs": {"flow_run_id": {"any_": [str(flow_run)]}}, "limit": 200}
    for _ in range(100):
        messages = [log["message"] for log in api.post("logs/filter", filters)]
        if any("the library says hello" in message for message in messages):
            return
        time.sleep(0.2)
    raise AssertionError(messages)


def test_targets_are_artifacts(runner, api):
    """A new target is shown by an artifact of its task run: a picture, rows or a text, as data."""
    values = {
        "image.tif": np.arange(64, dtype="u2").reshape(8, 8),
        "table.csv": pd.DataFrame({"area": [3, 4]}),
        "note.json": {"cells": 17},
    }

    def show(name):
        return values[name]

    @flow(task_runner=runner)
    def pipeline():
        tasks = {name: task(show, target=f"shown/{name}") for name in values}
        for future in [shown.submit(name) for name, shown in tasks.items()]:
            future.wait()

    _, flow_run = completed(pipeline)
    filters = {"artifacts": {"flow_run_id": {"any_": [str(flow_run)]}}}
    found = {artifact["key"]: artifact for artifact in api.post("artifacts/filter", filters)}
    image, table, note = (found[f"shown-{name}"] for name in ("image-tif", "table-csv", "note-json"))
    kind, _, picture = image["data"].partition(",")
    assert kind == "data:image/png;base64"
    assert imageio.v3.imread(base64.b64decode(picture), extension=".png").shape == (8, 8)
    assert json.loads(table["data"]) == [{"area": "3"}, {"area": "4"}]
    assert note["data"].strip() == "{'cells': 17}"
    assert image["description"].startswith("`shown/image.tif`: ImageTarget, xxh3_128:")
    assert image["description"].endswith("uint16 array, 8 × 8")


def test_nested_submits_on_a_full_cluster(runner):
    """A task that submits tasks and waits for them frees its place on the worker."""

    @prefect.task
    def outer(i):
        return make.submit(i).result().get_data()[0]

    @flow(task_runner=runner)
    def pipeline():
        return [future.result() for future in [outer.submit(i) for i in range(4)]]

    assert pipeline() == [0, 1, 2, 3]
