// The page of a fan-out: a bar, a row for each server, and what came of it, drawn again as the WebSocket tells.
// What comes from a PBX is written as text, never as HTML.

import { connect } from "../socket.js";
import { element } from "./dom.js";

const byId = (id) => document.getElementById(id);
const page = byId("fanout");

const first = JSON.parse(byId("fanout-snapshot").textContent);
let summary = first.summary;
let shown = ""; // the status that is shown alone; "": all
const rows = new Map(); // run id -> {row, node}

function drawSummary() {
  const badge = byId("fanout-status");
  badge.textContent = summary.label;
  badge.dataset.state = summary.status;
  const counts = summary.counts.map((one) => `${one.count} ${one.label.toLowerCase()}`).join(", ");
  byId("fanout-words").textContent = `${summary.ended} of ${summary.total} done: ${counts}.`;
  const bar = byId("fanout-bar");
  bar.setAttribute("aria-valuenow", summary.ended);
  bar.setAttribute("aria-valuetext", byId("fanout-words").textContent);
  bar.replaceChildren(
    ...summary.counts.map((one) => {
      const part = element("span", { "data-state": one.status, title: `${one.count} ${one.label.toLowerCase()}` });
      part.style.flexGrow = one.count; // the style sheet can't know it, and inline styles are refused
      return part;
    }),
  );
  const reason = byId("fanout-reason");
  reason.hidden = !summary.reason;
  reason.textContent = summary.reason;
  for (const [id, on] of [["fanout-cancel", summary.queued > 0], ["fanout-retry", summary.retryable > 0]]) {
    if (byId(id)) byId(id).hidden = !on;
  }
  const retry = byId("fanout-retry")?.querySelector("button");
  if (retry) retry.textContent = `Retry only the failed (${summary.retryable})`;
  const unseen = byId("fanout-unseen");
  unseen.hidden = !summary.unseen;
  unseen.textContent = "It goes to servers that you don't see, too; they aren't counted here.";
  drawFilter();
}

function drawFilter() {
  const focused = document.activeElement?.dataset?.filter;
  const choices = [{ status: "", label: "All", count: summary.total }, ...summary.counts];
  const box = byId("fanout-filter");
  box.hidden = choices.length < 3;
  if (!choices.some((one) => one.status === shown)) shown = "";
  box.replaceChildren(
    ...choices.map((one) => {
      const button = element(
        "button",
        { type: "button", class: "request-chip", "aria-pressed": String(one.status === shown), "data-filter": one.status },
        `${one.label} (${one.count})`,
      );
      button.addEventListener("click", () => {
        shown = one.status;
        drawFilter();
        showRows();
      });
      return button;
    }),
  );
  if (focused !== undefined) box.querySelector(`[data-filter="${CSS.escape(focused)}"]`)?.focus();
}

function showRows() {
  for (const { row, node } of rows.values()) node.hidden = shown !== "" && row.status !== shown;
}

const lines = (pairs) => pairs.map(([name, value]) => (name ? `${name}: ${value}` : value)).join("\n");

// What came back for one server, fetched when somebody asks for it.
function resultPart(id) {
  const text = element("pre", { class: "aw-pre aw-pre-lines", tabindex: "0" });
  const details = element("details", {}, element("summary", {}, "Result"), text);
  details.addEventListener("toggle", async () => {
    if (!details.open || text.dataset.read) return;
    text.textContent = "Reading …";
    try {
      const response = await fetch(`${page.dataset.run}${id}/result/`, { credentials: "same-origin" });
      if (response.status === 404) {
        text.textContent = "Nothing came back, or it is not kept any more.";
      } else {
        if (!response.ok) throw new Error(response.statusText);
        const result = await response.json();
        const parts = [lines(result.response ?? []), ...(result.items ?? []).map(lines), result.output ?? ""];
        text.textContent = parts.filter(Boolean).join("\n\n") || "Nothing came back.";
      }
      text.dataset.read = "yes";
    } catch {
      text.textContent = "It can't be had just now. Close this and open it again.";
    }
  });
  return details;
}

function drawRow(row) {
  const known = rows.get(row.id);
  const link = element("a", { href: `${page.dataset.run}${row.id}/change/` }, row.server);
  const badge = element("span", { class: "aw-state", "data-state": row.status }, row.label);
  const said = element("td", {}, row.reason);
  if (row.kept) said.append(resultPart(row.id));
  const node = element(
    "tr",
    {},
    element("th", { scope: "row" }, link),
    element("td", {}, badge),
    said,
    element("td", { class: "fanout-took" }, row.seconds === null ? "" : `${row.seconds.toFixed(2)} s`),
  );
  if (known) known.node.replaceWith(node);
  else byId("fanout-rows").append(node);
  rows.set(row.id, { row, node });
}

function draw(data) {
  summary = data.summary;
  data.rows.forEach(drawRow);
  drawSummary();
  showRows();
}

draw(first);
const over = () => !summary.active && !summary.counts.some((one) => ["queued", "running"].includes(one.status));
if (!over()) {
  const socket = connect(page.dataset.socket, {
    onMessage(data) {
      draw(data);
      if (over()) socket.close();
    },
    onState(state) {
      const line = byId("fanout-connection");
      line.hidden = state === "open" || over();
      line.textContent =
        state === "connecting" ? "Connecting for live updates …" : "Live updates are interrupted; reload the page.";
    },
  });
}
