// What the person wants to see: in the form, in the address of the page, and as the server is asked for it.

const FIELDS = ["names", "text", "linkedid"];

export class Filter {
  #form;

  constructor(form) {
    this.#form = form;
  }

  value(name) {
    return this.#form.elements[name].value.trim();
  }

  set(name, value) {
    this.#form.elements[name].value = value;
  }

  get names() {
    return this.value("names").split(",").map((name) => name.trim()).filter(Boolean);
  }

  /** Ask for this name too, or not any more. */
  toggleName(name) {
    const folded = name.toLowerCase();
    const others = this.names.filter((one) => one.toLowerCase() !== folded);
    this.set("names", (others.length < this.names.length ? others : [...others, name]).join(", "));
  }

  /** {server} or {tag} with an id, or neither. What the address has may be no id: the server says so. */
  get place() {
    const [kind, ...id] = this.value("server").split(":");
    return id.length ? { [kind]: id.join(":") } : {};
  }

  readAddress(search = window.location.search) {
    const address = new URLSearchParams(search);
    for (const name of FIELDS) {
      this.set(name, address.get(name) ?? "");
    }
    for (const kind of ["server", "tag"]) {
      if (address.get(kind)) {
        this.choosePlace(`${kind}:${address.get(kind)}`);
        return;
      }
    }
    this.choosePlace("");
  }

  /** As it stands in an address; `more` are further parameters. */
  query(more = {}) {
    const address = new URLSearchParams(this.place);
    for (const name of FIELDS) {
      if (this.value(name)) {
        address.set(name, this.value(name));
      }
    }
    for (const [name, value] of Object.entries(more)) {
      address.set(name, value);
    }
    return address.toString();
  }

  writeAddress() {
    const query = this.query();
    const state = this.value("linkedid") ? window.history.state : null;
    window.history.replaceState(state, "", query ? `?${query}` : window.location.pathname);
  }

  /** Ask for one call, whole. What was asked for before is a step back, and what `leaveCall` returns to. */
  enterCall(linkedid) {
    const before = this.value("linkedid") ? window.history.state?.before : this.query();
    for (const name of FIELDS) {
      this.set(name, "");
    }
    this.set("linkedid", linkedid);
    window.history.pushState({ before }, "", `?${this.query()}`);
  }

  leaveCall() {
    const before = window.history.state?.before;
    if (before === undefined) {
      this.set("linkedid", ""); // the page was opened with the call
    } else {
      this.readAddress(before);
    }
  }

  showPlaces(servers, tags) {
    const select = this.#form.elements.server;
    const chosen = select.value;
    const choices = [new Option("All servers", "")];
    if (tags.length) {
      choices.push(group("Tags", tags.map(([id, name]) => new Option(name, `tag:${id}`))));
    }
    if (servers.length) {
      const named = servers.map((server) =>
        new Option(server.simulated ? `${server.name} (simulated)` : server.name, `server:${server.id}`));
      choices.push(group("Servers", named));
    }
    select.replaceChildren(...choices);
    this.choosePlace(chosen);
  }

  choosePlace(value) {
    const select = this.#form.elements.server;
    if (value && ![...select.options].some((option) => option.value === value)) {
      // Not known yet, or not any more: the address keeps its meaning until the person chooses.
      const [kind, ...rest] = value.split(":");
      const id = rest.join(":");
      select.append(new Option(`${kind === "tag" ? "Tag" : "Server"} ${id}`, value));
    }
    select.value = value;
  }

  /** Whether more than a server or a tag was chosen. */
  get narrowed() {
    return FIELDS.some((name) => this.value(name));
  }

  /** All but the names: what the counts of the chips are for. */
  get base() {
    return JSON.stringify([this.place, this.value("text"), this.value("linkedid")]);
  }

  subscription() {
    return { server: null, tag: null, ...this.place, names: this.names, text: this.value("text"), linkedid: this.value("linkedid") };
  }
}

function group(label, options) {
  const made = document.createElement("optgroup");
  made.label = label;
  made.append(...options);
  return made;
}
