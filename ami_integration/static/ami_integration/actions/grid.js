// A table for the items of a list: sorted by its column heads, filtered by a word, and of any length, since only the
// rows that can be seen are in the page. For that all rows have one height, and the widths of the columns are known
// before: what doesn't fit a cell is cut with dots, and a row's number opens the whole item below.

import { button, element } from "./dom.js";

const OVERSCAN = 12; // rows drawn above and below what can be seen
const WIDEST = 44; // characters of a column
const SAMPLE = 500; // rows that a column's width is taken from

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

/**
 * @param {object} options
 * @param {string[]} options.columns the names of the columns
 * @param {string[][]} options.rows the cells, in the columns' order
 * @param {string} options.label what the table is, for those who don't see it
 * @param {function(number): Element} options.detail makes what a row's number opens, of the row's index in `rows`
 * @returns {Element}
 */
export function grid({ columns, rows, label, detail }) {
  const whole = new Intl.NumberFormat("en");
  let order = rows.map((_, index) => index);
  let sorting = { column: -1, down: false };
  let words = null; // each row as one text in small letters, made when somebody filters
  let height = 0;
  let drawn = "";

  const search = element("input", { type: "search", placeholder: "Filter", "aria-label": "Show rows with this text" });
  const where = element("select", { "aria-label": "In which column" }, element("option", { value: "-1" }, "in all columns"));
  columns.forEach((name, index) => where.append(element("option", { value: String(index) }, `in ${name}`)));
  const count = element("span", { role: "status", class: "aw-quiet" });
  const opened = element("div", { class: "grid-detail", "aria-live": "polite" });

  const heads = columns.map((name, column) => {
    const head = element("th", { scope: "col", "aria-sort": "none" });
    head.append(element("button", { type: "button", class: "grid-sort" }, name));
    head.firstChild.addEventListener("click", () => sortBy(column));
    return head;
  });
  const above = element("tr", { "aria-hidden": "true", class: "grid-space" }, element("td", { colspan: columns.length + 1 }));
  const below = above.cloneNode(true);
  const body = element("tbody");
  const columnGroup = element("colgroup", {}, element("col", { class: "grid-number" }));
  let total = 7;
  columns.forEach((name, column) => {
    let width = name.length + 3; // and the arrow
    for (const row of rows.slice(0, SAMPLE)) width = Math.max(width, row[column].length);
    width = Math.min(width, WIDEST) + 2;
    total += width;
    const col = element("col");
    col.style.width = `${width}ch`;
    columnGroup.append(col);
  });
  const table = element(
    "table",
    { class: "aw-table grid-table", "aria-rowcount": String(rows.length + 1) },
    element("caption", { class: "visually-hidden" }, label),
    columnGroup,
    element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "#"), ...heads)),
    body,
  );
  table.style.width = `max(100%, ${total}ch)`;
  const scroll = element("div", { class: "grid-scroll", tabindex: "0", role: "region", "aria-label": label }, table);

  function rowOf(index, place) {
    const number = element("button", { type: "button", class: "grid-open", "aria-label": `Item ${index + 1}, whole` }, String(index + 1));
    number.addEventListener("click", () => open(index));
    const cells = rows[index].map((text) => element("td", text.length > WIDEST ? { title: text } : {}, text));
    return element("tr", { "aria-rowindex": String(place + 2) }, element("td", {}, number), ...cells);
  }

  function draw() {
    if (!order.length) return; // the body says so
    if (!height) {
      body.replaceChildren(rowOf(order[0], 0));
      height = body.firstChild.getBoundingClientRect().height; // 0 while the table isn't in the page
      drawn = "";
    }
    const step = height || 30;
    const seen = Math.ceil((scroll.clientHeight || 600) / step);
    const first = Math.max(0, Math.min(Math.floor(scroll.scrollTop / step), order.length - seen) - OVERSCAN);
    const last = Math.min(order.length, first + seen + 2 * OVERSCAN);
    const state = `${first} ${last} ${step}`;
    if (state === drawn) return;
    drawn = state;
    above.firstChild.style.height = `${first * step}px`;
    below.firstChild.style.height = `${(order.length - last) * step}px`;
    above.hidden = first === 0;
    below.hidden = last === order.length;
    body.replaceChildren(above, ...order.slice(first, last).map((index, place) => rowOf(index, first + place)), below);
  }

  function arrange() {
    const wanted = search.value.trim().toLowerCase();
    const column = Number(where.value);
    if (wanted && column < 0) words ??= rows.map((row) => row.join("\n").toLowerCase());
    const matches = (index) => (column < 0 ? words[index] : rows[index][column].toLowerCase()).includes(wanted);
    order = rows.map((_, index) => index);
    if (wanted) order = order.filter(matches);
    if (sorting.column >= 0) {
      const sign = sorting.down ? -1 : 1;
      order.sort((a, b) => sign * collator.compare(rows[a][sorting.column], rows[b][sorting.column]) || a - b);
    }
    heads.forEach((head, index) => {
      const mine = index === sorting.column;
      head.setAttribute("aria-sort", mine ? (sorting.down ? "descending" : "ascending") : "none");
    });
    const all = whole.format(rows.length);
    count.textContent = wanted ? `${whole.format(order.length)} of ${all} items` : `${all} ${rows.length === 1 ? "item" : "items"}`;
    table.setAttribute("aria-rowcount", String(order.length + 1));
    scroll.scrollTop = 0;
    drawn = "";
    draw();
    if (!order.length) body.replaceChildren(element("tr", {}, element("td", { colspan: columns.length + 1 }, "No item holds this text.")));
  }

  function sortBy(column) {
    // Up, down, and back to the order in which they came.
    if (sorting.column !== column) sorting = { column, down: false };
    else if (!sorting.down) sorting = { column, down: true };
    else sorting = { column: -1, down: false };
    arrange();
  }

  function open(index) {
    const close = button("Close", () => opened.replaceChildren());
    opened.replaceChildren(element("div", { class: "aw-toolbar" }, element("strong", {}, `Item ${index + 1}`), close), detail(index));
    opened.scrollIntoView({ block: "nearest" });
  }

  let asked = 0;
  search.addEventListener("input", () => {
    clearTimeout(asked);
    asked = setTimeout(arrange, 120); // not for each letter of a word
  });
  where.addEventListener("change", arrange);
  let waiting = false;
  scroll.addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      draw();
    });
  });
  new ResizeObserver(draw).observe(scroll);
  arrange();
  return element("div", {}, element("div", { class: "aw-toolbar" }, search, where, count), scroll, opened);
}
