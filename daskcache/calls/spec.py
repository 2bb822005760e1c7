"""`Spec`: a decorated function with its options, shared by all its nodes.

A spec also holds the function's `Signature`, its targets and its code (`code_of`).  `graph.node` makes
specs, and `recipe` makes calls of them.  Specs travel to workers by the function's name if it can be
imported.  `hashing.reach` analyses the code, and `targets.template` fills the targets' paths.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, NamedTuple

from dask.utils import funcname, parse_timedelta

from ..errors import DaskcacheError, GraphError, TemplateError, UnhashableArgument, UnsafePath
from ..hashing.changes import Part
from ..hashing.encoder import Encoder, hash_value
from ..hashing.functions import learn_bodies
from ..hashing.names import imported
from ..hashing.ownership import package_version
from ..hashing.reach import Reach
from ..storage.roots import check_local
from ..storage.tables.databases import SEPARATOR, masked
from ..targets.base import Target
from ..targets.registry import read_as, target_class
from ..targets.source import Source
from ..targets.template import Template

CHECKS = ("record", "exists", "content")
ON_MODIFIED = ("error", "adopt", "recompute")
TRACKED = ("user", "function")


@dataclasses.dataclass(frozen=True)
class Options:
    """Parameters of `daskcache.delayed`, documented there."""

    pure: bool | None = None
    nout: int | None = None
    target: Any = None
    store: type[Target] | None = None
    save: bool = True
    version: Any = None
    ignore: tuple[str, ...] = ()
    check: str = "record"
    on_modified: str = "error"
    label: str | None = None
    expires: str | None = None
    tracked: str | tuple[str, ...] = "user"
    isolate: bool = False

    def __post_init__(self):
        if isinstance(self.ignore, str):
            object.__setattr__(self, "ignore", (self.ignore,))
        for name, allowed in (("check", CHECKS), ("on_modified", ON_MODIFIED), ("tracked", TRACKED)):
            if getattr(self, name) not in allowed and not isinstance(getattr(self, name), tuple):
                raise GraphError(
                    f"delayed() got {name}={getattr(self, name)!r}",
                    expected=" or ".join(map(repr, allowed)),
                )

    def __reduce__(self):
        changed = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if getattr(self, f.name) != f.default
        }
        return _options, (changed,)


def _options(changed):
    return Options(**changed)


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
    """

    def __init__(self, func: Callable, options: Options, signed: bool = True):
        self.func = func
        self.options = options
        self.signed = signed
        self.name = funcname(func)
        try:
            self.formats, self.layout = _formats(func, options)
        except DaskcacheError as error:
            name_error(error, self.name, options.target and masked(str(options.target)))
            raise
        self._code: Code | None = None
        #: This spec is importable if its module has `_named` under the function's name.
        self._named = self
        #: Number of further calls to check for plain paths that should perhaps be sources.
        self.hints_left = 10
        self.nout = self.layout if options.nout is None and _is_count(self.layout) else options.nout

    @functools.cached_property
    def signature(self) -> Signature:
        if not self.signed:
            return Signature(_ANYTHING)
        return (_known_signature if _is_at_its_name(self.func) else _signature_of)(self.func)

    @functools.cached_property
    def unsigned(self) -> Spec:
        """The same spec for calls that don't fit the signature: they fail when they run, as in Dask."""
        return Spec(self.func, self.options, signed=False)

    @functools.cached_property
    def templates(self) -> tuple[Template, ...]:
        return tuple(Template(target.path) for target in self.formats)

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
                f"delayed(ignore=...) names {sorted(unknown)}, which are no arguments of {self.name}()",
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
        UnhashableArgument
            If an argument has no stable identity.
        """
        encoder = Encoder()
        encoder.parts.append(code.encode())
        if any(self._read_as):
            encoder.add(self._read_as)
        for position in self.counted:
            try:
                encoder.add_checked(values[position])
            except UnhashableArgument as error:
                name = self.signature.names[position]
                raise UnhashableArgument(
                    f"the argument {name!r} of {self.name}(): {error.message}",
                    got=_shown(values[position]),
                    hint=error.hint,
                ) from error
        return encoder.digest()

    @functools.cached_property
    def _read_as(self):
        """Classes and options that read the targets' files; None where the suffix suffices."""
        return [read_as(target) for target in self.formats]

    @property
    def is_importable(self) -> bool:
        """True if other processes can import the function by name."""
        name = getattr(self.func, "__qualname__", "")
        return self.module != "__main__" and _spec_at(self.module, name) is self._named

    def __reduce__(self):
        if self.is_importable:
            return _spec_by_name, (self.module, self.func.__qualname__)
        return _spec_by_value, (self.func, self.options, self.signed, self._travelling_bodies())

    def _travelling_bodies(self):
        """Return the analyses of the functions that travel with this one.

        With them the other process computes the same key.
        """
        try:
            reach = self.code(glance=True).reach
        except DaskcacheError:  # calls report the error
            return {}
        return reach.bodies(travelling=True) if reach is not None else {}


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
        from ..hashing.identity import identity_of

        hashed = hash_value(("version", options.version, identity_of(func)))
        return Code(hashed, None, [Part("the", "", "version", hashed, repr(options.version))])
    reach = Reach(func, follow=options.tracked != "function")
    if isinstance(options.tracked, str):
        return Code(reach.fingerprint, reach, reach.parts)
    versions = {name: package_version(name) for name in options.tracked}
    if unknown := [name for name, version in versions.items() if version is None]:
        raise GraphError(
            f"{func.__qualname__}() is to be tracked with {', '.join(unknown)}",
            expected="names of installed packages, such as scikit-image or skimage",
            got="no such package",
        )
    packages = [Part("package", "", n, hash_value(v), str(v)) for n, v in versions.items()]
    hashed = hash_value((reach.fingerprint, sorted(versions.items())))
    return Code(hashed, reach, [*reach.parts, *packages])


def _spec_at(module, qualified_name):
    """Return the spec of the decorated function with that name, or None."""
    try:
        found = imported(f"{module}:{qualified_name}")
    except (ImportError, AttributeError, ValueError):
        return None
    return _spec_of(found)


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


def _spec_by_value(func, options, signed, bodies=()):
    learn_bodies(bodies)
    return Spec(func, options, signed)


class Signature:
    """Parameters of a function, with a quick way to bind arguments to them."""

    def __init__(self, inspected: inspect.Signature):
        self.inspected = inspected
        parameters = self.inspected.parameters.values()
        self.names = tuple(p.name for p in parameters)
        self.kinds = tuple(p.kind for p in parameters)
        self.wants_object = tuple(_handle_class(p.annotation) for p in parameters)
        self.wants_open = tuple(_lazy_kind(p.annotation) for p in parameters)
        self.takes_target_path = "target_path" in self.names
        self.defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        if self.takes_target_path:
            self.defaults["target_path"] = None
        self._plain = not {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD} & set(
            self.kinds
        )
        self._max_positional = sum(kind is not inspect.Parameter.KEYWORD_ONLY for kind in self.kinds)
        self._rest = [self._defaults_from(i) for i in range(len(self.names) + 1)]

    def _defaults_from(self, position):
        names = self.names[position:]
        if all(name in self.defaults for name in names):
            return tuple(self.defaults[name] for name in names)
        return None

    def bind(self, args: tuple, kwargs: dict) -> tuple:
        """Return one value for each parameter, with defaults filled in.

        Raises
        ------
        TypeError
            If the arguments don't fit, as in the call.
        """
        # the quick way handles plain parameters; `inspect` does the rest, and raises
        if self._plain and len(args) <= self._max_positional:
            if not kwargs:
                rest = self._rest[len(args)]
                if rest is not None:
                    return args + rest
            else:
                values, used = list(args), 0
                for name in self.names[len(args) :]:
                    if name in kwargs:
                        values.append(kwargs[name])
                        used += 1
                    elif name in self.defaults:
                        values.append(self.defaults[name])
                    else:
                        break
                if used == len(kwargs) and len(values) == len(self.names):
                    return tuple(values)
        return self._bind_slowly(args, kwargs)

    def _bind_slowly(self, args, kwargs):
        if self.takes_target_path:
            kwargs = {"target_path": None, **kwargs}
        bound = self.inspected.bind(*args, **kwargs)
        bound.apply_defaults()
        return tuple(bound.arguments[name] for name in self.names)

    def unbind(self, values: tuple) -> tuple[list, dict]:
        """Return positional and keyword arguments for a call with these values."""
        args: list = []
        kwargs: dict = {}
        for name, kind, value in zip(self.names, self.kinds, values, strict=True):
            if kind is inspect.Parameter.VAR_POSITIONAL:
                args += value
            elif kind is inspect.Parameter.VAR_KEYWORD:
                kwargs |= value
            elif kind is inspect.Parameter.KEYWORD_ONLY:
                kwargs[name] = value
            else:
                args.append(value)
        return args, kwargs


_ANYTHING = inspect.Signature(
    [
        inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
        inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
    ]
)


def _signature_of(func):
    return Signature(_inspect(func))


#: Cached, because a worker makes specs anew for each task.  Only for functions of modules, which stay.
_known_signature = functools.lru_cache(_signature_of)


def _is_at_its_name(func):
    """Test if a module has this function under its name."""
    module = sys.modules.get(getattr(func, "__module__", None))
    return type(func) is FunctionType and getattr(module, func.__name__, None) is func


def _inspect(func):
    try:
        return inspect.signature(func, eval_str=True)
    except (NameError, SyntaxError, AttributeError, TypeError):  # annotations that can't be evaluated
        pass
    except ValueError:  # a function of C without a signature
        return _ANYTHING
    try:
        return inspect.signature(func)
    except (ValueError, TypeError):
        return _ANYTHING


def _handle_class(annotation):
    """Return the class of sources or targets that a parameter asks for; None if it asks for data."""
    is_handle = isinstance(annotation, type) and issubclass(annotation, (Source, Target))
    return annotation if is_handle else None


def _lazy_kind(annotation):
    """Return the name of the package whose lazy array a parameter asks for, or None.

    Classes are compared by name, so neither package has to be installed.
    """
    if not isinstance(annotation, type):
        return None
    return _LAZY.get(f"{annotation.__module__}.{annotation.__qualname__}")


_LAZY = {
    "zarr.core.array.Array": "zarr",
    "zarr.core.group.Group": "zarr",
    "dask.array.core.Array": "dask",
}


# ---- targets of a function ----------------------------------------------------------------------


def _formats(func, options):
    """Return the target prototypes of a function, and the form of its results."""
    target = options.target
    if target is None:
        if not options.save or options.pure is False:
            return (), None
        target = "{funcname}/{key}" + _default_suffix(func)
    if isinstance(target, Mapping):
        return tuple(_format(t, options) for t in target.values()), tuple(target)
    if isinstance(target, (tuple, list)):
        return tuple(_format(t, options) for t in target), len(target)
    return (_format(target, options),), None


def _format(target, options):
    if isinstance(target, Target):
        _check_kind(target)
        check_local(target.path, "a target")
        Template(target.path)
        return target
    if not isinstance(target, (str, os.PathLike)):
        raise TemplateError(
            f"delayed(target=...) got a {type(target).__name__}",
            expected="a path template, a Target, or a tuple or dict of them",
        )
    text = os.fspath(target)
    if SEPARATOR in text:  # it may be a URL: nothing else may look at its text, or show it
        return _format((options.store or target_class(text))(text), options)
    check_local(text, "a target")
    template = Template(text)
    if options.store is not None:
        return options.store(template.text)
    return target_class(_suffix_hint(template))(template.text)


def _check_kind(target):
    """Raise an error if a target can't be a node's.

    A target with an address raises `GraphError`.  A file target whose path has the form of a table's
    place raises `UnsafePath`.
    """
    if target.has_address:
        target.at(target.path)
    if SEPARATOR in target.path and not target.in_database:
        raise UnsafePath(
            f"{type(target).__name__} is a format of files, and the path has '::' in it",
            target=masked(target.path),
            hint="that is for tables in databases: daskcache.SQLTarget",
        )


def _suffix_hint(template):
    """Return the text from which the suffix is read: the template's own text after its last field."""
    # "x" stands for the field: a name must not begin with the suffix's dot
    literal, field, attribute, _ = template.parts[-1]
    if field is None:
        return "x" + literal if len(template.parts) > 1 else literal
    if attribute in ("filename", "suffix"):
        raise TemplateError(
            f"the format of {template.text!r} depends on a value",
            hint="let the template end in a suffix, or name the format with delayed(store=...)",
        )
    return "x"


def _default_suffix(func):
    annotation = getattr(func, "__annotations__", {}).get("return")
    name = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return _DEFAULT_SUFFIXES.get(name.rpartition(".")[2], ".pkl")


_DEFAULT_SUFFIXES = {"ndarray": ".npy", "DataFrame": ".parquet"}


def _is_count(layout):
    return isinstance(layout, int)


# ---- shared with recipes -------------------------------------------------------------------------

#: Types whose values never change.
SCALARS = frozenset({int, str, float, bool, type(None), bytes, complex})


def all_scalars(values) -> bool:
    return all(type(value) in SCALARS for value in values)


def name_error(error, node, target):
    """Give an error the node and the target that it is about, unless it names them."""
    error.node = error.node or node
    error.target = error.target or target
