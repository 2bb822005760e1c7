"""Every target class of daskcache passes the contract that third parties test theirs with."""

from __future__ import annotations

import datetime
import decimal
import fractions
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Circle

import daskcache as dc
from daskcache.targets.figures import drawn
from daskcache.testing import TargetContract


class TestNpy(TargetContract):
    target = dc.NumpyTarget("a.npy")
    values = [
        np.arange(12.0).reshape(3, 4),
        np.arange(12).reshape(3, 4),
        np.array(3, ">u2"),
        np.zeros((0, 3)),
        np.array([("x", 1.5)], [("name", "U3"), ("size", "f4")]),
    ]
    refused = [
        [1, 2],
        np.str_("a"),
        np.array([object()]),
        np.ma.masked_array([1, 2], [0, 1]),
        pd.DataFrame({"a": [1]}),
        {"a": np.zeros(3)},
    ]


class TestNpyOfNumbers(TargetContract):
    """Numbers of NumPy are not arrays without axes."""

    target = dc.NumpyTarget("a.npy")
    values = [
        np.float64(3),
        np.array(3.0),
        np.float32(3),
        np.complex64(1j),
        np.int8(3),
        np.bool_(True),
        np.datetime64("2024-02-29", "D"),
        np.timedelta64("NaT", "s"),
    ]
    refused = [3.0, np.bytes_(b"a")]


class TestNpz(TargetContract):
    target = dc.NumpyTarget("a.npz")
    values = [
        {"labels": np.arange(6, dtype="u2").reshape(2, 3), "é/a": np.array(1.5)},
        {"labels": np.arange(6, dtype="u4").reshape(2, 3), "é/a": np.array(1.5)},
        {"": np.zeros((0, 2), ">f4"), "file": np.array(["text"]), "a.npy": np.ones(1, "?")},
        {},
        {"mean": np.float64(1.5), "all": np.array(1.5)},
        {"mean": np.array(1.5), "all": np.array(1.5)},
        np.zeros((2, 3), ">f4"),
        {"arr_0": np.zeros((2, 3), ">f4")},
        np.array(1.5),
        {"arr_0": np.float64(1.5)},
    ]
    refused = [
        np.float64(3),
        [1, 2],
        {"a": [1, 2]},
        {"a": np.array([None])},
        {1: np.zeros(3)},
        {"a\0b": np.zeros(3)},
        {"\ud800": np.zeros(3)},
        OrderedDict(a=np.zeros(3)),
    ]


class TestCompressedNpz(TargetContract):
    target = dc.NumpyTarget("a.npz", compressed=True)
    values = [{"a": np.zeros(1000)}, {"a": np.zeros(1000), "b": np.arange(3)}, np.zeros(1000)]


class TestImage(TargetContract):
    target = dc.ImageTarget("a.tif")
    values = [
        np.arange(600).astype(dtype).reshape(20, 30)
        for dtype in ("u2", "i4", "i8", "f2", "f4", "f8", "c8", "c16")
    ]
    refused = [
        [[1]],
        np.zeros((4, 4), "V4"),
        np.zeros((4, 4), ">u2"),
        np.zeros(4, "u1"),
        np.zeros((0, 4), "u1"),
    ]


class TestPNG(TargetContract):
    target = dc.PNGTarget("a.png")
    values = [
        np.arange(600).reshape(20, 30).astype("u1"),
        np.arange(600).reshape(20, 30).astype("u2") * 109,
        np.arange(600).reshape(20, 30) % 7 < 3,
        np.arange(1800).reshape(20, 30, 3).astype("u1"),
        np.arange(2400).reshape(20, 30, 4).astype("u2") * 27,
        np.zeros((1, 1), bool),
        np.arange(600).reshape(20, 30).astype("u2").T,
    ]
    refused = [
        [[1]],
        np.zeros((4, 4)),
        np.zeros((4, 4), "i8"),
        np.zeros((4, 4), ">u2"),
        np.zeros((3, 4, 5), "u1"),
        np.zeros((4, 4, 2), "u1"),
        np.zeros((4, 4, 1), "u1"),
        np.zeros((2, 4, 4, 3), "u1"),
        np.zeros((4, 4, 3), bool),
        np.zeros(4, "u1"),
        np.zeros((0, 4), "u1"),
        Figure().subplots(),
    ]


class OfPaths(TargetContract):
    """Values are paths, equal if what is there is."""

    def same(self, got, value):
        is_path = isinstance(value, Path)
        content = self.content(str(value)) if is_path else drawn(value, self.target.ext)
        return isinstance(got, Path) and got.is_absolute() and self.content(str(got)) == content


_HERE = Path(__file__)


class TestFile(OfPaths):
    target = dc.FileTarget("a.py")
    values = [_HERE, _HERE.with_name("test_file_targets.py")]
    refused = [
        "a.py",
        b"data",
        Path("nowhere.py"),
        _HERE.parent,
        Path(dc.__file__).with_name("py.typed"),
    ]


class TestFolder(OfPaths):
    target = dc.FolderTarget("a")
    values = [_HERE.parents[1] / "faults/values" / name for name in ("old", "new")]
    refused = ["a", Path("nowhere"), _HERE]


def _figure(scale):
    """A figure with texts, a legend, an image, markers and clipped parts."""
    figure = Figure(layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([1, 2, scale], "o-", label="$r^2$ é")
    left.legend()
    left.add_patch(Circle((0, scale), 3, hatch="/"))
    shown = right.imshow(np.arange(6.0).reshape(2, 3) * scale)
    shown.set_clip_path(Circle((1, 1), 1, transform=right.transData))
    drawn(figure, ".svg")  # the first drawing moves the axes
    return figure


class TestFigureAsSVG(OfPaths):
    target = dc.FigureTarget("a.svg")
    values = [_figure(1), _figure(2)]
    refused = ["<svg/>", np.zeros((4, 4), "u1"), Figure().subplots(), _HERE]


class TestFigureAsPDF(OfPaths):
    target = dc.FigureTarget("a.pdf")
    values = [_figure(1), _figure(2)]
    refused = [b"%PDF"]


class TestFigureAsPNG(OfPaths):
    target = dc.PNGTarget("a.png")
    values = [_figure(1), _figure(2)]


class TestCSV(TargetContract):
    target = dc.CSVTarget("a.csv")
    values = [
        pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}),
        pd.DataFrame({"a": [1.0, np.nan], "b": ["NA", "None"]}),
        pd.DataFrame({"é": [True, False]}),
        pd.DataFrame(),
    ]
    refused = [
        {"a": [1]},
        pd.Series([1], name="a"),
        pd.DataFrame({"a": [1]}, index=[5]),
        pd.DataFrame({"id": ["01", "02"]}),
        pd.DataFrame({"a": pd.Series(["\ud800"], dtype=object)}),
        pd.DataFrame({"a": [object()]}),
        pd.DataFrame({("a", "b"): [1]}),
    ]


class TestTSV(TargetContract):
    target = dc.CSVTarget("a.tsv")
    values = [
        pd.DataFrame({"a": [1, 2], "b": ["x\ty", 'y,"z"']}),
        pd.DataFrame({"a": [1, 2], "b": ["x y", "y,z"]}),
        pd.DataFrame(),
    ]
    refused = [[1], pd.DataFrame({"id": ["01", "02"]})]


class TestCompressedCSV(TargetContract):
    target = dc.CSVTarget("a.csv.gz", dtype={"well": "str"})
    values = [pd.DataFrame({"well": ["01", well], "area": np.arange(2)}) for well in ("02", "03")]
    refused = [[1], pd.DataFrame({"a": [1]})]


class TestCompressedTSV(TestTSV):
    target = dc.CSVTarget("a.tsv.gz")


class TestCSVWithDtypes(TargetContract):
    target = dc.CSVTarget(
        "a.csv",
        dtype={
            "id": "str",
            "kind": pd.CategoricalDtype(["b", "a"], ordered=True),
            "area": "float32",
            "when": "datetime64[us, Europe/Berlin]",
            "for": "timedelta64[s]",
            "n": "Int64",
        },
        index_col=["id", "kind"],
    )
    values = [
        pd.DataFrame(
            {
                "area": np.array([0.1, 2], "f4"),
                "when": pd.DatetimeIndex(["2024-01-01T00:00:00.5", days], tz="Europe/Berlin"),
                "for": np.array([1, 90000], "m8[s]"),
                "n": pd.array([1, None], "Int64"),
            },
            index=pd.MultiIndex.from_arrays(
                [["007", "008"], pd.Categorical(["a", "b"], ["b", "a"], ordered=True)],
                names=["id", "kind"],
            ),
        ).astype({"when": "datetime64[us, Europe/Berlin]"})
        for days in ("2024-07-01T01:02:03.4", "2024-07-02T00:00:00.0", None)
    ]
    refused = [pd.DataFrame({"a": [1]}), *[frame.reset_index() for frame in values]]


class TestParquet(TargetContract):
    target = dc.ParquetTarget("a.parquet")
    values = [
        pd.DataFrame({"a": [1, 2]}, index=["p", "q"]),
        pd.DataFrame({"a": np.array([1, 2], "u1")}, index=["p", "q"]),
        pd.DataFrame({"a": pd.Categorical(["x", None]), "b": pd.array([1, None], "Int64")}),
        pd.DataFrame({"n": [1, 2, 3]}, index=pd.date_range("2024-01-01", periods=3)),
        pd.DataFrame({"s": ["x", None]}, index=pd.MultiIndex.from_tuples([("x", 1), ("y", 2)])),
        pd.DataFrame({"a": np.array([], "i8"), "b": np.array([], "f4")}),
        pd.DataFrame({"a": np.array([], "i8"), "b": np.array([], "M8[s]")}),
        pd.DataFrame({"a": pd.Categorical([])}),
        pd.DataFrame({"a": pd.cut([1.0, 2, 3, np.nan], 2)}),
        pd.DataFrame({"a": pd.cut([1, 2, 3], [0, 2, 4], right=False)}),
        pd.DataFrame({"a": pd.cut([1, 2, 9], [0, 2, 5])}),
        pd.DataFrame({"a": pd.cut([8, 9], [0, 2, 5])}),
        pd.DataFrame({"a": pd.Categorical([3, 1, 3], [3, 2, 1], ordered=True)}),
        pd.DataFrame({"a": pd.Categorical([3, None], [3, 2])}),
        pd.DataFrame({"a": pd.Categorical([0.1, 2])}, index=pd.CategoricalIndex([7, 8])),
        pd.DataFrame({"a": pd.Categorical(np.array(["2024-02-29"], "M8[s]"))}),
        pd.DataFrame({"a": np.array(["2024-02-29", "NaT"], "M8[s]")}),
        pd.DataFrame({"a": pd.to_datetime(["2024-02-29"]).as_unit("s").tz_localize("Europe/Berlin")}),
        pd.DataFrame({"n": [1, 2]}, index=pd.date_range("2024-01-01", periods=2, unit="s")),
        pd.DataFrame({"a": [[1, 2], [3], []]}),
        pd.DataFrame({"a": [["x"], None]}),
        pd.DataFrame({"a": [[[1], [2, 3]], [[]]]}),
    ]
    refused = [
        [1],
        pd.Series([1]),
        pd.DataFrame({"mixed": [1, "a"]}),
        pd.DataFrame({"a": [[1, 2.5]]}),
        pd.DataFrame({"a": [(1, 2)]}),
        pd.DataFrame({"twice": [1]}).join(pd.DataFrame({"b": [2]})).set_axis(["a", "a"], axis=1),
        pd.DataFrame({"a": [1 + 2j]}),
        pd.DataFrame(),
        pd.DataFrame({"a": [object()]}),
    ]


class TestParquetInPieces(TargetContract):
    target = dc.ParquetTarget("a.parquet", row_group_size=2)
    values = [
        pd.DataFrame({"a": range(5), "b": list("xyzxy")}),
        pd.DataFrame({"a": range(5)}, index=pd.RangeIndex(3, 13, 2, name="n")),
        pd.DataFrame({"a": pd.Categorical(list("xyzxy"), categories=list("zyxw"))}, index=list("abcde")),
        pd.DataFrame({"a": pd.cut(range(5), 3), "b": pd.Categorical([1, 2, 1, 2, 3])}),
        pd.DataFrame({"a": np.arange(5).astype("M8[s]"), "b": [[1]] * 5}),
    ]


class TestJSON(TargetContract):
    target = dc.JSONTarget("a.json")
    holds_none = True
    values = [
        {"a": [1, 2.5, None, True, "é"]},
        {"a": (1, 2.5, None, True, "é")},
        [np.float32(0.1), np.int8(1), 1, np.True_, True, np.datetime64("2024-01-01")],
        {1: {2, 3}, "$set": frozenset([4])},
        {"$set": [1]},
        [float("nan"), float("inf"), 1 + 2j, decimal.Decimal("1.10")],
        [datetime.datetime(2024, 2, 29, tzinfo=datetime.UTC), datetime.date(2024, 2, 29)],
        [pd.Timestamp("2024-02-29", tz="Europe/Berlin"), pd.NA, pd.NaT, pd.Timedelta("1s")],
        "\ud800",
    ]
    refused = [
        np.zeros(3),
        pd.DataFrame({"a": [1]}),
        OrderedDict(a=1),
        b"bytes",
        fractions.Fraction(1, 3),
        [object()],
        10**5000,
        "\ud800\udc00",
        datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1), "here")),
    ]


class TestJSONLines(TargetContract):
    target = dc.JSONLinesTarget("a.jsonl")
    values = [
        [{"a": 1, "b": "é\r\n\u2028"}, {"a": 2, "b": None}],
        [{"b": "é\r\n\u2028", "a": 1}, {"b": None, "a": 2}],
        [[1, (2, {3})], float("nan"), None, "", datetime.date(2024, 2, 29)],
        ["\ud800"],
        [[]],
        [],
    ]
    refused = [
        (1, 2),
        {"a": 1},
        pd.DataFrame({"a": [1]}),
        [np.zeros(3)],
        ["\ud800\udc00"],
        [object()],
    ]


class TestText(TargetContract):
    target = dc.TextTarget("a.txt")
    values = ["", "é\r\n\n\0", "\ufeffé"]
    refused = [b"bytes", 1, "\ud800"]


class TestPickle(TargetContract):
    target = dc.PickleTarget("a.pkl")
    holds_none = True
    values = [{1: (2, {3})}, [1], (1,), np.float64(1)]
