"""The probe: a check before a verb's tasks are sent that all workers have what they need.

`graph.tasks` notes the roots and functions.  A worker must see the same root, know the same
version of daskcache, and import the user's modules with the client's code.  Roots are compared by random
id, as one path may be on a separate disk on every host.  Workers that join later (queues, adaptive
clusters) are probed then, and a warning names those that lack something.  Each node checks root and code
again where it runs.  The probe travels by value and needs only distributed, so a worker without
daskcache can report that.
"""

from __future__ import annotations

import asyncio
import pickle
import warnings
from collections.abc import Collection, Mapping
from concurrent import futures
from typing import Any, NamedTuple

from .. import __version__, config
from ..calls.spec import Spec
from ..clients import by_value, in_loop_of, notes_on
from ..errors import CodeMismatch, DaskcacheError, DaskcacheWarning, ReachError
from ..runtime.code_check import check_code
from ..storage.roots import Root

#: Topic of the events in which workers that join later report what they lack.
TOPIC = "daskcache-reach"
#: Name of the worker plugin.
NAME = "daskcache-reach"
#: Seconds for which a verb waits for the answers.  After that, the probe goes on in the background.
_PATIENCE = 5.0
#: Largest size in bytes of a pickled function that is probed; a larger one has data in its closure.
_LARGEST = 100_000


class Needs(NamedTuple):
    """The roots and functions that workers need for a graph."""

    #: Absolute path and id of each root.
    roots: tuple[tuple[str, str], ...] = ()
    #: Root, fingerprint and pickle of each function; pickled as for tasks.
    functions: tuple[tuple[str, str, bytes], ...] = ()

    def plus(self, other: Needs) -> Needs:
        roots = dict.fromkeys((*self.roots, *other.roots))
        return Needs(tuple(roots), tuple(dict.fromkeys((*self.functions, *other.functions))))

    def without(self, other: Needs) -> Needs:
        roots = [root for root in self.roots if root not in other.roots]
        return Needs(tuple(roots), tuple(f for f in self.functions if f not in other.functions))


def needs_of(root_ids: Mapping[str, str], codes: Mapping[tuple[str, str], Spec]) -> Needs:
    """Return what workers need: all roots, and the functions whose pickles are not too large.

    Parameters
    ----------
    root_ids : mapping
        Ids of roots by path.
    codes : mapping
        Functions by root and fingerprint.
    """
    from distributed.protocol.pickle import dumps

    pickled = [(*known, dumps(spec)) for known, spec in codes.items()]
    small = tuple(each for each in pickled if len(each[2]) <= _LARGEST)
    return Needs(tuple(sorted(root_ids.items())), small)


def check_reach(client: Any, needs: Needs, wait: bool = True) -> None:
    """Check that every worker of a client's cluster has what a graph needs.

    Each need is checked once for a scheduler, or again after an error.  Config ``daskcache.reach`` turns
    errors into warnings ("warn") or the check off ("off").

    Parameters
    ----------
    client : distributed.Client
    needs : Needs
    wait : bool
        False where the client's event loop can't be waited for.  There, or if workers take long to
        answer, a warning comes later in place of the error.

    Raises
    ------
    ReachError
        If workers lack a root, daskcache or a module.  The error names them and the cure.
    CodeMismatch
        If all that is wrong is that workers have other code.  The error names them and the cure.
    """
    mode = config.get("reach")
    notes = notes_on(client)
    known = notes.setdefault("reach", Needs())  # about which its workers have been asked
    new = needs.without(known)
    if mode == "off" or not any(new):
        return
    notes["reach"] = known.plus(new)
    asked = asyncio.run_coroutine_threadsafe(_ask(client, notes, new), client.loop.asyncio_loop)
    if wait and mode == "error" and not in_loop_of(client):
        futures.wait([asked], _PATIENCE)
        if (error := _error_so_far(asked)) is not None:
            notes["reach"] = notes["reach"].without(new)  # workers are asked again once that is mended
            raise error
    asked.add_done_callback(_warn)


# ---- asking ---------------------------------------------------------------------------------------


async def _ask(client, notes, new):
    """Ask all workers about new needs, and return the error that says what they lack, or None."""
    try:
        if not notes.get("listening"):
            notes["listening"] = True
            client.subscribe_topic(TOPIC, _tell)
        answers = await client._run(by_value(_probe), _as_bytes(new), on_error="return")
        plugin = _plugin(_as_bytes(notes["reach"]), frozenset(answers))
        await client._register_worker_plugin(plugin, NAME, False)
    except Exception as error:  # noqa: BLE001 - the verb will report what is wrong with the cluster
        if client.status == "running":
            story = f"workers can't be asked what they reach: {type(error).__name__}: {error}"
            warnings.warn(story, DaskcacheWarning, stacklevel=2)
        return None
    return _error_of(answers)


def _error_so_far(asked):
    return asked.result() if asked.done() and not asked.cancelled() else None


def _warn(asked):
    """Warn about an error for which the verb does not wait, or no longer."""
    if (error := _error_so_far(asked)) is not None:
        warnings.warn(str(error), DaskcacheWarning, stacklevel=2)


def _as_bytes(needs):
    return pickle.dumps((__version__, *needs))


def _error_of(answers):
    """Return the error that names the workers and what they lack, or None."""
    by_story: dict[tuple[str, str], list[str]] = {}
    for worker, answer in sorted(answers.items()):
        if answer is None or (isinstance(answer, BaseException) and not isinstance(answer, ImportError)):
            continue  # it has everything, or it is gone or closing
        story = answer if isinstance(answer, tuple) else ("missing", str(answer))
        by_story.setdefault(story, []).append(worker)
    if not by_story:
        return None
    kinds = {kind for kind, _ in by_story}
    error = CodeMismatch if kinds == {"code"} else ReachError
    stories = [f"{', '.join(workers)}: {story}" for (_, story), workers in by_story.items()]
    return error(
        f"workers can't do what this graph asks of them: {len(answers)} were asked",
        got="\n    ".join(stories),
        hint="; ".join(dict.fromkeys(_CURES[kind] for kind in sorted(kinds))),
    )


_CURES = {
    "code": "give workers the client's modules (client.upload_file, or the same installation), and "
    "restart them: client.restart()",
    "missing": "install it where the workers run (daskcache in the client's version), or "
    "client.upload_file('module.py')",
    "root": "set daskcache.root to a folder that is shared, under the same path, with every worker",
}


def _tell(event):
    """Warn about a worker that joined later and lacks something."""
    _, message = event
    error = _error_of({message["worker"]: (message["kind"], message["story"])})
    warnings.warn(str(error), DaskcacheWarning, stacklevel=2)


# ---- on the worker --------------------------------------------------------------------------------


def answer(needs: Needs) -> tuple[str, str] | None:
    """Return what this process lacks, or None.

    Parameters
    ----------
    needs : Needs

    Returns
    -------
    tuple of str or None
        "root", "missing" or "code", and an explanation; None if the process has all that is needed.
    """
    for path, identifier in needs.roots:
        lacking = _about_root(path, identifier)
        if lacking:
            return "root", lacking
    for path, fingerprint, pickled in needs.functions:
        try:
            check_code(Root(path), fingerprint, pickle.loads(pickled))
        except CodeMismatch as error:
            return "code", f"{error.message} (expected {error.expected}; got {error.got})"
        except Exception as error:  # noqa: BLE001 - modules can raise anything
            return "missing", f"can't import a function's module ({type(error).__name__}: {error})"
    return None


def _about_root(path, identifier):
    try:
        found = Root(path).id()
    except DaskcacheError as error:
        return f"can't use the root {path} ({error.got or error.message})"
    if found is None:
        return f"the root {path} does not exist"
    if found != identifier:
        return f"another root is at {path} (its id is {found}, not {identifier})"
    return None


async def _probe(needs, dask_worker=None):
    """Answer in a thread, because a root on a network can take its time."""
    import asyncio
    import pickle

    def look():
        version, *fields = pickle.loads(needs)
        try:
            import daskcache
        except ImportError as error:
            return "missing", f"can't import daskcache ({error})"
        if daskcache.__version__ != version:
            return "missing", f"has daskcache {daskcache.__version__}, the client {version}"
        from daskcache.cluster.probe import Needs, answer

        return answer(Needs(*fields))

    return await asyncio.get_running_loop().run_in_executor(None, look)


def _plugin(needs: bytes, asked: Collection[str]) -> Any:
    """Return a worker plugin that probes its worker, unless the worker was `asked` already.

    It travels by value, too.
    """
    from distributed import WorkerPlugin

    probe, topic = by_value(_probe), TOPIC

    async def setup(self, worker):
        if worker.address in asked:
            return
        found = await probe(needs)
        if found is not None:
            kind, story = found
            worker.log_event(topic, {"worker": worker.address, "kind": kind, "story": story})

    members = {"setup": setup, "__module__": "daskcache probe"}
    return type("ReachPlugin", (WorkerPlugin,), members)()
