"""`Options`: the parameters of `daskcache.delayed`, and the targets that they ask for.

`spec` keeps them for a decorated function.  `targets.template` reads the targets' paths, and
`targets.registry` finds their classes.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dask.utils import funcname, parse_timedelta

from ..errors import GraphError, TemplateError, UnsafePath, did_you_mean
from ..hashing.names import imported
from ..storage.paths import masked, may_be_table
from ..storage.roots import check_local
from ..targets.base import Target
from ..targets.registry import is_registered, refuse_foreign_suffix, suffix_of, target_class
from ..targets.template import Template

_ALLOWED = {
    "check": ("record", "exists", "content"),
    "on_modified": ("error", "adopt", "recompute"),
    "tracked": ("user", "function"),
}


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
    corrections: Any = None
    label: str | None = None
    expires: str | None = None
    tracked: str | tuple[str, ...] = "user"
    isolate: bool = False
    retries: int = 0
    timeout: str | float | None = None

    def __post_init__(self):
        if isinstance(self.ignore, str):
            object.__setattr__(self, "ignore", (self.ignore,))
        for name, allowed in _ALLOWED.items():
            value = getattr(self, name)
            if value not in allowed and not isinstance(value, tuple):
                expected = " or ".join(map(repr, allowed))
                raise GraphError(f"delayed() got {name}={value!r}", expected=expected)

        if type(self.retries) is not int or self.retries < 0:
            raise GraphError(f"delayed() got retries={self.retries!r}", expected="0, 1, 2 …")
        self.timeout_seconds()  # raises if it is no duration

    def timeout_seconds(self) -> float | None:
        """Return the most seconds that a run of the function may take; None without a limit."""
        if self.timeout is None:
            return None
        try:
            seconds = float(parse_timedelta(self.timeout))
        except (ValueError, TypeError, KeyError):
            seconds = 0.0
        if seconds <= 0:
            expected = 'a duration, e.g. "10 min", or a number of seconds'
            raise GraphError(f"delayed() got timeout={self.timeout!r}", expected=expected)
        return seconds

    def __reduce__(self):
        changed = {name: value for name, value in vars(self).items() if value != getattr(Options, name)}
        return _options, (changed,)


def _options(changed):
    return Options(**changed)


def unknown_parameter(name: str, known: Iterable[str]) -> TypeError:
    """Return the error for a parameter that `daskcache.delayed` doesn't have."""
    question = did_you_mean(name, known)
    return TypeError(
        f"delayed() got an unexpected keyword argument {name!r}" + (f": {question}" if question else "")
    )


def check_parameters(func: Callable) -> None:
    """Raise `GraphError` if each call of the function would lose an argument to Dask."""
    try:
        names = inspect.signature(func).parameters
    except (TypeError, ValueError):  # a function of C without a signature
        return
    for name in OF_DASK:
        if name in names:
            raise GraphError(
                f"{funcname(func)}() has a parameter {name!r}, which Dask takes out of every call",
                hint="give the parameter another name",
            )


#: Keyword arguments of every call of a Dask function.
OF_DASK = ("pure", "dask_key_name")


def formats_of(func, options):
    """Return the target prototypes of a function, and the form of its results."""
    target = options.target
    if target is None:
        if not options.save or options.pure is False:
            return (), None
        target = "{funcname}/{key}" + _default_suffix(func)
    formats = tuple(_format(each, options) for each in _each(target))
    for each in formats:
        refuse_foreign_suffix(each)
    if len(formats) == 1 and hasattr(formats[0], "of_package"):
        formats = (formats[0].of_package(_package_of_result(func)),)
    if isinstance(target, Mapping):
        return formats, tuple(target)
    return formats, len(target) if isinstance(target, (tuple, list)) else None


def _each(target):
    """Return the targets of all results."""
    if isinstance(target, Mapping):
        return tuple(target.values())
    return tuple(target) if isinstance(target, (tuple, list)) else (target,)


def check_suffixes(options: Options, paths: tuple[str, ...]) -> None:
    """Check that no value has brought the suffix of another format than the template's.

    Raises
    ------
    TemplateError
        If a template without a suffix ends in a field, and the field's value in a suffix.
    """
    for target, path in zip(_each(options.target), paths, strict=False):
        if options.store is not None or isinstance(target, Target):
            continue
        if may_be_table(path) or not is_registered(path):
            continue
        if target_class(path) is not target_class(_suffix_hint(Template(os.fspath(target)))):
            raise TemplateError(
                "a value gives a target a suffix, and the template has chosen the format without it",
                expected="a template that ends in a suffix, or delayed(store=...) to name the format",
                got=f"{path!r} of the template {os.fspath(target)!r}",
            )


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
    if may_be_table(text):  # nothing else may look at its text, or show it
        return _format((options.store or target_class(text))(text), options)
    check_local(text, "a target")
    template = Template(text)
    if options.store is not None:
        return options.store(template.text)
    hint = _suffix_hint(template)
    if not options.save and not is_registered(hint):
        return imported("daskcache:FileTarget")(template.text)
    return target_class(hint)(template.text)


def _check_kind(target):
    """Raise an error if a target can't be a node's.

    A target with an address raises `GraphError`.  A file target whose path has the form of a table's
    place raises `UnsafePath`.
    """
    if target.has_address:
        target.at(target.path)
    if may_be_table(target.path) and not target.in_database:
        raise UnsafePath(
            f"{type(target).__name__} is a format of files, and the path has '::' in it",
            target=masked(target.path),
            hint="that is for tables in databases: daskcache.SQLTarget",
        )


def correction_template(options: Options, formats: tuple[Target, ...]) -> Template | None:
    """Return the template of the files that users put in place of results, or None without one.

    Raises
    ------
    TemplateError
        If it is no template, or gives the target's own path or another suffix.
    GraphError
        If the function does not have one target that is a file or folder at a known path.
    """
    if options.corrections is None:
        return None
    if not isinstance(options.corrections, (str, os.PathLike)):
        raise TemplateError(
            f"delayed(corrections=...) got a {type(options.corrections).__name__}",
            expected='a path template, e.g. "corrected/{image.stem}.tif"',
        )
    text = os.fspath(options.corrections)
    check_local(text, "a correction")
    template = Template(text)
    fault = _why_uncorrectable(options, formats, template)
    if fault is not None:
        raise GraphError(
            "delayed(corrections=...) can't be used here",
            expected="one target, which is a file or folder at a path that is known before it is made",
            got=fault,
            hint='give each result a function of its own, and a target such as "masks/{image.stem}.tif"',
        )
    own = Template(formats[0].path)
    _check_apart(text, own.text)
    if _ending(template) != _ending(own):
        raise TemplateError(
            "a correction has another suffix than the target",
            expected=f"the suffix of {own.text!r}",
            got=repr(text),
        )
    return template


def _why_uncorrectable(options, formats, template):
    """Return why a function's results can't be corrected in a folder, or None."""
    if isinstance(options.target, (tuple, list, Mapping)) or len(formats) > 1:
        return f"{len(formats)} targets, by a tuple or dict"
    if not formats:
        return "a function whose results are not cached"
    if formats[0].in_database or may_be_table(template.text):
        return "a table in a database"
    if "data_hash" in (*template.fields, *Template(formats[0].path).fields):
        return "a path with {data_hash}"
    return None


def check_correction(correction: str, path: str) -> None:
    """Check the filled path of a correction against that of its target; raise `TemplateError`."""
    _check_apart(correction, path)
    if suffix_of(correction) != suffix_of(path):
        raise TemplateError(
            "a value gives a correction another suffix than the target",
            expected=f"the suffix of {path!r}",
            got=repr(correction),
        )


def _check_apart(correction, path):
    from ..storage.record import collision_form  # few functions have a folder of corrections

    first, second = sorted((collision_form(correction), collision_form(path)), key=len)
    if second == first or second.startswith(f"{first}/"):
        raise TemplateError(
            "a correction would be at the path of the target",
            expected="a folder of its own, which only users write to",
            got=f"{correction!r} for the target {path!r}",
        )


def _ending(template):
    """Return the suffix of a template, or the field that brings it."""
    attribute = template.parts[-1][2]
    is_open = attribute in ("filename", "suffix")
    return attribute if is_open else suffix_of(_suffix_hint(template))


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


def _package_of_result(func):
    """Return the package of the data frame that a return annotation names, or an empty text."""
    annotation = getattr(func, "__annotations__", {}).get("return")
    if isinstance(annotation, str):
        annotation = annotation.strip("'\"")  # quoted, in a module whose annotations are deferred
        module, _, name = annotation.rpartition(".")
        named = getattr(func, "__globals__", {}).get(module or name)
        if name != "DataFrame" or named is None:
            # imported for type checkers only
            return "polars" if annotation in ("pl.DataFrame", "polars.DataFrame") else ""
        annotation = getattr(named, name, None) if module else named
    is_frame = getattr(annotation, "__name__", "") == "DataFrame"
    return annotation.__module__.partition(".")[0] if is_frame else ""


def _default_suffix(func):
    annotation = getattr(func, "__annotations__", {}).get("return")
    name = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return _DEFAULT_SUFFIXES.get(name.rpartition(".")[2], ".pkl")


_DEFAULT_SUFFIXES = {"ndarray": ".npy", "DataFrame": ".parquet"}
