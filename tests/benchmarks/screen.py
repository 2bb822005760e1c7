"""The plate screen of ``notebooks/03_screen.ipynb``, beside the same screen written by hand.

The script by hand does what scripts do: it looks whether files exist, and compresses as daskcache does.
It has no hashes and no records, and writes each file in place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import dask
import numpy as np
import pandas as pd
import skimage.morphology  # noqa: F401 (loaded late it fails at times, in two threads at once)
import tifffile
from PIL import Image
from scipy import ndimage as ndi
from skimage import data, measure, segmentation
from skimage.filters import threshold_otsu

import daskcache as dc

from .images import write_deflated
from .measuring import Comparison, Times, timed
from .scenes import QUICK, Size, cluster, folder, let_settle, root

WELLS = [f"{row}{column:02d}" for row in "ABCDEFGH" for column in range(1, 13)]


# ---- the functions of both ------------------------------------------------------------------------


def flat_field(wells):
    flat = ndi.gaussian_filter(np.mean(wells, axis=0), 12)
    return (flat / flat.mean()).astype("float32")


def correct(image, flat):
    if np.mean(image == 65535) > 0.5:
        raise ValueError("the image is overexposed")
    return (image / flat).astype("float32")


def segment(corrected, smallest=150):
    if corrected.std() < 0.1 * corrected.mean():
        return np.zeros(corrected.shape, "int32")
    mask = ndi.gaussian_filter(corrected, 1) > threshold_otsu(corrected)
    labels = measure.label(ndi.binary_fill_holes(mask))
    sizes = np.bincount(labels.ravel())
    labels[sizes[labels] < smallest] = 0
    return segmentation.relabel_sequential(labels)[0].astype("int32")


def features(labels, corrected, well) -> pd.DataFrame:
    names = ("label", "area", "mean_intensity", "eccentricity")
    table = pd.DataFrame(measure.regionprops_table(labels, corrected, properties=names))
    table.insert(0, "well", well)
    return table.astype({"well": "str", "label": "int32"})


def all_cells(tables) -> pd.DataFrame:
    return pd.concat(tables, ignore_index=True)


def heat_map(cells, wells):
    from matplotlib.figure import Figure

    counts = cells.groupby("well").size().reindex(wells, fill_value=0)
    plate = [[counts.get(f"{row}{column:02d}", np.nan) for column in range(1, 13)] for row in "ABCDEFGH"]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    picture = axes.imshow(plate, cmap="viridis")
    axes.set_xticks(range(12), range(1, 13))
    axes.set_yticks(range(8), "ABCDEFGH")
    axes.set_title("cells in each well")
    figure.colorbar(picture)
    return figure


def montage(images, labels, wells):
    plate = np.zeros((8, 64, 12, 64, 3))
    for image, cells, well in zip(images, labels, wells, strict=True):
        grey = np.clip(image / 5000, 0, 1)
        tile = segmentation.mark_boundaries(grey, cells, color=(1, 0.8, 0))[::2, ::2]
        plate["ABCDEFGH".index(well[0]), :, int(well[1:]) - 1] = tile
    return (plate.reshape(8 * 64, 12 * 64, 3) * 255).astype("uint8")


def take_images(raw: str) -> None:
    """Write the images of a plate: cells, noise and the shading of a lamp; column 12 has no cells."""
    coins = data.coins().astype(float)
    rows, columns = np.mgrid[-1:1:128j, -1:1:128j]
    shading = 1.3 - 0.4 * (rows**2 + columns**2)
    for seed, well in enumerate(WELLS):
        random = np.random.default_rng(seed)
        row, column = random.integers(0, np.array(coins.shape) - 128)
        cells = coins[row : row + 128, column : column + 128]
        scene = np.full((128, 128), 40.0) if well.endswith("12") else cells
        image = random.poisson(scene * 20 * shading).astype("uint16")
        tifffile.imwrite(f"{raw}/P1_{well}.tif", image, photometric="minisblack")


# ---- with daskcache -------------------------------------------------------------------------------

cached_flat_field = dc.delayed(flat_field, target="flat/{wells.plate}.tif")
cached_correct = dc.delayed(correct, target="corrected/{image.plate}_{image.well}.tif")
cached_segment = dc.delayed(segment, target="cells/{corrected.plate}_{corrected.well}.tif")
cached_features = dc.delayed(features, target="features/{labels.plate}_{labels.well}.csv")
cached_all_cells = dc.delayed(all_cells, target="{tables.plate}_cells.parquet")
cached_heat_map = dc.delayed(heat_map, target="{cells.plate}_heat_map.png")
cached_montage = dc.delayed(montage, target="montage.png")


def cached_screen(raw: str) -> list:
    """Return the nodes of the table and the pictures."""
    images = dc.sources(f"{raw}/{{plate}}_{{well}}.tif")
    controls = dc.sources(f"{raw}/{{plate}}_{{row:l}}12.tif")
    wells = list(images.fields["well"])
    corrected = cached_correct.map(images, flat=cached_flat_field(controls))
    labels = cached_segment.map(corrected)
    cells = cached_all_cells(cached_features.map(labels, corrected, wells))
    return [cells, cached_heat_map(cells, wells), cached_montage(corrected, labels, wells)]


# ---- by hand --------------------------------------------------------------------------------------


def saved(path: str, form: tuple[Callable, Callable], function: Callable, *inputs):
    """Read a result whose file exists; make and write it otherwise."""
    read, write = form
    if os.path.exists(path):
        return read(path)
    value = function(*inputs)
    write(path, value)
    return value


def write_table(path, table):
    table.to_csv(path, index=False)


def save_figure(path, figure):
    figure.savefig(path)


def write_picture(path, value):
    Image.fromarray(value).save(path)


def read_picture(path):
    return np.asarray(Image.open(path))


TIFF, CSV = (tifffile.imread, write_deflated), (pd.read_csv, write_table)
PARQUET = pd.read_parquet, lambda path, table: table.to_parquet(path)
FIGURE, PICTURE = (str, save_figure), (read_picture, write_picture)
later = dask.delayed(saved, pure=False)
read_later = dask.delayed(tifffile.imread, pure=False)


def screen_by_hand(raw: str, results: str) -> list:
    """Return Dask's delayed values of the table and the pictures."""
    for name in ("flat", "corrected", "cells", "features"):
        os.makedirs(f"{results}/{name}", exist_ok=True)
    names = sorted(path.stem for path in Path(raw).glob("*.tif"))
    wells = [name.partition("_")[2] for name in names]
    images = {name: read_later(f"{raw}/{name}.tif") for name in names}
    controls = [images[name] for name in names if name.endswith("12")]
    flat = later(f"{results}/flat/P1.tif", TIFF, flat_field, controls)
    corrected = [
        later(f"{results}/corrected/{name}.tif", TIFF, correct, images[name], flat) for name in names
    ]
    labels = [
        later(f"{results}/cells/{name}.tif", TIFF, segment, image)
        for name, image in zip(names, corrected, strict=True)
    ]
    tables = [
        later(f"{results}/features/{name}.csv", CSV, features, cells, image, well)
        for name, cells, image, well in zip(names, labels, corrected, wells, strict=True)
    ]
    cells = later(f"{results}/P1_cells.parquet", PARQUET, all_cells, tables)
    return [
        cells,
        later(f"{results}/P1_heat_map.png", FIGURE, heat_map, cells, wells),
        later(f"{results}/montage.png", PICTURE, montage, corrected, labels, wells),
    ]


# ---- beside each other ----------------------------------------------------------------------------


def screen(size: Size) -> Iterator[Comparison]:
    """96 wells to a table, a heat map and a montage: in threads, and on two worker processes."""
    with folder(large=True) as raw:
        take_images(raw)
        if size is not QUICK:
            let_settle([f"{raw}/{name}" for name in os.listdir(raw)])
        yield from _screens(raw, "threads", scheduler="threads")
        with cluster():
            yield from _screens(raw, "LocalCluster")


def _screens(raw, where, **options):
    def ours() -> Times:
        with root():
            return timed(lambda: dask.compute(*cached_screen(raw), **options))

    def by_hand() -> Times:
        with folder() as results:
            return timed(lambda: dask.compute(*screen_by_hand(raw, results), **options))

    ours()
    by_hand()  # both have imported what they need
    yield Comparison(
        f"plate screen, cold, {where}", {"daskcache": ours, "by hand": by_hand}, *(len(WELLS), 1.15)
    )
    with root():
        dask.compute(*cached_screen(raw), **options)
        yield Comparison(
            f"plate screen, finished, {where}",
            {
                "daskcache": lambda: dask.compute(*cached_screen(raw), **options),
                "by hand, cold": by_hand,
            },
            *(len(WELLS), 0.05),
        )
