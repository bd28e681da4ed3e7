// Numbered headers, as UpdateConfig has them: Action-000000, Cat-000000, … say one change, Action-000001, … the
// next. Each change is a group of fields of its own, and the form counts them: Asterisk stops at the first
// number without an Action. Headers that were typed in the raw mode keep the numbers that they have, until a
// change is removed and those behind it move up.

import { element } from "./dom.js";

const DIGITS = 6;

export const numberOf = (name) => Number(name.slice(-DIGITS));
const withNumber = (name, number) => name.slice(0, -DIGITS) + String(number).padStart(DIGITS, "0");

// `request`: the list of pairs, as the form keeps it.
//   own(): the pairs that are numbered; remove(pair); write(): the text area is brought up to date
//   fits(argument, name); fieldOf(argument, pair, label): one field for one header
export function changesField(numbered, request) {
  const box = element("div", { "data-changes": "" });
  const list = element("div");
  const more = element("button", { type: "button", class: "request-small" }, "Add a change");

  const used = () => [...new Set(request.own().map((pair) => numberOf(pair.name)))].sort((a, b) => a - b);

  function drop(number) {
    for (const pair of request.own().filter((one) => numberOf(one.name) === number)) request.remove(pair);
    const left = used();
    for (const pair of request.own()) pair.name = withNumber(pair.name, left.indexOf(numberOf(pair.name)));
    request.write();
    draw(used());
    (list.querySelector("input, select") ?? more).focus();
  }

  function group(number) {
    const title = `Change ${number + 1}`;
    const node = element("div", { class: "aw-card", role: "group", "aria-label": title });
    const remove = element("button", { type: "button", class: "request-small", "aria-label": `Remove change ${number + 1}` }, "Remove");
    remove.addEventListener("click", () => drop(number));
    node.append(element("p", { class: "request-row" }, element("strong", {}, title), remove));
    for (const argument of numbered) {
      const mine = request.own().filter((pair) => request.fits(argument, pair.name) && numberOf(pair.name) === number);
      if (!mine.length) mine.push({ name: withNumber(argument.name, number), value: "" });
      const label = argument.name.slice(0, -DIGITS - 1);
      // A header that was given twice has two fields, whatever the PBX makes of it.
      node.append(...mine.map((pair) => request.fieldOf(argument, pair, label)));
    }
    node.dataset.number = number;
    return node;
  }

  const draw = (numbers) => list.replaceChildren(...(numbers.length ? numbers : [0]).map(group));

  more.addEventListener("click", () => {
    const drawn = [...list.children].map((one) => Number(one.dataset.number));
    const last = Math.max(...drawn);
    // A change that says nothing yet is the next one: numbers must not have holes.
    const node = used().includes(last) ? group(last + 1) : list.lastElementChild;
    if (!node.isConnected) list.append(node);
    node.querySelector("input, select").focus();
  });

  draw(used());
  box.append(list, more);
  return box;
}
