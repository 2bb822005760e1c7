"""What each peer guarantees is tried: edited helpers, damaged results, and writes that are killed.

Peers that daskcache's own tests don't install have environments of their own, which are made once, in
the user's folder for caches.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from .scenes import folder

#: A peer by name, and what its own environment has, if it needs one.
PEERS = {
    "daskcache": None,
    "joblib": None,
    "by_hand": None,
    "prefect": None,
    "redun": ["redun", "setuptools<81"],
    "graphchain": ["graphchain", "dask[complete]==2023.5.0", "setuptools<81"],
    "dask_checkpoint": ["dask-checkpoint", "dask[complete]==2023.5.0", "fsspec", "setuptools<81"],
    "snakemake": ["snakemake"],
}

#: Each answer: yes, no, or what was seen instead.
YES, NO, ERROR = "yes", "no", "an error"

#: The function is slow: some peers keep only what takes longer than to read it.
FUNCTIONS = """
import time
import helpers

def scaled(i):
    with open("calls", "a") as file:
        file.write("1")
    time.sleep(0.3)
    return helpers.helper(i)
"""
HELPERS = 'def helper(i):\n    return f"value-{{i}}-{word}"\n'
#: Words of one length: a result in which one stands for the other is damaged, not torn.
WORD, EDITED, DAMAGED = "origin", "edited", "orihin"

#: At so many of the calls that write, a program is killed.
KILLS = 25


@dataclass(frozen=True)
class Guarantees:
    """What was found of a peer."""

    peer: str
    helper: str
    damage: str
    atomic: str


def try_peer(peer: str, kills: int = KILLS) -> Guarantees:
    """Try what a peer guarantees.

    Parameters
    ----------
    peer : str
        One of `PEERS`.
    kills : int
        At how many of its writes the program is killed; 0 leaves that out.
    """
    python = interpreter(peer)
    if python is None:
        return Guarantees(peer, *["not installed"] * 3)
    if not keeps(python, peer):
        return Guarantees(peer, *["keeps nothing"] * 3)
    return Guarantees(
        peer, notices_helper(python, peer), notices_damage(python, peer), is_atomic(python, peer, kills)
    )


def interpreter(peer: str) -> str | None:
    """Return the interpreter that has a peer; None if it can't be installed."""
    wanted = PEERS[peer]
    if wanted is None:
        return sys.executable
    place = Path(platformdirs.user_cache_dir("daskcache-benchmarks")) / peer
    python, done = place / "bin" / "python", place / "installed"
    if not done.exists():
        venv.create(place, with_pip=True, clear=True)
        installed = subprocess.run([python, "-m", "pip", "install", "-q", *wanted])
        if installed.returncode:
            return None
        done.touch()
    return str(python)


def keeps(python: str, peer: str) -> bool:
    """Return whether a second run calls nothing."""
    with folder() as place:
        write_program(place, WORD)
        for _ in range(2):
            expected(place, python, peer, WORD)
        return len(Path(place, "calls").read_text()) == 3


def notices_helper(python: str, peer: str) -> str:
    """A helper that the cached function calls is edited: are its results made again?"""
    with folder() as place:
        write_program(place, WORD)
        expected(place, python, peer, WORD)
        write_program(place, EDITED)
        return answer(run(place, python, peer), EDITED)


def notices_damage(python: str, peer: str) -> str:
    """A letter of a stored result changes: is it refused, or made again?"""
    with folder() as place:
        write_program(place, WORD)
        expected(place, python, peer, WORD)
        changed = 0
        for path in Path(place).rglob("*"):
            if path.is_file() and path.suffix not in (".py", ".pyc"):
                content = path.read_bytes()
                damaged = re.sub(rf"(value-\d-){WORD}".encode(), rf"\1{DAMAGED}".encode(), content)
                changed += damaged != content
                path.write_bytes(damaged)
        if not changed:
            return "its results are not plain"
        found = answer(run(place, python, peer), WORD)
        return f"{YES}, by {found}" if found == ERROR else found


def is_atomic(python: str, peer: str, kills: int) -> str:
    """The program is killed as it writes: does it go on afterwards, with the right results?"""
    if not kills:
        return "not tried"
    if shutil.which("strace") is None:
        return "strace is missing"
    if peer == "prefect":
        return "not tried: its server runs on"
    with folder() as place:
        counts, counted = f"{place}/counts", f"{place}/counted"
        os.mkdir(counted)
        write_program(counted, WORD)
        traced(f"-e trace=write -c -o {counts}", counted, python, peer).check_returncode()
        lines = Path(counts).read_text().splitlines()
        writes = sum(int(line.split()[3]) for line in lines if line.endswith(" write"))
        for at in range(1, writes + 1, max(writes // kills, 1)):
            killed = f"{place}/killed-{at}"
            os.mkdir(killed)
            write_program(killed, WORD)
            traced(f"-o /dev/null -e inject=write:signal=KILL:when={at}", killed, python, peer)
            found = answer(run(killed, python, peer), WORD)
            if found != YES:
                return NO if found == NO else f"{NO}: {found}"
    return YES


def traced(options: str, place: str, python: str, peer: str) -> subprocess.CompletedProcess:
    """Run a peer's program under strace."""
    return subprocess.run(
        ["strace", "-f", *options.split(), *command(python, peer)],
        cwd=place,
        env=environment(peer),
        capture_output=True,
    )


def write_program(place: str, word: str) -> None:
    """Write the modules of the program, in a state that compiled files of before don't have."""
    Path(place, "functions.py").write_text(FUNCTIONS)
    Path(place, "helpers.py").write_text(HELPERS.format(word=word))


def command(python: str, peer: str) -> list[str]:
    """Return the words that run a peer's program."""
    return [python, "-B", str(Path(__file__).with_name("peer_programs.py")), peer]


def run(place: str, python: str, peer: str) -> subprocess.CompletedProcess:
    """Run a peer's program."""
    return subprocess.run(
        command(python, peer), cwd=place, env=environment(peer), capture_output=True, text=True
    )


def environment(peer: str) -> dict[str, str]:
    """Return the environment of a peer's program: that of daskcache has this clone."""
    clone = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": clone if peer == "daskcache" else ""}


def expected(place: str, python: str, peer: str, word: str) -> None:
    """Run a program for the first time, when no answer but the right one will do."""
    done = run(place, python, peer)
    if answer(done, word) != YES:
        raise RuntimeError(f"{peer}: {done.stdout[-500:]}{done.stderr[-2000:]}")


def answer(done: subprocess.CompletedProcess, word: str) -> str:
    """Return whether a program printed the right values."""
    if done.returncode:
        return ERROR
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"values"')]
    values = json.loads(lines[-1])["values"] if lines else None
    return YES if values == [f"value-{i}-{word}" for i in range(3)] else NO
