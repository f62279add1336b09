// The points of a chart as a table, as CSV and as JSON.

import { el } from "./dom.js";
import { duration, instant, value } from "./format.js";

const MAX_ROWS = 500;

/** Give a table of the newest points, the newest first. */
export function pointsTable(title, lines, times, { unit, perSecond }, relative) {
  const there = times.map((_, index) => index).filter((index) => lines.some((line) => line.values[index] !== null)).reverse();
  const text = (seconds) => (relative ? duration(seconds * 1000) : instant(seconds * 1000));
  const left = there.length - MAX_ROWS;
  return el("table", {},
    el("caption", {}, left > 0 ? `${title}: the newest ${MAX_ROWS} of ${there.length} points; CSV has all` : title),
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, relative ? "since start" : "time"), lines.map((line) => el("th", { scope: "col" }, line.label || "value")))),
    el("tbody", {}, there.slice(0, MAX_ROWS).map((index) =>
      el("tr", {}, el("th", { scope: "row" }, text(times[index])), lines.map((line) => el("td", {}, line.values[index] === null ? "" : value(line.values[index], unit, perSecond)))))));
}

/** Give the lines as CSV: times in s since the epoch and as RFC 3339, then a column for each line. */
export function csv(lines = [], times = []) {
  // A text that a spreadsheet would take for a formula is kept from being one.
  const cell = (text) => `"${(/^[=+\-@\t\r]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
  const name = (line) => `${line.whole || line.label || "value"}${line.role === "line" ? "" : ` ${line.role}`}`;
  const rows = [["time", "rfc3339", ...lines.map((line) => cell(name(line)))].join(",")];
  times.forEach((time, index) => {
    if (lines.some((line) => line.values[index] !== null)) {
      rows.push([time, new Date(time * 1000).toISOString(), ...lines.map((line) => line.values[index] ?? "")].join(","));
    }
  });
  return `${rows.join("\n")}\n`;
}

/** Give the lines as JSON: what was asked, and the points of each series as [s, value]. */
export function json(asked = [], lines = [], times = []) {
  const series = lines.map(({ labels, tag, role, values }) => ({
    labels, reading: role === "line" ? tag : `${tag} ${role}`.trim(),
    points: times.map((time, index) => [time, values[index]]).filter(([, number]) => number !== null),
  }));
  return `${JSON.stringify({ expressions: asked.map((each) => each.expression), labels: asked[0]?.only ?? {}, series }, null, 1)}\n`;
}
