"""A model test: any verb, at any moment, against an oracle in plain Python.

Hypothesis draws a graph and a sequence of steps: verbs, and what happens between verbs.  The oracle
(`model_functions.Oracle`) says what is on disk, and what a verb runs, returns and raises.  After each
verb the values, the number of calls of each function, and the files are as it says.

The steps are the same each time; with ``--full`` there are 50,000, drawn anew.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import pickle
import shutil
import time
from collections import Counter
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import dask
import pytest
from dask.delayed import Delayed
from distributed import Client, Future, LocalCluster, wait
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from model_functions import (
    COMPOSED_OF_ONE,
    COMPOSITIONS,
    FOR_ONE,
    KINDS,
    VERBS,
    Broken,
    Call,
    Oracle,
    all_calls,
)

import daskcache as dc
from daskcache.errors import DaskcacheError, ForeignTarget, TargetCollision, TargetModified
from daskcache.storage.record import RecordName
from daskcache.testing.assertions import RunCounter

STEPS = 500
STEPS_IN_FULL = 50_000
STEPS_OF_AN_EXAMPLE = 40


@pytest.fixture(scope="module")
def cluster():
    """Two workers with one thread each; a client that is the default, and one that is not."""
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as first,
        Client(cluster, set_as_default=False) as second,
    ):
        yield cluster, [first, second]


@pytest.fixture
def complaints():
    """What the scheduler logs about keys whose tasks differ."""
    found: list[str] = []
    logger, handler = logging.getLogger("distributed.scheduler"), logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())
    handler.addFilter(lambda record: "run_spec" in record.getMessage())
    logger.addHandler(handler)
    # what it could not pickle, a refused graph say, would stay in pytest's log, futures and all
    pickling = logging.getLogger("distributed.protocol.pickle")
    pickling.disabled = True
    yield found
    pickling.disabled = False
    logger.removeHandler(handler)


@pytest.mark.timeout(1200)
@pytest.mark.filterwarnings("ignore::daskcache.errors.DaskcacheWarning")
def test_any_verb_at_any_moment(cluster, complaints, tmp_path_factory, full):
    """Values, calls and files are those of the oracle, whatever was done before."""
    steps = STEPS_IN_FULL if full else STEPS
    run_state_machine_as_test(
        lambda: Machine(tmp_path_factory.mktemp("model"), *cluster, complaints),
        settings=settings(
            max_examples=-(-steps // STEPS_OF_AN_EXAMPLE),
            stateful_step_count=STEPS_OF_AN_EXAMPLE,
            derandomize=not full,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


to_five = st.integers(0, 5)
any_position = st.integers(0, 7)
positions = st.lists(any_position, min_size=1, max_size=3, unique=True)
verbs = st.sampled_from(sorted(VERBS))
compositions = st.sampled_from(sorted(COMPOSITIONS))
kinds_of_change = (
    *("change_argument", "change_code", "change_parents", "change_back", "change_argument"),
    *("invalidate", "delete", "delete", "delete_edited", "delete_root", "edit", "edit", "touch"),
    *("break_or_mend", "forget_nodes", "restart", "drop", "look_at_kept"),
    *("correct", "correct", "put_aside_or_back", "keep", "release", "copy_root", "change_note"),
)
changes = st.lists(
    st.tuples(st.sampled_from(kinds_of_change), any_position, st.integers(0, 20)), max_size=3
)
drawn_calls = st.tuples(
    st.sampled_from(sorted(KINDS)),
    st.integers(0, 5),
    st.sampled_from(["flat", "nested"]),
    st.sets(st.integers(1, 4), max_size=3),
)


class Composed(NamedTuple):
    """A collection, the calls in it, and the function of their values that it stands for."""

    collection: Any
    calls: list[Call]
    function: Any


class Machine(RuleBasedStateMachine):
    """Steps on one graph."""

    def __init__(self, base: Path, cluster: LocalCluster, clients: list[Client], complaints: list):
        super().__init__()
        gc.collect()
        gc.freeze()  # what is here by now need not be looked at after each step
        self.base = base
        self.cluster = cluster
        self.clients = clients
        self.complaints = complaints
        self.runs = RunCounter(base / "runs")
        self.oracle = Oracle()
        self.calls: list[Call] = []
        self.old: list[Call] = []
        self.composed: list[Composed] = []
        self.nodes: dict[str, dc.Node] = {}
        #: What was put aside of targets: content, times, and what the oracle knows of it.
        self.aside: dict[str, tuple] = {}
        #: The model's path to the real one.
        self.actual: dict[str, str] = {}
        #: What the last verb returned: futures, or persisted collections.
        self.handles: list = []
        #: Those that are kept, with their values.
        self.kept: list[tuple[Any, Any]] = []
        self.config = dask.config.set({"daskcache.root": str(base / "root")})

    @initialize(drawn=st.lists(drawn_calls, min_size=3, max_size=8))
    def graph(self, drawn):
        for position, (kind, const, shape, parents) in enumerate(drawn):
            chosen = tuple(self.calls[-back] for back in sorted(parents) if back <= position)
            self.calls.append(Call(f"{kind}{position}", kind, const, 0, shape, chosen))

    def chosen(self, at):
        """The calls at some positions, each once."""
        return list(dict.fromkeys(self.calls[i % len(self.calls)] for i in at))

    def node(self, call):
        """The node of a call, the same as last time unless nodes were forgotten."""
        if call.key not in self.nodes:
            node = call.node(str(self.base), [self.node(parent) for parent in call.parents])
            paths = node.dc.path or ()
            paths = (paths,) if isinstance(paths, str) else paths
            self.actual |= zip(call.paths, paths, strict=True)
            self.nodes[call.key] = node
        return self.nodes[call.key]

    # -- between verbs

    def happen(self, changes):
        """Things change before a verb."""
        for what, at, number in changes:
            getattr(self, what)(at % len(self.calls), number)

    def change_argument(self, at, number):
        self.change(at, const=number % 6)

    def change_code(self, at, number):
        self.change(at, version=self.calls[at].version + 1)

    def change_parents(self, at, number):
        self.change(
            at, parents=tuple(call for i, call in enumerate(self.calls[:at][-4:]) if number >> i & 1)
        )

    def change_back(self, at, number):
        before = [call for call in self.old if call.name == self.calls[at].name]
        if before:
            self.change(at, const=before[-1].const, version=before[-1].version)

    def change(self, at, **what):
        """Change a call, and with it all that follow from it."""
        before = self.calls[at:]
        self.calls[at] = replace(self.calls[at], **what)
        now = {call.name: call for call in self.calls[: at + 1]}
        for i, call in enumerate(self.calls[at + 1 :], at + 1):
            parents = tuple(now[parent.name] for parent in call.parents)
            now[call.name] = self.calls[i] = replace(call, parents=parents)
        self.old = [*self.old, *before][-20:]

    def invalidate(self, at, number):
        self.node(self.calls[at]).dc.invalidate()
        for path in self.calls[at].paths:
            self.oracle.files.pop(path, None)

    def delete(self, at, number):
        """Delete a target; of a call with two, one of them."""
        for path in self.calls[at].paths[number % 2 :][:1]:
            self.delete_file(path)

    def delete_edited(self, at=0, number=0):
        """What a user does who is told of edited files."""
        adopting = {p for call in self.calls if call.kind in ("exists", "keeping") for p in call.paths}
        for path in list(self.oracle.files):
            if path not in adopting and not self.oracle.is_recorded(path):
                self.delete_file(path)

    def delete_file(self, path):
        if self.oracle.files.pop(path, None):
            os.unlink(self.actual[path])

    def delete_root(self, at, number):
        if number % 5 == 4:
            shutil.rmtree(self.base / "root", ignore_errors=True)
            self.oracle.files.clear()
            self.oracle.records.clear()
            self.oracle.released.clear()

    def edit(self, at, number):
        """Write a file where a target belongs, whether or not there is one."""
        self.node(self.calls[at])
        content = 1000 + number
        for path in self.calls[at].paths[-1:]:
            actual = Path(self.actual[path])
            actual.parent.mkdir(parents=True, exist_ok=True)
            actual.write_bytes(pickle.dumps(content) if path.endswith("pkl") else b"%d" % content)
            self.oracle.write(path, content)
            self.set_time(path)

    def set_time(self, path):
        """Say exactly when a file was written: the clock of files stands still for some milliseconds."""
        now = time.time_ns()
        os.utime(self.actual[path], ns=(now, now))

    def correct(self, at, number):
        """Edit what is there, or put a file where it belongs, and adopt it."""
        call = self.calls[at]
        if call.cached and call.kind != "exists":
            self.edit(at, 4000 + number)
            self.adopt(call)

    def adopt(self, call):
        self.node(call).dc.adopt()
        self.oracle.adopt(call)

    def put_aside_or_back(self, at, number):
        """Keep a copy of a result; the next time, put it back with its times, and adopt it."""
        call = self.calls[at]
        if len(call.paths) != 1 or call.kind == "exists":
            return
        self.node(call)
        (path,) = call.paths
        if path in self.aside:
            content, times, file = self.aside.pop(path)
            Path(self.actual[path]).parent.mkdir(parents=True, exist_ok=True)
            Path(self.actual[path]).write_bytes(content)
            os.utime(self.actual[path], ns=times)
            known = {record.stamp for record in self.oracle.records if record.path == path}
            self.oracle.files[path] = replace(file, touched=file.stamp not in known)
            self.adopt(call)
        elif path in self.oracle.files and not self.oracle.files[path].touched:
            found = os.stat(self.actual[path])
            times = found.st_atime_ns, found.st_mtime_ns
            content = Path(self.actual[path]).read_bytes()
            self.aside[path] = content, times, self.oracle.files[path]

    def keep(self, at, number):
        """Let a correction stand for the call as it is now."""
        call = self.calls[at]
        if call.cached and self.oracle.state(call).contested:
            assert self.node(call).dc.keep()
            self.oracle.keep(call)

    def release(self, at, number):
        """Give up a correction."""
        call = self.calls[at]
        if number < 7 and call.cached and self.oracle.state(call).state == "adopted":
            assert self.node(call).dc.release()
            self.oracle.release(call)

    def copy_root(self, at, number):
        """Copy the root as `cp -r` does, without its times, and go on with the copy."""
        root = self.base / "root"
        if number < 5 and root.exists():
            shutil.copytree(root, self.base / "copy", copy_function=shutil.copyfile)
            shutil.rmtree(root)
            (self.base / "copy").rename(root)
            for path in self.oracle.files:
                self.oracle.touch(path)
                self.set_time(path)

    def change_note(self, at, number):
        """Change an argument that does not count."""
        self.nodes.pop(self.calls[at].key, None)
        self.calls[at] = replace(self.calls[at], note=str(number))

    def touch(self, at, number):
        for path in set(self.calls[at].paths) & set(self.oracle.files):
            self.oracle.touch(path)
            self.set_time(path)

    def break_or_mend(self, at, number):
        """Put one function out of order, or mend the one that is."""
        broken = self.oracle.broken
        for name in broken:
            (self.base / f"broken-{name}").unlink()
        broken ^= broken or {self.calls[at].name}
        for name in broken:
            (self.base / f"broken-{name}").touch()

    def forget_nodes(self, at, number):
        """From now on, nodes are made anew."""
        self.nodes.clear()

    def restart(self, at, number):
        """Restart the workers, once in a while."""
        if number == 20:
            self.drop()
            first, second = self.clients
            generation = second.generation
            first.restart()
            # What it submits before it hears of that, it would not release.
            until(lambda: second.generation > generation, lambda: "not heard of the restart")

    def drop(self, at=0, number=0):
        """Drop all futures: nothing is left on the scheduler."""
        self.kept.clear()
        self.handles = []
        gc.collect()
        tasks = self.cluster.scheduler.tasks
        until(lambda: not tasks, self.what_is_left)

    def what_is_left(self):
        """Tell who wants each task that is left, and what became of the futures."""
        scheduler = self.cluster.scheduler
        wanted = [(task, task.who_wants, scheduler.story(task)) for task in scheduler.tasks.values()]
        gc.unfreeze()
        held = [thing for thing in gc.get_objects() if isinstance(thing, Future)]
        by = [type(referrer) for future in held for referrer in gc.get_referrers(future)]
        counted = [(client.id, dict(client.refcount), list(client.futures)) for client in self.clients]
        return f"left on the scheduler: {wanted}; futures {held}, held by {by}, counted {counted}"

    def look_at_kept(self, at, number):
        """Futures hold what they held, whatever became of the targets."""
        self.begin()
        for handle, value in self.kept:
            if value is not None:
                assert (handle.result() if isinstance(handle, Future) else handle.compute()) == value
        self.check(Counter())

    # -- verbs

    @rule(changes=changes, at=positions, verb=verbs, keep=st.booleans(), old=to_five, extra=to_five)
    def compute(self, changes, at, verb, keep, old, extra):
        """Any verb on some nodes, now and then with an older one or a composed graph among them."""
        self.happen(changes)
        calls = self.chosen(at)
        if old == 5 and self.old:
            calls.append(self.old[at[0] % len(self.old)])
        collections = [Composed(self.node(call), [call], itemgetter(0)) for call in calls]
        if extra > 2 and self.composed and verb != "plan":
            collections.insert(extra - 3, self.composed[at[0] % len(self.composed)])
        self.perform(verb, collections, keep)

    @rule(changes=changes, at=positions, how=compositions, verb=verbs, later=st.booleans())
    def compose(self, changes, at, how, verb, later):
        """Plain Dask around nodes, computed now, or later beside other nodes."""
        self.happen(changes)
        calls = self.chosen(at)
        if how in COMPOSED_OF_ONE:
            calls = calls[:1]
        compose, function = COMPOSITIONS[how]
        composed = Composed(compose([self.node(call) for call in calls]), calls, function)
        if later:
            self.composed = [*self.composed, composed][-5:]
        elif verb != "plan":
            self.perform(verb, [composed], keep=False)

    @rule(changes=changes, at=positions, everything=st.booleans())
    def force(self, changes, at, everything):
        """Rerun a node, or all, although they are complete."""
        self.happen(changes)
        calls = self.chosen(at)
        forced = calls[:1] if not everything else all_calls(calls)
        outcome = self.oracle.foresee(calls, {call.key for call in forced})
        if outcome.failed or outcome.refused:
            return
        self.begin(calls)
        nodes = [self.node(call) for call in calls]
        values = dc.compute(*nodes, force=everything or nodes[0])
        self.oracle.run(calls, {call.key for call in forced})
        assert list(values) == [outcome.values[call.key] for call in calls]
        self.check(outcome.ran)

    @rule(changes=changes, groups=st.lists(positions, min_size=2, max_size=4))
    def overlap(self, changes, groups):
        """Submit several times without waiting: running work is shared."""
        self.happen(changes)
        groups = [self.chosen(at) for at in groups]
        calls = [call for group in groups for call in group]
        outcome = self.oracle.foresee(calls)
        if outcome.failed or outcome.refused:
            return
        one_by_one = self.oracle.copy()
        if any(one_by_one.run(group).values.items() - outcome.values.items() for group in groups):
            return  # what comes of it depends on who is first
        self.begin(calls)
        (self.base / "slow").touch()
        submitted = []
        for i, group in enumerate(groups):
            submitted.append(self.clients[i % 2].compute([self.node(call) for call in group]))
        values = [self.results(futures) for futures in submitted]
        (self.base / "slow").unlink()
        self.oracle.run(calls)
        assert values == [[outcome.values[call.key] for call in group] for group in groups]
        self.check(outcome.ran, submitted=len(groups))

    @rule(changes=changes, at=positions)
    def abandon(self, changes, at):
        """Drop futures before they are done: what is done by then stays done."""
        self.happen(changes)
        calls = self.chosen(at)
        outcome = self.oracle.foresee(calls)
        if outcome.refused:
            return
        before = self.records()
        self.begin(calls)
        futures = self.clients[0].compute([self.node(call) for call in calls])
        # dropped before they arrive, they may run later
        tasks = self.cluster.scheduler.tasks
        until(lambda futures=futures: all(f.key in tasks for f in futures), lambda: "not there yet")
        del futures
        self.learn(calls, outcome, before)

    def results(self, futures):
        self.handles = futures
        wait(futures, timeout=60)
        return [future.result() for future in futures]

    def computed(self, persisted, **kwargs):
        self.handles = list(persisted)
        return dask.compute(*persisted, **kwargs)

    def as_second(self, function, *args):
        with self.clients[1].as_current():
            return function(*args)

    # -- comparing

    def perform(self, verb, collections, keep):
        """Perform a verb and compare with the oracle."""
        if verb in FOR_ONE:
            collections = collections[:1]
        calls = [call for composed in collections for call in composed.calls]
        outcome = self.oracle.foresee(calls)
        plain = {c.collection.key for c in collections if type(c.collection) is Delayed}
        if outcome.failed:  # in threads, what else runs goes on after the error is raised
            verb = verb.replace("threads", "sync")
        if plain & set(self.cluster.scheduler.tasks):
            self.drop()  # a plain key is Dask's own: while it is on the scheduler, it does not run again
        before = self.records()
        self.begin(calls)
        values, error = self.attempt(verb, collections)
        if outcome.refused:
            assert type(error) in outcome.refused, repr(error)
            self.check(Counter())
            if keep:
                self.delete_edited()
        elif outcome.failed & {call.key for call in calls}:
            assert type(error) in outcome.errors, repr(error)
            if keep:
                self.kept = [*self.kept, *[(handle, None) for handle in self.handles]][-10:]
            self.learn(calls, outcome, before)
        else:
            assert error is None, repr(error)
            self.oracle.run(calls)
            wanted = [c.function([outcome.values[call.key] for call in c.calls]) for c in collections]
            assert values == wanted
            self.check(outcome.ran)
            if keep and "sync" not in verb:
                self.kept = [*self.kept, *zip(self.handles, wanted, strict=False)][-10:]

    def begin(self, calls=()):
        self.runs.clear()
        #: How many recipes of each name the verb has.
        self.twins = Counter(call.name for call in all_calls(calls))
        self.handles = []
        #: What is not stored is not run again if the scheduler still has it.
        self.was_busy = bool(self.cluster.scheduler.tasks)

    def attempt(self, verb, collections):
        """Values, or the error."""
        try:
            return list(VERBS[verb](self, [composed.collection for composed in collections])), None
        except (Broken, ForeignTarget, TargetModified, TargetCollision) as error:
            error.__traceback__ = None  # whose frames have futures, and futures have the error
            return None, error
        except TypeError as error:  # a composed graph is planned while distributed pickles it
            cause = error
            while not isinstance(cause, DaskcacheError):
                cause = cause.__cause__ or cause.__context__
                if cause is None:
                    raise
            return None, cause.with_traceback(None)

    def check(self, expected, submitted=1):
        """Calls and files are as expected, and the scheduler had no complaint."""
        ran = Counter(self.runs.names())
        for name in ran | expected:
            at_most, at_least = expected[name], expected[name]
            if self.twins[name] > 1:  # equal code may meet equal data twice, on two workers at a time
                at_most += self.twins[name] - 1
            if name.startswith("held"):
                at_most *= submitted
                at_least = 0 if self.was_busy or submitted > 1 else at_least
            assert at_least <= ran[name] <= at_most, (name, ran, expected)
        self.check_files()

    def check_files(self):
        for path, actual in self.actual.items():
            file = self.oracle.files.get(path)
            assert os.path.exists(actual) == (file is not None), path
            if file is not None:
                content = Path(actual).read_bytes()
                found = pickle.loads(content) if path.endswith("pkl") else json.loads(content)
                assert found == file.content, path
        assert not self.complaints

    def learn(self, calls, outcome, before):
        """After a verb that was cut short: what was done is done, and nothing else ran."""
        self.handles = []
        gc.collect()
        self.wait_for_workers()
        new = {key for key, _ in self.records() - before}

        def is_done(call):
            return not call.cached or self.node(call).dc.key in new

        ran = Counter(self.runs.names())
        known = self.oracle.run(calls, is_done=is_done).ran
        for name in ran | known:
            if name.startswith("held") or name in self.oracle.broken:
                assert ran[name] <= outcome.ran[name]
            else:
                assert ran[name] == known[name], (name, ran, known)
        self.check_files()

    def wait_for_workers(self):
        """Wait for tasks that nobody needs any more: a worker has one thread for these and for this.

        A client says that it needs them no more only after it has sent the first round.
        """
        for client in self.clients * 2:
            for address in list(self.cluster.scheduler.workers):
                client.submit(int, workers=[address], pure=False).result()

    def records(self):
        """Key and inode of each record: one that was renamed, for a touched target, is no new one."""
        files = (self.base / "root" / ".daskcache" / "records").rglob("*.json")
        return {(RecordName.parse(file.name).key, file.stat().st_ino) for file in files}

    def teardown(self):
        self.drop()
        self.config.__exit__(None, None, None)
        shutil.rmtree(self.base)
        gc.unfreeze()


def until(condition, story):
    """Wait for what a scheduler or worker is about to do."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, story()
        time.sleep(0.005)
