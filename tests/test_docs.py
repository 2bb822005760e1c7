"""The README and the pages: what they say runs, they build, and the map is that of the code."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
PAGES = [TOP / "README.md", TOP / "CONTRIBUTING.md", *sorted((TOP / "docs").rglob("*.md"))]
NOTEBOOKS = sorted((TOP / "notebooks").glob("*.ipynb"))
#: The page that needs a server, which `tests/prefect` has.
OF_PREFECT = TOP / "docs/how-to/prefect.md"


def blocks(page):
    """The blocks of Python on a page, as one program."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE))


#: A marker above a shell block says that it isn't run here, and why.
_SHELL = re.compile(
    r"(?:^<!-- (?P<marker>[^\n]+) -->\n)?^```sh\n(?P<code>.*?)^```", re.DOTALL | re.MULTILINE
)
_SHELL_BLOCKS = {
    f"{page.relative_to(TOP)}:{page.read_text()[: found.start('code')].count(chr(10))}": found
    for page in PAGES
    for found in _SHELL.finditer(page.read_text())
}
#: The markers of blocks that other tests run, or CI.
_RUN_ELSEWHERE = ("demo command", "test command")

_PROJECT = """
import json
import daskcache as dc

@dc.delayed(target="sums/{label}.json")
def sums(label, numbers):
    return sum(numbers)

@dc.delayed(target="total.json", on_modified="recompute")
def total(sums):
    return sum(sums)

if __name__ == "__main__":
    parts = [sums(label, numbers) for label, numbers in {"a": [1, 2], "b": [3, 4]}.items()]
    assert total(parts).compute() == 10
"""


def run(*command, cwd, **settings):
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(TOP), **settings}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def name_of(page):
    return page.relative_to(TOP).as_posix()


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page) and page != OF_PREFECT], ids=name_of
)
def test_what_a_page_shows_runs(page, tmp_path):
    """Its blocks run in order, as one program."""
    (tmp_path / "shown.py").write_text(blocks(page))
    done = run(sys.executable, "shown.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def shell(command, folder):
    """Run a command in a project, whose results are in ``results``; what it prints."""
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    settings = {"DASK_DASKCACHE__ROOT": "results", "HOME": str(folder), "PATH": path}
    done = run("bash", "-euo", "pipefail", "-c", command, cwd=folder, **settings)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project with results; an edited file of one is in the trash."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "pipeline.py").write_text(_PROJECT)
    shell("python pipeline.py", folder)
    (folder / "results" / "total.json").write_text("11")
    shell("python pipeline.py", folder)
    return folder


@pytest.mark.parametrize("place", [name for name, found in _SHELL_BLOCKS.items() if not found["marker"]])
def test_what_a_page_has_typed_runs(place, project, tmp_path):
    """What it adopts was edited, and what it only imports was exported."""
    folder = shutil.copytree(project, tmp_path / "project")
    code = _SHELL_BLOCKS[place]["code"]
    if "import results.tar" in code and "export" not in code:
        shell("dask cache export results.tar 'sum*'", folder)
    if "adopt" in code:
        (folder / "results" / "total.json").write_text("12")
    shell(code.replace("TARGET", "results/total.json").replace("FOLDER", "results"), folder)


def test_few_shell_blocks_are_not_run():
    """Each has a marker with its reason, or is run by another test."""
    markers = [found["marker"] for found in _SHELL_BLOCKS.values() if found["marker"]]
    assert len(markers) <= 10
    assert [m for m in markers if m not in _RUN_ELSEWHERE and not m.startswith("not run: ")] == []


def test_the_pages_build_without_a_warning(tmp_path):
    """Each page is in the contents, each link leads to something, each docstring can be read."""
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", tmp_path]
    done = run(*command, cwd=TOP)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "reference" / "api" / "index.html").exists()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files(page):
    """In the repository, where links into the code work as well."""
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name_of)
def test_notebooks_are_as_they_were_run(notebook):
    """Small, without errors, and without a path, user or address of the machine that ran them."""
    cells = json.loads(notebook.read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert any("execution_count" in cell and cell["execution_count"] for cell in cells)
    assert [output["ename"] for output in outputs if output["output_type"] == "error"] == []
    shown = json.dumps([drop_pictures(output) for output in outputs])
    assert re.findall(r"(?:/home/|/Users/|/root/|/tmp/|/var/|/work/)[\w./-]*", shown) == []
    assert set(re.findall(r"adopted by (\w+)", shown)) <= {"scientist"}
    assert set(re.findall(r"Z on ([\w.-]+)", shown)) <= {"workstation"}
    assert re.findall(r"\w+://(?!127\.0\.0\.1)\d[\d.]*", shown) == []
    assert notebook.stat().st_size < 1.5e6
    assert f"notebooks/{notebook.name}" in (TOP / "docs/notebooks.md").read_text()


def drop_pictures(output):
    """An output without what is no text."""
    data = {name: text for name, text in output.get("data", {}).items() if name.startswith("text/")}
    return re.sub(r"base64,[^\"']+", "", json.dumps({**output, "data": data}))


def test_every_public_name_has_its_place():
    """The page of the API has each of them."""
    import daskcache

    shown = re.findall(
        r"^::: daskcache\.[\w.]+\.(\w+)$", (TOP / "docs/reference/api.md").read_text(), re.MULTILINE
    )
    methods_of_functions = ["map", "gather"]
    assert sorted(shown) == sorted([*daskcache._HOMES, *methods_of_functions])


def test_the_cast_of_the_demo():
    """The animation shows the demo's end, and no folder of the machine that made it."""
    text = re.sub(r"<[^>]+>", "\n", (TOP / "docs/demo.svg").read_text())
    shown = html.unescape(text).replace("\xa0", " ")
    assert "19 of 19 nodes ran" in shown
    assert "~/screen/daskcache-demo/results" in shown
    assert not re.search(r"/(tmp|home|root|var|work)/", shown)


def test_a_cast_is_drawn(tmp_path):
    """What a terminal prints becomes an animation."""
    code = (
        "import sys; sys.path.insert(0, 'docs'); import make_cast; from pathlib import Path;"
        "make_cast.COMMANDS, make_cast.PAUSE = ('echo one', 'echo two; pwd'), 0.1;"
        "folder = Path(sys.argv[1]);"
        "make_cast.draw(make_cast.record(folder), folder / 'cast.svg')"
    )
    done = run(sys.executable, "-c", code, str(tmp_path), cwd=TOP)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "cast.svg").read_text()
    assert ">~/screen<" in text.replace("\xa0", " ")
    assert "@keyframes" in text or "animate" in text


def test_the_map_is_current():
    done = run(sys.executable, "docs/make_map.py", "--check", cwd=TOP)
    assert done.returncode == 0, done.stderr
