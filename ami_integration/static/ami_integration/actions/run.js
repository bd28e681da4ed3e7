// The page of one run: draws a snapshot, and draws again whenever the WebSocket sends a newer one.
// Everything that comes from a PBX is written as text, never as HTML: strangers on the telephone network write it.

import { connect } from "../socket.js";

const ROWS = 500; // items drawn at once; ten thousand rows in one go would hold the browser up

const byId = (id) => document.getElementById(id);

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children); // strings become text
  return node;
}

function clock(iso) {
  return `${iso.slice(0, 10)} ${iso.slice(11, 19)} UTC`;
}

function duration(seconds) {
  return seconds < 10 ? `${seconds.toFixed(2)} s` : `${Math.round(seconds)} s`;
}

let snapshot = JSON.parse(byId("run-snapshot").textContent);

function drawHeadline() {
  const badge = byId("run-status");
  badge.textContent = snapshot.label;
  badge.dataset.state = snapshot.status;
  byId("run-reason").textContent = snapshot.waiting || snapshot.reason;
  for (const [id, shown] of [["run-cancel", snapshot.cancellable], ["run-retry", snapshot.retryable]]) {
    const form = byId(id);
    if (form) form.hidden = !shown;
  }
}

function drawSteps() {
  const steps = snapshot.steps.map((step) => {
    const item = element("li", { "data-state": step.state });
    item.append(element("strong", {}, step.name));
    if (step.at) item.append(" ", element("time", { datetime: step.at }, clock(step.at)));
    if (step.seconds !== null) item.append(` · took ${duration(step.seconds)}`);
    else if (step.state === "current") item.append(" · ", element("span", { class: "run-elapsed", "data-since": step.at }));
    return item;
  });
  byId("run-steps").replaceChildren(...steps);
  drawElapsed();
}

// The browser's clock may differ from the server's, which wrote the times.
const offset = Date.parse(byId("run").dataset.now) - Date.now();
function drawElapsed() {
  for (const node of document.querySelectorAll(".run-elapsed")) {
    const seconds = Math.max(0, Math.round((Date.now() + offset - Date.parse(node.dataset.since)) / 1000));
    node.textContent = `for ${seconds} s so far`;
  }
}

function lines(pairs) {
  return pairs.map(([name, value]) => (name ? `${name}: ${value}` : value)).join("\n");
}

function card(title, ...children) {
  return element("section", { class: "aw-card" }, element("h2", {}, title), ...children);
}

function preformatted(text, label) {
  return element("pre", { class: "run-pre", tabindex: "0", "aria-label": label }, text);
}

function table(columns, rows, label, kind = "") {
  const head = element("tr", {}, ...columns.map((name) => element("th", { scope: "col" }, name)));
  const body = element("tbody");
  const scroll = element(
    "div",
    { class: `run-scroll ${kind}`, tabindex: "0", role: "region", "aria-label": label },
    element("table", { class: "aw-table" }, element("thead", {}, head), body),
  );
  let drawn = 0;
  const more = element("button", { type: "button", class: "button" });
  const drawMore = () => {
    const next = rows.slice(drawn, drawn + ROWS);
    body.append(...next.map((row) => element("tr", {}, ...row.map((cell) => element("td", {}, cell)))));
    drawn += next.length;
    more.textContent = `Show ${Math.min(ROWS, rows.length - drawn)} more of ${rows.length}`;
    more.hidden = drawn >= rows.length;
  };
  more.addEventListener("click", drawMore);
  drawMore();
  return [scroll, more];
}

// One column for each name that occurs in any item; a name that an item repeats shows all its values.
function itemsTable(items) {
  const hidden = new Set(["ActionID"]); // the same on every row
  const columns = [...new Set(items.flatMap((item) => item.map(([name]) => name)))].filter((name) => !hidden.has(name));
  const rows = items.map((item) => {
    const cells = new Map();
    for (const [name, value] of item) cells.set(name, cells.has(name) ? `${cells.get(name)}, ${value}` : value);
    return columns.map((name) => cells.get(name) ?? "");
  });
  return table(columns, rows, "Items of the list", "run-items");
}

function drawResult() {
  const cards = [];
  const { response, items, output, traceback } = snapshot;
  if (output) cards.push(card("Output", preformatted(output, "Output of the command")));
  if (items.length) cards.push(card(`Items (${items.length})`, ...itemsTable(items)));
  if (response.length) {
    cards.push(card("Response", ...table(["Header", "Value"], response, "Headers of the response", "run-headers")));
    const raw = [lines(response), ...items.map(lines)].join("\n\n") + (output ? `\n\n${output}` : "");
    const text = preformatted(raw, "Everything that came back, as text");
    const copy = element("button", { type: "button", class: "button" }, "Copy");
    copy.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(raw);
        copy.textContent = "Copied";
      } catch {
        // Browsers give the clipboard to secure pages alone; elsewhere the text is selected for the keyboard.
        getSelection().selectAllChildren(text);
        copy.textContent = "Selected: press Ctrl+C";
      }
    });
    cards.push(element("details", { class: "aw-card" }, element("summary", {}, "Raw text"), copy, text));
  }
  if (traceback) cards.push(card("Technical details", preformatted(traceback, "Where amiweb failed")));
  byId("run-result").replaceChildren(...cards);
}

function draw() {
  drawHeadline();
  drawSteps();
  drawResult();
}

function showConnection(state) {
  const line = byId("run-connection");
  line.hidden = state === "open" || snapshot.ended;
  line.textContent =
    state === "connecting" ? "Connecting for live updates …" : "Live updates are interrupted; trying again …";
}

draw();
setInterval(drawElapsed, 1000);
if (!snapshot.ended) {
  const socket = connect(byId("run").dataset.socket, {
    onMessage(data) {
      snapshot = data;
      draw();
      if (snapshot.ended) socket.close();
    },
    onState: showConnection,
  });
}
