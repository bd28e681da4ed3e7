// The page of one server: fetches what changes every few seconds, as the server has rendered it, and puts it
// in place. Who reads with the keyboard or has opened the table keeps their place.

const PAUSE = 10_000;
const old = document.getElementById("server-old");

function tell(text) {
  if (old.textContent !== text) old.textContent = text;
  old.hidden = !text;
}

/** Whether somebody marks a text there, maybe to copy it. */
function selecting(part) {
  const selection = getSelection();
  return selection !== null && !selection.isCollapsed && part.contains(selection.focusNode);
}

const stops = (part) => [...part.querySelectorAll("a[href], summary, [tabindex]")];

async function look() {
  const shown = document.getElementById("server-part");
  if (document.hidden || selecting(shown)) return;
  try {
    const answer = await fetch(shown.dataset.url, { cache: "no-store", redirect: "error" });
    if (!answer.ok) throw new Error(answer.statusText);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("server-part");
    const table = shown.querySelector("#server-table");
    if (table?.open) fresh.querySelector("#server-table")?.setAttribute("open", "");
    const focused = stops(shown).indexOf(document.activeElement);
    const [top, part] = [shown.querySelector("#server-table .aw-table-scroll")?.scrollTop ?? 0, document.adoptNode(fresh)];
    shown.replaceWith(part);
    part.querySelector("#server-table .aw-table-scroll")?.scrollTo(0, top);
    if (focused >= 0) stops(part)[focused]?.focus({ preventScroll: true });
    tell("");
  } catch {
    tell("amiweb doesn't answer, you are logged out, or may no longer see this server: what is shown here is old.");
  }
}

setInterval(look, PAUSE);
document.addEventListener("visibilitychange", look);
