"""All that notebooks show of daskcache, made in one small screen of images.

`SHOWN` has what a cell shows, and `FILES` the pages that are files of their own.  A new one needs an
entry, and a page also a line in ``approved/checked_by_eye.txt``.  Each function takes a `Screen`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dask
import numpy as np
import pandas as pd
import skimage
from IPython.core.formatters import DisplayFormatter
from matplotlib.figure import Figure
from skimage.filters import gaussian
from skimage.measure import label, regionprops_table

import daskcache as dc
from daskcache.monitor.counts import FunctionCounts, Row
from daskcache.monitor.notebook import NotebookDisplay

#: Number of texts, of which one is changed: its line is to be on the first screen.
MANY = 400


# ---- the functions of the screen ---------------------------------------------------------------------


def denoise(image, sigma):
    return gaussian(image, sigma).astype("float32")


def segment(denoised, threshold=0.4):
    if threshold > 1:
        raise ValueError(f"no <cells> above {threshold}")
    return label(denoised > threshold).astype("uint16")


def measure(labels):
    table = pd.DataFrame(regionprops_table(labels, properties=("label", "area", "eccentricity")))
    return table.astype({"label": "int64", "area": "float64"})


def profile(denoised):
    return denoised.mean(axis=0)


def draw(profile):
    figure = Figure(figsize=(4, 2.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(profile)
    axes.set_xlabel("column")
    return figure


def settings():
    return {"threshold": 0.4, "channels": ["nuclei", "<membranes>"]}


def draw_lots():
    return float(np.random.default_rng().random())


def count_letters(text):
    return len(text)


def add_up(sizes):
    return sum(sizes)


# ---- what is made of them ----------------------------------------------------------------------------


@dataclass
class Screen:
    """Nodes in many states, in a folder with a root."""

    folder: Path
    #: Complete nodes by the kind of their results.
    nodes: dict[str, Any]
    #: Stale, failed, blocked and missing nodes.
    left: dict[str, Any]
    #: Nodes of the texts, of which one was changed, and the node of their sum.
    texts: dc.Nodes
    total: Any

    @property
    def mixed(self) -> dc.Nodes:
        """Nodes in all states."""
        return dc.Nodes([*self.left.values(), self.nodes["text"], self.nodes["chance"]])


@patch("platform.node", lambda: "workstation")
@patch("getpass.getuser", lambda: "scientist")
def screen_in(folder: Path) -> Screen:
    """Compute the screen in a folder, which is the current one.

    Host and user have the same names everywhere.
    """
    images = folder / "raw"
    images.mkdir()
    for name, image in (("coins", skimage.data.coins()), ("moon", skimage.data.camera()[::2, ::2])):
        np.save(images / f"{name}.npy", image / 255)
    texts = _texts(folder)
    dask.compute(*texts)
    (folder / "texts/sample_399.txt").write_text("edited by hand")

    scaled = dc.ImageTarget("denoised/{image.stem}.tif", pixel_size={"Y": 0.2, "X": 0.2}, unit="µm")
    denoised = dc.delayed(denoise, target=scaled)
    segmented = dc.delayed(segment, target="labels/{denoised.stem}.tif")
    table = dc.delayed(measure, target="regions/{labels.stem}.csv", on_modified="error")
    coins, moon = (dc.NumpySource(images / f"{name}.npy") for name in ("coins", "moon"))
    labels = segmented(denoised(coins, sigma=2))
    nodes = {
        "image": denoised(coins, sigma=2),
        "labels": labels,
        "table": table(labels),
        "array": dc.delayed(profile, target="profiles/{denoised.stem}.npy")(denoised(coins, sigma=2)),
        "text": dc.delayed(settings, target="settings.json")(),
        "chance": dc.delayed(draw_lots, target="chance.json")(),
    }
    nodes["figure"] = dc.delayed(draw, target="profiles/{profile.stem}.svg")(nodes["array"])
    moon_table = table(segmented(denoised(moon, sigma=2)))
    tried = dc.delayed(segment, target="tried/{denoised.stem}_{threshold}.tif")
    dc.compute(nodes, moon_table, tried(denoised(moon, sigma=2), 0.3))
    failed = dc.delayed(segment, target="strict/{denoised.stem}.tif")(denoised(moon, sigma=2), 2)
    dc.compute(failed, errors="collect")

    corrected = folder / "working/regions/moon.csv"
    corrected.write_text(corrected.read_text().replace("\n1,", "\n7,", 1))
    dc.adopt(moon_table)
    blocked = dc.delayed(settings, target="notes.json")()
    (folder / "working/notes.json").write_text("mine")
    left = {
        "stale": segmented(denoised(coins, sigma=3)),
        "decided": table(segmented(denoised(coins, sigma=3))),
        "failed": failed,
        "blocked": blocked,
        "adopted": moon_table,
        "missing": dc.delayed(add_up, target="sum.json")([nodes["chance"]]),
    }
    texts, total = _texts(folder)
    return Screen(folder, nodes, left, texts, total)


def _texts(folder):
    texts = folder / "texts"
    if not texts.exists():
        texts.mkdir()
        for n in range(MANY):
            (texts / f"sample_{n:03d}.txt").write_text(str(n))
    count = dc.delayed(count_letters, target="letters/{text.stem}.json")
    nodes = count.map(dc.sources(f"{texts}/sample_{{n:d}}.txt"))
    return nodes, dc.delayed(add_up, target="letters.json")(nodes)


def _difference(screen):
    other = dc.delayed(denoise, target="other.tif")(dc.NumpySource(screen.folder / "raw/coins.npy"), 3)
    other.compute()
    return dc.diff(screen.nodes["image"], other)


def _entry(screen):
    with dask.config.set({"daskcache.mode": "cache"}):
        return dc.task(settings, target="settings.json")()


def _address(screen):
    target = dc.Target.from_path(str(screen.folder / "cpr/profile.npy"))
    target.set_data(np.sin(np.arange(300) / 20))
    target.save()
    return target


def _progress(screen):
    """What is shown while a verb runs."""
    rows = [
        Row("denoise", FunctionCounts(ran=380, skipped=12, left=8), 3.5, ["denoised/moon.tif"]),
        Row("segment", FunctionCounts(ran=300, failed=1, left=99), 45.0, ["labels/coins.tif"]),
    ]
    with patch("IPython.display.display") as shown:
        NotebookDisplay().show(rows, 20.0)
    return shown.call_args.args[0]


#: What a cell shows, by what is written in it.
SHOWN: dict[str, Callable[[Screen], Any]] = {
    "plan  # of 400 texts, one of which was changed": lambda screen: dc.plan(screen.total),
    "nodes  # 400 texts, one of which was changed": lambda screen: screen.texts,
    "plan": lambda screen: dc.plan(screen.mixed),
    "plan.visualize()": lambda screen: dc.plan(screen.mixed).visualize(),
    "why": lambda screen: dc.why(screen.left["decided"]),
    "image": lambda screen: screen.nodes["image"],
    "labels": lambda screen: screen.nodes["labels"],
    "table": lambda screen: screen.nodes["table"],
    "array": lambda screen: screen.nodes["array"],
    "figure": lambda screen: screen.nodes["figure"],
    "text": lambda screen: screen.nodes["text"],
    "failed": lambda screen: screen.left["failed"],
    "blocked": lambda screen: screen.left["blocked"],
    "corrected": lambda screen: screen.left["adopted"],
    "missing.dc": lambda screen: screen.left["missing"].dc,
    "nodes": lambda screen: screen.mixed,
    "entry": _entry,
    "target": lambda screen: screen.nodes["image"].dc.target,
    "address": _address,
    "record": lambda screen: screen.nodes["table"].dc.record,
    "sources": lambda screen: dc.sources(f"{screen.folder}/raw/{{name}}.npy"),
    "failures": lambda screen: dc.failures(),
    "corrections": lambda screen: dc.corrections(),
    "status": lambda screen: dc.status(screen.texts),
    "audit": lambda screen: dc.audit(*screen.nodes.values()),
    "diff": _difference,
    "report": lambda screen: dc.report(screen.mixed),
    "prune": lambda screen: dc.prune(screen.left["stale"], min_age=0),
    "progress": _progress,
}


#: Pages that are files of their own: a function that writes one and returns its path, and a selector for
#: what is there as soon as the page is complete.
FILES: dict[str, tuple[Callable[[Screen], Path], str]] = {
    "graph": (
        lambda screen: dc.plan(screen.mixed).visualize("graph.html").path,
        "body[data-ready]",
    ),
    "report": (
        lambda screen: dc.report(screen.mixed, "report.html", title="A screen"),
        "main, body",
    ),
    "large_graph": (
        lambda screen: dc.plan(screen.total).visualize("large_graph.html").path,
        "body[data-ready]",
    ),
}


def bundle_of(shown: Any, screen: Screen) -> dict[str, str]:
    """Return what IPython puts into a notebook, with another name for the screen's folder.

    So pictures of it are the same wherever it lies.
    """
    bundle = shown if isinstance(shown, dict) and "text/html" in shown else None
    if bundle is None:
        bundle, _ = DisplayFormatter().format(shown)
    return {kind: text.replace(str(screen.folder), "/data") for kind, text in bundle.items()}
