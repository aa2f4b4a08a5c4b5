"use strict";
// Nothing here is needed to read the page: it sorts, shows what is under the pointer, and sets the theme.
const all = (selector, from = document) => [...from.querySelectorAll(selector)];

// Theme: as the system has it, light, dark.
const button = document.querySelector("button.theme");
const themes = ["auto", "light", "dark"];
const remembered = () => { try { return localStorage.getItem("flow-theme"); } catch { return null; } };
const setTheme = (theme) => {
  document.documentElement.style.colorScheme = theme === "auto" ? "light dark" : theme;
  button.textContent = "Theme: " + theme;
  button.dataset.theme = theme;
  try { localStorage.setItem("flow-theme", theme); } catch { /* a page from a file may not remember */ }
};
setTheme(themes.includes(remembered()) ? remembered() : "auto");
button.hidden = false;
button.onclick = () => setTheme(themes[(themes.indexOf(button.dataset.theme) + 1) % 3]);

// What is under the pointer.
const tip = document.querySelector(".tip");
for (const title of all("svg title")) {
  title.parentNode.dataset.tip = title.textContent;
  title.remove();
}
addEventListener("pointermove", (event) => {
  const of = event.target.closest?.("[data-tip]");
  tip.hidden = !of;
  if (!of) return;
  tip.textContent = of.dataset.tip;
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 4)) + "px";
  tip.style.top = (event.clientY + 18 + height > innerHeight ? event.clientY - height - 10 : event.clientY + 18) + "px";
}, true);

// What a legend's line is of, while the pointer is on it.
for (const key of all(".legend [data-series]")) {
  const others = () => all("[data-series]", key.closest("section")).filter((element) => element.dataset.series !== key.dataset.series);
  key.onpointerenter = () => others().forEach((element) => element.classList.add("dim"));
  key.onpointerleave = () => others().forEach((element) => element.classList.remove("dim"));
}

// The image of a dot of a map.
for (const map of all(".map")) {
  const thumbs = all(".thumbs img", map);
  map.addEventListener("pointermove", (event) => {
    const dot = event.target.closest?.("[data-example]");
    if (dot && thumbs[dot.dataset.example]) tip.append(thumbs[dot.dataset.example].cloneNode());
  });
}

// Tables are sorted by a click on a column's title.
const number = (text) => { const found = /^[^0-9+-]*([+-]?[0-9][0-9.]*)/.exec(text); return found ? Number(found[1]) : NaN; };
for (const table of all("table")) {
  const body = table.tBodies[0];
  if (!table.tHead || body.rows.length < 3) continue;
  all("th", table.tHead).forEach((head, column) => {
    if (!head.textContent.trim()) return;
    const sort = document.createElement("button");
    sort.type = "button";
    sort.append(...head.childNodes);
    head.append(sort);
    sort.onclick = () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      all("th", table.tHead).forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const text = (row) => row.cells[column].textContent;
      const order = (a, b) => {
        const [x, y] = [number(text(a)), number(text(b))];
        return Number.isNaN(x) || Number.isNaN(y) ? text(a).localeCompare(text(b)) : x - y;
      };
      body.append(...[...body.rows].sort((a, b) => (down ? order(b, a) : order(a, b))));
    };
  });
}

// Confusion matrices in an order of classes.
const shares = (matrix) => {
  const table = [];
  for (const cell of all("[data-t]", matrix)) {
    const { t, p } = cell.dataset;
    (table[t] ??= [])[p] = Number(cell.querySelector("rect").getAttribute("fill-opacity"));
  }
  return table;
};
const orders = {
  set: (table) => table.map((_, i) => i),
  right: (table) => table.map((_, i) => i).sort((a, b) => table[b][b] - table[a][a]),
  // Each class is followed by the one that it is mostly confused with, of those that are left.
  like: (table) => {
    const left = table.map((_, i) => i);
    const order = left.splice(0, 1);
    while (left.length) {
      const last = order.at(-1);
      const near = (i) => table[last][i] + table[i][last];
      const next = left.reduce((best, i) => (near(i) > near(best) ? i : best));
      order.push(...left.splice(left.indexOf(next), 1));
    }
    return order;
  },
};
const arrange = (matrix, order) => {
  const { cell, left, top } = Object.fromEntries(Object.entries(matrix.dataset).map(([name, value]) => [name, Number(value)]));
  const place = [];
  order.forEach((of, at) => { place[of] = at * cell; });
  const move = (element, x, y) => element.setAttribute("transform", `translate(${x} ${y})`);
  for (const element of all("[data-t]", matrix)) move(element, left + place[element.dataset.p], top + place[element.dataset.t]);
  for (const element of all("[data-row]", matrix)) move(element, left - 6, top + place[element.dataset.row]);
  for (const element of all("[data-column]", matrix)) move(element, left + place[element.dataset.column], top - 6);
};
for (const bar of all(".sort")) {
  bar.hidden = false;
  for (const choice of all("button", bar)) {
    choice.onclick = () => {
      all("button", bar).forEach((other) => other.setAttribute("aria-pressed", other === choice));
      for (const matrix of all(".matrix", bar.parentNode)) arrange(matrix, orders[choice.dataset.order](shares(matrix)));
    };
  }
}

// On paper nothing is folded.
let folded = [];
addEventListener("beforeprint", () => { folded = all("details:not([open]):not(.numbers)"); folded.forEach((part) => { part.open = true; }); });
addEventListener("afterprint", () => folded.forEach((part) => { part.open = false; }));
