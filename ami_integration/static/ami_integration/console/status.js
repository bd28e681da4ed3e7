// The status page: draws what the page was served with, and again whenever it has asked for news.

import { button, element } from "../actions/dom.js";

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

function forgetButton(row) {
  const label = `Forget the ${row.kind} ${row.pid} on ${row.host}`;
  return button("Forget", () => forget(row), { "aria-label": label, title: "It was ended on purpose, or runs elsewhere" });
}

async function forget({ kind, host, pid }) {
  const response = await fetch(page.dataset.forgetUrl, {
    method: "POST", body: new URLSearchParams({ kind, host, pid }), redirect: "error",
    headers: { "X-CSRFToken": page.querySelector("[name=csrfmiddlewaretoken]").value },
  }).catch(() => null);
  if (response?.ok) {
    draw(await response.json());
    tell("");
  } else {
    const refused = response?.status === 409 ? await response.json() : {};
    tell(refused.error ?? "This could not be done: amiweb doesn't answer, you are logged out, or you may not.");
  }
}

function tell(text) {
  const line = byId("status-connection");
  line.textContent = text;
  line.hidden = !text;
}

/** That all is well, and how soon events are stored where a recorder knows. */
function well(rows) {
  const lags = rows.filter((row) => row.kind === "recorder" && row.lag !== null).map((row) => row.lag);
  if (!lags.length) return "All of amiweb is well.";
  const heard = rows.filter((row) => row.kind === "listener").map((row) => row.lag ?? 0);
  const lag = Math.max(...lags) + Math.max(0, ...heard);
  return `All of amiweb is well: events are stored ${lag < 1 ? "within a second" : `${seconds(lag)} after they happen`}.`;
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
    row.state === "silent" && page.dataset.forgetUrl ? forgetButton(row) : row.says,
  ];
  return element("tr", {}, ...cells.map((cell, index) => element("td", { "data-label": HEADINGS[index] }, cell)));
}

function draw({ rows, faults }) {
  byId("status-faults").replaceChildren(
    ...(faults.length
      ? faults.map((fault) => element("p", { class: "aw-note", "data-state": "failed" }, fault))
      : [element("p", { class: "status-well" }, well(rows))]),
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
  try {
    const answer = await fetch(page.dataset.url, { cache: "no-store", redirect: "error" });
    if (!answer.ok) throw new Error(answer.statusText);
    draw(await answer.json());
    tell("");
  } catch {
    tell("amiweb's web process doesn't answer, or you are logged out: what is shown here is old.");
  }
}

draw(JSON.parse(byId("status-data").textContent));
setInterval(look, PAUSE);
document.addEventListener("visibilitychange", look);
