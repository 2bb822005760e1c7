"""The cells of a function's line, and the line below them, for `terminal` and `notebook`."""

from __future__ import annotations

import time

from .rows import Row, duration, seconds_left

#: Heads of the columns.
HEADS = ("function", "ran", "skipped", "failed", "left", "time", "now")

#: Seconds from which on the time of the clock is worth showing.
_LONG = 120


def cells_of(row: Row) -> dict[str, str]:
    """Return the cells of a function's line, by the heads of their columns."""
    counts = row.counts
    done = _counted(counts.ran, "ran")
    done += (", " if done else "") + _counted(counts.copied, "copied") if counts.copied else ""
    failed = _counted(counts.failed, "failed")
    failed += (", " if failed else "") + _counted(counts.blocked, "blocked") if counts.blocked else ""
    cells = done, _counted(counts.skipped, "skipped"), failed, _counted(counts.left, "left")
    return dict(zip(HEADS, (row.function, *cells, time_left(row), ", ".join(row.running)), strict=True))


def _counted(count, what):
    return f"{count:,} {what}" if count else ""


def time_left(row: Row) -> str:
    """Return the estimated time until a function's last node is done, or "?", or "" after that."""
    if not row.counts.left:
        return ""
    return "?" if row.seconds_left is None else duration(row.seconds_left)


def ending(rows: list[Row], elapsed: float) -> str:
    """Return the time that a verb has taken, and the estimated time until its end."""
    left, is_open = seconds_left(rows)
    if not any(row.counts.left for row in rows):
        return duration(elapsed)
    if left is None:
        return f"{duration(elapsed)}, end unknown"
    about = f"{duration(left)} or more" if is_open else f"about {duration(left)}"
    at = f", until {time.strftime('%H:%M', time.localtime(time.time() + left))}"
    return f"{duration(elapsed)}, {about} left{at if left >= _LONG and not is_open else ''}"
