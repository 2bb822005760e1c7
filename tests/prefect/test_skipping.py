"""`with_skipping` on threads and processes, and plain Prefect tasks whose keys are ours."""

from __future__ import annotations

import functools
from collections import Counter
from typing import ClassVar

import dask
import numpy as np
import prefect
import pytest
from pipeline import add, double, make, odd, total
from prefect.cache_policies import TASK_SOURCE
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner
from prefect.utilities.annotations import allow_failure, opaque, quote

import daskcache as dc
from daskcache.prefect import ResourceInputs, cpr_serializer, flow, task_input_hash, with_skipping


class Submitted(ThreadPoolTaskRunner):
    """Counts what reaches it."""

    counted: ClassVar[Counter[str]] = Counter()

    def submit(self, task, *args, **kwargs):
        self.counted[task.name] += 1
        return super().submit(task, *args, **kwargs)


@pytest.fixture
def threads(server):
    Submitted.counted.clear()
    return with_skipping(Submitted())


def test_threads(threads, api):
    """On threads, what is complete does not reach the task runner; all else runs."""

    @flow(task_runner=threads)
    def pipeline(n):
        made = [make.submit(i) for i in range(n)]
        return [add.submit(a, double.submit(a)).result().get_data() for a in made]

    assert pipeline(2) == [135, 165]
    Submitted.counted.clear()
    state = pipeline(3, return_state=True)
    assert state.result() == [135, 165, 195]
    assert Submitted.counted == {"make": 1, "double": 1, "add": 1}
    names = api.state_names(state.state_details.flow_run_id, 9)
    assert names == ["Cached"] * 6 + ["Completed"] * 3


def test_processes(server, files):
    """On processes, results and failures come back, and what is complete is skipped."""

    @flow(task_runner=with_skipping(ProcessPoolTaskRunner(max_workers=2)))
    def pipeline():
        made = make.map(range(2))
        whole = total.submit(list(made), "all")  # which are under way
        failed = odd.submit(2)
        failed.wait()
        return whole.result().get_data(), whole.state.name, failed.state.name

    assert pipeline() == (100, "Completed", "Failed")
    assert pipeline() == (100, "Cached", "Failed")
    assert len(files()) == 3


def test_other_runners_are_made_to_skip(server):
    """`flow` wraps the task runner that it is given, be it an instance or a class."""

    @flow(task_runner=ThreadPoolTaskRunner)
    def pipeline():
        return make.submit(1).state.name

    pipeline()
    assert pipeline() == "Cached"


# ---- plain tasks ---------------------------------------------------------------------------------


def save_doubled(array, folder):
    target = dc.NumpyTarget.from_path(f"{folder}/doubled.npy")
    target.set_data(2 * array)
    return target


@pytest.mark.parametrize(
    "keyed",
    [
        {"cache_key_fn": task_input_hash},
        {"cache_key_fn": functools.partial(task_input_hash, compat=True)},
        {"cache_policy": ResourceInputs()},
        {"cache_policy": ResourceInputs() + TASK_SOURCE},
    ],
    ids=["key", "compat", "policy", "compound"],
)
def test_plain_tasks_are_skipped(threads, api, tmp_path, keyed):
    """A plain task whose key is ours is skipped at submit when its result is stored."""
    name = tmp_path.name
    doubled = prefect.task(
        save_doubled, name=name, persist_result=True, result_serializer=cpr_serializer(), **keyed
    )

    @flow(task_runner=threads)
    def pipeline(array):
        future = doubled.submit(np.array(array), str(tmp_path))
        return future.result().get_data().tolist(), future.state.name

    if "compat" in str(keyed) or "partial" in str(keyed):  # CPR could not make keys of arrays
        pipeline = flow(lambda array: _with_list(doubled, array, tmp_path), task_runner=threads)
    assert pipeline([1, 2]) == ([2, 4], "Completed")
    Submitted.counted.clear()
    assert pipeline([1, 2]) == ([2, 4], "Cached")
    assert Submitted.counted == {}
    assert pipeline([1, 3])[1] == "Completed"


def _with_list(doubled, array, tmp_path):
    future = doubled.submit(array=np.array(array), folder=str(tmp_path))
    return future.result().get_data().tolist(), future.state.name


def test_a_stored_result_whose_file_is_gone(threads, tmp_path):
    """A stored result is not used when the file that it names is gone: the task runs again."""
    doubled = prefect.task(
        save_doubled,
        persist_result=True,
        result_serializer=cpr_serializer(),
        cache_key_fn=task_input_hash,
    )

    @flow(task_runner=threads)
    def pipeline():
        return doubled.submit(np.arange(3), str(tmp_path)).result().get_data().tolist()

    assert pipeline() == [0, 2, 4]
    for file in tmp_path.glob("*.npy"):
        file.unlink()
    assert pipeline() == [0, 2, 4]
    assert len(list(tmp_path.glob("*.npy"))) == 1


def test_refreshing_plain_tasks(threads, tmp_path):
    """refresh_cache makes a plain task run though its result is stored."""
    doubled = prefect.task(
        save_doubled,
        persist_result=True,
        result_serializer=cpr_serializer(),
        cache_key_fn=task_input_hash,
        refresh_cache=True,
    )

    @flow(task_runner=threads)
    def pipeline():
        return doubled.submit(np.arange(3), str(tmp_path)).state.name

    for _ in range(2):
        pipeline()
    assert Submitted.counted == {"save_doubled": 2}


def shifted(x, by):
    return x + by


@pytest.mark.parametrize(("make_flow", "start"), [(flow, 10), (prefect.flow, 20)])
def test_plain_tasks_in_threads_and_processes(server, make_flow, start):
    """They have one key, in flows of Prefect's own, too."""
    keyed = prefect.task(shifted, cache_key_fn=task_input_hash, result_serializer="json")

    def pipeline():
        future = keyed.submit(keyed.submit(start, by=2), by=1)
        return future.result(), future.state.name

    runners = [ThreadPoolTaskRunner(), ProcessPoolTaskRunner(max_workers=1), ThreadPoolTaskRunner()]
    names = [make_flow(task_runner=runner)(pipeline)() for runner in runners]
    assert names == [(start + 3, name) for name in ("Completed", "Cached", "Cached")]


def test_annotated_arguments(threads):
    """What Prefect unwraps before it calls a task counts as the task gets it."""
    keyed = prefect.task(lambda *values: len(values), name="annotated", cache_key_fn=task_input_hash)

    @flow(task_runner=threads)
    def pipeline():
        made = keyed.submit(1)
        made.wait()
        future = keyed.submit(quote([made.task_run_id.version]), allow_failure(made), [opaque(2)])
        return future.result(), future.state.name

    assert pipeline() == (3, "Completed")
    Submitted.counted.clear()
    assert pipeline() == (3, "Cached")
    assert Submitted.counted == {}


def context_of(function):
    return type("Context", (), {"task": prefect.task(function)})


def test_task_input_hash_writes_nothing(tmp_path):
    """Making a key saves no data of targets, and keeps them."""
    target = dc.NumpyTarget.from_path(tmp_path / "a.npy")
    target.set_data(np.arange(3))
    key = task_input_hash(context_of(save_doubled), {"array": target})
    assert list(tmp_path.iterdir()) == []
    assert target.get_data().tolist() == [0, 1, 2]
    assert key == task_input_hash(context_of(save_doubled), {"array": target})


def test_task_input_hash_counts_content_and_code(tmp_path):
    """Keys differ by the content of sources, and by constants of the code."""
    path = tmp_path / "a.txt"
    path.write_text("one")
    keys = {task_input_hash(context_of(lambda x: x + 1), {"x": dc.TextSource(path)})}
    path.write_text("another")
    keys.add(task_input_hash(context_of(lambda x: x + 1), {"x": dc.TextSource(path)}))
    keys.add(task_input_hash(context_of(lambda x: x + 2), {"x": dc.TextSource(path)}))
    assert len(keys) == 3


def test_options_of_json(tmp_path):
    """dumps_kwargs go to `json.dumps`; what is written is read back."""
    serializer = cpr_serializer({"indent": 2})
    target = save_doubled(np.arange(3), tmp_path)
    written = serializer.dumps([target])
    assert b'\n  {\n    "__class__"' in written
    assert serializer.loads(written)[0].get_data().tolist() == [0, 2, 4]


def test_compatible_keys(tmp_path):
    """With compat=True the key is MD5 of JSON, as CPR made it with Prefect's own function."""
    from prefect.utilities.hashing import hash_objects

    task = prefect.task(save_doubled)
    arguments = {"array": [1, 2], "folder": "here"}
    expected = hash_objects(task.task_key, save_doubled.__code__.co_code.hex(), arguments)
    assert task_input_hash(context_of(save_doubled), arguments, compat=True) == expected


def test_resource_inputs():
    """Excluded arguments don't count; without any argument there is no key."""
    policy = ResourceInputs() - "folder"
    one, two = ({"array": [1], "folder": folder} for folder in "ab")
    assert policy.compute_key(None, one, {}) == policy.compute_key(None, two, {})
    assert ResourceInputs().compute_key(None, one, {}) != ResourceInputs().compute_key(None, two, {})
    assert policy.compute_key(None, {}, {}) is None


@pytest.mark.parametrize("mode", ["prefect.cache", "prefect.skip"])
def test_what_is_at_another_target_is_copied(server, root, runs, mode):
    """A task whose result equal code made of equal data elsewhere returns it, from its own target."""

    @dc.task(target="{base}/{i}.json")
    def number(i):
        return i

    @dc.task(target="{base}/total.json")
    def total(numbers):
        runs.note("total")
        return sum(numbers)

    @dc.flow(task_runner=ThreadPoolTaskRunner())
    def flow():
        return total.submit([number.submit(i) for i in range(9)]).result()

    for base in ("first", "second"):
        with dask.config.set({"daskcache.mode": mode}), dc.context(base=base):
            assert flow() == 36
        assert (root / base / "total.json").exists()
    assert runs.names() == ["total"]
