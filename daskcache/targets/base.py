"""Base classes of all formats of results.

`Target` is the place and format of a result.  `BytesTarget` is a target whose file is made in memory,
`FolderFormat` a target that is a folder.  The formats in this package derive from them, and a user's
may, too.  `runtime.store` and `runtime.entry` write and read through them.  `source` has the base of
inputs, and `resource` the base that targets and sources share.
"""

from __future__ import annotations

import abc
import os
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from ..aliases import names_of
from ..errors import FormatLimit
from ..hashing.algorithms import digest
from ..hashing.encoder import hash_value
from ..hashing.names import imported
from ..storage import files
from ..storage.files import Part
from ..storage.trust import check_runnable
from ..storage.verified_files import VerifiedFile
from .registry import target_class
from .resource import Decodes, Resource

if TYPE_CHECKING:
    from ..storage.verified_folders import VerifiedFolder

__getattr__ = names_of(__name__, "targets.source")

#: Errors that packages raise on values that a format can't hold.
CODEC_ERRORS = (
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    AttributeError,
    NotImplementedError,
    RecursionError,
)


#: Stands for a value that is unknown until its file is read.
UNKNOWN: Any = type("UNKNOWN", (), {"__repr__": lambda self: "UNKNOWN", "__slots__": ()})()


class Target(Resource):
    """The place and format of a result.  Subclass it to add a format.

    A subclass writes a value to a path, reads it back, and may hash it.  The value read back must equal
    the value written.  A subclass refuses values that it can't hold, with `FormatLimit`.  Check a new
    class with ``daskcache.testing.TargetContract``.

    Keys and records name a class by its module.  Set ``public_name = "package:Class"`` to make the name
    independent of the module, so that the class can move.

    Parameters
    ----------
    path : str or os.PathLike
        Path template, relative to the root.  Subclasses take options of their formats, too.

    Notes
    -----
    `from_path` makes a target as in CPR, and so do the classes in `daskcache.cpr`: its path holds the
    hash of its data.  See `daskcache.targets.addressed.base.Addressed`.

    Examples
    --------
    >>> target = dc.Target.from_path("results/values.npy")
    >>> target
    NumpyTarget(...)
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = str(path)

    address_fields: ClassVar[dict[str, Any]] = {"data_hash": None}
    #: Name of the mixin for targets whose path holds the hash of their data, as in CPR.
    _addressed: ClassVar[str] = "daskcache.targets.addressed.base:Addressed"

    #: True if reading can run code.  Then no record chooses the class, and the file must be trusted.
    runs_code: ClassVar[bool] = False
    #: True if the options, not only the stored content, decide which value is read.
    options_matter: ClassVar[bool] = False
    #: True if the file does not tell all dtypes.  Then its record does, see `daskcache.targets.forms`.
    keeps_form: ClassVar[bool] = False
    #: True if the record has the metadata of an image beside the target, see `beside`.
    keeps_metadata_beside: ClassVar[bool] = False
    #: True if the target is a folder of files.
    is_folder: ClassVar[bool] = False
    #: True if the value may be the target's own path.  A result at another path is another value then.
    gives_path: ClassVar[bool] = False
    #: Name of the parameter whose metadata a result inherits; None for all of the node's direct inputs.
    like: str | None = None
    #: True if the target is a table in a database.  Its path has the form ``<database>::<table>``.
    in_database: ClassVar[bool] = False

    @abc.abstractmethod
    def write(self, value: Any, path: str) -> Part | None:
        """Write `value` to the new file (or folder) `path`.

        Parameters
        ----------
        value : object
            The result of the node's function.
        path : str
            Absolute path, at which nothing exists yet.

        Returns
        -------
        Part or None
            The written part, if it was hashed while it was written.  After None, the file is read again
            to hash it.

        Raises
        ------
        FormatLimit
            If the format can't hold the value.
        """

    @abc.abstractmethod
    def read(self, path: str) -> Any:
        """Read the value in the file (or folder) `path`.

        Parameters
        ----------
        path : str
            The file or folder.
        """

    def get_data(self, cache: bool = False) -> Any:
        """Read the value at this target's path, which must be that of a file (or folder).

        Parameters
        ----------
        cache : bool
            No effect; CPR's methods have this parameter.

        Returns
        -------
        object
            The data, in the form that the class describes.
        """
        if self.runs_code:
            check_runnable(self.path)
        return self.read(self.path)

    def open(self, path: str) -> Any:
        """Open the value in the file (or folder) `path` lazily, if the format supports it.

        Parameters
        ----------
        path : str
            The file or folder.

        Returns
        -------
        object
            A memory map, a Zarr array, a Dask collection …; by default the value itself.
        """
        return self.read(path)

    def read_verified(self, path: str, verify: Callable[[str], None]) -> Any:
        """Verify the file `path`, then read the value in it.

        Parameters
        ----------
        path : str
            The file.
        verify : callable
            Takes the file's hash; raises if it is not the recorded one.

        Returns
        -------
        object
            The value.
        """
        verify(files.file_hash(path))
        return self.read(path)

    def hash(self, value: Any) -> str:
        """Return the hash of `value`: 32 hex digits, the same in every format by default.

        Parameters
        ----------
        value : object
            The value that the function returned.

        Returns
        -------
        str
            32 hex digits.
        """
        return hash_value(value)

    def counted_options(self) -> dict[str, Any]:
        """Return the options that decide what the file holds, or how it is read.

        By default, these are all options.  They are part of the node's key, so no file is read with
        other options than it was written with.

        Returns
        -------
        dict
            The options by keyword of the constructor.
        """
        return {name: option for name, option in vars(self).items() if name != "path"}

    def hash_file(self, path: str) -> str:
        """Return the `hash` of the value in the file (or folder) `path`.

        A function may have written the file itself.

        Parameters
        ----------
        path : str
            The file or folder.

        Returns
        -------
        str
            32 hex digits.
        """
        return self.hash_read(self.read(path), path)

    def hash_part(self, part: Part) -> str:
        """Return the `hash` of the value in a file (or folder) that a function wrote itself.

        Parameters
        ----------
        part : Part
            The file or folder, with the hash of its bytes.

        Returns
        -------
        str
            32 hex digits.
        """
        return self.hash_file(part.path)

    def hash_read(self, value: Any, path: str) -> str:
        """Return the `hash` of a value read from `path`; its dtype may have been converted since.

        Parameters
        ----------
        value : object
            The value that `read` returned.
        path : str
            The file or folder.

        Returns
        -------
        str
            32 hex digits.
        """
        return self.hash(value)

    def heritage(self, file: str | BinaryIO) -> Any:
        """Return the metadata that results made from this file may inherit, e.g. pixel sizes; or None.

        Parameters
        ----------
        file : str or binary file
            Path of the file (or folder), or an open file with its content.
        """
        return None

    def heritage_of(self, value: Any) -> Any:
        """Return what `heritage` reads in the file of a value, so that it need not be read; or None.

        Parameters
        ----------
        value : object
            A value that this target has written.

        Returns
        -------
        object or None
            None if only the file tells.
        """
        return None

    def inherit(self, heritage: list[Any]) -> Target:
        """Return this target with the metadata that its value inherits from the node's inputs.

        Inherited metadata that changes the file must change `hash` and `hash_file` too.  Otherwise,
        dependent nodes would not rerun when only the metadata changes.

        Parameters
        ----------
        heritage : list
            Results of `heritage` for the node's direct inputs.

        Returns
        -------
        Target
            This target, or a copy of it with the metadata.
        """
        return self

    def form_of(self, value: Any) -> dict[str, Any] | None:
        """Return the form of `value`, in which a corrected file is read; see `daskcache.targets.forms`.

        Parameters
        ----------
        value : object
            The value that the function returned.

        Returns
        -------
        dict or None
            Plain data for the record; None if the value has no form.
        """
        from .forms import form_of  # only who stores values needs it

        return form_of(value)

    def hash_result(self, value: Any, path: str) -> str:
        """Return the hash of the value that `read` will return for `value`, just written to `path`.

        Parameters
        ----------
        value : object
            The value that the function returned.
        path : str
            The file or folder.

        Returns
        -------
        str
            32 hex digits.
        """
        return self.hash(value)

    def read_back(self, value: Any, path: str) -> Any:
        """Return the value that `read` would return for `value`, just written to `path`.

        Parameters
        ----------
        value : object
            The value that the function returned.
        path : str
            The file or folder.

        Returns
        -------
        object
            `UNKNOWN` if the file has to be read to know it.
        """
        return UNKNOWN

    def limit(self, value: Any, reason: str, hint: str) -> FormatLimit:
        """Return the error to raise when the format can't hold `value`.

        Parameters
        ----------
        value : object
            The value.  None gets a reason and hint for functions without a ``return``.
        reason : str
            The obstacle, in a few words.
        hint : str
            The remedy.

        Returns
        -------
        FormatLimit
            The error, which names the target and the value's type.
        """
        if value is None:
            reason, hint = "the function returned None", "forgot to return?"
        return FormatLimit(f"{type(self).__name__} can't hold this result: {reason}", hint=hint)

    def at(self, path: str) -> Target:
        """Return a target of the same format and options at another path.

        Parameters
        ----------
        path : str
            The other path.

        Returns
        -------
        Target
            A copy of this target.
        """
        # past the constructor, whose parameters differ between classes
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__, path=path)
        return twin

    @classmethod
    def at_address(cls, location, name, ext=None, **fields):
        if cls is Target:
            cls = target_class(f"{name}{ext}")
        twin_of = imported("daskcache.targets.addressed.base:twin_of")  # which imports this module
        return twin_of(cls)(location, name, ext, **fields)

    def __repr__(self):
        options = [f", {k}={v!r}" for k, v in vars(self).items() if k != "path"]
        return f"{type(self).__name__}({self.path!r}{''.join(options)})"

    def _repr_html_(self):
        return imported("daskcache.targets.thumbnail:target_html")(self, self.path)

    def __eq__(self, other):
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self):
        return hash((type(self), self.path))


class BytesTarget(Decodes, Target):
    """A format whose file is made in memory, and hashed as it is written and read.

    Subclasses define `encode` and `decode`.  Unless the class is `exact`, every value is decoded again
    before it is saved.  A value that changes on the way is refused.
    """

    #: True if `decode` returns every value that `encode` accepts unchanged.
    exact: ClassVar[bool] = False

    @abc.abstractmethod
    def encode(self, value: Any) -> Iterable:
        """Return the file's content as bytes-like pieces."""

    @abc.abstractmethod
    def decode(self, data: bytes) -> Any:
        """Return the value in a file's content."""

    def restored(self, value: Any, form: dict[str, Any] | None) -> Any:
        """Return a decoded value in its recorded form, for a format that `keeps_form`."""
        return value

    def is_large(self, value: Any) -> bool:
        """Return True to have `write` make the file on disk, because it would take too much memory."""
        return False

    def is_same(self, value: Any, decoded: Any) -> bool:
        """Return True if a value that came back with its hash is also unchanged in what has no hash."""
        return True

    def difference(self, value: Any, decoded: Any) -> tuple[str, str]:
        """Return the change that a value suffers in this format, and a remedy, as two texts."""
        return (
            f"a {type(value).__name__} comes back as another value",
            "use another format, e.g. a path that ends in .pkl",
        )

    def encode_checked(self, value: Any) -> list:
        return self.encode_and_read_back(value)[0]

    def encode_and_read_back(
        self, value: Any, form: dict[str, Any] | None = None
    ) -> tuple[list, Any, str]:
        """Encode a value, and check that it can be read back unless the class is `exact`.

        Parameters
        ----------
        value : object
        form : dict, optional
            The value's form, in which a file can be read whose format `keeps_form`.

        Returns
        -------
        pieces : list
            The file's content, as bytes-like pieces.
        decoded : object
            The value that `decode` returns for them, in the form if needed, or `UNKNOWN`.
        data_hash : str
            The hash of the value.

        Raises
        ------
        FormatLimit
            If the value can't be encoded, or doesn't come back unchanged.
        """
        pieces = list(self.encode(value))
        if self.exact:
            return pieces, self.read_back(value, self.path), self.hash(value)
        try:
            decoded = self.restored(self.decode(b"".join(pieces)), form)
            data_hash = self.hash(value)
            same = self.hash(decoded) == data_hash and self.is_same(value, decoded)
        except CODEC_ERRORS as error:
            reason = f"it can't be read back ({getattr(error, 'message', error)})"
            raise self.limit(value, reason, "use a path that ends in .pkl") from error
        if not same:
            raise self.limit(value, *self.difference(value, decoded))
        return pieces, decoded, data_hash

    def write(self, value: Any, path: str) -> None:
        pieces = self.encode_checked(value)
        with open(path, "xb") as file:
            for piece in pieces:
                file.write(piece)

    def read_back(self, value: Any, path: str) -> Any:
        return value if self.exact and comes_back_as_it_is(value) else UNKNOWN

    def read(self, path: str) -> Any:
        with open(path, "rb") as file:
            return self.decode_file(file)

    def read_verified(self, path: str, verify: Callable[[str], None]) -> Any:
        if type(self).decode_file is Decodes.decode_file:  # which takes the whole content
            with open(path, "rb", buffering=0) as whole:
                content = whole.readall()
            verify(digest(content))
            return self.decode(content)
        with VerifiedFile(open(path, "rb"), verify) as file:
            return self.decode_file(file)  # type: ignore[arg-type]


def may_be_image(value: Any) -> bool:
    """Return True if a value is an array that may be an image: one of at least two dimensions."""
    return hasattr(value, "dtype") and getattr(value, "ndim", 0) >= 2


def comes_back_as_it_is(value: Any) -> bool:
    """Return True if an equal value read from a file is indistinguishable from this one.

    An array must also have the memory layout in which formats return arrays: C-contiguous and aligned.
    """
    if type(value) in (str, bytes, bool, int, float, complex, type(None)):
        return True
    if type(value) is not getattr(sys.modules.get("numpy"), "ndarray", None):
        return False
    dtype = value.dtype
    plain = dtype.kind in "biufc" and dtype.isnative and dtype.metadata is None
    return plain and value.ndim > 0 and value.flags.c_contiguous and value.flags.aligned


class FolderFormat(Target):
    """A format that stores a value as a folder of files, each verified as it is read.

    Subclasses define `write`, `read`, `read_folder` and `open_folder`.
    """

    is_folder = True

    @abc.abstractmethod
    def read_folder(self, folder: VerifiedFolder) -> Any:
        """Return the value in a folder, with every file read through `folder`."""

    @abc.abstractmethod
    def open_folder(self, folder: VerifiedFolder) -> Any:
        """Open the value in a folder lazily, with every file read through `folder`."""

    def heritage_folder(self, folder: VerifiedFolder) -> Any:
        """Return the `heritage` of a folder, with every file read through `folder`."""
        return None


#: The name of `FolderFormat` in earlier versions; `daskcache.FolderTarget` is for folders of any kind.
FolderTarget = FolderFormat
