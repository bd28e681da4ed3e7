// Making elements. Everything that comes from a PBX is written as text, never as HTML: strangers on the telephone
// network write it.

/** An element with attributes and children; strings become text. */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

export function button(label, onClick, attributes = {}) {
  const node = element("button", { type: "button", class: "button", ...attributes }, label);
  node.addEventListener("click", onClick);
  return node;
}

export function card(title, ...children) {
  return element("section", { class: "aw-card" }, element("h2", {}, title), ...children);
}

export function preformatted(text, label) {
  return element("pre", { class: "aw-pre aw-pre-lines", tabindex: "0", "aria-label": label }, text);
}

/** A button that copies text; `shown` is where that text stands, selected where there is no clipboard. */
export function copyButton(label, text, shown) {
  const node = button(label, async () => {
    try {
      await navigator.clipboard.writeText(text);
      node.textContent = "Copied";
    } catch {
      // Browsers give the clipboard to secure pages alone; elsewhere the text is selected for the keyboard.
      if (shown) getSelection().selectAllChildren(shown);
      node.textContent = shown ? "Selected: press Ctrl+C" : "This browser doesn't allow it here";
    }
    setTimeout(() => (node.textContent = label), 4000);
  });
  return node;
}

export function clock(iso) {
  return `${iso.slice(0, 10)} ${iso.slice(11, 19)} UTC`;
}

export function duration(seconds) {
  // No-break spaces: a number and its unit stay together.
  if (seconds < 0.0995) return `${(seconds * 1000).toFixed(1)}\u00a0ms`;
  return seconds < 10 ? `${seconds.toFixed(2)}\u00a0s` : `${Math.round(seconds)}\u00a0s`;
}

export function bytes(number) {
  if (number < 1024) return `${number} bytes`;
  if (number < 1024 * 1024) return `${(number / 1024).toFixed(1)} KiB`;
  return `${(number / 1024 / 1024).toFixed(1)} MiB`;
}
