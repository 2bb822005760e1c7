"""Whatever comes from hostile hands: no code runs, nothing is written outside, no text acts.

Each case is one forgery, and some of what users do with a root that holds it.  With the guard of a
surface taken out, some case succeeds: so the cases can fail.
"""

from __future__ import annotations

import contextlib
import os
import pkgutil
from collections import Counter
from random import Random

import forged_json
import forged_records
import forged_roots
import forged_texts
import pytest
from forging import CHANGED, RAN, quiet, some, yard

from daskcache import pages
from daskcache.runtime import named

SURFACES = {
    "records": forged_records.record,
    "archives": forged_records.archive,
    "trash": forged_roots.in_trash,
    "roots": forged_roots.root,
    "code": forged_roots.code,
    "folders": forged_roots.folder,
    "databases": forged_roots.database,
    "json": forged_json.cpr_json,
    "texts": forged_texts.shown,
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


def called(result):
    """What JSON names, imported and called."""
    with contextlib.suppress(Exception):
        return imported(result["__class__"])(*result.values())


def as_it_is(text, *args):
    """In the place of what makes a text harmless."""
    return text


def allowed(*args, **kwargs):
    """In the place of a guard."""


def yes(*args, **kwargs):
    """In the place of a guard that answers."""
    return True


#: The environment of templates that escape.
_escaping = pages._environment


def unescaped():
    """In the place of templates that escape."""
    return _escaping().overlay(autoescape=False)


#: Of each guard: its surface, something in its place that lets everything pass, and what happens then.
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
    "json": ({"daskcache.targets.cpr.serializer.decode_value": called}, RAN),
    "json of pickles": ({"daskcache.targets.cpr.serializer._is_called_so": yes}, RAN),
    "json of paths": ({"daskcache.targets.cpr.serializer._confine": allowed}, forged_json.LED),
    "texts in errors": ({"daskcache.errors.printable_lines": as_it_is}, forged_texts.ACTS),
    "texts in tables": ({"daskcache.planning.display.cells.printable": as_it_is}, forged_texts.ACTS),
    "texts in commands": (
        dict.fromkeys(
            (
                "daskcache.printable.printable_lines",
                "daskcache.planning.why.printable_lines",
                "daskcache.housekeeping.listing.printable",
            ),
            as_it_is,
        ),
        forged_texts.ACTS,
    ),
    "texts in pages": ({"daskcache.pages._environment": unescaped}, forged_texts.ACTS),
    "texts in pictures": ({"daskcache.planning.display.svg._shown": as_it_is}, forged_texts.ACTS),
}


@pytest.mark.parametrize("surface", GUARDS)
def test_without_its_guard_a_surface_is_open(surface, tmp_path, monkeypatch):
    """The forgeries are ones that succeed where nothing guards against them."""
    guards, breach = GUARDS[surface]
    surface = surface.partition(" ")[0]
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
