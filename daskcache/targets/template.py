"""Path and label templates, ``"denoised/{image.stem}.tif"``, and `context` with values for them.

A field is an argument's name, ``{funcname}``, ``{key}``, ``{data_hash}`` or a value of the context.  It
may have a format spec (``{i:03d}``).  Fields of sources, nodes and paths take the attributes
``filename``, ``stem``, ``suffix`` and ``parent``, and as further ones the `fields` of files found by a
pattern.  Indexing, other attributes and expressions are errors, as a template is data and is never
evaluated.  Only the template's own text makes folders.  A value stays within one path component.
`calls.options` and `calls.spec` parse templates, and `calls.arguments` fills them when a node is made.
`calls.variants` puts filled paths into the folder of a variant.
"""

from __future__ import annotations

import enum
import re
import string
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path, PurePath
from typing import Any

from .. import config
from ..errors import TemplateError
from ..hashing.changes import brief
from ..storage.paths import DATA_HASH, check_path, nested

ATTRIBUTES = ("filename", "stem", "suffix", "parent")

_FIELD = re.compile(r"([A-Za-z_]\w*)(?:\.([A-Za-z]\w*))?\Z")
# A value must not bring in, or complete, the `::` before the name of a table.
_UNSAFE_IN_VALUE = re.compile(r"[/\\%]|::|\A:|:\Z")


class Template:
    """A parsed template.

    Parameters
    ----------
    text : str
        The template.
    is_path : bool
        True for a path, which is checked, and in which separators in values are escaped.  False for a
        label.

    Raises
    ------
    TemplateError
        If a field is malformed.
    UnsafePath
        If the text itself is not a path below a root.
    """

    def __init__(self, text: str, is_path: bool = True):
        self.text = text
        self.is_path = is_path
        self.parts = _parse(text)
        self.fields = tuple(name for _, name, _, _ in self.parts if name)
        if is_path:
            # check the text early, when a function is decorated; any value stands for a field
            literal = "".join(part[0] + ("x" if part[1] else "") for part in self.parts)
            check_path(literal, text)

    def __repr__(self):
        return f"Template({self.text!r})"

    def __reduce__(self):
        return Template, (self.text, self.is_path)

    def fill(self, lookup, field_of=None) -> str:
        """Fill the fields.

        Parameters
        ----------
        lookup : callable
            Takes a field's name, returns its value; raises KeyError for an unknown name.
        field_of : callable, optional
            Takes a field's name and an attribute besides `ATTRIBUTES`, returns the value that a pattern
            found; raises TemplateError.

        Returns
        -------
        str
            The path or label.  In a path, ``{data_hash}`` stays until the result is known.

        Raises
        ------
        TemplateError
            If a name is unknown, or its value can't be part of a file name.
        UnsafePath
            If the filled path is not valid below the root.
        """
        filled = []
        for literal, name, attribute, spec in self.parts:
            filled.append(literal)
            if name is None:
                continue
            if name == "data_hash" and self.is_path:
                filled.append(DATA_HASH)
                continue
            try:
                value = lookup(name)
            except KeyError:
                raise TemplateError(
                    f"the template {self.text!r} has a field {name!r} that is not an argument",
                    hint=f"use an argument's name, {{funcname}}, {{key}}, or set {name!r} with "
                    f"daskcache.context({name}=...)",
                ) from None
            if attribute in ATTRIBUTES:
                value = _attribute(value, attribute, name, self.text)
            elif attribute is not None:
                value = self._found(field_of, name, attribute)
            text = self._text(value, name, spec)
            filled.append(_escape(text) if self.is_path else text)
        result = "".join(filled)
        if self.is_path and self.fields:
            check_path(result, self.text)
        return result

    def _found(self, field_of, name, attribute):
        try:
            if field_of is None:
                raise TemplateError("it has no fields", expected=_plain_attributes())
            return field_of(name, attribute)
        except TemplateError as error:
            error.message = (
                f"the template {self.text!r} uses {{{name}.{attribute}}}, but {error.message}"
            )
            raise

    def _text(self, value, name, spec):
        if isinstance(value, enum.Enum):
            value = value.name
        if value is None or isinstance(value, (str, int, float, PurePath)):
            try:
                return format(value if not isinstance(value, PurePath) else str(value), spec)
            except (ValueError, TypeError) as error:
                raise TemplateError(
                    f"the template {self.text!r} can't format {name}={brief.repr(value)}: {error}"
                ) from None
        if _has_path(value):
            raise TemplateError(
                f"the template {self.text!r} uses {{{name}}}, which is a node or a source",
                hint=f"use {{{name}.stem}}, .filename, .suffix, .parent, or a field of its pattern",
            )
        raise TemplateError(
            f"the template {self.text!r} can't put {name}, a {type(value).__name__}, in a name",
            hint="use a text, a number, a source or a node, or {key}",
        )


class Context(MutableMapping):
    """Mapping of values that path and label templates can use, read when a node is made.

    ``with context(base="img01"):`` sets values for a block, in this thread or asyncio task.
    ``context["base"] = "img01"`` sets a value for the whole process.  Values of a block come first,
    then those of the process, then those of config ``daskcache.context``.

    Parameters
    ----------
    **values : object
        Values by name, for the block of the ``with`` statement.

    Returns
    -------
    context manager
        Its target is the context itself.

    Raises
    ------
    KeyError
        When reading a value that is not set, or deleting one that is not set for the process.

    Examples
    --------
    >>> @dc.delayed(target="{base}/{n}.json")
    ... def square(n):
    ...     return n * n
    >>> with dc.context(base="img01"):
    ...     node = square(2)
    >>> node.dc.path.endswith("img01/2.json")
    True
    """

    def __init__(self):
        self._process: dict[str, Any] = {}
        self._block: ContextVar[dict[str, Any] | None] = ContextVar("daskcache_context", default=None)

    @contextmanager
    def __call__(self, **values: Any) -> Iterator[Context]:
        token = self._block.set({**(self._block.get() or {}), **values})
        try:
            yield self
        finally:
            self._block.reset(token)

    def _all(self):
        return {**config.get("context"), **self._process, **(self._block.get() or {})}

    def __getitem__(self, name):
        return self._all()[name]

    def __setitem__(self, name, value):
        self._process[name] = value

    def __delitem__(self, name):
        del self._process[name]

    def __iter__(self):
        return iter(self._all())

    def __len__(self):
        return len(self._all())

    def __repr__(self):
        return f"context({self._all()!r})"


context = Context()


# ---- parts of templates ----------------------------------------------------------------------------


def _parse(text):
    try:
        raw = list(string.Formatter().parse(text))
    except ValueError as error:
        raise TemplateError(f"the template {text!r} is malformed: {error}") from None
    parts = []
    for literal, field, spec, conversion in raw:
        if field is None:
            parts.append((literal, None, None, ""))
            continue
        match = _FIELD.match(field)
        if not match or conversion or "{" in (spec or ""):
            raise TemplateError(
                f"the template {text!r} has the field {{{field}}}, which is not a plain field",
                expected=f"a name, or a name with one of {_plain_attributes()}, or a pattern's field",
                got=field,
                hint="give the function an argument with this value, and name it here",
            )
        parts.append((literal, match[1], match[2], spec or ""))
    return tuple(parts)


def _plain_attributes():
    return f".{', .'.join(ATTRIBUTES)}"


def _escape(text):
    return _UNSAFE_IN_VALUE.sub(lambda match: "".join(f"%{ord(c):02X}" for c in match[0]), text)


def _has_path(value):
    return isinstance(value, PurePath) or hasattr(type(value), "__daskcache_path__")


def _attribute(value, attribute, name, text):
    if hasattr(type(value), "__daskcache_path__"):
        value = value.__daskcache_path__()
    if not isinstance(value, (str, PurePath)):
        raise TemplateError(
            f"the template {text!r} uses {{{name}.{attribute}}}, but {name} is a {type(value).__name__}",
            expected="a source, a node with a target, or a path",
            got=repr(value)[:80],
        )
    path = Path(nested(str(value)))  # the table's name becomes the file name
    if attribute == "parent":
        return path.parent.name
    return path.name if attribute == "filename" else getattr(path, attribute)
