"""NumPy's own format."""

from __future__ import annotations

import io

from ..errors import UntrustedPickle, require
from .base import BytesTarget, Source


class NumpyTarget(BytesTarget):
    """A NumPy array in an ``.npy`` file (NEP 1).  Dtype, byte order and shape are kept.

    Parameters
    ----------
    path : str
        Path template ending in ``.npy``.
    """

    exact = True

    def encode(self, value):
        np = require("numpy", "numpy")
        if type(value) not in (np.ndarray, np.memmap):
            raise self.limit(
                value,
                f"it is a {type(value).__name__}, not an array",
                "return np.asarray(...), or let the path end in .pkl",
            )
        if value.dtype.hasobject:
            raise self.limit(
                value, f"its dtype {value.dtype} holds Python objects", "convert it, or use .pkl"
            )
        if np.lib.format.descr_to_dtype(np.lib.format.dtype_to_descr(value.dtype)) != value.dtype:
            raise self.limit(value, f"its dtype {value.dtype} would change", "use .pkl")
        array = np.ascontiguousarray(value).reshape(value.shape)
        header = io.BytesIO()
        try:
            np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
        except ValueError:  # a dtype whose description needs a later version of the format
            np.save(header, array)
            return [header.getvalue()]
        return [header.getvalue(), array.reshape(-1).view("u1").data if array.nbytes else b""]

    def decode(self, data):
        np = require("numpy", "numpy")
        try:
            return np.load(io.BytesIO(data), allow_pickle=False)
        except ValueError as error:
            if "allow_pickle" not in str(error):
                raise
            raise UntrustedPickle(
                "this .npy file holds pickled objects, which are not loaded", target=self.path
            ) from error


class NumpySource(Source):
    """An existing ``.npy`` file; arrives as an array."""

    format = NumpyTarget
