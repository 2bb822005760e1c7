"""`Redactor`: texts without the names of users and machines, and without absolute paths.

`report` passes all that records, results and errors say through it, before a page is made.
"""

from __future__ import annotations

import getpass
import platform
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias, TypeVar

#: What stands for a user's or a machine's name.
USER, HOST = "‹user›", "‹host›"
#: Accounts and machines that name nobody.
_NOBODY = {
    *("root", "user", "admin", "administrator", "nobody", "docker", "ubuntu", "debian", "jovyan"),
    *("runner", "vagrant", "localhost", ""),
}
#: Part of a path, up to the next separator; a path in a text ends at a space.
_STEP = r"[^\s/\\'\"<>|]"
_IN_QUOTES = (
    r"(?<=')(?:/|~|[A-Za-z]:[/\\]+)(?=[\w.~])[^'\n]*(?=')",
    r'(?<=")(?:/|~|[A-Za-z]:[/\\]+)(?=[\w.~])[^"\n]*(?=")',
)
#: Absolute paths, and relative ones that leave the current folder.
_PATHS = re.compile(
    "|".join(
        [
            *_IN_QUOTES,  # with spaces, and of any length
            # addresses of local files, such as file:///home/… and sqlite:////data/…
            rf"(?<![\w])[a-z][a-z+]*:///{_STEP}*(?:/+{_STEP}*)*",
            # POSIX with two steps or more: a / alone may be a division or the end of an element
            rf"(?<![\w/.…~<)\]}}])~?/(?=[\w.~+@-]){_STEP}+(?:/+{_STEP}*)+",
            # Windows, and shares
            rf"(?<![\w])[A-Za-z]:[/\\]+{_STEP}*(?:[/\\]+{_STEP}*)*",
            rf"(?<![\w\\])\\\\+{_STEP}+(?:\\+{_STEP}*)+",
            # to the folders above, and what is left of a path that was cut
            rf"(?<![\w/.])\.\.(?:[/\\]{_STEP}*)+",
            rf"…{_STEP}*(?:/{_STEP}*)+",
        ]
    )
)

#: A `Redactor`, or `unchanged`.
Redact: TypeAlias = Callable[[Any], Any]
_T = TypeVar("_T")

#: Elements of SVG that are not seen in a picture, or act; namespaces whose attributes are drawn.
_UNSEEN = frozenset({"metadata", "title", "desc", "script", "foreignObject"})
_DRAWN = ("", "http://www.w3.org/1999/xlink", "http://www.w3.org/XML/1998/namespace")


class Redactor:
    """Take names and absolute paths out of texts; of a path the last part stays: ``…/a.tif``.

    Names are replaced where they stand as whole words.  Accounts such as ``root``, which name nobody,
    stay.

    Parameters
    ----------
    users, hosts : iterable of str
        Names of users and machines, besides those of this process.
    folders : iterable of str
        Absolute paths of folders, which may have spaces in their names.

    Examples
    --------
    >>> from daskcache.housekeeping.redaction import Redactor
    >>> redact = Redactor(["anna"], [], [])
    >>> redact(["by anna, from /data/anna/a.tif", {"scale": "0.5 µm/px"}])
    ['by ‹user›, from …/a.tif', {'scale': '0.5 µm/px'}]
    """

    def __init__(self, users: Iterable[str], hosts: Iterable[str], folders: Iterable[str]):
        machines = filter(None, [*hosts, platform.node()])
        names = {each: HOST for name in machines for each in (name, name.partition(".")[0])}
        names |= dict.fromkeys([*users, *_own_name()], USER)
        self._names = {name: mark for name, mark in names.items() if name.lower() not in _NOBODY}
        self._words = _any_of(self._names, r"(?<![^\W_])(?:", r")(?![^\W_])")
        named = [folder for folder in folders if len(folder) > 1]  # not the top of the file system
        self._folders = _any_of(named, r"(?<![\w.])(?:", r")(?=/|\b)")

    def __call__(self, value: _T) -> _T:
        """Return a value with its texts redacted; containers of texts are made anew.

        Raises
        ------
        TypeError
            If it holds something else than texts, numbers and containers of them.
        """
        found: Any = value
        if isinstance(value, str):
            text = self._text(value)
            found = value if text == value else type(value)(text)
        elif isinstance(value, dict):
            found = {self(name): self(each) for name, each in value.items()}
        elif isinstance(value, tuple) and hasattr(value, "_make"):
            found = value._make(map(self, value))
        elif isinstance(value, (list, tuple)):
            found = type(value)(map(self, value))
        elif value is not None and not isinstance(value, (int, float)):
            raise TypeError(f"texts in a {type(value).__name__} would not be redacted")
        return found

    def _text(self, text):
        if self._folders is not None:
            text = self._folders.sub("…", text)
        text = _PATHS.sub(_last_part, text)
        if self._words is None:
            return text
        return self._words.sub(lambda found: self._names[found[0]], text)


def unchanged(value: _T) -> _T:
    """Return a value as it is: what a `Redactor` is for a user who wants the names."""
    return value


def absolute_in_quotes(text: str) -> list[str]:
    """Return the absolute paths that stand in quotes in a text."""
    return re.findall("|".join(_IN_QUOTES), text)


def redacted_svg(content: str | bytes, redact: Redact) -> bytes:
    """Return a picture in SVG with its texts redacted, and without what is not seen or leads elsewhere.

    Raises
    ------
    xml.etree.ElementTree.ParseError
        If it is not XML.
    """
    top = ET.fromstring(content)  # drops comments and processing instructions
    for element in list(top.iter()):
        for child in list(element):
            if _local(child.tag)[1] in _UNSEEN:
                element.remove(child)
        element.text, element.tail = redact(element.text), redact(element.tail)
        for name, value in list(element.attrib.items()):
            space, local = _local(name)
            leads_away = local == "href" and not value.startswith(("#", "data:"))
            if space not in _DRAWN or local.startswith("on") or leads_away:
                del element.attrib[name]
            elif not value.startswith("data:"):
                element.attrib[name] = redact(value)
    return ET.tostring(top, encoding="utf-8")


def _local(name: str) -> tuple[str, str]:
    """Return the namespace and the name of an element or attribute."""
    space, _, local = name.rpartition("}")
    return space[1:], local


def _own_name():
    try:
        return [getpass.getuser()]
    except (OSError, KeyError, ImportError):  # a user without a name, in a container
        return []


def _any_of(texts, before, after):
    """Return a pattern for any of several texts, the longest first; None without any."""
    ordered = sorted(filter(None, texts), key=len, reverse=True)
    return re.compile(before + "|".join(map(re.escape, ordered)) + after) if ordered else None


def _last_part(found):
    last = re.split(r"[/\\]", found[0].rstrip("/\\"))[-1]
    # the last part of /home/anna is a name
    is_home = re.fullmatch(r"(?i)(?:.*[/\\])?(?:home|users)[/\\]+[^/\\]+[/\\]*", found[0])
    return "…" if is_home or last in ("..", "…", "~", "") else f"…/{last.lstrip('…')}"
