"""What travels with a task: the code as the process sees it that submits, hashes; tasks as values."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
from types import SimpleNamespace

import cloudpickle
import prefect
import pytest
from prefect.cache_policies import NO_CACHE, TASK_SOURCE
from prefect.states import Pending
from prefect.tasks import MaterializingTask

import daskcache as dc
from daskcache.errors import CodeMismatch, SourceChanged, UnhashableArgument
from daskcache.hashing.encoder import hash_value
from daskcache.hashing.fingerprints import reach_of
from daskcache.prefect import ResourceInputs, sent_code, task, task_input_hash
from daskcache.prefect.policies import Arguments, NotKnownYet
from daskcache.prefect.sent_code import SentFunction, code_of_task
from daskcache.prefect.stored import StoredResults


def elsewhere(task):
    """The task as another process gets it."""
    there = cloudpickle.loads(cloudpickle.dumps(task))
    assert type(there) is type(task)
    there.fn.code = there.fn.code._replace(process="another")
    return there


def key_of(task, **arguments):
    context = SimpleNamespace(task=task)
    return task.cache_policy.compute_key(context, arguments, {})


def other(x):
    return x - 1


_SOURCE = """
import functools
import prefect
from daskcache.prefect import task_input_hash

LIMIT = 1

def helper(x):
    return x + LIMIT

@prefect.task(cache_key_fn=task_input_hash)
def keyed(x):
    return helper(x)

@prefect.task(cache_key_fn=functools.partial(task_input_hash, compat=True))
def compatible(x):
    return helper(x)
"""


@pytest.fixture
def module(define):
    return define(_SOURCE, "keyed_tasks")


@pytest.mark.parametrize("name", ["keyed", "compatible"])
def test_another_process_uses_the_fingerprint_that_came_with_the_task(module, name):
    """Whatever the function is there, and whatever it refers to; here it is looked at anew."""
    here = getattr(module, name)
    there = elsewhere(here)
    assert isinstance(there.fn, SentFunction)
    key = key_of(here, x=1)
    there.fn = SentFunction(other)
    vars(there.fn).update(vars(elsewhere(here).fn))
    module.LIMIT = 2
    assert key_of(there, x=1) == key_of(elsewhere(there), x=1) == key
    assert (key_of(here, x=1) == key) is (name == "compatible")  # by bytecode alone, as CPR's


def test_options_that_another_process_changes(module):
    """A task with other options is the same code."""
    there = elsewhere(module.keyed)
    assert key_of(there.with_options(retries=2), x=1) == key_of(module.keyed, x=1)


def test_copies_in_one_process(module):
    """They are looked at anew, too."""
    twin = copy.copy(module.keyed)
    module.LIMIT = 2
    assert key_of(twin, x=1) == key_of(module.keyed, x=1)
    assert twin.fn(1) == 3


def test_a_function_that_was_sent_looks_like_itself():
    """To `inspect`, and so to Prefect: asynchronous, or a generator, with its parameters and name."""

    async def waits(a, *, b=2):
        return a + b

    def yields(a):
        yield a

    sent = [elsewhere(prefect.task(each, cache_key_fn=task_input_hash)).fn for each in (waits, yields)]
    assert [inspect.iscoroutinefunction(each) for each in sent] == [True, False]
    assert [inspect.isgeneratorfunction(each) for each in sent] == [False, True]
    assert str(inspect.signature(sent[0])) == "(a, *, b=2)"
    assert sent[0].__name__ == "waits"
    assert asyncio.run(sent[0](1)) == 3
    assert list(sent[1](1)) == [1]


def test_methods():
    """A task that is a method travels with its instance."""

    class Model:
        gain = 3

        @prefect.task(cache_key_fn=task_input_hash)
        def scaled(self, x):
            return self.gain * x

    there = elsewhere(Model().scaled)
    assert there.ismethod
    assert there.fn.__prefect_self__.gain == 3


@pytest.mark.parametrize(
    "keyed",
    [
        {"cache_key_fn": task_input_hash},
        {"cache_policy": ResourceInputs()},
        {"cache_policy": ResourceInputs() + TASK_SOURCE},
    ],
)
@pytest.mark.parametrize(
    "make", [prefect.task, task, MaterializingTask], ids=["plain", "ours", "assets"]
)
def test_kinds_of_tasks_that_carry_it(make, keyed):
    """Plain tasks, those of `daskcache.prefect`, and those that make assets."""
    options = {"assets": ["s3://bucket/key"]} if make is MaterializingTask else {}
    here = make(other, **keyed, **options)
    there = elsewhere(here)
    assert there.fn.code.fingerprint == code_of_task(here).fingerprint == reach_of(other).fingerprint
    assert key_of(there, x=1) == key_of(here, x=1)


def test_other_tasks_travel_as_ever():
    """A task without a key of ours is pickled as Prefect does."""
    there = cloudpickle.loads(cloudpickle.dumps(prefect.task(other)))
    assert there.fn is other


class Own(prefect.Task):
    pass


def test_a_kind_of_task_that_carries_nothing(module, monkeypatch):
    """On a worker it has no key, and the error says why: its code there may be another."""
    keyed = Own(module.keyed.fn, cache_key_fn=task_input_hash)
    there = cloudpickle.loads(cloudpickle.dumps(keyed))
    monkeypatch.setattr(sent_code, "_is_elsewhere", lambda: True)
    with pytest.raises(CodeMismatch, match=r"can't tell which code the client has for keyed") as caught:
        key_of(there, x=1)
    assert "test_sent_code.Own" in caught.value.got


def test_code_without_a_fingerprint():
    """It is sent all the same; the error is that of the process that submits."""
    restless = (each for each in ())

    def reads():
        return restless

    here = prefect.task(reads, cache_key_fn=task_input_hash)
    code = code_of_task(here)
    assert isinstance(code.error, UnhashableArgument)
    with pytest.raises(UnhashableArgument, match="restless"):
        key_of(here)


def test_what_another_process_calls(module, monkeypatch):
    """The function, if it is the same code in the modules that it imported; else CodeMismatch."""
    assert elsewhere(module.keyed).fn(1) == 2
    with monkeypatch.context() as patch:
        patch.setattr(module, "LIMIT", 5)
        there = elsewhere(module.keyed)
    with pytest.raises(CodeMismatch, match="LIMIT of the module keyed_tasks is another version"):
        elsewhere(there).fn(1)


# ---- arguments --------------------------------------------------------------------------------------


def test_hashes_from_another_process_count():
    """They are taken as they are; what is not known yet can't be hashed."""
    given = Arguments({"a": 1, "b": 2, "c": 3}, late=["c"])
    with pytest.raises(NotKnownYet):
        given.hashed("abc")
    assert given.hashes == {"a": hash_value(1), "b": hash_value(2)}
    there = Arguments({"a": 100, "b": 200, "c": 3}, hashes=given.hashes)
    assert there.hashed("abc") == Arguments({"a": 1, "b": 2, "c": 3}).hashed("abc")
    with pytest.raises(NotKnownYet):
        given.all()


def test_an_argument_without_a_hash():
    """Its error travels, and is raised where the key is made."""
    given = Arguments({"a": object(), "b": 1})
    with pytest.raises(UnhashableArgument):
        given.hashed("ab")
    with pytest.raises(UnhashableArgument):
        Arguments({"a": 1, "b": 1}, hashes=given.hashes).hashed("ab")


def test_functions_that_only_a_worker_sees():
    """They have no hash, and the error names them; classes of instances count as they are there."""
    with pytest.raises(UnhashableArgument, match=r"'f' holds the function other\(\)") as caught:
        Arguments({"f": functools.partial(other, 1)}).hashed("f", by_client=False)
    assert "DaskCacheTaskRunner" in caught.value.hint
    assert Arguments({"f": len}).hashed("f", by_client=False) == {"f": hash_value(len)}


def test_a_source_that_changed_since_its_hash_was_made(tmp_path):
    """Another process does not call the function: the key is that of the old content."""
    path = tmp_path / "a.txt"
    path.write_text("one")
    keyed = prefect.task(lambda x: x[0].get_data(), cache_key_fn=task_input_hash)
    arguments = {"x": [dc.TextSource(path)]}
    twin, _ = StoredResults().prepare(keyed, arguments, is_ready=False)
    there = elsewhere(twin)
    assert there.fn(**arguments) == "one"
    path.write_text("another")
    with pytest.raises(SourceChanged, match=r"a\.txt changed"):
        there.fn(**arguments)


def test_a_key_that_is_known_travels(module):
    """Another process takes it as it is; if an argument is late there, it completes it."""
    there = {}
    for name, given in (("known", 1), ("late", Pending())):
        twin, _ = StoredResults().prepare(module.keyed, {"x": given}, is_ready=False)
        task_there = elsewhere(twin)
        policy = task_there.cache_policy
        policy.process = "another"
        there[name] = policy.key
        key = policy._key(SimpleNamespace(task=task_there), {"x": 1}, {}, {})
        assert key == key_of(module.keyed, x=1)
    assert there == {"known": key_of(module.keyed, x=1), "late": None}


# ---- options ----------------------------------------------------------------------------------------


def test_options_of_stored_tasks_that_say_what_counts(define):
    """`ignore`, `version` and `tracked` mean for them what they mean for `daskcache.delayed`."""
    module = define("LIMIT = 1\n\ndef limited(x, note=''):\n    return x + LIMIT\n", "limited_tasks")

    def keys(**options):
        found = []
        for limit, note in ((1, "a"), (2, "a"), (2, "b")):
            module.LIMIT = limit
            keyed = task(module.limited, cache_key_fn=task_input_hash, **options)
            assert key_of(elsewhere(keyed), x=1, note=note) == key_of(keyed, x=1, note=note)
            found.append(key_of(keyed, x=1, note=note))
        return [found.index(key) for key in found]

    assert keys() == [0, 1, 2]
    assert keys(ignore=["note"]) == [0, 1, 1]
    assert keys(tracked="function") == [0, 0, 2]
    assert keys(version="1") == [0, 0, 2]
    assert keys(version="1", ignore="note") == [0, 0, 0]


def test_a_task_with_a_target_has_no_other_key():
    """What is complete is for the target to say, not for what Prefect stored under a key."""
    keyed = {"cache_key_fn": task_input_hash, "persist_result": True}
    made = task(other, target="{x}.json", **keyed)
    for each in (
        made,
        made.with_options(retries=2),
        task(other, target="{x}.json").with_options(**keyed),
    ):
        assert each.cache_policy == NO_CACHE
        assert each.caches


def test_tasks_count_by_their_functions(define):
    """Not by their comments, descriptions, retries or names; nor by the file that they are in."""
    text = '''
    import prefect

    @prefect.task{options}
    def inner(x):
        """{doc}"""
        return x + {one}

    @prefect.flow
    def whole(x):
        return inner(x)

    def outer(x):
        return inner(x), whole(x)
    '''

    def fingerprint(**values):
        values = {"options": "", "doc": "Inner.", "one": 1} | values
        module = define(text.format(**values), "refers_to_tasks")
        assert hash_value(module.inner) == hash_value(module.inner.fn)
        return reach_of(module.outer).fingerprint

    assert fingerprint() == fingerprint(options="(retries=2, name='other')", doc="Another.")
    assert fingerprint() != fingerprint(one=2)
