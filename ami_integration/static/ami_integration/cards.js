// On a phone the rows of a table become cards (.aw-stack and the admin's lists, in amiweb.css). Its head is away then,
// so each cell is told the name of its column, and the card shows it; a cell that says nothing is left out.

/** Name the cells of a table whose rows become cards; again after its rows were drawn anew. */
export function nameCells(table) {
  const names = [...(table.tHead?.rows[0]?.cells ?? [])].map((head) => (head.querySelector(".text") ?? head).textContent.trim());
  for (const body of table.tBodies) {
    for (const row of body.rows) {
      [...row.cells].forEach((cell, column) => {
        if (cell.tagName === "TD" && names[column]) cell.dataset.label = names[column];
        cell.classList.toggle("aw-blank", ["", "-", "–"].includes(cell.textContent.trim()) && !cell.querySelector("input, button"));
      });
    }
  }
}

document.querySelectorAll("#result_list, table.aw-stack").forEach(nameCells);
