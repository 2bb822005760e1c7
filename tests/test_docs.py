"""The README and the pages: what they say runs, they build, and the map is that of the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent
PAGES = [TOP / "README.md", TOP / "CONTRIBUTING.md", *sorted((TOP / "docs").rglob("*.md"))]
#: The page that needs a server, which `tests/prefect` has.
OF_PREFECT = TOP / "docs/how-to/prefect.md"


def blocks(page):
    """The blocks of Python on a page, as one program."""
    return "\n".join(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE))


def run(*command, cwd):
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(TOP)}
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


def test_every_public_name_has_its_place():
    """The page of the API has each of them."""
    import daskcache

    shown = re.findall(
        r"^::: daskcache\.[\w.]+\.(\w+)$", (TOP / "docs/reference/api.md").read_text(), re.MULTILINE
    )
    assert sorted(shown) == sorted(daskcache._HOMES)


def test_the_map_is_current():
    done = run(sys.executable, "docs/make_map.py", "--check", cwd=TOP)
    assert done.returncode == 0, done.stderr
