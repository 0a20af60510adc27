// Tables that can be sorted and searched: every <table data-rows="25"> gets buttons at the heads of its columns, a
// search box, and shows so many rows until all are asked for. Without this script all rows are shown.
"use strict";
for (const table of document.querySelectorAll("table[data-rows]")) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const texts = rows.map((row) => row.cells[0].textContent.normalize("NFKC").toLowerCase());
  const first = Number(table.dataset.rows);
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  let all = false;

  const tools = document.createElement("p");
  tools.className = "tools";
  const box = document.createElement("input");
  box.type = "search";
  box.placeholder = "Search: " + heads[0].textContent.toLowerCase();
  box.setAttribute("aria-label", "Search in " + table.closest("[aria-label]").getAttribute("aria-label"));
  const said = document.createElement("span");
  said.setAttribute("role", "status");
  const more = document.createElement("button");
  more.type = "button";
  const hint = document.createElement("span");
  hint.textContent = "The head of a column sorts by it.";
  tools.append(box, said, more, hint);
  table.closest(".scroll").before(tools);

  function show() {
    const wanted = box.value.normalize("NFKC").toLowerCase().trim();
    let found = 0;
    let shown = 0;
    for (const row of body.rows) {
      const fits = texts[rows.indexOf(row)].includes(wanted);
      found += fits;
      row.hidden = !fits || (!all && shown >= first);
      shown += !row.hidden;
    }
    said.textContent = shown + " of " + (wanted ? found + " found" : rows.length);
    more.textContent = all ? "Show " + first : "Show all " + found;
    more.hidden = found <= first;
  }

  // Numbers are read as they are shown; what is unknown stands last either way.
  function value(row, column) {
    const text = row.cells[column].textContent.trim();
    const number = Number(text.replace(/,/g, "").replace("\u2212", "-"));
    return column && !Number.isNaN(number) ? number : column ? NaN : text;
  }

  function sort(column) {
    const descending =
      heads[column].getAttribute("aria-sort") !== (column ? "descending" : "ascending") ? Boolean(column) : !column;
    for (const head of heads) head.removeAttribute("aria-sort");
    heads[column].setAttribute("aria-sort", descending ? "descending" : "ascending");
    const keyed = rows.map((row) => [row, value(row, column)]);
    keyed.sort(([, a], [, b]) => {
      if (typeof a === "string") return descending ? b.localeCompare(a) : a.localeCompare(b);
      if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
      return descending ? b - a : a - b;
    });
    body.append(...keyed.map(([row]) => row));
    show();
  }

  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(column));
  });
  box.addEventListener("input", show);
  more.addEventListener("click", () => { all = !all; show(); });
  show();
}
