// The history page: its question stands in the address and the form, the answer is fetched and shown newest first.

import { Filter } from "./filter.js";
import { Moments } from "./moments.js";
import { Rows, element, timeElement } from "./rows.js";

const MOST_ROWS = 5_000;
const FIELDS = ["names", "words", "text", "linkedid", "uniqueid", "channel"];
const MORE = ["text", "linkedid", "uniqueid", "channel"];

const byId = (id) => document.getElementById(id);
const page = byId("history");
const form = byId("history-filter");
const number = new Intl.NumberFormat();
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });

let servers = new Map();
let saved = JSON.parse(byId("history-saved").textContent);
let more = null;
let scanned = 0;
let asked = 0;
const places = new Filter(form);
const times = new Moments(form.elements, byId("history-clock"));
const usualRange = [...form.elements.range.options].find((option) => option.defaultSelected).value;
const rows = new Rows(byId("history-rows"), {
  limit: MOST_ROWS,
  serverOf: (id) => servers.get(id) ?? { name: "deleted server", simulated: false },
  onCall: (linkedid) => {
    const before = new URLSearchParams(window.location.search).get("linkedid") ? undefined : query().toString();
    for (const name of FIELDS) form.elements[name].value = "";
    form.elements.linkedid.value = linkedid;
    ask({ before });
  },
});

// The question

const stamp = (at) => timeElement(at, moment.format(at));

const UNITS = [["day", 86_400], ["hour", 3_600], ["minute", 60], ["second", 1]];

function rangeWords(text) {
  const seconds = Number(text);
  if (!/^\d+$/.test(text) || seconds === 0) return `“${text}”`;
  const [unit, length] = UNITS.find(([, one]) => seconds % one === 0);
  const many = seconds / length;
  return many === 1 ? `Last ${unit}` : `Last ${number.format(many)} ${unit}s`;
}

/** Choose a range, also one that only an address asks for: the list has it while it is asked for. */
function chooseRange(value) {
  const range = form.elements.range;
  range.querySelector("[data-asked]")?.remove();
  if (![...range.options].some((option) => option.value === value)) {
    const own = new Option(rangeWords(value), value);
    own.dataset.asked = "";
    range.insertBefore(own, range.lastElementChild);
  }
  range.value = value;
}

function showMoments() {
  for (const field of form.querySelectorAll(".history-moment")) field.hidden = form.elements.range.value !== "";
}

function read(search) {
  const address = new URLSearchParams(search);
  for (const name of FIELDS) form.elements[name].value = address.get(name) ?? "";
  byId("history-more").open = MORE.some((name) => address.get(name));
  const place = ["server", "tag"].find((kind) => address.get(kind));
  places.choosePlace(place ? `${place}:${address.get(place)}` : "");
  const range = address.get("range") || usualRange;
  for (const name of ["since", "until"]) times.set(name, address.get(name) ?? "");
  if (!times.get("since") && times.get("until")) {
    const begin = new Date(Date.parse(times.get("until")) - Number(range) * 1000);
    if (!Number.isNaN(begin.getTime())) times.set("since", begin.toISOString());
  }
  chooseRange(times.get("since") || times.get("until") ? "" : range);
  showMoments();
}

function query() {
  const address = new URLSearchParams(places.place);
  for (const name of FIELDS) {
    const value = form.elements[name].value.trim();
    if (value) address.set(name, value);
  }
  const range = form.elements.range.value;
  if (range) {
    address.set("range", range);
  } else {
    for (const name of ["since", "until"]) {
      if (times.get(name)) address.set(name, times.get(name));
    }
  }
  return address;
}

function showTime(since, until) {
  chooseRange("");
  times.set("since", since);
  times.set("until", until);
  showMoments();
}

// Asking

/** Ask anew; the address changes unless it is what was read. `before`: what a call alone was asked for from. */
function ask({ keep = false, before } = {}) {
  const call = form.elements.linkedid.value.trim();
  if (!keep) window.history.pushState(call ? { before: before ?? window.history.state?.before } : null, "", `?${query()}`);
  byId("history-call").hidden = !call;
  byId("history-call-id").textContent = call;
  const address = query().toString();
  byId("history-csv").href = `${page.dataset.csvUrl}?${address}`;
  byId("history-json").href = `${page.dataset.jsonUrl}?${address}`;
  const live = query();
  for (const name of ["range", "since", "until", "words", "uniqueid", "channel"]) live.delete(name);
  byId("history-live").href = `${page.dataset.liveUrl}?${live}`;
  showSaved();
  rows.clear();
  byId("history-bars").hidden = true;
  byId("history-empty").hidden = true;
  scanned = 0;
  fetchPage(null);
}

async function fetchPage(before) {
  asked += 1;
  const mine = asked;
  const older = byId("history-older");
  const status = byId("history-scanned");
  older.hidden = true;
  status.textContent = "Searching …";
  status.title = "";
  showError("");
  const address = query();
  if (before) address.set("before", before);
  let answer;
  try {
    const response = await fetch(`${page.dataset.url}?${address}`, { cache: "no-store", redirect: "error" });
    answer = response.status === 400 || response.ok ? await response.json() : { error: refusal(response.status) };
  } catch {
    answer = { error: "amiweb doesn't answer, or you are logged out. Reload the page." };
  }
  if (mine !== asked) return; // the person has asked something else meanwhile
  status.textContent = "";
  if (answer.error) {
    showError(answer.error);
    return;
  }
  if (before === null) begin(answer);
  for (const item of answer.items) rows.insert(item);
  more = answer.more;
  older.hidden = more === null;
  if (answer.scanned !== null) {
    scanned += answer.scanned;
    const end = answer.back_to ? ` back to ${moment.format(new Date(answer.back_to))}` : ", all of the time chosen";
    status.textContent = `Looked into the headers of ${number.format(scanned)} events${end}.`;
    status.title = answer.back_to ? `${new Date(answer.back_to).toISOString()} (UTC)` : "";
  }
  if (answer.gaps_cut) {
    status.textContent += " There are more gaps here than are shown: narrow the time to see all.";
  }
  if (rows.size >= MOST_ROWS) {
    older.hidden = true;
    status.textContent += ` This page shows ${number.format(MOST_ROWS)} rows: narrow the time, or take the file.`;
  }
  showEmpty();
}

function refusal(status) {
  return status === 403
    ? "You may not watch events any more. Ask an administrator for the permission to view events."
    : "amiweb could not answer. Try again; if it stays so, its log says why.";
}

function begin(answer) {
  servers = new Map(answer.servers.map((server) => [server.id, server]));
  const tags = new Map(answer.servers.flatMap((server) => server.tags));
  places.showPlaces(answer.servers, [...tags].sort((a, b) => a[1].localeCompare(b[1])));
  drawBars(answer);
}

function drawBars({ bars, estimated, since, until }) {
  const figure = byId("history-bars");
  figure.hidden = bars === null;
  if (bars === null) return;
  const most = Math.max(1, ...bars.map(([, count]) => count));
  const total = bars.reduce((sum, [, count]) => sum + count, 0);
  byId("history-total").replaceChildren(
    `${estimated ? "About " : ""}${number.format(total)} ${total === 1 ? "event" : "events"}, `,
    stamp(new Date(since)), " to ", stamp(new Date(until)),
  );
  const made = bars.map(([at, count], place) => {
    const end = place + 1 < bars.length ? bars[place + 1][0] : Date.parse(until);
    const bar = element("button", "history-bar");
    bar.type = "button";
    const said = `${moment.format(new Date(at))}: ${number.format(count)}`;
    bar.title = `${said}\n${new Date(at).toISOString()} (UTC)`;
    bar.setAttribute("aria-label", `${said}. Show only these`);
    bar.tabIndex = -1; // by keyboard: the fields From and To
    bar.style.setProperty("--share", count ? Math.max(0.03, count / most) : 0);
    bar.addEventListener("click", () => {
      showTime(new Date(at).toISOString(), new Date(end).toISOString());
      ask();
    });
    return bar;
  });
  figure.querySelector(".history-chart").replaceChildren(...made);
  const [first, last] = figure.querySelectorAll(".history-axis span");
  first.replaceChildren(stamp(new Date(since)));
  last.replaceChildren(stamp(new Date(until)));
}

function showEmpty() {
  const empty = byId("history-empty");
  empty.hidden = rows.events > 0 || more !== null; // a gap is nothing that was asked for
  empty.textContent = servers.size === 0
    ? "There is no server whose events you may see. Ask an administrator for a rule that grants the class read."
    : "Nothing of this was kept. Choose a longer time or fewer conditions. What a server keeps is set on its page.";
}

function showError(message) {
  const line = byId("history-error");
  line.textContent = message;
  line.hidden = !message;
}

// Saved filters

function showSaved() {
  const choice = byId("history-saved-choice");
  const now = query().toString();
  const same = saved.find((one) => new URLSearchParams(one.query).toString() === now);
  choice.replaceChildren(
    new Option(saved.length ? "Choose one" : "None yet", ""),
    ...saved.map((one) => new Option(one.name, one.name, false, one === same)),
  );
  choice.disabled = saved.length === 0;
  byId("history-forget").hidden = !same;
}

async function send(url, data) {
  const response = await fetch(url, {
    method: "POST", body: new URLSearchParams(data), redirect: "error",
    headers: { "X-CSRFToken": form.elements.csrfmiddlewaretoken.value },
  }).catch(() => null);
  const answer = response && (response.ok || response.status === 400) ? await response.json() : { error: "This could not be saved: amiweb doesn't answer, or you are logged out." };
  showError(answer.error ?? "");
  if (answer.error) return false;
  saved = answer.saved;
  showSaved();
  return true;
}

const saveForm = byId("history-save-form");

function showSaveForm(shown) {
  saveForm.hidden = !shown;
  byId("history-save").setAttribute("aria-expanded", String(shown));
  if (shown) saveForm.elements.name.focus();
}

byId("history-save").addEventListener("click", () => showSaveForm(saveForm.hidden));
saveForm.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (await send(page.dataset.saveUrl, { name: saveForm.elements.name.value, query: query().toString() })) {
    saveForm.reset();
    showSaveForm(false);
  }
});
byId("history-forget").addEventListener("click", () => send(page.dataset.forgetUrl, { name: byId("history-saved-choice").value }));
byId("history-saved-choice").addEventListener("change", (event) => {
  const chosen = saved.find((one) => one.name === event.target.value);
  if (chosen) {
    read(chosen.query);
    ask();
  }
});

form.addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
form.elements.range.addEventListener("change", () => {
  if (form.elements.range.value === "" && !times.get("since")) {
    showTime(new Date(Date.now() - 3_600_000).toISOString(), new Date().toISOString());
  }
  showMoments();
});
byId("history-call-all").addEventListener("click", () => {
  const before = window.history.state?.before;
  if (before === undefined) {
    form.elements.linkedid.value = ""; // the page was opened with the call
  } else {
    read(before);
  }
  ask();
  form.elements.words.focus(); // the button has gone
});
byId("history-older").addEventListener("click", () => fetchPage(more));
window.addEventListener("popstate", () => {
  read(window.location.search);
  ask({ keep: true });
});

read(window.location.search);
ask({ keep: true });
