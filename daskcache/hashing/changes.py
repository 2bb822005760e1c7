"""The parts of the user's code behind a fingerprint, and the differences between two lists of parts.

`reach` collects the parts, and `storage.code_store` keeps them.  `planning.reasons`, `calls.recipe`,
`runtime.code_check` and `housekeeping.listing` report the differences.
"""

from __future__ import annotations

import os
import reprlib
from collections import Counter
from collections.abc import Collection
from typing import NamedTuple


class Brief(reprlib.Repr):
    """Make short texts of values, however deep or large."""

    def repr_int(self, x, level):
        try:
            return super().repr_int(x, level)
        except ValueError:  # Python refuses to write out thousands of digits
            return f"<an int of {x.bit_length()} bits>"


#: Makes the short texts of values for `Part.text`.
brief = Brief()
brief.maxstring = brief.maxother = 80
#: Lines of a diff that are shown.
_MAX_LINES = 20


class Part(NamedTuple):
    """A function, or a value that functions use."""

    #: "function", "class", "constant", "attribute", "default", "closure variable" or "annotations";
    #: "package" for a package whose version counts, and "the" for the option ``version``.
    kind: str
    module: str
    #: Qualified name within the module.
    name: str
    #: 32 hex digits.
    hash: str
    #: Source of a function, or short text of a value.
    text: str
    #: File and first line of a function, with a colon between them.
    place: str = ""

    @property
    def label(self) -> str:
        """Display name: ``smooth()``, ``SIGMA``."""
        return f"{self.name}()" if self.kind == "function" else self.name


def code_changes(before: list[Part], now: list[Part], own: str = "") -> list[str]:
    """Describe the changes between two lists of parts, for users.

    Parameters
    ----------
    before, now : list of Part
    own : str
        Qualified name of the function itself.  All other functions are called helpers.

    Returns
    -------
    list of str
        One text for each part that changed.  The text of a changed function has several lines: a
        headline, then an indented unified diff of the source.
    """
    return [_change(was, is_now, own) for was, is_now in _differences(before, now)]


def first_difference(
    before: list[Part], now: list[Part], modules: Collection[str] | None = None
) -> tuple[Part | None, Part | None] | None:
    """Return the first part that differs, as a pair of its old and its new version.

    Changed parts come first, then parts missing from `now`, then added ones.

    Parameters
    ----------
    before, now : list of Part
    modules : collection of str, optional
        Look at the parts in these modules only.

    Returns
    -------
    tuple or None
        None in place of a missing version, and None for equal lists.
    """
    if modules is not None:
        before, now = ([p for p in parts if p.module in modules] for parts in (before, now))
    found = _differences(before, now)
    return next((pair for pair in found if None not in pair), next(iter(found), None))


def _differences(before, now):
    """Return the old and the new version of each part that differs; None for a missing version."""
    old, new = _by_name(before), _by_name(now)
    pairs = [(old.get(name), new.get(name)) for name in {**old, **new}]
    return [pair for pair in pairs if None in pair or pair[0].hash != pair[1].hash]


def _by_name(parts):
    """Return parts by kind, module, name and number: several parts (lambdas, say) may share a name."""
    found: dict[tuple, Part] = {}
    numbers: Counter[tuple] = Counter()
    for part in parts:
        name = part[:3]
        found[*name, numbers[name]] = part
        numbers[name] += 1
    return found


def _what(part, own):
    if part.kind != "function":
        return f"{part.kind} {part.name}"
    return f"{'the code of' if part.name == own else 'helper'} {part.name}()"


def _change(was, now, own):
    if was is None:
        return f"{_what(now, own)} is used now"
    if now is None:
        return f"{_what(was, own)} is no longer used"
    if now.kind != "function":
        return f"{_what(now, own)}: {was.text} -> {now.text}"
    file, _, line = now.place.rpartition(":")
    headline = f"{_what(now, own)} changed ({os.path.basename(file)}:{line})"
    return "\n".join([headline, *_diff(was.text, now.text)])


def _diff(old, new):
    if not old or not new:
        return []
    import difflib  # most code has not changed

    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), n=1, lineterm=""))[2:]
    if len(lines) > _MAX_LINES:
        lines[_MAX_LINES:] = [f"… and {len(lines) - _MAX_LINES} more lines"]
    return [f"    {line}" for line in lines]
