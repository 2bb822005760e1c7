"""Results that Prefect stores: as JSON with sources and targets in it, and read without trust.

A stored record names the serializer to read it with, pickle included, and Prefect imports what the
record names.  Here a record is read by the task's own serializer.  A record that daskcache's or CPR's
serializer wrote is read by daskcache's; any other serializer is refused.
"""

from __future__ import annotations

import json
import os
from typing import Any

from prefect.results import ResultRecord, ResultRecordMetadata, ResultStore
from prefect.serializers import JSONSerializer, Serializer

from ..errors import DaskcacheError, TargetMissing, UntrustedJSON
from ..targets.resource import Resource
from .futures import instances_in
from .internals import call_block, now

#: Names of the decoder in stored results: daskcache's and CPR's.  Both write the same JSON.
DECODERS = ("daskcache.cpr.serializer.target_decoder", "cpr.Serializer.target_decoder")


def cpr_serializer(dumps_kwargs: dict[str, Any] | None = None) -> JSONSerializer:
    """Make the ``result_serializer`` for tasks that return sources and targets.

    The data of targets are saved to their files, and the JSON holds the paths.  The JSON is the same as
    CPR's.  When it is read, nothing in it is imported by name: see `daskcache.target_decoder`.

    Parameters
    ----------
    dumps_kwargs : dict, optional
        Keyword arguments for `json.dumps`, e.g. ``{"indent": 2}``.

    Returns
    -------
    prefect.serializers.JSONSerializer

    Examples
    --------
    >>> @prefect.task(                                                 # doctest: +SKIP
    ...     result_serializer=cpr_serializer(), cache_key_fn=task_input_hash
    ... )
    ... def denoise(image: ImageSource) -> ImageTarget: ...
    """
    return JSONSerializer(
        jsonlib="json",
        object_encoder="daskcache.cpr.serializer.target_encoder",
        object_decoder=DECODERS[0],
        dumps_kwargs=dumps_kwargs or {},
    )


def stored_record(store: ResultStore, key: str) -> ResultRecord | None:
    """Return the record stored under a key; None if it is missing or has expired.

    Parameters
    ----------
    store : prefect.results.ResultStore
        Result store of the task.
    key : str

    Returns
    -------
    prefect.results.ResultRecord or None

    Raises
    ------
    UntrustedJSON
        If the record names a serializer that is not the task's, or can't be read.
    UnsafePath
        If the record names files outside of config ``daskcache.resource-roots``.
    TargetMissing
        If a file that the result names is missing.
    """
    found = _document(store, key)
    if found is None:
        return None
    about, text = found
    serializer = _serializer_for(about.get("serializer"), store, key)
    metadata = _metadata(about, serializer, key)
    if metadata.expiration is not None and metadata.expiration <= now("UTC"):
        return None
    try:
        result = serializer.loads(text)
    except DaskcacheError as error:
        error.target = error.target or key
        raise
    except Exception as error:
        raise UntrustedJSON("a stored result can't be read", target=key, got=error) from error
    for resource in instances_in(result, Resource):
        if not os.path.lexists(resource.get_path()):
            raise TargetMissing("a stored result names a file that is gone", target=resource.get_path())
    record: ResultRecord = ResultRecord(metadata=metadata, result=result)
    record.mark_persisted()
    return record


def _document(store, key):
    """Return the stored metadata and the serialized result, or None."""
    document = _parsed(_read(store.metadata_storage or store.result_storage, key))
    if document is None:
        return None  # Prefect, too, treats an invalid record as missing
    if store.metadata_storage is not None:
        content = _read(store.result_storage, document.get("storage_key"))
        return None if content is None else (document, content)
    about = document.get("metadata", document)
    text = document.get("result", document.get("data"))
    if not isinstance(about, dict) or not isinstance(text, str):
        return None
    return about, text.encode()


def _read(storage, key):
    if not isinstance(key, str):
        return None
    try:
        return call_block(storage, "read_path", (key,), {})
    except Exception:  # noqa: BLE001 (each storage has its own error for what isn't there)
        return None


def _parsed(content):
    try:
        document = json.loads(content or b"null")
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _serializer_for(named, store, key):
    """Return the serializer to read a result with: a known one that equals the one that is named.

    The named serializer itself is never built, because the record may come from an untrusted writer.
    """
    own = store.serializer
    expected = _essence(own.model_dump(serialize_as_any=True))
    if _essence(named) == expected:
        return own
    is_json = isinstance(named, dict) and named.get("type") == "json"
    if is_json and named.get("object_decoder") in DECODERS:
        return cpr_serializer()
    raise UntrustedJSON(
        "a stored result names a serializer that is not the task's",
        target=key,
        expected=expected,
        got=repr(named)[:200],
        hint="delete it, or give the task the result_serializer that it was stored with",
    )


def _essence(serializer):
    """Return the settings of a serializer that matter for reading."""
    if not isinstance(serializer, dict):
        return None
    return {
        name: _essence(value) if name == "serializer" else value
        for name, value in serializer.items()
        if name not in ("dumps_kwargs", "picklelib_version")
    }


def _metadata(about, serializer: Serializer, key):
    known = {name: about.get(name) for name in ("expiration", "storage_block_id")}
    try:
        return ResultRecordMetadata(
            storage_key=about.get("storage_key") or key, serializer=serializer, **known
        )
    except ValueError as error:
        raise UntrustedJSON("a stored result has invalid metadata", target=key, got=error) from error
