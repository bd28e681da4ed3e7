// Why there is nothing to see, and what to do about it.

import { element } from "./rows.js";

const IN_HEADER = /^\s*([A-Za-z][\w.-]*(?:\([^()]*\))?)\s*:/; // as the server reads a text

export function link(text, href) {
  const made = element("a", "", text);
  made.href = href;
  return made;
}

/**
 * Words and elements for a list without rows.
 *
 * @param {object} about
 * @param {boolean} about.known has the server told of the servers, and answered the filter?
 * @param {boolean} about.refused has it said above why it doesn't answer?
 * @param {Map} about.servers all that the person may watch
 * @param {Array} about.watched those that the filter names
 * @param {boolean} about.paused
 * @param {Filter} about.filter
 * @param {HTMLElement} about.page has the addresses of other pages
 * @param {function()} about.onRemove removes the filter
 */
export function emptyWords({ known, refused, servers, watched, paused, filter, page, onRemove }) {
  if (!known && refused) {
    return ["No events are shown until this is put right."];
  }
  if (!known) {
    return ["Waiting for the connection to amiweb …"];
  }
  if (servers.size === 0) {
    return page.dataset.addServerUrl
      ? ["There is no server yet. ", link("Add a server", page.dataset.addServerUrl), " and its events appear here."]
      : ["There is no server yet. Ask an administrator to add one; then its events appear here."];
  }
  if (watched.length === 0) {
    return [
      filter.place.tag
        ? "No server that you may watch has this tag any more. Choose another one above."
        : "This server does not exist any more. Choose another one above.",
    ];
  }
  if (watched.every((server) => !server.enabled)) {
    return [
      "Nobody listens to a disabled server. ", link("Enable it in the list of servers", page.dataset.serversUrl),
      " and its events appear here.",
    ];
  }
  if (watched.every((server) => !server.enabled || server.state === "unknown")) {
    return ["Nobody is listening at the moment. Start the listener (manage.py listen); events then appear here."];
  }
  if (paused) {
    return ["Paused. Resume to see what has come."];
  }
  if (filter.narrowed) {
    const all = element("button", "button", "Remove the filter");
    all.type = "button";
    all.addEventListener("click", onRemove);
    const words = [element("p", "", "Nothing has matched the filter yet. Events that match appear here by themselves.")];
    const header = IN_HEADER.exec(filter.value("text"));
    if (header) {
      words.push(element("p", "", `The text is looked for as the whole value of the header ${header[1]}; a * in it stands ` +
        "for anything. To look in every header, begin it with a *."));
    }
    if (page.dataset.historyUrl) {
      const older = element("p");
      older.append(link("Search what has been kept", `${page.dataset.historyUrl}?${filter.query()}`), " for older ones.");
      words.push(older);
    }
    return [...words, all];
  }
  return ["Nothing has happened yet. Events appear here as soon as a PBX sends them: make a call to see some."];
}
