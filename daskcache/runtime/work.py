"""`Work`, a node's description for a worker, and the inputs that come with it.

`graph.builder` makes it, `node`, `store` and `body` use it.  The functions that describe arguments
and formats for records are here too; `facts`, `planning.reasons` and `named` share them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..calls.describe import texts_of
from ..calls.recipe import SourceInput, title_of
from ..calls.spec import Spec
from ..hashing.names import public_name
from ..storage.record import RecordName
from ..targets.base import Target
from ..targets.source import Source
from .code_check import ArgumentCode, ArgumentEncoder

if TYPE_CHECKING:
    from ..storage.correction_files import CorrectionFile


class DaskValue(NamedTuple):
    """Reference to an upstream value that plain Dask computes, by position among the handles."""

    position: int
    identity: str


class Elsewhere(NamedTuple):
    """Results at other targets that equal code made of equal data."""

    #: Records of the results, one each.
    names: tuple[RecordName, ...]
    #: Paths of the results from the root, which may be gone.
    paths: tuple[str, ...]
    #: True if all files are there as recorded.
    is_there: bool
    #: True if the files are in the node's formats, so that their data hashes are the node's.
    is_alike: bool


class TakeIn(NamedTuple):
    """A user's file from a folder of corrections that takes the place of a node's result.

    The plan has read it, and knows the data in it: the task only copies it to the target.
    """

    correction: CorrectionFile
    #: Fields of the record to come, without the size and mtime of the copy.
    name: RecordName
    #: Further facts for the record.
    facts: dict[str, Any]
    #: True if the present target is damaged.
    damaged: bool
    #: True if a user's earlier decision about the target is to be forgotten.
    is_decided: bool


class Work(NamedTuple):
    """A node's description for a worker: call, targets, and findings of the plan."""

    spec: Spec
    #: Bound arguments, with a `Ref` in place of each upstream value.
    values: tuple
    #: Input for each `Ref`: position of the handle among the task's arguments, `DaskValue`, `Entry` of
    #: a finished node, or `SourceInput`.
    inputs: tuple
    key: str
    static: str
    #: Fingerprint of the function's code, as the client sees it.
    code: str
    #: Descriptions of arguments that only the client can hash, such as functions from notebooks.
    described: dict[str, list]
    root: str
    paths: tuple[str, ...]
    label: str = ""
    #: For each target the record that vouches for the present file, if the plan found one.
    previous: tuple[RecordName | None, ...] = ()
    #: True if the present files must not count as the result: forced, expired or damaged.
    outdated: bool = False
    #: True if the present files are damaged.  They are kept in the trash.
    damaged: bool = False
    #: True to turn an exception into a `Failure` instead of raising it.
    collect: bool = False
    #: Results to copy instead of running, if the plan found any that equal code made of equal data.
    elsewhere: Elsewhere | None = None
    #: True if the root has a note of an earlier failure to clear.
    failed_before: bool = False
    #: Id of the client's root, for checking that the worker sees the same one.
    root_id: str = ""
    #: Hash algorithm of the client.
    algorithm: str = "xxh3_128"
    #: True if adopted results stand for this recipe, by ``on_modified="adopt"`` or a user's decision.
    keeps: bool = False
    #: Name of the verb, if only the worker can search for equal results under other keys, else "".
    #: See `daskcache.storage.records.with_trace`.
    verb: str = ""
    #: True if the targets must be there in the end, even if nothing in the verb needs their data.
    pinned: bool = False
    #: Functions and classes in the arguments, as the client sees them.
    argument_code: ArgumentCode | None = None
    #: True for a node of a variant; see `daskcache.runtime.finished.find_elsewhere`.
    in_variant: bool = False
    #: The file in the folder of corrections, if it counts as seen for what the task makes.
    correction: CorrectionFile | None = None
    #: The user's file to copy, in place of calling the function.
    taking: TakeIn | None = None

    @property
    def title(self) -> str:
        """Display name of the node."""
        return title_of(self.label, self.spec, self.paths, self.key)

    def named_values(self) -> dict[str, Any]:
        """Return the arguments by name."""
        return dict(zip(self.spec.signature.names, self.values, strict=True))


class FileData:
    """A source on the worker, read and verified on demand.

    A source of any class that can't be decoded raises `SourceUnreadable`.
    """

    #: See `daskcache.runtime.entry.Entry`.
    corrections = ""

    def __init__(self, parent: SourceInput):
        self.source = parent.source
        self.data_hash = parent.identity
        self.content_hash = parent.content_hash

    def load(self):
        with self.source._reading():
            return self.source.load_verified(self.content_hash)

    def heritage(self):
        """Return the facts that targets may take over; see `daskcache.targets.base.Target.heritage`."""
        with self.source._reading():
            return self.source.__daskcache_heritages__(self.content_hash)

    @property
    def may_have_heritage(self):
        return type(self.source).heritage is not Source.heritage

    def open(self):
        with self.source._reading():
            return self.source.open_verified(self.content_hash)

    def verified_source(self):
        """Verify the source, and return it for a function that reads the file itself."""
        self.source.verify(self.content_hash)
        return self.source.__daskcache_without_fields__()


def describe_arguments(
    spec: Spec, values: tuple, known: dict | None = None, code: dict[str, list] | None = None
) -> dict[str, list]:
    """Describe each argument by a short text and its hash, which `why` compares.

    The whole text follows if the short one may not restore the argument, see `texts_of`.  From it an
    audit makes the argument again.

    Parameters
    ----------
    spec : Spec
    values : tuple
        Bound arguments.
    known : dict, optional
        Descriptions to use as they are, by name of the argument.
    code : dict, optional
        Gets the user's functions and classes in each argument, by its name.

    Returns
    -------
    dict of str to list
        Short text, hash and perhaps whole text, by name of the argument.
    """
    described = dict(known or {})
    for position in spec.counted:
        name, value = spec.signature.names[position], values[position]
        if name not in described:
            text, *everything = texts_of(value)
            encoder = ArgumentEncoder()
            encoder.add_checked(value)
            described[name] = [text, encoder.digest(), *everything]
            if code is not None:
                code[name] = encoder.code
    return described


def describe_format(target: Target) -> dict[str, str]:
    """Describe a target's format by the name of its class, and by its options if it counts any."""
    options = target.counted_options()
    described = {"options": texts_of(options)[-1]} if options else {}
    return {"format": public_name(type(target)), **described}
