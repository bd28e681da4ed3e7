// Where an action runs: ticked servers, or those of a tag.

const byId = (id) => document.getElementById(id);

/**
 * Bring the picker of a form to life.
 *
 * @param {HTMLFormElement} form
 * @param {function()} onChange after another choice
 * @returns {function(): URLSearchParams} the choice now, as the server reads it
 */
export function serverPicker(form, onChange) {
  const boxes = [...form.querySelectorAll("input[name=server]")];
  const tag = byId("id_tag");
  const plan = byId("request-plan");

  const items = boxes.map((box) => box.closest("li"));
  const itemTags = items.map((item) => item.dataset.tags.split(" ").filter(Boolean));

  function chosen() {
    if (tag?.value) return boxes.filter((_, number) => itemTags[number].includes(tag.value));
    return boxes.filter((box) => box.checked);
  }

  function show() {
    const byTag = Boolean(tag?.value);
    boxes.forEach((box) => (box.disabled = byTag));
    if (byTag) boxes.forEach((box, number) => (box.checked = itemTags[number].includes(tag.value)));
    const count = chosen().length;
    byId("request-count").textContent = count === 0 ? "none chosen" : count === 1 ? "1 chosen" : `${count} chosen`;
    plan.hidden = count < 2;
  }

  function where() {
    const query = new URLSearchParams();
    if (tag?.value) query.append("tag", tag.value);
    else for (const box of chosen()) query.append("server", box.value);
    return query;
  }

  const filter = byId("request-filter");
  if (filter) {
    filter.closest("p").hidden = false;
    const visible = () => boxes.filter((_, number) => !items[number].hidden && !boxes[number].disabled);
    filter.addEventListener("input", () => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      items.forEach((item) => {
        const content = item.textContent.toLowerCase();
        item.hidden = !words.every((word) => content.includes(word));
      });
    });
    filter.addEventListener("keydown", (event) => {
      if (event.key === "Enter") event.preventDefault(); // it filters, and sends nothing
    });
    for (const [id, on] of [["request-all", true], ["request-none", false]]) {
      byId(id).addEventListener("click", () => {
        (on ? visible() : boxes.filter((box) => !box.disabled)).forEach((box) => (box.checked = on));
        show();
        onChange();
      });
    }
  }

  for (const part of [form.querySelector(".request-servers"), tag]) {
    part?.addEventListener("change", () => {
      show();
      onChange();
    });
  }
  show();
  return where;
}
