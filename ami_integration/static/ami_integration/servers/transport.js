// The form of a server shows the fields of the chosen transport only. Without this script all of them stand there.

const transport = document.getElementById("id_transport");

function show() {
  for (const name of ["tls", "ssh"]) {
    const fieldset = document.querySelector(`fieldset.aw-only-${name}`);
    // What is wrong with a field is never hidden.
    if (fieldset) fieldset.hidden = transport.value !== name && !fieldset.querySelector(".errorlist");
  }
}

if (transport) {
  transport.addEventListener("change", show);
  show();
}
