// The history page: its question stands in the address and the form, the answer is fetched and shown newest first.

import { Filter } from "./filter.js";
import { Rows, element } from "./rows.js";

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
const rows = new Rows(byId("history-rows"), {
  limit: MOST_ROWS,
  serverOf: (id) => servers.get(id) ?? { name: "deleted server", simulated: false },
  onCall: (linkedid) => {
    for (const name of ["names", ...MORE, "words"]) form.elements[name].value = "";
    form.elements.linkedid.value = linkedid;
    byId("history-more").open = true;
    ask();
  },
});

// The question

/** A datetime-local's text as a moment in the person's zone, and back. */
const toUtc = (text) => new Date(text).toISOString();
function toLocal(iso) {
  const at = new Date(iso);
  return new Date(at - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
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
  const range = form.elements.range;
  form.elements.since.value = form.elements.until.value = "";
  if (address.get("since") || address.get("until")) {
    range.value = "";
    for (const name of ["since", "until"]) {
      const at = new Date(address.get(name) ?? Number.NaN);
      if (!Number.isNaN(at.getTime())) form.elements[name].value = toLocal(at.toISOString());
    }
  } else if (address.get("range") && [...range.options].some((option) => option.value === address.get("range"))) {
    range.value = address.get("range");
  } else {
    range.value = [...range.options].find((option) => option.defaultSelected).value;
  }
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
      if (form.elements[name].value) address.set(name, toUtc(form.elements[name].value));
    }
  }
  return address;
}

function showTime(since, until) {
  form.elements.range.value = "";
  form.elements.since.value = toLocal(since);
  form.elements.until.value = toLocal(until);
  showMoments();
}

// Asking

/** Ask anew; the address changes unless it is what was read. */
function ask({ keep = false } = {}) {
  if (!keep) window.history.pushState(null, "", `?${query()}`);
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
  byId("history-total").textContent =
    `${estimated ? "About " : ""}${number.format(total)} ${total === 1 ? "event" : "events"}, ${moment.format(new Date(since))} to ${moment.format(new Date(until))}`;
  const made = bars.map(([at, count], place) => {
    const end = place + 1 < bars.length ? bars[place + 1][0] : Date.parse(until);
    const bar = element("button", "history-bar");
    bar.type = "button";
    bar.title = `${moment.format(new Date(at))}: ${number.format(count)}`;
    bar.setAttribute("aria-label", `${bar.title}. Show only these`);
    bar.tabIndex = -1; // by keyboard: the fields From and To
    bar.style.setProperty("--share", count ? Math.max(0.03, count / most) : 0);
    bar.addEventListener("click", () => {
      showTime(new Date(Math.floor(at / 1000) * 1000).toISOString(), new Date(Math.ceil(end / 1000) * 1000).toISOString());
      ask();
    });
    return bar;
  });
  figure.querySelector(".history-chart").replaceChildren(...made);
  const [first, last] = figure.querySelectorAll(".history-axis span");
  first.textContent = moment.format(new Date(since));
  last.textContent = moment.format(new Date(until));
}

function showEmpty() {
  const empty = byId("history-empty");
  empty.hidden = rows.size > 0 || more !== null;
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
  if (form.elements.range.value === "" && !form.elements.since.value) {
    showTime(new Date(Date.now() - 3_600_000).toISOString(), new Date().toISOString());
  }
  showMoments();
});
byId("history-older").addEventListener("click", () => fetchPage(more));
window.addEventListener("popstate", () => {
  read(window.location.search);
  ask({ keep: true });
});

read(window.location.search);
ask({ keep: true });
