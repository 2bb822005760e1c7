"""Scripts on workers that stay up, in another folder: keys are made where tasks are submitted.

A second run puts no task on the scheduler; after an edit what it affects runs again, and nothing else.
Workers that have imported another version of a module fail the tasks that use it, by name.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from clusters import separate_processes


@pytest.fixture(scope="module")
def elsewhere(server, tmp_path_factory):
    """Client of a scheduler and two workers that were started by command; the scripts' folder; a runner.

    Workers import the modules in that folder; the scripts in it are not theirs.
    """
    base = tmp_path_factory.mktemp("elsewhere")
    folder = base / "program"
    folder.mkdir()
    with (
        separate_processes(base, folder) as (client, start_worker),
        subprocess.Popen(
            [sys.executable, Path(__file__).with_name("run_scripts.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as runner,
    ):
        for name in ("one", "two"):
            start_worker(name, folder)
        client.wait_for_workers(2, timeout=60)
        yield client, folder, runner
        runner.stdin.close()


class Program:
    """A script and a module that it uses, which are edited and run."""

    def __init__(self, name, script, module, elsewhere, root):
        self.client, self.folder, self.runner = elsewhere
        self.script, self.module = self.folder / f"{name}_script.py", self.folder / f"{name}_module.py"
        self.environment = {"DASK_DASKCACHE__ROOT": str(root), "DASK_DASKCACHE__MODE": "prefect.skip"}
        text = (script + _WATCHED).replace("MODULE", f"{name}_module")
        self.script.write_text(text.replace("ADDRESS", self.client.scheduler.address))
        self.module.write_text(module)

    def edit_script(self, old, new):
        _edit(self.script, old, new)

    def edit_module(self, old, new):
        _edit(self.module, old, new)

    def upload(self):
        """Let the workers, which stay up, import the module anew."""
        self.client.upload_file(str(self.module))

    def run(self, *arguments):
        """What the flow returns, or raises, and the names of the tasks that the scheduler got."""
        output = self.folder / "output.txt"
        about = [str(self.folder), self.script.name, arguments, self.environment, str(output)]
        self.runner.stdin.write(json.dumps(about) + "\n")
        self.runner.stdin.flush()
        status = self.runner.stdout.readline()
        assert status == "0\n", output.read_text()
        return _outcome(output.read_text())

    def run_by_command(self, path, folder):
        """The same by ``python path``, in a folder."""
        done = subprocess.run(
            [sys.executable, path],
            cwd=folder,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return _outcome(done.stdout)


def _edit(path, old, new):
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def _outcome(output):
    value, tasks = json.loads(output.splitlines()[-1])
    return value, sorted(tasks)


_WATCHED = """

if __name__ == "__main__":
    import json
    from distributed import Client
    from daskcache.testing import scheduler_tasks

    with Client("ADDRESS", set_as_default=False) as client, scheduler_tasks(client) as tasks:
        try:
            value = main(*sys.argv[1:])
        except Exception as error:
            value = f"{type(error).__name__}: {error}"
    print(json.dumps([value, [key[:-37] for key in tasks()]]))
"""


@pytest.fixture
def program(elsewhere, root):
    return lambda *texts: Program(*texts, elsewhere, root)


# ---- task_input_hash --------------------------------------------------------------------------------

_KEYED = """
import sys
import MODULE as helpers
from prefect import flow, task
from daskcache.prefect import DaskCacheTaskRunner, task_input_hash

FACTOR = 2

def shift(x):
    return x + 1

def keyed(function):
    return task(function, cache_key_fn=task_input_hash, persist_result=True)

@keyed
def scaled(x):
    return x * FACTOR

@keyed
def shifted(x):
    return shift(x)

@keyed
def smoothed(x):
    return helpers.smooth(x)

@keyed
def total(values):
    return sum(values)

@flow(task_runner=DaskCacheTaskRunner(address="ADDRESS"))
def main():
    each = [scaled.submit(10), shifted.submit(10), smoothed.submit(10)]
    whole = total.submit(each)
    return [future.result() for future in each] and whole.result()
"""

_HELPERS = """
LIMIT = 100

def smooth(x):
    return x + LIMIT
"""


def test_a_script_with_task_input_hash(program):
    """Constants and helpers of the script count, however it is started; so do those of a module."""
    script = program("keyed", _KEYED, _HELPERS)
    every = ["scaled", "shifted", "smoothed", "total"]
    assert script.run_by_command(script.script.name, script.folder) == (141, every)
    assert script.run_by_command(script.script, script.folder.parent) == (141, [])
    assert script.run() == (141, [])
    script.edit_script("FACTOR = 2", "FACTOR = 3")
    assert script.run() == (151, ["scaled", "total"])
    script.edit_script("return x + 1", "return x + 2  # more")
    assert script.run() == (152, ["shifted", "total"])
    assert script.run() == (152, [])
    script.edit_module("LIMIT = 100", "LIMIT = 200")
    value, tasks = script.run()
    assert value.startswith("CodeMismatch: LIMIT of the module keyed_module is another version on this")
    assert tasks == ["smoothed", "total"]
    script.upload()
    assert script.run() == (252, ["smoothed", "total"])
    assert script.run() == (252, [])


# ---- CPR's README -----------------------------------------------------------------------------------

_OF_CPR = """
import sys
from glob import glob
from os import makedirs
from os.path import join, exists

from daskcache.prefect import DaskCacheTaskRunner, cpr_serializer, task_input_hash
from daskcache import ImageSource, ImageTarget
from prefect import flow, task
import MODULE as filters

SCALE = 1

def above(data, threshold):
    return data > threshold

@task()
def list_files(input_data_dir):
    images = []
    for f in sorted(glob(join(input_data_dir, "*.tif"))):
        images.append(ImageSource.from_path(f,
                                            metadata={
                                                "axes": "YX",
                                                "unit": "micron",
                                            },
                                            resolution=[1 / 0.134, 1 / 0.134]))

    return images


@task(cache_key_fn=task_input_hash)
def denoise_image(result_dir,
                  image: ImageSource,
                  sigma):
    output = ImageTarget.from_path(
        path=join(result_dir, f"{image.get_name()}.tif"),
        metadata=image.get_metadata(),
        resolution=image.get_resolution()
    )

    output.set_data(filters.denoised(image.get_data(), sigma))

    return output

@task(cache_key_fn=task_input_hash)
def segment_image(result_dir: str,
                  denoised: ImageTarget,
                  threshold: float):
    output = ImageTarget.from_path(
        path=join(result_dir, f"{denoised.get_name()}.tif"),
        metadata=denoised.get_metadata(),
        resolution=denoised.get_resolution()
    )

    output.set_data(above(SCALE * denoised.get_data(), threshold).astype("uint8"))

    return output


@flow(name="Example",
      cache_result_in_memory=False,
      persist_result=True,
      result_serializer=cpr_serializer(),
      task_runner=DaskCacheTaskRunner(address="ADDRESS"))
def main(
        input_data_dir: str,
        result_root_dir: str,
        listing: str,
        denoise_sigma: float = 2,
        threshold: float = 4):

    assert exists(result_root_dir), "Output directory does not exist."

    denoising_results = join(result_root_dir, "denoised")
    segmentation_results = join(result_root_dir, "segmented")
    makedirs(denoising_results, exist_ok=True)
    makedirs(segmentation_results, exist_ok=True)

    if listing == "submitted":
        img_files = list_files.submit(input_data_dir).result()
    else:
        img_files = list_files(input_data_dir)

    for file in img_files:
        denoised = denoise_image.submit(denoising_results, file,
                                        denoise_sigma)

        segmented = segment_image.submit(segmentation_results, denoised,
                                         threshold)
"""

_FILTERS = """
OFFSET = 0

def denoised(data, sigma):
    return data // int(sigma) + OFFSET
"""


def test_the_flow_of_cprs_readme(program, tmp_path):
    """As it stands there, but for imports and runner: nobody waits for futures, options are the flow's.

    Its first task has no key, so it runs each time: here, unless it is submitted.
    """
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    out.mkdir()
    for name in "ab":
        tifffile.imwrite(raw / f"{name}.tif", np.arange(16, dtype="uint8").reshape(4, 4))
    script = program("of_cpr", _OF_CPR, _FILTERS)
    both = ["denoise_image"] * 2 + ["segment_image"] * 2

    def run(listing="called"):
        value, tasks = script.run(str(raw), str(out), listing)
        segmented = {int(tifffile.imread(path).sum()) for path in out.glob("segmented/a-*.tif")}
        return value, tasks, segmented

    assert run() == (None, both, {6})  # of 0 to 7, twice each, those above 4
    assert run() == (None, [], {6})
    assert run("submitted") == (None, ["list_files"], {6})
    script.edit_script("SCALE = 1", "SCALE = 2")
    assert run() == (None, both[2:], {6, 10})
    script.edit_script("return data > threshold", "return data >= threshold")
    assert run() == (None, both[2:], {6, 10, 12})
    tifffile.imwrite(raw / "b.tif", np.zeros((4, 4), dtype="uint8"))
    assert run() == (None, ["denoise_image", "segment_image"], {6, 10, 12})
    script.edit_module("OFFSET = 0", "OFFSET = 3")
    assert run() == (None, both, {6, 10, 12})  # nobody looks, but nothing that is stale is stored
    script.upload()
    assert run() == (None, both, {6, 10, 12, 16})
    assert run()[:2] == (None, [])


# ---- prefectx ---------------------------------------------------------------------------------------

_OF_PREFECTX = """
import sys
import dask
import daskcache as dc
import MODULE as tools
from daskcache.prefect import DaskCacheTaskRunner

dask.config.set({"daskcache.context": {"path": "working", "base": ""}})
task = dc.task(target="{path}/{funcname}/{base}", name_template="{funcname}_{base}")

FACTOR = 2

def words_of(text):
    return text.split()

@task
def read(file):
    return f"text of {file}"

@task
def words(text):
    return words_of(text)

@task
def counted(words):
    return len(words) * FACTOR

@task
def weighed(words):
    return tools.weight(words)

@dc.flow(task_runner=DaskCacheTaskRunner(address="ADDRESS"))
def main():
    found = []
    for file in ("a", "b"):
        dc.context["base"] = file
        every = words.submit(read.submit(file))
        found += [counted.submit(every), weighed.submit(every)]
    return [future.result() for future in found]
"""

_TOOLS = """
GRAMS = 10

def weight(words):
    return GRAMS * len(words)
"""


def test_a_flow_of_prefectxs(program):
    """Tasks with targets: the same holds for them."""
    script = program("of_prefectx", _OF_PREFECTX, _TOOLS)
    every = [*["counted"] * 2, *["read"] * 2, *["weighed"] * 2, *["words"] * 2]
    assert script.run() == ([6, 30, 6, 30], every)
    assert script.run() == ([6, 30, 6, 30], [])
    script.edit_script("FACTOR = 2", "FACTOR = 3")
    assert script.run() == ([9, 30, 9, 30], ["counted"] * 2)
    script.edit_script("return text.split()", "return ['a', *text.split()]")
    assert script.run() == ([12, 40, 12, 40], [*["counted"] * 2, *["weighed"] * 2, *["words"] * 2])
    script.edit_module("GRAMS = 10", "GRAMS = 20")
    value, tasks = script.run()
    assert value.startswith("CodeMismatch: GRAMS of the module of_prefectx_module is another version")
    assert tasks == ["weighed"] * 2
    script.upload()
    assert script.run() == ([12, 80, 12, 80], ["weighed"] * 2)
    assert script.run() == ([12, 80, 12, 80], [])


# ---- Prefect's own task runner ----------------------------------------------------------------------

_STOCK = """
import sys
import MODULE as helpers
from prefect import flow, task
from prefect.cache_policies import TASK_SOURCE
from prefect_dask import DaskTaskRunner
from daskcache.prefect import ResourceInputs, task_input_hash

FACTOR = 2

@task(cache_key_fn=task_input_hash, persist_result=True)
def scaled(x):
    return x * FACTOR

@task(cache_key_fn=task_input_hash, persist_result=True)
def smoothed(x):
    return helpers.smooth(x)

@task(cache_policy=ResourceInputs() + TASK_SOURCE, persist_result=True)
def listed(x):
    return [x]

@task(cache_key_fn=task_input_hash, persist_result=True)
def applied(function, x):
    return function(x)

@flow(task_runner=DaskTaskRunner(address="ADDRESS"))
def main():
    first = scaled.submit(7)
    futures = [first, smoothed.submit(first), listed.submit(first), applied.submit(helpers.smooth, 1)]
    [future.wait() for future in futures]
    return [
        (f.state.name, f.result() if f.state.is_completed() else f.state.message) for f in futures
    ]
"""


def test_plain_tasks_on_prefects_own_runner(program):
    """Nothing is skipped when it is submitted; but keys are the client's, and no old value is found.

    What only a worker sees of a function that is an argument is no key: such a task runs each time.
    """
    script = program("stock", _STOCK, _HELPERS)
    value, tasks = script.run()
    assert value == [["Completed", 14], ["Completed", 114], ["Completed", [14]], ["Completed", 101]]
    assert len(tasks) == 4
    cached = [["Cached", 14], ["Cached", 114], ["Cached", [14]], ["Completed", 101]]
    assert script.run()[0] == cached
    script.edit_script("FACTOR = 2", "FACTOR = 3")
    changed = [["Completed", 21], ["Completed", 121], ["Completed", [21]], ["Completed", 101]]
    assert script.run()[0] == changed
    script.edit_module("LIMIT = 100", "LIMIT = 300")
    value = script.run()[0]
    assert value[0] == ["Cached", 21]
    assert value[1][0] == "Failed"
    assert "LIMIT of the module stock_module is another version on this worker" in value[1][1]
    script.upload()
    assert script.run()[0][1] == ["Completed", 321]
    assert script.run()[0][1] == ["Cached", 321]


# ---- arguments that are known late ------------------------------------------------------------------

_LATE = """
import dataclasses, sys, time
import prefect
import MODULE as helpers
from daskcache.prefect import DaskCacheTaskRunner, flow, task, task_input_hash

FACTOR = 2

@dataclasses.dataclass
class Box:
    value: int

def shift(x):
    return x + 1

@prefect.task
def later(x):
    time.sleep(0.5)
    return x

@task(target="scaled/{x}.json")
def scaled(x, function):
    return function(x) * FACTOR

@task(target="late/{x}-{name}.json")
def late(x, scaled, function, name):
    return function(x) + scaled + FACTOR

@prefect.task(cache_key_fn=task_input_hash, persist_result=True)
def boxed(x):
    return Box(x)

@prefect.task(cache_key_fn=task_input_hash, persist_result=True)
def unboxed(box, function):
    return function(box.value)

@flow(task_runner=DaskCacheTaskRunner(address="ADDRESS"))
def main():
    number = scaled.submit(2, shift)
    first = late.submit(later.submit(1), number, shift, "shift")
    second = late.submit(later.submit(1), number, helpers.smooth, "smooth")
    box = boxed.submit(later.submit(3))
    third, fourth = unboxed.submit(box, shift), unboxed.submit(box, helpers.smooth)
    futures = [number, first, second, third, fourth]
    [future.wait() for future in futures]
    return [
        [f.state.name, getattr(f.state.result(), "get_data", f.state.result)()]
        if f.state.is_completed() else [f.state.name, f.state.message] for f in futures
    ]
"""


def test_arguments_that_are_known_late(program):
    """What a worker has to plan itself counts as it would here, functions among the arguments, too."""
    script = program("late", _LATE, _HELPERS)
    values = [6, 10, 109, 4, 103]
    assert script.run()[0] == [["Completed", value] for value in values]
    value, tasks = script.run()
    assert value == [["Cached", value] for value in values]
    assert set(tasks) == {"boxed", "late", "later", "unboxed"}
    script.edit_script("FACTOR = 2", "FACTOR = 3")
    names = ["Completed", "Completed", "Completed", "Cached", "Cached"]
    assert script.run()[0] == [list(pair) for pair in zip(names, [9, 14, 113, 4, 103], strict=True)]
    script.edit_script("return x + 1", "return x + 2")
    names = ["Completed", "Completed", "Completed", "Completed", "Cached"]
    assert script.run()[0] == [list(pair) for pair in zip(names, [12, 18, 116, 5, 103], strict=True)]
    script.edit_module("LIMIT = 100", "LIMIT = 400")
    value, _ = script.run()
    assert [name for name, _ in value] == ["Cached", "Cached", "Failed", "Cached", "Failed"]
    for failed in (value[2], value[4]):
        assert "LIMIT of the module late_module is another version on this worker" in failed[1]
    script.upload()
    assert [each[1] for each in script.run()[0]] == [12, 18, 416, 5, 403]
