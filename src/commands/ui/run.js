"use strict";
// In a block: the page has another script with names of its own.
{
const find = (selector) => document.querySelector(selector);
const nodes = new Map();
// As they are in the workflow.
const order = [];
const body = find("#nodes tbody");
let chosen = null, over = false, began = 0, now = 0, total = 0, ending = "", dirty = true;

const span = (s) => (s < 9.95 ? s.toFixed(1) + " s" : s < 120 ? s.toFixed(0) + " s" : Math.floor(s / 60) + " min " + Math.floor(s % 60) + " s");
const number = (value) => (value === null ? "?" : Math.abs(value) >= 100 || Number.isInteger(value) ? value.toFixed(0) : value.toFixed(Math.abs(value) >= 10 ? 1 : 3));

const node = (name) => {
  if (!nodes.has(name)) {
    const row = body.insertRow();
    const head = document.createElement("th");
    head.scope = "row";
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name;
    button.onclick = () => choose(name);
    head.append(button);
    row.append(head);
    for (let i = 0; i < 5; i++) row.insertCell();
    order.push({ name, place: order.length, row, kind: "", state: "waiting", reasons: [], steps: [], from: 0, took: 0, message: "", changed: true });
    nodes.set(name, order.at(-1));
  }
  const found = nodes.get(name);
  found.changed = dirty = true;
  return found;
};

// One line of the event log.
const hear = ({ unix_ms: at, what }) => {
  now = Math.max(now, at);
  const ends = (state) => {
    const of = node(what.node);
    of.state = state;
    if (of.from) of.took = (at - of.from) / 1000;
    of.message = what.message ?? "";
    // From among what is at work back to its place.
    let next = of.place + 1;
    while (order[next]?.state === "running") next++;
    body.insertBefore(of.row, order[next]?.row ?? null);
  };
  switch (what.event) {
    case "run_started": began = at; total = what.nodes; break;
    case "run_finished": ending = what.status; break;
    case "node_planned": Object.assign(node(what.node), { kind: what.kind, reasons: what.reasons }); break;
    case "node_cached": Object.assign(node(what.node), { state: "cached", message: "" }); break;
    // What is at work stands first.
    case "node_started": Object.assign(node(what.node), { state: "running", from: at, message: "" }); body.prepend(node(what.node).row); break;
    case "node_waits": Object.assign(node(what.node), { state: "waits", message: "for " + what.holder }); break;
    case "node_progress": node(what.node).steps.push(what); break;
    case "node_finished": Object.assign(node(what.node), { metrics: what.metrics }); ends("ran"); break;
    case "node_retried": ends("waiting"); break;
    case "node_stopped": ends("stopped"); break;
    case "node_failed": ends("failed"); break;
    case "node_skipped": node(what.node).state = "skipped"; break;
  }
};

// A line chart of a metric over steps.
const chart = (title, points) => {
  const [width, height, left, bottom] = [380, 190, 52, 160];
  const make = (name, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const ys = points.map((point) => point[1]);
  const [low, high] = [Math.min(...ys), Math.max(...ys)];
  const x = (value) => left + ((value - points[0][0]) / Math.max(1, points.at(-1)[0] - points[0][0])) * (width - left - 10);
  const y = (value) => bottom - ((value - low) / (high - low || 1)) * (bottom - 30);
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}, from ${number(ys[0])} to ${number(ys.at(-1))}` });
  svg.append(
    make("text", { class: "strong", x: 6, y: 15 }, `${title}: ${number(ys.at(-1))}`),
    make("line", { class: "axis", x1: left, x2: width - 10, y1: bottom, y2: bottom }),
    make("text", { class: "tick", x: left - 6, y: bottom, "text-anchor": "end" }, number(low)),
    make("text", { class: "tick", x: left - 6, y: 36, "text-anchor": "end" }, number(high)),
    make("text", { class: "tick", x: width - 10, y: bottom + 17, "text-anchor": "end" }, points.at(-1)[0]),
    make("polyline", { class: "line", style: "color:var(--c0)", points: points.map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`).join(" ") }),
  );
  return svg;
};

const showChosen = () => {
  const of = nodes.get(chosen);
  if (!of) return;
  find("#chosen").hidden = false;
  find("#chosen-name").textContent = of.name;
  const metrics = Object.entries(of.metrics ?? {}).map(([name, value]) => `${name} ${number(value)}`).join(", ");
  find("#chosen-state").textContent = [of.state, of.message, metrics].filter(Boolean).join(": ");
  const names = [...new Set(of.steps.flatMap((step) => step.metrics.map((metric) => metric.name)))];
  const points = (name) => of.steps.map((step) => [step.step, step.metrics.find((metric) => metric.name === name)?.value]).filter((point) => Number.isFinite(point[1]));
  find("#curves").replaceChildren(...names.map((name) => [name, points(name)]).filter(([name, all]) => name !== "epoch" && all.length > 1).map(([name, all]) => chart(name, all)));
};

const readLog = async () => {
  if (!chosen) return;
  const name = chosen;
  const answer = await fetch("log?" + new URLSearchParams({ node: name }));
  const text = await answer.text();
  const log = find("#log");
  const follows = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
  if (name === chosen) log.textContent = text;
  if (follows) log.scrollTop = log.scrollHeight;
};

const choose = async (name) => {
  chosen = name;
  find("#log").textContent = "";
  find("#why").textContent = nodes.get(name).reasons.join("\n");
  showChosen();
  find("#chosen").scrollIntoView({ block: "start" });
  readLog();
  const answer = await fetch("why?" + new URLSearchParams({ node: name }));
  if (answer.ok && name === chosen) find("#why").textContent += "\n" + (await answer.text());
};

const draw = () => {
  if (!dirty) return;
  dirty = false;
  const count = (state) => [...nodes.values()].filter((of) => of.state === state).length;
  const done = count("ran") + count("cached");
  for (const of of nodes.values()) {
    if (!of.changed && of.state !== "running") continue;
    of.changed = false;
    const step = of.steps.at(-1);
    const [, kind, state, progress, took, latest] = of.row.cells;
    kind.textContent = of.kind;
    state.textContent = of.state;
    state.className = "state " + of.state;
    progress.textContent = step ? `${step.unit} ${step.step} of ${step.total}` : "";
    took.textContent = of.state === "running" ? span((now - of.from) / 1000) : of.took ? span(of.took) : "";
    latest.textContent = of.message || (step?.metrics ?? []).map((metric) => `${metric.name} ${number(metric.value)}`).join("  ");
  }
  const states = ["running", "failed", "stopped", "killed", "skipped"].filter(count).map((state) => `${count(state)} ${state}`);
  find("#state").textContent = [ending || (over ? "killed" : "running"), `${done} of ${total} nodes done`, ...states, span((now - began) / 1000)].join(", ");
  find("#state").dataset.ended = ending;
  find("#bar").style.width = (100 * done) / Math.max(1, total) + "%";
  find("#stop").hidden = over || ending !== "";
  showChosen();
};

find("#stop").onclick = async () => {
  find("#stop").disabled = true;
  find("#stop").textContent = await (await fetch("stop", { method: "POST" })).text();
};
const events = new EventSource("events");
events.onmessage = (event) => { JSON.parse(event.data).forEach(hear); draw(); };
events.addEventListener("over", () => {
  over = dirty = true;
  // Of a run that was killed nobody wrote how its nodes ended.
  order.filter((of) => of.state === "running").forEach((of) => Object.assign(of, { state: "killed", took: (now - of.from) / 1000, changed: true }));
  events.close();
  draw();
  readLog();
});
setInterval(() => { if (!over && chosen) readLog(); }, 2000);
}
