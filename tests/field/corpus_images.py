"""Images as microscopes and other programs write them: see `corpus`."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import SimpleITK
import tifffile
from corpus import Kind
from PIL import Image, ImageSequence

from daskcache import ImageSource

RNG = np.random.default_rng(7)


def noise(shape, dtype="uint16", below=None):
    return RNG.integers(0, below or np.iinfo(dtype).max + 1, shape).astype(dtype)


def slope(shape, dtype="uint8"):
    """Neighbours are alike, as in photographs."""
    return (np.add.outer(np.arange(shape[0]), np.arange(shape[1])) * 2).astype(dtype)


PLANES = [noise((40, 56)), noise((33, 17)), slope((64, 48), "uint16")]
BYTES = [slope((40, 56)), noise((33, 17), "uint8"), slope((64, 48))]
STACKS = [noise((5, 40, 56)), noise((7, 33, 17)), np.stack([slope((64, 48), "uint16")] * 2)]
HYPER = [noise((2, 3, 2, 20, 28)), noise((3, 2, 4, 17, 9)), noise((2, 2, 2, 8, 8))]
COLOURS = [noise((40, 56, 3), "uint8"), noise((33, 17, 3), "uint8"), np.dstack([slope((64, 48))] * 3)]


# ---- how they are written -----------------------------------------------------------------------------


def tif(**options: Any) -> Callable:
    """By tifffile, with these options."""
    return lambda array, path: tifffile.imwrite(path, array, **options)


def pages(stack, path, **options):
    """Pages without any description."""
    with tifffile.TiffWriter(path) as writer:
        for plane in stack:
            writer.write(plane, contiguous=False, metadata=None, **options)


def by_pillow(mode=None, suffix="TIFF", **options):
    def write(array, path):
        image = Image.fromarray(array)
        (image.convert(mode) if mode else image).save(path, suffix, **options)

    return write


def by_opencv(array, path):
    assert cv2.imwrite(path, array[..., ::-1] if array.ndim == 3 else array)


def by_itk(array, path):
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), path)


def stack_by_pillow(stack, path):
    first, *others = map(Image.fromarray, stack)
    first.save(path, save_all=True, append_images=others)


def palette(array, path, suffix="TIFF"):
    image = Image.fromarray(array).convert("P")
    image.putpalette([7 * i % 256 for i in range(768)])
    image.save(path, suffix)


def ome_series(array, path):
    """OME-XML of two images; the second is smaller."""
    with tifffile.TiffWriter(path, ome=True) as writer:
        for each in (array, array[..., ::2, ::2]):
            writer.write(each, photometric="minisblack", metadata={"axes": "ZYX"})


def ome_pyramid(array, path):
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(array, subifds=1, metadata={"axes": "ZYX"})
        writer.write(array[:, ::2, ::2], subfiletype=1)


def imagej_in_one_piece(stack, path):
    """ImageJ's form for stacks of over 4 GiB: one page, and the planes in one piece behind it."""
    text = f"ImageJ=1.53t\nimages={len(stack)}\nslices={len(stack)}\nloop=false\n"
    file = io.BytesIO()
    tifffile.imwrite(file, stack[0], metadata=None, description=text)
    with tifffile.TiffFile(io.BytesIO(file.getvalue())) as written:
        end = written.pages[0].dataoffsets[0] + stack[0].nbytes
    Path(path).write_bytes(file.getvalue()[:end] + stack[1:].tobytes())


def slide(array, path, description, extra=()):
    """As slide scanners write it: tiles, a thumbnail as second page, a smaller level, a label."""
    with tifffile.TiffWriter(path) as writer:
        tiled = {"tile": (16, 16), "photometric": "rgb", "metadata": None}
        writer.write(array, description=description, extratags=extra, **tiled)
        writer.write(array[::4, ::4].copy(), photometric="rgb", metadata=None, description=description)
        writer.write(array[::2, ::2].copy(), subfiletype=1, description=description, **tiled)
        writer.write(array[:8, :8].copy(), subfiletype=1, photometric="rgb", metadata=None)


def svs(array, path):
    height, width, _ = array.shape
    size = f"{width}x{height}"
    text = f"Aperio Image Library v12.0.15\r\n{size} [0,0 {size}] (16x16) |AppMag = 20|MPP = 0.499"
    slide(array, path, text)


def ndpi(array, path):
    """Hamamatsu NDPI: JPEG without tiles, a page for each magnification, and a macro of the slide."""
    with tifffile.TiffWriter(path) as writer:
        for step, magnification in ((1, 20.0), (2, 10.0), (4, -1.0)):
            extra = [(65420, 4, 1, 1, True), (65421, 11, 1, magnification, True)]
            plane = array[::step, ::step].copy()
            writer.write(plane, photometric="rgb", metadata=None, contiguous=False, extratags=extra)


def lsm(stack, path):
    """Zeiss LSM: a private tag with the sizes, and a thumbnail behind each plane."""
    fields = {"MagicNumber": 0x0400494C, "StructureSize": 500, "DataType": 2, "ThumbnailX": 8}
    fields |= {"DimensionX": stack.shape[2], "DimensionY": stack.shape[1], "DimensionZ": len(stack)}
    fields |= {"DimensionChannels": 1, "DimensionTime": 1, "ThumbnailY": 8, "ScanType": 0}
    fields |= {"VoxelSizeX": 1e-7, "VoxelSizeY": 1e-7, "VoxelSizeZ": 1e-6}
    told = b"".join(
        np.full((), fields.get(name, 0), np.dtype(kind)).tobytes()
        for name, kind in tifffile.TIFF.CZ_LSMINFO
    )
    with tifffile.TiffWriter(path) as writer:
        for number, plane in enumerate(stack):
            extra = [(34412, 1, len(told), told, True)] if number == 0 else []
            writer.write(plane, metadata=None, contiguous=False, extratags=extra)
            writer.write(plane[::4, ::4].copy(), metadata=None, contiguous=False, subfiletype=1)


def metamorph(stack, path):
    """MetaMorph STK: one page, whose private tags tell how many planes follow it."""
    planes = b"".join(struct.pack("<6I", 1, 1, 2459000, 0, 2459000, 0) for _ in stack)
    extra = [(33628, 4, 4, (0, 0, 0, 0), True), (33629, 5, 3 * len(stack), planes, True)]
    file = io.BytesIO()
    tifffile.imwrite(file, stack[0], metadata=None, extratags=extra)
    with tifffile.TiffFile(io.BytesIO(file.getvalue())) as written:
        end = written.pages[0].dataoffsets[0] + stack[0].nbytes
    content = bytearray(file.getvalue()[:end] + stack[1:].tobytes())
    # the counts of these tags are those of pairs, and of planes of three rationals, whatever TIFF says
    for tag, kind, count in ((33628, 4, 2), (33629, 5, len(stack))):
        entry = content.index(struct.pack("<HH", tag, kind))
        content[entry + 4 : entry + 8] = struct.pack("<I", count)
    Path(path).write_bytes(content)


def cut(write, array):
    """Only the first part of a file, as after a copy that broke off."""

    def written(share, path):
        write(array, path)
        content = Path(path).read_bytes()
        Path(path).write_bytes(content[: int(len(content) * share)])

    return written


def fewer_pages(planes, path):
    """The acquisition ended before all planes were there that the description declares."""
    text = tifffile.OmeXml()
    text.addimage("uint16", (5, 40, 56), (5, 1, 1, 40, 56, 1), axes="ZYX")
    told = {
        "OME": text.tostring(declaration=True).encode(),
        "ImageJ": "ImageJ=1.53t\nimages=5\nslices=5\n",
        "shaped": '{"shape": [5, 40, 56]}',
    }
    pages(STACKS[0][:3], path, description=told[planes])


# ---- other libraries ----------------------------------------------------------------------------------


def pillow(path):
    with Image.open(path) as image:
        planes = [np.array(each) for each in ImageSequence.Iterator(image)]
    return planes[0] if len(planes) == 1 else np.stack(planes)


def itk(path):
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path))


def opencv(path):
    found, planes = cv2.imreadmulti(path, flags=cv2.IMREAD_UNCHANGED)
    assert found
    planes = [_opencvs(each) for each in planes]
    return planes[0] if len(planes) == 1 else np.stack(planes)


def opencv_one(path):
    """Files that hold one image."""
    return _opencvs(cv2.imread(path, cv2.IMREAD_UNCHANGED))


def _opencvs(image):
    if image.ndim == 2:
        return image
    return image[..., [2, 1, 0, *range(3, image.shape[2])]]  # OpenCV's channels are in another order


# ---- the kinds ----------------------------------------------------------------------------------------


def scaled(arrays, dtype, by=1):
    return [(array / by).astype(dtype) for array in arrays]


def _kind(name, values, write, *others, suffix=".tif", **more):
    return Kind(name, suffix, values, write, ImageSource, others=others, **more)


ALPHA = [np.dstack([each, each[..., :1]]) for each in COLOURS]
MASKS = [each > 40 for each in BYTES]
SLIDES = [COLOURS[0], COLOURS[2], COLOURS[0][::-1]]

KINDS = [
    _kind("TIFF: one plane", PLANES, tif(), pillow, itk, opencv),
    _kind("TIFF: big-endian", PLANES, tif(byteorder=">"), pillow, itk, opencv),
    _kind("TIFF: BigTIFF", STACKS, tif(bigtiff=True, metadata=None), itk, opencv),
    _kind("TIFF: big-endian BigTIFF", PLANES, tif(bigtiff=True, byteorder=">"), itk, opencv),
    _kind("TIFF: floats of 32 bits", scaled(STACKS, "f4", 3), tif(metadata=None), pillow, itk, opencv),
    _kind("TIFF: floats of 64 bits", scaled(PLANES, "f8", 3), tif(), opencv),
    _kind("TIFF: floats of 16 bits", scaled(PLANES, "f2", 2**10), tif()),
    _kind("TIFF: complex", [each * np.complex64(1j) for each in scaled(PLANES, "c8")], tif()),
    _kind("TIFF: signed bytes", [each.view("i1") for each in BYTES], tif(), itk),
    _kind("TIFF: signed 16 bits", [each.view("i2") for each in PLANES], tif(), itk),
    _kind("TIFF: labels of 32 bits", scaled(PLANES, "u4"), tif(), itk),
    _kind("TIFF: labels of 64 bits", scaled(PLANES, "i8"), tif()),
    _kind("TIFF: one bit", MASKS, by_pillow(), pillow),
    _kind("TIFF: one bit, CCITT group 4", MASKS, by_pillow(compression="group4"), pillow),
    _kind(
        "TIFF: twelve bits",
        [each % 4096 for each in PLANES],
        tif(bitspersample=12, photometric="minisblack"),
    ),
    _kind("TIFF: LZW, predictor", STACKS, tif(compression="lzw", predictor=True, metadata=None), opencv),
    _kind("TIFF: LZW by Pillow", BYTES, by_pillow(compression="tiff_lzw"), pillow, itk, opencv),
    _kind("TIFF: deflate", PLANES, tif(compression="zlib"), pillow, itk, opencv),
    _kind("TIFF: PackBits", BYTES, by_pillow(compression="packbits"), pillow, itk, opencv),
    _kind("TIFF: Zstandard", PLANES, tif(compression="zstd")),
    _kind("TIFF: LZMA", PLANES, tif(compression="lzma")),
    _kind("TIFF: lossless JPEG 2000", PLANES, tif(compression="jpeg2000")),
    _kind(
        "TIFF: predictor of floats",
        scaled(PLANES, "f4", 7),
        tif(compression="zlib", predictor=3),
        opencv,
    ),
    _kind("TIFF: tiles", STACKS, tif(tile=(16, 16), compression="zlib", metadata=None), opencv),
    _kind("TIFF: strips of one row", PLANES, tif(rowsperstrip=1), pillow, itk, opencv),
    _kind("TIFF: written by OpenCV", PLANES, by_opencv, pillow, itk),
    _kind("TIFF: written by ITK", PLANES, by_itk, pillow, opencv),
    _kind("TIFF: pages by Pillow", STACKS, stack_by_pillow, pillow, itk, opencv),
    _kind("TIFF: pages without a description", STACKS, pages, pillow, itk, opencv),
    _kind("TIFF: colour", COLOURS, tif(photometric="rgb"), pillow, itk, opencv),
    _kind(
        "TIFF: colour in planes",
        [each.transpose(2, 0, 1) for each in COLOURS],
        tif(photometric="rgb", planarconfig="separate"),
    ),
    _kind("TIFF: colour of 16 bits", scaled(COLOURS, "u2"), tif(photometric="rgb"), opencv),
    _kind("TIFF: colour with alpha", ALPHA, by_pillow(), pillow, itk),
    _kind(
        "TIFF: CMYK",
        COLOURS,
        by_pillow("CMYK"),
        pillow,
        expected=lambda array: np.array(Image.fromarray(array).convert("CMYK")),
    ),
    _kind("TIFF: a palette gives indices", [each // 32 for each in BYTES], palette, pillow),
    _kind("TIFF: white is zero, as stored", PLANES, tif(photometric="miniswhite")),
    _kind("TIFF: one pixel", [each[:1, :1] for each in PLANES], tif(), pillow, itk),
    _kind("TIFF: one row", [each[:1] for each in PLANES], tif(), pillow, itk, opencv),
    _kind("TIFF: turned by EXIF, as stored", PLANES, tif(extratags=[(274, 3, 1, 6, True)])),
    _kind(
        "TIFF: tags of GeoTIFF",
        scaled(PLANES, "f4"),
        tif(extratags=[(33550, 12, 3, (10.0, 10.0, 0.0), True), (42113, 2, 6, "-9999", True)]),
        pillow,
        opencv,
    ),
    _kind("TIFF: a shape that tifffile notes", STACKS, tif()),
    _kind("ImageJ: a stack", STACKS, tif(imagej=True, metadata={"axes": "ZYX"}), pillow, itk, opencv),
    _kind("ImageJ: a hyperstack", HYPER, tif(imagej=True, metadata={"axes": "TZCYX"})),
    _kind("ImageJ: deflated", HYPER, tif(imagej=True, compression="zlib")),
    _kind("ImageJ: planes in one piece", STACKS, imagej_in_one_piece),
    _kind("ImageJ: colours", COLOURS, tif(imagej=True), pillow, opencv),
    _kind(
        "ImageJ: overlays, labels, ranges",
        STACKS,
        tif(imagej=True, metadata={"axes": "ZYX", "Ranges": [0.0, 9.0], "Info": "x", "ROI": b"Iout"}),
        pillow,
        opencv,
    ),
    _kind("OME-TIFF: a stack", STACKS, tif(ome=True, metadata={"axes": "ZYX"}), pillow, opencv),
    _kind("OME-TIFF: a hyperstack", HYPER, tif(ome=True, metadata={"axes": "TCZYX"})),
    _kind(
        "OME-TIFF: big-endian",
        STACKS,
        tif(ome=True, byteorder=">", metadata={"axes": "TYX"}),
        opencv,
    ),
    _kind("OME-TIFF: colour", COLOURS, tif(ome=True, photometric="rgb"), pillow, opencv),
    _kind("OME-TIFF: of several images, the first", STACKS, ome_series),
    _kind("OME-TIFF: of a pyramid, the full size", STACKS, ome_pyramid, pillow, opencv),
    _kind(
        "SVS: of a slide, the full size", [COLOURS[0], COLOURS[2], COLOURS[0][::-1]], svs, suffix=".svs"
    ),
    _kind("NDPI: of a slide, the full size", COLOURS, ndpi, suffix=".ndpi"),
    _kind("LSM: thumbnails are left out", STACKS, lsm, suffix=".lsm"),
    _kind("STK: planes that a tag counts", STACKS, metamorph, suffix=".stk"),
    _kind("PNG: grey", BYTES, by_pillow(suffix="PNG"), itk, opencv_one, suffix=".png"),
    _kind("PNG: grey of 16 bits", PLANES, by_opencv, itk, opencv_one, suffix=".png"),
    _kind("PNG: colour", COLOURS, by_pillow(suffix="PNG"), itk, opencv_one, suffix=".png"),
    _kind("PNG: colour with alpha", ALPHA, by_pillow(suffix="PNG"), itk, opencv_one, suffix=".png"),
    _kind("BMP: grey", BYTES, by_pillow(suffix="BMP"), opencv_one, suffix=".bmp"),
    _kind("BMP: colour", COLOURS, by_pillow(suffix="BMP"), itk, opencv_one, suffix=".bmp"),
]

_SHARES = (0.2, 0.6, 0.9)
KINDS += [
    _kind(f"{name}: cut", _SHARES, cut(write, array), suffix=suffix, refused="cut short|whole|read")
    for name, write, array, suffix in (
        ("TIFF, one plane", tif(), PLANES[0], ".tif"),
        ("TIFF, a shape", tif(), STACKS[0], ".tif"),
        ("TIFF, pages", pages, STACKS[0], ".tif"),
        ("TIFF, deflate", tif(compression="zlib"), STACKS[0], ".tif"),
        ("TIFF, JPEG", tif(compression="jpeg", metadata=None), BYTES[0], ".tif"),
        ("TIFF, tiles", tif(tile=(16, 16)), STACKS[0], ".tif"),
        ("BigTIFF", tif(bigtiff=True), STACKS[0], ".tif"),
        ("ImageJ", tif(imagej=True), STACKS[0], ".tif"),
        ("ImageJ in one piece", imagej_in_one_piece, STACKS[0], ".tif"),
        ("OME-TIFF", tif(ome=True), STACKS[0], ".tif"),
        ("STK", metamorph, STACKS[0], ".stk"),
        ("LSM", lsm, STACKS[0], ".lsm"),
        ("PNG", by_pillow(suffix="PNG"), noise((90, 90), "uint8"), ".png"),
        ("BMP", by_pillow(suffix="BMP"), BYTES[0], ".bmp"),
    )
]
KINDS += [
    _kind(
        "TIFF: fewer planes than declared",
        ("OME", "ImageJ", "shaped"),
        fewer_pages,
        refused="not whole|can't be read",
    ),
    _kind(
        "TIFF: something else",
        (b"", b"<!DOCTYPE html><html>404 Not Found", b"version https://git-lfs.github.com/spec/v1\n"),
        lambda content, path: Path(path).write_bytes(content),
        refused="empty|HTML|lfs",
    ),
]
