// The live page: what it wants goes to the server, which filters; what comes is shown once, newest first, frame by
// frame. While the person has paused, or reads further down, what comes waits.

import { connect } from "../socket.js";
import { Chips } from "./chips.js";
import { emptyWords, link } from "./empty.js";
import { Filter } from "./filter.js";
import { Cursor, Seen } from "./ids.js";
import { Painter } from "./painter.js";
import { Rows, element } from "./rows.js";

const MOST_ROWS = 500;
const MOST_IDS = 20000; // more than come within the seconds that are asked for again after a reconnect
const TYPING_PAUSE = 300; // milliseconds
const FIRST_PROBE = 2000; // milliseconds without a connection until the page asks why
const NEXT_PROBE = 10000;
const TROUBLE = new Set(["offline", "login_failed", "secret_unreadable"]);
const STATES = { connecting: "Connecting", open: "Live", closed: "Closed" };

const byId = (id) => document.getElementById(id);
const page = byId("live");
const form = byId("live-filter");
const state = byId("live-state");
const count = byId("live-count");
const shedLine = byId("live-shed");
const errorLine = byId("live-error");
const flowLine = byId("live-flow");
const troubles = byId("live-troubles");
const empty = byId("live-empty");
const pauseButton = byId("live-pause");
const clearButton = byId("live-clear");
const jump = byId("live-jump");
const jumpButton = byId("live-jump-button");
const call = byId("live-call");
const names = byId("live-names");
const number = new Intl.NumberFormat();

let servers = new Map();
let serversKnown = false;
let begun = false; // has the server answered the present subscription?
let refused = false; // has it said why it doesn't answer?
let seq = 0;
let countsPast = true; // do the rows of the past count on the chips, or have they been counted?
let paused = false;
let reading = false; // further down than the newest rows
let waiting = [];
let waitingCount = 0;
let leftOut = null; // {count, since, until} of the present connection
let leftOutBefore = { count: 0, since: Infinity, until: 0 }; // of earlier ones, with the same filter
let cut = false;
const seen = new Seen(MOST_IDS);
const cursor = new Cursor();
const filter = new Filter(form);
const chips = new Chips(byId("live-chips"), (name) => {
  filter.toggleName(name);
  filterChanged();
});
const rows = new Rows(byId("live-rows"), {
  limit: MOST_ROWS,
  serverOf: (id) => servers.get(id) ?? { name: "deleted server", simulated: false },
  onCall: (linkedid) => {
    filter.enterCall(linkedid);
    filterChanged();
    jumpToNow();
  },
});
const painter = new Painter((item) => rows.insert(item), { most: MOST_ROWS, done: render });

// The filter

function subscribe() {
  seq += 1;
  begun = false;
  refused = false;
  countsPast = true;
  socket.send({ type: "subscribe", seq, ...filter.subscription(), since: cursor });
}

let base = "";

function showHistoryLink() {
  byId("live-history").href = `${page.dataset.historyUrl}?${filter.query()}`;
}

function filterChanged() {
  filter.writeAddress();
  showHistoryLink();
  chips.choose(filter.names);
  const sameCounts = filter.base === base;
  if (!sameCounts) {
    base = filter.base;
    chips.reset();
  }
  // Another question: what is there answers the old one.
  clearRows();
  seen.clear();
  cursor.clear();
  leftOut = null;
  leftOutBefore = { count: 0, since: Infinity, until: 0 };
  cut = false;
  showTroubles();
  showError("");
  subscribe();
  countsPast = !sameCounts;
  render();
}

// What comes

function onMessage(message) {
  if (message.type === "servers") {
    showServers(message.servers);
  } else if (message.type === "flow") {
    showFlow(message.message);
  } else if (message.type === "error" || message.type === "closed") {
    showError(message.message);
    if (message.login) {
      showLogin();
    }
    refused = Boolean(message.message);
  } else if (message.seq !== seq) {
    return; // for an earlier filter
  } else if (message.type === "begin") {
    begun = true;
    cut = message.cut;
    leftOutBefore = allLeftOut();
    if (message.left_out.count) {
      leftOut = message.left_out; // of what happened while the page was away
      leftOutBefore = allLeftOut();
    }
    leftOut = null;
    showError("");
  } else if (message.type === "items") {
    take(message);
  }
  render();
}

function take(message) {
  const fresh = [];
  for (const item of message.items) {
    const isNew = seen.add(item.id);
    if (item.kind !== "event") {
      fresh.push(item); // a gap comes again when it ends
      continue;
    }
    cursor.advance(item.server, item.id);
    if (isNew) {
      fresh.push(item);
      if (message.past && countsPast) {
        chips.add(item.name, 1);
      }
    }
  }
  for (const [name, more] of Object.entries(message.counts ?? {})) {
    chips.add(name, more);
  }
  for (const [server, id] of Object.entries(message.cursor ?? {})) {
    cursor.set(server, id); // also to a lower one: a clock was set right
  }
  leftOut = message.left_out ?? leftOut;
  if (paused || reading) {
    wait(fresh);
  } else {
    painter.add(fresh);
  }
}

function wait(items) {
  waiting.push(...items);
  waitingCount += items.filter((item) => item.kind === "event").length;
  if (waiting.length > 2 * MOST_ROWS) {
    waiting = waiting.slice(-MOST_ROWS); // more than these the list can't show
  }
}

function allLeftOut() {
  return leftOut === null ? leftOutBefore : {
    count: leftOutBefore.count + leftOut.count,
    since: Math.min(leftOutBefore.since, leftOut.since),
    until: Math.max(leftOutBefore.until, leftOut.until),
  };
}

function showServers(list) {
  servers = new Map(list.map((server) => [server.id, server]));
  serversKnown = true;
  const tags = new Map(list.flatMap((server) => server.tags));
  filter.showPlaces(list, [...tags].sort((one, other) => one[1].localeCompare(other[1])));
  showTroubles();
}

function watched() {
  const { server, tag } = filter.place;
  return [...servers.values()].filter(
    (one) => (!server || one.id === server) && (!tag || one.tags.some(([id]) => id === tag)),
  );
}

function showTroubles() {
  troubles.replaceChildren(...watched().filter((server) => TROUBLE.has(server.state)).slice(0, 5).map(troubleNote));
}

function troubleNote(server) {
  const note = element("p", "aw-note aw-live-trouble");
  const badge = element("span", "aw-state", server.label);
  badge.dataset.state = server.state;
  note.append(link(server.name, `${page.dataset.serversUrl}${server.id}/change/`), " ", badge, " ", server.error);
  return note;
}

function showError(message) {
  errorLine.textContent = message;
  errorLine.hidden = !message;
}

/** The way back to this address, with its filter. */
function showLogin() {
  const { pathname, search } = window.location;
  errorLine.append(" ", link("Log in again to go on from here", `${page.dataset.loginUrl}?next=${encodeURIComponent(pathname + search)}`));
}

/** What keeps events from coming, though the page is connected; "" if nothing does. */
function showFlow(message) {
  flowLine.textContent = message;
  flowLine.hidden = !message;
  showState();
}

function showState() {
  const stopped = state.dataset.state === "open" && !flowLine.hidden;
  state.dataset.flow = stopped ? "stopped" : "";
  state.textContent = stopped ? "Stopped" : STATES[state.dataset.state];
}

// Pause, clear, and reading further down

function goOn() {
  if (!paused && !reading) {
    painter.add(waiting);
    waiting = [];
    waitingCount = 0;
  }
  render();
}

function setPaused(value) {
  paused = value;
  pauseButton.setAttribute("aria-pressed", String(paused));
  if (paused) {
    wait(painter.take());
  }
  goOn();
}

// Whoever has scrolled down reads: nothing moves under their eyes until they come back.
new IntersectionObserver(([entry]) => {
  reading = !entry.isIntersecting && entry.boundingClientRect.top < 0 && rows.size > 0;
  goOn();
}).observe(byId("live-top"));

function jumpToNow() {
  if (paused) {
    setPaused(false);
  }
  byId("live-top").scrollIntoView({ block: "center" });
  reading = false;
  goOn();
}

function clearRows() {
  rows.clear();
  painter.take();
  waiting = [];
  waitingCount = 0;
}

// The words round the rows

let rendering = false;

/** Once a frame is enough, however much comes; a page in the background waits for its next frame. */
function render() {
  if (!rendering) {
    rendering = true;
    requestAnimationFrame(() => {
      rendering = false;
      renderNow();
    });
  }
}

function renderNow() {
  const waits = `${number.format(waitingCount)} waiting`;
  say(pauseButton, paused ? `Resume (${waits})` : "Pause");
  jump.hidden = !reading || rows.size === 0; // at the top it would cover a row, and there is Resume
  say(jumpButton, waitingCount ? `Jump to now (${waits})` : "Jump to now");
  const gaps = rows.size - rows.events;
  const shown = [[rows.events, "event"], [gaps, "gap"]].filter(([many]) => many)
    .map(([many, what]) => `${number.format(many)} ${what}${many === 1 ? "" : "s"}`).join(" and ");
  say(count, rows.size === MOST_ROWS ? `the newest ${shown}` : shown);
  renderLeftOut();
  chips.render();
  call.hidden = !filter.value("linkedid");
  say(byId("live-call-id"), filter.value("linkedid"));
  empty.hidden = rows.events > 0; // a gap passes every filter
  if (!empty.hidden) {
    renderEmpty();
  }
}

function say(place, text) {
  if (place.textContent !== text) {
    place.textContent = text;
  }
}

let leftOutShown = "";

function renderLeftOut() {
  const left = allLeftOut();
  const key = `${left.count} ${cut}`;
  if (key === leftOutShown) {
    return;
  }
  leftOutShown = key;
  const words = [];
  if (left.count) {
    words.push(`${number.format(left.count)} left out because they came too fast or while this page was away: `);
    if (page.dataset.historyUrl) {
      const when = {
        since: new Date(Math.floor(left.since / 1000) * 1000).toISOString(),
        until: new Date(Math.ceil((left.until + 1) / 1000) * 1000).toISOString(),
      };
      words.push(link("search those that are kept", `${page.dataset.historyUrl}?${filter.query(when)}`), " or narrow the filter.");
    } else {
      words.push("narrow the filter to see them.");
    }
  }
  if (cut) {
    words.push(" More happened while this page was away than could be counted.");
  }
  shedLine.replaceChildren(...words);
  shedLine.hidden = words.length === 0;
}

let emptyShown = "";

function renderEmpty() {
  const words = emptyWords({ known: serversKnown && begun, refused, servers, watched: watched(), paused, filter, page, onRemove: removeFilter });
  const key = words.map((one) => one.textContent ?? one).join("");
  if (key !== emptyShown || !empty.hasChildNodes()) {
    emptyShown = key; // else a button here would be replaced between its press and its release
    empty.replaceChildren(...words);
  }
}

function removeFilter() {
  for (const name of ["names", "text", "linkedid"]) {
    filter.set(name, "");
  }
  filterChanged();
}

// The connection

let probe = 0;

function onState(value) {
  state.dataset.state = value;
  showFlow(""); // each connection tells anew
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
          : "You are logged out.",
      );
      if (answer.status !== 403) {
        showLogin();
      }
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
form.elements.names.addEventListener("focus", () => {
  names.replaceChildren(...chips.names.map((name) => new Option("", name)));
});
window.addEventListener("popstate", () => {
  filter.readAddress();
  filterChanged();
});
pauseButton.addEventListener("click", () => setPaused(!paused));
clearButton.addEventListener("click", () => {
  clearRows();
  reading = false;
  render();
});
jumpButton.addEventListener("click", jumpToNow);
byId("live-call-all").addEventListener("click", () => {
  filter.leaveCall();
  filterChanged();
  form.elements.text.focus(); // the button has gone
});

filter.readAddress();
showHistoryLink();
base = filter.base;
chips.choose(filter.names);
const socket = connect("/ws/live/", { onOpen: subscribe, onMessage, onState });
