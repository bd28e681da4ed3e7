// The form of a schedule: shows the next runs while one types, as the server's own calendar computes them, and only
// the fields that the chosen kind of schedule uses.

const PAUSE = 300; // milliseconds without a key before the server is asked
const FIELDS = ["kind", "crontab", "interval_seconds", "timezone"];

const byId = (id) => document.getElementById(id);
const panel = byId("preview");
const table = byId("preview-table");
const words = byId("preview-words");
const fields = FIELDS.map((name) => byId(`id_${name}`)).filter(Boolean);
const form = panel.closest("form");

let asked = 0;

function showError(text) {
  words.textContent = text;
  words.dataset.error = "";
  table.hidden = true;
}

function showTimes(answer) {
  delete words.dataset.error;
  words.textContent = `${answer.words}. Time zone: ${answer.zone}.`;
  const rows = answer.times.map((time) => {
    const row = document.createElement("tr");
    for (const text of [time.zone, time.utc]) {
      const cell = document.createElement("td");
      cell.textContent = text;
      row.append(cell);
    }
    return row;
  });
  table.tBodies[0].replaceChildren(...rows);
  table.hidden = rows.length === 0;
}

async function ask() {
  const mine = ++asked;
  const body = new FormData();
  for (const field of fields) body.append(field.name, field.value);
  body.append("csrfmiddlewaretoken", form.elements.csrfmiddlewaretoken.value);
  try {
    const response = await fetch(panel.dataset.url, { method: "POST", body, credentials: "same-origin" });
    if (!response.ok) throw new Error(response.statusText);
    const answer = await response.json();
    if (mine !== asked) return; // a newer question is on its way
    const errors = Object.values(answer.errors).flat();
    if (errors.length) showError(errors.join(" "));
    else showTimes(answer);
  } catch {
    if (mine === asked) showError("The preview can't be had just now; saving checks the same.");
  }
}

function showKind() {
  const interval = byId("id_kind").value === "interval";
  for (const [name, shown] of [["crontab", !interval], ["timezone", !interval], ["interval_seconds", interval]]) {
    const row = byId(`id_${name}`)?.closest(".form-row");
    if (row) row.hidden = !shown;
  }
}

if (fields.length === FIELDS.length) {
  let timer;
  form.addEventListener("input", (event) => {
    if (!fields.includes(event.target)) return;
    showKind();
    clearTimeout(timer);
    timer = setTimeout(ask, PAUSE);
  });
  showKind();
  if (byId("id_crontab").value || byId("id_interval_seconds").value) ask();
}
