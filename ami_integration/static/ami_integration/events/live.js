// The live page: what it wants goes to the server, which filters; what comes is shown once, newest first.

import { connect } from "../socket.js";
import { Cursor, Seen } from "./ids.js";
import { Rows, element } from "./rows.js";

const MOST_ROWS = 500;
const MOST_IDS = 20000; // more than come within the seconds that are asked for again after a reconnect
const MOST_NAMES = 300;
const TYPING_PAUSE = 300; // milliseconds
const FIRST_PROBE = 2000; // milliseconds without a connection until the page asks why
const NEXT_PROBE = 10000;
const TROUBLE = new Set(["offline", "login_failed", "secret_unreadable"]);
const STATES = { connecting: "Connecting", open: "Live", closed: "Closed" };

const page = document.getElementById("live");
const form = document.getElementById("live-filter");
const state = document.getElementById("live-state");
const count = document.getElementById("live-count");
const shedLine = document.getElementById("live-shed");
const errorLine = document.getElementById("live-error");
const troubles = document.getElementById("live-troubles");
const empty = document.getElementById("live-empty");
const pauseButton = document.getElementById("live-pause");
const clearButton = document.getElementById("live-clear");
const names = document.getElementById("live-names");
const number = new Intl.NumberFormat();

let servers = new Map();
let serversKnown = false;
let begun = false; // has the server answered the present subscription?
let seq = 0;
let paused = false;
let waiting = [];
let waitingCount = 0;
let shed = 0;
let cut = false;
const seen = new Seen(MOST_IDS);
const cursor = new Cursor();
const knownNames = new Set();
const rows = new Rows(document.getElementById("live-rows"), {
  limit: MOST_ROWS,
  serverOf: (id) => servers.get(id) ?? { name: "deleted server", simulated: false },
});

// The filter, in the form and in the address

function readAddress() {
  const address = new URLSearchParams(window.location.search);
  for (const name of ["names", "text"]) {
    form.elements[name].value = address.get(name) ?? "";
  }
  chooseServer(address.get("server") ?? "");
}

function writeAddress() {
  const address = new URLSearchParams();
  for (const name of ["server", "names", "text"]) {
    const value = form.elements[name].value.trim();
    if (value) {
      address.set(name, value);
    }
  }
  const query = address.toString();
  window.history.replaceState(null, "", query ? `?${query}` : window.location.pathname);
}

function chooseServer(id) {
  const select = form.elements.server;
  if (id && ![...select.options].some((option) => option.value === id)) {
    // Not known yet, or not any more: the address keeps its meaning until the person chooses.
    select.append(new Option(`Server ${id}`, id));
  }
  select.value = id;
}

function filtered() {
  return Boolean(form.elements.names.value.trim() || form.elements.text.value.trim());
}

function subscription() {
  const server = form.elements.server.value;
  return {
    type: "subscribe",
    seq,
    server: /^\d+$/.test(server) ? server : null,
    names: form.elements.names.value.split(",").map((name) => name.trim()).filter(Boolean),
    text: form.elements.text.value.trim(),
    since: cursor,
  };
}

function subscribe() {
  seq += 1;
  begun = false;
  socket.send(subscription());
}

function filterChanged() {
  writeAddress();
  // Another question: what is there answers the old one.
  clearRows();
  seen.clear();
  cursor.clear();
  subscribe();
  render();
}

// What comes

function onMessage(message) {
  if (message.type === "servers") {
    showServers(message.servers);
  } else if (message.type === "error") {
    showError(message.message);
  } else if (message.type === "closed") {
    showError(message.message);
  } else if (message.seq !== seq) {
    return; // for an earlier filter
  } else if (message.type === "begin") {
    begun = true;
    cut = message.cut;
    shed = 0;
    showError("");
  } else if (message.type === "items") {
    take(message);
  }
  render();
}

function take(message) {
  for (const item of message.items) {
    const fresh = seen.add(item.id);
    if (item.kind === "event") {
      cursor.advance(item.server, item.id);
      if (!fresh) {
        continue;
      }
      learnName(item.name);
    }
    if (paused) {
      waitingCount += fresh ? 1 : 0;
      waiting.push(item);
      if (waiting.length > MOST_ROWS) {
        waiting.shift();
      }
    } else {
      rows.insert(item);
    }
  }
  for (const [server, id] of Object.entries(message.cursor ?? {})) {
    cursor.advance(server, id);
  }
  shed = message.shed ?? shed;
}

function learnName(name) {
  if (!knownNames.has(name) && knownNames.size < MOST_NAMES) {
    knownNames.add(name);
    const option = document.createElement("option");
    option.value = name;
    names.append(option);
  }
}

function showServers(list) {
  servers = new Map(list.map((server) => [server.id, server]));
  serversKnown = true;
  const select = form.elements.server;
  const chosen = select.value;
  const options = list.map((server) => new Option(server.simulated ? `${server.name} (simulated)` : server.name, server.id));
  select.replaceChildren(new Option("All servers", ""), ...options);
  chooseServer(chosen);
  troubles.replaceChildren(
    ...list
      .filter((server) => TROUBLE.has(server.state) && (!chosen || chosen === server.id))
      .slice(0, 5)
      .map(troubleNote),
  );
}

function troubleNote(server) {
  const note = element("p", "aw-note aw-live-trouble");
  const link = element("a", "", server.name);
  link.href = `${page.dataset.serversUrl}${server.id}/change/`;
  const badge = element("span", "aw-state", server.label);
  badge.dataset.state = server.state;
  note.append(link, " ", badge, " ", server.error);
  return note;
}

function showError(message) {
  errorLine.textContent = message;
  errorLine.hidden = !message;
}

// Pause and clear

function setPaused(value) {
  paused = value;
  pauseButton.setAttribute("aria-pressed", String(paused));
  if (!paused) {
    waiting.forEach((item) => rows.insert(item));
    waiting = [];
    waitingCount = 0;
  }
  render();
}

function clearRows() {
  rows.clear();
  waiting = [];
  waitingCount = 0;
}

// The words round the rows

function render() {
  pauseButton.textContent = paused ? `Resume (${number.format(waitingCount)} waiting)` : "Pause";
  const shown = `${number.format(rows.size)} ${rows.size === 1 ? "row" : "rows"}`;
  count.textContent = rows.size === MOST_ROWS ? `the newest ${shown}` : rows.size ? shown : "";
  const left = [];
  if (shed) {
    left.push(`${number.format(shed)} left out because they came too fast: narrow the filter to see them`);
  }
  if (cut) {
    left.push("more happened while this page was away than it can show");
  }
  shedLine.textContent = left.join("; ");
  shedLine.hidden = left.length === 0;
  empty.hidden = rows.size > 0;
  if (!empty.hidden) {
    empty.replaceChildren(...emptyWords());
  }
}

function link(text, href) {
  const made = element("a", "", text);
  made.href = href;
  return made;
}

function emptyWords() {
  if (!serversKnown || !begun) {
    return ["Waiting for the connection to amiweb …"];
  }
  const chosen = form.elements.server.value;
  const watched = [...servers.values()].filter((server) => !chosen || server.id === chosen);
  if (servers.size === 0) {
    return page.dataset.addServerUrl
      ? ["There is no server yet. ", link("Add a server", page.dataset.addServerUrl), " and its events appear here."]
      : ["There is no server yet. Ask an administrator to add one; then its events appear here."];
  }
  if (watched.length === 0) {
    return ["This server does not exist any more. Choose another one above."];
  }
  if (watched.every((server) => !server.enabled)) {
    return [
      "Nobody listens to a disabled server. ", link("Enable it in the list of servers", page.dataset.serversUrl),
      " and its events appear here.",
    ];
  }
  if (watched.every((server) => !server.enabled || server.state === "unknown")) {
    return ["Nobody is listening at the moment. Start the listener (manage.py listen); events then appear here."];
  }
  if (paused) {
    return ["Paused. Resume to see what has come."];
  }
  if (filtered()) {
    const all = element("button", "button", "Remove the filter");
    all.type = "button";
    all.addEventListener("click", () => {
      form.elements.names.value = "";
      form.elements.text.value = "";
      filterChanged();
    });
    return [element("p", "", "Nothing has matched the filter yet. Events that match appear here by themselves."), all];
  }
  return ["Nothing has happened yet. Events appear here as soon as a PBX sends them: make a call to see some."];
}

// The connection

let probe = 0;

function onState(value) {
  state.dataset.state = value;
  state.textContent = STATES[value];
  clearTimeout(probe);
  if (value === "open") {
    showError("");
  } else if (value === "connecting") {
    probe = setTimeout(askWhy, FIRST_PROBE);
  }
}

// A refused handshake looks like a network that is away. The page itself tells them apart.
async function askWhy() {
  try {
    const answer = await fetch(window.location.pathname, { method: "HEAD", redirect: "manual", cache: "no-store" });
    if (answer.type === "opaqueredirect" || answer.status === 403) {
      socket.close();
      showError(
        answer.status === 403
          ? "You may not watch events any more. Ask an administrator for the permission to view events."
          : "You are logged out. Reload the page to log in again.",
      );
      return;
    }
  } catch {
    // amiweb itself can't be reached; the socket goes on trying
  }
  if (state.dataset.state === "connecting") {
    probe = setTimeout(askWhy, NEXT_PROBE);
  }
}

let typing = 0;
form.addEventListener("input", (event) => {
  clearTimeout(typing);
  if (event.target === form.elements.server) {
    filterChanged();
  } else {
    typing = setTimeout(filterChanged, TYPING_PAUSE);
  }
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(typing);
  filterChanged();
});
window.addEventListener("popstate", () => {
  readAddress();
  filterChanged();
});
pauseButton.addEventListener("click", () => setPaused(!paused));
clearButton.addEventListener("click", () => {
  clearRows();
  render();
});

readAddress();
const socket = connect("/ws/live/", { onOpen: subscribe, onMessage, onState });
