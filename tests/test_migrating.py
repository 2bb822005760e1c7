"""The page for those who come from CPR or prefectx names a test for each feature."""

from __future__ import annotations

import re
from pathlib import Path

_TOP = Path(__file__).parents[1]


def test_each_feature_has_the_test_that_the_page_names():
    """Every named test is there, and every row of the tables names one."""
    page = (_TOP / "docs" / "how-to" / "migrating.md").read_text()
    rows = [row for row in page.partition("## Where")[2].splitlines() if row.startswith("| ")]
    features = [row for row in rows if not row.startswith("| feature")]
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", page)
    assert len(named) == len(features) > 15
    missing = [
        name for file, name in named if not re.search(rf"^def {name}\(", (_TOP / file).read_text(), re.M)
    ]
    assert missing == []
