// The charts of a report: the page's own, over the points that lie in the file.

import { Chart, dashOf } from "./chart.js";
import { announce, el } from "./dom.js";
import { duration } from "./format.js";
import { summary } from "./frame.js";
import { Legend } from "./legend.js";
import { edgesOf, hide, lineInWords, moved, toggled, valuesInWords, withoutEdges } from "./lines.js";

const HEIGHT = 190;
const told = JSON.parse(document.getElementById("points").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const panels = [];
let shown = [0, told.length_s];

/** Put a chart's lines in the order in which they are drawn: the edges of bands after all of them. */
function linesOf({ lines }) {
  const count = lines.length * (lines[0]?.values.length ?? 0);
  const made = lines.map(({ label, low, values, dash }, index) => {
    const whole = low ? { ...summary(values), min: summary(low).min } : summary(values);
    return { key: label, label, values, role: "line", colour: index, dash: dash ?? dashOf(index, count), hidden: false, summary: whole };
  });
  return [...made, ...lines.flatMap(({ low, values }, index) => (low ? edgesOf(made[index], low, values) : []))];
}

class ReportChart {
  constructor(host, chart) {
    this.data = chart;
    this.lines = linesOf(chart);
    this.hidden = new Set();
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
    const drawn = withoutEdges(this.lines);
    this.legend.reserve(drawn.length);
    this.legend.show(drawn, chart);
    const words = drawn.map((line) => lineInWords(line.label, line.summary, chart));
    this.plot.setAttribute("aria-label", `${title}: chart of ${duration(told.length_s * 1000)}. ${words.join(". ")}`);
  }

  draw() {
    this.chart.destroyPlot();
    this.chart.draw({ times: this.data.times, lines: this.lines, from: shown[0], to: shown[1], step: this.data.step_s });
  }

  #toggle(key, only) {
    this.hidden = toggled(this.hidden, withoutEdges(this.lines).map((line) => line.key), key, only);
    hide(this.lines, this.hidden, this.chart, this.legend);
  }

  #atCursor(index) {
    const time = index === null || index === undefined ? null : this.data.times[index];
    this.legend.atCursor(time === null || time === undefined ? null : duration(time * 1000), index);
  }

  #onKey(event) {
    const index = moved(this.chart, event);
    if (index === null) return;
    const told = withoutEdges(this.lines).filter((line) => !line.hidden);
    announce(`${duration(this.data.times[index] * 1000)}: ${valuesInWords(told, index, this.data)}`);
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
