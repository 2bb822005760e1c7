"""What the model test computes: one user function in several guises, and an oracle of what comes of it.

A `Call` is a node as plain data.  `Oracle` holds what is on disk, and says which functions a verb runs.
"""

from __future__ import annotations

import functools
import hashlib
import os
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from operator import add
from typing import Any, NamedTuple

import dask

import daskcache as dc
from daskcache.errors import ForeignTarget, TargetCollision, TargetModified
from daskcache.testing import RunCounter

#: Options of `daskcache.delayed`, and so the ways in which a result is kept.
KINDS: dict[str, dict[str, Any]] = {
    "json": {"target": "n/{name}.json"},
    "pickle": {"target": "n/{name}.pkl"},
    "keyed": {"target": "k/{name}-{key}.json"},
    "two": {"target": ("n/{name}.json", "n/{name}.pkl")},
    "held": {"save": False},
    "recompute": {"target": "n/{name}.json", "on_modified": "recompute"},
    "adopt": {"target": "n/{name}.json", "check": "exists"},
}


class Broken(Exception):
    """Raised by the user function while it is out of order."""


def make(name, kind, const, parents, base):
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
        return function(self.name, self.kind, self.const, arrange(self.shape, parents), base=base)


@functools.cache
def _decorated(kind, version):
    return dc.delayed(make, version=version, ignore="base", **KINDS[kind])


# ---- the oracle -----------------------------------------------------------------------------------


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


@dataclass
class Look:
    """What planning finds of a call."""

    state: str
    #: What is known of its data: a part of the trace of what follows.
    data: tuple | None
    #: Whether, made again, it might come out with other data.
    unsettled: bool
    forced: bool
    #: Per target, the record that vouches for what is there.
    vouching: list[Record | None] = field(default_factory=list)
    #: The same as they were found: of another recipe, whose equal code made them of equal data.
    found: list[Record | None] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        return self.state == "complete" and not self.forced


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


class Oracle:
    """The files and records of a root, and what verbs make of them."""

    def __init__(self):
        self.files: dict[str, File] = {}
        self.records: set[Record] = set()
        self.broken: set[str] = set()
        self.last_stamp = 0

    def put(self, path: str, content: Any) -> int:
        self.last_stamp += 1
        self.files[path] = File(content, self.last_stamp)
        return self.last_stamp

    def touch(self, path: str) -> None:
        self.files[path] = replace(self.files[path], touched=True)

    def copy(self) -> Oracle:
        other = Oracle()
        other.files, other.records = dict(self.files), set(self.records)
        other.broken, other.last_stamp = self.broken, self.last_stamp
        return other

    def foresee(self, calls: list[Call], force: set[str] = frozenset()) -> Outcome:
        """What `run` would do."""
        return self.copy().run(calls, force)

    def run(
        self, calls: list[Call], force: set[str] = frozenset(), is_done=lambda call: True
    ) -> Outcome:
        """Do what a verb does for `calls`, in so far as it gets done."""
        everything = all_calls(calls)
        looks: dict[str, Look] = {}
        for call in everything:
            looks[call.key] = self._look(call, [looks[p.key] for p in call.parents], call.key in force)
        needed = self._needed(calls, looks)
        outcome = Outcome({}, set(), Counter(), self._refused(everything, needed, looks))
        if outcome.refused:
            return outcome
        for call in everything:
            self._write_down(looks[call.key])
        data: dict[str, tuple] = {}
        for call in everything:
            look = looks[call.key]
            if call.key in needed:
                self._make(call, look, data, outcome, is_done)
            elif look.state == "complete":
                outcome.values[call.key] = self._stored(call)
                data[call.key] = look.data
        return outcome

    def _write_down(self, look):
        """What planning found out: what is taken over, and whose touched files are."""
        for i, found in enumerate(look.found):
            if found not in self.records:
                continue
            file = self.files.get(found.path)
            if file is not None and file.touched and file.content == found.value:
                stamp = self.put(found.path, found.value)
                look.vouching[i] = replace(look.vouching[i], stamp=stamp)
            self.records.discard(found)
            self.records.add(look.vouching[i])

    # -- planning

    def _look(self, call, parents, forced):
        waits = any(parent.unsettled or parent.forced for parent in parents)
        inputs = tuple(parent.data for parent in parents)
        trace = None if None in inputs else (call.static, inputs)
        if not call.cached:
            return Look("missing", ("held", trace) if trace and not waits else None, waits, forced)
        states, found = zip(*[self._look_at(call, path, trace) for path in call.paths], strict=True)
        taken_over = [
            record
            for each, record in zip(states, found, strict=True)
            if each == "overwritten" and trace is not None and record.trace == trace
        ]
        states = ["complete" if r in taken_over else s for s, r in zip(states, found, strict=True)]
        vouching = [replace(r, key=call.key) if r in taken_over else r for r in found]
        state = max(states, key=_STATES.index)
        data = None
        if all(record is not None and record.key == call.key for record in vouching):
            data = tuple(record.value for record in vouching)
            if state in ("complete", "missing") and call.kind != "adopt":
                made_from = vouching[0].trace[1]
                pairs = zip(inputs, made_from, strict=True)
                if any(now is not None and now != then for now, then in pairs):
                    state = "stale"
        if call.kind == "adopt" and state == "complete":
            return Look(state, data, False, forced, vouching, found)
        unsettled = state not in ("complete", "missing")
        if waits and not unsettled:
            unsettled = True
            state = "pending" if state == "complete" else state
            data = None
        if state in ("overwritten", "foreign"):  # not under its key any more: as good as gone
            unsettled = waits
        return Look(state, data, unsettled, forced, vouching, found)

    def _look_at(self, call, path, trace):
        """State of one target, and the record that vouches for it."""
        file = self.files.get(path)
        at_path = [record for record in self.records if record.path == path]
        own = [record for record in at_path if record.key == call.key]
        if file is None:
            return "missing", own[0] if own else None
        same = [record for record in at_path if record.stamp == file.stamp]
        if file.touched:
            alike = [record for record in at_path if record.value == file.content]
            alike.sort(key=lambda r: (r.key != call.key, r.trace != trace, -r.stamp))
            same = alike[:1]
        for record in same:
            if record.key == call.key:
                return "complete", record
        if call.kind == "adopt":
            for record in own:  # what it stored, though another recipe has stored the same since
                if record.value == file.content:
                    return "complete", record
            return "complete", Record(call.key, path, None, ("file", file.content), file.stamp)
        if same:
            return "overwritten", same[0]
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
            if call.key in needed and looks[call.key].state == "foreign":
                refused.add(ForeignTarget)
            if call.key in needed and looks[call.key].state == "modified" and call.kind != "recompute":
                refused.add(TargetModified)
        return refused

    # -- running

    def _make(self, call, look, data, outcome, is_done):
        if not all(parent.key in outcome.values for parent in call.parents):
            outcome.failed.add(call.key)
            return
        trace = (call.static, tuple(data[parent.key] for parent in call.parents))
        finished = None if look.forced or not call.cached else self._finished(call, look, trace)
        if finished is not None:
            moved = [record for record in finished if record.key != call.key]
            if not moved or is_done(call):
                self.records.difference_update(moved)
                self.records.update(replace(record, key=call.key) for record in moved)
                data[call.key] = tuple(record.value for record in finished)
                outcome.values[call.key] = self._stored(call)
        elif call.name in self.broken:
            outcome.ran[call.name] += 1
            outcome.failed.add(call.key)
        elif is_done(call):
            outcome.ran[call.name] += 1
            parents = [outcome.values[parent.key] for parent in call.parents]
            value = outcome.values[call.key] = value_of(call.kind, call.const, total(parents))
            data[call.key] = self._store(call, look, trace, value) if call.cached else ("held", trace)

    def _finished(self, call, look, trace):
        """Records that say that what is there was made by the same code from equal data."""
        found = []
        for path, vouching in zip(call.paths, look.vouching, strict=True):
            file = self.files.get(path)
            known = [r for r in self.records if r.path == path and (r.key == call.key or r == vouching)]
            known = [r for r in known if file and (r.trace, r.stamp) == (trace, file.stamp)]
            if not known:
                return None
            found.append(known[0])
        return found

    def _store(self, call, look, trace, value):
        values = value if call.kind == "two" else (value,)
        for path, vouching, each in zip(call.paths, look.vouching, values, strict=True):
            self.records.discard(vouching)
            self.records.add(Record(call.key, path, trace, each, self.put(path, each)))
        return values

    def _stored(self, call):
        contents = [self.files[path].content for path in call.paths]
        return tuple(contents) if call.kind == "two" else contents[0]


_STATES = ("complete", "missing", "stale", "overwritten", "modified", "foreign", "pending")


def all_calls(calls: list[Call]) -> list[Call]:
    """Calls and all that they are made from, each once and after its parents."""
    found: dict[str, Call] = {}
    for call in calls:
        found |= {each.key: each for each in [*call.ancestors, call]}
    return list(found.values())
