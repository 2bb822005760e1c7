"""Draws docs/plan.svg, the picture of the README: the demo's pipeline after one parameter changed."""

import tempfile
from pathlib import Path

import dask

import daskcache
from daskcache import ImageSource
from daskcache.housekeeping import demo


def pipeline(images, min_size):
    names, tables = [], []
    for path in images:
        denoised = demo.denoise(ImageSource(path), 2.0)
        tables.append(demo.measure(demo.segment(denoised, min_size), denoised))
        names.append(path.stem)
    return demo.summarise(names, tables)


with tempfile.TemporaryDirectory() as folder:
    images = demo.copy_images(Path(folder) / "raw")[:3]
    with dask.config.set({"daskcache.root": f"{folder}/results"}):
        pipeline(images, 30).compute()
        picture = daskcache.plan(pipeline(images, 60)).svg()
Path(__file__).with_name("plan.svg").write_text(picture, encoding="utf-8")
