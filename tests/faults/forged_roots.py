"""Forged trash, metadata, code, folders and databases: see `forging`."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import sqlite3
import struct
import types
from pathlib import Path
from random import Random
from typing import Any

from forged_records import record_of, rewritten
from forging import ODD, PATHS, Forgery, Trap, Yard, digest_of, uses_of

import daskcache as dc
from daskcache.errors import DaskcacheError
from daskcache.hashing import encoder as hashing
from daskcache.hashing.code_objects import bytecode_hash
from daskcache.runtime import code_check
from daskcache.storage import code_store, trash
from daskcache.storage import files as storage
from daskcache.storage import verified_folders as verified
from daskcache.storage.record import target_id
from daskcache.storage.records import RecordStore
from daskcache.storage.roots import Root, parsed

# ---- the trash ----------------------------------------------------------------------------------


def in_trash(yard: Yard, random: Random) -> Forgery:
    """Something in the trash that was never in the root, or not there."""
    folder = Path(
        yard.root, ".daskcache", "trash", random.choice(["20260101T000000Z-00000000", "x", "..."])
    )
    target = random.choice(PATHS)
    if random.random() < 0.5:
        target = (
            "/".join(random.choice(["..", "a", "outside", "..", "b"]) for _ in range(4)) + "/forged.txt"
        )
    about: dict[str, Any] = {"target": target, "reason": "removed", "when": "2026-01-01T00:00:00Z"}
    if random.random() < 0.2:
        about[random.choice([*about])] = random.choice(ODD)
    folder.mkdir(parents=True)
    kept = folder / (os.path.basename(str(about["target"])).replace("\0", "") or "x")
    with contextlib.suppress(OSError, ValueError):
        random.choice(
            [
                lambda: kept.write_bytes(yard.pickled),
                lambda: kept.mkdir(),
                lambda: kept.symlink_to(yard.outside),
                lambda: kept.symlink_to(f"{yard.outside}/text.txt"),
            ]
        )()
    (folder / "about.json").write_bytes(json.dumps(about).encode("utf-8", "surrogatepass"))
    listed = trash.listed(Root(yard.root))
    uses = uses_of(yard, yard.root, yard.nodes, random)
    uses["restore it"] = lambda: [trash.restore(Root(yard.root), thing) for thing in listed]
    story = f"in the trash: {about!r:.120}, {'a link' if os.path.islink(kept) else 'kept'}"
    return Forgery(story, bool(listed), uses, ("trash", "restore it", "empty"))


# ---- whole roots --------------------------------------------------------------------------------

_METADATA = (
    "records",
    "intents",
    "parts",
    "failures",
    "accepted",
    "trash",
    "code",
    "code/sources",
    "manifests",
)


def root(yard: Yard, random: Random) -> Forgery:
    """A root of somebody else's, with links in it, or metadata that daskcache never writes."""
    place = Root(yard.root)
    kind = random.choice([_linked, _linked, _linked, _odd_metadata])
    story = kind(yard, random, place)
    passes = True
    with contextlib.suppress(DaskcacheError):
        passes = place.id() is not None
    uses = uses_of(yard, yard.root, yard.nodes, random)
    return Forgery(
        story, passes, uses, random.choice([("repair", "rm"), ("gc", "empty"), ("compute", "restore")])
    )


def _linked(yard, random, place):
    path = random.choice(
        [
            *(f".daskcache/{name}" for name in (*_METADATA, "leases")),
            *(
                "made",
                "read",
                "volumes",
                "volumes/2.zarr",
                "volumes/2.zarr/c",
                "total.json",
                "read/text.json",
            ),
            *(
                ".daskcache",
                ".daskcache/parts/0123456789abcdef",
                ".daskcache/trash/x",
                ".daskcache/root.json",
            ),
            *(f".daskcache/records/{name}" for name in os.listdir(place.records)),
            *(
                f".daskcache/parts/{'0' * 16}-x.json.displaced",
                ".daskcache/x.part",
                ".daskcache/manifests/ab",
            ),
        ]
    )
    location = Path(yard.root, path)
    if location.exists():
        location.rename(f"{location}.moved")
    location.parent.mkdir(parents=True, exist_ok=True)
    to = random.choice(
        [yard.outside, yard.outside, f"{yard.outside}/folder", f"{location}.moved", "/nowhere"]
    )
    location.symlink_to(to)
    return f"{path} -> {to}"


def _odd_metadata(yard, random, place):
    name = random.choice(["root.json", f"accepted/{target_id('total.json')}.json", "failures/ab/x.json"])
    key = yard.nodes[-1].dc.key
    name = random.choice([name, f"failures/{key[:2]}/{key}.json", "intents/x", "leases/x.json"])
    content = random.choice(
        [
            json.dumps(random.choice(ODD)),
            json.dumps({"daskcache": random.choice(ODD), "id": random.choice(ODD)}),
            json.dumps({"content": random.choice(ODD), "key": random.choice(ODD), "seconds": 1e300}),
            *("[" * 100_000, "", "{", '{"daskcache": 1e999, "id": 1}'),
        ]
    )
    path = Path(place.metadata, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    return f"{name}: {content:.80}"


# ---- code ---------------------------------------------------------------------------------------


def code(yard: Yard, random: Random) -> Forgery:
    """What a root keeps of the code, as nobody wrote it."""
    place = Root(yard.root)
    node = yard.nodes[random.choice([0, 1])]
    spec = node._recipe.spec
    fingerprint = spec.code().fingerprint
    path = Path(place.code, f"{fingerprint}.json")
    story, content = _forged_code(yard, random, json.loads(path.read_bytes()), spec.func)
    path.write_bytes(json.dumps(content).encode("utf-8", "surrogatepass"))
    passes = code_store.recall(place, fingerprint) is not None
    passes &= code_store.recall_view(place, fingerprint) is not None
    uses = uses_of(yard, yard.root, yard.nodes, random)
    uses["a worker's check"] = lambda: code_check.check_code(place, fingerprint, _by_value(spec))
    return Forgery(f"code: {story}", passes, uses, ("a worker's check", "export", "why"))


def _by_value(spec):
    """The function as a worker has it that got it pickled: its source stayed behind."""
    func = spec.func
    code = func.__code__.replace(co_filename="/elsewhere/program.py")
    twin = types.FunctionType(code, func.__globals__, func.__name__, func.__defaults__)
    return dc.delayed(twin)._spec


def _forged_code(yard, random, content, func=None):
    kind = random.choice(["import", "import", "hash", "part", "field"])
    hashed = func and bytecode_hash(_by_value(dc.delayed(func)._spec).func.__code__)
    found = random.choice(
        [[0, "trap", None], [0, "traps", "inner"], [0, "traps.inner", None], [9, "x", "y"]]
    )
    if kind == "import" and func:
        content["modules"] = ["forged_program", *TRAPS_AND_MORE]
        content["bodies"] = {hashed: ["0" * 32, [["x", "y"]], {"x": found}, []]}
    elif kind == "hash":
        for part in content.get("parts", []):
            part["hash"] = random.choice(["../../../outside/text", "..", "0" * 32, "a/b"])
    elif kind == "part":
        part = {
            "kind": "function",
            "module": "m",
            "name": "n",
            "hash": "0" * 32,
            "text": "x",
            "place": "",
        }
        part[random.choice([*part])] = random.choice([*ODD, *PATHS])
        content["parts"] = [part]
    else:
        content[random.choice([*content, "bodies", "modules"])] = random.choice(ODD)
    return kind, content


TRAPS_AND_MORE = ("trap", "traps", "os", "subprocess")


# ---- folders ------------------------------------------------------------------------------------


def folder(yard: Yard, random: Random) -> Forgery:
    """A Zarr folder whose metadata name what should not run, or whose manifest names other files."""
    place, store = Root(yard.root), RecordStore(Root(yard.root))
    name, content = record_of(store, "volumes/2.zarr")
    location = Path(yard.root, "volumes/2.zarr")
    story, passes = "the folder as it was", True
    if random.random() < 0.8:
        story, passes = _forged_zarr(yard, random, location)
    if random.random() < 0.7:  # with a record and a manifest that agree
        part = storage.part_of(str(location))
        manifest = part.manifest
        if random.random() < 0.3:
            manifest = [
                *manifest,
                (random.choice(PATHS), 7, digest_of(f"{yard.outside}/text.txt").partition(":")[2]),
            ]
            story += f", and {manifest[-1][0]!r:.60} in its manifest"
        file_hash = hashing.hash_value(manifest)
        verified.keep_manifest(place, file_hash, manifest)
        passes &= verified.kept_files(place.manifests, file_hash) is not None
        name = rewritten(store, name, content, random)
        forged = name._replace(file_hash=file_hash)
        said = {**content, "file_hash": hashing.tag(file_hash), "size": name.size}
        os.rename(store.path_of(name), store.path_of(forged))
        Path(store.path_of(forged)).write_text(json.dumps(said))
        story += ", recorded"
    uses = uses_of(yard, yard.root, yard.nodes, random)
    uses["load it"] = lambda: yard.nodes[3].dc.load()
    uses["open it"] = lambda: _typed(lambda: _all_in(yard.nodes[3].dc.open()))
    for given in (str(location), f"{location}/inner"):
        uses[f"read {given}"] = lambda given=given: _typed(lambda: dc.ZarrTarget("").read(given))
        uses[f"source {given}"] = lambda given=given: _typed(lambda: dc.ZarrSource(given).get_data())
        uses[f"hash {given}"] = lambda given=given: _typed(lambda: dc.ZarrTarget("").hash_file(given))
    own = [each for each in uses if str(location) in each]
    return Forgery(story, passes, uses, ("plan", "load it", "open it", *random.sample(own, 2)))


def _typed(use):
    """Zarr's own errors on such metadata are not daskcache's to type: only what happens counts."""
    with contextlib.suppress(Exception):
        use()


def _all_in(opened):
    return [_all_in(each) for _, each in opened.members()] if hasattr(opened, "members") else opened[...]


PICKLE = {"id": "pickle", "protocol": 5}
_NAMED = {"name": "numcodecs.pickle", "configuration": {"protocol": 5}}
_LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}


def _forged_zarr(yard, random, location):
    shutil.rmtree(location)
    inside = random.choice(["", "inner", "inner/deep", "attributes"])
    array = location / inside
    (array / "c").mkdir(parents=True)
    codec = random.choice(
        [PICKLE, PICKLE, {**PICKLE, "protocol": 0}, {"id": "zlib", **_NAMED}, _NAMED, {"id": "x"}]
    )
    plain = {"id": "vlen-utf8"}
    if random.random() < 0.7:
        metadata = {
            "zarr_format": 2, "shape": [1], "chunks": [1], "order": "C",
            "fill_value": random.choice(["", 0, None]),
            "dtype": random.choice(["|O", "|O", "|O", "<i8", "|S8", [["a", "|O"]]]),
            "filters": random.choice([[plain, codec], [plain, codec], [codec], [codec, plain], None]),
            "compressor": random.choice([None, None, codec]),
        }  # fmt: skip
        names = {"array": ".zarray", "group": ".zgroup"}
    else:
        inner = {
            "name": "sharding_indexed",
            "configuration": {"chunk_shape": [1], "codecs": [_LITTLE, codec]},
        }
        metadata = {
            "zarr_format": 3, "node_type": "array", "shape": [1], "fill_value": 0, "data_type": "int64",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "codecs": random.choice([[_LITTLE, codec], [_LITTLE, "numcodecs.pickle"], [inner], [codec]]),
            "attributes": random.choice([{}, {"codecs": [PICKLE]}, {"name": "pickle"}]),
        }  # fmt: skip
        names = {"array": "zarr.json", "group": "zarr.json"}
    if random.random() < 0.2:
        metadata[random.choice([*metadata])] = random.choice([*ODD, *PATHS])
    text = json.dumps(metadata).encode("utf-8", "surrogatepass")
    if random.random() < 0.1:
        text = json.dumps(metadata).encode(random.choice(["utf-16", "utf-8-sig", "utf-32"]))
    (array / names["array"]).write_bytes(text)
    group = {"zarr_format": metadata.get("zarr_format"), "node_type": "group", "attributes": {}}
    if random.random() < 0.3:
        group["consolidated_metadata"] = {
            "kind": "inline",
            "must_understand": False,
            "metadata": {"inner": metadata},
        }
    for above in array.parents[: len(Path(inside).parts)]:
        (above / names["group"]).write_bytes(json.dumps(group).encode("utf-8", "surrogatepass"))
    for chunk in ("0", "c/0"):
        (array / chunk).write_bytes(pickle.dumps([Trap(yard.sprung), "|O", [1]]))
    try:
        passes = isinstance(parsed(text), dict)
    except ValueError:
        passes = False
    return f"Zarr {metadata!r:.200} in {inside!r}", passes


# ---- databases ----------------------------------------------------------------------------------


def database(yard: Yard, random: Random) -> Forgery:
    """A database that leads SQLite elsewhere."""
    file = Path(yard.root, "tables.db")
    victim = random.choice(
        [f"{yard.outside}/text.txt", f"{yard.outside}/folder/precious.json", f"{yard.raw}/text.txt"]
    )
    kind = random.choice(["journal", "journal", "journal of text", "wal", "link", "side link", "table"])
    if kind == "journal":
        Path(f"{file}-journal").write_bytes(journal(file, victim, random.randrange(1, 9)))
    elif kind == "journal of text":
        Path(f"{file}-journal").write_bytes(random.randbytes(600) + bytes.fromhex("d9d505f920a163d7"))
    elif kind == "wal":
        with contextlib.closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA journal_mode = wal")
        os.symlink(victim, f"{file}{random.choice(['-wal', '-shm', '-journal'])}")
    elif kind == "link":
        file.rename(f"{file}.moved")
        file.symlink_to(random.choice([victim, f"{yard.outside}/new.db", f"{file}.moved"]))
    elif kind == "side link":
        os.symlink(
            random.choice([victim, f"{yard.outside}/new"]),
            f"{file}{random.choice(['-wal', '-journal'])}",
        )
    else:
        with contextlib.closing(sqlite3.connect(file)) as connection:
            connection.execute("INSERT INTO measured VALUES (7, 7)")
            connection.execute(
                "CREATE TRIGGER t AFTER INSERT ON measured BEGIN DELETE FROM measured; END"
            )
            connection.commit()
    uses = uses_of(yard, yard.root, yard.nodes, random)
    uses["remove it"] = lambda: yard.nodes[-1].dc.invalidate()
    uses["force"] = lambda: dc.compute(yard.nodes[-1], force=True)
    return Forgery(f"{kind} of {victim}", file.exists(), uses, ("plan", "ls", "remove it", "force"))


def journal(database: Path, name: str, nonce: int = 7) -> bytes:
    """A journal to be rolled back, which says that a commit to several files was cut short."""
    content = database.read_bytes()
    size = int.from_bytes(content[16:18], "big") % 65535
    page, magic = content[:size], bytes.fromhex("d9d505f920a163d7")
    head = struct.pack(">8s5I", magic, 1, nonce, len(content) // size, 512, size).ljust(512, b"\0")
    checked = nonce + sum(page[place] for place in range(size - 200, 0, -200))
    called = os.fsencode(name)
    tail = struct.pack(
        f">I{len(called)}s2I8s", 2**30 // size + 1, called, len(called), sum(called), magic
    )
    return head + struct.pack(">I", 1) + page + struct.pack(">I", checked) + tail
