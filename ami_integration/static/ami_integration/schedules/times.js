// The next planned times of a schedule: in its own zone, in the person's, and in UTC. For the form's preview, and by
// itself on the page of whoever may only look, where the times lie in the page.

import { element } from "../actions/dom.js";

const byId = (id) => document.getElementById(id);
const mine = Intl.DateTimeFormat().resolvedOptions().timeZone;

// In the words of the person's own browser.
function inMine(iso) {
  const parts = Object.fromEntries(
    new Intl.DateTimeFormat("en-GB", {
      weekday: "short", year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
    }).formatToParts(new Date(iso)).map((part) => [part.type, part.value]),
  );
  return `${parts.weekday} ${parts.year}-${parts.month}-${parts.day} ${parts.hour}:${parts.minute}:${parts.second}`;
}

// A day and a time, apart: on a phone the day is left out where it is the one that the line begins with.
function cell(text, label, day) {
  const [, own, time] = text.match(/^(\S+ \S+) (.*)$/);
  const said = element("span", { class: own === day ? "schedule-day is-same" : "schedule-day" }, `${own} `);
  return element("td", label ? { class: "schedule-moment", "data-label": label } : { class: "schedule-moment" }, said, time);
}

/** Show what the server says; `answer` as the preview's. */
export function showTimes(answer) {
  const words = byId("preview-words");
  const table = byId("preview-table");
  delete words.dataset.error;
  const others = ![answer.zone, "UTC"].includes(mine);
  const yours = others ? `, yours is ${mine}` : mine === answer.zone ? ", which is yours" : "";
  words.textContent = answer.times.length ? `${answer.words}. Time zone: ${answer.zone}${yours}.` : "It doesn't run any more.";
  byId("preview-zone").textContent = answer.zone;
  byId("preview-mine").textContent = `Yours (${mine})`;
  byId("preview-mine").hidden = !others;
  byId("preview-utc").textContent = mine === "UTC" ? "UTC (yours)" : "UTC";
  byId("preview-utc").hidden = answer.zone === "UTC";
  byId("preview-notes").hidden = !answer.times.some((time) => time.note || time.blackout);
  const rows = answer.times.map((time) => {
    const day = time.zone.split(" ", 2).join(" ");
    const row = element("tr", {}, cell(time.zone));
    if (others) row.append(cell(inMine(time.at), "yours", day));
    if (answer.zone !== "UTC") row.append(cell(time.utc.replace(/ UTC$/, ""), mine === "UTC" ? "UTC, yours" : "UTC", day));
    if (!byId("preview-notes").hidden) {
      const note = element("td", { class: "schedule-note" }, time.note);
      if (time.blackout) note.append(time.note ? " " : "", element("span", { class: "aw-state", "data-state": "misfired" }, "Blackout"), ` ${time.blackout}`);
      row.append(note);
    }
    return row;
  });
  table.tBodies[0].replaceChildren(...rows);
  table.hidden = rows.length === 0;
}

const stored = byId("schedule-times");
if (stored) showTimes(JSON.parse(stored.textContent));
