"""What the model test computes: one user function in several guises, and an oracle of what comes of it.

A `Call` is a node as plain data.  `Oracle` holds what is on disk, and says which functions a verb runs.
"""

from __future__ import annotations

import functools
import hashlib
import os
import time
import types
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from operator import add
from typing import Any, NamedTuple

import dask

import daskcache as dc
from daskcache.errors import ForeignTarget, TargetCollision, TargetModified
from daskcache.testing.assertions import RunCounter

#: Options of `daskcache.delayed`, and so the ways in which a result is kept.
KINDS: dict[str, dict[str, Any]] = {
    "json": {"target": "n/{name}.json"},
    "pickle": {"target": "n/{name}.pkl"},
    "keyed": {"target": "k/{name}-{key}.json"},
    "two": {"target": ("n/{name}.json", "n/{name}.pkl")},
    "held": {"save": False},
    "recompute": {"target": "n/{name}.json", "on_modified": "recompute"},
    "keeping": {"target": "n/{name}.json", "on_modified": "adopt"},
    "exists": {"target": "n/{name}.json", "check": "exists"},
    "tracked": {"target": "k/{name}-{key}.json", "tracked": "function"},
}


class Broken(Exception):
    """Raised by the user function while it is out of order."""


def make(name, kind, const, parents, base, note="", variant=0):
    """The user function: note the call, then fail or return a small value."""
    RunCounter(f"{base}/runs").note(name)
    if os.path.exists(f"{base}/slow"):
        time.sleep(0.02)
    if os.path.exists(f"{base}/broken-{name}"):
        raise Broken(name)
    return value_of(kind, const, total(parents))


def value_of(kind, const, sum_of_parents):
    """The value: often the same for another constant, so that there are early cutoffs."""
    number = (const // 2 + sum_of_parents) % 7
    if kind == "pickle":
        return number, number + 1
    if kind == "two":
        return number, (number, -number)
    return number


def total(values):
    """Sum of all numbers in nested containers."""
    if isinstance(values, int):
        return values
    return sum(map(total, values.values() if isinstance(values, dict) else values))


def named_total(**values):
    return total(values)


def arrange(shape, values):
    """The form in which a call takes its parents."""
    if shape == "nested":
        return {"some": list(values[:1]), "others": {"deep": (list(values[1:]), 0)}}
    return list(values)


#: Ways to get values of collections; each gets the machine and a list of them.
VERBS = {
    "node.compute": lambda m, cs: [cs[0].compute()],
    "node.compute sync": lambda m, cs: [cs[0].compute(scheduler="sync")],
    "node.persist": lambda m, cs: m.computed([cs[0].persist()]),
    "sync": lambda m, cs: dask.compute(*cs, scheduler="sync"),
    "threads": lambda m, cs: dask.compute(*cs, scheduler="threads", num_workers=2),
    "default": lambda m, cs: dask.compute(*cs),
    "nested": lambda m, cs: dask.compute({"all": [cs]})[0]["all"][0],
    "second": lambda m, cs: m.as_second(dask.compute, *cs),
    "persist": lambda m, cs: m.computed(dask.persist(*cs)),
    "persist sync": lambda m, cs: m.computed(dask.persist(*cs, scheduler="sync"), scheduler="sync"),
    "dc": lambda m, cs: dc.compute(*cs),
    "dc sync": lambda m, cs: dc.compute(*cs, scheduler="sync"),
    "dc threads": lambda m, cs: dc.compute(*cs, scheduler="threads", num_workers=2),
    "plan": lambda m, cs: dc.plan(*cs).compute(),
    "submit": lambda m, cs: m.results(m.clients[0].compute(cs)),
    "submit one": lambda m, cs: m.results([m.clients[0].compute(cs[0])]),
    "submit to second": lambda m, cs: m.results(m.clients[1].compute(cs)),
    "submit as second": lambda m, cs: m.results(m.as_second(m.clients[1].compute, cs)),
    "Client.persist": lambda m, cs: m.computed(m.clients[0].persist(cs)),
}
FOR_ONE = ("node.compute", "node.compute sync", "node.persist", "submit one")

#: Plain Dask around nodes, and the same with values.
COMPOSITIONS = {
    "function": (lambda nodes: dask.delayed(total)(nodes[0]), lambda values: total(values[0])),
    "operator": (lambda nodes: nodes[0] + nodes[0], lambda values: values[0] + values[0]),
    "functions": (
        lambda nodes: functools.reduce(add, [dask.delayed(total)(node) for node in nodes]),
        total,
    ),
    "list": (lambda nodes: dask.delayed(total)(nodes), total),
    "dict": (
        lambda nodes: dask.delayed(total)({"a": nodes[0], "b": [nodes]}),
        lambda v: total([v, v[0]]),
    ),
    "keywords": (
        lambda nodes: dask.delayed(named_total)(a=nodes[0], b=nodes),
        lambda v: total([v, v[0]]),
    ),
    "container": (lambda nodes: dask.delayed([*nodes, 1]), lambda values: [*values, 1]),
}
COMPOSED_OF_ONE = ("function", "operator")


@dataclass(frozen=True, eq=False)
class Call:
    """A call of `make`, as plain data."""

    name: str
    kind: str
    const: int
    version: int
    shape: str
    parents: tuple[Call, ...]
    #: An argument that does not count.
    note: str = ""

    @functools.cached_property
    def static(self) -> tuple:
        """All that counts but the parents."""
        return self.name, self.kind, self.const, self.version, self.shape

    @functools.cached_property
    def key(self) -> str:
        text = repr((self.static, [parent.key for parent in self.parents]))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def cached(self) -> bool:
        return self.kind != "held"

    @functools.cached_property
    def paths(self) -> list[str]:
        """Paths of the targets below the root, with the model's key where they have one."""
        templates = KINDS[self.kind].get("target", ())
        templates = (templates,) if isinstance(templates, str) else templates
        return [template.format(name=self.name, key=self.key) for template in templates]

    @functools.cached_property
    def ancestors(self) -> list[Call]:
        """All calls that this one is made from, each once and after its parents."""
        found: dict[str, Call] = {}
        for parent in self.parents:
            found |= {call.key: call for call in [*parent.ancestors, parent]}
        return list(found.values())

    def node(self, base: str, parents: list[dc.Node]) -> dc.Node:
        """The same call with daskcache."""
        function = _decorated(self.kind, self.version)
        arguments = self.name, self.kind, self.const, arrange(self.shape, parents)
        return function(*arguments, base=base, note=self.note)


@functools.cache
def _decorated(kind, version):
    """The function, whose version says when it changed; or one that changed in its defaults."""
    options = {"ignore": ("base", "note"), **KINDS[kind]}
    if kind != "tracked":
        return dc.delayed(make, version=version, **options)
    variant = types.FunctionType(
        make.__code__, make.__globals__, "make", (make.__defaults__[0], version)
    )
    return dc.delayed(variant, **options)


# ---- the oracle -----------------------------------------------------------------------------------

#: In place of a trace: a correction stands though the data that it rests on was not known.
ANY = ("any",)


@dataclass(frozen=True)
class File:
    content: Any
    #: Two files with the same stamp are one.
    stamp: int
    #: Whether its content alone says whose it is.
    touched: bool = False


@dataclass(frozen=True)
class Record:
    key: str
    path: str
    #: Code, arguments and the parents' data; None for a file that was taken as it is.
    trace: tuple | None
    value: Any
    stamp: int
    #: Whether a person made it.
    adopted: bool = False
    #: The data of each parent, None if they were not known, and the corrections that they depend on.
    upstream: tuple = ()

    def is_of_other_inputs(self, upstream: tuple) -> bool:
        """Whether it was made from other data: unknown data differ if their corrections do."""
        return any(
            then != now if None not in (then, now) else corrected_then != corrected_now
            for (then, corrected_then), (now, corrected_now) in zip(
                self.upstream, upstream, strict=False
            )
        )


@dataclass
class Look:
    """What planning finds of a call."""

    state: str
    #: What is known of its data: a part of the trace of what follows.
    data: tuple | None
    #: Whether, made again, it might come out with other data.
    unsettled: bool
    forced: bool
    trace: tuple | None = None
    #: What is known of the parents, see `Record.upstream`.
    upstream: tuple = ()
    #: The corrections that its data depend on, see `corrections_of`.
    corrections: Any = None
    #: Per target, the record that vouches for what is there.
    vouching: list[Record | None] = field(default_factory=list)
    #: The same as they are written down so far: of another recipe, say, whose equal code made them.
    found: list[Record | None] = field(default_factory=list)
    #: Whether a correction is there that was made for something else.
    contested: bool = False
    #: Whether it stands all the same.
    kept: bool = False
    #: The call's own records of what something else has replaced since.
    replaced: list[Record] = field(default_factory=list)
    #: Targets that were made again after what a person had made of them was given up.
    recomputed: list[str] = field(default_factory=list)
    #: Whether it stands beside other results, which are to be made.
    keeps: bool = False

    @property
    def is_complete(self) -> bool:
        return self.state in ("complete", "adopted") and not self.forced and not self.contested


class Outcome(NamedTuple):
    """What a verb does."""

    #: By key, of all calls that were looked at and have one in the end.
    values: dict[str, Any]
    #: Keys of calls that fail, or come after one that does.
    failed: set[str]
    #: Number of calls of the user function by name of the call.
    ran: Counter
    #: Errors of which planning raises one.
    refused: set[type]
    #: Errors of which running raises one.
    errors: set[type]


class Oracle:
    """The files and records of a root, and what verbs make of them."""

    def __init__(self):
        self.files: dict[str, File] = {}
        self.records: set[Record] = set()
        self.broken: set[str] = set()
        self.last_stamp = 0
        #: Path and content of corrections that stand for a call whose other results are to be made.
        self.kept: set[tuple[str, Any]] = set()
        #: Keys and paths of corrections that were given up, until the call has run again.
        self.released: set[tuple[str, str]] = set()
        #: Corrections that a person gave up, or wished to be replaced, by path.
        self.trash: list[tuple[str, Any]] = []

    def put(self, path: str, content: Any) -> int:
        self.last_stamp += 1
        self.files[path] = File(content, self.last_stamp)
        return self.last_stamp

    def write(self, path: str, content: Any) -> None:
        """A person writes a file: it may hold just what a record says."""
        self.put(path, content)
        self.touch(path)

    def touch(self, path: str) -> None:
        self.last_stamp += 1
        self.files[path] = replace(self.files[path], stamp=self.last_stamp, touched=True)

    def add(self, record: Record) -> None:
        """Write a record, in place of one that says the same besides what it was made from."""
        same = {r for r in self.records if replace(r, upstream=record.upstream) == record}
        self.records -= same
        self.records.add(record)

    def is_recorded(self, path: str) -> bool:
        """Whether a file is what a record says, be it touched or copied since."""
        file = self.files[path]
        of_path = [record for record in self.records if record.path == path]
        return any((file.touched and r.value == file.content) or r.stamp == file.stamp for r in of_path)

    def copy(self) -> Oracle:
        other = Oracle()
        other.files, other.records = dict(self.files), set(self.records)
        other.broken, other.last_stamp = self.broken, self.last_stamp
        other.trash, other.kept = list(self.trash), set(self.kept)
        other.released = set(self.released)
        return other

    def foresee(self, calls: list[Call], force: set[str] = frozenset()) -> Outcome:
        """What `run` would do."""
        return self.copy().run(calls, force)

    def run(
        self, calls: list[Call], force: set[str] = frozenset(), is_done=lambda call: True
    ) -> Outcome:
        """Do what a verb does for `calls`, in so far as it gets done."""
        everything = all_calls(calls)
        looks = self._look_at_all(everything, force)
        needed = self._needed(calls, looks)
        outcome = Outcome({}, set(), Counter(), self._refused(everything, needed, looks), set())
        if outcome.refused:
            return outcome
        for call in everything:
            self._write_down(looks[call.key])
        making = _Making(self, looks, needed, outcome, is_done)
        for call in everything:
            if call.key in needed:
                making.make(call)
            elif looks[call.key].is_complete:
                outcome.values[call.key] = self.stored(call)
                making.data[call.key] = looks[call.key].data
                making.corrections[call.key] = looks[call.key].corrections
        for call in calls:
            making.have(call)
        return outcome

    def state(self, call: Call) -> Look:
        """What planning finds of one call."""
        return self._look_at_all(all_calls([call]), frozenset())[call.key]

    # -- what a person does

    def adopt(self, call: Call) -> None:
        """A person takes in what is at the targets of a call."""
        look = self.state(call)
        edited = any(
            v is not f and v.trace == (look.trace or ANY) and v.adopted and v not in self.records
            for v, f in zip(look.vouching, look.found, strict=True)
            if v is not None
        )
        if look.is_complete and (look.kept or not edited):
            return
        if look.contested:
            self.keep(call)
            return
        self._write_down_before(call)
        for path in call.paths:
            file = self.files.get(path)
            if file is None:
                continue
            own = [r for r in self.records if r.path == path and r.key == call.key]
            if any(r.stamp == file.stamp and not file.touched for r in own):
                continue
            self.records.difference_update(own)
            self._forget_release(path)
            about = look.trace or ANY, file.content, file.stamp
            self.add(Record(call.key, path, *about, adopted=True, upstream=look.upstream))
            self.files[path] = replace(file, touched=False)

    def release(self, call: Call) -> None:
        """A person gives up the corrections at the targets of a call."""
        for record in self.state(call).vouching:
            if record is not None and record.adopted:
                self._discard(record.path)
                gone = {r for r in self.records if r.path == record.path and r.adopted}
                self.records -= gone
                self._forget_release(record.path)
                self.released |= {(r.key, r.path) for r in gone}

    def _forget_release(self, path):
        self.released = {(key, other) for key, other in self.released if other != path}

    def keep(self, call: Call) -> None:
        """A person lets corrections stand for a call as it is now."""
        self._write_down_before(call)
        look = self.state(call)
        there = self._corrections(look)
        if len(there) == len(call.paths):
            self._keep(call, look)
            self._write_down(look)
        else:
            self.kept |= {(record.path, record.value) for record in there}
            self.records.difference_update(look.replaced)

    def _write_down_before(self, call):
        """What a person decides of a call rests on what was found out about those before it."""
        looks = self._look_at_all(call.ancestors, frozenset())
        for before in call.ancestors:
            self._write_down(looks[before.key])

    def _discard(self, path):
        file = self.files.pop(path, None)
        if file is not None:
            self.trash.append((path, file.content))

    def _write_down(self, look):
        """What planning found out: what is taken over, or kept, and whose touched files are."""
        for path in look.recomputed:
            self._forget_release(path)
        for i, found in enumerate(look.found):
            vouching = look.vouching[i]
            file = self.files.get(vouching.path) if vouching is not None else None
            if file is not None and file.touched and file.content == vouching.value:
                stamp = file.stamp
                self.files[vouching.path] = replace(file, touched=False)
                if found in self.records:
                    self.records.discard(found)
                    found = look.found[i] = replace(found, stamp=stamp)
                    self.add(found)
                vouching = look.vouching[i] = replace(vouching, stamp=stamp)
            if vouching is None or vouching.trace is None or vouching == found:
                continue
            if found is not None and not (look.kept and found.key != vouching.key):
                self.records.discard(found)
            self.add(vouching)
            if vouching.adopted:
                self._forget_release(vouching.path)
        self.records.difference_update(look.replaced)

    # -- planning

    def _look_at_all(self, everything, force):
        looks: dict[str, Look] = {}
        for call in everything:
            parents = [looks[p.key] for p in call.parents]
            looks[call.key] = self._look(call, parents, call.key in force)
        return looks

    def _look(self, call, parents, forced):
        waits = any(parent.unsettled or parent.forced for parent in parents)
        inputs = tuple(parent.data for parent in parents)
        trace = None if None in inputs else (call.static, inputs)
        upstream = tuple((parent.data, parent.corrections) for parent in parents)
        corrections = corrections_of(parent.corrections for parent in parents)
        if not call.cached:
            data = ("held", trace) if trace and not waits else None
            return Look("missing", data, waits, forced, trace, upstream, corrections)
        states, found = zip(*[self._look_at(call, path, trace) for path in call.paths], strict=True)
        found = list(found)
        vouching = list(found)
        for i, (state, record) in enumerate(zip(states, found, strict=True)):
            if state == "overwritten" and trace is not None and record.trace == trace:
                vouching[i] = replace(record, key=call.key)
            elif state == "edited":  # and to be taken in
                vouching[i] = replace(record, upstream=upstream)
                own = [r for r in self.records if r.path == record.path and r.key == call.key]
                found[i] = own[0] if own else None
        states = [
            "complete" if s == "edited" or v is not f else s
            for s, v, f in zip(states, vouching, found, strict=True)
        ]
        state = max(states, key=_STATES.index)
        look = Look(state, None, False, forced, trace, upstream, corrections, vouching, found)
        look.replaced = self._replaced(call, look)
        given_up = [path for path in call.paths if (call.key, path) in self.released]
        own = {record.path for record in self.records if record.key == call.key}
        look.recomputed = [path for path in given_up if path in own]
        elsewhere = self._judge(call, look, waits)
        if len(look.recomputed) < len(given_up) and not (
            call.kind == "exists" and look.state == "complete"
        ):
            look.unsettled = True
        self._consider_corrections(call, look)
        look.corrections = corrections_in(call, elsewhere or look.vouching) or corrections
        return look

    def _replaced(self, call, look):
        """The call's own records of targets at which something else is, as a record says."""
        known = [r for r in look.vouching if r is not None and r.trace is not None]
        there = {r.path: r.value for r in known if self.are_there([r])}
        own = [r for r in self.records if r.key == call.key and r.path in there]
        return [r for r in own if r.value != there[r.path]]

    def _judge(self, call, look, waits):
        """State and data by what the call was made from; and records of the same elsewhere."""
        own = all(record is not None and record.key == call.key for record in look.vouching)
        if own:
            look.data = tuple(record.value for record in look.vouching)
            if look.state in ("complete", "missing") and call.kind != "exists":
                self._compare(look)
        elsewhere = None
        searches = look.state == "missing" or (
            look.state in ("stale", "overwritten") and not look.forced
        )
        if searches and look.trace is not None:
            known = self.known(call, look.trace)
            if known is not None:
                look.data = tuple(record.value for record in known)
                is_there = self.are_there(known) and [r.path for r in known] != sorted(call.paths)
                elsewhere = known if is_there and not waits else None
        if call.kind == "exists" and look.state == "complete":
            return None
        if waits:
            look.data = None
        if waits and look.state in ("complete", "missing"):
            look.state = "pending" if look.state == "complete" else look.state
            look.unsettled = True
        elif look.state in ("overwritten", "foreign"):  # not under its key any more: as good as gone
            look.unsettled = waits
        else:
            look.unsettled = look.state not in ("complete", "missing")
        return elsewhere

    def _compare(self, look):
        """Whether the results were made from what the parents hold."""
        first = look.vouching[0]
        if look.trace == first.trace:
            return
        if first.trace == ANY or look.trace is None:
            if first.is_of_other_inputs(look.upstream):
                look.state = "stale"
            elif look.trace is not None:
                now = {"trace": look.trace, "upstream": look.upstream}
                look.vouching = [replace(record, **now) for record in look.vouching]
        else:
            look.state = "stale"

    def _consider_corrections(self, call, look):
        """A correction stands for what it was made for; for something else, a person decides."""
        if look.state in ("modified", "foreign"):
            return
        there = self._corrections(look)
        if not there:
            return
        if look.state == "complete" and not look.forced:
            look.state = "adopted"
        elif look.state != "pending":
            if call.kind == "keeping":
                self._keep(call, look)
                return
            look.unsettled, look.data = True, None
            if all((record.path, record.value) in self.kept for record in there):
                look.keeps = True
            else:
                look.contested, look.state = True, "adopted"

    def _corrections(self, look):
        return [r for r in look.vouching if r is not None and r.adopted and r.path in self.files]

    def _keep(self, call, look):
        now = {"key": call.key, "trace": look.trace or ANY, "upstream": look.upstream}
        look.vouching = [replace(record, **now) for record in look.vouching]
        look.data = tuple(record.value for record in look.vouching)
        look.state, look.kept = "adopted", True
        look.unsettled = look.forced = look.contested = False

    def _look_at(self, call, path, trace):
        """State of one target, and the record that vouches for it."""
        file = self.files.get(path)
        at_path = [record for record in self.records if record.path == path]
        own = [record for record in at_path if record.key == call.key]
        if file is None:
            return "missing", own[0] if own else None
        same = [record for record in at_path if record.stamp == file.stamp]
        if file.touched:
            same = [record for record in at_path if record.value == file.content]
        same.sort(key=lambda r: (r.key != call.key, r.trace != trace, -r.stamp, not r.adopted))
        if same and same[0].key == call.key:
            return "complete", same[0]
        if call.kind == "exists":
            for record in own:  # what it stored, though another recipe has stored the same since
                if record.value == file.content:
                    return "complete", record
            return "complete", Record(call.key, path, None, ("file", file.content), file.stamp)
        if same:
            return "overwritten", same[0]
        if at_path and call.kind == "keeping":
            taken = Record(call.key, path, trace or ANY, file.content, file.stamp, adopted=True)
            return "edited", taken
        if at_path:
            return "modified", (own or at_path)[0]
        return "foreign", None

    def _needed(self, calls, looks):
        """Keys of the calls that are to be made."""
        needed: set[str] = set()
        stack = list(calls)
        while stack:
            call = stack.pop()
            if call.key not in needed and not looks[call.key].is_complete:
                needed.add(call.key)
                stack += call.parents
        return needed

    def _refused(self, everything, needed, looks):
        refused = set()
        claims: dict[str, str] = {}
        for call in everything:
            if any(claims.setdefault(path, call.key) != call.key for path in call.paths):
                refused.add(TargetCollision)
            look = looks[call.key]
            if call.key in needed and look.state == "foreign":
                refused.add(ForeignTarget)
            blocked = look.state == "modified" or look.contested
            if call.key in needed and blocked and call.kind != "recompute":
                refused.add(TargetModified)
        return refused

    # -- what is known

    def known(self, call: Call, trace: tuple) -> list[Record] | None:
        """Records that say what equal code made of equal data: of files that are there, if there are."""
        groups: dict[str, dict[str, Record]] = {}
        for record in self.records:
            if record.trace == trace:
                groups.setdefault(record.key, {})[record.path] = record
        complete = [group for group in groups.values() if len(group) == len(call.paths)]
        found = [[group[path] for path in sorted(group)] for group in complete]  # as the targets are
        found = [g for g in found if self.are_there(g) or not any(r.adopted for r in g)]
        return max(found, key=self._rank, default=None)

    def _rank(self, records):
        """What a person corrected comes before what a function made, and the newest before others."""
        return self.are_there(records), max((record.adopted, record.stamp) for record in records)

    def are_there(self, records: list[Record]) -> bool:
        """Whether files hold what records say of them."""
        files = [self.files.get(record.path) for record in records]
        pairs = zip(files, records, strict=True)
        return all(file is not None and file.content == record.value for file, record in pairs)

    def stored(self, call: Call) -> Any:
        contents = [self.files[path].content for path in call.paths]
        return tuple(contents) if call.kind == "two" else contents[0]


class _Making:
    """What a verb makes, call by call, parents first."""

    def __init__(self, oracle, looks, needed, outcome, is_done):
        self.oracle = oracle
        self.looks = looks
        self.needed = needed
        self.outcome = outcome
        self.is_done = is_done
        #: Data of the calls, as far as it is known.
        self.data: dict[str, tuple] = {}
        #: The corrections that these depend on.
        self.corrections: dict[str, Any] = {}
        #: Calls whose data is known, but which are not at their targets, with their traces: see `have`.
        self.deferred: dict[str, tuple[list[Record], tuple]] = {}

    def make(self, call):
        """What a task does for a call."""
        look, outcome = self.looks[call.key], self.outcome
        if any(parent.key in outcome.failed for parent in call.parents):
            outcome.failed.add(call.key)
            return
        if not all(parent.key in self.data for parent in call.parents):
            return  # it was not done
        trace = (call.static, tuple(self.data[parent.key] for parent in call.parents))
        if call.cached and not look.forced:
            finished = self._finished(call, look, trace)
            if finished is not None:
                self._take(call, finished)
                return
        if self._consider_corrections(call, look, trace):
            return
        if call.cached and not look.forced:
            known = self.oracle.known(call, trace)
            waits = any(parent.key in self.needed for parent in call.parents)
            corrected = call.kind != "recompute" and self.oracle._corrections(look)
            if known is not None and waits and not corrected:
                self._note(call, known)
                self.deferred[call.key] = known, trace
                return
            if known is not None and self.oracle.are_there(known) and look.state == "missing":
                self._copy(call, look, trace, known)
                return
        self._run(call, look, trace)

    def have(self, call):
        """Make sure that the value of a call is there: its data is needed."""
        known, trace = self.deferred.pop(call.key, (None, None))
        if known is None:
            return
        if self.oracle.are_there(known):
            self._copy(call, self.looks[call.key], trace, known)
        else:
            self._run(call, self.looks[call.key], trace)

    def _take(self, call, finished):
        """Take what is at the targets for the results."""
        moved = [record for record in finished if record.key != call.key]
        if not moved or self.is_done(call):
            self.oracle.records.difference_update(moved)
            for record in moved:
                self.oracle.add(replace(record, key=call.key))
            self._note(call, finished)
            self.outcome.values[call.key] = self.oracle.stored(call)

    def _note(self, call, records):
        """Note what data a call has, and the corrections that they depend on."""
        self.data[call.key] = tuple(record.value for record in records)
        self.corrections[call.key] = corrections_in(call, records) or self._corrections_before(call)

    def _corrections_before(self, call):
        return corrections_of(self.corrections[parent.key] for parent in call.parents)

    def _upstream(self, call):
        return tuple((self.data[p.key], self.corrections[p.key]) for p in call.parents)

    def _finished(self, call, look, trace):
        """Records that say that what is there was made by the same code from equal data."""
        found = []
        for path, vouching in zip(call.paths, look.vouching, strict=True):
            file = self.oracle.files.get(path)
            known = [
                r for r in self.oracle.records if r.path == path and (r.key == call.key or r == vouching)
            ]
            known = [r for r in known if file and (r.trace, r.stamp) == (trace, file.stamp)]
            if not known:
                return None
            found.append(known[0])
        return found

    def _copy(self, call, look, trace, known):
        if not self.is_done(call):
            self.data.pop(call.key, None)
            return
        values = tuple(record.value for record in known)
        self._put(call, look, trace, values, [record.adopted for record in known])
        self._note(call, known)
        self.outcome.values[call.key] = self.oracle.stored(call)

    def _consider_corrections(self, call, look, trace):
        """A correction which is there is kept, or a person decides; whatever is known elsewhere."""
        corrected = self.oracle._corrections(look)
        stands = len(corrected) == len(call.paths) and all(
            record.key == call.key
            and record.trace == ANY
            and not record.is_of_other_inputs(self._upstream(call))
            for record in corrected
        )
        if corrected and (call.kind == "keeping" or (stands and call.kind != "recompute")):
            self._keep(call, look, trace)
            return True
        if corrected and call.kind != "recompute" and not look.keeps:
            self.outcome.failed.add(call.key)
            self.outcome.errors.add(TargetModified)
            return True
        return False

    def _run(self, call, look, trace):
        outcome, oracle = self.outcome, self.oracle
        for parent in call.parents:
            self.have(parent)
        if any(parent.key not in outcome.values for parent in call.parents):
            if any(parent.key in outcome.failed for parent in call.parents):
                outcome.failed.add(call.key)
            self.data.pop(call.key, None)
            return
        if call.name in oracle.broken:
            outcome.ran[call.name] += 1
            outcome.failed.add(call.key)
            outcome.errors.add(Broken)
        elif self.is_done(call):
            outcome.ran[call.name] += 1
            parents = [outcome.values[parent.key] for parent in call.parents]
            value = outcome.values[call.key] = value_of(call.kind, call.const, total(parents))
            self.data[call.key] = ("held", trace)
            self.corrections[call.key] = self._corrections_before(call)
            if call.cached:
                values = value if call.kind == "two" else (value,)
                trace = (call.static, tuple(self.data[parent.key] for parent in call.parents))
                self._note(call, self._put(call, look, trace, values, [False] * len(values)))
                outcome.values[call.key] = oracle.stored(call)
        else:
            self.data.pop(call.key, None)

    def _keep(self, call, look, trace):
        """Let corrections stand for a call which turns out to be made from other data."""
        if self.is_done(call):
            now = {"key": call.key, "trace": trace, "upstream": self._upstream(call)}
            kept = [replace(record, **now) for record in look.vouching]
            self.oracle.records.difference_update(look.vouching)
            for record in kept:
                self.oracle.add(record)
            self._note(call, kept)
            self.outcome.values[call.key] = self.oracle.stored(call)

    def _put(self, call, look, trace, values, adopted):
        """Put values in place, with records, and return these."""
        oracle, upstream, written = self.oracle, self._upstream(call), []
        for path, vouching, each, by_person in zip(
            call.paths, look.vouching, values, adopted, strict=True
        ):
            if vouching is not None and vouching.adopted and path in oracle.files:
                if look.keeps:
                    oracle.kept.discard((path, vouching.value))
                    if vouching.key == call.key:
                        oracle.records.discard(vouching)
                    written.append(replace(vouching, key=call.key, trace=trace, upstream=upstream))
                    continue
                oracle._discard(path)
            oracle.records.discard(vouching)
            stamp = oracle.put(path, each)
            written.append(Record(call.key, path, trace, each, stamp, by_person, upstream))
        for record in written:
            oracle.add(record)
        return written


def corrections_in(call: Call, records: Iterable[Record | None]) -> Any:
    """The corrections among the results of a call, or None."""
    corrected = tuple(record.value for record in records if record is not None and record.adopted)
    return (call.key, corrected) if corrected else None


def corrections_of(inputs: Iterable[Any]) -> Any:
    """The corrections of all inputs, or None."""
    found = set(inputs) - {None}
    return frozenset(found) if len(found) > 1 else next(iter(found), None)


_STATES = ("complete", "missing", "stale", "overwritten", "modified", "foreign", "pending")


def all_calls(calls: list[Call]) -> list[Call]:
    """Calls and all that they are made from, each once and after its parents."""
    found: dict[str, Call] = {}
    for call in calls:
        found |= {each.key: each for each in [*call.ancestors, call]}
    return list(found.values())
