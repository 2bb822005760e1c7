"""Manifests: name, size and hash of every file in a stored folder.

A record holds the hash of a folder's manifest.  The manifest itself is stored beside the records under
that hash, so that any change to it is noticed.  If it is gone, the whole folder is hashed, which gives
it back.  `commit` keeps manifests, and `verified_folders` reads them.
"""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path

from ..aliases import names_of
from ..hashing.encoder import hash_value
from . import files as storage
from .atomic import refuse_link
from .roots import FORMAT, METADATA, Root, parsed

__getattr__ = names_of(__name__, "storage.verified_folders")


def keep_manifest(root: Root, file_hash: str, manifest: list[tuple[str, int, str]] | None) -> None:
    """Store the manifest of a folder, so that single files of it can be verified.

    Parameters
    ----------
    root : Root
    file_hash : str
        Hash of the folder.
    manifest : list or None
        See `daskcache.storage.files.manifest_of`; None for a file, and then nothing is stored.

    Raises
    ------
    StorageError
        If the manifest can't be written.
    """
    if manifest is None:
        return
    path = _manifest_path(root.manifests, file_hash)
    if _is_kept(path, file_hash):
        return
    refuse_link(root.path, f"{METADATA}/manifests/{file_hash[:2]}")
    part = storage.part_path(root, f"{file_hash}.json")
    storage.write_part(part, [json.dumps({"daskcache": FORMAT, "files": manifest}).encode()])
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.replace(part, path)  # an existing manifest is damaged
    except OSError as error:
        storage.sweep(part)
        raise storage.storage_error(error, path) from error


def mend_manifest(root: Root, location: str, file_hash: str) -> bool:
    """Store the manifest of a folder again if it is gone or damaged.

    Parameters
    ----------
    root : Root
    location : str
        Absolute path of the target; a file has no manifest.
    file_hash : str
        Hash of the manifest, as the record has it.

    Returns
    -------
    bool
        True if the manifest was stored; False if it was intact, or the folder's content has changed.

    Raises
    ------
    StorageError
        If the folder can't be read, or the manifest can't be written.
    """
    if not os.path.isdir(location):
        return False
    if _is_kept(_manifest_path(root.manifests, file_hash), file_hash):
        return False
    part = storage.part_of(location)
    if part.file_hash != file_hash:
        return False
    keep_manifest(root, file_hash, part.manifest)
    return True


def forget_manifest(root: Root, file_hash: str) -> None:
    """Remove the manifest of a folder that was removed or replaced."""
    storage.sweep(_manifest_path(root.manifests, file_hash))


def kept_files(manifests: str, file_hash: str) -> dict[str, tuple[int, str]] | None:
    """Return size in bytes and hash of a stored folder's files by name, or None without a manifest."""
    try:
        return _read_manifest(_manifest_path(manifests, file_hash), file_hash)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _manifest_path(manifests, file_hash):
    return f"{manifests}/{file_hash[:2]}/{file_hash}.json"


def _is_kept(path, file_hash):
    """Return True if a manifest is stored and intact; the read is never served from memory."""
    try:
        _read_manifest.__wrapped__(path, file_hash)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return True


@functools.lru_cache(maxsize=16)
def _read_manifest(path, expected):
    """Return the files in a manifest; raise ValueError if its hash is not the expected one."""
    files = [tuple(file) for file in parsed(Path(path).read_bytes())["files"]]
    if hash_value(files) != expected:
        raise ValueError(f"{path} is damaged")
    return {name: (size, digest) for name, size, digest in files}
