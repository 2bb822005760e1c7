"""The dashboard page in Bokeh.  `dashboard` imports it where the scheduler has a dashboard.

Dask does not document additions to its dashboard.  ``tests/integration/test_dashboard.py`` shows if a
change of Dask breaks the page.  This module relies on

- ``scheduler.http_application``, which takes further applications while it serves;
- ``BokehApplication`` and ``template_variables`` (links in the heads, in lists that all pages share);
- the application's ``_applications``, which ``individual-plots.json`` lists for JupyterLab.
"""

from __future__ import annotations

import time
from functools import partial

from bokeh.core.properties import without_property_validation
from bokeh.layouts import column
from bokeh.models import BasicTicker, ColumnDataSource
from bokeh.models.widgets import Div
from bokeh.plotting import figure
from bokeh.server.tornado import BokehTornado
from dask.utils import format_bytes
from distributed import Scheduler
from distributed.dashboard.components import DashboardComponent, add_periodic_callback
from distributed.dashboard.components.scheduler import BOKEH_THEME, env
from distributed.dashboard.core import BokehApplication
from distributed.dashboard.scheduler import template_variables
from distributed.dashboard.utils import update
from distributed.utils import log_errors
from tornado.ioloop import IOLoop

from ..monitor.lines import ending, time_left
from ..monitor.rows import duration, in_one_line, time_saved
from ..pages import GROUNDS, PAPER, Badge, render
from .node_tasks import RunningNode, running_nodes
from .tally import Tally

PAGE, PANE = "/daskcache", "/individual-daskcache"

#: Milliseconds between two updates of the page.
_INTERVAL = 500

#: Largest number of functions that have a bar, those with the most nodes.
_MAX_BARS = 20

#: Largest numbers of failures and of running nodes that are listed.
_MAX_LISTED = 50


def add_page(scheduler: Scheduler, tally: Tally) -> bool:
    """Add the page to a running dashboard, unless it is there.

    Parameters
    ----------
    scheduler : distributed.Scheduler
    tally : Tally
        The sums that the page shows.

    Returns
    -------
    bool
        False if the scheduler has no dashboard.
    """
    first = _bokeh_application(scheduler)
    if first is None:
        return False
    if PANE in first.app_paths:
        return True
    heads = template_variables(scheduler)
    documents = {PAGE: partial(_page, tally), PANE: partial(_pane, tally)}
    own = BokehApplication(documents, scheduler, prefix=first.prefix, template_variables=heads)
    scheduler.http_application.add_application(own)
    own.initialize(IOLoop.current())
    own.start()
    first._applications[PANE] = own._applications[PANE]  # for JupyterLab; see the module's docstring
    heads["pages"].append(PAGE.strip("/"))
    return True


def remove_page(scheduler: Scheduler) -> None:
    """Remove the page, if it is there."""
    first = _bokeh_application(scheduler)
    if first is None or first._applications.pop(PANE, None) is None:
        return
    template_variables(scheduler)["pages"].remove(PAGE.strip("/"))
    applications = scheduler.http_application.applications
    for own in [app for app in applications if PAGE in getattr(app, "app_paths", ())]:
        applications.remove(own)
        own.stop()


def _bokeh_application(scheduler):
    applications = getattr(getattr(scheduler, "http_application", None), "applications", ())
    return next((app for app in applications if isinstance(app, BokehTornado)), None)


@log_errors
def _page(tally, scheduler, extra, doc):
    _pane(tally, scheduler, extra, doc)
    doc.template = env.get_template("simple.html")
    doc.template_variables.update(extra)


@log_errors
def _pane(tally, scheduler, extra, doc):
    component = CachePage(scheduler, tally)
    component.update()
    add_periodic_callback(doc, component, _INTERVAL)
    doc.add_root(component.root)
    doc.theme = BOKEH_THEME
    doc.title = "Dask: daskcache"


class CachePage(DashboardComponent):
    """A component with numbers of nodes, the estimated end, failures, and what runs now."""

    def __init__(self, scheduler: Scheduler, tally: Tally):
        self.scheduler = scheduler
        self.tally = tally
        self.source = ColumnDataSource({name: [] for name in ("function", *_BARS)})
        self.bars = _figure(self.source)
        # plain HTML: Bokeh's DataTable was seen to keep showing the rows that it began with
        self.head, self.failures, self.running, self.functions = (
            Div(text="", sizing_mode="stretch_width", styles={"font-size": "14px"}) for _ in range(4)
        )
        self.root = column(
            self.head,
            self.bars,
            self.failures,
            self.running,
            self.functions,
            sizing_mode="stretch_width",
        )

    @without_property_validation
    @log_errors
    def update(self):
        """Update the page to the present numbers."""
        running = running_nodes(self.scheduler)
        rows = self.tally.rows(running)
        self.head.text = self._head(rows)
        self._draw_bars(rows)
        self.failures.text = self._failures()
        self.running.text = _running(running)
        self.functions.text = _table(_FUNCTION_HEAD, map(_function_cells, rows))

    def _head(self, rows):
        total = self.tally.total
        numbers = in_one_line(total, {"skipped": time_saved(total.saved)})
        end = ending(rows, self.tally.elapsed()) if total.left else "nothing is left to run"
        if total.ran:
            end += f" · {format_bytes(total.written)} written in {duration(total.seconds)} of run time"
        return render("dashboard", numbers=numbers, end=end)

    def _draw_bars(self, rows):
        parts = {row.function: _parts_of(row.counts) for row in rows}
        most = set(sorted(parts, key=lambda name: -sum(parts[name].values()))[:_MAX_BARS])
        names = [name for name in parts if name in most][::-1]  # the axis begins below
        if list(self.bars.y_range.factors) != names:
            self.bars.y_range.factors = names
            self.bars.height = _HEIGHT + _HEIGHT_OF_BAR * len(names)
        update(
            self.source,
            {"function": names, **{bar: [parts[name][bar] for name in names] for bar in _BARS}},
        )

    def _failures(self):
        failed = list(self.tally.failures.values())[-_MAX_LISTED:][::-1]
        more = self.tally.total.failed - len(failed)
        return _table(_FAILURE_HEAD, map(_failure_cells, failed), more, "dc.failures()")


#: Colours of the parts of bars.  What asks for attention is red, and all else is calm.
_BARS = {"ran": GROUNDS["load"], "skipped": "#a9b4ba", "left": PAPER, "failed": GROUNDS["failed"]}

#: Pixels of the figure without bars, and of each bar.
_HEIGHT, _HEIGHT_OF_BAR = 70, 26


def _figure(source):
    bars = figure(
        y_range=[],
        height=_HEIGHT,
        outline_line_color=None,  # it was seen to keep the size that it began with
        tools="",
        toolbar_location=None,
        sizing_mode="stretch_width",
    )
    bars.hbar_stack(
        list(_BARS),
        y="function",
        height=0.7,
        source=source,
        color=list(_BARS.values()),
        line_color="#525d63",
        legend_label=list(_BARS),
    )
    bars.x_range.start = 0
    bars.ygrid.visible = False
    bars.xaxis.minor_tick_line_color = None
    bars.xaxis.ticker = BasicTicker(min_interval=1)
    legend = bars.legend[0]
    legend.orientation, legend.border_line_color = "horizontal", None
    bars.add_layout(legend, "above")
    return bars


def _parts_of(counts):
    done = {"ran": counts.ran, "skipped": counts.skipped + counts.copied}
    return {**done, "left": counts.left, "failed": counts.failed}


_FUNCTION_HEAD = (
    "function",
    "ran",
    "copied",
    "skipped",
    "failed",
    "left",
    "time left",
    "run time",
    "written",
    "time saved",
)
_FAILURE_HEAD = "outcome", "node", "error", "worker", "at"
_RUNNING_HEAD = "running now", "worker", "for"


def _function_cells(row):
    counts = row.counts
    numbers = counts.ran, counts.copied, counts.skipped, counts.failed, counts.left
    return (
        row.function,
        *[f"{number:,}" if number else "" for number in numbers],
        time_left(row),
        duration(counts.seconds) if counts.ran else "",
        format_bytes(counts.written) if counts.written else "",
        duration(counts.saved) if counts.saved else "",
    )


def _failure_cells(event):
    error = event.error.partition("\n")[0]
    at = time.strftime("%H:%M:%S", time.localtime(event.time))
    return Badge("failed"), event.label or event.function, error, event.worker, at


def _running(nodes: list[RunningNode]):
    rows = []
    for node in nodes[:_MAX_LISTED]:
        rows.append((node.title, node.worker, "" if node.seconds is None else duration(node.seconds)))
    return _table(_RUNNING_HEAD, rows, len(nodes) - len(rows), "client.processing()")


def _table(head, rows, more=0, where=""):
    cells = [head, *rows]
    return render("tables", title="", headline="", tables=[(cells, more, where)] if cells[1:] else [])
