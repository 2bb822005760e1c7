"""Encoder of the values in a reach, in which functions and classes stand by their numbers.

`reach` uses it.  Outside a reach, `encoder` takes the fingerprints of functions and classes.
"""

from __future__ import annotations

import re
import reprlib

from .changes import Part
from .encoder import Encoder, digest


class NumberingEncoder(Encoder):
    """Encode the values of a reach; functions and classes stand by their numbers in it."""

    __slots__ = ("reach", "sizes")

    def __init__(self, reach, sizes=None):
        super().__init__()
        self.reach = reach
        #: Sizes of the large buffers, in bytes.
        self.sizes = [] if sizes is None else sizes

    def add_blocks(self, kind, blocks):
        size = super().add_blocks(kind, blocks)
        self.sizes.append(size)
        return size

    def add_code(self, value):
        if self.reach.follows(value):
            self.parts.append(b"@code %d;" % self.reach.place(value))
        else:
            super().add_code(value)

    def nested(self):
        return NumberingEncoder(self.reach, self.sizes)

    def ordering(self):
        return Encoder()  # without numbers, which depend on the order that is being made

    def nbytes(self):
        return sum(self.sizes) + len(self.encoding())


def part_of(kind, module, name, encoder, value):
    """Return a value as a part.

    Code in the value is a separate part.  The number of that code is left out of the hash, because it
    says nothing about the value.
    """
    return Part(kind, module, name, digest(_PLACE.sub(b"@", encoder.encoding())), _brief.repr(value))


_PLACE = re.compile(rb"@code \d+;")

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 80
