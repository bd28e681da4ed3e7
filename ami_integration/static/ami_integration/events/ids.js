// Ids are strings of digits: they are 63-bit numbers, which JavaScript's own can't hold.

/** Negative, 0 or positive, as for Array.sort. */
export function compareIds(one, other) {
  return one.length - other.length || (one < other ? -1 : one > other ? 1 : 0);
}

/** Knows the latest ids, so that what comes twice is shown once. */
export class Seen {
  #ids = new Set();
  #limit;

  constructor(limit) {
    this.#limit = limit;
  }

  /** Whether the id is new; it isn't the next time. */
  add(id) {
    if (this.#ids.has(id)) {
      return false;
    }
    this.#ids.add(id);
    if (this.#ids.size > this.#limit) {
      this.#ids.delete(this.#ids.values().next().value);
    }
    return true;
  }

  clear() {
    this.#ids.clear();
  }
}

/** The newest id of each server: from there on the page asks again when its connection was lost. */
export class Cursor {
  #newest = new Map();

  advance(server, id) {
    const known = this.#newest.get(server);
    if (known === undefined || compareIds(id, known) > 0) {
      this.#newest.set(server, id);
    }
  }

  set(server, id) {
    this.#newest.set(server, id);
  }

  toJSON() {
    return Object.fromEntries(this.#newest);
  }

  clear() {
    this.#newest.clear();
  }
}
