// What runs now: draws a snapshot, and draws again whenever the WebSocket sends a newer one.

import { nameCells } from "../cards.js";
import { connect } from "../socket.js";
import { element } from "./dom.js";

const byId = (id) => document.getElementById(id);
const page = byId("running");

let snapshot = JSON.parse(byId("running-snapshot").textContent);
// The browser's clock may differ from the server's, which wrote the times.
const offset = Date.parse(page.dataset.now) - Date.now();

function elapsed(iso) {
  const seconds = Math.max(0, Math.round((Date.now() + offset - Date.parse(iso)) / 1000));
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

function drawElapsed() {
  for (const node of page.querySelectorAll("[data-since]")) node.textContent = elapsed(node.dataset.since);
}

function table(rows, when) {
  const heads = ["Run", "Status", when, "Action", "Server", "By", "In short"].map((name) => element("th", { scope: "col" }, name));
  const lines = rows.map((row) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, element("a", { href: page.dataset.run.replace("/0/", `/${row.id}/`) }, row.id)),
      element("td", {}, element("span", { class: "aw-state", "data-state": row.status }, row.label)),
      element("td", { "data-since": row.since }),
      element("td", {}, row.action),
      element("td", {}, row.server),
      element("td", {}, row.by),
      element("td", { class: "running-words" }, row.words),
    ),
  );
  const made = element("table", { class: "aw-table aw-stack running-table" }, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...lines));
  made.querySelectorAll("[data-since]").forEach((node) => (node.textContent = elapsed(node.dataset.since)));
  nameCells(made);
  return element("div", { class: "aw-table-scroll", tabindex: "0", role: "region", "aria-label": "Runs" }, made);
}

function draw() {
  const { running, waiting, rows, ended } = snapshot;
  byId("running-counts").textContent = `${running} in progress, ${waiting} waiting`;
  const parts = [];
  if (rows.length) parts.push(table(rows, "For"));
  else parts.push(element("p", { class: "aw-empty" }, "Nothing runs now. What somebody starts, here or by a schedule, shows up by itself."));
  const hidden = running + waiting - rows.length;
  if (hidden > 0) parts.push(element("p", { class: "aw-quiet" }, `${hidden} more wait; the action log lists them all.`));
  byId("running-rows").replaceChildren(...parts);
  byId("running-ended-title").hidden = ended.length === 0;
  byId("running-ended").replaceChildren(...(ended.length ? [table(ended, "Ago")] : []));
  drawElapsed();
}

draw();
setInterval(drawElapsed, 1000);
connect(page.dataset.socket, {
  onMessage(data) {
    snapshot = data;
    draw();
  },
  onState(state) {
    const line = byId("running-connection");
    line.hidden = state === "open";
    line.textContent = {
      connecting: "Connecting for live updates …",
      closed: "You may not see the action log any more. Log in again, or ask for the permission.",
    }[state] ?? "";
  },
});
