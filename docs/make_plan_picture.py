"""Draws the plans of the documentation: docs/plan.svg, for the README, and docs/large-plan.svg.

The first is the demo's pipeline after one parameter changed.  The second is a screen of two plates,
where one well failed and the parameter of the second plate changed.
"""

import tempfile
from pathlib import Path

import dask

import daskcache
from daskcache import ImageSource
from daskcache.housekeeping import demo

HERE = Path(__file__).parent


def pipeline(images, min_size):
    names, tables = [], []
    for path in images:
        denoised = demo.denoise(ImageSource(path), 2.0)
        tables.append(demo.measure(demo.segment(denoised, min_size), denoised))
        names.append(path.stem)
    return demo.summarise(names, tables)


@daskcache.delayed(target="denoised/{well}.json")
def denoise(well):
    return len(well)


@daskcache.delayed(target="masks/{image.stem}.json")
def segment(image, threshold):
    return image > threshold


@daskcache.delayed(target="cells/{image.stem}.json")
def measure(image, mask, name):
    if name == "P1_well_137":
        raise ValueError("no cells")
    return image


@daskcache.delayed(target="{plate}.json", label="plate {plate}")
def plate(cells, plate):
    return sum(cells)


@daskcache.delayed(target="report.json")
def report(plates):
    return sum(plates)


def screen(threshold):
    plates = []
    for name, limit in (("P1", 1), ("P2", threshold)):
        wells = [f"{name}_well_{i}" for i in range(192)]
        images = [denoise(well) for well in wells]
        cells = [
            measure(image, segment(image, limit), well)
            for image, well in zip(images, wells, strict=True)
        ]
        plates.append(plate(cells, name))
    return report(plates)


def draw(name, before, after):
    daskcache.compute(before, errors="collect", scheduler="sync")
    picture = daskcache.plan(after).svg()
    HERE.joinpath(name).write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        images = demo.copy_images(Path(folder) / "raw")[:3]
        with dask.config.set({"daskcache.root": f"{folder}/results"}):
            draw("plan.svg", pipeline(images, 30), pipeline(images, 60))
        with dask.config.set({"daskcache.root": f"{folder}/screen"}):
            draw("large-plan.svg", screen(1), screen(2))
