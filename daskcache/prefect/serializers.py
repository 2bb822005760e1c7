"""`cpr_serializer`: results of Prefect tasks as JSON, with sources and targets in it."""

from __future__ import annotations

from typing import Any

from prefect.serializers import JSONSerializer

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
