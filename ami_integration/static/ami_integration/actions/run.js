// The page of one run: draws a snapshot, and draws again whenever the WebSocket sends a newer one.

import { connect } from "../socket.js";
import { card, clock, duration, element, preformatted } from "./dom.js";
import { showResult } from "./result.js";

const byId = (id) => document.getElementById(id);

let snapshot = JSON.parse(byId("run-snapshot").textContent);

function drawHeadline() {
  const badge = byId("run-status");
  badge.textContent = snapshot.label;
  badge.dataset.state = snapshot.status;
  byId("run-reason").textContent = snapshot.waiting || snapshot.reason;
  const forms = [
    ["run-cancel", snapshot.cancellable],
    ["run-hangup", snapshot.hangable],
    ["run-retry", snapshot.retryable],
  ];
  for (const [id, shown] of forms) {
    const form = byId(id);
    if (form) form.hidden = !shown;
  }
}

function drawSteps() {
  const steps = snapshot.steps.map((step) => {
    const item = element("li", { "data-state": step.state });
    item.append(element("strong", {}, step.name));
    if (step.detail) item.append(` ${step.detail}`);
    if (step.at) item.append(" ", element("time", { datetime: step.at }, clock(step.at)));
    if (step.seconds !== null) item.append(` · took ${duration(step.seconds)}`);
    else if (step.state === "current") item.append(" · ", element("span", { class: "run-elapsed", "data-since": step.at }));
    return item;
  });
  byId("run-steps").replaceChildren(...steps);
  drawElapsed();
  const spent = byId("run-spent");
  spent.textContent = snapshot.spent.map(([name, seconds]) => `${name} ${duration(seconds)}`).join(" · ") || "–";
}

// The browser's clock may differ from the server's, which wrote the times.
const offset = Date.parse(byId("run").dataset.now) - Date.now();
function drawElapsed() {
  for (const node of document.querySelectorAll(".run-elapsed")) {
    const seconds = Math.max(0, Math.round((Date.now() + offset - Date.parse(node.dataset.since)) / 1000));
    node.textContent = `for ${seconds} s so far`;
  }
}

let fetched = false;
function drawResult() {
  const { result, traceback } = snapshot;
  byId("run-gone").hidden = !(snapshot.ended && !result && byId("run").dataset.old === "yes");
  if (result && !fetched) {
    fetched = true;
    showResult(result);
  }
  byId("run-traceback").replaceChildren(
    ...(traceback ? [card("Technical details", preformatted(traceback, "Where amiweb failed"))] : []),
  );
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
