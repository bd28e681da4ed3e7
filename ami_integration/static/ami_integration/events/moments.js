// The moments between which the history is asked for, and the fields that show them. The moments are what counts: a
// field knows no time zone, so it shows two of them alike when the clocks are set back. It is read only when a person
// has changed it, and what it can't say is said beside it.

import { element } from "./rows.js";

const DAY = 86_400_000; // milliseconds
const LABELS = { since: "From", until: "To" };

/** What a clock on the wall shows at a moment, as a field takes it. */
function onTheWall(at) {
  return new Date(at - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

/** The moments at which it shows this: one, or two if it is set back then, or none if it is set forward. */
function momentsOf(text) {
  const wall = new Date(`${text}Z`);
  const shown = wall.toISOString().slice(0, 19);
  const offsets = new Set([-DAY, 0, DAY].map((away) => new Date(wall.getTime() + away).getTimezoneOffset()));
  return [...offsets].map((minutes) => new Date(wall.getTime() + minutes * 60_000))
    .filter((at) => onTheWall(at) === shown).sort((one, other) => one - other);
}

const valid = (at) => !Number.isNaN(at.getTime());

function line(...words) {
  const made = element("p");
  made.append(...words);
  return made;
}

const utc = (at) => `${at.toISOString().slice(11, 19)} UTC`;

export class Moments {
  #fields;
  #note;
  #texts = { since: "", until: "" };

  /**
   * @param {object} fields two inputs for local times: since, until
   * @param {Element} note where it is said which moment is meant
   */
  constructor({ since, until }, note) {
    this.#fields = { since, until };
    this.#note = note;
    for (const [name, field] of Object.entries(this.#fields)) {
      field.addEventListener("input", () => this.#changed(name, field.value));
    }
  }

  /** As an address has it; empty if there is none. */
  get(name) {
    return this.#texts[name];
  }

  /** As an address has it: one that is no moment stays, and the server says so. */
  set(name, text) {
    const at = new Date(text);
    this.#texts[name] = text;
    this.#fields[name].value = text && valid(at) ? onTheWall(at) : "";
    this.#explain();
  }

  #changed(name, shown) {
    const at = new Date(shown); // of two the first, and after what doesn't exist
    this.#texts[name] = valid(at) ? at.toISOString() : shown;
    this.#explain();
  }

  #explain() {
    this.#note.replaceChildren(...Object.keys(this.#fields).map((name) => this.#explained(name)).filter(Boolean));
  }

  #explained(name) {
    const shown = this.#fields[name].value;
    const at = new Date(this.#texts[name]);
    const all = shown && valid(at) && at.getFullYear() >= 1970 ? momentsOf(shown) : [at]; // else somebody is typing
    if (all.length === 1) {
      return null;
    }
    const time = shown.slice(11);
    if (all.length === 0) {
      return line(`${LABELS[name]}: ${time} does not exist on this day, since the clocks are set forward. ` +
        `${onTheWall(at).slice(11)} is meant (${utc(at)}).`);
    }
    const second = at >= all[1];
    const other = element("button", "button", `Take the ${second ? "first" : "second"}`);
    other.type = "button";
    other.addEventListener("click", () => {
      this.#texts[name] = all[second ? 0 : 1].toISOString();
      this.#explain();
      this.#note.querySelector(`[data-name="${name}"]`).focus();
    });
    other.dataset.name = name;
    return line(`${LABELS[name]}: ${time} comes twice on this day, since the clocks are set back. ` +
      `The ${second ? "second" : "first"} is meant (${utc(at)}). `, other);
  }
}
