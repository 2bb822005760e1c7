"""System calls that Python does not offer, for `atomic`: renames of another kind, folders without links.

Each is called through ctypes, which the first call imports.  A system or file system without a call
answers as if it failed, and the caller takes a longer way.
"""

from __future__ import annotations

import errno
import functools
import os
import sys

#: Kinds of rename: one that replaces nothing, and one that exchanges two files or folders.
NO_REPLACE, EXCHANGE = "no replace", "exchange"
#: Answers of a system or file system that does not know a kind of rename.
UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)

#: Stands for a folder's descriptor where a path is absolute: AT_FDCWD.
_HERE = -2 if sys.platform == "darwin" else -100


def rename(source: str, destination: str, folder: int | None, how: str) -> int:
    """Rename a file or folder: renameat2(2) or, on macOS, renameatx_np(2).

    Parameters
    ----------
    source : str
        Absolute path.
    destination : str
        Name in the open folder, or an absolute path without one.
    folder : int or None
        Descriptor of the folder.
    how : str
        `NO_REPLACE` or `EXCHANGE`.

    Returns
    -------
    int
        0, or the number of the error; one of `UNSUPPORTED` if there is no such call.
    """
    call = _rename_call()
    return errno.ENOSYS if call is None else call(source, destination, folder, how)


@functools.cache
def _rename_call():
    """Return `rename` for this system, or None if it has no such call."""
    ctypes, library = _library()
    calls = {
        "renameat2": {NO_REPLACE: 1, EXCHANGE: 2},
        "renameatx_np": {NO_REPLACE: 4, EXCHANGE: 2},
    }
    name = next((name for name in calls if hasattr(library, name)), None)
    if name is None:
        return None
    call, flags = getattr(library, name), calls[name]
    call.argtypes = ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint

    def rename(source, destination, folder, how):
        there = _HERE if folder is None else folder
        failed = call(_HERE, os.fsencode(source), there, os.fsencode(destination), flags[how])
        return ctypes.get_errno() if failed else 0

    return rename


def open_folder(path: str) -> int | None:
    """Open a folder if no part of its path is a symbolic link: openat2(2).

    Returns
    -------
    int or None
        The descriptor.  None if there is a link, no folder, no permission or no such call.
    """
    call = _open_call()
    return None if call is None else call(path)


@functools.cache
def _open_call():
    """Return `open_folder` for this system, or None if it has no such call."""
    ctypes, library = _library()
    call = getattr(library, "syscall", None) if sys.platform == "linux" else None
    if call is None:
        return None
    size = ctypes.c_size_t
    call.argtypes = ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, size
    call.restype = ctypes.c_long
    how = (ctypes.c_uint64 * 3)(os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, 0, _NO_SYMLINKS)

    def open_folder(path):
        descriptor = call(_OPENAT2, _HERE, os.fsencode(path), how, ctypes.sizeof(how))
        return descriptor if descriptor >= 0 else None

    return open_folder


#: Number of openat2(2) on every architecture, and its RESOLVE_NO_SYMLINKS.
_OPENAT2, _NO_SYMLINKS = 437, 0x04


@functools.cache
def _library():
    """Return ctypes, and the C library or None."""
    import ctypes

    return ctypes, None if sys.platform == "win32" else ctypes.CDLL(None, use_errno=True)
