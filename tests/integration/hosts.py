"""Hosts on one machine: network namespaces that are joined by a bridge.  Needs root, and iproute2."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path


class Hosts:
    """Some hosts, each with an address and a working folder of its own; the file system is shared.

    Parameters
    ----------
    base : Path
        Where the working folders and the logs go.
    names : tuple of str
    """

    def __init__(self, base: Path, names: tuple[str, ...]):
        self._base = base
        self._mark = f"dc{os.getpid() % 100_000}"
        self._numbers = {name: number for number, name in enumerate(names, start=1)}
        self._processes: list[subprocess.Popen] = []

    def address(self, name: str) -> str:
        return f"10.213.77.{self._numbers[name]}"

    def start(self, name: str, *command: str, hidden: Path | None = None, **environment: str):
        """Start a command on a host; its output goes to a log.

        Parameters
        ----------
        name : str
            Of the host.
        *command : str
        hidden : Path, optional
            A folder that this host does not share: it has an empty one there.
        **environment : str
        """
        folder = self._base / name
        folder.mkdir(exist_ok=True)
        if hidden is not None:
            script = 'mount -t tmpfs none "$0" && exec "$@"'
            command = ("unshare", "--mount", "sh", "-c", script, str(hidden), *command)
        with open(self.log(name), "ab") as log:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self._space(name), *command],
                cwd=folder,
                env={**os.environ, **environment},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._processes.append(process)
        return process

    def log(self, name: str) -> Path:
        return self._base / f"{name}.log"

    def cut_off(self, name: str) -> None:
        """Pull a host's plug: packets from and to it are lost, and nobody is told."""
        _ip("link", "set", self._plug(name), "down")

    def rejoin(self, name: str) -> None:
        _ip("link", "set", self._plug(name), "up")

    @contextmanager
    def up(self) -> Iterator[Hosts]:
        """The network, while the context is open; then the processes are killed and it is removed."""
        with ExitStack() as stack:
            stack.callback(self._kill_all)
            bridge = f"{self._mark}b"
            _ip("link", "add", bridge, "type", "bridge")
            stack.callback(_ip, "link", "delete", bridge)
            _ip("link", "set", bridge, "up")
            for name in self._numbers:
                space, plug, inside = self._space(name), self._plug(name), f"{self._plug(name)}i"
                _ip("netns", "add", space)
                stack.callback(_ip, "netns", "delete", space)
                _ip("link", "add", plug, "type", "veth", "peer", "name", inside, "netns", space)
                stack.callback(_ip, "link", "delete", plug)
                _ip("link", "set", plug, "master", bridge, "up")
                _ip("-n", space, "addr", "add", f"{self.address(name)}/24", "dev", inside)
                _ip("-n", space, "link", "set", inside, "up")
                _ip("-n", space, "link", "set", "lo", "up")
            stack.callback(self._kill_all)  # before their network goes
            yield self

    def _kill_all(self):
        for process in self._processes:
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()

    def _space(self, name):
        return f"{self._mark}-{name}"

    def _plug(self, name):
        return f"{self._mark}v{self._numbers[name]}"


def _ip(*arguments):
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr}")
