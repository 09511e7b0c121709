// Draws charts from tables (markup: docs/charts.md). Without this file only the table is shown.
"use strict";

(() => {
  const THIN = "\u202f";
  const MINUS = "\u2212";
  const COLORS = ["accent", "info", "warn", "bad"]; // of tokens.css, in the order of the series
  const HEIGHT = 220;
  const LANGUAGE = document.documentElement.lang === "en" ? "en-GB" : document.documentElement.lang; // "26 Oct", not "Oct 26"

  function written(value) {
    if (value == null) return "–";
    const digits = Math.abs(value).toString().replace(/\B(?=(\d{3})+(?!\d))/g, THIN);
    return (value < 0 ? MINUS : "") + digits;
  }

  // Short axis labels: 1 200 000 becomes 1.2M.
  function shortened(value) {
    const size = Math.abs(value);
    for (const [unit, mark] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
      if (size >= unit) return new Intl.NumberFormat(LANGUAGE, { maximumFractionDigits: 1 }).format(value / unit) + mark;
    }
    return String(Math.round(value * 100) / 100);
  }

  // "26 Oct" if the labels are at least a day apart, else "14:30". In UTC.
  function moment(seconds, step) {
    const part = step >= 86400 ? { day: "numeric", month: "short" } : { hour: "2-digit", minute: "2-digit" };
    return new Date(seconds * 1000).toLocaleString(LANGUAGE, { ...part, timeZone: "UTC" });
  }

  function number(cell) {
    const text = cell.dataset.value ?? cell.textContent.replace(/[\s_\u2009\u202f\u00a0]/g, "").replace(MINUS, "-");
    return /^[+-]?\d+(\.\d+)?$/.test(text) ? Number(text) : null;
  }

  // Reads a table: its first column is a time (data-at, in milliseconds) or a name; columns with data-series are drawn.
  function read(table) {
    const heads = [...table.tHead.rows[0].cells];
    const drawn = heads.map((head, column) => [head, column]).filter(([head]) => "series" in head.dataset);
    const rows = [...table.tBodies[0].rows];
    const times = rows.every((row) => row.cells[0].dataset.at);
    return {
      times,
      labels: rows.map((row) => row.cells[0].textContent.trim()),
      names: drawn.map(([head]) => head.dataset.series || head.textContent.trim()),
      colors: drawn.map(([head], index) => head.dataset.color || COLORS[index % COLORS.length]),
      data: [
        rows.map((row, index) => (times ? Number(row.cells[0].dataset.at) / 1000 : index)),
        ...drawn.map(([, column]) => rows.map((row) => number(row.cells[column]))),
      ],
    };
  }

  function tooltip(found) {
    const box = document.createElement("div");
    box.className = "chart-tip";
    box.hidden = true;
    return {
      hooks: {
        init: (plot) => plot.over.append(box),
        setCursor: (plot) => {
          const { idx, left } = plot.cursor;
          box.hidden = idx == null || left < 0;
          if (box.hidden) return;
          box.replaceChildren(line("b", found.labels[idx]));
          found.names.forEach((name, series) => box.append(line("span", `${name} ${written(found.data[series + 1][idx])}`)));
          const right = left > plot.over.clientWidth / 2;
          box.style.left = right ? "" : `${left + 12}px`;
          box.style.right = right ? `${plot.over.clientWidth - left + 12}px` : "";
        },
      },
    };
  }

  function line(tag, text) {
    const element = document.createElement(tag);
    element.textContent = text;
    return element;
  }

  function options(figure, found, width) {
    const style = getComputedStyle(figure);
    const color = (name) => style.getPropertyValue(`--${name}`).trim();
    const bars = figure.dataset.chart === "bars";
    const font = `12px ${color("sans")}`;
    const axis = { stroke: color("soft"), font, grid: { stroke: color("line"), width: 1 }, ticks: { show: false } };
    return {
      width,
      height: HEIGHT,
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { show: !bars } },
      padding: [8, 8, 0, 0],
      scales: {
        x: { time: found.times, range: (_, low, high) => around(found, low, high) },
        y: { range: (_, low, high) => [Math.min(0, low), Math.max(high, 1) * 1.05] },
      },
      axes: [
        { ...axis, grid: { show: false }, values: (_, splits, __, ___, step) => splits.map((at) => (found.times ? moment(at, step) : found.labels[at] ?? "")) },
        { ...axis, size: 52, values: (_, splits) => splits.map(shortened) },
      ],
      series: [
        {},
        ...found.names.map((label, index) => ({
          label,
          stroke: color(found.colors[index]),
          fill: bars ? color(found.colors[index]) : undefined,
          width: bars ? 0 : 2,
          paths: bars ? uPlot.paths.bars({ size: [0.7, 48], align: 0 }) : undefined,
          points: { show: !bars, filter: (plot, series) => isolated(plot.data[series]) },
        })),
      ],
      plugins: [tooltip(found)],
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
    };
  }

  // Values without neighbors, which no line reaches: they are drawn as points.
  function isolated(values) {
    return [...values.keys()].filter((at) => values[at] != null && values[at - 1] == null && values[at + 1] == null);
  }

  // Half a step of margin, so that the first and last bar are not cut off.
  function around(found, low, high) {
    const xs = found.data[0];
    const step = xs.length > 1 ? Math.abs(xs[1] - xs[0]) : found.times ? 86400 : 1;
    return [low - step / 2, high + step / 2];
  }

  function draw(figure) {
    const table = figure.querySelector("table");
    const found = table && read(table);
    if (!found || found.labels.length === 0 || found.names.length === 0) return;
    const place = document.createElement("div");
    place.className = "chart-plot";
    place.setAttribute("aria-hidden", "true"); // the table has the same data
    figure.querySelector("figcaption").after(place);
    const key = found.names.length > 1 ? labels(found) : null;
    if (key) place.before(key);
    let plot = null;
    const render = () => {
      plot?.destroy();
      plot = new uPlot(options(figure, found, place.clientWidth), found.data, place);
    };
    render();
    new ResizeObserver(() => { if (place.clientWidth !== plot.width) plot.setSize({ width: place.clientWidth, height: HEIGHT }); }).observe(place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", render);
  }

  function labels(found) {
    const list = document.createElement("ul");
    list.className = "chart-key";
    list.setAttribute("aria-hidden", "true");
    found.names.forEach((name, index) => {
      const item = line("li", name);
      item.dataset.color = found.colors[index];
      list.append(item);
    });
    return list;
  }

  document.querySelectorAll("figure[data-chart]").forEach(draw);
})();
