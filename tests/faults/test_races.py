"""Processes that make one node at the same time: one winner, no torn reads, nobody late alters it."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import time
import warnings
from multiprocessing.connection import wait
from pathlib import Path
from typing import NamedTuple

import dask
import pytest
from formats import EVERY, files_of, value_of, which_value
from tracing import in_child, trace

import daskcache as dc
from daskcache.errors import DaskcacheError, TargetError
from daskcache.hashing.encoder import hash_value
from daskcache.storage.paths import is_table

WRITERS, READERS = 8, 4
NOISE = 100_000  # bytes: a write takes long enough to be seen half-way


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["new", "replaced"])
def test_writers_and_readers(apart, full, kind):
    """All writers return one value, though the function is random; readers see it whole, or nothing."""
    rounds = 1000 if full else 10
    sights, runs = apart(race, kind, rounds)
    assert {sight.wrong for sight in sights} == {""}
    for number in range(rounds):
        values = {sight.value for sight in sights if sight.number == number and sight.value}
        assert len(values) == 1, f"round {number}"
    assert sum(sight.by_writer for sight in sights) == WRITERS * rounds
    assert sum(not sight.by_writer and sight.value != "" for sight in sights) > rounds
    assert runs > 2 * rounds  # else there was no race


class Sight(NamedTuple):
    """What one process once saw of the node of a round."""

    by_writer: bool
    number: int
    #: Hash of the value, or "" if there was none.
    value: str = ""
    #: What is wrong with it.
    wrong: str = ""


def race(folder, kind, rounds):
    """Let writers and readers loose on a node, round for round; what they saw, how many ran."""
    context = multiprocessing.get_context("fork")
    start = context.Barrier(WRITERS + READERS)
    runs, done = context.Value("i", 0), context.Value("i", 0)

    def noise(number):
        """Random; it tells of which round it is, and whether it is whole."""
        with runs.get_lock():
            runs.value += 1
        time.sleep(0.002)  # so that others begin, too
        content = os.urandom(NOISE)
        return {"number": number, "content": content, "hash": hash_value(content)}

    target = "raced-{number}.pkl" if kind == "new" else "raced.pkl"
    with dask.config.set({"daskcache.root": f"{folder}/root"}):
        nodes = [dc.delayed(noise, target=target, version=1)(number) for number in range(rounds)]

    def write(send):
        for number, node in enumerate(nodes):
            start.wait(60)
            send(_look(True, number, node.compute))
            with done.get_lock():
                done.value += 1

    def read(send):
        for number, node in enumerate(nodes):
            start.wait(60)
            while done.value < WRITERS * (number + 1):
                send(_look(False, number, node.dc.load))
                time.sleep(0.001)

    return _together(context, [write] * WRITERS + [read] * READERS), runs.value


def _look(by_writer, number, function):
    try:
        value = function()
    except TargetError as error:  # a reader was too early, or a result was replaced under its eyes
        return Sight(by_writer, number, "", repr(error) if by_writer else "")
    except Exception as error:  # noqa: BLE001 (whatever it is, it is reported)
        return Sight(by_writer, number, "", repr(error))
    if value["number"] != number or hash_value(value["content"]) != value["hash"]:
        return Sight(by_writer, number, value["hash"], f"torn, or of round {value['number']}")
    return Sight(by_writer, number, value["hash"])


def _together(context, functions):
    """Run functions in processes of their own; all that they sent."""
    pipes, processes, received = [], [], []
    for function in functions:
        receiver, sender = context.Pipe(duplex=False)
        processes.append(context.Process(target=_quietly, args=(function, sender.send)))
        processes[-1].start()
        sender.close()
        pipes.append(receiver)
    while pipes:
        for pipe in wait(pipes):
            try:
                received.append(pipe.recv())
            except EOFError:
                pipes.remove(pipe)
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(processes)
    return received


def _quietly(function, send):
    warnings.simplefilter("ignore")
    function(send)


# ---- a writer that wakes up late ----------------------------------------------------------------------


@pytest.mark.needs("ptrace")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["new", "replaced"])
@pytest.mark.parametrize("name", EVERY)
def test_a_writer_that_wakes_up_late(shared, full, name, kind):
    """A writer is stopped at any call, another one commits: that stays, and the late one returns it."""
    stops, wrong = shared(sweep, name, kind, full)
    assert wrong == []
    assert stops > (30 if full else 3)


def sweep(folder, share, shares, name, kind, full):
    """Stop a writer at a share of the calls that touch the root; number of stops, and what was wrong.

    In CI each format takes some of the calls: a commit makes nearly the same in each.
    """
    race = Late(folder, name, kind)
    stride = 1 if full else len(EVERY)
    stops, wrong, ordinal = 0, [], list(EVERY).index(name) % stride + stride * share
    while story := race.stop_at(ordinal, wrong):
        stops += bool(story)
        ordinal += stride * shares
    return stops, wrong


class Late:
    """A node that two processes make, one of them with the new value of a format, which comes late."""

    def __init__(self, folder, name, kind):
        self.name, self.kind, self.root = name, kind, f"{folder}/root"
        make = dc.delayed(
            lambda key, which: value_of(name, which),
            target=EVERY[name].target("out/result"),
            version=1,
            ignore=["which"],
        )
        with dask.config.set({"daskcache.root": self.root}):
            self.before = make("before", "old")
            self.in_time, self.late = make("raced", "old"), make("raced", "new")
        self.late.compute()

    def stop_at(self, ordinal, wrong):
        """Stop the late one before a call, and note what is wrong; "" if it makes less calls."""
        in_child(self._clear)
        story, other, committed = "", None, None

        def act(call):
            nonlocal story, other, committed
            if call.ordinal == ordinal:
                story = f"{self.kind}, stopped before {call}"
                other = in_child(lambda: which_value(self.name, self.in_time.compute()))
                committed = None if other.error else self._committed()

        late = trace(lambda: which_value(self.name, self.late.compute()), self.root, act)
        if story:
            wrong += [f"{story}: {what}" for what in self._judge(late, other, committed)]
        return story

    def _clear(self):
        shutil.rmtree(f"{self.root}/out", ignore_errors=True)
        for path in Path(self.root).rglob("*"):
            if path.is_file():
                path.unlink()
        if self.kind == "replaced":
            self.before.compute()

    def _committed(self):
        """Content and identity of the target; its record may be the late one's to write."""
        path = self.in_time.dc.path
        return files_of(path), None if is_table(path) else os.stat(path).st_ino

    def _judge(self, late, other, committed):
        if other.error is not None and not self._was_locked_out(other.error):
            return [f"the one in time ended with {other.error!r}"]
        wrong = []
        if other.error is not None:
            other = late
        elif self._committed() != committed:
            wrong.append("what was committed was altered")
        if late.error is not None and not isinstance(late.error, DaskcacheError):
            wrong.append(f"the late one ended with {late.error!r}")
        if late.error is None and late.value != other.value:
            wrong.append(f"the late one returned {late.value}, the one in time {other.value}")
        after = in_child(lambda: (self.late.dc.state, which_value(self.name, self.late.compute())))
        if after.value != ("complete", other.value):
            wrong.append(f"afterwards the node is {after.value or after.error!r}")
        return wrong

    def _was_locked_out(self, error):
        """Whether the late one was stopped in a transaction, in which nobody else can commit."""
        return is_table(self.late.dc.path) and "locked" in str(error)
