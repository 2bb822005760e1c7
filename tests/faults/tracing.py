"""A function in a forked child, stopped at each system call: to kill it there, fail a call, or hold it.

`trace` forks, and follows the child's main thread by ptrace(2).  At each call that touches a file below
a given folder it asks a function what to do; that function may take its time (the child waits), so it
can also look at what is on disk just then, or let another process work.

Linux on x86-64 only: the numbers of system calls, and the registers, are those of that machine.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import platform
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from daskcache.errors import DaskcacheWarning


class Call(NamedTuple):
    """A system call that a child is about to make."""

    #: How many came before it.
    ordinal: int
    name: str
    #: The files and folders that it is about.
    paths: tuple[str, ...]
    #: Of a call that reads or writes, bytes; else 0.
    size: int

    def __str__(self):
        return f"#{self.ordinal} {self.name}({', '.join(self.paths)})"


class Action(NamedTuple):
    """What to do to a child at a system call."""

    #: Let the call fail with this error number; it has no effect.
    error: int | None = None
    #: Let it read or write this many bytes only.
    limit: int | None = None
    #: Kill the child: before the call, or if there is a limit, after it.
    kill: bool = False


KILL = Action(kill=True)


class Outcome(NamedTuple):
    """How a child ended."""

    killed: bool
    #: What the function returned, and what it raised.
    value: Any
    error: BaseException | None
    #: What daskcache warned of.
    warnings: list[str]
    #: How many calls touched the folder.
    calls: int


def trace(
    body: Callable[[], Any], below: str, act: Callable[[Call], Action | None], everything: bool = False
) -> Outcome:
    """Call `body` in a forked child.

    Parameters
    ----------
    body : callable
        Its result, or what it raises, must pickle.
    below : str
        Calls that touch no file at or below this folder are not interfered with.
    act : callable
        Gets each other `Call`; says what to do, or returns None.
    everything : bool
        Whether `act` gets every call, whatever it touches.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _be_traced(body, writer)
    os.close(writer)
    try:
        killed, count = _follow(child, below, act, everything)
        with open(reader, "rb", closefd=False) as pipe:
            sent = pipe.read()
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        os.close(reader)
        os.waitpid(child, 0)
    if killed:
        return Outcome(True, None, None, [], count)
    return Outcome(False, *pickle.loads(sent), count)


def in_child(body: Callable[[], Any]) -> Outcome:
    """Call `body` in a forked child, undisturbed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _tell(writer, _attempt(body))
    os.close(writer)
    with open(reader, "rb") as pipe:
        sent = pipe.read()
    _, status = os.waitpid(child, 0)
    assert sent, f"the child ended with status {os.waitstatus_to_exitcode(status)}"
    return Outcome(False, *pickle.loads(sent), 0)


def attempt(body: Callable[[], Any]) -> Outcome:
    """Call `body` in this process."""
    return Outcome(False, *_attempt(body), 0)


# ---- the child ------------------------------------------------------------------------------------


def _be_traced(body, writer):
    _ptrace(_TRACEME, 0, 0, 0)
    os.kill(os.getpid(), signal.SIGSTOP)
    outcome = _attempt(body)
    os.getppid()  # the sign that the body is done
    _tell(writer, outcome)


def _attempt(body):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            value, error = body(), None
        except BaseException as raised:  # noqa: BLE001 (it is the test's to judge)
            value, error = None, raised
    said = [str(w.message) for w in caught if issubclass(w.category, DaskcacheWarning)]
    return value, error, said


def _tell(writer, outcome):
    """Send the outcome and end, without anything that an interpreter does at its end."""
    try:
        sent = pickle.dumps(outcome)
        with open(writer, "wb") as pipe:
            pipe.write(sent)
    except BaseException as error:  # noqa: BLE001 (whatever it is, this process must not go on)
        print(f"can't send {outcome!r}: {error!r}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


# ---- the tracer -------------------------------------------------------------------------------------

_TRACEME, _GETREGS, _SETREGS, _DETACH, _SYSCALL, _SETOPTIONS = 0, 12, 13, 17, 24, 0x4200
_MARK_SYSCALLS, _KILL_WITH_TRACER = 1, 1 << 20
_SYSCALL_STOP = signal.SIGTRAP | 0x80
_REGISTERS = (
    "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base "
    "gs_base ds es fs gs"
)
_ARGUMENTS = "rdi", "rsi", "rdx", "r10", "r8", "r9"
_HERE = -100  # AT_FDCWD


class _Registers(ctypes.Structure):
    """``struct user_regs_struct`` of x86-64, see sys/user.h."""

    _fields_ = [(name, ctypes.c_ulonglong) for name in _REGISTERS.split()]


# Number: name, and where its files are in its arguments.  "p0" is a path, "f0" a descriptor, "d0p1" a
# path seen from a descriptor.
_CALLS = {
    0: ("read", "f0"),
    1: ("write", "f0"),
    2: ("open", "p0"),
    3: ("close", "f0"),
    4: ("stat", "p0"),
    5: ("fstat", "f0"),
    6: ("lstat", "p0"),
    8: ("lseek", "f0"),
    9: ("mmap", "f4"),
    16: ("ioctl", "f0"),
    17: ("pread64", "f0"),
    18: ("pwrite64", "f0"),
    19: ("readv", "f0"),
    20: ("writev", "f0"),
    21: ("access", "p0"),
    32: ("dup", "f0"),
    40: ("sendfile", "f0 f1"),
    72: ("fcntl", "f0"),
    73: ("flock", "f0"),
    74: ("fsync", "f0"),
    75: ("fdatasync", "f0"),
    76: ("truncate", "p0"),
    77: ("ftruncate", "f0"),
    82: ("rename", "p0 p1"),
    83: ("mkdir", "p0"),
    84: ("rmdir", "p0"),
    86: ("link", "p0 p1"),
    87: ("unlink", "p0"),
    88: ("symlink", "p1"),
    89: ("readlink", "p0"),
    90: ("chmod", "p0"),
    91: ("fchmod", "f0"),
    137: ("statfs", "p0"),
    138: ("fstatfs", "f0"),
    217: ("getdents64", "f0"),
    257: ("openat", "d0p1"),
    258: ("mkdirat", "d0p1"),
    262: ("newfstatat", "d0p1"),
    263: ("unlinkat", "d0p1"),
    264: ("renameat", "d0p1 d2p3"),
    265: ("linkat", "d0p1 d2p3"),
    266: ("symlinkat", "d1p2"),
    267: ("readlinkat", "d0p1"),
    268: ("fchmodat", "d0p1"),
    269: ("faccessat", "d0p1"),
    277: ("sync_file_range", "f0"),
    280: ("utimensat", "d0p1"),
    285: ("fallocate", "f0"),
    306: ("syncfs", "f0"),
    316: ("renameat2", "d0p1 d2p3"),
    326: ("copy_file_range", "f0 f2"),
    332: ("statx", "d0p1"),
    437: ("openat2", "d0p1"),
    439: ("faccessat2", "d0p1"),
}
_GETPPID = 110
_SIZED = ("read", "write", "pread64", "pwrite64")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request, child, address, data):
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise NotImplementedError("system calls are traced on Linux on x86-64 only")
    ctypes.set_errno(0)
    if _libc.ptrace(request, child, address, data) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace({request}): {os.strerror(number)}")


def _follow(child, below, act, everything):
    """Whether the child was killed, and how many calls it made."""
    os.waitpid(child, 0)
    _ptrace(_SETOPTIONS, child, 0, _MARK_SYSCALLS | _KILL_WITH_TRACER)
    memory = os.open(f"/proc/{child}/mem", os.O_RDONLY)
    try:
        count = 0
        while True:
            if not _to_next_stop(child):
                return True, count
            registers = _registers(child)
            if registers.orig_rax == _GETPPID:
                _ptrace(_DETACH, child, 0, 0)
                return False, count
            call = _call(child, memory, registers, count)
            action = None
            if everything or any(_is_below(path, below) for path in call.paths):
                action = act(call)
                count += 1
            if not _do(child, registers, action or Action()):
                return True, count
    finally:
        os.close(memory)


def _do(child, registers, action):
    """Let one call happen as `action` says; False if the child is dead then."""
    if action.kill and action.limit is None:
        os.kill(child, signal.SIGKILL)
    if action.error is not None:
        registers.orig_rax = ctypes.c_ulonglong(-1).value  # no such call: the kernel does nothing
        _set_registers(child, registers)
    if action.limit is not None:
        registers.rdx = min(registers.rdx, action.limit)
        _set_registers(child, registers)
    if not _to_next_stop(child):
        return False
    if action.kill:
        os.kill(child, signal.SIGKILL)
        return _to_next_stop(child)
    if action.error is not None:
        registers = _registers(child)
        registers.rax = ctypes.c_ulonglong(-action.error).value
        _set_registers(child, registers)
    return True


def _to_next_stop(child):
    """Let the child go on to the next beginning or end of a system call; False if it is dead then."""
    deliver = 0
    while True:
        try:
            _ptrace(_SYSCALL, child, 0, deliver)
        except ProcessLookupError:  # killed a moment ago
            return False
        # the child remains to be waited for, so that its id is not given to another process
        found = os.waitid(os.P_PID, child, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
        if found.si_code != os.CLD_TRAPPED:
            return False
        _, status = os.waitpid(child, 0)
        if not os.WIFSTOPPED(status):
            raise AssertionError(f"the child ended by itself: {status}")
        deliver = os.WSTOPSIG(status)
        if deliver == _SYSCALL_STOP:
            return True


def _registers(child):
    registers = _Registers()
    _ptrace(_GETREGS, child, 0, ctypes.addressof(registers))
    return registers


def _set_registers(child, registers):
    _ptrace(_SETREGS, child, 0, ctypes.addressof(registers))


def _call(child, memory, registers, ordinal):
    number = registers.orig_rax
    name, where = _CALLS.get(number, (str(number), ""))
    values = [getattr(registers, argument) for argument in _ARGUMENTS]
    paths = tuple(_path(child, memory, values, place) for place in where.split())
    return Call(ordinal, name, paths, registers.rdx if name in _SIZED else 0)


def _path(child, memory, values, place):
    if place[0] == "f":
        return _open_path(child, values[int(place[1])])
    text = _text(memory, values[int(place[-1])])
    start = values[int(place[1])] if place[0] == "d" else _HERE
    if text.startswith("/"):
        return text
    folder = _open_path(child, start)
    return f"{folder}/{text}" if text else folder


def _open_path(child, descriptor):
    """Where an open file, or the current folder, is."""
    descriptor = ctypes.c_int(descriptor & 0xFFFFFFFF).value
    link = f"/proc/{child}/cwd" if descriptor == _HERE else f"/proc/{child}/fd/{descriptor}"
    try:
        return os.readlink(link)
    except OSError:  # no such descriptor
        return ""


def _text(memory, address):
    found = b""
    while address and b"\0" not in found:
        within_page = 4096 - address % 4096
        found += os.pread(memory, within_page, address)
        address += within_page
    return os.fsdecode(found.partition(b"\0")[0])


def _is_below(path, folder):
    return path == folder or path.startswith(f"{folder}/")
