"""Plans of many shapes and sizes, made without functions and files: what pictures are tested with."""

from __future__ import annotations

from random import Random
from types import SimpleNamespace

from daskcache import ImageTarget
from daskcache.graph.plan import Plan
from daskcache.planning.states import PlannedNode

STATES = (("complete", "skip"), ("stale", "run"), ("failed", "run"), ("missing", "decide"))


def plan_of(nodes) -> Plan:
    return Plan([], SimpleNamespace(planned_nodes=nodes))


def node(name, position, parents=(), random=None, label="") -> PlannedNode:
    recipe = SimpleNamespace(
        identity=f"{name} {position}",
        key=f"{position:032x}",
        name=name,
        label=label,
        title=f"{name}({position})",
        paths=(f"{name}/sample_{position:05d}.tif",),
        targets=(ImageTarget(f"{name}/sample_{position:05d}.tif"),),
        root="/root",
        spec=SimpleNamespace(signature=SimpleNamespace(names=("sigma",)), counted=(0,)),
        values=(position % 7,),
        upstream=(),
    )
    state, action = random.choice(STATES) if random else STATES[1]
    return PlannedNode(recipe, list(parents), state, action, reasons=[f"sigma: 1 -> {position % 3}"])


def screen(total) -> Plan:
    """A plate screen: four steps for each image, then two plates and a report."""
    random = Random(1)
    steps = "load", "denoise", "segment", "measure"
    nodes, ends = [], []
    while len(nodes) + len(steps) + 3 <= total:
        before: tuple = ()
        for step in steps:
            if step == "measure":
                before = before[0], nodes[-2]
            nodes.append(node(step, len(nodes), before, random))
            before = (nodes[-1],)
        ends.append(nodes[-1])
    half = len(ends) // 2
    plates = [node("plate", i, found) for i, found in enumerate((ends[:half], ends[half:]))]
    nodes += [*plates, node("report", 0, plates)]
    nodes += [node("extra", i, random=random) for i in range(total - len(nodes))]
    return plan_of(nodes)


def chain(total) -> Plan:
    """Each node needs the one before it, and every tenth one needs that of ten steps before, too."""
    random, nodes = Random(2), []
    for i in range(total):
        before = nodes[-1:] + (nodes[-10:-9] if i % 10 == 0 else [])
        nodes.append(node(f"step{i % 3}", i, before, random))
    return plan_of(nodes)


def tangle(total) -> Plan:
    """Anything may need anything: of many functions, with long names."""
    random, nodes = Random(total), []
    for i in range(total):
        before = random.sample(nodes, min(len(nodes), random.randrange(4)))
        name = f"a_function_with_quite_a_long_name_{random.randrange(1 + total // 3)}"
        nodes.append(node(name, i, before, random, label="画像処理" * random.randrange(9)))
    return plan_of(nodes)


def towers(total) -> Plan:
    """Columns that are full, of which the first is needed by all others: many lines pass columns."""
    width = max(1, total // 11)
    random, nodes = Random(3), []
    for i in range(total):
        before = [nodes[i - width], nodes[i % width]] if i >= width else []
        nodes.append(node(f"f{i // width}_{i % width}", i, dict.fromkeys(before), random))
    return plan_of(nodes)


SHAPES = (screen, chain, tangle, towers)
