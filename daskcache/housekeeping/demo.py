"""The pipeline of ``dask cache demo``: denoise, segment and measure real images.

The images are photographs and micrographs that scikit-image ships inside its package.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from .. import ImageSource, delayed
from ..errors import require
from ..graph.node import Node

IMAGES = ("cell.png", "coins.png", "ihc.png", "microaneurysms.png", "moon.png", "retina.jpg")


@delayed(target="denoised/{image.stem}.tif")
def denoise(image: np.ndarray, sigma: float) -> np.ndarray:
    """Smooth the grey image with a Gaussian of `sigma` pixels; float32 in 0 … 1."""
    from skimage.color import rgb2gray
    from skimage.filters import gaussian
    from skimage.util import img_as_float

    grey = rgb2gray(image) if image.ndim == 3 else img_as_float(image)
    return gaussian(grey, sigma=sigma).astype(np.float32)


@delayed(target="labels/{denoised.stem}.tif")
def segment(denoised: np.ndarray, min_size: int = 30) -> np.ndarray:
    """Label the connected regions brighter than Otsu's threshold; uint16, 0 is background."""
    from skimage.filters import threshold_otsu
    from skimage.measure import label

    labels = label(denoised > threshold_otsu(denoised))
    sizes = np.bincount(labels.ravel())
    small = np.flatnonzero(sizes < min_size)
    labels[np.isin(labels, small)] = 0
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.uint16)


@delayed(target="regions/{labels.stem}.csv")
def measure(labels: np.ndarray, denoised: np.ndarray) -> pd.DataFrame:
    """Measure each region, one row for each: area in pixels, mean intensity, eccentricity."""
    from skimage.measure import regionprops_table

    properties = ("label", "area", "mean_intensity", "eccentricity")
    table = pd.DataFrame(regionprops_table(labels, denoised, properties=properties))
    return table.astype({"label": "int64", "area": "float64", "mean_intensity": "float64"})


@delayed(target="summary.csv")
def summarise(names: list[str], tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Summarise each image in one row: number of regions, mean and total area in pixels."""
    return pd.DataFrame(
        {
            "image": names,
            "regions": [len(table) for table in tables],
            "mean_area": [float(table["area"].mean()) if len(table) else 0.0 for table in tables],
            "total_area": [float(table["area"].sum()) for table in tables],
        }
    )


def copy_images(folder: Path) -> list[Path]:
    """Copy scikit-image's pictures to `folder` unless they exist, and return all images in it."""
    data = Path(require("skimage", "demo").__file__).parent / "data"
    folder.mkdir(parents=True, exist_ok=True)
    for name in IMAGES:
        if not (folder / name).exists():
            shutil.copyfile(data / name, folder / name)
    return sorted(path for path in folder.iterdir() if path.suffix in (".png", ".jpg", ".tif"))


def pipeline(images: list[Path], sigma: float = 2.0) -> Node:
    """Return the summary node of the pipeline over `images`."""
    names, tables = [], []
    for path in images:
        denoised = denoise(ImageSource(path), sigma)
        tables.append(measure(segment(denoised), denoised))
        names.append(path.stem)
    return summarise(names, tables)
