"""Forged JSON of sources and targets, in CPR's form: see `forging`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from forging import ODD, PATHS, Forgery, Yard

import daskcache as dc
from daskcache.targets.cpr import serializer, values
from daskcache.targets.resource import Resource

#: What `Yard.wrong` says where JSON leads to a file that it may not name.
LED = "led outside of the folders"

_HOSTILE = (
    *("trap.Trap", "trap", "traps.inner.Trap", "os.system", "builtins.eval", "builtins.open"),
    *("subprocess.Popen", "pickle.loads", "forged_program.make", "forged_program.Mine"),
    *("daskcache.trap", "daskcache.PickleSource", "cpr.trap.Trap.Trap", "cpr.Target.Target"),
)
_OPTIONS = (
    *({"index_col": 0}, {"path": "x"}, {"encoding": "utf-8"}, {"storage_options": "x"}, {"lazy": True}),
    *({"reader": "trap.f"}, {"allow_pickle": True}, {"object_hook": "trap"}, {"dtype": "O"}, {"": 1}),
)


def cpr_json(yard: Yard, random: Random) -> Forgery:
    """JSON that names a class of the forger's choice, with fields of the forger's choice."""
    text = json.dumps(document(yard, random))
    try:
        found: Any = decoded(text)
    except dc.errors.DaskcacheError:
        found = None
    uses = uses_of_json(yard, lambda hook: json.loads(text, object_hook=hook))
    return Forgery(f"JSON {text:.300}", found is not None, uses, ("load", "load confined"))


def uses_of_json(yard: Yard, decode: Callable[[Callable], Any]) -> dict[str, Callable]:
    """What programs do with JSON, which `decode` reads with a given decoder."""

    def load():
        for resource in resources_in(decode(dc.target_decoder)):
            name = os.path.basename(resource.get_path())
            is_pickle = isinstance(resource, dc.PickleTarget)
            if not is_pickle or name.endswith((".txt", ".json", ".tif")):  # a pickle by name is trusted
                _data_of(resource)

    def load_confined():
        for resource in resources_in(decode(serializer.decoder([yard.root]))):
            place = os.path.realpath(resource.get_path())
            if os.path.commonpath([place, yard.root]) != yard.root:
                raise AssertionError(f"{LED}: {place}")
            _data_of(resource)

    return {
        "decode": lambda: decode(dc.target_decoder),
        "hash": lambda: dc.hash_objects(decode(dc.target_decoder)),
        "show": lambda: repr(decode(dc.target_decoder)),
        "load": load,
        "load confined": load_confined,
    }


def decoded(text: str) -> Any:
    """What JSON stands for."""
    return json.loads(text, object_hook=dc.target_decoder)


def resources_in(value: Any) -> Iterator[Resource]:
    """The sources and targets in what was decoded."""
    if isinstance(value, Resource):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from resources_in(each)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from resources_in(each)


def _data_of(resource):
    data = resource.get_data()
    if hasattr(data, "__array__"):
        data.__array__()


def document(yard: Yard, random: Random) -> Any:
    """A forged document, most often of the form of a source or target."""
    forged = _object(yard, random)
    for _ in range(random.choice([0, 0, 0, 1, 2])):
        forged = random.choice([[forged], {"result": forged}, {"a": [1, forged], "b": None}])
    return forged


def _object(yard, random):
    if random.random() < 0.15:
        return _value(yard, random)
    if random.random() < 0.1:  # a pickle that is called something else, or is one
        data = {"location": yard.raw, "name": "trap", "ext": random.choice([".txt", ".tif", ".pkl"])}
        return {"__class__": "daskcache.PickleTarget", "data": data | {"data_hash": "0" * 16}}
    is_hostile = random.random() < 0.1
    tag = random.choice(_HOSTILE if is_hostile else [*serializer._CLASSES])
    data = _fields(yard, random, tag)
    if random.random() < 0.05:
        data[random.choice([*data, "more"])] = random.choice(ODD)
    if random.random() < 0.05:
        data.pop(random.choice([*data]))
    forged: dict[str, Any] = {"__class__": tag, "data": data}
    if random.random() < 0.05:
        forged[random.choice(["message", "__class__", "data"])] = random.choice([*ODD, *_HOSTILE])
    return forged


def _value(yard, random):
    """A value that is neither a source nor a target."""
    if random.random() < 0.7:
        name, content = random.choice(
            [
                *(("builtins.set", [1, "a"]), ("builtins.ValueError", yard.pickled.decode())),
                *(("builtins.SystemExit", "0"), ("pathlib.PosixPath", random.choice(PATHS))),
                *(("pathlib.PurePosixPath", "../x"), ("decimal.Decimal", random.choice([1.5, 10**400]))),
            ]
        )
    else:
        name = random.choice([*values._KINDS, *_HOSTILE])
        content = random.choice([*ODD, *PATHS, [1], "2026-01-01", {"a": 1}, yard.pickled.decode()])
    is_exception = name.startswith("builtins.") and name[9].isupper()
    return {"__class__": name, "message" if is_exception else "data": content}


def _fields(yard, random, tag):
    """Fields that a class takes, mostly such as it writes, and what they could lead to."""
    cls = serializer._CLASSES.get(tag, "")
    folder = random.choice(
        [
            *(yard.raw, yard.outside, yard.root, f"{yard.root}/made", f"{yard.root}/volumes"),
            *(f"{yard.root}/../../../outside", f"{yard.root}/link", "../../outside", ".", "", "/etc"),
        ]
    )
    name = random.choice(["trap", "trap", "text", "1", "2", "hostname", "precious"])
    ext = _SUFFIXES[next((kind for kind in _SUFFIXES if kind in cls), "")]
    if random.random() < 0.15:
        name, ext = random.choice(
            [("folder/precious", ext), ("..", "/trap.pkl"), ("", ""), ("trap", ""), ("trap", ".txt")]
        )
    if random.random() < (0.5 if ext == ".pkl" else 0.1):
        ext = random.choice([*_SUFFIXES.values(), ".txt", ".pkl.gz", ".PKL", random.choice(PATHS)])
    data: dict[str, Any] = {"location": folder, "name": name, "ext": ext}
    plain, odd = (
        {
            "data_hash": [None, "0" * 16, "0" * 16],
            "metadata": [{}, {"axes": "YX"}],
            "resolution": [None, [1, 2], [1e308, 1e-308]],
            "imagej": [True, False],
            "group": ["", "c"],
            "slices_start": [[0], [None], []],
            "slices_stop": [[1], [None], []],
            "mode": ["r", "w", "a", "r+"],
            "options": [{}, *_OPTIONS],
        },
        {
            "data_hash": ["../outside", "x", 7, "\x1b"],
            "metadata": [None, {"axes": 7, "unit": "\x1b[2J"}, {"axes": "../x", "a" * 10**4: [[]]}],
            "resolution": [[0, 0], [float("nan"), 1], "ab"],
            "imagej": [None, "yes"],
            "group": ["../..", "/etc", "a\0b", "../../../outside/folder"],
            "slices_start": [[10**30], [-1, -1, -1], "0"],
            "slices_stop": [[-(10**30)], [0], {}],
            "mode": ["x", "\0", 7],
            "options": [*_OPTIONS, *ODD],
        },
    )
    for field in _taken_by(tag, cls, random):
        data[field] = random.choice((odd if random.random() < 0.05 else plain)[field])
    return data


def _taken_by(tag, cls, random):
    if tag.startswith("cpr."):
        if cls.endswith("ImageTarget"):
            return ["data_hash", "metadata", "resolution", "imagej"]
        if cls.endswith("ImageSource"):
            return ["metadata", "resolution"]
        if cls.endswith("ZarrSource"):
            return ["group", "slices_start", "slices_stop", "mode"]
    if cls.endswith("Target"):
        return ["data_hash"]
    return ["options"] if random.random() < 0.3 and not tag.startswith("cpr.") else []


#: A suffix for each kind of class, the last one for any other.
_SUFFIXES = {
    "OMEZarr": ".ome.zarr",
    "Zarr": ".zarr",
    "Image": ".tif",
    "CSV": ".csv",
    "Numpy": ".npy",
    "Parquet": ".parquet",
    "JSON": ".json",
    "Pickle": ".pkl",
    "": ".txt",
}
