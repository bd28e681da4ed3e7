// The status page: draws what the page was served with, and again whenever it has asked for news.

import { element } from "../actions/dom.js";

const PAUSE = 5_000;
const byId = (id) => document.getElementById(id);
const page = byId("status");
const number = new Intl.NumberFormat();
const LABELS = { ok: "Well", late: "Behind", silent: "Silent", missing: "Missing" };
const HEADINGS = ["Process", "State", "Host, process id", "Version", "Runs for", "Last heard", "Behind", "Waiting", "What it says"];

function seconds(value) {
  if (value === null) return "";
  if (value < 120) return `${value < 10 ? value.toFixed(1) : Math.round(value)} s`;
  return value < 7200 ? `${Math.round(value / 60)} min` : `${Math.round(value / 3600)} h`;
}

function line(row) {
  const cells = [
    element("strong", {}, row.kind),
    element("span", { class: "aw-state", "data-state": row.state }, LABELS[row.state]),
    row.host ? `${row.host}, ${row.pid}` : "",
    row.version,
    seconds(row.uptime),
    row.age === null ? "" : `${seconds(row.age)} ago`,
    seconds(row.lag),
    row.depth === null ? "" : number.format(row.depth),
    row.says,
  ];
  return element("tr", {}, ...cells.map((cell, index) => element("td", { "data-label": HEADINGS[index] }, cell)));
}

function draw({ rows, faults }) {
  byId("status-faults").replaceChildren(
    ...(faults.length
      ? faults.map((fault) => element("p", { class: "aw-note", "data-state": "failed" }, fault))
      : [element("p", { class: "status-well" }, "All of amiweb is well.")]),
  );
  const heads = HEADINGS.map((heading) => element("th", { scope: "col" }, heading));
  byId("status-rows").replaceChildren(
    ...(rows.length
      ? [element("table", { class: "aw-table status-table" }, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows.map(line)))]
      : []),
  );
}

async function look() {
  if (document.hidden) return;
  const state = byId("status-connection");
  try {
    const answer = await fetch(page.dataset.url, { cache: "no-store", redirect: "error" });
    if (!answer.ok) throw new Error(answer.statusText);
    draw(await answer.json());
    state.hidden = true;
  } catch {
    state.textContent = "amiweb's web process doesn't answer, or you are logged out: what is shown here is old.";
    state.hidden = false;
  }
}

draw(JSON.parse(byId("status-data").textContent));
setInterval(look, PAUSE);
document.addEventListener("visibilitychange", look);
