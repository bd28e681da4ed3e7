// The form of a server shows the fields of the chosen transport and of the chosen source of its secrets only. Without
// this script all of them stand there.

const transport = document.getElementById("id_transport");
const source = document.getElementById("id_secret_source");
const TYPED = ["secret", "action_secret", "ssh_key", "ssh_password"];

// What is wrong with a field is never hidden.
const hide = (part, hidden) => {
  if (part) part.hidden = hidden && !part.querySelector(".errorlist");
};

function show() {
  for (const name of ["tls", "ssh"]) {
    hide(document.querySelector(`fieldset.aw-only-${name}`), transport.value !== name);
  }
  if (!source) return;
  const stored = source.value === "stored";
  hide(document.querySelector(".form-row.field-secret_name"), stored);
  for (const name of TYPED) hide(document.querySelector(`.form-row.field-${name}`), !stored);
}

if (transport) {
  transport.addEventListener("change", show);
  source?.addEventListener("change", show);
  show();
}
