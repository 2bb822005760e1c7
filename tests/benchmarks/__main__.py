"""Measure daskcache beside its peers: ``python -m tests.benchmarks``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict

from . import graphs, images, nodes, programs, report, screen
from .counts import Count, all_counts
from .guarantees import PEERS, Guarantees, try_peer
from .machine import description
from .measuring import Comparison, Outcome, is_slower, measure
from .scenes import FULL, QUICK, STANDARD, Size

BENCHMARKS = {
    each.__name__: each
    for each in (
        nodes.imports,
        nodes.cold,
        nodes.warm,
        nodes.watched,
        images.pipeline,
        images.hashing,
        images.formats,
        screen.screen,
        programs.on_a_cluster,
        programs.handoff,
        programs.skipped_in_prefect,
        graphs.build,
        graphs.call,
        graphs.plan_complete,
        graphs.plan_changed,
        graphs.to_scheduler,
        nodes.commands,
        graphs.scale,
    )
}

#: What CI judges.
QUICKLY = ("imports", "cold", "warm", "pipeline", "on_a_cluster", "build", "call", "plan_complete")


def main() -> int:
    """Measure what the command line asks for; return 1 if `--quick` finds that something got worse."""
    options = parser().parse_args()
    size = QUICK if options.quick else FULL if options.full else STANDARD
    names = options.only or (QUICKLY if options.quick else BENCHMARKS)
    runs = options.runs or size.runs
    machine = description()
    computed = f"{size.calls:,} computed, {size.images} images, {runs} runs"
    machine["sizes"] = f"{size.nodes:,} nodes built and planned, {computed}"
    for name, value in machine.items():
        print(f"{name}: {value}")
    outcomes, worse = [], []
    for comparison in comparisons(names, size):
        outcome = measure(comparison, runs)
        outcomes.append(outcome)
        print(" · ".join(filter(None, report.time_row(outcome))), flush=True)
        if options.quick and is_slower(outcome, size.runs):
            worse.append(comparison.name)
    counts = [] if options.only else all_counts()
    for count in counts:
        print(" · ".join(filter(None, report.count_row(count))) + ("" if count.ok else " · over"))
    worse += [count.name for count in counts if not count.ok]
    tried = [] if options.only or options.quick else guarantees(options.full)
    if options.json:
        write_json(options.json, machine, outcomes, counts, tried)
    if options.docs:
        (report.DOCS / "explanation" / "benchmarks.md").write_text(
            report.page(machine, outcomes, counts, tried)
        )
        report.draw(outcomes, report.DOCS / "benchmarks.svg")
    if options.quick and worse:
        print(f"worse than it was: {', '.join(worse)}")
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    found = argparse.ArgumentParser("python -m tests.benchmarks", description=__doc__)
    sizes = found.add_mutually_exclusive_group()
    sizes.add_argument(
        "--quick", action="store_true", help="small sizes; fail where it got worse, as CI does"
    )
    sizes.add_argument("--full", action="store_true", help="a million nodes, too, and peers of old Dask")
    found.add_argument(
        "--only", action="append", choices=BENCHMARKS, help="one benchmark; may be repeated"
    )
    found.add_argument("--runs", type=int, help="how often each contender runs")
    found.add_argument("--json", metavar="FILE", help="write all figures to a file")
    found.add_argument("--docs", action="store_true", help="write the page and the picture of the docs")
    return found


def comparisons(names, size: Size) -> Iterator[Comparison]:
    """Yield the comparisons of benchmarks; what one needs lasts until the next is asked for."""
    for name in names:
        yield from BENCHMARKS[name](size)


def guarantees(full: bool) -> list[Guarantees]:
    """Try what peers guarantee: those that are installed, or all."""
    found = []
    for peer, wanted in PEERS.items():
        if full or wanted is None:
            found.append(try_peer(peer))
            print(" · ".join(report.guarantee_row(found[-1])), flush=True)
    return found


def write_json(
    path: str,
    machine: dict[str, str],
    outcomes: list[Outcome],
    counts: list[Count],
    tried: list[Guarantees],
) -> None:
    """Write all figures, the times of each run included."""
    figures = {
        "machine": machine,
        "comparisons": [
            {
                "name": outcome.comparison.name,
                "times": {
                    name: [asdict(each) for each in times] for name, times in outcome.times.items()
                },
                "wall_ratios": outcome.wall_ratios,
                "cpu_ratios": outcome.cpu_ratios,
            }
            for outcome in outcomes
        ],
        "counts": [asdict(count) for count in counts],
        "guarantees": [asdict(each) for each in tried],
    }
    with open(path, "w") as file:
        json.dump(figures, file, indent=1)


if __name__ == "__main__":
    sys.exit(main())
