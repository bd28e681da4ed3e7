// Says five minutes ahead that the login ends, and how to stay.
//
// What the page was served with only tells when to ask: meanwhile the person may have done something in another tab.

const AHEAD = 300_000; // milliseconds before an end at which it is told
const LONGEST = 60_000; // between two looks at the clock: a laptop that slept has missed its alarm
const box = document.getElementById("aw-session");
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const hours = Number(box.dataset.hours);

let ends = { idle: 0, limit: 0 };
let timer = 0;

function take({ idle, limit }) {
  ends = { idle: Date.now() + 1000 * idle, limit: Date.now() + 1000 * limit };
}

async function ask(url, options) {
  const answer = await fetch(url, { cache: "no-store", redirect: "manual", ...options });
  if (answer.type === "opaqueredirect") take({ idle: 0, limit: 0 });
  else if (answer.ok) take(await answer.json());
  else throw new Error(`the answer is ${answer.status}`);
}

function action(label, run) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button";
  button.textContent = label;
  button.addEventListener("click", run);
  return button;
}

function say(text, ...more) {
  if (box.dataset.says === text) return; // nothing new to read out
  box.dataset.says = text;
  const words = document.createElement("span");
  words.textContent = text;
  box.replaceChildren(words, ...more);
  box.hidden = !text;
}

async function stay() {
  const token = document.querySelector("#logout-form [name=csrfmiddlewaretoken]").value;
  try {
    await ask(box.dataset.stay, { method: "POST", headers: { "X-CSRFToken": token } });
    tell();
  } catch {
    say("amiweb doesn't answer. Try again, or reload the page.", action("Stay logged in", stay));
  }
}

function tell() {
  const now = Date.now();
  const limit = clock.format(ends.limit);
  if (ends.limit <= now) {
    const link = document.createElement("a");
    link.href = window.location.href;
    link.textContent = "Log in again";
    say("You are logged out. What this page shows is old, and nothing can be done here any more.", link);
  } else if (ends.limit - now <= AHEAD) {
    say(`Your login ends at ${limit}, ${hours} hour${hours === 1 ? "" : "s"} after it began. Save what you are doing, and log in again then.`);
  } else if (ends.idle <= now) {
    say(`Nothing was done here for a while: whatever you do next asks you to log in. What only watches goes on until ${limit}.`);
  } else if (ends.idle - now <= AHEAD) {
    say(`You will have to log in again after ${clock.format(ends.idle)}, since nothing is being done here.`, action("Stay logged in", stay));
  } else {
    say("");
  }
}

/** The next moment at which something else is to be said. */
function next() {
  const now = Date.now();
  const moments = [ends.limit - AHEAD, ends.limit, ends.idle - AHEAD, ends.idle].filter((moment) => moment > now);
  return moments.length ? Math.min(...moments) : null;
}

async function look(due) {
  clearTimeout(timer);
  if (due !== null && Date.now() >= due) {
    try {
      await ask(box.dataset.url);
    } catch {
      // it isn't reached: what is known holds until it is
    }
    tell();
  }
  const moment = next();
  if (moment !== null) timer = setTimeout(look, Math.min(moment - Date.now() + 1000, LONGEST), moment);
}

take({ idle: Number(box.dataset.idle), limit: Number(box.dataset.limit) });
tell();
look(null);
