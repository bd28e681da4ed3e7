// The rows of events, newest first. Strangers on the telephone network write what they hold, so every text goes into
// the page as textContent.

import { compareIds } from "./ids.js";

const time = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23",
});
const date = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "2-digit", day: "2-digit" });
const number = new Intl.NumberFormat();

// What a closed row shows of an event, as far as it has them. What few events have comes before the caller, whom
// each event of a call names.
const TELLING = [
  "Channel", "DestChannel", "Variable", "Value", "Application", "UserEvent", "DialStatus", "Cause-txt", "Conference",
  "Parties", "Queue", "Calls", "Name", "Interface", "Location", "CallerIDNum", "CallerIDName", "ConnectedLineNum",
  "Exten", "ChannelStateDesc", "Peer", "PeerStatus", "Device", "State", "Status", "Message", "ObjectName", "DeviceState",
  "Endpoint",
];
const TELLING_MOST = 4;
const EMPTY = new Set(["", "<unknown>", "<none>"]);
const COPIED_FOR = 4000; // milliseconds

export function element(name, className, text) {
  const made = document.createElement(name);
  if (className) {
    made.className = className;
  }
  if (text !== undefined) {
    made.textContent = text;
  }
  return made;
}

function button(className, text) {
  const made = element("button", className, text);
  made.type = "button";
  return made;
}

export function timeElement(at, text) {
  const made = element("time", "", text);
  made.dateTime = at.toISOString();
  made.title = `${at.toISOString()} (UTC)`;
  return made;
}

/** A moment in the person's own time zone; UTC stands behind it, for whoever points at it. */
export function moment(milliseconds) {
  const at = new Date(milliseconds);
  const made = timeElement(at, time.format(at));
  made.className = "aw-event-time";
  const day = date.format(at);
  if (day !== date.format(new Date())) {
    made.prepend(`${day} `);
  }
  return made;
}

function duration(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 60) {
    return `${seconds} s`;
  }
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${seconds % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function summary(headers) {
  const first = new Map();
  for (const [name, value] of headers) {
    if (!first.has(name)) {
      first.set(name, value);
    }
  }
  const text = element("span", "aw-event-summary");
  let parts = 0;
  for (const name of TELLING) {
    const value = first.get(name);
    if (value !== undefined && !EMPTY.has(value.trim()) && parts < TELLING_MOST) {
      const part = element("span", "aw-event-part");
      part.append(element("span", "aw-quiet", `${name} `), value);
      text.append(part, " ");
      parts += 1;
    }
  }
  return text;
}

function serverLabel(server) {
  const label = element("span", "aw-event-server", server.name);
  if (server.simulated) {
    label.append(" ", element("span", "aw-tag", "simulated"));
  }
  return label;
}

function headerList(headers, before = []) {
  const list = element("dl", "aw-event-headers");
  for (const [name, value] of [...before, ...headers]) {
    list.append(element("dt", "", name), element("dd", "", value));
  }
  return list;
}

function eventRow(item, server) {
  const row = element("li", "aw-event");
  const line = button("aw-event-line");
  line.setAttribute("aria-expanded", "false");
  const name = element("span", "aw-event-name");
  name.append(element("strong", "", item.name));
  if (item.kept === false) {
    const mark = element("span", "aw-tag", "not kept");
    mark.title = "What this server keeps leaves this event out: it is shown live and gone after some minutes.";
    name.append(" ", mark);
  }
  line.append(moment(item.at), " ", serverLabel(server), " ", name, " ", summary(item.headers));
  row.append(line);
  if (item.linkedid) {
    const call = button("aw-event-call", "Call");
    call.dataset.does = "call";
    call.title = `Show this call alone (linkedid ${item.linkedid})`;
    call.tabIndex = -1; // by keyboard: the button in the opened row
    row.append(call);
  }
  return row;
}

function eventDetails(item) {
  const made = element("div", "aw-event-open");
  const tools = element("div", "aw-event-tools");
  const copy = button("button", "Copy as JSON");
  copy.dataset.does = "copy";
  tools.append(copy);
  if (item.linkedid) {
    const call = button("button", "This call alone");
    call.dataset.does = "call";
    tools.append(call);
  }
  made.append(tools, headerList(item.headers, [["Received (UTC)", new Date(item.at).toISOString()]]));
  return made;
}

/** How many events a gap has cost, and how sure that is. */
function lostWords(item) {
  if (item.lost === null || item.lost === undefined) {
    return item.ended === null ? "" : "; how many events were lost, nobody can know";
  }
  const events = item.lost === 1 ? "event" : "events";
  return item.lost_kind === "estimated"
    ? `; about ${number.format(item.lost)} ${events} lost (estimated)`
    : `; ${number.format(item.lost)} ${events} lost`;
}

/** From when to when a gap lasts. Its row stands where it became known, which may be long after it began. */
function lastsWords(item) {
  const later = Math.abs(item.known - item.at) >= 1000;
  if (item.ended === null) {
    return later ? ["no events since ", moment(item.at)] : ["no events since then"];
  }
  const lasts = `for ${duration(item.ended - item.at)}`;
  return later ? ["no events from ", moment(item.at), ` on, ${lasts}`] : [`no events ${lasts}`];
}

function gapRow(item, server, snapshots) {
  const row = element("li", "aw-event aw-gap");
  const line = snapshots.length ? button("aw-event-line") : element("div", "aw-event-line");
  if (snapshots.length) {
    line.setAttribute("aria-expanded", "false");
  }
  const text = element("span", "aw-event-summary");
  text.append(...lastsWords(item), `${lostWords(item)}${item.detail ? `. ${item.detail}` : ""}`);
  if (snapshots.length) {
    const said = snapshots.map((one) => one.error ? `${one.action}: no answer` : `${one.action}: ${number.format(one.count)}`);
    text.append(element("span", "aw-gap-after", `Asked after it: ${said.join(", ")}`));
  }
  line.append(moment(item.known), " ", serverLabel(server), " ", element("strong", "aw-event-name", item.reason), " ", text);
  row.append(line);
  return row;
}

function gapDetails(snapshots) {
  const made = element("div", "aw-event-open");
  for (const one of snapshots) {
    const head = element("p", "aw-gap-snapshot");
    head.append(element("strong", "", one.action), " at ", moment(one.at), one.error ? `: ${one.error}` : "");
    made.append(head);
    if (one.items.length) {
      const list = element("ul", "aw-gap-items");
      for (const headers of one.items) {
        const line = element("li");
        const event = headers.find(([name]) => name === "Event");
        line.append(element("span", "aw-quiet", `${event ? event[1] : ""} `), summary(headers));
        list.append(line);
      }
      made.append(list);
    } else if (!one.error) {
      made.append(element("p", "aw-quiet", "Nothing."));
    }
    if (one.count > one.items.length) {
      made.append(element("p", "aw-quiet", `and ${number.format(one.count - one.items.length)} more`));
    }
  }
  return made;
}

/** An event as text for other programs. */
function asJson(item, server) {
  return JSON.stringify(
    { id: item.id, server: server.name, received: new Date(item.at).toISOString(), name: item.name, headers: item.headers },
    null, 2,
  );
}

/** Copy a text; `place` is where it is shown, selected, if this browser keeps the clipboard to itself. */
async function copyText(text, label, place) {
  const words = label.textContent;
  try {
    await navigator.clipboard.writeText(text);
    label.textContent = "Copied";
  } catch {
    // Browsers give the clipboard to secure pages alone; elsewhere the text is selected for the keyboard.
    place.querySelector("pre")?.remove();
    const shown = element("pre", "aw-event-json", text);
    shown.tabIndex = 0;
    place.append(shown);
    getSelection().selectAllChildren(shown);
    label.textContent = "Selected: press Ctrl+C";
  }
  setTimeout(() => (label.textContent = words), COPIED_FOR);
}

/**
 * A list of at most `limit` rows, in the order of their ids whatever order they come in.
 *
 * @param {Element} list an <ol>
 * @param {object} options
 * @param {number} options.limit
 * @param {function(string)} options.serverOf gives {name, simulated} by a server's id
 * @param {function(string)} [options.onCall] gets a linkedid: the person wants that call alone
 */
export class Rows {
  #list;
  #limit;
  #serverOf;
  #onCall;
  #size = 0;
  #events = 0;
  #items = new WeakMap(); // by row
  #snapshots = new Map(); // by gap, of gaps that are shown or about to be

  constructor(list, { limit, serverOf, onCall }) {
    this.#list = list;
    this.#limit = limit;
    this.#serverOf = serverOf;
    this.#onCall = onCall;
    list.addEventListener("click", (event) => this.#clicked(event));
    list.addEventListener("keydown", (event) => this.#pressed(event));
  }

  get size() {
    return this.#size;
  }

  /** How many of the rows are events: a gap is none. */
  get events() {
    return this.#events;
  }

  /** Insert an item; a gap that is there already is replaced by its news. */
  insert(item) {
    if (item.kind === "snapshot") {
      this.#addSnapshot(item);
      return;
    }
    const row = item.kind === "gap"
      ? gapRow(item, this.#serverOf(item.server), this.#snapshotsOf(item))
      : eventRow(item, this.#serverOf(item.server));
    row.dataset.id = item.id;
    this.#items.set(row, item);
    let next = this.#list.firstElementChild;
    while (next !== null && compareIds(next.dataset.id, item.id) > 0) {
      next = next.nextElementSibling;
    }
    if (next !== null && next.dataset.id === item.id) {
      this.#replace(next, row);
      return;
    }
    this.#list.insertBefore(row, next);
    this.#size += 1;
    this.#events += item.kind === "event" ? 1 : 0;
    while (this.#size > this.#limit) {
      const gone = this.#items.get(this.#list.lastElementChild);
      if (gone.kind === "gap") {
        this.#snapshots.delete(gapKey(gone));
      } else {
        this.#events -= 1;
      }
      this.#list.lastElementChild.remove();
      this.#size -= 1;
    }
  }

  clear() {
    this.#list.replaceChildren();
    this.#size = 0;
    this.#events = 0;
    this.#snapshots.clear();
  }

  #snapshotsOf(gap) {
    return [...(this.#snapshots.get(gapKey(gap)) ?? new Map()).values()];
  }

  #addSnapshot(item) {
    const key = gapKey(item);
    const known = this.#snapshots.get(key) ?? new Map();
    this.#snapshots.set(key, known.set(item.action, item));
    if (this.#snapshots.size > this.#limit) {
      this.#snapshots.delete(this.#snapshots.keys().next().value);
    }
    for (const row of this.#list.querySelectorAll(".aw-gap")) {
      const gap = this.#items.get(row);
      if (gapKey(gap) === key) {
        this.insert(gap);
      }
    }
  }

  // News of a row that somebody has open, or is at, leave it open and them at it.
  #replace(old, row) {
    const open = old.querySelector(".aw-event-open") !== null;
    const focused = old.contains(document.activeElement);
    old.replaceWith(row);
    const line = row.querySelector(".aw-event-line");
    if (open) {
      this.#toggle(row, line);
    }
    if (focused) {
      line.focus();
    }
  }

  #toggle(row, line) {
    if (!line.hasAttribute("aria-expanded")) {
      return;
    }
    const shown = row.querySelector(".aw-event-open");
    line.setAttribute("aria-expanded", String(shown === null));
    if (shown) {
      shown.remove();
      return;
    }
    const item = this.#items.get(row);
    row.append(item.kind === "gap" ? gapDetails(this.#snapshotsOf(item)) : eventDetails(item));
  }

  #clicked(event) {
    const row = event.target.closest(".aw-event");
    const pressed = event.target.closest("button");
    if (!row || !pressed) {
      return;
    }
    const item = this.#items.get(row);
    if (pressed.dataset.does === "call") {
      this.#onCall?.(item.linkedid);
    } else if (pressed.dataset.does === "copy") {
      copyText(asJson(item, this.#serverOf(item.server)), pressed, pressed.closest(".aw-event-open"));
    } else {
      this.#toggle(row, pressed);
    }
  }

  // Up and down go from row to row: five hundred are many for the tab key.
  #pressed(event) {
    const row = event.target.closest?.(".aw-event");
    if (!row || !event.target.matches(".aw-event-line") || event.altKey || event.ctrlKey || event.metaKey) {
      return;
    }
    const step = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
    let other = step ? row[step] : null;
    while (other && !other.querySelector("button.aw-event-line")) {
      other = other[step];
    }
    if (other) {
      event.preventDefault();
      other.querySelector(".aw-event-line").focus();
    }
  }
}

function gapKey(item) {
  return `${item.server}:${item.after}`;
}
