// The form of a schedule: shows the next runs while one types, as the server's own calendar computes them, and only
// the fields that the chosen kind of schedule uses. A mistake is told beside its field.

import { element } from "../actions/dom.js";
import { showTimes } from "./times.js";

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
