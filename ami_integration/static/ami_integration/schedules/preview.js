// The form of a schedule: shows the next runs while one types, as the server's own calendar computes them, and only
// the fields that the chosen kind of schedule uses. A mistake is told beside its field.

import { nameCells } from "../cards.js";
import { element } from "../actions/dom.js";

const PAUSE = 300; // milliseconds without a key before the server is asked
const FIELDS = ["kind", "crontab", "interval_seconds", "once_at", "timezone", "starts_at", "ends_at", "max_runs", "tag"];
const OF_KIND = { crontab: ["crontab"], interval: ["interval_seconds"], once: ["once_at"] };

const byId = (id) => document.getElementById(id);
const panel = byId("preview");
const table = byId("preview-table");
const words = byId("preview-words");
const form = panel.closest("form");
const kind = byId("id_kind");
const field = (name) => byId(`id_${name}`);
const mine = Intl.DateTimeFormat().resolvedOptions().timeZone;

let asked = 0;
let timer = 0;

// ---------------------------------------------------------------- what the server says

function slotOf(name) {
  const row = field(name)?.closest(".form-row");
  if (!row) return null;
  let slot = row.querySelector(".schedule-error");
  if (!slot) {
    slot = element("p", { class: "request-error schedule-error", id: `${name}-live-error` });
    row.append(slot);
  }
  return slot;
}

function clearErrors() {
  for (const slot of form.querySelectorAll(".schedule-error")) slot.textContent = "";
  for (const name of FIELDS) field(name)?.removeAttribute("aria-invalid");
}

function showErrors(errors) {
  const texts = [];
  for (const [name, said] of Object.entries(errors)) {
    texts.push(...said);
    const slot = slotOf(name);
    const row = slot?.closest(".form-row");
    if (!slot || row.hidden || row.classList.contains("errors")) continue; // there it is told already
    slot.textContent = said.join(" ");
    field(name).setAttribute("aria-invalid", "true");
  }
  words.textContent = texts.join(" ");
  words.dataset.error = "";
  table.hidden = true;
}

// In the words of the person's own browser: their zone, and a distance to UTC that shows a change of the clocks.
function inMine(iso) {
  const moment = new Date(iso);
  const parts = Object.fromEntries(
    new Intl.DateTimeFormat("en-GB", {
      weekday: "short", year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
    }).formatToParts(moment).map((part) => [part.type, part.value]),
  );
  return `${parts.weekday} ${parts.year}-${parts.month}-${parts.day} ${parts.hour}:${parts.minute}:${parts.second}`;
}

function showTimes(answer) {
  delete words.dataset.error;
  words.textContent = answer.times.length ? `${answer.words}. Time zone: ${answer.zone}.` : "It doesn't run any more.";
  byId("preview-zone").textContent = answer.zone;
  byId("preview-mine").textContent = `Yours (${mine})`;
  const notes = answer.times.some((time) => time.note || time.blackout);
  const others = ![answer.zone, "UTC"].includes(mine);
  const away = answer.zone !== "UTC";
  byId("preview-zone").hidden = !away;
  byId("preview-mine").hidden = !others;
  byId("preview-notes").hidden = !notes;
  const rows = answer.times.map((time) => {
    const there = element("td", { class: "schedule-moment" }, time.zone);
    there.hidden = !away;
    const own = element("td", { class: "schedule-moment" }, inMine(time.at));
    own.hidden = !others;
    const note = element("td", {}, time.note);
    if (time.blackout) note.append(time.note ? " " : "", element("span", { class: "aw-state", "data-state": "misfired" }, "Blackout"), ` ${time.blackout}`);
    note.hidden = !notes;
    return element("tr", {}, there, own, element("td", { class: "schedule-moment" }, time.utc), note);
  });
  table.tBodies[0].replaceChildren(...rows);
  table.hidden = rows.length === 0;
  nameCells(table);
}

// ---------------------------------------------------------------- asking

function filled() {
  return OF_KIND[kind.value].every((name) => field(name).value.trim());
}

async function ask() {
  const number = ++asked;
  if (!filled()) {
    clearErrors();
    delete words.dataset.error;
    words.textContent = "Fill in when it shall run, and the next runs show up here.";
    table.hidden = true;
    return;
  }
  const body = new FormData();
  for (const name of FIELDS) if (field(name)) body.append(name, field(name).value);
  if (!field("tag")?.value) for (const box of form.querySelectorAll("input[name=server]:checked")) body.append("server", box.value);
  body.append("schedule", panel.dataset.schedule);
  body.append("csrfmiddlewaretoken", form.elements.csrfmiddlewaretoken.value);
  try {
    const response = await fetch(panel.dataset.url, { method: "POST", body, credentials: "same-origin" });
    if (!response.ok) throw new Error(response.statusText);
    const answer = await response.json();
    if (number !== asked) return; // a newer question is on its way
    clearErrors();
    if (Object.keys(answer.errors).length) showErrors(answer.errors);
    else showTimes(answer);
  } catch {
    if (number === asked) showErrors({ "": ["The preview can't be had just now; saving checks the same."] });
  }
}

function askSoon() {
  clearTimeout(timer);
  timer = setTimeout(ask, PAUSE);
}

// ---------------------------------------------------------------- the fields

function showKind() {
  for (const [one, names] of Object.entries(OF_KIND)) {
    for (const name of names) field(name).closest(".form-row").hidden = one !== kind.value;
  }
}

for (const chips of form.querySelectorAll(".schedule-chips")) {
  chips.hidden = false;
  chips.addEventListener("click", (event) => {
    const chip = event.target.closest("button");
    if (!chip) return;
    field(chips.dataset.for).value = chip.value;
    askSoon();
  });
}

form.addEventListener("input", (event) => {
  if (event.target === kind) showKind();
  if (event.target.name === "server" || FIELDS.includes(event.target.name)) askSoon();
});
form.addEventListener("click", (event) => {
  if (["request-all", "request-none"].includes(event.target.id)) askSoon(); // they tick without telling the form
});
showKind();
ask();
