// The number of faults in the header of every page, kept up to date while the page is looked at.
//
// A process counts as silent 15 s after its last sign of life, and what the web process answers is never older than
// that moment: with this pause the header says so within some 18 s.

const PAUSE = 3_000;
const PATIENCE = 5_000;
const badge = document.getElementById("aw-faults");

async function look() {
  if (document.hidden) return;
  let faults;
  try {
    const signal = AbortSignal.timeout(PATIENCE);
    const answer = await fetch(badge.dataset.url, { cache: "no-store", redirect: "manual", signal });
    if (answer.type === "opaqueredirect") {
      badge.textContent = " logged out"; // the way to the login page
      return;
    }
    if (answer.status === 403) {
      badge.textContent = ""; // the right was withdrawn: what was known is old
      return;
    }
    if (!answer.ok) throw new Error(`the answer is ${answer.status}`);
    ({ faults } = await answer.json());
  } catch {
    badge.textContent = " not reached"; // the web process itself, or what it stands on
    return;
  }
  badge.textContent = faults ? ` ${faults} fault${faults === 1 ? "" : "s"}` : "";
}

let timer = 0;

async function keepLooking() {
  clearTimeout(timer);
  await look();
  clearTimeout(timer);
  timer = setTimeout(keepLooking, PAUSE);
}

timer = setTimeout(keepLooking, PAUSE);
document.addEventListener("visibilitychange", keepLooking);
