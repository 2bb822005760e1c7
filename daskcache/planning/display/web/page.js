// The page of a plan: draws the graph with Cytoscape.js, and answers the mouse and the keyboard.
// `data.js` reads the nodes.
"use strict";

(async () => {
  const OPENED = 100; // nodes that the first opening takes out of a box
  const DRAWN = 2000; // nodes that are drawn one by one at most
  const LISTED = 100; // nodes that a list shows
  const DAGRE = 400; // above this number of elements, dagre takes seconds

  const CURVES = { useDagreEdgeControlPoints: true, automaticDagreEdgeStyle: false };

  const find = (id) => document.getElementById(id);
  const { plan, nodes, count, text, parents, children, members, depths, ...data } = await readPlan(
    find("plan").textContent,
  );
  const { statesOf, actionsOf, told, all, byAttention } = data;
  const dark = matchMedia("(prefers-color-scheme: dark)");

  const opened = new Set(); // nodes that were taken out of their boxes
  let selected = null; // id of an element
  const cy = cytoscape({
    container: find("graph"),
    minZoom: 0.001,
    maxZoom: 4,
    hideEdgesOnViewport: count > 500,
    pixelRatio: count > 500 ? 1 : "auto",
    boxSelectionEnabled: false,
    autoungrabify: true,
    style: styles(),
  });

  // ---- elements -------------------------------------------------------------------------------------

  function idOf(i) {
    return opened.has(i) || members[nodes.box[i]].length === 1 ? `n${i}` : `b${nodes.box[i]}`;
  }

  function hidden(box) {
    return members[box].filter((i) => idOf(i) === `b${box}`);
  }

  function membersOf(id) {
    const number = Number(id.slice(1));
    return id[0] === "n" ? [number] : hidden(number);
  }

  // ---- graph --------------------------------------------------------------------------------------

  function color(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  }

  function styles() {
    return [
      {
        selector: "node",
        style: {
          shape: "round-rectangle", width: 176, height: 50, label: "data(label)", "font-size": 12,
          "font-family": "Helvetica, Arial, sans-serif", "text-wrap": "wrap", "text-valign": "center",
          "text-margin-y": -3, "min-zoomed-font-size": 6, color: color("strong"),
          "background-color": color("box"), "border-width": 2, "border-color": "data(color)",
          "background-image": "data(bar)", "background-width": "88%", "background-height": "4px",
          "background-position-y": "92%", "background-fit": "none", "background-clip": "none",
        },
      },
      {
        selector: "edge",
        style: {
          width: 1.2, "line-color": color("line"), "curve-style": "straight",
          "source-endpoint": "90deg", "target-endpoint": "270deg", "target-arrow-shape": "triangle", "target-arrow-color": color("line"), "arrow-scale": 0.7,
        },
      },
      {
        selector: "edge.few", // goes around boxes, as dagre says
        style: {
          "curve-style": "unbundled-bezier", "edge-distances": "intersection",
          "control-point-weights": (edge) => edge.scratch("controlPointWeights") ?? 0.5,
          "control-point-distances": (edge) => edge.scratch("controlPointDistances") ?? 0,
        },
      },
      { selector: "node.far", style: { opacity: 0.3 } },
      { selector: "edge.far", style: { opacity: 0.06 } },
      { selector: "node.chosen", style: { "border-width": 5 } },
      {
        selector: "edge.near",
        style: { width: 2.5, "line-color": color("accent"), "target-arrow-color": color("accent") },
      },
    ];
  }

  function bar(found) {
    let x = 0;
    const spare = 150 - 4 * found.length;
    const total = found.reduce((sum, s) => sum + s.count, 0);
    const parts = found.map((s) => {
      const width = 4 + (spare * s.count) / total;
      x += width;
      return `<rect x="${x - width}" width="${width}" height="4" fill="${s.color}"/>`;
    });
    const head = '<svg xmlns="http://www.w3.org/2000/svg" width="150" height="4">';
    return `data:image/svg+xml;utf8,${encodeURIComponent(`${head}${parts.join("")}</svg>`)}`;
  }

  function cut(value, length) {
    const half = Math.floor(length / 2);
    return value.length <= length ? value : `${value.slice(0, half)}…${value.slice(1 - half)}`;
  }

  function titleOf(id) {
    const found = membersOf(id);
    if (id[0] === "n") return text("title", found[0]);
    const box = Number(id.slice(1));
    const left = found.length < members[box].length ? `${found.length.toLocaleString("en")} more of ` : "";
    return left + plan.boxes[box];
  }

  function element(id) {
    const found = membersOf(id);
    const states = statesOf(found);
    const below = id[0] === "n" ? text("path", found[0]) || "not cached" : told(states);
    const label = `${cut(titleOf(id), 26)}\n${cut(below, 28)}`;
    return { data: { id, label, color: actionsOf(found)[0].color, bar: bar(states) } };
  }

  function draw(keep) {
    const ids = [...new Set(nodes.title.map((_, i) => idOf(i)))];
    const links = new Set();
    parents.forEach((found, i) => {
      for (const p of found) if (idOf(p) !== idOf(i)) links.add(`${idOf(p)} ${idOf(i)}`);
    });
    const few = ids.length + links.size <= DAGRE;
    cy.batch(() => {
      cy.elements().remove();
      cy.add(ids.map(element));
      cy.add([...links].map((link) => {
        const [source, target] = link.split(" ");
        return { data: { source, target }, classes: few ? "few" : "" };
      }));
    });
    const options = few
      ? { name: "dagre", rankDir: "LR", nodeSep: 14, rankSep: 60, fit: false, ...CURVES }
      : { name: "preset", positions: columns(ids), fit: false };
    cy.layout({ ...options, animate: false }).run();
    if (!keep) cy.fit(undefined, 30);
    find("all").disabled = count > DRAWN || ids.every((id) => id[0] === "n");
    find("none").disabled = opened.size === 0;
    mark();
  }

  // Columns by depth, sorted by the mean place of their inputs.  Long ones are broken, to be nearly square.
  function columns(ids) {
    const byDepth = [];
    for (const id of ids) {
      const depth = membersOf(id).reduce((least, i) => Math.min(least, depths[i]), Infinity);
      (byDepth[depth] ||= []).push(id);
    }
    const rows = Math.max(20, Math.ceil(Math.sqrt(2 * ids.length)));
    const places = {};
    let x = 0;
    for (const column of byDepth.filter(Boolean)) {
      const wish = (id) => {
        const before = membersOf(id).flatMap((i) => parents[i]).map((p) => places[idOf(p)]).filter(Boolean);
        return before.length ? before.reduce((sum, p) => sum + p.order, 0) / before.length : 0;
      };
      const wishes = new Map(column.map((id) => [id, wish(id)]));
      column.sort((a, b) => wishes.get(a) - wishes.get(b));
      const height = Math.min(rows, column.length);
      column.forEach((id, at) => {
        const y = ((at % rows) - (height - 1) / 2) * 64;
        places[id] = { x: x + Math.floor(at / rows) * 190, y, order: at / column.length };
      });
      x += Math.ceil(column.length / rows) * 190 + 100;
    }
    return (node) => places[node.id()];
  }

  function mark() {
    cy.batch(() => {
      cy.elements().removeClass("far near chosen");
      if (selected === null || cy.getElementById(selected).empty()) return;
      const own = membersOf(selected);
      const near = new Set([selected]);
      for (const next of [parents, children]) for (const i of all(next, own)) near.add(idOf(i));
      cy.nodes().forEach((node) => { if (!near.has(node.id())) node.addClass("far"); });
      cy.edges().forEach((edge) => {
        const inside = near.has(edge.source().id()) && near.has(edge.target().id());
        edge.addClass(inside ? "near" : "far");
      });
      cy.getElementById(selected).addClass("chosen");
    });
  }

  // ---- choices ------------------------------------------------------------------------------------

  function choose(id, centre) {
    selected = id;
    if (id === null) overview();
    else if (id[0] === "n") showNode(Number(id.slice(1)));
    else showBox(id);
    mark();
    if (id !== null && centre) cy.center(cy.getElementById(id));
  }

  function reveal(i) {
    if (idOf(i)[0] === "b") {
      opened.add(i);
      draw(true);
    }
    choose(`n${i}`, true);
    if (cy.zoom() < 0.5) cy.zoom({ level: 1, position: cy.getElementById(`n${i}`).position() });
  }

  // How many nodes the next opening of a box shows: as many as the ones before.
  function nextOf(box) {
    const left = hidden(box).length;
    return Math.min(Math.max(OPENED, members[box].length - left), DRAWN - opened.size, left);
  }

  function open(box) {
    byAttention(hidden(box)).slice(0, nextOf(box)).forEach((i) => opened.add(i));
    draw();
    choose(null);
  }

  function close(box) {
    members[box].forEach((i) => opened.delete(i));
    draw();
    choose(members[box].length > 1 ? `b${box}` : null);
  }

  // ---- panel --------------------------------------------------------------------------------------

  function make(tag, content = "", properties = {}) {
    const made = Object.assign(document.createElement(tag), properties);
    made.textContent = content;
    return made;
  }

  function button(label, act, properties = {}) {
    const made = make("button", label, { type: "button", ...properties });
    made.addEventListener("click", act);
    return made;
  }

  function swatch(shade) {
    const made = make("span", "", { className: "swatch" });
    made.style.background = shade;
    return made;
  }

  function facts(pairs) {
    const made = make("dl");
    for (const [name, value] of pairs) if (value && value !== "·") made.append(make("dt", name), make("dd", value));
    return made;
  }

  /** A list with its heading, which is of the third level below the name of a node or box. */
  function list(title, found, heading = "h3") {
    if (!found.length) return [];
    const items = make("ul");
    for (const i of found.slice(0, LISTED)) {
      const shown = text("path", i) || text("title", i);
      const entry = button(shown, () => reveal(i), { className: "node" });
      entry.prepend(swatch(plan.states[nodes.state[i]][1]));
      entry.title = plan.states[nodes.state[i]][0];
      const item = make("li");
      item.append(entry);
      items.append(item);
    }
    const left = found.length - LISTED;
    const more = left > 0 ? [make("p", `… and ${left.toLocaleString("en")} more`, { className: "soft" })] : [];
    return [make(heading, `${title} (${found.length.toLocaleString("en")})`, { className: "list" }), items, ...more];
  }

  function showNode(i) {
    const box = nodes.box[i];
    const parts = [make("h2", text("title", i))];
    if (plan.thumbnails[i]?.startsWith("data:image/png;")) {
      parts.push(make("img", "", { className: "thumbnail", src: plan.thumbnails[i], alt: "The result" }));
    }
    parts.push(facts([
      ["to do", plan.actions[nodes.action[i]][0]],
      ["state", plan.states[nodes.state[i]][0]],
      ["why", text("reasons", i)],
      ["function", text("function", i)],
      ["path", text("path", i) || "not cached"],
      ["arguments", text("arguments", i)],
      ["run time", text("time", i)],
      ["size", text("size", i)],
    ]));
    if (opened.has(i)) parts.push(button("Close its box", () => close(box)));
    parts.push(...list("Inputs", parents[i]), ...list("Used by", children[i]));
    find("panel").replaceChildren(...parts);
  }

  function showBox(id) {
    const box = Number(id.slice(1));
    const found = hidden(box);
    const parts = [make("h2", titleOf(id)), facts([["to do", told(actionsOf(found))], ["states", told(statesOf(found))]])];
    const many = nextOf(box);
    const label = many < found.length ? `Open the first ${many}` : "Open";
    if (many > 0) parts.push(button(label, () => open(box)));
    else parts.push(make("p", `${DRAWN.toLocaleString("en")} nodes are drawn: close other boxes to open this one.`));
    if (found.length < members[box].length) parts.push(button("Close", () => close(box)));
    find("panel").replaceChildren(...parts, ...list("Nodes", byAttention(found)));
  }

  function overview() {
    const urgent = byAttention(nodes.title.map((_, i) => i).filter((i) => !["complete", "adopted"].includes(plan.states[nodes.state[i]][0])));
    const help = "Click a box to see what is in it, a second time to open it. Click a node for its reasons and arguments.";
    find("panel").replaceChildren(make("p", help, { className: "soft" }), ...list("Not complete", urgent, "h2"));
  }

  function search(wanted) {
    const word = wanted.trim().toLowerCase();
    if (!word) return choose(selected);
    const fits = plan.texts.map((each) => each.toLowerCase().includes(word));
    const named = plan.states.map(([name]) => name === word);
    const found = nodes.title.map((_, i) => i).filter(
      (i) => fits[nodes.title[i]] || fits[nodes.path[i]] || fits[nodes.function[i]] || named[nodes.state[i]],
    );
    const parts = found.length ? list("Found", byAttention(found), "h2") : [make("p", "Nothing has this in its name.")];
    find("panel").replaceChildren(...parts);
    return found;
  }

  function legend() {
    const every = nodes.title.map((_, i) => i);
    const rows = [["to do:", actionsOf(every)], ["state:", statesOf(every)]];
    for (const [name, counts] of rows) {
      find("legend").append(make("span", name));
      for (const each of counts) {
        const item = make("span", told([each]));
        item.prepend(swatch(each.color));
        find("legend").append(item);
      }
    }
  }

  // ---- mouse and keyboard -------------------------------------------------------------------------

  function hint(node, event) {
    const found = membersOf(node.id());
    const lines = [titleOf(node.id()), `${told(actionsOf(found))}; ${told(statesOf(found))}`];
    if (node.id()[0] === "n") lines.push(text("reasons", found[0]));
    const box = find("hint");
    box.textContent = lines.filter(Boolean).join("\n");
    box.hidden = false;
    const { clientX: x, clientY: y } = event.originalEvent;
    box.style.left = `${Math.max(0, Math.min(x + 14, innerWidth - box.offsetWidth - 8))}px`;
    box.style.top = `${Math.max(0, Math.min(y + 14, innerHeight - box.offsetHeight - 8))}px`;
  }

  // The next element in a direction: left and right along lines, up and down in the column.
  function step(key) {
    if (selected === null || cy.getElementById(selected).empty()) return cy.nodes().first();
    const here = cy.getElementById(selected);
    const at = here.position();
    const sides = {
      ArrowLeft: () => here.incomers("node"),
      ArrowRight: () => here.outgoers("node"),
      ArrowUp: () => cy.nodes().filter((n) => n.position().y < at.y && Math.abs(n.position().x - at.x) < 90),
      ArrowDown: () => cy.nodes().filter((n) => n.position().y > at.y && Math.abs(n.position().x - at.x) < 90),
    };
    return sides[key]().sort((a, b) => Math.abs(a.position().y - at.y) - Math.abs(b.position().y - at.y)).first();
  }

  function pressed(event) {
    const keys = {
      "+": () => cy.zoom({ level: cy.zoom() * 1.25, renderedPosition: middle() }),
      "-": () => cy.zoom({ level: cy.zoom() / 1.25, renderedPosition: middle() }),
      "0": () => cy.fit(undefined, 30),
      Enter: () => { if (selected?.[0] === "b") open(Number(selected.slice(1))); },
      Escape: () => choose(null),
    };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key.startsWith("Arrow")) {
      const next = step(event.key);
      if (next.nonempty()) choose(next.id(), true);
    } else if (keys[event.key]) keys[event.key]();
    else return;
    event.preventDefault();
  }

  function middle() {
    return { x: cy.width() / 2, y: cy.height() / 2 };
  }

  cy.on("mouseover", "node", (event) => hint(event.target, event));
  cy.on("mouseout", "node", () => { find("hint").hidden = true; });
  cy.on("viewport", () => { find("hint").hidden = true; });
  cy.on("tap", (event) => {
    find("graph").focus({ preventScroll: true });
    if (event.target === cy) choose(null);
    else if (event.target.isNode()) {
      const id = event.target.id();
      if (id === selected && id[0] === "b") open(Number(id.slice(1)));
      else choose(id);
    }
  });
  find("graph").addEventListener("keydown", pressed);
  find("search").addEventListener("input", (event) => search(event.target.value));
  find("search").addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      const found = search(event.target.value);
      if (found?.length) reveal(byAttention(found)[0]);
    } else if (event.key === "Escape") find("graph").focus();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && event.target.tagName !== "INPUT") {
      find("search").focus();
      event.preventDefault();
    }
  });
  find("fit").addEventListener("click", () => cy.fit(undefined, 30));
  find("all").addEventListener("click", () => { nodes.title.forEach((_, i) => opened.add(i)); draw(); choose(null); });
  find("none").addEventListener("click", () => { opened.clear(); draw(); choose(null); });
  dark.addEventListener("change", () => cy.style(styles()));

  legend();
  draw();
  overview();
  document.body.dataset.ready = "true";
})();
