// What came back for a run, in every form: a table, text, and files. Fetched once, when the run has ended.

import { button, bytes, card, copyButton, element, preformatted } from "./dom.js";
import { grid } from "./grid.js";

const byId = (id) => document.getElementById(id);

function lines(pairs) {
  return pairs.map(([name, value]) => (name ? `${name}: ${value}` : value)).join("\n");
}

function facts(pairs) {
  const list = element("dl", { class: "run-facts" });
  for (const [name, value] of pairs) list.append(element("dt", {}, name), element("dd", {}, value));
  return list;
}

function headersTable(pairs) {
  const head = element("tr", {}, element("th", { scope: "col" }, "Header"), element("th", { scope: "col" }, "Value"));
  const body = element("tbody", {}, ...pairs.map(([name, value]) => element("tr", {}, element("td", {}, name), element("td", {}, value))));
  return element(
    "div",
    { class: "run-scroll run-headers", tabindex: "0", role: "region", "aria-label": "Headers of the response" },
    element("table", { class: "aw-table" }, element("thead", {}, head), body),
  );
}

// One column for each name that occurs in any item, the catalogue's first; a name that an item repeats shows all its
// values.
function itemsGrid(items, preferred) {
  const there = new Set();
  for (const item of items) for (const [name] of item) there.add(name);
  there.delete("ActionID"); // the same on every row
  const kinds = new Set(items.map((item) => item.find(([name]) => name === "Event")?.[1]));
  if (kinds.size === 1) there.delete("Event"); // so is this; where kinds are mixed, it tells them apart
  const columns = [...new Set([...preferred.filter((name) => there.has(name)), ...there])];
  const places = new Map(columns.map((name, index) => [name, index]));
  const rows = items.map((item) => {
    const cells = new Array(columns.length).fill("");
    const seen = new Set();
    for (const [name, value] of item) {
      const place = places.get(name);
      if (place === undefined) continue;
      cells[place] = seen.has(name) ? `${cells[place]}, ${value}` : value;
      seen.add(name);
    }
    return cells;
  });
  return grid({ columns, rows, label: "Items of the list", detail: (index) => facts(items[index]) });
}

// Text of megabytes is put into the page when somebody opens it.
function rawText(result) {
  const copy = element("div", { class: "aw-toolbar" });
  const details = element("details", { class: "aw-card" }, element("summary", {}, "Raw text"), copy);
  details.addEventListener(
    "toggle",
    () => {
      const parts = [lines(result.response), ...result.items.map(lines), result.output];
      const raw = parts.filter(Boolean).join("\n\n");
      const text = preformatted(raw, "Everything that came back, as text");
      copy.append(copyButton("Copy", raw, text));
      details.append(text);
    },
    { once: true },
  );
  return details;
}

function toolbar(facts) {
  const bar = element("div", { class: "aw-toolbar" });
  const { csv, json, clear } = byId("run").dataset;
  bar.append(
    element("span", { class: "aw-quiet" }, `What came back, ${bytes(facts.size)}:`),
    element("a", { href: csv, download: "" }, "CSV"),
    element("a", { href: json, download: "" }, "JSON"),
  );
  if (facts.hidden && clear) {
    const template = byId("run-secrets").content.cloneNode(true);
    const show = button("Show secrets", async () => {
      show.disabled = true;
      const token = byId("run-secrets-token").querySelector("input").value;
      const answer = await fetch(clear, { method: "POST", headers: { "X-CSRFToken": token } });
      const content = await answer.json().catch(() => ({ error: `amiweb answered ${answer.status}.` }));
      if (content.error) problem(content.error);
      else draw(content, { ...facts, hidden: false, shown: true });
    });
    bar.append(show, template);
  } else if (facts.hidden) {
    bar.append(element("span", { class: "aw-quiet" }, "Secrets are hidden."));
  }
  return bar;
}

function problem(text) {
  byId("run-result").prepend(element("p", { class: "aw-note", "data-state": "failed", role: "alert" }, text));
}

function draw(result, about) {
  const { response, items, output } = result;
  const cards = [];
  const bar = toolbar(about);
  if (about.note) cards.push(element("p", { class: "aw-note", "data-state": "unknown" }, about.note));
  if (about.shown) {
    cards.push(element("p", { class: "aw-note" }, "Secrets are shown, and the audit has noted that you looked. Reload the page to hide them."));
  }
  if (output) {
    const text = preformatted(output, "Output of the command");
    const number = output.split("\n").length;
    const copy = copyButton("Copy", output, text);
    cards.push(card(`Output (${number} ${number === 1 ? "line" : "lines"})`, element("div", { class: "aw-toolbar" }, copy), text));
  }
  if (items.length) cards.push(card("Items", itemsGrid(items, JSON.parse(byId("run-columns").textContent))));
  if (response.length) cards.push(card("Response", headersTable(response)));
  cards.push(rawText(result));
  byId("run-result").replaceChildren(bar, ...cards);
}

/**
 * Fetch the result and show it.
 *
 * @param {object} about what the snapshot says of it: size, items, note, hidden
 */
export async function showResult(about) {
  const place = byId("run-result");
  place.replaceChildren(element("p", { role: "status" }, "Fetching the result …"));
  try {
    const answer = await fetch(byId("run").dataset.result);
    if (!answer.ok) throw new Error(`amiweb answered ${answer.status}`);
    draw(await answer.json(), about);
  } catch (error) {
    place.replaceChildren();
    problem(`The result can't be fetched (${error.message}). Reload the page to try again.`);
  }
}
