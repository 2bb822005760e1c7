"""`cpr_serializer`: results of Prefect tasks as JSON, with sources and targets in it."""

from __future__ import annotations

from typing import Any

from prefect.serializers import JSONSerializer

#: Names of the decoder in stored results: daskcache's, and CPR's, whose JSON is the same.
DECODERS = ("daskcache.cpr.serializer.target_decoder", "cpr.Serializer.target_decoder")


def cpr_serializer(dumps_kwargs: dict[str, Any] | None = None) -> JSONSerializer:
    """The ``result_serializer`` for tasks that return sources and targets.

    The data of targets are saved at their addresses, and the JSON says where; it is as CPR's.  Nothing
    in it is imported by name when it is read: see `daskcache.target_decoder`.

    Parameters
    ----------
    dumps_kwargs : dict, optional
        For `json.dumps`, e.g. ``{"indent": 2}``.

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
