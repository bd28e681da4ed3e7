// The rows of the live page, newest first. Strangers on the telephone network write what they hold, so every text
// goes into the page as textContent.

import { compareIds } from "./ids.js";

const time = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23",
});
const date = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "2-digit", day: "2-digit" });
const number = new Intl.NumberFormat();

// What a closed row shows of an event, as far as it has them.
const TELLING = [
  "Channel", "DestChannel", "CallerIDNum", "CallerIDName", "ConnectedLineNum", "Exten", "Queue", "Interface",
  "ChannelStateDesc", "DialStatus", "Cause-txt", "Conference", "Peer", "PeerStatus", "Device", "State", "UserEvent",
  "Variable", "Value", "Application", "Status", "Message",
];
const TELLING_MOST = 4;
const EMPTY = new Set(["", "<unknown>", "<none>"]);

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

function moment(milliseconds) {
  const at = new Date(milliseconds);
  const made = element("time", "aw-event-time", time.format(at));
  made.dateTime = at.toISOString();
  made.title = `${at.toISOString()} (UTC)`;
  if (date.format(at) !== date.format(new Date())) {
    made.prepend(`${date.format(at)} `);
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
  const parts = [];
  for (const name of TELLING) {
    const value = first.get(name);
    if (value !== undefined && !EMPTY.has(value.trim()) && parts.length < TELLING_MOST) {
      parts.push([name, value]);
    }
  }
  return parts;
}

function details(item) {
  const list = element("dl", "aw-event-headers");
  const add = (name, value) => list.append(element("dt", "", name), element("dd", "", value));
  add("Received (UTC)", new Date(item.at).toISOString());
  for (const [name, value] of item.headers) {
    add(name, value);
  }
  return list;
}

function serverLabel(server) {
  const label = element("span", "aw-event-server", server.name);
  if (server.simulated) {
    label.append(" ", element("span", "aw-tag", "simulated"));
  }
  return label;
}

function eventRow(item, server) {
  const row = element("li", "aw-event");
  const button = element("button", "aw-event-line");
  button.type = "button";
  button.setAttribute("aria-expanded", "false");
  const text = element("span", "aw-event-summary");
  for (const [name, value] of summary(item.headers)) {
    const part = element("span", "aw-event-part");
    part.append(element("span", "aw-quiet", `${name} `), value);
    text.append(part, " ");
  }
  button.append(moment(item.at), " ", serverLabel(server), " ", element("strong", "aw-event-name", item.name), " ", text);
  button.addEventListener("click", () => {
    const open = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!open));
    if (open) {
      row.lastElementChild.remove();
    } else {
      row.append(details(item));
    }
  });
  row.append(button);
  return row;
}

function gapRow(item, server) {
  const row = element("li", "aw-event aw-gap");
  const line = element("div", "aw-event-line");
  const lasts = item.ended === null
    ? "no events since then"
    : `no events for ${duration(item.ended - item.at)}`;
  const lost = item.lost === null ? "" : `, ${number.format(item.lost)} lost`;
  line.append(
    moment(item.at), " ", serverLabel(server), " ", element("strong", "aw-event-name", item.reason), " ",
    element("span", "aw-event-summary", `${lasts}${lost}${item.detail ? `. ${item.detail}` : ""}`),
  );
  row.append(line);
  return row;
}

/** A list of at most `limit` rows, in the order of their ids whatever order they come in. */
export class Rows {
  #list;
  #limit;
  #serverOf;

  constructor(list, { limit, serverOf }) {
    this.#list = list;
    this.#limit = limit;
    this.#serverOf = serverOf;
  }

  get size() {
    return this.#list.childElementCount;
  }

  /** Insert an item; a gap that is there already is replaced by its news. */
  insert(item) {
    const row = (item.kind === "gap" ? gapRow : eventRow)(item, this.#serverOf(item.server));
    row.dataset.id = item.id;
    let next = this.#list.firstElementChild;
    while (next !== null && compareIds(next.dataset.id, item.id) > 0) {
      next = next.nextElementSibling;
    }
    if (next !== null && next.dataset.id === item.id) {
      next.replaceWith(row);
      return;
    }
    this.#list.insertBefore(row, next);
    if (this.size > this.#limit) {
      this.#list.lastElementChild.remove();
    }
  }

  clear() {
    this.#list.replaceChildren();
  }
}
