"""`Work`: all that a worker needs to know of a node, and what its inputs are there."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..calls.describe import CUT, brief, whole
from ..calls.recipe import SourceInput, title_of
from ..calls.spec import Spec
from ..hashing.names import public_name
from ..storage.records import RecordName
from ..targets.base import Target
from .code_check import ArgumentCode, ArgumentEncoder


class DaskValue(NamedTuple):
    """Place of an upstream value that plain Dask computed."""

    position: int
    identity: str


class Elsewhere(NamedTuple):
    """The results of a node at other targets than its own."""

    #: Their records, one for each result.
    names: tuple[RecordName, ...]
    #: Where they are, or were, from the root.
    paths: tuple[str, ...]
    #: Whether they are there, as recorded.
    is_there: bool
    #: Whether they are in the formats of the node, so that their data hashes are its own.
    is_alike: bool


class Work(NamedTuple):
    """All that a worker needs to know of a node."""

    spec: Spec
    #: Bound arguments with a `Ref` for what is upstream.
    values: tuple
    #: What each `Ref` refers to: position of the handle among the task's arguments, `DaskValue`,
    #: `Entry` of a finished node, or `SourceInput`.
    inputs: tuple
    key: str
    static: str
    #: Fingerprint of the function, as the client sees it.
    code: str
    #: Arguments that only the client can hash (functions from notebooks, say), described.
    described: dict[str, list]
    root: str
    paths: tuple[str, ...]
    label: str = ""
    #: Per target: the record that vouches for what is there now, if the plan found one.
    previous: tuple[RecordName | None, ...] = ()
    #: What is there must not pass for the result: it is forced, expired or damaged.
    outdated: bool = False
    #: What is there is damaged, and is kept aside.
    damaged: bool = False
    #: Turn an exception into a `Failure` instead of raising it.
    collect: bool = False
    #: Where equal code has made it of equal data: to be copied instead of computed.
    elsewhere: Elsewhere | None = None
    #: Whether there is a note of a failure to clear.
    failed_before: bool = False
    #: The root's id.
    root_id: str = ""
    #: How its client hashes.
    algorithm: str = "xxh3_128"
    #: Whether what a person adopted stands, whatever made it.
    keeps: bool = False
    #: The verb (`daskcache.storage.traces`), if equal code and data may have results under other keys.
    verb: str = ""
    #: Whether its targets have to be there, also if nothing in the verb needs their data.
    pinned: bool = False
    #: The functions and classes that the arguments hold, as the client sees them.
    argument_code: ArgumentCode | None = None

    @property
    def title(self) -> str:
        """Display name."""
        return title_of(self.label, self.spec, self.paths, self.key)

    def named_values(self) -> dict[str, Any]:
        """Return the arguments by name."""
        return dict(zip(self.spec.signature.names, self.values, strict=True))


class DaskData(NamedTuple):
    value: Any
    data_hash: str

    def load(self):
        return self.value


class FileData:
    """A source on the worker: read when it is asked for, and verified."""

    def __init__(self, parent: SourceInput):
        self.source = parent.source
        self.data_hash = parent.identity
        self.content_hash = parent.content_hash

    def load(self):
        return self.source.load_verified(self.content_hash)

    def heritage(self):
        """What targets may take over from it; see `daskcache.targets.base.Target.heritage`."""
        found = self.source.heritage_verified(self.content_hash)
        return [] if found is None else [found]

    def open(self):
        return self.source.open_verified(self.content_hash)

    def verified_source(self):
        """The source itself, for functions that read it their own way."""
        self.source.verify(self.content_hash)
        return self.source


def describe_arguments(
    spec: Spec, values: tuple, known: dict | None = None, code: dict[str, list] | None = None
) -> dict[str, list]:
    """Per argument, a short text and the hash: what `why` compares.

    Where the short text leaves something out, the whole one follows if it isn't long: an audit makes the
    argument again from it.  The user's functions and classes in them are added to `code`.
    """
    described = dict(known or {})
    for position in spec.counted:
        name, value = spec.signature.names[position], values[position]
        if name not in described:
            text = brief.repr(value)
            encoder = ArgumentEncoder()
            encoder.add_checked(value)
            described[name] = [text, encoder.digest()]
            if code is not None:
                code[name] = encoder.code
            everything = whole(value) if CUT in text else None
            if everything:
                described[name].append(everything)
    return described


def describe_format(target: Target) -> dict[str, str]:
    """What it takes to read a target: the name of its class, and options if they matter."""
    options = target.counted_options()
    described = {"options": whole(options) or brief.repr(options)} if options else {}
    return {"format": public_name(type(target)), **described}
