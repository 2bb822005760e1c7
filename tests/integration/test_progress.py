"""Progress of verbs: in terminals and notebooks, on each scheduler, and where there must be none."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import dask
import dask.array as da
import numpy as np
import pytest
from clusters import on_cluster, separate_processes
from distributed import Client
from kernels import start_kernel
from terminals import Terminal

import daskcache as dc
from daskcache.monitor import cluster_runs, settings, watch


class Recorder:
    """A display that keeps what it shows."""

    def __init__(self, wait):
        self.shown = []
        self.summary = None
        self.wait = wait

    def open(self):
        pass

    def show(self, rows, elapsed):
        self.shown.append({row.function: (row.counts.left, row.running) for row in rows})
        self.wait.see(self.shown[-1])

    def erase(self):
        pass

    def close(self, summary):
        self.summary = summary


class Wait:
    """A wait of nodes until a display shows what a test expects, so that no time matters."""

    def __init__(self, seen):
        self.seen = seen
        self.is_expected = lambda shown: False

    def see(self, shown):
        if self.is_expected(shown):
            self.seen.touch()

    def function(self, is_expected, returned):
        """Return a function for nodes that returns a value when the display shows what is expected."""
        self.is_expected = is_expected
        seen, deadline = str(self.seen), time.monotonic() + 60

        def wait(n):
            while not os.path.exists(seen) and time.monotonic() < deadline:
                time.sleep(0.02)
            return returned(n)

        return wait


@pytest.fixture
def wait(tmp_path):
    return Wait(tmp_path / "seen")


@pytest.fixture
def displays(monkeypatch, wait):
    """The displays of the verbs that are shown, at once."""
    made = []

    def make(place):
        made.append(Recorder(wait))
        return made[-1]

    monkeypatch.setattr(settings, "_place_here", lambda: settings.TERMINAL)
    monkeypatch.setattr(watch, "_display_for", make)
    with dask.config.set({"daskcache.progress": 0.01}):
        yield made


@pytest.fixture
def segment():
    def segment(n):
        time.sleep(0.15)
        if n == 7:
            raise ValueError("no cells")
        return n

    return dc.delayed(segment, target="seg/{n:03d}.json")


@pytest.fixture
def measure():
    def measure(seg):
        return seg

    return dc.delayed(measure, target="measure/{seg.stem}.json")


def summary_of(displays):
    (display,) = displays
    return display.summary


VERBS = {
    "daskcache.compute": lambda nodes: dc.compute(*nodes),
    "dask.compute": lambda nodes: dask.compute(*nodes),
    "composed": lambda nodes: dask.delayed(sum)(nodes).compute(),
    "plan": lambda nodes: dc.plan(nodes).compute(),
    "Nodes": lambda nodes: dc.Nodes(nodes).compute(),
}


@pytest.mark.parametrize("verb", VERBS)
def test_counts_are_right_anywhere(anywhere, displays, segment, measure, verb):
    """Nodes that ran and that were skipped, on each scheduler and for Dask's own verbs."""
    dc.compute(*[segment(n) for n in range(2)], progress=False)
    VERBS[verb]([measure(segment(n)) for n in range(6)])
    assert re.fullmatch(r"10 ran, 2 skipped \(\d\.\d s saved\)", summary_of(displays))
    assert {"segment", "measure"} <= set(displays[0].shown[0])


def test_what_was_skipped_on_workers_is_told(anywhere, displays):
    """By early cutoff: the function changed, the data did not, so what follows is skipped."""

    def first(n):
        time.sleep(0.1)
        return n

    def then(a):
        return a

    def nodes(version):
        before = dc.delayed(first, target="a/{n}.json", version=version)
        after = dc.delayed(then, target="b/{a.stem}.json")
        return [after(before(n)) for n in range(4)]

    dc.compute(*nodes(1), progress=False, scheduler="sync")
    dc.compute(*nodes(2))
    assert summary_of(displays).startswith("4 ran, 4 skipped")


@pytest.mark.parametrize("verb", ["daskcache.compute", "dask.compute"])
def test_a_failure_is_named_anywhere(anywhere, displays, segment, verb):
    """The error ends the verb; what was not done is left."""
    with pytest.raises(ValueError, match="no cells"):
        VERBS[verb]([segment(n) for n in (7, 8, 9, 10)])
    assert summary_of(displays).endswith("1 failed: seg/007.json ValueError: no cells")


def test_failures_that_are_collected(anywhere, displays, segment, measure):
    """What needs a failed node is left, and does not count as failed."""
    dc.compute(*[measure(segment(n)) for n in (6, 7, 8)], errors="collect")
    assert summary_of(displays) == "4 ran, 1 left, 1 failed: seg/007.json ValueError: no cells"


def test_what_runs_now_is_named(anywhere, displays, wait):
    """By the path of the target."""
    expected = {"wait": (1, ["slow/1.json"])}
    slow = dc.delayed(wait.function(expected.__eq__, int), target="slow/{n}.json")
    dc.compute(slow(1))
    assert expected in displays[0].shown


def test_nodes_that_are_not_needed_are_not_left(anywhere, displays, wait):
    """Dask leaves out chunks that a slice doesn't need, after they were planned."""

    def is_one_left(shown):
        return shown["wait"][0] == 1

    chunk = dc.delayed(wait.function(is_one_left, lambda n: np.full(3, n)), target="chunks/{n}.npy")
    chunks = [chunk(n) for n in range(4)]
    whole = da.concatenate([da.from_delayed(each, (3,), int) for each in chunks])
    assert whole[:3].compute().tolist() == [0, 0, 0]
    assert any(map(is_one_left, displays[0].shown))
    assert summary_of(displays) == "1 ran"


def test_a_rerun_does_not_count_what_ran_before(cluster, displays, segment):
    """The scheduler remembers the events of the first run, which had the same keys."""
    dc.compute(segment(1), progress=False)
    with pytest.raises(ZeroDivisionError):
        dask.compute(dask.delayed(lambda x: 1 // 0)(segment(1)), segment(2))
    dc.compute(segment(1), segment(2), segment(3), force=True)
    assert displays[-1].summary == "3 ran"


# ---- where there is none ---------------------------------------------------------------------------


def test_no_watch_remains(anywhere, displays, segment):
    """Whatever the verb's end, no thread goes on, no listener stays, and Dask has its callbacks."""
    from dask.callbacks import Callback

    from daskcache.monitor import local_runs

    VERBS["dask.compute"]([segment(1)])
    with pytest.raises(ValueError, match="no cells"):
        VERBS["dask.compute"]([segment(7)])
    assert Callback.active == set()
    assert local_runs._inboxes == ()
    assert not watch._shown.locked()
    assert [d.summary for d in displays] == [
        "1 ran",
        "0 ran, 1 failed: seg/007.json ValueError: no cells",
    ]


def test_a_verb_that_plans_in_vain_shows_nothing(displays, segment, root):
    """A user's file is at a target, so nothing runs; the next verb is shown."""
    (root / "seg").mkdir(parents=True)
    (root / "seg" / "001.json").write_text("1")
    with dask.config.set(scheduler="sync"):
        with pytest.raises(dc.errors.ForeignTarget):
            dask.compute(segment(1))
        dask.compute(segment(2))
    assert [display.summary for display in displays if display.shown][-1] == "1 ran"


def test_switched_off(anywhere, displays, segment):
    """By the argument, or by the configuration."""
    dc.compute(segment(1), progress=False)
    with dask.config.set({"daskcache.progress": False}):
        segment(2).compute()
        dask.compute(segment(3))
    assert displays == []


@pytest.mark.parametrize("wrong", ["soon", [1], object()])
def test_another_option_is_refused(wrong, segment):
    """The error says what can be given."""
    with pytest.raises(ValueError, match="progress must be True, False or a time"):
        segment(1).compute(progress=wrong)


def test_a_fast_verb_shows_nothing(displays, segment):
    """It is over before the time comes."""
    with dask.config.set({"daskcache.progress": True}, scheduler="sync"):
        dask.compute(segment(1))
        dc.compute(segment(2))
    assert displays == []


def test_verbs_that_return_futures_show_nothing(local_client, displays, segment):
    """Nobody waits for them yet."""
    with on_cluster(local_client) as client:
        futures = client.compute([segment(n) for n in range(4)])
        (persisted,) = dc.persist(segment(5))
        client.gather(futures)
        persisted.compute(progress=False)
    assert displays == []


def test_a_verb_within_a_node_is_not_shown(anywhere):
    """Not even if it asks for a summary: only the outer verb is shown."""

    def outer(n):
        return settings.settings_for(True) is None

    assert settings.settings_for(True) is not None
    assert dc.compute(dc.delayed(outer, target="outer/{n}.json")(1), progress=False) == (True,)


def test_an_asynchronous_client_has_none(displays, segment):
    """Its thread is the event loop, which must not wait."""

    async def run():
        async with Client(
            n_workers=1, processes=False, asynchronous=True, dashboard_address=None
        ) as client:
            return await client.compute(segment(1))

    assert asyncio.run(run()) == 1
    assert displays == []


def test_prefect_shows_runs_itself(displays, segment, monkeypatch):
    """In a run of Prefect nothing is shown."""
    context = SimpleNamespace(FlowRunContext=SimpleNamespace(get=lambda: object()))
    monkeypatch.setitem(sys.modules, "prefect.context", context)
    dc.compute(segment(1), scheduler="sync")
    assert displays == []


# ---- faults ----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("method", ["open", "show", "close"])
def test_a_display_that_fails_breaks_no_verb(displays, segment, monkeypatch, method):
    """The verb returns its values, and the next one is shown."""

    def fail(*args):
        raise RuntimeError("no screen")

    with monkeypatch.context() as patch, dask.config.set(scheduler="threads"):
        patch.setattr(Recorder, method, fail)
        assert dc.compute(segment(1), segment(2)) == (1, 2)
        assert dask.compute(segment(3)) == (3,)
    assert not watch._shown.locked()
    dc.compute(segment(4), scheduler="threads")
    assert displays[-1].summary == "1 ran"


def test_a_scheduler_that_does_not_answer_breaks_no_verb(cluster, displays, segment, monkeypatch):
    """Nothing is said then, because nothing is known."""

    def refuse(topic, collector, age, heard, dask_scheduler):
        raise ValueError("no functions here")

    monkeypatch.setattr(cluster_runs, "_news", refuse)
    assert dc.compute(segment(1), segment(2)) == (1, 2)
    assert [display.summary for display in displays] == [""]


# ---- futures ---------------------------------------------------------------------------------------


def test_progress_of_futures(cluster, displays, segment, measure):
    """It waits for them, and shows the functions of their nodes; errors stay with the futures."""
    futures = cluster.compute([measure(segment(n)) for n in (5, 6, 7)])
    dc.progress(futures)
    assert [future.status for future in futures] == ["finished", "finished", "error"]
    expected = "4 ran, 1 left, 1 failed: seg/007.json ValueError: no cells"
    assert displays[-1].summary == expected


def test_progress_of_futures_of_others(cluster, displays):
    """Futures of plain functions count by the names of these."""

    def inc(x):
        time.sleep(0.1)
        return x + 1

    dc.progress(cluster.map(inc, range(5), pure=False))
    assert displays[-1].summary == "5 ran"


def test_progress_needs_futures(segment):
    """A node that was not persisted has none."""
    with pytest.raises(dc.errors.GraphError, match="no futures"):
        dc.progress(segment(1))


# ---- terminals -------------------------------------------------------------------------------------

PROGRAM = r"""
import sys, time
import dask
import daskcache as dc

root, scheduler, how = sys.argv[1:]
dask.config.set({"daskcache.root": root, "daskcache.progress": 0.3})
is_cluster = scheduler == "cluster" or scheduler.startswith("tcp:")
if not is_cluster:
    dask.config.set({"scheduler": scheduler, "num_workers": 2})

@dc.delayed(target="segmentation/{n:03d}.json")
def segment(n):
    if how == "print":
        # in one piece: Python itself may write the line's end after another thread's line
        sys.stdout.write(f"segment {n}\n")
        sys.stderr.write(f"of many {n}\n")
    time.sleep(0.2)
    if how == "fail" and n == 7:
        raise ValueError("no cells")
    return n

@dc.delayed(target="measure/{seg.stem}.json")
def measure(seg):
    return seg

def main():
    if is_cluster:
        from distributed import Client
        local = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
        with Client(**local) if scheduler == "cluster" else Client(scheduler):
            compute()
    else:
        compute()

def compute():
    nodes = [measure(segment(n)) for n in range(10)]
    print("begin")
    (dc if how == "dc" else dask).compute(*nodes)
    print("after")

if __name__ == "__main__":
    main()
"""


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


@pytest.fixture
def terminal(program, tmp_path):
    def terminal(columns, scheduler, how="dask"):
        return Terminal(program, columns, str(tmp_path / "root"), scheduler, how)

    return terminal


@pytest.mark.needs("pseudo-terminals")
@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("scheduler", ["threads", "processes", "cluster"])
def test_a_terminal_of_any_width(terminal, scheduler, columns):
    """Lines fit, are drawn in place, and leave only the summary."""
    shown = terminal(columns, scheduler, "dc")
    lines = shown.finish()
    begin = lines.index("begin")
    assert lines[begin : begin + 3] == ["begin", "20 ran", "after"]
    frames = shown.frames()
    assert len(frames) >= 2
    assert all(len(line) < columns for frame in frames for line in frame)
    assert all(frame[0].startswith("segment") and frame[1].startswith("measure") for frame in frames)
    assert any(" left " in frame[0] for frame in frames)


@pytest.mark.needs("pseudo-terminals")
@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_prints_stay_as_they_are(terminal, scheduler):
    """What functions print is on the screen, whole and alone on its lines."""
    lines = terminal(100, scheduler, "print").finish()
    printed = [f"{what} {n}" for what in ("segment", "of many") for n in range(10)]
    assert sorted(lines) == sorted(["begin", *printed, "20 ran", "after"])


@pytest.mark.needs("pseudo-terminals")
@pytest.mark.parametrize("scheduler", ["threads", "processes", "cluster"])
def test_the_summary_comes_before_the_error(terminal, scheduler):
    """Of Dask's own verb, too: the traceback begins on a clean line."""
    lines = terminal(120, scheduler, "fail").finish()
    position = lines.index("begin") + 1
    assert lines[position].endswith("1 failed: segmentation/007.json ValueError: no cells")
    assert lines[position + 1] == "Traceback (most recent call last):"
    assert not any(line.startswith(("segment", "measure")) for line in lines)


@pytest.mark.needs("pseudo-terminals")
@pytest.mark.parametrize("scheduler", ["sync", "threads", "cluster"])
def test_an_interrupt_leaves_a_clean_line(terminal, scheduler):
    """Ctrl-C in the middle: the summary says what was done, and no progress is left behind."""
    shown = terminal(100, scheduler)
    shown.wait_for(" left")
    shown.child.sendintr()
    lines = shown.finish()
    begin = lines.index("begin")
    assert " ran, " in lines[begin + 1]
    assert lines[begin + 1].endswith(" left")
    if scheduler != "cluster":  # whose client has more to say first
        assert lines[begin + 2] == "Traceback (most recent call last):"
    assert "KeyboardInterrupt" in lines
    assert "after" not in lines
    assert not any(line.startswith(("segment", "measure")) for line in lines)


@pytest.mark.needs("pseudo-terminals")
def test_a_scheduler_that_dies_leaves_a_clean_line(terminal, tmp_path):
    """The summary says what was known last; the error is that of distributed."""
    (tmp_path / "cluster").mkdir()
    with separate_processes(tmp_path / "cluster") as (client, start_worker):
        start_worker("worker")
        shown = terminal(100, client.scheduler.address)
        shown.wait_for(" ran ")
        os.kill(client.run_on_scheduler(os.getpid), signal.SIGKILL)
        lines = shown.finish()
    begin = lines.index("begin")
    ran, left = map(int, re.fullmatch(r"(\d+) ran, (\d+) left", lines[begin + 1]).groups())
    assert ran > 0
    assert ran + left == 20
    assert any("scheduler-connection-lost" in line for line in lines)
    assert "after" not in lines
    assert not any(line.startswith(("segment", "measure")) for line in lines)


@pytest.mark.parametrize("scheduler", ["threads", "cluster"])
def test_nothing_is_shown_when_piped(program, tmp_path, scheduler):
    """Neither progress nor a summary, on either stream."""
    command = [sys.executable, str(program), str(tmp_path / "root"), scheduler, "dc"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["begin", "after"]
    assert "\x1b" not in done.stderr
    assert " ran" not in done.stderr


def test_a_summary_that_is_asked_for_is_plain_text(anywhere, segment, capsys):
    """Without a terminal: one line, and no control codes."""
    dc.compute(segment(1), segment(2), progress=True)
    assert capsys.readouterr().err.splitlines()[-1] == "2 ran"


# ---- notebooks -------------------------------------------------------------------------------------

CELL = """
import time
import dask
import daskcache as dc
dask.config.set({"daskcache.root": "root", "daskcache.progress": 0.3, "scheduler": "threads"})

@dc.delayed(target="seg/{n}.json")
def segment(n):
    time.sleep(0.2)
    return n
"""


def test_a_notebook_has_one_output_that_ends_as_the_summary(tmp_path):
    """It is HTML without scripts or style sheets, as untrusted notebooks show it, and plain text."""
    with start_kernel(tmp_path) as kernel:
        kernel.run([CELL, "dc.compute(*[segment(n) for n in range(12)]);"])
        (output,) = kernel.client.nb.cells[-1].outputs
    assert output.output_type == "display_data"
    assert output.data["text/plain"] == "12 ran"
    page = output.data["text/html"]
    assert "<summary>12 ran</summary>" in page
    assert "<td" in page
    assert "segment" in page
    assert not any(tag in page for tag in ("<script", "<style", "<svg", "color: #"))
