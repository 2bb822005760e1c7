"""Arguments of a call, with the hashes that this process or another one has computed.

`stored` makes them where a task is submitted; `policies` makes cache keys from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import DaskcacheError, UnhashableArgument
from ..runtime.code_check import ArgumentEncoder
from ..targets.source import Source
from .instances import instances_in


class NotKnownYet(Exception):
    """A key needs an argument that is the result of an unfinished task."""


class Arguments(dict):
    """The arguments of a call, with the hashes that are known.

    Parameters
    ----------
    arguments : mapping
        Values by name.
    late : iterable of str
        Names of arguments that are not known yet.
    hashes : mapping
        Results of another process by name: a hash, or the error of an argument that has none.
    """

    def __init__(
        self,
        arguments: Mapping[str, Any],
        late: Iterable[str] = (),
        hashes: Mapping[str, str | DaskcacheError] | None = None,
    ):
        super().__init__(arguments)
        self.late = frozenset(late)
        self.hashes = dict(hashes or {})
        #: The user's functions and classes in each argument that was hashed here, by name.
        self.code: dict[str, list] = {}

    @classmethod
    def of(cls, arguments: Mapping[str, Any] | None) -> Arguments:
        return arguments if isinstance(arguments, cls) else cls(arguments or {})

    def all(self) -> dict[str, Any]:
        """Return the arguments themselves; raise `NotKnownYet` if one is late."""
        if self.late:
            raise NotKnownYet(sorted(self.late))
        return dict(self)

    def sources(self) -> tuple[tuple[Source, str], ...]:
        """Return the sources in arguments that were hashed here, each with the hash of its content."""
        counted = {name: self[name] for name in self.code}
        return tuple((source, source.content_hash()) for source in instances_in(counted, Source))

    def hashed(self, names: Iterable[str], by_client: bool = True) -> dict[str, str]:
        """Return the hashes of some arguments.

        Parameters
        ----------
        names : iterable of str
        by_client : bool
            True in the process that submits the call.  Another process can't know how the client
            identifies a function, so an argument that holds one has no hash there.

        Returns
        -------
        dict of str to str
            Hashes by name.

        Raises
        ------
        UnhashableArgument, SourceMissing
            If an argument has no hash.
        NotKnownYet
            If an argument is late.  The hashes of the others are in `hashes` by then.
        """
        names = sorted(names)
        for name in names:
            if name not in self.hashes and name not in self.late:
                self.hashes[name] = self._hash_or_error(name, by_client)
        found = {name: self.hashes[name] for name in names if name not in self.late}
        for each in found.values():
            if isinstance(each, DaskcacheError):
                raise each
        if len(found) < len(names):
            raise NotKnownYet(sorted(self.late))
        return found  # type: ignore[return-value]

    def _hash_or_error(self, name, by_client):
        encoder = ArgumentEncoder()
        try:
            encoder.add_checked(self[name])
        except DaskcacheError as error:
            return error
        self.code[name] = encoder.code
        functions = [each for each in encoder.code if not isinstance(each, type)]
        if functions and not by_client:
            return UnhashableArgument(
                f"the argument {name!r} holds the function {functions[0].__qualname__}(), and a worker "
                "can't tell whether it is the one that the client has",
                hint="pass it when the task is submitted, not as a result, to a DaskCacheTaskRunner",
            )
        return encoder.digest()
