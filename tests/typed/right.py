"""A user's program with annotated parameters.  Type checkers find nothing in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, assert_type

import numpy as np
from numpy.typing import NDArray

import daskcache as dc
from daskcache import ImageSource, delayed
from daskcache.errors import NodeFailed

Image = NDArray[np.float64]

# ---- functions ----------------------------------------------------------------------------------


@delayed(target="smooth/{image.stem}.tif", check="content", retries=2)
def smooth(image: Image, sigma: float = 1.0, border: Literal["reflect", "wrap"] = "wrap") -> Image:
    return np.roll(image, int(sigma))


@delayed
def count(image: Image, limit: float, is_dark: bool = False) -> int:
    return int((image > limit).sum())


def total_of(counts: Sequence[int], weights: dict[str, int] | None = None) -> float:
    return float(sum(counts)) * (weights or {"all": 1})["all"]


total = delayed(total_of, target="total/{key}.json")
longest = delayed(max, pure=True)


@delayed(target=("low/{image.stem}.npy", "high/{image.stem}.npy"))
def split(image: Image, limit: float) -> tuple[Image, Image]:
    return image[image < limit], image[image >= limit]


@delayed(target="later/{n}.json")
async def later(n: int) -> str:
    return str(n)


@delayed(target="{name}.txt", save=False)
def written(name: str, target_path: str = "") -> None:
    Path(target_path).write_text(name)


@delayed(target="shape/{image.stem}.json")
def shape_of(image: ImageSource) -> list[int]:
    return list(image.get_data().shape)


class Model:
    def __init__(self, scale: float):
        self.scale = scale

    @delayed(target="scaled/{n}.json")
    def scaled(self, n: int) -> float:
        return n * self.scale


cached = delayed(on_modified="adopt")


@cached(target="named/{name}.json")
def named(name: str) -> str:
    return name


# ---- nodes and sources are arguments -----------------------------------------------------------

raw = ImageSource("raw/a.tif")
smoothed = smooth(raw, sigma=2)
cells = count(smoothed, limit=0.5)
assert_type(smoothed, dc.Node[Image])
assert_type(cells, dc.Node[int])
count(image=smooth(smoothed, sigma=cells), limit=cells, is_dark=named("a"))
smooth(np.zeros((2, 2)), border="reflect")
smooth(raw, border=named("wrap"))
counts = [
    count(smooth(image, sigma), limit=0.5) for image in dc.sources("raw/*.tif") for sigma in (1, 2)
]
assert_type(total(counts, {"all": cells}), dc.Node[float])
assert_type(total([1, cells]), dc.Node[float])
assert_type(shape_of(raw).compute(), list[int])
assert_type(Model(2.0).scaled(cells).compute(), float)
assert_type(Model.scaled(Model(2.0), 3).compute(), float)
assert_type(later(1).compute(), str)
assert_type(named("a").compute(), str)
written("a")

# ---- results -----------------------------------------------------------------------------------

number = cells.compute(scheduler="threads")
assert_type(number, int)
print(number.bit_length(), smoothed.compute().mean())
assert_type(dc.compute(cells), tuple[int])
assert_type(dc.compute(cells, smoothed), tuple[int, Image])
assert_type(dc.compute(cells, smoothed, later(1)), tuple[int, Image, str])
assert_type(dc.compute(counts), tuple[list[int]])
assert_type(dc.compute(*counts, force=True), tuple[int, ...])
assert_type(dc.compute(cells, errors="collect"), tuple[int | NodeFailed])
assert_type(dc.compute(counts, errors="collect"), tuple[list[int | NodeFailed]])
for outcome in dc.compute(*counts, errors="collect"):
    print(outcome.message if isinstance(outcome, NodeFailed) else outcome.bit_length())
(kept,) = dc.persist(cells)
assert_type(kept, dc.Node[int])
assert_type(cells.persist(), dc.Node[int])
low, high = split(smoothed, limit=0.5)
print(low.compute(), high.mean().compute(), split(raw, 0.5).compute()[0].mean())
print((cells + 1).compute(), (cells * 2 - cells).compute(), smoothed[0].compute(), smoothed.shape)

# ---- node.dc, and the functions over nodes -----------------------------------------------------

assert_type(cells.dc.load(), int)
assert_type(cells.dc.key, str)
assert_type(cells.dc.state, str)
print(Path(cells.dc.path).name, cells.dc.target.path, cells.dc.why(), cells.dc.record)
assert_type(dc.status(cells), str)
assert_type(dc.why(cells).reasons, tuple[str, ...])
plan = dc.plan(cells, counts, force=[smoothed])
print(plan.counts, plan.left, plan.compute())
print(dc.target(cells).path, dc.accept(cells), dc.keep(cells, *counts), dc.release(cells))
with dc.context(run="a"):
    dc.invalidate(named("b"))

# ---- many nodes --------------------------------------------------------------------------------

images = dc.sources("raw/{plate}_{well}.tif")
many = count.map(smooth.map(images, sigma=2), limit=0.5)
assert_type(many, dc.Nodes[int])
assert_type(many.compute(), list[int])
assert_type(many.compute(errors="collect", force=True), list[int | NodeFailed])
assert_type(cells.compute(errors="collect"), int | NodeFailed)
assert_type(many.load(), list[int])
assert_type(many[0], dc.Node[int])
assert_type(many[1:], dc.Nodes[int])
assert_type(many.where(plate="p1", state="complete"), dc.Nodes[int])
assert_type(dc.compute(many), tuple[list[int]])
assert_type(dc.compute(many, cells), tuple[list[int], int])
assert_type(dc.compute(many, errors="collect"), tuple[list[int | NodeFailed]])
assert_type(dc.status(many), list[str])
assert_type(total(many).compute(), float)
assert_type(total.gather(many, "plate"), dc.Nodes[float])
for node in many:
    assert_type(node, dc.Node[int])
for plate, group in many.group_by("plate").items():
    print(plate, group.states, total(group))


def of_anything(nodes: dc.Nodes, node: dc.Node) -> None:
    print(nodes.compute(), node.compute())


of_anything(many, cells)

# ---- tasks and flows ---------------------------------------------------------------------------


@dc.task(target="squares/{n}.json")
def square(n: int) -> int:
    return n * n


@dc.task
async def halved(n: int) -> float:
    return n / 2


@dc.flow
def squares(numbers: list[int]) -> list[int]:
    return [square(n) for n in numbers]


@dc.flow(name="sum")
def sum_of(numbers: list[int]):
    return total([square(square(n)) for n in numbers])


@dc.flow
def listed(numbers: list[int]):
    found = [halved(n) for n in numbers]
    return found


assert_type(square(2).compute(), int)
assert_type(squares([1, 2]), list[int])
assert_type(sum_of([1, 2]), float)
assert_type(listed([1]), list[float])
assert_type(square.submit(3).result(), int)
assert_type(square.submit(3, wait_for=[cells]).result(), int)
assert_type(square.map([1, 2]).result(), list[int])
assert_type(square.with_options(label="a")(2).compute(), int)
square(square.submit(3))

# ---- formats, and the other public functions ----------------------------------------------------

read = [
    dc.CSVSource("a.csv"),
    dc.FileSource(Path("a.bin")),
    dc.FolderSource("raw", "*.tif"),
    dc.HDF5Source("a.h5"),
    dc.ImageSource("a.tif", level=1),
    dc.JSONSource("a.json"),
    dc.NumpySource("a.npy"),
    dc.ParquetSource("a.parquet"),
    dc.TextSource("a.txt"),
    dc.ZarrSource("a.zarr"),
]
read += [
    dc.CSVSource("a.csv", sep=";", frame="polars"),
    dc.ImageSource("a.tif", {"axes": "YX"}, resolution=(100.0, 100.0), series=0),
    dc.NetCDFSource("a.nc", engine="scipy"),
    dc.PickleSource("a.pkl"),
    dc.SQLSource("a.db::cells", dtype={"kind": "category"}),
    dc.ZarrSource("a.zarr", group="b", slices_start=(0, None), slices_stop=[None, 4]),
]
for source in read:
    print(source.path, source.get_data(), source.fields, count(source, 0.5))


targets: list[dc.Target] = [
    dc.CSVTarget("a.csv", {"id": "str", "n": np.dtype("u1")}, index_col=["id"]),
    dc.CSVTarget(Path("a.csv"), frame="polars"),
    dc.FigureTarget("a.svg", dpi=150, bbox_inches="tight"),
    dc.FileTarget("a.bin"),
    dc.HDF5Target("a.h5"),
    dc.ImageTarget(
        "a.tif", None, format="ome", axes="CYX", pixel_size=0.2, unit="nm", channels=("DAPI",)
    ),
    dc.ImageTarget("a.tif", pixel_size=(0.5, 0.2, 0.2), tile=(256, 256), like="image"),
    dc.ImageTarget("a.tif", pixel_size={"X": 0.2}, channels=["DAPI", "GFP"]),
    dc.JSONLinesTarget("a.jsonl"),
    dc.NumpyTarget("a.npz", compressed=True, like="image"),
    dc.OMEZarrTarget("a.ome.zarr", "yx", {"y": 1}, {"y": "micrometer"}, levels=2, method="nearest"),
    dc.ParquetTarget("a.parquet", row_group_size=1000, frame="polars"),
    dc.PartitionedParquetTarget("a.parquet", rows=1000),
    dc.PNGTarget("a.png"),
    dc.SQLTarget("a.db::cells", {"kind": "category"}),
    dc.ZarrTarget("a.zarr", chunks=(1, -1), shards=[8, 8], compressors=None, attributes={"a": 1}),
]
print([target.path for target in targets])


@delayed(target=dc.ImageTarget("labels/{image.stem}.tif", like="image"), store=dc.ImageTarget)
def label(image: Image) -> Image:
    return image


@delayed(store=dc.CSVTarget, target="table/{key}.csv", label="{funcname}")
def table_of(image: Image) -> dict[str, list[int]]:
    return {"label": [1]}


def pipeline(limit: float) -> dc.Node[int]:
    return count(smoothed, limit=limit)


assert_type(dc.sweep(pipeline, limit=[0.1, 0.2]).states, list[str])
with dc.variant("more"):
    label(raw)
print(dc.adopt(cells), dc.failures(), dc.diff(cells), dc.prune(cells), dc.history())
print(images.fields, images[0].path, images[1:], images.group_by("plate"), images.to_frame())
print(many.to_frame(), many.compare(), many.paths, many.fields, many["a/*"], dc.Nodes([cells, cells]))
