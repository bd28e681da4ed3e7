// How dangerous the request is, told before it is sent, and what the buttons then do: what only looks runs at
// once and can be previewed first; anything else comes to its preview either way, and the button says so.

import { element } from "./dom.js";
import { PAUSE } from "./typeahead.js";

const line = document.getElementById("request-class");
const [run, preview] = ["_run", "_preview"].map((name) => document.querySelector(`#request input[name=${name}]`));
const unknown = line.textContent; // what holds for every request
const runs = run?.value; // a schedule is saved, not run: it only tells the class

function show(answer) {
  const asks = Boolean(answer.danger) && answer.confirms;
  if (run) {
    run.value = asks ? "Preview and confirm" : runs;
    preview.hidden = asks;
  }
  if (!answer.danger) line.textContent = unknown;
  else {
    const badge = element("span", { class: "aw-danger", "data-danger": answer.danger }, answer.label);
    line.replaceChildren(badge, ` ${run ? answer.says : answer.means}`);
  }
}

/**
 * Tell the class of what a form holds, now and after every change.
 *
 * @param {HTMLFormElement} form
 * @param {function(): URLSearchParams} where the chosen servers
 * @returns {function()} to be called after a change that no event tells of
 */
export function assessForm(form, where) {
  let asked = 0;
  let timer = 0;

  async function assess() {
    const mine = ++asked;
    const body = new FormData();
    for (const [name, value] of where()) body.append(name, value);
    for (const name of ["action", "headers", "csrfmiddlewaretoken"]) body.append(name, form.elements[name].value);
    try {
      const response = await fetch(form.dataset.assess, { method: "POST", body, credentials: "same-origin" });
      if (!response.ok) throw new Error(response.statusText);
      const answer = await response.json();
      if (mine === asked) show(answer);
    } catch {
      if (mine === asked) show({ danger: "" }); // the preview says it
    }
  }

  function assessSoon() {
    clearTimeout(timer);
    timer = setTimeout(assess, 2 * PAUSE);
  }

  form.addEventListener("input", assessSoon);
  form.addEventListener("change", assessSoon);
  assess();
  return assessSoon;
}
