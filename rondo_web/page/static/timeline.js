// The time of a life beside its points: runs as bands, marks and notes as signs, and the list of them.

import { el, fill } from "./dom.js";
import { counted, duration, instant } from "./format.js";
import { OUTCOMES } from "./words.js";

/** Give what charts draw of a life's time, in s: spans in which nobody recorded, and instants. */
export function overlayOf(life, nowMs) {
  const instants = [], unrecorded = [];
  let before = 0;
  life.runs.forEach((run, index) => {
    const next = life.runs[index + 1];
    const isLast = !next;
    const end = isLast ? (life.outcome === "live" ? null : life.end_ms) : (run.end_ms ?? null);
    if (run.start_ms > before) unrecorded.push([before / 1000, run.start_ms / 1000]);
    instants.push({ at: run.start_ms / 1000, colour: "--start" });
    if (end) instants.push({ at: end / 1000, colour: OUTCOMES[run.outcome].colour });
    before = end ?? next?.start_ms ?? Infinity;
  });
  if (Number.isFinite(before) && life.runs.length) unrecorded.push([before / 1000, nowMs / 1000 + 1e9]);
  for (const event of life.events) instants.push({ at: event.time_ms / 1000, colour: event.kind === "mark" ? "--mark" : "--note", dashed: true });
  return { instants, unrecorded };
}

/** Give an event in words, without its time. */
export const eventText = (event) => [event.text, ...Object.entries(event.facts).map(([key, text]) => `${key}=${text}`)].join(" ");

/** The strip above a life's charts. `zoom(from, to)`: shows a span of time, in ms. */
export class Timeline {
  constructor(zoom) {
    this.zoom = zoom;
    this.strip = el("div", { class: "strip", "aria-hidden": "true" });
    this.count = el("summary");
    this.list = el("ol", { class: "events" });
    this.details = el("details", {}, this.count, this.list);
    this.element = el("section", { class: "timeline", "aria-label": "Runs, marks and notes" }, this.strip, this.details);
  }

  /** Show what lies between two instants, in ms. */
  show(life, { from, to }, nowMs) {
    const place = (at) => Math.min(100, Math.max(0, ((at - from) / (to - from)) * 100));
    const parts = [];
    life.runs.forEach((run, index) => {
      const next = life.runs[index + 1];
      const end = next ? (run.end_ms ?? next.start_ms) : life.outcome === "live" ? nowMs : (life.end_ms ?? run.start_ms);
      if (end < from || run.start_ms > to) return;
      const part = el("span", { class: `run ${run.outcome}`, title: runText(run) });
      part.style.left = `${place(run.start_ms)}%`;
      part.style.width = `max(2px, ${place(end) - place(run.start_ms)}%)`;
      parts.push(part);
    });
    for (const event of life.events) {
      if (event.time_ms < from || event.time_ms > to) continue;
      const sign = el("span", { class: `sign ${event.kind}`, title: `${instant(event.time_ms)} ${eventText(event)}` });
      sign.style.left = `${place(event.time_ms)}%`;
      parts.push(sign);
    }
    fill(this.strip, ...parts);
    this.#list(life);
  }

  #list(life) {
    const known = JSON.stringify([life.events, life.runs]);
    if (known === this.known) return;
    this.known = known;
    const rows = [
      ...life.events.map((event) => ({ at: event.time_ms, kind: event.kind, text: eventText(event) })),
      ...life.runs.flatMap((run) => [{ at: run.start_ms, kind: "start", text: `run ${run.number} began${run.writer ? `: ${run.writer}` : ""}, pid ${run.pid}` },
        ...(run.end_ms ? [{ at: run.end_ms, kind: "end", text: `run ${run.number}: ${run.ended}` }] : [])]),
    ].sort((a, b) => b.at - a.at);
    const older = life.events_overwritten ? `; ${counted(life.events_overwritten, "older one was", "older ones were")} overwritten` : "";
    this.count.textContent = `${counted(life.events.length, "mark or note", "marks and notes")}, ${counted(life.runs.length, "run", "runs")}${older}`;
    fill(this.list, ...rows.map((row) => el("li", { class: row.kind },
      el("button", { class: "time", title: "Show a minute around it", onclick: () => this.zoom(row.at - 30_000, row.at + 30_000) }, instant(row.at)),
      el("span", { class: "kind" }, row.kind), el("span", { class: "text" }, row.text))));
  }
}

const runText = (run) => `run ${run.number}, ${instant(run.start_ms)}: ${run.ended}${run.end_ms ? `, ${duration(run.end_ms - run.start_ms)}` : ""}`;
