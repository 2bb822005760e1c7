"""What building the pages changes in them: links to code and notebooks work in the repository only."""

from __future__ import annotations

import re
from typing import Any


def on_page_markdown(markdown: str, **_: Any) -> str:
    return re.sub(r"\[([^\]]+)\]\(\.\./(?:daskcache|notebooks)/[^)]*\)", r"\1", markdown)
