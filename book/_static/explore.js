// The explorer: filters over the JSON inside `.explorer`, a chart by Vega-Lite (a file of this book), a table, a CSV, a link.
"use strict";

(() => {
  const FILTERS = ["agent", "rate", "workers", "study"];
  const source = document.currentScript.src;

  document.addEventListener("DOMContentLoaded", () => {
    const box = document.querySelector(".explorer");
    if (!box) return;
    const vega = Object.assign(document.createElement("script"), { src: new URL("texts/vega.js", source) });
    vega.onload = () => start(box, JSON.parse(box.querySelector("script").textContent));
    document.head.append(vega);
  });

  function start(box, data) {
    const runs = new Map(data.runs.map((run) => [run.name, run]));
    const form = document.createElement("form"), chart = document.createElement("div"), table = document.createElement("div");
    const csv = Object.assign(document.createElement("button"), { type: "button", textContent: "CSV of what is shown" });
    const count = document.createElement("output");
    chart.className = "chart";
    box.append(form, chart, count, " ", csv, table);
    const selects = { metric: select("metric", Object.keys(data.metrics)), scenario: select("scenario", []) };
    FILTERS.forEach((name) => {
      const values = [...new Set(data.runs.map((run) => run[name]))];
      const numbers = name === "rate" || name === "workers";
      selects[name] = select(name, ["all", ...(numbers ? values.sort((a, b) => a - b) : values)]);
    });

    function select(name, values) {
      const label = document.createElement("label"), choice = document.createElement("select");
      choice.name = name;
      values.forEach((value) => choice.append(new Option(value, value)));
      label.append(`${name} `, choice);
      form.append(label);
      return choice;
    }

    function scenarios() {
      const before = selects.scenario.value;
      selects.scenario.replaceChildren(...data.metrics[selects.metric.value].map((value) => new Option(value, value)));
      if (data.metrics[selects.metric.value].includes(before)) selects.scenario.value = before;
    }

    function restore() {  // what the address says, else the main study
      const given = new URLSearchParams(location.hash.slice(1));
      const set = (name, fallback) => {
        selects[name].value = given.get(name) ?? fallback;
        if (selects[name].selectedIndex < 0) selects[name].selectedIndex = 0;
      };
      set("metric", Object.keys(data.metrics)[0]);
      scenarios();
      set("scenario", data.metrics[selects.metric.value][0]);
      FILTERS.forEach((name) => set(name, name === "study" && !location.hash ? data.runs[0].study : "all"));
    }

    function chosen() {
      const fits = ([name, metric, scenario]) => metric === selects.metric.value && scenario === selects.scenario.value
        && FILTERS.every((each) => ["all", runs.get(name)[each]].includes(selects[each].value));
      const [means, effects] = [data.means.filter(fits), data.effects.filter(fits)];
      const vary = FILTERS.filter((each) => new Set(means.map(([name]) => runs.get(name)[each])).size > 1);
      const line = (name) => (vary.length ? vary : ["agent"]).map((each) => (each === "workers" ? "w" : "") + runs.get(name)[each]).join(", ");
      const each = (kind) => ([name, , , estimate, low, high, n, said, rest]) =>
        ({ kind, name, ...runs.get(name), line: line(name), estimate, low, high, n, said, rest });
      return [means.map(each("mean")), effects.map(each("effect"))];
    }

    function show() {
      const [means, effects] = chosen();
      const told = new Map(effects.map((row) => [row.name, row]));
      count.textContent = `${means.length} runs, ${effects.length} differences.`;
      draw(means, effects);
      const head = ["run", "agent", "norm", "rate", "mean [95 %]", "n", "norm − none [95 %]", "n"];
      table.innerHTML = `<table class="table"><thead><tr>${head.map((name) => `<th scope="col">${name}</th>`).join("")}</tr></thead>
        <tbody>${means.map((row) => {
          const effect = told.get(row.name), cells = [row.agent, row.norm, row.rate, row.said, row.n,
            effect?.said ?? "", effect?.n ?? ""];
          return `<tr data-run="${row.name}"><td><a href="${row.page}">${row.name}</a></td>
            ${cells.map((cell) => `<td><span class="whole">${cell}</span></td>`).join("")}</tr>`;
        }).join("")}</tbody></table>`;
    }

    function draw(means, effects) {
      const lines = [...new Set(means.map((row) => row.line))], wide = chart.clientWidth > 700;
      const norms = [...new Set(data.runs.map((run) => run.norm))];
      const seeds = means.flatMap((row) => row.rest.map((value) => ({ ...row, value, rest: undefined })));
      const y = { field: "line", type: "nominal", sort: lines, title: null, axis: { labelLimit: wide || chart.clientWidth > 500 ? 260 : 130, grid: true, tickBand: "extent" } };
      const yOffset = { field: "norm", type: "nominal", sort: norms }, offset = { field: "norm", type: "nominal", sort: norms };
      const color = { field: "norm", type: "nominal", scale: { domain: norms, range: norms.map((name) => data.colours[name]) },
        legend: { orient: "top", title: null, values: [...new Set(means.map((row) => row.norm))], symbolOpacity: 1, columns: wide ? 4 : 2, labelLimit: 260 } };
      const bars = (values, title, more) => ({ width: wide || chart.clientWidth > 500 ? 300 : 170, height: { step: 13 }, layer: [
        ...more,
        { data: { values }, mark: { type: "rule", strokeWidth: 3 }, encoding: { y, yOffset: offset, color,
          x: { field: "low", type: "quantitative", scale: { zero: false }, title }, x2: { field: "high" } } },
        { data: { values }, mark: { type: "point", filled: true, size: 60, opacity: 1 }, encoding: { y, yOffset: offset, color,
          x: { field: "estimate", type: "quantitative" },
          tooltip: [{ field: "name" }, { field: "said", title: "estimate" }, { field: "n", title: "seeds" }] } },
      ] });
      const dots = { data: { values: seeds }, mark: { type: "point", size: 14, opacity: 0.55 },
        encoding: { y, yOffset, color, x: { field: "value", type: "quantitative" }, tooltip: [{ field: "name" }, { field: "value" }] } };
      const zero = { data: { values: [{}] }, mark: { type: "rule", aria: false, color: "currentColor", strokeDash: [3, 3] }, encoding: { x: { datum: 0 } } };
      const parts = [bars(means, selects.metric.value, [dots])];
      if (effects.length) parts.push(bars(effects, "norm − none, paired by seed", [zero]));
      const spec = { [wide ? "hconcat" : "vconcat"]: parts,
        background: null, description: `${selects.metric.value}, ${selects.scenario.value}`,
        config: { axis: { labelColor: "currentColor", titleColor: "currentColor", domainColor: "#888", tickColor: "#888",
          gridColor: "#8884", labelFontSize: 12, titleFontSize: 12 }, legend: { labelColor: "currentColor", labelFontSize: 12 },
        view: { stroke: null } } };
      window.vegaEmbed(chart, spec, { mode: "vega-lite", renderer: "svg", actions: false });
    }

    function download() {
      const [means, effects] = chosen();
      const rows = [["kind", "run", "agent", "norm", "rate", "workers", "study", "metric", "scenario", "estimate", "low", "high", "n", "seeds"],
        ...[...means, ...effects].map((row) => [row.kind, row.name, row.agent, row.norm, row.rate, row.workers, row.study,
          selects.metric.value, selects.scenario.value, row.estimate, row.low, row.high, row.n, row.kind === "mean" ? row.rest.join(" ") : ""])];
      const text = rows.map((row) => row.map((cell) => `"${cell}"`).join(",")).join("\n");
      Object.assign(document.createElement("a"), { href: `data:text/csv;charset=utf-8,${encodeURIComponent(text)}`, download: "explorer.csv" }).click();
    }

    form.addEventListener("input", (event) => {
      if (event.target === selects.metric) scenarios();
      const kept = Object.entries(selects).map(([name, choice]) => [name, choice.value]);
      history.replaceState(null, "", `#${new URLSearchParams(kept)}`);
      show();
    });
    window.addEventListener("hashchange", () => { restore(); show(); });
    csv.addEventListener("click", download);
    restore();
    show();
  }
})();
