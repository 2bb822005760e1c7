"""Figures as a table for a terminal, as a page of the docs, and as a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from .counts import Count
from .guarantees import Guarantees
from .measuring import Outcome

DOCS = Path(__file__).parents[2] / "docs"

HEAD = """# Benchmarks

Ratios of times, ours by the peer's: below 1, daskcache is faster. All of a row's contenders are measured
in turn, several times; a row gives the median and, in brackets, the least and the largest ratio. To make
these figures on your own machine, run `python -m tests.benchmarks` in a clone (`--quick`: a short look).
Input images are as old as most: two minutes or more. The hash of a younger file is not remembered, so
daskcache reads it once more.

![Ratios of processor times](../benchmarks.svg)
"""


def page(
    machine: dict[str, str],
    outcomes: Sequence[Outcome],
    counts: Sequence[Count],
    guarantees: Sequence[Guarantees],
) -> str:
    """Return the page of the docs."""
    parts = [HEAD, "## Times", table(TIMES, map(time_row, outcomes))]
    parts += ["## Counts", table(COUNTS, map(count_row, counts))]
    if guarantees:
        parts += [
            "## What each guarantees",
            "Each was tried: a helper that the cached function calls was edited; a letter of each stored"
            " result was changed; the program was killed at its writes, and run again.",
            table(GUARANTEES, map(guarantee_row, guarantees)),
        ]
    parts += ["## The machine", table(("", ""), machine.items())]
    return "\n\n".join(part.strip() for part in parts) + "\n"


TIMES = ("work", "daskcache", "beside", "wall", "processors", "bar", "")
COUNTS = ("count", "found", "CI's limit", "aim")
GUARANTEES = ("", "notices an edited helper", "notices a damaged result", "survives a kill as it writes")


def time_row(outcome: Outcome) -> tuple[str, ...]:
    """Return the cells of a comparison."""
    done = outcome.comparison
    ours, *peers = (
        f"{'' if i == 0 else name + ' '}{seconds(median(t.wall for t in times) / done.items)}"
        for i, (name, times) in enumerate(outcome.times.items())
    )
    bars = [("", done.bar), ("processors ", done.cpu_bar)]
    return (
        done.name + (f" ({done.note})" if done.note else ""),
        ours,
        ", ".join(peers),
        spread(outcome.wall_ratios),
        spread(outcome.cpu_ratios),
        ", ".join(f"{clock}≤ {bar:.3g}" for clock, bar in bars if bar is not None),
        {True: "met", False: "over", None: ""}[outcome.met],
    )


def count_row(count: Count) -> tuple[str, ...]:
    """Return the cells of a count."""
    aim = "" if count.aim is None else f"{count.aim:g}"
    return count.name, f"{count.found:.4g}", f"{count.most:g}", aim


def guarantee_row(found: Guarantees) -> tuple[str, ...]:
    """Return the cells of a peer."""
    return found.peer.replace("_", " "), found.helper, found.damage, found.atomic


def seconds(value: float) -> str:
    """Return a time as people read it."""
    for unit, factor in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def spread(ratios: Sequence[float]) -> str:
    """Return the median of ratios, with the least and the largest."""
    return f"{median(ratios):.3g} ({min(ratios):.3g}–{max(ratios):.3g})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["-"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def draw(outcomes: Sequence[Outcome], path: Path) -> None:
    """Draw the ratios of processor times, each with its spread and its bar."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "daskcache", "svg.fonttype": "none"})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 0.28 * len(outcomes) + 1), layout="constrained")
    for row, outcome in enumerate(reversed(outcomes)):
        least, largest = max(min(outcome.cpu_ratios), 1e-4), max(outcome.cpu_ratios)
        axes.plot([least, largest], [row, row], color="#7aa6c2", linewidth=5, solid_capstyle="butt")
        axes.plot(max(outcome.cpu, 1e-4), row, "o", color="#1f4e79", markersize=5)
        bar = outcome.comparison.cpu_bar or outcome.comparison.bar
        if bar is not None:
            axes.plot(bar, row, "|", color="#c0504d", markersize=11, markeredgewidth=2)
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yticks(
        range(len(outcomes)), [outcome.comparison.name for outcome in reversed(outcomes)], fontsize=8
    )
    axes.set_xlabel("processor time, ours by the peer's (red: the bar)", fontsize=9)
    axes.grid(axis="x", alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
