"""`Spec`: a decorated function with its options, shared by all its nodes.

A spec also holds the function's `signature`, its targets (from its `options`) and its code (`code_of`).
`graph.function` makes specs, and `arguments` makes calls of them.  Specs travel to workers by the
function's name if it can be imported.  `hashing.reach` analyses the code, and `targets.template` fills
the paths.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

from dask.utils import funcname, parse_timedelta

from ..errors import DaskcacheError, GraphError, UnhashableArgument
from ..hashing.changes import Part
from ..hashing.encoder import Encoder, hash_value
from ..hashing.fingerprints import identity_of
from ..hashing.functions import learn_bodies
from ..hashing.names import class_name, imported
from ..hashing.ownership import package_version
from ..hashing.reach import Reach
from ..storage.paths import masked
from ..targets.registry import read_as
from ..targets.template import Template
from .containers import values_in
from .options import (  # noqa: F401 (older pickles find `_options` here)
    Options,
    _options,
    correction_template,
    formats_of,
)
from .signature import ANYTHING, Signature, signature_of


class Spec:
    """A decorated function with its options.

    Attributes
    ----------
    func : callable
        The function as the user wrote it.
    name : str
        The function's name in Dask and in ``{funcname}``.
    formats : tuple of Target
        One target for each result, with a template as its path.  Empty if nothing is cached.
    layout : None, int or tuple of str
        Form of the results, see `daskcache.runtime.entry.Entry`.
    correction : Template or None
        Path of the file that a user may put in place of a result.
    """

    def __init__(self, func: Callable, options: Options, signed: bool = True):
        self.func = func
        self.options = options
        self.signed = signed
        self.name = funcname(func)
        try:
            self.formats, self.layout = formats_of(func, options)
            self.correction = correction_template(options, self.formats)
        except DaskcacheError as error:
            name_error(error, self.name, options.target and masked(str(options.target)))
            raise
        self._check_likeness()
        self._code: Code | None = None
        #: This spec is importable if its module has `_named` under the function's name.
        self._named = self
        #: Number of further calls to check for plain paths that should perhaps be sources.
        self.hints_left = 10
        counts_results = options.nout is None and isinstance(self.layout, int)
        self.nout = self.layout if counts_results else options.nout

    def _check_likeness(self):
        for target in self.formats:
            if target.like is not None and self.signed and target.like not in self.signature.names:
                raise GraphError(
                    f"the target of {self.name}() is like a parameter that the function does not have",
                    target=target.path,
                    expected=f"a parameter of {self.name}({', '.join(self.signature.names)})",
                    got=f"like={target.like!r}",
                )

    @functools.cached_property
    def signature(self) -> Signature:
        return signature_of(self.func) if self.signed else Signature(ANYTHING)

    @functools.cached_property
    def unsigned(self) -> Spec:
        """The same spec for calls that don't fit the signature: they fail when they run, as in Dask."""
        return Spec(self.func, self.options, signed=False)

    @functools.cached_property
    def templates(self) -> tuple[Template, ...]:
        return tuple(Template(target.path) for target in self.formats)

    @functools.cached_property
    def ends_in_field(self) -> bool:
        """True if a value may bring the suffix of a target."""
        return any(template.parts[-1][1] for template in self.templates)

    @functools.cached_property
    def label(self) -> Template | None:
        return Template(self.options.label, is_path=False) if self.options.label else None

    @functools.cached_property
    def max_age(self) -> float | None:
        """Seconds after which a result is stale; None if it does not expire."""
        return parse_timedelta(self.options.expires) if self.options.expires else None

    @property
    def module(self) -> str:
        return getattr(self.func, "__module__", None) or type(self.func).__module__

    @property
    def qualified_name(self) -> str:
        name = getattr(self.func, "__qualname__", None) or self.name
        return f"{self.module}.{name}"

    def code(self, glance: bool = False) -> Code:
        """Return the code as it is now, or the ``version`` that stands for it.

        Parameters
        ----------
        glance : bool
            True to skip large values that were checked a moment ago, see
            `daskcache.hashing.reach.Reach.holds`.
        """
        known = self._code
        if known is None or not (known.reach is None or known.reach.holds(glance)):
            known = self._code = code_of(self.func, self.options)
        return known

    def as_of_client(self, fingerprint: str) -> Spec:
        """Return the same spec with the client's fingerprint, without an analysis of the code."""
        twin = Spec(self.func, self.options, self.signed)
        twin._code = Code(fingerprint, None, [])
        twin._named = self._named
        return twin

    @functools.cached_property
    def counted(self):
        """Positions of the parameters that are part of the key."""
        names = self.signature.names
        unknown = set(self.options.ignore) - set(names)
        if unknown:
            raise GraphError(
                f"delayed(ignore=...) names {sorted(unknown)}, which {self.name}() does not take",
                expected=", ".join(names),
            )
        return tuple(i for i, name in enumerate(names) if name not in self.options.ignore)

    def static_hash(self, values: tuple, code: str) -> str:
        """Return the hash of the code and the bound arguments, in which parents count by their places.

        Parameters
        ----------
        values : tuple
            One value for each parameter.  Those that ``ignore`` names don't count.
        code : str
            Fingerprint of the code.

        Raises
        ------
        GraphError
            If an argument holds a node, a future or another lazy value where it can't be found.
        UnhashableArgument
            If an argument has no stable identity.
        """
        encoder = _ArgumentEncoder()
        encoder.parts.append(code.encode())
        if any(self._read_as):
            encoder.add(self._read_as)
        for position in self.counted:
            try:
                encoder.add_checked(values[position])
            except _Hidden as found:
                raise self._hidden(position, values[position], found.args[0]) from None
            except UnhashableArgument as error:
                name = self.signature.names[position]
                raise UnhashableArgument(
                    f"the argument {name!r} of {self.name}(): {error.message}",
                    got=_shown(values[position]),
                    hint=error.hint,
                ) from error
        return encoder.digest()

    def _hidden(self, position, value, found):
        """Return the error for a lazy value inside of a value that is not taken apart."""
        name = self.signature.names[position]
        holder = class_name(type(next(filter(_hides, values_in(value)))))
        return GraphError(
            f"the argument {name!r} of {self.name}() holds a lazy value inside of {holder}, where data "
            "can't replace it",
            expected="lazy values as arguments of their own, or in lists, tuples, sets, dicts, deques, "
            "named tuples and dataclasses",
            got=_shown(found),
            hint="pass it as an argument of its own, or in a list or dict, and let the function put "
            "the data where they belong",
        )

    @functools.cached_property
    def _read_as(self):
        """Classes and options that read the targets' files; None where the suffix suffices."""
        return [read_as(target) for target in self.formats]

    @property
    def is_importable(self) -> bool:
        """True if other processes can import the function by name."""
        name = getattr(self.func, "__qualname__", "")
        return self.module != "__main__" and _spec_by_name(self.module, name) is self._named

    def __reduce__(self):
        if self.is_importable:
            return _spec_by_name, (self.module, self.func.__qualname__)
        from .code_files import files_of  # only functions that travel by value need it

        travelling = self._travelling_bodies(), files_of(self.func)
        return _spec_by_value, (self.func, self.options, self.signed, *travelling)

    def _travelling_bodies(self):
        """Return the analyses of the functions that travel with this one.

        With them the other process computes the same key.
        """
        try:
            reach = self.code(glance=True).reach
        except DaskcacheError:  # calls report the error
            return {}
        return reach.bodies(travelling=True) if reach is not None else {}


class _ArgumentEncoder(Encoder):
    """Encode arguments, in which references stand for the lazy values."""

    __slots__ = ()

    def add_upstream(self, value, identity):
        raise _Hidden(value)


class _Hidden(Exception):
    """A lazy value that no reference has replaced."""


def _hides(value):
    try:
        _ArgumentEncoder().add(value)
    except _Hidden:
        return True
    return False


def _shown(value):
    try:
        return repr(value)[:100]
    except (ValueError, RecursionError):  # an int of thousands of digits; a value nested too deeply
        return f"a {type(value).__name__}"


class Code(NamedTuple):
    """The code of a decorated function at one moment."""

    fingerprint: str
    #: Its reach; None with a ``version``, and on a worker that takes the client's fingerprint.
    reach: Reach | None
    #: The parts that count, to report changes to users.
    parts: list[Part]


def code_of(func: Callable, options: Options) -> Code:
    """Analyse the code of a function with these options.

    A ``version`` stands for the function's body and its reach.  The function's identity counts as well.
    """
    if options.version is not None:
        hashed = hash_value(("version", options.version, identity_of(func)))
        return Code(hashed, None, [Part("the", "", "version", hashed, repr(options.version))])
    reach = Reach(func, follow=options.tracked != "function")
    if isinstance(options.tracked, str):
        return Code(reach.fingerprint, reach, reach.parts)
    versions = {name: package_version(name) for name in options.tracked}
    if unknown := [name for name, version in versions.items() if version is None]:
        raise GraphError(
            f"delayed(tracked=...) of {func.__qualname__}() names {', '.join(unknown)}",
            expected="names of installed packages, such as scikit-image or skimage",
            got="the name of a package that is not installed",
        )
    packages = [Part("package", "", n, hash_value(v), str(v)) for n, v in versions.items()]
    hashed = hash_value((reach.fingerprint, sorted(versions.items())))
    return Code(hashed, reach, [*reach.parts, *packages])


def _spec_of(found):
    found = getattr(found, "__func__", found)  # a decorated class method
    return getattr(type(found), "_spec", None) and found._spec


def _spec_by_name(module, qualified_name):
    try:
        spec = _spec_of(imported(f"{module}:{qualified_name}"))
    except Exception as error:  # noqa: BLE001 (whatever the module does)
        return AbsentSpec(module, qualified_name, f"{type(error).__name__}: {error}")
    return AbsentSpec(module, qualified_name, "no decorated function") if spec is None else spec


class AbsentSpec:
    """Stand-in for a function that can't be imported in this process.

    A worker that fails to unpickle a task leaves its scheduler, and clients wait for the task for ever.
    So the error is raised when the function is used.
    """

    def __init__(self, module: str, qualified_name: str, story: str):
        self.module = module
        self.qualified_name = qualified_name
        self.story = story

    def error(self) -> GraphError:
        return GraphError(
            f"{self.module}.{self.qualified_name} is not a decorated function in this process",
            got=self.story,
            hint="give workers the client's version of the module: client.upload_file, or the same "
            "installation, and client.restart()",
        )

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        raise self.error()

    def __reduce__(self):
        return _spec_by_name, (self.module, self.qualified_name)


def _spec_by_value(func, options, signed, bodies=(), files=None):
    learn_bodies(bodies)
    from .code_files import name_files  # only functions that travel by value need it

    name_files(func, files or {})
    return Spec(func, options, signed)


def name_error(error, node, target):
    """Give an error the node and the target that it is about, unless it names them."""
    error.node = error.node or node
    error.target = error.target or target
