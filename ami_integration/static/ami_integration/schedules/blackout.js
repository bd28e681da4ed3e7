// The form of a blackout: only the fields that the chosen kind uses, and schedules only where some are chosen.

const OF_KIND = { once: ["starts_at", "ends_at"], weekly: ["weekdays", "starts_time", "minutes"] };
const kind = document.getElementById("id_kind");
const scope = document.getElementById("id_scope");

function show() {
  for (const [one, names] of Object.entries(OF_KIND)) {
    for (const name of names) {
      const row = document.querySelector(`.form-row.field-${name}`);
      if (row) row.hidden = one !== kind.value;
    }
  }
}

function choose() {
  const row = document.querySelector(".form-row.field-schedules");
  if (row) row.hidden = scope.value !== "some";
}

if (scope) {
  scope.addEventListener("change", choose);
  choose();
}

if (kind) {
  kind.addEventListener("change", show);
  show();
}
