"""What CPR's documentation and its own tests use: data, their hashes, and files as CPR writes them."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import tifffile


def image():
    """CPR's image, whose hash is IMAGE_HASH."""
    np.random.seed(42)
    return np.random.randint(0, 255, size=(100, 100)).astype(np.uint8)


def array():
    """CPR's array, whose hash is ARRAY_HASH."""
    np.random.seed(43)
    return np.random.randint(0, 255, size=(100, 100)).astype(np.uint8)


def frame():
    """CPR's table, whose hash is FRAME_HASH."""
    return pd.DataFrame({"col1": [1, 2, 3], "col2": ["a", "b", "c"]})


IMAGE_HASH, FRAME_HASH, ARRAY_HASH = "9e9bc5323bce7d43", "b44f1e9ba85e9b4d", "1c4594fe64aab38f"


def written_by_cpr(folder):
    """Files and JSON as CPR wrote them, by the class that reads them: JSON text, and the value."""
    tifffile.imwrite(folder / f"i-{IMAGE_HASH}.tif", image(), compression="zlib", imagej=True)
    frame().to_csv(folder / f"t-{FRAME_HASH}.csv", mode="w")
    np.save(folder / f"a-{ARRAY_HASH}.npy", array())
    tifffile.imwrite(folder / "s.tif", image(), compression="zlib")
    frame().to_csv(folder / "s.csv")
    np.save(folder / "s.npy", array())
    at = {"location": str(folder)}
    return {
        "cpr.image.ImageTarget.ImageTarget": (
            at
            | {"name": "i", "ext": ".tif", "data_hash": IMAGE_HASH}
            | {"resolution": [7.5, 7.5], "metadata": {"axes": "YX", "unit": "micron"}, "imagej": True},
            image(),
        ),
        "cpr.csv.CSVTarget.CSVTarget": (
            at | {"name": "t", "ext": ".csv", "data_hash": FRAME_HASH},
            frame(),
        ),
        "cpr.numpy.NumpyTarget.NumpyTarget": (
            at | {"name": "a", "ext": ".npy", "data_hash": ARRAY_HASH},
            array(),
        ),
        "cpr.image.ImageSource.ImageSource": (
            at | {"name": "s", "ext": ".tif", "metadata": {"axes": "YX"}, "resolution": None},
            image(),
        ),
        "cpr.csv.CSVSource.CSVSource": (at | {"name": "s", "ext": ".csv"}, frame()),
        "cpr.numpy.NumpySource.NumpySource": (at | {"name": "s", "ext": ".npy"}, array()),
    }


def text_of(tag, data):
    """JSON in CPR's format."""
    return json.dumps({"__class__": tag, "data": data})


def same(one, other):
    """Whether two arrays or tables are equal, dtypes included."""
    if isinstance(one, pd.DataFrame):
        return one.equals(other) and list(one.columns) == list(other.columns)
    return one.dtype == other.dtype and np.array_equal(one, other)
