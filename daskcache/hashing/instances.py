"""Encoders of instances: by class and by the state that pickle would keep.

`encoder` uses them for classes without an encoder of their own; `arrays` and `tables` use the helpers.
"""

from __future__ import annotations

import copyreg
import dataclasses
import functools
import pickle
import threading
import types
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from ..errors import UnhashableArgument
from .names import class_name, has, look_up, name_of, process_name_of
from .ownership import is_user_code
from .plain_values import encode_class, encode_str


def encode_instance(value, encoder):
    """Encode an instance of any other class by its class and the state that pickle would keep.

    A global that holds process state counts by its name.  Another global of an installed module counts
    by its name if it can't be hashed otherwise: it can't be taken apart, or contains itself.
    """
    name = process_name_of(value)
    if name is None:
        try:
            _encode_apart(value, encoder)
            return
        except UnhashableArgument:
            name = name_of(value)
            if name is None:
                raise
    encoder.parts.append(b"g")
    encode_str(name, encoder)


def _encode_apart(value, encoder):
    under_way = _of_thread.__dict__.setdefault("under_way", set())
    if id(value) in under_way:  # code in the value refers to it, say
        raise endless()
    under_way.add(id(value))
    try:
        _encode_contents(value, encoder)
    finally:
        under_way.discard(id(value))


#: Ids of the instances that a thread encodes.  Not in the encoder: code in a value has its own encoders.
_of_thread = threading.local()


def _encode_contents(value, encoder):
    wrapped = look_up(value, "__wrapped__")
    if callable(wrapped) and not is_user_code(type(value)):  # a function inside an lru_cache, say
        encode_class(b"w", value, encoder)
        encoder.add(wrapped)
        return
    # twice: state that differs from one time to the next can't identify the value
    first, second = _taken_apart(value), _taken_apart(value)
    encodings = []
    for reduced in (first,) if _same(first, second) else (first, second):
        part = encoder.nested()
        _reduced(value, reduced, part)
        encodings.append(part.encoding())
    if encodings[0] != encodings[-1]:
        raise no_identity(value, "what it pickles as differs from one time to the next")
    encoder.parts.append(b"O" + encodings[0])


def _taken_apart(value):
    """Return the state that pickle keeps: a name, or function, arguments, state, items and pairs."""
    try:
        reducer = copyreg.dispatch_table.get(type(value))
        reduced = reducer(value) if reducer else value.__reduce_ex__(4)
        if isinstance(reduced, str):
            return reduced
        function, args, state, items, pairs = (*reduced, None, None, None)[:5]
        if state is not None and state is look_up(value, "__dict__"):
            state = _attributes(value) or None
        listed = [None if each is None else list(each) for each in (items, pairs)]
        return function, args, state, *listed
    except RecursionError:
        raise
    except Exception as error:
        raise no_identity(value, f"it can't be taken apart ({error})") from error


def _same(one, two):
    """Test if two values are identical, equal ints or texts, or plain containers of such values.

    It is quicker than a second encoding, and may miss equal values.
    """
    if one is two:
        return True
    if type(one) is not type(two):
        return False
    if type(one) in (tuple, list):
        return len(one) == len(two) and all(map(_same, one, two))
    if type(one) is dict:
        return _same(list(one.items()), list(two.items()))
    return type(one) in (int, str) and one == two


def _reduced(value, reduced, encoder):
    if isinstance(reduced, str):
        encoder.add((look_up(value, "__module__"), reduced))  # the name of a global
        return
    function, args, state, items, pairs = reduced
    if function is copyreg.__newobj__ and args == (object,):
        raise no_identity(value, "a bare object() equals nothing but itself")
    if function in (copyreg.__newobj__, copyreg.__newobj_ex__):  # type: ignore[attr-defined]
        encoder.add(type(value))
        args = args[1:]
    else:
        encoder.add(function)
    encoder.add(tuple(args))
    # attributes, and those in slots
    for part in state if type(state) is tuple and len(state) == 2 else (state,):
        encode_state(part, encoder)
    encoder.add(items)
    encoder.add(pairs)


def encode_dataclass(value, encoder):
    encoder.parts.append(b"C")
    encoder.add(type(value))
    encode_state({**_attributes(value), **fields_of(value)}, encoder)


def fields_of(value: Any) -> dict[str, Any]:
    """Return the values of a dataclass's fields by name, without fields that are not set."""
    names = [field.name for field in dataclasses.fields(value)]
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def _attributes(value):
    """Return an instance's attributes, without the values that `functools.cached_property` stored.

    Methods of its own stand by their functions.
    """
    cls, attributes = type(value), dict(look_up(value, "__dict__", {}))
    kept = [n for n in attributes if not isinstance(look_up(cls, n), functools.cached_property)]
    return {name: _function_of_own(value, attributes[name]) for name in kept}


def _function_of_own(value, attribute):
    """Return the function of an instance's own method, bound or decorated; other attributes as they are.

    ``self.f = delayed(self.f)`` would make the instance contain itself.
    """
    method = attribute._spec.func if has(type(attribute), "_spec") else attribute
    is_own = isinstance(method, types.MethodType) and method.__self__ is value
    return ("own method", method.__func__) if is_own else attribute


def encode_state(value, encoder):
    """Encode the state of an instance; the order in which its attributes were set does not count.

    A number that is the address of another attribute is left out: it says nothing about the instance
    (scikit-learn's vectorizers keep one).
    """
    if type(value) is not dict or not all(type(name) is str for name in value):
        encoder.add(value)
        return
    addresses = {id(item) for item in value.values()}
    names = sorted(n for n, item in value.items() if type(item) is not int or item not in addresses)
    encoder.parts.append(b"u%d:" % len(names))
    for name in names:
        encode_str(name, encoder)
        encoder.add(value[name])


def encode_namedtuple(value, encoder):
    encode_class(b"n", value, encoder)
    encoder.add(value._fields)
    encoder.add(tuple(value))


def encode_by_token(value, encoder):
    """Encode a value by its token if a copy has the same token, else by the state that pickle keeps."""
    try:
        told = value.__dask_tokenize__()
    except Exception as error:
        raise no_identity(value, f"its __dask_tokenize__ failed ({error})") from error
    token = encoder.encoded(told)
    if _token_of_copy(value, encoder) == token:
        encode_class(b"K", value, encoder)
        encoder.parts.append(token)
    else:
        encode_instance(value, encoder)


def _token_of_copy(value, encoder):
    """Return the encoded token of a copy, or None if it can't be copied.

    Another thread makes the copy.  So a token made of an address or of a thread differs from the
    original's, and a token made of data does not.
    """
    with ThreadPoolExecutor(1) as pool:
        try:
            return pool.submit(copy_context().run, _copied_token, value, encoder).result()
        except Exception:  # noqa: BLE001 (a class that can't be copied may raise anything)
            return None


def _copied_token(value, encoder):
    import cloudpickle

    buffers: list[pickle.PickleBuffer] = []  # shared with the copy: large data is not copied
    data = cloudpickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return encoder.encoded(pickle.loads(data, buffers=buffers).__dask_tokenize__())


def endless():
    return UnhashableArgument(
        "the value is cyclic or nested too deeply",
        hint="pass a flatter value, or leave the argument out of the key with ignore=[...]",
    )


def no_identity(value: Any, reason: str) -> UnhashableArgument:
    """Return the error to raise for a value that can't be hashed."""
    return UnhashableArgument(
        f"a value of type {class_name(type(value))} has no stable identity: {reason}",
        hint="pass something plain instead, leave the argument out of the key with ignore=[...], "
        "or teach daskcache the type with daskcache.hashing.register",
    )
