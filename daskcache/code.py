"""Functions to fingerprints.

The fingerprint of a Python function is the hash of its normalised syntax tree (no comments,
docstrings, annotations, formatting, decorators, nor its own name), its defaults and its closure's
values.  It knows nothing of file paths and line numbers.  What has no Python source counts by
bytecode, and what has no bytecode by module, qualified name and version of its distribution.
"""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import sys
import sysconfig
import types
import warnings
from contextvars import ContextVar
from pathlib import Path

from . import config
from .errors import DaskcacheWarning, UnhashableArgument
from .hashing import Encoder, hash_value


def fingerprint(obj) -> str:
    """Fingerprint of a callable or class that is somebody's *argument or closure value*.

    What belongs to an installed package or the standard library counts by its name.

    Returns
    -------
    str
        32 hex digits.

    Raises
    ------
    UnhashableArgument
        If a default or a closure value has no stable identity.
    """
    if isinstance(obj, types.FunctionType) and is_user_code(obj):
        return function_fingerprint(obj)
    if isinstance(obj, type) and is_user_code(obj):
        return hash_value(("class", _class_identity(obj)))
    if isinstance(obj, types.MethodType):
        return hash_value(("method", obj.__func__, obj.__self__))
    if isinstance(obj, (types.BuiltinFunctionType, types.MethodWrapperType)):
        owner = getattr(obj, "__self__", None)
        if owner is not None and not isinstance(owner, types.ModuleType):
            return hash_value(("method", obj.__name__, owner))
    return hash_value(("installed", *_installed_name(obj)))


def function_fingerprint(func) -> str:
    """Fingerprint of a function that the user decorated, wherever it is defined.

    Raises
    ------
    UnhashableArgument
        If a default or a closure value has no stable identity.
    """
    if not isinstance(func, types.FunctionType):
        return hash_value(func)
    return hash_value(
        (
            "function",
            code_hash(func.__code__),
            _values(func, "default", _defaults(func)),
            _values(func, "closure variable", _closure(func)),
        )
    )


def is_user_code(obj) -> bool:
    """Whether `obj` is defined outside the standard library and the installed packages.

    Editable installs, scripts and notebook cells are user code.
    """
    module = sys.modules.get(getattr(obj, "__module__", None) or "")
    file = getattr(module, "__file__", None)
    if file is None:
        return getattr(module, "__name__", "__main__") == "__main__"
    return not any(Path(file).is_relative_to(folder) for folder in _installed_folders())


def code_hash(code: types.CodeType) -> str:
    """Hash of what a code object does: of its source's syntax tree, else of its bytecode."""
    return _code_hash(code, code.co_filename)


@functools.cache
def _code_hash(code, _file_name):
    tree = _syntax_tree(code)
    if tree is None:
        return hash_value(("bytecode", sys.version_info[:2], _bytecode(code)))
    return hash_value(("ast", _normalised(tree, top=True)))


# ---- defaults and closures ----------------------------------------------------------------------


def _defaults(func):
    """Defaults by name; a node as a default is upstream of the call, not part of the code."""
    found = inspect.signature(func).parameters.values()
    return {
        p.name: p.default
        for p in found
        if p.default is not p.empty and not hasattr(type(p.default), "_recipe")
    }


def _closure(func):
    cells = {}
    for name, cell in zip(func.__code__.co_freevars, func.__closure__ or (), strict=True):
        try:
            cells[name] = cell.cell_contents
        except ValueError:  # an empty cell: the variable is not assigned yet
            cells[name] = "<empty>"
    return cells


_in_progress: ContextVar[tuple] = ContextVar("fingerprints_in_progress", default=())


def _values(func, kind, values):
    """Hashes of named values; a function that reaches itself through them ends there."""
    outer = _in_progress.get()
    if func in outer:
        return f"<recursive, {len(outer) - outer.index(func)} up>"
    token = _in_progress.set((*outer, func))
    try:
        return {name: _value_hash(func, kind, name, value) for name, value in values.items()}
    finally:
        _in_progress.reset(token)


def _value_hash(func, kind, name, value):
    size = getattr(value, "nbytes", 0)
    if isinstance(size, int) and size > config.get_bytes("closure-warning"):
        warnings.warn(
            f"{kind} {name!r} of {func.__qualname__}() holds {size / 2**20:.0f} MiB, which is "
            "hashed for every key: pass it as an argument, or as a node, instead",
            DaskcacheWarning,
            stacklevel=2,
        )
    encoder = Encoder()
    try:
        encoder.add_checked(value)
    except UnhashableArgument as error:
        raise UnhashableArgument(
            f"{kind} {name!r} of {func.__qualname__}(): {error.message}", hint=error.hint
        ) from error
    return encoder.digest()


# ---- syntax trees -------------------------------------------------------------------------------

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_NAMED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_NOT_CODE = {"ctx", "type_comment", "kind", "decorator_list", "annotation", "returns"}


def _syntax_tree(code):
    """The node of the syntax tree that `code` was compiled from, or None without source."""
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename)
    if not lines:
        return None
    try:
        candidates = _functions_by_line("".join(lines)).get((code.co_firstlineno, code.co_name), [])
    except SyntaxError:
        return None
    if len(candidates) > 1:  # several lambdas on one line: the bytecode tells which
        wanted = _bytecode(code)
        candidates = [c for c in candidates if _bytecode(_compile_lambda(c)) == wanted][:1]
    return candidates[0] if candidates else None


@functools.lru_cache(maxsize=64)
def _functions_by_line(text):
    found: dict[tuple[int, str], list] = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, _FUNCTIONS):
            decorators = getattr(node, "decorator_list", [])
            line = min([node.lineno, *(d.lineno for d in decorators)])
            found.setdefault((line, getattr(node, "name", "<lambda>")), []).append(node)
    return found


def _compile_lambda(node):
    module = compile(ast.Expression(node), "<lambda>", "eval")
    return next(c for c in module.co_consts if isinstance(c, types.CodeType))


def _normalised(node, top=False):
    """A syntax tree as nested tuples, without what does not change what the code does."""
    if isinstance(node, list):
        return tuple(_normalised(item) for item in node if not _is_bare_annotation(item))
    if not isinstance(node, ast.AST):
        return node
    if isinstance(node, ast.AnnAssign):
        node = ast.Assign(targets=[node.target], value=node.value)
    if isinstance(node, ast.Constant):
        return ("Constant", node.value)
    fields = []
    for name, value in ast.iter_fields(node):
        if name in _NOT_CODE or value is None or value == []:
            continue
        if name == "body" and isinstance(node, _NAMED):
            value = _without_docstring(value)
        if top and name == "name":
            continue
        fields.append((name, _normalised(value)))
    return (type(node).__name__, *fields)


def _is_bare_annotation(node):
    return isinstance(node, ast.AnnAssign) and node.value is None


def _without_docstring(body):
    first = body[0]
    if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
        return body[1:] or [ast.Pass()]
    return body


def _bytecode(code):
    constants = [
        _bytecode(c) if isinstance(c, types.CodeType) else (type(c).__name__, c) for c in code.co_consts
    ]
    return code.co_code, tuple(constants), code.co_names, code.co_varnames


# ---- classes and installed code -----------------------------------------------------------------


def _class_identity(cls):
    """Name and source of a class of the user's own, and of its bases."""
    try:
        tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(cls)))
        source = _normalised(tree.body[0])
    except (OSError, TypeError, SyntaxError, IndentationError):
        methods = {n: m for n, m in vars(cls).items() if isinstance(m, types.FunctionType)}
        source = {name: code_hash(method.__code__) for name, method in methods.items()}
    bases = [base for base in cls.__bases__ if base is not object]
    return cls.__qualname__, source, bases


def _installed_name(obj):
    module = getattr(obj, "__module__", None) or type(obj).__module__
    name = getattr(obj, "__qualname__", None) or getattr(obj, "__name__", None)
    if name is None:
        raise UnhashableArgument(f"a callable of type {type(obj).__name__} has no name")
    version = None if isinstance(obj, (types.FunctionType, type)) else package_version(module)
    return module, name, version


@functools.cache
def package_version(module: str) -> str | None:
    """Version of the distribution that `module` belongs to; None for the standard library."""
    import importlib.metadata

    try:
        return importlib.metadata.version(module.partition(".")[0])
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def _installed_folders():
    paths = sysconfig.get_paths()
    return {Path(paths[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
