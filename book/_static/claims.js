/* Filters of the ledger of claims. Without JavaScript the table stands as it is, all rows in view. */
"use strict";

(() => {
  const FILTERS = [["document", "Document"], ["kind", "Kind"], ["verdict", "Verdict"]];

  function choice(name, label, rows) {
    const select = document.createElement("select");
    select.name = name;
    select.append(new Option("all", ""));
    for (const value of new Set(rows.map((row) => row.dataset[name]))) select.append(new Option(value, value));
    const wrapped = document.createElement("label");
    wrapped.append(`${label} `, select);
    return [wrapped, select];
  }

  function search() {
    const input = document.createElement("input");
    input.type = "search";
    const wrapped = document.createElement("label");
    wrapped.append("Words ", input);
    return [wrapped, input];
  }

  function addFilters(table) {
    const rows = [...table.tBodies];  // a body each claim
    const form = document.createElement("form");
    form.className = "ledger-filters";
    form.addEventListener("submit", (event) => event.preventDefault());
    const [words, input] = search();
    const selects = FILTERS.map(([name, label]) => choice(name, label, rows));
    const count = document.createElement("output");
    form.append(...selects.map(([wrapped]) => wrapped), words, count);
    const show = () => {
      const sought = input.value.toLowerCase();
      for (const row of rows) {
        const chosen = selects.every(([, select]) => !select.value || row.dataset[select.name] === select.value);
        row.hidden = !(chosen && row.textContent.toLowerCase().includes(sought));
      }
      count.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} claims`;
    };
    form.addEventListener("input", show);
    table.before(form);
    show();
  }

  function openTarget() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const details = target instanceof HTMLDetailsElement ? target : target?.querySelector("details");
    if (details) details.open = true;
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("table.ledger").forEach(addFilters);
    openTarget();
  });
  window.addEventListener("hashchange", openTarget);
})();
