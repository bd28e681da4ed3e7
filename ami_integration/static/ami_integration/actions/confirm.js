// The preview: the button wakes up when what was asked for has been typed. The server compares again.

const typed = document.getElementById("id_typed");
const button = document.getElementById("confirm-run");
const form = document.getElementById("confirm");

const plain = (text) => text.trim().replace(/\s+/g, " ").toLowerCase();

if (typed && button) {
  const compare = () => {
    button.disabled = plain(typed.value) !== plain(typed.dataset.phrase);
  };
  typed.addEventListener("input", compare);
  compare();
  typed.focus();
}
// Where nothing has to be typed, nothing is focused: the Enter that sent the form must not confirm it too.

// A double click is one request anyway; this only spares the second.
const buttons = form ? [...form.querySelectorAll("input[type=submit]")] : [];
form?.addEventListener("submit", () => setTimeout(() => buttons.forEach((one) => (one.disabled = true))));
addEventListener("pageshow", (event) => {
  if (event.persisted) buttons.forEach((one) => (one.disabled = false)); // the browser's Back
});
