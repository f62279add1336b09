// The lines of a chart: which are hidden, which edges a band adds, what the arrow keys point at, and what is read out.

import { value } from "./format.js";

/** The edges of a line's band, which are drawn after all lines: a legend's rows are the first of what is drawn. */
export const edgesOf = (line, low, high) =>
  [["low", low], ["high", high]].map(([role, values]) => ({ ...line, of: line.key, key: role + line.key, role, values }));

/** The lines that a legend has: not the edges of bands. */
export const withoutEdges = (lines) => lines.filter((line) => line.role === "line");

/** Which keys are hidden once one is toggled; or, with `only`, shown alone, and all of them again where it was alone. */
export function toggled(hidden, keys, key, only) {
  if (only) {
    const isAlone = keys.every((each) => hidden.has(each) === (each !== key));
    return new Set(isAlone ? [] : keys.filter((each) => each !== key));
  }
  return new Set(hidden.has(key) ? [...hidden].filter((each) => each !== key) : [...hidden, key]);
}

/** Hide lines with the edges of their bands, by key, on their chart and in its legend; show the others. */
export function hide(lines, hidden, chart, legend) {
  lines.forEach((line, index) => {
    line.hidden = hidden.has(line.of ?? line.key);
    chart.show(index, !line.hidden);
  });
  legend.mark(hidden);
}

/** Move a chart's cursor as an arrow key asks, by ten points with Shift; give the index it is at, null: another key. */
export function moved(chart, event) {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!by || event.altKey || event.ctrlKey || event.metaKey) return null;
  event.preventDefault();
  return chart.move(event.shiftKey ? by * 10 : by);
}

/** What a screen reader says of lines at a point. */
export const valuesInWords = (lines, index, { unit, perSecond }) =>
  lines.map((line) => `${line.label} ${value(line.values[index], unit, perSecond)}`).join(", ");

/** What a screen reader says of a line as a whole. */
export const lineInWords = (name, { min, avg, max }, { unit, perSecond }) =>
  `${name}: least ${value(min, unit, perSecond)}, average ${value(avg, unit, perSecond)}, greatest ${value(max, unit, perSecond)}`;
