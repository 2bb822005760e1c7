"""Small disks that come and go, in a forked child with a view of the file system of its own."""

from __future__ import annotations

import ctypes
import os

_OWN_MOUNTS, _OWN_USERS = 0x00020000, 0x10000000  # CLONE_NEWNS, CLONE_NEWUSER
_PRIVATE_ALL = 0x4000 | 0x40000  # MS_REC | MS_PRIVATE
_DETACH = 2  # MNT_DETACH

_libc = ctypes.CDLL(None, use_errno=True)


def own_view() -> None:
    """What this process mounts from now on is seen by it and its children only."""
    flags = _OWN_MOUNTS if os.geteuid() == 0 else _OWN_MOUNTS | _OWN_USERS
    _check(_libc.unshare(flags), "unshare")
    _check(_libc.mount(b"none", b"/", None, _PRIVATE_ALL, None), "mount")


def mount_small(folder: str, size: str) -> None:
    """Mount a disk of so many bytes ("64k"), kept in memory, at a folder."""
    options = f"size={size}".encode()
    _check(_libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, options), "mount")


def unmount(folder: str) -> None:
    """Let a disk vanish, though files on it are open."""
    _check(_libc.umount2(os.fsencode(folder), _DETACH), "umount2")


def _check(result, name):
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
