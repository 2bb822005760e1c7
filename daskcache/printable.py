"""Texts for terminals and notebooks: what a text holds is shown, and never acted upon.

Any program can write a record or an archive, or name a file.  Such a text may hold escape sequences that
clear the screen, or marks that reverse the order of letters.  Errors, warnings, tables and the command
line show texts through these functions.
"""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """Return a text in one line: what is no letter, mark, sign or space is escaped, as in Python.

    Examples
    --------
    >>> printable("a\\x1b[2Jb")
    'a\\\\x1b[2Jb'
    """
    if text.isprintable():
        return text
    return "".join(map(_escaped, text))


def printable_lines(text: str) -> str:
    """Return a text as `printable` does, but with its line breaks and tabs."""
    return "\n".join(
        "\t".join(map(printable, line.split("\t"))) if "\t" in line else printable(line)
        for line in text.split("\n")
    )


def _escaped(character):
    category = unicodedata.category(character)
    if category[0] != "C" and category not in ("Zl", "Zp"):  # controls, formats, separators of lines
        return character
    return character.encode("unicode_escape").decode()
