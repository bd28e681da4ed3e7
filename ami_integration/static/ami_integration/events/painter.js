// Puts rows into the page frame by frame, never so many at once that a click would have to wait for them.

const BUDGET = 8; // milliseconds of a frame
const BUDGET_BEHIND = 24; // where frames are rare, on a slow machine: still far from what a click may wait
const BEHIND = 60; // items

export class Painter {
  #insert;
  #done;
  #most;
  #waiting = [];
  #asked = false;

  /**
   * @param {function(object)} insert puts one item into the page
   * @param {object} options
   * @param {number} options.most items that can be seen at all: of more that wait, the newest
   * @param {function()} [options.done] called after each frame
   */
  constructor(insert, { most, done }) {
    this.#insert = insert;
    this.#most = most;
    this.#done = done;
  }

  add(items) {
    this.#waiting.push(...items);
    // A tab in the background is given no frames.
    if (this.#waiting.length > 2 * this.#most) {
      const events = this.#waiting.filter((item) => item.kind === "event").slice(-this.#most);
      const kept = new Set(events);
      this.#waiting = this.#waiting.filter((item) => item.kind !== "event" || kept.has(item)).slice(-2 * this.#most);
    }
    this.#ask();
  }

  /** Give back what isn't painted yet. */
  take() {
    const taken = this.#waiting;
    this.#waiting = [];
    return taken;
  }

  #ask() {
    if (!this.#asked && this.#waiting.length) {
      this.#asked = true;
      requestAnimationFrame(() => this.#frame());
    }
  }

  #frame() {
    this.#asked = false;
    const until = performance.now() + (this.#waiting.length > BEHIND ? BUDGET_BEHIND : BUDGET);
    let painted = 0;
    while (painted < this.#waiting.length && (painted === 0 || performance.now() < until)) {
      this.#insert(this.#waiting[painted]);
      painted += 1;
    }
    this.#waiting.splice(0, painted);
    this.#done?.();
    this.#ask();
  }
}
