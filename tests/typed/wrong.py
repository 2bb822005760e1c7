"""A user's program with mistakes: type checkers find one in each line with a comment, and no other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import daskcache as dc
from daskcache import ImageSource, delayed

Image = NDArray[np.float64]


@delayed(target="smooth/{image.stem}.tif")
def smooth(image: Image, sigma: float = 1.0) -> Image:
    return np.roll(image, int(sigma))


@delayed
def count(image: Image, limit: float) -> int:
    return int((image > limit).sum())


def total_of(counts: list[int]) -> float:
    return float(sum(counts))


total = delayed(total_of, target="total.json")


class Model:
    @delayed(target="scaled/{n}.json")
    def scaled(self, n: int) -> float:
        return n * 2.0


@dc.task(target="squares/{n}.json")
def square(n: int) -> int:
    return n * n


@dc.flow
def squares(numbers: list[int]) -> list[int]:
    return [square(n) for n in numbers]


raw = ImageSource("raw/a.tif")
smooth(raw, sgma=2)  # no such parameter
smooth()  # a missing argument
count(raw)  # a missing argument
count(smooth(raw), "0.5")  # a wrong value
smooth("raw/a.tif")  # a path in place of a source
smooth(raw, sigma=None)  # a wrong value
smooth(raw, 1.0, 2.0)  # too many arguments
total([1, "2"])  # a wrong item
Model().scaled("2")  # a wrong value
Model().scaled()  # a missing argument
count(raw, limit=1).compute().upper()  # an int has no such method
count(raw, limit=1).dc.load().upper()  # an int has no such method
count(raw, limit=1).dc.lod()  # no such method
(cells,) = dc.compute(count(raw, limit=1))
cells.upper()  # an int has no such method
first, second = dc.compute(count(raw, limit=1))  # one result
for value in dc.compute(count(raw, limit=1), errors="collect"):
    print(value.bit_length())  # it may be a NodeFailed
count.map([raw], limit=1).compute().upper()  # a list has no such method
count.map([raw], limit=1)[0].compute().upper()  # an int has no such method
count.map(5, limit=1)  # not iterable
if count(raw, limit=1):  # a node has no truth
    print("cells")
square("2")  # a wrong value
square(m=2)  # no such parameter
square(2).compute().upper()  # an int has no such method
square.submit(2).result().upper()  # an int has no such method
squares(2)  # a wrong value
squares([2]).upper()  # a list has no such method
delayed(total_of, taget="total.json")  # no such option
delayed(target="total.json", check="always")(total_of)  # no such check
dc.delaid(total_of)  # no such function
dc.compute(count(raw, limit=1), errors="colect")  # no such value
dc.status(count.map([raw], limit=1)).upper()  # a list has no such method
dc.CSVTarget("a.csv", dtypes={})  # no such option
dc.CSVTarget("a.csv", dtype="category")  # a wrong value
dc.CSVTarget("a.csv", frame="pandas")  # no such package
dc.CSVSource("a.csv", frame="polar")  # no such package
dc.FigureTarget("a.png", dpi="high")  # a wrong value
dc.FigureTarget("a.png", bbox_inches="loose")  # no such value
dc.FileTarget("a.bin", mode="w")  # no such option
dc.ImageSource("a.tif", lvl=1)  # no such option
dc.ImageSource("raw", "a", ".tif")  # the location, name and ext of CPR
dc.ImageTarget("a.tif", compresion="zlib")  # no such option
dc.ImageTarget("a.tif", compression="zip")  # no such compression
dc.ImageTarget("a.tif", pixel_size="0.2")  # a wrong value
dc.ImageTarget("a.tif", channels="DAPI")  # a text in place of a tuple
dc.JSONTarget(3)  # not a path
dc.NumpyTarget("a.npy", compressed="yes")  # a wrong value
dc.NumpyTarget("a.npy", True, "image")  # too many arguments
dc.OMEZarrTarget("a.ome.zarr", method="median")  # no such method
dc.ParquetTarget("a.parquet", row_group_size="1 MiB")  # a wrong value
dc.PartitionedParquetTarget("a.parquet", row=10)  # no such option
dc.SQLTarget(3)  # not a path
dc.SQLSource("a.db::cells", dtyp={})  # no such option
dc.TextTarget("a.txt", encoding="utf-8")  # no such option
dc.ZarrSource("a.zarr", mode="w")  # no such mode
dc.ZarrTarget("a.zarr", chunks="auto")  # a wrong value
