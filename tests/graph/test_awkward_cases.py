"""The awkward cases of the design, decided: a test for each.

Waiting for "Keys that can be trusted": a source edited but not reloaded, functions without a source,
a worker whose modules differ (CodeMismatch), module constants that change, and helper functions that
are reached by global name.  Waiting for their formats: Zarr folders and tables in databases.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import os
import random
import shutil
import warnings
from pathlib import Path
from zoneinfo import ZoneInfo

import dask
import numpy as np
import pytest

import daskcache as dc
from daskcache.errors import (
    ArgumentChanged,
    DaskcacheWarning,
    ForeignTarget,
    FormatLimit,
    ResultError,
    TargetCollision,
    TargetMissing,
    UntrustedPickle,
)
from daskcache.storage import atomic, system_calls

# ---- code and keys -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "mutate"),
    [
        ([1, 2], lambda v: v.append(3)),
        ({"a": [1]}, lambda v: v["a"].append(2)),
        (np.zeros(3), lambda v: v.__setitem__(0, 1)),
        ({1, 2}, lambda v: v.add(3)),
    ],
)
def test_an_argument_mutated_after_the_call(value, mutate):
    """An argument changed in place between the call and the verb raises ArgumentChanged."""
    node = dc.delayed(lambda v: len(v))(value)
    mutate(value)
    plan = dc.plan(node)
    assert plan.counts["blocked"] == 1
    for verb in (plan.compute, node.compute, lambda: dask.compute(node)):
        with pytest.raises(ArgumentChanged, match="not modified in place"):
            verb()


def test_a_closure_changed_after_the_call():
    """A closure value changed between the call and the verb raises ArgumentChanged."""
    settings = {"sigma": 1}

    @dc.delayed
    def smooth(x):
        return x * settings["sigma"]

    node = smooth(2)
    settings["sigma"] = 5
    with pytest.raises(ArgumentChanged, match="smooth"):
        node.compute()
    assert smooth(2).compute() == 10


@pytest.mark.parametrize(
    ("make", "draw"),
    [
        (random.Random, lambda generator: generator.random()),
        (np.random.default_rng, lambda generator: float(generator.random())),
        (np.random.RandomState, lambda generator: float(generator.random_sample())),
    ],
)
def test_random_generators(make, draw):
    """A generator is keyed by its state; the function runs on a copy and advances nothing."""

    @dc.delayed
    def sample(generator):
        return draw(generator)

    generator = make(1)
    node = sample(generator)
    assert node.dc.key == sample(make(1)).dc.key != sample(make(2)).dc.key
    expected = draw(make(1))
    assert node.compute() == expected
    assert draw(generator) == expected  # ours was not advanced
    assert sample(generator).dc.key != node.dc.key  # now it is


def test_random_generators_in_containers_run_on_a_copy():
    """Two nodes that share a generator each see it as it was at the call."""
    generator = np.random.default_rng(1)
    sample = dc.delayed(lambda options, n: float(options["rng"].random()))
    one, two = dask.compute(sample({"rng": generator}, 1), sample({"rng": generator}, 2))
    assert one == two == float(np.random.default_rng(1).random())


def test_self_counts_by_class_code_and_state(define):
    """A method's node depends on the instance's state and on the code of its class."""
    source = """
        import daskcache

        class Scaler:
            def __init__(self, factor):
                self.factor = factor

            def helper(self, x):
                return x + {shift}

            @daskcache.delayed
            def scale(self, x):
                return self.helper(x) * self.factor
        """
    module = define(source.format(shift=0))
    key = module.Scaler(2).scale(3).dc.key
    assert module.Scaler(2).scale(3).dc.key == key != module.Scaler(5).scale(3).dc.key
    assert define(source.format(shift=0)).Scaler(2).scale(3).dc.key == key
    edited = define(source.format(shift=1))
    assert edited.Scaler(2).scale(3).dc.key != key
    assert edited.Scaler(2).scale(3).compute() == 8


def test_large_closures_warn():
    """A closure over more data than configured is hashed, with a warning that says so."""
    table = np.zeros(300_000)

    @dc.delayed
    def look_up(i):
        return table[i]

    with pytest.warns(DaskcacheWarning, match=r"'table' of .*look_up.*2 MiB"):
        look_up(1)
    with dask.config.set({"daskcache.closure-warning": "10 MiB"}), warnings.catch_warnings():
        warnings.simplefilter("error")
        look_up(1)


def test_aware_datetimes_count_by_instant_and_zone():
    """One instant in two zones is two arguments; in one zone it is one."""
    echo = dc.delayed(lambda t: t)
    utc = datetime.datetime(2024, 7, 1, 12, tzinfo=ZoneInfo("UTC"))
    zurich = utc.astimezone(ZoneInfo("Europe/Zurich"))
    madrid = utc.astimezone(ZoneInfo("Europe/Madrid"))
    keys = {echo(t).dc.key for t in (utc, zurich, madrid, utc.replace(tzinfo=None))}
    assert len(keys) == 4
    assert echo(zurich).dc.key == echo(utc.astimezone(ZoneInfo("Europe/Zurich"))).dc.key


def test_environment_variables_are_not_tracked(monkeypatch):
    """What a body reads from the environment is not part of the key."""
    read = dc.delayed(lambda: os.environ["DASKCACHE_TEST_VARIABLE"])
    monkeypatch.setenv("DASKCACHE_TEST_VARIABLE", "1")
    node = read()
    assert node.compute() == "1"
    monkeypatch.setenv("DASKCACHE_TEST_VARIABLE", "2")
    assert read().dc.key == node.dc.key
    assert read().compute() == "1"


def test_one_call_spelled_in_three_ways_is_one_node():
    """`f(x)`, `f(x, 1)` and `f(x, k=1)` with default 1 are one node."""
    f = dc.delayed(lambda x, k=1: x + k)
    assert f(5).dc.key == f(5, 1).dc.key == f(5, k=1).dc.key
    assert f(5).key == f(5, 1).key == f(5, k=1).key


def test_a_node_as_default_argument_is_upstream():
    """A default that is a node arrives as its data."""
    base = dc.delayed(lambda: 10)()

    @dc.delayed
    def plus(x, b=base):
        return x + b

    assert plus(1).compute() == 11


def test_the_name_of_a_function_is_not_part_of_the_key(runs, root):
    """A renamed function has the same key; its result is copied to the new path, not recomputed."""

    @dc.delayed
    def before(x):
        runs.note("ran")
        return x + 1

    @dc.delayed
    def after(x):
        runs.note("ran")
        return x + 1

    assert before(1).dc.key == after(1).dc.key
    assert before(1).dc.path != after(1).dc.path
    assert (before(1).compute(), after(1).compute()) == (2, 2)
    assert runs.take() == ["ran"]
    assert Path(after(1).dc.path).exists()


@pytest.mark.parametrize("kind", [str, Path])
def test_a_plain_path_argument_is_a_value(tmp_path, kind):
    """A path to an existing file is a value; once per function, a warning names FileSource."""
    path = tmp_path / "data.txt"
    path.write_text("1")
    read = dc.delayed(lambda p: Path(p).read_text())
    with pytest.warns(DaskcacheWarning, match="FileSource"):
        node = read(kind(path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(kind(path)).dc.key == node.dc.key
    assert node.compute() == "1"
    path.write_text("2")
    assert read(kind(path)).compute() == "1"


def test_a_plain_text_that_is_no_file_does_not_warn():
    """Texts that name no file are just texts, whatever characters they hold."""
    echo = dc.delayed(lambda p: p)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for text in ("nothing/here", "a\0b", "x" * 100_000, ""):
            assert echo(text).compute() == text


def test_what_follows_an_impure_node_is_decided_by_its_data(runs, root):
    """After `pure=False`, what follows reruns only if the data differ."""
    value = root.parent / "value"

    @dc.delayed(pure=False)
    def read():
        runs.note("read")
        return int(value.read_text())

    @dc.delayed(target="doubled.json")
    def double(x):
        runs.note("double")
        return 2 * x

    value.write_text("1")
    assert double(read()).compute() == 2
    assert runs.take() == ["double", "read"]
    assert double(read()).compute() == 2
    assert runs.take() == ["read"]
    value.write_text("4")
    assert double(read()).compute() == 8
    assert runs.take() == ["double", "read"]


def test_a_decorated_function_inside_a_body_counts_as_code():
    """A decorated helper called inside a body is a plain call, and part of the caller's key."""

    def make(shift):
        @dc.delayed
        def helper(x):
            return x + shift

        @dc.delayed
        def caller(x):
            return helper(x) * 10

        return caller(1)

    assert make(1).compute() == 20
    assert make(1).dc.key == make(1).dc.key != make(2).dc.key
    assert make(2).compute() == 30


def test_coroutine_functions_run_to_their_end():
    """`async def` is run to its end; its result is the value."""

    @dc.delayed(target="async.json")
    async def fetch():
        return [1]

    assert fetch().compute() == [1]


@pytest.mark.parametrize(
    "result",
    [
        lambda: (i for i in "ab"),
        lambda: dc.delayed(lambda: 1)(),
        lambda: dask.delayed(1),
    ],
    ids=["generator", "decorated", "lazy value"],
)
def test_results_that_can_not_be_stored(result, files):
    """A generator or a lazy value as a result is a typed error, and nothing is stored."""
    lazy = result()
    node = dc.delayed(lambda: lazy, version=1)()
    with pytest.raises(ResultError):
        node.compute()
    assert files() == []


def test_none_asks_whether_return_was_forgotten():
    """None for a format that can't hold it asks "forgot to return?"; pickle and JSON hold it."""
    with pytest.raises(FormatLimit, match=r"forgot to return\?"):
        dc.delayed(lambda: None, target="n.npy")().compute()
    assert dc.delayed(lambda: None, target="n.json")().compute() is None
    assert dc.delayed(lambda: None)().compute() is None


def test_exceptions_are_never_cached(runs, files):
    """A node that raised runs again next time; nothing of it is stored."""

    @dc.delayed
    def fail():
        runs.note("fail")
        raise ValueError("bad")

    for _ in range(2):
        with pytest.raises(ValueError, match="bad"):
            fail().compute()
    assert runs.take() == ["fail", "fail"]
    assert files() == []


# ---- targets -------------------------------------------------------------------------------------


def alternating(runs, path="shared.json"):
    @dc.delayed(target=path)
    def square(n):
        runs.note(f"square {n}")
        return n * n

    return square


def test_alternating_recipes_on_one_path(runs):
    """The newest recipe owns a path; the other is stale and runs again."""
    square = alternating(runs)
    assert square(2).compute() == 4
    assert square(3).compute() == 9
    assert square(3).dc.state == "complete"
    assert square(2).dc.state == "stale"
    assert "n: 3 -> 2" in square(2).dc.why()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DaskcacheWarning)
        assert square(2).compute() == 4
    assert runs.names() == ["square 2", "square 3", "square 2"]


def test_recipes_that_keep_alternating_are_told_of_the_key(runs):
    """At the second flip between two recipes on one path, a warning suggests {key}."""
    square = alternating(runs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        square(2).compute()
        square(3).compute()
    with pytest.warns(DaskcacheWarning, match=r"\{key\}"):
        square(2).compute()


def test_a_target_of_another_function_is_a_collision(define, runs, root):
    """A second program whose other function has the same path is refused before it runs."""
    source = "import daskcache\n@daskcache.delayed(target='mine.json')\ndef {name}(): return {value}"
    define(source.format(name="first", value=1), "one").first().compute()
    rival = define(source.format(name="second", value=2), "two").second()
    with pytest.raises(TargetCollision, match=r"one\.first"):
        rival.compute()
    assert (root / "mine.json").read_text() == "1\n"


def test_an_edited_function_succeeds_itself(define, root):
    """The same function with other code takes its target over."""
    source = "import daskcache\n@daskcache.delayed(target='mine.json')\ndef first(): return {}"
    define(source.format(1)).first().compute()
    assert define(source.format(2)).first().compute() == 2
    assert (root / "mine.json").read_text() == "2\n"


@pytest.mark.parametrize(
    ("old", "new", "value"),
    [
        ("a.npy", "a.pkl", np.arange(6).reshape(2, 3)),
        ("a.npy", "a.tif", np.arange(600, dtype="u2").reshape(20, 30)),
        ("a.json", "a.pkl", {"x": [1, 2.5]}),
    ],
)
def test_a_changed_format_is_rewritten_not_recomputed(runs, root, old, new, value):
    """With another suffix, the result is rewritten from the old file: the data hash survives."""

    def make(path):
        @dc.delayed(target=path, version=1)
        def result():
            runs.note("result")
            return value

        return result()

    make(old).compute()
    got = make(new).compute()
    assert runs.take() == ["result"]
    assert make(new).dc.record["data_hash"] == make(old).dc.record["data_hash"]
    np.testing.assert_equal(got, value)


def test_a_pickle_that_only_a_record_names_is_not_read(runs, root):
    """Pickles run code: from `.pkl` to another format, the function runs again."""

    def make(path):
        @dc.delayed(target=path, version=1)
        def result():
            runs.note("result")
            return [1, 2.5]

        return result()

    assert make("a.pkl").compute() == make("a.json").compute() == [1, 2.5]
    assert runs.take() == ["result", "result"]


class Rounded(dc.JSONTarget):
    """A format that says of itself that it keeps whole numbers only."""

    def hash(self, value):
        return super().hash(round(value))


def test_a_changed_format_is_recomputed_if_the_data_hash_does_not_survive(runs):
    """A value whose hash differs in the new format is made anew, not copied."""

    def make(**options):
        @dc.delayed(version=1, **options)
        def result():
            runs.note("result")
            return 1.25

        return result()

    make(target="a.dat", store=Rounded).compute()
    assert make(target="b.json").compute() == 1.25
    assert runs.take() == ["result", "result"]


def test_a_copied_root_refreshes_its_times(runs, root, tmp_path):
    """In a root copied without its times, hashes are compared, and the records' times refreshed."""
    square = alternating(runs)
    square(3).compute()
    shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copyfile)
    with dask.config.set({"daskcache.root": str(tmp_path / "copy")}):
        assert dask.compute(square(3)) == (9,)
    (record,) = (tmp_path / "copy" / ".daskcache" / "records").rglob("*.json")
    assert str((tmp_path / "copy" / "shared.json").stat().st_mtime_ns) in record.name
    assert runs.take() == ["square 3"]


@pytest.mark.parametrize("suffix", [".npy", ".pkl", ".tif"])
@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_a_function_that_mutates_its_input_poisons_nobody(suffix, scheduler):
    """Each function sees the value as it was stored, whatever others did to theirs."""

    @dc.delayed(target="base" + suffix)
    def base():
        return np.zeros((16, 16), "f4")

    @dc.delayed
    def mutate(x, n):
        total = float(np.array(x).sum())
        with contextlib.suppress(ValueError):  # read-only
            x += n
        return total

    image = base()
    assert dask.compute(*[mutate(image, n) for n in range(1, 6)], scheduler=scheduler) == (0.0,) * 5
    assert image.compute().sum() == 0


def test_a_value_mutated_after_saving_changes_no_file(root):
    """What a function keeps and changes after it returned does not reach the stored file."""
    kept = []

    @dc.delayed(target="kept.npy", version=1)
    def make():
        kept.append(np.zeros(4))
        return kept[0]

    node = make()
    got = node.compute()
    kept[0][:] = 7
    got_again = node.compute()
    assert got.tolist() == got_again.tolist() == [0, 0, 0, 0]


def test_a_planned_load_whose_file_vanished():
    """A file that vanishes after planning is a typed error that names the rerun."""
    node = dc.delayed(lambda: 1, target="one.json")()
    node.compute()
    graph = node.dask
    (key,) = node.__dask_keys__()
    os.unlink(node.dc.path)
    with pytest.raises(TargetMissing, match="rerun"):
        dask.get(graph.to_dict(), key)


def give_to_another_user(path, monkeypatch):
    try:
        os.chown(path, 65534, -1)
    except PermissionError:  # no administrator: be somebody else instead
        monkeypatch.setattr(os, "getuid", lambda: 65534)
    return os.stat(path).st_uid


def test_pickles_of_others_are_not_interpreted(monkeypatch, tmp_path):
    """A pickle that another user owns raises UntrustedPickle, unless its owner is trusted."""
    node = dc.delayed(lambda: [1], target="p.pkl")()
    node.compute()
    owner = give_to_another_user(node.dc.path, monkeypatch)
    with pytest.raises(UntrustedPickle, match="trusted-owners") as caught:
        node.compute()
    assert caught.value.target == node.dc.path
    assert str(owner) in str(caught.value.got)
    with dask.config.set({"daskcache.trusted-owners": [owner]}):
        assert node.compute() == [1]


def test_formats_that_run_no_code_are_read_whoever_owns_them(monkeypatch):
    """JSON and NumPy files of other users are loaded."""
    node = dc.delayed(lambda: np.arange(3), target="a.npy")()
    node.compute()
    give_to_another_user(node.dc.path, monkeypatch)
    assert node.compute().tolist() == [0, 1, 2]


@pytest.fixture
def plain_file_system(monkeypatch):
    """A file system without hard links and without atomic exchange."""

    def link(*args, **kwargs):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(system_calls, "rename", lambda *args: errno.ENOSYS)
    atomic._say_once_that_it_is_weak.cache_clear()


@pytest.mark.filterwarnings("ignore::daskcache.errors.DaskcacheWarning")
def test_without_hard_links_commits_still_work(plain_file_system, runs, root):
    """Where the file system has neither links nor exchange, new and replaced targets still work."""
    square = alternating(runs)
    assert square(2).compute() == 4
    assert square(3).compute() == 9
    assert (root / "shared.json").read_text() == "9\n"
    (root / "other.json").write_text("mine")
    with pytest.raises(ForeignTarget):
        alternating(runs, "other.json")(2).compute()


def test_without_hard_links_the_weaker_promise_is_stated_once(plain_file_system, runs):
    """The fallback to plain renames is announced, once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for n in range(3):
            alternating(runs, "{n}.json")(n).compute()
    stated = [w for w in caught if issubclass(w.category, DaskcacheWarning)]
    assert len(stated) == 1


class Scaled:
    """Decorates its own method, as joblib documents it."""

    def __init__(self, factor):
        self.factor = factor
        self.scale = dc.delayed(self.scale, target="{n}/{key}.json")

    def scale(self, n):
        return self.helper(n * self.factor)

    def helper(self, n):
        return n + 1


@pytest.mark.parametrize("scheduler", ["sync", "threads", "processes"])
def test_an_instance_that_decorates_its_own_method(scheduler):
    """The instance's state and class count; other nodes can take the instance."""
    assert Scaled(2).scale(3).compute(scheduler=scheduler) == 7
    assert Scaled(2).scale(3).dc.state == "complete"
    assert Scaled(5).scale(3).dc.state == "missing"
    factor = dc.delayed(lambda scaled: scaled.factor)
    assert factor(Scaled(2)).compute(scheduler=scheduler) == 2


def test_an_attribute_that_is_a_method_of_its_own():
    """Which one it is counts."""

    class Steps:
        def __init__(self, step):
            self.step = getattr(self, step)

        def fast(self):
            return "fast"

        def slow(self):
            return "slow"

    run = dc.delayed(lambda steps: steps.step())
    assert [run(Steps(step)).compute() for step in ("fast", "slow")] == ["fast", "slow"]
