"""The errors that daskcache raises, and the category of its warnings.

::

    DaskcacheError
    ├── GraphError                 the graph as written can't be planned
    │   ├── TemplateError          a target or label template has a bad field or value
    │   ├── PatternError           a pattern for files is malformed, or matches a file in two ways
    │   ├── UnsafePath             a target path would leave the root, or can't be a file name
    │   ├── UnknownFormat          no target class for this suffix
    │   ├── TargetCollision        two nodes, or two programs, claim one target
    │   ├── UnhashableArgument     an argument has no stable identity to make a key from
    │   ├── ArgumentChanged        an argument, a source or the code changed after the node was made
    │   ├── SourceMissing          an input file is not there
    │   ├── CodeMismatch           a worker has other versions of the user's modules
    │   ├── ReachError             a worker sees another root, or lacks daskcache or a user's module
    │   ├── NotANode               a verb of daskcache got something other than a node
    │   ├── NotComputed            a node was used in place of its value
    │   └── NoSuchNode             a name or pattern selects no node, or a name selects several
    ├── TargetError                a target on disk is not what it should be
    │   ├── ForeignTarget          a file that daskcache did not write stands in the way
    │   ├── TargetModified         someone edited the file after it was recorded
    │   ├── TargetCorrupt          the bytes are not those that were recorded
    │   ├── TargetMissing          the file vanished between the plan and the load, or was never there
    │   ├── UntrustedPickle        a pickle of an untrusted user, or in a place where none is loaded
    │   ├── UntrustedJSON          JSON that names an unknown class, or fields that its class lacks
    │   ├── SourceChanged          an input file changed between the plan and the load
    │   └── SourceUnreadable       an input file does not hold what its reader expects
    ├── ResultError                a function's return value can't be the node's result
    │   └── FormatLimit            the target's format can't hold the value
    ├── StorageError               the operating system refused (full, read-only, gone …)
    ├── ProcessDied                the process of an isolated function ended without a result
    ├── NodeTimeout                a function ran longer than its ``timeout``
    ├── NodeFailed                 a stand-in for the value of a node with ``errors="collect"``
    └── MissingExtra               an optional package is not installed

An error names the thing, what was expected, what was found and what to do next.  All errors survive
pickling, because they travel from workers to clients.
"""

from __future__ import annotations

from .printable import printable_lines


class DaskcacheError(Exception):
    """Base of all errors of daskcache.

    Parameters
    ----------
    message : str
        One sentence about the problem.
    node, target : str, optional
        Display name of the node, and path of the target or file concerned.
    expected, got : object, optional
        The expected state, and the state that was found instead.
    hint : str, optional
        The next step, as a command or a code change.
    """

    def __init__(
        self,
        message: str,
        *,
        node: str | None = None,
        target: str | None = None,
        expected: object = None,
        got: object = None,
        hint: str | None = None,
    ):
        super().__init__(message)
        self.message = message
        self.node = node
        self.target = target
        self.expected = expected
        self.got = got
        self.hint = hint

    def __str__(self):
        details = [
            ("node", self.node),
            ("target", self.target),
            ("expected", self.expected),
            ("got", self.got),
            ("to do", self.hint),
        ]
        lines = [f"  {name}: {_indented(value)}" for name, value in details if value is not None]
        return "\n".join([printable_lines(str(self.message)), *lines])

    def __reduce__(self):
        return _rebuild, (type(self), self.message, self.__dict__)

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows, without the frames that Dask's verbs have added."""
        from importlib import import_module

        from IPython import get_ipython

        import_module("daskcache.tracebacks").shorten(self)
        shown = get_ipython().InteractiveTB
        return shown.structured_traceback(type(self), self, self.__traceback__)


def _indented(value):
    """Return a detail as text.  No line of it can pass for another detail of the error."""
    return printable_lines(str(value)).replace("\n", "\n    ")


def _rebuild(cls, message, state):
    error = cls(message)
    error.__dict__.update(state)
    return error


class GraphError(DaskcacheError):
    """The graph as written can't be planned."""


class TemplateError(GraphError, ValueError):
    """A target or label template has a bad field, or a value that can't fill it."""


class PatternError(GraphError, ValueError):
    """A pattern for files is malformed, or matches a file in two ways."""


class UnsafePath(GraphError, ValueError):
    """A target path would leave the root, or is not a valid file name."""


class UnknownFormat(GraphError, ValueError):
    """No target class is registered for the suffix, or another one than was named."""


class TargetCollision(GraphError, ValueError):
    """Two nodes, or two programs, claim one target."""


class UnhashableArgument(GraphError, TypeError):
    """An argument has no stable identity from which a key could be made."""


class ArgumentChanged(GraphError, ValueError):
    """An argument, a source or the code changed after the node was made."""


class SourceMissing(GraphError, FileNotFoundError):
    """An input file is not there."""


class CodeMismatch(GraphError, RuntimeError):
    """A worker has other versions of the user's modules than the client."""


class ReachError(GraphError, RuntimeError):
    """A worker sees another root than the client, or lacks daskcache or a user's module."""


class NotANode(GraphError, TypeError):
    """A verb of daskcache got an argument that holds no node."""


class NotComputed(GraphError, TypeError):
    """A node was used in place of its value."""


class NoSuchNode(GraphError, KeyError):
    """A name or pattern selects none of several nodes, or a name selects more than one."""


class TargetError(DaskcacheError):
    """A target on disk is not what it should be."""


class ForeignTarget(TargetError):
    """A file that daskcache did not write is at a target's path."""


class TargetModified(TargetError):
    """The file was edited after it was recorded."""


class TargetCorrupt(TargetError):
    """The bytes of a target are not those that were recorded."""


class TargetMissing(TargetError, FileNotFoundError):
    """A target that is needed, or its record, is not there."""


class UntrustedPickle(TargetError):
    """A pickle is not loaded, because its owner, its place or the configuration forbids it."""


class UntrustedJSON(TargetError, ValueError):
    """JSON names a class that is not registered, or fields that its class lacks."""


class SourceChanged(TargetError):
    """An input file changed between the plan and the load."""


class SourceUnreadable(TargetError, ValueError):
    """An input file is damaged, cut short, or not in the format that its source class reads."""


class ResultError(DaskcacheError, TypeError):
    """A function's return value can't be the result of a node."""


class FormatLimit(ResultError):
    """The target's format can't hold the value without changing it."""


class StorageError(DaskcacheError, OSError):
    """The operating system refused to read or write."""


class ProcessDied(DaskcacheError, RuntimeError):
    """The process of a function with ``isolate=True`` ended without a result."""


class NodeTimeout(DaskcacheError, TimeoutError):
    """A function ran longer than its ``timeout``, and its process was ended."""


class NodeFailed(DaskcacheError):
    """A stand-in for the value of a node that failed under ``errors="collect"``.

    The original exception is the ``__cause__``.
    """

    def __reduce__(self):
        return _rebuild_failed, (self.message, self.__dict__, self.__cause__)


def _rebuild_failed(message, state, cause):
    error = _rebuild(NodeFailed, message, state)
    error.__cause__ = cause
    return error


class MissingExtra(DaskcacheError, ImportError):
    """An optional package is not installed."""


class DaskcacheWarning(UserWarning):
    """Category of all warnings of daskcache."""

    def __str__(self):
        return printable_lines(super().__str__())


#: All classes of this module are public.
__all__ = sorted(name for name, value in globals().items() if isinstance(value, type))


def did_you_mean(name, known):
    """Return a question with the known name that is most like `name`, or None if none is.

    Parameters
    ----------
    name : str
    known : iterable of str
    """
    from difflib import get_close_matches

    found = get_close_matches(name, known, n=1)
    return f"did you mean {found[0]!r}?" if found else None


def require(module, extra):
    """Import and return an optional module.

    Parameters
    ----------
    module : str
        Name of the module.
    extra : str
        The extra of daskcache that installs it.

    Raises
    ------
    MissingExtra
        If the module can't be imported.
    """
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"{module} is not installed",
            hint=f'pip install "daskcache[{extra}]"',
        ) from error


class LazyModule:
    """An optional module, which is imported when a name in it is first used; see `require`."""

    def __init__(self, module, extra):
        self._module, self._extra, self._imported = module, extra, None

    def __getattr__(self, name):
        if self._imported is None:
            self._imported = require(self._module, self._extra)
        return getattr(self._imported, name)
