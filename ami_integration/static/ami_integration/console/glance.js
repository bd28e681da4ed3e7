// The number of faults in the header of every page, kept up to date while the page is looked at.

const PAUSE = 10_000;
const badge = document.getElementById("aw-faults");

async function look() {
  if (document.hidden) return;
  let faults;
  try {
    const answer = await fetch(badge.dataset.url, { cache: "no-store", redirect: "error" });
    if (!answer.ok) return; // logged out meanwhile: the next page says so
    ({ faults } = await answer.json());
  } catch {
    badge.textContent = " not reached"; // the web process itself
    return;
  }
  badge.textContent = faults ? ` ${faults} fault${faults === 1 ? "" : "s"}` : "";
}

setInterval(look, PAUSE);
document.addEventListener("visibilitychange", look);
