// The connection test of a server's form, live: what stands in the form is sent to amiweb, which goes the way to the
// PBX and tells of each step as it proceeds. Nothing is saved, and no message back carries a secret.

import { button, duration, element } from "../actions/dom.js";
import { connect } from "../socket.js";

const byId = (id) => document.getElementById(id);
const box = byId("doctor");
const form = box.closest("form");
const startButton = byId("doctor-start");
const state = byId("doctor-state");
const badge = byId("doctor-badge");
const list = byId("doctor-steps");
const complaints = byId("doctor-complaints");
const stored = byId("doctor-stored"); // the button that tests without this script; not on the form of a new server

// What no connection asks for, and what may be long.
const LEFT_OUT = ["csrfmiddlewaretoken", "notes", "event_names"];
const PATIENCE = 5_000; // milliseconds without a connection after which the page says so
const LONGEST = 200_000; // characters that amiweb takes
const WORDS = { ok: "good", note: "good", failed: "failed", running: "under way …" };

const AWAY = "This page has no live connection to amiweb. If it stays so, save, then test from the list of servers.";

let seq = 0;
let alarm = 0; // tells that there is no connection
let open = false;
let running = false;
let over = false; // a result stands there
let steps = []; // as they came last
let drawn = []; // of each of them, what was drawn

function say(text) {
  if (state.textContent !== text) state.textContent = text;
}

function show(word, kind) {
  badge.hidden = !word;
  badge.textContent = word;
  badge.dataset.state = kind;
}

function settle() {
  // Focus stays where it is, so the button is never really disabled.
  startButton.setAttribute("aria-disabled", String(running || !open));
  startButton.textContent = over && !running ? "Test again" : "Test connection";
}

function finish(text) {
  running = false;
  say(text);
  settle();
}

function start() {
  if (running || !open) return;
  const data = new FormData(form);
  for (const name of LEFT_OUT) data.delete(name);
  const text = new URLSearchParams(data).toString();
  if (text.length > LONGEST) {
    say("The form is too long to be tested here. Save it first, then test it.");
    return;
  }
  seq += 1;
  running = true;
  over = false;
  steps = [];
  drawn = [];
  list.replaceChildren();
  complaints.hidden = true;
  complaints.replaceChildren();
  show("", "");
  say("Testing …");
  settle();
  if (!socket.send({ type: "start", seq, form: text })) finish("amiweb can't be reached just now. Try again.");
}

function trustButton({ field, value, label }) {
  const input = byId(`id_${field}`);
  if (!input) return "";
  return element("div", { class: "aw-toolbar" }, button(label, () => {
    if (running) return;
    input.value = value;
    startButton.focus();
    start();
  }, { title: "Fills it in and tests again; nothing is saved yet" }));
}

function draw(step) {
  const item = element("li", { "data-state": step.state });
  const took = ["ok", "note", "failed"].includes(step.state) ? `, ${duration(step.seconds)}` : "";
  const word = WORDS[step.state] ?? (running ? "" : "not reached");
  item.append(element("div", { class: "aw-step-name" }, `${step.name} `, element("span", { class: "aw-quiet" }, word + took)));
  if (step.seen) item.append(element("div", { class: "aw-step-seen" }, step.seen));
  if (step.shown.length) {
    const pairs = step.shown.map(([label, text]) => element("div", {}, element("dt", {}, label), element("dd", {}, text)));
    item.append(element("dl", { class: "aw-step-shown" }, ...pairs));
  }
  if (step.mend) {
    const lead = step.state === "failed" ? "What to do:" : "Note:";
    item.append(element("div", { class: "aw-step-mend" }, element("strong", {}, lead), ` ${step.mend}`));
  }
  if (step.trust) item.append(trustButton(step.trust));
  return item;
}

/** Draws what differs from what stands there, so that nobody loses what they point at. */
function drawSteps() {
  steps.forEach((step, at) => {
    const text = JSON.stringify([step, running]);
    if (drawn[at] === text) return;
    drawn[at] = text;
    if (list.children[at]) list.children[at].replaceWith(draw(step));
    else list.append(draw(step));
  });
  const current = steps.find((step) => step.state === "running");
  if (current) say(`Testing: ${current.name} …`);
}

function complain(found) {
  complaints.replaceChildren(...found.map(({ field, label, message }) => {
    const input = field && byId(`id_${field}`);
    if (!input) return element("li", {}, label ? `${label}: ${message}` : message);
    const link = element("a", { href: `#id_${field}` }, label);
    link.addEventListener("click", (event) => {
      event.preventDefault();
      const part = input.closest("fieldset");
      if (part) part.hidden = false; // one of another transport
      input.focus();
    });
    return element("li", {}, link, `: ${message}`);
  }));
  complaints.hidden = false;
}

const hear = {
  steps(message) {
    steps = message.steps;
    drawSteps();
  },
  done({ ok, message }) {
    over = true;
    show(ok ? "Works" : "Does not work", ok ? "succeeded" : "failed");
    finish(message);
    drawSteps();
  },
  invalid(message) {
    complain(message.complaints);
    finish("Nothing was tested yet. Mend this in the form first:");
  },
  refused({ message }) {
    finish(message);
  },
};

const socket = connect(box.dataset.path, {
  onMessage(message) {
    if (message.seq === seq) hear[message.type]?.(message);
  },
  onState(now) {
    open = now === "open";
    clearTimeout(alarm);
    if (now === "connecting") alarm = setTimeout(() => say(AWAY), PATIENCE);
    if (open && state.textContent === AWAY) say("");
    if (running && !open) {
      finish("The connection to amiweb was lost in the middle of the test. Test again.");
      steps = steps.map((step) => (step.state === "running" ? { ...step, state: "waiting" } : step));
      drawSteps();
    } else if (now === "closed") say("You are logged out, or may not edit this server any more. Load the page again.");
    settle();
  },
});

startButton.addEventListener("click", start);
form.addEventListener("input", () => {
  if (over && !running) {
    over = false;
    show("Changed since this test", "unknown");
    settle();
  }
});
stored?.addEventListener("submit", (event) => {
  if (!open && !running) return; // the page that needs no script
  event.preventDefault();
  startButton.focus();
  box.scrollIntoView({ block: "start" });
  start();
});
stored?.querySelector("button").removeAttribute("title");
// Below what it tests, and above what it doesn't ask for.
byId("id_secret")?.closest("fieldset").after(box);
box.hidden = false;
