"""A pipeline of CPR's, and what it left: files, and results that Prefect stored, made by hand."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import tifffile
import xxhash
from prefect.settings import PREFECT_LOCAL_STORAGE_PATH

from daskcache import ImageSource, ImageTarget, NumpyTarget
from daskcache.testing.assertions import RunCounter

NAMES = ("a", "b", "c")


def denoise(folder: str, picture: ImageSource, sigma: int, notes: str):
    """First step; as all of them it notes that it runs."""
    RunCounter(notes).note("denoise")
    return _image(f"{folder}/{picture.get_name()}.tif", picture.get_data() // sigma, picture)


def segment(folder: str, denoised: ImageTarget, threshold: int, notes: str):
    """Second step."""
    RunCounter(notes).note("segment")
    name = f"{denoised.get_name()}-mask"
    mask = (denoised.get_data() > threshold).astype("uint8")
    return _image(f"{folder}/{name}.tif", mask, denoised)


def count(folder: str, masks: list[ImageTarget], notes: str):
    """Last step."""
    RunCounter(notes).note("count")
    target = NumpyTarget.from_path(f"{folder}/counts.npy")
    target.set_data(np.array([int(mask.get_data().sum()) for mask in masks]))
    return target


def _image(path, data, like):
    target = ImageTarget.from_path(path, metadata=like.get_metadata(), resolution=like.get_resolution())
    target.set_data(data)
    return target


def picture(name):
    """The image of that name."""
    rows = np.arange(32 * 32, dtype="uint8").reshape(32, 32)
    return np.roll(rows, NAMES.index(name), axis=0)


class Left:
    """What CPR left of a run that was cut short: all images denoised, and the first one segmented.

    Parameters
    ----------
    folder : pathlib.Path
        Where images are, and results go.
    """

    def __init__(self, folder: Path):
        self.raw, self.out = folder / "raw", folder / "out"
        self.raw.mkdir()
        self.out.mkdir()
        for name in NAMES:
            tifffile.imwrite(self.raw / f"{name}.tif", picture(name))
        #: Files of the records, in the order in which they were made.
        self.records: list[Path] = []

    def source(self, name):
        """An image as a source."""
        return ImageSource.from_path(f"{self.raw}/{name}.tif", *_METADATA.values())

    def store(self, denoise, segment, notes):
        """Write files and records as CPR did for these tasks."""
        for name in NAMES:
            source = {"location": str(self.raw), "name": name, "ext": ".tif"} | _METADATA
            arguments = {"folder": str(self.out), "picture": _tagged("ImageSource", source)}
            made = self._target(name, picture(name) // 2)
            self._record(denoise, arguments | {"sigma": 2, "notes": notes}, made)
            if name == NAMES[0]:
                arguments = {"folder": str(self.out), "denoised": made, "threshold": 60, "notes": notes}
                mask = (picture(name) // 2 > 60).astype("uint8")
                self._record(segment, arguments, self._target(f"{name}-mask", mask))

    def _target(self, name, data):
        hashed = xxhash.xxh3_64(f"{data.dtype},{data.shape},".encode() + data.tobytes()).hexdigest()
        path = self.out / f"{name}-{hashed}.tif"
        tifffile.imwrite(path, data, compression="zlib", imagej=True)
        fields = {"location": str(self.out), "name": name, "ext": ".tif", "data_hash": hashed}
        return _tagged("ImageTarget", fields | _METADATA | {"imagej": True})

    def _record(self, task, arguments, result):
        text = json.dumps(
            [[task.task_key, task.fn.__code__.co_code.hex(), arguments], {}], sort_keys=True
        )
        key = hashlib.md5(text.encode()).hexdigest()
        path = Path(PREFECT_LOCAL_STORAGE_PATH.value()) / key
        path.parent.mkdir(parents=True, exist_ok=True)
        metadata = {
            "storage_key": key,
            "expiration": None,
            "serializer": SERIALIZER,
            "prefect_version": "3.1.5",
            "storage_block_id": None,
        }
        path.write_text(json.dumps({"metadata": metadata, "result": json.dumps(result)}))
        self.records.append(path)


#: What a stored result says of CPR's serializer.
SERIALIZER = {
    "type": "json",
    "jsonlib": "json",
    "object_encoder": "cpr.Serializer.target_encoder",
    "object_decoder": "cpr.Serializer.target_decoder",
    "dumps_kwargs": {},
    "loads_kwargs": {},
}
_METADATA = {"metadata": {"axes": "YX", "unit": "micron"}, "resolution": [7.5, 7.5]}


def _tagged(name, data):
    return {"__class__": f"cpr.image.{name}.{name}", "data": data}
