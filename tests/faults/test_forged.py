"""Records, archives, trash, whole roots from hostile hands: no code runs, nothing is written outside.

Each case is one forgery, and some of what users do with a root that holds it.  With the guard of a
surface taken out, some case succeeds: so the cases can fail.
"""

from __future__ import annotations

import os
import pkgutil
from collections import Counter
from random import Random

import forged_records
import forged_roots
import pytest
from forging import CHANGED, RAN, quiet, some, yard

from daskcache.runtime import named

SURFACES = {
    "records": forged_records.record,
    "archives": forged_records.archive,
    "trash": forged_roots.in_trash,
    "roots": forged_roots.root,
    "code": forged_roots.code,
    "folders": forged_roots.folder,
    "databases": forged_roots.database,
}
#: How many that get past the parsers, and how many of those drawn do at least.
COUNT, FULL = 1_000, 10_000
_SHARE = 0.5


@pytest.mark.timeout(7200)
def test_forgeries_run_no_code_and_write_nothing_outside(shared, full):
    """Whatever stands in a root or an archive: a typed error, or an answer, and nothing else."""
    count = FULL if full else COUNT
    seed = int.from_bytes(os.urandom(4), "big") if full else 0
    passed, wrong = shared(fuzz, count, seed)
    assert wrong == [], f"seed {seed}"
    assert passed >= count


def fuzz(folder, share, shares, count, seed):
    """Draw until so many got past the parsers; how many did, and what was wrong."""
    passed, drawn, wrong = Counter(), Counter(), []
    wanted = -(-count // shares // len(SURFACES))
    for surface in SURFACES:
        random = Random(f"{seed} {share} {surface}")
        with yard(f"{folder}/{surface}", with_table=surface == "databases") as place:
            while passed[surface] < wanted and drawn[surface] < wanted / _SHARE:
                forgery = drawn_from(surface, place, random)
                drawn[surface] += 1
                passed[surface] += forgery.passes
                uses = some(forgery.uses, random, forgery.sure)
                wrong += place.wrong(f"{surface} {drawn[surface]}: {forgery.story}", uses)
        if passed[surface] < wanted:
            wrong.append(f"{surface}: only {passed[surface]} of {drawn[surface]} got past the parser")
    return passed.total(), wrong[:20]


def drawn_from(surface, place, random):
    """One forgery, in a yard that is as it was before the last one."""
    place.reset()
    with quiet():
        return SURFACES[surface](place, random)


def imported(name):
    """What a name in a record stands for, found by importing what it names."""
    try:
        return pkgutil.resolve_name(name)
    except Exception as error:
        raise named.Unknown(str(error)) from error


def as_recorded(record, spec=None):
    """The target that a record is about, of whatever class it names."""
    try:
        return pkgutil.resolve_name(record.format)(record.target)
    except Exception:  # noqa: BLE001 (whatever is named may raise what it likes)
        return None


def allowed(*args, **kwargs):
    """In the place of a guard."""


#: Of each surface: what guards it, with something that lets everything pass, and what happens then.
GUARDS = {
    "records": ({"daskcache.housekeeping.rebuild.source_class_named": imported}, RAN),
    "formats": (
        dict.fromkeys((f"daskcache.{room}.target_of" for room in ("named", "rebuild")), as_recorded),
        RAN,
    ),
    "functions": ({"daskcache.housekeeping.listing.function_named": imported}, RAN),
    "archives": ({"daskcache.housekeeping.archive._why_unsafe": allowed}, CHANGED),
    "trash": (
        {
            "daskcache.storage.trash.check_path": allowed,
            "daskcache.storage.atomic._check_names": allowed,
        },
        CHANGED,
    ),
    "roots": (
        {
            "daskcache.storage.roots.refuse_link": allowed,
            "daskcache.storage.records.refuse_link": allowed,
        },
        CHANGED,
    ),
    "code": ({"daskcache.hashing.functions._importing_no_more": lambda seen, code: seen}, RAN),
    "folders": ({"daskcache.targets.zarr.store.refuse_pickles": allowed}, RAN),
    "databases": ({"daskcache.storage.tables.databases._check_journal": allowed}, CHANGED),
}


@pytest.mark.parametrize("surface", GUARDS)
def test_without_its_guard_a_surface_is_open(surface, tmp_path, monkeypatch):
    """The forgeries are ones that succeed where nothing guards against them."""
    guards, breach = GUARDS[surface]
    surface = surface if surface in SURFACES else "records"
    random = Random(0)
    with yard(str(tmp_path / "yard"), with_table=surface == "databases") as place:
        for guard, instead in guards.items():
            monkeypatch.setattr(guard, instead)
        for _ in range(500):
            forgery = drawn_from(surface, place, random)
            uses = {name: forgery.uses[name] for name in forgery.sure}
            wrong = place.wrong(forgery.story, uses)
            if any(breach in text for text in wrong):
                return
    pytest.fail("none of 500 forgeries succeeded")
