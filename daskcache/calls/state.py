"""Context variables for the body, the node, the flow and the variant that run in this thread.

`runtime.body` and `prefect.bodies` set them around bodies, `modes` around flows.  `graph.function` and
`modes` read them to decide how a call behaves, and `cluster.logs` to find the node that logs.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import deque
    from logging import LogRecord

    from ..graph.node import Node
    from ..runtime.work import Work

#: True while the body of a decorated function runs.  Decorated functions called there run at once.
inside_body: ContextVar[bool] = ContextVar("inside_body", default=False)

#: The work whose body runs; None outside bodies.
running: ContextVar[Work | None] = ContextVar("running", default=None)

#: Log records of the body that runs, and lines that it printed if it is isolated; None outside bodies.
body_log: ContextVar[deque[LogRecord | str] | None] = ContextVar("body_log", default=None)

#: The list that collects the nodes made in a flow; None outside flows.
made: ContextVar[list[Node] | None] = ContextVar("made", default=None)

#: What `variant_block` holds outside of blocks.
OUTSIDE = object()

#: The variant of the block that runs: a name, None for the base, or a `variants.Combination`.
variant_block: ContextVar[object] = ContextVar("variant_block", default=OUTSIDE)
