// Event names with how often they came; a click asks for them alone, another one lets the others in again.

import { element } from "./rows.js";

const MOST = 300;
const number = new Intl.NumberFormat();

export class Chips {
  #place;
  #onToggle;
  #known = new Map(); // name → {count, button, shown}
  #chosen = new Set(); // in lower case

  /**
   * @param {Element} place
   * @param {function(string)} onToggle gets the name of a chip that was clicked
   */
  constructor(place, onToggle) {
    this.#place = place;
    this.#onToggle = onToggle;
    place.addEventListener("click", (event) => {
      const chip = event.target.closest("button");
      if (chip) {
        this.#onToggle(chip.dataset.name);
      }
    });
  }

  /** So many more of a name have come. */
  add(name, count) {
    let known = this.#known.get(name);
    if (!known) {
      if (this.#known.size >= MOST) {
        return;
      }
      known = this.#make(name);
    }
    known.count += count;
  }

  #make(name) {
    const chip = element("button", "aw-chip");
    chip.type = "button";
    chip.dataset.name = name;
    const count = element("span", "aw-chip-count");
    chip.append(element("bdi", "", name || "(no name)"), " ", count);
    const known = { count: 0, shown: -1, chip, place: count };
    this.#known.set(name, known);
    this.#press(name, known);
    const after = [...this.#place.children].find((one) => one.dataset.name.localeCompare(name) > 0);
    this.#place.insertBefore(chip, after ?? null);
    return known;
  }

  #press(name, known) {
    known.chip.setAttribute("aria-pressed", String(this.#chosen.has(name.toLowerCase())));
  }

  /** The names that the filter has, chips or not. */
  choose(names) {
    this.#chosen = new Set(names.map((name) => name.toLowerCase()));
    for (const name of names) {
      if (!name.includes("*") && ![...this.#known.keys()].some((one) => one.toLowerCase() === name.toLowerCase())) {
        this.add(name, 0);
      }
    }
    for (const [name, known] of this.#known) {
      this.#press(name, known);
    }
  }

  /** Begin counting anew; the names stay. */
  reset() {
    for (const known of this.#known.values()) {
      known.count = 0;
    }
  }

  get names() {
    return [...this.#known.keys()];
  }

  render() {
    this.#place.hidden = this.#known.size === 0;
    for (const known of this.#known.values()) {
      if (known.shown !== known.count) {
        known.shown = known.count;
        known.place.textContent = number.format(known.count);
      }
    }
  }
}
