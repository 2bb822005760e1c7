"""Draws the gallery: each picture of docs/gallery shows real images in a browser, as a notebook would.

It needs Chromium, and ``pip install playwright``.  With ``--to FOLDER`` the pictures go there.
"""

from __future__ import annotations

import argparse
import getpass
import io
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import dask
import numpy as np
import tifffile
from make_plan_picture import screen
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from scipy.ndimage import binary_fill_holes

import daskcache as dc
from daskcache.housekeeping import demo

HERE = Path(__file__).parent / "gallery"

#: What surrounds an output in a notebook.
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title>
<body style="margin: 0; font: 14px system-ui, sans-serif; color: #1a1a1a; background: #fff">
<div id="output" style="padding: 12px; display: inline-block; max-width: {width}px">{html}</div>"""
WIDTH = 900


#: A picture in a browser and how it is made: the HTML of an output, or a file to open.
Shown = str | Path


def pictures(folder: Path) -> Iterator[tuple[str, Shown]]:
    """Yield the name and the content of each picture, as a week with the demo's images gives them."""
    images = demo.copy_images(folder / "raw")
    node = demo.pipeline(images, 2.0)
    dc.compute(node)
    changed = demo.pipeline(images, 3.0)
    yield "plan", dc.plan(changed)._repr_html_()
    yield "why", changed.dc.why()._repr_html_()

    denoised = demo.denoise(dc.ImageSource(folder / "raw/coins.png"), 2.0)
    labels = demo.segment(denoised)
    yield "node", denoised._repr_html_()
    yield "table", demo.measure(labels, denoised)._repr_html_()

    correct_by_hand(Path(labels.dc.path))
    yield "edited", dc.plan(node)._repr_html_()
    dc.adopt(labels)
    yield "correction", dc.diff(labels)._repr_html_()

    dc.compute(node)
    yield "report", dc.report(node, folder / "report.html", title="Six images")

    dc.compute(screen(1), errors="collect", scheduler="sync")
    dc.plan(screen(2)).visualize(folder / "plan.html")
    yield "graph", folder / "plan.html"


def correct_by_hand(path: Path) -> None:
    """Edit a mask as a person would: fill the holes of the largest object, and remove another."""
    labels = tifffile.imread(path)
    largest = np.bincount(labels.ravel())[1:].argmax() + 1
    labels[binary_fill_holes(labels == largest)] = largest
    labels[labels == labels.max()] = 0
    tifffile.imwrite(path, labels)


def anonymous(html: str, folder: Path) -> str:
    """Return HTML without names of this machine."""
    names = {
        str(folder): "/data",
        f" on {socket.gethostname()}": "",
        f"by {getpass.getuser()}": "by you",
    }
    for name, other in names.items():
        html = html.replace(name, other)
    return html


def drawn(page: Page, name: str, shown: Shown, folder: Path) -> Image.Image:
    """Return what the browser shows, in few colours."""
    if isinstance(shown, Path):
        page.set_viewport_size({"width": 1500, "height": 760})
        page.goto(shown.as_uri())
        page.wait_for_load_state("networkidle")
        content = page.screenshot()
    else:
        html = anonymous(shown, folder)
        page.set_content(PAGE.format(name=name, html=html, width=WIDTH))
        content = page.locator("#output").screenshot()
    image = Image.open(io.BytesIO(content)).convert("RGB")
    return image.quantize(128, method=Image.Quantize.MEDIANCUT)


def main(to: Path) -> None:
    """Draw all pictures."""
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name).resolve()
        program = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH + 40, "height": 600}, device_scale_factor=1.5)
        with dask.config.set({"daskcache.root": str(folder / "results"), "daskcache.progress": False}):
            for title, shown in pictures(folder):
                drawn(page, title, shown, folder).save(to / f"{title}.png", optimize=True)
        browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=HERE)
    main(parser.parse_args().to)
