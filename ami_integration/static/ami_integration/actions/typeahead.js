// Type-ahead: a text field with a list of what fits, by keyboard and pointer, as ARIA's combobox wants it.

import { element } from "./dom.js";

export const PAUSE = 150; // milliseconds without a key before the server is asked

/**
 * @param {HTMLInputElement} input
 * @param {HTMLElement} options the empty list
 * @param {function(string): Promise<{name: string, synopsis: string, servers: string}[]>} ask what fits what was typed
 * @param {function()} onTake when something was taken, or the field was left
 */
export function typeAhead(input, options, ask, onTake) {
  input.setAttribute("role", "combobox");
  input.setAttribute("aria-autocomplete", "list");
  input.setAttribute("aria-controls", options.id);
  input.setAttribute("aria-expanded", "false");

  // Who types "zzz" shall not wait for a list that never comes.
  const said = element("p", { class: "request-nothing", role: "status" });
  options.after(said);

  let searched = 0;
  let timer = 0;
  let active = -1;

  function close() {
    clearTimeout(timer);
    searched += 1;
    options.hidden = true;
    said.textContent = "";
    active = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  function mark(number) {
    const all = [...options.children];
    active = all.length ? (number + all.length) % all.length : -1;
    all.forEach((one, index) => one.setAttribute("aria-selected", String(index === active)));
    if (active < 0) return;
    input.setAttribute("aria-activedescendant", all[active].id);
    all[active].scrollIntoView({ block: "nearest" });
  }

  function take(name) {
    input.value = name;
    close();
    onTake();
  }

  async function search() {
    const mine = ++searched;
    try {
      const actions = await ask(input.value.trim());
      if (mine !== searched || document.activeElement !== input) return;
      options.replaceChildren(
        ...actions.map((one, index) => {
          const item = element("li", { role: "option", id: `option-${index}`, "aria-selected": "false" }, element("strong", {}, one.name));
          const about = [one.synopsis, one.servers].filter(Boolean).join(" · ");
          if (about) item.append(" ", element("span", {}, about));
          item.addEventListener("pointerdown", (event) => {
            event.preventDefault(); // the field keeps the focus
            take(one.name);
          });
          return item;
        }),
      );
      active = -1;
      const nothing = actions.length === 0 && input.value.trim() !== "";
      said.textContent = nothing ? "No action of these servers fits. A name that you know can be sent all the same." : "";
      options.hidden = actions.length === 0;
      input.setAttribute("aria-expanded", String(actions.length > 0));
      input.removeAttribute("aria-activedescendant");
    } catch {
      close(); // typing the whole name works as well
    }
  }

  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(search, PAUSE);
  });
  input.addEventListener("keydown", (event) => {
    const open = !options.hidden;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (open) mark(active + (event.key === "ArrowDown" ? 1 : active < 0 ? 0 : -1));
      else search();
    } else if (event.key === "Enter" && open && active >= 0) {
      event.preventDefault(); // it takes the action, and doesn't send the form
      take(options.children[active].querySelector("strong").textContent);
    } else if (event.key === "Escape" && open) {
      event.preventDefault();
      close();
    }
  });
  input.addEventListener("blur", () => {
    close();
    onTake();
  });
  input.addEventListener("change", onTake);
}
