"""The classes that the page on formats of other packages shows pass the contract."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import duckdb
import geopandas
import numpy as np
import openpyxl
import pandas as pd
import pylibCZIrw.czi
import pytest
from shapely.geometry import Point, Polygon

import daskcache as dc
from daskcache.errors import SourceUnreadable
from daskcache.targets import registry
from daskcache.testing import TargetContract

TOP = Path(__file__).parents[2]
#: The classes are in a file, as a user's are.
_FOLDER = tempfile.TemporaryDirectory()


def written(package):
    """Write the imports and classes of the block that imports a package to a module; its path."""
    page = (TOP / "docs/how-to/other-formats.md").read_text()
    blocks = re.findall(r"^```python[^\n]*\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (block,) = [block for block in blocks if f"import {package}\n" in block]
    module = Path(_FOLDER.name, f"shown_{package.split()[0]}.py")
    common = "import io\nimport pandas as pd\nimport daskcache as dc\n"
    module.write_text(common + block.partition("\n@dc.delayed")[0])
    return module


def shown(package):
    """The module with the classes for a package."""
    module = written(package)
    sys.path.append(_FOLDER.name)
    try:
        return importlib.import_module(module.stem)
    finally:
        sys.path.remove(_FOLDER.name)


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """Other processes import the classes, too."""
    monkeypatch.syspath_prepend(_FOLDER.name)
    monkeypatch.setenv("PYTHONPATH", f"{_FOLDER.name}:{TOP}")


EXCEL, GEO = shown("pandas as pd"), shown("geopandas")


class TestExcel(TargetContract):
    target = EXCEL.ExcelTarget("a.xlsx")
    values = [
        pd.DataFrame({"cell": [1, 2], "area": [2.5, 4.25], "kind": ["a", "é\n"], "ok": [True, False]}),
        pd.DataFrame({"cell": [1, 3], "area": [2.5, 4.25], "kind": ["a", "é\n"], "ok": [True, False]}),
        pd.DataFrame({"area": [0.1, np.nan], "n": [1, 2]}),
    ]
    refused = [
        [1],
        pd.DataFrame({"a": [1]}, index=["x"]),
        pd.DataFrame({"a": ["", "NA"]}),
        pd.DataFrame({"a": pd.Categorical(["x"])}),
        pd.DataFrame({"a": [1 + 2j]}),
    ]

    def content(self, path):
        """Without the times in it."""
        with zipfile.ZipFile(path) as file:
            return {name: file.read(name) for name in file.namelist() if name != "docProps/core.xml"}


def _wells(**changes):
    wells = {"well": ["A1", "A2"], "geometry": [Point(1, 2), Polygon([(0, 0), (1, 0), (1, 1)])]}
    return geopandas.GeoDataFrame(wells | changes, crs="EPSG:4326")


class TestGeoParquet(TargetContract):
    target = GEO.GeoParquetTarget("a.parquet")
    values = [_wells(), _wells(geometry=[Point(1, 2), None]), _wells().to_crs("EPSG:3857"), _wells()[:1]]
    refused = [[1], pd.DataFrame({"a": [1]}), _wells(mixed=[1, "a"])]


def test_their_programs_read_them(tmp_path):
    """openpyxl reads the cells of the workbook, DuckDB the table of the GeoParquet file."""
    EXCEL.ExcelTarget("a.xlsx").write(TestExcel.values[0], str(tmp_path / "a.xlsx"))
    sheet = openpyxl.load_workbook(tmp_path / "a.xlsx").active
    assert [cell.value for cell in sheet[3]] == [2, 4.25, "é\n", False]
    GEO.GeoParquetTarget("a.parquet").write(_wells(), str(tmp_path / "a.parquet"))
    rows = duckdb.sql(f"SELECT well FROM read_parquet('{tmp_path}/a.parquet')").fetchall()
    assert rows == [("A1",), ("A2",)]


def test_the_excel_source(tmp_path):
    """An existing workbook arrives as a data frame."""
    frame = pd.DataFrame({"a": [1, 2]})
    frame.to_excel(tmp_path / "in.xlsx", index=False)
    assert dc.delayed(len)(EXCEL.ExcelSource(tmp_path / "in.xlsx")).compute() == 2


def test_czi(tmp_path, root):
    """What Zeiss' own library writes arrives with its channels and planes, by its suffix."""
    stack = np.random.default_rng(0).integers(0, 2**16, (2, 3, 40, 56)).astype("u2")
    with pylibCZIrw.czi.create_czi(str(tmp_path / "a.czi")) as file:
        for channel, plane in np.ndindex(2, 3):
            file.write(stack[channel, plane][..., np.newaxis], plane={"C": channel, "Z": plane})
    shown("czifile")
    dc.register_suffix(".czi", source="shown_czifile:CZISource")
    try:
        (source,) = dc.FolderSource(tmp_path, "*.czi")
        np.testing.assert_array_equal(source.get_data(), stack)
        assert dc.delayed(lambda image: image.shape)(source).compute() == stack.shape
        (tmp_path / "a.czi").write_bytes((tmp_path / "a.czi").read_bytes()[:1000])
        with pytest.raises(SourceUnreadable, match=r"a\.czi"):
            dc.Source.from_path(tmp_path / "a.czi").get_data()
    finally:
        registry._SOURCES.pop(".czi")


@pytest.mark.needs("package index")
def test_anndata(tmp_path, full):
    """In full size, the contract for .h5ad, beside the release of pandas that anndata needs."""
    module = written("anndata")
    if not full:
        compile(module.read_text(), str(module), "exec")
        return
    packages = tmp_path / "site-packages"  # where packages don't count as the user's code
    pip = [sys.executable, "-m", "pip", "install", "-q", "--target", packages, "anndata", "pandas<3"]
    subprocess.run(pip, check=True, capture_output=True)
    contract = shutil.copy(Path(__file__).with_name("h5ad_contract.py"), tmp_path / "test_h5ad.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", contract]
    environment = {**os.environ, "PYTHONPATH": f"{packages}:{_FOLDER.name}:{TOP}"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
