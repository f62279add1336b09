// The charts of a report: the page's own, over the points that lie in the file.

import { Chart, dashOf } from "./chart.js";
import { announce, el } from "./dom.js";
import { duration, value } from "./format.js";
import { summary } from "./frame.js";
import { Legend } from "./legend.js";

const HEIGHT = 190;
const told = JSON.parse(document.getElementById("points").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const panels = [];
let shown = [0, told.length_s];

/** Put a chart's lines in the order in which they are drawn: those with a band have its edges after them. */
function linesOf({ lines }) {
  const count = lines.length * (lines[0]?.values.length ?? 0);
  const made = lines.map(({ label, values }, index) => ({ key: label, label, values, role: "line", colour: index, dash: dashOf(index, count), hidden: false, summary: summary(values) }));
  lines.forEach(({ low, values }, index) => {
    if (!low) return;
    const line = made[index];
    line.summary = { ...line.summary, min: summary(low).min };
    made.push({ ...line, of: line.key, key: `low${line.key}`, role: "low", values: low }, { ...line, of: line.key, key: `high${line.key}`, role: "high", values });
  });
  return made;
}

class ReportChart {
  constructor(host, chart) {
    this.data = chart;
    this.lines = linesOf(chart);
    const { unit, perSecond, title } = chart;
    this.plot = el("div", { class: "plot", tabindex: "0", role: "img", onkeydown: (event) => this.#onKey(event) });
    this.legend = new Legend(title, { onToggle: (key, only) => this.#toggle(key, only), onFocus: (index) => this.chart.focus(index) });
    host.append(el("header", {}, el("h3", {}, title)), el("div", { class: "picture" }, this.plot), this.legend.element);
    this.chart = new Chart(this.plot, {
      height: HEIGHT, unit, perSecond, sync: "report", relative: true,
      onZoom: (from, to) => show(from, to),
      onReset: () => show(0, told.length_s),
      onCursor: (index) => this.#atCursor(index),
      overlay: () => ({ instants: told.instants, unrecorded: [] }),
    });
    const drawn = this.#drawn();
    this.legend.reserve(drawn.length);
    this.legend.show(drawn, { unit, perSecond });
    const words = drawn.map(({ label, summary: { min, avg, max } }) => `${label}: least ${value(min, unit, perSecond)}, average ${value(avg, unit, perSecond)}, greatest ${value(max, unit, perSecond)}`);
    this.plot.setAttribute("aria-label", `${title}: chart of ${duration(told.length_s * 1000)}. ${words.join(". ")}`);
  }

  draw() {
    this.chart.destroyPlot();
    this.chart.draw({ times: this.data.times, lines: this.lines, from: shown[0], to: shown[1], step: this.data.step_s });
  }

  #drawn() {
    return this.lines.filter((line) => line.role === "line");
  }

  #toggle(key, only) {
    const drawn = this.#drawn();
    const alone = drawn.every((line) => line.hidden === (line.key !== key));
    for (const line of drawn) if (only) line.hidden = !alone && line.key !== key; else if (line.key === key) line.hidden = !line.hidden;
    const hidden = new Set(drawn.filter((line) => line.hidden).map((line) => line.key));
    this.lines.forEach((line, index) => {
      line.hidden = hidden.has(line.of ?? line.key);
      this.chart.show(index, !line.hidden);
    });
    this.legend.mark(hidden);
  }

  #atCursor(index) {
    const time = index === null || index === undefined ? null : this.data.times[index];
    this.legend.atCursor(time === null || time === undefined ? null : duration(time * 1000), index);
  }

  #onKey(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const index = this.chart.move(event.shiftKey ? by * 10 : by);
    if (index === null) return;
    const { unit, perSecond, times } = this.data;
    announce(`${duration(times[index] * 1000)}: ${this.#drawn().map((line) => `${line.label} ${value(line.values[index], unit, perSecond)}`).join(", ")}`);
  }
}

function show(from, to) {
  shown = [from, to];
  for (const panel of panels) panel.draw();
}

function dress() {
  document.documentElement.dataset.theme = dark.matches ? "dark" : "light";
  for (const panel of panels) panel.draw();
}

told.charts.forEach((chart, index) => panels.push(new ReportChart(document.getElementById(`chart-${index}`), chart)));
dark.addEventListener("change", dress);
dress();
