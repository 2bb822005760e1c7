"""Performance bars of formats, measured side by side with the libraries that write them.

    python tests/benchmarks/bench_formats.py [--only NAME]

Prints a row for each bar and, at the end, one line of JSON with all figures.  It judges nothing by
its exit code: timings depend on the machine, ratios less so.
"""

from __future__ import annotations

import argparse
import io
import json
import os
from functools import partial

import numpy as np
import tifffile
from bench import Row, root, run, side_by_side
from bench_zarr import write_plainly

import daskcache as dc
from daskcache.storage import files as storage
from daskcache.storage.roots import Root
from daskcache.storage.verified_folders import keep_manifest
from daskcache.targets.base import FolderTarget


def noise():
    """64 MiB that no predictor helps with."""
    return np.random.default_rng(0).poisson(100, (8, 2048, 2048)).astype("u2")


def micrograph():
    import skimage.data

    return skimage.data.cell()


def tiff_write(_options):
    """TIFF with deflate, against the library's default: time and size."""
    peer_name = "imwrite(compression='zlib')"
    for name, image, times in (("noise", noise(), 3), ("micrograph", micrograph(), 50)):
        target = dc.ImageTarget("a.tif")
        default = {"photometric": "minisblack", "compression": "zlib"}
        with root() as folder:
            paths = Paths(folder)
            seconds, peer_seconds = side_by_side(
                partial(at_new_path, paths, partial(target.write, image)),
                partial(at_new_path, paths, partial(tifffile.imwrite, data=image, **default)),
                times,
            )
            sizes = [os.path.getsize(path) / 1e6 for path in paths[-2:]]
        note = f"{image.nbytes / 2**20:.1f} MiB"
        found = "s", seconds, peer_name, peer_seconds
        yield Row(f"write TIFF: {name}", *found, 2, "speedup", note)
        yield Row(f"size of TIFF: {name}", "MB", sizes[0], peer_name, sizes[1], 1, "ratio", note)


def hash_and_commit(_options):
    """What hashing and committing add to writing 64 MiB with the library alone, in the same way."""
    image = noise()
    tiff, npy, zarr = dc.ImageTarget("a.tif"), dc.NumpyTarget("a.npy"), dc.ZarrTarget("a.zarr")
    for name, target, plain, bar, times in [
        ("TIFF", tiff, partial(tifffile.imwrite, data=image, **as_written(tiff, image)), 1.15, 9),
        ("npy", npy, partial(np.save, arr=image), 1.6, 25),
        ("Zarr", zarr, partial(write_plainly, image), 1.15, 25),
    ]:
        with root() as folder:
            Root(folder).create()
            paths = Paths(folder)
            seconds, peer_seconds = side_by_side(
                partial(at_new_path, paths, partial(committed, target, image)),
                partial(at_new_path, paths, plain),
                times,
            )
        found = "s", seconds, "the library alone", peer_seconds
        yield Row(f"write, hash, commit: {name}", *found, bar, "ratio", "64 MiB")


def as_written(target, image):
    """Arguments with which tifffile writes what a target writes."""
    with tifffile.TiffFile(io.BytesIO(b"".join(target.encode_checked(image)))) as tif:
        page = tif.pages[0]
    return {
        "photometric": "minisblack",
        "compression": "zlib",
        "compressionargs": {"level": 3},  # what a target takes for noise
        "predictor": page.predictor,
        "rowsperstrip": page.rowsperstrip,
        "maxworkers": 2,
    }


def committed(target, value, path):
    """Encode, write and hash the file, hash the data, and put the file in place with a record."""
    folder, _, name = path.rpartition("/")
    place = Root(folder)
    if isinstance(target, FolderTarget):
        own = f"{storage.part_folder(place)}/{name}"
        part = target.write(value, own)
        data_hash = target.hash_result(value, own)
        keep_manifest(place, part.file_hash, part.manifest)
    else:
        part = storage.write_part(storage.part_path(place, name), target.encode_checked(value))
        data_hash = target.hash(value)
    intent = storage.write_intent(place, name, data_hash.encode())
    storage.put_new(place, part.path, name)
    storage.promote_intent(place, intent, name, "0")


class Paths(list):
    """Paths in a folder, as many as are asked for."""

    def __init__(self, folder):
        self.folder = folder

    def new(self):
        self.append(f"{self.folder}/{len(self)}.npy")
        return self[-1]


def at_new_path(paths, write):
    write(paths.new())


BENCHMARKS = {function.__name__: function for function in (tiff_write, hash_and_commit)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=BENCHMARKS, help="one benchmark")
    options = parser.parse_args()
    figures = run({name: (each, options) for name, each in BENCHMARKS.items()}, options.only)
    print(json.dumps({"rows": figures}))


if __name__ == "__main__":
    main()
