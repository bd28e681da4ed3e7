// A channel variable as name and value, and as it stands in a Variable header.

/** As the client quotes (`quote_variable`): Asterisk cuts the header at commas and takes backslashes away. */
export const quote = (value) => value.replace(/[\\",()[\]]/g, "\\$&");

function unquote(value) {
  const plain = value.replace(/\\(.)/g, "$1");
  return quote(plain) === value ? plain : null; // null: written in another way, and left as it is
}

/** Name and value of `NAME=value`; null where it is written in a way that would not come out the same. */
export function splitVariable(value) {
  const at = value.indexOf("=");
  if (at < 0) return value === "" ? { name: "", value: "" } : null;
  const plain = unquote(value.slice(at + 1));
  return plain === null ? null : { name: value.slice(0, at), value: plain };
}
