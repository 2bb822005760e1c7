"""What runs in this thread: the body of a decorated function, a node, a flow."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..graph.node import Node
    from ..runtime.work import Work

#: True while the body of a decorated function runs: decorated functions that it calls just run.
inside_body: ContextVar[bool] = ContextVar("inside_body", default=False)

#: The work whose body runs; None outside of any.
running: ContextVar[Work | None] = ContextVar("running", default=None)

#: The list that collects the nodes which a flow makes; None outside of any flow.
made: ContextVar[list[Node] | None] = ContextVar("made", default=None)
