"""A root in hostile hands: what surrounds it and may not change, and what one can do with it.

A `Yard` holds a program with a root of its results, files beside the root that are nobody's business,
and traps: a pickle that writes a file when it is loaded, modules that write one when they are imported.
The cases that are tried in it are made by `forged_records` and `forged_roots`: each function there takes
a `Yard` and a random generator, writes one forgery, and returns a `Forgery`.  Most are consistent in
themselves, as those of somebody who knows daskcache would be: hashes and times agree.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pickle
import shutil
import stat
import sys
import tarfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import dask
from click.testing import CliRunner

import daskcache as dc
from daskcache.errors import DaskcacheError
from daskcache.hashing import encoder as hashing
from daskcache.housekeeping import exporting
from daskcache.housekeeping.audit import audit_root
from daskcache.housekeeping.cli.main import cache
from daskcache.runtime import code_check
from daskcache.storage import code_store, roots
from daskcache.storage import verified_folders as verified
from daskcache.storage.roots import Root
from daskcache.storage.tables import tables

PROGRAM = """
import numpy as np
import pandas as pd
import daskcache as dc

def helper(x):
    return x

@dc.delayed(target="made/{i}.json")
def make(i):
    return [helper(i), i]

@dc.delayed(target="read/{file.stem}.json")
def read(file):
    return str(file)

@dc.delayed(target=("parts/{i}.npy", "parts/{i}.txt"))
def split(i):
    return np.arange(i + 3), helper("text")

@dc.delayed(target="volumes/{i}.zarr")
def volume(i):
    return np.arange(4) * i

@dc.delayed(target="total.json")
def total(made, text, parts, volume):
    return [made, text, parts[1], int(volume.sum())]

@dc.delayed(target="tables.db::measured")
def table(i):
    return pd.DataFrame({"a": [i]})

class Mine(dc.FileSource):
    pass
"""

#: Names of what writes a file when it is imported.
TRAPS = ("trap", "traps.inner")


class Trap:
    """A pickle that writes a file when it is loaded; as a text, with the oldest protocol."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


class Forgery(NamedTuple):
    """One forgery that was written."""

    #: What it is, for people.
    story: str
    #: Whether it gets past the parser: what reads it takes it for what it pretends to be.
    passes: bool
    #: What to do with it: all that users do, and some things that it is made for.
    uses: dict[str, Callable]
    #: Names of the latter.
    sure: tuple[str, ...]


PATHS = (
    *[
        "../outside/text.txt",
        "../../../outside/text.txt",
        "a/../../outside/text.txt",
        "..",
        ".",
        "/etc/hostname",
    ],
    *[
        "//etc/hostname",
        "made//1.json",
        "./made/1.json",
        "~/x.txt",
        "C:/x.txt",
        "a\\b.txt",
        "made/1.json",
        "MADE/1.json",
    ],
    *[
        "forged.txt",
        "forged.pkl",
        "forged",
        "new/forged.json",
        "trap.py",
        ".daskcache/root.json",
        ".DASKCACHE/x",
    ],
    *[
        ".daskcache/trash/x",
        "volumes/2.zarr/zarr.json",
        "link/text.txt",
        "forged.zarr",
        "lab::t",
        "../x.db::t",
    ],
    *("x.db::t", "", "a\0b", "a\nb", "x" * 300),
)
ODD = (
    *(None, True, -1, 0, 10**400, 1e308, float("inf"), "", "text", "\udc80", "\x1b[2J"),
    *([], [[]], {}, {"a": {}}),
)


class Yard:
    """A folder with a root deep in it, in which nothing else may change.

    Parameters
    ----------
    path : str
        A new folder.
    with_table : bool
        Whether the root has a table in a database, too.
    """

    def __init__(self, path: str, with_table: bool = False):
        self.path = path
        self.root = f"{path}/a/b/root"
        self.other = f"{path}/a/b/other"
        self.outside = f"{path}/outside"
        self.raw = f"{path}/raw"
        self.sprung = f"{path}/sprung"
        self.archives = f"{path}/archives"
        self._honest = f"{path}/honest"
        for folder in (f"{path}/program/traps", f"{path}/a/b", self.outside, self.raw, self.archives):
            os.makedirs(folder)
        self._fill()
        self.program = self._imported()
        with dask.config.set({"daskcache.root": self.root}):
            self.nodes = self.graph(with_table)
        dask.compute(*self.nodes)
        with dask.config.set({"daskcache.root": self.other}):
            self.imported = self.graph(False)
        if not with_table:
            exporting.export(Root(self.root), f"{self.archives}/honest.tar", ["*"])
            self.members = _members(f"{self.archives}/honest.tar")
        shutil.copytree(self.root, self._honest, symlinks=True)
        self._looks = _looks(self.root)
        self._before: dict = {}
        self.reset()

    def _fill(self):
        program = Path(self.path, "program")
        (program / "forged_program.py").write_text(PROGRAM)
        trap = f"open({self.sprung!r}, 'a').write(__name__)\n"
        for place in (program, Path(self.path, "a", "b")):
            (place / "trap.py").write_text(trap)
        for name in ("__init__", "inner"):
            (program / "traps" / f"{name}.py").write_text(trap if name == "inner" else "")
        self.pickled = pickle.dumps(Trap(self.sprung), protocol=0)
        for place in (self.raw, self.outside):
            Path(place, "text.txt").write_text("a text\n")
            for name in ("trap.txt", "trap.pkl", f"trap-{'0' * 16}.txt", f"trap-{'0' * 16}.tif"):
                Path(place, name).write_bytes(self.pickled)
        Path(self.outside, "folder").mkdir()
        Path(self.outside, "folder", "precious.json").write_text("[1, 1]\n")
        os.utime(f"{self.outside}/text.txt", (1, 1))

    def _imported(self):
        sys.modules.pop("forged_program", None)
        sys.path.insert(0, f"{self.path}/program")
        importlib.invalidate_caches()
        return importlib.import_module("forged_program")

    def graph(self, with_table: bool) -> list:
        """The nodes of the program."""
        p = self.program
        made, text = p.make(1), p.read(dc.TextSource(f"{self.raw}/text.txt"))
        parts, volume = p.split(1), p.volume(2)
        nodes = [made, text, parts, volume, p.total(made, text, parts, volume)]
        return [*nodes, p.table(1)] if with_table else nodes

    def close(self) -> None:
        """Take the program out of Python's way again."""
        sys.path.remove(f"{self.path}/program")
        for name in ("forged_program", "traps", *TRAPS):
            sys.modules.pop(name, None)

    def reset(self) -> None:
        """All is as it was, but nothing is remembered of it."""
        shutil.rmtree(self.other, ignore_errors=True)
        Path(self.archives, "out.tar").unlink(missing_ok=True)
        self._restore()
        for name in TRAPS:
            sys.modules.pop(name, None)
        Path(self.sprung).unlink(missing_ok=True)
        for known in (roots._checked, tables._seen, code_check._agreed, code_store.made_here):
            known.clear()
        verified._read_manifest.cache_clear()
        code_store._read_source.cache_clear()
        self._before = self.surroundings()

    def _restore(self):
        """Put back into the root what was changed; to make it anew would take most of the time."""
        now = _looks(self.root)
        changed = [path for path in now if self._looks.get(path) != now[path]]
        for path in changed:
            remove(f"{self.root}/{path}")
        for path in [path for path in self._looks if not os.path.lexists(f"{self.root}/{path}")]:
            if os.path.isdir(f"{self._honest}/{path}"):
                os.mkdir(f"{self.root}/{path}")
            else:
                shutil.copy2(f"{self._honest}/{path}", f"{self.root}/{path}")
        self._looks = _looks(self.root)

    def surroundings(self) -> dict[str, tuple]:
        """What is in the yard beside the roots, and what it looks like."""
        found = {}
        for folder, folders, files in os.walk(self.path):
            own = (self.root, self.other, self._honest, self.archives)
            folders[:] = [name for name in folders if os.path.join(folder, name) not in own]
            folders[:] = [name for name in folders if name != "__pycache__"]
            for name in (*folders, *files):
                path = os.path.join(folder, name)
                look = os.lstat(path)
                is_file = os.path.isfile(path)
                content = Path(path).read_bytes() if is_file else b""
                found[path] = look.st_mode, look.st_nlink if is_file else 0, content
        return found

    def wrong(self, story: str, uses: dict[str, Callable]) -> list[str]:
        """Use the roots; what happened that may not, and errors that are none of daskcache's."""
        wrong = []
        for name, use in uses.items():
            try:
                with quiet():
                    use()
            except DaskcacheError:
                pass
            except Exception as error:  # noqa: BLE001 (whatever it is, it is reported)
                wrong.append(f"{story}: {name} raised {error!r}")
            if os.path.lexists(self.sprung):
                wrong.append(f"{story}: {name}: {RAN}")
                break
        now = self.surroundings()
        changed = {path for path in now.keys() | self._before if now.get(path) != self._before.get(path)}
        if changed - {self.sprung}:
            wrong.append(f"{story}: {', '.join(uses)}: {CHANGED}: {sorted(changed)}")
        return wrong


#: What `Yard.wrong` says of breaches.
RAN, CHANGED = "code ran", "changed outside of the root"


@contextlib.contextmanager
def yard(path: str, **options) -> Iterator[Yard]:
    """A yard that the current folder is in, and a numcodecs that unpickles, as before version 0.16.2."""
    import numcodecs.pickles

    here, switch = os.getcwd(), "ALLOW_UNSAFE_PICKLE_DECODE"
    before = getattr(numcodecs.pickles, switch, True)
    made = Yard(path, **options)
    os.chdir(f"{path}/a/b")
    setattr(numcodecs.pickles, switch, True)
    try:
        yield made
    finally:
        setattr(numcodecs.pickles, switch, before)
        os.chdir(here)
        made.close()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without warnings: forgeries give many, and those are not the matter here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _looks(root):
    """What is below a root, folders before what is in them, and what it looks like."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            look = os.lstat(path)
            is_folder = stat.S_ISDIR(look.st_mode)
            times = () if is_folder else (look.st_ino, look.st_size, look.st_mtime_ns, look.st_ctime_ns)
            found[os.path.relpath(path, root)] = look.st_mode, times
    return found


def digest_of(path):
    """The hash of a file, as records have it."""
    return hashing.tag(hashing.digest(Path(path).read_bytes()))


def remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def _members(archive):
    with tarfile.open(archive) as tar:
        return [(member.name, tar.extractfile(member).read()) for member in tar.getmembers()]


# ---- what one can do with a root ----------------------------------------------------------------


def command(*arguments: str) -> Callable[[], None]:
    """``dask cache …`` in this process; errors that it does not tell the user of are raised."""

    def run():
        done = CliRunner().invoke(cache, arguments)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception

    return run


def uses_of(
    yard: Yard, root: str, nodes: list, random: Random, target: str | None = None
) -> dict[str, Callable]:
    """What users do with a root, and a target in it, by name: those who look come first."""
    at = ("--root", root)
    place = Root(root)
    node = random.choice(nodes)
    targets = ["total.json", "read/text.json", "made/1.json", "volumes/2.zarr", "forged.txt"]
    target = target or random.choice(targets)
    looking = {
        "plan": lambda: str(dc.plan(*nodes)),
        "states": lambda: [(each.dc.state, each.dc.why(), each.dc.record) for each in nodes],
        "load": lambda: node.dc.load(),
        "open": lambda: node.dc.open(),
        "audit": lambda: audit_root(place, sample=50, seed=1),
        "audit of nodes": lambda: dc.audit(*nodes, sample=50, seed=1),
        "ls": command("ls", *at),
        "status": command("status", *at),
        "why": command("why", target, *at),
        "audit command": command("audit", *at),
        "verify": command("verify", *at),
        "gc dry": command("gc", "--dry-run", "--max-size", "0 B", "--min-age", "0 s", "--trash", *at),
        "du": command("du", *at),
        "trash": command("trash", *at),
        "export": command("export", f"{yard.archives}/out.tar", "*", "--upstream", *at),
    }
    changing = {
        "compute": lambda: dc.compute(*nodes),
        "adopt": command("adopt", target, *at),
        "accept": command("accept", target, *at),
        "plan after": lambda: dc.plan(*nodes),
        "restore": command("restore", target, *at),
        "repair": command("verify", "--repair", "--min-age", "0 s", *at),
        "rm": command("rm", target, *at),
        "rm downstream": command("rm", "--downstream", "read/text.json", *at),
        "compute after": lambda: dc.compute(*nodes, errors="collect"),
        "gc": command("gc", "--yes", "--max-size", "0 B", "--min-age", "0 s", "--trash", *at),
        "empty": command("trash", "--empty", "--yes", *at),
    }
    return {**looking, **changing}


def some(uses: dict[str, Callable], random: Random, sure: tuple[str, ...], count: int = 3) -> dict:
    """Those uses that a case is made for, and a few others, in their order."""
    others = random.sample([name for name in uses if name not in sure], count)
    return {name: use for name, use in uses.items() if name in sure or name in others}
