"""The dashboard page in Bokeh.  `dashboard` imports it where the scheduler has a dashboard.

Dask does not document additions to its dashboard.  ``tests/integration/test_dashboard.py`` shows if a
change of Dask breaks the page.  This module relies on

- ``scheduler.http_application``, which takes further applications while it serves;
- ``BokehApplication`` and ``template_variables`` (links in the heads, in lists that all pages share);
- the application's ``_applications``, which ``individual-plots.json`` lists for JupyterLab.
"""

from __future__ import annotations

import html
from functools import partial

from bokeh.core.properties import without_property_validation
from bokeh.layouts import column
from bokeh.models import ColumnDataSource
from bokeh.models.widgets import Div
from bokeh.plotting import figure
from bokeh.server.tornado import BokehTornado
from dask.utils import format_bytes, format_time
from distributed import Scheduler
from distributed.dashboard.components import DashboardComponent, add_periodic_callback
from distributed.dashboard.components.scheduler import BOKEH_THEME, env
from distributed.dashboard.core import BokehApplication
from distributed.dashboard.scheduler import template_variables
from distributed.dashboard.utils import update
from distributed.utils import log_errors
from tornado.ioloop import IOLoop

from ..calls.task_keys import TO_DO, making_prefixes, node_made_by
from .tally import Tally

PAGE, PANE = "/daskcache", "/individual-daskcache"

#: Milliseconds between two updates of the page.
_INTERVAL = 500

#: Largest number of functions that have a bar (those with the most nodes), and of running nodes listed.
_MAX_BARS, _MAX_RUNNING = 20, 100


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
    """A component with hits and misses by function, bytes written, time saved, and running nodes."""

    def __init__(self, scheduler: Scheduler, tally: Tally):
        self.scheduler = scheduler
        self.tally = tally
        self.source = ColumnDataSource({name: [] for name in ("function", *_BARS)})
        self.bars = _figure(self.source)
        # plain HTML: Bokeh's DataTable was seen to keep showing the rows that it began with
        self.headline, self.functions, self.running = (
            Div(text="", sizing_mode="stretch_width") for _ in range(3)
        )
        self.root = column(
            self.headline,
            self.bars,
            self.functions,
            self.running,
            sizing_mode="stretch_width",
        )

    @without_property_validation
    @log_errors
    def update(self):
        """Update the page to the present numbers."""
        sums = self.tally.functions
        names = sorted(sums, key=lambda name: -sums[name].hits - sums[name].misses)
        shown = names[:_MAX_BARS][::-1]
        if list(self.bars.y_range.factors) != shown:
            self.bars.y_range.factors = shown
        columns = {bar: [getattr(sums[name], bar) for name in shown] for bar in _BARS}
        update(self.source, {"function": shown, **columns})
        self.headline.text = self._headline()
        self.functions.text = _table(_FUNCTION_HEAD, [self._row(name, sums[name]) for name in names])
        self.running.text = _table(_RUNNING_HEAD, self._running_now())

    def _headline(self):
        total = self.tally.total
        asked = total.hits + total.misses
        share = f" ({total.hits / asked:.0%} hits)" if asked else ""
        parts = [
            f"<b>{total.hits}</b> hits, <b>{total.misses}</b> misses{share}",
            f"<b>{format_bytes(total.written)}</b> written in {format_time(total.seconds)} of run time",
            f"<b>{format_time(total.saved)}</b> saved",
        ]
        if total.failures:
            parts.append(f"<b>{total.failures}</b> failed")
        return f'<span style="font-size: 130%">{" · ".join(parts)}</span>'

    def _row(self, name, sums):
        return (
            name,
            sums.hits,
            sums.misses,
            sums.failures,
            self._left(name),
            format_time(sums.seconds),
            format_bytes(sums.written),
            format_time(sums.saved),
        )

    def _left(self, function):
        """Return the number of a function's nodes that the scheduler has yet to run."""
        prefixes = map(self.scheduler.task_prefixes.get, making_prefixes(function))
        return sum(prefix.states.get(state, 0) for prefix in filter(None, prefixes) for state in TO_DO)

    def _running_now(self):
        rows = []
        for worker in self.scheduler.workers.values():
            for task, seconds in worker.executing.items():  # as of its last heartbeat
                node = node_made_by(str(task.key))
                if node is not None and task in worker.processing:
                    rows.append((seconds, *node, worker.address))
        rows.sort(reverse=True)
        return [(*what, format_time(seconds)) for seconds, *what in rows[:_MAX_RUNNING]]


#: Fields of `daskcache.cluster.tally.Sums` that have a bar, and the bar's colour.
_BARS = {"hits": "#2a9d55", "misses": "#d95f02", "failures": "#b2182b"}

_FUNCTION_HEAD = (
    "function",
    "hits",
    "misses",
    "failed",
    "left to run",
    "run time",
    "written",
    "time saved",
)
_RUNNING_HEAD = ("running now", "key", "worker", "for")


def _figure(source):
    bars = figure(
        title="Nodes by function",
        y_range=[],
        height=260,
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
        legend_label=["hits", "misses", "failed"],
    )
    bars.x_range.start = 0
    bars.ygrid.visible = False
    bars.add_layout(bars.legend[0], "right")
    return bars


def _table(head, rows):
    cells = [[f"<td {_CELL}>{html.escape(str(cell))}</td>" for cell in row] for row in rows]
    titles = "".join(f"<th {_CELL}>{title}</th>" for title in head)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in cells)
    return f'<table style="border-collapse: collapse"><tr>{titles}</tr>{body}</table>'


_CELL = 'style="text-align: left; padding: 2px 24px 2px 0; border-bottom: 1px solid #ddd"'
