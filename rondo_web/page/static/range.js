// The span of time that is shown: which one, and the buttons that choose another.

import { el, fill } from "./dom.js";
import { duration, instant } from "./format.js";

const RANGES = [["1m", 60e3], ["5m", 300e3], ["15m", 900e3], ["1h", 3600e3], ["6h", 21600e3], ["24h", 86400e3], ["7d", 604800e3]];
const USUAL_MS = 900e3;

/**
 * Give what a view shows, in ms: from, to, and whether it follows what is recorded. `span`: start of the newest run,
 * first: of all that there is, end: where it ends, null while it goes on.
 */
export function resolve(view, { start, first, end }, now) {
  if (view.from !== null) return { from: view.from, to: view.to, following: false };
  const to = end ?? now;
  const following = end === null;
  const whole = Math.max(1000, to - start);
  if (view.range === "all") return { from: Math.min(first, to - 1000), to, following };
  if (view.range) return { from: to - view.range, to, following };
  return { from: following && whole > USUAL_MS ? to - USUAL_MS : to - whole, to, following };
}

/** The row of ranges. `nav`: what changes the view. */
export class RangeBar {
  constructor(nav) {
    this.nav = nav;
    this.shown = el("span", { class: "shown" });
    this.live = el("button", { class: "pill", onclick: () => nav.go({ from: null, to: null }) });
    this.buttons = [["auto", null], ...RANGES, ["all", "all"]].map(([name, range]) => {
      const title = { auto: "The newest run, or the last quarter of an hour of it", all: "All that there is" }[name] ?? `The last ${name}`;
      return { range, element: el("button", { "aria-pressed": "false", title, onclick: () => nav.go({ range, from: null, to: null }) }, name) };
    });
    this.out = el("button", { class: "icon", title: "Zoom out (−)", "aria-label": "Zoom out", onclick: () => this.zoom(2) }, "−");
    this.in = el("button", { class: "icon", title: "Zoom in (+)", "aria-label": "Zoom in", onclick: () => this.zoom(0.5) }, "+");
    this.back = el("button", { class: "icon", title: "Earlier (Shift and ←)", "aria-label": "Earlier", onclick: () => this.pan(-0.5) }, "‹");
    this.forth = el("button", { class: "icon", title: "Later (Shift and →)", "aria-label": "Later", onclick: () => this.pan(0.5) }, "›");
    this.element = el("div", { class: "range", role: "group", "aria-label": "Time" },
      el("div", { class: "segments" }, this.buttons.map((each) => each.element)),
      el("div", { class: "segments" }, this.back, this.out, this.in, this.forth),
      this.live, this.shown);
  }

  /** Show which span it is. */
  show(view, span) {
    this.span = span;
    for (const { range, element } of this.buttons) {
      element.setAttribute("aria-pressed", String(view.from === null && view.range === range));
    }
    fill(this.shown, `${instant(span.from)} – ${sameDay(span) ? instant(span.to, { day: false }) : instant(span.to)}`, el("span", { class: "quiet" }, duration(span.to - span.from)));
    this.live.hidden = !span.goesOn;
    this.live.classList.toggle("on", span.following);
    this.live.setAttribute("aria-pressed", String(span.following));
    this.live.textContent = span.following ? "● live" : "▸ go live";
  }

  /** Show more or less around the middle. */
  zoom(by) {
    const { from, to } = this.span;
    const middle = (from + to) / 2, half = Math.max(500, ((to - from) / 2) * by);
    this.nav.go({ from: Math.max(0, Math.round(middle - half)), to: Math.round(middle + half) });
  }

  /** Show what lies before or after. `by`: a share of what is shown. */
  pan(by) {
    const { from, to } = this.span;
    const far = Math.round((to - from) * by);
    this.nav.go({ from: Math.max(0, Math.round(from + far)), to: Math.round(to + far) });
  }
}

const sameDay = ({ from, to }) => new Date(from).toDateString() === new Date(to).toDateString();
