"use strict";
// In a block: the page has another script with names of its own.
{
const find = (selector) => document.querySelector(selector);
const body = find("#runs tbody");
let sort = "started", down = false;

const span = (s) => (s === null ? "" : s < 9.95 ? s.toFixed(1) + " s" : s < 120 ? s.toFixed(0) + " s" : Math.floor(s / 60) + " min " + Math.floor(s % 60) + " s");
const cell = (row, text, look = "") => { Object.assign(row.insertCell(), { textContent: text, className: look }); };
// `2026-11-28 03:12`, of this place.
const moment = (ms) => {
  const at = new Date(ms);
  const two = (value) => String(value).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}`;
};

// The answer of the newest question counts.
let asked = 0;
const show = async () => {
  const question = ++asked;
  const query = new URLSearchParams({ where: find("#where").value, sort, down: down ? "1" : "0" });
  let answer;
  try { answer = await (await fetch("runs.json?" + query)).json(); } catch { find("#count").textContent = "flow ui has ended"; return; }
  if (question !== asked) return;
  find("#wrong").hidden = !answer.error;
  find("#wrong").textContent = answer.error ?? "";
  if (answer.error) return;
  find("#count").textContent = `${answer.total} ${answer.total === 1 ? "run" : "runs"}, ${answer.running} under way` + (answer.total > answer.rows.length ? `; ${answer.rows.length} are shown` : "");
  body.replaceChildren(...answer.rows.map((run) => {
    const row = document.createElement("tr");
    const name = document.createElement("th");
    name.scope = "row";
    const link = document.createElement("a");
    link.href = `run/${encodeURIComponent(run.id)}/`;
    link.textContent = run.workflow || run.id;
    link.title = run.id;
    name.append(link);
    row.append(name);
    cell(row, run.status, "state " + run.status);
    cell(row, run.headline ?? "", "words");
    cell(row, moment(run.started_unix_ms));
    cell(row, span(run.took_s));
    cell(row, run.took_s === null ? "" : run.ran);
    cell(row, run.took_s === null ? "" : run.cached);
    cell(row, run.overrides.join("  "), run.overrides.length ? "words" : "");
    return row;
  }));
};

document.querySelectorAll("[data-sort]").forEach((button) => {
  button.onclick = () => {
    down = sort === button.dataset.sort && !down;
    sort = button.dataset.sort;
    document.querySelectorAll("#runs th").forEach((head) => head.removeAttribute("aria-sort"));
    button.parentNode.setAttribute("aria-sort", down ? "descending" : "ascending");
    show();
  };
});
find("#where").oninput = show;
find("#filter").onsubmit = (event) => event.preventDefault();
const changes = new EventSource("changes");
changes.onmessage = show;
show();
}
