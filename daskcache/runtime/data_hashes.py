"""Hashes of the data of a node, and of the corrections that they depend on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..hashing.encoder import digest, short_digest
from ..storage.record import RecordName


def joint_hash(data_hashes: list[str]) -> str:
    """Return the data hash of a node from the data hashes of its results."""
    if len(data_hashes) == 1:
        return data_hashes[0]
    return digest("|".join(data_hashes).encode())


#: In place of the hash of corrections: the data are being computed, and may depend on any.
UNTOLD = "?"


def corrections_in(key: str, names: Iterable[RecordName | None]) -> str:
    """Return a hash of the corrections among a node's results, given their records; "" without any.

    What follows from a correction has other data than its recipe alone says.
    """
    corrected = [name.data_hash for name in names if name is not None and name.adopted]
    return short_digest("|".join([key, *corrected]).encode()) if corrected else ""


def corrections_of(inputs: Iterable[Any]) -> str:
    """Return a hash of the corrections that data made from inputs depend on; "" without any."""
    found = {item.corrections for item in inputs} - {""}
    if UNTOLD in found:
        return UNTOLD
    if len(found) <= 1:
        return found.pop() if found else ""
    return short_digest("|".join(sorted(found)).encode())
