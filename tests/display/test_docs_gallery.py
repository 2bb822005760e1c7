"""The pictures of docs/gallery.md: the script draws them, and the page shows all of them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageStat

TOP = Path(__file__).parents[2]
PAGE = (TOP / "docs/gallery.md").read_text()


@pytest.mark.needs("chromium")
def test_the_script_draws_what_the_page_shows(tmp_path):
    """Each picture has content and about the size of that in the repository."""
    command = [sys.executable, "docs/make_gallery.py", "--to", str(tmp_path)]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    drawn = {path.stem: path for path in tmp_path.glob("*.png")}
    assert sorted(drawn) == sorted(re.findall(r"\(gallery/(\w+)\.png\)", PAGE))
    for name, path in drawn.items():
        found, kept = Image.open(path), Image.open(TOP / f"docs/gallery/{name}.png")
        assert found.size == pytest.approx(kept.size, rel=0.25)
        assert min(ImageStat.Stat(found.convert("L")).stddev) > 10
