"""Bodies in processes of their own: ``delayed(isolate=True)``."""

import ctypes
import os
import signal
import sys
import textwrap
import time
from pathlib import Path

import dask
import numpy as np
import pytest
from clusters import on_cluster

import daskcache as dc
from daskcache.errors import CodeMismatch, ProcessDied, ResultError


@pytest.fixture(autouse=True)
def sync():
    with dask.config.set(scheduler="sync"):
        yield


def pids(x):
    return os.getpid(), os.getppid()


def test_the_body_runs_in_a_child_process():
    """The result comes from a child of the process that runs the node."""
    child, parent = dc.delayed(pids, isolate=True)(1).compute()
    assert parent == os.getpid()
    assert child != parent


def test_it_is_not_part_of_the_key():
    """A result made in this process counts for the isolated node, and the other way round."""
    here, apart = dc.delayed(pids)(1), dc.delayed(pids, isolate=True)(1)
    assert here.dc.key == apart.dc.key
    assert here.compute() == apart.compute()


def test_arrays_travel(runs):
    """Arguments and results are the same as without."""

    @dc.delayed(isolate=True)
    def double(array: np.ndarray, plus=0) -> np.ndarray:
        runs.note("double")
        return 2 * array + plus

    array = np.arange(3 * 2**20, dtype=float)
    assert np.array_equal(double(double(array), plus=1).compute(), 4 * array + 1)
    assert runs.take() == ["double", "double"]


class OwnError(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def test_exceptions_travel():
    """What the body raises is raised, with the child's traceback; what can't travel is told in words."""

    def fail(x):
        raise KeyError(x)

    def fail_oddly(x):
        raise OwnError(1, 2)

    with pytest.raises(KeyError, match="no such thing") as caught:
        dc.delayed(fail, isolate=True)("no such thing").compute()
    assert "in the child process" in "".join(caught.value.__notes__)
    assert ", in fail" in "".join(caught.value.__notes__)
    with pytest.raises(RuntimeError, match="OwnError: 1 and 2"):
        dc.delayed(fail_oddly, isolate=True)(1).compute()


def test_what_is_no_result_is_refused():
    """A generator is refused as it is in this process; a coroutine function runs to its end."""

    def generate():
        yield 1

    async def later():
        return 5

    with pytest.raises(ResultError, match="generator"):
        dc.delayed(generate, isolate=True)().compute()
    assert dc.delayed(later, isolate=True)().compute() == 5


def test_functions_that_write_their_own_file(root):
    """The file that the child leaves at `target_path` becomes the target; a failure leaves nothing."""

    @dc.delayed(target="own.txt", isolate=True, save=False)
    def write(text, target_path):
        Path(target_path).write_text(text)
        if text == "fail":
            raise ValueError(text)

    with pytest.raises(ValueError, match="fail"):
        write("fail").compute()
    assert not list((root / ".daskcache" / "parts").iterdir())
    write("fine").compute()
    assert (root / "own.txt").read_text() == "fine"


def test_decorated_functions_are_called_inside():
    """What the body calls is called, as it is without."""

    @dc.delayed
    def inner(x):
        return x + 1

    @dc.delayed(isolate=True)
    def outer(x):
        return inner(x) * 2

    assert outer(1).compute() == 4


def test_what_it_prints_is_no_result(capfd):
    """The body may print: it goes where the child's errors go."""

    def say(x):
        print("said", x, flush=True)
        return x

    assert dc.delayed(say, isolate=True)(7).compute() == 7
    assert "said 7" in capfd.readouterr().err


def test_a_crash_is_told():
    """A child that is killed is a typed error that names the node and the signal."""

    def crash(x):
        os.kill(os.getpid(), signal.SIGSEGV)

    with pytest.raises(ProcessDied, match="SIGSEGV") as caught:
        dc.delayed(crash, isolate=True, label="the crash")(1).compute()
    assert caught.value.node == "the crash"


def test_arguments_that_do_not_pickle():
    """The error says so, and no child is left."""
    import threading

    lock = dask.delayed(threading.Lock)()
    with pytest.raises(TypeError, match="pickle"):
        dc.delayed(lambda held: 1, isolate=True, version="1")(lock).compute()


def test_edited_code_is_not_run(tmp_path, monkeypatch):
    """The child imports modules anew: were a file edited since, it would make a wrong result."""
    path = tmp_path / "edited_module.py"
    source = """
        import daskcache as dc

        @dc.delayed(isolate=True)
        def number(x):
            return x + {}
    """
    path.write_text(textwrap.dedent(source.format(1)))
    monkeypatch.syspath_prepend(str(tmp_path))
    import edited_module

    monkeypatch.setitem(sys.modules, "edited_module", edited_module)
    assert edited_module.number(1).compute() == 2
    path.write_text(textwrap.dedent(source.format(1000)))
    assert edited_module.number(1).compute() == 2
    with pytest.raises(CodeMismatch):
        edited_module.number(2).compute()


def hold_the_lock(path, seconds):
    """Say who runs, then let no other thread of this process run."""
    Path(path).write_text(str(os.getpid()))
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))
    return seconds


def is_alive(pid):
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


def test_it_dies_with_its_worker(own_cluster, tmp_path):
    """A body that holds the interpreter's lock leaves its worker free, and ends when that is killed."""
    note = tmp_path / "pid"
    with dask.config.set(scheduler="dask.distributed"):
        client = own_cluster()
        with on_cluster(client):
            future = client.compute(dc.delayed(hold_the_lock, isolate=True)(str(note), 60))
            wait_until(lambda: note.exists() and note.read_text())
            child = int(note.read_text())
            workers = client.run(os.getpid)  # which they answer
            parent = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])
            assert parent in workers.values()
            future.release()
            os.kill(parent, signal.SIGKILL)
            wait_until(lambda: not is_alive(child), seconds=5)
