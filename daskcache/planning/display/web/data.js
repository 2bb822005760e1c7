// The data of a page, as `page.py` writes them: columns have one value for each node, mostly numbers of
// texts.  `page.js` draws them.
"use strict";

async function readPlan(packed) {
  const plan = await unpacked(packed);
  const nodes = plan.nodes;
  const count = nodes.title.length;
  const text = (column, i) => plan.texts[nodes[column][i]];
  const parents = nodes.parents.map((steps, i) => steps.map((step) => i - step));
  const children = Array.from({ length: count }, () => []);
  parents.forEach((found, i) => found.forEach((p) => children[p].push(i)));
  const members = plan.boxes.map(() => []);
  nodes.box.forEach((box, i) => members[box].push(i));
  const depths = [];
  parents.forEach((found) => depths.push(1 + Math.max(-1, ...capped(found).map((p) => depths[p]))));
  return {
    plan, nodes, count, text, parents, children, members, depths,
    statesOf, actionsOf, told, all, byAttention,
  };

  async function unpacked(packed) {
    const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).json();
  }

  // Spreading an array into arguments fails for hundreds of thousands of values.
  function capped(found) {
    return found.length < 10000 ? found : [found.reduce((a, b) => (depths[a] > depths[b] ? a : b))];
  }

  function statesOf(found) {
    return counted(plan.states, nodes.state, found);
  }

  function actionsOf(found) {
    return counted(plan.actions, nodes.action, found);
  }

  function counted(names, column, found) {
    const counts = names.map(() => 0);
    found.forEach((i) => counts[column[i]]++);
    return names.map(([name, color], at) => ({ name, color, count: counts[at] })).filter((each) => each.count);
  }

  function told(counts) {
    return counts.map(({ name, count: n }) => `${n.toLocaleString("en")} ${name}`).join(", ");
  }

  function all(next, start) {
    const found = new Set();
    const left = [...start];
    while (left.length) {
      for (const i of next[left.pop()]) {
        if (!found.has(i)) {
          found.add(i);
          left.push(i);
        }
      }
    }
    return found;
  }

  function byAttention(found) {
    return [...found].sort((a, b) => nodes.state[a] - nodes.state[b] || a - b);
  }
}
