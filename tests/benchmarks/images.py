"""Images and arrays: a pipeline beside one written by hand, and what formats add to their libraries."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from functools import partial
from itertools import count

import dask
import numpy as np
import pandas as pd
import scipy.ndimage
import tifffile
import xxhash
import zarr

import daskcache as dc
from daskcache.storage import files as storage
from daskcache.storage.roots import Root
from daskcache.storage.verified_folders import keep_manifest
from daskcache.targets.base import FolderFormat
from daskcache.targets.images import pixels
from daskcache.targets.zarr.values import default_chunks

from .measuring import Comparison, Times, timed
from .scenes import QUICK, Size, folder, let_settle, root

MIB = 2**20
#: Deflate as tifffile has it, at the level that a target takes where there is no ISA-L.
COMPRESSED = pixels.by_tifffile("zlib")


def picture(seed: int) -> np.ndarray:
    """Bright spots on the noise of a camera; 1024 × 1024 pixels, uint16."""
    rng = np.random.default_rng(seed)
    spots = np.zeros((1024, 1024))
    spots[tuple(rng.integers(0, 1024, (2, 300)))] = 400_000
    image = 1000 + scipy.ndimage.gaussian_filter(spots, 6) + rng.normal(0, 12, spots.shape)
    return image.clip(0, 65535).astype("u2")


def smooth(image):
    return scipy.ndimage.gaussian_filter(image.astype("f4"), 2)


def segment(smoothed):
    return scipy.ndimage.label(smoothed > 1300)[0].astype("i4")


def measure_spots(labels, smoothed):
    index = np.arange(1, labels.max() + 1)
    mean = scipy.ndimage.mean(smoothed, labels, index)
    area = scipy.ndimage.sum(np.ones_like(smoothed), labels, index)
    return pd.DataFrame({"label": index, "mean": mean, "area": area})


cached_smooth = dc.delayed(smooth, target="smooth/{image.stem}.tif")
cached_segment = dc.delayed(segment, target="labels/{smoothed.stem}.tif")
cached_measure = dc.delayed(measure_spots, target="spots/{labels.stem}.csv")


def pipeline(size: Size) -> Iterator[Comparison]:
    """Raw image → smoothed → labels → table, in threads; by hand with plain `imwrite` and `to_csv`."""
    with folder(large=True) as raw:
        sources = [f"{raw}/{i:02d}.tif" for i in range(size.images)]
        for i, path in enumerate(sources):
            tifffile.imwrite(path, picture(i), photometric="minisblack")
        if size is not QUICK:
            let_settle(sources)

        def nodes():
            tables = []
            for path in sources:
                smoothed = cached_smooth(dc.ImageSource(path))
                tables.append(cached_measure(cached_segment(smoothed), smoothed))
            return tables

        def ours() -> Times:
            with root(large=True):
                return timed(lambda: dask.compute(*nodes(), scheduler="threads"))

        def by_hand(write=write_plain) -> Times:
            with folder(large=True) as results:
                return timed(
                    lambda: dask.compute(
                        *(one_by_hand(path, results, write) for path in sources), scheduler="threads"
                    )
                )

        yield Comparison(
            "image pipeline, cold",
            {"daskcache": ours, "by hand": by_hand},
            *(size.images, 1.5),
            ceiling=4,
            note="by hand: not compressed, nothing hashed",
        )
        yield Comparison(
            "image pipeline, cold, compressed alike",
            {"daskcache": ours, "by hand": partial(by_hand, write_deflated)},
            *(size.images, 1.03),
            note="by hand: the same strips, nothing hashed",
        )
        yield Comparison(
            "image pipeline, cold, compressed by tifffile",
            {"daskcache": ours, "by hand": partial(by_hand, partial(write_plain, **COMPRESSED))},
            size.images,
            note="by hand: compression='zlib', nothing hashed",
        )
        with root(large=True):
            dask.compute(*nodes(), scheduler="threads")
            yield Comparison(
                "image pipeline, finished",
                {
                    "daskcache": lambda: dask.compute(*nodes(), scheduler="threads"),
                    "by hand, cold": by_hand,
                },
                *(size.images, 0.02),
            )


@dask.delayed(pure=False)
def one_by_hand(path, results, write):
    """The same steps, as a script would write their results."""
    name = os.path.basename(path)
    smoothed = smooth(tifffile.imread(path))
    write(f"{results}/smooth-{name}", smoothed)
    labels = segment(smoothed)
    write(f"{results}/labels-{name}", labels)
    table = measure_spots(labels, smoothed)
    table.to_csv(f"{results}/{name}.csv", index=False)
    return table


def write_plain(path, image, **options):
    tifffile.imwrite(path, image, photometric="minisblack", **options)


def write_deflated(path, image):
    """Write the strips that a target writes, without its check and hashes."""
    pages = pixels.Pages(image, image.dtype, in_colour=False, is_plain=True)
    rows = pages.rows_of_strips()
    tifffile.imwrite(
        path,
        pages.encoded(rows, pixels.encoder("zlib")),
        shape=image.shape,
        dtype=image.dtype,
        rowsperstrip=rows,
        photometric="minisblack",
        **COMPRESSED,
    )


def hashing(_size: Size) -> Iterator[Comparison]:
    """The hash of an array of 1 GiB, beside the hash function alone."""
    array = np.arange(MIB * 128, dtype=float)
    yield Comparison(
        "hash an array of 1 GiB",
        {
            "daskcache": lambda: dc.hashing.hash_value(array),
            "xxhash": lambda: xxhash.xxh3_128_digest(array),
        },
        bar=1 / 0.6,
    )


def formats(_size: Size) -> Iterator[Comparison]:
    """What hashing and committing add to writing 64 MiB with the library alone, in the same way."""
    image = np.random.default_rng(0).poisson(100, (8, 2048, 2048)).astype("u2")
    tiff, npy, stored = dc.ImageTarget("a.tif"), dc.NumpyTarget("a.npy"), dc.ZarrTarget("a.zarr")
    for name, target, plain, bar in [
        ("TIFF", tiff, partial(tifffile.imwrite, data=image, **as_written(tiff, image)), 1.15),
        ("npy", npy, partial(np.save, arr=image), 1.6),
        ("Zarr", stored, partial(write_zarr, image), 1.15),
    ]:
        with root(large=True) as place:
            Root(place).create()
            names = (f"{place}/{i}.npy" for i in count())
            yield Comparison(
                f"write, hash, commit 64 MiB: {name}",
                {
                    "daskcache": lambda: commit(target, image, next(names)),  # noqa: B023
                    "the library": lambda: plain(next(names)),  # noqa: B023
                },
                bar=bar,
            )


def as_written(target, image):
    """Arguments with which tifffile writes what a target writes."""
    with tifffile.TiffFile(io.BytesIO(b"".join(target.encode_checked(image)))) as tif:
        page = tif.pages[0]
    return {
        "photometric": "minisblack",
        **COMPRESSED,
        "predictor": page.predictor,
        "rowsperstrip": page.rowsperstrip,
        "maxworkers": 2,
    }


def write_zarr(value, path):
    """What a `ZarrTarget` writes, by Zarr alone."""
    codec = zarr.codecs.BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle", typesize=2)
    array = zarr.create_array(
        path,
        shape=value.shape,
        dtype=value.dtype,
        chunks=default_chunks(value.shape, value.dtype.itemsize),
        compressors=codec,
        config={"write_empty_chunks": True},
    )
    array[...] = value


def commit(target, value, path):
    """Encode, write and hash the file, hash the data, and put the file in place with a record."""
    place, _, name = path.rpartition("/")
    place = Root(place)
    if isinstance(target, FolderFormat):
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
