// Which fields of the form stand together, and which are folded away.
//
// A PBX lists its headers in the order of its source code. For nearly all actions that order will do. The few
// that people run every day and whose headers only make sense together are named here.

import { element } from "./dom.js";

const SHOWN = 6; // optional fields that are shown at once; the others are folded away, unless there are few

const DIALPLAN = ["exten", "context", "priority"];
const GROUPS = {
  originate: [
    { names: ["channel", "callerid"] },
    { title: "Then it goes to an extension …", names: DIALPLAN, examples: { priority: "1" } },
    { title: "… or to an application", names: ["application", "data"] },
    { title: "How", names: ["timeout", "variable", "async"] },
  ],
  redirect: [
    { names: ["channel"] },
    { title: "Where it goes", names: DIALPLAN, examples: { priority: "1" } },
    {
      title: "A second channel",
      names: ["extrachannel", ...DIALPLAN.map((name) => `extra${name}`)],
      examples: { extrapriority: "1" },
      folded: true,
    },
  ],
};

// As the PBX has them: what must be given or is, some more, and the rest folded away.
function inOrder(known, used) {
  const first = known.filter((argument) => argument.required || used(argument));
  const rest = known.filter((argument) => !first.includes(argument));
  first.push(...rest.splice(0, rest.length <= SHOWN + 2 ? rest.length : SHOWN));
  first.sort((a, b) => known.indexOf(a) - known.indexOf(b));
  return { first, rest };
}

function folded(title, content, open = false) {
  const details = element("details", { class: "request-more" }, element("summary", {}, title), ...content);
  details.open = open;
  return details;
}

/**
 * The fields of an action, in their groups.
 *
 * @param {string} action its name
 * @param {object[]} known its arguments, as the PBX described them
 * @param {function(object): boolean} used whether a header of this argument is given, or found fault with
 * @param {function(object): Element} fieldOf the field of an argument
 */
export function groupedFields(action, known, used, fieldOf) {
  const nodes = [];
  let left = known;
  for (const { title, names, examples = {}, folded: away } of GROUPS[action.toLowerCase()] ?? []) {
    const own = names.map((name) => left.find((one) => one.name.toLowerCase() === name)).filter(Boolean);
    if (!own.length) continue; // another PBX, another list
    left = left.filter((one) => !own.includes(one));
    const fields = own.map((argument) => {
      const field = fieldOf(argument);
      const example = examples[argument.name.toLowerCase()];
      if (example) field.querySelector("input")?.setAttribute("placeholder", example);
      return field;
    });
    if (away) nodes.push(folded(title, fields, own.some(used)));
    else if (title) {
      const group = element("div", { class: "request-group", role: "group", "aria-label": title });
      group.append(element("p", { class: "request-group-title", "aria-hidden": "true" }, title), ...fields);
      nodes.push(group);
    } else nodes.push(...fields);
  }
  const { first, rest } = nodes.length
    ? { first: left.filter((one) => one.required || used(one)), rest: left.filter((one) => !one.required && !used(one)) }
    : inOrder(known, used);
  nodes.push(...first.map(fieldOf));
  if (rest.length) nodes.push(folded(`${rest.length} more header${rest.length === 1 ? "" : "s"}`, rest.map(fieldOf)));
  return nodes;
}
