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

// The admin's own search box for schedules draws itself after this, without a name for it, and as a list that holds
// more than its items; whoever can't see it hears its label and its choices.
function nameSearch() {
  const row = document.querySelector(".form-row.field-schedules");
  const search = row?.querySelector(".select2-search__field");
  if (!search) return;
  search.setAttribute("aria-label", "Search for schedules");
  row.querySelector(".select2-selection__rendered").setAttribute("role", "presentation");
}

const schedules = document.querySelector(".form-row.field-schedules");
if (schedules) {
  new MutationObserver(nameSearch).observe(schedules, { childList: true, subtree: true });
  nameSearch();
}
