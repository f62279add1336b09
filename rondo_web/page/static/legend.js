// A legend: a table of a chart's lines with the least, mean, greatest and last value of each; a line is hidden by a click.

import { el, fill } from "./dom.js";
import { value } from "./format.js";

const MAX_ROWS = 8; // as many as lines are drawn unasked; more scroll

export class Legend {
  /** `onToggle(key, only)`: a line is to be hidden or shown, or shown alone; `onFocus(index)`: one is pointed at. */
  constructor(title, { onToggle, onFocus }) {
    this.onToggle = onToggle;
    this.onFocus = onFocus;
    this.rows = [];
    this.last = el("th", { scope: "col" }, "last");
    this.body = el("tbody");
    this.element = el("div", { class: "legend", tabindex: "0", role: "region", "aria-label": `${title}: legend` },
      el("table", {},
        el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "series"), ["min", "avg", "max"].map((each) => el("th", { scope: "col" }, each)), this.last)),
        this.body));
  }

  /** Leave room for so many lines, so that nothing moves when they come. */
  reserve(count) {
    this.element.dataset.rows = String(Math.min(Math.max(count, 1), MAX_ROWS));
  }

  /** Show lines. The rows stay as they are where the lines do. */
  show(lines, { unit, perSecond }) {
    this.unit = unit;
    this.perSecond = perSecond;
    this.reserve(Math.max(lines.length, Number(this.element.dataset.rows)));
    if (this.rows.length !== lines.length || this.rows.some((row, index) => row.line.key !== lines[index].key)) {
      this.rows = lines.map((line, index) => this.#row(line, index));
      fill(this.body, ...this.rows.map((row) => row.element));
    }
    this.rows.forEach((row, index) => {
      row.line = lines[index];
      const { min, avg, max, last } = lines[index].summary;
      [min, avg, max, last].forEach((number, cell) => {
        const text = value(number, unit, perSecond);
        if (row.cells[cell].textContent !== text && !(cell === 3 && this.cursor !== null && this.cursor !== undefined)) row.cells[cell].textContent = text;
      });
    });
    this.mark(new Set(lines.filter((line) => line.hidden).map((line) => line.key)));
  }

  #row(line, index) {
    const cells = [0, 1, 2, 3].map(() => el("td"));
    const swatch = el("span", { class: `swatch line-${line.colour % 8}${line.dash ? " dashed" : ""}` });
    const button = el("button", { class: "series", "aria-pressed": "true", title: `${line.whole || line.label || "series"}: click hides it; Shift and click shows it alone`, onclick: (event) => this.onToggle(line.key, event.shiftKey) }, swatch, el("span", { class: "label" }, line.label || "value"));
    const element = el("tr", { onmouseenter: () => this.onFocus(index), onmouseleave: () => this.onFocus(null) }, el("th", { scope: "row" }, button), cells);
    return { line, element, button, cells };
  }

  /** Mark which lines are hidden. */
  mark(hidden) {
    for (const { line, button, element } of this.rows) {
      button.setAttribute("aria-pressed", String(!hidden.has(line.key)));
      element.classList.toggle("off", hidden.has(line.key));
    }
  }

  /** Show the values at a point in the place of the last ones. `time`: its words; null: the last ones again. */
  atCursor(time, index) {
    this.cursor = time === null ? null : index;
    this.last.textContent = time ?? "last";
    this.last.classList.toggle("at", time !== null);
    for (const { line, cells } of this.rows) {
      cells[3].textContent = value(time === null ? line.summary.last : line.values[index], this.unit, this.perSecond);
    }
  }
}
