"""Hashes of the public objects of the packages that this field imports most, and of values of theirs.

A worker imports this module, and two programs run it.
"""

from __future__ import annotations

import functools
import importlib
import json
import sys
import warnings

from daskcache.errors import UnhashableArgument
from daskcache.hashing.encoder import hash_value

#: What a value that is refused has in place of a hash.
REFUSED = "refused: "

# fmt: off
PACKAGES = [
    "numpy", "numpy.linalg", "numpy.random", "numpy.fft", "numpy.ma", "numpy.polynomial", "scipy",
    "scipy.cluster", "scipy.constants", "scipy.fft", "scipy.integrate", "scipy.interpolate",
    "scipy.io", "scipy.linalg", "scipy.ndimage", "scipy.optimize", "scipy.signal", "scipy.sparse",
    "scipy.spatial", "scipy.special", "scipy.stats", "pandas", "pandas.api.types",
    "pandas.testing", "matplotlib", "matplotlib.cm", "matplotlib.colors", "matplotlib.pyplot",
    "skimage", "skimage.color", "skimage.exposure", "skimage.feature", "skimage.filters",
    "skimage.io", "skimage.measure", "skimage.morphology", "skimage.restoration",
    "skimage.segmentation", "skimage.transform", "skimage.util", "sklearn", "sklearn.cluster",
    "sklearn.decomposition", "sklearn.ensemble", "sklearn.feature_extraction.text",
    "sklearn.linear_model", "sklearn.metrics", "sklearn.model_selection", "sklearn.pipeline",
    "sklearn.preprocessing", "dask", "dask.array", "dask.bag", "dask.dataframe", "distributed",
    "zarr", "numcodecs", "tifffile", "imagecodecs", "imageio", "imageio.v3", "PIL", "PIL.Image",
    "PIL.ImageFilter", "cv2", "SimpleITK", "xarray", "networkx", "seaborn", "statsmodels.api",
    "h5py", "pyarrow", "pyarrow.compute", "polars", "joblib", "tqdm", "requests", "pydantic",
    "attr", "attrs", "fsspec", "geopandas", "shapely", "awkward", "numba", "sqlalchemy", "yaml",
    "click", "jinja2", "cloudpickle", "toolz", "psutil", "collections", "copy", "datetime",
    "functools", "itertools", "json", "logging", "math", "operator", "os", "os.path", "pathlib",
    "random", "re", "statistics", "string", "tempfile", "time", "uuid",
]
# fmt: on


def public_hashes(packages: list[str]) -> dict[str, str]:
    """The hash of each public object of some packages, or why it has none, by its name."""
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for package in packages:
            module = importlib.import_module(package)
            names = (name for name in dir(module) if not name.startswith("_"))
            found |= {f"{package}.{name}": _hash(getattr(module, name, None)) for name in names}
    return found


def value_hashes() -> dict[str, str]:
    """The hash of each value, or why it has none, by its name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {make.__name__: _hash(make()) for make in VALUES}


def _hash(value):
    try:
        return hash_value(value)
    except UnhashableArgument as error:
        return REFUSED + error.message


def use_random_states() -> None:
    """Draw from the global random states, as any program may have done."""
    import random

    import numpy as np

    random.random()
    np.random.rand(7)


#: Functions that make values.
VALUES = []


def value(make):
    """Decorator: one of `VALUES`."""
    VALUES.append(functools.cache(make))
    return make


@value
def arrays():
    import numpy as np

    structured = np.array([(1, "a")], dtype=[("n", "i4"), ("s", "U2")])
    masked = np.ma.array([1, 2], mask=[False, True])
    return [np.arange(3), structured, masked, np.ma.masked, np.matrix([1]), np.poly1d([1, 2])]


@value
def random_generators():
    import random

    import numpy as np

    return np.random.default_rng(1), np.random.RandomState(1), random.Random(1)


@value
def functions_of_numpy():
    import numpy as np

    return np.vectorize(np.sin), np.random.rand, np.sin, np.linalg.svd, np.float32


@value
def distributions():
    import scipy.stats as st

    return st.norm, st.norm(0, 1), st.gamma.rvs, st.poisson, st.multivariate_normal


@value
def interpolators():
    import scipy.interpolate
    from scipy.spatial.transform import Rotation

    spline = scipy.interpolate.CubicSpline([0, 1, 2], [0, 1, 4])
    return spline, Rotation.identity().as_matrix(), scipy.interpolate.interp1d([0, 1], [0, 1])


@value
def sparse_arrays():
    import scipy.sparse

    return scipy.sparse.csr_array([[1, 0], [0, 2]]), scipy.sparse.coo_matrix([[1]])


@value
def frames():
    import pandas as pd

    frame = pd.DataFrame(
        {
            "a": pd.Categorical(["x", "y"]),
            "b": pd.date_range("2024", periods=2, tz="Europe/Zurich"),
            "c": pd.period_range("2024", periods=2, freq="M"),
            "d": pd.array([1, None], "Int64"),
        },
        index=pd.date_range("2024", periods=2),
    )
    frame.attrs = {"unit": "µm", "channels": ["DAPI"]}
    return frame, frame.b, frame.index, pd.Timestamp("2024", tz="UTC"), pd.offsets.BDay(2)


@value
def tables():
    import polars as pl
    import pyarrow as pa

    arrow = pa.table({"a": [1, None], "b": ["x", "y"]})
    frame = pl.DataFrame({"a": [1, None], "b": ["x", "y"]})
    return arrow, arrow.schema, frame, frame["a"], pl.col("a") + 1


@value
def maps():
    import geopandas as gpd
    import shapely

    points = [shapely.Point(0, 1), shapely.box(0, 0, 1, 2)]
    return points, gpd.GeoDataFrame({"a": [1, 2]}, geometry=points, crs=4326)


@value
def labelled_arrays():
    import numpy as np
    import xarray as xr

    data = xr.DataArray(np.arange(6).reshape(2, 3), dims=("y", "x"), coords={"x": [1, 2, 3]})
    return data, data.assign_attrs(unit="µm").to_dataset(name="image")


@value
def lazy_collections():
    import dask.array as da
    import dask.bag as db

    return da.arange(10, chunks=5).sum(), db.from_sequence([1, 2, 3]).map(str)


@value
def stored_arrays():
    import numpy as np
    import zarr

    return zarr.array(np.arange(6).reshape(2, 3), chunks=(1, 3))


@value
def colours():
    import matplotlib
    import matplotlib.colors
    import seaborn

    named = matplotlib.colormaps["viridis"]
    listed = matplotlib.colors.ListedColormap(["r", "g"])
    return named, listed, matplotlib.rcParams, seaborn.color_palette()


@value
def figures():
    import matplotlib.colors
    import matplotlib.figure

    return matplotlib.figure.Figure(), matplotlib.colors.Normalize(0, 1)


@value
def images():
    import numpy as np
    import PIL.Image
    import SimpleITK
    import skimage.morphology
    import skimage.transform

    pixels = np.arange(12, dtype="u1").reshape(3, 4)
    turned = skimage.transform.EuclideanTransform(rotation=0.1)
    picture = PIL.Image.fromarray(pixels)
    return picture, SimpleITK.GetImageFromArray(pixels), skimage.morphology.disk(2), turned


@value
def contrast():
    import cv2

    return cv2.createCLAHE()


@value
def models():
    import numpy as np
    import sklearn.ensemble
    import sklearn.linear_model
    import sklearn.pipeline
    import sklearn.preprocessing

    data = np.random.default_rng(0).random((20, 3))
    forest = sklearn.ensemble.RandomForestClassifier(n_estimators=2, random_state=0)
    scaled = sklearn.pipeline.make_pipeline(
        sklearn.preprocessing.StandardScaler(), sklearn.linear_model.LinearRegression()
    )
    return forest.fit(data, [0, 1] * 10), scaled.fit(data, data[:, 0])


@value
def vectorizers():
    import sklearn.feature_extraction.text as text

    return text.CountVectorizer().fit(["cells in a dish", "more cells"]), text.TfidfVectorizer()


@value
def fits():
    import numpy as np
    import statsmodels.api

    return statsmodels.api.OLS(np.arange(4.0), np.ones((4, 1))).fit()


@value
def graphs():
    import networkx

    graph = networkx.path_graph(3)
    graph.add_edge(2, 0, weight=1.5)
    return graph, networkx.DiGraph([(1, 2)])


@value
def file_systems():
    import fsspec

    return fsspec.filesystem("file"), fsspec.filesystem("memory"), fsspec.registry


@value
def ragged_arrays():
    import awkward

    return awkward.Array([[1, 2], [], [3.5]])


@value
def compiled_functions():
    import numba

    return numba.njit(_doubled), numba.float64


def _doubled(number):
    return 2 * number


@value
def settings():
    import logging
    import os
    import re
    import string

    import dask.config
    import zarr

    return os.environ, zarr.config, string.digits, re.compile("a"), logging.INFO, dask.config.get


@value
def data_classes():
    import attrs
    import pydantic

    made = attrs.make_class("Camera", {"gain": attrs.field(default=1, converter=float)})
    model = pydantic.create_model("Model", names=(set[str], {"a", "b", "c"}))
    return made(2), model()


@value
def files_in_memory():
    import h5py

    return h5py.string_dtype(), h5py.special_dtype(vlen=str)


@value
def requests_to_servers():
    import requests

    return requests.Request("GET", "http://localhost/a", params={"b": 1})


@value
def progress():
    import tqdm

    return tqdm.tqdm


@value
def memories():
    import joblib

    return joblib.Parallel, joblib.delayed(len)


if __name__ == "__main__":
    if "used" in sys.argv:
        use_random_states()
    json.dump({"objects": public_hashes(PACKAGES), "values": value_hashes()}, sys.stdout)
