"""Forged records and archives: see `forging`."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tarfile
from pathlib import Path
from random import Random

from forging import ODD, PATHS, Forgery, Yard, digest_of, quiet, remove, uses_of

from daskcache.calls.recipe import combine
from daskcache.errors import DaskcacheError, UnsafePath
from daskcache.hashing import encoder as hashing
from daskcache.housekeeping import importing
from daskcache.housekeeping.archive import Archive
from daskcache.storage import files as storage
from daskcache.storage.record import RecordName, target_id
from daskcache.storage.records import RecordStore
from daskcache.storage.roots import Root

CLASSES = [
    "daskcache.targets.objects:PickleTarget",
    "daskcache:PickleTarget",
    "daskcache:PickleSource",
    "trap:Trap",
    "daskcache.targets.objects:PickleSource",
    "daskcache.targets.stores:StoreTarget",
    "traps.inner:Trap",
    "traps:inner.Trap",
    "os:system",
    "posix:system",
    "builtins:exec",
    "subprocess:Popen",
    "builtins:open",
    "pathlib:Path",
    "forged_program:Mine",
    "forged_program:make",
    "forged_program:np.load",
    "daskcache.targets.text:TextSource",
    "daskcache.targets.text:TextTarget",
    "daskcache:FileSource",
    "daskcache:JSONTarget",
    "daskcache:Source",
    "daskcache.targets.zarr.target:ZarrSource",
    ":",
    "x",
]
FUNCTIONS = [
    "trap.f",
    "traps.inner.f",
    "traps.inner",
    "os.system",
    "os.remove",
    "builtins.exec",
    "forged_program.make",
    "forged_program.read",
    "forged_program.np.load",
    "forged_program.helper",
    "__main__.f",
    ".",
    "f",
]
OPTIONS = (
    *("{}", "[]", "1", "{1: 2}", "{'a': {}}", "(" * 500, "{'path': 'x'}", "{'group': '../..'}"),
    *("{'store': 'trap:Store'}", "{'store': 'os:system'}", "{'store': __import__('trap')}"),
    *("__import__('trap')", "open('x', 'w')"),
)
TEXTS = (
    *("np.load('x')", "__import__('trap')", "PosixPath('/etc')", "<upstream 0>", "<upstream 9>", "1"),
    *('{"$path":"/etc"}', '{"$upstream":9}', '{"$numpy.V8":100000000000}', '{"$tuple":1}', "[" * 5000),
    "x" * 2000,
)


# ---- records ------------------------------------------------------------------------------------


def record(yard: Yard, random: Random) -> Forgery:
    """A record that says something else than is so."""
    kind = random.choice([_any_field, _any_field, _of_source, _of_source, _elsewhere, _of_input])
    store = RecordStore(Root(yard.root))
    story, name = kind(yard, random, store)
    with quiet():
        read = _content(RecordStore(store.root), name)
    uses = uses_of(yard, yard.root, yard.nodes, random, read and read.target)
    return Forgery(story, read is not None, uses, ("plan", "audit", "why", "compute"))


def _any_field(yard, random, store):
    name, content = random.choice(_all(store))
    telling = ("format", "function", "target", "options", "upstream")
    field = random.choice([*content, *telling, *telling, "results", "accepted", "edited", "same_as"])
    value = random.choice(
        {
            "format": CLASSES,
            "function": FUNCTIONS,
            "target": PATHS,
            "options": OPTIONS,
            "code": ("../../../outside/text", "0" * 32, "../root"),
            "results": [list(PATHS[:3]), ["forged.pkl"], {"a": "../x"}, [], {}],
            "arguments": [{"i": [text, hashing.hash_value(1)]} for text in TEXTS],
            "upstream": [[_described(yard, random)] for _ in range(4)],
        }.get(field, ODD)
    )
    if random.random() < 0.1:
        value = random.choice(ODD)
    return f"{content['target']}: {field} = {value!r:.100}", rewritten(
        store, name, {**content, field: value}, random
    )


def _described(yard, random):
    """What a record may say of an input."""
    described = {"data_hash": random.choice([hashing.tag("0" * 32), "TextSource:text.txt:x", ""])}
    if random.random() < 0.6:
        place = random.choice(
            ["../../../raw/trap.txt", "../../../outside/trap.pkl", "forged.txt", "/etc/hostname"]
        )
        described |= {"source": place, "class": random.choice(CLASSES)}
        if random.random() < 0.4:
            described |= {"options": random.choice(OPTIONS)}
        if random.random() < 0.2:
            described |= {"folder": random.choice(["..", "/", "made"])}
    else:
        described |= {"target": random.choice(PATHS), "key": random.choice(["0" * 32, "..", "/etc"])}
        if random.random() < 0.3:
            described |= {"root": random.choice([yard.outside, "/", "relative", yard.root])}
    return described


def _of_source(yard, random, store):
    """The record of a call whose source is read by a class of the forger's choice."""
    name, content = record_of(store, "read/text.json")
    cls, file = random.choice(CLASSES), random.choice(["trap.txt", "trap.txt", "text.txt", "trap.pkl"])
    identity = f"{cls.rpartition(':')[2].rpartition('.')[2]}:{file}:{digest_of(f'{yard.raw}/{file}')}"
    described = {"source": f"../../../raw/{file}", "class": cls, "data_hash": identity}
    if random.random() < 0.3:
        described["options"] = random.choice(OPTIONS)
    spec = yard.program.read._spec
    values = yard.nodes[1]._recipe.values
    trace = combine(spec.static_hash(values, content["code"]), [identity])
    changed = {**content, "upstream": [described]}
    return f"{cls} for {file}", rewritten(store, name, changed, random, trace=trace)


def _elsewhere(yard, random, store):
    """The result of a node that is gone, at another path in another format."""
    name, content = random.choice([each for each in _all(store) if "results" not in each[1]])
    path, cls = (
        random.choice(["forged.txt", "forged.json", "forged.pkl", "forged"]),
        random.choice(CLASSES),
    )
    remove(f"{yard.root}/{content['target']}")
    Path(yard.root, path).write_bytes(yard.pickled)
    changed = {**content, "target": path, "format": cls}
    if random.random() < 0.3:
        changed["options"] = random.choice(OPTIONS)
    return f"{content['target']} at {path} as {cls}", rewritten(store, name, changed, random)


def _of_input(yard, random, store):
    """The result of a node, which others take, in another format."""
    name, content = random.choice([each for each in _all(store) if each[1]["target"] != "total.json"])
    location, cls = f"{yard.root}/{content['target']}", random.choice(CLASSES)
    if random.random() < 0.7:
        remove(location)
        Path(location).write_bytes(yard.pickled)
    changed = {**content, "format": cls}
    if random.random() < 0.3:
        changed["options"] = random.choice(OPTIONS)
    return f"{content['target']} is {cls}", rewritten(store, name, changed, random)


def _all(store):
    found = [(name, store.read(name)) for name in sorted(store.all())]
    return [(name, record.document) for name, record in found if record is not None]


def record_of(store, target):
    return next(each for each in _all(store) if each[1]["target"] == target)


def rewritten(store, name, content, random, **changes):
    """Write a record in the place of another one; its name agrees with it, and with what is there."""
    path, target = store.path_of(name), content.get("target")
    if isinstance(target, str):
        changes["target_id"] = target_id(target)
        found = None
        with contextlib.suppress(OSError, ValueError, DaskcacheError):
            found = storage.stamp(f"{store.root.path}/{target}")
        if found is not None and "::" not in target:
            changes |= {"size": found.size, "mtime_ns": found.mtime_ns}
            changes["file_hash"] = storage.file_hash(f"{store.root.path}/{target}")
    name = name._replace(**changes)
    said = {
        field: hashing.tag(getattr(name, field)) for field in ("trace", "file_hash") if field in changes
    }
    if isinstance(content.get("size"), int) and "size" in changes:
        said["size"] = name.size
    os.unlink(path)
    text = json.dumps({**content, **said}).encode("utf-8", "surrogatepass")
    Path(store.path_of(name)).write_bytes(text)
    return name


def _content(store, name):
    try:
        return store.read(name)
    except DaskcacheError:
        return None


# ---- archives -----------------------------------------------------------------------------------


def archive(yard: Yard, random: Random) -> Forgery:
    """An archive that leads somewhere else, or brings what it should not."""
    members = [[_member(name), content] for name, content in yard.members]
    kind = random.choice([_odd_member, _odd_member, _odd_record, _odd_record, _odd_manifest, _odd_code])
    story = kind(yard, random, members)
    path = f"{yard.archives}/forged.tar"
    _pack(path, members)
    passes = False
    with contextlib.suppress(DaskcacheError):
        try:
            Archive(path).close()
            passes = True
        except UnsafePath:  # it was read, and understood
            passes = True
    trusted = random.random() < 0.3

    def imported():
        importing.import_archive(Root(yard.other), path, trusted)

    uses = {"import": imported, **uses_of(yard, yard.other, yard.imported, random)}
    return Forgery(f"{story}{', trusted' if trusted else ''}", passes, uses, ("import", "plan", "audit"))


def _member(name, kind=tarfile.REGTYPE, link=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


def _pack(path, members):
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for member, content in members:
            if member.size:  # more than there is
                tar.addfile(member)
                continue
            member.size = len(content) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(content))


def _odd_member(yard, random, members):
    """A member that would lie elsewhere, or is no file."""
    start = random.choice(["targets/", "targets/made/", "code/", "code/sources/", "records/", ""])
    up = "../" * random.randrange(1, 9)
    name = start + random.choice(PATHS)
    if random.random() < 0.4:
        name = start + f"{up}outside/{random.choice(['new.txt', '0' * 32 + '.txt', 'a/b.json'])}"
    kinds = (tarfile.REGTYPE,) * 4 + (
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.DIRTYPE,
        b"S",
    )
    kind, link = (
        random.choice(kinds),
        random.choice(["../../outside/text.txt", "/etc/passwd", "total.json"]),
    )
    member = _member(name, kind, link)
    if random.random() < 0.1:
        member.size = random.choice([10**7, 2**40, 2**62])
    if random.random() < 0.2:
        member.pax_headers = {
            random.choice(["path", "size", "linkpath", "GNU.sparse.name"]): random.choice(PATHS)
        }
    members.insert(random.randrange(len(members) + 1), [member, yard.pickled])
    return f"member {name!r:.80} of type {kind!r}"


def _odd_record(yard, random, members):
    """A record that names code, or another place, with what it takes to be consistent."""
    pairs = [pair for pair in members if pair[0].name.startswith("records/")]
    pair = random.choice(pairs)
    old = pair[0].name.removeprefix("records/")
    name, content = RecordName.parse(old), json.loads(pair[1])
    story, target, changes = content["target"], content["target"], {}
    kind = random.randrange(4)
    if kind == 0:
        field = random.choice([*content, "options"])
        content[field] = random.choice(
            {"format": CLASSES, "options": OPTIONS, "function": FUNCTIONS}.get(field, ODD)
        )
        story += f": {field} = {content[field]!r:.80}"
    elif kind == 1:
        content["upstream"] = [_described(yard, random)]
        story += f": made from {content['upstream']}"
    else:
        target = random.choice(["forged.txt", "forged.pkl", "forged", "forged.json", *PATHS])
        content |= {"target": target, "format": random.choice(CLASSES)}
        data = yard.pickled
        changes = {"size": len(data), "file_hash": hashing.digest(data), "target_id": target_id(target)}
        members[:] = [each for each in members if not each[0].name.startswith(f"targets/{story}")]
        members.append([_member(f"targets/{target}"), data])
        story += f": {target!r:.80} as {content['format']}"
    name = name._replace(**changes)
    content |= {"size": name.size, "file_hash": hashing.tag(name.file_hash)} if changes else {}
    pair[0].name, pair[1] = (
        f"records/{name.unsealed()}",
        json.dumps(content).encode("utf-8", "surrogatepass"),
    )
    manifest = json.loads(members[0][1])
    manifest["records"] = {
        name.unsealed() if each == old else each: 1 if each == old and changes else count
        for each, count in manifest["records"].items()
    }
    members[0][1] = json.dumps(manifest).encode()
    return f"record {story}"


def _odd_manifest(yard, random, members):
    manifest = json.loads(members[0][1])
    field = random.choice(["daskcache", "records", "more", "a record's files", "another record"])
    if field in ("a record's files", "another record"):
        manifest["records"][random.choice([*manifest["records"], *PATHS])] = random.choice(ODD)
    else:
        manifest[field] = random.choice(ODD)
    members[0][1] = json.dumps(manifest).encode("utf-8", "surrogatepass")
    return f"manifest with another {field}"


def _odd_code(yard, random, members):
    pair = random.choice([pair for pair in members if pair[0].name.startswith("code/")])
    if random.random() < 0.5:
        pair[0].name = f"code/sources/{random.choice(PATHS)}"
    else:
        part = {
            "kind": "function",
            "module": "m",
            "name": "n",
            "hash": random.choice(PATHS),
            "place": "",
        }
        content = {"parts": [part], "modules": ["trap"], "bodies": random.choice(ODD)}
        pair[1] = json.dumps(content).encode("utf-8", "surrogatepass")
    return f"code {pair[0].name!r:.80}"
