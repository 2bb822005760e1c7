"""`task` and `flow`: one program in each mode, the parameters and variables of prefectx."""

from __future__ import annotations

import asyncio
import datetime
import os
import pickle
import sys
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import cloudpickle
import dask
import numpy as np
import pandas as pd
import pytest

import daskcache as dc
from daskcache.errors import (
    DaskcacheWarning,
    FormatLimit,
    GraphError,
    MissingExtra,
    ResultError,
    TargetMissing,
    TargetModified,
    TemplateError,
)
from daskcache.hashing.encoder import hash_value
from daskcache.modes import options as task_options
from daskcache.modes import tasks as modes
from daskcache.modes.handles import CachedResult
from daskcache.targets.stores import StoreTarget

OWN_MODES = ("dask", "cache", "function")


class Pair(NamedTuple):
    first: object
    second: object


def in_mode(mode):
    return dask.config.set({"daskcache.mode": mode})


@pytest.fixture(params=OWN_MODES)
def mode(request):
    """Each mode that needs no other package, in turn."""
    with in_mode(request.param):
        yield request.param


def plain(value):
    """A flow's result with data in place of entries and futures."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    return value.get_data() if isinstance(value, CachedResult) else value


def example(runs):
    """A flow with a bit of everything, and the number of its tasks."""

    @dc.task(target="arrays/{n:02d}.npy", retries=1, tags=["x"], name="make")
    def make(n):
        runs.note("make")
        return np.arange(n)

    @dc.task(target="facts/{array.stem}.pkl", name_template="{funcname}_{array.stem}")
    def facts(array, day=datetime.date(2024, 2, 29)):
        runs.note("facts")
        return {1: int(array.sum()), 2: (day, None), "nested": {3: [array.dtype.str]}}

    @dc.task
    def table(found) -> pd.DataFrame:
        runs.note("table")
        return pd.DataFrame({"total": [found[1]], "day": pd.to_datetime([found[2][0]]).as_unit("us")})

    @dc.task(target={"low": "pairs/{name}-low.json", "high": "pairs/{name}-high.json"})
    def both(arrays, name):
        runs.note("both")
        return {"low": [int(a.min()) for a in arrays], "high": tuple(int(a.max()) for a in arrays)}

    @dc.task
    def nothing(*waited) -> None:
        runs.note("nothing")

    @dc.flow(name="example", log_prints=True)
    def run(n):
        one, two = make(n), make(n + 1)
        found = facts(one)
        make(n + 2)  # nobody looks at it
        future = facts.submit(make.submit(n + 3), day=datetime.date(1999, 12, 31))
        many = make.map([2, 3], wait_for=[future])
        return {
            "one": one,
            "found": found,
            "table": table(found),
            "both": both([one, {"x": two}["x"]], name="b"),
            "future": future.result(),
            "many": (many.result(), [each.result() for each in many]),
            "none": nothing(one, found),
        }

    return run, 11


def test_all_modes_give_the_same_values_and_files(runs, tmp_path, files):
    """Arrays, frames, tuples, dicts with numbers as keys, None and dates; a second run runs nothing."""
    run, tasks = example(runs)
    values, found = {}, {}
    for name in OWN_MODES:
        runs.clear()
        with in_mode(name), dask.config.set({"daskcache.root": str(tmp_path / name)}):
            first = plain(run(4))
            assert len(runs.names()) == tasks, name
            assert hash_value(plain(run(4))) == hash_value(first)
            assert len(runs.names()) == (2 * tasks if name == "function" else tasks), name
        values[name] = hash_value(first)
        contents = {}
        for path in sorted((tmp_path / name).rglob("*")):
            relative = path.relative_to(tmp_path / name)
            if path.is_file() and relative.parts[0] != ".daskcache":
                contents[str(relative)] = path.read_bytes()
        found[name] = contents
    assert len(set(values.values())) == 1
    assert found["dask"] == found["cache"]
    assert len(found["dask"]) == 12
    assert found["function"] == {}


def test_what_one_mode_made_the_other_finds(runs):
    """They share targets, records and keys."""
    run, tasks = example(runs)
    for name in ("cache", "dask", "cache"):
        with in_mode(name):
            run(4)
    assert len(runs.names()) == tasks


# ---- modes ------------------------------------------------------------------------------------------


def test_a_task_is_what_the_mode_says(root):
    """A node, an entry, or the function itself; read at each call."""

    @dc.task(target="{n}.json")
    def double(n):
        """Twice."""
        return 2 * n

    with in_mode("dask"):
        assert isinstance(double(1), dc.Node)
    with in_mode("cache"):
        assert double(1).get_data() == 2
        assert (root / "1.json").exists()
    with in_mode("function"):
        assert double(1) == 2
    assert isinstance(double(1), dc.Node)
    assert double.fn(1) == 2
    assert (double.__name__, double.__doc__) == ("double", "Twice.")


def test_unknown_modes_are_refused():
    """They are named with those that there are."""
    double = dc.task(lambda n: 2 * n)
    with in_mode("turbo"), pytest.raises(GraphError, match=r"prefect\.skip"):
        double(1)


@pytest.mark.parametrize("name", ["prefect", "prefect.cache", "prefect.skip"])
def test_without_prefect_its_modes_say_what_to_install(name, monkeypatch):
    """In one sentence, for tasks, their methods and flows."""
    monkeypatch.setitem(sys.modules, "prefect", None)
    double, run = dc.task(lambda n: 2 * n), dc.flow(lambda: 1)
    with in_mode(name):
        for call in (lambda: double(1), lambda: double.submit(1), lambda: double.map([1]), run):
            with pytest.raises(MissingExtra) as caught:
                call()
            assert (
                str(caught.value) == f'the mode {name!r} needs Prefect: pip install "daskcache[prefect]"'
            )


@pytest.mark.parametrize(
    ("variable", "old", "mode"),
    [
        ("PREFECTX", "function", "function"),
        ("PREFECTX", "cache", "cache"),
        ("PREFECTX", "cachetask", "cache"),
        ("PREFECTX", "skiptask", "prefect.skip"),
        ("PREFECTX", "prefect.skiptask", "prefect.skip"),
        ("PREFECTX", "prefect.cachetask", "prefect.cache"),
        ("PREFECTX", "prefect.skip", "prefect.skip"),
        ("PIPEX", "do_nothing", "function"),
        ("PIPEX", "cache", "cache"),
        ("PIPEX", "prefect", "prefect"),
        ("PIPEX", "prefect.cache", "prefect.cache"),
    ],
)
def test_the_variables_of_prefectx_are_understood(variable, old, mode, monkeypatch):
    """With a warning that names the new setting, which goes first if it is there."""
    monkeypatch.setenv(variable, old)
    task_options._warn_of_old.cache_clear()
    with pytest.warns(DaskcacheWarning, match=f"DASK_DASKCACHE__MODE={mode} "):
        assert task_options.current_mode() == mode
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert task_options.current_mode() == mode
        with in_mode("dask"):
            assert task_options.current_mode() == "dask"


def test_a_strange_value_in_a_variable_is_an_error(monkeypatch):
    """It names the variable and the values that it could have."""
    monkeypatch.setenv("PIPEX", "fast")
    with pytest.raises(GraphError, match=r"PIPEX[\s\S]*do_nothing"):
        dc.task(lambda: 1)()


# ---- decorators -------------------------------------------------------------------------------------


def test_decorators_of_every_kind(root):
    """Bare, called, with a project's defaults, and with more options later."""
    task = dc.task(target="{funcname}/{n}.json")

    @task
    def one(n):
        return n

    @task(label="l{n}")
    def two(n):
        return n

    @task(target="special-{n}.json")
    def three(n):
        return n

    four = two.with_options(target="four/{n}.json", retries=2)
    assert [f(1).dc.path.removeprefix(f"{root}/") for f in (one, two, three, four)] == [
        "one/1.json",
        "two/1.json",
        "special-1.json",
        "four/1.json",
    ]
    assert four(1)._recipe.label == "l1"
    assert two(1)._recipe.annotations == {}
    assert four(1)._recipe.annotations == {"retries": 2}


def test_parameters_of_prefect_mean_nothing_elsewhere(mode):
    """They are taken; what is no parameter of anybody's is named."""

    @dc.task(
        name="x", description="y", tags=["z"], cache_key_fn=print, retry_delay_seconds=3, skip=False
    )
    def double(n):
        return 2 * n

    @dc.flow(name="f", task_runner=object(), validate_parameters=False)
    def run():
        return double(2)

    assert plain(run()) == 4
    with pytest.raises(GraphError, match="retrys"):
        dc.task(retrys=1)(print)
    with pytest.raises(GraphError, match="targets"):
        dc.flow(targets=1)(print)


def test_tasks_travel(define):
    """By name where they can be imported, else by value; with their methods."""
    module = define(
        """
        import daskcache as dc

        @dc.task(target="{n}.json")
        def double(n):
            return 2 * n

        @dc.task(target="q-{n}.json")
        def quadruple(n):
            return 2 * double(n)
        """
    )
    assert pickle.loads(pickle.dumps(module.double)) is module.double
    assert len(pickle.dumps(module.double(1))) < 2000
    assert module.quadruple(2).compute() == 8
    local = cloudpickle.loads(cloudpickle.dumps(dc.task(lambda n: n + 1)))
    assert local(1).compute() == 2


def test_the_code_of_tasks_that_a_task_calls_counts(define, runs):
    """As that of functions does."""
    source = """
        import daskcache as dc

        @dc.task
        def inner(n):
            return n + 1

        @dc.task(target="{n}.json")
        def outer(n):
            return inner(n)
        """
    before = define(source).outer(1).dc.key
    assert define(source).outer(1).dc.key == before
    assert define(source.replace("n + 1", "n + 2")).outer(1).dc.key != before


def test_inside_a_body_a_call_is_a_call(mode):
    """Tasks and flows, submitted ones too."""
    inner = dc.task(lambda n: n + 1)
    sub = dc.flow(lambda n: inner(n) * 2)

    @dc.task
    def outer(n):
        return [inner(n), inner.submit(n).result(), inner.map([n]).result(), sub(n)]

    @dc.flow
    def run():
        return outer(1)

    assert plain(run()) == [2, 2, [2], 4]


# ---- templates and contexts -------------------------------------------------------------------------


def test_templates_of_prefectx(root, runs):
    """A path and a base come from the context; results upstream are usable, and plain paths."""
    with dask.config.set({"daskcache.context": {"path": "work", "base": ""}}):
        task = dc.task(target="{path}/{funcname}/{base}")

        @task
        def read(file):
            runs.note("read")
            return f"text of {file}"

        @dc.task(target="{path}/{text.parent}-{text.stem}.json")
        def count(text):
            return len(text)

        @dc.task(target="copies/{file.stem}.json")
        def copy(file):
            return str(file)

        @dc.flow
        def run(names):
            counts = []
            for name in names:
                dc.context["base"] = name
                counts.append(count(read(name)))
            return [*counts, copy("raw/a.pdf")]

        try:
            for name in ("cache", "dask"):
                with in_mode(name):
                    assert plain(run(["a", "bb"])) == [9, 10, "raw/a.pdf"]
        finally:
            del dc.context["base"]
    assert sorted(p.relative_to(root).as_posix() for p in root.glob("work/*/*")) == [
        "work/read/a",
        "work/read/bb",
    ]
    assert (root / "work/read-a.json").exists()
    assert (root / "copies/a.json").exists()
    assert runs.names() == ["read", "read"]


def test_templates_are_not_evaluated():
    """Expressions, which prefectx ran, are refused when the function is decorated."""
    with pytest.raises(TemplateError):
        dc.task(target="reports/{os.path.basename(path)}")(lambda path: path)


# ---- submit, map, wait_for --------------------------------------------------------------------------


def test_submit_gives_something_to_wait_for(mode, runs):
    """Results are values, in any order, also as arguments of others, nested too."""

    @dc.task
    def double(n):
        runs.note("double")
        return 2 * n

    @dc.task
    def total(numbers, more):
        return sum(numbers) + more["x"]

    futures = [double.submit(n) for n in range(4)]
    last = total.submit(futures, more={"x": futures[3]})
    assert last.wait() is None
    assert last.result() == 18
    assert [future.result() for future in futures] == [0, 2, 4, 6]
    assert len(runs.names()) == 4


def test_handles_in_containers(mode):
    """Lists, tuples, named ones too, and dicts arrive with data in place of handles."""
    made = dc.task(lambda n: n)
    given = dc.task(lambda pair, more: (type(pair).__name__, *pair, more))
    pair, more = Pair(made.submit(1), [made(2)]), {"x": (made.submit(3),)}
    assert given.submit(pair, more).result() == ("Pair", 1, [2], {"x": (3,)})
    assert plain(dc.flow(lambda: given(pair, more))()) == ("Pair", 1, [2], {"x": (3,)})


def test_map(mode):
    """Iterables of one length; texts, unmapped lists and scalars go to every call."""
    join = dc.task(lambda a, b, c, d=0: [a, b, c, d])
    mapped = join.map([1, 2], "xy", modes.unmapped([3]), d=(4, 5))
    assert mapped.wait() is None
    assert mapped.result() == [[1, "xy", [3], 4], [2, "xy", [3], 5]]
    made = dc.task(lambda: [1, 2, 3])
    assert join.map(made(), 0, 0).result() == [[n, 0, 0, 0] for n in (1, 2, 3)]
    assert join.map(made.submit(), 0, 0).result() == [[n, 0, 0, 0] for n in (1, 2, 3)]
    with pytest.raises(GraphError, match=r"\[1, 2\]"):
        join.map([1], [1, 2], 3)
    with pytest.raises(GraphError, match="none"):
        join.map(1, 2, 3)


def test_wait_for_is_over_before(mode, runs, tmp_path):
    """What it names has run when the call runs, though nothing is passed."""

    @dc.task(save=False)
    def first(n):
        runs.note("first")

    @dc.task(save=False)
    def second(n):
        runs.note("second")

    @dc.flow
    def run():
        return second(1, wait_for=[first.submit(1), first(2)]), second.submit(
            2, wait_for=first.submit(3)
        )

    run()
    names = runs.names()
    assert sorted(names) == ["first"] * 3 + ["second"] * 2
    assert names.index("second") >= 2


def test_what_is_not_stored_runs_once_for_all_who_want_it(mode, runs):
    """Its value is kept with what was submitted: for results, other tasks and the flow."""

    @dc.task(save=False)
    def make(n):
        runs.note("make")
        return [n]

    @dc.task
    def first(items):
        return items[0]

    @dc.flow
    def run():
        future = make.submit(1)
        return future.result(), future.result(), first(future), future.result(), first.submit(future)

    found = run()
    assert [plain(each) for each in found[:4]] == [[1], [1], 1, [1]]
    assert (found[4] if mode == "dask" else found[4].result()) == 1
    assert runs.names() == ["make"]


def test_errors_are_the_functions_own(mode):
    """When the result is wanted, or at once where calls run at once; who saw one may go on."""

    @dc.task
    def fail(n):
        raise KeyError(n)

    @dc.flow
    def seen():
        try:
            fail.submit(1).result()
        except KeyError:
            return "seen"

    @dc.flow
    def unseen():
        fail.submit(2)
        return "lost"

    assert seen() == "seen"
    with pytest.raises(KeyError):
        unseen()


def test_a_failure_does_not_keep_others_from_their_results():
    """What was submitted with it is made."""

    @dc.task
    def check(n):
        if n == 2:
            raise ValueError(n)
        return n

    futures = check.map(range(4))
    futures.wait()
    assert [future.result() for future in futures if future is not futures[2]] == [0, 1, 3]
    with pytest.raises(ValueError, match="2"):
        futures[2].result()


# ---- flows ------------------------------------------------------------------------------------------


def test_a_flow_computes_all_that_it_makes(files, runs):
    """Nodes of `delayed` too, and what is composed of nodes; once each."""

    @dc.delayed(target="a/{n}.json")
    def one(n):
        runs.note("one")
        return n

    @dc.task(target="b/{n.stem}.json")
    def two(n):
        runs.note("two")
        return n + 1

    @dc.flow
    def run():
        for n in range(12):
            two(one(n))
        return {"x": (two(one(3)) + 1, [one(20)]), "y": None}

    assert run() == {"x": (5, [20]), "y": None}
    assert len(files()) == 25
    assert len(runs.names()) == 25


def test_a_flow_leaves_what_it_does_not_return_where_it_is(monkeypatch, runs):
    """Results that nobody asked for are made, not loaded."""
    from daskcache import NumpyTarget

    read = []
    decode = NumpyTarget.decode
    monkeypatch.setattr(NumpyTarget, "decode", lambda self, data: read.append(1) or decode(self, data))

    @dc.task(target="{n}.npy")
    def make(n):
        return np.zeros(100_000)

    @dc.flow
    def run():
        for n in range(5):
            make(n)

    run()
    run()
    assert read == []


def test_subflows_and_async_flows(mode):
    """A flow in a flow gives values; an async one is awaited."""
    double = dc.task(lambda n: 2 * n)

    @dc.flow
    def inner(n):
        return [double(n)]

    @dc.flow
    async def outer():
        await asyncio.sleep(0)
        return plain(inner(2)), double(5)

    assert plain(asyncio.run(outer())) == ([4], 10)


def test_flows_in_threads_have_nodes_of_their_own():
    """One does not compute what another makes."""
    from concurrent.futures import ThreadPoolExecutor

    double = dc.task(lambda n: 2 * n)

    @dc.flow
    def run(n):
        return [double(n + i) for i in range(5)]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, range(4))) == [[2 * (n + i) for i in range(5)] for n in range(4)]


# ---- cache ------------------------------------------------------------------------------------------


def test_entries_are_results_and_arguments(root):
    """They are read when they are wanted, stand for their data, and have a path for templates."""

    @dc.task(target="{n}.npy")
    def make(n):
        return np.arange(n)

    @dc.task(target="sum-{array.stem}.json")
    def total(array):
        return int(array.sum())

    with in_mode("cache"):
        made = make(5)
        assert isinstance(made, CachedResult)
        found = total(made)
        assert found.get_data() == 10
        assert (root / "sum-5.json").exists()
        assert total(array=made).data_hash == found.data_hash
        loaded = pickle.loads(cloudpickle.dumps(made))
        assert np.array_equal(loaded.get_data(), np.arange(5))
    assert total(make(5)).dc.state == "complete"


def test_a_chain_of_calls_looks_at_what_each_is_made_from_and_no_further(monkeypatch):
    """Else the hundredth call would look at a hundred results."""
    from daskcache.planning.examiner import Examiner

    looked = []
    examine = Examiner._examine
    monkeypatch.setattr(Examiner, "_examine", lambda self, r: looked.append(r) or examine(self, r))

    @dc.task(target="{n}.json")
    def step(before, n):
        return before + 1

    with in_mode("cache"):
        result = step(0, 0)
        for n in range(1, 20):
            result = step(result, n)
        assert result.get_data() == 20
    assert len(looked) == 20


def test_a_result_that_was_edited_since_is_not_taken_for_what_it_was(root):
    """Its file is looked at when it is used."""

    @dc.task(target="{n}.json")
    def make(n):
        return n

    @dc.task(target="sum-{n.stem}.json")
    def add(n):
        return n + 1

    with in_mode("cache"):
        made = make(1)
        (root / "1.json").write_text("22\n")
        with pytest.raises(TargetModified):
            add(made)
        (root / "1.json").unlink()
        assert add(made).get_data() == 2


def test_a_damaged_result_is_made_again(root, runs):
    """In cache mode as in any: it is not served, and what follows goes on."""

    @dc.task(target="{n}.npy")
    def make(n):
        runs.note("make")
        return np.arange(100_000) + n

    @dc.task(target="sum-{array.stem}.json")
    def total(array):
        return int(array.sum())

    with in_mode("cache"):
        expected = total(make(1)).get_data()
        (root / "sum-1.json").unlink()
        path, stat = root / "1.npy", (root / "1.npy").stat()
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        with pytest.warns(DaskcacheWarning, match="made again"):
            assert total(make(1)).get_data() == expected
    assert runs.names() == ["make", "make"]


# ---- stores -----------------------------------------------------------------------------------------


class TextStore:
    """A store as prefectx's users write them."""

    def __init__(self, loc):
        self.loc = loc

    def save(self, data):
        with open(self.loc, "w") as file:
            file.write(data)

    def load(self):
        with open(self.loc) as file:
            return file.read()

    def exists(self):
        return os.path.isfile(self.loc)


class Shelf:
    """A store that keeps data elsewhere."""

    outside = True
    held: dict[str, object] = {}  # noqa: RUF012

    def __init__(self, loc):
        self.loc = loc

    def save(self, data):
        self.held[self.loc] = data

    def load(self):
        return self.held[self.loc]

    def exists(self):
        return self.loc in self.held


class Forgetful(Shelf):
    outside = False


def test_stores_of_the_users_own(root, runs):
    """A class with save and load is a format; what follows is cached as ever."""

    @dc.task(target="texts/{n}", store=TextStore)
    def write(n):
        runs.note("write")
        return f"number {n}"

    for name in ("cache", "dask", "cache"):
        with in_mode(name):
            assert plain(dc.flow(write.__call__)(3)) == "number 3"
    assert (root / "texts/3").read_text() == "number 3"
    assert runs.names() == ["write"]
    assert dc.task(store=TextStore)(lambda n: "x")(1).compute() == "x"


def test_stores_outside_are_verified(root, runs):
    """What a database holds is compared with its hash, and made again if it is gone."""
    Shelf.held.clear()

    @dc.task(target="shelf/{n}", store=Shelf)
    def make(n):
        runs.note("make")
        return {"n": n}

    assert make(1).compute() == make(1).compute() == {"n": 1}
    assert Shelf.held == {"shelf/1": {"n": 1}}
    assert runs.names() == ["make"]
    Shelf.held["shelf/1"] = {"n": 2}
    with pytest.raises(TargetModified):
        make(1).compute()
    Shelf.held.clear()
    with pytest.raises(TargetMissing):
        make(1).compute()
    assert dc.compute(make(1), force=True) == ({"n": 1},)


def test_a_store_that_writes_nothing_is_told_so():
    """Rather than recorded."""
    with pytest.raises(FormatLimit, match="outside = True"):
        dc.task(target="f/{n}", store=Forgetful)(lambda n: n)(1).compute()
    with pytest.raises(GraphError, match="save and load"):
        dc.task(store=print)(lambda n: n)


def test_a_name_in_a_record_is_a_store_only_if_it_can_save_and_load():
    """Records can be forged: what they name is not called for anything else."""
    with pytest.raises(TypeError, match="save and load"):
        StoreTarget("a", "subprocess:Popen")
    assert StoreTarget("a", f"{__name__}:Shelf").store is Shelf


def test_functions_that_write_their_files_have_the_same_value_in_every_mode(mode, root):
    """Where nothing is kept, they write to a temporary folder; a path that is given is used."""

    @dc.task(save=False, target=("own/{n}.txt", "own/{n}.json"))
    def write(n, target_path, more=""):
        for path in target_path:
            with open(path, "w") as file:
                file.write(f"{n}{more}")

    @dc.task(save=False, target="none/{n}.txt")
    def forget(n, target_path):
        pass

    @dc.task(save=False, target="waited/{n}.txt")
    async def waited(n, target_path):
        with open(target_path, "w") as file:
            file.write(f"waited {n}")

    assert plain(dc.flow(write.__call__)(1, more=2)) == ("12", 12)
    with pytest.raises(dc.errors.ResultError, match="but did not"):
        dc.flow(forget.__call__)(1)
    result = dc.flow(waited.__call__)(1)
    assert plain(asyncio.run(result) if mode == "function" else result) == "waited 1"
    if mode == "function":
        assert not root.exists()
        write(3, [root.parent / "a.txt", root.parent / "b.json"])
        assert (root.parent / "a.txt").read_text() == "3"


def test_no_store_means_no_saving(root, runs):
    """Without a target nothing is cached; with one the function writes the file itself."""

    @dc.task(store=None)
    def think(n):
        runs.note("think")
        return n

    @dc.task(store=None, target="own/{n}.txt")
    def write(n, target_path):
        runs.note("write")
        with open(target_path, "w") as file:
            file.write(str(n))

    with in_mode("cache"):
        assert [think(1), think(1)] == [1, 1]
        assert [write(1).get_data(), write(1).get_data()] == ["1", "1"]
    assert runs.names() == ["think", "think", "write"]
    assert (root / "own/1.txt").read_text() == "1"


def test_wait_gives_up_when_its_time_is_over(runs, tmp_path):
    """Without a client too; the node is computed on, once, and is then waited for as any other."""
    go_on = tmp_path / "go on"

    @dc.task(save=False)
    def slow(path):
        runs.note("slow")
        for _ in range(500):
            if os.path.exists(path):
                return 1
            time.sleep(0.02)
        return 2

    with in_mode("dask"):
        handle = slow.submit(str(go_on))
        with pytest.raises(TimeoutError, match=r"slow.* is not over"):
            handle.wait(0.01)
        with pytest.raises(TimeoutError, match=r"slow.* is not over"):
            handle.result(0.01)
        go_on.touch()
        handle.wait()
        assert handle.result(0.01) == 1
    assert runs.names() == ["slow"]


# ---- results that are not saved -------------------------------------------------------------------


class Texts:
    """A store as prefectx's users write them."""

    def __init__(self, loc):
        self.loc = Path(loc)

    def save(self, data):
        self.loc.write_text(data)

    def load(self):
        return self.loc.read_text()


def _shout(text):
    return text.upper()


def _write(text, target_path):
    Path(target_path).write_text(text)


@pytest.mark.parametrize("defaults", [{"target": "{funcname}/{text}.txt"}, {"store": Texts}], ids=str)
@pytest.mark.parametrize("unsaved", [{"save": False}, {"store": None}], ids=str)
@pytest.mark.parametrize("mode", ["dask", "cache", "function"])
def test_a_task_that_is_not_saved_in_spite_of_the_defaults(files, mode, defaults, unsaved):
    """Its value is returned, as in prefectx, and stored nowhere, whichever way it says so."""
    task = dc.task(**defaults)
    ways = [task(_shout, **unsaved), task(**unsaved)(_shout), task(_shout).with_options(**unsaved)]
    with dask.config.set({"daskcache.mode": mode, "scheduler": "sync"}):
        for shout in ways:
            for _ in range(2):
                assert dc.flow(lambda: shout("a"))() == "A"  # noqa: B023 (called at once)
        assert files() == []
        saved = ways[0].with_options(store=dc.TextTarget, save=True, target="{funcname}.txt")
        assert saved.submit("b").result() == "B"
    assert files() == ([] if mode == "function" else ["_shout.txt"])


@pytest.mark.parametrize("unsaved", [{"save": False}, {"store": None}], ids=str)
def test_a_function_that_writes_to_the_target_of_the_defaults(files, unsaved):
    """A function that takes a target_path writes there; a target of its own must be written."""
    task = dc.task(target="{funcname}/{text}.txt")
    with dask.config.set({"daskcache.mode": "cache"}):
        assert task(_write, **unsaved)("a").get_data() == "a"
        assert files() == ["_write/a.txt"]
        with pytest.raises(ResultError, match="writes its target itself, but did not"):
            task(_shout, target="own/{text}.txt", **unsaved)("a")
