"""Path and label templates: ``"denoised/{image.stem}.tif"``.

A field is an argument's name, ``{funcname}``, ``{key}``, ``{data_hash}`` or a value of the context,
with a format spec if wanted (``{i:03d}``).  Of sources, nodes and paths it takes the attributes
``filename``, ``stem``, ``suffix`` and ``parent``.  There is no indexing, no other attribute and no
expression: a template is data, it is never evaluated.

Folders come from the template's own text.  What a value contributes stays within one path component.
"""

from __future__ import annotations

import enum
import re
import string
from pathlib import Path, PurePath

from ..databases import SEPARATOR, masked, why_no_place
from ..errors import TemplateError, UnsafePath

ATTRIBUTES = ("filename", "stem", "suffix", "parent")

_FIELD = re.compile(rf"([A-Za-z_]\w*)(?:\.({'|'.join(ATTRIBUTES)}))?\Z")
# A value must not bring in, or complete, the `::` before the name of a table.
_UNSAFE_IN_VALUE = re.compile(r"[/\\%]|::|\A:|:\Z")
_UNSAFE_ANYWHERE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?\Z|.*\.part\Z|\.daskcache\Z")
# A quick look that most paths pass; what doesn't pass is looked at component by component.
_PLAINLY_SAFE = re.compile(r"[\w%{-](?:[\w%={}()+,-]|[./ ](?=[\w%={}()+,-]))*\Z", re.ASCII)
_RESERVED_SOMEWHERE = re.compile(
    r"(?i)(?:\A|/)(?:con|prn|aux|nul|com\d|lpt\d)(?:[./]|\Z)|\.part(?:/|\Z)|\.daskcache"
)
_LONGEST_NAME = 255 - len("..0123456789abcdef.part")  # bytes; commits write beside the target

#: Stands in a target's path until the result, and so its hash, is known.
DATA_HASH = "{data_hash}"
_ANY_HASH = 32 * "0"


def located(path: str, data_hash: str) -> str:
    """`path` with the hash of its data filled in."""
    return path.replace(DATA_HASH, data_hash)


class Template:
    """A parsed template.

    Parameters
    ----------
    text : str
        The template.
    is_path : bool
        Whether it fills to a path (checked, separators in values escaped) or to a label.

    Raises
    ------
    TemplateError
        If a field is malformed.
    UnsafePath
        If the text itself is no path below a root.
    """

    def __init__(self, text: str, is_path: bool = True):
        self.text = text
        self.is_path = is_path
        self.parts = _parse(text)
        self.fields = tuple(name for _, name, _, _ in self.parts if name)
        if is_path:
            literal = "".join(part[0] + ("x" if part[1] else "") for part in self.parts)
            check_path(literal, text)

    def __repr__(self):
        return f"Template({self.text!r})"

    def __reduce__(self):
        return Template, (self.text, self.is_path)

    def fill(self, lookup) -> str:
        """Fill the fields.

        Parameters
        ----------
        lookup : callable
            Gives the value of a field's name; raises KeyError for an unknown one.

        Raises
        ------
        TemplateError
            If a name is unknown, or its value is nothing that belongs in a file name.
        UnsafePath
            If the filled path is not a valid one below the root.
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
                    f"the template {self.text!r} has a field {name!r} that is no argument",
                    hint=f"use an argument's name, {{funcname}}, {{key}}, or set {name!r} with "
                    f"daskcache.context({name}=...)",
                ) from None
            text = self._text(value, name, attribute, spec)
            filled.append(_escape(text) if self.is_path else text)
        result = "".join(filled)
        if self.is_path and self.fields:
            check_path(result, self.text)
        return result

    def _text(self, value, name, attribute, spec):
        if attribute is not None:
            value = _attribute(value, attribute, name, self.text)
        if isinstance(value, enum.Enum):
            value = value.name
        if value is None or isinstance(value, (str, int, float, PurePath)):
            try:
                return format(value if not isinstance(value, PurePath) else str(value), spec)
            except (ValueError, TypeError) as error:
                raise TemplateError(
                    f"the template {self.text!r} can't format {name}={value!r}: {error}"
                ) from None
        if _has_path(value):
            raise TemplateError(
                f"the template {self.text!r} uses {{{name}}}, which is a node or a source",
                hint=f"use {{{name}.stem}}, or .filename, .suffix, .parent",
            )
        raise TemplateError(
            f"the template {self.text!r} can't put {name}, a {type(value).__name__}, in a name",
            hint="use a text, a number, a source or a node, or {key}",
        )


def check_path(path: str, text: str) -> None:
    """Raise `UnsafePath` unless `path`, filled from the template `text`, can lie below a root."""
    if len(path) > 200 or not _PLAINLY_SAFE.match(path) or _RESERVED_SOMEWHERE.search(path):
        _check_slowly(path, text)


def _check_slowly(path, text):
    reason = _why_unsafe(path)
    if reason:
        raise UnsafePath(
            f"the template {masked(text)!r} gives the path {masked(path)!r}, {reason}",
            hint="targets are relative to the root (config daskcache.root) and stay below it",
        )


def _why_unsafe(path):
    if _UNSAFE_ANYWHERE.search(path):
        return "which has control characters or lone surrogates"
    if path.startswith("~") or "\\" in path or re.match(r"[A-Za-z]:", path):
        return "which is not a portable relative path"
    if path.startswith("/"):
        return "which is absolute"
    components = path.split("/")
    if not all(components):
        return "which has an empty component"
    for component in components:
        if component in (".", ".."):
            return f"which has the component {component!r}"
        if component[-1] in ". ":
            return f"in which {component!r} ends with a dot or a space"
        if _RESERVED.match(component):
            return f"in which {component!r} is a reserved name"
        if len(located(component, _ANY_HASH).encode()) > _LONGEST_NAME:
            return f"in which a component has more than {_LONGEST_NAME} bytes"
    if SEPARATOR in path:
        return why_no_place(located(path, "0" * 32))
    return None


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
                f"the template {text!r} has the field {{{field}}}, which is no plain field",
                expected=f"a name, or a name with one of .{', .'.join(ATTRIBUTES)}",
                got=field,
            )
        parts.append((literal, match[1], match[2], spec or ""))
    return tuple(parts)


def _escape(text):
    if _UNSAFE_IN_VALUE.search(text):
        return _UNSAFE_IN_VALUE.sub(lambda match: "".join(f"%{ord(c):02X}" for c in match[0]), text)
    return text


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
    path = Path(str(value).replace(SEPARATOR, "/"))  # of a table, its name
    return {
        "filename": path.name,
        "stem": path.stem,
        "suffix": path.suffix,
        "parent": path.parent.name,
    }[attribute]
