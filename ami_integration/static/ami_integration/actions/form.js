// The form that runs an action: type-ahead over the catalogue, a field for each argument, and the raw mode.
//
// The request is one list of pairs, [name, value], and the text area is its only keeper: the generated fields
// write into it, the raw mode shows it, the server reads it. What the fields don't know of stands among
// "Other headers", so switching between the two loses nothing. Catalogue and errors are written as text, never
// as HTML: a PBX told them.

import { changesField, numberOf } from "./changes.js";
import { assessForm } from "./danger.js";
import { element } from "./dom.js";
import { groupedFields } from "./groups.js";
import { serverPicker } from "./picker.js";
import { typeAhead } from "./typeahead.js";
import { quote, splitVariable } from "./variables.js";

const byId = (id) => document.getElementById(id);
const form = byId("request");

const action = byId("id_action");
const text = byId("id_headers");
const fields = byId("request-fields");
const raw = byId("request-raw");
const known = byId("request-known");

const where = serverPicker(form, () => {
  describe();
  assessSoon();
});
const assessSoon = assessForm(form, where);

// ---------------------------------------------------------------- the list of pairs

// As the server reads the text area: a name up to the first colon, blanks around both cut off.
function parse(content) {
  const pairs = [];
  let number = 0;
  for (const line of content.split("\n")) {
    number += 1;
    if (!line.trim()) continue;
    const colon = line.indexOf(":");
    if (colon < 0 || !line.slice(0, colon).trim()) return { bad: number };
    pairs.push({ name: line.slice(0, colon).trim(), value: line.slice(colon + 1).replace(/^[ \t]+|[ \t\r]+$/g, "") });
  }
  return { pairs };
}

let pairs = [];
let drafts = []; // headers that have no name yet, which no text can hold
let description = null;

function write() {
  text.value = pairs.map((pair) => `${pair.name}: ${pair.value}`).join("\n");
  assessSoon(); // a button that removes a header tells no form of it
}

// Where a new header goes: behind those that the catalogue names before it.
function insert(pair) {
  const order = (name) => description?.arguments.findIndex((one) => fits(one, name)) ?? -1;
  const mine = order(pair.name);
  let at = pairs.length;
  if (mine >= 0 && description.arguments[mine].numbered) {
    const numbered = pairs.filter(isNumbered);
    const place = (one) => numberOf(one.name) * 1000 + order(one.name); // change by change
    const next = numbered.find((one) => place(one) > place(pair));
    if (numbered.length) at = next ? pairs.indexOf(next) : pairs.indexOf(numbered.at(-1)) + 1;
  } else if (mine >= 0) {
    at = pairs.findIndex((one) => order(one.name) > mine);
    if (at < 0) at = pairs.length;
  }
  pairs.splice(at, 0, pair);
}

function remove(pair) {
  const at = pairs.indexOf(pair);
  if (at >= 0) pairs.splice(at, 1);
}

const stem = (name) => name.replace(/-\d{6}$/, "").toLowerCase();
function fits(argument, name) {
  if (argument.numbered) return /-\d{6}$/.test(name) && stem(name) === stem(argument.name);
  return argument.name.toLowerCase() === name.toLowerCase();
}

const isNumbered = (pair) => description?.arguments.some((one) => one.numbered && fits(one, pair.name));

// ---------------------------------------------------------------- the generated fields

let faults = JSON.parse(byId("request-faults").textContent);
let unique = 0;

// AMI has no line ends inside values, and a browser would drop them without a word.
function guardPaste(input, slot) {
  input.addEventListener("paste", (event) => {
    const pasted = event.clipboardData?.getData("text") ?? "";
    if (!/[\r\n\0]/.test(pasted.trim())) return;
    event.preventDefault();
    slot.textContent = "What you pasted has several lines, and a header has one: AMI can't carry line ends.";
  });
}

function textInput(value, attributes = {}) {
  const input = element("input", { type: "text", autocomplete: "off", autocapitalize: "off", spellcheck: "false", ...attributes });
  input.value = value;
  return input;
}

function selectOf(values, value, { required, texts = {} }) {
  const select = element("select");
  const option = (one, label) => {
    const node = element("option", { value: one }, label);
    select.append(node);
  };
  option("", required ? "– choose –" : "– not sent –");
  for (const one of values) option(one, texts[one] ? `${one}: ${texts[one]}`.slice(0, 90) : one);
  const match = values.find((one) => one.toLowerCase() === value.toLowerCase());
  if (value && match === undefined) option(value, `${value} (not in the PBX's list)`);
  select.value = match ?? value;
  return select;
}

// One control for one pair; the pair may not be in the list yet.
function control(argument, pair, slot) {
  let input;
  if (argument.choices.length && argument.closed) {
    input = selectOf(argument.choices, pair.value, { required: argument.required, texts: argument.choice_texts });
  } else if (argument.boolean) {
    input = selectOf(argument.boolean, pair.value, argument);
  } else {
    input = textInput(pair.value);
    if (argument.choices.length) {
      const list = element("datalist", { id: `choices-${(unique += 1)}` });
      list.append(...argument.choices.map((one) => element("option", { value: one })));
      input.setAttribute("list", list.id);
      input.after(list);
      fields.append(list);
    }
    guardPaste(input, slot);
  }
  input.addEventListener("input", () => {
    pair.value = input.value;
    const there = pairs.includes(pair);
    if (pair.value !== "" && !there) insert(pair);
    if (pair.value === "" && there) remove(pair);
    slot.textContent = "";
    input.removeAttribute("aria-invalid");
    write();
  });
  return input;
}

function variableRow(pair, slot) {
  const split = splitVariable(pair.value);
  if (split === null) {
    const input = textInput(pair.value, { "aria-label": "Variable, as it is sent" });
    input.addEventListener("input", () => {
      pair.value = input.value;
      if (!pairs.includes(pair)) insert(pair);
      write();
    });
    guardPaste(input, slot);
    return [input];
  }
  const name = textInput(split.name, { "aria-label": "Name of the variable", placeholder: "name", class: "request-short" });
  const value = textInput(split.value, { "aria-label": "Value of the variable", placeholder: "value" });
  const change = () => {
    const there = pairs.includes(pair);
    pair.value = name.value || value.value ? `${name.value}=${quote(value.value)}` : "";
    if (pair.value && !there) insert(pair);
    if (!pair.value && there) remove(pair);
    write();
  };
  name.addEventListener("input", change);
  value.addEventListener("input", change);
  guardPaste(value, slot);
  return [name, "=", value];
}

function rowsOf(argument, own, slot) {
  const box = element("div");
  const isVariable = argument.name.toLowerCase() === "variable";
  const add = (pair, focus) => {
    const row = element("div", { class: "request-row" });
    const parts = isVariable ? variableRow(pair, slot) : [control(argument, pair, slot)];
    if (!isVariable) parts[0].setAttribute("aria-label", pair.name);
    const drop = element("button", { type: "button", class: "request-small", "aria-label": `Remove this ${argument.name}` }, "Remove");
    drop.addEventListener("click", () => {
      remove(pair);
      write();
      const next = row.nextElementSibling ?? row.previousElementSibling;
      row.remove();
      (next?.querySelector("input, select") ?? more).focus();
    });
    row.append(...parts, drop);
    box.append(row);
    if (focus) row.querySelector("input, select").focus();
  };
  own.forEach((pair) => add(pair, false));
  const more = element("button", { type: "button", class: "request-small" }, own.length ? "Add another" : "Add");
  more.addEventListener("click", () => {
    add({ name: argument.name, value: "" }, true);
    more.textContent = "Add another";
  });
  return [box, more];
}

// The field of an argument; or of one header of it, `only`, if it belongs to a change.
function fieldOf(argument, only = null, title = argument.name) {
  const own = only ? [only] : pairs.filter((pair) => fits(argument, pair.name));
  const id = `field-${(unique += 1)}`;
  const slot = element("p", { class: "request-error", id: `${id}-error`, role: "alert" });
  const help = argument.text ? element("p", { class: "request-help", id: `${id}-help` }, argument.text) : null;
  const field = element("div", { class: "request-field", "data-name": (only ?? argument).name.toLowerCase() });
  if (argument.required) field.dataset.required = "";
  const box = element("div", { class: "request-control" });
  const label = [element("bdi", {}, title), argument.required ? " (required):" : ":"];
  // A header that was given twice has two rows, whatever the catalogue says.
  if (!only && (argument.repeatable || own.length > 1)) {
    field.setAttribute("role", "group");
    field.setAttribute("aria-labelledby", id);
    field.append(element("span", { class: "request-legend", id }, ...label));
    box.append(...rowsOf(argument, own, slot));
  } else {
    const input = control(argument, own[0] ?? { name: argument.name, value: "" }, slot);
    input.id = id;
    input.setAttribute("aria-describedby", [help?.id, slot.id].filter(Boolean).join(" "));
    if (argument.required) input.setAttribute("aria-required", "true");
    field.append(element("label", { for: id }, ...label));
    box.append(input);
  }
  field.append(box, slot);
  if (help) field.append(help);
  return field;
}

function othersField() {
  const others = pairs.filter((pair) => !description?.arguments.some((argument) => fits(argument, pair.name)));
  const id = `field-${(unique += 1)}`;
  const slot = element("p", { class: "request-error", role: "alert" });
  const field = element("div", { class: "request-field", role: "group", "aria-labelledby": id, "data-name": "" });
  const box = element("div", { class: "request-control" });
  const list = element("div");
  const add = (pair, focus) => {
    const row = element("div", { class: "request-row" });
    const name = textInput(pair.name, { "aria-label": "Name of the header", placeholder: "Header", class: "request-short" });
    const value = textInput(pair.value, { "aria-label": "Value of the header", placeholder: "value" });
    const change = () => {
      pair.name = name.value.trim();
      pair.value = value.value;
      const there = pairs.includes(pair);
      if (pair.name && !there) pairs.push(pair);
      if (!pair.name && there) remove(pair);
      drafts = drafts.filter((one) => one !== pair);
      if (!pair.name && pair.value) drafts.push(pair);
      write();
    };
    name.addEventListener("input", change);
    value.addEventListener("input", change);
    guardPaste(value, slot);
    const drop = element("button", { type: "button", class: "request-small", "aria-label": "Remove this header" }, "Remove");
    drop.addEventListener("click", () => {
      drafts = drafts.filter((one) => one !== pair);
      remove(pair);
      write();
      row.remove();
      more.focus();
    });
    row.append(name, ":", value, drop);
    list.append(row);
    if (focus) name.focus();
  };
  [...others, ...drafts].forEach((pair) => add(pair, false));
  const more = element("button", { type: "button", class: "request-small" }, "Add a header");
  more.addEventListener("click", () => add({ name: "", value: "" }, true));
  box.append(list, more);
  field.append(
    element("span", { class: "request-legend", id }, description ? "Other headers:" : "Headers:"),
    box,
    slot,
    element("p", { class: "request-help" }, description ? "Headers that the PBX doesn't describe for this action." : ""),
  );
  return field;
}

function drawFields() {
  fields.replaceChildren();
  const described = description?.arguments ?? [];
  const argumentsKnown = described.filter((argument) => !argument.numbered);
  const numbered = described.filter((argument) => argument.numbered);
  const used = (argument) => pairs.some((pair) => fits(argument, pair.name)) || faultsOf(argument.name).length > 0;
  fields.append(...groupedFields(description?.name ?? "", argumentsKnown, used, (argument) => fieldOf(argument)));
  if (numbered.length) {
    const own = () => pairs.filter(isNumbered);
    fields.append(changesField(numbered, { own, remove, write, fits, fieldOf }));
  }
  fields.append(othersField());
  showFaults();
}

const faultsOf = (name) => faults.filter((fault) => fault.header.toLowerCase() === name.toLowerCase());

function showFaults() {
  let firstBad = null;
  for (const fault of faults) {
    const named = [...fields.querySelectorAll(".request-field")];
    const bad = fault.header.toLowerCase();
    const field = named.find((one) => one.dataset.name === bad) ?? named.find((one) => one.dataset.name && stem(one.dataset.name) === stem(bad)) ?? named.at(-1);
    const slot = field?.querySelector(".request-error");
    if (!slot) continue;
    slot.textContent = slot.textContent ? `${slot.textContent} ${fault.text}` : fault.text;
    const inputs = [...field.querySelectorAll("input, select")];
    const input = inputs.find((one) => one.value && fault.text.includes(one.value)) ?? inputs[0];
    input?.setAttribute("aria-invalid", "true");
    field.closest("details")?.setAttribute("open", "");
    firstBad ??= input;
  }
  firstBad?.focus();
}

// ---------------------------------------------------------------- form or raw

let mode = "raw";

// Whether a value would be lost because nobody has said of which header it is; says so at its row.
function hasUnnamed() {
  if (mode !== "form" || drafts.length === 0) return false;
  const names = [...fields.querySelectorAll('[aria-label="Name of the header"]')];
  const nameless = names.find((name) => !name.value.trim() && name.nextElementSibling.value);
  nameless.closest(".request-field").querySelector(".request-error").textContent =
    `Name the header whose value is “${nameless.nextElementSibling.value}”, or remove it.`;
  nameless.setAttribute("aria-invalid", "true");
  nameless.focus();
  return true;
}

function setMode(wanted) {
  byId("mode-said").textContent = "";
  if (wanted === "raw" && hasUnnamed()) return;
  if (wanted === "form") {
    const read = parse(text.value);
    if (read.bad) {
      byId("mode-said").textContent = `Line ${read.bad} is not a header; write “Name: value” first.`;
      wanted = "raw";
    } else {
      pairs = read.pairs;
    }
  }
  mode = wanted;
  fields.hidden = mode !== "form";
  raw.hidden = mode === "form";
  if (mode === "form") drawFields(); // when they can be seen: a hidden field takes no focus
  byId("mode-form").setAttribute("aria-pressed", String(mode === "form"));
  byId("mode-raw").setAttribute("aria-pressed", String(mode === "raw"));
}

byId("mode-form").addEventListener("click", () => {
  wish = "form";
  setMode("form");
});
byId("mode-raw").addEventListener("click", () => {
  setMode("raw");
  if (mode !== "raw") return;
  wish = "raw";
  text.focus();
});
let wish = ""; // what the person chose; else the catalogue decides
text.addEventListener("input", () => (faults = []));

// ---------------------------------------------------------------- what the PBX says of the action

let asked = 0;
let describedFor = null;

async function ask(url, query) {
  const response = await fetch(`${url}?${query}`, { credentials: "same-origin", headers: { Accept: "application/json" } });
  if (!response.ok) throw new Error(response.statusText);
  return response.json();
}

function tell(answer) {
  const parts = [];
  if (answer.known) {
    parts.push(element("strong", {}, answer.synopsis || answer.name));
    parts.push(" Privileges: ", element("bdi", {}, answer.privileges), ".");
    if (answer.shipped_for) parts.push(` As Asterisk ${answer.shipped_for} has it; this PBX's own words are not known.`);
    if (answer.description) {
      parts.push(element("details", {}, element("summary", {}, "What it does"), element("span", { class: "request-help" }, answer.description)));
    }
  } else {
    parts.push("No catalogue of the chosen servers describes this action; its headers are written by hand.");
  }
  if (answer.lacking.length) parts.push(element("br"), `Not offered to amiweb's login on: ${answer.lacking.join(", ")}.`);
  known.replaceChildren(...parts);
}

async function describe() {
  const name = action.value.trim();
  const query = where();
  query.append("action", name);
  if (String(query) === describedFor) return;
  describedFor = String(query);
  const mine = ++asked;
  if (!name) {
    description = null;
    known.replaceChildren();
    setMode("raw");
    return;
  }
  try {
    const answer = await ask(form.dataset.describe, query);
    if (mine !== asked) return; // a newer question is on its way
    tell(answer);
    description = answer.known ? answer : null;
    // Who writes in the raw text just now goes on there.
    setMode(wish || (description && document.activeElement !== text ? "form" : "raw"));
  } catch {
    if (mine !== asked) return;
    describedFor = null;
    known.textContent = "The catalogue can't be asked just now; headers can be written by hand.";
    if (mode === "raw") setMode("raw");
  }
}

// ---------------------------------------------------------------- begin

const search = async (typed) => {
  const query = where();
  query.append("q", typed);
  return (await ask(form.dataset.search, query)).actions;
};
typeAhead(action, byId("request-options"), search, () => {
  describe();
  assessSoon();
});
form.querySelector(".request-modes").hidden = false;
form.addEventListener("submit", (event) => {
  if (hasUnnamed()) event.preventDefault();
  if (mode === "form") write();
});
describe();
if (!action.value) form.querySelector("input[type=text]").focus();
