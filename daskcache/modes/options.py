"""Modes, and the parameters of `task` and `flow`.

`tasks` asks for the current mode at each call, and splits its parameters into those of `delayed` and
those of Prefect.
"""

from __future__ import annotations

import functools
import inspect
import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .. import config
from ..calls.signature import signature_of
from ..errors import DaskcacheWarning, GraphError, did_you_mean
from ..graph.function import delayed
from ..targets.base import Target
from ..targets.stores import StoreTarget

DASK, CACHE, FUNCTION = "dask", "cache", "function"
PREFECT = ("prefect", "prefect.cache", "prefect.skip")
MODES = (DASK, CACHE, FUNCTION, *PREFECT)


def current_mode() -> str:
    """Return the current mode of tasks and flows.

    It is config ``daskcache.mode``, or else the mode in prefectx's environment variables, or "dask".

    Raises
    ------
    GraphError
        If the mode is unknown.
    """
    mode = config.get("mode")
    if mode is None:
        return _mode_of_old()
    if mode not in MODES:
        raise GraphError("daskcache.mode is not a mode", expected=", ".join(MODES), got=repr(mode))
    return mode


def _mode_of_old():
    for variable in ("PIPEX", "PREFECTX"):
        old = os.environ.get(variable)
        if old is None:
            continue
        if old not in _OLD_MODES:
            raise GraphError(
                f"the variable {variable} is not a mode",
                expected=", ".join(_OLD_MODES),
                got=repr(old),
                hint=f"unset it, and set DASK_DASKCACHE__MODE to one of {', '.join(MODES)}",
            )
        _warn_of_old(variable, old)
        return _OLD_MODES[old]
    return DASK


@functools.cache
def _warn_of_old(variable, old):
    warnings.warn(
        f"{variable}={old} is still understood; set DASK_DASKCACHE__MODE={_OLD_MODES[old]} (config "
        "daskcache.mode) instead",
        DaskcacheWarning,
        stacklevel=2,
    )


#: Modes by the values of the older environment variables PREFECTX and PIPEX.
_OLD_MODES = {
    "do_nothing": FUNCTION,
    "cachetask": CACHE,
    "skiptask": PREFECT[2],
    "prefect.cachetask": PREFECT[1],
    "prefect.skiptask": PREFECT[2],
    **{mode: mode for mode in MODES},
}


_OWN = inspect.signature(delayed).parameters.keys() - {"obj", "name", "unknown", "retries"}
_OF_PREFECT = frozenset(
    """
    name description tags viz_return_value cache_key_fn cache_expiration cache_policy
    cache_result_in_memory refresh_cache persist_result result_storage result_storage_key
    result_serializer retries retry_delay_seconds retry_jitter_factor retry_condition_fn
    timeout_seconds log_prints on_completion on_failure on_running on_rollback on_commit
    task_run_name asset_deps artifacts
    """.split()  # noqa: SIM905 (shorter)
)
OF_FLOWS = frozenset(
    """
    name version flow_run_name description timeout_seconds validate_parameters retries
    retry_delay_seconds task_runner persist_result result_storage result_serializer
    cache_result_in_memory log_prints on_completion on_failure on_cancellation on_crashed
    on_running
    """.split()  # noqa: SIM905 (shorter)
)


class Inherited(NamedTuple):
    """Target of a decorator with defaults, for a task of it that says that results are not saved."""

    target: Any


def with_defaults(defaults: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a decorator with those of another one that has defaults.

    As in prefectx, ``save=False`` or ``store=None`` means that the function's value is not stored at the
    target of the defaults.  A function with a parameter ``target_path`` writes there itself.
    """
    merged = {**defaults, **options}
    if _is_unsaved(options) and "target" not in options:
        before = defaults.get("target")
        merged["target"] = before if isinstance(before, Inherited) else Inherited(before)
    return merged


def resolved(function: Callable, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a function's decorator, with its target or without one."""
    target = options.get("target")
    if not isinstance(target, Inherited):
        return dict(options)
    if _is_unsaved(options) and not signature_of(function).takes_target_path:
        others = {name: value for name, value in options.items() if name not in ("target", "store")}
        return {**others, "save": False}
    return {**options, "target": target.target}


def _is_unsaved(options):
    return options.get("save") is False or options.get("store", Target) is None


def split_options(options):
    """Split the parameters of `task` by their use.

    Returns
    -------
    tuple
        Options of `delayed`, number of retries, options of `prefect.task`, and True if complete tasks
        may skip Prefect's engine.
    """
    check_known(options, _OWN | _OF_PREFECT | {"name_template", "skip"}, "task")
    own = {name: value for name, value in options.items() if name in _OWN}
    if options.get("name_template") is not None:
        if options.get("label") is not None:
            raise GraphError("task() got label and name_template, which are one parameter")
        own["label"] = options["name_template"]
    if "store" in own:
        own |= _stored_by(own.pop("store"), own.get("target"))
    of_prefect = {name: value for name, value in options.items() if name in _OF_PREFECT}
    return own, of_prefect.get("retries") or 0, of_prefect, options.get("skip", True)


def check_known(options, known, decorator):
    unknown = sorted(set(options) - known)
    if unknown:
        raise GraphError(
            f"{decorator}() has no parameter {unknown[0]!r}",
            expected=", ".join(sorted(known)),
            hint=did_you_mean(unknown[0], known),
        )


def _stored_by(store, target):
    """Return the options of `delayed` for a store: a target class, a user's class, or None."""
    if store is None:
        return {"save": False}
    if isinstance(store, type) and issubclass(store, Target):
        return {"store": store}
    if not (callable(getattr(store, "save", None)) and callable(getattr(store, "load", None))):
        raise GraphError(
            f"task(store={store!r}) can't store results",
            expected="a Target class, or a class with save and load",
        )
    return {"target": _in_store("{funcname}/{key}" if target is None else target, store)}


def _in_store(target, store):
    if isinstance(target, Mapping):
        return {name: _in_store(each, store) for name, each in target.items()}
    if isinstance(target, (tuple, list)):
        return tuple(_in_store(each, store) for each in target)
    return target if isinstance(target, Target) else StoreTarget(os.fspath(target), store)
