// The calendar is cut into days by the server, in the time zone that the address names. This names the browser's own
// where the address says nothing, and offers it where the address says another one.

const zone = document.getElementById("cal-zone");
const own = Intl.DateTimeFormat().resolvedOptions().timeZone;

function addressIn(name) {
  const address = new URL(location.href);
  address.searchParams.set("tz", name);
  return address.href;
}

if (zone && own && own !== zone.dataset.zone) {
  const asked = new URL(location.href).searchParams.has("tz");
  // Asked for once only: if the server doesn't know the browser's zone, it says so and stays with its own.
  if (!asked) location.replace(addressIn(own));
  else if ("given" in zone.dataset) {
    document.getElementById("cal-mine").href = addressIn(own);
    document.getElementById("cal-other").hidden = false;
  }
}
